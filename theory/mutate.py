"""Change every sign of the formulas that a claim rests on, one at a time: the row must turn red, or nothing was proved.

A mutant is a function of FORMULAS with one + ↔ − exchanged or one unary minus dropped, put wherever the project holds the
function. It is caught when the claim's witness or its argument (`theory.verify`) no longer goes through.
"""

from __future__ import annotations

import ast
import csv
import inspect
import io
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from types import FunctionType, ModuleType
from typing import Any

import torch

from theory.proof import Step
from theory.verify import Numbers, argument_steps, claim_modules, numbers, side_by_side, witness_steps


@dataclass(frozen=True)
class Mutant:
    """One changed sign: which formula of which claim, where, and what became of the row."""

    claim: str
    formula: str
    change: str
    caught: bool = False
    by: str = ""


class _Flip(ast.NodeTransformer):
    """Change sign number `target` of a function: + ↔ −, or a unary minus deleted. Docstrings and indices have none."""

    def __init__(self, target: int) -> None:
        self.target, self.seen, self.change = target, 0, ""

    def _chosen(self) -> bool:
        self.seen += 1
        return self.seen - 1 == self.target

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        return node  # x[:-1] is not a sign of the formula

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Add | ast.Sub) and self._chosen():
            before = ast.unparse(node)
            node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            self.change = f"{before}  →  {ast.unparse(node)}"
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.USub) and self._chosen():
            self.change = f"{ast.unparse(node)}  →  {ast.unparse(node.operand)}"
            return node.operand
        return node


def mutated_sources(function: FunctionType) -> Iterator[tuple[str, str]]:
    """(change, source) for every sign of the function."""
    source = textwrap.dedent(inspect.getsource(function))
    target = 0
    while True:
        tree = ast.parse(source)
        flip = _Flip(target)
        body = tree.body[0]
        assert isinstance(body, ast.FunctionDef)
        body.body = [flip.visit(statement) for statement in body.body]
        if not flip.change:
            return
        yield flip.change, ast.unparse(ast.fix_missing_locations(tree))
        target += 1


@contextmanager
def _replaced(function: FunctionType, source: str) -> Iterator[None]:
    """The project with `function` replaced by `source`, wherever a module holds it."""
    home = sys.modules[function.__module__]
    namespace: dict[str, Any] = {}
    exec(compile(source, f"<mutant of {function.__qualname__}>", "exec"), vars(home), namespace)
    holders = [
        (m, n)
        for m in list(sys.modules.values())
        if (m.__name__ or "").startswith("theory")
        for n, v in list(vars(m).items())
        if v is function
    ]
    for module, name in holders:
        setattr(module, name, namespace[function.__name__])
    try:
        yield
    finally:
        for module, name in holders:
            setattr(module, name, function)


def mutants(module: ModuleType, verified: Numbers | None = None) -> Iterator[Mutant]:
    """Change every sign of the claim's formulas; a mutant is caught when the witness or the argument no longer goes through.

    The witness is asked first (its measured numbers do not depend on the formula, so they are made once), the proof then.
    `verified`: the numbers measured by a run of the same code in which the claim went through (`read_witnesses`); without
    them the claim is measured and argued here. Raises ValueError when a claim lists no formula with a sign, or does not pass
    unchanged.
    """
    measured = numbers(module.measure()) if verified is None else verified
    argument = argument_steps(module) if verified is None else []
    if not all(step.passed for step in [*witness_steps(module, measured)[0], *argument]):
        raise ValueError(
            f"{module.CLAIM.id} does not pass unchanged: a mutation test of it would mean nothing; allowed: claims that pass; "
            f"remedy: python -m theory verify {module.CLAIM.id} names the step"
        )
    count = 0
    for function in module.FORMULAS:
        for change, source in mutated_sources(function):
            count += 1
            with _replaced(function, source):
                caught, by = _caught(module, measured)
            yield Mutant(module.CLAIM.id, f"{function.__module__}.{function.__qualname__}", change, caught, by)
    if not count:
        raise ValueError(
            f"{module.CLAIM.id}: FORMULAS has no sign to change; allowed: functions with one + or − at least; remedy: list the "
            "functions the argument rests on"
        )


def _caught(module: ModuleType, measured: Numbers) -> tuple[bool, str]:
    attempts: tuple[tuple[str, Callable[[], list[Step]]], ...] = (
        ("witness", lambda: witness_steps(module, measured)[0]),
        ("argument", lambda: argument_steps(module)),
    )
    for by, attempt in attempts:
        try:
            failed = [step for step in attempt() if not step.passed]
        except Exception as error:
            return True, f"{by}: {type(error).__name__}"
        if failed:
            return True, f"{by}: {failed[0].says}"
    return False, ""


def _mutants_by_id(task: tuple[str, Numbers | None]) -> list[Mutant]:
    torch.set_num_threads(1)
    name, verified = task
    return list(mutants(claim_modules()[name], verified))


def mutate_all(
    names: Iterable[str], processes: int = 2, verified: Mapping[str, Numbers] | None = None
) -> Iterator[list[Mutant]]:
    """The mutants of each claim, side by side, in the order of `names`; `verified`: what was measured, by claim."""
    yield from side_by_side(_mutants_by_id, [(name, verified[name] if verified else None) for name in names], processes)


def as_csv(mutants_found: Iterable[Mutant]) -> str:
    """The list of mutations: claim, formula, change, caught, by."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Mutant)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(mutant) for mutant in mutants_found)
    return out.getvalue()
