"""`python -m imagenet export CHECKPOINT --out FILE`: the weights of a checkpoint alone, to draw from or to pass on."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from imagenet.commands import refusal, too_large


@click.command("export")
@click.argument("source", metavar="CHECKPOINT", type=click.Path(path_type=Path))
@click.option("--out", "file", required=True, type=click.Path(dir_okay=False, path_type=Path), help="file of the weights")
@click.option("--half", is_flag=True, help="in bfloat16, half the size")
@click.option("--ema/--no-ema", default=True, show_default=True, help="averaged weights")
def command(source: Path, file: Path, half: bool, ema: bool) -> None:
    """Write the weights of CHECKPOINT, a file or a training's folder, without the optimiser's state.

    knowledge.npz and prior.npz come to stand beside FILE, so that `generate` takes it.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    from imagenet import checkpoint  # here: importing torch takes seconds that --help need not

    try:
        refuse_to_replace(source, file)
        known = know(source, file.parent)
        checkpoint.export(source, file, ema=ema, half=half)
    except (ValueError, OSError) as error:
        raise refusal(error) from error
    except (MemoryError, RuntimeError) as error:
        raise too_large(error, str(source), "a machine with more memory") from error
    kind = f"{'averaged' if ema else 'plain'} weights in {'bfloat16' if half else 'float32'}"
    click.echo(f"{file}: {kind}, {file.stat().st_size / 1e6:.1f} MB{known}")


def refuse_to_replace(source: Path, file: Path) -> None:
    """Raises ValueError if `file` is the source, or where a training looks for its own files."""
    from imagenet import checkpoint
    from imagenet.train import AVERAGES

    own = file.name.startswith("step-") and file.parent.name in (checkpoint.FOLDER, AVERAGES)
    finished = file.name == checkpoint.FINISHED and (file.parent / checkpoint.FOLDER).is_dir()
    if own or finished or file.resolve() == source.resolve():
        raise ValueError(f"--out {file} belongs to the training; allowed: a file of its own; remedy: another name")


def know(source: Path, folder: Path) -> str:
    """Put what generation needs beside the new file; a clause for the last line where there is none.

    Raises ValueError where the folder has that of another training.
    """
    import numpy as np

    from imagenet.knowledge import FILE, Knowledge

    try:
        known = Knowledge.beside(source)
    except FileNotFoundError as error:
        return f" (not to be drawn from yet: {error})"
    if not (folder / FILE).is_file():
        known.save(folder)
        return ""
    other = Knowledge.load(folder)
    same = (known.size, known.class_names) == (other.size, other.class_names)
    if not same or not np.array_equal(known.mean_theta, other.mean_theta):
        raise ValueError(
            f"{folder / FILE} is of other data than {source}; allowed: one training's files in a folder; remedy: --out in "
            "another folder"
        )
    return ""
