"""Starting the exact flow from pure noise N(0, κ) costs a Gaussian direction the share P/(P + κ) of its variance.

Derivation. The posterior mean at y is P/(P + ς²)·y, so the flow dy/dς = (y − E[a|y])/ς is ς/(P + ς²)·y: a direction is scaled
by √((P + ς'²)/(P + ς²)). From y ~ N(0, P + κ), κ = ς², it ends at variance P; from N(0, κ) at Pκ/(P + κ). The same for the
posterior mean as the last step from any level below: all of it is linear in y.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch
from scipy import integrate

from theory import bound
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is
from theory.target import Gaussian, Law

CLAIM = Claim(
    "B2-start",
    "ours, reconstruction of the upper bound announced in arXiv 2603.19222 (our working notes)",
    "The exact probability flow started at κ_max from N(0, κ_max) gives a Gaussian direction of variance P the variance "
    "P(1 − P/(P + κ_max)): the relative deficit is P/(P + κ_max) = sigmoid(λ_min + log P)",
    "zero-mean Gaussian direction, P > 0, 0 < κ_max < ∞, exact denoiser, flow solved exactly down to κ = 0",
)
PAPER = "Bounds on the useful maximum noise level make the schedules tight (abstract; the bound is not in it)."
DIFFERS = "An equality, not a bound; for a mean m ≠ 0 use P + m² in the divergence (claim B4-kl), as nothing at κ_max shows m."
FORMULAS = (bound.start_deficit, bound.resolved)


def prove() -> list[Step]:
    power, level, first, kappa = sp.symbols("P sigma sigma_1 kappa", positive=True)
    start = sp.Symbol("y_1", real=True)
    scale = sp.sqrt((power + level**2) / (power + first**2))
    path = start * scale
    mean = power / (power + level**2) * path
    end = kappa * scale.subs({level: 0, first: sp.sqrt(kappa)}) ** 2
    return [
        identity("y(ς) = y₁√((P + ς²)/(P + ς₁²)) solves dy/dς = (y − E[a|y])/ς", sp.diff(path, level), (path - mean) / level),
        identity("from the true law N(0, P + κ) the flow ends at variance P", (power + kappa) * end / kappa, power),
        identity("from N(0, κ) it ends at P(1 − deficit)", end, power * (1 - bound.start_deficit(power, kappa))),
        identity(
            "the deficit is sigmoid(λ + log P) at λ = −log κ",
            bound.start_deficit(power, kappa),
            bound.resolved(-sp.log(kappa), sp.log(power), sp),
        ),
        limit_is("it vanishes as κ_max → ∞", bound.start_deficit(power, kappa), kappa, sp.oo, sp.Integer(0)),
    ]


VARIANCES = np.array([0.02, 0.7, 5.0, 40.0])
KAPPA = 9.0


def predict() -> dict[str, np.ndarray]:
    """Deficit at κ_max = 9, by both formulas."""
    return {
        "deficit": bound.start_deficit(VARIANCES, KAPPA),
        "sigmoid": bound.resolved(-np.log(KAPPA), np.log(VARIANCES)),
    }


def scale_by_flow(law: Law, first: float, last: float) -> np.ndarray:
    """Factor by which the flow dy/d log ς = y − E[a|y] scales each direction from ς = first to last (signal = 1)."""

    def rate(log_level: float, y: np.ndarray) -> np.ndarray:
        state = torch.from_numpy(y)[None]
        return (state - law.denoise(state, 1.0, float(np.exp(log_level))))[0].numpy()

    span = (np.log(first), np.log(last))
    solved = integrate.solve_ivp(rate, span, np.ones(law.event_shape), method="DOP853", rtol=1e-11, atol=1e-13)
    return solved.y[:, -1]


def measure() -> dict[str, np.ndarray]:
    """The law's own denoiser, integrated from ς = 3 to 1e-7: deficits of variance 1e-13 at most are left out below."""
    law = Gaussian(torch.from_numpy(VARIANCES))
    deficit = 1 - KAPPA * scale_by_flow(law, float(np.sqrt(KAPPA)), 1e-7) ** 2 / VARIANCES
    return {"deficit": deficit, "sigmoid": deficit}


MARGIN = {"deficit": 1e-9, "sigmoid": 1e-9}  # a hundred times the solver's tolerance
