"""`python -m imagenet pack SOURCE --size 32 --out FOLDER`: images, once, into a folder that training reads by memory map."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import click
from click.core import ParameterSource

from imagenet.commands import refusal, too_large
from imagenet.data import TOLERANCE
from imagenet.pack import Options, pack, renew_spectra
from imagenet.packed import read_meta

OF_SPECTRA = ("folder", "taper", "seed", "spectra")  # what --spectra depends on; the seed is that of the mixtures' fit


@click.command("pack")
@click.argument("source", default="embedded")
@click.option("--size", default=32, show_default=True, help="side of the packed images, px")
@click.option("--out", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="folder of the pack")
@click.option(
    "--workers", type=click.IntRange(min=1), help="decoding processes; by default one per core if there is much to do"
)
@click.option("--split", default="train", show_default=True, help="of a source that has a folder or tables for each")
@click.option("--held-out", is_flag=True, help="the embedded photographs kept from training")
@click.option("--patches", default=300, show_default=True, help="random patches of each embedded photograph")
@click.option("--patch", type=int, help="side of those patches before filtering, px; by default 4 × size, at most 128")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="of the choice of patches")
@click.option("--taper", type=click.Choice(["hann", "none"]), default="hann", show_default=True, help="of the spectra")
@click.option("--upsample", is_flag=True, help="take images smaller than size")
@click.option("--tolerance", default=TOLERANCE, show_default=True, help="share of images that may be broken")
@click.option("--spectra", is_flag=True, help="only compute the spectra of the pack at --out anew")
@click.pass_context
def command(
    context: click.Context,
    source: str,
    size: int,
    folder: Path,
    workers: int | None,
    split: str,
    held_out: bool,
    patches: int,
    patch: int | None,
    seed: int,
    taper: str,
    upsample: bool,
    tolerance: float,
    spectra: bool,
) -> None:
    """Pack the images at SOURCE; run again to continue after an interruption.

    SOURCE is a folder with a folder for each class (or with train/, as ILSVRC has), an .npz pack, .parquet files or a folder of
    them, or the word embedded.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    side = patch if patch is not None else max(size, min(4 * size, 128))
    began = time.monotonic()
    try:
        if spectra:
            _require_none_but(context, OF_SPECTRA)
        options = Options(
            split=split,
            held_out=held_out,
            patches=patches,
            patch=side,
            seed=seed,
            taper=None if taper == "none" else taper,
            upsample=upsample,
            tolerance=tolerance,
        )
        packed = renew_spectra(folder, options) if spectra else pack(source, folder, size, options, workers=workers)
    except (ValueError, OSError, ImportError) as error:
        raise refusal(error) from error
    except (MemoryError, RuntimeError) as error:
        raise too_large(error, f"images of {size} px", "a smaller --size, fewer --workers") from error
    click.echo(
        f"{folder}: {len(packed)} images of {packed.size} px in {len(packed.class_names)} classes, "
        f"{packed.images.nbytes / 1e6:.1f} MB, {time.monotonic() - began:.1f} s, fingerprint {packed.fingerprint}"
        f"{_left_out(folder)}"
    )


def _left_out(folder: Path) -> str:
    """How many images are not in the pack, if any."""
    broken = read_meta(folder).get("broken", 0)
    return f"; {broken} broken or too small, left out: see {folder / 'broken.json'}" if broken else ""


def _require_none_but(context: click.Context, names: tuple[str, ...]) -> None:
    """Raises ValueError if anything else was given: it would be ignored without a word."""
    given = [
        parameter.opts[0] if isinstance(parameter, click.Option) else str(context.params[parameter.name or ""])
        for parameter in context.command.params
        if parameter.name not in names and context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT
    ]
    if given:
        raise ValueError(
            f"{', '.join(given)} with --spectra, which takes the images of the pack at --out; allowed: --out, --taper, --seed; "
            "remedy: leave the rest out"
        )
