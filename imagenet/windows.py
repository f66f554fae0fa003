"""Windows of real photographs: which noise levels an image needs, how that moves with resolution, how few numbers say it.

An image with spectrum R(f) needs λ between −log R_max − logit(1 − ε) and −log R_min + logit(1 − ε): steps outside change the
variance of none of its frequencies by more than ε (`theory.bound`, claim B2). Esteves and Makadia (arXiv 2603.19222) call them
redundant. The window and ε are ours: a reconstruction.

Resolution (derivation: ours). The same scene at 2n × 2n has four times the power in every coefficient that n × n has too: the
number of pixels, in an orthonormal transform. So the noise end, set by f = 1, moves by −2 log 2 per doubling, which is simple
diffusion's shift (arXiv 2301.11093). The data end is set by the highest frequency, which doubles: R ∝ 4·2^−b, so it moves by
(b − 2) log 2 for a power law f^−b: hardly at all for photographs. Simple diffusion moves both ends by −2 log 2. So the mean
over photographs says little of the law, whose rival is that the data end stays where it is: what tells them apart is whether a
steeper photograph moves more, by log 2 for each unit of b.

Field (1987): R ∝ f^−2. With pixel variance ¼ (EDM's σ_data = ½, arXiv 2206.00364) that predicts the redundant share of every
usual schedule without having seen an image.

Changed after a first look: variance explained is about the mean at each frequency, not about one number, which counted the fall
of log R that all images share as explained; k from Student's law, since classes and photographs are few; B8-data-slope was
added, its margin set so that no dependence on b lies outside. The other margins did not move.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from imagenet.data import PHOTOGRAPHS, Images, open_images, photograph_pixels, to_unit
from imagenet.design import usual
from imagenet.parameters import Spectra, read_spectra
from theory import per_image
from theory.ledger import Claim, Row, decide, student_k
from theory.per_image import Basis, Rule
from theory.progress import progress
from theory.record import MARKERS
from theory.spectrum import QUANTISATION_POWER, fit_power_law, isotonic, rapsd, rings

FIELD_SLOPE, VARIANCE = -2.0, 0.25  # Field 1987; EDM's σ_data²
SHIFT = -2 * math.log(2)  # simple diffusion's, per doubling
FOLDS = 16  # of classes, for components of others: one class each in the embedded photographs
TIMES = 1000  # at which a schedule is compared with a window: shares to .1 %

# Margins, fixed before measuring. Shares: a tenth of the steps, which is what one would still act on. Few numbers: what they
# may leave unexplained, 5 % for two, half of that with the components. Ends: half the distance between our prediction and
# simple diffusion's at the data end for b = 2, so that a mean inside is nearer to the one than to the other. Slope of the
# movement in b: half the distance between the law's log 2 and none.
SHARE_MARGIN, LEFT_BY_TWO, LEFT_BY_MORE, END_MARGIN, SLOPE_MARGIN = 0.1, 0.05, 0.025, math.log(2), math.log(2) / 2

_PHOTOGRAPHS = "photographs cut to patches, 8-bit, Hann window; every class the same weight"
_EXPLAINED = (
    f"{_PHOTOGRAPHS}; variance about the mean at each frequency, so the fall that all share is not counted as explained"
)
_SIZES = "the same photographs, resized as in ADM: halved by means, then bicubic; the window's ends against log₂ size"
CLAIM = (
    Claim("B8-field", "ours, from Field 1987", "Field's law predicts the redundant share of each usual schedule", _PHOTOGRAPHS),
    Claim("B8-two", "arXiv 2603.19222, abstract", "Two numbers, amplitude and slope, explain log R of an image", _EXPLAINED),
    Claim("B8-few", "ours", "Two numbers and a few components from other photographs explain log R of an image", _EXPLAINED),
    Claim("B8-noise-end", "arXiv 2301.11093", "The noise end moves by −2 log 2 per doubling of the resolution", _SIZES),
    Claim("B8-data-end", "ours", "The data end moves by (b − 2) log 2 per doubling of the resolution",
          f"{_SIZES}; mean over photographs of the gap, which a data end that stays put would also meet for b near 2"),
    Claim("B8-data-slope", "ours", "The data end moves by log 2 more per doubling for each unit of b",
          f"{_SIZES}; line through the photographs, b of the largest size"),
    Claim("B8-shift", "arXiv 2301.11093", "The data end moves by −2 log 2 per doubling of the resolution", _SIZES),
)  # fmt: skip


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """Field's law and simple diffusion's shift: windows, redundant shares, ends at each size."""
    size, rule = settings["patch"], _rule(settings)
    table = rings(size, size)
    power = per_image.power_of(torch.tensor([0.0, FIELD_SLOPE], dtype=torch.float64), table)
    power = power * VARIANCE * (size**2) / (power[1:] * table.count[1:]).sum()
    low, high = per_image.window(power, table, rule)
    shares = _shares(low[None], high[None], size)
    return xr.Dataset(
        {
            "share": (("schedule", "end"), shares[0], {"meaning": "share of the steps beyond that end"}),
            "window": ("end", [float(low), float(high)], {"units": "log-SNR"}),
            "noise_end_shift": ((), SHIFT, {"units": "log-SNR per doubling"}),
        },
        coords={"schedule": list(usual(size)), "end": ["noise", "data"]},
    )


def _rule(settings: Mapping[str, Any]) -> Rule:
    return Rule(epsilon=settings["epsilon"], floor=QUANTISATION_POWER)


def _shares(low: torch.Tensor, high: torch.Tensor, size: int) -> np.ndarray:
    """(images, schedules, 2): shares of equal times at which λ is below λ_min, and above λ_max."""
    times = (torch.arange(TIMES, dtype=torch.float64) + 0.5) / TIMES
    levels = [found.log_snr(times) for found in usual(size).values()]
    below = [(level < low[:, None]).double().mean(1) for level in levels]
    above = [(level > high[:, None]).double().mean(1) for level in levels]
    return torch.stack([torch.stack(below, 1), torch.stack(above, 1)], 2).numpy()


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """Per class: windows, shares, what the parameters leave; per photograph: the window's ends at each size."""
    size, count = settings["patch"], settings["patches_per_photograph"]
    taper = None if settings["window"] == "none" else settings["window"]
    spectra = read_spectra(settings["source"], size, taper=taper, count=count, seed=seed)
    table, rule = spectra.table, _rule(settings)
    smooth = isotonic(spectra.power, table, rule.floor)
    low, high = per_image.window(smooth, table, rule)
    shares = _shares(low, high, size)
    names = list(spectra.by_class())
    members = [(spectra.labels == spectra.class_names.index(name)).numpy() for name in names]
    quantiles = [[np.quantile(end.numpy()[mine], (0.05, 0.5, 0.95)) for end in (low, high)] for mine in members]
    left = _left(spectra, settings["components"])
    sizes = _sizes(settings, taper, rule)
    return xr.Dataset(
        {
            "window": (("class", "end", "quantile"), np.array(quantiles), {"units": "log-SNR"}),
            "share": (("class", "schedule", "end"), np.stack([shares[mine].mean(0) for mine in members])),
            "images": ("class", [int(mine.sum()) for mine in members]),
            **_total(left["log_power"], members),
            **{
                f"left_by_{name}": (("class", "frequency"), np.stack([left[name][mine].mean(0) for mine in members]))
                for name in ("two", "few")
            },
            "ends": (("photograph", "size", "end"), sizes["ends"], {"units": "log-SNR"}),
            "slope": ("photograph", sizes["slope"], {"meaning": "b of f^−b, of the largest size"}),
        },
        coords={
            "class": names,
            "schedule": list(usual(size)),
            "end": ["noise", "data"],
            "quantile": [0.05, 0.5, 0.95],
            "frequency": np.arange(1, table.nyquist + 1),
            "photograph": sizes["names"],
            "size": sizes["sizes"],
        },
        attrs={"broken": list(spectra.broken) or "none"},
    )


def _left(spectra: Spectra, components: int) -> dict[str, np.ndarray]:
    """log R (n, rings), and its squared residuals: by the line alone, and with components of all other classes."""
    table, floor = spectra.table, spectra.floor
    log_power = spectra.power[:, 1 : table.nyquist + 1].clamp(min=floor or 0.0).log()
    law = fit_power_law(spectra.power, table, floor)
    two = per_image.residuals(spectra.power, table, law, floor)
    few = torch.zeros_like(two)
    fold = spectra.labels.unique(return_inverse=True)[1] % FOLDS
    for number in fold.unique():
        mine = fold == number
        others = spectra.power[~mine]
        if len(others) <= components:  # one class alone: its own components, and no one else to ask
            others = spectra.power
        basis = Basis.fit(others, table, min(components, len(others) - 1), floor)
        theta = per_image.parameters(spectra.power[mine], table, basis, floor)
        found = per_image.power_of(theta, table, basis)[:, 1 : table.nyquist + 1]
        few[mine] = log_power[mine] - found.log()
    return {"log_power": log_power.numpy(), "two": two.square().numpy(), "few": few.square().numpy()}


def _total(log_power: np.ndarray, members: list[np.ndarray]) -> dict[str, Any]:
    """Per class: the variance of log R about the mean at each frequency, every class the same weight there; summed."""
    means = np.stack([log_power[mine].mean(0) for mine in members])
    about = means.mean(0)
    total = [((log_power[mine] - about) ** 2).sum(1).mean() for mine in members]
    return {
        "total": ("class", total, {"meaning": "variance of log R about its mean at each frequency, summed"}),
        "apart": ("class", ((means - about) ** 2).sum(1), {"meaning": "the part of total that is the class's mean"}),
    }


def _sizes(settings: Mapping[str, Any], taper: str | None, rule: Rule) -> dict[str, Any]:
    """The window's ends of the same photographs at every size, and their slopes."""
    sizes = sorted(settings["sizes"])
    if settings["source"] == "embedded":
        chosen = [k for k in range(len(PHOTOGRAPHS)) if min(photograph_pixels(k).shape[:2]) >= sizes[-1]]
        names = [PHOTOGRAPHS[k].name for k in chosen]
    else:
        sizes = [size for size in sizes if size <= settings["patch"]]
        names = []
    ends, slope = [], np.zeros(0)
    for size in progress(sizes, "sizes"):
        images = (
            _whole(chosen, size) if settings["source"] == "embedded" else open_images(settings["source"], size, tolerance=1.0)
        )
        power = torch.cat([rapsd(to_unit(batch.images, torch.float64), taper) for batch in images.batches(8)])
        table = rings(size, size)
        ends.append(torch.stack(per_image.window(isotonic(power, table, rule.floor), table, rule), -1).numpy())
        slope = -fit_power_law(power, table, rule.floor).slope.numpy()
        names = names or [str(k) for k in range(len(power))]
    return {"names": names, "sizes": sizes, "ends": np.stack(ends, 1), "slope": slope}


def _whole(chosen: list[int], size: int) -> Images:
    """The largest centred square of each of these photographs, at `size`."""
    names = tuple(PHOTOGRAPHS[k].name for k in chosen)

    def read(index: int) -> Image.Image:
        return Image.fromarray(photograph_pixels(chosen[index]))

    return Images(size, torch.arange(len(chosen)), names, read, lambda index: names[index])


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    """Errors are of means over classes or photographs, with the standard error of that mean; k for as few as there are."""
    field, two, few, noise, data, slope, shift = CLAIM
    rows = [_field_row(field, predicted, measured)]
    for claim, kind, margin in ((two, "two", LEFT_BY_TWO), (few, "few", LEFT_BY_MORE)):
        left = measured[f"left_by_{kind}"].sum("frequency")
        share = float(left.sum() / measured["total"].sum())
        bar = _jackknife(left.values, measured["total"].values, measured["apart"].values)
        text = f"{100 * share:.1f} ± {100 * bar:.1f} % left"
        k = student_k(measured.sizes["class"] - 1)
        rows.append(decide(share, margin, bar, k=k).row(claim, f"≤ {100 * margin:g} % of the variance left", text))
    moves = _moves(measured)
    count, law = moves.sizes["photograph"], (measured["slope"].values - 2) * math.log(2)
    for claim, end, wanted in (
        (noise, "noise", np.full(count, SHIFT)),
        (data, "data", law),
        (shift, "data", np.full(count, SHIFT)),
    ):
        mean, error = _mean(moves.sel(end=end) - wanted, "photograph")
        got, bar, off = float(moves.sel(end=end).mean()), float(error), abs(float(mean))
        text = f"{got:.2f} ± {bar:.2f} over {count} photographs"
        found = decide(off, END_MARGIN, bar, k=student_k(count - 1))
        rows.append(found.row(claim, f"{np.mean(wanted):.2f} per doubling", text))
    rows.insert(-1, _slope_row(slope, measured["slope"].values, moves.sel(end="data").values))
    return rows


def _field_row(claim: Claim, predicted: xr.Dataset, measured: xr.Dataset) -> Row:
    """The schedule that decides: all of them are claimed."""
    gap = measured["share"].sum("end") - predicted["share"].sum("end")  # (class, schedule)
    mean, error = (found.values for found in _mean(gap, "class"))
    worst = decide(np.abs(mean), SHARE_MARGIN, error, k=student_k(gap.sizes["class"] - 1, len(mean)))
    (k,) = worst.at
    wanted, got = (float(found["share"].sum("end").isel(schedule=k).mean()) for found in (predicted, measured))
    text = f"{100 * got:.0f} ± {100 * worst.bar:.0f} %, which decides of {len(mean)}"
    name = str(gap["schedule"].values[k])
    return worst.row(claim, f"{100 * wanted:.0f} % of {name}", text)


def _slope_row(claim: Claim, steepness: np.ndarray, moves: np.ndarray) -> Row:
    """The slope in b of a straight line through the movements (photographs,), its error from what the line leaves."""
    rate, bar = _line(steepness, moves)
    off = abs(rate - math.log(2))
    text = f"{rate:.2f} ± {bar:.2f} over {len(moves)} photographs"
    decision = decide(off, SLOPE_MARGIN, bar, k=student_k(len(moves) - 2))
    return decision.row(claim, f"{math.log(2):.2f} per unit of b; none: 0", text)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Least-squares slope of y in x and its standard error, of n − 2 degrees of freedom; NaN where there is none."""
    across = x - x.mean()
    square = float(across @ across)
    if square == 0:
        return math.nan, math.nan
    rate = float(across @ y) / square
    left = y - y.mean() - rate * across
    return rate, math.sqrt(float(left @ left) / (len(x) - 2) / square) if len(x) > 2 else math.nan


def _mean(values: xr.DataArray, over: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Mean and its standard error; NaN from a single value."""
    count = values.sizes[over]
    spread = values.std(over, ddof=1) if count > 1 else values.mean(over) * np.nan
    return values.mean(over), spread / math.sqrt(count)


def _jackknife(left: np.ndarray, total: np.ndarray, apart: np.ndarray) -> float:
    """Standard error of Σ left/Σ total over classes, leaving one out at a time.

    Without class j the mean that `total` is about moves by (mean − mean_j)/(n − 1): that takes apart_j/(n − 1) off the sum.
    """
    count = len(left)
    if count < 2:
        return math.nan
    without = (left.sum() - left) / (total.sum() - total - apart / (count - 1))
    return float(np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum()))


def _moves(measured: xr.Dataset) -> xr.DataArray:
    """λ per doubling of the size: the least-squares slope of each photograph's ends, (photograph, end)."""
    octaves = np.log2(measured["size"].values)
    octaves = xr.DataArray(octaves - octaves.mean(), dims="size")
    return (measured["ends"] * octaves).sum("size") / float((octaves**2).sum())


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    """Windows by class, redundant shares by schedule, the ends against the size, what few numbers leave by frequency."""
    figure, ((first, second), (third, fourth)) = plt.subplots(2, 2, figsize=(7.2, 6.4), width_ratios=(1, 1.05))
    _draw_windows(first, predicted, measured)
    _draw_shares(second, predicted, measured)
    _draw_ends(third, measured)
    _draw_left(fourth, measured)
    return figure


def _draw_windows(axes: Axes, predicted: xr.Dataset, measured: xr.Dataset) -> None:
    ordered = measured.sortby(measured["window"].sel(end="noise", quantile=0.5))
    place = np.arange(ordered.sizes["class"])
    window = ordered["window"]
    for end, marker, face in (("noise", MARKERS[0], "black"), ("data", MARKERS[1], "white")):
        low, middle, high = (window.sel(end=end, quantile=q).values for q in (0.05, 0.5, 0.95))
        axes.errorbar(middle, place, xerr=(middle - low, high - middle), fmt=marker, color="black", markersize=4, linewidth=0.8,
                      markerfacecolor=face, label=f"{end} end: median, 5 to 95 %")  # fmt: skip
    axes.hlines(place, window.sel(end="noise", quantile=0.5), window.sel(end="data", quantile=0.5), color="black", alpha=0.25)
    low, high = predicted["window"].values
    axes.axvspan(low, high, color="black", alpha=0.08, linewidth=0, label="Field's law, variance ¼")
    axes.set_yticks(place if len(place) <= 40 else [], ordered["class"].values if len(place) <= 40 else [])
    axes.set_xlabel("log-SNR λ")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.3), fontsize="small")


def _draw_shares(axes: Axes, predicted: xr.Dataset, measured: xr.Dataset) -> None:
    place = np.arange(measured.sizes["schedule"])
    left = np.zeros(len(place))
    for end, hatch, colour in (("noise", "", "0.35"), ("data", "////", "0.85")):
        width = 100 * measured["share"].sel(end=end).mean("class").values
        label = f"beyond the {end} end"
        axes.barh(place, width, left=left, height=0.5, color=colour, hatch=hatch, edgecolor="0.2", label=label)
        left += width
    _, error = _mean(100 * measured["share"].sum("end"), "class")
    axes.errorbar(left, place, xerr=error, fmt="none", color="black", capsize=2)
    wanted = 100 * predicted["share"].sum("end").values
    axes.vlines(wanted, place - 0.38, place + 0.38, color="black", linewidth=2, label="Field's law")
    axes.set_yticks(place, measured["schedule"].values)
    axes.set_xlabel("redundant steps (%)")
    axes.grid(axis="y", visible=False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.3), fontsize="small")


def _draw_ends(axes: Axes, measured: xr.Dataset) -> None:
    sizes = measured["size"].values
    slope = float(measured["slope"].mean())
    octaves = np.log2(sizes) - np.log2(sizes).mean()
    for end, marker, rate in (("noise", MARKERS[0], SHIFT), ("data", MARKERS[1], (slope - 2) * math.log(2))):
        mean, error = _mean(measured["ends"].sel(end=end), "photograph")
        axes.errorbar(sizes, mean, yerr=error, fmt=marker, color="black", capsize=2, markersize=5,
                      markerfacecolor="black" if end == "noise" else "white", label=f"{end} end, measured")  # fmt: skip
        middle = float(mean.mean())
        axes.plot(sizes, middle + rate * octaves, "-", color="black", label="from the spectrum" if end == "noise" else None)
        shift = None if end == "noise" else "simple diffusion's shift"
        axes.plot(sizes, middle + SHIFT * octaves, "--", color="0.45", label=shift)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set(xlabel="side of the image (px)", ylabel="log-SNR λ")
    axes.legend(fontsize="small")


def _draw_left(axes: Axes, measured: xr.Dataset) -> None:
    frequency = measured["frequency"].values
    for name, style, label, alpha in (
        ("two", "-", "amplitude and slope", 0.08),
        ("few", "--", "and components of other photographs", 0.18),
    ):
        left = measured[f"left_by_{name}"]
        low, high = (np.sqrt(end.values) for end in (left.min("class"), left.max("class")))
        axes.fill_between(frequency, low, high, color="black", alpha=alpha, linewidth=0)
        axes.plot(frequency, np.sqrt(left.mean("class").values), style, color="black", label=label)
    axes.set(xscale="log", yscale="log", xlabel="spatial frequency f (cycles per patch)")
    axes.set_ylabel("RMS error of log R; band: classes")
    axes.legend(fontsize="small")
