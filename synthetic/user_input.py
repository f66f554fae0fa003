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
import traceback
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

LARGEST_DIM = 10**15  # below 2⁵³, where float64 stops telling integers apart
LARGEST_SAMPLED = 100_000  # d of a law that is sampled and not reduced
MOST_STEPS = 10_000  # a second or two; the least N for an ε is looked for below half of it
MOST_CELLS = 40_000  # modes² × directions: the particles' distances to the modes then fill 1.3 GB
LARGEST = (
    1e50  # of means, spreads, levels; 1/LARGEST the least: times √d, squared, with a factor to spare, they stay in float64
)
FROZEN = 15.0  # J + |h|/d of Curie-Weiss: 1 − tanh² there is 4e-13, beyond it a spin has no spread
LEAST_FIELD = -300.0  # h: the mode M > 0, which is looked at, has a weight of about e^{2h}


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
    if math.isfinite(value) and value == int(value) and 2 <= value <= LARGEST_DIM:
        return int(value)
    remedy = "write a number, such as 1e6"
    if value > LARGEST_DIM:
        remedy = "1e15: what these laws tend to for d → ∞ is reached long before"
    elif value < 2:
        remedy = "2 or more: with one coordinate no direction is across the means"
    elif math.isfinite(value):
        remedy = "round it"
    raise InputError(f"dim = {text!r}; allowed: an integer from 2 to 1e15, as 1000000 or 1e6; remedy: {remedy}")


def number_of_steps(steps: int) -> int:
    """`steps`, if it is from 1 to MOST_STEPS. Raises InputError."""
    if not 1 <= steps <= MOST_STEPS:
        remedy = "--epsilon finds how many are needed" if steps > 1 else "16"
        raise InputError(f"steps = {steps}; allowed: 1 to {MOST_STEPS}; remedy: {remedy}")
    return steps


def finite(value: float, what: str) -> float:
    """`value`, if it is one: click's ranges let NaN through. Raises InputError."""
    if not math.isfinite(value):
        raise InputError(f"{what} = {value}; allowed: a finite number; remedy: leave {what} out for its default")
    return value


def _is_file(text: str) -> bool:
    """A text that is too long for a name, such as a long list of levels, is none."""
    try:
        return Path(text).is_file()
    except OSError:
        return False


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
    if not _is_file(text):
        raise InputError(f"law = {text!r}; allowed: gm, or a YAML or JSON file; remedy: there is no such file, check the path")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
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
        if number["J"] + abs(number["h"]) / dim > FROZEN:
            raise InputError(
                f"{name}: J = {number['J']}, h = {number['h']} at d = {dim}; allowed: J + |h|/d ≤ {FROZEN:g}, beyond which "
                "every spin is frozen; remedy: a smaller J or h"
            )
        if number["h"] < LEAST_FIELD:
            raise InputError(
                f"{name}: h = {number['h']}; allowed: h ≥ {LEAST_FIELD:g}, below which M > 0 has no weight; "
                "remedy: −h, the law's mirror image"
            )
        try:
            return Spins(name, CurieWeiss(dim, number["J"], number["h"]))
        except ValueError as error:  # it says what is allowed, and a remedy
            raise InputError(f"{name}: {error}") from error
    if not 0 < number["p"] < 1:
        raise InputError(f"{name}: p = {number['p']}; allowed: 0 < p < 1; remedy: for one mode give weights, means, spreads")
    mixture = {"weights": [1 - number["p"], number["p"]], "means": [-number["m"], number["m"]], "spreads": number["sigma"]}
    return _mixture(mixture, dim, name)


def _number(value: object, what: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST:  # False for NaN
        return float(value)
    remedy = "write 1.0e+5 for 1e5 in YAML" if isinstance(value, str) else "write a number, such as 0.5"
    shown = repr(value) if len(repr(value)) < 40 else repr(value)[:40] + "…"
    raise InputError(f"{what} = {shown}; allowed: a finite number from −1e50 to 1e50; remedy: {remedy}")


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
        remedy = f"divide them by {weights.sum()}" if (weights > 0).all() else "a weight > 0 for each mode, or leave it out"
        raise InputError(f"{name}: weights = {weights.tolist()}; allowed: > 0 with sum 1; remedy: {remedy}")
    if not (spreads >= 1 / LARGEST).all():
        raise InputError(
            f"{name}: spreads = {spreads.tolist()}; allowed: > 0, from 1e-50; remedy: give a small one where you mean none"
        )
    centres = _centres(means, dim, name)
    if len(centres) * centres.size > MOST_CELLS:
        raise InputError(
            f"{name}: {len(centres)} modes in {centres.shape[1]} directions; allowed: modes² × directions ≤ {MOST_CELLS}; "
            "remedy: fewer modes"
        )
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
            remedy = f"--dim {sizes[0]}" if len(sizes) == 1 and sizes[0] >= 2 else "vectors of one length, 2 or more"
            raise InputError(f"{name}: means of length {sizes} at d = {dim}; allowed: length d; remedy: {remedy}")
        vectors = np.array([[_number(x, f"{name}: means[{k}]") for x in mean] for k, mean in enumerate(means)])
        left, size, _ = np.linalg.svd(vectors, full_matrices=False)
        rank = max(1, int((size > 1e-12 * size[0]).sum()))
        if rank >= dim:  # no direction is left to be across
            raise InputError(f"{name}: means span {rank} directions at d = {dim}; allowed: 1 to d − 1; remedy: fewer modes")
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
    """Raises InputError unless there are 2 to MOST_STEPS + 1 numbers, falling, finite, only the last perhaps 0."""
    if len(values) < 2:
        raise InputError(
            f"{name}: {len(values)} noise level; allowed: 2 or more, noise first; remedy: N steps need N + 1 levels"
        )
    if len(values) > MOST_STEPS + 1:
        raise InputError(f"{name}: more than {MOST_STEPS + 1} noise levels; allowed: up to that; remedy: a shorter list")
    for k, value in enumerate(values):
        if math.isfinite(value) and (value > LARGEST or 0 < value < 1 / LARGEST):
            raise InputError(f"{name}: level {k} is {value}; allowed: 0, or from 1e-50 to 1e50; remedy: correct it")
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
    is_file = "," not in text and _is_file(text)
    try:
        words = (path.read_text(encoding="utf-8") if is_file else text).replace(",", " ").split()
        values = [float(word) for word in words]
    except (ValueError, OSError) as error:  # ValueError: also a file that is no text
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
    # Whatever the user's own code raises is answered, sys.exit too; a wish to stop (KeyboardInterrupt) is not its error.
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"entry = {text!r}: {error}; allowed: an importable object; remedy: run from its folder, or set PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:
        raise InputError(
            f"entry = {text!r}: to import {module} ended with {_last_line(error)}; allowed: a module that can be imported; "
            f"remedy: python -c 'import {module}' shows where"
        ) from error
    if callable(found) and not isinstance(found, Schedule):
        found = _called(text, found, (steps, dim))
    if isinstance(found, Schedule):
        _check_schedule(text, found)
        return Candidate(text, found)
    try:
        if isinstance(found, str | bytes | Mapping):  # digits, bytes and keys would pass as levels
            raise TypeError("not a list of numbers")
        values = [float(value) for value in itertools.islice(found, MOST_STEPS + 2)]
    except Exception as error:
        raise InputError(
            f"entry = {text!r} gave a {type(found).__name__} ({_last_line(error)}); allowed: {WANTED}; remedy: return one"
        ) from error
    return levels(values, text)


WANTED = "a theory.schedule.Schedule, or noise levels, or a callable of (), (steps) or (steps, dim) that returns one of them"


def _last_line(error: BaseException) -> str:
    """As a traceback ends: the kind of error and what it says."""
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def _called(text: str, found: Callable[..., Any], given: tuple[int, int]) -> Any:
    """What the user's callable returns. Raises InputError, with the callable's own exception as its cause."""
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    try:
        known = inspect.signature(found).parameters.values()
    except (TypeError, ValueError) as error:  # a few built-in functions tell nobody what they take
        raise InputError(f"entry = {text!r}: {error}; allowed: {WANTED}; remedy: wrap it in a function of yours") from error
    arguments = given[: sum(parameter.kind in places for parameter in known)]
    try:
        return found(*arguments)
    except (Exception, SystemExit) as error:
        call = f"({', '.join(f'{name} = {value}' for name, value in zip(('steps', 'dim'), arguments, strict=False))})"
        raise InputError(
            f"entry = {text!r}: called with {call} it ended with {_last_line(error)}; allowed: {WANTED}; remedy: correct it, "
            "or name another object"
        ) from error


def _check_schedule(text: str, found: Schedule) -> None:
    """A user's schedule on 17 times: tensors like t, noise-to-signal rising with t, ≥ 0, not NaN. Raises InputError."""
    t = torch.linspace(0, 1, 17, dtype=torch.float64)
    try:
        signal, noise = found.coefficients(t)
        found.rates(t)  # numpy inside cannot be differentiated
        wrong = (
            "" if signal.shape == noise.shape == t.shape else f"shapes {tuple(signal.shape)}, {tuple(noise.shape)} for (17,)"
        )
        if not wrong:
            level = noise / signal
            bad = ~((signal >= 0) & (noise >= 0) & (level >= 0)) | torch.cat([level.new_zeros(1).bool(), ~(level.diff() > 0)])
            at = int(bad.double().argmax())
            wrong = f"signal {signal[at]:.4g}, noise {noise[at]:.4g} at t = {t[at]:.4g}" if bool(bad.any()) else ""
    except (Exception, SystemExit) as error:
        raise InputError(
            f"entry = {text!r}: its coefficients(t) of 17 times ended with {_last_line(error)}; allowed: (signal, noise), "
            "tensors like t, by operations of torch; remedy: correct it"
        ) from error
    if wrong:
        raise InputError(
            f"entry = {text!r}: its coefficients give {wrong}; allowed: shapes as t, both ≥ 0, noise/signal rising from data "
            "(t = 0) to noise (t = 1); remedy: correct it"
        )


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
    words = [word.strip() for word in text.split(",") if word.strip()]
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
