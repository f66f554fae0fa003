"""Every claim of the theory ledger goes through; none of the statements the project set out to judge is missing."""

import ast
import inspect
import re

import pytest

from theory import verify
from theory.ledger import Verdict

MODULES = verify.claim_modules()

# The statements, by what they are about; the ids are the ledger's.
STATEMENTS = {
    "continuity, reduction, limits, growth (paper A)": "A1 A-reduction A2 A3 A4 A5 A5-sqrt A6 A6-sqrt A-floor A-floor-ve A10",
    "phases and speciation (paper A)": "A7-flow A7-vp-gm A7-ve-gm A7-vp-cw A7-ve-cw A8-gm A8-cw A8-none A9 A9-single",
    "signal-to-noise and the window (paper B)": "B1 B2-start B2-stop B2-window B2-both B2-redundant",
    "distribution-free bounds, rounding, invariances, shapes (paper B)": "B3 B4-information B4-kl B5 B6-scale B6-pooling B7",
    "losses, angles, equal schedules": "C1 C2 C3 C4 C5 C6 C7",
    "geodesics and growth classes": "C8-spread C8-w2 C8-kl C9 C10-sqrt C10-log C10-edm C10-const C11",
    "the window on paper A's law": "C12 C12-index",
}


@pytest.mark.parametrize("subject", STATEMENTS)
def test_no_statement_is_missing(subject):
    assert set(STATEMENTS[subject].split()) <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_claim_goes_through(name):
    outcome = verify.verify(MODULES[name])
    assert outcome.verdict not in (Verdict.FAILS, Verdict.UNDECIDED), [step for step in outcome.steps if not step.passed]
    assert any(step.kind == "numeric" and "predicted" in step.says for step in outcome.steps)


@pytest.mark.parametrize("name", MODULES)
def test_claim_says_where_it_comes_from(name):
    module = MODULES[name]
    for text in (module.__doc__, module.PAPER, module.DIFFERS, module.CLAIM.source, module.CLAIM.conditions):
        assert text
        assert text.strip()
    assert all(margin > 0 for margin in module.MARGIN.values())


# What a row says of itself when some of it is no step. "measured" in these conditions names what the claim does not claim.
NOT_A_STEP = re.compile(r"measured|witnessed|argued|convergence|Laplace|Prékopa|limiting map")


@pytest.mark.parametrize("name", MODULES)
def test_a_row_that_is_measured_or_argued_in_part_says_on_what_it_rests(name):
    """BITE: C9 ("measured for p̂") was certified, A4 ("by Euler's convergence") and C12 ("its weights are measured") proved."""
    claim = MODULES[name].CLAIM
    if NOT_A_STEP.search(claim.statement + claim.conditions):
        assert getattr(MODULES[name], "RESTS_ON", "")


@pytest.mark.parametrize("name", ["A3", "A4", "A5", "A6", "A-floor", "A9", "B4-information", "C9", "C10-log", "C10-sqrt"])
def test_rows_that_rest_on_something_are_verified_at_most(name):
    """Euler's convergence, de Bruijn's identity, Poisson's sum, an exchange of limits: not steps."""
    steps = [*MODULES[name].prove(), *getattr(MODULES[name], "certify", list)()]
    assert verify._verdict(MODULES[name], steps) is Verdict.VERIFIED


def typed_in(function) -> list[str]:
    """The returned entries that know nothing but literals, constants of the module and what a comprehension counts."""
    found = []
    for returned in (node for node in ast.walk(ast.parse(inspect.getsource(function))) if isinstance(node, ast.Return)):
        for key, value in (
            zip(returned.value.keys, returned.value.values, strict=True) if isinstance(returned.value, ast.Dict) else ()
        ):
            names = {node.id for node in ast.walk(value) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
            counted = {
                n.id
                for c in ast.walk(value)
                if isinstance(c, ast.comprehension)
                for n in ast.walk(c.target)
                if isinstance(n, ast.Name)
            }
            if key is not None and all(n in ("np", "math", "range") or n.isupper() for n in names - counted):
                found.append(ast.literal_eval(key))
    return found


@pytest.mark.parametrize("name", MODULES)
def test_a_witness_measures(name):
    """BITE: the deficits [1/2, 1/10, 1/100], the bound [0.25, 0.55] and ∏ cos(π/97) were typed in as measurements."""
    exempt = {"C7": ["source"]}  # the two numbers that the source states
    assert typed_in(MODULES[name].measure) == exempt.get(name, [])
