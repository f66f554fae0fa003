"""Where a training goes on: one checkpoint for all processes, chosen by the first.

Each process would otherwise look for itself, and processes that see different disks would train different networks, of which
the first one's is written. So the first chooses, the others read the same file, and before any work all compare what they are
about to train: settings, data, step and weights.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from imagenet import checkpoint, settings
from imagenet.checkpoint import Checkpoint, CheckpointError
from imagenet.distributed import World
from imagenet.settings import Run

log = logging.getLogger(__name__)

Found = tuple[Checkpoint, Path]


def agreed(folder: Path, world: World, run: Run, data: str, spectra: str = "") -> Found | None:
    """The checkpoint of `folder` to continue from, None if there is none: the same for every process.

    data: fingerprint of the packed data; spectra: `Trainer.spectra`. Raises CheckpointError, on every process, where none can
    be read, where one of them cannot read what the first reads, and where they differ in settings, data, spectra or checkpoint.
    """
    if world.size == 1:
        return checkpoint.latest(folder)
    found: Found | None = None
    reason = ""
    if world.first:
        try:
            found = checkpoint.latest(folder)
        except CheckpointError as error:
            reason = str(error)
    step, reason = world.everyone((found[0].step if found else None, reason))[0]
    if reason:
        raise CheckpointError(reason)
    if step is not None and not world.first:
        path = checkpoint.path_of(folder, step)
        try:
            found = checkpoint.read(path), path
        except CheckpointError as error:
            reason = str(error)
    _compare(world, _described(found, run, data, spectra), reason)
    return found


def _described(found: Found | None, run: Run, data: str, spectra: str) -> dict[str, Any]:
    """What must be equal everywhere."""
    described: dict[str, Any] = {"settings": settings.as_dict(run), "data": data, "spectra": spectra}
    if found is not None:
        described |= {"step": found[0].step, "weights": checkpoint.digest(found[0].model)[:16]}
    return described


def _compare(world: World, mine: dict[str, Any], reason: str) -> None:
    everyone = world.everyone((mine, reason))
    for rank, (theirs, why) in enumerate(everyone):
        if why:
            raise CheckpointError(
                f"process {rank} cannot read the checkpoint that process 0 continues from: {why}; allowed: one folder that all "
                "processes see; remedy: --out on a disk that they share, or --fresh"
            )
        differing = settings.differences(everyone[0][0], theirs)
        if differing:
            raise CheckpointError(
                f"processes 0 and {rank} would train different things: {'; '.join(differing)}; allowed: the same settings, "
                "data and checkpoint everywhere; remedy: the same command, and folders on a disk that all processes share"
            )
