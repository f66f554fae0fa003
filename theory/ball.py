"""Ball arithmetic as an `xp` namespace: the functions that formulas use, on python-flint's `arb`.

A ball contains every value of its formula over the ranges it was made from, rounding included, so `a < b` on balls is a theorem
about the whole range. `pieces` cuts a range so that the balls stay tight.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from flint import arb

pi = arb.pi()


def _method(name: str) -> Callable[[Any], arb]:
    def call(x: Any) -> arb:
        return getattr(arb(x), name)()

    call.__name__ = name
    return call


sqrt, exp, log, sin, cos, tan, tanh, cosh, sinh, atan, arctan, expm1, log1p, erfc = (
    _method(name)
    for name in ("sqrt", "exp", "log", "sin", "cos", "tan", "tanh", "cosh", "sinh", "atan", "atan", "expm1", "log1p", "erfc")
)


def interval(low: float, high: float) -> arb:
    """The smallest convenient ball that contains [low, high]. Raises ValueError when low > high."""
    if not low <= high:
        raise ValueError(f"interval [{low}, {high}]; allowed: low ≤ high; remedy: exchange the ends")
    return arb(low).union(arb(high))


def pieces(low: float, high: float, count: int, *, geometric: bool = False) -> Iterator[arb]:
    """`count` balls that cover [low, high], of equal width, or of equal ratio."""
    if geometric:
        edges = [low * (high / low) ** (k / count) for k in range(count + 1)]
    else:
        edges = [low + (high - low) * k / count for k in range(count + 1)]
    edges[0], edges[-1] = low, high
    for a, b in itertools.pairwise(edges):
        yield interval(a, b)
