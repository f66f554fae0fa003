"""The figure of the two phases: phase portraits against time, the filmstrip of modes and spins, and who will still turn."""

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

FILM = "VP linear clock"


def drawn(
    predicted: xr.Dataset, measured: xr.Dataset, turning: tuple[xr.DataArray, xr.DataArray], settings: Mapping[str, Any]
) -> Figure:
    figure = plt.figure(figsize=(12, 11))
    top, middle, bottom = np.asarray(figure.subfigures(3, 1, height_ratios=(1.05, 1.35, 1.0)))
    for k, (ax, name) in enumerate(zip(top.subplots(1, 4, sharey=True), predicted.flow.values, strict=True)):
        _draw_portrait(ax, predicted.sel(flow=name), measured.sel(flow=name), settings)
        ax.set_title(f"{name}{', constant denoising' if 'clock' not in str(name) else ''}", fontsize="small")
        if k == 0:
            ax.set_ylabel("u·x in its standard deviations")
    _draw_film(middle.subplots(2, 5), predicted.sel(flow=FILM), measured, settings)
    for ax, name in zip(bottom.subplots(1, 2, sharey=True), ("VP linear clock", "VE linear clock"), strict=True):
        _draw_turning(ax, predicted.sel(flow=name), [share.sel(flow=name) for share in turning])
        ax.set_title(f"{name}, d = {settings['dim']}, N = {settings['steps']}", fontsize="small")
    return figure


def _levels(predicted: xr.Dataset, settings: Mapping[str, Any]) -> np.ndarray:
    """θ = m*√d/√(ς² + v) at the nodes; v of the mode, from J and m*."""
    square = float(predicted.spontaneous) ** 2
    variance = (1 - square) / (1 - settings["coupling"] * (1 - square))
    return np.sqrt(square * settings["dim"]) / np.sqrt(predicted.noise_to_signal.values**2 + variance)


def _draw_portrait(ax: Axes, predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> None:
    """Arrows: the flow dY/dθ = tanh(h + θY) in time; curves: samplers; dots: the separatrix; bars: the phases."""
    theta, time = _levels(predicted, settings), predicted.time.values
    scale = np.sqrt(1 + theta**2)
    bias = 0.5 * math.log(float(predicted.weight) / (1 - float(predicted.weight)))
    t, q = np.linspace(0.97, 0.03, 15), np.linspace(-2.2, 2.2, 13)
    at = np.interp(t, time[::-1], theta[::-1])
    rate = np.interp(t, time[::-1], np.gradient(theta, time)[::-1])
    state = q[:, None] * np.sqrt(1 + at**2)
    slope = -(np.tanh(bias + at * state) - state * at / (1 + at**2)) / np.sqrt(1 + at**2) * rate  # per unit of falling time
    length = np.hypot(1.0, slope / 4.4)
    ax.quiver(
        np.broadcast_to(t, slope.shape), np.broadcast_to(q[:, None], slope.shape), 1 / length, slope / 4.4 / length,
        color="0.6", angles="uv", scale=26, width=0.004, headwidth=4, zorder=1,
    )  # fmt: skip
    width = predicted.mode_width.values
    chosen = np.linspace(0, measured.sizes["trajectory"] - 1, 16).astype(int)
    height = measured.magnetisation.values[:, chosen] * math.sqrt(settings["dim"]) / (width * scale)[:, None]
    final = measured.magnetisation.values[-1, chosen] > 0
    for k, up in enumerate(final):
        ax.plot(time, height[:, k], color="C0" if up else "C1", linestyle="-" if up else "--", linewidth=0.9, zorder=2)
    known = theta < 5  # beyond, two neighbouring floats part by the whole distance of the modes
    ax.plot(time[known], (predicted.separatrix.values / scale)[known], color="0.1", linestyle=":", linewidth=2, zorder=3)
    for when, text in ((float(predicted.speciation_time), "mode"), (float(predicted.spin_time), "spins")):
        ax.axvline(when, color="0.3", linewidth=2.5, alpha=0.35, zorder=0)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        ax.text(when, -2.4, text, ha="left" if when < 0.2 else "center", va="bottom", fontsize="x-small", bbox=box)
    ax.set(xlabel="time t (1: noise, 0: data)", xlim=(1.02, -0.02), ylim=(-2.5, 2.5))
    ax.grid(False)


def _draw_film(axes: np.ndarray, predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> None:
    """Upper row: M of the state; lower row: spins of trajectories that end in the "+" mode; each in its standard deviations."""
    ratio, far = predicted.noise_to_signal.values, float(predicted.spontaneous) * math.sqrt(settings["dim"])
    theta = _levels(predicted, settings)
    wanted = (math.inf, far / 1.5, math.sqrt(far), 1 / 1.5, 0.0)
    with np.errstate(divide="ignore"):
        nodes = [int(np.argmin(abs(np.arctan(np.log(ratio)) - math.atan(_log(w))))) for w in wanted]
    weight, plus = float(predicted.weight), (1 + float(predicted.spontaneous)) / 2
    film = measured.sel(flow=FILM)
    up = film.magnetisation.values[-1] > 0
    for k, node in enumerate(nodes):
        modes = film.magnetisation.values[node] * math.sqrt(settings["dim"]) / predicted.mode_width.values[node]
        single = 1 / ratio[node] if ratio[node] > 0 else math.inf
        spins = measured.spin.values[node][up].ravel() / predicted.spin_width.values[node]
        _draw_frame(axes[0, k], modes / math.sqrt(1 + theta[node] ** 2), weight, theta[node], 25)
        _draw_frame(axes[1, k], spins, plus, single, 41)
        axes[0, k].set_title(f"ς = {_short(ratio[node])}", fontsize="small")
        axes[1, k].set_xlabel("in standard deviations", fontsize="small")
    axes[0, 0].set_ylabel("u·x: the mode")
    axes[1, 0].set_ylabel('one spin, "+" mode')


def _log(value: float) -> float:
    return math.log(value) if 0 < value < math.inf else math.copysign(math.inf, value - 1)


def _short(ratio: float) -> str:
    return "∞, the start" if not math.isfinite(ratio) else "0, the end" if ratio == 0 else f"{ratio:.2g}"


def _draw_frame(ax: Axes, values: np.ndarray, weight: float, theta: float, bins: int) -> None:
    """Histogram, and the coin's noisy law p N(θ, 1) + (1 − p) N(−θ, 1), both scaled to second moment 1."""
    ax.hist(values, bins=bins, range=(-2.6, 2.6), density=True, color="0.75", edgecolor="0.55", linewidth=0.4)
    scale = math.sqrt(1 + theta**2)
    if math.isfinite(theta) and scale < 12:
        x = np.linspace(-2.6, 2.6, 400)
        line = sum(
            p * np.exp(-((x * scale - sign * theta) ** 2) / 2) for p, sign in ((weight, 1.0), (1 - weight, -1.0))
        ) * scale / math.sqrt(2 * math.pi)  # fmt: skip
        ax.plot(x, line, color="C0", linewidth=1.4)
    ax.set(xlim=(-2.6, 2.6), yticks=[])
    ax.grid(False)


def _draw_turning(ax: Axes, predicted: xr.Dataset, shares: list[xr.DataArray]) -> None:
    ratio = predicted.noise_to_signal.values
    for k, (share, line, label) in enumerate(
        zip(shares, (predicted.mode_turning, predicted.spin_turning), ("modes", "spins"), strict=True)
    ):
        ax.plot(ratio[1:-1], line[1:-1], color=f"C{k}", linestyle=LINES[k], label=f"{label}: theory")
        ax.plot(
            ratio[1:-1], share[1:-1], color=f"C{k}", marker=MARKERS[k], markersize=3.5, linestyle="", label=f"{label}: samplers"
        )
    ax.axvline(float(predicted.speciation_noise), color="0.3", linewidth=2.5, alpha=0.35, zorder=0, label="speciation")
    ax.set(xscale="log", xlabel="noise-to-signal ς (falls along the walk)", ylabel="share that will still turn")
    ax.invert_xaxis()
    ax.legend(fontsize="x-small")
