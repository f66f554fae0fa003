"""`python -m imagenet train RUN.yaml --data PACK --out FOLDER`: train, or continue; the same under torchrun."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import NoReturn, get_args

import click

from imagenet import settings
from imagenet.commands import AGAIN, refusal
from imagenet.distributed import Sharding

# Exit codes beside 0, finished, and 1, an error that says what to do. torchrun keeps them to itself: it ends with 1 whenever a
# process ends with another code than 0, so under torchrun the line that is printed tells them apart.
TERMINATED = 143  # SIGTERM: saved, the same command continues (128 + 15, as shells have it)


@click.command("train")
@click.argument("configuration", type=click.Path(path_type=Path))
@click.option("--data", "pack", type=click.Path(file_okay=False, path_type=Path), help="folder that `pack` made")
@click.option("--out", "folder", type=click.Path(file_okay=False, path_type=Path), help="folder of this training")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="change a setting, such as training.steps=100")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1")
@click.option("--max-minutes", type=click.FloatRange(min=0, min_open=True), help=f"then save and exit with code {AGAIN}")
@click.option("--sharding", type=click.Choice(get_args(Sharding)), default="ddp", show_default=True, help="under torchrun")
@click.option("--fresh", is_flag=True, help="begin anew, removing the checkpoints in the folder")
@click.option("--dry-run", is_flag=True, help="print settings, counts and a memory estimate; needs neither data nor GPU")
def command(
    configuration: Path,
    pack: Path | None,
    folder: Path | None,
    changes: tuple[str, ...],
    device: str,
    max_minutes: float | None,
    sharding: Sharding,
    fresh: bool,
    dry_run: bool,
) -> None:
    """Train the pixel model of a run's settings, or continue; the same command after a kill ends with the same weights.

    Several GPUs: torchrun --nproc-per-node 8 -m imagenet train …. Exit code 75: time is over, 143: SIGTERM; both saved.
    torchrun itself returns 1 for either, as for an error, with the code of each process in what it prints.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    from imagenet.train import Terminated, TrainingError, train  # here: importing torch takes seconds that --help need not

    try:
        run = settings.read(configuration, changes)
        if dry_run:
            if os.environ.get("RANK", "0") == "0":  # torchrun: once for all
                click.echo(_described(run, pack), nl=False)
            return
        if pack is None or folder is None:
            lacking = " and ".join(name for name, value in (("--data", pack), ("--out", folder)) if value is None)
            raise ValueError(f"{lacking} missing; allowed: a pack and a folder; remedy: give them, or ask for --dry-run")
        from imagenet.packed import open_packed

        packed = open_packed(pack)
        path = train(run, packed, folder, device=device, sharding=sharding, max_minutes=max_minutes, resume=not fresh)
    except Terminated as ended:
        _end(str(ended), TERMINATED)
    except (ValueError, OSError, TrainingError) as error:
        raise refusal(error) from error
    if path.parent != folder:  # a checkpoint, not the finished network
        _end(f"time is over; saved {path}; the same command continues from there", AGAIN)
    if os.environ.get("RANK", "0") == "0":  # torchrun: once for all
        click.echo(f"finished: {path}")


def _end(said: str, code: int) -> NoReturn:
    """Of a training that was saved. The first process speaks."""
    if os.environ.get("RANK", "0") == "0":
        launched = "TORCHELASTIC_RUN_ID" in os.environ
        click.echo(said + (f" (exit code {code}; torchrun returns 1 and calls it a failure)" if launched else ""), err=True)
    sys.exit(code)


def _described(run: settings.Run, pack: Path | None) -> str:
    from imagenet.dry_run import describe
    from imagenet.feed import data_and_model
    from imagenet.packed import open_packed

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if pack is None:
        return describe(run, processes=processes)
    packed = open_packed(pack)
    if packed.size != run.model.resolution:
        raise data_and_model(packed.size, run.model)
    return describe(run, classes=len(packed.class_names), images=len(packed), processes=processes)
