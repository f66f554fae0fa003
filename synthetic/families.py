"""The schedules of the atlas, each for a mixture at dimension d: what every schedule is told about the law, and no more.

Three ways to be told. "as published": no adaptation, whatever the dimension. "window": the family's shape stretched over the
noise window of the mixture, ς² from P_min·ε/(1 − ε) to P_max·(1 − ε)/ε, where P_max = m²d + σ² along the modes and P_min = σ²
inside them (`theory.bound`): the window must grow as √d, since a schedule that stops at a fixed ς never sees the modes at all.
"scales": formulas that take the two lengths √P_min and √P_max themselves. The clocks and paper A's VE take d, as published.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from theory import bound, clock, cost, curve, schedule, spectrum
from theory.reduction import Line
from theory.schedule import Dilated, Linear, Schedule, Trigonometric, VarianceExploding, VariancePreserving


@dataclass(frozen=True)
class Scales:
    """What a schedule may know of a mixture: d, the two variances, and the window (ς_min, ς_max)."""

    dim: float
    small: float
    large: float
    noise_min: float
    noise_max: float

    @classmethod
    def of(cls, law: Line, epsilon: float) -> Scales:
        """Of a law of one row: smallest variance in a mode, and second moment along the line."""
        small = float(law.variances.min())
        large = float((law.weights * (law.centres**2 + law.variances)).sum())
        low, high = bound.noise_window([small, large], epsilon)
        return cls(float(law.dim[0]), small, large, math.sqrt(low), math.sqrt(high))

    @property
    def log_snr(self) -> tuple[float, float]:
        """(λ at the data end, λ at the noise end)."""
        return curve.log_snr_of(self.noise_min), curve.log_snr_of(self.noise_max)

    @property
    def middle(self) -> float:
        """Geometric mean of the two lengths √P."""
        return (self.small * self.large) ** 0.25


Family = Callable[[Scales], Schedule]


def karras(exponent: float) -> Family:
    return lambda s: VarianceExploding(curve.Karras(s.noise_min, s.noise_max, exponent))


def log_uniform(s: Scales) -> Schedule:
    return VariancePreserving(curve.LogUniform(*s.log_snr))


def tangent(s: Scales, scale: float) -> Schedule:
    return VarianceExploding(curve.Tangent(scale, *s.log_snr))


def blended_tangents(s: Scales) -> Schedule:
    """Simple diffusion's interpolation (arXiv 2301.11093): the small scale's tangent at the data end."""
    return VariancePreserving(curve.Blend(*(curve.Tangent(math.sqrt(p), *s.log_snr) for p in (s.small, s.large))))


def geodesic(s: Scales, weights: tuple[float, float] = (0.5, 0.5), nodes: int = 4097) -> Schedule:
    """Unit speed in √Σ w P/(P + ς²)² over the window (`cost.geodesic`), one weight per direction."""
    levels = cost.geodesic((s.large, s.small), weights, s.noise_min, s.noise_max, nodes - 1)
    return VariancePreserving(curve.Tabulated(torch.from_numpy(-2 * np.log(levels[::-1])), smooth=True))


def stretched_table(s: Scales, model: str = "sdxl") -> Schedule:
    """An Align Your Steps table, its log-SNR stretched affinely over the window; straight lines in between."""
    log_snr = -2 * torch.log(torch.tensor(schedule.AYS_LEVELS[model], dtype=torch.float64)).flip(0)
    high, low = s.log_snr
    share = (log_snr - log_snr[-1]) / (log_snr[0] - log_snr[-1])
    return VarianceExploding(curve.Tabulated(low + (high - low) * share, smooth=False))


def spectral(focus: float, epsilon: float, size: int = 64) -> Family:
    """Paper B's shapes (arXiv 2603.19222, our reconstruction) for a power law between the two variances.

    Over size/2 frequencies. For the mixture's own two variances, without any in between, all three shapes are log-uniform.
    """

    def make(s: Scales) -> Schedule:
        table = spectrum.rings(size, size)
        frequency = torch.arange(len(table.count), dtype=torch.float64).clamp(min=1)
        power = s.large * frequency ** -(math.log(s.large / s.small) / math.log(table.nyquist))
        return VariancePreserving(curve.Tabulated(spectrum.spectral_log_snr(power, table, epsilon, focus, 257)))

    return make


@dataclass(frozen=True)
class Entry:
    """A schedule of the atlas: how it is made, and the growth theory expects of DDIM on it ("" if open)."""

    make: Family
    growth: str = ""


def entries(epsilon: float, kappa: float) -> dict[str, Entry]:
    """The atlas's schedules for a window of ε and clocks of κ, best known classes first."""
    vp, ve = schedule.variance_preserving_flow, schedule.variance_exploding_flow
    return {
        "geodesic": Entry(geodesic, "constant"),
        "VP sqrt clock": Entry(lambda s: vp("sqrt", s.dim, kappa), "constant"),
        "VP linear clock": Entry(lambda s: vp("linear", s.dim, kappa), "constant"),
        "VE linear clock": Entry(lambda s: ve("linear", s.dim, kappa), "constant"),
        "VE sqrt clock": Entry(lambda s: ve("sqrt", s.dim, kappa)),
        "log-uniform": Entry(log_uniform, "log"),
        "VE geometric": Entry(lambda s: VarianceExploding(curve.LogUniform(*s.log_snr)), "log"),
        "spectral frequency": Entry(spectral(0.0, epsilon)),
        "spectral mixed": Entry(spectral(0.5, epsilon)),
        "spectral power": Entry(spectral(1.0, epsilon)),
        "entropic, σ": Entry(lambda s: VarianceExploding(curve.Entropic(math.sqrt(s.small), *s.log_snr))),
        "entropic, m√d": Entry(lambda s: VarianceExploding(curve.Entropic(math.sqrt(s.large), *s.log_snr))),
        "beta quantiles": Entry(lambda s: Dilated(log_uniform(s), clock.BetaClock()), "log"),
        "polyexponential ρ = 2": Entry(lambda s: Dilated(log_uniform(s), clock.PowerClock(2.0))),
        "AYS table": Entry(stretched_table, "log"),
        "blended tangents": Entry(blended_tangents),
        "Lipschitz-optimal": Entry(lambda s: schedule.LipschitzOptimal(s.large)),
        "EDM ρ = 7": Entry(karras(7.0), "1/14"),
        "EDM ρ = 5": Entry(karras(5.0), "1/10"),
        "EDM ρ = 3": Entry(karras(3.0), "1/6"),
        "tangent, geometric mean": Entry(lambda s: tangent(s, s.middle), "1/4"),
        "tangent, σ": Entry(lambda s: tangent(s, math.sqrt(s.small))),
        "tangent, m√d": Entry(lambda s: tangent(s, math.sqrt(s.large)), "1/2"),
        "SD3 shift, geometric mean": Entry(lambda s: Dilated(Linear(), clock.ResolutionClock(s.middle)), "1/4"),
        "shifted cosine, ∝ √d": Entry(lambda s: schedule.shifted(Trigonometric(), -2 * math.log(math.sqrt(s.large))), "1/2"),
        "VE linear": Entry(lambda s: ve("linear", s.dim), "1/2"),
        "VE sqrt": Entry(lambda s: ve("sqrt", s.dim)),
        "linear": Entry(lambda s: Linear(), "1/2"),
        "square root": Entry(lambda s: schedule.SquareRoot(), "1/2"),
        "trigonometric": Entry(lambda s: Trigonometric(), "1/2"),
        "cosine": Entry(lambda s: schedule.Cosine(), "1/2"),
        "sigmoid": Entry(lambda s: schedule.Sigmoid(), "1/2"),
        "logit-normal": Entry(lambda s: schedule.logit_normal()),
        "VP-SDE": Entry(lambda s: schedule.VPSDE()),
        "DDPM linear": Entry(lambda s: schedule.ddpm_linear()),
        "EDM, 80 … .002": Entry(lambda s: schedule.edm()),
    }


STEEP = ("linear", "square root", "VE linear", "EDM ρ = 3")  # walked farther, so that their exponent is fitted to five points
