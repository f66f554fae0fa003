"""VE with its clock, linear form: as d → ∞ at fixed N and κ, p̂ and σ̂ have limits that do not know d, and κ leaves a floor in σ.

Phase 1 is N/2 steps of constant denoising down to α = κ/√d. Along u its limit is the map of constant denoising: the sign is
decided there, so p̂ has no floor in κ. Across u the factors are (j − 1)/j, and the last, from α = 1/M to κ/√d, is κM/√d: the
spread becomes κ, not the exact √(κ² + σ²). Phase 2 is Euler in noise κ(1 − s), signal 1: σ̂ → σ·κ/√(κ² + σ²)·exp(2C/N), d
nowhere.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from theory import limit, witness
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is
from theory.schedule import variance_exploding_flow

CLAIM = Claim(
    "A5",
    "arXiv 2501.00988, VE with its time dilation (our working notes, A5)",
    "VE with its clock, α = 1 − τ, N Euler steps: p̂ and σ̂ converge as d → ∞ to limits free of d; as N → ∞ these tend "
    "to p and to "
    "σ·κ/√(κ² + σ²), with errors O(1/N)",
    "κ > 0 fixed, N even (a node at the kink) and ≥ 4, 0 < p < 1, m, σ > 0",
)
PAPER = "With a dilated time VE recovers both the weights and the variance in Θ(1) steps."
DIFFERS = (
    "For the linear form, up to a deficit of σ that falls like σ²/(2κ²): algebraic in κ, where VP's floor is a "
    "Gaussian tail in the "
    "weights. The sqrt form is the claim A5-sqrt."
)
RESTS_ON = (
    "Euler's convergence along u up to the end of phase 1, where the limiting velocity is singular (as in A3): p̂ → p with an "
    "error O(1/N) is argued, and measured there; the limits at fixed N and those of σ̂ are steps"
)
FORMULAS = (limit.exploding_clock_floor, limit.settling_spread_rate, limit.step_gain)


def prove() -> list[Step]:
    d, v, k, m, j, s = sp.symbols("d sigma2 kappa M j s", positive=True)
    end = k / sp.sqrt(d)
    share = (1 - end) * (1 - j / m)  # τ before the step that leaves j − 1 steps of phase 1
    factor = sp.factor(1 + (1 - end) / m * limit.linear_rate(share, sp.sqrt(d) * (1 - share), 1, -sp.sqrt(d), v))
    near = 1 - end * (1 - s)
    settling = limit.linear_rate(near, sp.sqrt(d) * (1 - near), 1, -sp.sqrt(d), v) * end
    small = sp.Symbol("e", positive=True)
    noise = k * (1 - s)
    rate = limit.linear_rate(sp.Integer(1), noise, 0, -k, v)
    after = limit.total_variance(1, noise.subs(s, s + small), v)
    total = limit.total_variance(1, noise, v)
    ratio = k / sp.sqrt(v)
    u = sp.Symbol("u", positive=True)
    primitive = u / (2 * v * (u**2 + v)) + sp.atan(u / sp.sqrt(v)) / (2 * v * sp.sqrt(v))
    return [
        limit_is("phase 1 across u: the step that leaves j − 1 multiplies by (j − 1)/j", factor, d, sp.oo, (j - 1) / j),
        limit_is(
            "the last by κM/√d, so the spread becomes √d·(1/M)·κM/√d = κ", factor.subs(j, 1) * sp.sqrt(d) / m, d, sp.oo, k
        ),
        limit_is("phase 2: A·dτ/ds → the rate of noise κ(1 − s), signal 1", settling, d, sp.oo, rate),
        identity(
            "the exact flow there multiplies by σ/√(κ² + σ²): from κ to σ times the floor",
            k * sp.sqrt(total.subs(s, 1) / total.subs(s, 0)),
            sp.sqrt(v) * limit.exploding_clock_floor(v, k, sp),
        ),
        limit_is("1 − floor ~ σ²/(2κ²)", k**2 * (1 - limit.exploding_clock_floor(v, k, sp)), k, sp.oo, v / 2),
        identity(
            "Euler's variance over the exact flow's: 1 − κ²σ²e²/(ΔΔ₊), e the step",
            sp.cancel((1 + small * rate) ** 2 * total / after),
            limit.step_gain(total, after, -v * k**2, small),
        ),
        identity("an antiderivative of 1/(u² + σ²)²", primitive.diff(u), 1 / (u**2 + v) ** 2),
        identity(
            "so C = −½κ²σ² ∫ ds/Δ² = −½κσ² ∫₀^κ du/(u² + σ²)²",
            -k * v / 2 * (primitive.subs(u, k) - primitive.subs(u, 0)),
            limit.settling_spread_rate(v, k, sp),
        ),
        identity(
            "written with κ/σ", limit.settling_spread_rate(v, k, sp) * -4, ratio**2 / (1 + ratio**2) + ratio * sp.atan(ratio)
        ),
        *_weights(d, v, k, m),
    ]


def _weights(d: sp.Symbol, v: sp.Symbol, k: sp.Symbol, m: sp.Symbol) -> list[Step]:
    c, far, i = sp.symbols("c Y i", positive=True)
    y, h = sp.symbols("y h", real=True)
    end = k / sp.sqrt(d)
    share = (1 - end) * i / m
    step = (1 - end) * limit.mode_velocity(y, c, h, share, 1 - share, 1, -1, v / d, sp)
    return [
        identity(
            "phase 1 along u, Y = u·x/√d: the velocity tends to constant denoising's",
            step.subs(k, 0).subs(v, 0),
            limit.mode_velocity(y, c, h, i / m, 1 - i / m, 1, -1, 0, sp),
        ),
        limit_is(
            "after it Δ = κ²(1 − s)² + σ² stays bounded and Y ≠ 0 is read as ±1: the sign is frozen",
            sp.tanh(h + (c * sp.sqrt(d)) * (far * sp.sqrt(d)) / (k**2 + v)),
            d,
            sp.oo,
            sp.Integer(1),
        ),
    ]


WEIGHT, MEAN, KAPPA, STD, DIM = 0.8, 1.0, 3.0, 0.5, 1e14
STEPS, MANY = 12, 2000


def _settled(steps: int) -> float:
    """σ̂ at d → ∞: κ·Π(1 + A_k/M)."""
    s = np.arange(steps // 2) / (steps // 2)
    return float(KAPPA * np.prod(1 + limit.linear_rate(1.0, KAPPA * (1 - s), 0.0, -KAPPA, STD**2) / (steps // 2)))


def predict() -> dict[str, np.ndarray]:
    floor = limit.exploding_clock_floor(STD**2, KAPPA)
    return {
        "p̂ (12 steps)": np.array(limit.exploding_weight("linear", STEPS // 2, MEAN, WEIGHT)),
        "σ̂ (12 steps)": np.array(_settled(STEPS)),
        "log σ̂/σ, 2000 steps": np.array(np.log(floor) + 2 * limit.settling_spread_rate(STD**2, KAPPA) / MANY),
    }


def measure() -> dict[str, np.ndarray]:
    flow = variance_exploding_flow("linear", DIM, KAPPA)
    return {
        "p̂ (12 steps)": np.array(witness.plus_weight(flow, STEPS, WEIGHT, MEAN * DIM**0.5, STD**2)),
        "σ̂ (12 steps)": np.array(witness.spread(flow, STEPS, STD**2)),
        "log σ̂/σ, 2000 steps": np.array(np.log(witness.spread(flow, MANY, STD**2) / STD)),
    }


# d = 10¹⁴: corrections κN/√d, 4e-6 at 12 steps and 6e-4 at 2000; there the next term in 1/N is of order 100/N² = 2.5e-5.
MARGIN = {"p̂ (12 steps)": 4e-6, "σ̂ (12 steps)": 4e-6, "log σ̂/σ, 2000 steps": 6e-4}
