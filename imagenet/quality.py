"""Tables and figures of evaluation sweeps: quality against evaluations, spectra, sheets of samples.

A dataset here is one of `imagenet.evaluate.sweep`, or several joined by `combine` along `model`. Error bars are the standard
error of the mean over ranges of seeds: the error of sampling, not of training.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from PIL import Image
from torch import Tensor

from imagenet.targets import EQUAL_IMAGES, TARGETS, UNKNOWN, Target

if TYPE_CHECKING:  # matplotlib is loaded by the functions that draw: a machine that only measures does without
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOT_RUN = "not run here"
_LARGEST_SHEET = 1_500_000  # bytes of a sheet of samples in a report
_ENCODINGS: tuple[dict[str, Any], ...] = (
    {"format": "PNG"},
    *({"format": "JPEG", "quality": quality} for quality in (95, 90, 80, 65, 45)),
)


def combine(datasets: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Sweeps of several models along the new dimension `model`. Raises ValueError unless extractors, N and data agree."""
    first = next(iter(datasets.values()))
    for name, dataset in datasets.items():
        for key in ("images", "size", "reference"):
            if dataset.attrs[key] != first.attrs[key]:
                raise ValueError(
                    f"{name} has {key} = {dataset.attrs[key]}; allowed: {first.attrs[key]}, as the others; remedy: evaluate "
                    "all models with the same settings on the same data"
                )
    names = list(datasets)
    joined = xr.concat(
        [datasets[name] for name in names], dim="model", data_vars="all", join="outer", combine_attrs="drop_conflicts"
    )
    return joined.assign_coords(model=names)


def spread(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """(mean, its standard error) over the finished ranges of seeds; the error of fewer than two is NaN."""
    count = values.count("seed_range")
    deviation = values.std("seed_range", ddof=1) if values.sizes["seed_range"] > 1 else values.mean("seed_range") * math.nan
    return values.mean("seed_range"), deviation.where(count > 1) / np.sqrt(count.where(count > 0))


def gain(dataset: xr.Dataset, model: str, baseline: str, quantity: str = "frechet") -> tuple[xr.DataArray, xr.DataArray]:
    """1 − model/baseline of the mean `quantity`, and its standard error: .15 is 15 % better than the baseline."""
    mean, error = spread(dataset[quantity])
    ours, theirs = mean.sel(model=model, drop=True), mean.sel(model=baseline, drop=True)
    relative = [error.sel(model=name, drop=True) / mean.sel(model=name, drop=True) for name in (model, baseline)]
    ratio = ours / theirs
    return 1 - ratio, ratio * np.sqrt(relative[0] ** 2 + relative[1] ** 2)


# ---- the table --------------------------------------------------------------------------------------------------------


def table(dataset: xr.Dataset, models: tuple[str, str] | None = None) -> str:
    """Markdown: a row per model, sampler and budget, N beside each Fréchet number; the data's own; the papers' numbers.

    models: (spectral, baseline) names, for the papers' gain at 32 evaluations.
    """
    joined = dataset if "model" in dataset.dims else dataset.expand_dims(model=["model"])
    labels = [str(label) for label in joined["extractor"].values]
    count = int(dataset.attrs["images"])
    heads = [
        "model",
        "sampler",
        "evaluations",
        "made",
        *(f"{label}, {n}" for label in labels for n in (f"N = {count}", "N → ∞")),
    ]
    heads += ["precision", "recall", "spectrum, mean abs Δ log R", "class error", "asked class"]
    heads += ["inception score"] if _scored(joined) else []
    heads += ["images/s"]
    rows = [heads, ["---"] * len(heads)]
    for model in joined["model"].values:
        for sampler in joined["sampler"].values:
            for budget in joined["evaluations"].values:
                here = joined.sel(model=model, sampler=sampler, evaluations=budget)
                if joined.sizes["model"] > 1 and bool(here["nfe"].isnull().all()):
                    continue  # models may have been swept at different points
                rows.append([str(model), str(sampler), str(budget), *_cells(here, _scored(joined))])
    parts = ["\n".join("| " + " | ".join(row) + " |" for row in rows), _context(joined), targets(joined, models)]
    return "\n\n".join(parts) + "\n"


def _scored(joined: xr.Dataset) -> bool:
    """Is there an inception score: was Inception among the extractors?"""
    return bool(joined["inception_score"].notnull().any())


def _cells(here: xr.Dataset, scored: bool) -> list[str]:
    """The numbers of one point; precision, recall and classes by the first extractor."""
    first = here.isel(extractor=0)
    return [
        _number(here["nfe"], "{:g}"),
        *(
            _number(here[name].isel(extractor=k))
            for k in range(here.sizes["extractor"])
            for name in ("frechet", "frechet_without_bias")
        ),
        _number(first["precision"]),
        _number(first["recall"]),
        _number(here["rapsd_distance"].mean("band")),
        _number(first["class_error"]),
        _number(first["class_agreement"]),
        *([_number(here["inception_score"])] if scored else []),
        _number(here["images_per_second"], "{:.3g}"),
    ]


def _number(values: xr.DataArray, form: str = "{:.3g}") -> str:
    """mean ± standard error over the ranges of seeds."""
    mean, error = (float(found) for found in spread(values))
    if math.isnan(mean):
        return NOT_RUN if values.name == "nfe" else "–"
    return (
        form.format(mean) if math.isnan(error) or error == 0 or values.name == "nfe" else f"{form.format(mean)} ± {error:.2g}"
    )


def _context(joined: xr.Dataset) -> str:
    """The data against themselves: what a perfect generator would get, and what new photographs get."""
    data = joined.isel(model=0) if "model" in joined["floor"].dims else joined
    lines = []
    for label in data["extractor"].values:
        here = data.sel(extractor=label)
        lines.append(
            f"* {label}: reference of {int(here['reference_images'])} training images. One half of them against the other: "
            f"{_plain(here, 'floor')}. Photographs kept out of training: {_plain(here, 'held_out')}. The classifier is right "
            f"on {100 * float(here['real_agreement']):.0f} % of real images."
        )
    return "\n".join(lines)


def _plain(here: xr.Dataset, name: str) -> str:
    count, value = int(here[f"{name}_images"]), float(here[name])
    if not count:
        return "none given"
    return f"{'too few images' if math.isnan(value) else f'{value:.3g}'} (N = {count})"


def targets(joined: xr.Dataset | None = None, models: tuple[str, str] | None = None) -> str:
    """The papers' numbers with their sources, and ours beside them where a run was made like theirs."""
    rows = ["| paper's number | px | metric | evaluations | reported | known to us | measured |", "|" + "---|" * 7]
    rows += [
        f"| {t.what} | {t.resolution or 'all'} | {t.metric} | {t.evaluations or 'not stated'} | {t.value:g}{t.unit} | "
        f"{t.source}; {t.status} | {_measured(t, joined, models)} |"
        for t in TARGETS
    ]
    return "\n".join([*rows, "", UNKNOWN])


def _measured(target: Target, joined: xr.Dataset | None, models: tuple[str, str] | None) -> str:
    """Our number only if it is an FID of as many images at that resolution; the best of the sweep, as a paper reports it."""
    if joined is None or "FID" not in joined["extractor"].values or joined.attrs["images"] < EQUAL_IMAGES:
        return NOT_RUN
    if target.resolution not in (None, joined.attrs["size"]) or bool(joined["frechet"].sel(extractor="FID").isnull().all()):
        return NOT_RUN
    if target.evaluations is None:
        mean, _ = spread(joined["frechet"].sel(extractor="FID"))
        return f"{float(mean.min()):.2f}, best of the sweep"
    if models is None or target.evaluations not in joined["evaluations"].values:
        return NOT_RUN
    found, error = (
        value.sel(extractor="FID", evaluations=target.evaluations) for value in gain(joined, models[0], models[1], "frechet")
    )
    texts = [
        f"{100 * float(found.sel(sampler=s)):.1f} ± {100 * float(error.sel(sampler=s)):.1f} % ({s})"
        for s in found["sampler"].values
    ]
    return "; ".join(texts)


# ---- figures ----------------------------------------------------------------------------------------------------------


def draw_quality(dataset: xr.Dataset, extractor: str | None = None, samplers: Sequence[str] | None = None) -> Figure:
    """Top: Fréchet distance; bottom: distance of spectra; against evaluations, a column per sampler, a line per model."""
    from matplotlib import pyplot as plt

    joined = dataset if "model" in dataset.dims else dataset.expand_dims(model=["model"])
    label = str(joined["extractor"].values[0]) if extractor is None else extractor
    shown = [str(name) for name in (joined["sampler"].values if samplers is None else samplers)]
    seen = joined.sel(extractor=label)
    figure, axes = plt.subplots(2, len(shown), figsize=(1.2 + 2.1 * len(shown), 4.6), sharex=True, sharey="row", squeeze=False)
    for column, sampler in zip(axes.T, shown, strict=True):
        here = seen.sel(sampler=sampler)
        _draw_curves(column[0], here["frechet"])
        _draw_curves(column[1], here["rapsd_distance"].mean("band"))
        _draw_context(column[0], seen)
        column[0].set_title(sampler)
        column[1].set_xlabel("evaluations of the network")
    axes[0, 0].set_ylabel(f"{label}, N = {int(dataset.attrs['images'])}")
    axes[1, 0].set_ylabel("spectrum: mean |Δ log R|")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), fontsize="small")
    return figure


def _draw_curves(axes: Axes, values: xr.DataArray) -> None:
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullLocator

    from theory.record import LINES, MARKERS

    mean, error = spread(values)
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    for k, model in enumerate(mean["model"].values):
        line = mean.sel(model=model)
        axes.errorbar(
            line["evaluations"], line, yerr=error.sel(model=model).fillna(0), color=colours[k % len(colours)],
            linestyle=LINES[k % len(LINES)], marker=MARKERS[k % len(MARKERS)], markersize=4, capsize=2, label=str(model),
        )  # fmt: skip
    budgets = mean["evaluations"].values
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(budgets, [str(budget) for budget in budgets], fontsize="small")
    axes.xaxis.set_minor_locator(NullLocator())


def _draw_context(axes: Axes, seen: xr.Dataset) -> None:
    data = seen.isel(model=0) if "model" in seen["floor"].dims else seen
    for name, style, text in (
        ("floor", (0, (1, 1)), "half of the data against the other"),
        ("held_out", (0, (4, 2, 1, 2)), "new photographs"),
    ):
        value = float(data[name])
        if math.isfinite(value) and value > 0:
            axes.axhline(value, color="grey", linewidth=1, linestyle=style, label=f"{text}, N = {int(data[f'{name}_images'])}")


def draw_spectra(dataset: xr.Dataset, sampler: str, budgets: Sequence[int] | None = None, title: str = "") -> Figure:
    """Left: mean spectra of samples and data. Right: their ratio. A row of panels per model; `title`: more of what is shown."""
    from matplotlib import pyplot as plt
    from matplotlib.ticker import NullLocator

    from theory.record import LINES

    joined = dataset if "model" in dataset.dims else dataset.expand_dims(model=["model"])
    shown = list(joined["evaluations"].values) if budgets is None else list(budgets)
    frequency = joined["frequency"].values[1 : int(dataset.attrs["nyquist"]) + 1]
    data = joined["reference_power"].isel(model=0) if "model" in joined["reference_power"].dims else joined["reference_power"]
    data = data.sel(frequency=frequency)
    models = joined["model"].values
    figure, axes = plt.subplots(
        len(models), 2, figsize=(7.2, 0.6 + 2.5 * len(models)), sharex=True, sharey="col", squeeze=False
    )
    tones = plt.get_cmap("viridis")(np.linspace(0.1, 0.85, len(shown)))  # dark to light: an order that survives grey
    for row, model in zip(axes, models, strict=True):
        power = joined["power"].sel(model=model, sampler=sampler, frequency=frequency)
        for k, budget in enumerate(shown):
            mean, error = spread(power.sel(evaluations=budget))
            style = {"color": tones[k], "linestyle": LINES[k % len(LINES)], "label": f"{budget} evaluations"}
            row[0].plot(frequency, mean, **style)
            row[1].plot(frequency, mean / data, **style)
            low, high = ((mean + sign * error.fillna(0)) / data for sign in (-1, 1))
            row[1].fill_between(frequency, low, high, color=tones[k], alpha=0.2, linewidth=0)
        row[0].plot(frequency, data, color="black", linewidth=1.5, linestyle="-", label="training images")
        row[1].axhline(1, color="black", linewidth=1)
        row[0].set(xscale="log", yscale="log", ylabel=f"{model}: power R(f)")
        row[1].set(xscale="log", yscale="log", ylabel="R(f) of samples / data")
    for panel in axes[-1]:
        panel.set_xlabel("frequency f (cycles per image)")
    octaves = [2**k for k in range(int(frequency[-1]).bit_length())]
    axes[-1, 0].set_xticks(octaves, [str(octave) for octave in octaves])
    axes[-1, 0].xaxis.set_minor_locator(NullLocator())
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize="small")
    size = int(dataset.attrs["size"])
    figure.suptitle(", ".join([sampler, f"{size} × {size} px", *([title] if title else [])]))
    return figure


# ---- sheets of images -------------------------------------------------------------------------------------------------


def sheet(columns: Mapping[str, Tensor], rows: Sequence[str], *, zoom: int | None = None, gap: int = 2) -> str:
    """SVG of images in a table: columns name → uint8 (rows, 3, H, W). One picture at its own pixels, shown without smoothing.

    For samples at equal seeds (rows: classes; columns: schedules or budgets) and for steering strips (columns: the factor).
    zoom: screen px per image px; by default such that an image is about 64 wide. A PNG where that stays below 1.5 MB, else a
    JPEG of the best quality that does. Raises ValueError for shapes that differ, and where no quality does.
    """
    images = list(columns.values())
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) != 1 or len(images[0]) != len(rows) or images[0].dtype != torch.uint8:
        raise ValueError(
            f"columns of shapes {sorted(shapes)}; allowed: one shape, uint8 ({len(rows)}, 3, H, W) for {len(rows)} rows; "
            "remedy: draw the same images for every column"
        )
    height, width = images[0].shape[-2:]
    scale = max(1, round(64 / width)) if zoom is None else zoom
    canvas = np.full((len(rows) * (height + gap) - gap, len(images) * (width + gap) - gap, 3), 255, np.uint8)
    for j, column in enumerate(images):
        for i, picture in enumerate(column):
            top, left = i * (height + gap), j * (width + gap)
            canvas[top : top + height, left : left + width] = picture.permute(1, 2, 0).cpu().numpy()
    for settings in _ENCODINGS:
        text = _svg(canvas, settings, list(columns), list(rows), (height + gap) * scale, (width + gap) * scale, scale)
        if len(text) <= _LARGEST_SHEET:
            return text
    raise ValueError(
        f"a sheet of {len(rows)} × {len(images)} images: {len(text)} bytes; allowed: ≤ {_LARGEST_SHEET}; remedy: fewer rows"
    )


def steering_strip(images: Tensor, factors: Sequence[tuple[float, float]], rows: Sequence[str]) -> str:
    """SVG of the same images under steered spectra: uint8 (factors, rows, 3, H, W), factors (slope, amplitude)."""
    names = [" ".join(f"{what} ×{x:g}" for what, x in zip(("slope", "power"), pair, strict=True) if x != 1) for pair in factors]
    return sheet({name or "as drawn": column for name, column in zip(names, images, strict=True)}, rows)


def _svg(
    canvas: np.ndarray,
    encoding: Mapping[str, Any],
    columns: list[str],
    rows: list[str],
    row_step: int,
    column_step: int,
    scale: int,
) -> str:
    """The canvas with names above its columns and left of its rows; encoding: options of Pillow's `save`."""
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, optimize=True, **encoding)
    left, top = (
        8 + 7 * max(len(row) for row in rows),
        22 if max(map(len, columns)) * 7 <= column_step else 22 + 4 * max(map(len, columns)),
    )
    wide, high = canvas.shape[1] * scale, canvas.shape[0] * scale
    slanted = top > 22
    texts = []
    for k, name in enumerate(columns):
        x = left + column_step * (k + 0.5)
        turn = f' transform="rotate(-30 {x:g} {top - 6})"' if slanted else ""
        anchor = "start" if slanted else "middle"
        texts.append(f'<text x="{x:g}" y="{top - 6}" text-anchor="{anchor}"{turn}>{escape(name)}</text>')
    for k, name in enumerate(rows):
        texts.append(f'<text x="{left - 6}" y="{top + row_step * (k + 0.5) + 4:g}" text-anchor="end">{escape(name)}</text>')
    picture = f"data:image/{encoding['format'].lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    right = 4 * max(map(len, columns)) if slanted else 4 + column_step - canvas.shape[1] * scale % column_step
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{left + wide + right}" '
        f'height="{top + high + 4}" font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(texts)
        + f'\n<image x="{left}" y="{top}" width="{wide}" height="{high}" style="image-rendering: pixelated" '
        f'image-rendering="optimizeSpeed" xlink:href="{picture}"/>\n</svg>\n'
    )
