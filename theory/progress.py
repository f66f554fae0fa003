"""A bar on a terminal, a plain line at every tenth of the way in a log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
log = logging.getLogger(__name__)


def progress(iterable: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items of `iterable`, showing how many of `total` (by default its length, if it has one) are done."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if sys.stderr.isatty():
        yield from tqdm(iterable, desc=description, total=total)
        return
    for done, item in enumerate(iterable, start=1):
        yield item
        if total and done * 10 // total > (done - 1) * 10 // total:
            log.info("%s: %d of %d", description, done, total)
