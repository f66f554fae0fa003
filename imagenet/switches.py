"""Switches: what each choice in the spectral schedule and its training is worth, one changed at a time.

The first run of the configuration is the baseline, the second the spectral schedule; each further run trains a network with one
thing changed (by default: network not told its ends, loss without the factor dλ/dt, another bias, one schedule for all images).
Other switches need no training, since the network is told λ(t) and its ends: the spectral networks themselves draw on rows of
another shape or window, or with the θ of the whole data set in place of θ from p(θ | class). The quantity is the Fréchet
distance, extrapolated to infinitely many samples, relative to the spectral run from the same seed.

Runs are trained from one seed unless configured otherwise. How far a second training would move their ratio is taken from the
spectral run's own seeds, √2 times their relative standard deviation; a difference inside k of that is undecided. What is
resampled shares its networks with the spectral run, so its bar is that of paired differences. Changed after a first look: k is
Student's for all the rows together, since with ten side by side one in ten or so would else be called by chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imagenet.evaluate import Sweep, sweep
from imagenet.generate import Source, load_generator
from imagenet.request import Request
from imagenet.settings import changed
from imagenet.sweeps import DISTANCE, TIMED, compared, gather, ratio
from theory.ledger import Claim, Row, decide, student_k
from theory.progress import progress
from theory.record import MARKERS

THETA = "θ of the data set"
CLAIM = Claim(
    "P2",
    "arXiv 2603.19222, abstract, read switch by switch",
    "The spectral schedule as it stands is no worse than with this one thing changed",
    "Fréchet distance at the fewest steps compared; the networks of the configuration; k for all switches judged side by side",
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


@dataclasses.dataclass(frozen=True)
class Compared:
    """Distance of the schedule as it stands ÷ with one thing changed: by seed, of the means, and k standard errors of that."""

    name: str
    each: np.ndarray
    ratio: float
    allowed: float


def comparisons(measured: xr.Dataset, ours: str, names: Sequence[str], budget: int) -> list[Compared]:
    """Each of `names` at `budget` steps, k for as many rows.

    A single network's bar is the scatter of `ours` between trainings, √2 times its relative standard deviation over seeds:
    NaN, so undecided, if `ours` has one seed too.
    """
    values = measured[DISTANCE].isel(extractor=0, sampler=0).sel(evaluations=budget)
    mine = values.sel(run=ours, drop=True)
    count = int(mine.count())
    scatter = float(mine.std(ddof=1) / mine.mean()) * 2**0.5 if count > 1 else float("nan")
    found = []
    for name in names:
        each = (mine / values.sel(run=name, drop=True)).dropna("seed").values
        middle, bar, k = ratio(values, ours, name, len(names))
        if len(each) < 2:
            bar, k = middle * scatter, student_k(count - 1, len(names))
        found.append(Compared(name, each, middle, k * bar))
    return found


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    """A row per switch: distance as it stands ÷ distance with it changed ≤ 1, at the fewest steps."""
    budget = int(measured["evaluations"].min())
    names = [str(name) for name in predicted["run"].values]
    rows = []
    for found in comparisons(measured, settings["runs"][1]["name"], names, budget):
        slug = "-".join(found.name.replace("θ", "theta").split())
        claim = Claim(f"P2-{slug}", CLAIM.source, f"{CLAIM.statement}: {found.name}", CLAIM.conditions)
        kind = "resampled" if found.name in _resampled(settings) else "trained anew"
        networks = f"{len(found.each)} network" + ("s" if len(found.each) != 1 else "")
        said = f"{1 / found.ratio:.2f} times the distance at {budget} steps with it changed, {kind}, {networks}; "
        said += f"inverse {found.ratio:.2f} ± {found.allowed:.2f} (k standard errors)"
        rows.append(decide(found.ratio, 1.0, found.allowed, k=1.0).row(claim, "≥ 1", said))
    return rows


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    """What is judged: the schedule's distance as it stands over that with one thing changed, its bar as long as judged."""
    ours = settings["runs"][1]["name"]
    names = [str(name) for name in predicted["run"].values]
    label = str(measured["extractor"].values[0])
    budgets = [int(n) for n in measured["evaluations"].values]
    figure, panels = plt.subplots(1, len(budgets), figsize=(1.6 + 3.6 * len(budgets), 4.2), sharey=True, squeeze=False)
    for axes, budget in zip(panels[0], budgets, strict=True):
        found = comparisons(measured, ours, names, budget)
        _draw_ratios(axes, found)
        axes.set(title=f"{label}, N → ∞, {budget} evaluations", xlabel=f"“{ours}” ÷ with this changed")
        few = {one.name: " (1 network)" if len(one.each) < 2 else "" for one in found}
        axes.set_yticks(range(len(names)), [f"{name}{few[name]}" for name in names])
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small")
    return figure


def _draw_ratios(axes: Axes, found: Sequence[Compared]) -> None:
    """Bars that leave the axis end in an arrow: they are many times the ratio where one network was trained."""
    right = 1.3 * max([1.0, *(value for one in found for value in (*one.each, one.ratio) if np.isfinite(value))])
    place = np.arange(len(found))
    for row, one in zip(place, found, strict=True):
        axes.plot(one.each, np.full(len(one.each), row), MARKERS[0], color="C0", alpha=0.5, markersize=5, fillstyle="none",
                  label="each training seed" if row == 0 else None)  # fmt: skip
    middle, allowed = (np.array([getattr(one, name) for one in found]) for name in ("ratio", "allowed"))
    axes.errorbar(middle, place, xerr=np.nan_to_num(allowed), fmt=MARKERS[3], color="black", markersize=4, capsize=2,
                  label="of the means, ± k standard errors, as judged")  # fmt: skip
    for edge, beyond, marker in ((0.0, middle - allowed < 0, "<"), (right, middle + allowed > right, ">")):
        axes.plot(np.full(beyond.sum(), edge), place[beyond], marker, color="black", markersize=5, clip_on=False, zorder=5)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.axvspan(0, 1, color="black", alpha=0.07, linewidth=0, label="as it stands is better")
    axes.set_xlim(0, right)
    axes.grid(axis="y", visible=False)
