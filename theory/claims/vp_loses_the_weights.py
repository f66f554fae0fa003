"""VP, constant denoising, N fixed: as d → ∞ every trajectory goes to the heavier mode, while σ̂ never sees d.

Weights. At τ = 0 the posterior mean is the prior's, so the first Euler step adds (1/N)·m√d·tanh h to u·x, whatever the start;
after it tanh(h + βm√d·y/Δ) is ±1. A root of what follows lies in [−r, 0], r = 2hΔ/(βm√d) → 0 (h > 0). Hence the start that
ends undecided is z* = −m√d·tanh h/(N + A₀)·(1 + O(1/d)) and p̂ = Φ(−z*): 1 − p̂ dies like exp(−m²(2p − 1)²d/(2(N + A₀)²)), A₀
= 0 (sqrt), −1 (linear).
Spread. Δ is quadratic in τ, so one Euler step multiplies the exact flow's variance by 1 + K·h²/(Δ_k
Δ_{k+1}) exactly, with K = Δ'²/4 − ΔΔ''/2 a constant: 1 − σ² (sqrt), −σ² (linear). Therefore log σ̂ = log σ + ½ Σ log(1 + …) =
log σ + (K/2N) ∫ dτ/Δ² + O(1/N²).
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from theory import limit, witness
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive
from theory.schedule import variance_preserving_flow

CLAIM = Claim(
    "A2",
    "arXiv 2501.00988, VP under constant denoising (our working notes, A2)",
    "VP, N Euler steps, d → ∞: p̂ = Φ(m√d·(2p − 1)/(N + A₀)) up to a relative 1/d in the argument, → 1; σ̂ is free of d and "
    "log σ̂ = log σ + C/N + O(1/N²), C in closed form for both forms",
    "½ < p < 1 (at p = ½ symmetry keeps p̂ = ½; for p < ½ exchange the modes), N ≥ 2 fixed, uniform grid in τ; C of "
    "the sqrt form for "
    "σ < 1 (σ > 1 by continuation, arctan for artanh); σ = 1 gives σ̂ = 1 at every N there",
)
PAPER = "Under constant denoising with Θ(1) steps VP recovers the variance of each mode and loses the weights of the modes."
DIFFERS = (
    "The rates: 1 − p̂ falls like a Gaussian tail in √d/N, not slowly; the sqrt form overshoots σ (σ < 1), the linear "
    "form falls short, "
    "for every N, with their constants."
)
FORMULAS = (limit.first_step_quantile, limit.step_gain, limit.sqrt_spread_rate, limit.linear_spread_rate)


def prove() -> list[Step]:
    return [*_weights(), *_spread()]


def _weights() -> list[Step]:
    z = sp.Symbol("z", real=True)
    c, h, d, m, g, delta, drive, more = sp.symbols("c h d m g Delta B more", positive=True)
    p = sp.Symbol("p", positive=True)
    steps = more + 1  # N ≥ 2 when more ≥ 1; only N > 1 is used
    found = []
    for name, rate in (("sqrt", 0), ("linear", -1)):
        first = (
            z + limit.mode_velocity(z, c, h, sp.Integer(0), sp.Integer(1), 1, rate, sp.Symbol("v", positive=True), sp) / steps
        )
        root = limit.first_step_quantile(steps, rate, c, h, sp)
        found += [
            identity(
                f"{name} form: the first step is (1 + A₀/N)·z + (c/N)·tanh h",
                first,
                (1 + sp.Rational(rate) / steps) * z + c * sp.tanh(h) / steps,
            ),
            identity(f"{name} form: it vanishes at the formula's z", first.subs(z, root)),
        ]
    r = 2 * h * delta / (g * c)
    pulled = drive / steps * c * sp.tanh(h + g * c * (-r) / delta)
    return [
        *found,
        identity(
            "at y = −r, r = 2hΔ/(g·c), the tanh of a later step has turned: drive −(B·c/N)·tanh h",
            pulled,
            -drive * c * sp.tanh(h) / steps,
        ),
        positive(
            "at y = 0 it is positive: so every later root lies in (−r, 0) once B·c·tanh h/N ≥ r of the next step",
            drive * c * sp.tanh(h) / steps,
        ),
        limit_is("which holds for all large d: r/(c·tanh h) → 0 like 1/d", (r / c).subs(c, m * sp.sqrt(d)), d, sp.oo, 0),
        identity("tanh h = 2p − 1", sp.tanh(sp.log(p / (1 - p)) / 2).rewrite(sp.exp), 2 * p - 1),
    ]


def _spread() -> list[Step]:
    t, step, v, w = sp.symbols("tau step sigma2 w", positive=True)
    q = w / (1 + w)  # 0 < q < 1: σ² = 1/(1 + w)
    found = []
    forms = {
        "sqrt": (sp.sqrt(1 - t**2), 1 - v, limit.sqrt_spread_rate(1 - q, sp), 1 - q),
        "linear": (1 - t, -v, limit.linear_spread_rate(v, sp), v),
    }
    for name, (noise, curvature, constant, value) in forms.items():
        total = sp.expand(limit.total_variance(t, noise, v))
        after = total.subs(t, t + step)
        multiplier = 1 + step * sp.cancel(limit.linear_rate(t, noise, 1, noise.diff(t), v))
        found += [
            identity(
                f"{name} form: Euler's variance over the exact flow's, one step, exactly",
                sp.cancel(multiplier**2 * total / after),
                limit.step_gain(total, after, curvature, step),
            ),
            identity(f"{name} form: C = (K/2)·∫₀¹ dτ/Δ²", constant, curvature.subs(v, value) / 2 * _integral(name, value)),
        ]
    a, b, k = sp.symbols("a b K", real=True, positive=True)
    found += [
        limit_is(
            "½·log(1 + K·h²/(ΔΔ₊)) is ½·K·h²/(ΔΔ₊) to leading order: the sum over N steps is (K/2N)·∫dτ/Δ²",
            sp.log(limit.step_gain(a, b, k, step)) / (2 * step**2),
            step,
            sp.Integer(0),
            k / (2 * a * b),
            "+",
        ),
    ]
    return found


def _checked(rest: sp.Expr) -> None:
    if sp.simplify(rest) != 0:
        raise ArithmeticError(f"derivative of the primitive − 1/Δ² = {rest}; allowed: 0; remedy: mend the primitive below")


def _integral(form: str, v: sp.Expr) -> sp.Expr:
    """∫₀¹ dτ/Δ², from an antiderivative checked by differentiation; raises ArithmeticError when that check fails."""
    t = sp.Symbol("tau", positive=True)
    if form == "sqrt":
        q = 1 - v
        root = sp.sqrt(q)
        delta = 1 - q * t**2
        primitive = t / (2 * delta) + sp.atanh(root * t) / (2 * root)
    else:
        # with tan θ = στ/(1 − τ): dτ/Δ² = (cos θ + sin θ/σ)² dθ/σ; written as a function of θ
        angle = sp.Symbol("theta", positive=True)
        s = sp.sqrt(v)
        tau = sp.sin(angle) / (s * sp.cos(angle) + sp.sin(angle))
        delta = (1 - tau) ** 2 + v * tau**2
        integrand = tau.diff(angle) / delta**2
        primitive = (
            (angle / 2 + sp.sin(2 * angle) / 4) / s + (angle / 2 - sp.sin(2 * angle) / 4) / s**3 + sp.sin(angle) ** 2 / v
        )
        _checked(primitive.diff(angle) - integrand)
        return sp.simplify(primitive.subs(angle, sp.pi / 2) - primitive.subs(angle, 0))
    _checked(primitive.diff(t) - 1 / delta**2)
    return sp.simplify(primitive.subs(t, 1) - primitive.subs(t, 0))


WEIGHT, MEAN, DIM, STEPS, VARIANCE = 0.8, 1.0, 1e6, 40, 0.25
MANY = 2000


def predict() -> dict[str, np.ndarray]:
    """z* at d = 10⁶ (p̂ = Φ(−z*)), and N·log(σ̂/σ) from the constants, σ = ½; sqrt form first."""
    bias = float(limit.log_odds(WEIGHT))
    return {
        "z*": np.array([limit.first_step_quantile(STEPS, a, MEAN * np.sqrt(DIM), bias) for a in (0, -1)]),
        "N log": np.array([limit.sqrt_spread_rate(VARIANCE), limit.linear_spread_rate(VARIANCE)]),
    }


def measure() -> dict[str, np.ndarray]:
    law = witness.two_modes(WEIGHT, MEAN * np.sqrt(DIM), VARIANCE)
    flows = [variance_preserving_flow("sqrt"), variance_preserving_flow("linear")]
    return {
        "z*": np.array([witness.quantile(law, flow, STEPS) for flow in flows]),
        "N log": np.array([MANY * np.log(witness.spread(flow, MANY, VARIANCE) / np.sqrt(VARIANCE)) for flow in flows]),
    }


# z*: the root moves by less than r = 2hΔ/(β m√d) = 0.055 at τ = 1/40. N log: the gain is
# symmetric in the two ends of a step, so the next term is O(1/N²) with constants of order 10, N = 2000.
MARGIN = {"z*": 0.055, "N log": 1e-5}
