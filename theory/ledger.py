"""The ledger: what is claimed, where, what theory predicts, what was measured, and the verdict.

A margin is fixed before measuring; where one moved after a first look, its module says so. A measured error whose error bar
straddles the margin is undecided, never rounded to a yes. Each experiment leaves its rows in verdict.json; `gather` reads them
all, and `theory.table` makes tables of them.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from theory.record import atomic_text

COLUMNS = ("id", "source", "statement", "conditions", "predicted", "measured", "error", "margin", "verdict")
FilePath = str | os.PathLike[str]


class Verdict(StrEnum):
    """What became of a claim: the first three and refuted by argument, the others by measurement."""

    PROVED = "proved"  # symbolically, for all values its conditions allow
    CERTIFIED = "certified"  # by interval arithmetic, on a stated range
    VERIFIED = "verified"  # by numbers on stated cases, or by steps that rest on something named which no step checks
    HOLDS = "holds"  # measured error within the margin, error bar included
    REFUTED = "refuted"  # its steps establish that it does not hold under the stated conditions
    FAILS = "fails"  # measured error beyond the margin, error bar included
    UNDECIDED = "undecided"  # the error bar is wider than the distance to the margin, or there is no measurement


@dataclass(frozen=True)
class Claim:
    """One sentence that can be true or false. `source`: paper and section; `conditions`: under which it is claimed."""

    id: str
    source: str
    statement: str
    conditions: str

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, str) or (not value.strip() and field.name != "conditions"):
                raise ValueError(
                    f"claim {self.id!r}: {field.name} = {value!r}; allowed: a text that is not empty; "
                    "remedy: every claim says what it states and where it comes from"
                )


@dataclass(frozen=True)
class Row:
    """One line of the ledger. `error` ≥ 0, or NaN if there is none; `margin` ≥ 0 and finite, in the same unit."""

    claim: Claim
    predicted: str
    measured: str
    error: float
    margin: float
    verdict: Verdict

    def __post_init__(self) -> None:
        _check(self.error, self.margin, 0.0, f"claim {self.claim.id!r}: ")
        plain = {"error": float(self.error), "margin": float(self.margin), "verdict": Verdict(self.verdict)}
        for name, value in plain.items():
            object.__setattr__(self, name, value)  # plain floats, also from NumPy scalars: equal rows print equal


@dataclass(frozen=True)
class Decision:
    """The verdict on a claim about all of several cases, and the case that decides it: index, error and its standard error."""

    at: tuple[int, ...]
    error: float
    bar: float
    margin: float
    verdict: Verdict

    def row(self, claim: Claim, predicted: str, measured: str) -> Row:
        return Row(claim, predicted, measured, self.error, self.margin, self.verdict)


def decide(errors: npt.ArrayLike, margin: float, standard_errors: npt.ArrayLike = 0.0, *, k: npt.ArrayLike = 2.0) -> Decision:
    """HOLDS if error + k·se ≤ margin in every case, FAILS if error − k·se > margin in one, else UNDECIDED.

    `errors` of any shape, one number for one case, are distances, so ≥ 0; standard errors and k broadcast against them. Of
    failing cases the one decides that fails most clearly, else the one with the largest error + k·se; a NaN decides before all
    that do not fail: that case is unknown, so UNDECIDED. Raises ValueError without a case, and for a number out of range.
    """
    found = np.asarray(errors, dtype=np.float64)
    if not found.size:
        raise ValueError("no case to judge; allowed: one error or more; remedy: measure, or report undecided")
    bar, factor = (np.broadcast_to(np.asarray(v, dtype=np.float64), found.shape) for v in (standard_errors, k))
    _check(_least(found), margin, _least(bar), "")
    if (factor < 0).any():
        raise ValueError(f"k = {_least(factor)}; allowed: ≥ 0, or NaN for none; remedy: 2, or student_k")
    with np.errstate(invalid="ignore"):  # ∞ − ∞ and 0·∞ are unknown, not wrong
        least, most = found - factor * bar, found + factor * bar
    failing = least > margin
    at = np.unravel_index(int(np.argmax(np.where(failing, least, -np.inf) if failing.any() else most)), found.shape)
    if failing.any():
        verdict = Verdict.FAILS
    else:
        verdict = Verdict.HOLDS if most[at] <= margin else Verdict.UNDECIDED
    return Decision(tuple(int(i) for i in at), float(found[at]), float(bar[at]), margin, verdict)


def _least(values: npt.NDArray[np.float64]) -> float:
    """The least number there is, NaN if there is none."""
    return float(np.fmin.reduce(values, axis=None))


def student_k(freedom: npt.ArrayLike, rows: int = 1) -> Any:
    """The k of `decide` for a standard error of few values: 95 % of Student's law with `freedom` is within k either side.

    With `rows` judged side by side, 95 % that none of them is misjudged (Bonferroni): 1 − 5 %/rows each. A float, or an array
    of the shape of `freedom`; NaN, so undecided, where that is below 1.
    """
    from scipy.stats import t as student  # seconds to import, and most verdicts have a k of their own

    return student.ppf(1 - 0.025 / rows, freedom)


def largest_score(count: int) -> float:
    """What the largest of `count` deviations, in standard errors, stays below with probability 95 % or more (Bonferroni)."""
    from scipy.special import ndtri  # as in `student_k`

    return float(ndtri(1 - 0.025 / count))


def write(rows: Iterable[Row], path: FilePath) -> None:
    """Write rows as JSON, whole or not at all. NaN becomes null and infinity the text "inf": JSON has neither."""
    listed = [
        {**asdict(row.claim), **{name: _plain(getattr(row, name)) for name in COLUMNS[4:]}} for row in _unique(rows, path)
    ]
    atomic_text(path, json.dumps(listed, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read(path: FilePath) -> list[Row]:
    """The rows of one verdict.json. Raises ValueError naming the file and what is wrong with it."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
        return [_row(entry) for entry in entries]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a list of ledger rows ({type(error).__name__}: {error}); allowed: objects with the keys "
            f"{', '.join(COLUMNS)}; remedy: delete it and run snakemake again"
        ) from error


def gather(paths: Iterable[FilePath]) -> list[Row]:
    """The rows of many files in natural order of id (A2 before A10). Raises ValueError if two rows share an id."""
    homes: dict[str, FilePath] = {}
    rows: list[Row] = []
    for path in paths:
        for row in read(path):
            if row.claim.id in homes:
                _refuse_twice(row.claim.id, homes[row.claim.id], path)
            homes[row.claim.id] = path
            rows.append(row)
    return sorted(rows, key=lambda row: natural(row.claim.id))


def _check(error: float, margin: float, standard_error: float, prefix: str) -> None:
    wrong = [
        f"{name} = {value}; allowed: {allowed}"
        for name, value, fine, allowed in (
            ("error", error, not error < 0, "a distance ≥ 0, or NaN for none"),
            ("margin", margin, 0 <= margin < math.inf, "finite and ≥ 0"),
            ("standard_error", standard_error, not standard_error < 0, "≥ 0, or NaN for none"),
        )
        if not fine
    ]
    if wrong:
        raise ValueError(prefix + "; ".join(wrong) + "; remedy: report |measured − predicted|, and fix the margin first")


def _plain(value: Any) -> Any:
    """A JSON value for a cell: null for NaN, the text inf for infinity."""
    if not isinstance(value, str) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return value


def _row(entry: dict[str, Any]) -> Row:
    error = entry["error"]
    return Row(
        claim=Claim(**{name: entry[name] for name in COLUMNS[:4]}),
        predicted=entry["predicted"],
        measured=entry["measured"],
        error=math.nan if error is None else float(error),
        margin=float(entry["margin"]),
        verdict=Verdict(entry["verdict"]),
    )


def _unique(rows: Iterable[Row], path: FilePath) -> list[Row]:
    listed = list(rows)
    ids = [row.claim.id for row in listed]
    for name in ids:
        if ids.count(name) > 1:
            _refuse_twice(name, path, path)
    return listed


def _refuse_twice(name: str, first: FilePath, second: FilePath) -> None:
    raise ValueError(
        f"claim id {name!r} is judged twice, in {first} and in {second}; allowed: one row per id; "
        f"remedy: rename one of them, for example {name}-2"
    )


def natural(name: str) -> list[tuple[int, int, str]]:
    """A2 < A10 < B1: runs of digits compare as numbers."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]
