"""Run the claims of `theory.claims`: proofs, certificates, witnesses, verdicts.

A row is proved when its symbolic steps and its witness go through, certified when interval steps are among them, verified when
it rests on numbers alone or on something its module names in RESTS_ON and no step checks, refuted when its steps establish that
the source's claim does not hold under the stated conditions, and "fails" as soon as one step does not go through. Three guards
keep that honest:

 * the witness (`measure`) may share no project function with `predict` or `prove`, except the definitions both speak about:
   checked by walking the calls (`shared_code`);
 * tolerances are constants of the module; a claim without a witness, or without a margin for one of its numbers, is refused;
 * every sign of every formula is changed, one at a time, and the row must turn red (`theory.mutate`).
"""

from __future__ import annotations

import ast
import gc
import hashlib
import importlib
import inspect
import json
import math
import multiprocessing
import pkgutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

import theory.claims
from theory import record
from theory.imports import ROOT, project_files
from theory.ledger import Claim, Row, Verdict, natural
from theory.proof import Step

# Definitions that prediction and witness both speak about: what a schedule, a grid, a stream, a ball or a step of proof is.
DEFINITIONS = (
    "theory.schedule",
    "theory.curve",
    "theory.clock",
    "theory.stream",
    "theory.ball",
    "theory.proof",
    "theory.ledger",
)
SHARED = {("theory.sampler", "grid"), ("theory.curie_weiss", "spontaneous_magnetisation")}

Numbers = dict[str, np.ndarray]  # by name, float64


def claim_modules() -> dict[str, ModuleType]:
    """The claim modules by id, in the ledger's order. Raises ValueError when two share an id or one lacks a name."""
    found: dict[str, ModuleType] = {}
    for info in pkgutil.iter_modules(theory.claims.__path__, "theory.claims."):
        module = importlib.import_module(info.name)
        lacking = [name for name in ("CLAIM", "PAPER", "DIFFERS", "FORMULAS", "prove", "predict", "measure", "MARGIN") if
                   not hasattr(module, name)]  # fmt: skip
        if lacking:
            raise ValueError(
                f"{info.name} lacks {', '.join(lacking)}; allowed: modules with every name of theory/proof.py; remedy: write "
                "it there"
            )
        if module.CLAIM.id in found:
            raise ValueError(
                f"claim id {module.CLAIM.id!r} in {info.name} and in {found[module.CLAIM.id].__name__}; allowed: one module "
                "per id; remedy: rename one of them"
            )
        found[module.CLAIM.id] = module
    return dict(sorted(found.items(), key=lambda item: natural(item[0])))


# ---- one claim --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """A claim judged: its steps, verdict, worst numeric error in units of its margin, the time it took, what was measured."""

    claim: Claim
    verdict: Verdict
    steps: tuple[Step, ...]
    worst: float
    seconds: float
    rests_on: str = ""
    measured: Numbers = field(default_factory=dict)

    def row(self) -> Row:
        count = {kind: sum(step.kind == kind for step in self.steps) for kind in ("symbolic", "interval", "numeric")}
        failed = [step.says for step in self.steps if not step.passed]
        says = ", ".join(f"{n} {kind} step{'s' * (n > 1)}" for kind, n in count.items() if n)
        says += f"; rests on {self.rests_on}" if self.rests_on else ""
        measured = f"does not go through: {'; '.join(failed)}" if failed else "all go through"
        return Row(self.claim, says, measured, self.worst, 1.0, self.verdict)


def numbers(values: Mapping[str, Any]) -> Numbers:
    return {name: np.asarray(value, dtype=np.float64) for name, value in values.items()}


def witness_steps(module: ModuleType, measured: Numbers) -> tuple[list[Step], float]:
    """Compare predict() with the measured numbers, name by name; the worst error in units of its margin (NaN: no number)."""
    predicted = numbers(module.predict())
    if not predicted or set(predicted) != set(measured) or set(predicted) != set(module.MARGIN):
        raise ValueError(
            f"{module.__name__}: predict has {sorted(predicted)}, measure {sorted(measured)}, MARGIN {sorted(module.MARGIN)}; "
            "allowed: the same names in all three, at least one; remedy: give each number all three, or drop it"
        )
    steps, worst = [], 0.0
    for name, value in predicted.items():
        if value.shape != measured[name].shape:
            raise ValueError(
                f"{module.__name__}: {name} has shape {value.shape} predicted, {measured[name].shape} measured; allowed: equal "
                "shapes; remedy: measure the cases that predict lists"
            )
        error = float(np.max(np.abs(value - measured[name]))) if value.size else math.nan
        passed = error <= module.MARGIN[name]  # False for NaN
        worst = max(worst, error / module.MARGIN[name]) if not math.isnan(error) else math.nan
        steps.append(Step("numeric", f"{name}: |predicted − measured| = {error:.3g} ≤ {module.MARGIN[name]:g}", passed))
    return steps, worst


def argument_steps(module: ModuleType) -> list[Step]:
    """The symbolic and interval steps of a claim."""
    return [*module.prove(), *(module.certify() if hasattr(module, "certify") else [])]


def verify(module: ModuleType) -> Outcome:
    """Judge one claim. An exception inside it is a failed step, with its last line as the remainder."""
    start = time.perf_counter()
    torch.set_num_threads(1)
    steps: list[Step] = []
    measured: Numbers = {}
    worst = math.nan
    try:
        shared = shared_code(module)
        steps.append(Step("numeric", "the witness shares no code with the prediction", not shared, ", ".join(sorted(shared))))
        steps += argument_steps(module)
        measured = numbers(module.measure())
        witnessed, worst = witness_steps(module, measured)
        steps += witnessed
    except Exception as error:  # a claim that cannot be evaluated is a claim that fails, not a crash of the ledger
        steps.append(Step("numeric", "evaluates without error", False, f"{type(error).__name__}: {error}"))
    seconds = time.perf_counter() - start
    rests_on = getattr(module, "RESTS_ON", "")
    return Outcome(module.CLAIM, _verdict(module, steps), tuple(steps), worst, seconds, rests_on, measured)


def _verdict(module: ModuleType, steps: Iterable[Step]) -> Verdict:
    steps = list(steps)
    if not all(step.passed for step in steps):
        return Verdict.FAILS
    if getattr(module, "REFUTES", False):
        return Verdict.REFUTED
    if getattr(module, "RESTS_ON", ""):
        return Verdict.VERIFIED
    kinds = {step.kind for step in steps}
    if "interval" in kinds:
        return Verdict.CERTIFIED
    return Verdict.PROVED if "symbolic" in kinds else Verdict.VERIFIED


def _verify_by_id(name: str) -> Outcome:
    return verify(claim_modules()[name])


def verify_all(names: Iterable[str], processes: int = 2) -> Iterator[Outcome]:
    """Judge claims side by side, in forked processes; outcomes in the order of `names`."""
    yield from side_by_side(_verify_by_id, names, processes)


def side_by_side(work: Callable[[Any], Any], tasks: Iterable[Any], processes: int) -> Iterator[Any]:
    """work(task) for every task, in order, each in a process of its own: no claim sees what another left in sympy's caches."""
    tasks = list(tasks)
    if len(tasks) > 1:  # forward-mode derivatives import it at their first call: once here, not in every process
        importlib.import_module("torch._dynamo")
    gc.freeze()  # what is imported is not garbage; a process that looks through it copies it
    with multiprocessing.get_context("fork").Pool(processes, maxtasksperchild=1) as pool:
        yield from pool.imap(work, tasks)


# ---- no verdict comes from the formula it judges ----------------------------------------------------------------------


def shared_code(module: ModuleType) -> set[str]:
    """Project functions that both the prediction (predict, prove, certify) and the witness (measure) reach."""
    predicted = set().union(
        *(_reached(getattr(module, name)) for name in ("predict", "prove", "certify") if hasattr(module, name))
    )
    return {f"{home}.{name}" for home, name in predicted & _reached(module.measure) if not _is_definition(home, name)}


def _is_definition(home: str, name: str) -> bool:
    return home in DEFINITIONS or (home, name) in SHARED


def _reached(function: Callable[..., Any]) -> set[tuple[str, str]]:
    """(module, qualified name) of every project function and class reachable from the names that `function` mentions."""
    found: set[tuple[str, str]] = set()
    queue: list[Any] = [function]
    while queue:
        thing = queue.pop()
        home, name = getattr(thing, "__module__", "") or "", getattr(thing, "__qualname__", "")
        if not home.startswith("theory") or (home, name) in found:
            continue
        found.add((home, name))
        if _is_definition(home, name):
            continue
        namespace = vars(sys.modules[home])
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(thing)))):
            target = _resolve(node, namespace)
            if isinstance(target, FunctionType) or inspect.isclass(target):
                queue.append(target)
    return found - {(function.__module__, function.__qualname__)}


def _resolve(node: ast.AST, namespace: dict[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return namespace.get(node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return getattr(namespace.get(node.value.id), node.attr, None)
    return None


# ---- files ------------------------------------------------------------------------------------------------------------


def as_json(outcomes: Iterable[Outcome]) -> str:
    """Claims with every step, for the report and the docs. Times are left out: equal runs are equal files."""
    return json.dumps(
        [
            {"id": o.claim.id, "verdict": o.verdict.value, "steps": [asdict(step) for step in o.steps]}
            for o in outcomes
        ],
        indent=2,
        ensure_ascii=False,
    )  # fmt: skip


def as_markdown(outcomes: Iterable[Outcome]) -> str:
    """For each claim: the paper's sentence, our statement with its conditions, what differs, the steps, the verdict."""
    modules = claim_modules()
    parts = [
        '# The claims, one by one\n\nMade by `python -m theory verify --out …`; do not edit. "Working notes" are the '
        "derivations and first measurements this project began with; where a claim narrows or corrects them, it says so.\n"
    ]
    for outcome in outcomes:
        claim, module = outcome.claim, modules[outcome.claim.id]
        parts.append(
            f"\n## {claim.id}: {outcome.verdict.value}\n\n"
            f"**Source.** {claim.source}\n\n**The source says.** {module.PAPER}\n\n**Our statement.** {claim.statement}\n\n"
            f"**Conditions.** {claim.conditions}\n\n**What differs.** {module.DIFFERS}\n\n"
            + (f"**Rests on**, checked by no step: {outcome.rests_on}.\n\n" if outcome.rests_on else "")
            + f"**Module.** `{module.__name__.replace('.', '/')}.py`\n\n"
        )
        for step in outcome.steps:
            mark = "✓" if step.passed else "✗"
            parts.append(f"- {mark} {step.kind}: {step.says}{f' — {step.remainder}' if step.remainder else ''}\n")
    return "".join(parts)


def as_witnesses(outcomes: Iterable[Outcome]) -> str:
    """What each claim measured, to the last bit, and whether it went through; with the digest of the code that did it."""
    claims = {
        o.claim.id: {
            "passed": all(step.passed for step in o.steps),
            "measured": {name: value.tolist() for name, value in o.measured.items()},
        }
        for o in outcomes
    }
    return json.dumps({"code": _code(), "claims": claims}, indent=1, ensure_ascii=False)


def read_witnesses(path: Path, names: Sequence[str]) -> dict[str, Numbers]:
    """The numbers of the claims `names` that `as_witnesses` left at `path`, float64 to the last bit.

    Raises ValueError when it is not such a file, was left by other code, or lacks a claim or a number of one, and when a claim
    did not go through.
    """
    modules = claim_modules()
    remedy = "python -m theory verify --out DIR, with the claims to be mutated"
    try:
        left = json.loads(path.read_text(encoding="utf-8"))
        code, claims = left["code"], left["claims"]
        found = {name: (claims[name]["passed"], numbers(claims[name]["measured"])) for name in names if name in claims}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is not what verify leaves ({type(error).__name__}: {error}); allowed: its witness.json; remedy: {remedy}"
        ) from error
    if code != _code():
        raise ValueError(f"{path} was left by other code than this; allowed: the same files of theory/; remedy: {remedy}")
    for name in names:
        if name not in found:
            raise ValueError(f"{path} lacks claim {name}; allowed: {', '.join(claims) or 'none'}; remedy: {remedy}")
        passed, measured = found[name]
        if not passed:
            raise ValueError(
                f"{name} does not pass unchanged, as {path} says: a mutation test of it would mean nothing; allowed: claims "
                f"that pass; remedy: python -m theory verify {name} names the step"
            )
        if set(measured) != (wanted := set(modules[name].MARGIN)):
            raise ValueError(f"{path} has {sorted(measured)} of {name}; allowed: {sorted(wanted)}; remedy: {remedy}")
    return {name: measured for name, (_, measured) in found.items()}


def _code() -> str:
    """The digest of every project file that a claim or this command stands on."""
    digest = hashlib.sha256()
    for file in project_files("theory.__main__", *(module.__name__ for module in claim_modules().values())):
        digest.update(f"{file}\0".encode() + (ROOT / file).read_bytes())
    return digest.hexdigest()


def write_figures(modules: Iterable[ModuleType], folder: Path) -> list[Path]:
    """The figures of the claims that draw one, as folder/<id>.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for module in modules:
        if hasattr(module, "draw"):
            with record.style():
                record.save_figure(module.draw(), folder / f"{module.CLAIM.id}.svg")
            written.append(folder / f"{module.CLAIM.id}.svg")
    return written
