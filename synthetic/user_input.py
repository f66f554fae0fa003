"""What a user brings to `compare`: laws, schedules and lists of noise levels; a refusal says value, allowed, remedy.

A law file (YAML or JSON) has one of three sets of keys; `means` are per coordinate, as paper A's m (a mode at m·(1, …, 1)):
    {p: 0.8, m: 1.0, sigma: 0.5}                                    two modes at ±m; sigma may be left out: 0.5
    {weights: [.2, .8], means: [-1, 1], spreads: [.5, .5]}          modes at means[k]·(1, …, 1); spreads one number or one each
    {weights: …, means: [{shape: 1}, {shape: -1, size: 2}], …}      modes along named orthogonal directions, √d apart per unit
    {weights: …, means: [[0.1, …], …], …}                           full vectors: the dimension is their length
    {J: 2.0, h: 0.72}                                               Curie-Weiss (arXiv 2501.00988), sampled: d ≤ 100000
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import yaml
from torch import Tensor

from synthetic.families import Scales, entries
from theory.curie_weiss import CurieWeiss
from theory.program import Array
from theory.reduction import Line
from theory.sampler import STEPS, Step
from theory.schedule import CATALOGUE, Schedule

LARGEST_SAMPLED = 100_000  # d of a law that is sampled and not reduced


class InputError(click.UsageError):
    """Something a user gave is not allowed."""


def nearest(name: str, allowed: Iterable[str], what: str) -> str:
    """The allowed name equal to `name` but for case. Raises InputError with the nearest ones."""
    known = {key.lower(): key for key in allowed}
    if name.lower().strip() in known:
        return known[name.lower().strip()]
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
    remedy = f"did you mean {' or '.join(known[key] for key in near)}?" if near else "choose one of them"
    raise InputError(f"unknown {what} {name!r}; allowed: {' | '.join(known.values())}; remedy: {remedy}")


def dimension(text: str) -> int:
    """An integer ≥ 2, also written 1e6. Raises InputError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value == int(value) and value >= 2):
        raise InputError(f"dim = {text!r}; allowed: an integer from 2 to 1e15, as 1000000 or 1e6; remedy: round it")
    return int(value)


# ---- laws --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Modes:
    """A mixture of isotropic modes in the subspace of its means: weights, spreads (K,), centres (K, K'), at dimension dim."""

    name: str
    dim: int
    weights: Array
    centres: Array
    spreads: Array

    @property
    def line(self) -> Line | None:
        """The mixture on a line through 0, if it is one; else None."""
        if self.centres.shape[1] > 1:
            return None
        order = np.argsort(self.centres[:, 0])
        return Line.of(self.dim, self.weights[order].tolist(), self.centres[order, 0].tolist(), self.spreads[order].tolist())

    def scales(self, epsilon: float) -> Scales:
        """For the schedules that are told about the law: its least variance and its largest second moment along a direction."""
        second = (self.centres.T * self.weights) @ self.centres
        large = float(np.linalg.eigvalsh(second).max() + self.weights @ self.spreads**2)
        return _scales(self.dim, float(self.spreads.min() ** 2), large, epsilon)


@dataclass(frozen=True, eq=False)
class Spins:
    """A Curie-Weiss law."""

    name: str
    law: CurieWeiss

    @property
    def dim(self) -> int:
        return self.law.dim

    def scales(self, epsilon: float) -> Scales:
        m = self.law.spontaneous_magnetisation
        return _scales(self.dim, max(1 - m**2, 1e-3), max(m**2 * self.dim, 1.0) + 1, epsilon)


def _scales(dim: int, small: float, large: float, epsilon: float) -> Scales:
    margin = (1 - epsilon) / epsilon
    return Scales(dim, small, large, math.sqrt(small / margin), math.sqrt(large * margin))


def read_law(text: str, dim: int) -> Modes | Spins:
    """`gm` (paper A's mixture: p = 0.8, m = 1, σ = ½) or a file. Raises InputError."""
    if text == "gm":
        return _law({"p": 0.8, "m": 1.0}, dim, "gm")
    path = Path(text)
    if not path.is_file():
        raise InputError(f"law = {text!r}; allowed: gm, or a YAML or JSON file; remedy: there is no such file, check the path")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is neither YAML nor JSON ({error}); allowed: a mapping of keys; remedy: {FORMS}") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path} holds a {type(content).__name__}; allowed: a mapping of keys; remedy: {FORMS}")
    return _law(content, dim, str(path))


KINDS = {"two modes": ("p", "m", "sigma"), "mixture": ("weights", "means", "spreads"), "Curie-Weiss": ("J", "h")}
OPTIONAL = {"sigma": 0.5, "h": 0.0}
FORMS = "use the keys " + "; or ".join(f"{', '.join(keys)} ({kind})" for kind, keys in KINDS.items())


def _law(content: Mapping[str, Any], dim: int, name: str) -> Modes | Spins:
    kind = max(KINDS, key=lambda kind: len(set(KINDS[kind]) & set(content)))
    unknown = sorted(str(key) for key in content if key not in KINDS[kind])
    if unknown:
        raise InputError(
            f"{name}: unknown key {', '.join(unknown)}; allowed for {kind}: {', '.join(KINDS[kind])}; remedy: {FORMS}"
        )
    missing = [key for key in KINDS[kind] if key not in content and key not in OPTIONAL]
    if missing:
        raise InputError(f"{name}: missing key {', '.join(missing)}; allowed: {FORMS}; remedy: add it")
    values = {**{key: OPTIONAL[key] for key in KINDS[kind] if key in OPTIONAL}, **content}
    if kind == "mixture":
        return _mixture(values, dim, name)
    number = {key: _number(value, f"{name}: {key}") for key, value in values.items()}
    if kind == "Curie-Weiss":
        if dim > LARGEST_SAMPLED:
            raise InputError(
                f"{name}: d = {dim} for Curie-Weiss; allowed: d ≤ {LARGEST_SAMPLED}, it is sampled; remedy: a smaller --dim"
            )
        try:
            return Spins(name, CurieWeiss(dim, number["J"], number["h"]))
        except ValueError as error:
            raise InputError(f"{name}: {error}; remedy: correct the file") from error
    if not 0 < number["p"] < 1:
        raise InputError(f"{name}: p = {number['p']}; allowed: 0 < p < 1; remedy: for one mode give weights, means, spreads")
    mixture = {"weights": [1 - number["p"], number["p"]], "means": [-number["m"], number["m"]], "spreads": number["sigma"]}
    return _mixture(mixture, dim, name)


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{what} = {value!r}; allowed: a finite number; remedy: write 1.0e+5 for 1e5 in YAML")
    return float(value)


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise InputError(f"{what} = {value!r}; allowed: a list with one entry per mode; remedy: [a, b, …]")
    return value


def _mixture(values: Mapping[str, Any], dim: int, name: str) -> Modes:
    weights = np.array(
        [_number(w, f"{name}: weights[{k}]") for k, w in enumerate(_list(values["weights"], f"{name}: weights"))]
    )
    means = _list(values["means"], f"{name}: means")
    each = values["spreads"] if isinstance(values["spreads"], list) else [values["spreads"]] * len(weights)
    spreads = np.array([_number(s, f"{name}: spreads[{k}]") for k, s in enumerate(each)])
    if not len(weights) == len(means) == len(spreads):
        raise InputError(
            f"{name}: {len(weights)} weights, {len(means)} means, {len(spreads)} spreads; allowed: as many of each; "
            "remedy: one per mode"
        )
    if not ((weights > 0).all() and abs(weights.sum() - 1) < 1e-9):
        raise InputError(
            f"{name}: weights = {weights.tolist()}; allowed: > 0 with sum 1; remedy: divide them by {weights.sum()}"
        )
    if not (spreads > 0).all():
        raise InputError(f"{name}: spreads = {spreads.tolist()}; allowed: > 0; remedy: give a small one where you mean none")
    centres = _centres(means, dim, name)
    if len(np.unique(centres, axis=0)) < len(centres):
        raise InputError(f"{name}: two modes have the same mean; allowed: different means; remedy: merge their weights")
    return Modes(name, dim, weights, centres, spreads)


def _centres(means: list[Any], dim: int, name: str) -> Array:
    """(K, K'): coordinates of the means in their subspace."""
    if all(isinstance(mean, Mapping) for mean in means):
        directions = list(dict.fromkeys(key for mean in means for key in mean))
        if len(directions) >= dim or not directions:
            raise InputError(f"{name}: {len(directions)} directions at d = {dim}; allowed: 1 to d − 1; remedy: a larger --dim")
        rows = [[_number(mean.get(u, 0.0), f"{name}: means[{k}].{u}") for u in directions] for k, mean in enumerate(means)]
        return math.sqrt(dim) * np.array(rows)
    if all(isinstance(mean, list) for mean in means):
        if any(len(mean) != dim for mean in means):
            sizes = sorted({len(mean) for mean in means})
            raise InputError(f"{name}: means of length {sizes} at d = {dim}; allowed: length d; remedy: --dim {sizes[-1]}")
        vectors = np.array([[_number(x, f"{name}: means[{k}]") for x in mean] for k, mean in enumerate(means)])
        left, size, _ = np.linalg.svd(vectors, full_matrices=False)
        rank = max(1, int((size > 1e-12 * size[0]).sum()))
        return left[:, :rank] * size[:rank]
    return math.sqrt(dim) * np.array([[_number(mean, f"{name}: means[{k}]")] for k, mean in enumerate(means)])


# ---- schedules ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Levels(Schedule):
    """A list of noise levels as a schedule: signal 1, noise linear in time between them; the grid of N steps hits them.

    The rate at a level is that of the piece below it, where the sampler goes. `levels` (N + 1,) falls; the last may be 0.
    """

    levels: Tensor

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        rising = self.levels.flip(0)
        steps = len(rising) - 1
        left = (torch.ceil(t.detach() * steps) - 1).clamp(0, steps - 1).long()
        share = t * steps - left
        return torch.ones_like(share), rising[left] * (1 - share) + rising[left + 1] * share


@dataclass(frozen=True, eq=False)
class Candidate:
    """A schedule with a name, and the number of steps it is bound to (a list of levels), or None."""

    name: str
    schedule: Schedule
    steps: int | None = None


def levels(values: Sequence[float], name: str) -> Candidate:
    """Raises InputError unless there are ≥ 2 numbers, falling, the last ≥ 0 and the others finite."""
    if len(values) < 2:
        raise InputError(
            f"{name}: {len(values)} noise level; allowed: 2 or more, noise first; remedy: N steps need N + 1 levels"
        )
    for k, value in enumerate(values):
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name}: level {k} is {value}; allowed: finite and ≥ 0; remedy: remove it")
    for k, (a, b) in enumerate(itertools.pairwise(values)):
        if not a > b:
            rises = all(x < y for x, y in itertools.pairwise(values))
            remedy = "reverse the list: noise comes first" if rises else "sort it, without repeats"
            raise InputError(f"{name}: levels {k}, {k + 1} are {a}, {b}; allowed: strictly falling; remedy: {remedy}")
    return Candidate(name, Levels(torch.tensor(values, dtype=torch.float64)), len(values) - 1)


def read_levels(text: str) -> Candidate:
    """A comma list, or a file with one level per line (commas and spaces separate too). Raises InputError."""
    path = Path(text)
    is_file = "," not in text and path.is_file()
    words = (path.read_text(encoding="utf-8") if is_file else text).replace(",", " ").split()
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise InputError(
            f"sigmas = {text!r}: {error}; allowed: numbers, 80,20,5,1,0, or a file of them; remedy: check the path"
        ) from error
    return levels(
        values, path.stem if is_file else "sigmas " + ",".join(words if len(words) < 4 else [words[0], "…", words[-1]])
    )


def read_entry(text: str, steps: int, dim: int) -> Candidate:
    """`module:object`: a Schedule, or a callable of (), (steps) or (steps, dim) that returns either or levels. InputError."""
    module, _, attribute = text.partition(":")
    if not (module and attribute):
        raise InputError(
            f"entry = {text!r}; allowed: module:object, as mypackage.noise:levels; remedy: put a colon between them"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"entry = {text!r}: {error}; allowed: an importable object; remedy: run from its folder, or set PYTHONPATH"
        ) from error
    if callable(found) and not isinstance(found, Schedule):
        found = found(*(steps, dim)[: len(inspect.signature(found).parameters)])
    if isinstance(found, Schedule):
        return Candidate(text, found)
    try:
        values = [float(value) for value in found]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"entry = {text!r} gave a {type(found).__name__}; allowed: a theory.schedule.Schedule, or noise levels"
            "; remedy: return one"
        ) from error
    return levels(values, text)


def named_schedules(text: str, scales: Scales, epsilon: float, kappa: float) -> list[Candidate]:
    """Names separated by commas: of `families.entries`, told about the law, or of the catalogue, as published."""
    told = {name: entry.make for name, entry in entries(epsilon, kappa).items()}
    makers: dict[str, Callable[[], Schedule]] = {**CATALOGUE, **{name: lambda m=make: m(scales) for name, make in told.items()}}  # type: ignore[misc]
    try:
        return [Candidate(name, makers[name]()) for name in _split(text, makers)]
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{text}: {error}") from error


def _split(text: str, allowed: Iterable[str]) -> list[str]:
    """Names in a comma list; a few names have a comma of their own, so the longest run that is a name is taken."""
    known = {key.lower(): key for key in allowed}
    words = [word.strip() for word in text.split(",")]
    names: list[str] = []
    while words:
        runs = [n for n in range(len(words), 0, -1) if ", ".join(words[:n]).lower() in known]
        count = runs[0] if runs else 1
        names.append(nearest(", ".join(words[:count]), known.values(), "schedule"))
        words = words[count:]
    return names


def named_step(text: str) -> Step:
    """A step of `sampler.STEPS` by name. Raises InputError."""
    return STEPS[nearest(text, STEPS, "step")]()
