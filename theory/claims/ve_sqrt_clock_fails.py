"""VE with α = √(1 − τ²): under Euler not even its clock brings Θ(1) steps; N ∝ d is needed. DDIM repairs it, Heun does not.

Phase 1 of the clock takes M = N/2 equal steps of τ. Near its end Δ ≈ d·2(1 − τ) falls to κ² + σ² within the last 1/d of τ,
which one step of length 1/M jumps over: at fixed N the spread across u is multiplied by Π(1 − k/(M² − k²)), not by (κ² +
σ²)/√d, and stays ∝ √d; phase 2, free of d, cannot repair that. With M = x·d it is √(2/a)·Γ(1 + a/2)/Γ((1 + a)/2) of the exact
flow's, a = x(κ² + σ²): a relative excess 1/(4a), so N_ε ≈ d/(2ε(κ² + σ²)). The error is one of coordinates: √(1 − τ²) is not
linear in τ, noise-to-signal is what a step should be linear in. DDIM, Euler in ς, multiplies by (P + ςς')/(P + ς²) → ς'/ς for
ς ≫ κ: the spread becomes κ at any d. Heun in ς multiplies the last such step by a number that does not vanish, σ²/(2(κ² +
σ²)), and fails like Euler.
"""

from __future__ import annotations

import itertools

import numpy as np
import sympy as sp
import torch

from theory import cost, limit, witness
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive
from theory.sampler import DDIM, Flow, HeunNoiseToSignal, grid, last, walk
from theory.schedule import variance_exploding_flow
from theory.target import Gaussian

CLAIM = Claim(
    "A5-sqrt",
    "arXiv 2501.00988, VE with its time dilation, α = √(1 − τ²) (our working notes, A5)",
    "VE, α = √(1 − τ²), with its clock and Euler: σ̂ ~ const·√d at fixed N, and N_ε/d → 1/(2ε(κ² + σ²)) as ε → 0: no Θ(1) steps",
    "Euler in τ with the velocity at the left end, N even, κ, σ > 0; refuted only for this pair: α = 1 − τ (A5), or "
    "DDIM steps with "
    "either α, give limits free of d with the floor κ/√(κ² + σ²)",
)
PAPER = (
    "With a dilated time VE recovers both the weights and the variance in Θ(1) steps (the dilation is given for this α too)."
)
DIFFERS = "Fails for the sqrt form under Euler, and under Heun in noise-to-signal; holds with DDIM, or for the linear form."
REFUTES = True
FORMULAS = (limit.exploding_sqrt_gain, limit.exploding_sqrt_ratio, cost.ddim_multiplier, limit.heun_gain)


def prove() -> list[Step]:
    d, v, k, m, i = sp.symbols("d sigma2 kappa M i", positive=True)
    x, j, left, small = sp.symbols("x j varsigma e", positive=True)
    top = sp.sqrt(1 - small * k**2)  # τ at the kink, with small = 1/d
    share = top * i / m
    q = 1 - small * v
    factor = 1 - q * share * top / m / (1 - q * share**2)
    root = sp.sqrt(d)
    tau = sp.Symbol("tau", positive=True)
    rate = limit.linear_rate(tau, root * sp.sqrt(1 - tau**2), 1, -root * tau / sp.sqrt(1 - tau**2), v)
    total = limit.total_variance(tau, root * sp.sqrt(1 - tau**2), v) / d
    near = sp.expand((x * d) * (1 - (1 - v / d) * (1 - k**2 / d) * (1 - j / (x * d)) ** 2))
    last_rate = limit.linear_rate(1, left, 0, 1, v)
    a, e, n = sp.symbols("a epsilon N", positive=True)
    return [
        identity("Δ = d(1 − qτ²) and A = −qτ/(1 − qτ²), q = 1 − σ²/d", sp.simplify(rate + (1 - v / d) * tau / total), 0),
        identity(
            "phase 1, d → ∞ at fixed M: each step multiplies by 1 − k/(M² − k²), as in constant denoising (A3)",
            sp.simplify(factor.subs(small, 0)),
            1 - i / (m**2 - i**2),
        ),
        positive(
            "which is positive for every k < M: the product G(M) is a constant, the spread √d·G(M)",
            ((m**2 - i**2 - i) / (m**2 - i**2)).subs(m, i + 1 + j),
        ),
        limit_is(
            "M = x·d: M·Δ/d → 2j + x(κ² + σ²) j steps before the kink: the limit of constant denoising (A6), a = x(κ² + σ²)",
            near,
            d,
            sp.oo,
            2 * j + x * (k**2 + v),
        ),
        identity(
            "there the excess is 1/(4a) (A6): ε = 1/(4a) at N = 2M = 2x·d is N = d/(2ε(κ² + σ²))",
            (2 * x * d).subs(x, 1 / (4 * e * (k**2 + v))),
            d / (2 * e * (k**2 + v)),
        ),
        positive(
            "it is an excess at every d and N: each step multiplies Euler's variance over the exact one by more than 1",
            limit.step_gain(a, e, sp.Symbol("q", positive=True), n) - 1,
        ),
        limit_is(
            "DDIM across u, from ς ≫ κ down to κ: ς·(P + ςκ)/(P + ς²) → κ",
            left * cost.ddim_multiplier(v, left, k),
            left,
            sp.oo,
            k,
        ),
        identity(
            "DDIM is Euler in ς: multiplier 1 + (ς' − ς)·ς/(P + ς²)",
            1 + (k - left) * last_rate,
            cost.ddim_multiplier(v, left, k),
        ),
        limit_is(
            "Heun in ς from ς ≫ κ to κ: the multiplier does not vanish",
            limit.heun_gain(v, left, k),
            left,
            sp.oo,
            v / (2 * (v + k**2)),
        ),
        identity(
            "Heun's multiplier: mean slope of ς and of DDIM's guess at κ",
            1 + (k - left) / 2 * (last_rate + last_rate.subs(left, k) * cost.ddim_multiplier(v, left, k)),
            limit.heun_gain(v, left, k),
        ),
    ]


KAPPA, STD, STEPS = 3.0, 0.5, 20
DIMS = (1e10, 1e12)
PROPORTIONAL = 1000.0


def _levels() -> np.ndarray:
    """ς of phase 2 as d → ∞."""
    return KAPPA * (1 - np.arange(STEPS // 2 + 1) / (STEPS // 2))


def _euler() -> float:
    """σ̂/√d at fixed N: G(M) times phase 2."""
    s = _levels()[:-1]
    return limit.exploding_sqrt_gain(STEPS // 2) * np.prod(1 - KAPPA / (STEPS // 2) * s / (STD**2 + s**2))


def _heun() -> float:
    """σ̂/√d: ς/√d one step before the kink, Heun's multiplier from ∞ to κ, then phase 2 (its last step is DDIM's)."""
    count, s = STEPS // 2, _levels()
    before = np.sqrt(2 * count - 1) / (count - 1)
    phase = [limit.heun_gain(STD**2, a, b) for a, b in itertools.pairwise(s[:-1])]
    return before * limit.heun_gain(STD**2, 1e9, KAPPA) * np.prod(phase) * cost.ddim_multiplier(STD**2, s[-2], s[-1])


def predict() -> dict[str, np.ndarray]:
    s = _levels()
    return {
        "Euler σ̂/√d": np.full(2, _euler()),
        "Heun in ς σ̂/√d": np.full(2, _heun()),
        "DDIM σ̂": np.full(2, KAPPA * np.prod(cost.ddim_multiplier(STD**2, s[:-1], s[1:]))),
        "Euler σ̂/σ, N = 2d": np.array(limit.exploding_sqrt_ratio(KAPPA**2 + STD**2)),
    }


def measure() -> dict[str, np.ndarray]:
    """The sampler on one Gaussian direction; N = 2d by the definition's Euler at d = 1000."""
    ends: dict[str, list[float]] = {"DDIM": [], "Heun": [], "Euler": []}
    law = Gaussian.isotropic(1, STD**2)
    for dim in DIMS:
        schedule = variance_exploding_flow("sqrt", dim, KAPPA)
        flow = Flow(schedule, law.denoise)
        for name, method in (("DDIM", DDIM()), ("Heun", HeunNoiseToSignal())):
            end = last(walk(flow, flow.start(torch.ones(1, 1, dtype=torch.float64)), grid(STEPS), method))
            ends[name].append(end.item())
        ends["Euler"].append(witness.spread(schedule, STEPS, STD**2))
    steps = int(2 * PROPORTIONAL)
    clocked = variance_exploding_flow("sqrt", PROPORTIONAL, KAPPA)
    root = np.sqrt(DIMS)
    return {
        "Euler σ̂/√d": np.array(ends["Euler"]) / root,
        "Heun in ς σ̂/√d": np.array(ends["Heun"]) / root,
        "DDIM σ̂": np.array(ends["DDIM"]),
        "Euler σ̂/σ, N = 2d": np.array(witness.spread(clocked, steps, STD**2) / STD),
    }


# Fixed N: corrections N·κ/√d = 6e-4 (d = 10¹⁰) relative, of values 0.024, 0.45, and of 0.3 for Heun, whose limit is small
# because its last multiplier is 0.0135. N = 2d, d = 1000: κ²/d = 0.009 and phase 2, O(1/N).
MARGIN = {"Euler σ̂/√d": 1.5e-5, "Heun in ς σ̂/√d": 2e-4, "DDIM σ̂": 3e-4, "Euler σ̂/σ, N = 2d": 9e-3}
