"""A tree of clusters that is not a product: each branch splits along a direction of its own, with weights of its own.

Four leaves in d dimensions: +m√d e₁ ± m d^{a} e₂ with shares q₊, 1 − q₊, and −m√d e₁ ± m d^{a} e₃ with q₋, 1 − q₋; the
branch + has weight p; spread σ everywhere. The posterior mean couples the three directions, yet is exact in their span, for any
d (`reduction.subspace_posterior`), and DDIM leaves the complement to itself. Leaf weights from points of a lattice in the span
(a Kronecker sequence, randomly shifted; error bar from the shifts). Compared with the product: p̂ of the top level by itself,
times q̂ of each split by itself. The samplers of `theory.sampler` in d dimensions run beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from scipy import special

from synthetic.scales import Entry, Hierarchy
from theory import feature, program, reduction
from theory.program import Array, Program, Walk
from theory.progress import progress
from theory.reduction import Line
from theory.sampler import DDIM, Flow, grid, last, walk
from theory.stream import Stream
from theory.target import GaussianMixture

LEAVES = ("+ +", "+ −", "− +", "− −")
SHOWN = ("VP linear, clock", "VE linear, clock", "geodesic, two scales", "geodesic, every scale")


def weights_of(law: Hierarchy, shares: tuple[float, float]) -> Array:
    """(4,) of the leaves."""
    p, (up, down) = law.weight, shares
    return np.array([p * up, p * (1 - up), (1 - p) * down, (1 - p) * (1 - down)])


def centres_of(law: Hierarchy, dim: float) -> Array:
    """(4, 3) in the span of e₁, e₂, e₃."""
    top, low = law.mean * dim ** law.exponents[0], law.mean * dim ** law.exponents[1]
    return np.array([[top, low, 0], [top, -low, 0], [-top, 0, low], [-top, 0, -low]])


def leaf_of(y: Array) -> Array:
    """Number of the leaf of each point, (…, 3) → (…)."""
    return np.where(y[..., 0] > 0, (y[..., 1] <= 0).astype(int), 2 + (y[..., 2] <= 0))


def posterior(run: Program, law: Hierarchy, shares: tuple[float, float], dim: float) -> reduction.Posterior:
    """States (1, particles, 4): coordinates in the span, and the complement's root mean square."""
    return reduction.subspace_posterior(
        run, weights_of(law, shares)[None], centres_of(law, dim)[None], np.full((1, 4), law.spread**2), np.array([dim])
    )


def leaf_weights(
    run: Program, law: Hierarchy, shares: tuple[float, float], dim: float, count: int, stream: Stream, repeats: int = 8
) -> tuple[Array, Array]:
    """(weights of the leaves (4,), one standard error) of DDIM's output: `repeats` shifts of a lattice of `count` points."""
    root = 1.2207440846057596  # of x⁴ = x + 1: powers of its inverse are badly approximable together
    steps, rank = root ** -np.arange(1, 4), np.arange(count)[:, None]
    found = np.empty((repeats, 4))
    for k in range(repeats):
        u = (rank * steps + stream.generator(k).random(3)) % 1.0
        z = special.ndtri(np.clip(u, 1e-16, 1 - 1e-16))
        x = run.start[:, None, None] * np.concatenate([z, np.ones((count, 1))], axis=1)[None]
        y = reduction.run(run, posterior(run, law, shares, dim), x)[0, :, :3]
        found[k] = np.bincount(leaf_of(y), minlength=4) / count
    return found.mean(0), found.std(0, ddof=1) / math.sqrt(repeats)


def product_weights(run: Program, law: Hierarchy, shares: tuple[float, float], dim: float) -> Array:
    """(4,): the top level by itself, and each branch's split by itself."""
    top = feature.outcome(run, law.line(dim, 0), ("weight",)).weight[0, 1]
    c = law.centres(dim)[1]
    splits = []
    for share in shares:
        line = Line.of(dim, [1 - share, share], [-c, c], [law.spread, law.spread])
        splits.append(feature.outcome(run, line, ("weight",)).weight[0, 1])
    up, down = splits
    return np.array([top * up, top * (1 - up), (1 - top) * down, (1 - top) * (1 - down)])


def deviation(law: Hierarchy, shares: tuple[float, float], entry: Entry, settings: Mapping[str, Any], stream: Stream) -> float:
    """Largest difference between samplers in d dimensions and the reduction on the same noise, relative to each part's size."""
    dim, count, steps = settings["dim"], settings["trajectories"], settings["steps"]
    e = np.stack([np.ones(dim), np.tile([1.0, -1.0], dim // 2), np.tile([1.0, 1.0, -1.0, -1.0], dim // 4)]) / math.sqrt(dim)
    means = torch.from_numpy(centres_of(law, dim) @ e)
    mixture = GaussianMixture(
        torch.from_numpy(weights_of(law, shares)), means, torch.full((4, 1), law.spread**2, dtype=torch.float64)
    )
    schedule, times = entry.make(law, dim), grid(steps)
    z = stream.normal(count, (dim,))
    flow = Flow(schedule, mixture.denoise)
    x = last(walk(flow, flow.start(z), times, DDIM())).numpy()
    run = program.compile_walks(DDIM(), [Walk.of(schedule, times, rates=False)])

    def split(v: Array) -> tuple[Array, Array]:
        y = v @ e.T
        return y, v - y @ e

    (start, rest), (y, across) = split(z.numpy()), split(x)
    length = np.sqrt((rest**2).sum(1) / (dim - 3))
    state = run.start[0] * np.concatenate([start, length[:, None]], axis=1)
    expected = reduction.run(run, posterior(run, law, shares, dim), state[None])[0]
    gap = np.abs(y - expected[:, :3]).max() / np.abs(expected[:, :3]).max()
    ratio = expected[:, 3:] / length[:, None]
    return float(max(gap, np.abs(across - ratio * rest).max() / np.abs(across).max()))


def measured(law: Hierarchy, listed: Mapping[str, Entry], settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """Leaf weights of tree and product after a few steps, at every d; and the samplers' deviation."""
    shares = (settings["shares"][0], settings["shares"][1])
    dims, steps, root = settings["dims"], settings["steps"], Stream(seed).child("hierarchy")
    found, bar, product = np.empty((3, len(SHOWN), len(dims), 4))
    for i, name in enumerate(progress(SHOWN, "hierarchy: tree")):
        for k, dim in enumerate(dims):
            walk_ = Walk.of(listed[name].make(law, dim), grid(steps), rates=False)
            run = program.compile_walks(DDIM(), [walk_])
            found[i, k], bar[i, k] = leaf_weights(run, law, shares, dim, settings["particles"], root.child(name).child(dim))
            product[i, k] = product_weights(run, law, shares, dim)
    gaps = [deviation(law, shares, listed[name], settings["confirm"], root.child("samplers").child(name)) for name in SHOWN]
    axes = ("tree_schedule", "tree_dim", "leaf_name")
    return xr.Dataset(
        {
            "leaf": (axes, found, {"long_name": "weights of the leaves"}),
            "leaf_error": (axes, bar, {"long_name": "one standard error"}),
            "leaf_product": (axes, product),
            "leaf_true": ("leaf_name", weights_of(law, shares)),
            "tree_deviation": ("tree_schedule", gaps),
        },
        coords={"tree_schedule": list(SHOWN), "tree_dim": dims, "leaf_name": list(LEAVES)},
    )
