"""The figure of the hierarchy: where the phases are, N against d, the table of schedules and phases, and the tree's leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from theory.record import LINES, MARKERS

SHOWN = (
    "VE linear, clock", "VP linear, clock", "geodesic, two scales", "log-uniform", "VP linear, phase clock",
    "geodesic, every scale",
)  # fmt: skip


def drawn(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    figure, axes = plt.subplots(2, 2, figsize=(12, 8.6), height_ratios=(1, 1.1))
    _draw_phases(axes[0, 0], predicted, measured, settings)
    _draw_growth(axes[0, 1], predicted, measured, settings)
    _draw_table(axes[1, 0], predicted, measured)
    _draw_tree(axes[1, 1], measured, settings)
    return figure


def _draw_phases(ax: Axes, predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> None:
    scan = settings["skip"]
    for k, phase in enumerate(measured.phase.values):
        theory = predicted.response.sel(phase=phase)
        ax.plot(predicted.s * float(predicted.scale.sel(phase=phase)), theory, color=f"C{k}", linestyle=LINES[k])
        ax.plot(
            measured.place, measured.skip_error.sel(phase=phase), color=f"C{k}", marker=MARKERS[k], linestyle="", markersize=4,
            label=_phase(phase),
        )  # fmt: skip
    ax.invert_xaxis()
    ax.set(xscale="log", xlabel="noise-to-signal ς of the skipped step (noise left, data right)", ylabel="relative error")
    ax.set_title(f"a step of factor {scan['factor']:g} in ς, d = {_power_of_ten(scan['dim'])}: what it spoils")
    ax.legend(fontsize="small")


def _draw_growth(ax: Axes, predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> None:
    for k, name in enumerate(SHOWN):
        found, theory = (v.steps.sel(schedule=name).max("phase", skipna=False) for v in (measured, predicted))
        ax.plot(measured.dim, theory, color=f"C{k}", linestyle=LINES[k], linewidth=1)
        ax.plot(measured.dim, found, color=f"C{k}", marker=MARKERS[k], linestyle="", markersize=5, label=name)
    ax.set(xscale="log", yscale="log", xlabel="dimension d", ylabel="DDIM steps N")
    ax.set_ylim(4, settings["cap"])
    ax.set_title(f"steps until every phase is right to {100 * settings['epsilon']:.0f} %")
    ax.legend(fontsize="x-small", loc="lower right", ncols=2)


def _draw_table(ax: Axes, predicted: xr.Dataset, measured: xr.Dataset) -> None:
    """Colour and first line: N at the largest d, measured, or predicted if beyond the cap; second line: how it grows."""
    found, theory = measured.steps.isel(dim=-1).values, predicted.steps.isel(dim=-1).values
    value = np.where(np.isfinite(found), found, theory)
    ax.imshow(value, norm=LogNorm(5, 1e6), cmap="cividis", aspect="auto")
    for i, j in np.ndindex(*value.shape):
        power = float(predicted.power[i, j])
        law = "∝ log d" if math.isnan(power) else ("Θ(1)" if power == 0 else f"∝ {_power(power)}")
        number = f"{found[i, j]:.0f}" if np.isfinite(found[i, j]) else f"({theory[i, j]:.1e})"
        dark = value[i, j] < 3000
        ax.text(j, i, f"{number}\n{law}", ha="center", va="center", fontsize="small", color="white" if dark else "black")
    ax.grid(False)
    ax.set_xticks(range(value.shape[1]), [_phase(p) for p in measured.phase.values])
    ax.set_yticks(range(value.shape[0]), list(measured.schedule.values), fontsize="small")
    ax.set_title(f"N at d = {_power_of_ten(float(measured.dim[-1]))} (in brackets: predicted, too many to walk)")


def _draw_tree(ax: Axes, measured: xr.Dataset, settings: Mapping[str, Any]) -> None:
    at = measured.isel(tree_dim=-1)
    place = np.arange(measured.sizes["leaf_name"])
    ax.hlines(at.leaf_true, place - 0.42, place + 0.42, color="0.2", linewidth=1.2, label="the law")
    for k, name in enumerate(measured.tree_schedule.values):
        x = place + 0.2 * (k - 1.5)
        row = at.sel(tree_schedule=name)
        ax.plot(x, row.leaf_product, color=f"C{k}", marker="_", markersize=14, markeredgewidth=2, linestyle="", alpha=0.6)
        ax.errorbar(x, row.leaf, row.leaf_error, color=f"C{k}", marker=MARKERS[k], linestyle="", markersize=5, label=name)
    ax.set_xticks(place, list(measured.leaf_name.values))
    steps, dim = settings["tree"]["steps"], _power_of_ten(float(at.tree_dim))
    ax.set(xlabel="leaf: branch and side (signs)", ylabel="weight", ylim=(-0.03, None))
    ax.set_title(f"a tree after {steps} steps, d = {dim} (dashes: the product)")
    ax.legend(fontsize="x-small")


def _power(exponent: float) -> str:
    return f"$d^{{{Fraction(exponent).limit_denominator(99)}}}$"


def _phase(name: str) -> str:
    return name if name == "spread" else f"level {_power(float(name.removeprefix('d^')))}"


def _power_of_ten(dim: float) -> str:
    exponent = math.log10(dim)
    return f"$10^{{{exponent:.0f}}}$" if exponent == round(exponent) else f"{dim:g}"
