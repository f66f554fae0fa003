"""The ledger: what is claimed, where, what theory predicts, what was measured, and the verdict.

A margin is fixed before measuring; where one moved after a first look, its module says so. A measured error whose error bar
straddles the margin is undecided, never rounded to a yes. Each experiment leaves its rows in verdict.json; `gather` makes one
table of them all.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import click
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


def judge(error: float, margin: float, standard_error: float = 0.0, *, k: float = 2.0) -> Verdict:
    """HOLDS if error + k·se ≤ margin, FAILS if error − k·se > margin, else UNDECIDED; a NaN error is UNDECIDED.

    `error` is a distance, so ≥ 0; `standard_error` is its own. Raises ValueError for a number out of range.
    """
    _check(error, margin, standard_error, "")
    if math.isnan(error) or math.isnan(standard_error):
        return Verdict.UNDECIDED
    if error + k * standard_error <= margin:
        return Verdict.HOLDS
    return Verdict.FAILS if error - k * standard_error > margin else Verdict.UNDECIDED


def decisive(errors: npt.ArrayLike, margin: float, standard_errors: npt.ArrayLike = 0.0, *, k: float = 2.0) -> tuple[int, ...]:
    """Index of the case that decides a claim about all of them: one that fails where any does, else the largest error + k·se.

    Then `judge` of that case is FAILS if a case fails, HOLDS if all hold, and UNDECIDED otherwise. Of failing cases, the one
    that fails most clearly. A NaN decides before all that do not fail: that case is unknown. Raises ValueError without a case.
    """
    found = np.asarray(errors, dtype=np.float64)
    bars = k * np.broadcast_to(np.asarray(standard_errors, dtype=np.float64), found.shape)
    if not found.size:
        raise ValueError("no case to judge; allowed: one error or more; remedy: measure, or report undecided")
    failing = found - bars > margin
    order = np.where(failing, found - bars, -np.inf) if failing.any() else found + bars
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(order)), found.shape))


def student_k(freedom: int, rows: int = 1) -> float:
    """The k of `judge` for a standard error of few values: 95 % of Student's law with `freedom` ≥ 1 is within k either side.

    With `rows` judged side by side, 95 % that none of them is misjudged (Bonferroni): 1 − 5 %/rows each.
    """
    from scipy.stats import t as student  # seconds to import, and most verdicts have a k of their own

    return float(student.ppf(1 - 0.025 / rows, freedom))


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


def to_csv(rows: Sequence[Row]) -> str:
    """The table as CSV, numbers in full: they read back to the same float."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_cells(row, repr) for row in rows)
    return out.getvalue()


def to_markdown(rows: Sequence[Row]) -> str:
    """The table as GitHub Markdown, numbers to three digits."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(_cells(row, "{:.3g}".format) for row in rows)]
    return "".join("| " + " | ".join(_one_line(cell) for cell in line) + " |\n" for line in lines)


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


def _cells(row: Row, number: Any) -> list[str]:
    claim = row.claim
    texts = [claim.id, claim.source, claim.statement, claim.conditions, row.predicted, row.measured]
    return [*texts, number(row.error), number(row.margin), row.verdict.value]


def _one_line(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")


@click.group()
def main() -> None:
    """The ledger of claims."""


@main.command("gather")
@click.argument("out_csv", type=click.Path(dir_okay=False))
@click.argument("out_md", type=click.Path(dir_okay=False))
@click.argument("in_json", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
def gather_command(out_csv: str, out_md: str, in_json: tuple[str, ...]) -> None:
    """Make one table, as CSV and as Markdown, of the rows in many verdict.json."""
    rows = gather(in_json)
    atomic_text(out_csv, to_csv(rows))
    atomic_text(out_md, to_markdown(rows))


BEGIN, END = "<!-- claims: begin, made by `make readme` from results/claims.csv -->", "<!-- claims: end -->"


def to_summary(rows: Sequence[Row]) -> str:
    """The short table of README: id, statement, verdict, and how many there are of each verdict."""
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    tally = ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count)
    lines = [("id", "statement", "verdict"), ("---",) * 3, *((r.claim.id, r.claim.statement, r.verdict.value) for r in rows)]
    return f"{len(rows)} claims: {tally}.\n\n" + "".join("| " + " | ".join(map(_one_line, line)) + " |\n" for line in lines)


@main.command("readme")
@click.argument("readme", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("in_json", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
def readme_command(readme: Path, in_json: tuple[str, ...]) -> None:
    """Put the short table of the rows in many verdict.json between the markers of README."""
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise click.ClickException(f"{readme} lacks the markers; allowed: one line {BEGIN!r} and after it one {END!r}")
    head, tail = text[: text.index(BEGIN)], text[text.index(END) :]
    atomic_text(readme, f"{head}{BEGIN}\n\n{to_summary(gather(in_json))}\n{tail}")


if __name__ == "__main__":
    main()
