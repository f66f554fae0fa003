"""A schedule for each image, from its spectrum or from the few parameters of it: λ(t) as tight as the image allows.

A reconstruction of Esteves and Makadia, "Spectrally-Guided Diffusion Noise Schedules", arXiv 2603.19222: the abstract names the
three shapes and their average, the constants and the window are ours. From R(f), the variance of the coefficients in ring f
(`theory.spectrum`), made non-increasing:

    window    λ from −log R_max − logit(1 − ε) at t = 1 (noise) to −log R_min + logit(1 − ε) at t = 0 (data) (`theory.bound`)
    shape     frequency, power, mixed: `spectrum.spectral_log_snr`; geodesic: equal steps of the length below
    evenness  λ ← (1 − e)·λ + e·(a straight line between the ends): R of an image can be flat, λ must fall everywhere

The geodesic (ours, `theory.cost`): one DDIM step loses ½Δθ² of log-spread in a direction of variance P, θ = atan(ς/√P), and
dθ/dλ = −½√(s(1 − s)), s = sigmoid(λ + log P). Losses e_k weighted by w_k are least, for many steps, when
dL = √(Σ w_k (dθ_k)²) is the same in every step. For the squared Wasserstein error Σ count_k P_k(1 − e^{−e_k})²,
w_k = count_k P_k e_k, and e_k itself is ∝ ∫(dθ_k/dλ)²/(dL/dλ) dλ on the geodesic: a fixed point, found from
w_k = count_k P_k in a few damped rounds.

Everything is computed in float64 on the device of the spectrum, each image alone: on a CPU a batch equals its images one by
one, to the bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from theory import bound
from theory.curve import Tabulated
from theory.schedule import Schedule, VariancePreserving
from theory.spectrum import PowerLaw, Rings, fit_power_law, isotonic, rapsd, rings, spectral_log_snr

Shape = Literal["frequency", "mixed", "power", "geodesic"]
FOCUS: dict[str, float] = {"frequency": 0.0, "mixed": 0.5, "power": 1.0}
SHAPES: tuple[Shape, ...] = ("frequency", "mixed", "power", "geodesic")

_ROUNDS = 4  # of the weights' fixed point: they then move the error by less than 1 % of itself for slopes up to 3.5
_LEVELS = 257  # of λ, on which the length is summed: a step of some 0.1 in λ, where the integrand varies over 2
_CHUNK_ELEMENTS = 1 << 20  # of the largest temporary: 8 MiB


@dataclass(frozen=True)
class Rule:
    """How a spectrum becomes a schedule. Raises ValueError for a value out of range.

    epsilon   relative error of variance that each end of the window may cause at any frequency: 1 % of a variance is below what
              the spectra of two crops of one photograph differ by, and the window grows only as its logarithm
    evenness  share of λ(t) that is a straight line: .02 keeps |dλ/dt| above a fiftieth of its mean, which float32 resolves
    nodes     of the table: 64 intervals, at most one per ring of a 128 px image
    floor     least R that counts, None for none: `spectrum.QUANTISATION_POWER` for 8-bit images in [−1, 1]
    """

    shape: Shape = "mixed"
    epsilon: float = 0.01
    evenness: float = 0.02
    nodes: int = 65
    floor: float | None = None

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"shape = {self.shape!r}; allowed: {', '.join(SHAPES)}; remedy: choose one of them")
        if not 0 < self.epsilon < 0.5:
            raise ValueError(f"epsilon = {self.epsilon}; allowed: 0 < ε < ½; remedy: an error of variance, such as 0.01")
        if not 0 < self.evenness <= 1:
            raise ValueError(f"evenness = {self.evenness}; allowed: 0 < evenness ≤ 1; remedy: 0.02; 1 is log-uniform")
        if self.nodes < 2:
            raise ValueError(f"nodes = {self.nodes}; allowed: ≥ 2, both ends; remedy: 65")
        if self.floor is not None and not 0 < self.floor < math.inf:
            raise ValueError(f"floor = {self.floor}; allowed: finite and > 0, or None; remedy: QUANTISATION_POWER for 8 bits")


# ---- from a spectrum --------------------------------------------------------------------------------------------------


def window(power: Tensor, table: Rings, rule: Rule) -> tuple[Tensor, Tensor]:
    """(λ_min, λ_max) of each spectrum (..., K + 1), float64: the range of the rings 1 … nyquist, none below the floor."""
    used = _used(power, table, rule)
    low, high = bound.log_snr_window(used.amin(-1), used.amax(-1), torch.tensor(rule.epsilon, dtype=torch.float64), torch)
    return low, high


def _used(power: Tensor, table: Rings, rule: Rule) -> Tensor:
    used = power[..., 1 : table.nyquist + 1].double()
    return used if rule.floor is None else used.clamp(min=rule.floor)


def log_snr(power: Tensor, table: Rings, rule: Rule) -> Tensor:
    """λ at `rule.nodes` equidistant times from t = 0 (data) to t = 1 (noise): (..., K + 1) → (..., nodes), float64.

    `power` as `rapsd` returns it; it is made non-increasing here, and no ring counts less than the floor. Strictly decreasing.
    Raises ValueError for an image without power in some ring (constant images) unless the rule has a floor, for values that
    are not finite, and below 4 pixels a side.
    """
    if table.nyquist < 2:
        raise ValueError(
            f"image of {table.shape[0]} × {table.shape[1]} pixels; allowed: ≥ 4 pixels a side, so that there are two rings; "
            "remedy: a larger image"
        )
    smooth = isotonic(power, table, rule.floor)
    low, high = (end[..., None] for end in window(smooth, table, rule))
    t = torch.linspace(0, 1, rule.nodes, dtype=torch.float64, device=smooth.device)
    line = high + (low - high) * t
    if rule.shape == "geodesic":
        curve = _geodesic(_used(smooth, table, rule).log(), table.count[1 : table.nyquist + 1], low, high, t)
    else:
        curve = spectral_log_snr(smooth, table, rule.epsilon, FOCUS[rule.shape], rule.nodes)
    curve = (1 - rule.evenness) * curve + rule.evenness * line
    return torch.cat([high, curve[..., 1:-1], low], -1)  # exact ends


def schedules(power: Tensor, table: Rings, rule: Rule) -> Schedule:
    """One variance-preserving schedule per spectrum: its batch shape is that of `power` without the last axis."""
    return VariancePreserving(Tabulated(log_snr(power, table, rule)))


def of_images(x: Tensor, rule: Rule) -> Schedule:
    """One schedule per image x (..., C, H, W): any number of channels, float32 or float64, any device."""
    return schedules(rapsd(x, "hann"), rings(x.shape[-2], x.shape[-1], x.device), rule)


def _geodesic(log_power: Tensor, count: Tensor, low: Tensor, high: Tensor, t: Tensor) -> Tensor:
    """λ(t) at equal lengths: log_power (..., rings), low and high (..., 1), t (nodes,) rising → (..., nodes)."""
    batch, ring_count = log_power.shape[:-1], log_power.shape[-1]
    flat, ends = log_power.reshape(-1, ring_count), (low.reshape(-1, 1), high.reshape(-1, 1))
    size = max(1, _CHUNK_ELEMENTS // (ring_count * _LEVELS))
    rows = [_arc(p, count, a, b, t) for p, a, b in zip(flat.split(size), *(end.split(size) for end in ends), strict=True)]
    return torch.cat(rows).reshape(*batch, len(t)) if rows else log_power.new_empty((*batch, len(t)))


def _arc(log_power: Tensor, count: Tensor, low: Tensor, high: Tensor, t: Tensor) -> Tensor:
    share = torch.linspace(0, 1, _LEVELS, dtype=torch.float64, device=t.device)
    level = high + (low - high) * share  # (images, levels), falling
    above = level + log_power.T[..., None]  # (rings, images, levels): λ + log P
    bell = torch.exp(-above.abs()) / (1 + torch.exp(-above.abs())) ** 2  # s(1 − s) = (2 dθ/dλ)², no overflow
    base = count[:, None] * torch.exp(log_power - log_power[:, :1]).T  # (rings, images)
    weight = base
    for _ in range(_ROUNDS):
        speed = _speed(weight, bell)
        loss = (bell / speed).mean(-1)
        loss = loss / loss[:1]
        weight = torch.sqrt(weight * base * loss)
    speed = _speed(weight, bell)
    pieces = (speed[:, 1:] + speed[:, :-1]).cumsum(-1)
    length = torch.cat([torch.zeros_like(low), pieces], -1) / pieces[:, -1:]
    at = t.expand(len(length), -1).contiguous()
    right = torch.searchsorted(length, at).clamp(1, _LEVELS - 1)
    before, after = length.gather(1, right - 1), length.gather(1, right)
    part = ((at - before) / (after - before)).clamp(0, 1)
    return torch.lerp(level.gather(1, right - 1), level.gather(1, right), part)


def _speed(weight: Tensor, bell: Tensor) -> Tensor:
    """√Σ_k w_k s(1 − s), (images, levels): one ring at a time, since a matrix product may order its sums by the batch size."""
    total = torch.zeros_like(bell[0])
    for w, b in zip(weight, bell, strict=True):
        total += w[:, None] * b
    return total.sqrt()


def with_mean_colour(power: Tensor, table: Rings) -> tuple[Tensor, Rings]:
    """The same spectra with entry 0 as one more ring, before f = 1: for a data set, whose images differ in their mean colour.

    Entry 0 then must be a variance over images, not the square of one mean. Its count is 1. What was ring f becomes f + 1.
    """
    count, radius = (torch.cat([values.new_zeros(1), values]) for values in (table.count, table.radius))
    more = Rings(table.shape, table.index, table.weight, count, radius, table.nyquist + 1)
    return torch.cat([torch.zeros_like(power[..., :1]), power], -1), more


# ---- from a few parameters --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Basis:
    """Principal components of what a power law leaves of log R on the rings 1 … nyquist of one table.

    mean (rings,), components (J, rings) orthonormal, the largest variance first. J = 0 is the power law alone.
    """

    mean: Tensor
    components: Tensor

    @classmethod
    def none(cls, table: Rings) -> Basis:
        """No residual: θ is log amplitude and slope."""
        return cls(torch.zeros(table.nyquist, dtype=torch.float64), torch.zeros(0, table.nyquist, dtype=torch.float64))

    @classmethod
    def fit(cls, power: Tensor, table: Rings, count: int, floor: float | None = None) -> Basis:
        """The first `count` components over the spectra (n, K + 1). Raises ValueError for fewer than count + 1 spectra."""
        if not 0 <= count <= min(table.nyquist, len(power) - 1):
            raise ValueError(
                f"{count} components of {len(power)} spectra with {table.nyquist} rings; allowed: 0 … "
                f"{min(table.nyquist, len(power) - 1)}; remedy: fewer components, or more images"
            )
        rest = residuals(power, table, fit_power_law(power, table, floor), floor)
        mean = rest.mean(0)
        vectors = torch.linalg.svd(rest - mean, full_matrices=False).Vh[:count]
        # a component's sign is free: make its largest entry positive, so that two runs agree
        largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
        return cls(mean, vectors * torch.sign(largest))


def residuals(power: Tensor, table: Rings, law: PowerLaw, floor: float | None = None) -> Tensor:
    """log R minus the power law, rings 1 … nyquist: (..., rings), float64."""
    used = power[..., 1 : table.nyquist + 1].double()
    used = used if floor is None else used.clamp(min=floor)
    return used.log() - law.log_power(table.radius[1 : table.nyquist + 1])


def parameters(power: Tensor, table: Rings, basis: Basis | None = None, floor: float | None = None) -> Tensor:
    """θ of each spectrum: (log amplitude, slope, then a coefficient per component), (..., 2 + J), float64."""
    law = fit_power_law(power, table, floor)
    theta = torch.stack([law.log_amplitude, law.slope], -1)
    if basis is None or not len(basis.components):
        return theta
    rest = residuals(power, table, law, floor) - basis.mean.to(theta)
    return torch.cat([theta, *((rest * row).sum(-1, keepdim=True) for row in basis.components.to(theta))], -1)


def power_of(theta: Tensor, table: Rings, basis: Basis | None = None) -> Tensor:
    """R(f) that the parameters stand for, (..., 2 + J) → (..., K + 1), float64: rings beyond nyquist follow the power law.

    Entry 0, the mean colour, is the law at f = 1: no parameter speaks of it, and no schedule uses it.
    """
    basis = Basis.none(table) if basis is None else basis
    wanted = 2 + len(basis.components)
    if theta.shape[-1] != wanted or not bool(theta.isfinite().all()):
        raise ValueError(
            f"θ of shape {tuple(theta.shape)}, {int((~theta.isfinite()).sum())} values not finite; allowed: (..., {wanted}), "
            "finite: log amplitude, slope, and one coefficient per component; remedy: drop that image, or pass θ's own basis"
        )
    theta = theta.double()
    law = PowerLaw(theta[..., 0], theta[..., 1], torch.zeros_like(theta[..., 1]))
    log_power = law.log_power(table.radius.clamp(min=1))
    rest = basis.mean.to(theta).expand(*theta.shape[:-1], -1)
    for position, row in enumerate(basis.components.to(theta), start=2):
        rest = rest + theta[..., position, None] * row
    inner = slice(1, table.nyquist + 1)
    return torch.cat([log_power[..., :1], log_power[..., inner] + rest, log_power[..., table.nyquist + 1 :]], -1).exp()
