"""The KL-optimal levels for one Gaussian are equal angles: Align Your Steps' tangent law is claim C3.

Derivation. DDIM with the exact denoiser maps a Gaussian to a Gaussian, so against the exact flow from the same start everything
is a function of the one loss e = −Σ log cos Δθ_i: KL(N(0, v e^{−2e}) ‖ N(0, v)) = ½(e^{−2e} − 1 + 2e), the KL the other way,
½(e^{2e} − 1 − 2e), and W₂² = v(1 − e^{−e})². All three rise with e ≥ 0, so all have the minimiser of e, equal angles: with
θ_i = (1 − i/N) atan(ς_max/c) + (i/N) atan(ς_min/c) that is ς_i = c tan θ_i.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch

from theory import cost, curve
from theory.claims.equal_angles import least_error
from theory.ledger import Claim
from theory.proof import Step, identity, positive
from theory.sampler import grid
from theory.schedule import VarianceExploding

CLAIM = Claim(
    "C4",
    "Align Your Steps, arXiv 2404.14507, Theorem 3.1 (as quoted in our working notes); ours for the rest",
    "For data N(0, c²) the levels ς_i = c tan((1 − i/N) atan(ς_max/c) + (i/N) atan(ς_min/c)) minimise the KL, both ways "
    "round, and W₂ of "
    "DDIM's output to the exact flow's, for every N; `curve.Tangent` is this law",
    "one variance; ends 0 < ς_min < ς_max < ∞ fixed; error against the exact flow from the same start",
)
PAPER = "Align Your Steps, Theorem 3.1: for an isotropic Gaussian the KL-optimal levels are a tangent law in atan(ς/c)."
DIFFERS = (
    "Reconstruction: the theorem's text was not at hand. Against the data's own law it needs the shared start: stopped at "
    "ς_min > 0, "
    "the output keeps ς_min² of excess variance that discretisation loss would cancel, and least loss is then not least KL."
)
FORMULAS = (cost.tangent_level, cost.kl_error, cost.wasserstein_error)


def prove() -> list[Step]:
    c, low, high, share, loss = sp.symbols("c sigma_min sigma_max s e", positive=True)
    count = sp.Symbol("N", positive=True)
    theta_low, theta_high = sp.symbols("theta_min theta_max", positive=True)
    level = cost.tangent_level(c, low, high, share, sp)
    named = level.subs({sp.atan(low / c): theta_low, sp.atan(high / c): theta_high})
    after = named.subs(share, share + 1 / count)
    kept = cost.ddim_multiplier(c**2, named, after) ** 2 * (c**2 + named**2) / (c**2 + after**2)
    backward = (sp.exp(2 * loss) - 1 - 2 * loss) / 2
    return [
        identity("the first level is ς_max", level.subs(share, 0), high),
        identity("the last level is ς_min", level.subs(share, 1), low),
        identity(
            "every step keeps cos²((θ_max − θ_min)/N) of the exact flow's variance: the angles are equal",
            sp.simplify(kept.rewrite(sp.cos)),
            sp.cos((theta_high - theta_low) / count) ** 2,
        ),
        identity(
            "without loss there is no KL and no W₂", cost.kl_error(0, sp) + cost.wasserstein_error(c**2, sp.Integer(0), sp)
        ),
        positive("KL rises with the loss", sp.diff(cost.kl_error(loss, sp), loss), 2 * sp.exp(-loss) * sp.sinh(loss)),
        positive("KL the other way round rises too", sp.diff(backward, loss), 2 * sp.exp(loss) * sp.sinh(loss)),
        positive(
            "W₂² rises with it",
            sp.diff(cost.wasserstein_error(c**2, loss, sp), loss),
            4 * c**2 * sp.exp(-3 * loss / 2) * sp.sinh(loss / 2),
        ),
    ]  # hence all have the minimiser of the loss, which is equal angles (C3)


SCALE, ENDS, STEPS = 0.5, (0.02, 20.0), 6


def predict() -> dict[str, np.ndarray]:
    levels = cost.tangent_level(SCALE, *ENDS, np.arange(STEPS + 1) / STEPS)
    (loss,) = cost.spread_losses([SCALE**2], levels)
    target = SCALE**2 + ENDS[0] ** 2
    return {"levels": levels, "optimum": levels, "KL": cost.kl_error(loss), "W2": cost.wasserstein_error(target, loss)}


def measure() -> dict[str, np.ndarray]:
    """The levels of `curve.Tangent`, and the least KL and W₂² found by a general optimiser through the law's denoiser."""
    schedule = VarianceExploding(curve.Tangent(SCALE, *(curve.log_snr_of(end) for end in ENDS)))
    target = torch.tensor([SCALE**2 + ENDS[0] ** 2], dtype=torch.float64)

    def divergence(loss: torch.Tensor) -> torch.Tensor:
        made = target * torch.exp(-2 * loss)
        normals = [torch.distributions.Normal(torch.zeros(1, dtype=torch.float64), v.sqrt()) for v in (made, target)]
        return torch.distributions.kl_divergence(*normals).sum()

    kl, levels = least_error([SCALE**2], divergence, *ENDS, STEPS)
    w2, _ = least_error([SCALE**2], lambda loss: ((target.sqrt() * torch.exp(-loss) - target.sqrt()) ** 2).sum(), *ENDS, STEPS)
    return {
        "levels": schedule.noise_to_signal(grid(STEPS)).numpy(),
        "optimum": levels,
        "KL": np.array(kl),
        "W2": np.array(w2),
    }


# The optimiser's levels: gradients of 1e-7 on a curvature of 1e-2 or more leave 1e-5 of log ς, times the largest inner level 2.
MARGIN = {"levels": 1e-11, "optimum": 1e-4, "KL": 1e-9, "W2": 1e-9}
