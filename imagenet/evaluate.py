"""Quality against the number of network evaluations: the sweep behind every figure and table of the image model.

A point is a sampler, a budget of evaluations and a range of seeds. Its images are drawn, compared with the training images
(`imagenet.reference`) and forgotten. Ranges of seeds do not overlap, so their spread is the error bar of sampling; that of
training needs other trained networks. The budget counts evaluations of the network: Heun, which makes two a step, gets half the
steps. (Classifier-free guidance evaluates twice where it is on; that is the generator's to say, in `evaluations`.)

Each finished point is a line of a journal, so a run that is killed goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import theory
from imagenet import journal as journals
from imagenet import metric
from imagenet.data import to_unit
from imagenet.extractor import Classifying, Extractor
from imagenet.journal import Point
from imagenet.metric import Moments
from imagenet.reference import Reference, Seen
from theory import record
from theory.progress import progress
from theory.spectrum import rapsd, rings

log = logging.getLogger(__name__)

_OF_EXTRACTOR = ("frechet", "frechet_without_bias", "precision", "recall", "class_error", "class_agreement")
_OF_POINT = ("steps", "nfe", "seconds", "images_per_second", "inception_score")
_EDITION = 2  # of how they are computed: raised when that changes, so that no journal mixes two


class Generator(Protocol):
    """A source of images: a trained network with a schedule, or anything else that can be walked in few or many steps.

    Image k must depend on k, the sampler and the steps only, so that ranges of seeds are disjoint and batches do not matter.
    """

    @property
    def identity(self) -> str:
        """Changes when the images do: weights, schedule, guidance. A journal of another identity is not continued."""
        ...

    def evaluations_per_step(self, sampler: str) -> int:
        """1, or 2 for Heun. Raises ValueError for an unknown sampler, with those that are known."""
        ...

    def evaluations(self, sampler: str, steps: int) -> float:
        """Evaluations of the network really made per image, guidance and shorter last steps included."""
        ...

    def labels(self, first: int, count: int) -> Tensor | None:
        """The classes (count,) int64 asked for images first … first + count − 1; None if unconditional."""
        ...

    def sample(self, sampler: str, steps: int, first: int, count: int) -> Tensor:
        """Those images, uint8 (count, 3, H, W)."""
        ...


@dataclass(frozen=True)
class Sweep:
    """What is drawn. images: per point; range r of seeds holds the indices first + r·images … first + (r + 1)·images − 1."""

    evaluations: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256, 512)
    samplers: tuple[str, ...] = ("ancestral", "DDIM", "Heun in noise-to-signal", "DPM-Solver++(2M)")
    images: int = 10_000
    seed_ranges: int = 3
    first: int = 0
    batch: int = 250
    neighbours: int = 3

    def __post_init__(self) -> None:
        for name, values in (("evaluations", self.evaluations), ("samplers", self.samplers)):
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} = {list(values)}; allowed: at least one, each once; remedy: correct the list")
        counts = {"images": self.images, "seed_ranges": self.seed_ranges, "batch": self.batch, "neighbours": self.neighbours}
        for name, value in {**counts, "the smallest budget": min(self.evaluations)}.items():
            if value < 1:
                raise ValueError(f"{name} = {value}; allowed: ≥ 1; remedy: raise it")
        if self.first < 0:
            raise ValueError(f"first = {self.first}; allowed: ≥ 0; remedy: a non-negative index of the first image")

    def points(self) -> list[Point]:
        """Every point; ranges of seeds outermost, so that a run cut short has whole curves."""
        found = itertools.product(range(self.seed_ranges), self.samplers, self.evaluations)
        return [(sampler, budget, seed_range) for seed_range, sampler, budget in found]


def sweep(
    generator: Generator,
    reference: Reference,
    extractors: Sequence[Extractor],
    settings: Sweep,
    journal: Path | None = None,
    *,
    device: torch.device | str = "cpu",
    max_minutes: float | None = None,
) -> xr.Dataset:
    """All points of `settings` that the journal does not hold yet; then the dataset of all that are finished, others NaN.

    Dimensions: sampler, evaluations (the budget), seed_range, extractor, band (octaves of frequency), frequency. With
    `max_minutes` no point is begun after that time. Raises ValueError, before any image, as `check`, for an extractor that is
    not the reference's, for a reference of too few images and for minutes below 0.
    """
    if max_minutes is not None and not max_minutes >= 0:  # NaN too
        raise ValueError(f"max_minutes = {max_minutes}; allowed: ≥ 0; remedy: leave it out for no limit")
    check(generator, settings, extractors)
    _fits(reference, extractors, settings)
    key = _key(generator, reference, settings)
    finished = {} if journal is None else journals.read(journal, key)
    points = settings.points()
    waiting = [point for point in points if point not in finished]
    deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    for point in progress(waiting, "evaluation points"):
        if time.monotonic() >= deadline:
            log.info("stopped after %g minutes with %d of %d points", max_minutes, len(finished), len(points))
            break
        values = measure(generator, reference, extractors, settings, point, device)
        if journal is not None:
            journals.append(journal, key, point, values)
        finished[point] = values
    return as_dataset(finished, reference, settings, generator.identity)


def check(generator: Generator, settings: Sweep, extractors: Sequence[Extractor] = ()) -> None:
    """Raises ValueError for a budget below one step and too few images: before a reference, which may take long, is made."""
    for sampler in settings.samplers:
        needed = generator.evaluations_per_step(sampler)
        if min(settings.evaluations) < needed:
            raise ValueError(
                f"a budget of {min(settings.evaluations)} evaluations for {sampler}; allowed: ≥ {needed}, one step of it; "
                "remedy: raise the budget, or leave that sampler out"
            )
    for extractor in extractors:
        metric.require_enough(settings.images, extractor.dim, extractor.label, "generated images")
    if settings.images <= settings.neighbours:
        raise ValueError(
            f"images = {settings.images}; allowed: > {settings.neighbours}, the neighbours that precision and recall look at; "
            "remedy: raise the number of images"
        )


def _fits(reference: Reference, extractors: Sequence[Extractor], settings: Sweep) -> None:
    labels = [extractor.label for extractor in extractors]
    if labels != [seen.label for seen in reference.seen] or len(set(labels)) != len(labels):
        raise ValueError(
            f"extractors {labels}; allowed: those of the reference, {[seen.label for seen in reference.seen]}, each once; "
            "remedy: make the reference with the same extractors"
        )
    fewest = min((len(seen.real) for seen in reference.seen), default=settings.neighbours + 1)
    if fewest <= settings.neighbours:
        raise ValueError(
            f"a reference that keeps {fewest} training images; allowed: > {settings.neighbours}, the neighbours that precision "
            "and recall look at; remedy: a reference of more training images"
        )


def measure(
    generator: Generator,
    reference: Reference,
    extractors: Sequence[Extractor],
    settings: Sweep,
    point: Point,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Draw the images of one point and compare them: plain numbers and lists, as a line of the journal holds them."""
    sampler, budget, seed_range = point
    steps = budget // generator.evaluations_per_step(sampler)
    start = settings.first + seed_range * settings.images
    features: list[list[Tensor]] = [[] for _ in extractors]
    logits: list[Tensor] = []
    asked: list[Tensor] = []
    power, seconds = torch.zeros_like(reference.power), []
    for offset in range(0, settings.images, settings.batch):
        first, count = start + offset, min(settings.batch, settings.images - offset)
        begun = time.perf_counter()
        images = _checked(generator.sample(sampler, steps, first, count), count, reference.size)
        if images.device.type == "cuda":
            torch.cuda.synchronize()  # else the clock stops before the work does
        seconds.append(time.perf_counter() - begun)
        labels = generator.labels(first, count)
        asked += [] if labels is None else [_labels(labels, reference)]
        images = images.to(device)
        power += rapsd(to_unit(images), reference.taper).double().sum(0).cpu()
        for kept, extractor in zip(features, extractors, strict=True):
            if isinstance(extractor, Classifying):
                found, scores = extractor.both(images)
                logits.append(scores.cpu())
            else:
                found = extractor(images)
            kept.append(found.cpu().float())
    power /= settings.images
    compared = [
        _compared(seen, torch.cat(kept), torch.cat(asked) if asked else None, reference.labels, settings.neighbours, device)
        for seen, kept in zip(reference.seen, features, strict=True)
    ]
    table = rings(reference.size, reference.size)
    return {
        **{name: [row[name] for row in compared] for name in _OF_EXTRACTOR},
        "rapsd_distance": list(metric.spectrum_distance(power, reference.power, table).values()),
        "power": power.tolist(),
        "steps": steps,
        "nfe": generator.evaluations(sampler, steps),
        "seconds": sum(seconds),
        "images_per_second": _rate(seconds, settings),
        "inception_score": metric.inception_score(torch.cat(logits))[0] if logits else math.nan,
    }


def _labels(labels: Tensor, reference: Reference) -> Tensor:
    classes = len(reference.class_names)
    if int(labels.max()) >= classes or int(labels.min()) < 0:
        raise ValueError(
            f"the generator asks for the classes {int(labels.min())} … {int(labels.max())}; allowed: 0 … {classes - 1}, as the "
            "reference; remedy: evaluate against the data set the network was trained on"
        )
    return labels.cpu()


def _rate(seconds: list[float], settings: Sweep) -> float:
    """Images per second, without the first batch where there are more: it may hold a compilation."""
    if len(seconds) == 1:
        return settings.images / seconds[0]
    return (settings.images - settings.batch) / sum(seconds[1:])


def _checked(images: Tensor, count: int, size: int) -> Tensor:
    if images.dtype != torch.uint8 or tuple(images.shape) != (count, 3, size, size):
        raise ValueError(
            f"the generator gave {images.dtype} {tuple(images.shape)}; allowed: uint8 {(count, 3, size, size)}, as the "
            "reference; remedy: evaluate against the data set the network was trained on"
        )
    return images


def _compared(
    seen: Seen, features: Tensor, asked: Tensor | None, data: Tensor, neighbours: int, device: torch.device | str
) -> dict[str, float]:
    """The numbers of one extractor. Unconditional samples are held against the proportions of the data."""
    predicted = seen.classifier(features)
    # All pairs of images in float64: worth an accelerator that has it.
    place = device if torch.device(device).type == "cuda" else "cpu"
    precision, recall = metric.precision_recall(seen.real.to(place), features.to(place), neighbours)
    return {
        "frechet": metric.frechet(seen.moments, Moments.of(features), seen.label),
        "frechet_without_bias": metric.frechet_without_bias(seen.moments, features, seen.label, asked),
        "precision": precision,
        "recall": recall,
        "class_error": metric.proportion_error(predicted, data if asked is None else asked, seen.mistakes),
        "class_agreement": math.nan if asked is None else float((predicted == asked).double().mean()),
    }


def equal_seeds(
    generators: Mapping[str, Generator], sampler: str, budgets: Sequence[int], first: int = 0, count: int = 6
) -> dict[str, Tensor]:
    """The same images by every generator at every budget: "name budget" → uint8 (count, 3, H, W), for `quality.sheet`."""
    return {
        f"{name} {budget}".strip(): generator.sample(
            sampler, budget // generator.evaluations_per_step(sampler), first, count
        ).cpu()
        for budget in budgets
        for name, generator in generators.items()
    }


def _key(generator: Generator, reference: Reference, settings: Sweep) -> str:
    """What makes a point's numbers: not the lists of budgets and samplers, nor the number of ranges, which may grow."""
    numbers = [_EDITION, *_OF_EXTRACTOR, *_OF_POINT]  # a journal of a version that measured less is not continued
    named = [generator.identity, reference.fingerprint, settings.images, settings.first, settings.neighbours, numbers]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]


# ---- the dataset ------------------------------------------------------------------------------------------------------


def as_dataset(finished: Mapping[Point, Mapping[str, Any]], reference: Reference, settings: Sweep, identity: str) -> xr.Dataset:
    """Named arrays of the finished points; NaN where one is missing."""
    place = ("sampler", "evaluations", "seed_range")
    shape = (len(settings.samplers), len(settings.evaluations), settings.seed_ranges)
    table = rings(reference.size, reference.size)
    bands = [band.name for band in metric.octaves(table)]
    more = {
        **dict.fromkeys(_OF_EXTRACTOR, ("extractor", len(reference.seen))),
        "rapsd_distance": ("band", len(bands)),
        "power": ("frequency", len(reference.power)),
    }
    arrays = {name: np.full((*shape, length), math.nan) for name, (_, length) in more.items()}
    arrays |= {name: np.full(shape, math.nan) for name in _OF_POINT}
    for (sampler, budget, seed_range), values in finished.items():
        if sampler in settings.samplers and budget in settings.evaluations and seed_range < settings.seed_ranges:
            at = settings.samplers.index(sampler), settings.evaluations.index(budget), seed_range
            for name, array in arrays.items():
                array[at] = values[name]
    variables: dict[str, Any] = {name: ((*place, more[name][0]) if name in more else place, a) for name, a in arrays.items()}
    of_data = {
        "floor": [seen.floor for seen in reference.seen],
        "floor_images": [seen.floor_count for seen in reference.seen],
        "held_out": [seen.held_out for seen in reference.seen],
        "held_out_images": [seen.held_out_count for seen in reference.seen],
        "real_agreement": [seen.agreement for seen in reference.seen],
        "reference_images": [seen.moments.count for seen in reference.seen],
    }
    variables |= {name: ("extractor", values) for name, values in of_data.items()}
    variables["reference_power"] = ("frequency", reference.power.numpy(), {"units": "variance per coefficient, x in [−1, 1]"})
    done = int(np.isfinite(arrays["nfe"]).sum())
    return xr.Dataset(
        variables,
        coords={
            "sampler": list(settings.samplers),
            "evaluations": list(settings.evaluations),
            "seed_range": list(range(settings.seed_ranges)),
            "extractor": [seen.label for seen in reference.seen],
            "band": bands,
            "frequency": np.arange(len(reference.power)),
        },
        attrs={
            "images": settings.images,
            "size": reference.size,
            "nyquist": table.nyquist,
            "classes": len(reference.class_names),
            "points_done": done,
            "points_asked": len(settings.points()),
            "generator": identity,
            "reference": reference.fingerprint,
        },
    )


def save(dataset: xr.Dataset, path: Path, settings: Mapping[str, Any], seed: int) -> None:
    """As `theory.record.save`; where h5netcdf is not installed, as NetCDF 3 with the same settings, seed and commit."""
    if importlib.util.find_spec("h5netcdf") is not None:
        record.save(dataset, path, settings=settings, seed=seed)
        return
    text = json.dumps(settings, sort_keys=True, allow_nan=False, ensure_ascii=False)
    labelled = dataset.assign_attrs(settings=text, seed=seed, version=theory.__version__, commit=record.commit())
    with record.whole(path) as temporary:
        labelled.to_netcdf(temporary, engine="scipy")


def settings_of(settings: Sweep) -> dict[str, Any]:
    """The settings as JSON has them."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return found
