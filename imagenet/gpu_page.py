"""docs/gpu.md and README's section on the image model, made from the files of `imagenet.gpu`: python -m imagenet.gpu_page.

Nothing is typed in: a target that no file speaks of stands there as not yet run on a GPU (`imagenet.gpu_results`), and a page
of files that were made on a processor says of each that it is a test of the path.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr

from imagenet import quality
from imagenet.gpu_results import GAIN, NOT_RUN, REFERENCE, Results, found_in, ranges, targets
from theory import record
from theory.ledger import student_k

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEGIN, END = "<!-- image model: begin -->", "<!-- image model: end -->"


# ---- the page ---------------------------------------------------------------------------------------------------------


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _of(value: float | None, form: str = "{:.3g}") -> str:
    return "–" if value is None or math.isnan(value) else form.format(value)


def target_table(results: Iterable[Results]) -> str:
    return _table(["target", "state", "measured"], [(row.target, row.state, row.measured or "–") for row in targets(results)])


def costs() -> str:
    """Estimated minutes of the pieces of small32 on one H200."""
    from imagenet import gpu

    site = gpu.site_of("small32", "cpu", data="embedded")
    groups: dict[str, float] = {}
    both = {site.plan.baseline.key, site.plan.spectral.key}
    for piece in gpu.pieces_of(site):
        kind, _, rest = piece.name.partition(":")
        ablation = kind in ("train", "sweep") and rest.partition(":")[0] not in both
        name = "ablations, trained and swept" if ablation else _NAMES.get(kind, kind)
        groups[name] = groups.get(name, 0.0) + piece.total
    rows = [(name, f"{minutes:.0f}") for name, minutes in groups.items()]
    return _table(["piece", "minutes, estimated"], [*rows, ("all", f"{sum(groups.values()):.0f}")])


_NAMES = {
    "train": "training of both arms", "sweep": "sweeps of both arms: guidance off and best, other γ", "bench": "benchmarks",
    "guidance": "choice of the weight of guidance",
}  # fmt: skip


INTRODUCTION = """\
One GPU trains the same network twice, on SiD2's shifted cosine and on per-image spectral schedules, with equal budget and seed,
and measures both at every number of steps; then ablations and benchmarks. Made by `python -m imagenet.gpu_page`; do not edit.

    make gpu DATA=cifar10.npz WEIGHTS=squeezenet1_0-imagenet-fp16.safetensors
    make gpu DATA=… MINUTES=9          as many pieces as fit; the same command goes on, also after a kill
    make gpu DEVICE=cpu SIZE=nano      the same path on a processor, in minutes: a test, no result

`DATA` is an .npz of uint8 images with labels, or a folder of images; without `WEIGHTS` the distance is FD-PCA alone. Needed
there: torch, numpy, scipy, scikit-learn, pillow, xarray, tqdm. Results come to rest in results/reference/gpu, small enough to
commit."""


def page(results: Sequence[Results], folder: Path, link: str) -> str:
    """Markdown; figures go into `folder`, linked as `link`/NAME.svg."""
    real = [found for found in results if found.on_gpu]
    parts = ["# The image model on a GPU", INTRODUCTION]
    if not real:
        parts.append(f"**State: {NOT_RUN}.** The path has a test on a processor at nano size; its numbers are not results.")
    parts += ["## Targets", _targets_text(), target_table(results), "## What it costs", _COSTS, costs()]
    for found in results:
        parts += _of_size(found, folder, link)
    return "\n\n".join(parts) + "\n"


_COSTS = (
    "Network small32 (23 million parameters) on 50,000 images of 32 px. Minutes on one H200-class GPU if it reaches 25 % of "
    "its bfloat16 peak of 989 TFLOP/s: an estimate from counted FLOP, not a measurement."
)


def _targets_text() -> str:
    return (
        f"Quality is a Fréchet distance without guidance; “better” is 1 − spectral ÷ baseline. Met or missed at "
        f"95% of Student's law over seed ranges of sampling ({student_k(2):.1f} standard errors for three), else "
        "undecided. One training seed a schedule: the error of training is not in the bars."
    )


def _of_size(found: Results, folder: Path, link: str) -> list[str]:
    about = found.provenance
    kind = "" if found.on_gpu else " (device = cpu: a test of the path, no result)"
    parts = [f"## {found.size}: {about['hardware']}{kind}"]
    figures = _figures(found, folder, link)
    for guidance, title in (("off", "without guidance"), ("best", "with the best weight of guidance")):
        if guidance in found.quality:
            parts += [
                f"### Quality {title}",
                *figures.get(guidance, []),
                _swept(found, guidance),
            ]
    for name, data in found.quality.items():
        if name.startswith("gamma-"):
            text = quality.table(data, found.arms).partition("\n\n")[0]
            parts += [f"### Ancestral steps with γ = {name.removeprefix('gamma-')}", text]
    if found.guidance:
        rows = [
            (arm, g["best"], ", ".join(f"{w}: {d:.4g}" for w, d in g["distances"].items())) for arm, g in found.guidance.items()
        ]
        parts.append(_table(["arm", "best weight", "distance by weight, on images of their own"], rows))
    parts += figures.get("samples", [])
    if found.ablations is not None:
        parts += ["### Ablations", quality.table(found.ablations).partition("\n\n")[0]]
    parts += [*_training(found), *_speed(found), *_samplers(found), *_origin(found)]
    return parts


def _swept(found: Results, guidance: str) -> str:
    """The table of a sweep; what it says of the data and of papers, once."""
    text = quality.table(found.quality[guidance], found.arms).strip()
    return text if guidance == "off" else text.partition("\n\n")[0]


def _training(found: Results) -> list[str]:
    if not found.training:
        return []
    rows = [
        (arm, x["steps"], _of(x["images_per_second"], "{:.0f}"), _of(x["mfu"], "{:.1%}"), _of(x["data_wait"], "{:.2%}"))
        for arm, x in found.training.items()
    ]
    return ["### Training", _table(["arm", "steps", "images/s", "MFU", "waiting for data"], rows)]


def _speed(found: Results) -> list[str]:
    rows, profiles = [], []
    for name, bench in found.bench.items():
        if not name.startswith("training-"):
            continue
        for what, part in (
            (bench["model"], bench["rows"]),
            ("reference of equal FLOP", bench.get("reference", {}).get("rows", [])),
        ):
            rows += [
                (what, r["mode"], r["batch"], _of(r.get("images_per_second"), "{:.0f}"), _of(r.get("mfu"), "{:.1%}"),
                 _of(r.get("memory_gb"), "{:.1f}"), _of(r.get("first_step_seconds"), "{:.1f}"), r.get("failed", ""))
                for r in part
            ]  # fmt: skip
        profiles += [(bench["model"], f"`{p['what']}`", f"{p['share']:.1%}", p["calls"]) for p in bench.get("profile", [])]
    parts = []
    if rows:
        heads = ["network", "mode", "batch", "images/s", "MFU", "memory, GB", "first step, s", "remark"]
        parts += ["### Training throughput, synthetic data", _table(heads, rows)]
        parts += ["### Where the time goes", _table(["network", "operation", "share", "calls"], profiles)]
    drawn = found.bench.get("generation", {}).get("rows", [])
    if drawn:
        made = [(r["mode"], r["evaluations"], r["batch"], _of(r.get("images_per_second")), r.get("failed", "")) for r in drawn]
        parts += ["### Drawing", _table(["mode", "evaluations", "batch", "images/s", "remark"], made)]
    paid = found.bench.get("schedules", {}).get("rows", [])
    if paid:
        costs_of = [(r["what"], _of(r["images_per_second"]), f"{r['ratio']:.4f} ± {_of(r['error'], '{:.4f}')}") for r in paid]
        parts += ["### What schedules cost", _table(["training loop", "images/s", "ratio to the first"], costs_of)]
    return parts


def _samplers(found: Results) -> list[str]:
    bench = found.bench.get("samplers", {})
    mixture = [
        (f"{r['dim']:.0e}", r["rows"], _of(r["copy_bandwidth"] / 1e9), *(_of(1e3 * r["seconds"][k]) for k in
         ("products", "walk", "state", "noise")), f"{r['share']:.1%}", f"{r['share_of_passes']:.1%}",
         _of(None if r.get("processor_seconds") is None else 1e3 * r["processor_seconds"]), _of(r.get("difference"), "{:.1e}"))
        for r in bench.get("mixture", [])
    ]  # fmt: skip
    spins = [
        (f"{r['dim']:.0e}", r["rows"], t["time"], _of(1e3 * t["seconds"]), f"{t['traffic']:.1%}",
         _of(None if t.get("processor_seconds") is None else 1e3 * t["processor_seconds"]), _of(t.get("difference"), "{:.1e}"))
        for r in bench.get("curie_weiss", []) for t in r["rows_of_times"]
    ]  # fmt: skip
    parts = []
    if mixture:
        heads = ["d", "samples", "copy, GB/s", "products, ms", "walk, ms", "state, ms", "noise, ms", "share of copy bandwidth",
                 "of the passes alone", "processor, ms", "difference"]  # fmt: skip
        parts += ["### The exact samplers", _table(heads, mixture)]
    if spins:
        heads = ["d", "samples", "time", "posterior mean, ms", "share of copy bandwidth", "processor, ms", "difference"]
        parts.append(_table(heads, spins))
    return parts


def _origin(found: Results) -> list[str]:
    about = found.provenance
    done = about["pieces"]
    dates = f"{done[0]['date']} to {done[-1]['date']}" if done else "no piece finished"
    versions = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    text = (
        f"Commit {about['commit']}; {about['hardware']}; {versions}; seeds {about['seeds']}; data {about['data']}; {dates}; "
        f"{sum(piece['seconds'] for piece in done) / 60:.1f} minutes in {len(done)} pieces. The whole plan is in "
        "provenance.json."
    )
    return ["### Where this comes from", text]


# ---- figures ----------------------------------------------------------------------------------------------------------


def _figures(found: Results, folder: Path, link: str) -> dict[str, list[str]]:
    """Markdown of the figures of a size, drawn if matplotlib is here; the sheet of samples needs pillow only."""
    parts: dict[str, list[str]] = {}

    def put(kind: str, name: str, text: str, save: Callable[[Path], None]) -> None:
        save(folder / f"{found.size}-{name}.svg")
        parts.setdefault(kind, []).append(f"![{text}]({link}/{found.size}-{name}.svg)")

    if found.samples:
        svg = sheet(found)
        put("samples", "samples", "The same noise through both schedules", lambda path: record.atomic_text(path, svg))
    if all(importlib.util.find_spec(name) for name in ("matplotlib", "seaborn")):
        for guidance, data in found.quality.items():
            if guidance.startswith("gamma-"):
                continue
            drawings: list[tuple[str, str, Callable[[], Figure]]] = [
                ("quality", "Quality against the number of evaluations", lambda data=data: quality.draw_quality(data)),  # type: ignore[misc]
            ]
            if set(found.arms) <= set(data["model"].values):
                ratio = lambda data=data: draw_ratio(data, *found.arms)  # noqa: E731
                drawings.append(("ratio", "Spectral ÷ baseline", ratio))
            for name, text, draw in drawings:
                with record.style():
                    figure = draw()
                put(guidance, f"{name}-{guidance}", text, lambda path, figure=figure: record.save_figure(figure, path))  # type: ignore[misc]
    return parts


def draw_ratio(data: xr.Dataset, model: str, baseline: str) -> Figure:
    """Fréchet distance, model ÷ baseline, against evaluations: a line for each sampler; bars as targets are judged by."""
    from matplotlib import pyplot as plt

    gain, error = quality.gain(data, model, baseline)
    finished = ranges(data, model, baseline)
    label = str(data["extractor"].values[0])
    figure, axes = plt.subplots(figsize=(4.6, 3.2))
    for k, sampler in enumerate(data["sampler"].values):
        ratio = 1 - gain.sel(sampler=sampler, extractor=label)
        at = {"sampler": sampler, "extractor": label}
        allowed = student_k(finished.sel(at).values - 1)
        bar = (error.sel(at) * allowed).fillna(0)
        axes.errorbar(ratio["evaluations"], ratio, yerr=bar, marker=record.MARKERS[k], capsize=3, label=str(sampler))
    axes.axhline(1, color="black", linewidth=1)
    axes.axhline(1 - GAIN, color="grey", linewidth=1, linestyle=":", label=f"{GAIN:.0%} better")
    budgets = data["evaluations"].values
    axes.set(xscale="log", xlabel="evaluations of the network", ylabel=f"{label}: {model} ÷ {baseline}")
    axes.set_xticks(budgets, [str(budget) for budget in budgets])
    axes.minorticks_off()
    axes.legend(fontsize="small")
    return figure


def sheet(found: Results) -> str:
    """SVG: rows of images, columns by budget and arm, side by side."""
    images, budgets, arms = (found.samples[name] for name in ("images", "budgets", "arms"))
    columns = {
        f"{arm}, {budget}": torch.from_numpy(np.ascontiguousarray(images[a, b]))
        for b, budget in enumerate(budgets) for a, arm in enumerate(arms)
    }  # fmt: skip
    return quality.sheet(columns, [str(name) for name in found.samples["classes"]])


# ---- writing ----------------------------------------------------------------------------------------------------------


def write(path: Path, folder: Path = REFERENCE, names: Sequence[str] | None = None) -> Path:
    """The page at `path`, its figures in the folder beside it that has its name."""
    results = found_in(folder, names)
    record.atomic_text(path, page(results, path.with_suffix(""), path.stem))
    return path


def fill_readme(readme: Path, page_path: Path, folder: Path = REFERENCE) -> None:
    """Put the state and the targets between the markers. Raises ValueError where README lacks them."""
    text = readme.read_text(encoding="utf-8")
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(
            f"{readme} lacks the markers; allowed: one line {BEGIN!r} and after it one {END!r}; remedy: put them in"
        )
    results = found_in(folder)
    real = [found for found in results if found.on_gpu]
    hardware = ", ".join(sorted({str(found.provenance["hardware"]) for found in real}))
    state = f"Measured on: {hardware}." if real else f"State: {NOT_RUN}."
    where = os.path.relpath(page_path, readme.parent)
    body = f"{state} Everything, with figures and how to repeat it: [{where}]({where}).\n\n{target_table(results)}"
    record.atomic_text(readme, f"{head}{BEGIN}\n\n{body}\n\n{END}{tail}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m imagenet.gpu_page", description="The page of the runs on a GPU.")
    parser.add_argument("--out", type=Path, default=Path("docs", "gpu.md"), help="the page")
    parser.add_argument("--results", type=Path, default=REFERENCE, help="folder with a folder for each size")
    parser.add_argument("--readme", type=Path, help="also fill the section between the markers of this file")
    options = parser.parse_args(arguments)
    try:
        print(write(options.out, options.results))
        if options.readme is not None:
            fill_readme(options.readme, options.out, options.results)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
