"""VE's clock leaves a floor in the spread that is a power of 1/κ, not a Gaussian tail.

Derivation. Across u, as d → ∞, the last step of phase 1 goes from noise √d/M to κ with the factor κM/√d: whatever the number of
steps, phase 2 starts with a spread κ where the exact flow has √(κ² + σ²) (claim A5). What follows multiplies both alike, up to
O(1/N): σ̂/σ → κ/√(κ² + σ²) = 1 − σ²/(2κ²) + …. So κ²(1 − σ̂/σ) → σ²/2, and against any Gaussian tail e^{−ck²}, c > 0, it is
infinitely large. The weights have no floor in κ there; VP's have one, and it is a Gaussian tail (claim A-floor).
"""

from __future__ import annotations

import math

import numpy as np
import sympy as sp
import torch

from theory import ball, limit, witness
from theory.ledger import Claim
from theory.proof import Step, certain, identity, limit_is
from theory.sampler import Euler, Flow, grid, last, walk
from theory.schedule import variance_exploding_flow
from theory.target import Gaussian

CLAIM = Claim(
    "A-floor-ve",
    "our working notes: finite κ leaves a floor that 'falls like a Gaussian tail in κ'; the clock: arXiv 2501.00988",
    "VE's clock, α = 1 − τ: the floor is in the spread, 1 − σ̂/σ = 1 − 1/√(1 + σ²/κ²) ~ σ²/(2κ²), a power of 1/κ; it exceeds "
    "every Gaussian tail, and at κ = 3, σ = ½ it is 1.36 %",
    "d → ∞ first, then N → ∞; Euler, a node at the kink; refuted for VE only: VP's floor is such a tail (A-floor)",
)
PAPER = "Finite κ leaves a floor that no N removes: measure it as a function of κ (it falls like a Gaussian tail in κ)."
DIFFERS = "Another feature (the spread) and another law (algebraic): a larger κ helps VE far less than VP."
REFUTES = True
FORMULAS = (limit.total_variance, limit.exploding_clock_floor)


def prove() -> list[Step]:
    d, v, k, m, tail = sp.symbols("d sigma2 kappa M c", positive=True)
    end = k / sp.sqrt(d)
    share = (1 - end) * (1 - 1 / m)  # τ before the last step of phase 1
    factor = 1 + (1 - end) / m * limit.linear_rate(share, sp.sqrt(d) * (1 - share), 1, -sp.sqrt(d), v)
    floor = limit.exploding_clock_floor(v, k, sp)
    return [
        limit_is("√d/M times the factor of phase 1's last step is κ", sp.factor(factor) * sp.sqrt(d) / m, d, sp.oo, k),
        identity(
            "where the exact flow has √(κ² + σ²): the ratio is the floor", k / sp.sqrt(limit.total_variance(1, k, v)), floor
        ),
        limit_is("κ²(1 − floor) → σ²/2", k**2 * (1 - floor), k, sp.oo, v / 2),
        limit_is("over a Gaussian tail it diverges", (1 - floor) * sp.exp(tail * k**2), k, sp.oo, sp.oo),
    ]


def certify() -> list[Step]:
    lost = 1 - limit.exploding_clock_floor(ball.interval(0.25, 0.25), ball.interval(3.0, 3.0), ball)
    return [certain("κ = 3, σ = ½: 1 − floor is between 1.355 % and 1.365 %", 0.01355 < lost < 0.01365)]


STD, KAPPAS, DIM, MANY = 0.5, (1.0, 3.0, 6.0), 1e16, 2000


def predict() -> dict[str, np.ndarray]:
    """κ²(1 − σ̂/σ), and the factor of phase 1's last step from linear_rate, at M = 1000."""
    kappa, half = np.array(KAPPAS), MANY // 2
    end = kappa / np.sqrt(DIM)
    share = (1 - end) * (1 - 1 / half)
    rate = limit.linear_rate(share, np.sqrt(DIM) * (1 - share), 1.0, -np.sqrt(DIM), STD**2)
    return {
        "κ²(1 − σ̂/σ)": kappa**2 * (1 - limit.exploding_clock_floor(STD**2, kappa)),
        "spread at the kink": (1 + (1 - end) / half * rate) * np.sqrt(DIM) / half,
    }


def measure() -> dict[str, np.ndarray]:
    """Euler by its definition, first order in 1/N removed; the spread where phase 2 starts, by the sampler on a Gaussian."""
    lost, kink = [], []
    for kappa in KAPPAS:
        flow = variance_exploding_flow("linear", DIM, kappa)
        coarse, fine = (math.log(witness.spread(flow, n, STD**2) / STD) for n in (MANY // 2, MANY))
        lost.append(kappa**2 * (1 - math.exp(2 * fine - coarse)))
        across = Flow(flow, Gaussian.isotropic(1, STD**2).denoise)
        first_phase = grid(MANY)[: MANY // 2 + 1]
        kink.append(last(walk(across, across.start(torch.ones(1, 1, dtype=torch.float64)), first_phase, Euler())).item())
    return {"κ²(1 − σ̂/σ)": np.array(lost), "spread at the kink": np.array(kink)}


# O(1/N²) and κN/√d of σ̂/σ, 1e-5 each, times κ² = 36
MARGIN = {"κ²(1 − σ̂/σ)": 1e-3, "spread at the kink": 1e-3}
