"""The physical limit: noise levels optimised one by one, for DDIM on Gaussian directions.

Error of N steps over levels ς₀ > … > ς_N = 0, from N(0, ς₀²), in a direction of variance P: the missing log-spread
    e = ½ log(1 + P/ς₀²) + Σ_i −log cos(θ_i − θ_{i+1}),  θ = atan(ς/√P),
a loss for starting at a finite level, then one for each step (`theory.cost`); the first is the step from ς = ∞ (θ = π/2) with
the same formula, −log cos(π/2 − θ₀), and all are ≥ 0: nothing cancels. The oracle minimises Σ_k w_k e_k over ς₀ … ς_{N−1}.
A mixture's modes are resolved by what happens in its principal directions, m²d + σ² along μ and σ² across: those are the
directions used here, one each (derivation: ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from theory import cost
from theory.program import Array


@dataclass(frozen=True, eq=False)
class Optimum:
    """Levels from noise to data, the weighted error, and the largest |dE/d log ς| left at the free ones."""

    levels: Array
    error: float
    gradient: float


def free_grid(variances: Sequence[float], weights: Sequence[float], steps: int) -> Optimum:
    """The best N levels ς₀ … ς_{N−1}, then 0: N steps, both ends chosen too.

    The best of several searches, started from geodesics of other weights too: a level that lies between two scales far apart
    serves neither, yet it sits in a valley with zero gradient. The better grids have none there, and cross from one scale to
    the other in a single step. Raises ArithmeticError when a search ends above its start or with levels out of order.
    """
    p, w = np.asarray(variances, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    beyond = 1e6 * float(np.sqrt(p.max()))  # the geodesic's table wants a finite end; the start of a search needs no more
    tilts = [w] + [w * np.where(np.arange(len(w)) == k, factor, 1.0) for k in range(len(w)) for factor in (2.0, 6.0)]
    starts = (cost.geodesic(p, tilt, 0.0, beyond, steps + 1)[1:-1] for tilt in tilts)
    return min((_descend(p, w, start) for start in starts), key=lambda found: found.error)


def _descend(p: Array, w: Array, start: Array) -> Optimum:
    """Minimise over log ς of the levels by L-BFGS with the exact gradient, `cost.balance` with ς = ∞ before the first."""

    def error(logs: Array) -> tuple[float, Array]:
        levels = np.exp(logs)
        before, after = np.concatenate([[np.inf], levels[:-1]]), np.append(levels[1:], 0.0)
        rate = np.zeros_like(levels)
        for q, weight in zip(p, w, strict=True):
            with np.errstate(invalid="ignore"):
                behind = np.where(np.isinf(before), 1 / levels, (before - levels) / (q + before * levels))
            rate += weight * q / (q + levels**2) * ((levels - after) / (q + levels * after) - behind)
        value = cost.spread_losses(p, np.append(levels, 0.0)) + np.log1p(p / levels[0] ** 2) / 2
        return float(w @ value), rate * levels

    begin = np.log(start)
    # Between two scales far apart a level costs the same anywhere: the bounds keep a search from running off in such a valley.
    bounds = [(x - 12, x + 12) for x in begin]
    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 5000, "maxfun": 50_000}
    found = optimize.minimize(error, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    if not found.fun <= error(begin)[0] or not (np.diff(found.x) < 0).all():
        raise ArithmeticError(
            f"the search for {len(start)} levels ended at {found.fun}, from {error(begin)[0]}, levels {np.exp(found.x)}; "
            "allowed: falling levels, no more error than at the start; remedy: fewer steps, or scales less far apart"
        )
    return Optimum(np.append(np.exp(found.x), 0.0), float(found.fun), float(np.abs(found.jac).max()))


def decoupled_error(steps: int) -> float:
    """Error of the best N free levels for two equal weights, as the two scales move infinitely far apart.

    N levels and a last step to 0 make N + 2 stretches of angle, not N + 1: the step that crosses from one scale to the other is
    the last of the large scale's and the first of the small one's. Each scale divides π/2 equally (claim C3) among its own.
    A geodesic counts lengths one after the other and has only N + 1; for odd N it even leaves a level in between, unused.
    """
    return min(
        0.5 * sum(cost.equal_angle_loss(np.pi / 2, share) for share in (first, steps + 2 - first))
        for first in range(2, steps + 1)
    )
