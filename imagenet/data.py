"""Where images come from: photographs inside installed wheels, a folder, an npz pack, parquet files; one interface for all.

`open_images` returns an `Images`: its length, its classes, and uint8 batches (B, 3, size, size), decoded while
iterating, so memory is bounded by the batch (for a pack: by its file). `item` gives an image undecoded, for another process to
decode. Nothing is ever downloaded.

An image becomes size × size as in ADM (Dhariwal and Nichol 2021, arXiv 2105.05233; `center_crop_arr` of its code, which
later work has kept): halved by means over 2 × 2 pixels while its short side is ≥ 2·size, brought to the size by the
antialiased bicubic filter (Keys, a = −½, stretched by the factor when it shrinks), and cut to the centred square. PIL's BOX
alone would do for whole factors only: at others it takes some pixels whole and leaves others out, which puts power into the
highest frequencies that the picture does not have there.

The embedded default are patches of the photographs that scikit-learn and scikit-image ship inside their
wheels, listed with origin and licence in PHOTOGRAPHS; each photograph is a class. A patch that is a whole multiple of the size
is made smaller by the mean over each pixel's area, in one step.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from theory import record
from theory.stream import Stream

log = logging.getLogger(__name__)

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
TABLES = (".parquet", ".arrow")  # read by `imagenet.table`
TOLERANCE = 0.001  # share of images that may be broken: ImageNet has a few odd files in a million, a bad copy many
SPLITS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})  # names in use
RESIZE = "ADM: halved, bicubic, cut"  # noted in packs and caches: other pixels, other spectra
_LONGEST = 8  # sides of its square that a picture keeps: a strip made larger would not fit in memory
_MOST_CLASSES = 1_000_000  # of labels without names: more is a column of something else


@dataclass(frozen=True)
class Photograph:
    """One photograph inside a wheel.

    kind, decided before any spectrum was measured: "scene", the visible world through an ordinary camera, objects at
    several distances, what Field (1987) means by natural images as far as this collection goes; "surface", one flat
    ground seen face on; "instrument", taken through microscope, telescope or fundus camera.
    held_out: not for training, so that something unseen is left to test on.
    """

    name: str
    package: str
    file: str
    kind: str
    origin: str
    licence: str
    held_out: bool = False


# Origins and licences as stated by the packages: scikit-learn's datasets/images/README.txt (both pictures: the
# Flickr account in the link) and the docstrings of skimage.data.
PHOTOGRAPHS = (
    Photograph("china", "sklearn", "datasets/images/china.jpg", "scene", "danielbuechele, Flickr", "CC BY 2.0"),
    Photograph("flower", "sklearn", "datasets/images/flower.jpg", "scene", "vultilion, Flickr", "CC BY 2.0", True),
    Photograph("astronaut", "skimage", "data/astronaut.png", "scene", "NASA, Eileen Collins", "public domain"),
    Photograph("camera", "skimage", "data/camera.png", "scene", "Lav Varshney", "CC0"),
    Photograph("chelsea", "skimage", "data/chelsea.png", "scene", "Stéfan van der Walt", "CC0"),
    Photograph("coffee", "skimage", "data/coffee.png", "scene", "Rachel Michetti", "CC0", True),
    Photograph("motorcycle", "skimage", "data/motorcycle_left.png", "scene", "Middlebury 2014 stereo benchmark", "not stated"),
    Photograph("rocket", "skimage", "data/rocket.jpg", "scene", "SpaceX, launch of DSCOVR", "public domain"),
    Photograph("brick", "skimage", "data/brick.png", "surface", "CC0Textures, Bricks25", "CC0"),
    Photograph("coins", "skimage", "data/coins.png", "surface", "Brooklyn Museum", "no known restrictions"),
    Photograph("grass", "skimage", "data/grass.png", "surface", "linolafett, DeviantArt", "CC0"),
    Photograph("gravel", "skimage", "data/gravel.png", "surface", "CC0Textures, Gravel04", "CC0", True),
    Photograph(
        "hubble",
        "skimage",
        "data/hubble_deep_field.jpg",
        "instrument",
        "NASA, Hubble eXtreme Deep Field",
        "NASA, free use",
    ),
    Photograph("ihc", "skimage", "data/ihc.png", "instrument", "CMMI, stained colon", "no known restrictions"),
    Photograph("moon", "skimage", "data/moon.png", "instrument", "not stated", "not stated", True),
    Photograph("retina", "skimage", "data/retina.jpg", "instrument", "Mikael Häggström, Wikimedia", "CC0"),
)


Item = Path | bytes | np.ndarray | Image.Image  # an image not yet decoded: its file, its file's bytes, or its pixels
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what a broken image may raise


class Batch(NamedTuple):
    """images (B, 3, size, size) uint8, labels (B,) int64, positions (B,) int64 in the data set."""

    images: Tensor
    labels: Tensor
    positions: Tensor


@dataclass(frozen=True, eq=False)
class Images:
    """A data set: labels and class names are known, pictures are decoded on demand from what `item` gives.

    broken maps the position of each image that could not be read, so far, to its name and the reason. Such
    images are skipped; more than `tolerance` of them is an error.
    """

    size: int
    labels: Tensor  # (n,) int64, positions in class_names
    class_names: tuple[str, ...]
    item: Callable[[int], Item] = field(repr=False)
    name: Callable[[int], str] = field(repr=False)
    upsample: bool = False
    tolerance: float = TOLERANCE
    broken: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(f"size = {self.size}; allowed: ≥ 2 pixels a side; remedy: a larger size")
        if not len(self):
            raise ValueError("the data set is empty; allowed: at least one image; remedy: check path and filter")

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> Image.Image:
        """Picture number `index`. Raises one of UNREADABLE if it is broken."""
        return opened(self.item(index))

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Every readable image once, in order; the last batch may be smaller. Raises ValueError, see `broken`."""
        if batch_size < 1:
            raise ValueError(f"batch_size = {batch_size}; allowed: ≥ 1; remedy: 64")
        waiting: list[tuple[int, Tensor]] = []
        for index in range(len(self)):
            pixels = self._pixels(index)
            if pixels is not None:
                waiting.append((index, pixels))
            if len(waiting) == batch_size:
                yield self._batch(waiting)
                waiting = []
        if waiting:
            yield self._batch(waiting)

    def _batch(self, items: list[tuple[int, Tensor]]) -> Batch:
        positions = torch.tensor([position for position, _ in items])
        return Batch(torch.stack([pixels for _, pixels in items]), self.labels[positions], positions)

    def _pixels(self, index: int) -> Tensor | None:
        """(3, size, size) uint8, or None for a broken image."""
        try:
            pixels = squared(rgb(self.read(index)), self.size, self.upsample)
        except UNREADABLE as error:
            self._note(index, f"{self.name(index)}: {error}")
            return None
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def _note(self, index: int, reason: str) -> None:
        if index not in self.broken:
            log.warning("broken image, skipped: %s", reason)
        self.broken[index] = reason
        if len(self.broken) > self.tolerance * len(self):
            listed = "; ".join(list(self.broken.values())[:5])
            raise ValueError(
                f"{len(self.broken)} of {len(self)} images are broken: {listed}; "
                f"allowed: a share of {self.tolerance:g}; remedy: remove or restore them, let those that are too small be made "
                "larger (upsample), or raise tolerance"
            )


def open_images(
    source: str | Path,
    size: int,
    *,
    patch: int | None = None,
    count: int = 64,
    seed: int = 0,
    upsample: bool = False,
    tolerance: float = TOLERANCE,
) -> Images:
    """Open "embedded", a folder of images, a .npz pack, or parquet files or a folder of them, as size × size pixels.

    patch, count and seed are for the embedded photographs (see `embedded`); upsample and tolerance for files.
    """
    if str(source) == "embedded":
        return embedded(size, patch=patch, count=count, seed=seed)
    path = Path(source)
    if path.suffix in TABLES or (path.is_dir() and any(file.suffix in TABLES for file in path.rglob("*"))):
        from imagenet.table import parquet  # it stands on this module

        return parquet(path, size, upsample=upsample, tolerance=tolerance)
    if path.is_dir():
        return folder(path, size, upsample=upsample, tolerance=tolerance)
    if path.is_file() and path.suffix == ".npz":
        return npz(path, size, upsample=upsample, tolerance=tolerance)
    state = "is a file of another kind" if path.exists() else "does not exist"
    raise ValueError(
        f'source {str(source)!r} {state}; allowed: "embedded", a folder of images, a .npz pack, .parquet files; '
        "remedy: check the path"
    )


def embedded(
    size: int,
    *,
    patch: int | None = None,
    count: int = 64,
    seed: int = 0,
    overlap: bool = False,
    held_out: bool | None = None,
) -> Images:
    """Patches of patch × patch px (default: size) of the photographs in PHOTOGRAPHS, brought to `size`.

    Without overlap: `count` cells, or all if there are fewer, of the centred grid of whole cells, drawn by the
    photograph's own stream. With overlap: exactly `count` uniformly random positions. held_out selects the
    photographs of one side; None takes both. Labels are positions in PHOTOGRAPHS either way.
    """
    patch = size if patch is None else patch
    if count < 1:
        raise ValueError(f"count = {count}; allowed: ≥ 1 patch per photograph; remedy: raise it")
    if patch < size:
        raise ValueError(f"patch = {patch} px is smaller than size = {size}; allowed: patch ≥ size; remedy: raise patch")
    cells: list[tuple[int, int, int]] = []  # (photograph, top, left)
    for label, photograph in enumerate(PHOTOGRAPHS):
        if held_out is None or photograph.held_out == held_out:
            shape = photograph_pixels(label).shape[:2]
            generator = Stream(seed).child("patches").child(photograph.name).generator(0)
            corners = _positions(photograph.name, shape, patch, count, overlap, generator)
            cells += [(label, top, left) for top, left in corners]

    def item(index: int) -> np.ndarray:
        label, top, left = cells[index]
        pixels = photograph_pixels(label)[top : top + patch, left : left + patch]
        return area_means(pixels, size) if patch % size == 0 else pixels

    return Images(
        size,
        torch.tensor([label for label, _, _ in cells]),
        tuple(photograph.name for photograph in PHOTOGRAPHS),
        item,
        lambda index: f"{PHOTOGRAPHS[cells[index][0]].name} at row {cells[index][1]}, column {cells[index][2]}",
    )


@functools.lru_cache(maxsize=2)
def photograph_pixels(label: int) -> np.ndarray:
    """Photograph number `label` of PHOTOGRAPHS, uint8 (H, W, 3), read from its package's folder."""
    photograph = PHOTOGRAPHS[label]
    package = importlib.util.find_spec(photograph.package)
    homes = (package.submodule_search_locations or []) if package else []
    files = [Path(home) / photograph.file for home in homes if (Path(home) / photograph.file).is_file()]
    if not files:
        raise FileNotFoundError(
            f"the photograph {photograph.name} is not at {photograph.file} in {photograph.package}; allowed: "
            "scikit-learn ≥ 1.5 and scikit-image ≥ 0.24 from their wheels; remedy: reinstall them as pyproject.toml asks"
        )
    with Image.open(files[0]) as picture:
        return np.asarray(rgb(picture))


def _positions(
    name: str, shape: tuple[int, ...], patch: int, count: int, overlap: bool, generator: np.random.Generator
) -> list[tuple[int, int]]:
    """Top-left corners of the patches of one photograph, sorted."""
    height, width = shape
    if patch > min(height, width):
        raise ValueError(
            f"patch = {patch} px does not fit the photograph {name} of {height} × {width} px; "
            f"allowed: patch ≤ {min(height, width)} here; remedy: lower patch"
        )
    if overlap:
        corners = generator.integers(0, (height - patch + 1, width - patch + 1), size=(count, 2))
        return sorted((int(top), int(left)) for top, left in corners)
    rows, columns = height // patch, width // patch
    chosen = np.sort(generator.permutation(rows * columns)[:count])
    top, left = (height - rows * patch) // 2, (width - columns * patch) // 2
    return [(top + patch * int(cell // columns), left + patch * int(cell % columns)) for cell in chosen]


def folder(path: str | Path, size: int, *, upsample: bool = False, tolerance: float = TOLERANCE) -> Images:
    """Images in a folder, recursively, in sorted order; class = first sub-folder (the layout of ILSVRC).

    Images directly in `path` are of the class ".". Raises FileNotFoundError if there are none.
    """
    root = Path(path)
    files = sorted(file for file in root.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise FileNotFoundError(
            f"no image in {root}; allowed: a folder that holds, at any depth, files ending in {', '.join(SUFFIXES)}; "
            "remedy: check the path, or convert them"
        )
    classes = [parts[0] if len(parts) > 1 else "." for parts in (file.relative_to(root).parts for file in files)]
    numbers = {name: number for number, name in enumerate(sorted(set(classes)))}
    return Images(
        size,
        torch.tensor([numbers[name] for name in classes]),
        tuple(numbers),
        lambda index: files[index],
        lambda index: str(files[index]),
        upsample,
        tolerance,
    )


def npz(path: str | Path, size: int, *, upsample: bool = False, tolerance: float = TOLERANCE) -> Images:
    """A pack: keys jpeg (one uint8 blob), offsets (n + 1), labels (n,); or images (n, H, W, 1 or 3) uint8, labels.

    Class names are those of the key class_names if there is one, else the labels' numbers. The file is held in memory.
    """
    with record.arrays(path, "a whole .npz of plain arrays", "copy it again, or repack it") as stored:
        pack = stored
    keys = sorted(pack)
    if not ({"jpeg", "offsets", "labels"} <= set(keys) or {"images", "labels"} <= set(keys)):
        raise ValueError(f"{path} has the keys {keys}; allowed: jpeg, offsets, labels; or images, labels; remedy: repack it")
    labels = pack["labels"]
    named = [str(name) for name in np.atleast_1d(pack["class_names"])] if "class_names" in keys else None
    arrays = [pack["images"]] if "images" in keys else [pack["jpeg"], pack["offsets"]]
    count, item = _arrays(path, arrays[0]) if len(arrays) == 1 else _jpegs(path, arrays[0], arrays[1])
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: labels are {labels.dtype} {labels.shape}; allowed: integers, one for each of the {count} "
            "images; remedy: repack it"
        )
    most = _MOST_CLASSES if named is None else len(named)
    wrong = np.flatnonzero((labels < 0) | (labels >= most))
    if len(wrong):
        allowed = f"0 … {most - 1}"
        raise ValueError(
            f"{path}: label of image {wrong[0]} is {labels[wrong[0]]}; allowed: {allowed}; remedy: correct the pack"
        )
    if not count:
        raise ValueError(f"{path} is empty; allowed: at least one image; remedy: repack it")
    names = named or [str(label) for label in range(int(labels.max(initial=-1)) + 1)]
    numbers = torch.from_numpy(labels.astype(np.int64))
    return Images(size, numbers, tuple(names), item, lambda index: f"{path}[{index}]", upsample, tolerance)


def _arrays(path: str | Path, images: np.ndarray) -> tuple[int, Callable[[int], Item]]:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"{path}: images are {images.dtype} {images.shape}; allowed: uint8 (n, H, W, 1 or 3); remedy: convert them"
        )
    return len(images), lambda index: images[index].squeeze(-1) if images.shape[-1] == 1 else images[index]


def _jpegs(path: str | Path, blob: np.ndarray, offsets: np.ndarray) -> tuple[int, Callable[[int], Item]]:
    if blob.dtype != np.uint8 or blob.ndim != 1 or offsets.dtype.kind not in "iu" or offsets.ndim != 1 or not len(offsets):
        raise ValueError(
            f"{path}: jpeg is {blob.dtype} {blob.shape}, offsets {offsets.dtype} {offsets.shape}; "
            "allowed: uint8 (bytes,) and integers (n + 1,); remedy: repack it"
        )
    edges = offsets.astype(np.int64)
    if edges[0] != 0 or edges[-1] != len(blob) or (np.diff(edges) < 0).any():
        raise ValueError(
            f"{path}: offsets run from {edges[0]} to {edges[-1]}, the blob has {len(blob)} bytes; allowed: "
            "increasing from 0 to its length; remedy: it is truncated or corrupt: copy it again"
        )
    return len(edges) - 1, lambda index: blob[edges[index] : edges[index + 1]].tobytes()


def opened(item: Item) -> Image.Image:
    """The picture, decoded at the latest when its pixels are asked for. Raises one of UNREADABLE."""
    if isinstance(item, Path):
        with Image.open(item) as picture:
            picture.load()
            return picture
    if isinstance(item, bytes):
        return Image.open(io.BytesIO(item))
    return Image.fromarray(item) if isinstance(item, np.ndarray) else item


def rgb(picture: Image.Image) -> Image.Image:
    """Three channels of 8 bits; grey is repeated. PIL would clip deeper pixels silently, so they are refused."""
    if picture.mode.startswith(("I", "F")):
        raise ValueError(f"pixel mode {picture.mode}; allowed: 8 bits a channel; remedy: convert it")
    return picture.convert("RGB")


def squared(picture: Image.Image, size: int, upsample: bool) -> np.ndarray:
    """`_square`, uint8 (size, size, 3). Raises ValueError, one of UNREADABLE, for a smaller picture without `upsample`."""
    if min(picture.size) < size and not upsample:
        raise ValueError(
            f"{picture.width} × {picture.height} pixels, too small; allowed: ≥ size = {size} a side; remedy: a smaller size, "
            "or --upsample (its high frequencies will be empty)"
        )
    return _square(picture, size)


def _square(picture: Image.Image, size: int) -> np.ndarray:
    """Halved while that leaves ≥ size, antialiased bicubic to the size, the centred square: uint8 (size, size, 3)."""
    most = _LONGEST * min(picture.size)
    if max(picture.size) > most:
        picture = _centred(picture, min(picture.width, most), min(picture.height, most))
    while min(picture.size) >= 2 * size:
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
    scale = size / min(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    return np.array(_centred(picture, size, size))


def _centred(picture: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def area_means(pixels: np.ndarray, size: int) -> np.ndarray:
    """uint8 (k·size, k·size, 3) → (size, size, 3), k whole: the mean over k × k pixels, rounded once an axis."""
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX))


def to_unit(pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 0 … 255 → [−1, 1]: x = p/127.5 − 1; the spacing is 2/255."""
    if pixels.dtype != torch.uint8:
        raise TypeError(f"pixels have dtype {pixels.dtype}; allowed: uint8; remedy: none is needed in [−1, 1]")
    return pixels.to(dtype) / 127.5 - 1
