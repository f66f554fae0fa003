"""The figure of the learned denoisers: error against N, N against d, and what is left against how often training shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory.record import LINES, MARKERS

TOLD, BELOW = "x", 11  # matplotlib's CARETDOWNBASE: a triangle that hangs from its point, like no marker of a schedule
LEAST = 1e-4  # where the axes of errors end


def drawn(
    predicted: xr.Dataset,
    measured: xr.Dataset,
    exact: xr.DataArray,
    learned: xr.DataArray,
    left: xr.DataArray,
    settings: Mapping[str, Any],
) -> Figure:
    figure, axes = plt.subplots(2, 2, figsize=(11.5, 8.4))
    for ax, feature, what in ((axes[0, 0], "weight", "weights"), (axes[0, 1], "spread", "spread inside the modes")):
        _draw_errors(ax, predicted, measured, feature, settings)
        ax.set_title(f"{what}, d = {_power_of_ten(settings['dims'][-1])}")
    _draw_steps(axes[1, 0], exact, learned, settings)
    _draw_floor(axes[1, 1], predicted, left, settings)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside upper center", ncols=4, fontsize="small",
        title="lines: exact denoiser; points: learned, mean and one standard error over trainings; triangles: below the axis",
    )  # fmt: skip
    return figure


def _mean(values: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over trainings, NaN where one is, and one standard error of it; no bar of one training."""
    count = values.sizes["repeat"]
    mean = values.mean("repeat", skipna=False).values
    return mean, values.std("repeat", ddof=1).values / math.sqrt(count) if count > 1 else np.zeros_like(mean)


def _draw_points(ax: Axes, x: np.ndarray, values: xr.DataArray, k: int, marker: str, label: str | None, full: str) -> None:
    """Means over trainings with their bars; a triangle at the foot of the axis for a mean below it."""
    mean, bar = _mean(values)
    seen = ~(mean < LEAST)
    ax.errorbar(
        x[seen], mean[seen], bar[seen], color=f"C{k}", marker=marker, linestyle="", markersize=5, elinewidth=0.8, label=label,
        fillstyle=full,
    )  # fmt: skip
    ax.plot(x[~seen], np.full((~seen).sum(), 1.3 * LEAST), color=f"C{k}", marker=BELOW, linestyle="", markersize=6)


def _looks(data: xr.Dataset | xr.DataArray) -> list[tuple[int, str, str]]:
    """(colour, marker, schedule): one that is told the noise level looks like the same without, but for its marker."""
    names = list(data.schedule.values)
    bases = [name.removesuffix(", told ς") for name in names]
    order = list(dict.fromkeys(bases))
    return [(order.index(b), MARKERS[order.index(b)] if b == n else TOLD, n) for b, n in zip(bases, names, strict=True)]


def _draw_errors(ax: Axes, predicted: xr.Dataset, measured: xr.Dataset, feature: str, settings: Mapping[str, Any]) -> None:
    for k, marker, name in _looks(measured):
        theory = predicted[f"{feature}_error"].sel(schedule=name).isel(dim=-1)
        found = measured[f"{feature}_error"].sel(schedule=name).isel(dim=-1)
        steps = found[f"{feature}_steps"].values
        if marker != TOLD:
            ax.plot(steps, theory, color=f"C{k}", linestyle=LINES[k], linewidth=1)
        places = found.transpose(f"{feature}_steps", "repeat")
        _draw_points(ax, steps * 1.03 ** (k - 2), places, k, marker, name, "full")
    ax.axhline(settings["epsilon"], color="0.3", linewidth=2.5, alpha=0.4, zorder=0)
    ax.set(xscale="log", yscale="log", xlabel="DDIM steps N", ylabel="relative error")
    ax.set_ylim(LEAST, 1.5)


def _draw_steps(ax: Axes, exact: xr.DataArray, learned: xr.DataArray, settings: Mapping[str, Any]) -> None:
    """Points: mean over seeds; at the top where a seed does not reach ε, those told the noise level one row lower."""
    top = 4.0 * float(np.nanmax(exact))
    for k, marker, name in _looks(learned):
        found = learned.sel(schedule=name)
        never = found.isnull().any("repeat").values
        place = found.dim.values * 1.06 ** (k - 2)
        mean, bar = _mean(found)
        ax.plot(exact.dim, exact.sel(schedule=name), color=f"C{k}", linestyle=LINES[k], linewidth=1)
        ax.errorbar(place, mean, bar, color=f"C{k}", marker=marker, linestyle="", markersize=5)
        row, sign = (top / 2, TOLD) if marker == TOLD else (top, marker)
        ax.plot(
            place[never], np.full(never.sum(), row), color=f"C{k}", marker=sign, linestyle="", markersize=8, markeredgewidth=2
        )
    ax.set(xscale="log", yscale="log", xlabel="dimension d", ylabel="DDIM steps N")
    ax.set_title(f"steps for {100 * settings['epsilon']:.0f} % on both (top rows: a training never reaches it)")


def _draw_floor(ax: Axes, predicted: xr.Dataset, left: xr.DataArray, settings: Mapping[str, Any]) -> None:
    for k, marker, name in _looks(left):
        for feature, full in (("weight", "full"), ("spread", "none")):
            share = predicted.share.sel(schedule=name, feature=feature).values
            places = left.sel(schedule=name, feature=feature).transpose("dim", "repeat")
            _draw_points(ax, share, places, k, marker, None, full if marker != TOLD else "full")
    ax.axhline(settings["epsilon"], color="0.3", linewidth=2.5, alpha=0.4, zorder=0)
    ax.set(xscale="log", yscale="log", xlabel="share of training times in the phase", ylabel="relative error at the largest N")
    ax.set_ylim(LEAST, 1.5)
    ax.set_title("what is seldom shown is not learned (filled: weights, hollow: spread)")


def _power_of_ten(dim: float) -> str:
    exponent = math.log10(dim)
    return f"$10^{{{exponent:.0f}}}$" if exponent == round(exponent) else f"{dim:g}"
