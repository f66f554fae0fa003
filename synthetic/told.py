"""A mixture of slopes: schedules told the class of the image against global ones with a denoiser that must find it out.

A blind exact denoiser of a mixture of fields is not linear, so this takes samples. "Told": class first, then a schedule for
its spectrum and a denoiser that knows it, as when the spectral parameters are sampled before the image (Esteves and Makadia,
arXiv 2603.19222). "Blind": one global schedule for all. What comes out is compared with fresh images of the mixture by the
energy distance of log band powers (octaves of frequency): zero only for equal laws of them. "Told" with a global schedule
tells apart what knowing the class gains in the denoiser, and what it gains in the schedule.

Undecided at first; decided by a class-stratified bootstrap with common resamples, margins unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from torch import Tensor

from synthetic import testbed
from synthetic.testbed import GLOBAL, Field
from theory import spectrum
from theory.ledger import Claim, Row, decide, largest_score
from theory.sampler import DDIM
from theory.stream import Stream

PAPER = "arXiv 2603.19222, abstract (spectral parameters sampled before the image); testbed and numbers ours"
WHERE = "three slopes, DDIM, exact denoisers; energy distance of log band powers"
BLIND = ("linear", "cosine", "shifted cosine, 32", "sigmoid", "SD3 shift 3", "EDM ρ = 7")
TOLD = ("mixed", "geodesic", "geodesic, spread", *BLIND)

CLAIM = (
    Claim("T6-told", PAPER, "schedule and denoiser told the class beat every global schedule with a blind denoiser", WHERE),
    Claim("T6-schedule", PAPER, "with the denoiser told, schedules told beat every global schedule", WHERE),
    Claim("T6-mixed", PAPER, "the mixed shape, told, beats every global schedule with a blind denoiser", WHERE),
    Claim("T6-mean", "ours", "told, the mean log band powers are those of the closed factors", f"{WHERE}; in standard errors"),
)

RATIO_MARGIN = 1.0  # energy distance of the one over that of the other


def _runs() -> list[str]:
    return [*(f"blind, {name}" for name in BLIND), *(f"told, {name}" for name in TOLD)]


def _fields(settings: Mapping[str, Any]) -> list[Field]:
    return [Field.power_law(settings["size"], slope, settings["variance"]) for slope in settings["slopes"]]


# ---- prediction -------------------------------------------------------------------------------------------------------


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """log of the mean power of each octave, by class, of the law and of what DDIM makes of it when told the class."""
    fields = _fields(settings)
    octaves = _octaves(fields[0].table)
    power = np.empty((len(TOLD), len(fields), len(octaves)))
    for i, name in enumerate(TOLD):
        for j, field in enumerate(fields):
            made = testbed.schedule_for(name, field, settings["steps"], settings["epsilon"])
            power[i, j] = _means(testbed.ddim_variance(field.power, testbed.levels(made, settings["steps"])), field.table)
    return xr.Dataset(
        {
            "band_power": (("schedule", "slope", "octave"), power),
            "law": (("slope", "octave"), [_means(field.power, field.table) for field in fields]),
        },
        coords={"schedule": list(TOLD), "slope": settings["slopes"], "octave": np.arange(len(octaves))},
    )


def _octaves(table: spectrum.Rings) -> list[np.ndarray]:
    """Rings 1, 2–3, 4–7, … below n/2."""
    octave = np.floor(np.log2(np.arange(1, table.nyquist))).astype(int)
    return [1 + np.flatnonzero(octave == k) for k in range(octave.max() + 1)]


def _means(power: np.ndarray, table: spectrum.Rings) -> np.ndarray:
    """Mean power of each octave, (..., octaves)."""
    count = table.count.numpy()
    return np.stack([power[..., band] @ count[band] / count[band].sum() for band in _octaves(table)], -1)


# ---- measurement ------------------------------------------------------------------------------------------------------


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """Sampled images: energy distances to fresh ones, the same resampled, and the mean power of each octave by class."""
    fields, each, stream = _fields(settings), settings["samples"], Stream(seed).child("told")
    classes = [testbed.mixture([field]) for field in fields]
    fresh, other = (torch.cat([c.sample(each, stream.child(name).child(k)) for k, c in enumerate(classes)]) for name in "ab")
    bands = [_means(spectrum.rapsd(x).numpy(), fields[0].table) for x in [*_images(settings, stream), fresh, other]]
    rng, rows = stream.child("bootstrap").generator(0), np.arange(each * len(fields))
    picks = [[_within_classes(rng, each, len(fields)) for _ in range(2)] for _ in range(settings["resamples"])]
    truth = np.log(bands[-2])
    energy = np.array([_energy(truth, np.log(found), [[rows, rows], *picks]) for found in [*bands[:-2], bands[-1]]])
    by_class = np.stack(bands[len(BLIND) : -2]).reshape(len(TOLD), len(fields), each, -1)
    return xr.Dataset(
        {
            "energy": ("run", energy[:-1, 0], {"long_name": "energy distance of log band powers to fresh images"}),
            "energy_draws": (("run", "resample"), energy[:-1, 1:], {"long_name": "the same, images drawn again for all runs"}),
            "fresh": ((), energy[-1, 0], {"long_name": "energy distance of two sets of fresh images"}),
            "band_power": (("schedule", "slope", "octave"), by_class.mean(2)),
            "band_error": (("schedule", "slope", "octave"), by_class.std(2, ddof=1) / np.sqrt(each)),
        },
        coords={"run": _runs(), "schedule": list(TOLD), "slope": settings["slopes"]},
    )


def _images(settings: Mapping[str, Any], stream: Stream) -> list[Tensor]:
    """The images of every run, all from the same noise; told, block k of the noise is of class k."""
    fields, each, steps, epsilon = _fields(settings), settings["samples"], settings["steps"], settings["epsilon"]
    law, classes = testbed.mixture(fields), [testbed.mixture([field]) for field in fields]
    z = stream.child("noise").normal(each * len(fields), law.event_shape)
    blind = [testbed.sampled(GLOBAL[name](settings["size"]), law.denoise, z, steps, DDIM()) for name in BLIND]
    told = []
    for name in TOLD:
        made = [testbed.schedule_for(name, field, steps, epsilon) for field in fields]
        parts = zip(made, classes, z.split(each), strict=True)
        told.append(torch.cat([testbed.sampled(m, c.denoise, part, steps, DDIM()) for m, c, part in parts]))
    return [*blind, *told]


def _within_classes(rng: np.random.Generator, each: int, classes: int) -> np.ndarray:
    """Rows drawn again inside each class: as many images of each class are no accident, so they are none in a resample."""
    return (each * np.arange(classes)[:, None] + rng.integers(0, each, (classes, each))).ravel()


def _energy(x: np.ndarray, y: np.ndarray, picks: list[list[np.ndarray]]) -> list[float]:
    """Energy distance 2E|X − Y| − E|X − X'| − E|Y − Y'|, X' another row than X, for each choice of rows of x and of y."""
    between, inside_x, inside_y = (np.linalg.norm(a[:, None] - b, axis=-1) for a, b in ((x, y), (x, x), (y, y)))
    out = []
    for rows, columns in picks:
        inside = sum(d[np.ix_(c, c)].sum() / (len(c) * (len(c) - 1)) for d, c in ((inside_x, rows), (inside_y, columns)))
        out.append(float(2 * between[np.ix_(rows, columns)].mean() - inside))
    return out


# ---- judgement --------------------------------------------------------------------------------------------------------


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    claims = {claim.id: claim for claim in CLAIM}
    ours = [f"told, {name}" for name in TOLD if name not in GLOBAL]
    blind, told = [f"blind, {name}" for name in BLIND], [f"told, {name}" for name in BLIND]
    return [
        _beats(claims["T6-told"], measured, ours, blind),
        _beats(claims["T6-schedule"], measured, ours, told),
        _beats(claims["T6-mixed"], measured, ["told, mixed"], blind),
        _mean(claims["T6-mean"], predicted, measured),
    ]


def _mean(claim: Claim, predicted: xr.Dataset, measured: xr.Dataset) -> Row:
    score = np.abs(measured.band_power - predicted.band_power) / measured.band_error
    # The schedules share one noise: as many deviations as slopes and octaves are independent.
    value, margin = float(score.max()), largest_score(score.sizes["slope"] * score.sizes["octave"])
    return decide(value, margin).row(
        claim, f"below {margin:.2f}", f"largest of {score.size} deviations: {value:.2f} standard errors"
    )


def _beats(claim: Claim, measured: xr.Dataset, ours: list[str], theirs: list[str]) -> Row:
    """The least energy distance of ours over the least of theirs; its error from resamples common to all runs."""
    energy = measured.energy.to_series()
    mine, other = (min(names, key=lambda run: energy[run]) for names in (ours, theirs))
    ratio = max(energy[mine], 0.0) / energy[other]
    bar = float((measured.energy_draws.sel(run=mine) / measured.energy_draws.sel(run=other)).std(ddof=1))
    text = f"{mine} {energy[mine]:.3f} over {other} {energy[other]:.3f}: {ratio:.3f} ± {bar:.3f}"
    text += f"; two sets of fresh images: {float(measured.fresh):.3f}"
    return decide(ratio, RATIO_MARGIN, bar).row(claim, "ratio of energy distances below 1", text)


# ---- figure -----------------------------------------------------------------------------------------------------------


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), width_ratios=(1.2, 1))
    for k, (kind, names) in enumerate((("blind", BLIND), ("told", TOLD))):
        at = [TOLD.index(name) + 0.12 * (2 * k - 1) for name in names]
        runs = measured.sel(run=[f"{kind}, {name}" for name in names])
        bars = 2 * runs.energy_draws.std("resample", ddof=1)
        left.errorbar(at, runs.energy, bars, color=f"C{k}", marker="os"[k], linestyle="", capsize=2, label=kind)
    left.set_xticks(range(len(TOLD)), TOLD, rotation=30, ha="right")
    left.set(ylabel="energy distance to fresh images", ylim=(0, None), title=f"{settings['size']} px, N = {settings['steps']}")
    left.legend(title="schedule and denoiser")
    lost = (np.log(predicted.band_power) - np.log(predicted.law)).isel(slope=-1)
    found = (np.log(measured.band_power) - np.log(predicted.law)).isel(slope=-1)
    bars = (measured.band_error / measured.band_power).isel(slope=-1)
    for k, name in enumerate(("mixed", "geodesic", "linear", "EDM ρ = 7")):
        x = 2.0**predicted.octave.values * (1 + 0.04 * k)
        right.plot(x, lost.sel(schedule=name), color=f"C{k}")
        right.errorbar(x, found.sel(schedule=name), 2 * bars.sel(schedule=name), color=f"C{k}", marker="os^D"[k], linestyle="",
                       markersize=4, capsize=2, label=name)  # fmt: skip
    right.set(
        xscale="log", xlabel="frequency, from f to 2f", ylabel="error of log power", title=f"told, b = {float(lost.slope):g}"
    )
    right.legend(fontsize="x-small")
    return figure
