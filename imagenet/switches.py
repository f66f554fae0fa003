"""Switches: what each choice in the spectral schedule and its training is worth, one changed at a time.

The first run of the configuration is the baseline, the second the spectral schedule; each further run trains a network with one
thing changed (shape, ε of the window, one schedule for all images, network not told its ends, loss without the factor dλ/dt,
another bias). One more switch needs no training: the spectral networks draw with the θ of the whole data set in place of θ from
p(θ | class). The quantity is the Fréchet distance at 8 and 32 steps relative to the spectral run from the same seed.

Most switches are trained from one seed. How far a second training from another seed would move the ratio is taken from the
spectral run's own seeds, √2 times their standard deviation in log; a difference inside k of that is undecided.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy.stats import t as student

from imagenet.evaluate import Sweep, sweep
from imagenet.few_steps import TIMED, compared, gather, log
from imagenet.generate import Source, load_generator
from imagenet.packed import open_packed
from imagenet.request import Request
from theory.ledger import Claim, Row
from theory.ledger import judge as verdict
from theory.record import MARKERS

FEW, MORE = 8, 32  # evaluations
THETA = "θ of the data set"
CLAIM = Claim(
    "P2",
    "arXiv 2603.19222, abstract, read switch by switch",
    "The spectral schedule as it stands is no worse than with this one thing changed",
    f"Fréchet distance at {FEW} steps, ancestral sampler; the networks of the configuration",
)


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """No switch is better: a ratio of at least 1."""
    names = [*(run["name"] for run in settings["runs"] if run["name"] != settings["runs"][1]["name"]), THETA]
    return xr.Dataset({"least_ratio": ("run", np.ones(len(names)))}, coords={"run": names})


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """All sweeps, and those of the spectral networks with θ of the data set, at the two budgets."""
    files = settings["files"]
    joined = gather(files["sweeps"])
    budgets = [n for n in (FEW, MORE) if n in joined["evaluations"].values] or [int(joined["evaluations"].values[0])]
    joined = joined.sel(evaluations=budgets, sampler=[_sampler(joined)])
    packed = open_packed(files["data"])
    images = settings["sweep"]["images"]
    known, extractors = compared(packed, settings["sweep"]["extractor"], images)
    wanted = Sweep(tuple(budgets), (_sampler(joined),), images, seed_ranges=1)
    name = settings["runs"][1]["name"]
    each = []
    for path in files["checkpoints"][name].values():
        request = Request(gamma=settings["sweep"]["gamma"], theta="data set", seed=seed)
        found = sweep(Source(load_generator(path), request), known, extractors, wanted)
        each.append(found.drop_vars(TIMED).mean("seed_range", keep_attrs=True))
    changed = xr.concat(each, dim="seed", data_vars="all", combine_attrs="drop_conflicts")
    changed = changed.assign_coords(seed=[int(number) for number in files["checkpoints"][name]]).expand_dims(run=[THETA])
    return xr.concat([joined, changed], dim="run", data_vars="all", join="outer", combine_attrs="drop_conflicts")


def _sampler(dataset: xr.Dataset) -> str:
    names = [str(name) for name in dataset["sampler"].values]
    return "ancestral" if "ancestral" in names else names[0]


def ratios(measured: xr.Dataset, ours: str, budget: int) -> tuple[xr.DataArray, float, int]:
    """(log FD of each run over `ours`, by run and seed; standard deviation of one such number; its degrees of freedom)."""
    logs = log(measured["frechet"].isel(extractor=0, sampler=0).sel(evaluations=budget))
    mine = logs.sel(run=ours, drop=True).dropna("seed")
    scatter = float(mine.std(ddof=1)) * 2**0.5 if mine.sizes["seed"] > 1 else float("nan")
    return logs - logs.sel(run=ours, drop=True), scatter, max(1, mine.sizes["seed"] - 1)


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    """A row per switch: FD(as it stands) ÷ FD(changed) ≤ 1."""
    ours = settings["runs"][1]["name"]
    budget = int(measured["evaluations"].values[0])
    logs, scatter, freedom = ratios(measured, ours, budget)
    k = float(student.ppf(0.975, freedom))
    rows = []
    for name in predicted["run"].values:
        each = logs.sel(run=name).dropna("seed").values
        mean, error = float(each.mean()), scatter / len(each) ** 0.5
        ratio = float(np.exp(-mean))
        slug = "-".join(str(name).replace("θ", "theta").split())
        claim = Claim(f"P2-{slug}", CLAIM.source, f"{CLAIM.statement}: {name}", CLAIM.conditions)
        said = f"{np.exp(mean):.2f} times the distance with it changed, {len(each)} training(s)"
        rows.append(Row(claim, "≥ 1", said, ratio, 1.0, verdict(ratio, 1.0, ratio * error, k=k)))
    return rows


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    """Each run's distance over the spectral run's, at the budgets."""
    ours = settings["runs"][1]["name"]
    names = [str(name) for name in predicted["run"].values]
    label, images = str(measured["extractor"].values[0]), measured.attrs["images"]
    budgets = [int(n) for n in measured["evaluations"].values]
    figure, panels = plt.subplots(1, len(budgets), figsize=(3.6 * len(budgets), 3.4), sharey=True, squeeze=False)
    for axes, budget in zip(panels[0], budgets, strict=True):
        logs, scatter, _ = ratios(measured, ours, budget)
        if np.isfinite(scatter):
            axes.axvspan(np.exp(-2 * scatter), np.exp(2 * scatter), color="black", alpha=0.1, linewidth=0)
        axes.axvline(1, color="black", linewidth=0.8)
        for place, name in enumerate(names):
            each = np.exp(logs.sel(run=name).dropna("seed").values)
            axes.plot(each, np.full(len(each), place), MARKERS[0], color="C0", markersize=4, fillstyle="none")
            axes.plot([np.exp(np.log(each).mean())], [place], MARKERS[3], color="black", markersize=4)
        axes.set(xscale="log", title=f"{budget} evaluations", xlabel=f"{label} ÷ that of “{ours}”, N = {images}")
        axes.set_yticks(range(len(names)), names)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="x", which="minor", labelsize=6)
    return figure
