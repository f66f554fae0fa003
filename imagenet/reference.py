"""What generated images are compared with: the training images, seen through each extractor, once and for all.

The training set is cut at random into two halves. Their distance from one another, the second at the number of images that the
generator is asked for, is the floor: what a perfect generator would get. (FD-PCA's floor is a little low: its components were
fitted on both halves.) The second half also tells how often the classifier,
fitted on the first, is right on real images. Photographs kept out of training give a distance for context: what new, real
images get. The reference itself is the whole training set, through the same crop and the same pixels as training sees.

All of it is kept in one file without code (npz, no pickles), named by a fingerprint of data, extractors and settings.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from imagenet.data import to_unit
from imagenet.extractor import Extractor, by_name
from imagenet.metric import Moments, NearestMean, confusion, frechet, require_enough
from imagenet.packed import Packed
from theory import record
from theory.progress import progress
from theory.spectrum import rapsd
from theory.stream import Stream

log = logging.getLogger(__name__)

CLASSIFIED = 20_000  # images the classifier is fitted on: 20 a class of ImageNet, 10 MB per 64 features


@dataclass(frozen=True, eq=False)
class Pictures:
    """A set of photographs: size in px, labels (n,) int64 in class_names; images: positions (B,) → uint8 (B, 3, size, size)."""

    size: int
    labels: Tensor
    class_names: tuple[str, ...]
    fingerprint: str
    images: Callable[[Tensor], Tensor] = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of(cls, packed: Packed) -> Pictures:
        """The images of a pack, as training sees them: same crop, same pixels."""
        return cls(packed.size, packed.labels, packed.class_names, packed.fingerprint, lambda at: packed.take(at)[0])


def seen_by(names: Sequence[str], pictures: Pictures, device: torch.device | str, cache: Path | None = None) -> list[Extractor]:
    """The extractors of these names (`imagenet.extractor.by_name`); components fitted on `pictures` are kept in `cache`."""
    stem = None if cache is None else cache / f"components-{pictures.fingerprint[:16]}"
    return [by_name(name, pictures.images, len(pictures), device, stem) for name in names]


@dataclass(frozen=True, eq=False)
class Seen:
    """The training images in one extractor's features.

    moments     of all of them
    real        (N, dim) float32 of the second half, for precision and recall
    classifier  fitted on the first half; mistakes: its confusion on the second, agreement: the share it gets right there
    floor       distance of N images of the second half from the first half, NaN where a half has too few; floor_count: N
    held_out    distance of held-out photographs from the training set, NaN without; held_out_count: their number
    """

    label: str
    moments: Moments
    real: Tensor
    classifier: NearestMean
    mistakes: Tensor
    agreement: float
    floor: float
    floor_count: int
    held_out: float
    held_out_count: int


@dataclass(frozen=True, eq=False)
class Reference:
    """seen: one record per extractor; power (K + 1,) mean spectrum, taper as given; labels (n,) of the training images."""

    seen: tuple[Seen, ...]
    power: Tensor
    taper: str | None
    size: int
    labels: Tensor
    class_names: tuple[str, ...]
    fingerprint: str


def reference(
    pictures: Pictures,
    extractors: Sequence[Extractor],
    count: int,
    *,
    held_out: Pictures | None = None,
    taper: str | None = "hann",
    seed: int = 0,
    batch: int = 250,
    limit: int | None = None,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
) -> Reference:
    """The reference for sets of `count` generated images, read from the folder `cache` if it was made before.

    limit: use that many training images, evenly spread, instead of all. Raises ValueError, before reading, for a `count` or
    a training set that has no more images than an extractor has features.
    """
    positions = torch.arange(len(pictures))
    if limit is not None and limit < len(pictures):
        positions = torch.linspace(0, len(pictures) - 1, limit, dtype=torch.float64).round().long()
    if held_out is not None and held_out.size != pictures.size:
        raise ValueError(
            f"held-out images of {held_out.size} px; allowed: {pictures.size} px, as the training images; remedy: pack them at "
            "that size"
        )
    for extractor in extractors:
        require_enough(count, extractor.dim, extractor.label, "generated images")
        require_enough(len(positions), extractor.dim, extractor.label, "training images")
    fingerprint = _fingerprint(pictures, held_out, extractors, count, taper, seed, len(positions))
    file = None if cache is None else cache / f"reference-{fingerprint}.npz"
    if file is not None and file.is_file():
        return _load(file, pictures, taper, fingerprint)
    order = positions[torch.from_numpy(Stream(seed).child("halves").generator(0).permutation(len(positions)))]
    first, second = order[: len(order) // 2], order[len(order) // 2 :]
    reader = _Reader(pictures, tuple(extractors), taper, batch, device)
    a, b, rest = (
        reader.read(part, f"training images, part {name}")
        for name, part in enumerate((first, second[:count], second[count:]), 1)
    )
    outside = None
    if held_out is not None:
        others = _Reader(held_out, tuple(extractors), taper, batch, device)
        outside = others.read(torch.arange(len(held_out)), "held-out images")
    labels = pictures.labels
    seen = tuple(
        _seen(extractor, [part.features[k] for part in (a, b, rest)], (labels[first], labels[second[:count]]),
              len(pictures.class_names), None if outside is None else outside.features[k])
        for k, extractor in enumerate(extractors)
    )  # fmt: skip
    power = (a.power + b.power + rest.power) / len(order)
    made = Reference(seen, power, taper, pictures.size, labels[positions], pictures.class_names, fingerprint)
    if file is not None:
        _save(made, file)
    return made


def _fingerprint(
    pictures: Pictures,
    held_out: Pictures | None,
    extractors: Sequence[Extractor],
    count: int,
    taper: str | None,
    seed: int,
    used: int,
) -> str:
    outside = None if held_out is None else held_out.fingerprint
    named = [pictures.fingerprint, outside, [e.identity for e in extractors], count, taper, seed, used]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]


# ---- one pass ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Features:
    moments: Moments | None
    kept: Tensor  # (≤ CLASSIFIED or N, dim) float32, the first of the part


@dataclass(frozen=True, eq=False)
class _Part:
    features: tuple[_Features, ...]
    power: Tensor  # summed over the images


@dataclass(frozen=True, eq=False)
class _Reader:
    pictures: Pictures
    extractors: tuple[Extractor, ...]
    taper: str | None
    batch: int
    device: torch.device | str

    def read(self, positions: Tensor, description: str) -> _Part:
        """One pass over these images: every extractor's moments, the features, the summed spectrum."""
        moments: list[Moments | None] = [None] * len(self.extractors)
        kept: list[list[Tensor]] = [[torch.empty(0, extractor.dim)] for extractor in self.extractors]
        power = torch.zeros(1, dtype=torch.float64)
        parts = positions.split(self.batch) if len(positions) else ()
        for number, part in enumerate(progress(parts, description)):
            images = self.pictures.images(part).to(self.device)
            power = power + rapsd(to_unit(images), self.taper).double().sum(0).cpu()
            for k, extractor in enumerate(self.extractors):
                values = extractor(images).cpu()
                found = Moments.of(values)
                before = moments[k]
                moments[k] = found if before is None else before.merge(found)
                if number * self.batch < CLASSIFIED:
                    kept[k].append(values.float())
        features = tuple(_Features(moment, torch.cat(rows)) for moment, rows in zip(moments, kept, strict=True))
        return _Part(features, power)


def _seen(
    extractor: Extractor, parts: list[_Features], labels: tuple[Tensor, Tensor], classes: int, outside: _Features | None
) -> Seen:
    a, b, rest = parts
    fitted, tested = len(a.kept), len(b.kept)
    classifier = NearestMean.fit(a.kept, labels[0][:fitted], classes)
    predicted, true = classifier(b.kept), labels[1][:tested]
    moments = _merged(a.moments, b.moments, rest.moments)
    beyond = None if outside is None else outside.moments
    return Seen(
        extractor.label,
        moments,
        b.kept,
        classifier,
        confusion(predicted, true, classes),
        float((predicted == true).double().mean()),
        _distance(a.moments, b.moments, extractor, "the floor"),
        0 if b.moments is None else b.moments.count,
        math.nan if beyond is None else _distance(moments, beyond, extractor, "held-out images"),
        0 if beyond is None else beyond.count,
    )


def _merged(*parts: Moments | None) -> Moments:
    found = [part for part in parts if part is not None]
    total = found[0]
    for part in found[1:]:
        total = total.merge(part)
    return total


def _distance(first: Moments | None, second: Moments | None, extractor: Extractor, what: str) -> float:
    """NaN, with a line in the log, where there are too few images: context may be missing, a result may not."""
    fewest = min(0 if part is None else part.count for part in (first, second))
    if first is None or second is None or fewest <= extractor.dim:
        log.warning("%s of %s: %d images for %d features are too few; left empty", what, extractor.label, fewest, extractor.dim)
        return math.nan
    return frechet(first, second, extractor.label)


# ---- the file ---------------------------------------------------------------------------------------------------------


def _save(made: Reference, file: Path) -> None:
    arrays: dict[str, np.ndarray] = {"power": made.power.numpy(), "labels": made.labels.numpy()}
    for k, seen in enumerate(made.seen):
        tensors = {
            "mean": seen.moments.mean, "scatter": seen.moments.scatter, "real": seen.real, "weight": seen.classifier.weight,
            "bias": seen.classifier.bias, "mistakes": seen.mistakes,
        }  # fmt: skip
        arrays |= {f"{name}_{k}": value.numpy() for name, value in tensors.items()}
        arrays[f"numbers_{k}"] = np.array(
            [seen.moments.count, seen.agreement, seen.floor, seen.floor_count, seen.held_out, seen.held_out_count], float
        )
        arrays[f"label_{k}"] = np.array(seen.label)
    record.save_arrays(file, **arrays)


def _load(file: Path, pictures: Pictures, taper: str | None, fingerprint: str) -> Reference:
    with record.arrays(file, "a whole file", "delete it, it is made anew") as stored:
        seen = tuple(_seen_of(stored, k) for k in range(sum(name.startswith("label_") for name in stored)))
        power, labels = torch.from_numpy(stored["power"]), torch.from_numpy(stored["labels"])
    return Reference(seen, power, taper, pictures.size, labels, pictures.class_names, fingerprint)


def _seen_of(arrays: dict[str, np.ndarray], k: int) -> Seen:
    count, agreement, floor, floor_count, held_out, held_out_count = arrays[f"numbers_{k}"].tolist()
    mean, scatter, real, weight, bias, mistakes = (
        torch.from_numpy(arrays[f"{name}_{k}"]) for name in ("mean", "scatter", "real", "weight", "bias", "mistakes")
    )
    moments, classifier = Moments(int(count), mean, scatter), NearestMean(weight, bias)
    label = str(arrays[f"label_{k}"])
    return Seen(label, moments, real, classifier, mistakes, agreement, floor, int(floor_count), held_out, int(held_out_count))
