"""Switches: what each choice in the spectral schedule and its training is worth, one changed at a time.

The first run of the configuration is the baseline, the second the spectral schedule; each further run trains a network with one
thing changed (by default: network not told its ends, loss without the factor dλ/dt, another bias, one schedule for all images).
Other switches need no training, since the network is told λ(t) and its ends: the spectral networks themselves draw on rows of
another shape or window, or with the θ of the whole data set in place of θ from p(θ | class). The quantity is the Fréchet
distance, extrapolated to infinitely many samples, relative to the spectral run from the same seed.

Runs are trained from one seed unless configured otherwise. How far a second training would move their ratio is taken from the
spectral run's own seeds, √2 times their relative standard deviation; a difference inside k of that is undecided. What is
resampled shares its networks with the spectral run, so its bar is that of paired differences.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from imagenet.evaluate import Sweep, sweep
from imagenet.few_steps import DISTANCE, TIMED, compared, gather, ratio
from imagenet.generate import Source, load_generator
from imagenet.request import Request
from imagenet.settings import changed
from theory.ledger import Claim, Row, student_k
from theory.ledger import judge as verdict
from theory.progress import progress
from theory.record import MARKERS

THETA = "θ of the data set"
CLAIM = Claim(
    "P2",
    "arXiv 2603.19222, abstract, read switch by switch",
    "The spectral schedule as it stands is no worse than with this one thing changed",
    "Fréchet distance at the fewest steps compared; the networks of the configuration",
)


def _resampled(settings: Mapping[str, Any]) -> list[str]:
    return [*(one["name"] for one in settings["switches"]["resampled"]), THETA]


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """No switch is better: a ratio of at least 1."""
    names = [run["name"] for run in settings["runs"]]
    names = [names[0], *names[2:], *_resampled(settings)]
    return xr.Dataset({"least_ratio": ("run", np.ones(len(names)))}, coords={"run": names})


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """All sweeps, and those of the spectral networks sampled otherwise: (run, seed, sampler, evaluations, …)."""
    files, switches = settings["files"], settings["switches"]
    budgets, sampler = switches["steps"], switches["sampler"]
    joined = gather(files["sweeps"]).sel(evaluations=budgets, sampler=[sampler])
    known, extractors = compared(settings)
    of_all, device = settings["sweep"], settings["device"]
    wanted = Sweep(tuple(budgets), (sampler,), of_all["images"], of_all["seed_ranges"])  # the same noise as the others
    networks = files["checkpoints"][settings["runs"][1]["name"]]
    parts = [joined]
    for name in progress(_resampled(settings), "resampled"):
        each = [
            sweep(_source(path, name, settings, seed + int(number)), known, extractors, wanted, device=device)
            .drop_vars(TIMED)
            .mean("seed_range", keep_attrs=True)
            for number, path in networks.items()
        ]
        stacked = xr.concat(each, dim="seed", data_vars="all", combine_attrs="drop_conflicts")
        parts.append(stacked.assign_coords(seed=[int(number) for number in networks]).expand_dims(run=[name]))
    return xr.concat(parts, dim="run", data_vars="all", join="outer", combine_attrs="drop_conflicts")


def _source(path: str, name: str, settings: Mapping[str, Any], seed: int) -> Source:
    """The network at `path`, drawing with one thing changed."""
    generator = load_generator(path, device=settings["device"])
    request = Request(gamma=settings["sweep"]["gamma"], seed=seed)
    if name == THETA:
        return Source(generator, dataclasses.replace(request, theta="data set"))
    changes = next(one["changes"] for one in settings["switches"]["resampled"] if one["name"] == name)
    return Source(dataclasses.replace(generator, run=changed(generator.run, changes)), request)


def ratios(measured: xr.Dataset, ours: str, budget: int) -> tuple[xr.DataArray, float, int]:
    """(distance of each run over that of `ours`, by run and seed; relative scatter of one such number; degrees of freedom)."""
    values = measured[DISTANCE].isel(extractor=0, sampler=0).sel(evaluations=budget)
    mine = values.sel(run=ours, drop=True).dropna("seed")
    scatter = float(mine.std(ddof=1) / mine.mean()) * 2**0.5 if mine.sizes["seed"] > 1 else float("nan")
    return values / values.sel(run=ours, drop=True), scatter, max(1, mine.sizes["seed"] - 1)


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    """A row per switch: distance as it stands ÷ distance with it changed ≤ 1, at the fewest steps."""
    ours = settings["runs"][1]["name"]
    budget = int(measured["evaluations"].min())
    found, scatter, freedom = ratios(measured, ours, budget)
    values = measured[DISTANCE].isel(extractor=0, sampler=0).sel(evaluations=budget)
    rows = []
    for name in (str(name) for name in predicted["run"].values):
        count = int(found.sel(run=name).count())
        error, bar, k = ratio(values, ours, name)
        if count < 2:
            bar, k = error * scatter, student_k(freedom)
        slug = "-".join(name.replace("θ", "theta").split())
        claim = Claim(f"P2-{slug}", CLAIM.source, f"{CLAIM.statement}: {name}", CLAIM.conditions)
        kind = "resampled" if name in _resampled(settings) else "trained anew"
        said = f"{1 / error:.2f} times the distance at {budget} steps with it changed, {kind}, {count} network(s)"
        rows.append(Row(claim, "≥ 1", said, error, 1.0, verdict(error, 1.0, bar, k=k)))
    return rows


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    """Each run's distance over the spectral run's, at the budgets."""
    ours = settings["runs"][1]["name"]
    names = [str(name) for name in predicted["run"].values]
    label = str(measured["extractor"].values[0])
    budgets = [int(n) for n in measured["evaluations"].values]
    figure, panels = plt.subplots(1, len(budgets), figsize=(3.6 * len(budgets), 3.4), sharey=True, squeeze=False)
    for axes, budget in zip(panels[0], budgets, strict=True):
        found, scatter, _ = ratios(measured, ours, budget)
        if np.isfinite(scatter):
            axes.axvspan(max(0.0, 1 - 2 * scatter), 1 + 2 * scatter, color="black", alpha=0.1, linewidth=0)
        axes.axvline(1, color="black", linewidth=0.8)
        for place, name in enumerate(names):
            each = found.sel(run=name).dropna("seed").values
            axes.plot(each, np.full(len(each), place), MARKERS[0], color="C0", markersize=4, fillstyle="none")
            axes.plot([each.mean()], [place], MARKERS[3], color="black", markersize=4)
        axes.set(title=f"{budget} evaluations", xlabel=f"{label} ÷ that of “{ours}”, N → ∞")
        axes.set_yticks(range(len(names)), names)
    return figure
