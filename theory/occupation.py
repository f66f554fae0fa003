"""Curie-Weiss with few distinct coordinates: the exact posterior mean where spins come in groups, at a cost free of d.

A sampler never tells equal coordinates apart: with the posterior mean of `curie_weiss`, coordinates that start alike stay
alike. A start in R^d with K distinct values, w_k the share of coordinates that has value k, is walked exactly in K numbers
(derivation: ours). With θ_k = h/d + (signal/noise²)·x_k,

    L(y) = −d y²/(2J) + d ∫ T,   T(y) = Σ_k w_k tanh(y + θ_k),   E[a_k | x] = ∫ p(y) tanh(y + θ_k) dy,   p ∝ e^L.      (1)

T is analytic in |Im y| < π/2, so its Chebyshev interpolant on the range of y converges at a rate free of d and of x. One
matrix integrates the interpolant to all nodes of the trapezoid rule of `curie_weiss` (exact to 2e-17), another takes p back
to the Chebyshev points: tanh is formed K × points times, never at a node. Nothing of `curie_weiss` is called.

`normal_groups` are the starts of interest: values with the distribution of d normals, moved by s/√d to give u·z = s. What
they leave out is the noise of the d − 1 directions across u: of order d^−½ in M. Spins at the end are ±1, so M is known to
the share of one group: groups are fine where the spins that are about to turn lie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.polynomial import chebyshev
from scipy import special
from torch import Tensor

TAIL = 9.0  # Gaussian widths √(J/d) kept beyond [−J, J], as in the exact rule
PRECISION = 1e-14  # of T by its interpolant; L is then known to d times that
SATURATED = 20.0  # tanh(±20) = ±1 in float64
BLOCK = 2**17  # numbers of a trajectory × points × K table at a time (1 MiB): it stays in cache
STRONGEST = 200.0  # coupling: y reaches 327 for one spin, and e^{2y} leaves float64 at 354
REACH = 4.5  # cells of normals end here: 7e-6 of the mass lies beyond, in two outer cells
Level = float | Tensor


@dataclass(frozen=True, eq=False)
class OccupiedSpins:
    """The Curie-Weiss law of `dim` spins, seen through states with K distinct coordinates.

    `share` (K,), or (trajectories, K) where each has its own: which part of the coordinates has each value; dim·share need not
    be whole numbers. Raises ValueError unless dim ≥ 1, 0 < J ≤ 200, the field is finite and the shares are ≥ 0 with sum 1.
    """

    dim: float
    coupling: float
    field: float
    share: Tensor

    def __post_init__(self) -> None:
        if not (self.dim >= 1 and 0 < self.coupling <= STRONGEST and math.isfinite(self.field)):
            raise ValueError(
                f"dim = {self.dim}, coupling = {self.coupling}, field = {self.field}; allowed: dim ≥ 1, 0 < J ≤ 200 "
                "and a finite field; remedy: change the one outside"
            )
        if self.share.ndim not in (1, 2) or bool((self.share < 0).any()) or bool((self.share.sum(-1) - 1).abs().max() > 1e-9):
            raise ValueError(
                f"shares of shape {tuple(self.share.shape)}, sums {self.share.sum(-1).tolist()}; allowed: (K,) or "
                "(trajectories, K), ≥ 0, each row with sum 1; remedy: divide them by their sum"
            )

    @torch.no_grad()
    def denoise(self, x: Tensor, signal: Level, noise: Level) -> Tensor:
        """E[a_k | x] (1), (…, trajectories, K) like x; signal and noise numbers or one per row, (…, 1), noise > 0.

        With tanh v = 1 − 2/(1 + e^{2v}), e^{2(y + θ)} is a product: no function is evaluated for pairs of a point and a group.
        """
        lift, bound, fall, base, to_points = self._rule
        tilt = ((x / noise) * (signal / noise)).add_(self.field / self.dim).clamp_(-bound, bound)
        odds = tilt.mul_(2).exp_().reshape(-1, 1, x.shape[-1])
        own = self.share.expand(x.shape).reshape(len(odds), -1, 1) if self.share.ndim == 2 else None
        mean, size = torch.empty_like(odds), max(1, BLOCK // (len(lift) * x.shape[-1]))
        for rows in (slice(k, k + size) for k in range(0, len(odds), size)):
            minus = (odds[rows] * lift).add_(1).reciprocal_()  # P(a_k = −1) given y, (trajectories, points, K)
            share = minus @ self.share if own is None else torch.bmm(minus, own[rows])[..., 0]  # (1 − T)/2 at the points
            weight = torch.addmm(base, share, fall).softmax(-1) @ to_points
            torch.baddbmm(mean.new_ones(()), weight[:, None], minus, alpha=-2, out=mean[rows])
        return mean.reshape(x.shape)

    @cached_property
    def _rule(self) -> tuple[Tensor, float, Tensor, Tensor, Tensor]:
        """e^{2y} at the Chebyshev points (P, 1); where θ is cut; (1 − T)/2 there → at the nodes its part of L (P, n), and L
        without it (n,); p at the nodes → at the points (n, P).
        """
        width = math.sqrt(self.coupling / self.dim)
        half = math.ceil((self.coupling + TAIL * width) / (width / math.sqrt(2)))
        nodes = width / math.sqrt(2) * np.arange(-half, half + 1)
        radius = nodes[-1]
        count = math.ceil(-math.log(PRECISION) / math.asinh(math.pi / (2 * radius)))
        angle = (np.arange(count) + 0.5) * (math.pi / count)
        coefficients = np.cos(np.arange(count)[:, None] * angle) * 2 / count  # of the polynomial that is 1 at one point
        coefficients[0] /= 2
        to_level = chebyshev.chebvander(nodes / radius, count) @ chebyshev.chebint(coefficients, scl=radius)
        to_points = chebyshev.chebvander(nodes / radius, count - 1) @ coefficients
        points, gauss = radius * np.cos(angle), -self.dim * nodes**2 / (2 * self.coupling)
        tables = (np.exp(2 * points)[:, None], -2 * self.dim * to_level.T, gauss + self.dim * to_level.sum(1), to_points)
        lift, fall, base, back = (torch.from_numpy(np.ascontiguousarray(table)) for table in tables)
        return lift, SATURATED + 2 * float(points[0]), fall, base, back


def normal_groups(focus: float, coarse: float = 0.15, fine: float = 0.01, half_width: float = 0.5) -> tuple[Tensor, Tensor]:
    """(values, shares) of groups with the distribution of normals: cells of width `coarse`, `fine` in focus ± half_width.

    Values are the cells' means, moved and scaled to mean 0 and variance 1. Raises ValueError unless 0 < fine ≤ coarse ≤ 1.
    """
    if not 0 < fine <= coarse <= 1:
        raise ValueError(f"cells of width {fine} and {coarse}; allowed: 0 < fine ≤ coarse ≤ 1; remedy: exchange or shrink them")
    low, high = max(focus - half_width, -REACH), min(focus + half_width, REACH)
    parts = [
        np.linspace(start, stop, max(2, math.ceil((stop - start) / width) + 1))[:-1]
        for start, stop, width in ((-REACH, low, coarse), (low, high, fine), (high, REACH, coarse))
        if stop > start
    ]
    edges = np.concatenate([[-np.inf], *parts, [REACH, np.inf]])
    left, right = np.minimum(edges[:-1], -edges[1:]), np.minimum(edges[1:], -edges[:-1])  # Φ is sharp in its left tail
    share = special.ndtr(right) - special.ndtr(left)
    density = np.exp(-(edges**2) / 2) / math.sqrt(2 * math.pi)
    value = (density[:-1] - density[1:]) / share
    share /= share.sum()
    value -= share @ value
    return torch.from_numpy(value / math.sqrt(share @ value**2)), torch.from_numpy(share)
