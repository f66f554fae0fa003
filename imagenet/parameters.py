"""Spectra of a data set, image by image, and the parameters that stand for them: streamed, cached, checked.

One image is its R(f) (`theory.spectrum.rapsd`), its mean colour, and θ: log amplitude and slope of a robust power law
(`theory.per_image.parameters`). A source is what `imagenet.data` opens (the embedded photographs, a folder of images, an npz
pack), an array file .npy (n, C, H, W) with any number of channels, or a folder of .npy files (C, H, W): latents have a spectrum
too. Only spectra are kept: memory is bounded by the batch, and 10⁶ images of 128 px leave some 750 MB.

A cache holds the spectra of one source at one resolution, with the fingerprint of the files it was made from: names, sizes and
modification times of a folder's files. A cache of other files is stale: that is said, and it is made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from PIL import Image
from torch import Tensor

from imagenet import data
from theory import record
from theory.progress import progress
from theory.spectrum import QUANTISATION_POWER, Rings, rapsd, rings

log = logging.getLogger(__name__)

BATCH = 64  # images in memory at a time
_CACHE_VERSION = 2  # of the file's layout and of what R means; 2: pictures are resized as in ADM


class Piece(NamedTuple):
    """Some images of a source: pixels (b, C, H, W) float32, labels (b,), positions (b,)."""

    pixels: Tensor
    labels: Tensor
    positions: Tensor


@dataclass(frozen=True, eq=False)
class Spectra:
    """R(f) of n images.

    power     (n, K + 1) float64, as `rapsd`: entry 0 is the mean colour's
    means     (n, C) float64, the mean of each channel
    labels    (n,) int64, positions in class_names
    positions (n,) int64, in the source
    shape     (H, W) of the images
    floor     least R that means anything: rounding noise of 8-bit images, None for others
    broken    images of the source that could not be used, each with the reason
    """

    power: Tensor
    means: Tensor
    labels: Tensor
    positions: Tensor
    class_names: tuple[str, ...]
    shape: tuple[int, int]
    floor: float | None
    broken: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.power)

    @property
    def table(self) -> Rings:
        return rings(*self.shape)

    def select(self, chosen: Tensor) -> Spectra:
        """The images where `chosen` (n,), a mask or positions, says."""
        parts = (self.power[chosen], self.means[chosen], self.labels[chosen], self.positions[chosen])
        return Spectra(*parts, self.class_names, self.shape, self.floor, self.broken)

    def by_class(self) -> dict[str, Spectra]:
        """The spectra of each class that has any."""
        return {self.class_names[int(k)]: self.select(self.labels == k) for k in self.labels.unique()}

    def mean_colour_power(self) -> float:
        """Variance over the images of the coefficient at f = 0, mean over channels; 0 for a single image."""
        spread = self.means.var(0, correction=1).mean() if len(self) > 1 else torch.zeros(())
        return float(spread) * self.shape[0] * self.shape[1]


# ---- sources ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Source:
    """A data set to take spectra of: `length` images in pieces, once; see `open_source`."""

    length: int
    shape: tuple[int, int]
    class_names: tuple[str, ...]
    floor: float | None
    pieces: Iterator[Piece] = field(repr=False)
    broken: dict[int, str] = field(default_factory=dict)


def open_source(path: str | Path, size: int | None = None, *, count: int = 64, seed: int = 0, tolerance: float = 1.0) -> Source:
    """Open images or latents. `size`: side in pixels for images (cropped and resized), None for the size they all have.

    count and seed are for the embedded photographs; `tolerance`: the share of files that may be broken. Raises ValueError for
    images of several sizes without `size`, for an empty source, and for latents that are not finite or not of one shape.
    """
    if size is not None and size < 4:
        raise ValueError(f"size = {size} px; allowed: ≥ 4, so that there are two rings; remedy: a larger size")
    where = Path(path)
    if str(path) != "embedded" and not where.exists():
        raise ValueError(f'{path} does not exist; allowed: "embedded", a folder, a .npz pack, a .npy array; remedy: check it')
    if str(path) != "embedded" and (where.suffix == ".npy" or (where.is_dir() and any(where.rglob("*.npy")))):
        return _latents(where, size)
    if str(path) == "embedded":
        images = data.open_images("embedded", size or 128, count=count, seed=seed)
    else:
        if where.is_dir() and not _pictures(where):
            raise ValueError(
                f"no image in {where}; allowed: at any depth, files ending in {', '.join(data.SUFFIXES)}, or .npy latents; "
                "remedy: check the path, or convert them"
            )
        images = data.open_images(where, size or _common_side(where), tolerance=tolerance)
    pieces = (Piece(data.to_unit(b.images), b.labels, b.positions) for b in images.batches(BATCH))
    side = (images.size, images.size)
    return Source(len(images), side, images.class_names, QUANTISATION_POWER, pieces, images.broken)


def _pictures(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.suffix.lower() in data.SUFFIXES and f.is_file())


def _common_side(path: Path) -> int:
    """The shorter side that all images have. Raises ValueError when they differ."""
    sides: dict[int, str] = {}
    if path.is_dir():
        for file in _pictures(path):
            try:
                with Image.open(file) as picture:  # reads the head only
                    sides.setdefault(min(picture.size), str(file))
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
                continue  # listed when it is read
    else:
        pack = data.open_images(path, 2)
        for index in range(len(pack)):
            try:
                sides.setdefault(min(pack.read(index).size), pack.name(index))
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
                continue
    if len(sides) == 1:
        return next(iter(sides))
    if not sides:
        raise ValueError(f"{path}: none of its images can be read; allowed: at least one; remedy: check the files")
    small, large = min(sides), max(sides)
    raise ValueError(
        f"{path} holds images of {len(sides)} sizes, from {small} px ({sides[small]}) to {large} px ({sides[large]}) on the "
        f"shorter side; allowed: one size, or a size to bring them to; remedy: --size {small}, or the size you generate"
    )


def _latents(path: Path, size: int | None) -> Source:
    """Arrays: one .npy (n, C, H, W), or a folder of .npy (C, H, W), class = first sub-folder."""
    files = [path] if path.is_file() else sorted(path.rglob("*.npy"))
    first = _array(files[0])
    stacked = path.is_file() and first.ndim == 4
    shape = first.shape[-3:]
    length = len(first) if stacked else len(files)
    if first.ndim != 3 + stacked or not length or min(shape[1:]) < 4:
        allowed = "(n, C, H, W) or (C, H, W), n ≥ 1" if path.is_file() else "(C, H, W) in each file"
        raise ValueError(
            f"{files[0]} has shape {first.shape}; allowed: {allowed}, H and W ≥ 4; remedy: transpose it to channels first"
        )
    if size is not None and size != min(shape[1:]):
        raise ValueError(f"size = {size}, latents of {shape[1]} × {shape[2]}; allowed: their own size; remedy: drop --size")
    labels, names = (torch.zeros(length, dtype=torch.long), (".",)) if path.is_file() else _folders(files, path)
    eight_bits = first.dtype == np.uint8

    def pieces() -> Iterator[Piece]:
        for start in range(0, length, BATCH):
            stop = min(start + BATCH, length)
            arrays = first[start:stop] if stacked else np.stack([_same(file, shape) for file in files[start:stop]])
            pixels = torch.from_numpy(np.array(arrays))  # a copy: a memory map is read-only
            pixels = data.to_unit(pixels) if eight_bits else pixels.float()
            bad = (~pixels.isfinite()).flatten(1).any(1).nonzero()
            if len(bad):
                index = start + int(bad[0, 0])
                name = f"{path}[{index}]" if path.is_file() else str(files[index])
                raise ValueError(f"{name} holds NaN or infinity; allowed: finite values; remedy: encode it again, or drop it")
            yield Piece(pixels, labels[start:stop], torch.arange(start, stop))

    return Source(length, (shape[1], shape[2]), names, QUANTISATION_POWER if eight_bits else None, pieces())


def _array(file: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's readers of the header have their own, down to the tokeniser's
        message = f"{file} is not an array ({error}); allowed: numbers saved by numpy.save; remedy: save it again"
        raise ValueError(message) from error
    if array.dtype.kind != "f" and array.dtype != np.uint8:
        raise ValueError(f"{file} holds {array.dtype}; allowed: floating point, or uint8 for images; remedy: convert it")
    return array


def _same(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    array = _array(file)
    if array.shape != shape:
        raise ValueError(f"{file} has shape {array.shape}; allowed: {shape}, as the first; remedy: a folder for each shape")
    return array


def _folders(files: Sequence[Path], root: Path) -> tuple[Tensor, tuple[str, ...]]:
    parts = [file.relative_to(root).parts for file in files]
    classes = [part[0] if len(part) > 1 else "." for part in parts]
    names = tuple(sorted(set(classes)))
    return torch.tensor([names.index(name) for name in classes]), names


# ---- spectra ----------------------------------------------------------------------------------------------------------


def read_spectra(
    path: str | Path,
    size: int | None = None,
    *,
    taper: str | None = "hann",
    count: int = 64,
    seed: int = 0,
    tolerance: float = 1.0,
    cache: Path | None = None,
) -> Spectra:
    """The spectra of a source, from the folder `cache` if it has them from the same files, else computed and left there."""
    if cache is None:
        return _computed(open_source(path, size, count=count, seed=seed, tolerance=tolerance), taper)
    made_from = fingerprint(path)
    key = {"source": str(path if str(path) == "embedded" else Path(path).resolve()), "size": size, "taper": taper}
    key |= {"count": count, "seed": seed} if str(path) == "embedded" else {}
    name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()
    file = cache / f"spectra-{name}.nc"
    found = _cached(file, made_from)
    if found is None:
        found = _computed(open_source(path, size, count=count, seed=seed, tolerance=tolerance), taper)
        record.save(_dataset(found), file, settings=key | {"fingerprint": made_from, "layout": _CACHE_VERSION}, seed=seed)
    return found


def fingerprint(path: str | Path) -> str:
    """Of a source: names, sizes and modification times of its files; for the embedded photographs, their names and sizes."""
    digest = hashlib.blake2b(digest_size=16)
    if str(path) == "embedded":
        for label, photograph in enumerate(data.PHOTOGRAPHS):
            digest.update(f"{photograph.name}\x1f{data.photograph_pixels(label).shape}\x1e".encode())
        return digest.hexdigest()
    root = Path(path)
    files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]
    for file in files:
        status = file.stat()
        name = file.relative_to(root) if root.is_dir() else file.name
        digest.update(f"{name}\x1f{status.st_size}\x1f{status.st_mtime_ns}\x1e".encode())
    return digest.hexdigest()


def _computed(source: Source, taper: str | None) -> Spectra:
    power, means, labels, positions = [], [], [], []
    for piece in progress(source.pieces, "spectra", total=-(-source.length // BATCH)):
        found = rapsd(piece.pixels, taper).double()
        usable = torch.ones(len(found), dtype=torch.bool)
        if source.floor is None:  # nothing below which power is noise: an image without any has no spectrum to follow
            usable = (found[:, 1:] > 0).all(-1)
            for position in piece.positions[~usable].tolist():
                source.broken[position] = f"image {position}: constant, it has no power in some ring"
        power.append(found[usable])
        means.append(piece.pixels.double().mean((-2, -1))[usable])
        labels.append(piece.labels[usable])
        positions.append(piece.positions[usable])
    broken = tuple(source.broken[index] for index in sorted(source.broken))
    if not power or not sum(map(len, power)):
        raise ValueError(
            f"none of {source.length} images is usable: {'; '.join(broken[:3])}; allowed: at least one; remedy: check the files"
        )
    parts = (torch.cat(power), torch.cat(means), torch.cat(labels), torch.cat(positions))
    return Spectra(*parts, source.class_names, source.shape, source.floor, broken)


def _dataset(spectra: Spectra) -> xr.Dataset:
    image = "image"
    return xr.Dataset(
        {
            "power": ((image, "frequency"), spectra.power.numpy(), {"units": "variance per coefficient"}),
            "channel_mean": ((image, "channel"), spectra.means.numpy()),
            "label": (image, spectra.labels.numpy()),
        },
        coords={image: spectra.positions.numpy(), "frequency": np.arange(spectra.power.shape[1])},
        attrs={
            "description": json.dumps(
                {
                    "class_names": spectra.class_names,
                    "shape": spectra.shape,
                    "floor": spectra.floor,
                    "broken": spectra.broken,
                },
                ensure_ascii=False,
            )
        },
    )


def _cached(file: Path, made_from: str) -> Spectra | None:
    """The spectra in a cache file, or None when there is none that was made from these files."""
    if not file.is_file():
        return None
    try:
        stored = record.load(file)
        settings: dict[str, Any] = json.loads(stored.attrs["settings"])
        described: dict[str, Any] = json.loads(stored.attrs["description"])
    except (OSError, ValueError, KeyError) as error:
        log.warning("spectrum cache %s cannot be read (%s): made anew", file, error)
        return None
    if settings.get("fingerprint") != made_from or settings.get("layout") != _CACHE_VERSION:
        log.warning("spectrum cache %s is stale, its files or their resizing have changed: made anew", file)
        return None
    log.info("spectra from the cache %s", file)
    power, means, labels, positions = (
        torch.from_numpy(np.array(stored[name].values)) for name in ("power", "channel_mean", "label", "image")
    )
    names, shape = tuple(described["class_names"]), tuple(described["shape"])
    return Spectra(power, means, labels, positions, names, shape, described["floor"], tuple(described["broken"]))
