"""One table of all claims, from the verdict.json of every experiment: CSV, Markdown, and the short one of README.

Commands: `python -m theory.table gather | readme`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from theory.ledger import COLUMNS, Row, Verdict, gather
from theory.record import atomic_text

BEGIN, END = "<!-- claims: begin, made by `make readme` from results/claims.csv -->", "<!-- claims: end -->"


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


def to_summary(rows: Sequence[Row]) -> str:
    """The short table of README: id, statement, verdict, and how many there are of each verdict."""
    counts = {verdict: sum(row.verdict is verdict for row in rows) for verdict in Verdict}
    tally = ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items() if count)
    lines = [("id", "statement", "verdict"), ("---",) * 3, *((r.claim.id, r.claim.statement, r.verdict.value) for r in rows)]
    return f"{len(rows)} claims: {tally}.\n\n" + "".join("| " + " | ".join(map(_one_line, line)) + " |\n" for line in lines)


def _cells(row: Row, number: Any) -> list[str]:
    claim = row.claim
    texts = [claim.id, claim.source, claim.statement, claim.conditions, row.predicted, row.measured]
    return [*texts, number(row.error), number(row.margin), row.verdict.value]


def _one_line(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")


@click.group()
def main() -> None:
    """Tables of all claims."""


@main.command("gather")
@click.argument("out_csv", type=click.Path(dir_okay=False))
@click.argument("out_md", type=click.Path(dir_okay=False))
@click.argument("in_json", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
def gather_command(out_csv: str, out_md: str, in_json: tuple[str, ...]) -> None:
    """Make one table, as CSV and as Markdown, of the rows in many verdict.json."""
    rows = gather(in_json)
    atomic_text(out_csv, to_csv(rows))
    atomic_text(out_md, to_markdown(rows))


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
