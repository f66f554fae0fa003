"""Philox4x32-10 on arrays: normals that depend on (seed, path, sample, element) alone, on any device.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 4.3. A bijection of a 128-bit
counter under a 64-bit key: ten rounds, each two products 32 × 32 → 64 bits whose high words are mixed with the other half and
with the key. Here the key is a hash of seed and path, the counter is (block of elements, kind of draw, sample number as two
words), so whoever draws sample k draws the same words: no state, no order, no batch, no process count, no device.

Words become uniforms and, by the formula of Box and Muller (Ann. Math. Statist. 29 (1958) 610), normals. The words are the same
everywhere; log, cos and sin are the device's own, so normals of two devices agree to rounding. float32 takes 32 bits a uniform
(the largest normal is √(2 log 2³²) = 6.66), float64 takes 53.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from theory.stream import Noise, Stream

ROUNDS = 10
# Multipliers and key increments of the paper (the latter are the golden ratio and √3 − 1, times 2³²).
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
INCREMENTS = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF
_NORMAL, _UNIFORM = 0, 1  # second word of the counter: the two kinds of draw share no block
# Blocks of four words in hand at a time: on a processor the temporaries stay in its cache, on a GPU they stay under 2 GB.
_CPU_BLOCKS, _GPU_BLOCKS = 1 << 16, 1 << 24

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def philox(counter: Words, key: tuple[int, int]) -> Words:
    """The four output words of Philox4x32-10, int64 holding 0 … 2³² − 1; counter words broadcast against each other.

    On a processor numpy's unsigned words make them in half the time of tensors; on other devices nothing leaves the device.
    """
    if any(word.device.type != "cpu" for word in counter):
        return cast(Words, _rounds(counter, key, _signed))
    words = _rounds(tuple(word.numpy().view(np.uint64) for word in counter), key, _unsigned)
    return cast(Words, tuple(torch.from_numpy(word.view(np.int64)) for word in words))


def _unsigned(a: Any, multiplier: int) -> tuple[Any, Any]:
    """(high word, low word) of a·M, the latter below other bits: for numpy's uint64, which holds the whole product."""
    product = a * multiplier
    return product >> 32, product


def _signed(a: Any, multiplier: int) -> tuple[Any, Any]:
    """The same for int64, without a product that leaves 63 bits.

    M > 2³¹, so p = a·(M − 2³²) lies within ±2⁶² and a·M = p + 2³²·a. (A signed product that wraps is undefined in C++, which is
    what a compiler of tensor programs may emit.)
    """
    product = a * (multiplier - 2**32)
    return (product >> 32) + a, product


def _rounds(counter: Sequence[Any], key: tuple[int, int], product: Callable[[Any, int], tuple[Any, Any]]) -> tuple[Any, ...]:
    """Ten rounds on words in any kind of array, whose products `product` takes apart.

    Only the words that are multiplied next need their upper half cleared. After three rounds every word has the shape that all
    broadcast to; from then on they are mixed in place, for memory is much of the time.
    """
    c0, c1, c2, c3 = counter
    for number in range(ROUNDS):
        k0, k1 = ((k + number * increment) & _WORD for k, increment in zip(key, INCREMENTS, strict=True))
        (high0, low0), (high2, low2) = product(c0, MULTIPLIERS[0]), product(c2, MULTIPLIERS[1])
        if number < 3:
            high0, high2 = high0 ^ c3, high2 ^ c1
        else:
            high0 ^= c3
            high2 ^= c1
        high0 ^= k1
        high0 &= _WORD
        high2 ^= k0
        high2 &= _WORD
        c0, c1, c2, c3 = high2, low2, high0, low0
    return c0, c1 & _WORD, c2, c3 & _WORD


def _counter(indices: Tensor, blocks: Tensor, kind: int) -> Words:
    """Words (n, 1) and (blocks,): the paper's counter of sample × block, not yet multiplied out."""
    samples = indices[:, None]
    return blocks, torch.full_like(blocks[:1], kind), samples & _WORD, samples >> 32


def normals(indices: Tensor, blocks: Tensor, key: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Standard normals of samples `indices` (n,) and blocks `blocks` (b,), both int64: (n, 4b), for float64 (n, 2b).

    On the device of `indices`, and for another than a processor nothing but tensor operations: may be compiled there.
    """
    w0, w1, w2, w3 = philox(_counter(indices, blocks, _NORMAL), key)
    if dtype == torch.float64:
        pairs = [(_double(w0, w1) + 2.0**-53, _double(w2, w3))]
    else:
        u0, u1, u2, u3 = ((w + 1).to(dtype).mul_(2.0**-32) for w in (w0, w1, w2, w3))  # (0, 1]; in the first word 1 gives 0
        pairs = [(u0, u1), (u2, u3)]
    out = torch.empty(*w0.shape, 2 * len(pairs), dtype=dtype, device=w0.device)
    for k, (radius, turn) in enumerate(pairs):  # Box and Muller: radius in (0, 1], turn in [0, 1]
        length, angle = radius.log_().mul_(-2).sqrt_(), turn.mul_(2 * math.pi)
        out[..., 2 * k] = torch.cos(angle).mul_(length)
        out[..., 2 * k + 1] = angle.sin_().mul_(length)
    return out.flatten(1)


def _double(high: Tensor, low: Tensor) -> Tensor:
    """53 bits on [0, 1)."""
    return ((high >> 5) * 2**26 + (low >> 6)).double() * 2.0**-53


@dataclass(frozen=True)
class DeviceStream:
    """A named source of normals and uniforms on `device`, of `dtype` float32 or float64; the interface of `Stream`.

    Not the numbers of `theory.stream.Stream`, which are numpy's. Raises ValueError for a negative seed or another dtype.
    """

    seed: int
    path: tuple[str, ...] = ()
    device: str | torch.device = "cpu"
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        Stream(self.seed, self.path)  # refuses a bad seed
        if self.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"dtype = {self.dtype}; allowed: torch.float32, torch.float64; remedy: draw in float32, then convert"
            )

    def child(self, label: object) -> DeviceStream:
        """The independent stream called `label` under this one. Raises ValueError for a label with the separator U+001F."""
        return DeviceStream(self.seed, Stream(self.seed, self.path).child(label).path, self.device, self.dtype)

    @property
    def key(self) -> tuple[int, int]:
        """The key of the generator: 64 bits of BLAKE2 of seed and path, as two words."""
        name = "\x1f".join((str(self.seed), *self.path)).encode()
        digest = hashlib.blake2b(name, digest_size=8, person=b"philox4x32").digest()
        return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")

    def normal(self, count: int, shape: tuple[int, ...], start: int = 0) -> Tensor:
        """Standard normals (count, *shape) of the samples start … start + count − 1."""
        return self.normal_at(self._range(count, start), shape)

    def uniform(self, count: int, start: int = 0) -> Tensor:
        """One uniform on [0, 1) per sample, (count,)."""
        return self.uniform_at(self._range(count, start))

    def normal_at(self, indices: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Standard normals (n, *shape) of the samples `indices` (n,), int64 ≥ 0, in any order, on any device."""
        samples = self._samples(indices)
        elements, per_block = math.prod(shape), 2 if self.dtype == torch.float64 else 4
        if not 0 <= elements <= per_block * 2**32:
            raise ValueError(f"shape = {shape} has {elements} elements; allowed: 0 … {per_block * 2**32}; remedy: more samples")
        blocks = torch.arange(-(-elements // per_block), device=self.device)
        if not len(samples) or not elements:
            return torch.zeros((len(samples), *shape), dtype=self.dtype, device=self.device)
        limit = _CPU_BLOCKS if samples.device.type == "cpu" else _GPU_BLOCKS
        if len(samples) * len(blocks) <= limit:
            return normals(samples, blocks, self.key, self.dtype)[:, :elements].reshape(len(samples), *shape)
        out = torch.empty((len(samples), elements), dtype=self.dtype, device=self.device)
        rows, columns = max(1, limit // len(blocks)), min(limit, len(blocks))
        for row in range(0, len(samples), rows):
            for column in range(0, len(blocks), columns):
                drawn = normals(samples[row : row + rows], blocks[column : column + columns], self.key, self.dtype)
                left = per_block * column
                out[row : row + rows, left : left + drawn.shape[1]] = drawn[:, : elements - left]
        return out.reshape(len(samples), *shape)

    def uniform_at(self, indices: Tensor) -> Tensor:
        """One uniform on [0, 1) for each of the samples `indices` (n,), int64 ≥ 0."""
        samples = self._samples(indices)
        words = philox(_counter(samples, torch.zeros(1, dtype=torch.int64, device=self.device), _UNIFORM), self.key)
        high, low = words[0][:, 0], words[1][:, 0]
        return _double(high, low) if self.dtype == torch.float64 else (high >> 8).to(self.dtype) * 2.0**-24

    def _range(self, count: int, start: int) -> Tensor:
        if count < 0 or start < 0:
            raise ValueError(f"samples from {start}, {count} of them; allowed: both ≥ 0; remedy: number samples from 0")
        return start + torch.arange(count, device=self.device)

    def _samples(self, indices: Tensor) -> Tensor:
        if indices.dtype != torch.int64 or indices.ndim != 1:
            raise ValueError(
                f"indices are {indices.dtype} of shape {tuple(indices.shape)}; allowed: int64 (n,); "
                "remedy: indices.long().flatten()"
            )
        if indices.device.type == "cpu" and len(indices) and int(indices.min()) < 0:  # on a GPU the question would wait for it
            raise ValueError(f"sample index = {int(indices.min())}; allowed: ≥ 0; remedy: number samples from 0")
        return indices.to(self.device)


_AHEAD_BYTES = 1 << 24


@dataclass(frozen=True)
class Ahead:
    """A source whose children 0 … total − 1 are drawn some at a time, as many as 16 MiB hold: the same numbers, sooner.

    For a walk with a network on a processor, where a draw just after a forward pass takes half as long again as one that
    follows a draw; elsewhere there is nothing to gain. Children are asked for in turn; what is kept of them is dropped once
    another is asked for.
    """

    stream: Noise
    total: int
    _kept: dict[tuple[object, ...], Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def child(self, label: object) -> Noise:
        return _Child(self, label) if isinstance(label, int) else self.stream.child(label)

    def normal(self, count: int, shape: tuple[int, ...], start: int = 0) -> Tensor:
        return self.stream.normal(count, shape, start)

    def uniform(self, count: int, start: int = 0) -> Tensor:
        return self.stream.uniform(count, start)

    def _of_child(self, number: int, *asked: Any) -> Tensor:
        if (number, *asked) not in self._kept:
            self._kept.clear()
            drawn = self.stream.child(number).normal(*asked)
            some = _AHEAD_BYTES // max(1, drawn.nbytes)
            for later in range(number + 1, min(number + some, self.total)):
                self._kept[later, *asked] = self.stream.child(later).normal(*asked)
            return drawn
        return self._kept.pop((number, *asked))


@dataclass(frozen=True)
class _Child:
    """A child of a source drawn ahead."""

    ahead: Ahead
    number: int

    def child(self, label: object) -> Noise:
        return self.ahead.stream.child(self.number).child(label)

    def normal(self, count: int, shape: tuple[int, ...], start: int = 0) -> Tensor:
        return self.ahead._of_child(self.number, count, shape, start)

    def uniform(self, count: int, start: int = 0) -> Tensor:
        return self.ahead.stream.child(self.number).uniform(count, start)
