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


def missing_spread(variances: Sequence[float], levels: Array) -> Array:
    """|log(σ̂_k/√P_k)| (K,) after DDIM over the levels, noise first, from N(0, ς₀²).

    A last level > 0 leaves its noise in: log-spread ½ log(1 + ς_N²/P) of the other sign. ς₀ may be ∞ (the step from there is
    the prior mean, 0: the walk starts at ς₁) and is then dropped.
    """
    levels = np.asarray(levels, dtype=np.float64)
    levels = levels[1:] if np.isinf(levels[0]) else levels
    p = np.asarray(variances, dtype=np.float64)
    start = np.log1p(p / levels[0] ** 2) / 2
    return np.abs(start + cost.spread_losses(p, levels) - np.log1p(levels[-1] ** 2 / p) / 2)


@dataclass(frozen=True, eq=False)
class Optimum:
    """Levels from noise to data, the weighted error, and the largest |dE/d log ς| left at the free ones."""

    levels: Array
    error: float
    gradient: float


def free_grid(variances: Sequence[float], weights: Sequence[float], steps: int) -> Optimum:
    """The best N levels ς₀ … ς_{N−1}, then 0: N steps, both ends chosen too."""
    p = np.asarray(variances, dtype=np.float64)
    beyond = 1e6 * float(np.sqrt(p.max()))  # the geodesic's table wants a finite end; the start of a search needs no more
    return _best(p, np.asarray(weights, dtype=np.float64), (0.0, beyond), steps + 1, (np.inf, 0.0))


def window_grid(
    variances: Sequence[float], weights: Sequence[float], noise_min: float, noise_max: float, steps: int
) -> Optimum:
    """The best N − 1 inner levels between given ends; the error is that of the steps alone. N ≥ 2."""
    p, w = np.asarray(variances, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    return _best(p, w, (noise_min, noise_max), steps, (noise_max, noise_min))


def _best(p: Array, w: Array, window: tuple[float, float], segments: int, ends: tuple[float, float]) -> Optimum:
    """The best of several searches, started from geodesics of other weights too.

    One start is not enough: a level that lies between two scales far apart serves neither, yet it sits in a valley with zero
    gradient. The better grids have none there, and cross from one scale to the other in a single step.
    """
    tilts = [w] + [w * np.where(np.arange(len(w)) == k, factor, 1.0) for k in range(len(w)) for factor in (2.0, 6.0)]
    starts = (cost.geodesic(p, tilt, *window, segments)[1:-1] for tilt in tilts)
    return min((_descend(p, w, start, *ends) for start in starts), key=lambda found: found.error)


def _descend(p: Array, w: Array, start: Array, first: float, last: float) -> Optimum:
    """Minimise over log ς of the inner levels by L-BFGS with the exact gradient `cost.balance`, from the geodesic."""

    def levels_of(logs: Array) -> Array:
        return np.concatenate([[] if np.isinf(first) else [first], np.exp(logs), [last]])

    def error(logs: Array) -> tuple[float, Array]:
        inner, levels = np.exp(logs), levels_of(logs)
        value = cost.spread_losses(p, levels)
        if np.isinf(first):
            value = value + np.log1p(p / levels[0] ** 2) / 2
        before, after = np.concatenate([[first], inner[:-1]]), np.concatenate([inner[1:], [last]])
        rate = np.zeros_like(inner)
        for q, weight in zip(p, w, strict=True):
            with np.errstate(invalid="ignore"):
                behind = np.where(np.isinf(before), 1 / inner, (before - inner) / (q + before * inner))
            rate += weight * q / (q + inner**2) * ((inner - after) / (q + inner * after) - behind)
        return float(w @ value), rate * inner

    begin = np.log(start)
    # Between two scales far apart a level costs the same anywhere: the bounds keep a search from running off in such a valley.
    bounds = [(x - 12, x + 12) for x in begin]
    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 5000, "maxfun": 50_000}
    found = optimize.minimize(error, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    if not found.fun <= error(begin)[0] or not (np.diff(found.x) < 0).all():
        raise ArithmeticError(
            f"the search for {len(start)} levels ended at {found.fun}, from {error(begin)[0]}, levels {np.exp(found.x)}"
        )
    return Optimum(levels_of(found.x), float(found.fun), float(np.abs(found.jac).max()))


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
