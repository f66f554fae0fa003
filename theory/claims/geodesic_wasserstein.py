"""The schedule of least W₂: a geodesic whose weights reproduce themselves, because W₂² is quadratic in the losses.

Derivation. W₂² = Σ P_k(1 − e^{−e_k})² ≈ Σ P_k e_k²: to first order in a change of schedule δW₂² = Σ w_k δe_k with w_k =
∂W₂²/∂e_k = 2P_k(e^{−e_k} − e^{−2e_k}) ≈ 2P_k e_k. So the optimum is stationary for Σ w_k e_k with those weights held fixed:
the geodesic of C8-spread, with weights taken at its own losses. To leading order e_k = ∫ g_k/n dς/(2N) is strictly convex in
the node density n, and W₂² convex and rising in e_k ≤ log 2, so the fixed point is the one optimum. No weights that depend on
P_k alone will do unless all e_k are equal.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch

from theory import cost
from theory.claims.equal_angles import least_error
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive

CLAIM = Claim(
    "C8-w2",
    'ours; corrects our working notes (geodesic schedule, "with w_k set by the error that matters")',
    "The least W₂² = Σ P_k(1 − e^{−e_k})² of N DDIM steps is reached by the geodesic with the self-consistent weights "
    "w_k = 2P_k(e^{−e_k} − e^{−2e_k}) at its own losses e_k; to leading order the fixed point is the unique optimum",
    "Gaussian data, exact denoiser, fixed ends with ς_min² ≪ P_k (else P_k + ς_min² for P_k), every e_k < log 2; leading "
    "order in 1/N, among grids that follow a node density",
)
PAPER = "Not in either paper. The notes ask for unit speed in one length with weights fixed by the error."
DIFFERS = (
    "W₂² is quadratic in the losses, so its optimum is no geodesic of weights known beforehand: they depend on the "
    "losses themselves."
)
FORMULAS = (cost.wasserstein_error, cost.wasserstein_weight)


def prove() -> list[Step]:
    p, e, q, u, node = sp.symbols("P e q u n", positive=True)
    error, weight = cost.wasserstein_error(p, e, sp), cost.wasserstein_weight(p, e, sp)
    losses = [sp.Function(f"e_{k}")(u) for k in (1, 2)]
    variances = sp.symbols("P_1 P_2", positive=True)
    total = sum(cost.wasserstein_error(pk, ek, sp) for pk, ek in zip(variances, losses, strict=True))
    held = sum(cost.wasserstein_weight(pk, ek, sp) * sp.diff(ek, u) for pk, ek in zip(variances, losses, strict=True))
    return [
        identity("the error is (spread after − spread before)²", error, (sp.sqrt(p) * sp.exp(-e) - sp.sqrt(p)) ** 2),
        identity("the weight is the slope of the error", sp.diff(error, e), weight),
        identity(
            "along any one-parameter family of schedules the error moves as Σ w_k e_k does with the weights held",
            sp.diff(total, u),
            held,
        ),
        limit_is("to leading order the error is P e²: quadratic, no length", error / e**2, e, sp.Integer(0), p, "+"),
        limit_is("and the weight 2P e: it knows the loss", weight / e, e, sp.Integer(0), 2 * p, "+"),
        positive("the error rises with the loss", weight, 4 * p * sp.exp(-3 * e / 2) * sp.sinh(e / 2)),
        positive(
            "it is convex below log 2: at e = log(2/(1 + q)), q > 0",
            sp.diff(weight, e).subs(e, sp.log(2 / (1 + q))),
            p * q * (1 + q),
        ),
        positive(
            "g/n is strictly convex in the node density n, so the leading problem has one optimum",
            sp.diff(1 / node, node, 2),
            2 / node**3,
        ),
    ]


VARIANCES, ENDS, STEPS = (1.0, 0.25, 0.01), (0.002, 80.0), 24


def predict() -> dict[str, np.ndarray]:
    """W₂² of the self-consistent geodesic."""
    p = np.array(VARIANCES)
    weights = cost.consistent_weights(p, lambda e: cost.wasserstein_weight(p, e), *ENDS, STEPS)
    losses = cost.spread_losses(p, cost.geodesic(p, weights, *ENDS, STEPS))
    return {"W2 squared / Σ P": cost.wasserstein_error(p, losses).sum() / p.sum(), "weights": weights}


def measure() -> dict[str, np.ndarray]:
    """The least W₂² by a general optimiser through the law's denoiser, and the slope there by a difference quotient."""
    p = torch.tensor(VARIANCES, dtype=torch.float64)

    def distance(losses: torch.Tensor) -> torch.Tensor:
        return ((p.sqrt() - p.sqrt() * torch.exp(-losses)) ** 2).sum()

    value, levels = least_error(list(VARIANCES), distance, *ENDS, STEPS)
    theta = np.arctan(levels / np.sqrt(np.array(VARIANCES))[:, None])
    losses = torch.tensor(-np.log(np.cos(np.diff(theta))).sum(1))
    steps = 1e-6 * torch.eye(3, dtype=torch.float64)
    slope = torch.stack([(distance(losses + h) - distance(losses - h)) / 2e-6 for h in steps]).numpy()
    return {"W2 squared / Σ P": np.array(value / sum(VARIANCES)), "weights": slope / slope.sum()}


# 1/N⁴ = 3e-6 of relative excess, for a first-order distance of 1/N² between levels, on 3e-3; weights differ to first order,
# 1/N² = 2e-3.
MARGIN = {"W2 squared / Σ P": 3e-7, "weights": 2e-3}
