"""A file in parts, for places that limit the size of files: NAME as NAME.000-of-004 … beside it.

Parts are bytes, cut anywhere; `imagenet.checkpoint.read` takes NAME when only its parts are there, and its digest tells whether
they belong together.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from theory import record


class CheckpointError(ValueError):
    """A checkpoint is absent, damaged, of another configuration, or cannot be written."""


def split(path: str | os.PathLike[str], megabytes: float) -> list[Path]:
    """NAME in parts NAME.000-of-004 … of at most `megabytes` beside it, which `read` and `load_network` take for NAME.

    The file itself stays. Raises CheckpointError if it is absent or would make more than 1000 parts.
    """
    source = Path(path)
    if not source.is_file():
        raise CheckpointError(f"no file {source} to split; allowed: a checkpoint; remedy: check the path")
    limit = int(megabytes * 1e6) if megabytes > 0 else 0
    size = source.stat().st_size
    count = -(-size // limit) if limit else 0
    if not 1 <= count <= 1000:
        raise CheckpointError(
            f"{source} of {size / 1e6:.1f} MB in parts of {megabytes} MB; allowed: 1 … 1000 parts; remedy: larger parts"
        )
    for old in source.parent.glob(f"{source.name}.*-of-*"):
        old.unlink()
    made = []
    with source.open("rb") as file:
        for k in range(count):
            part = source.with_name(f"{source.name}.{k:03d}-of-{count:03d}")
            with record.whole(part) as temporary:
                temporary.write_bytes(file.read(limit))
            made.append(part)
    return made


def join(path: str | os.PathLike[str]) -> Path:
    """NAME again, from its parts. Raises CheckpointError, naming those that are missing."""
    target = Path(path)
    parts = parts_of(target)
    if not parts:
        raise CheckpointError(f"no parts of {target}; allowed: {target.name}.000-of-…; remedy: check the path")
    with record.whole(target) as temporary, temporary.open("wb") as file:
        for part in parts:
            file.write(part.read_bytes())
    return target


def parts_of(target: Path) -> list[Path]:
    """Those of NAME, in order; none if there are none. Raises CheckpointError, naming what is missing, if some are."""
    pattern = re.compile(re.escape(target.name) + r"\.(\d{3})-of-(\d{3,4})")
    found = {m.group(): m for p in target.parent.glob("*-of-*") if (m := pattern.fullmatch(p.name))}
    if not found:
        return []
    count = max(int(m.group(2)) for m in found.values())
    width = len(next(iter(found.values())).group(2))
    wanted = [f"{target.name}.{k:03d}-of-{count:0{width}d}" for k in range(count)]
    lacking = [name for name in wanted if name not in found]
    if lacking or len(found) != count:
        raise CheckpointError(
            f"parts of {target}: {len(found)} found, missing {', '.join(lacking) or 'none'}; allowed: {count} of one splitting"
            "; remedy: copy those that are missing, remove those of another splitting"
        )
    return [target.with_name(name) for name in wanted]
