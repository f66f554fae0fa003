"""Packing: any source of images, once, into a folder that training reads by memory map (`imagenet.packed`).

Images are brought to their size and cut to their centred square as in ADM (`imagenet.data`; Dhariwal and Nichol, arXiv
2105.05233), and their spectra R(f) are taken in the same pass. The source is cut into chunks (`imagenet.decode`); a written
one is noted in a journal, so a run that was killed continues after the noted ones, and nothing depends on the number of
processes or on the order in which they end. What cannot be decoded, or is too small, is listed in broken.json; its place is
taken by an image from the end, so that the numbers have no holes. meta.json appears last: a folder that has it is whole.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imagenet import data, folders, prior
from imagenet.data import Images
from imagenet.decode import SPECTRA, Done, chunk, results, rows, spectrum_bytes
from imagenet.packed import (
    IMAGES,
    JOURNAL,
    LAYOUT,
    Packed,
    content_fingerprint,
    digest,
    map_images,
    open_packed,
    read_labels,
    read_meta,
)
from imagenet.parameters import fingerprint
from imagenet.table import parquet, tables
from theory import per_image, record
from theory.per_image import Basis
from theory.progress import progress
from theory.record import atomic_text
from theory.spectrum import QUANTISATION_POWER, rapsd, rings

log = logging.getLogger(__name__)

_FEW = 20_000  # images that one process decodes before others have started
_BASIS_IMAGES = 100_000  # spectra that the principal components are taken of, evenly spread: 100 MB at 256 px
_LARGEST = 8192  # px a side
_BLOCK = 16_384  # rows of spectra in memory at a time


@dataclass(frozen=True)
class Options:
    """What a pack depends on beside its source and size.

    split           of a folder that has one folder or set of tables for each (train, val)
    held_out, patches, patch, overlap, seed: of the embedded photographs (`data.embedded`): which side, how many patches of
                    each, their side in px before filtering, None for the size
    taper           of the spectra; components: of θ, beside amplitude and slope
    upsample        takes images smaller than the size, of files; without it they are listed as broken
    tolerance       see `data.Images`; it may change when an interrupted run continues
    """

    split: str = "train"
    held_out: bool = False
    patches: int = 300
    patch: int | None = None
    overlap: bool = True
    seed: int = 0
    taper: str | None = "hann"
    components: int = 3
    upsample: bool = False
    tolerance: float = data.TOLERANCE

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed = {self.seed}; allowed: 0 … 2³² − 1; remedy: 0")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance = {self.tolerance}; allowed: a share, 0 ≤ tolerance < 1; remedy: {data.TOLERANCE}")

    def key(self, source: str | Path, size: int) -> dict[str, Any]:
        """What must be equal for an interrupted run to continue, or a finished one to count as done."""
        chosen = asdict(self)
        embedded = str(source) == "embedded"
        for name in ("tolerance", *(("upsample",) if embedded else ("held_out", "patches", "patch", "overlap", "seed"))):
            del chosen[name]
        if not embedded or (self.patch or size) % size:
            chosen["resize"] = data.RESIZE  # a pack made otherwise is neither continued nor taken for this one
        return {"layout": LAYOUT, "source": fingerprint(source), "size": size, **chosen}


def pack(
    source: str | Path, folder: str | Path, size: int, options: Options | None = None, *, workers: int | None = None
) -> Packed:
    """Pack "embedded", a folder of images, an .npz pack or tables into `folder`; go on if it was interrupted.

    workers: processes, None for one per core if there is much to do. Raises ValueError for a bad source or size, for more
    broken images than options.tolerance, and for a folder that holds something else; OSError for a disk too small.
    """
    options = Options() if options is None else options
    if not 4 <= size <= _LARGEST:
        raise ValueError(
            f"size = {size} px; allowed: 4 … {_LARGEST}, so that a spectrum has two rings and a chunk fits in memory; "
            "remedy: a size in between"
        )
    if workers is not None and workers < 1:
        raise ValueError(f"workers = {workers}; allowed: ≥ 1; remedy: the number of cores")
    root = Path(folder)
    images = open_source(source, size, options)
    if len(images) < 2:
        raise ValueError(f"{source} holds {len(images)} image; allowed: ≥ 2; remedy: more images")
    key = options.key(source, size)
    if (root / "meta.json").is_file():
        _same_key(read_meta(root)["key"], key, root)
    else:
        _decode_all(images, root, key, options, workers)
        _finish(images, root, key, source)
    if not (root / "spectra.json").is_file():
        _parameters(root, options)
    for leftover in (root / JOURNAL, root / SPECTRA, *root.glob(".*.part")):  # the last: of writes that were killed
        leftover.unlink(missing_ok=True)
    return open_packed(root)


def open_source(source: str | Path, size: int, options: Options) -> Images:
    """The images to pack. A folder with a folder of the split's name, as ILSVRC has, is read there.

    Raises ValueError for an option that plays no part in this source and would change what its images are.
    """
    path = Path(source)
    if str(source) == "embedded":
        if options.split != "train":
            raise ValueError(
                f"split = {options.split!r} of the embedded photographs; allowed: train; remedy: --held-out for those kept "
                "from training"
            )
        found = data.embedded(
            size,
            patch=options.patch,
            count=options.patches,
            seed=options.seed,
            overlap=options.overlap,
            held_out=options.held_out,
        )
        return _present_classes(found)
    if options.held_out:
        raise ValueError(
            f"--held-out with {source}; allowed: with the embedded photographs; remedy: --split val, or the folder of the "
            "images that are kept from training"
        )
    if path.suffix == ".npz" and path.is_file() and options.split != "train":
        raise ValueError(
            f"split = {options.split!r} of {path}, which has none; allowed: no --split; remedy: give that split's file"
        )
    keywords: dict[str, Any] = {"upsample": options.upsample, "tolerance": options.tolerance}
    if path.suffix in data.TABLES or (path.is_dir() and tables(path, options.split)):
        return parquet(path, size, split=options.split, **keywords)
    return data.open_images(_of_split(path, options.split) if path.is_dir() else path, size, **keywords)


def _of_split(path: Path, split: str) -> Path:
    """The folder of the split, or `path` itself if its folders are classes. Raises ValueError where they are other things."""
    if (path / split).is_dir():
        return path / split
    inside = sorted(folder.name for folder in path.iterdir() if folder.is_dir())
    above = {"Annotations", "Data", "ILSVRC", "ImageSets"}  # ILSVRC's pictures are in ILSVRC/Data/CLS-LOC/train
    other = bool(inside) and set(inside) <= above | {"CLS-LOC", *data.SPLITS}
    if other or split not in ("train", path.name):
        deeper = next((str(found) for depth in (1, 2, 3) for found in path.glob("*/" * depth + split) if found.is_dir()), None)
        splits = [name for name in inside if name in data.SPLITS]
        remedy = f"--split {splits[0]}" if splits and not deeper else f"give {deeper or 'the folder that holds the classes'}"
        listed = ", ".join(inside[:5]) + (", …" if len(inside) > 5 else "") if inside else "pictures alone"
        raise ValueError(
            f"{path} has no folder {split!r}, but {listed}; allowed: a folder of the split, or folders that are classes with "
            f"--split train; remedy: {remedy}"
        )
    return path


def _present_classes(images: Images) -> Images:
    """Only the photographs of one side are classes: a network should not have labels that it never sees."""
    present, labels = images.labels.unique(return_inverse=True)
    names = tuple(images.class_names[int(label)] for label in present)
    return Images(images.size, labels, names, images.item, images.name)


# ---- decoding ---------------------------------------------------------------------------------------------------------


def _decode_all(images: Images, root: Path, key: Mapping[str, Any], options: Options, workers: int | None) -> None:
    """Every chunk that the journal does not have yet."""
    folders.made(root)
    done, size = _resumed(root, key), rows(images.size)
    broken = {place: reason for part in done.values() for place, reason in part.broken.items()}
    waiting = [number for number in range(-(-len(images) // size)) if number not in done]
    _check_broken(broken, len(images), options.tolerance, root)
    if not waiting:  # images.u8 may have been cut to its final length already
        return
    _check_space(images, root)
    if done:
        log.info("%d of %d chunks are packed already", len(done), len(done) + len(waiting))
    else:
        atomic_text(root / JOURNAL, json.dumps({"key": key}) + "\n")
    for name, width in ((IMAGES, 3 * images.size**2), (SPECTRA, spectrum_bytes(images.size))):
        with (root / name).open("ab") as file:
            file.truncate(len(images) * width)
    count = workers or ((os.cpu_count() or 1) if len(waiting) * size >= _FEW else 1)
    jobs = (chunk(images, number, options.taper, root) for number in waiting)
    with (root / JOURNAL).open("a", encoding="utf-8") as journal:
        for part in progress(results(jobs, min(count, len(waiting))), "packing", total=len(waiting)):
            journal.write(json.dumps(part._asdict(), ensure_ascii=False) + "\n")
            journal.flush()
            os.fsync(journal.fileno())
            broken |= part.broken
            _check_broken(broken, len(images), options.tolerance, root)


# ---- the journal and what may go wrong --------------------------------------------------------------------------------


def _resumed(root: Path, key: Mapping[str, Any]) -> dict[int, Done]:
    """The chunks that the journal lists; a last line cut short is cut off. Raises ValueError for another pack's journal."""
    file = root / JOURNAL
    if not file.is_file():
        if any(not entry.name.endswith(".part") for entry in root.iterdir()):
            raise ValueError(f"{root} is not empty and holds no pack; allowed: a new folder; remedy: another --out")
        return {}
    lines, whole = [], 0
    for line in file.read_bytes().splitlines(keepends=True):
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        whole += len(line)
    os.truncate(file, whole)
    _same_key(lines[0].get("key", {}) if lines else {}, key, root)
    found = [Done(line["number"], {int(k): v for k, v in line["broken"].items()}, line["digest"]) for line in lines[1:]]
    return {part.number: part for part in found}


def _same_key(found: Mapping[str, Any], wanted: Mapping[str, Any], root: Path) -> None:
    differing = [name for name in sorted({*found, *wanted}) if found.get(name) != wanted.get(name)]
    if differing:
        values = "; ".join(f"{name} {found.get(name)!r}, asked {wanted.get(name)!r}" for name in differing)
        raise ValueError(
            f"{root} holds a pack of another kind ({values}); allowed: the same; remedy: another --out, or delete it"
        )


def _check_space(images: Images, root: Path) -> None:
    row = 3 * images.size**2 + 2 * spectrum_bytes(images.size)
    # st_blocks counts what is written: the file of an interrupted run has its full length from the start
    written = sum(getattr((root / n).stat(), "st_blocks", 0) * 512 for n in (IMAGES, SPECTRA) if (root / n).is_file())
    needed, free = len(images) * row - written, shutil.disk_usage(root).free
    if needed > free:
        raise OSError(
            f"packing needs {needed / 1e9:.1f} GB more, {free / 1e9:.1f} GB are free at {root}; allowed: as much as needed; "
            "remedy: another disk, or a smaller size"
        )


def _check_broken(broken: Mapping[int, str], count: int, tolerance: float, root: Path) -> None:
    if len(broken) > tolerance * count:
        _list_broken(broken, root)
        listed = "; ".join(broken[place] for place in sorted(broken)[:5])
        raise ValueError(
            f"{len(broken)} of {count} images are broken: {listed}; allowed: a share of {tolerance:g}; remedy: see "
            f"{root / 'broken.json'}; restore them, or take those that are too small with --upsample, and pack into a new "
            "folder; or raise --tolerance and run again"
        )


def _list_broken(broken: Mapping[int, str], root: Path) -> None:
    listed = {str(place): broken[place] for place in sorted(broken)}
    atomic_text(root / "broken.json", json.dumps(listed, indent=1, ensure_ascii=False) + "\n")


# ---- the end ----------------------------------------------------------------------------------------------------------


def _finish(images: Images, root: Path, key: Mapping[str, Any], source: str | Path) -> None:
    """Close the holes that broken images left, write labels and spectra in the final order, and meta.json."""
    done = _resumed(root, key)
    broken = {place: reason for part in done.values() for place, reason in part.broken.items()}
    count, size = len(images) - len(broken), rows(images.size)
    if count < 2:
        raise ValueError(f"{count} of {len(images)} images can be read; allowed: ≥ 2; remedy: see the files named above")
    places = _close_holes(root / IMAGES, len(images), broken, 3 * images.size**2)
    digests = [done[number].digest for number in range(-(-count // size))]
    if broken:
        pixels = np.memmap(root / IMAGES, np.uint8, "r", shape=(count, 3 * images.size**2))
        moved = {int(place) // size for place in np.flatnonzero(places != np.arange(count))} | {len(digests) - 1}
        for number in sorted(moved):
            digests[number] = digest(pixels[number * size : (number + 1) * size])
    labels = images.labels.numpy()[places]
    _save(root / "labels.npy", [labels], (count,), np.int64)
    width = len(rings(images.size, images.size))
    part = np.memmap(root / SPECTRA, np.float64, "r", shape=(len(images), width + 3))
    blocks = [places[first : first + _BLOCK] for first in range(0, count, _BLOCK)]
    _save(root / "power.npy", (part[block, :width] for block in blocks), (count, width), np.float64)
    _save(root / "means.npy", (part[block, width:] for block in blocks), (count, 3), np.float64)
    _list_broken(broken, root)
    meta = {
        "layout": LAYOUT,
        "images": count,
        "size": images.size,
        "class_names": list(images.class_names),
        "source": str(source),
        "broken": len(broken),
        "key": key,
        "fingerprint": content_fingerprint(images.size, labels, images.class_names, digests),
        "rows_per_digest": size,
        "digests": digests,
    }
    (root / "spectra.json").unlink(missing_ok=True)
    atomic_text(root / "meta.json", json.dumps(meta, indent=1, ensure_ascii=False) + "\n")


def _close_holes(file: Path, total: int, broken: Mapping[int, str], row: int) -> np.ndarray:
    """Fill the places of broken images with the last good ones and cut the file: the source's number of each image kept.

    Only places behind the final end are read, so being killed in between does no harm; a cut file has been done before.
    """
    count = total - len(broken)
    places = np.arange(count)
    holes = np.array(sorted(place for place in broken if place < count), dtype=np.int64)
    places[holes] = [place for place in range(count, total) if place not in broken]
    if file.stat().st_size == total * row:
        with file.open("r+b") as target:
            for hole in holes:
                target.seek(int(places[hole]) * row)
                pixels = target.read(row)
                target.seek(int(hole) * row)
                target.write(pixels)
            target.flush()
            os.fsync(target.fileno())
            target.truncate(count * row)
            os.fsync(target.fileno())
    return places


def _save(file: Path, blocks: Iterator[np.ndarray] | list[np.ndarray], shape: tuple[int, ...], dtype: type) -> None:
    """An array, block by block, whole or not at all."""
    with record.whole(file) as temporary, temporary.open("wb") as target:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(target, header)
        for block in blocks:
            target.write(np.ascontiguousarray(block, dtype=dtype).data)


# ---- spectra ----------------------------------------------------------------------------------------------------------


def _parameters(root: Path, options: Options) -> None:
    """θ of every image, its basis and p(θ | class), from power.npy."""
    meta = read_meta(root)
    table = rings(meta["size"], meta["size"])
    power = torch.from_numpy(np.load(root / "power.npy", mmap_mode="c"))
    labels = torch.from_numpy(read_labels(root, meta))
    every = -(-len(power) // _BASIS_IMAGES)
    components = min(options.components, table.nyquist, len(power[::every]) - 1)
    basis = Basis.fit(power[::every], table, components, QUANTISATION_POWER)
    blocks = progress(power.split(_BLOCK), "spectral parameters")
    theta = torch.cat([per_image.parameters(block, table, basis, QUANTISATION_POWER) for block in blocks])
    _save(root / "theta.npy", [theta.numpy()], tuple(theta.shape), np.float64)
    prior.fit(theta, labels, meta["class_names"], basis, seed=options.seed).save(root / "prior.npz")
    described = {"layout": LAYOUT, "fingerprint": meta["fingerprint"], "taper": options.taper, "components": components}
    atomic_text(root / "spectra.json", json.dumps(described, indent=1) + "\n")


def renew_spectra(folder: str | Path, options: Options | None = None) -> Packed:
    """Compute the spectra of a finished pack anew, from its pixels: after they were lost, changed, or with another taper."""
    root = Path(folder)
    options = Options() if options is None else options
    if not (root / "meta.json").is_file():
        raise FileNotFoundError(f"no finished pack in {root}; allowed: one; remedy: pack first")
    meta = read_meta(root)
    count, size, pixels = meta["images"], meta["size"], map_images(root, meta)
    read_labels(root, meta)  # refused before the work, not after it
    (root / "spectra.json").unlink(missing_ok=True)
    step, width = rows(size), len(rings(size, size))
    chunks = progress(range(0, count, step), "spectra", total=-(-count // step))
    units = ((k, data.to_unit(torch.from_numpy(pixels[k : k + step]))) for k in chunks)
    means = np.empty((count, 3))

    def power() -> Iterator[np.ndarray]:
        for first, images in units:
            means[first : first + step] = images.double().mean((-2, -1)).numpy()
            yield rapsd(images, options.taper).double().numpy()

    _save(root / "power.npy", power(), (count, width), np.float64)
    _save(root / "means.npy", [means], (count, 3), np.float64)
    _parameters(root, options)
    return open_packed(root)
