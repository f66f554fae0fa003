"""Decoding in chunks, by one process or several: undecoded images in, pixels and spectra on the disk.

A chunk's bytes depend on its images alone. Its process writes them to their place in two files and flushes them before it
answers, so who hears the answer may note that the chunk is done. The parent reads the source (blobs, rows of tables, names of
files), the others decode.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from imagenet import data
from imagenet.data import Images, Item
from imagenet.packed import IMAGES, digest
from theory.spectrum import rapsd, rings

SPECTRA = "spectra.part"  # float64 rows (K + 1 powers, 3 means) of every image of the source, while packing
_CHUNK_BYTES = 32 << 20  # of pixels: what one process holds, beside the undecoded files
_CHUNK_ROWS = 1024


class Job(NamedTuple):
    """A chunk to decode: undecoded images (or why there is none) from place `start` on, and where the result goes."""

    number: int
    start: int
    items: list[Item | None]
    names: list[str]
    size: int
    upsample: bool
    taper: str | None
    folder: Path


class Done(NamedTuple):
    """A chunk that is on the disk: broken places with the reason, and the digest of its pixels."""

    number: int
    broken: dict[int, str]
    digest: str


def rows(size: int) -> int:
    return max(1, min(_CHUNK_ROWS, _CHUNK_BYTES // (3 * size**2)))


def spectrum_bytes(size: int) -> int:
    """Bytes of a row of the file SPECTRA."""
    return 8 * (len(rings(size, size)) + 3)


def chunk(images: Images, number: int, taper: str | None, root: Path) -> Job:
    """Chunk number `number`, undecoded; an image that cannot even be read is None, its reason in place of its name."""
    count = rows(images.size)
    places = range(number * count, min((number + 1) * count, len(images)))
    items: list[Item | None] = []
    names = []
    for place in places:
        try:
            items.append(images.item(place))
            names.append(images.name(place))
        except data.UNREADABLE as error:
            items.append(None)
            names.append(f"{images.name(place)}: {error}")
    return Job(number, places[0], items, names, images.size, images.upsample, taper, root)


def decode(job: Job) -> Done:
    """Decode a chunk and write its pixels and spectra where they belong; the same bytes whoever does it."""
    pixels = np.zeros((len(job.items), 3, job.size, job.size), np.uint8)
    broken = {}
    for place, (item, name) in enumerate(zip(job.items, job.names, strict=True)):
        if item is None:
            broken[job.start + place] = name
            continue
        try:
            square = data.squared(data.rgb(data.opened(item)), job.size, job.upsample)
        except data.UNREADABLE as error:
            broken[job.start + place] = f"{name}: {error}"
        else:
            pixels[place] = square.transpose(2, 0, 1)
    images = data.to_unit(torch.from_numpy(pixels))
    spectra = torch.cat([rapsd(images, job.taper).double(), images.double().mean((-2, -1))], -1).numpy()
    _write_at(job.folder / IMAGES, job.start * pixels[0].nbytes, pixels)
    _write_at(job.folder / SPECTRA, job.start * spectra[0].nbytes, spectra)
    return Done(job.number, broken, digest(pixels))


def _write_at(file: Path, offset: int, array: np.ndarray) -> None:
    with file.open("r+b") as target:
        target.seek(offset)
        target.write(np.ascontiguousarray(array).data)
        target.flush()
        os.fsync(target.fileno())


def results(jobs: Iterator[Job], workers: int) -> Iterator[Done]:
    """The jobs' results in the order they come; at most two jobs per process are in memory."""
    if workers == 1:
        yield from map(decode, jobs)
        return
    context = multiprocessing.get_context("spawn")  # a copy of a process with threads may hang
    with concurrent.futures.ProcessPoolExecutor(workers, context, initializer=_begin_worker) as pool:
        running: set[concurrent.futures.Future[Done]] = set()
        try:
            for job in jobs:
                running.add(pool.submit(decode, job))
                if len(running) >= 2 * workers:
                    ended, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                    yield from (future.result() for future in ended)
            for future in concurrent.futures.as_completed(running):
                yield future.result()
        except BrokenProcessPool as error:
            raise OSError(
                "a decoding process died, most often for want of memory; allowed: processes that live; remedy: run the same "
                "command again, it continues, with fewer workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """One thread a process, and an end when the parent has ended: it may have been killed."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            multiprocessing.connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
