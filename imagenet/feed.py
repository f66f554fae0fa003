"""Batches for training: functions of (run, data, step, process), so that a resumed run has the ones it would have had.

Which images, flips, times and dropped labels a step has is decided by `imagenet.order`, and the images are read ahead by
`imagenet.packed.batches`; here they meet the schedule's numbers at the step's times (`imagenet.objective.Levels`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from imagenet import objective, order
from imagenet.data import to_unit
from imagenet.objective import Levels
from imagenet.packed import Loaded, Packed, batches
from imagenet.schedules import Schedules, of_data
from imagenet.settings import Model, Run


@dataclass(frozen=True)
class Batch:
    """Positions `start` … of the global batch of step `step`, as one process has them.

    images uint8 (n, 3, side, side), not yet flipped; flips bool (n,); labels int64 (n,), the null label where dropped; levels
    float32 (7, n), see `imagenet.objective.Levels`.
    """

    step: int
    start: int
    images: Tensor
    flips: Tensor
    labels: Tensor
    levels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def parts(self, size: int) -> list[Batch]:
        """Micro-batches of `size` images."""
        cut = (self.images.split(size), self.flips.split(size), self.labels.split(size), self.levels.split(size, 1))
        return [Batch(self.step, self.start + k * size, *four) for k, four in enumerate(zip(*cut, strict=True))]

    def to(self, device: torch.device) -> Batch:
        """On the device; a GPU copies from page-locked memory, so the host does not wait for it."""
        if device.type == "cpu":
            return self
        return self._each(Tensor.pin_memory)._each(lambda tensor: tensor.to(device, non_blocking=True))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tensors = (self.images, self.flips, self.labels, self.levels)
        return Batch(self.step, self.start, *(change(tensor) for tensor in tensors))

    def unit(self) -> Tensor:
        """The images in [−1, 1], float32, flipped where they are to be."""
        return to_unit(torch.where(self.flips[:, None, None, None], self.images.flip(-1), self.images))

    def noise(self, seed: int) -> Tensor:
        """Standard normals of the images' shape, float32, made on their device."""
        return order.noise(seed, self.step, self.start, len(self), tuple(self.images.shape[1:]), self.images.device)


@dataclass(frozen=True)
class Feed:
    """Batches of one process: positions `start` … `start + count − 1` of each global batch."""

    run: Run
    packed: Packed
    start: int
    count: int
    schedules: Schedules = field(repr=False)

    @classmethod
    def of(cls, run: Run, packed: Packed, start: int, count: int) -> Feed:
        """Raises ValueError where data and model do not fit together."""
        if packed.size != run.model.resolution:
            raise data_and_model(packed.size, run.model)
        return cls(run, packed, start, count, of_data(run.noise, packed))

    def levels(self, step: int, indices: Tensor) -> Levels:
        """The schedules of these images at the step's times."""
        learned, resolution = self.run.objective, self.run.model.resolution
        return objective.levels(
            self.schedules.of(indices),
            order.times(self.run.seed, step, self.run.training.batch, start=self.start, count=self.count),
            bias=learned.bias_at(resolution),
            prediction=learned.prediction,
            rate_factor=learned.rate_factor,
        )

    def batch(self, loaded: Loaded) -> Batch:
        """What a step trains on, from its images."""
        seed, step, training = self.run.seed, loaded.step, self.run.training
        drop = self.run.objective.label_drop
        drops = order.drops(seed, step, training.batch, drop, start=self.start, count=self.count)
        flips = torch.zeros(self.count, dtype=torch.bool)
        if training.flip:
            flips = order.flips(seed, step, training.batch, start=self.start, count=self.count)
        labels = objective.dropped(loaded.labels, drops, len(self.packed.class_names))
        return Batch(step, self.start, loaded.images, flips, labels, self.levels(step, loaded.indices).stacked())

    def batches(self, first: int, last: int, pin: bool = False) -> Iterator[tuple[Batch, float]]:
        """Those of the steps first … last − 1, each with the seconds that its images were waited for."""
        seed, size = self.run.seed, self.run.training.batch
        steps = range(first, last)
        source = batches(self.packed, seed, steps, size, start=self.start, count=self.count, pin=pin)
        for _ in steps:
            begun = time.perf_counter()
            loaded = next(source)
            waited = time.perf_counter() - begun
            yield self.batch(loaded), waited


def data_and_model(size: int, model: Model) -> ValueError:
    """Of data of `size` px that a model of another resolution is to learn."""
    return ValueError(
        f"data of {size} px and model {model.name} of {model.resolution} px; allowed: equal; remedy: pack at "
        f"{model.resolution} px, or take another model"
    )
