"""Laws whose posterior mean is known exactly: what a sampler would do with a perfectly trained network.

A law is its posterior mean. `denoise(x, signal, noise)` is E[a | signal·a + noise·z = x] and `log_density(x, signal, noise)`
the log density of x, z standard normal. The two are written independently on purpose: Tweedie's formula
    E[a | x] = (x + noise²·∇ₓ log_density)/signal
is then a test and not an identity of the code. `signal` and `noise` are numbers, or tensors that broadcast against x (one per
row: shape (batch, 1)); laws know nothing of schedules. All in float64. The Curie-Weiss law is in `curie_weiss`.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from theory.stream import Stream

Level = float | Tensor


class Law(ABC):
    """A distribution of data a, of shape `event_shape`."""

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, ...]: ...

    @abstractmethod
    def sample(self, count: int, stream: Stream, start: int = 0) -> Tensor:
        """Samples start … start + count − 1 of the stream: (count, *event_shape)."""

    @abstractmethod
    def denoise(self, x: Tensor, signal: Level, noise: Level) -> Tensor:
        """E[a | x], shape of x: (…, *event_shape)."""

    @abstractmethod
    def log_density(self, x: Tensor, signal: Level, noise: Level) -> Tensor:
        """log density of x = signal·a + noise·z, shape (…); differentiable in x."""


def check_state(law: Law, x: Tensor) -> None:
    """Raises ValueError unless x is a float64 tensor of shape (…, *event_shape)."""
    shape = law.event_shape
    if tuple(x.shape[x.ndim - len(shape) :]) != shape:
        raise ValueError(
            f"state of shape {tuple(x.shape)}; allowed: (…, {', '.join(map(str, shape))}); remedy: reshape it, or build the "
            "law in the state's dimension"
        )
    if x.dtype != torch.float64:
        raise ValueError(f"state of dtype {x.dtype}; allowed: torch.float64, in which laws are exact; remedy: x.double()")


def _level(value: Level) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


PART = 32760  # coordinates per pass of a sum: below 32768 torch sums a row in one order, whatever its neighbours and threads


def part_of(values: Tensor) -> int:
    """Coordinates to visit at a time: what a processor's cache holds; on an accelerator, which pays by the launch, all."""
    return PART if values.device.type == "cpu" else max(PART, values.shape[-1])


def row_sum(values: Tensor) -> Tensor:
    """Σ over the last axis, on a processor the same bits in any batch and with any number of threads."""
    if values.shape[-1] <= part_of(values):
        return values.sum(-1)
    return torch.stack([part.sum(-1) for part in values.split(PART, -1)], -1).sum(-1)


def _weighted_sum(weight: Tensor, values: Tensor) -> Tensor:
    """Σ weight·values over the last axis, which stays with length 1; a weight that it shares multiplies the sum."""
    if weight.shape[-1] == 1:
        return weight * row_sum(values)[..., None]
    return row_sum(weight * values)[..., None]


def _refuse(bad: Tensor, values: Tensor, name: str, allowed: str, remedy: str) -> None:
    """Raises ValueError naming the first bad entry, if there is one."""
    if bad.any():
        index = tuple(int(i) for i in torch.nonzero(bad)[0])
        raise ValueError(f"{name}{list(index)} = {values[index].item()}; allowed: {allowed}; remedy: {remedy}")


def _positive(values: Tensor, name: str) -> None:
    bad = ~((values > 0) & torch.isfinite(values))
    _refuse(bad, values, name, "0 < value < ∞", "drop the entry, or give it a small positive value")


@dataclass(frozen=True, eq=False)
class Gaussian(Law):
    """N(mean, diag(variance)), variance of shape (d,), any spectrum of finite values ≥ 0; mean (d,), 0 by default.

    Raises ValueError for a negative or non-finite variance, another dtype or unequal shapes.
    """

    variance: Tensor
    mean: Tensor | None = None

    def __post_init__(self) -> None:
        variance = self.variance
        if variance.ndim != 1 or len(variance) < 1:
            raise ValueError(
                f"variance of shape {tuple(variance.shape)}; allowed: (d,) with d ≥ 1; remedy: Gaussian.isotropic(d, variance) "
                "for equal variances"
            )
        for tensor, name in ((variance, "variance"), (self.mean, "mean")):
            if tensor is not None and tensor.dtype != torch.float64:
                raise ValueError(f"{name} of dtype {tensor.dtype}; allowed: torch.float64; remedy: {name}.double()")
        bad = ~((variance >= 0) & torch.isfinite(variance))
        if bad.any():
            index = int(torch.nonzero(bad)[0])
            raise ValueError(
                f"variance[{index}] = {variance[index].item()}; allowed: 0 ≤ variance < ∞; remedy: 0 for a direction without "
                "variance"
            )
        if self.mean is not None and self.mean.shape != variance.shape:
            raise ValueError(
                f"mean of shape {tuple(self.mean.shape)}; allowed: {tuple(variance.shape)}, the variance's; remedy: "
                "mean.expand(len(variance))"
            )

    @classmethod
    def isotropic(cls, dim: int, variance: float) -> Gaussian:
        return cls(torch.tensor(variance, dtype=torch.float64).expand(dim))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.variance.shape)

    @property
    def _mean(self) -> Tensor:
        return torch.zeros((), dtype=torch.float64) if self.mean is None else self.mean

    def sample(self, count: int, stream: Stream, start: int = 0) -> Tensor:
        return self._mean + torch.sqrt(self.variance) * stream.child("normal").normal(count, self.event_shape, start)

    def denoise(self, x: Tensor, signal: Level, noise: Level) -> Tensor:
        check_state(self, x)
        signal, noise = _level(signal), _level(noise)
        total = signal**2 * self.variance + noise**2
        # A direction without variance stays at its mean, also where the noise vanishes (0/0 otherwise).
        gain = torch.where(self.variance > 0, signal * self.variance / total, torch.zeros_like(total))
        return self._mean + gain * (x - signal * self._mean)

    def log_density(self, x: Tensor, signal: Level, noise: Level) -> Tensor:
        check_state(self, x)
        signal, noise = _level(signal), _level(noise)
        total = (signal**2 * self.variance + noise**2).expand(x.shape)
        return -0.5 * row_sum((x - signal * self._mean) ** 2 / total + torch.log(2 * math.pi * total))


@dataclass(frozen=True, eq=False)
class GaussianMixture(Law):
    """Σ_k weight_k N(mean_k, diag(variance_k)): weights (K,), means (K, d), variances (K, 1) isotropic or (K, d) diagonal.

    Raises ValueError when weights are negative or do not sum to 1 (within 1e-9), variances are not positive and finite, means
    not finite, or shapes do not fit.
    """

    weights: Tensor
    means: Tensor
    variances: Tensor

    def __post_init__(self) -> None:
        weights, means, variances = self.weights, self.means, self.variances
        if weights.ndim != 1 or means.ndim != 2 or len(means) != len(weights) or means.shape[1] < 1:
            raise ValueError(
                f"weights {tuple(weights.shape)} and means {tuple(means.shape)}; allowed: (K,) and (K, d), d ≥ 1; remedy: one "
                "row of means for each weight"
            )
        if variances.shape not in (torch.Size((len(means), 1)), means.shape):
            raise ValueError(
                f"variances of shape {tuple(variances.shape)}; allowed: ({len(means)}, 1) or {tuple(means.shape)}; remedy: "
                "variances[:, None] for one number per mode"
            )
        for tensor, name in ((weights, "weights"), (means, "means"), (variances, "variances")):
            if tensor.dtype != torch.float64:
                raise ValueError(f"{name} of dtype {tensor.dtype}; allowed: torch.float64; remedy: {name}.double()")
        if not (weights >= 0).all() or not abs(weights.sum().item() - 1) <= 1e-9:
            raise ValueError(
                f"weights {weights.tolist()} sum to {weights.sum().item()}; allowed: each ≥ 0 and a sum of 1; remedy: divide "
                "them by their sum"
            )
        _refuse(~torch.isfinite(means), means, "means", "finite numbers", "drop that mode, or see where its mean is made")
        _positive(variances, "variances")

    @classmethod
    def two_modes(cls, dim: int, weight: float, mean: float = 1.0, spread: float = 0.5) -> GaussianMixture:
        """Paper A's model: weight·N(μ, σ²Id) + (1 − weight)·N(−μ, σ²Id), μ = mean·(1, …, 1), σ = spread.

        Raises ValueError unless 0 < weight < 1, spread > 0 and dim ≥ 1.
        """
        if not 0 < weight < 1:
            raise ValueError(f"weight p = {weight}; allowed: 0 < p < 1; remedy: for a single mode take Gaussian")
        if not 0 < spread < math.inf:
            raise ValueError(f"spread σ = {spread}; allowed: 0 < σ < ∞; remedy: a small σ is close to two points")
        if not (isinstance(dim, int) and dim >= 1):
            raise ValueError(
                f"dim = {dim!r}; allowed: an integer ≥ 1; remedy: for d beyond memory use theory.limit or theory.reduction"
            )
        centre = torch.full((1,), mean, dtype=torch.float64)
        return cls(
            torch.tensor([weight, 1 - weight], dtype=torch.float64),
            torch.stack([centre, -centre]).expand(2, dim),
            torch.full((2, 1), spread**2, dtype=torch.float64),
        )

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.means.shape[1],)

    def sample(self, count: int, stream: Stream, start: int = 0) -> Tensor:
        component = torch.searchsorted(
            torch.cumsum(self.weights, 0)[:-1], stream.child("component").uniform(count, start), right=True
        )
        x = stream.child("normal").normal(count, self.event_shape, start)
        return x.mul_(torch.sqrt(self.variances)[component]).add_(self.means[component])

    @cached_property
    def _pairs(self) -> list[tuple[Tensor, Tensor] | None]:
        """For each component (its mean less that of component 0, the middle of the two), or None where the means agree."""
        origin = self.means[0]
        return [None if torch.equal(mean, origin) else (mean - origin, 0.5 * (mean + origin)) for mean in self.means]

    @cached_property
    def _off_centre(self) -> list[int]:
        """The components whose mean is not 0."""
        return torch.nonzero(self.means.any(-1))[:, 0].tolist()

    def denoise(self, x: Tensor, signal: Level, noise: Level) -> Tensor:
        check_state(self, x)
        signal, noise = _level(signal), _level(noise)
        # The posterior's logits relative to component 0. What the components share is never formed: with equal covariances
        # |x|² cancels exactly instead of in the last digits of a sum over d terms, and a mean far from 0 costs no digits.
        totals = [signal**2 * variance + noise**2 for variance in self.variances]
        reference, squares = totals[0], None
        logits, log_weights = [], torch.log(self.weights / self.weights.max())  # equal weights add exactly 0
        for log_weight, variance, total, pair in zip(log_weights, self.variances, totals, self._pairs, strict=True):
            logit = log_weight.expand(*x.shape[:-1], 1)
            if pair is not None:
                apart, middle = pair
                logit = logit + _weighted_sum(signal / total, apart * (x - signal * middle))
            if not torch.equal(variance, self.variances[0]):
                squares = (x - signal * self.means[0]) ** 2 if squares is None else squares
                repeats = self.means.shape[1] // len(variance)
                logit = logit + _weighted_sum(0.5 * (1 / reference - 1 / total), squares)
                logit = logit - 0.5 * repeats * row_sum(torch.log(total / reference))[..., None]
            logits.append(logit)
        shares = torch.softmax(torch.cat(logits, dim=-1), dim=-1).split(1, -1)
        gains = [share * (signal * v / total) for share, v, total in zip(shares, self.variances, totals, strict=True)]
        gain = functools.reduce(torch.add, gains)
        shifts = [shares[k] * (noise**2 / totals[k]) * self.means[k] for k in self._off_centre]
        return torch.addcmul(functools.reduce(torch.add, shifts), gain, x) if shifts else gain * x

    def log_density(self, x: Tensor, signal: Level, noise: Level) -> Tensor:
        check_state(self, x)
        signal, noise = _level(signal), _level(noise)
        parts = []
        for weight, mean, variance in zip(self.weights, self.means, self.variances, strict=True):
            total = (signal**2 * variance + noise**2).expand(x.shape)
            squares = (x - signal * mean) ** 2 / total + torch.log(2 * math.pi * total)
            parts.append(torch.log(weight) - 0.5 * row_sum(squares))
        return torch.logsumexp(torch.stack(parts), dim=0)


def hartley(x: Tensor) -> Tensor:
    """Orthonormal two-dimensional Hartley transform of (…, H, W): real, and its own inverse.

    The coefficient at frequency k of a stationary field has the variance P(k) of its Fourier coefficient.
    """
    spectrum = torch.fft.fft2(x, norm="ortho")
    return spectrum.real - spectrum.imag


@dataclass(frozen=True, eq=False)
class SpectralMixture(Law):
    """A mixture of stationary Gaussian random fields on the torus, images of shape (channels, H, W) with zero mean.

    weights (K,); spectra (K, H, W): the variance P_k of each orthonormal DFT coefficient, on the grid of `torch.fft.fft2`,
    positive and symmetric, P(k) = P(−k); channels are independent given the class. In the Hartley basis it is a Gaussian
    mixture with diagonal covariances, and is computed as one. Raises ValueError when a spectrum is asymmetric or not positive.
    """

    weights: Tensor
    spectra: Tensor
    channels: int = 1

    def __post_init__(self) -> None:
        if self.spectra.ndim != 3:
            raise ValueError(
                f"spectra of shape {tuple(self.spectra.shape)}; allowed: (K, H, W); remedy: spectra[None] for a single one"
            )
        if self.channels < 1:
            raise ValueError(f"channels = {self.channels}; allowed: ≥ 1; remedy: 1 for grey images, 3 for colour")
        _positive(self.spectra, "spectra")
        mirrored = torch.roll(self.spectra.flip(-2, -1), (1, 1), dims=(-2, -1))
        if not torch.allclose(self.spectra, mirrored, rtol=1e-12, atol=0.0):
            raise ValueError(
                "spectra with P(k) ≠ P(−k), which no real field has; allowed: P(k) = P(−k); remedy: take the mean of the two"
            )
        self._mixture  # noqa: B018  (its own checks: weights, shapes)

    @classmethod
    def power_law(
        cls, size: tuple[int, int], slopes: Tensor, variances: Tensor, weights: Tensor, channels: int = 1
    ) -> SpectralMixture:
        """P_k ∝ |f|^{−slope_k}, pixel variance variances_k; |f| in cycles per shorter side, and P(0) = P at |f| = 1."""
        height, width = size
        rows, columns = torch.fft.fftfreq(height).double(), torch.fft.fftfreq(width).double()
        radius = min(size) * torch.hypot(rows[:, None], columns[None, :])
        radius[0, 0] = 1.0
        shape = radius ** (-slopes[:, None, None])
        return cls(weights, shape * (variances[:, None, None] / shape.mean((-2, -1), keepdim=True)), channels)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.channels, *self.spectra.shape[1:])

    @cached_property
    def _mixture(self) -> GaussianMixture:
        variances = self.spectra[:, None].expand(-1, self.channels, -1, -1).flatten(1)
        return GaussianMixture(self.weights, torch.zeros((), dtype=torch.float64).expand(variances.shape), variances)

    def _flat(self, x: Tensor) -> Tensor:
        return hartley(x).flatten(-3)

    def _flat_level(self, level: Level) -> Tensor:
        value = _level(level)
        return value if value.ndim == 0 else value.flatten(-3)

    def sample(self, count: int, stream: Stream, start: int = 0) -> Tensor:
        return hartley(self._mixture.sample(count, stream, start).unflatten(-1, self.event_shape))

    def denoise(self, x: Tensor, signal: Level, noise: Level) -> Tensor:
        check_state(self, x)
        clean = self._mixture.denoise(self._flat(x), self._flat_level(signal), self._flat_level(noise))
        return hartley(clean.unflatten(-1, self.event_shape))

    def log_density(self, x: Tensor, signal: Level, noise: Level) -> Tensor:
        check_state(self, x)
        return self._mixture.log_density(self._flat(x), self._flat_level(signal), self._flat_level(noise))
