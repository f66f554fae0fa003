"""A packed data set: uint8 images in one memory map, addressed by number, with labels and spectra; made by `imagenet.pack`.

The folder holds
    images.u8    (n, 3, size, size) uint8, nothing else
    labels.npy   (n,) int64, positions in the class names of meta.json
    power.npy    (n, K + 1) float64: R(f) of each image in [−1, 1] (`theory.spectrum.rapsd`); means.npy (n, 3): its mean colour
    theta.npy    (n, D) float64 and prior.npz: spectral parameters, their basis and p(θ | class) (`imagenet.prior`)
    meta.json, spectra.json, broken.json
An image is had by its number alone, so the order of training is a function of seed and step (`imagenet.order`) and resuming
needs no state of a loader. R(f) does not change when an image is mirrored, so one spectrum serves both.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from imagenet import order
from imagenet.data import RESIZE, to_unit
from imagenet.prior import Prior
from theory.per_image import Basis
from theory.spectrum import rapsd, rings

log = logging.getLogger(__name__)

LAYOUT = 1  # of the folder; another number is another format
_KINDS: dict[str, type] = {
    "layout": int, "images": int, "size": int, "class_names": list, "fingerprint": str, "key": dict, "rows_per_digest": int,
    "digests": list,
}  # fmt: skip
IMAGES, JOURNAL = "images.u8", "journal.jsonl"
_PROBES = 4  # images whose spectrum is compared with the stored one when a pack is opened


@dataclass(frozen=True, eq=False)
class Packed:
    """n images of size × size px, their labels, and what is known of their spectra.

    images is a memory map (n, 3, size, size) uint8 and power one (n, K + 1) float64: both are private, a write to them never
    reaches the file. theta (n, D) float64; labels (n,) int64. fingerprint is of pixels, labels and class names.
    """

    folder: Path
    images: np.memmap
    labels: Tensor
    class_names: tuple[str, ...]
    power: Tensor = field(repr=False)
    means: Tensor = field(repr=False)
    theta: Tensor = field(repr=False)
    prior: Prior = field(repr=False)
    taper: str | None
    fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        return int(self.images.shape[-1])

    @property
    def basis(self) -> Basis:
        """What θ's coefficients belong to."""
        return self.prior.basis

    @property
    def mean_colour_power(self) -> float:
        """Variance over the images of the coefficient at f = 0, mean over channels."""
        return float(self.means.var(0, correction=1).mean()) * self.size**2

    def take(self, indices: Tensor, pin: bool = False) -> tuple[Tensor, Tensor]:
        """(uint8 (b, 3, size, size), labels (b,)) of the images `indices` (b,), in page-locked memory if `pin`.

        Raises ValueError for an index outside 0 … n − 1.
        """
        outside = indices[(indices < 0) | (indices >= len(self))]
        if len(outside):
            raise ValueError(
                f"image {int(outside[0])} of {self.folder}; allowed: 0 … {len(self) - 1}; remedy: the order of this pack"
            )
        out = torch.empty((len(indices), *self.images.shape[1:]), dtype=torch.uint8, pin_memory=pin)
        torch.index_select(torch.from_numpy(self.images), 0, indices, out=out)
        return out, self.labels[indices]

    def verify(self) -> None:
        """Read every pixel. Raises ValueError for the first part of images.u8 that is not what was packed."""
        meta = read_meta(self.folder)
        rows, digests = meta["rows_per_digest"], meta["digests"]
        if len(digests) != -(-len(self) // rows):
            raise ValueError(
                f"{self.folder / 'meta.json'} has {len(digests)} digests of {rows} images each for {len(self)} images; "
                "allowed: what packing wrote; remedy: copy it again, or pack again"
            )
        for number, expected in enumerate(digests):
            if digest(self.images[number * rows : (number + 1) * rows]) != expected:
                last = min((number + 1) * rows, len(self)) - 1
                raise ValueError(
                    f"images {number * rows} … {last} of {self.folder / IMAGES} are not what was packed; allowed: an unchanged "
                    "file; remedy: copy the folder again, or pack again"
                )


def digest(pixels: np.ndarray) -> str:
    """BLAKE2 of bytes, 32 hexadecimal digits."""
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).hexdigest()


def content_fingerprint(size: int, labels: np.ndarray, class_names: Sequence[str], digests: Sequence[str]) -> str:
    """Of what a pack holds, whatever it was made from."""
    text = json.dumps([LAYOUT, size, list(class_names), list(digests)], ensure_ascii=False).encode()
    return hashlib.blake2b(text + labels.astype("<i8").tobytes(), digest_size=16).hexdigest()


def open_packed(folder: str | Path) -> Packed:
    """The pack in `folder`, its files checked against each other.

    Raises FileNotFoundError for a folder without one, ValueError for a pack that is unfinished, truncated, of too few images,
    with labels out of range, or with spectra of other images.
    """
    root = Path(folder)
    meta = _meta(root)
    count, size, names = meta["images"], meta["size"], tuple(meta["class_names"])
    if meta.get("source") != "embedded" and meta["key"].get("resize") != RESIZE:
        log.warning(
            "%s was packed before pictures were resized by an antialiased filter: unless they had %d px, their spectra are "
            "false at high frequencies; remedy: pack again", root, size
        )  # fmt: skip
    if count < 2:
        raise ValueError(f"{root} holds {count} images; allowed: ≥ 2; remedy: pack more")
    images = map_images(root, meta)
    labels = read_labels(root, meta)
    described = _spectra(root, meta["fingerprint"])
    table = rings(size, size)
    power = torch.from_numpy(_array(root / "power.npy", (count, len(table)), "f"))
    means = torch.from_numpy(_array(root / "means.npy", (count, 3), "f"))
    theta = torch.from_numpy(_array(root / "theta.npy", (count, None), "f"))
    prior = Prior.load(root / "prior.npz") if (root / "prior.npz").is_file() else None
    if prior is None or len(prior.basis.mean) != table.nyquist or not set(prior.class_names) <= set(names):
        raise ValueError(
            f"{root / 'prior.npz'} is absent or of other spectra; allowed: p(θ | class) of these; remedy: {_renew(root)}"
        )
    if theta.shape[1] != 2 + len(prior.basis.components):
        raise ValueError(
            f"θ in {root / 'theta.npy'} has {theta.shape[1]} parameters, its basis {2 + len(prior.basis.components)}; "
            f"allowed: the same; remedy: {_renew(root)}"
        )
    packed = Packed(
        root, images, torch.from_numpy(labels), names, power, means, theta, prior, described["taper"], meta["fingerprint"]
    )
    _probe(packed)
    return packed


def _meta(root: Path) -> dict[str, Any]:
    if not (root / "meta.json").is_file():
        if (root / JOURNAL).is_file():
            raise ValueError(
                f"the pack in {root} is unfinished; allowed: a finished one; remedy: give the command that began it once more: "
                f"python -m imagenet pack … --out {root}"
            )
        raise FileNotFoundError(f"no pack in {root}; allowed: a folder made by packing; remedy: python -m imagenet pack")
    return read_meta(root)


def read_meta(root: Path) -> dict[str, Any]:
    """meta.json of a pack. Raises ValueError where it is not what packing wrote, OSError where it is absent."""
    meta = _json(root / "meta.json")
    lacking = [key for key in _KINDS if key not in meta]
    if lacking or meta["layout"] != LAYOUT:
        raise ValueError(
            f"{root / 'meta.json'}: layout {meta.get('layout')}, missing keys: {', '.join(lacking) or 'none'}; allowed: layout "
            f"{LAYOUT}, all keys; remedy: pack again"
        )
    wrong = [key for key, kind in _KINDS.items() if not isinstance(meta[key], kind) or isinstance(meta[key], bool)]
    if not wrong:
        wrong += [key for key in ("class_names", "digests") if not all(isinstance(text, str) for text in meta[key])]
        wrong += [key for key, least in (("images", 0), ("size", 4), ("rows_per_digest", 1)) if meta[key] < least]
    if wrong:
        listed = ", ".join(f"{key} = {str(meta[key])[:60]}" for key in wrong)
        raise ValueError(f"{root / 'meta.json'}: {listed}; allowed: what packing wrote; remedy: copy it again, or pack again")
    return meta


def read_labels(root: Path, meta: Mapping[str, Any]) -> np.ndarray:
    """labels.npy of a pack, mapped. Raises ValueError, with the image, for one out of range."""
    names = meta["class_names"]
    labels = _array(root / "labels.npy", (meta["images"],), "i")
    wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(wrong):
        raise ValueError(
            f"label of image {wrong[0]} in {root / 'labels.npy'} is {labels[wrong[0]]}; allowed: 0 … {len(names) - 1}; "
            "remedy: pack again"
        )
    return labels


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON ({error}); allowed: what packing wrote; remedy: pack again") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds {type(found).__name__}; allowed: what packing wrote; remedy: pack again")
    return found


def map_images(root: Path, meta: Mapping[str, Any]) -> np.memmap:
    """images.u8 as `meta` describes it. Raises ValueError for a file of another length."""
    file, shape = root / IMAGES, (meta["images"], 3, meta["size"], meta["size"])
    expected, found = math.prod(shape), file.stat().st_size if file.is_file() else 0
    if found != expected:
        row = math.prod(shape[1:])
        raise ValueError(
            f"{file} has {found} bytes, {found / row:.1f} images; allowed: {expected}, {shape[0]} images; remedy: it is "
            "truncated or of another pack: copy it again, or pack again"
        )
    return np.memmap(file, dtype=np.uint8, mode="c", shape=shape)


def _array(file: Path, shape: tuple[int | None, ...], kind: str) -> np.ndarray:
    """A mapped array of 8-byte numbers; None in `shape` is any length."""
    try:
        array: np.ndarray = np.load(file, mmap_mode="c", allow_pickle=False)
    except Exception as error:  # numpy's readers of the header have their own, down to the tokeniser's
        raise ValueError(f"{file} cannot be read ({error}); allowed: what packing wrote; remedy: pack again") from error
    fits = len(array.shape) == len(shape) and all(b in (None, a) for a, b in zip(array.shape, shape, strict=True))
    if not fits or array.dtype.kind != kind or array.dtype.itemsize != 8:
        expected = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise ValueError(
            f"{file} holds {array.dtype} {array.shape}; allowed: 8-byte {'integers' if kind == 'i' else 'floats'} {expected}; "
            f"remedy: pack again, or {_renew(file.parent)}"
        )
    return array


def _spectra(root: Path, fingerprint: str) -> dict[str, Any]:
    file = root / "spectra.json"
    described = _json(file) if file.is_file() else {}
    tapered = described.get("taper", "") in (None, "hann")
    if described.get("fingerprint") != fingerprint or described.get("layout") != LAYOUT or not tapered:
        raise ValueError(
            f"the spectra in {root} are of other images ({described.get('fingerprint', 'none')}); allowed: of these "
            f"({fingerprint}); remedy: {_renew(root)}"
        )
    return described


def _renew(root: Path) -> str:
    return f"python -m imagenet pack --spectra --out {root} computes the spectra anew"


def _probe(packed: Packed) -> None:
    """Compare a few spectra with the pixels: files of two packs may have equal sizes."""
    at = torch.linspace(0, len(packed) - 1, _PROBES, dtype=torch.float64).long()
    found = rapsd(to_unit(packed.take(at)[0]), packed.taper).double()
    # float32 transforms of two libraries differ in the last digits; another image differs in the first
    wrong = (~torch.isclose(found, packed.power[at], rtol=1e-3, atol=1e-7)).any(1).nonzero()
    if len(wrong):
        raise ValueError(
            f"the spectrum of image {int(at[wrong[0, 0]])} in {packed.folder} is not that of its pixels; allowed: spectra of "
            f"these images; remedy: {_renew(packed.folder)}"
        )


# ---- reading ahead ----------------------------------------------------------------------------------------------------


class Loaded(NamedTuple):
    """A part of the batch of one step: images (b, 3, size, size) uint8, labels (b,), indices (b,) in the pack."""

    step: int
    images: Tensor
    labels: Tensor
    indices: Tensor


def batches(
    packed: Packed,
    seed: int,
    steps: range,
    batch: int,
    *,
    start: int = 0,
    count: int | None = None,
    pin: bool = False,
    ahead: int = 2,
) -> Iterator[Loaded]:
    """Positions start … start + count − 1 of the global batch of each of `steps`, gathered by a thread `ahead` steps early.

    The same (seed, step, position) always holds the same image. pin: page-locked memory, for copies to a GPU that do not block.
    """
    if ahead < 1:
        raise ValueError(f"ahead = {ahead}; allowed: ≥ 1 step; remedy: 2")
    if steps:  # refuses a bad batch or part before the thread starts
        order.indices(seed, steps[0], batch, len(packed), start=start, count=count)

    def gather(step: int) -> Loaded:
        indices = order.indices(seed, step, batch, len(packed), start=start, count=count)
        return Loaded(step, *packed.take(indices, pin), indices)

    return _ahead(gather, steps, ahead)


def _ahead(gather: Callable[[int], Loaded], steps: range, ahead: int) -> Iterator[Loaded]:
    """gather(step) for each step, made by a thread; its error is raised where its batch would have come."""
    pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="read ahead")
    try:
        waiting = deque(pool.submit(gather, step) for step in steps[:ahead])
        for position in range(len(steps)):
            made = waiting.popleft().result()
            if position + ahead < len(steps):
                waiting.append(pool.submit(gather, steps[position + ahead]))
            yield made
    finally:
        pool.shutdown(cancel_futures=True)
