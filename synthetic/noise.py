"""Start noise shared by the experiments in d dimensions: normals whose mean along u = (1, …, 1)/√d is stratified."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from theory.stream import Stream

BLOCK = 2**17  # numbers per block of trajectories (1 MiB): the working set of a step stays in cache


def noise_blocks(count: int, dim: int, stream: Stream) -> Iterator[tuple[int, Tensor]]:
    """(first trajectory, standard normals of a block), u·z stratified over all `count` trajectories."""
    size = max(1, BLOCK // dim)
    for start in range(0, count, size):
        z = stream.child("noise").normal(min(size, count - start), (dim,), start)
        rank = stream.child("rank").uniform(len(z), start)
        along = torch.special.ndtri((torch.arange(start, start + len(z)) + rank) / count)
        yield start, z + (along / math.sqrt(dim) - z.mean(-1))[:, None]
