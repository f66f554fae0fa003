"""The judge of claims: steps that must not pass, shared code that must be seen, signs that must not change unnoticed."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
import sympy as sp
from flint import arb

from theory import ball, cost, mutate, verify
from theory.claims import cosine_identity
from theory.ledger import Claim, Verdict
from theory.proof import Step, certain, identity, limit_is, positive

x = sp.Symbol("x", positive=True)
y = sp.Symbol("y", real=True)


def formula(value, xp=np):
    return value - xp.log(value)


def formula_of_measure(value):
    return value - np.log(value)


def independent(value):
    return float(sp.Float(value) - sp.log(sp.Float(value)))


def claim_module(name="toy", measure=None, **changes) -> ModuleType:
    """A claim that holds: x − log x at 2, its derivative by machine."""
    module = ModuleType(f"theory.{name}")

    def prove() -> list[Step]:
        return [identity("derivative is 1 − 1/x", sp.diff(formula(x, sp), x), 1 - 1 / x)]

    parts = {
        "CLAIM": Claim("T1", "test", "x − log x", "x > 0"),
        "PAPER": "none",
        "DIFFERS": "nothing",
        "FORMULAS": (formula,),
        "prove": prove,
        "predict": lambda: {"value": formula(2.0)},
        "measure": measure or (lambda: {"value": independent(2.0)}),
        "MARGIN": {"value": 1e-12},
    }
    for key, value in (parts | changes).items():
        setattr(module, key, value)
    return module


@pytest.mark.parametrize(
    ("step", "passed"),
    [
        (identity("sin² + cos²", sp.sin(x) ** 2 + sp.cos(x) ** 2, 1), True),
        (identity("wrong sign", sp.sin(x) ** 2 - sp.cos(x) ** 2, 1), False),
        (identity("almost", x * (1 + sp.Rational(1, 10**12)), x), False),
        (identity("tanh by exponentials", sp.tanh(2 * x), 2 * sp.tanh(x) / (1 + sp.tanh(x) ** 2)), True),
        (identity("true in (0, 1) only, decided by rewriting", sp.Abs(y - 1) + y, 1), False),
        (limit_is("sinc", sp.sin(x) / x, x, sp.Integer(0), sp.Integer(1)), True),
        (limit_is("sinc, wrong", sp.sin(x) / x, x, sp.Integer(0), sp.Integer(2)), False),
        (positive("sum", 1 + x), True),
        (positive("difference", 1 - x), False),
        (positive("a form that is not the same", 1 - x, 1 + x), False),
        (certain("two balls apart", bool(arb(1) < arb(2))), True),
        (certain("balls that overlap", bool(ball.interval(0, 2) < ball.interval(1, 3))), False),
    ],
)
def test_a_step_passes_only_when_it_holds(step, passed):
    assert step.passed is passed
    assert passed or step.remainder


def test_verdicts():
    proved = verify.verify(claim_module())
    assert proved.verdict is Verdict.PROVED, proved.steps
    assert verify.verify(claim_module(REFUTES=True)).verdict is Verdict.REFUTED
    assert verify.verify(claim_module(certify=lambda: [certain("yes", True)])).verdict is Verdict.CERTIFIED
    assert verify.verify(claim_module(prove=lambda: [])).verdict is Verdict.VERIFIED


def test_what_no_step_checks_is_named_and_lowers_the_verdict(monkeypatch):
    """A claim that leans on a method it cites is at most verified, and its row and document say on what; refuted stays so."""
    method = "Laplace's method, cited"
    module = claim_module(RESTS_ON=method, certify=lambda: [certain("yes", True)])
    outcome = verify.verify(module)
    assert outcome.verdict is Verdict.VERIFIED
    assert method in outcome.row().predicted
    monkeypatch.setattr(verify, "claim_modules", lambda: {"T1": module})
    assert method in verify.as_markdown([outcome])
    assert verify.verify(claim_module(RESTS_ON=method, REFUTES=True)).verdict is Verdict.REFUTED
    assert verify.verify(claim_module(RESTS_ON=method, measure=lambda: {"value": 1.3})).verdict is Verdict.FAILS
    assert "rests on" not in verify.verify(claim_module()).row().predicted


@pytest.mark.parametrize(
    "changes",
    [
        {"prove": lambda: [identity("no", x, 1)]},
        {"certify": lambda: [certain("no", False)]},
        {"measure": lambda: {"value": 1.3}},
        {"measure": lambda: {"value": float("nan")}},
        {"measure": lambda: {"other": 1.3}},
        {"measure": lambda: {}, "predict": lambda: {}, "MARGIN": {}},
        {"MARGIN": {}},
        {"measure": lambda: {"value": 1 / 0}},
    ],
)
def test_one_step_that_does_not_go_through_makes_the_row_fail(changes):
    outcome = verify.verify(claim_module(**changes))
    assert outcome.verdict is Verdict.FAILS
    assert "does not go through" in outcome.row().measured


def test_shared_code_is_seen(monkeypatch):
    """A witness that calls the formula it judges, directly or through another project function, fails its row."""
    module = ModuleType("theory.toy_shared")
    source = """
from theory import cost
def helper(): return cost.ddim_multiplier(1.0, 2.0, 1.0)
def predict(): return {"value": cost.ddim_multiplier(1.0, 2.0, 1.0)}
def measure(): return {"value": helper()}
def prove(): return []
"""
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("inspect.getsource", _getsource_with(module.__name__, source))
    exec(compile(source, "toy", "exec"), vars(module))
    assert verify.shared_code(module) == {"theory.cost.ddim_multiplier"}


def _getsource_with(name, text):
    import ast
    import inspect

    functions = {node.name: ast.unparse(node) for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    original = inspect.getsource
    return lambda thing: functions[thing.__name__] if getattr(thing, "__module__", "") == name else original(thing)


def test_every_sign_is_mutated_and_indices_are_not():
    def f(a, b):
        """A docstring with − and + in it."""
        return -a[:-1] + b * (a[1:] - 2.0)

    changes = [change for change, _ in mutate.mutated_sources(f)]
    assert len(changes) == 3
    assert len({source for _, source in mutate.mutated_sources(f)}) == 3


def test_a_missed_mutation_is_reported():
    """A claim whose argument ignores its formula: its mutants survive, and are listed as missed."""
    lazy = claim_module(prove=lambda: [], predict=lambda: {"value": independent(2.0)})
    assert [mutant.caught for mutant in mutate.mutants(lazy)] == [False]


def test_a_caught_mutation_restores_the_formula():
    before = cost.ddim_multiplier
    found = list(mutate.mutants(cosine_identity))
    assert found
    assert all(mutant.caught for mutant in found)
    assert cost.ddim_multiplier is before


def test_a_claim_that_fails_unchanged_cannot_be_mutated():
    with pytest.raises(ValueError, match="does not pass unchanged"):
        list(mutate.mutants(claim_module(measure=lambda: {"value": 0.0})))


@pytest.fixture
def toy(monkeypatch):
    """A claim in place of all, and a list of how often its witness was asked."""
    asked = []

    def measure():
        asked.append(1)
        return {"value": independent(2.0)}

    module = claim_module("claims.cosine_identity", measure)  # a name with a file, for the digest of the code
    monkeypatch.setattr(verify, "claim_modules", lambda: {"T1": module})
    monkeypatch.setattr(verify, "shared_code", lambda module: set())
    return module, asked


def test_a_verified_claim_is_mutated_without_measuring_again(toy, tmp_path):
    module, asked = toy
    (tmp_path / "witness.json").write_text(verify.as_witnesses([verify.verify(module)]))
    verified = verify.read_witnesses(tmp_path / "witness.json", ["T1"])
    assert verified["T1"]["value"].tobytes() == np.float64(independent(2.0)).tobytes()  # to the last bit
    asked.clear()
    found = list(mutate.mutants(module, verified["T1"]))
    assert not asked
    assert found == list(mutate.mutants(module))
    assert asked


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda left: left["claims"].clear(), "lacks claim T1"),
        (lambda left: left["claims"]["T1"]["measured"].clear(), "allowed: \\['value'\\]"),
        (lambda left: left["claims"]["T1"].pop("measured"), "is not what verify leaves"),
        (lambda left: left["claims"]["T1"].update(passed=False), "does not pass unchanged"),
        (lambda left: left.update(code="0"), "left by other code"),
    ],
)
def test_what_verify_left_is_refused_when_it_does_not_fit(toy, tmp_path, change, message):
    left = json.loads(verify.as_witnesses([verify.verify(toy[0])]))
    change(left)
    (tmp_path / "witness.json").write_text(json.dumps(left))
    with pytest.raises(ValueError, match=message):
        verify.read_witnesses(tmp_path / "witness.json", ["T1"])


def test_a_measured_number_that_no_longer_fits_is_no_ground_for_mutations(toy):
    for wrong in ({"value": np.float64(0.0)}, {"value": np.float64("nan")}):
        with pytest.raises(ValueError, match="does not pass unchanged"):
            list(mutate.mutants(toy[0], wrong))


def test_claims_are_listed_once_in_natural_order():
    found = verify.claim_modules()
    assert "C1" in found
    assert list(found) == sorted(found, key=verify.natural)


def test_documents_name_source_conditions_and_differences():
    outcome = verify.verify(cosine_identity)
    text = verify.as_markdown([outcome])
    for part in (
        cosine_identity.CLAIM.source,
        cosine_identity.CLAIM.conditions,
        cosine_identity.PAPER,
        cosine_identity.DIFFERS,
    ):
        assert part in text
    assert json.loads(verify.as_json([outcome]))[0]["verdict"] == outcome.verdict.value


def test_pieces_cover_the_range():
    cover = list(ball.pieces(0.1, 1e4, 7, geometric=True))
    for point in np.geomspace(0.1, 1e4, 101):
        assert any(piece.contains(arb(float(point))) for piece in cover)
    with pytest.raises(ValueError, match="low ≤ high"):
        ball.interval(2, 1)
