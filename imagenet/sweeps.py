"""Sweeps of trained networks: read together, compared seed by seed, drawn against the number of steps.

A sweep (`imagenet.evaluate`) is one network at several samplers and numbers of steps. The experiments on trained networks
(`few_steps`, `switches`, `two_levels`) join those of several runs, each trained from several seeds, and compare two runs by
the ratio of a distance. Ours: pairs by seed, since two runs of one seed share first weights and the order of images; the ratio
of means, not the mean of ratios, which an extrapolated distance near 0 would rule; and k from Student's law, since trainings
are few.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes

from imagenet.extractor import Extractor
from imagenet.packed import open_packed
from imagenet.reference import Pictures, Reference, reference, seen_by
from theory import record
from theory.ledger import student_k

DISTANCE = "frechet_without_bias"  # at few images the plain one is mostly the bias of their number, alike for every schedule
TIMED = ("seconds", "images_per_second")  # not results: they depend on the machine


def gather(files: Mapping[str, Mapping[str, str]]) -> xr.Dataset:
    """The sweeps at files[run][seed], along (run, seed), means over their ranges of seeds; NaN where a run has no such seed."""
    found = []
    for of_seeds in files.values():
        each = [record.load(path).drop_vars(TIMED).mean("seed_range", keep_attrs=True) for path in of_seeds.values()]
        stacked = xr.concat(each, dim="seed", data_vars="all", combine_attrs="drop_conflicts")
        found.append(stacked.assign_coords(seed=[int(seed) for seed in of_seeds]))
    joined = xr.concat(found, dim="run", data_vars="all", join="outer", combine_attrs="drop_conflicts")
    return joined.assign_coords(run=list(files))


def compared(settings: Mapping[str, Any]) -> tuple[Reference, list[Extractor]]:
    """What sets of samples are compared with, and the extractor: those of the sweeps, read from the reference's folder."""
    files, sweep, device = settings["files"], settings["sweep"], settings["device"]
    if device != "cpu":  # some of a GPU's operations have no deterministic form; the command `evaluate` does not ask for it
        torch.use_deterministic_algorithms(False)
    pictures, folder = Pictures.of(open_packed(files["data"])), Path(files["reference"])
    held_out = Pictures.of(open_packed(files["held-out"])) if files["held-out"] else None
    extractors = seen_by([sweep["extractor"]], pictures, device, folder)
    return reference(pictures, extractors, sweep["images"], held_out=held_out, device=device, cache=folder), extractors


def ratio(measured: xr.DataArray, ours: str, theirs: str, rows: int = 1) -> tuple[float, float, float]:
    """(ratio of means over the seeds that both have, its standard error, k): `measured` has dimensions run and seed.

    The error is that of paired differences, ours − ratio·theirs: what both share from one seed does not count. k is
    `student_k` of a degree of freedom less than seeds, for `rows` ratios judged side by side; with one seed the error is NaN.
    The ratio is NaN too unless both means are positive: an extrapolated distance may fall below 0.
    """
    pairs = [measured.sel(run=name, drop=True) for name in (ours, theirs)]
    both = np.isfinite(pairs[0].values) & np.isfinite(pairs[1].values)
    mine, other = (pair.values[both] for pair in pairs)
    if not len(mine) or min(mine.mean(), other.mean()) <= 0:
        return float("nan"), float("nan"), 2.0
    found = float(mine.mean() / other.mean())
    if len(mine) < 2:
        return found, float("nan"), 2.0
    error = float((mine - found * other).std(ddof=1)) / len(mine) ** 0.5 / float(other.mean())
    return found, error, student_k(len(mine) - 1, rows)


def over_seeds(values: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over trainings and its standard error."""
    count = values.count("seed")
    error = values.std("seed", ddof=1) / np.sqrt(count) if values.sizes["seed"] > 1 else values.mean("seed") * np.nan
    return values.mean("seed").values, error.values


def step_ticks(axes: Axes, measured: xr.Dataset) -> None:
    """The steps that were tried, and no others, on the horizontal axis."""
    steps = [int(n) for n in measured["evaluations"].values]
    axes.set_xticks(steps, [str(n) for n in steps])
    axes.set_xticks([], minor=True)
