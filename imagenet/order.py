"""What is random in training, as pure functions of (seed, step): which images, mirrored or not, at which times, which noise.

Step n works on a global batch; position k in it has its image, flip, time, dropped label and noise, whoever computes them. Each
function gives the part `start` … `start + count − 1` of the batch, equal to that slice of the whole, so the ranks of a
distributed run and the micro-batches of an accumulated step take their parts, and a resumed run needs no state but the step.

Data order: each epoch is a keyed permutation of the images; the batches run over the borders of epochs. A small set is sorted
by random keys. For a large one the permutation is a Feistel network (Luby and Rackoff, SIAM J. Comput. 17 (1988) 373) on the
least power of two that holds the images; numbers that fall outside are sent through again until they fall inside (cycle
walking; Black and Rogaway, CT-RSA 2002). So any entry is had without the others: 10⁷ images cost what 10⁵ do. The round
function is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). On a few bits such networks do not reach every
permutation, and cycle walking then favours some places, hence the sorting. Times are low-discrepancy over the global batch
(Kingma et al., VDM, arXiv 2107.00630, appendix I.1).
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np
import torch
from torch import Tensor

from theory.philox import DeviceStream
from theory.stream import Stream

_ROUNDS = 8  # Luby and Rackoff need four with perfect round functions
_SORTED = 2**16  # sets up to this size are sorted: 5 ms an epoch
_LAST_STEP = 2**31 - 1  # step and position share the 63 bits of a sample number


def indices(seed: int, step: int, batch: int, images: int, *, start: int = 0, count: int | None = None) -> Tensor:
    """Which images the positions of step `step` hold, (count,) int64 in 0 … images − 1; every image once per epoch.

    `batch` is the size of the global batch, `images` of the data set. Raises ValueError for numbers out of range.
    """
    first, number = _part(step, batch, start, count)
    if images < 1:
        raise ValueError(f"images = {images}; allowed: ≥ 1; remedy: a data set that is not empty")
    place = step * batch + first + np.arange(number, dtype=np.int64)
    epochs, within = np.divmod(place, images)
    out = np.empty(number, dtype=np.int64)
    for epoch in np.unique(epochs):
        mine = epochs == epoch
        out[mine] = permuted(within[mine], images, f"{seed}\x1forder\x1f{epoch}")
    return torch.from_numpy(out)


def flips(seed: int, step: int, batch: int, *, start: int = 0, count: int | None = None) -> Tensor:
    """Which positions are mirrored, (count,) bool, each with probability ½."""
    return _uniform(seed, "flips", step, batch, start, count) < 0.5


def drops(seed: int, step: int, batch: int, probability: float, *, start: int = 0, count: int | None = None) -> Tensor:
    """Which positions lose their label (for guidance), (count,) bool, each with `probability` in [0, 1]."""
    if not 0 <= probability <= 1:
        raise ValueError(f"probability = {probability}; allowed: 0 … 1; remedy: the share of labels to drop, usually 0.1")
    return _uniform(seed, "drops", step, batch, start, count) < probability


def times(seed: int, step: int, batch: int, *, start: int = 0, count: int | None = None) -> Tensor:
    """Times in [0, 1), (count,) float64: (u + π(k))/batch, one u and one permutation π of the global batch a step.

    Each of the `batch` equal cells of [0, 1) holds exactly one time; each time alone is uniform. π spreads the cells over
    ranks and micro-batches.
    """
    first, number = _part(step, batch, start, count)
    shift = Stream(seed).child("times").generator(step).random()
    cells = permuted(np.arange(first, first + number), batch, f"{seed}\x1ftimes\x1f{step}")
    drawn = torch.from_numpy((cells + shift) / batch)
    return drawn.clamp_(max=1 - 2.0**-53)  # (batch − 1 + u)/batch may round up to 1


def noise(
    seed: int,
    step: int,
    start: int,
    count: int,
    shape: tuple[int, ...],
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normals (count, *shape) of the positions start … start + count − 1, made on `device`.

    One key for a whole run: step and position together are the sample number, so a compiled kernel is compiled once.
    """
    _part(step, 2**32, start, count)
    return DeviceStream(seed, ("noise",), device, dtype).normal(count, shape, step * 2**32 + start)


def permuted(positions: np.ndarray, size: int, name: str) -> np.ndarray:
    """Where the permutation of 0 … size − 1 called `name` sends `positions`, int64."""
    digest = hashlib.blake2b(name.encode(), digest_size=8 * _ROUNDS, person=b"permutation").digest()
    if size <= _SORTED:
        return _ranking(size, digest)[positions]
    return _feistel(positions, size, np.frombuffer(digest, dtype="<u8").astype(np.uint64))


@functools.lru_cache(maxsize=4)
def _ranking(size: int, digest: bytes) -> np.ndarray:
    keys = np.random.Philox(key=np.frombuffer(digest[:16], dtype="<u8").astype(np.uint64)).random_raw(size)
    return np.argsort(keys, kind="stable").astype(np.int64)


def _feistel(positions: np.ndarray, size: int, keys: np.ndarray) -> np.ndarray:
    """Two halves of nearly equal width: in turn, one is added, bit by bit, to a hash of the other."""
    bits = max(2, (size - 1).bit_length())
    low = bits // 2
    masks = (np.uint64(2**low - 1), np.uint64(2 ** (bits - low) - 1))
    out = np.asarray(positions, dtype=np.int64).astype(np.uint64)
    walking = np.arange(len(out))
    while len(walking):
        halves = [out[walking] & masks[0], out[walking] >> np.uint64(low)]
        for number, key in enumerate(keys):
            side = number % 2
            halves[side] = halves[side] ^ (_mixed(halves[1 - side] ^ key) & masks[side])
        out[walking] = halves[0] | (halves[1] << np.uint64(low))
        walking = walking[out[walking] >= size]
    return out.astype(np.int64)


def _mixed(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser, modulo 2⁶⁴."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _uniform(seed: int, name: str, step: int, batch: int, start: int, count: int | None) -> Tensor:
    """Independent uniforms of the positions: the step has a generator, position k its k-th number."""
    first, number = _part(step, batch, start, count)
    return torch.from_numpy(Stream(seed).child(name).generator(step).random(first + number)[first:])


def _part(step: int, batch: int, start: int, count: int | None) -> tuple[int, int]:
    """(start, count), the rest of the batch where count is None. Raises ValueError outside the batch."""
    if not 0 <= step <= _LAST_STEP or batch < 1:
        raise ValueError(
            f"step = {step}, batch = {batch}; allowed: step 0 … {_LAST_STEP}, batch ≥ 1; remedy: count steps from 0"
        )
    number = batch - start if count is None else count
    if start < 0 or number < 0 or start + number > batch:
        raise ValueError(
            f"part from {start}, {number} positions, of a batch of {batch}; allowed: inside it; remedy: divide the global batch"
        )
    return start, number
