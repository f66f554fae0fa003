"""Images on disk: drawn by any number of processes in any number of goes, the same in the end as by one in one.

    parts/00000064-00000128.npz   images 64 … 127, a batch; process r of R draws the batches r, r + R, r + 2R, …
    samples.npz                   all of them: arr_0 uint8 (n, side, side, 3), as ADM's evaluation reads, and labels int64 (n,)
    images/0007/000123.png        with format "png" instead: one file per image, in the folder of its class
    request.json                  what was asked for, of which weights, at which precision: another is not mixed with it

A finished batch is a file under its name (`theory.record.whole`), and is not drawn again, whatever size batches have when the
command is given again. request.json comes before the first batch is kept, so that a request that fails leaves nothing behind.
Whichever process finds all images there writes samples.npz; two that find it at once write the same bytes.
"""

from __future__ import annotations

import bisect
import io
import json
import logging
import re
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image

from imagenet.folders import refuse_pack
from imagenet.generate import Drawn, Generator
from imagenet.request import Request, require
from imagenet.settings import differences
from theory import record
from theory.progress import progress

log = logging.getLogger(__name__)

Format = Literal["npz", "png"]
FINAL, PARTS, IMAGES, ASKED = "samples.npz", "parts", "images", "request.json"
_DATE = (1980, 1, 1, 0, 0, 0)  # of every member of the archive, so that equal content is equal bytes


def write(
    generator: Generator, request: Request, folder: str | Path, *, form: Format = "npz", rank: int = 0, world: int = 1
) -> Path | None:
    """Draw this process's share of what is not in `folder` yet.

    Gives samples.npz, or the folder of images, if all is there now, else None. Raises ValueError for a folder that holds
    another request, for a rank outside 0 … world − 1, and as `Generator.check` and `Generator.draw`.
    """
    require(form in get_args(Format), f"format = {form!r}", ", ".join(get_args(Format)), "npz")
    require(0 <= rank < world, f"rank = {rank} of {world}", "0 … world − 1", "the variables RANK and WORLD_SIZE of torchrun")
    target = Path(folder)
    refuse_pack(target)
    generator.check(request)
    plain = {name: value for name, value in request.plain().items() if name != "batch"}  # which changes no image
    asked = {"request": plain, **generator.origin, "form": form}
    _same(target, asked)
    starts = range(request.first, request.first + request.count, request.batch)
    mine = starts[rank::world]
    runs = _runs(_parts(target))

    def finished(first: int) -> bool:
        count = _count(request, first)
        if form == "npz":
            return _within(runs, first, first + count)
        labels = generator.labels(replace(request, first=first, count=count)).tolist()
        return all(_png(target, number, label).is_file() for number, label in enumerate(labels, start=first))

    waiting = [] if (target / FINAL).is_file() else [first for first in mine if not finished(first)]
    if len(waiting) < len(mine):
        log.info("%d of %d batches are in %s already", len(mine) - len(waiting), len(mine), target)
    for first in progress(waiting, "batches of images"):
        drawn = generator.draw(request, first, _count(request, first))
        _same(target, asked, keep=True)
        _keep_png(target, drawn) if form == "png" else _keep_part(target, drawn)
    if form == "png":
        return target / IMAGES if all(map(finished, starts)) else None
    return assemble(target, request)


def _count(request: Request, first: int) -> int:
    return min(request.batch, request.first + request.count - first)


def _same(folder: Path, asked: dict[str, object], keep: bool = False) -> None:
    """Raises ValueError, naming the differences, if the folder is of another request; of none, writes this one to `keep` it."""
    path = folder / ASKED
    if not path.is_file():
        require(not (folder / FINAL).is_file(), f"{folder} has {FINAL} and no {ASKED}", "both or neither", "another folder")
        if keep:
            record.atomic_text(path, json.dumps(asked, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        differing = differences(found, json.loads(json.dumps(asked)))
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a request ({error}); allowed: what was written there; remedy: another folder"
        ) from error
    require(
        not differing,
        f"{path.parent} holds images of another request: {'; '.join(differing)} (there, and now)",
        "the same request",
        "another folder, or empty this one",
    )


Part = tuple[int, int, Path]  # images first … stop − 1, in a file


def _part(folder: Path, first: int, stop: int) -> Path:
    return folder / PARTS / f"{first:08d}-{stop:08d}.npz"


def _parts(folder: Path) -> list[Part]:
    """Those that are there, of any size of batches, in order of their first images."""
    found = [(re.fullmatch(r"(\d+)-(\d+)", path.stem), path) for path in (folder / PARTS).glob("[0-9]*.npz")]
    return sorted((int(name[1]), int(name[2]), path) for name, path in found if name)


def _runs(parts: Sequence[Part]) -> list[tuple[int, int]]:
    """The images (first, stop) without a gap between them: batches of another size may overlap."""
    runs: list[tuple[int, int]] = []
    for first, stop, _ in parts:
        if runs and first <= runs[-1][1]:
            runs[-1] = runs[-1][0], max(stop, runs[-1][1])
        else:
            runs.append((first, stop))
    return runs


def _within(runs: Sequence[tuple[int, int]], first: int, stop: int) -> bool:
    at = bisect.bisect_right(runs, first, key=lambda run: run[0]) - 1
    return at >= 0 and stop <= runs[at][1]


def _png(folder: Path, number: int, label: int) -> Path:
    return folder / IMAGES / f"{label:04d}" / f"{number:06d}.png"


def _keep_part(folder: Path, drawn: Drawn) -> None:
    images, labels = drawn.pixels.permute(0, 2, 3, 1).cpu().numpy(), drawn.labels.cpu().numpy()
    record.save_arrays(_part(folder, drawn.first, drawn.first + len(labels)), images=images, labels=labels)


def _keep_png(folder: Path, drawn: Drawn) -> None:
    pixels, labels = drawn.pixels.permute(0, 2, 3, 1).cpu().numpy(), drawn.labels.tolist()
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True), start=drawn.first):
        save_png(_png(folder, number, label), image)


def save_png(path: str | Path, picture: np.ndarray) -> None:
    """uint8 (H, W, 3) as a PNG, whole or not at all."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    with record.whole(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


# ---- all parts into one file --------------------------------------------------------------------------------------------


def assemble(folder: str | Path, request: Request) -> Path | None:
    """samples.npz of all parts, which are then removed; None while an image is missing. Holds one batch in memory at a time."""
    target = Path(folder)
    final = target / FINAL
    parts = _parts(target)
    if not final.is_file():
        if not _within(_runs(parts), request.first, request.first + request.count):
            return final if final.is_file() else None  # another process may have removed the parts meanwhile
        try:
            _join(final, parts, request.first, request.count)
        except FileNotFoundError:  # another process was faster, and has removed the parts
            if not final.is_file():
                raise
    for _, _, path in parts:
        path.unlink(missing_ok=True)
    return final


def _join(final: Path, parts: Sequence[Part], first: int, count: int) -> None:
    """Of each part, in their order, the images that none before has."""
    kept, next_one = [], first
    for start, stop, path in parts:
        if stop > next_one:
            kept.append((path, slice(next_one - start, None)))
            next_one = stop
    labels = np.concatenate([_read(path)[1][rows] for path, rows in kept])
    shape = (count, *_read(kept[0][0])[0].shape[1:])
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with record.whole(final) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        with archive.open(zipfile.ZipInfo("arr_0.npy", _DATE), "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, header)
            for path, rows in progress(kept, "joining batches"):
                member.write(np.ascontiguousarray(_read(path)[0][rows]).tobytes())
        with archive.open(zipfile.ZipInfo("labels.npy", _DATE), "w") as member:
            np.lib.format.write_array(member, labels)


def _read(part: Path) -> tuple[np.ndarray, np.ndarray]:
    with record.arrays(part, "a batch written here", "remove it and start the command again") as stored:
        return stored["images"], stored["labels"]
