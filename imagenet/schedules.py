"""Which schedule an image is trained with, and which one a sample is drawn with.

The baseline is one closed form for all images: SiD2's cosine on λ ∈ [−15, 15], moved by the resolution shift. The spectral
ones are tables of λ, a row per image, from `theory.per_image` (a reconstruction of Esteves and Makadia, arXiv 2603.19222).
Training takes the rows of its images; sampling has no image yet, so it draws θ from p(θ | class) (`imagenet.prior`), or takes
the θ of the whole data set, or a θ that was steered, and makes a row of that: with `Noise.parametric` by the very function
that made the rows of training.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from imagenet.settings import Noise
from theory import per_image
from theory.curve import Tabulated
from theory.per_image import Basis, Rule
from theory.progress import progress
from theory.schedule import Schedule, VariancePreserving, interpolated_cosine, shifted_cosine
from theory.spectrum import QUANTISATION_POWER, rings

_ROWS = 16_384  # computed at a time: some 30 MB of temporaries


class Measured(Protocol):
    """What a packed data set tells of its spectra: size px, power (n, K + 1), θ (n, D), and the variance of the mean colour."""

    @property
    def size(self) -> int: ...
    @property
    def power(self) -> Tensor | np.ndarray: ...
    @property
    def theta(self) -> Tensor | np.ndarray: ...
    @property
    def basis(self) -> Basis: ...
    @property
    def mean_colour_power(self) -> float: ...


@dataclass(frozen=True, eq=False)
class Maker:
    """Rows of λ from spectra of one data set: (n, K + 1) or θ (n, D) → (n, nodes) float32, falling from t = 0 to t = 1."""

    noise: Noise
    size: int
    basis: Basis
    mean_colour_power: float

    @classmethod
    def of(cls, noise: Noise, measured: Measured) -> Maker:
        return cls(noise, measured.size, measured.basis, measured.mean_colour_power)

    @property
    def rule(self) -> Rule:
        return Rule(self.noise.shape, self.noise.epsilon, self.noise.evenness, floor=QUANTISATION_POWER)

    def from_power(self, power: Tensor) -> Tensor:
        """Rows of the spectra (n, K + 1). Raises ValueError, naming image, R(f) and time, for λ not finite or not falling."""
        return self._checked(power, power, "R(f)")

    def from_theta(self, theta: Tensor) -> Tensor:
        """Rows of the parameters θ (n, D). Raises ValueError as `from_power`, with θ."""
        _require_finite(theta, "θ")
        return self._checked(per_image.power_of(theta, rings(self.size, self.size), self.basis), theta, "θ")

    def _checked(self, power: Tensor, told: Tensor, name: str) -> Tensor:
        _require_finite(power, name, told)
        parts = power.split(_ROWS)
        shown = progress(parts, "noise schedules") if len(parts) > 1 else parts  # 1.28 million images of 256 px take minutes
        rows = torch.cat([self._rows(part) for part in shown])
        bad = ~rows[:, 1:].isfinite() | ~rows[:, :-1].isfinite() | (rows.diff() >= 0)
        if bool(bad.any()):
            image, node = (int(i) for i in bad.nonzero()[0])
            before, after = rows[image, node : node + 2].tolist()
            raise ValueError(
                f"the schedule of image {image} does not fall: λ = {before:.6g} at t = {node / (rows.shape[1] - 1):.4g}, then "
                f"{after:.6g}, with {name} = {_shortly(told[image])}; allowed: finite λ, strictly falling in t; remedy: "
                "noise.evenness of 0.02 or more, factors of steering nearer 1, or drop that image"
            )
        return rows

    def _rows(self, power: Tensor) -> Tensor:
        table = rings(self.size, self.size)
        power = power.double()
        if self.noise.mean_colour:
            power = torch.cat([torch.full_like(power[:, :1], self.mean_colour_power), power[:, 1:]], -1)
            power, table = per_image.with_mean_colour(power, table)
        return per_image.log_snr(power, table, self.rule).float()


def _require_finite(values: Tensor, name: str, told: Tensor | None = None) -> None:
    bad = (~values.isfinite()).any(-1).nonzero()
    if len(bad):
        image = int(bad[0, 0])
        shown = _shortly((values if told is None else told)[image])
        raise ValueError(
            f"{name} of image {image} = {shown} gives no finite spectrum; allowed: finite values; remedy: drop that image, "
            "compute the spectra anew, or steer with factors nearer 1"
        )


def _shortly(values: Tensor) -> str:
    return "[" + ", ".join(f"{value:.4g}" for value in values[:6].tolist()) + (", …]" if len(values) > 6 else "]")


@dataclass(frozen=True, eq=False)
class Schedules:
    """The schedules of a data set: one for all (`shared`), or a row of λ for each image (`rows`, float32 (n, nodes))."""

    shared: Schedule | None = None
    rows: Tensor | None = None

    def of(self, indices: Tensor, device: torch.device | str = "cpu") -> Schedule:
        """The schedule of these images, on the device; batch shape that of `indices`, or () when shared."""
        if self.rows is None:
            assert self.shared is not None
            return self.shared
        return from_rows(self.rows[indices.cpu()].to(device, non_blocking=True))

    def restricted(self, start: int, count: int) -> Schedules:
        """Those of `count` images from `start` on."""
        return self if self.rows is None else Schedules(rows=self.rows[start : start + count])


def from_rows(rows: Tensor) -> Schedule:
    """A variance-preserving schedule per row of λ. The rows were checked when they were made (`Maker`)."""
    return VariancePreserving(Tabulated(rows, checked=True))


def ends(schedule: Schedule, count: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """λ(0) and λ(1) of `count` images, float32 (count,): what the network is told beside λ(t)."""
    at = [schedule.log_snr(torch.full((count,), t, dtype=torch.float64, device=device)) for t in (0.0, 1.0)]
    return at[0].float(), at[1].float()


def baseline(noise: Noise, size: int) -> Schedule:
    """The schedule that no image has a say in."""
    if noise.kind == "interpolated cosine":
        return interpolated_cosine(size, noise.base_at_data, noise.base_at_noise)
    return shifted_cosine(size, noise.base_resolution)


def of_data(noise: Noise, measured: Measured) -> Schedules:
    """The schedules that a data set is trained with."""
    if noise.kind != "spectral":
        return Schedules(shared=baseline(noise, measured.size))
    maker = Maker.of(noise, measured)
    if noise.level == "data set":
        return Schedules(shared=from_rows(maker.from_theta(mean_theta(measured))[0]))
    if noise.parametric:
        return Schedules(rows=maker.from_theta(torch.as_tensor(measured.theta)))
    return Schedules(rows=maker.from_power(torch.as_tensor(measured.power)))


def identity(noise: Noise, measured: Measured) -> str:
    """A digest of the spectra that the schedules are made of; empty where they are made of none.

    Of what is stored, bit by bit, not of means over it, whose last digits depend on the number of threads.
    """
    if noise.kind != "spectral":
        return ""
    hashed = hashlib.blake2b(digest_size=8)
    told = noise.level == "image" and noise.parametric
    for values in (measured.theta if told else measured.power, measured.basis.mean, measured.basis.components):
        hashed.update(np.ascontiguousarray(np.asarray(values), dtype="<f8").data)
    if noise.mean_colour:
        hashed.update(f"{measured.mean_colour_power:.6g}".encode())
    return hashed.hexdigest()


def mean_theta(measured: Measured) -> Tensor:
    """θ of the data set, (1, D): of the mean of its spectra, not the mean of its θ."""
    mean = torch.as_tensor(measured.power).double().mean(0, keepdim=True)
    return per_image.parameters(mean, rings(measured.size, measured.size), measured.basis, QUANTISATION_POWER)


def steered(theta: Tensor, slope: float = 1.0, amplitude: float = 1.0) -> Tensor:
    """θ (n, D) with its slope scaled, about f = 1, and its power: 1 and 1 leave it. Raises ValueError unless both are > 0."""
    for name, value in (("slope", slope), ("amplitude", amplitude)):
        if not 0 < value < math.inf:
            raise ValueError(f"steering {name} = {value}; allowed: a factor > 0; remedy: 1 leaves the image as it is")
    changed = theta.clone()
    changed[:, 0] += math.log(amplitude)
    changed[:, 1] *= slope
    return changed
