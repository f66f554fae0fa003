"""Curves: log-SNR as a decreasing function of time, λ(t), for the families that are defined by it.

λ = log(signal²/noise²), not half of it (DPM-Solver's λ is half of ours); noise-to-signal ς = e^{−λ/2}.
t = 0 is data (largest λ), t = 1 noise. `schedule.VariancePreserving(curve)` and `schedule.VarianceExploding(curve)`
turn a curve into a schedule. Quantile curves are the exception to finite ends: a training density over noise
levels with unbounded support has λ(0) = +∞ and λ(1) = −∞, and a grid must stay inside (0, 1).
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


def check_number(**values: Any) -> None:
    """Raises TypeError, with its name, for a value that is not one real number; arrays and tensors of shape () are."""
    for name, value in values.items():
        if not (isinstance(value, numbers.Real) or (isinstance(value, np.ndarray | Tensor) and value.ndim == 0)):
            raise TypeError(
                f"{name} = {repr(value)[:60]}, {type(value).__name__}; allowed: a number; remedy: float(…) of what was meant"
            )


def log_snr_of(noise_to_signal: float) -> float:
    """λ = −2 log ς. Raises ValueError unless 0 < ς < ∞."""
    check_number(noise_to_signal=noise_to_signal)
    if not 0 < noise_to_signal < math.inf:
        raise ValueError(
            f"noise-to-signal ς = {noise_to_signal}; allowed: 0 < ς < ∞; remedy: cut the curve at a level above 0, e.g. 0.002"
        )
    return -2 * math.log(noise_to_signal)


def _check_range(log_snr_max: float, log_snr_min: float) -> None:
    check_number(log_snr_max=log_snr_max, log_snr_min=log_snr_min)
    if not (math.isfinite(log_snr_max) and math.isfinite(log_snr_min) and log_snr_min < log_snr_max):
        raise ValueError(
            f"λ runs from {log_snr_max} (data) to {log_snr_min} (noise); allowed: finite and decreasing; remedy: give the data "
            "end first, and cut infinite ends"
        )


def check_positive(**values: float) -> None:
    """Raises ValueError, with its name, for a value outside (0, ∞); TypeError for what is no number."""
    check_number(**values)
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} = {value}; allowed: 0 < {name} < ∞; remedy: give a positive number")


def check_finite(**values: float) -> None:
    """Raises ValueError, with its name, for a value that is not finite; TypeError for what is no number."""
    check_number(**values)
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} = {value}; allowed: finite; remedy: give a finite number")


def _check_ends(ends: Callable[[], tuple[float, float]], curve: Curve) -> None:
    """Raises ValueError where the curve's own quantity leaves (0, ∞) at an end, by over- or underflow of doubles."""
    try:
        inside = all(0 < end < math.inf for end in ends())
    except (OverflowError, ZeroDivisionError):
        inside = False
    if not inside:
        raise ValueError(
            f"{curve} cannot be computed in double precision; allowed: parameters whose powers and exponentials are neither 0 "
            "nor ∞; remedy: a shorter range of λ, or parameters nearer 1"
        )


class Curve(ABC):
    """λ(t), strictly decreasing on [0, 1]."""

    @abstractmethod
    def __call__(self, t: Tensor) -> Tensor:
        """λ(t), dtype of t; shape of t, or t's broadcast with the curve's batch shape where it has one."""


def _lerp(start: float, end: float, t: Tensor) -> Tensor:
    """Linear interpolation that is exact at both ends."""
    return torch.lerp(torch.full_like(t, start), torch.full_like(t, end), t)


@dataclass(frozen=True)
class LogUniform(Curve):
    """λ linear in t: the VE-SDE's geometric levels, and EDM's family in the limit ρ → ∞."""

    log_snr_max: float
    log_snr_min: float

    def __post_init__(self) -> None:
        _check_range(self.log_snr_max, self.log_snr_min)

    def __call__(self, t: Tensor) -> Tensor:
        return _lerp(self.log_snr_max, self.log_snr_min, t)


@dataclass(frozen=True)
class Tangent(Curve):
    """ς = c·tan θ with θ linear in t: equal angles atan(ς/c).

    c = 1 on λ ∈ [−15, 15] is simple diffusion's truncated cosine (arXiv 2301.11093); any other c shifts it by
    −2 log c with the clipped ends held in place. For data N(0, c²) it is KL-optimal (Align Your Steps, arXiv 2404.14507,
    Theorem 3.1).
    """

    scale: float
    log_snr_max: float
    log_snr_min: float

    def __post_init__(self) -> None:
        _check_range(self.log_snr_max, self.log_snr_min)
        check_positive(scale=self.scale)
        _check_ends(self._tangents, self)

    def _tangents(self) -> tuple[float, float]:
        return math.exp(-self.log_snr_max / 2) / self.scale, math.exp(-self.log_snr_min / 2) / self.scale

    def __call__(self, t: Tensor) -> Tensor:
        low, high = self._tangents()
        # θ and its complement to π/2 are interpolated separately: float32 would lose tan near π/2.
        angle = _lerp(math.atan(low), math.atan(high), t)
        complement = _lerp(math.atan(1 / low), math.atan(1 / high), t)
        return 2 * (torch.log(torch.sin(complement)) - torch.log(torch.sin(angle))) - 2 * math.log(self.scale)


@dataclass(frozen=True)
class Karras(Curve):
    """ς^{1/ρ} linear in t (EDM, arXiv 2206.00364, equation 5; ρ = 7, ς from .002 to 80 there)."""

    noise_min: float = 0.002
    noise_max: float = 80.0
    exponent: float = 7.0

    def __post_init__(self) -> None:
        check_positive(exponent=self.exponent)
        _check_range(log_snr_of(self.noise_min), log_snr_of(self.noise_max))
        _check_ends(self._roots, self)

    def _roots(self) -> tuple[float, float]:
        return self.noise_min ** (1 / self.exponent), self.noise_max ** (1 / self.exponent)

    def __call__(self, t: Tensor) -> Tensor:
        root = _lerp(*self._roots(), t)
        return -2 * self.exponent * torch.log(root)


@dataclass(frozen=True)
class Entropic(Curve):
    """Uniform in the conditional entropy H[data | state] of data N(0, c²) (arXiv 2504.13612).

    dH/dς = mmse/ς³ integrates to −½ log(1 + c²/ς²), so log(1 + c²e^λ) is linear in t. The rescaled entropic time,
    ∫ mmse/ς² dς, is atan(ς/c), i.e. `Tangent`.
    """

    scale: float
    log_snr_max: float
    log_snr_min: float

    def __post_init__(self) -> None:
        _check_range(self.log_snr_max, self.log_snr_min)
        check_positive(scale=self.scale)
        _check_ends(self._entropies, self)

    def _entropies(self) -> tuple[float, float]:
        """log(1 + c²e^λ) at the data and at the noise."""
        square = self.scale**2
        return math.log1p(square * math.exp(self.log_snr_max)), math.log1p(square * math.exp(self.log_snr_min))

    def __call__(self, t: Tensor) -> Tensor:
        return torch.log(torch.expm1(_lerp(*self._entropies(), t))) - math.log(self.scale**2)


@dataclass(frozen=True)
class NormalQuantile(Curve):
    """λ distributed as N(mean, std²) when t is uniform.

    EDM's training density log ς ~ N(−1.2, 1.2²) is λ ~ N(2.4, 2.4²); SD3's logit-normal t ~ sigmoid(N(m, s²)) on the
    linear schedule is λ ~ N(−2m, (2s)²) (arXiv 2403.03206). Infinite ends.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        check_finite(mean=self.mean)
        check_positive(std=self.std)

    def __call__(self, t: Tensor) -> Tensor:
        return self.mean - self.std * torch.special.ndtri(t)


@dataclass(frozen=True)
class LaplaceQuantile(Curve):
    """λ distributed as Laplace(location, scale) when t is uniform (arXiv 2407.03297; 0 and ½ there). Infinite ends.

    λ(½) = location. (diffusers 0.30's Laplace schedule has 0.88 there: it takes √ᾱ for ᾱ.)
    """

    location: float = 0.0
    scale: float = 0.5

    def __post_init__(self) -> None:
        check_finite(location=self.location)
        check_positive(scale=self.scale)

    def __call__(self, t: Tensor) -> Tensor:
        return self.location + self.scale * torch.where(t < 0.5, -torch.log(2 * t), torch.log(2 * (1 - t)))


@dataclass(frozen=True)
class Blend(Curve):
    """(1 − t)·at_data(t) + t·at_noise(t): the first curve rules near the data, the second near the noise.

    Simple diffusion's interpolated schedule (arXiv 2301.11093, equation 6, as quoted second-hand) has the shift of base 32
    at the data end, where the fine detail is decided and more noise is wanted, and of base 256 or n at the noise end.
    """

    at_data: Curve
    at_noise: Curve

    def __call__(self, t: Tensor) -> Tensor:
        return torch.lerp(self.at_data(t), self.at_noise(t), t)


@dataclass(frozen=True)
class Offset(Curve):
    """λ + shift: every noise level moved by the factor e^{−shift/2}, ends included."""

    base: Curve
    shift: float

    def __post_init__(self) -> None:
        check_finite(shift=self.shift)

    def __call__(self, t: Tensor) -> Tensor:
        return self.base(t) + self.shift


@dataclass(frozen=True, eq=False)
class Tabulated(Curve):
    """λ given at K ≥ 2 equally spaced times from t = 0 to t = 1, one row per image: shape (*batch, K).

    `smooth` joins the nodes by the monotone cubic of Fritsch and Butland (1984), with a continuous rate, for training;
    otherwise by straight lines. Called with t of shape (*batch) or broadcastable to it. Raises ValueError, naming the row
    and the first bad node, when a row is not finite or not strictly decreasing. `checked` says that it is known to be: the
    check reads values, which would stall an accelerator at every training step.
    """

    nodes: Tensor
    smooth: bool = True
    checked: bool = False

    def __post_init__(self) -> None:
        nodes = self.nodes
        if not isinstance(nodes, Tensor):
            raise TypeError(
                f"nodes of type {type(nodes).__name__}; allowed: a tensor (*batch, K) of log-SNR; remedy: torch.as_tensor(…)"
            )
        if nodes.ndim < 1 or nodes.shape[-1] < 2:
            raise ValueError(
                f"nodes of shape {tuple(nodes.shape)}; allowed: (*batch, K) with K ≥ 2; remedy: give λ at both ends at least"
            )
        if self.checked:
            return
        bad = ~torch.isfinite(nodes[..., 1:]) | ~torch.isfinite(nodes[..., :-1]) | (torch.diff(nodes) >= 0)
        if bad.any():
            *row, node = (int(i) for i in torch.nonzero(bad)[0])
            a, b = (nodes[(*row, node + k)].item() for k in (0, 1))
            raise ValueError(
                f"row {tuple(row)}, nodes {node}, {node + 1} (t = {node / (nodes.shape[-1] - 1):.4g}) have log-SNR {a}, {b}; "
                "allowed: finite and strictly decreasing; remedy: order the levels from data to noise, and merge equal ones"
            )

    @property
    def batch_shape(self) -> torch.Size:
        return self.nodes.shape[:-1]

    def _slopes(self) -> Tensor:
        """Node slopes (per node spacing) that keep the cubic monotone."""
        chord = torch.diff(self.nodes)
        if chord.shape[-1] == 1:
            return chord.expand(*self.batch_shape, 2)
        before, after = chord[..., :-1], chord[..., 1:]
        inner = 2 * before * after / (before + after)
        # One-sided three-point ends, limited to three chords so that monotonicity holds there too.
        first, last = 1.5 * chord[..., 0] - 0.5 * chord[..., 1], 1.5 * chord[..., -1] - 0.5 * chord[..., -2]
        first = torch.clamp(first, min=3 * chord[..., 0]).clamp(max=0)
        last = torch.clamp(last, min=3 * chord[..., -1]).clamp(max=0)
        return torch.cat([first[..., None], inner, last[..., None]], dim=-1)

    def __call__(self, t: Tensor) -> Tensor:
        t = torch.broadcast_to(t, np.broadcast_shapes(t.shape, self.batch_shape))  # torch's own imports sympy first: a second
        nodes = self.nodes.to(dtype=t.dtype, device=t.device)
        intervals = nodes.shape[-1] - 1
        left = (t.detach() * intervals).floor().clamp(0, intervals - 1).long()
        u = t * intervals - left

        def at(values: Tensor, index: Tensor) -> Tensor:
            return torch.gather(values.expand(*t.shape, values.shape[-1]), -1, index[..., None])[..., 0]

        a, b = at(nodes, left), at(nodes, left + 1)
        if not self.smooth:
            return torch.lerp(a, b, u)
        slopes = self._slopes().to(dtype=t.dtype, device=t.device)
        p, q = at(slopes, left), at(slopes, left + 1)
        v = 1 - u
        return a * v * v * (1 + 2 * u) + b * u * u * (1 + 2 * v) + p * u * v * v - q * v * u * u
