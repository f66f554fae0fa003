"""Images in tables: parquet and arrow files, as Hugging Face's `datasets` writes them.

A table has a column `image` of {bytes, path}, bytes being the image's file, and a column `label` of integers; the schema's
metadata may name the classes. pyarrow, an optional extra, reads them; the reader asks no more of it than `Table`.
"""

from __future__ import annotations

import functools
import importlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from imagenet.data import SPLITS, TABLES, TOLERANCE, Images


class Table(Protocol):
    """One file of a table with a column of images: class names if it knows them, labels (n,), and rows in groups.

    `groups` are the rows of each group; `encoded` gives the images' bytes of group number `number`, None where absent.
    """

    names: tuple[str, ...] | None
    labels: np.ndarray
    groups: tuple[int, ...]

    def encoded(self, number: int) -> Sequence[bytes | None]: ...


def tables(path: Path, split: str = "train") -> list[Path]:
    """The table files under `path`, of the split if their names (train-00000-of-00294.parquet) or folders say one.

    All of them if nothing says so. Raises ValueError where other splits are named, or another split than train was asked for.
    """
    files = sorted(file for file in path.rglob("*") if file.suffix in TABLES and file.is_file())
    words = [{*file.relative_to(path).parts[:-1], *re.split(r"[-_.]", file.stem)} for file in files]
    mine = [file for file, said in zip(files, words, strict=True) if file.name.startswith(split) or split in said]
    known = sorted(set().union(*words) & SPLITS)
    if files and not mine and (known or split not in ("train", path.name)):
        raise ValueError(
            f"no table in {path} is of split = {split!r}; allowed: {', '.join(known) or 'train, which takes all here'}; "
            f"remedy: --split {known[0] if known else 'train'}, or the folder of one split"
        )
    return mine or files


def parquet(
    path: str | Path,
    size: int,
    *,
    split: str = "train",
    upsample: bool = False,
    tolerance: float = TOLERANCE,
    open_table: Callable[[Path], Table] | None = None,
) -> Images:
    """Parquet or arrow files, or a folder of them, with a column image (or img) of {bytes} and a column label, in sorted order.

    Read group by group; the last group stays in memory. `open_table` opens a file, by default with pyarrow. Raises
    FileNotFoundError for no files, ImportError without pyarrow, ValueError for files whose class names or labels do not fit.
    """
    root = Path(path)
    files = tables(root, split) if root.is_dir() else [root]
    if not files:
        raise FileNotFoundError(f"no {' or '.join(TABLES)} file in {root}; allowed: at least one; remedy: check the path")
    opener = _pyarrow_table if open_table is None else open_table
    opened_tables = [opener(file) for file in files]
    names = opened_tables[0].names
    for file, table in zip(files, opened_tables, strict=True):
        if table.names != names:
            raise ValueError(f"{file} has other class names than {files[0]}; allowed: the same; remedy: one data set a folder")
    labels = np.concatenate([table.labels for table in opened_tables]).astype(np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= (len(names) if names else np.inf)))
    if len(wrong):
        first, allowed = int(wrong[0]), f"0 … {len(names) - 1}" if names else "≥ 0"
        raise ValueError(
            f"{path}: label of image {first} is {labels[first]}; allowed: {allowed}; remedy: a split that has labels; test "
            "sets often have −1 for all"
        )
    starts = [(k, number) for k, table in enumerate(opened_tables) for number in range(len(table.groups))]
    edges = np.cumsum([0, *(rows for table in opened_tables for rows in table.groups)])

    @functools.lru_cache(maxsize=1)
    def group(place: int) -> Sequence[bytes | None]:
        file, number = starts[place]
        return opened_tables[file].encoded(number)

    def item(index: int) -> bytes:
        place = int(np.searchsorted(edges, index, side="right")) - 1
        found = group(place)[index - int(edges[place])]
        if found is None:
            raise ValueError("the row holds no image bytes")
        return found

    known = names or tuple(str(label) for label in range(int(labels.max(initial=-1)) + 1))
    return Images(size, torch.from_numpy(labels), known, item, lambda index: f"{path}[{index}]", upsample, tolerance)


def _pyarrow_table(file: Path) -> Table:
    try:
        pyarrow = importlib.import_module("pyarrow")  # optional: only tables need it
    except ImportError:
        raise ImportError(
            f"{file} needs pyarrow, which is not installed; allowed: images in a folder or an .npz pack without it; remedy: "
            'pip install pyarrow, or install this project with its extra "hf"'
        ) from None
    try:
        return _Parquet(file) if file.suffix == ".parquet" else _Arrow(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"{file} cannot be read ({error}); allowed: parquet or arrow; remedy: copy or download it again"
        ) from error


def _columns(file: Path, schema: Any) -> tuple[str, str, tuple[str, ...] | None]:
    """Names of the columns of images and labels, and the class names that Hugging Face keeps in the schema."""
    image = next((name for name in ("image", "img") if name in schema.names), None)
    label = next((name for name in ("label", "labels", "fine_label") if name in schema.names), None)
    if image is None or label is None:
        raise ValueError(
            f"{file} has the columns {', '.join(schema.names)}; allowed: image or img, and label, labels or fine_label; "
            "remedy: rename them"
        )
    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    names = described.get("info", {}).get("features", {}).get(label, {}).get("names")
    return image, label, tuple(names) if names else None


def _bytes(column: Any) -> list[bytes | None]:
    """Of rows {bytes, path}, or of plain bytes."""
    return [row["bytes"] if isinstance(row, dict) else row for row in column.to_pylist()]


class _Parquet:
    """A parquet file through pyarrow; the labels are read at once, images row group by row group."""

    def __init__(self, file: Path) -> None:
        self._file = importlib.import_module("pyarrow.parquet").ParquetFile(file)
        self._image, label, self.names = _columns(file, self._file.schema_arrow)
        self.labels = self._file.read([label]).column(0).to_numpy()
        self.groups = tuple(self._file.metadata.row_group(k).num_rows for k in range(self._file.num_row_groups))

    def encoded(self, number: int) -> list[bytes | None]:
        return _bytes(self._file.read_row_group(number, [self._image]).column(0))


class _Arrow:
    """A file of datasets.save_to_disk: a stream of record batches, mapped, not read."""

    def __init__(self, file: Path) -> None:
        pyarrow = importlib.import_module("pyarrow")
        table = importlib.import_module("pyarrow.ipc").open_stream(pyarrow.memory_map(str(file))).read_all()
        self._image, label, self.names = _columns(file, table.schema)
        self.labels = table.column(label).to_numpy()
        self._batches = table.to_batches()
        self.groups = tuple(batch.num_rows for batch in self._batches)

    def encoded(self, number: int) -> list[bytes | None]:
        return _bytes(self._batches[number].column(self._image))
