"""One tangent law is not optimal for several variances: {1, ¼, .01} with 24 steps, certified over every scale c.

Derivation. A tangent law has equal angles for one variance c². Over the whole range of c its levels are put into balls, c =
e^x with x cut until every ball decides, and the sums of losses bounded below; a given grid (the geodesic's, rounded) is
evaluated the same way. Beyond the range one step is enough: tan and atan give ς_{N−1} ≥ (ς_max/N)(1 − y²/3), y = ς_max/c, as
c → ∞ (the last step then overwhelms the smallest variance), and by the inversion ς → 1/ς, P → 1/P, which leaves every angle
step as it is, the mirror image as c → 0.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import sympy as sp
import torch
from flint import arb

from theory import ball, cost
from theory.claims.equal_angles import least_error
from theory.ledger import Claim
from theory.proof import Step, certain, identity, positive

CLAIM = Claim(
    "C11",
    "Tangent law for anisotropic Gaussians, arXiv 2601.13602 (as quoted in our working notes); the example is the notes'",
    "For variances {1, ¼, .01}, N = 24 and ς from 80 to .002 the geodesic grids beat every tangent law c·tan(…), 0 < c < "
    "∞: the "
    "best tangent has at least 31 % more KL than one of them, and 12.5 % more loss of log-spread than another",
    "DDIM, exact denoiser, error against the exact flow; KL of the output to it, and Σ e_k, in nats",
)
PAPER = (
    "The source: one angle is not optimal for several eigenvalues. The notes: the best single tangent was 32 % above a "
    "free optimum."
)
DIFFERS = (
    "The notes' 32 % is right for the KL (32.1 %); for the loss −Σ log cos Δθ it names beside it the excess is 13.6 "
    "%, and for W₂² 2.9 %."
)
FORMULAS = (cost.tangent_level, cost.ddim_loss, cost.kl_error)

VARIANCES, ENDS, STEPS = (1.0, 0.25, 0.01), (0.002, 80.0), 24
EXCESS = {"KL": 1.31, "loss": 1.125}
REACH = (1e-5, 1e5)  # scales c covered by balls; beyond them one step decides


def better_grid(error: str) -> np.ndarray:
    """A grid to beat: the geodesic of C8-kl or C8-spread, rounded to five digits."""
    kl = error == "KL"
    weights = cost.consistent_weights(VARIANCES, cost.kl_weight, *ENDS, STEPS) if kl else np.ones(3)
    return np.array([float(f"{level:.5g}") for level in cost.geodesic(VARIANCES, weights, *ENDS, STEPS)])


def errors(levels: list[Any], xp: Any) -> dict[str, Any]:
    losses = [sum(cost.ddim_loss(p, a, b, xp) for a, b in itertools.pairwise(levels)) for p in VARIANCES]
    return {"KL": sum(cost.kl_error(e, xp) for e in losses), "loss": sum(losses)}


def prove() -> list[Step]:
    p, left, right, y, noise = sp.symbols("P sigma sigma_next y s", positive=True)
    return [
        identity("turning noise and data round, ς → 1/ς and P → 1/P, leaves the loss of a step as it is",
                 cost.ddim_loss(1 / p, 1 / right, 1 / left, sp), cost.ddim_loss(p, left, right, sp)),
        positive("atan y ≥ y − y³/3: the slopes differ by y⁴/(1 + "
            "y²)", sp.diff(sp.atan(y) - y + y**3 / 3, y), y**4 / (1 + y**2)),
        positive("tan x ≥ x: as x = atan s, the slope of s − atan s is s²/(1 + s²)", sp.diff(noise - sp.atan(noise), noise),
                 noise**2 / (1 + noise**2)),
        positive("KL rises with each loss", sp.diff(cost.kl_error(y, sp), y), 2 * sp.exp(-y) * sp.sinh(y)),
        positive("the loss of the last step rises with its start: the slope in δ of what the logarithm adds",
                 sp.diff((sp.exp(2 * cost.ddim_loss(p, right + y, right, sp)) - 1), y),
                 2 * p * y * (p + right**2) / (p + right * (right + y)) ** 3),
    ]  # fmt: skip


def certify() -> list[Step]:
    wanted = {
        name: arb(factor) * errors([arb(level) for level in better_grid(name)], ball)[name] for name, factor in EXCESS.items()
    }
    low, high = (arb(end) for end in ENDS)
    queue, count = (
        list(itertools.pairwise(np.linspace(np.log(REACH[0]) - 1e-9, np.log(REACH[1]) + 1e-9, 65).tolist())),  # past both ends
        0,
    )
    undecided: list[tuple[float, float]] = []
    while queue:
        a, b = queue.pop()
        scale = ball.exp(ball.interval(a, b))
        inner = [cost.tangent_level(scale, low, high, arb(i) / STEPS, ball) for i in range(1, STEPS)]
        found = errors([high, *inner, low], ball)
        count += 1
        if all(found[name] > wanted[name] for name in EXCESS):
            continue
        if b - a < 1e-6:
            undecided.append((a, b))
            break
        queue += [(a, (a + b) / 2), ((a + b) / 2, b)]
    far = high / STEPS * (1 - (high / arb(REACH[1])) ** 2 / 3)
    near = low * STEPS / (1 - (arb(REACH[0]) / low) ** 2 / 3)
    last = cost.ddim_loss(arb(VARIANCES[-1]), far, low, ball)
    first = cost.ddim_loss(arb(VARIANCES[0]), high, near, ball)
    says = ", ".join(f"{name} ≥ {factor:g} ×" for name, factor in EXCESS.items())
    return [
        certain(
            f"every tangent with 1e-5 ≤ c ≤ 1e5 has {says} its grid's ({count} balls)",
            not undecided,
            f"at log c in {undecided}",
        ),
        certain(
            "c > 1e5: the last step alone exceeds both", last > wanted["loss"] and cost.kl_error(last, ball) > wanted["KL"]
        ),
        certain(
            "c < 1e-5: the first step alone exceeds both", first > wanted["loss"] and cost.kl_error(first, ball) > wanted["KL"]
        ),
    ]


def predict() -> dict[str, np.ndarray]:
    """Errors of the grid and of the best tangent."""
    shares = np.arange(STEPS + 1) / STEPS
    tangents = [errors(list(cost.tangent_level(c, *ENDS, shares)), np) for c in np.geomspace(0.2, 0.6, 201)]
    return {name: np.array([errors(list(better_grid(name)), np)[name], min(t[name] for t in tangents)]) for name in EXCESS}


def measure() -> dict[str, np.ndarray]:
    """The free optimum found through the law's denoiser, and the best tangent from its angles."""

    def divergence(losses: torch.Tensor) -> torch.Tensor:
        normals = [
            torch.distributions.Normal(torch.zeros(3, dtype=torch.float64), s) for s in (torch.exp(-losses), torch.ones(3))
        ]
        return torch.distributions.kl_divergence(*normals).sum()

    best = {"KL": np.inf, "loss": np.inf}
    root = np.sqrt(np.array(VARIANCES))[:, None]
    for c in np.geomspace(0.2, 0.6, 201):
        levels = c * np.tan(np.linspace(np.arctan(ENDS[1] / c), np.arctan(ENDS[0] / c), STEPS + 1))
        losses = torch.tensor(-np.log(np.cos(np.diff(np.arctan(levels / root)))).sum(1))
        best = {"KL": min(best["KL"], divergence(losses).item()), "loss": min(best["loss"], losses.sum().item())}
    free = {"KL": least_error(list(VARIANCES), divergence, *ENDS, STEPS)[0]}
    free["loss"] = least_error(list(VARIANCES), torch.sum, *ENDS, STEPS)[0]
    return {name: np.array([free[name], best[name]]) for name in EXCESS}


# By C8 the grids are within 1/N⁴ = 3e-6 of the free optimum, times some tens for curvature, of 0.013 and 0.2.
MARGIN = {"KL": 1e-6, "loss": 1e-5}
