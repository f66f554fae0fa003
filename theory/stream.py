"""Random streams: sample k of a run has its own, so its bits depend on nothing but the seed and k.

A stream is named by a seed and a path of labels ("data", "noise", "step 3"). Sample k of a stream is drawn
by a counter-based generator (Philox, Salmon et al. 2011) whose 128-bit key is (hash of seed and path, k).
Batch size, number of processes and order of evaluation therefore cannot change a sample; two labels or two
seeds share a stream only if 64 bits of BLAKE2 collide. torch's own CPU generator is not used for this:
it keeps only 32 bits of its seed, and 10⁵ streams would collide.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Noise(Protocol):
    """What a sampler asks of its noise: numpy's (`Stream`), or made on a device (`theory.philox.DeviceStream`)."""

    def child(self, label: object) -> Noise: ...

    def normal(self, count: int, shape: tuple[int, ...], start: int = 0) -> Tensor: ...

    def uniform(self, count: int, start: int = 0) -> Tensor: ...


@dataclass(frozen=True)
class Stream:
    """A named source of independent per-sample generators.

    `seed` is any non-negative integer; `path` is extended by `child`. Raises ValueError for a negative seed.
    """

    seed: int
    path: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed = {self.seed!r}; allowed: an integer ≥ 0; remedy: 0 will do")

    def child(self, label: object) -> Stream:
        """The independent stream called `label` under this one. Raises ValueError for a label with the separator U+001F."""
        if "\x1f" in str(label):
            raise ValueError(
                f"label {label!r}; allowed: text without the control character U+001F; remedy: leave it out, it separates "
                "labels"
            )
        return Stream(self.seed, (*self.path, str(label)))

    def generator(self, index: int) -> np.random.Generator:
        """The generator of sample `index`. Raises ValueError for a negative one."""
        if index < 0:
            raise ValueError(f"sample index = {index}; allowed: ≥ 0; remedy: count samples from 0")
        name = "\x1f".join((str(self.seed), *self.path)).encode()
        key = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
        return np.random.Generator(np.random.Philox(key=np.array([key, index], dtype=np.uint64)))

    def normal(self, count: int, shape: tuple[int, ...], start: int = 0) -> Tensor:
        """Standard normals, float64, of shape (count, *shape), for the samples start … start + count − 1."""
        out = np.empty((count, *shape))
        for row in range(count):
            self.generator(start + row).standard_normal(out=out[row, ...])
        return torch.from_numpy(out)

    def uniform(self, count: int, start: int = 0) -> Tensor:
        """One uniform on [0, 1) per sample, float64, of shape (count,)."""
        return torch.tensor([self.generator(start + k).random() for k in range(count)], dtype=torch.float64)
