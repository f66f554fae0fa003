"""A schedule is two functions of time, signal(t) and noise(t): x_t = signal(t)·data + noise(t)·z, z standard normal.

t = 0 is data, t = 1 is noise. Everything else is derived here, once: λ = log(signal²/noise²), noise-to-signal ς, rates by
automatic differentiation, the inverse t(λ). Families are compositions, never a class per combination: paper A's VE with its
clock is `Dilated(Scaled(Linear(), √d), ve_linear_clock(d, κ))`, an SD3 shift `shifted(Linear(), −2 log k, "linear")`, a
shifted cosine the same function on another base. Definitions and sources: the docstring of each family; `CATALOGUE` lists
them all by name, with the defaults of their papers.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from theory import clock, curve, spectrum

Time = float | Tensor


def _floating(**values: Any) -> Tensor:
    """One named value as a floating tensor: a floating tensor as it is, float64 for a number, a list or integers.

    Raises TypeError, with its name, for what holds no real numbers.
    """
    ((name, value),) = values.items()
    if isinstance(value, Tensor):
        if value.is_floating_point():
            return value
        if not value.is_complex():
            return value.double()
    else:
        try:
            if not np.iscomplexobj(value):  # of an array torch would drop the imaginary part
                return torch.as_tensor(value, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError):  # not a number, a ragged list
            pass
    raise TypeError(
        f"{name} = {repr(value)[:60]}, {type(value).__name__}; allowed: a real number, or an array or tensor of them; remedy: "
        "torch.as_tensor(…) of what was meant"
    )


def as_time(t: Time) -> Tensor:
    """t as a floating tensor (float64 for numbers and integers). Raises ValueError outside [0, 1], TypeError for no number.

    On an accelerator the check is left out: reading the bounds would stall the device in a training loop.
    """
    time = t if isinstance(t, Tensor) and t.is_floating_point() else _floating(t=t)  # the first on every step
    if time.device.type == "cpu" and not bool(((time >= 0) & (time <= 1)).all()):
        raise ValueError(
            f"t outside [0, 1]: it spans [{time.min().item()}, {time.max().item()}]; allowed: 0 (data) … 1 (noise); remedy: "
            "divide step numbers by their count"
        )
    return time


class Schedule(ABC):
    """x_t = signal(t)·data + noise(t)·z. Subclasses give `coefficients`; the rest is final."""

    @abstractmethod
    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(signal, noise) at the times t, both ≥ 0, dtype of t; shape of t broadcast with the batch shape, if any."""

    @property
    def kinks(self) -> tuple[float, ...]:
        """Times in (0, 1) that a grid must have among its nodes."""
        return ()

    def signal(self, t: Time) -> Tensor:
        return self.coefficients(as_time(t))[0]

    def noise(self, t: Time) -> Tensor:
        return self.coefficients(as_time(t))[1]

    def noise_to_signal(self, t: Time) -> Tensor:
        """ς = noise/signal; +∞ where the signal vanishes."""
        signal, noise = self.coefficients(as_time(t))
        return noise / signal

    def log_snr(self, t: Time) -> Tensor:
        """λ = log(signal²/noise²); +∞ where the noise vanishes, −∞ where the signal does."""
        signal, noise = self.coefficients(as_time(t))
        return 2 * (torch.log(signal) - torch.log(noise))

    def rates(self, t: Time) -> tuple[Tensor, Tensor]:
        """(d signal/dt, d noise/dt) by forward-mode differentiation; ±∞ or NaN where a coefficient has a vertical tangent."""
        time = as_time(t)
        signal, noise = torch.func.jvp(self.coefficients, (time,), (torch.ones_like(time),))[1]
        return signal.to(time.dtype), noise.to(time.dtype)  # forward mode makes float64 of a lone float32 number

    def log_snr_rate(self, t: Time) -> Tensor:
        """dλ/dt ≤ 0; −∞ or NaN at an end where λ is infinite."""
        time = as_time(t)
        return torch.func.jvp(self.log_snr, (time,), (torch.ones_like(time),))[1].to(time.dtype)

    def time_at(self, log_snr: Time) -> Tensor:
        """The inverse of `log_snr`, by bisection to the last bit of t (2⁻¹⁰⁰ near t = 0).

        Raises ValueError when a level lies outside [λ(1), λ(0)], TypeError for what is no number.
        """
        level = _floating(log_snr=log_snr)
        shape = np.broadcast_shapes(level.shape, self.log_snr(torch.zeros_like(level)).shape)
        low, high = level.new_zeros(shape), level.new_ones(shape)
        top, bottom = self.log_snr(low), self.log_snr(high)
        if not bool(((level <= top) & (level >= bottom)).all()):  # NaN is outside too
            raise ValueError(
                f"log-SNR between {level.min().item()} and {level.max().item()} asked for; allowed: this schedule's, from "
                f"{bottom.max().item()} to {top.min().item()}; remedy: clip the levels, or take a schedule that reaches them"
            )
        for _ in range(100):
            middle = (low + high) / 2
            noisier = self.log_snr(middle) > level
            low, high = torch.where(noisier, middle, low), torch.where(noisier, high, middle)
        return torch.where(level >= top, torch.zeros_like(low), high)


# ---- closed forms: the two functions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Linear(Schedule):
    """signal = 1 − t, noise = t: rectified flow; paper A's "linear" form under constant denoising."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t


@dataclass(frozen=True)
class SquareRoot(Schedule):
    """signal = 1 − t, noise = √(1 − (1 − t)²): paper A's "sqrt" form, variance preserving, under constant denoising."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, torch.sqrt(t * (2 - t))


@dataclass(frozen=True)
class Trigonometric(Schedule):
    """signal = cos(πt/2), noise = sin(πt/2); λ = −2 log tan(πt/2)."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        # sin of the complement vanishes exactly at t = 1, cos of the float π/2 does not.
        return torch.sin((1 - t) * (math.pi / 2)), torch.sin(t * (math.pi / 2))


@dataclass(frozen=True)
class VPSDE(Schedule):
    """The VP-SDE (arXiv 2011.13456, appendix B): log signal = −¼t²(β₁ − β₀) − ½β₀t. Needs 0 < β₀ ≤ β₁."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        curve.check_number(beta_min=self.beta_min, beta_max=self.beta_max)
        if not 0 < self.beta_min <= self.beta_max < math.inf:
            raise ValueError(
                f"β from {self.beta_min} to {self.beta_max}; allowed: 0 < β_min ≤ β_max < ∞; remedy: 0.1 and 20 are the usual "
                "ones"
            )

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_signal = -0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * self.beta_min * t
        return torch.exp(log_signal), torch.sqrt(-torch.expm1(2 * log_signal))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Improved DDPM (arXiv 2102.09672, equation 17): ᾱ = f(t)/f(0), f = cos²(((t + s)/(1 + s))π/2), without its β clip.

    Needs 0 ≤ s ≤ 1e6: f would rise near the data for s < 0, and cos of an angle so near π/2 has lost its digits.
    """

    offset: float = 0.008

    def __post_init__(self) -> None:
        curve.check_number(offset=self.offset)
        if not 0 <= self.offset <= 1e6:
            raise ValueError(f"offset s = {self.offset}; allowed: 0 ≤ s ≤ 1e6; remedy: 0.008 is the usual one")

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        unit = math.pi / 2 / (1 + self.offset)
        start = self.offset * unit
        # cos²a₀ − cos²a = sin(a − a₀)·sin(a + a₀): no cancellation near t = 0.
        noise = torch.sqrt(torch.sin(t * unit) * torch.sin(t * unit + 2 * start)) / math.cos(start)
        return torch.sin((1 - t) * unit) / math.cos(start), noise


@dataclass(frozen=True)
class Sigmoid(Schedule):
    """Sigmoid schedule (arXiv 2212.11972): ᾱ = (σ(e/τ) − σ(u))/(σ(e/τ) − σ(s/τ)), u = (s + t(e − s))/τ.

    Needs s < e, 0 < τ < ∞, and both ends within ±400τ (cosh of more is no double).
    """

    start: float = -3.0
    end: float = 3.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        curve.check_number(start=self.start, end=self.end, temperature=self.temperature)
        reach = 400 * self.temperature
        if not (0 < self.temperature < math.inf and -reach <= self.start < self.end <= reach):
            raise ValueError(
                f"start {self.start}, end {self.end}, τ {self.temperature}; allowed: start < end and τ > 0, with −400τ ≤ start "
                "and end ≤ 400τ; remedy: −3, 3 and 1 are the usual ones"
            )

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        start, end = self.start / self.temperature, self.end / self.temperature
        width = end - start
        # σ(a) − σ(b) = sinh((a − b)/2)/(2 cosh(a/2) cosh(b/2)): no cancellation at either end.
        here = torch.cosh((start + t * width) / 2) * math.sinh(width / 2)
        signal = torch.sinh((1 - t) * width / 2) * math.cosh(start / 2) / here
        noise = torch.sinh(t * width / 2) * math.cosh(end / 2) / here
        return torch.sqrt(signal), torch.sqrt(noise)


@dataclass(frozen=True)
class LipschitzOptimal(Schedule):
    """noise² + M·signal² = M^{1−t}: the state's variance grows at a constant relative rate for N(0, M) (arXiv 2509.01629).

    The source fixes the variance only; with signal² + noise² = 1 it gives signal² = (M^{1−t} − 1)/(M − 1).
    Needs 0 < M < ∞, M ≠ 1.
    """

    variance: float = 100.0

    def __post_init__(self) -> None:
        curve.check_number(variance=self.variance)
        if not (0 < self.variance < math.inf and self.variance != 1):
            raise ValueError(
                f"variance M = {self.variance}; allowed: 0 < M < ∞, M ≠ 1; remedy: at M = 1 every schedule is optimal, take any"
            )

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_m = math.log(self.variance)
        signal = torch.expm1((1 - t) * log_m) / math.expm1(log_m)
        # M − M^{1−t} = −M·(M^{−t} − 1)
        noise = torch.expm1(-t * log_m) / math.expm1(-log_m)
        return torch.sqrt(signal), torch.sqrt(noise)


# ---- from a log-SNR curve ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VariancePreserving(Schedule):
    """signal² = sigmoid(λ(t)), noise² = sigmoid(−λ(t))."""

    curve: curve.Curve

    def __post_init__(self) -> None:
        _check_curve(self.curve)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_snr = self.curve(t)
        return torch.exp(0.5 * _log_sigmoid(log_snr)), torch.exp(0.5 * _log_sigmoid(-log_snr))


@dataclass(frozen=True)
class VarianceExploding(Schedule):
    """signal = 1, noise = e^{−λ(t)/2}."""

    curve: curve.Curve

    def __post_init__(self) -> None:
        _check_curve(self.curve)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_snr = self.curve(t)
        return torch.ones_like(log_snr), torch.exp(-0.5 * log_snr)


def _check_curve(given: object) -> None:
    if not callable(given):
        raise TypeError(
            f"curve of type {type(given).__name__}; allowed: a Curve, λ(t); remedy: one of theory.curve (for a schedule in "
            "another gauge, Normalised)"
        )


def _log_sigmoid(x: Tensor) -> Tensor:
    # Not torch's logsigmoid: that has no forward-mode derivative, and `rates` wants one.
    return -torch.logaddexp(torch.zeros_like(x), -x)


# ---- wrappers ---------------------------------------------------------------------------------------------------------


def _check_base(base: object) -> None:
    if not isinstance(base, Schedule):
        raise TypeError(
            f"base of type {type(base).__name__}; allowed: a Schedule; remedy: for a curve λ(t), "
            "VariancePreserving(curve) is one"
        )


@dataclass(frozen=True)
class Dilated(Schedule):
    """The base schedule read on another clock: coefficients at u(t)."""

    base: Schedule
    clock: clock.Clock

    def __post_init__(self) -> None:
        _check_base(self.base)
        if not callable(self.clock):
            raise TypeError(f"clock of type {type(self.clock).__name__}; allowed: a Clock; remedy: one of theory.clock")

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.base.coefficients(self.clock(t))

    @property
    def kinks(self) -> tuple[float, ...]:
        """The clock's own, and the times at which it reads a kink of the base."""
        return tuple(sorted({*self.clock.kinks, *(clock.time_when(self.clock, kink) for kink in self.base.kinks)}))


@dataclass(frozen=True)
class Scaled(Schedule):
    """noise × `noise_scale`: paper A's s (VE: s = √d), and a constant shift of λ by −2 log s. Needs s > 0."""

    base: Schedule
    noise_scale: float

    def __post_init__(self) -> None:
        _check_base(self.base)
        curve.check_number(noise_scale=self.noise_scale)
        if not 0 < self.noise_scale < math.inf:
            raise ValueError(f"noise_scale = {self.noise_scale}; allowed: 0 < noise_scale < ∞; remedy: 1 for VP, √d for VE")

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        signal, noise = self.base.coefficients(t)
        return signal, noise * self.noise_scale

    @property
    def kinks(self) -> tuple[float, ...]:
        return self.base.kinks


Gauge = Literal["variance preserving", "linear", "variance exploding"]


@dataclass(frozen=True)
class Normalised(Schedule):
    """The base's noise-to-signal in another gauge: signal² + noise² = 1, signal + noise = 1, or signal = 1.

    "variance exploding" has infinite noise where the base's signal vanishes.
    """

    base: Schedule
    gauge: Gauge

    def __post_init__(self) -> None:
        _check_base(self.base)
        allowed: tuple[str, ...] = Gauge.__args__  # type: ignore[attr-defined]
        if self.gauge not in allowed:
            raise ValueError(
                f"gauge = {self.gauge!r}; allowed: {', '.join(allowed)}; remedy: any, none changes noise-to-signal"
            )

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        signal, noise = self.base.coefficients(t)
        if self.gauge == "variance exploding":
            return torch.ones_like(signal), noise / signal
        norm = signal + noise if self.gauge == "linear" else torch.sqrt(signal**2 + noise**2)
        return signal / norm, noise / norm

    @property
    def kinks(self) -> tuple[float, ...]:
        return self.base.kinks


@dataclass(frozen=True)
class SubVariancePreserving(Schedule):
    """The sub-VP SDE (arXiv 2011.13456) from a variance-preserving base: noise = 1 − signal², the base's noise squared."""

    base: Schedule

    def __post_init__(self) -> None:
        _check_base(self.base)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        signal, noise = self.base.coefficients(t)
        return signal, noise**2

    @property
    def kinks(self) -> tuple[float, ...]:
        return self.base.kinks


def shifted(base: Schedule, log_snr_shift: float, gauge: Gauge = "variance preserving") -> Schedule:
    """λ + shift at every t, ends included, in the gauge asked for.

    Simple diffusion's resolution shift is 2 log(n_base/n) (arXiv 2301.11093); SD3's and Flux's timestep shift k on the
    linear schedule is −2 log k in the linear gauge. Raises ValueError unless e^{−shift/2} is a double: |shift| ≤ 1400.
    """
    curve.check_number(log_snr_shift=log_snr_shift)
    if not -1400 <= log_snr_shift <= 1400:
        raise ValueError(
            f"log_snr_shift = {log_snr_shift}; allowed: −1400 … 1400, as far as e^{{−shift/2}} is a double; remedy: 0 shifts "
            "nothing, and twice the resolution is −2 log 2"
        )
    return Normalised(Scaled(base, math.exp(-log_snr_shift / 2)), gauge)


# ---- the catalogue ----------------------------------------------------------------------------------------------------


def truncated_cosine(log_snr_max: float = 15.0, log_snr_min: float = -15.0) -> Schedule:
    """Simple diffusion's cosine on λ ∈ [−15, 15] (arXiv 2301.11093)."""
    return VariancePreserving(curve.Tangent(1.0, log_snr_max, log_snr_min))


def shifted_cosine(resolution: int = 128, base_resolution: int = 64) -> Schedule:
    """The truncated cosine moved by 2 log(base/n), clipped ends moved with it. Raises ValueError unless both are > 0."""
    curve.check_positive(resolution=resolution, base_resolution=base_resolution)
    return shifted(truncated_cosine(), 2 * math.log(base_resolution / resolution))


def interpolated_cosine(resolution: int = 256, base_at_data: int = 32, base_at_noise: int = 256) -> Schedule:
    """Simple diffusion's blend of two shifted cosines: the low base rules at the data end (see `curve.Blend`).

    Raises ValueError unless all three are > 0, and for a base at noise so far above the one at data (23 times) that the blend
    rises: its rate at t = ½ is −4w + 2 log(base_at_noise/base_at_data), w the range of the cosine's angle.
    """
    curve.check_positive(resolution=resolution, base_at_data=base_at_data, base_at_noise=base_at_noise)
    most = math.exp(math.pi - 4 * math.atan(math.exp(-7.5)))
    if not base_at_noise < most * base_at_data:
        raise ValueError(
            f"base_at_noise = {base_at_noise} over base_at_data = {base_at_data}; allowed: a ratio < {most:.4g}, where the "
            "log-SNR falls at every t; remedy: bring the two bases nearer"
        )
    cosine = curve.Tangent(1.0, 15.0, -15.0)
    at_data, at_noise = (curve.Offset(cosine, 2 * math.log(base / resolution)) for base in (base_at_data, base_at_noise))
    return VariancePreserving(curve.Blend(at_data, at_noise))


def discrete_betas(betas: np.ndarray) -> Schedule:
    """signal² = Π(1 − β_i): the i-th of n trained levels sits at t = i/(n − 1), log-SNR linear between.

    betas (n,), n ≥ 2. Raises ValueError, naming the first bad one, unless 0 < β < 1; TypeError for what is no number.
    """
    betas = _floating(betas=betas).numpy(force=True).astype(np.float64)
    if betas.ndim != 1 or len(betas) < 2:
        raise ValueError(f"betas of shape {betas.shape}; allowed: (n,) with n ≥ 2; remedy: one β for each trained step")
    bad = np.flatnonzero(~((betas > 0) & (betas < 1)))
    if len(bad):
        raise ValueError(
            f"β_{bad[0]} = {betas[bad[0]]}; allowed: 0 < β < 1; remedy: clip them, as the cosine schedule's at 0.999, or check "
            "that they are β and not ᾱ"
        )
    log_alpha_bar = np.cumsum(np.log1p(-betas))
    log_snr = log_alpha_bar - np.log(-np.expm1(log_alpha_bar))
    return VariancePreserving(curve.Tabulated(torch.from_numpy(log_snr), smooth=False))


def _check_count(count: int) -> None:
    if not isinstance(count, numbers.Integral) or count < 2:
        raise ValueError(f"count = {count!r}; allowed: an integer ≥ 2; remedy: 1000 trained steps are the usual ones")


def ddpm_linear(count: int = 1000) -> Schedule:
    """DDPM (arXiv 2006.11239): β from 1e-4 to .02, linear."""
    _check_count(count)
    return discrete_betas(np.linspace(1e-4, 0.02, count))


def scaled_linear(count: int = 1000) -> Schedule:
    """Latent diffusion (arXiv 2112.10752): √β linear from √.00085 to √.012."""
    _check_count(count)
    return discrete_betas(np.linspace(math.sqrt(0.00085), math.sqrt(0.012), count) ** 2)


def ve_geometric(noise_min: float = 0.01, noise_max: float = 1348.0) -> Schedule:
    """VE-SDE levels (arXiv 2011.13456); libraries differ in the range: .01 … 1348 there, 1e-3 … 1e3, .02 … 100 elsewhere."""
    return VarianceExploding(curve.LogUniform(curve.log_snr_of(noise_min), curve.log_snr_of(noise_max)))


def log_uniform(log_snr_max: float = 15.0, log_snr_min: float = -15.0) -> Schedule:
    """λ linear in t, variance preserving."""
    return VariancePreserving(curve.LogUniform(log_snr_max, log_snr_min))


def edm(noise_min: float = 0.002, noise_max: float = 80.0, exponent: float = 7.0) -> Schedule:
    """EDM's sampling levels (arXiv 2206.00364); the final 0 belongs to the grid, see `sampler.grid`."""
    return VarianceExploding(curve.Karras(noise_min, noise_max, exponent))


def polyexponential(noise_min: float = 0.01, noise_max: float = 80.0, exponent: float = 2.0) -> Schedule:
    """k-diffusion's polyexponential levels: log ς linear in t^ρ; ρ = 1 is log-uniform."""
    return Dilated(ve_geometric(noise_min, noise_max), clock.PowerClock(exponent))


def beta_quantiles(a: float = 0.6, b: float = 0.6) -> Schedule:
    """The web interfaces' "beta" timesteps on the scaled-linear levels of latent diffusion."""
    return Dilated(scaled_linear(), clock.BetaClock(a, b))


def sd3(shift: float = 3.0) -> Schedule:
    """SD3's shifted rectified flow (arXiv 2403.03206); 3 at 1024 px."""
    return Dilated(Linear(), clock.ResolutionClock(shift))


def logit_normal(mean: float = 0.0, std: float = 1.0) -> Schedule:
    """SD3's logit-normal training density as a schedule: its quantiles, in the linear gauge."""
    curve.check_finite(mean=mean)
    curve.check_positive(std=std)
    return Normalised(VariancePreserving(curve.NormalQuantile(-2 * mean, 2 * std)), "linear")


def edm_training(mean: float = -1.2, std: float = 1.2) -> Schedule:
    """EDM's training density, log ς ~ N(−1.2, 1.2²), as a schedule: its quantiles."""
    curve.check_finite(mean=mean)
    curve.check_positive(std=std)
    return VarianceExploding(curve.NormalQuantile(-2 * mean, 2 * std))


def laplace(location: float = 0.0, scale: float = 0.5) -> Schedule:
    """Laplace training density over λ (arXiv 2407.03297), as a schedule: its quantiles."""
    return VariancePreserving(curve.LaplaceQuantile(location, scale))


def tangent(data_std: float = 0.5, noise_min: float = 0.002, noise_max: float = 80.0) -> Schedule:
    """Equal angles atan(ς/c) for data of standard deviation c (Align Your Steps, Theorem 3.1)."""
    return VarianceExploding(curve.Tangent(data_std, curve.log_snr_of(noise_min), curve.log_snr_of(noise_max)))


def entropic(data_std: float = 0.5, noise_min: float = 0.002, noise_max: float = 80.0) -> Schedule:
    """Equal steps of conditional entropy for Gaussian data of standard deviation c."""
    return VarianceExploding(curve.Entropic(data_std, curve.log_snr_of(noise_min), curve.log_snr_of(noise_max)))


# The 10-step levels published with Align Your Steps (arXiv 2404.14507, its project page); log ς linear between. Tools differ
# in the ends they put: these lists end at the smallest trained level, and a sampler appends 0 if it wants clean output.
AYS_LEVELS = {
    "sd1.5": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
    "svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}


def ays(model: str = "sdxl") -> Schedule:
    """A published Align Your Steps table. Raises ValueError for an unknown model."""
    if not isinstance(model, str) or model not in AYS_LEVELS:
        raise ValueError(
            f"model = {model!r}; allowed: {', '.join(AYS_LEVELS)}; remedy: for other models tabulate their levels "
            "(curve.Tabulated)"
        )
    log_snr = -2 * torch.log(torch.tensor(AYS_LEVELS[model], dtype=torch.float64)).flip(0)
    return VarianceExploding(curve.Tabulated(log_snr, smooth=False))


def spectral(focus: float = 0.5, slope: float = 2.0, size: int = 64, variance: float = 0.25, epsilon: float = 0.01) -> Schedule:
    """A reconstruction of paper B's schedules (arXiv 2603.19222) for one power-law spectrum R ∝ f^{−slope}.

    focus 0 is frequency-focused, 1 power-focused, ½ mixed; `size` px a side, pixel variance `variance`, window for a relative
    variance error ε: see `spectrum.spectral_log_snr`. Per image, tabulate the curve of its own spectrum instead.
    """
    curve.check_positive(variance=variance)
    curve.check_number(slope=slope)
    if not 0 <= slope < math.inf:
        raise ValueError(f"slope = {slope}; allowed: 0 ≤ slope < ∞, of R ∝ f^−slope; remedy: natural images have about 2")
    table = spectrum.rings(size, size)
    power = torch.arange(len(table.count), dtype=torch.float64).clamp(min=1) ** -slope
    power = power * variance * table.count.sum() / (power * table.count).sum()
    return VariancePreserving(curve.Tabulated(spectrum.spectral_log_snr(power, table, epsilon, focus)))


Form = Literal["sqrt", "linear"]
FORMS: dict[str, Schedule] = {"sqrt": SquareRoot(), "linear": Linear()}


def _form(name: str) -> Schedule:
    if not isinstance(name, str) or name not in FORMS:
        raise ValueError(f"form = {name!r}; allowed: {', '.join(FORMS)}; remedy: linear is α = 1 − τ, sqrt is √(1 − τ²)")
    return FORMS[name]


def _check_dim(dim: float) -> None:
    curve.check_number(dim=dim)
    if not 0 < dim < math.inf:
        raise ValueError(
            f"dimension d = {dim}; allowed: 0 < d < ∞; remedy: the number of coordinates of the data (as d → ∞: theory.limit)"
        )


def variance_preserving_flow(form: Form = "sqrt", dim: float = 10_000, kappa: float | None = None) -> Schedule:
    """Paper A's VP interpolant (noise variance 1), with its clock when κ is given, else constant denoising.

    Raises ValueError for an unknown form, and unless 0 < d < ∞ and 0 < κ < √d.
    """
    base = _form(form)
    _check_dim(dim)
    if kappa is None:
        return base
    curve.check_number(kappa=kappa)
    return Dilated(base, clock.vp_clock(dim, kappa))


def variance_exploding_flow(form: Form = "linear", dim: float = 10_000, kappa: float | None = None) -> Schedule:
    """Paper A's VE interpolant (noise variance d), with its clock when κ is given, else constant denoising.

    Raises ValueError as `variance_preserving_flow`.
    """
    _check_dim(dim)
    base = Scaled(_form(form), math.sqrt(dim))
    if kappa is None:
        return base
    curve.check_number(kappa=kappa)
    return Dilated(base, clock.ve_linear_clock(dim, kappa) if form == "linear" else clock.VESquareRootClock(dim, kappa))


CATALOGUE: dict[str, Callable[[], Schedule]] = {
    "linear": Linear,
    "square root": SquareRoot,
    "trigonometric": Trigonometric,
    "VP-SDE": VPSDE,
    "sub-VP SDE": lambda: SubVariancePreserving(VPSDE()),
    "DDPM linear": ddpm_linear,
    "scaled linear": scaled_linear,
    "VE geometric": ve_geometric,
    "cosine": Cosine,
    "truncated cosine": truncated_cosine,
    "shifted cosine": shifted_cosine,
    "interpolated cosine": interpolated_cosine,
    "sigmoid": Sigmoid,
    "log-uniform": log_uniform,
    "EDM": edm,
    "EDM training": edm_training,
    "polyexponential": polyexponential,
    "beta quantiles": beta_quantiles,
    "SD3 shift": sd3,
    "logit-normal": logit_normal,
    "Laplace": laplace,
    "tangent": tangent,
    "entropic": entropic,
    "Lipschitz-optimal": LipschitzOptimal,
    "AYS": ays,
    "spectral frequency": lambda: spectral(0.0),
    "spectral power": lambda: spectral(1.0),
    "spectral mixed": spectral,
    "VP sqrt clock": lambda: variance_preserving_flow("sqrt", kappa=3.0),
    "VP linear clock": lambda: variance_preserving_flow("linear", kappa=3.0),
    "VE linear": variance_exploding_flow,
    "VE sqrt": lambda: variance_exploding_flow("sqrt"),
    "VE linear clock": lambda: variance_exploding_flow("linear", kappa=3.0),
    "VE sqrt clock": lambda: variance_exploding_flow("sqrt", kappa=3.0),
}
