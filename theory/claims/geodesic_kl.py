"""The schedule of least KL: a geodesic whose weights reproduce themselves, because KL is quadratic in the losses.

Derivation. Direction k ends as N(0, P_k e^{−2e_k}) instead of N(0, P_k): KL = ½ Σ (e^{−2e_k} − 1 + 2e_k) ≈ Σ e_k², whatever
P_k. As for W₂ (C8-w2) the optimum is the geodesic of C8-spread with w_k = ∂KL/∂e_k = 1 − e^{−2e_k} ≈ 2e_k at its own losses;
KL is convex in e for all e > 0. The other way round, ½ Σ (e^{2e_k} − 1 − 2e_k), has the weights e^{2e_k} − 1 and the same
leading order.
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
    "C8-kl",
    'ours; corrects our working notes (geodesic schedule, "with w_k set by the error that matters")',
    "The least KL = ½ Σ (e^{−2e_k} − 1 + 2e_k) of N DDIM steps is reached by the geodesic with the self-consistent weights "
    "w_k = 1 − e^{−2e_k} at its own losses e_k; to leading order the fixed point is the unique optimum",
    "Gaussian data, exact denoiser, fixed ends, error against the exact flow's output; leading order in 1/N, among grids that "
    "follow a node density",
)
PAPER = "Not in either paper. The notes ask for unit speed in one length with weights fixed by the error."
DIFFERS = (
    "KL is quadratic in the losses too. Equal weights are right only where the losses come out equal, as they "
    "nearly do for {1, ¼, .01}."
)
FORMULAS = (cost.kl_error, cost.kl_weight)


def prove() -> list[Step]:
    v, e, u, node = sp.symbols("v e u n", positive=True)
    x = sp.Symbol("x", real=True)
    error, weight = cost.kl_error(e, sp), cost.kl_weight(e, sp)
    made, wanted = v * sp.exp(-2 * e), v
    log_ratio = (sp.log(wanted / made) + x**2 / wanted - x**2 / made) / 2
    losses = [sp.Function(f"e_{k}")(u) for k in (1, 2)]
    total = sum(cost.kl_error(ek, sp) for ek in losses)
    held = sum(cost.kl_weight(ek, sp) * sp.diff(ek, u) for ek in losses)
    return [
        identity(
            "the error is the mean log ratio of the densities under the output, E x² = v e^{−2e}",
            sp.expand_log(sp.expand(log_ratio), force=True).subs(x**2, made),
            error,
        ),
        identity("the weight is the slope of the error", sp.diff(error, e), weight),
        identity(
            "along any one-parameter family of schedules the error moves as Σ w_k e_k does with the weights held",
            sp.diff(total, u),
            held,
        ),
        limit_is("to leading order the error is e²: quadratic, no length", error / e**2, e, sp.Integer(0), sp.Integer(1), "+"),
        limit_is("and the weight 2e: it knows the loss", weight / e, e, sp.Integer(0), sp.Integer(2), "+"),
        positive("the error rises with the loss", weight, 2 * sp.exp(-e) * sp.sinh(e)),
        positive("and is strictly convex", sp.diff(weight, e), 2 * sp.exp(-2 * e)),
        positive(
            "g/n is strictly convex in the node density n, so the leading problem has one optimum",
            sp.diff(1 / node, node, 2),
            2 / node**3,
        ),
    ]


VARIANCES, ENDS, STEPS = (1.0, 0.25, 0.01), (0.002, 80.0), 24


def predict() -> dict[str, np.ndarray]:
    """KL of the self-consistent geodesic."""
    p = np.array(VARIANCES)
    weights = cost.consistent_weights(p, cost.kl_weight, *ENDS, STEPS)
    losses = cost.spread_losses(p, cost.geodesic(p, weights, *ENDS, STEPS))
    return {"KL": cost.kl_error(losses).sum(), "weights": weights}


def measure() -> dict[str, np.ndarray]:
    """The least KL by a general optimiser through the law's denoiser, and the slope there by a difference quotient."""
    p = torch.tensor(VARIANCES, dtype=torch.float64)

    def divergence(losses: torch.Tensor) -> torch.Tensor:
        made, wanted = (torch.distributions.Normal(torch.zeros_like(p), s) for s in (p.sqrt() * torch.exp(-losses), p.sqrt()))
        return torch.distributions.kl_divergence(made, wanted).sum()

    value, levels = least_error(list(VARIANCES), divergence, *ENDS, STEPS)
    theta = np.arctan(levels / np.sqrt(np.array(VARIANCES))[:, None])
    losses = torch.tensor(-np.log(np.cos(np.diff(theta))).sum(1))
    steps = 1e-6 * torch.eye(3, dtype=torch.float64)
    slope = torch.stack([(divergence(losses + h) - divergence(losses - h)) / 2e-6 for h in steps]).numpy()
    return {"KL": np.array(value), "weights": slope / slope.sum()}


# 1/N⁴ = 3e-6 of relative excess for levels 1/N² apart, times some tens for curvature, on 1.3e-2; weights differ to first
# order, 1/N² = 2e-3.
MARGIN = {"KL": 1e-6, "weights": 2e-3}
