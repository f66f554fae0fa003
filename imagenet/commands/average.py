"""`python -m imagenet average FOLDER --std 0.1 --out FILE`: the weights averaged over a length that is chosen afterwards."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from imagenet.commands import refusal, too_large


@click.command("average")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--std", "length", required=True, type=float, help="length: standard deviation of the profile, as a share")
@click.option("--step", type=click.IntRange(min=1), help="step that the average ends at; by default the last snapshot's")
@click.option("--out", "file", required=True, type=click.Path(dir_okay=False, path_type=Path), help="file of the weights")
@click.option("--half", is_flag=True, help="in bfloat16, half the size")
def command(folder: Path, length: float, step: int | None, file: Path, half: bool) -> None:
    """Average the weights of the training in FOLDER by a power function (Karras et al., arXiv 2312.02696, section 3).

    From the snapshots of a training with training.post_hoc_every, which keep lengths 0.05 and 0.10; others are combined.
    knowledge.npz and prior.npz come to stand beside FILE, so that `generate` takes it.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    from imagenet import checkpoint  # here: importing torch takes seconds that --help need not
    from imagenet.commands.export import know, refuse_to_replace
    from imagenet.train import post_hoc

    try:
        refuse_to_replace(folder, file)
        made = post_hoc(folder, length, step)
        known = know(folder, file.parent)
        checkpoint.write(file, checkpoint.weights_of(made, half=half))
    except (ValueError, OSError) as error:
        raise refusal(error) from error
    except (MemoryError, RuntimeError) as error:
        raise too_large(error, f"the snapshots of {folder}", "a machine with more memory") from error
    click.echo(f"{file}: average of length {length:g} at step {made.step}, {file.stat().st_size / 1e6:.1f} MB{known}")
