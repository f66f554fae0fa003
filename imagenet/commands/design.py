"""`python -m imagenet design PATH --steps 16`: a noise grid for your own images or latents, beside the usual ones."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import get_args

import click
import matplotlib
import torch
from matplotlib import pyplot as plt

from imagenet import design as designs
from imagenet.commands import refusal
from imagenet.parameters import read_spectra
from theory import record
from theory.per_image import Shape


def _sigmas(_: click.Context, __: click.Parameter, text: str | None) -> list[float] | None:
    """A list of numbers, or a file that holds one: separated by commas, blanks or lines, brackets allowed."""
    if text is None:
        return None
    try:
        is_file = Path(text).is_file()
    except OSError:  # a list longer than a file's name may be
        is_file = False
    try:
        written = Path(text).read_text(encoding="utf-8") if is_file else text
        return [float(word) for word in re.split(r"[\s,;\[\]]+", written) if word]
    except (ValueError, OSError) as error:  # ValueError: also a file that is no text
        message = f"{error}; allowed: numbers, or a file of numbers; remedy: --compare '14.6, 3.2, 0.5, 0'"
        raise click.BadParameter(message) from error


@click.command("design")
@click.argument("path")
@click.option("--steps", required=True, type=int, help=f"calls of the network, 2 to {designs.MOST_STEPS}")
@click.option("--size", type=int, help="side in pixels the images are brought to; by default the one they all have")
@click.option("--out", "folder", default="design", show_default=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--compare", callback=_sigmas, help="your present sigmas, from noise to data, or a file of them")
@click.option("--shape", type=click.Choice(get_args(Shape)), help="keep to this shape; by default the one of least error")
@click.option("--epsilon", type=float, help="error of variance at the ends of the window; by default the one of least error")
@click.option("--window", type=click.Choice(["hann", "none"]), default="hann", show_default=True, help="taper before the FFT")
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path), help="folder that keeps the spectra for next time")
@click.option("--patches", default=64, show_default=True, help="patches of each embedded photograph")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="of the choice of patches")
def command(
    path: str,
    steps: int,
    size: int | None,
    folder: Path,
    compare: list[float] | None,
    shape: Shape | None,
    epsilon: float | None,
    window: str,
    cache: Path | None,
    patches: int,
    seed: int,
) -> None:
    """Recommend the noise levels for the images or latents at PATH.

    PATH is a folder of images, an .npz pack, an array .npy (n, C, H, W), a folder of .npy (C, H, W), or the word embedded.
    A single .npy of three axes is one image (C, H, W): save n images of one channel as (n, 1, H, W).
    Writes sigmas.txt, design.json, summary.txt and figure.svg, and prints the summary.
    """
    matplotlib.use("Agg")  # no display
    torch.set_num_threads(1)  # sums do not depend on the number of cores
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        designs.check(steps, epsilon)  # before the pictures are read
        if not path.strip():  # an empty name would be the folder one stands in
            raise ValueError("PATH is empty; allowed: a folder, a file, or the word embedded; remedy: name it, or . for here")
        present = None if compare is None else designs.checked_levels(compare)
        spectra = read_spectra(path, size, taper=None if window == "none" else window, count=patches, seed=seed, cache=cache)
        found = designs.design(path, spectra, steps, present=present, epsilon=epsilon, shape=shape)
    except (ValueError, OSError) as error:
        raise refusal(error) from error
    try:
        record.atomic_text(folder / "sigmas.txt", designs.as_text(found.best))
        values = json.dumps(designs.as_json(found), indent=1, ensure_ascii=False, allow_nan=False)
        record.atomic_text(folder / "design.json", values + "\n")
        record.atomic_text(folder / "summary.txt", designs.summary(found))
        with record.style():
            figure = designs.draw(found)
            record.save_figure(figure, folder / "figure.svg")
            plt.close(figure)
    except OSError as error:
        raise refusal(error) from error
    click.echo(designs.summary(found) + f"Written to {folder}: sigmas.txt, design.json, summary.txt, figure.svg")
