"""The figure of the atlas: N_ε against d with the fitted laws, error against N, efficiency of every schedule.

    python -m synthetic.atlas_figure results/synthetic/atlas docs/n_epsilon.svg

draws the first of these alone, from the measured.nc of that folder: the figure in README.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from theory import record
from theory.record import LINES, MARKERS

SHOWN = ("linear", "EDM ρ = 3", "EDM ρ = 7", "log-uniform", "VP linear clock", "geodesic")


def drawn(measured: xr.Dataset, demanded: tuple[str, ...], settings: Mapping[str, Any]) -> Figure:
    figure, axes = plt.subplots(2, 2, figsize=(11.5, 9.5), height_ratios=(1, 1.25))
    first = measured.isel(law=0)
    methods = [m for m in ("DDIM", "DPM-Solver++(2M)", "Euler") if m in measured.integrator.values][:2]
    for ax, method in zip(axes[0], methods, strict=False):
        _draw_growth(ax, first.sel(integrator=method), settings)
        ax.set_title(f"{method}: steps for {100 * settings['epsilon']:.0f} % on weights, means and spread")
    _draw_errors(axes[1, 0], first, methods[0], demanded)
    _draw_efficiency(axes[1, 1], first)
    return figure


def _draw_growth(ax: Axes, data: xr.Dataset, settings: Mapping[str, Any]) -> None:
    """Points: N_ε; lines: the law that AICc prefers, over the dimensions it was fitted to; names at the right, kept apart."""
    names = []
    for k, name in enumerate(SHOWN):
        row = data.sel(schedule=name)
        fitted = np.isfinite(row.steps_needed.values) & (data.dim.values >= settings["fit_from"])
        ax.plot(data.dim, row.steps_needed, color=f"C{k}", marker=MARKERS[k], linestyle="", markersize=5)
        ax.plot(data.dim[fitted], row.fitted[fitted], color=f"C{k}", linestyle=LINES[k])
        seen = np.flatnonzero(np.isfinite(row.steps_needed.values))
        if len(seen):
            names.append((float(row.steps_needed[seen[-1]]), float(data.dim[seen[-1]]), f"{name}: {_law_text(row)}", k))
    place = -math.inf
    for height, dim, text, k in sorted(names):
        place = max(math.log10(height), place + 0.17)
        leader = {"arrowstyle": "-", "color": f"C{k}", "linewidth": 0.5, "alpha": 0.6}
        ax.annotate(
            text, (dim, height), xytext=(float(data.dim[-1]) * 3, 10**place), textcoords="data", va="center", fontsize="small",
            color=f"C{k}", arrowprops=leader,
        )  # fmt: skip
    decades = math.log10(float(data.dim[-1] / data.dim[0]))
    ax.set_xlim(float(data.dim[0]) / 3, float(data.dim[-1]) * 10 ** (0.75 * decades))  # room for the names
    ax.set(xscale="log", yscale="log", xlabel="dimension d", ylabel="steps N")
    ax.set_xticks(list(map(float, data.dim[:: max(1, len(data.dim) // 6)])))
    ax.minorticks_off()


def _draw_errors(ax: Axes, data: xr.Dataset, method: str, demanded: tuple[str, ...]) -> None:
    dim = float(data.oracle_dim[len(data.oracle_dim) // 2])
    row = np.minimum(data.error.sel(integrator=method, dim=dim, feature=list(demanded)).max("feature"), 1.0)
    for k, name in enumerate(SHOWN):
        ax.plot(data.budget, row.sel(schedule=name), color=f"C{k}", linestyle=LINES[k], marker=MARKERS[k], label=name)
    ax.set(
        xscale="log", yscale="log", xlabel=f"{method} steps N", ylabel="largest relative error of a feature (1: a mode is lost)"
    )
    ax.set_title(f"error at d = {_power_of_ten(dim)}")
    ax.set_xticks(list(data.budget.values), [str(n) for n in data.budget.values])
    ax.minorticks_off()
    ax.legend(fontsize="small")


def _draw_efficiency(ax: Axes, data: xr.Dataset) -> None:
    dim = float(data.oracle_dim[len(data.oracle_dim) // 2])
    table = data.efficiency.sel(oracle_dim=dim)
    score = table.where(table["count"] % 2 == 0).mean("count").values  # every schedule has even grids
    table = table.isel(schedule=np.argsort(-score, kind="stable"))
    ax.set_facecolor("0.85")
    ax.grid(False)
    sns.heatmap(
        table.values, vmin=0, vmax=1, cmap="cividis", ax=ax, xticklabels=list(map(int, table["count"])),
        yticklabels=list(table.schedule.values), cbar_kws={"label": "oracle error ÷ schedule error"},
    )  # fmt: skip
    ax.tick_params(axis="y", labelsize=6.5, rotation=0)
    ax.set(
        xlabel="DDIM steps N (grey: odd grid, clock with a kink)",
        title=f"efficiency on two Gaussian directions, d = {_power_of_ten(dim)}",
    )


def _power_of_ten(dim: float) -> str:
    exponent = math.log10(dim)
    return f"$10^{{{exponent:.0f}}}$" if exponent == round(exponent) else f"{dim:g}"


# ---- the figure of README ---------------------------------------------------------------------------------------------

PLAIN = {  # schedule → how README names it
    "linear": "constant denoising",
    "EDM ρ = 3": "EDM, ρ = 3",
    "EDM ρ = 7": "EDM, ρ = 7",
    "log-uniform": "log-uniform",
    "VP linear clock": "VP clock of paper A",
    "geodesic": "geodesic",
}


def headline(measured: xr.Dataset, epsilon: float, fit_from: float, method: str = "DDIM") -> Figure:
    """N_ε against d of a handful of schedules, first mixture: points measured, lines the fitted laws, names at their ends."""
    figure, ax = plt.subplots(figsize=(7.6, 4.3))
    data = measured.isel(law=0).sel(integrator=method)
    dims, last = data.dim.values, float(data.dim[-1])
    ends = []
    for k, (name, plain) in enumerate(PLAIN.items()):
        row = data.sel(schedule=name)
        steps, fitted = row.steps_needed.values, row.fitted.values
        kept = (dims >= fit_from) & np.isfinite(fitted) & np.isfinite(steps)
        ax.plot(dims, steps, color=f"C{k}", marker=MARKERS[k], linestyle="", markersize=5.5, zorder=3)
        ax.plot(dims[kept], fitted[kept], color=f"C{k}", linestyle=LINES[k], linewidth=1.6)
        if kept.any():
            at = int(np.flatnonzero(kept)[-1])
            ends.append((math.log10(fitted[at]), float(dims[at]), f"{plain}: {_law_text(row)}", k))
    top = max((height for height, dim, *_ in ends if dim == last), default=0.0)
    place = -math.inf
    for height, dim, text, k in sorted(ends):
        beside = dim < last and height > top  # a line that leaves the figure early is named where it ends
        place = place if beside else max(height, place + 0.13)
        where = (dim * 1.6, 10**height) if beside else (last * 1.8, 10**place)
        ax.annotate(text, where, va="center", color=f"C{k}", annotation_clip=False)
    ax.set(xscale="log", yscale="log", xlabel="dimension d", ylabel=f"{method} steps for an error below {100 * epsilon:g} %")
    ax.set_xticks(dims[:: max(1, len(dims) // 6)])
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    return figure


def _law_text(row: xr.Dataset) -> str:
    """The growth law that AICc chose, its rate beside it; "flat" where it grows by less than d^.02, under 5 % a decade."""
    exponent, best = float(row.exponent), str(row.best.values)
    if best not in ("log", "power"):
        return {"too few": "too few points"}.get(best, best)
    flat = abs(exponent) < 0.02
    rate = f"{float(row.per_decade):+.1f} a decade" if best == "log" else f"$d^{{{exponent:.{3 if flat else 2}f}}}$"
    return f"flat, {rate}" if flat else rate if best == "log" else f"∝ {rate}"


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def main(folder: Path, out: Path) -> None:
    """Draw N_ε against d from FOLDER/measured.nc into OUT."""
    mpl.use("Agg")  # no display
    measured = record.load(folder / "measured.nc")
    settings = json.loads(measured.attrs["settings"])
    with record.style():
        record.save_figure(headline(measured, settings["epsilon"], settings["fit_from"]), out)


if __name__ == "__main__":
    main()
