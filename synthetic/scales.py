"""Schedules for a mixture with modes at several scales, and the local grid that each has near every scale.

The law: a hierarchy, independent signs ξ_l = ±1 (+ with probability p) on orthogonal directions, x = Σ_l ξ_l m d^{a_l} e_l
+ σ·normal: 2^L modes. Its posterior mean factorises over the directions, so a sampler acts on each e_l as on a two-mode mixture
at ±m d^{a_l} in d dimensions, and `theory.reduction` is exact for it at any d (derivation: ours).

A schedule's local grid near a scale c (`synthetic.coin`) gives the growth of N with d: the grid's spacing h, in units of c, is
`reach`/N. The clocks of arXiv 2501.00988 know one scale, √d, beside σ; `PhaseClock` is their straightforward extension, one
straight line for each scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from synthetic import coin
from theory import bound, cost, curve, schedule
from theory.clock import Clock
from theory.reduction import Line
from theory.schedule import Dilated, Schedule, VarianceExploding, VariancePreserving

Array = np.ndarray


@dataclass(frozen=True)
class Hierarchy:
    """Modes at ±mean·d^a for each exponent a (falling, ½ first), weight p at +, the same spread σ inside all."""

    exponents: tuple[float, ...]
    weight: float
    mean: float
    spread: float

    def __post_init__(self) -> None:
        falling = all(a > b for a, b in zip(self.exponents, (*self.exponents[1:], 0.0), strict=True))
        if not (falling and self.exponents[:1] == (0.5,)):
            raise ValueError(f"exponents = {self.exponents}; allowed: ½, then falling, > 0; remedy: sort them, largest first")

    @property
    def phases(self) -> tuple[str, ...]:
        """Names of what has to be resolved: a level for each exponent, then the spread inside the modes."""
        return (*(f"d^{a:g}" for a in self.exponents), "spread")

    def centres(self, dim: float) -> list[float]:
        return [self.mean * dim**a for a in self.exponents]

    def line(self, dim: float, level: int) -> Line:
        """The two-mode mixture along direction `level`, one row."""
        c = self.centres(dim)[level]
        return Line.of(dim, [1 - self.weight, self.weight], [-c, c], [self.spread, self.spread])

    def variances(self, dim: float) -> list[float]:
        """Second moments of the principal directions, largest first, the spread's last."""
        return [*(c**2 + self.spread**2 for c in self.centres(dim)), self.spread**2]


@dataclass(frozen=True)
class PhaseClock(Clock):
    """Equal times for S phases: straight lines through t = k/S, where u runs over `values` between 0 and 1.

    For VP on a hierarchy, values 1 − κ d^{−a}: κ/√d of the path for the largest level, then up to κ d^{−a} for each next one,
    the rest for the spread. With one level it is paper A's clock. Raises ValueError unless the values rise inside (0, 1).
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(a < b for a, b in zip((0.0, *self.values), (*self.values, 1.0), strict=True)):
            raise ValueError(f"values {self.values}; allowed: rising inside (0, 1); remedy: a smaller κ or a larger d")

    @property
    def count(self) -> int:
        return len(self.values) + 1

    def __call__(self, t: Tensor) -> Tensor:
        knots = torch.tensor((0.0, *self.values, 1.0), dtype=t.dtype)
        phase = torch.clamp((t * self.count).floor().long(), 0, self.count - 1)
        share = t * self.count - phase
        # From the end that is nearer in size: 1 − u is as small as d^−½ at the noise end, and must not be rounded away.
        left, right = knots[phase], knots[phase + 1]
        return torch.where(phase == self.count - 1, 1 - (1 - left) * (1 - share), left + (right - left) * share)

    @property
    def kinks(self) -> tuple[float, ...]:
        return tuple(k / self.count for k in range(1, self.count))


def phase_clock(law: Hierarchy, dim: float, kappa: float) -> PhaseClock:
    return PhaseClock(tuple(1 - kappa * dim**-a for a in reversed(law.exponents)))


@dataclass(frozen=True)
class Local:
    """The grid near a scale: levels from `grid`(h), and N = `reach`/h; `power`: N ∝ d^power, NaN where N grows as log d."""

    grid: coin.Grid
    reach: float
    power: float


@dataclass(frozen=True)
class Entry:
    """A schedule: how it is made at d, a divisor of every N that keeps its kinks on the grid, its local grid at each phase."""

    make: Callable[[Hierarchy, float], Schedule]
    stride: int
    local: Callable[[Hierarchy, float, int], Local]


def entries(law: Hierarchy, window: float, kappa: float, rho: float) -> dict[str, Entry]:
    """The schedules of the table. Windows run from σ√(ε/(1 − ε)) to √P_max·√((1 − ε)/ε), as in `synthetic.families`."""
    vp, ve, phases = schedule.variance_preserving_flow, schedule.variance_exploding_flow, len(law.phases)

    def ends(dim: float) -> tuple[float, float]:
        p = law.variances(dim)
        low, high = bound.noise_window([p[-1], p[0]], window)
        return math.sqrt(low), math.sqrt(high)

    def along_geodesic(variances: list[float], dim: float) -> Schedule:
        levels = cost.geodesic(variances, np.full(len(variances), 1 / len(variances)), *ends(dim), 4096)
        return VariancePreserving(curve.Tabulated(torch.from_numpy(-2 * np.log(levels[::-1])), smooth=True))

    def log_snr(dim: float) -> tuple[float, float]:
        low, high = ends(dim)
        return curve.log_snr_of(low), curve.log_snr_of(high)

    local = _Locals(ends, kappa, rho)
    return {
        "VP linear": Entry(lambda w, d: vp("linear", d), 1, local.vp),
        "VE linear": Entry(lambda w, d: ve("linear", d), 1, local.ve),
        "VP linear, clock": Entry(lambda w, d: vp("linear", d, kappa), 2, local.vp_clock),
        "VE linear, clock": Entry(lambda w, d: ve("linear", d, kappa), 2, local.ve_clock),
        "geodesic, two scales": Entry(
            lambda w, d: along_geodesic([w.variances(d)[0], w.variances(d)[-1]], d), 1, local.two_scales
        ),
        f"EDM ρ = {rho:g}": Entry(lambda w, d: VarianceExploding(curve.Karras(*ends(d), rho)), 1, local.edm),
        "log-uniform": Entry(lambda w, d: VariancePreserving(curve.LogUniform(*log_snr(d))), 1, local.log_uniform),
        "VP linear, phase clock": Entry(
            lambda w, d: Dilated(vp("linear", d), phase_clock(w, d, kappa)), phases, local.every_phase
        ),
        "geodesic, every scale": Entry(lambda w, d: along_geodesic(w.variances(d), d), 1, local.every_scale),
    }  # fmt: skip


@dataclass(frozen=True)
class _Locals:
    """The local grids (derivation: ours). Level l at c = m d^a, the spread at c = σ with a = 0; ς = noise-to-signal.

    VP linear has 1/ς ≈ 1 − t near noise, VE linear ς ≈ √d·t near data: N nodes are 1/N apart in t, a clock's half 2/N.
    """

    ends: Callable[[float], tuple[float, float]]
    kappa: float
    rho: float

    def _scale(self, law: Hierarchy, dim: float, phase: int) -> tuple[float, float]:
        """(c, a)."""
        spread = phase == len(law.exponents)
        return (law.spread, 0.0) if spread else (law.centres(dim)[phase], law.exponents[phase])

    def vp(self, law: Hierarchy, dim: float, phase: int, share: float = 1.0, before: float = 0.0) -> Local:
        c, a = self._scale(law, dim, phase)
        if a == 0:
            return Local(coin.interpolant(c), 1 / share, 0.0)
        return Local(coin.inverse(dense=before * c), c / share, a)

    def vp_clock(self, law: Hierarchy, dim: float, phase: int) -> Local:
        if phase == 0:  # half of the steps up to 1/ς = κ/√d, then far beyond in one step
            cut = self.kappa * law.mean
            return Local(coin.inverse(cut), 2 * cut, 0.0)
        return self.vp(law, dim, phase, 0.5, self.kappa / math.sqrt(dim))

    def ve(self, law: Hierarchy, dim: float, phase: int, share: float = 1.0, after: float = 0.0) -> Local:
        c, a = self._scale(law, dim, phase)
        if a == 0.5:
            return Local(coin.interpolant(law.mean), 1 / share, 0.0)
        return Local(coin.direct(dense=after / c), math.sqrt(dim) / c / share, 0.5 - a)

    def ve_clock(self, law: Hierarchy, dim: float, phase: int) -> Local:
        if phase == len(law.exponents):  # half of the steps from ς = κ, where a step from far beyond arrives
            cut = self.kappa / law.spread
            return Local(coin.direct(cut), 2 * cut, 0.0)
        return self.ve(law, dim, phase, 0.5, self.kappa)

    def every_phase(self, law: Hierarchy, dim: float, phase: int) -> Local:
        c, a = self._scale(law, dim, phase)
        count = len(law.phases)
        if a == 0:
            return Local(coin.interpolant(c), count, 0.0)
        cut = self.kappa * law.mean
        return Local(coin.inverse(cut), count * cut, 0.0)

    def _window(self, law: Hierarchy, dim: float, phase: int) -> tuple[float, float, float]:
        """(c, lowest and highest s there): a level sees the next scales as 0, the largest starts where the walk does."""
        c, a = self._scale(law, dim, phase)
        low, high = self.ends(dim)
        return c, (low / c if a == 0 else coin.NEAR), min(coin.FAR, high / c)

    def edm(self, law: Hierarchy, dim: float, phase: int) -> Local:
        c, low, high = self._window(law, dim, phase)
        a = self._scale(law, dim, phase)[1]
        first, last = self.ends(dim)
        reach = ((last / c) ** (1 / self.rho)) - (first / c) ** (1 / self.rho)
        return Local(coin.power(self.rho, low, high), reach, (0.5 - a) / self.rho)

    def log_uniform(self, law: Hierarchy, dim: float, phase: int) -> Local:
        _, low, high = self._window(law, dim, phase)
        first, last = self.ends(dim)
        return Local(coin.logarithmic(low, high), math.log(last / first), math.nan)

    def two_scales(self, law: Hierarchy, dim: float, phase: int) -> Local:
        p = law.variances(dim)
        a = self._scale(law, dim, phase)[1]
        return self._geodesic(law, dim, phase, [p[0], p[-1]], min(a, 0.5 - a))

    def every_scale(self, law: Hierarchy, dim: float, phase: int) -> Local:
        return self._geodesic(law, dim, phase, law.variances(dim), 0.0)

    def _geodesic(self, law: Hierarchy, dim: float, phase: int, variances: list[float], growth: float) -> Local:
        """Angles θ_k = atan(ς/√P_k) add up where the scales are far apart; where two overlap the speeds add in squares."""
        c, low, high = self._window(law, dim, phase)
        scales = np.sqrt(variances) / c

        def length(s: Array) -> Array:
            # In u = atan(s) the speeds are smooth; trapezoids on the caller's nodes are fine enough for a prediction.
            speed = np.sqrt(((scales / (scales**2 + s[:, None] ** 2)) ** 2).sum(1))
            return np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(s))])

        first, last = self.ends(dim)
        beyond = np.geomspace(first / c, last / c, 20001)
        return Local(coin.from_length(length, low, high), float(length(beyond)[-1]), growth)
