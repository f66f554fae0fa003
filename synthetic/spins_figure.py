"""The figure of the Curie-Weiss atlas: N_ε against d, errors through J = 1, the table of N_ε, and which feature is lost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from theory.record import LINES, MARKERS

LOOK = {  # colour, marker and dash of a schedule, the same in both upper panels; the palette has six, there are eight
    "linear": ("C0", MARKERS[0], LINES[0]),
    "square root": ("C1", MARKERS[1], LINES[1]),
    "log-uniform": ("C2", MARKERS[2], LINES[2]),
    "geodesic": ("C3", MARKERS[3], LINES[3]),
    "VP linear clock": ("C4", MARKERS[4], LINES[4]),
    "VE linear clock": ("C5", MARKERS[5], LINES[5]),
    "VE linear": ("0.1", "X", (0, (3, 1))),
    "EDM ρ = 7": ("0.5", "*", (0, (1, 1))),
}
OTHER = ("0.5", "h", "-")  # of a schedule that another config fits
SHOWN = ("linear", "EDM ρ = 7", "log-uniform", "geodesic", "VP linear clock", "VE linear clock")
LOST = 0.995  # prints as 1.00


def drawn(predicted: xr.Dataset, measured: xr.Dataset, error: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    figure, axes = plt.subplots(2, 2, figsize=(11.5, 9), height_ratios=(1, 1.1))
    _draw_growth(axes[0, 0], predicted, measured, settings)
    _draw_transition(axes[0, 1], error, settings)
    _draw_table(axes[1, 0], measured, settings)
    _draw_errors(axes[1, 1], error, settings)
    return figure


def _draw_growth(ax: Axes, predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> None:
    """Points: N_ε of Curie-Weiss; lines: the fitted law; hollow: the mixture with the same two modes."""
    names = []
    for name in measured.grown.values:
        row, (colour, marker, dash) = measured.sel(grown=name), LOOK.get(str(name), OTHER)
        style: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": ""}
        seen = np.flatnonzero(np.isfinite(row.growth_steps.values))
        ax.plot(row.growth_dim, row.growth_steps, **style, markersize=5)
        ax.plot(row.growth_dim[seen], row.fitted[seen], color=colour, linestyle=dash, linewidth=1)
        twin = predicted.mixture_steps.reindex(integrator=[str(row.grown_by.values)]).sel(schedule=name).isel(integrator=0)
        ax.plot(twin.dim, twin, **style, fillstyle="none", markersize=9, alpha=0.7)
        if len(seen):
            power = f" ∝ $d^{{{float(row.exponent):.2f}}}$" if abs(float(row.exponent)) > 0.05 else ""
            text = f"{name}, {row.grown_by.values}{power}"
            names.append((float(row.growth_steps[seen[-1]]), float(row.growth_dim[seen[-1]]), text, colour))
    place = -math.inf
    for height, dim, text, colour in sorted(names):
        place = max(math.log10(height), place + 0.13)
        leader = {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "alpha": 0.6}
        at = (float(measured.growth_dim[-1]) * 2, 10**place)
        ax.annotate(text, (dim, height), xytext=at, va="center", fontsize="x-small", color=colour, arrowprops=leader)
    ax.set(xscale="log", yscale="log", xlabel="dimension d", ylabel="steps N")
    ax.set_xlim(float(measured.dim[0]) / 1.5, float(measured.growth_dim[-1]) * 1000)
    ax.set_xticks(10.0 ** np.arange(math.log10(float(measured.dim[0])), math.log10(float(measured.growth_dim[-1])) + 0.01))
    ax.set_yticks([50, 100, 200, 500, 1000], ["50", "100", "200", "500", "1000"])
    ax.minorticks_off()
    ax.set_title(f"J = {settings['coupling']:g}: steps for {100 * settings['epsilon']:.0f} % (hollow: Gaussian twin)")


def _draw_transition(ax: Axes, error: xr.Dataset, settings: Mapping[str, Any]) -> None:
    """Largest error of a feature over d against J, DPM-Solver++ full, DDIM hollow."""
    worst = error.gap.max(("feature", "dim"))
    methods = [m for m in ("DPM-Solver++(2M)", "DDIM", "Euler") if m in worst.integrator.values][:2]
    for (fill, method), name in itertools.product(zip(("full", "none"), methods, strict=False), SHOWN):
        row, (colour, marker, _) = np.minimum(worst.sel(schedule=name, integrator=method), 1.0), LOOK[name]
        if fill == "full":  # a guide for the eye: nothing is predicted here
            ax.plot(row.coupling, row, color="0.75", linewidth=0.6, linestyle="-", zorder=1)
        label = name if fill == "full" else None
        ax.plot(row.coupling, row, color=colour, marker=marker, linestyle="", fillstyle=fill, label=label, markersize=6)
    ax.axvline(1.0, color="0.3", linewidth=2.5, alpha=0.4, zorder=0)
    ax.set(yscale="log", xlabel="coupling J", ylabel="largest relative error of a feature (1: lost)")
    ax.set_title(
        f"through J = 1, N = {settings['steps']}, worst d (full: {methods[0]}, hollow: {methods[-1]})", fontsize="small"
    )
    ax.legend(fontsize="x-small", ncols=2)


def _draw_table(ax: Axes, measured: xr.Dataset, settings: Mapping[str, Any]) -> None:
    table = measured.steps_needed.stack(column=("integrator", "dim"))
    columns = [f"{d:.0e}".replace("e+0", "e") for _, d in table.column.values]
    counts = table.values
    texts = np.where(np.isnan(counts), "–", np.char.mod("%d", np.nan_to_num(counts)))
    ax.grid(False)
    ax.set_facecolor("0.85")
    sns.heatmap(
        np.log10(counts), annot=texts, fmt="", cmap="cividis_r", ax=ax, cbar=False, annot_kws={"fontsize": 6.5},
        xticklabels=columns, yticklabels=list(table.schedule.values),
    )  # fmt: skip
    width = measured.sizes["dim"]
    for k, method in enumerate(measured.integrator.values):
        ax.text(width * (k + 0.5), -0.15, str(method), ha="center", va="bottom", fontsize="small")
        ax.axvline(width * k, color="white", linewidth=3)
    ax.tick_params(axis="both", labelsize=7, rotation=0)
    ax.set(xlabel="dimension d", ylabel="")
    ax.set_title(
        f"N for {100 * settings['epsilon']:.0f} %, J = {settings['coupling']:g} (grey: more than {settings['cap'] // 2})\n",
        fontsize="small",
    )


def _draw_errors(ax: Axes, error: xr.Dataset, settings: Mapping[str, Any]) -> None:
    """Which feature is lost: every schedule, J × feature, largest over d, with one integrator."""
    method = "DDIM" if "DDIM" in error.integrator.values else str(error.integrator.values[0])
    worst = error.gap.sel(integrator=method).max("dim").transpose("schedule", "coupling", "feature")
    table = worst.stack(column=("coupling", "feature"))
    table = table.isel(column=np.flatnonzero(np.isfinite(table).any("schedule").values))
    ax.grid(False)
    shown = np.clip(table.values, 1e-3, 1.0)
    texts = np.vectorize(lambda v: "lost" if v >= LOST else f"{v:.2f}".lstrip("0"))(table.values)
    sns.heatmap(
        np.log10(shown), annot=texts, fmt="", cmap="cividis_r", ax=ax, cbar=False, annot_kws={"fontsize": 6.5}, vmin=-3, vmax=0,
        xticklabels=[feature for _, feature in table.column.values], yticklabels=list(table.schedule.values),
    )  # fmt: skip
    groups = [float(j) for j, _ in table.column.values]
    for coupling in dict.fromkeys(groups):
        where = [k for k, j in enumerate(groups) if j == coupling]
        ax.text((where[0] + where[-1] + 1) / 2, -0.15, f"J = {coupling:g}", ha="center", va="bottom", fontsize="small")
        ax.axvline(where[0], color="white", linewidth=3)
    ax.tick_params(axis="y", labelsize=7, rotation=0)
    ax.tick_params(axis="x", labelsize=7, rotation=60)
    ax.set(xlabel="feature", ylabel="")
    ax.set_title(f"largest relative error over d, {method}, N = {settings['steps']}\n", fontsize="small")
