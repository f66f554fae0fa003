"""One DDIM step on a Gaussian direction multiplies the spread by cos Δθ of what the exact flow does.

Derivation. The posterior mean of N(0, P) at y = x/signal is P/(P + ς²)·y, so DDIM maps y to (P + ςς')/(P + ς²)·y, while the
exact flow keeps y/√(P + ς²). With ς = √P tan θ the ratio of the two is cos(θ − θ').
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch

from theory import cost
from theory.ledger import Claim
from theory.proof import Step, identity, positive
from theory.sampler import DDIM, Flow, grid, last, walk
from theory.schedule import Schedule, edm
from theory.target import Gaussian

CLAIM = Claim(
    "C1",
    "ours (working notes); Align Your Steps, arXiv 2404.14507, Theorem 3.1 for one variance",
    "One DDIM step ς → ς' on N(0, P) multiplies the spread by exactly cos(θ − θ') of the exact flow, θ = atan(ς/√P)",
    "any P > 0 and 0 ≤ ς' ≤ ς < ∞; the exact denoiser",
)
PAPER = "Align Your Steps gives the KL-optimal levels for a Gaussian; the identity per step is not stated there."
DIFFERS = "Exact for every step size, not to leading order."
FORMULAS = (cost.ddim_multiplier,)


def prove() -> list[Step]:
    p, left, right = sp.symbols("P sigma sigma_next", positive=True)
    theta, phi = sp.symbols("theta phi", positive=True)
    y = sp.Symbol("y", real=True)
    mean = p / (p + left**2) * y
    ddim = mean + right / left * (y - mean)
    exact = sp.sqrt((p + right**2) / (p + left**2))
    angles = {left: sp.sqrt(p) * sp.tan(theta), right: sp.sqrt(p) * sp.tan(phi)}
    ratio = cost.ddim_multiplier(p, left, right) ** 2 / exact**2
    return [
        identity("DDIM with the exact denoiser multiplies y by the formula", ddim, cost.ddim_multiplier(p, left, right) * y),
        identity(
            "its ratio to the exact flow, squared, is cos²(θ − φ)",
            ratio.subs(angles).rewrite(sp.cos).simplify(),
            sp.cos(theta - phi) ** 2,
        ),
        positive("the multiplier is positive, so the ratio is the positive root", cost.ddim_multiplier(p, left, right)),
    ]


VARIANCES = (0.01, 0.25, 1.0, 30.0)


def predict() -> dict[str, np.ndarray]:
    """Spread after seven EDM steps: the exact flow's times Π cos Δθ, from the multiplier."""
    levels = edm().noise_to_signal(grid(7)).numpy()
    return {"spread": np.array([np.prod(cost.ddim_multiplier(p, levels[:-1], levels[1:])) * levels[0] for p in VARIANCES])}


def measure() -> dict[str, np.ndarray]:
    """The same from the sampler and the law."""
    schedule: Schedule = edm()
    spreads = []
    for p in VARIANCES:
        flow = Flow(schedule, Gaussian.isotropic(1, p).denoise)
        spreads.append(last(walk(flow, flow.start(torch.ones(1, 1, dtype=torch.float64)), grid(7), DDIM())).item())
    return {"spread": np.array(spreads)}


MARGIN = {"spread": 1e-11}
