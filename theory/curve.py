"""Curves: log-SNR as a decreasing function of time, λ(t), for the families that are defined by it.

λ = log(signal²/noise²), not half of it (DPM-Solver's λ is half of ours); noise-to-signal ς = e^{−λ/2}.
t = 0 is data (largest λ), t = 1 noise. `schedule.VariancePreserving(curve)` and `schedule.VarianceExploding(curve)`
turn a curve into a schedule. Quantile curves are the exception to finite ends: a training density over noise
levels with unbounded support has λ(0) = +∞ and λ(1) = −∞, and a grid must stay inside (0, 1).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def log_snr_of(noise_to_signal: float) -> float:
    """λ = −2 log ς. Raises ValueError unless 0 < ς < ∞."""
    if not 0 < noise_to_signal < math.inf:
        raise ValueError(f"noise-to-signal ς = {noise_to_signal}; allowed: 0 < ς < ∞")
    return -2 * math.log(noise_to_signal)


def _check_range(log_snr_max: float, log_snr_min: float) -> None:
    if not (math.isfinite(log_snr_max) and math.isfinite(log_snr_min) and log_snr_min < log_snr_max):
        raise ValueError(f"λ runs from {log_snr_max} (data) to {log_snr_min} (noise); allowed: finite and decreasing")


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} = {value}; allowed: 0 < {name} < ∞")


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
        _check_positive(scale=self.scale)

    def __call__(self, t: Tensor) -> Tensor:
        low, high = (math.exp(-x / 2) / self.scale for x in (self.log_snr_max, self.log_snr_min))
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
        _check_positive(exponent=self.exponent)
        _check_range(log_snr_of(self.noise_min), log_snr_of(self.noise_max))

    def __call__(self, t: Tensor) -> Tensor:
        root = _lerp(self.noise_min ** (1 / self.exponent), self.noise_max ** (1 / self.exponent), t)
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
        _check_positive(scale=self.scale)

    def __call__(self, t: Tensor) -> Tensor:
        square = self.scale**2
        high, low = (math.log1p(square * math.exp(x)) for x in (self.log_snr_max, self.log_snr_min))
        return torch.log(torch.expm1(_lerp(high, low, t))) - math.log(square)


@dataclass(frozen=True)
class NormalQuantile(Curve):
    """λ distributed as N(mean, std²) when t is uniform.

    EDM's training density log ς ~ N(−1.2, 1.2²) is λ ~ N(2.4, 2.4²); SD3's logit-normal t ~ sigmoid(N(m, s²)) on the
    linear schedule is λ ~ N(−2m, (2s)²) (arXiv 2403.03206). Infinite ends.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        _check_positive(std=self.std)

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
        _check_positive(scale=self.scale)

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
        if nodes.ndim < 1 or nodes.shape[-1] < 2:
            raise ValueError(f"nodes of shape {tuple(nodes.shape)}; allowed: (*batch, K) with K ≥ 2")
        if self.checked:
            return
        bad = ~torch.isfinite(nodes[..., 1:]) | ~torch.isfinite(nodes[..., :-1]) | (torch.diff(nodes) >= 0)
        if bad.any():
            *row, node = (int(i) for i in torch.nonzero(bad)[0])
            a, b = (nodes[(*row, node + k)].item() for k in (0, 1))
            raise ValueError(
                f"log-SNR must be finite and strictly decreasing: row {tuple(row)}, nodes {node}, {node + 1} "
                f"(t = {node / (nodes.shape[-1] - 1):.4g}) are {a}, {b}"
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
