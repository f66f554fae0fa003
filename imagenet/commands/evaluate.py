"""`python -m imagenet evaluate CHECKPOINT --data FOLDER`: quality against the number of network evaluations."""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path
from typing import get_args

import click
import torch
import xarray as xr

from imagenet import evaluate, quality
from imagenet.commands import AGAIN, device_named, refusal, too_large
from imagenet.commands import reference as reference_command
from imagenet.denoiser import Guidance
from imagenet.generate import Generator, Source, load_generator
from imagenet.packed import open_packed
from imagenet.reference import Pictures, reference, seen_by
from imagenet.request import Labels, Request, Theta
from theory import record
from theory.sampler import STEPS

ROWS = 6  # images of the sheet of samples


def _whole_numbers(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{error}; allowed: whole numbers, such as 4,8,16; remedy: separate them by commas") from error


def _samplers(_: click.Context, __: click.Parameter, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        raise click.BadParameter(f"sampler {unknown[0]!r}; allowed: {', '.join(STEPS)}; remedy: separate them by commas")
    return names


def _minutes(_: click.Context, __: click.Parameter, minutes: float | None) -> float | None:
    if minutes is not None and not minutes > 0:  # NaN too, which a click.FloatRange lets pass
        raise click.BadParameter(f"{minutes}; allowed: > 0; remedy: leave it out for no limit")
    return minutes


@click.command("evaluate")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--data", required=True, type=click.Path(path_type=Path), help="pack of the training images: the reference")
@click.option("--other-data", is_flag=True, help="--data are meant to be other images than the training's; table.md says so")
@reference_command.options
@click.option("--out", "folder", default="evaluation", show_default=True, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="folder of the reference, see `reference`; by default --out",
)
@click.option(
    "--steps", "--evaluations", "budgets", default="4,8,16,32,64,128,256,512", show_default=True, callback=_whole_numbers,
    help="evaluations of the network; a sampler that makes two a step takes half the steps",
)  # fmt: skip
@click.option("--samplers", default=",".join(evaluate.Sweep.samplers), show_default=True, callback=_samplers)
@click.option("--seed-ranges", default=3, show_default=True, help="disjoint sets of images per point: the error bars")
@click.option("--gamma", default=0.3, show_default=True, help="of ancestral steps")
@click.option("--guidance", default=1.0, show_default=True, help="weight of classifier-free guidance, 1 for none")
@click.option("--interval", nargs=2, type=float, default=(-float("inf"), float("inf")), help="λ, low and high, of guidance")
@click.option("--labels", default="balanced", show_default=True, type=click.Choice(get_args(Labels)))
@click.option("--theta", default="as trained", show_default=True, type=click.Choice(get_args(Theta)))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option(
    "--max-minutes", type=float, callback=_minutes, help=f"begin no point after that, and exit with code {AGAIN} if any is left"
)
@click.option("--ema/--no-ema", default=True, show_default=True, help="averaged weights")
@click.option(
    "--pictures/--no-pictures", "drawn", default=True, show_default=True, help="samples.svg, quality.svg, spectra.svg"
)
@click.option("--bfloat16", is_flag=True, help="matrix products of the network in bfloat16")
@click.option("--compile", "compiled", is_flag=True, help="the network, by torch.compile")
@click.option("--graphs", is_flag=True, help="forward passes as CUDA graphs, on CUDA only")
def command(
    checkpoint: Path,
    data: Path,
    other_data: bool,
    held_out: Path | None,
    folder: Path,
    cache: Path | None,
    budgets: tuple[int, ...],
    samplers: tuple[str, ...],
    images: int,
    seed_ranges: int,
    reference_images: int | None,
    extractors: tuple[str, ...],
    gamma: float,
    guidance: float,
    interval: tuple[float, float],
    labels: Labels,
    theta: Theta,
    batch: int,
    seed: int,
    max_minutes: float | None,
    ema: bool,
    device: str,
    drawn: bool,
    bfloat16: bool,
    compiled: bool,
    graphs: bool,
) -> None:
    """Draw from CHECKPOINT at every budget of evaluations and compare with the training images.

    Writes measured.nc, table.md, samples.svg and, where matplotlib is installed, quality.svg and spectra.svg. A journal keeps
    each finished point: the same command goes on where it was stopped. Exit code 75: time is over, and points are left.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        settings = evaluate.Sweep(budgets, samplers, images, seed_ranges, batch=batch)
        request = Request(
            gamma=gamma, guidance=Guidance(guidance, *interval), labels=labels, theta=theta, batch=batch, seed=seed
        )
        place = device_named(device, graphs)
        pictures = Pictures.of(open_packed(data))
        outside = None if held_out is None else Pictures.of(open_packed(held_out))
        autocast = torch.bfloat16 if bfloat16 else None
        generator = load_generator(checkpoint, ema=ema, device=place, autocast=autocast, compiled=compiled, graphs=graphs)
        trained_on = generator.trained_on
        generator.check(request)
        _same_data(generator, pictures, data, other_data)
        source = Source(generator, request)
        evaluate.check(source, settings)
        chosen = seen_by(extractors, pictures, place, cache or folder)
        evaluate.check(source, settings, chosen)
        known = reference(
            pictures, chosen, images, held_out=outside, batch=batch, limit=reference_images, device=place, cache=cache or folder
        )
        found = evaluate.sweep(source, known, chosen, settings, folder / "journal.jsonl", device=place, max_minutes=max_minutes)
        kept = {**evaluate.settings_of(settings), "request": request.plain(), "extractors": [one.identity for one in chosen]}
        if trained_on != pictures.fingerprint:
            kept["trained_on"] = trained_on
        evaluate.save(found, folder / "measured.nc", kept, seed)
        told = quality.table(found) + _of_other_data(trained_on, pictures, data)
        record.atomic_text(folder / "table.md", told)
        if drawn:
            record.atomic_text(folder / "samples.svg", _sheet(source, samplers[0], budgets, pictures.class_names))
    except (ValueError, OSError, ImportError) as error:
        raise refusal(error) from error
    except (MemoryError, RuntimeError) as error:
        raise too_large(error, f"batches of {batch} images", f"--batch {max(1, batch // 2)}, or --bfloat16") from error
    if drawn:
        _draw(found, samplers[0], folder)
    done, asked = found.attrs["points_done"], found.attrs["points_asked"]
    click.echo(told + f"\n{done} of {asked} points are finished. Written to {folder}.")
    if done < asked:
        click.echo(f"time is over; {done} of {asked} points are finished; the same command continues from there", err=True)
        sys.exit(AGAIN)


def _of_other_data(trained_on: str, pictures: Pictures, data: Path) -> str:
    """A line for the table, where the reference is not what the network was trained on."""
    if trained_on == pictures.fingerprint:
        return ""
    prints = f"fingerprint {pictures.fingerprint[:16]}, not {trained_on[:16]}"
    return f"\nOther data: what is called training images here are those of {data} ({prints}), not the network's own.\n"


def _same_data(generator: Generator, pictures: Pictures, data: Path, other_data: bool) -> None:
    """Before the reference is made, which may take long."""
    mine = (generator.knowledge.size, tuple(generator.knowledge.class_names))
    if mine != (pictures.size, pictures.class_names):
        raise ValueError(
            f"the network draws {mine[0]} px of {len(mine[1])} classes, {data} has {pictures.size} px of "
            f"{len(pictures.class_names)} classes; allowed: the data set it was trained on; remedy: give that pack"
        )
    trained_on = generator.trained_on
    if trained_on != pictures.fingerprint and not other_data:
        raise ValueError(
            f"the network was trained on data of fingerprint {trained_on[:16]}, that of {data} is {pictures.fingerprint[:16]}; "
            "allowed: the data set it was trained on; remedy: give that pack, or --other-data if other images are meant"
        )


def _sheet(source: Source, sampler: str, budgets: tuple[int, ...], class_names: tuple[str, ...]) -> str:
    columns = evaluate.equal_seeds({"": source}, sampler, budgets, count=ROWS)
    return quality.sheet(columns, [class_names[int(label)] for label in source.labels(0, ROWS)])


def _draw(found: xr.Dataset, sampler: str, folder: Path) -> None:
    if not found.attrs["points_done"] or importlib.util.find_spec("matplotlib") is None:
        return
    import matplotlib

    matplotlib.use("Agg")  # no display
    with record.style():
        record.save_figure(quality.draw_quality(found), folder / "quality.svg")
        record.save_figure(quality.draw_spectra(found, sampler), folder / "spectra.svg")
