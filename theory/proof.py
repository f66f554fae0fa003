"""What a proof is made of here: steps that either go through or do not.

A claim module of `theory.claims` offers, in this order,

    CLAIM      the statement, its source and its exact conditions (a `ledger.Claim`)
    PAPER      the sentence of the paper it stands for, or "ours"
    DIFFERS    what our statement adds, narrows or contradicts
    REFUTES    optional: True when the steps establish that the source's claim does not hold under the stated conditions
    RESTS_ON   optional: what the statement needs and no step checks (a method cited, a limit argued in prose, a part that is
               measured, another claim that rests on such); such a row is at most "verified". What is not listed: calculus and
               finite sums, and a mean and a derivative exchanged where a step bounds the derivative
    FORMULAS   the functions (of `limit`, `bound`, `cost` or the module) whose every sign the argument depends on
    prove()    symbolic steps: the machine reduces a difference to 0 (`identity`), a limit to its value (`limit_is`), an
               inequality to a manifestly signed form (`positive`)
    certify()  optional: interval steps over whole ranges (`certain`), where symbols do not reach
    predict()  numbers from FORMULAS, by name
    measure()  the same numbers from elsewhere: a sampler, a quadrature, an enumeration; no function that predict calls, and
               no number typed in
    MARGIN     one absolute tolerance per name, fixed before measuring
    draw()     optional: a figure

`theory.verify` runs them and judges. A step that does not go through makes the row "fails", whatever the rest says.
Formulas are plain arithmetic with an `xp` namespace (numpy by default, sympy in proofs, `theory.ball` in certificates), so the
function that is proved is the function that is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sympy as sp
from sympy.core.function import AppliedUndef

Kind = Literal["symbolic", "interval", "numeric"]


@dataclass(frozen=True)
class Step:
    """One step of an argument: what it says, whether it went through, and what was left when it did not."""

    kind: Kind
    says: str
    passed: bool
    remainder: str = ""


def _combined(expression: sp.Expr) -> sp.Expr:
    """The expression expanded, then over one denominator."""
    return sp.together(sp.expand(expression))


def _differs(expression: sp.Expr) -> bool:
    """Whether one point of the kind that identities are asked for, all symbols in (0, 1), shows that it is not 0 everywhere."""
    symbols = sorted(expression.free_symbols, key=str)
    outside = any(symbol.is_nonpositive or symbol.is_integer or symbol.is_real is False for symbol in symbols)
    if outside or expression.atoms(AppliedUndef, sp.Integral, sp.Sum, sp.Derivative):
        return False
    value = expression.subs({symbol: sp.Rational(sp.prime(k + 5), sp.prime(k + 7)) for k, symbol in enumerate(symbols)}).evalf()
    return bool(value.is_number and value.is_finite and abs(value) > 1e-9)


def _vanishes(expression: sp.Expr) -> tuple[bool, sp.Expr]:
    """Whether the expression reduces to 0 by rewriting alone; the last form otherwise.

    The rewritings that cost little come first. simplify costs most where there is nothing to find: a counterexample spares it.
    """
    given = sp.sympify(expression)
    expression = _combined(given)
    if sp.expand(sp.numer(expression)) == 0 or sp.expand(sp.numer(_combined(given.rewrite(sp.exp)))) == 0:
        return True, sp.Integer(0)
    if _differs(given):
        return False, expression
    for rewrite in (
        sp.simplify,
        lambda e: sp.simplify(sp.expand(e.rewrite(sp.exp))),
        lambda e: sp.trigsimp(sp.expand_trig(e)),
        lambda e: sp.simplify(sp.expand_log(sp.powdenest(e, force=True), force=True)),
    ):
        expression = rewrite(expression)
        if expression == 0:
            return True, expression
    return False, expression


def identity(says: str, left: sp.Expr, right: sp.Expr | int = 0) -> Step:
    """left = right for all values of the symbols, under their declared assumptions."""
    passed, rest = _vanishes(sp.sympify(left) - sp.sympify(right))
    return Step("symbolic", says, passed, "" if passed else f"left − right = {rest}")


def limit_is(says: str, expression: sp.Expr, symbol: sp.Symbol, point: sp.Expr, value: sp.Expr, side: str = "+-") -> Step:
    """lim expression = value as symbol → point, by sympy's Gruntz algorithm."""
    found = (
        sp.limit(expression, symbol, point, dir=side) if point not in (sp.oo, -sp.oo) else sp.limit(expression, symbol, point)
    )
    passed, rest = (True, sp.Integer(0)) if found == value else _vanishes(found - value)
    return Step("symbolic", says, passed, "" if passed else f"limit is {found}, difference {rest}")


def positive(says: str, expression: sp.Expr, form: sp.Expr | None = None, *, strict: bool = True) -> Step:
    """expression > 0 (≥ 0 unless strict): it equals `form`, and sympy derives the sign of `form` from the assumptions."""
    form = sp.factor(expression) if form is None else form
    same, rest = _vanishes(sp.sympify(expression) - form)
    signed = form.is_positive if strict else form.is_nonnegative
    return Step(
        "symbolic", says, bool(same and signed), "" if same and signed else f"sign of {form}: {signed}; difference {rest}"
    )


def certain(says: str, holds: bool, remainder: str = "") -> Step:
    """An inequality between balls that holds for every point of them."""
    return Step("interval", says, bool(holds), "" if holds else remainder or "the balls do not decide it")
