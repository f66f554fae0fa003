"""Folders that commands write into: made, not that of a pack, and one training's at a time."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from imagenet.distributed import World

log = logging.getLogger(__name__)

LOCK = ".lock"
_OF_A_PACK = ("meta.json", "images.u8")  # finished, or begun


def made(folder: Path) -> Path:
    """The folder, with those above it. Raises ValueError where it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"folder {folder} cannot be made ({error.strerror or error}); allowed: a path where you may write; "
            "remedy: another --out"
        ) from error
    return folder


def refuse_pack(folder: Path) -> None:
    """Raises ValueError for the folder of a pack: a training's prior.npz would replace its own, images would lie among it."""
    found = next((name for name in _OF_A_PACK if (folder / name).is_file()), None)
    if found is not None:
        raise ValueError(f"{folder} is a pack ({found} is in it); allowed: a folder without one; remedy: another --out")


@contextmanager
def alone(folder: Path, world: World) -> Iterator[None]:
    """This training has the folder to itself. Raises ValueError, on every process, if another one is at work there.

    The first process holds a lock, which the kernel takes back when it ends, however it ends: none is ever left over.
    """
    file, reason = _locked(folder) if world.first else (None, "")
    try:
        reason = world.everyone(reason)[0]
        if reason:
            raise ValueError(reason)
        yield
    finally:
        if file is not None:
            file.close()


def _locked(folder: Path) -> tuple[BinaryIO | None, str]:
    """The file that holds the lock, to be closed; or why there is none."""
    try:
        file = (made(folder) / LOCK).open("ab")
    except ValueError as error:
        return None, str(error)
    except OSError as error:
        said = f"{folder / LOCK} cannot be written ({error.strerror})"
        return None, f"{said}; allowed: a folder where you may write; remedy: another --out"
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        said = f"another process trains in {folder}"
        return None, f"{said}; allowed: one at a time; remedy: wait for its end, or end it, or another --out"
    except OSError as error:  # some network disks have no locks
        log.warning("%s has no locks (%s): see to it that no other training uses it", folder, error.strerror)
    return file, ""
