"""`python -m imagenet count NAME`: parameters, operations, memory and speed of a model of config/model, or of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import click

from imagenet import count as counts
from imagenet.commands import refusal
from imagenet.settings import Model, Precision

HEADER = (
    "model",
    "px",
    "patch",
    "parameters",
    "GMAC",
    "GFLOP",
    "conv",
    "linear",
    "attention",
    "state",
    "kept",
    "step",
    "img/s",
)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, numbers to the right, two blanks between."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        [cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))]
        for row in rows
    )
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _row(
    model: Model, classes: int | None, micro_batch: int, precision: Precision, recompute: bool, peak: float, mfu: float
) -> list[str]:
    counted = counts.count(model, classes)
    needed = counts.memory(model, micro_batch, precision, recompute, classes)
    kinds = [f"{counted.kinds[kind] / counted.mac:.0%}" for kind in ("conv", "linear", "attention")]
    state = needed["total"] - needed["activations"]
    return [
        model.name,
        str(model.resolution),
        str(model.patch),
        f"{counted.parameters:,}",
        f"{counted.mac / 1e9:.4g}",
        f"{counted.flop / 1e9:.4g}",
        *kinds,
        *(f"{size / 1e9:.3g} GB" for size in (state, needed["activations"], needed["total"])),
        f"{counts.throughput(counted, peak, mfu, recompute):,.0f}",
    ]


@click.command("count")
@click.argument("name")
@click.option("--classes", type=click.IntRange(1, 10**7), help="by default 1000 from 64 px up, 10 below")
@click.option("--micro-batch", default=1, show_default=True, type=click.IntRange(1, 10**9), help="images of one forward pass")
@click.option("--precision", default="bfloat16", show_default=True, type=click.Choice(get_args(Precision)))
@click.option("--recompute", is_flag=True, help="keep only the inputs of blocks, and compute these again")
@click.option("--accelerator", default="H200", show_default=True, type=click.Choice(list(counts.PEAKS)))
@click.option("--peak", type=click.FloatRange(min=0, min_open=True), help="of another accelerator, TFLOP/s, dense")
@click.option("--mfu", default=0.4, show_default=True, type=click.FloatRange(0, 1, min_open=True), help="share of the peak")
def command(
    name: str,
    classes: int | None,
    micro_batch: int,
    precision: Precision,
    recompute: bool,
    accelerator: str,
    peak: float | None,
    mfu: float,
) -> None:
    """Print what the model NAME of config/model, or of a file, costs; the word all for every one of config/model."""
    try:
        models = [counts.configuration(each) for each in (counts.names() if name == "all" else [name])]
        speed = counts.peak_of(accelerator) if peak is None else peak * 1e12
        rows = [_row(model, classes, micro_batch, precision, recompute, speed, mfu) for model in models]
    except (ValueError, OSError) as error:
        raise refusal(error) from error
    click.echo(_table([HEADER, *rows]))
    where = accelerator if peak is None else "an accelerator"
    again = ", blocks computed again" if recompute else ""
    click.echo(
        f'\nGMAC, GFLOP = 2·GMAC: one forward pass of one image; conv, linear, attention: shares (SiD2\'s "Gflops" are GMAC).\n'
        f"state: weights, gradients, Adam, average, float32. kept: for the backward pass of {micro_batch} "
        f"image{'s' if micro_batch > 1 else ''}, {precision}, eager{again}. step: their sum, without work space of libraries.\n"
        f"img/s: training at {mfu:.0%} of {speed / 1e12:g} TFLOP/s, {where}."
    )
