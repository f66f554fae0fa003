"""The spectra of real photographs against Field's law.

Field, "Relations between the statistics of natural images and the response properties of cortical cells",
J. Opt. Soc. Am. A 4 (1987) 2379: averaged over orientation, the amplitude of natural images falls as 1/f, so their
power as f^−2. It is a claim about the average over images. Tolhurst, Tadmor and Chao, "Amplitude spectra of natural
images", Ophthal. Physiol. Opt. 12 (1992) 229, found in 135 photographs amplitude slopes from −0.8 to −1.5 with the
average −1.2: power slopes from −3.0 to −1.6, average −2.4.

R(f) is `theory.spectrum.rapsd` of patches in [−1, 1], averaged over the patches of a photograph; its slope is the
robust fit of log R against log f over rings 1 … nyquist (every octave the same weight).

The error bar of a photograph is the standard error from resampling its patches with replacement: how much the
slope would differ had other patches of the SAME photograph been taken. Patches share scene, lens and JPEG, so it says
nothing about other photographs; the error of the mean slope is the spread over photographs instead. Where a class
holds one image, its bar is the jackknife over bands of frequency. Patches, bands and photographs are few: k is Student's, and a
claim on each photograph is judged by the one that decides it, k allowing for how many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imagenet.data import PHOTOGRAPHS, Images, open_images, to_unit
from theory.ledger import Claim, Row, decide, student_k
from theory.progress import progress
from theory.record import MARKERS
from theory.spectrum import QUANTISATION_POWER, fit_power_law, rapsd, rings
from theory.stream import Stream

FIELD = -2.0  # Field 1987, power
TOLHURST_MEAN, TOLHURST_RANGE = -2.4, (-3.0, -1.6)  # Tolhurst et al. 1992, twice the amplitude slopes of its abstract
# Halfway between the two published averages: a mean inside is nearer to Field's, one outside nearer to Tolhurst's.
MARGIN = abs(TOLHURST_MEAN - FIELD) / 2
FEW = 40  # photographs that a figure can name; of more it shows the distribution
KINDS = {
    "scene": "natural scenes",
    "surface": "flat surfaces",
    "instrument": "microscope, telescope",
    "given": "images",
}

_SCENES = "photographs of natural scenes, or all images of the source given"
CLAIM = (
    Claim("B-slope-mean", "Field 1987", "Power falls as f^−2 on the average over natural images", _SCENES),
    Claim("B-slope-each", "Field 1987, read strictly", "Power falls as f^−2 in each natural image", _SCENES),
    Claim(
        "B-slope-range",
        "Tolhurst, Tadmor, Chao 1992",
        "The power slope of each natural image lies between −3.0 and −1.6",
        _SCENES,
    ),
    Claim(
        "B-slope-other",
        "ours: Field's law beyond its domain",
        "Power falls as f^−2 on the average over photographs that are not natural scenes",
        "embedded photographs of flat surfaces and through microscope, telescope or fundus camera",
    ),
)


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """Field's law: the slope, and power relative to f = 1."""
    frequency = np.arange(1, settings["patch"] // 2 + 1)
    return xr.Dataset(
        {
            "slope": ((), FIELD, {"units": "log power per log frequency"}),
            "relative_power": ("frequency", frequency**FIELD, {"units": "power at f = 1"}),
        },
        coords={"frequency": ("frequency", frequency, {"units": "cycles per patch"})},
    )


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """Per photograph (or class): R(f), its slope, and its standard error; see the module's head for the bar."""
    size = settings["patch"]
    window = None if settings["window"] == "none" else settings["window"]
    images = open_images(settings["source"], size, count=settings["patches_per_photograph"], seed=seed)
    power, labels = _powers(images, window)
    table = rings(size, size)
    names = {int(label): images.class_names[label] for label in labels.unique()}
    kinds = {p.name: p.kind for p in PHOTOGRAPHS} if settings["source"] == "embedded" else {}
    groups = [power[labels == label] for label in progress(names, "slopes")]
    mean_power = torch.stack([group.mean(0) for group in groups])
    law = fit_power_law(mean_power, table, floor=QUANTISATION_POWER)
    errors = [
        _bootstrap(group, size, settings["resamples"], Stream(seed).child("bootstrap").child(name))
        if len(group) > 1
        else float(jackknife)
        for group, name, jackknife in zip(groups, names.values(), law.slope_error, strict=True)
    ]
    by_name = "photograph"
    return xr.Dataset(
        {
            "power": ((by_name, "frequency"), mean_power.numpy(), {"units": "variance per coefficient, x in [−1, 1]"}),
            "slope": (by_name, law.slope.numpy(), {"units": "log power per log frequency"}),
            "slope_error": (by_name, np.array(errors), {"meaning": "one standard error, over patches"}),
            "log_amplitude": (by_name, law.log_amplitude.numpy(), {"meaning": "log power of the line at f = 1"}),
            "patches": (by_name, [len(group) for group in groups]),
            "freedom": (by_name, [_freedom(len(group), table.nyquist) for group in groups], {"meaning": "of slope_error"}),
        },
        coords={
            by_name: list(names.values()),
            "kind": (by_name, [kinds.get(name, "given") for name in names.values()]),
            "frequency": ("frequency", np.arange(len(table)), {"units": "cycles per patch; 0 is the mean colour"}),
        },
        attrs={"broken": [images.broken[index] for index in sorted(images.broken)] or "none"},
    )


def _powers(images: Images, window: str | None) -> tuple[torch.Tensor, torch.Tensor]:
    """R of every readable image (n, rings), float64, and its label (n,)."""
    size = 64
    batches = progress(images.batches(size), "spectra", total=-(-len(images) // size))
    parts = [(rapsd(to_unit(batch.images, torch.float64), window), batch.labels) for batch in batches]
    return torch.cat([power for power, _ in parts]), torch.cat([labels for _, labels in parts])


def _bootstrap(power: torch.Tensor, size: int, resamples: int, stream: Stream) -> float:
    """Standard error of the slope of the mean of `power` (patches, rings); √(m/(m − 1)) removes the small-m bias."""
    count = len(power)
    draws = stream.generator(0).integers(0, count, size=(resamples, count))
    weight = torch.from_numpy(np.stack([np.bincount(draw, minlength=count) for draw in draws])).double() / count
    slopes = fit_power_law(weight @ power, rings(size, size), floor=QUANTISATION_POWER).slope
    return float(slopes.std()) * (count / (count - 1)) ** 0.5


def _freedom(patches: int, nyquist: int) -> int:
    """Degrees of freedom of a bar: over patches, or for a single one over the bands of ¼ octave that `fit_power_law` makes."""
    bands = np.unique(np.floor(4 * np.log2(np.arange(1, nyquist + 1)) + 0.5))
    return (patches if patches > 1 else len(bands)) - 1


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    """Margins as published (head of the module); a mean of fewer than two photographs has no error: undecided."""
    field = float(predicted["slope"])
    natural = measured.sel(photograph=measured["kind"].isin(["scene", "given"]))
    other = measured.sel(photograph=~measured["kind"].isin(["scene", "given"]))
    low, high = TOLHURST_RANGE
    mean, each, within, beyond = CLAIM
    return [
        _mean_row(mean, natural, field),
        _each_row(each, natural, field, MARGIN),
        _each_row(within, natural, (low + high) / 2, (high - low) / 2),
        _mean_row(beyond, other, field),
    ]


def _mean_row(claim: Claim, measured: xr.Dataset, field: float) -> Row:
    count = measured.sizes["photograph"]
    if count < 2:
        return decide(float("nan"), MARGIN).row(claim, f"{field:.2f}", f"{count} photographs, too few")
    mean = float(measured["slope"].mean())
    standard_error = float(measured["slope"].std(ddof=1)) / count**0.5
    text = f"{mean:.2f} ± {standard_error:.2f} over {count} photographs"
    error = abs(mean - field)
    return decide(error, MARGIN, standard_error, k=student_k(count - 1)).row(claim, f"{field:.2f}", text)


def _each_row(claim: Claim, measured: xr.Dataset, centre: float, margin: float) -> Row:
    """Judged by the photograph that decides: one that is outside, error bar included, or else the one nearest to being so."""
    predicted = f"{centre:.2f} ± {margin:.2f}"
    if not measured.sizes["photograph"]:
        return decide(float("nan"), margin).row(claim, predicted, "no photographs")
    distance = abs(measured["slope"] - centre).values
    bars = measured["slope_error"].values
    worst = decide(distance, margin, bars, k=student_k(measured["freedom"].values, len(bars)))  # each has its own k
    name, slope = measured["photograph"].values[worst.at], float(measured["slope"][worst.at])
    text = f"{int((distance <= margin).sum())} of {len(distance)} inside; {name} decides, {slope:.2f} ± {worst.bar:.2f}"
    return worst.row(claim, predicted, text)


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    """Left: R(f) and the line of slope −2. Right: slopes, sorted, with their bars."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.8), width_ratios=(1, 1.05))
    _draw_spectra(left, predicted, measured)
    _draw_slopes(right, float(predicted["slope"]), measured.sortby("slope"))
    return figure


def _looks(measured: xr.Dataset) -> dict[str, tuple[str, str, str]]:
    """kind → colour, line, marker: the three differ in grey as well."""
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    styles = (("-", colours[0]), ("--", colours[1]), (":", colours[2]), ("-", colours[0]))
    looks = {kind: (c, line, m) for kind, (line, c), m in zip(KINDS, styles, (*MARKERS[:3], MARKERS[0]), strict=True)}
    return {kind: look for kind, look in looks.items() if kind in measured["kind"].values}


def _draw_spectra(axes: Axes, predicted: xr.Dataset, measured: xr.Dataset) -> None:
    frequency = predicted["frequency"]
    power = measured["power"].sel(frequency=frequency)
    for kind, (colour, line, _) in _looks(measured).items():
        chosen = power.sel(photograph=measured["kind"] == kind)
        if chosen.sizes["photograph"] > FEW:
            low, middle, high = chosen.quantile([0.05, 0.5, 0.95], dim="photograph")
            axes.fill_between(frequency, low, high, color=colour, alpha=0.25, linewidth=0)
            axes.plot(frequency, middle, line, color=colour, label=f"{KINDS[kind]}: median, 5 to 95 %")
            continue
        axes.plot(frequency, chosen.transpose("frequency", "photograph"), line, color=colour, linewidth=0.8)
        axes.plot([], [], line, color=colour, label=KINDS[kind])
    level = float(power.isel(frequency=0).max()) * 4
    axes.plot(frequency, predicted["relative_power"] * level, "-", color="black", linewidth=2, label="slope −2 (Field 1987)")
    axes.set(xscale="log", yscale="log", xlabel="spatial frequency f (cycles per patch)")
    axes.set_ylabel("power R(f) (x in [−1, 1])")
    axes.legend(loc="lower left")


def _draw_slopes(axes: Axes, field: float, measured: xr.Dataset) -> None:
    place = np.arange(measured.sizes["photograph"])
    few = len(place) <= FEW
    for kind, (colour, _, marker) in _looks(measured).items():
        mine = (measured["kind"] == kind).values
        axes.errorbar(
            measured["slope"][mine],
            place[mine],
            xerr=measured["slope_error"][mine] if few else None,
            fmt=marker,
            color=colour,
            markersize=5 if few else 2,
            capsize=2,
            linestyle="none",
        )
    axes.axvline(field, color="black", linewidth=2, label=f"{field:g} (Field 1987)".replace("-", "−"))
    axes.axvspan(field - MARGIN, field + MARGIN, color="black", alpha=0.1, linewidth=0, label=f"margin ±{MARGIN:.1f}")
    axes.legend(loc="upper left")
    axes.set_yticks(place if few else [], measured["photograph"].values if few else [])
    axes.set_ylabel("" if few else f"{len(place)} classes, sorted")
    axes.set_xlabel("slope of log R against log f" + (" ± standard error" if few else ""))
    axes.grid(axis="y", visible=False)
