"""`python -m imagenet generate CHECKPOINT --out FOLDER`: draw images, alone or in parallel under torchrun."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import click
import torch

from imagenet import samples
from imagenet.commands import device_named, refusal, too_large
from imagenet.denoiser import Guidance
from imagenet.generate import load_generator, tile
from imagenet.request import Labels, Levels, Request, Theta
from theory.sampler import STEPS
from theory.schedule import Gauge


def _labels(_: click.Context, __: click.Parameter, text: str) -> object:
    """balanced, as data, or numbers separated by commas; which numbers there are, `Generator.check` answers."""
    if text in get_args(Labels):
        return text
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch(r"-?[0-9]{1,18}", word) for word in words):
        allowed = f"{', '.join(get_args(Labels))}, or numbers of classes such as 3 or 0,4,7"
        raise click.BadParameter(f"{text!r}; allowed: {allowed}; remedy: separate them by single commas")
    return tuple(int(word) for word in words)


@click.command("generate")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--out", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="folder of the images")
@click.option("--count", default=64, show_default=True, help="images")
@click.option("--first", default=0, show_default=True, help="number of the first image; image k is the same in every command")
@click.option("--sampler", default="ancestral", show_default=True, type=click.Choice(list(STEPS)))
@click.option("--steps", default=32, show_default=True, help="steps of the sampler")
@click.option("--gamma", default=0.3, show_default=True, help="of ancestral: 0 the posterior's noise, 1 the forward step's")
@click.option("--guidance", default=1.0, show_default=True, help="weight of classifier-free guidance, 1 for none")
@click.option("--interval", nargs=2, type=float, default=(-float("inf"), float("inf")), help="λ, low and high, of guidance")
@click.option("--labels", default="balanced", show_default=True, callback=_labels, help='"as data", or numbers: 3 or 0,4,7')
@click.option(
    "--theta", default="as trained", show_default=True, type=click.Choice(get_args(Theta)), help="spectral parameters"
)
@click.option("--slope", default=1.0, show_default=True, help="factor on the slope of the spectrum, 0.1 to 10")
@click.option("--amplitude", default=1.0, show_default=True, help="factor on the power of the spectrum, 0.0001 to 10000")
@click.option("--levels", default="own", show_default=True, type=click.Choice(get_args(Levels)), help="or a form of paper A")
@click.option("--gauge", default="variance preserving", show_default=True, type=click.Choice(get_args(Gauge)))
@click.option("--clip/--no-clip", default=True, show_default=True, help="the posterior mean, to [−1, 1]")
@click.option("--batch", default=64, show_default=True, help="images at a time; may change when the command is given again")
@click.option("--seed", default=0, show_default=True)
@click.option("--format", "form", default="npz", show_default=True, type=click.Choice(get_args(samples.Format)))
@click.option("--grid", is_flag=True, help="also write grid.png of the first 64 images")
@click.option("--ema/--no-ema", default=True, show_default=True, help="averaged weights")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1; auto takes CUDA if it is there")
@click.option("--bfloat16", is_flag=True, help="matrix products in bfloat16")
@click.option("--compile", "compiled", is_flag=True, help="the network, by torch.compile")
@click.option("--graphs", is_flag=True, help="forward passes as CUDA graphs, on CUDA only")
@click.option("--rank", type=int, envvar="RANK", default=0, show_default="RANK, or 0", help="number of this process")
@click.option("--world", type=int, envvar="WORLD_SIZE", default=1, show_default="WORLD_SIZE, or 1", help="number of processes")
def command(
    checkpoint: Path,
    folder: Path,
    count: int,
    first: int,
    sampler: str,
    steps: int,
    gamma: float,
    guidance: float,
    interval: tuple[float, float],
    labels: tuple[int, ...],
    theta: Theta,
    slope: float,
    amplitude: float,
    levels: Levels,
    gauge: Gauge,
    clip: bool,
    batch: int,
    seed: int,
    form: samples.Format,
    grid: bool,
    ema: bool,
    device: str,
    bfloat16: bool,
    compiled: bool,
    graphs: bool,
    rank: int,
    world: int,
) -> None:
    """Draw images from CHECKPOINT: a training's folder, or a file of weights with knowledge.npz and prior.npz beside it.

    The same command continues where it was stopped; torchrun, or --rank and --world, share the work.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        request = Request(
            sampler, steps, gamma, Guidance(guidance, *interval), labels, theta, slope, amplitude, levels, gauge, clip,
            first, count, batch, seed,
        )  # fmt: skip
        autocast = torch.bfloat16 if bfloat16 else None
        generator = load_generator(
            checkpoint, ema=ema, device=device_named(device, graphs), autocast=autocast, compiled=compiled, graphs=graphs
        )
        made = samples.write(generator, request, folder, form=form, rank=rank, world=world)
        if grid and rank == 0:
            shown = replace(request, count=min(count, 64))
            samples.save_png(folder / "grid.png", tile(generator.sample(shown), 8))
    except (ValueError, OSError) as error:
        raise refusal(error) from error
    except (MemoryError, RuntimeError) as error:
        raise too_large(error, f"batches of {batch} images", f"--batch {max(1, batch // 2)}, or --bfloat16") from error
    click.echo(
        f"Written: {made}" if made else f"Share of process {rank} of {world} written to {folder}; others are not finished"
    )
