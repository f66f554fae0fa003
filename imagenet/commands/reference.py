"""`python -m imagenet reference DATA`: what samples are compared with, made once for all the networks of one data set."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from imagenet.commands import device_named, refusal, too_large
from imagenet.packed import open_packed
from imagenet.reference import Pictures, reference, seen_by

# The same here and in `evaluate`: a reference is found again by all of them.
OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--held-out", type=click.Path(path_type=Path), help="pack of photographs kept out of training, for context"),
    click.option("--images", default=10_000, show_default=True, help="of a set of samples"),
    click.option("--reference-images", type=click.IntRange(min=2), help="training images to compare with; by default all"),
    click.option(
        "--extractor", "extractors", multiple=True, default=("pca",), show_default=True,
        help="pca, pca=COMPONENTS, squeezenet=PATH, inception=PATH, dinov2=PATH; may be given several times",
    ),
    click.option("--batch", default=250, show_default=True, help="images at a time"),
    click.option("--device", default="auto", show_default=True),
)  # fmt: skip


def options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with OPTIONS, in their order."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.command("reference")
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="what `evaluate` calls --cache"
)
@options
def command(
    data: Path,
    folder: Path,
    held_out: Path | None,
    images: int,
    reference_images: int | None,
    extractors: tuple[str, ...],
    batch: int,
    device: str,
) -> None:
    """See the training images of the pack DATA through the extractors, for `evaluate … --cache FOLDER` to read."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        place = device_named(device)
        pictures = Pictures.of(open_packed(data))
        outside = None if held_out is None else Pictures.of(open_packed(held_out))
        chosen = seen_by(extractors, pictures, place, folder)
        made = reference(
            pictures, chosen, images, held_out=outside, batch=batch, limit=reference_images, device=place, cache=folder
        )
    except (ValueError, OSError, ImportError) as error:
        raise refusal(error) from error
    except (MemoryError, RuntimeError) as error:
        raise too_large(error, f"batches of {batch} images", f"--batch {max(1, batch // 2)}") from error
    names = ", ".join(seen.label for seen in made.seen)
    click.echo(f"{len(made.labels)} training images in {names}, for sets of {images} samples. Written to {folder}.")
