"""How many Euler steps constant denoising needs: √d for VP and for VE's linear form, with the constants.

VP. With N = x√d steps, τ√d advances by 1/x a step: u·x sees Euler with step 1/x on ẏ = m·tanh(h + s·m·y), s = τ√d, noise 1; d
is gone. p̂ is a function of x and N_ε = x_ε√d. (σ̂ needs O(1/ε) steps at any d.)
VE, linear form. α = j/N, Δ ∝ j² + aτ² with a = σ²x²: Euler's variance over the exact flow's is Π(1 − a/((j² + a)((j − 1)² +
a))) up to O(1/N), and (j² + a)((j − 1)² + a) − a = (j² − j + a)²: σ̂/σ → Π(j² − j + a)/…, i.e. cosh(π√(a − ¼))/sinh(π√a) ≈
exp(−π/(8√a)). VE's sqrt form needs Θ(d): the claim A6-sqrt.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
from scipy import optimize

from theory import limit, witness
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive
from theory.schedule import variance_exploding_flow, variance_preserving_flow

CLAIM = Claim(
    "A6",
    "arXiv 2501.00988, constant denoising (our working notes, A6)",
    "Under constant denoising N_ε/√d converges for VP (by p̂) and for VE's linear form (by σ̂, to ≈ π/(8σε))",
    "Euler, uniform grid in τ, ½ < p < 1 for VP, ε the relative error of p̂ and of σ̂; a = σ²x² > ¼ in the linear "
    "form's closed form",
)
PAPER = "Constant denoising needs Θ(√d) steps to recover both the weights and the variance of the modes."
DIFFERS = "True for VP and for VE with α = 1 − τ, with the constants, in closed form for VE. VE with α = √(1 − τ²) is A6-sqrt."
RESTS_ON = (
    "an exchange of limits for VP: each step tends to Euler's on ẏ = m·tanh(h + s·m·y), but their number grows like √d; that p̂ "
    "tends to the limiting map's is measured"
)
FORMULAS = (limit.step_gain, limit.exploding_linear_ratio, limit.mode_velocity)


def prove() -> list[Step]:
    return [*_preserving(), *_linear()]


def _preserving() -> list[Step]:
    d, m, s, x, v = sp.symbols("d m s x sigma2", positive=True)
    y, h = sp.symbols("y h", real=True)
    tau = s / sp.sqrt(d)
    target = m / x * sp.tanh(h + s * m * y)
    found = []
    for name, noise in (("sqrt", sp.sqrt(1 - tau**2)), ("linear", 1 - tau)):
        rate = -tau / noise if name == "sqrt" else sp.Integer(-1)
        step = limit.mode_velocity(y, m * sp.sqrt(d), h, tau, noise, 1, rate, v, sp) / (x * sp.sqrt(d))
        small = sp.Symbol("e", positive=True)
        found.append(
            identity(
                f"VP {name} form, N = x√d: one step at τ = s/√d tends to (m/x)·tanh(h + s·m·y)",
                sp.cancel(step.subs(d, 1 / small**2)).subs(small, 0),
                target,
            )
        )
    return found


def _linear() -> list[Step]:
    j, d, v, x, a = sp.symbols("j d sigma2 x a", positive=True)
    i = sp.I * sp.sqrt(a)
    w = sp.Symbol("omega", positive=True)
    half = sp.Rational(1, 2)
    n = x * sp.sqrt(d)

    def total(k: sp.Expr) -> sp.Expr:
        return limit.total_variance(1 - k / n, sp.sqrt(d) * k / n, v)

    gain = limit.step_gain(total(j), total(j - 1), -d * v, 1 / n)

    def partial(k: sp.Expr) -> sp.Expr:
        """Π_{j ≤ k} ((j − ½)² + ω²)/(j² + a)."""
        top = sp.gamma(k + half - sp.I * w) * sp.gamma(k + half + sp.I * w) * sp.gamma(1 - i) * sp.gamma(1 + i)
        return top / (sp.gamma(half - sp.I * w) * sp.gamma(half + sp.I * w) * sp.gamma(k + 1 - i) * sp.gamma(k + 1 + i))

    more = sp.Symbol("e", nonnegative=True)  # N = j + e
    whole = j + more
    tau = more / whole
    exact = 1 - (j - a * tau / whole) / (j**2 + a * tau**2)
    gap = sp.together(exact - (1 - j / (j**2 + a)))
    bound = 3 * a / (whole * j**2)
    return [
        limit_is(
            "VE linear form, N = x√d: variance over the exact flow's in the step from α = j/N, a = σ²x²",
            gain,
            d,
            sp.oo,
            (1 - a / ((j**2 + a) * ((j - 1) ** 2 + a))).subs(a, v * x**2),
        ),
        identity(
            "which is a square over two of the exact flow's factors", (j**2 + a) * ((j - 1) ** 2 + a) - a, (j**2 - j + a) ** 2
        ),
        positive(
            "Euler's factor at finite N lies within 3a/(N·j²) of its limit: the product converges, uniformly (above)",
            sp.factor(bound - gap),
            strict=False,
        ),
        positive("(below)", sp.factor(bound + gap), strict=False),
        identity(
            "partial products of (j² − j + a)/(j² + a) are quotients of Γ, ω² = a − ¼",
            _shifted(partial(j) / partial(j - 1), j - half - sp.I * w, j - half + sp.I * w, j - i, j + i),
            ((j - half) ** 2 + w**2) / (j**2 + a),
        ),
        identity("they start at 1", partial(sp.Integer(0)), 1),
        identity(
            "Γ(N + b) ≈ Γ(N)·N^b for any complex b, so the Γ's with N are N to the power −1",
            (half - sp.I * w) + (half + sp.I * w) - (1 - i) - (1 + i),
            -1,
        ),
        identity(
            "which by reflection, Γ(1 ± i√a) = π√a/sinh π√a and Γ(½ ± iω) = π/cosh πω, are √a times the formula",
            (sp.pi * sp.sqrt(a) / sp.sinh(sp.pi * sp.sqrt(a))) * sp.cosh(sp.pi * w) / sp.pi,
            sp.sqrt(a)
            * limit.exploding_linear_ratio(w**2 + sp.Rational(1, 4), sp).subs(sp.sqrt(w**2 + sp.Rational(1, 4)), sp.sqrt(a)),
        ),
        limit_is(
            "√a·log of it → −π/8: N_ε ≈ π√d/(8σε)",
            (sp.pi * (sp.sqrt(a - sp.Rational(1, 4)) - sp.sqrt(a))) * sp.sqrt(a),
            a,
            sp.oo,
            -sp.pi / 8,
        ),
    ]


def _shifted(expression: sp.Expr, *points: sp.Expr) -> sp.Expr:
    """The expression with Γ(z + 1) = z·Γ(z) used at the points z."""
    return expression.subs({sp.gamma(sp.expand(z + 1)): z * sp.gamma(sp.expand(z)) for z in points})


WEIGHT, MEAN, STD, EPSILON = 0.8, 1.0, 0.5, 0.05
DIMS = {"VP": 1e6, "VE linear": 1e5}


def predict() -> dict[str, np.ndarray]:
    """N_ε/√d, ε = 5 %, p = 0.8, m = 1, σ = ½."""
    vp = optimize.brentq(
        lambda x: limit.window_weight(round(30 * x), round(30 * x) / x, MEAN, WEIGHT) / WEIGHT - 1 - EPSILON,
        1.2,
        2.0,
        xtol=1e-4,
    )
    linear = optimize.brentq(lambda x: limit.exploding_linear_ratio((STD * x) ** 2) - 1 + EPSILON, 2.0, 60.0)
    return {"VP": np.array(vp), "VE linear": np.array(linear)}


def measure() -> dict[str, np.ndarray]:
    """Bisection for the smallest N that meets ε."""
    flows = {
        "VP": variance_preserving_flow("sqrt"),
        "VE linear": variance_exploding_flow("linear", DIMS["VE linear"]),
    }

    def misses(name: str, steps: int) -> bool:
        if name == "VP":
            found = witness.plus_weight(flows[name], steps, WEIGHT, MEAN * DIMS[name] ** 0.5, STD**2) / WEIGHT
        else:
            found = witness.spread(flows[name], steps, STD**2) / STD
        return abs(found - 1) > EPSILON

    result: dict[str, np.ndarray] = {}
    for name, (low, high) in {"VP": (1480, 1530), "VE linear": (4800, 4900)}.items():
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if misses(name, middle) else (low, middle)
        result[name] = np.array(high / DIMS[name] ** 0.5)
    return result


# Corrections of relative order 1/√d: 10⁻³ of 1.5 and 3·10⁻³ of 15.5; times 3.
MARGIN = {"VP": 0.005, "VE linear": 0.14}
