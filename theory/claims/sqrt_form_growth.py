"""VE with α = √(1 − τ²) under constant denoising: Euler needs Θ(d) steps, not Θ(√d).

Derivation. With N steps, j of them left, N·Δ/d = a + 2qj − qj²/N, a = σ²N/d, q = 1 − σ²/d, and Euler's variance over the exact
flow's is Π(1 + q·(d/NΔ_j)(d/NΔ_{j−1})) exactly (claim A2's `step_gain`): every factor is above 1. The last alone is at least
1 + q/(a(a + 2)), so a stays away from 0: N_ε ≥ const·d at every d, and for N = y√d, a = σ²y/√d → 0, σ̂/σ explodes. With N = x·d
the product tends to Π(1 + 1/((2j + a)(2j − 2 + a))), that is √(2/a)·Γ(1 + a/2)/Γ((1 + a)/2) ≈ 1 + 1/(4a): N_ε ≈ d/(4σ²ε).
"""

from __future__ import annotations

import numpy as np
import sympy as sp
from scipy import optimize

from theory import limit, witness
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive
from theory.schedule import variance_exploding_flow

CLAIM = Claim(
    "A6-sqrt",
    "arXiv 2501.00988, constant denoising, VE with α = √(1 − τ²) (our working notes, A6)",
    "VE, α = √(1 − τ²), constant denoising and Euler: N_ε/d converges, to ≈ 1/(4σ²ε), so Θ(√d) steps do not do: with N = y√d "
    "steps σ̂/σ → ∞",
    "Euler, uniform grid in τ, noise scale √d, ε the relative error of σ̂ across μ, 0 < σ² < d; refuted only for this form: VP "
    "and VE with α = 1 − τ have N_ε ∝ √d (A6)",
)
PAPER = "Constant denoising needs Θ(√d) steps to recover both the weights and the variance of the modes."
DIFFERS = "Fails for the sqrt form of VE: N ∝ d, with the constant in closed form and a lower bound at every d."
REFUTES = True
FORMULAS = (limit.total_variance, limit.step_gain, limit.exploding_sqrt_ratio)


def prove() -> list[Step]:
    j, d, v, x, a, k, count = sp.symbols("j d sigma2 x a k N", positive=True)
    n, quarter = x * d, sp.Rational(1, 4)
    share = 1 - j / n
    total = sp.expand(n * limit.total_variance(share, sp.sqrt(d) * sp.sqrt(1 - share**2), v) / d)
    tau = sp.Symbol("tau", positive=True)
    root = sp.sqrt(d) * sp.sqrt(1 - tau**2)
    rate = limit.linear_rate(tau, root, 1, root.diff(tau), v).subs(tau, share)
    after = total.subs(j, j - 1)
    euler = sp.cancel((1 + sp.cancel(sp.simplify(rate)) / n) ** 2 * total / after)
    rest = sp.Symbol("e", positive=True)
    share_of_noise = 1 / (1 + rest)  # q
    gain = limit.step_gain(2 * j + a, 2 * j - 2 + a, sp.Integer(1), sp.Integer(1))

    def partial(i: sp.Expr) -> sp.Expr:
        """Π_{j ≤ i} √gain."""
        base = (
            sp.gamma(sp.expand(i + (1 + a) / 2))
            * sp.gamma(1 + a / 2)
            / (sp.gamma(sp.expand((1 + a) / 2)) * sp.gamma(i + 1 + a / 2))
        )
        return base * sp.sqrt((i + a / 2) / (a / 2))

    return [
        limit_is("VE sqrt form, N = x·d: N·Δ/d → 2j + a at τ = 1 − j/N, a = σ²x", total, d, sp.oo, (2 * j + a).subs(a, v * x)),
        identity(
            "exactly, at any d and N: N·Δ/d = a + 2qj − qj²/N with a = σ²N/d, q = 1 − σ²/d",
            total.subs(x, count / d),
            v * count / d + (1 - v / d) * (2 * j - j**2 / count),
        ),
        identity(
            "and Euler's variance over the exact flow's is 1 + q/((NΔ/d)(N·Δ_next/d)) a step",
            euler,
            limit.step_gain(total, after, 1 - v / d, sp.Integer(1)),
        ),
        positive(
            "σ² < d: every factor is above 1, as Δ > 0; the last alone is at least 1 + q/(a(a + 2)), q ≤ 1 and N ≥ 1",
            (a + 2) - (a + 2 * share_of_noise - share_of_noise / count),
            2 * rest / (1 + rest) + 1 / ((1 + rest) * count),
        ),
        positive(
            "and N·Δ/d ≥ a + qj, N = j + e: a step's excess is at most 1/(q·j(j − 1)), so it converges uniformly in d",
            (2 * j - j**2 / (j + rest)) - j,
            j * rest / (j + rest),
        ),
        limit_is(
            "N = y√d, so a = σ²y/√d: that bound diverges",
            (1 - v / d) / (v * x / sp.sqrt(d) * (v * x / sp.sqrt(d) + 2)),
            d,
            sp.oo,
            sp.oo,
        ),
        identity(
            "each step's 1 + 1/((2j + a)(2j − 2 + a)) is the square of Γ-quotients",
            _shifted((partial(j) / partial(j - 1)) ** 2, j + (a - 1) / 2, j + a / 2),
            gain,
        ),
        identity("they start at 1", partial(sp.Integer(0)), 1),
        identity(
            "they end at the formula times √((2k + a)/2)·Γ(k + (1 + a)/2)/Γ(k + 1 + a/2)",
            partial(k),
            limit.exploding_sqrt_ratio(a, sp)
            * sp.sqrt(k + a / 2)
            * sp.gamma(sp.expand(k + (1 + a) / 2))
            / sp.gamma(k + 1 + a / 2),
        ),
        limit_is(
            "which tends to 1: Γ is log-convex, so Γ(z + 1)²/Γ(z + ½)² is between z and z + ½, z = k + a/2",
            (k + a / 2) / (k + a / 2 + sp.Rational(1, 2)),
            k,
            sp.oo,
            sp.Integer(1),
        ),
        positive(
            "the steps' excess is summable: at most 1/(4j(j − 1)) for every a > 0",
            sp.factor(1 / (4 * k * (k + 1)) - 1 / ((2 * k + 2 + a) * (2 * k + a))),
        ),
        identity(
            "the excesses telescope to 1/(2a), so 1 + 1/(2a) ≤ (σ̂/σ)² ≤ e^{1/(2a)} for every a > 0",
            gain - 1,
            (1 / (2 * j - 2 + a) - 1 / (2 * j + a)) / 2,
        ),
        limit_is("hence a·(σ̂/σ − 1) → ¼, N_ε ≈ d/(4σ²ε): from below", a * (sp.sqrt(1 + 1 / (2 * a)) - 1), a, sp.oo, quarter),
        limit_is("and from above", a * (sp.exp(1 / (4 * a)) - 1), a, sp.oo, quarter),
    ]


def _shifted(expression: sp.Expr, *points: sp.Expr) -> sp.Expr:
    """The expression with Γ(z + 1) = z·Γ(z) used at the points z."""
    return expression.subs({sp.gamma(sp.expand(z + 1)): z * sp.gamma(sp.expand(z)) for z in points})


STD, EPSILON, DIM, FEW, LARGE = 0.5, 0.05, 300.0, 100, 1e6


def predict() -> dict[str, np.ndarray]:
    """N_ε/d for ε = 5 %, σ = ½; log of σ̂/σ after 100 steps at d = 10⁶ from the exact gains."""
    found = optimize.brentq(lambda x: limit.exploding_sqrt_ratio(STD**2 * x) - 1 - EPSILON, 2.0, 90.0)
    tau = np.arange(FEW + 1) / FEW
    total = limit.total_variance(tau, np.sqrt(LARGE * (1 - tau**2)), STD**2)
    gains = limit.step_gain(total[:-1], total[1:], LARGE * (LARGE - STD**2), 1 / FEW)
    return {"N/d": np.array(found), "log σ̂/σ, N = √d/10": np.array(np.log(gains).sum() / 2)}


def measure() -> dict[str, np.ndarray]:
    """Bisection for the smallest N that meets ε at d = 300; Euler by its definition."""
    flow, low, high = variance_exploding_flow("sqrt", DIM), 6050, 6250
    while high - low > 1:
        middle = (low + high) // 2
        misses = abs(witness.spread(flow, middle, STD**2) / STD - 1) > EPSILON
        low, high = (middle, high) if misses else (low, middle)
    far = witness.spread(variance_exploding_flow("sqrt", LARGE), FEW, STD**2)
    return {"N/d": np.array(high / DIM), "log σ̂/σ, N = √d/10": np.array(np.log(far / STD))}


# N/d: corrections of relative order 1/d (3·10⁻³) of 20, times 3; the gains are exact.
MARGIN = {"N/d": 0.2, "log σ̂/σ, N = √d/10": 1e-9}
