"""The noise window of a spectrum by ablation: what happens to every frequency when the steps outside it are left out.

For a Gaussian direction of variance P under the exact flow, starting at κ from N(0, κ) instead of from k > κ loses the share
P(k − κ)/(k(P + κ)) of its variance, and stopping at κ with the posterior mean instead of at k < κ the share (κ − k)/(P + κ)
(`theory.bound`; the window of Esteves and Makadia, arXiv 2603.19222, reconstructed). Hence κ_max = P_max(1 − ε)/ε and κ_min =
P_min·ε/(1 − ε) are the ends between which no frequency loses more than ε by either. For ancestral sampling a wrong start is
forgotten twice as fast: of the missing variance P only (P/(P + κ))² arrives, which is at most ε² of P (derivation ours: the
reverse process keeps the correlation P/(P + κ) with its state at κ, and variances take its square).

Measured on a very long grid, log-uniform and several hundred steps long, with its outer steps removed: the samplers of
`theory.sampler`, ring by ring, and on images of a mixture of fields, whose denoiser is not linear.

Changed after a first look: T1-formula speaks of rings 1 … n/2, and T1-mixture moved to 32 px and more images to be decided.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from synthetic import testbed
from synthetic.testbed import Field
from theory import bound, spectrum
from theory.curve import Tabulated
from theory.ledger import Claim, Row, decide
from theory.record import LINES, MARKERS
from theory.sampler import DDIM
from theory.schedule import Schedule, VarianceExploding
from theory.stream import Stream
from theory.target import Gaussian

PAPER = "arXiv 2603.19222, abstract (bounds on useful noise levels); the window and its proof ours"
OURS = "ours"
FIELDS = "fields R ∝ f^−b, exact denoiser, long log-uniform grid"
CUTS = ("start", "stop", "both", "joint")  # which outer steps are left out; "joint": both, of the window for both together

CLAIM = (
    Claim("T1-start", PAPER, "leaving out all steps above the window changes no frequency's variance by more than ε", FIELDS),
    Claim("T1-stop", PAPER, "leaving out all steps below the window changes no frequency's variance by more than ε", FIELDS),
    Claim("T1-joint", OURS, "leaving out both changes none by more than ε, in the window for both ends together", FIELDS),
    Claim("T1-tight", OURS, "the window is no wider than it must be: the extreme frequencies do lose ε", FIELDS),
    Claim("T1-formula", OURS, "every frequency loses what the exact flow's formulas say", f"{FIELDS}; rings 1 … n/2, unit ε"),
    Claim(
        "T1-corners", OURS, "a window made from the rings 1 … n/2 serves the corners of the frequency square too",
        f"{FIELDS}; stop; steep spectra have less power there by up to 2^(b/2)",
    ),
    Claim("T1-ancestral", OURS, "for ancestral sampling the steps above the window matter only ε²", f"{FIELDS}; γ = 0"),
    Claim(
        "T1-mixture", OURS, "in a mixture of fields both cuts of its window change no ring's power by more than 2ε",
        "three slopes, blind exact denoiser, images; with its standard error",
    ),
)  # fmt: skip

WITHIN = 1.0  # change over the ε allowed
TIGHT_MARGIN = 0.05  # 1 − change/ε: the long grid has finite ends and steps, each worth about a percent of ε
FORMULA_MARGIN = 0.05  # in units of ε, for the same reason


def _cases(settings: Mapping[str, Any]) -> list[tuple[int, int, int, Field, float]]:
    """(index of size, of slope, of ε, field, ε)."""
    axes = itertools.product(*(enumerate(settings[key]) for key in ("sizes", "slopes", "epsilons")))
    return [(i, j, k, Field.power_law(n, b, settings["variance"]), e) for (i, n), (j, b), (k, e) in axes]


def _levels(field: Field, epsilon: float, cut: str, settings: Mapping[str, Any]) -> np.ndarray:
    """Levels ς of the long grid with the steps of `cut` ("none", or one of CUTS) left out, from noise to data, no final 0."""
    low, high = bound.noise_window(field.power[field.used], epsilon, joint=cut == "joint")
    inside = _between(math.log(low), math.log(high), settings)
    above = _between(math.log(high), math.log(high) + settings["beyond"], settings)[1:]
    below = _between(math.log(low) - settings["beyond"], math.log(low), settings)[:-1]
    lower = [] if cut in ("stop", "both", "joint") else [below]
    upper = [] if cut in ("start", "both", "joint") else [above]
    parts = [*lower, inside, *upper]
    levels: np.ndarray = np.exp(np.concatenate(parts)[::-1] / 2)
    return levels


def _between(first: float, last: float, settings: Mapping[str, Any]) -> np.ndarray:
    """log κ from first to last at `density` steps per unit, both ends exact."""
    nodes: np.ndarray = np.linspace(first, last, 1 + math.ceil((last - first) * settings["density"]))
    return nodes


# ---- prediction -------------------------------------------------------------------------------------------------------


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """Relative loss of variance at every frequency by the formulas for the exact flow; NaN beyond a size's last ring."""
    cases = _cases(settings)
    rings = max(len(field.power) for *_, field, _ in cases)
    shape = tuple(len(settings[key]) for key in ("sizes", "slopes", "epsilons"))
    lost, ancestral, removed = np.full((*shape, len(CUTS), rings), np.nan), np.full((*shape, rings), np.nan), np.empty(shape)
    for i, j, k, field, epsilon in cases:
        for c, cut in enumerate(CUTS):
            lost[i, j, k, c, : len(field.power)] = _lost(field, epsilon, cut, settings["beyond"])
        _, kappa = bound.noise_window(field.power[field.used], epsilon)
        ancestral[i, j, k, : len(field.power)] = bound.start_deficit(field.power, kappa) ** 2
        whole, kept = (len(_levels(field, epsilon, cut, settings)) for cut in ("none", "both"))
        removed[i, j, k] = 1 - kept / whole
    axes = ("size", "slope", "epsilon")
    return xr.Dataset(
        {
            "lost": ((*axes, "cut", "ring"), lost, {"long_name": "share of its variance a frequency loses, DDIM"}),
            "ancestral": ((*axes, "ring"), ancestral, {"long_name": "the same, ancestral sampling, start"}),
            "removed": (axes, removed, {"long_name": "share of the long grid's steps that is left out"}),
        },
        coords=_coordinates(settings),
    )


def _coordinates(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"size": settings["sizes"], "slope": settings["slopes"], "epsilon": settings["epsilons"], "cut": list(CUTS)}


def _lost(field: Field, epsilon: float, cut: str, beyond: float) -> np.ndarray:
    low, high = bound.noise_window(field.power[field.used], epsilon, joint=cut == "joint")
    far = math.exp(beyond)
    start = bound.left_out_above(field.power, high, high * far) if cut != "stop" else 0.0
    stop = bound.left_out_below(field.power, low, low / far) if cut != "start" else 0.0
    # Shares of P become shares of what the long grid gives, whose own two ends have cost something already.
    whole = 1 - bound.stop_deficit(field.power, low / far)
    lost: np.ndarray = 1 - (1 - start / (1 - bound.start_deficit(field.power, high * far))) * (1 - stop / whole)
    return lost


# ---- measurement ------------------------------------------------------------------------------------------------------


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """Walk the long grid and its cuts: one state per ring, DDIM being linear there; second moments; and images of a mixture."""
    cases = _cases(settings)
    rings = max(len(field.power) for *_, field, _ in cases)
    shape = tuple(len(settings[key]) for key in ("sizes", "slopes", "epsilons"))
    lost, ancestral = np.full((*shape, len(CUTS), rings), np.nan), np.full((*shape, rings), np.nan)
    for i, j, k, field, epsilon in cases:
        long = _variance(field, _levels(field, epsilon, "none", settings))
        for c, cut in enumerate(CUTS):
            lost[i, j, k, c, : len(field.power)] = 1 - _variance(field, _levels(field, epsilon, cut, settings)) / long
        grids = (np.append(_levels(field, epsilon, cut, settings), 0.0) for cut in ("none", "start"))
        long, short = (testbed.ancestral_variance(field.power, grid) for grid in grids)
        ancestral[i, j, k, : len(field.power)] = 1 - short / long
    change, bar = _mixture(settings["mixture"] | {"variance": settings["variance"]}, Stream(seed).child("window"))
    axes = ("size", "slope", "epsilon")
    return xr.Dataset(
        {
            "lost": ((*axes, "cut", "ring"), lost),
            "ancestral": ((*axes, "ring"), ancestral),
            "mixture": ("mixture_ring", change, {"long_name": "relative change of the mean power of a ring, both cuts"}),
            "mixture_error": ("mixture_ring", bar),
        },
        coords=_coordinates(settings),
    )


def _walkable(levels: np.ndarray) -> Schedule:
    """The schedule that a uniform grid of as many nodes walks through exactly these levels."""
    return VarianceExploding(Tabulated(torch.from_numpy(-2 * np.log(levels[::-1].copy())), smooth=False))


def _variance(field: Field, levels: np.ndarray) -> np.ndarray:
    law = Gaussian(torch.as_tensor(field.power))
    one = torch.ones(1, len(field.power), dtype=torch.float64)
    gain: np.ndarray = testbed.sampled(_walkable(levels), law.denoise, one, len(levels), DDIM())[0].numpy()
    return gain**2


def _mixture(given: Mapping[str, Any], stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Relative change of each ring's mean power when both ends are cut, on the same noise, and its standard error."""
    fields = [Field.power_law(given["size"], slope, given["variance"]) for slope in given["slopes"]]
    law, table = testbed.mixture(fields), fields[0].table
    union = Field(table, np.stack([field.power for field in fields]).max(0))
    least = np.stack([field.power for field in fields]).min(0)
    ends = np.array([least[union.used].min(), union.power[union.used].max()])
    low, high = (math.log(end) for end in bound.noise_window(ends, given["epsilon"]))
    z = stream.normal(given["samples"], law.event_shape)
    powers = []
    for beyond in (given["beyond"], 0.0):
        nodes = 1 + math.ceil((high - low + 2 * beyond) * given["density"])
        levels = np.exp(np.linspace(high + beyond, low - beyond, nodes) / 2)
        x = testbed.sampled(_walkable(levels), law.denoise, z, len(levels), DDIM())
        powers.append(spectrum.rapsd(x)[:, union.used].numpy())
    long, short = powers
    change = short.mean(0) / long.mean(0) - 1
    bar = (short - (1 + change) * long).std(0, ddof=1) / math.sqrt(len(z)) / long.mean(0)
    return change, bar


# ---- judgement --------------------------------------------------------------------------------------------------------


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    claims = {claim.id: claim for claim in CLAIM}
    relative = np.abs(measured.lost) / measured.epsilon  # in units of ε
    nyquist = xr.DataArray([size // 2 for size in settings["sizes"]], coords={"size": settings["sizes"]})
    used = (relative.ring >= 1) & (relative.ring <= nyquist)
    rows = []
    both = float(relative.sel(cut="both").where(used).max())
    for cut in ("start", "stop", "joint"):
        worst = float(relative.sel(cut=cut).where(used).max())
        text = f"largest change {worst:.4f} ε; both cuts of the window for each end: {both:.3f} ε"
        rows.append(decide(worst, WITHIN).row(claims[f"T1-{cut}"], "at most ε", text))
    extreme = relative.sel(cut=["start", "stop"]).where(used).max("ring")
    slack = float((1 - extreme).max())
    text = f"smallest of the largest losses {1 - slack:.4f} ε"
    rows.append(decide(slack, TIGHT_MARGIN).row(claims["T1-tight"], "ε at f = 1 (start) and f = n/2 (stop)", text))
    gap = float((np.abs(measured.lost - predicted.lost) / measured.epsilon).where(used).max())
    rows.append(decide(gap, FORMULA_MARGIN).row(claims["T1-formula"], "0", f"largest difference {gap:.4f} ε"))
    corner = relative.sel(cut="stop").where(relative.ring > nyquist)
    by_slope = corner.max(("size", "epsilon", "ring"))
    listed = (f"b = {float(b):g}: {float(v):.2f} ε" for b, v in zip(by_slope.slope, by_slope, strict=True))
    text = "largest loss in the corners: " + ", ".join(listed)
    rows.append(decide(float(corner.max()), WITHIN).row(claims["T1-corners"], "at most ε; up to 2^(b/2) ε for small ε", text))
    square = float((np.abs(measured.ancestral) / measured.epsilon**2).where(used).max())
    rows.append(decide(square, WITHIN).row(claims["T1-ancestral"], "at most ε²", f"largest change {square:.4f} ε²"))
    return [*rows, _judge_mixture(claims["T1-mixture"], measured, settings["mixture"]["epsilon"])]


def _judge_mixture(claim: Claim, measured: xr.Dataset, epsilon: float) -> Row:
    change, bar = np.abs(measured.mixture.values), measured.mixture_error.values
    worst = decide(change / (2 * epsilon), WITHIN, bar / (2 * epsilon))
    (k,) = worst.at
    text = f"largest change {change[k]:.4f} ± {bar[k]:.4f} (f = {k + 1}), ε = {epsilon:g}"
    return worst.row(claim, "at most 2ε", text)


# ---- figure -----------------------------------------------------------------------------------------------------------


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4))
    size = max(settings["sizes"])
    epsilon = min(settings["epsilons"], key=lambda value: abs(value - 0.01))
    at = {"size": size, "epsilon": epsilon}
    for ax, cut in zip(axes, ("start", "stop"), strict=False):
        for k, slope in enumerate(settings["slopes"]):
            line, points = (data.lost.sel(at).sel(cut=cut, slope=slope) for data in (predicted, measured))
            _draw_lost(ax, k, slope, line, points, epsilon)
        above = "above" if cut == "start" else "below"
        ax.set(title=f"steps {above} the window left out", xlabel="frequency f, cycles per image")
        ax.set_ylabel("lost share of variance / ε")
        ax.axvline(size / 2, color="0.3", linewidth=0.8)
        ax.axhline(1, color="0.3", linewidth=2.5, alpha=0.45, zorder=0)
    axes[1].annotate("n/2, corners beyond", (size / 2, 0.02), rotation=90, ha="right", va="bottom", fontsize=7,
                     xycoords=axes[1].get_xaxis_transform())  # fmt: skip
    axes[0].legend(title=f"{size} px, ε = {epsilon:g}", fontsize="x-small", loc="upper right", bbox_to_anchor=(0.9, 0.8))
    ax, f = axes[2], np.arange(1, measured.sizes["mixture_ring"] + 1)
    allowed = 2 * settings["mixture"]["epsilon"]
    ax.errorbar(f, measured.mixture, 2 * measured.mixture_error, color="C0", marker="o", linestyle="", markersize=3, capsize=2)
    for sign in (-1, 1):
        ax.axhline(sign * allowed, color="0.3", linewidth=2.5, alpha=0.45, zorder=0)
    ax.annotate("±2ε", (f[-1], allowed), xytext=(0, 3), textcoords="offset points", ha="right", color="0.3")
    ax.set(title=f"mixture of slopes, {settings['mixture']['size']} px", xscale="log", xlabel="frequency f, cycles per image",
           ylabel="relative change of power, both cuts")  # fmt: skip
    return figure


def _draw_lost(ax: Axes, k: int, slope: float, line: xr.DataArray, points: xr.DataArray, epsilon: float) -> None:
    rings = np.flatnonzero(np.isfinite(line.values))[1:]
    some = np.unique(np.geomspace(1, rings[-1], 14).astype(int))
    ax.plot(rings, line.values[rings] / epsilon, color=f"C{k}", linestyle=LINES[k])
    ax.plot(some, points.values[some] / epsilon, color=f"C{k}", marker=MARKERS[k], linestyle="", markersize=4,
            label=f"b = {slope:g}")  # fmt: skip
    ax.set(xscale="log", yscale="log", ylim=(1e-3, 5))
