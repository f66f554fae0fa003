"""Results on disk: NetCDF, plain arrays, figures and text, written whole or not at all, the same bytes for the same content.

Every dataset carries the settings and the seed it was made with, and the version and the commit of the code.
A file appears under its name only when complete (written beside it, flushed, renamed), so an interrupted run leaves
no half result. Nothing here stores a time or a random identifier: two runs can be compared byte by byte.
"""

from __future__ import annotations

import functools
import io
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

import theory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
CODE = ("theory", "synthetic", "imagenet")

# One dash pattern and one marker per colour of the palette: curves stay apart in print and for any eye.
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P")


def save(dataset: xr.Dataset, path: str | os.PathLike[str], *, settings: Mapping[str, Any], seed: int) -> None:
    """Write `dataset` as NetCDF with its provenance (settings, seed, version, commit) in the attributes.

    `settings` must be JSON (text, finite numbers, true/false, null, lists, mappings); else ValueError.
    """
    labelled = dataset.assign_attrs(settings=_json(settings), seed=int(seed), version=theory.__version__, commit=commit())
    with whole(path) as temporary:
        labelled.to_netcdf(temporary, engine="h5netcdf")


def load(path: str | os.PathLike[str]) -> xr.Dataset:
    """The dataset at `path`, in memory, the file closed. Raises FileNotFoundError if there is none."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no result at {path}; allowed: a file made by a rule; remedy: snakemake --cores all")
    return xr.load_dataset(path, engine="h5netcdf")


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write `figure` as SVG. The salt and the missing date make equal figures equal files."""
    import matplotlib as mpl  # a machine that only trains draws nothing and need not have it

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "theory"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    atomic_text(path, buffer.getvalue())


def save_arrays(path: str | os.PathLike[str], **arrays: Any) -> None:
    """Write named arrays to `path` as .npz, whole or not at all. Creates the folder."""
    with whole(path) as temporary, temporary.open("wb") as opened:
        np.savez(opened, **arrays)


@contextmanager
def arrays(path: str | os.PathLike[str], allowed: str, remedy: str) -> Iterator[dict[str, np.ndarray]]:
    """Every array of an .npz, to be made into something inside the block.

    Raises FileNotFoundError; ValueError, with what is `allowed` and the `remedy`, for a file that is damaged or holds pickles,
    and for whatever goes wrong in the block.
    """
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
        yield found
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib, numpy and torch each have their own
        raise ValueError(f"{path} cannot be read ({error}); allowed: {allowed}; remedy: {remedy}") from error


def atomic_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all. Creates the folder."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def style() -> Iterator[None]:
    """The look of every figure: a colour-blind-safe palette whose lines also differ in dash, for print in grey.

    Matplotlib's cycle gives line k colour k and dash k; points take MARKERS[k] by hand, since a marker in the
    cycle would also put points on every theory line.
    """
    import matplotlib as mpl
    import seaborn as sns
    from cycler import cycler

    colours = sns.color_palette("colorblind", n_colors=len(LINES))
    ours = {
        **sns.axes_style("whitegrid"),
        **sns.plotting_context("paper"),
        "axes.prop_cycle": cycler(color=colours, linestyle=LINES),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.constrained_layout.use": True,
        "legend.frameon": False,
    }
    with mpl.rc_context(ours):
        yield


@functools.cache
def commit() -> str:
    """The git commit of the code, "-dirty" appended if the packages differ from it; "unknown" outside git.

    Only the packages' own folders are compared, so results or notes lying about do not change what a result records.
    """
    if not (ROOT / ".git").exists():  # installed from a wheel, perhaps inside somebody else's repository
        return "unknown"
    try:
        head, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", *CODE)
    except (OSError, subprocess.SubprocessError):  # no git on this machine, or no commit yet
        return "unknown"
    return f"{head}-dirty" if changes else head


def _git(*arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def _json(settings: Mapping[str, Any]) -> str:
    try:
        return json.dumps(settings, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"settings = {settings!r} is not JSON ({error}); allowed: text, finite numbers, true, false, null, "
            "lists, mappings; remedy: convert arrays with .tolist()"
        ) from error


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name once the block succeeded, and is removed if it did not."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)  # mkstemp makes it private
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
