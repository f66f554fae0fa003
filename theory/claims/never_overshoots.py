"""DDIM never overshoots: every step on a Gaussian direction loses spread, by Cauchy–Schwarz.

Derivation. DDIM multiplies the spread by (P + ςς')/(P + ς²), the exact flow by √((P + ς'²)/(P + ς²)). The vectors (√P, ς) and
(√P, ς') have the inner product P + ςς' and the squared lengths P + ς², P + ς'², so their ratio is at most 1, and Lagrange's
identity says by how much:  (P + ς²)(P + ς'²) = (P + ςς')² + P(ς − ς')².
"""

from __future__ import annotations

import itertools

import numpy as np
import sympy as sp
import torch

from theory import cost
from theory.ledger import Claim
from theory.proof import Step, identity, positive
from theory.sampler import DDIM, Flow, grid, walk
from theory.schedule import edm
from theory.target import Gaussian

CLAIM = Claim(
    "C2",
    "ours (working notes, beyond the paper)",
    "A DDIM step ς → ς' on N(0, P) loses exactly ½ log(1 + P(ς − ς')²/(P + ςς')²) of log-spread: never negative, 0 only "
    "for ς' = ς",
    "any P > 0 and 0 ≤ ς' ≤ ς < ∞; the exact denoiser; the loss is against the exact flow from the same state",
)
PAPER = "Not in either paper."
DIFFERS = (
    "The order of the levels plays no part: a step upwards in noise loses as much. Against the data's own spread the ends "
    "of the "
    "window count too, and stopping at ς_min > 0 without a last posterior mean adds variance."
)
FORMULAS = (cost.ddim_loss, cost.ddim_multiplier)


def prove() -> list[Step]:
    p, left, right, gap = sp.symbols("P sigma sigma_next delta", positive=True)
    exact_squared = (p + right**2) / (p + left**2)
    kept_squared = cost.ddim_multiplier(p, left, right) ** 2 / exact_squared
    loss = cost.ddim_loss(p, left, right, sp)
    inside = sp.exp(2 * loss) - 1
    return [
        identity(
            "Lagrange: the defect of Cauchy–Schwarz for (√P, ς) and (√P, ς') is P(ς − ς')²",
            (p + left**2) * (p + right**2) - (p + left * right) ** 2,
            p * (left - right) ** 2,
        ),
        identity("the step keeps the share e^{−2·loss} of the exact flow's variance", kept_squared, sp.exp(-2 * loss)),
        positive("the loss is not negative: what the logarithm adds to 1 is not", inside, strict=False),
        positive(
            "it is strictly positive for ς' = ς − δ < ς, and by symmetry above",
            inside.subs(left, right + gap),
            p * gap**2 / (p + right * (right + gap)) ** 2,
        ),
        identity("it is symmetric in the two levels", loss, cost.ddim_loss(p, right, left, sp)),
    ]


VARIANCES = (0.01, 0.25, 1.0, 30.0)


def predict() -> dict[str, np.ndarray]:
    """The loss of each of seven EDM steps, and the product of their multipliers."""
    levels = edm().noise_to_signal(grid(7)).numpy()
    pairs = [(p, levels[:-1], levels[1:]) for p in VARIANCES]
    return {
        "loss": np.array([cost.ddim_loss(*pair) for pair in pairs]),
        "multiplier": np.array([cost.ddim_multiplier(*pair) for pair in pairs]),
    }


def measure() -> dict[str, np.ndarray]:
    """The same from the sampler's states, against the standard deviation of data plus noise at each level."""
    schedule, losses, multipliers = edm(), [], []
    for p in VARIANCES:
        flow = Flow(schedule, Gaussian.isotropic(1, p).denoise)
        path = list(walk(flow, flow.start(torch.ones(1, 1, dtype=torch.float64)), grid(7), DDIM()))
        ratio = np.array([(b / a).item() for (_, a), (_, b) in itertools.pairwise(path)])
        std = np.array([np.hypot(np.sqrt(p), schedule.noise(t).item()) for t, _ in path])
        losses.append(np.log(std[1:] / std[:-1]) - np.log(ratio))
        multipliers.append(ratio)
    return {"loss": np.array(losses), "multiplier": np.array(multipliers)}


MARGIN = {"loss": 1e-12, "multiplier": 1e-12}  # rounding of some tens of operations
