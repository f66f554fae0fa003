"""A journal of finished points, one line of JSON each: a run that is killed goes on from there.

A line holds the point (sampler, budget of evaluations, range of seeds), the key of what was measured and how, and the numbers.
Lines are added and flushed whole; a power failure can cut only the last one.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from theory import record

log = logging.getLogger(__name__)

Point = tuple[str, int, int]  # sampler, budget of evaluations, range of seeds


def read(path: Path, key: str) -> dict[Point, dict[str, Any]]:
    """The finished points under `key`. A last line that was cut is dropped, from the file too; other keys are left alone.

    Raises ValueError, with its number, for a broken line elsewhere.
    """
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        log.warning("the last line of %s was cut: that point is measured again", path)
        lines.pop()
        record.atomic_text(path, "".join(lines))
    found: dict[Point, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            sampler, budget, seed_range = entry["point"]
            values = {name: _from_json(value) for name, value in entry["values"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"line {number} of {path} is not a point ({error}); allowed: lines that this program wrote; remedy: delete it"
            ) from error
        if entry.get("key") == key:
            found[sampler, budget, seed_range] = values
    return found


def append(path: Path, key: str, point: Point, values: Mapping[str, Any]) -> None:
    """Add one line; NaN is written as null, since JSON has none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(
        {"key": key, "point": point, "values": {name: _to_json(v) for name, v in values.items()}}, allow_nan=False
    )
    with path.open("a", encoding="utf-8") as opened:
        opened.write(line + "\n")
        opened.flush()
        os.fsync(opened.fileno())


def _to_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    return math.nan if value is None else value
