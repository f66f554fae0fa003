"""Real training on one GPU, in pieces: python -m imagenet.gpu run, or `make gpu`.

The work is a list of pieces, each below ten minutes on one large GPU or able to stop and go on: pack, train, sweep, benchmark
(`imagenet.gpu_pieces`, `imagenet.gpu_bench`). The same command goes on where it stopped, whether `--minutes` were over or it
was killed: a finished piece is a line of journal.jsonl, an unfinished one goes on from its own files, and no result is changed.
What is to be kept is then put together: small files with their provenance under results/reference/gpu/<size>, and the page made
from them. A run on a processor is a test of the path: its files stay under results/gpu and are marked so.

Runs with torch, numpy, scipy, scikit-learn, pillow, xarray and tqdm alone; figures are drawn where matplotlib is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from imagenet.distributed import device_of
from imagenet.gpu_plan import Plan, plain, read_plan, sizes
from theory import record

log = logging.getLogger(__name__)

JOURNAL, SETTINGS = "journal.jsonl", "settings.json"


class Clock:
    """Minutes left of those that were given; None: as many as it takes."""

    def __init__(self, minutes: float | None) -> None:
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes

    @property
    def left(self) -> float | None:
        return None if self._deadline is None else (self._deadline - time.monotonic()) / 60

    def holds(self, minutes: float) -> bool:
        """Whether that many are left."""
        return self.left is None or self.left >= minutes


@dataclass(frozen=True)
class Site:
    """Where a plan is run: device, data and weights by path, the folder of the work and that of the results."""

    plan: Plan
    device: str
    data: str | None
    weights: str | None
    work: Path
    out: Path

    @property
    def source(self) -> str:
        """What is packed. Raises ValueError where the plan wants a path and there is none."""
        source = self.data or self.plan.source
        if source is None:
            raise ValueError(
                f"no data for size {self.plan.size}; allowed: an .npz pack or a folder of images; "
                "remedy: make gpu DATA=cifar10.npz"
            )
        return source

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"


@dataclass(frozen=True)
class Piece:
    """run(clock) → whether it is finished; minutes: what it takes at least, on one H200-class GPU, before it can stop."""

    name: str
    minutes: float
    total: float
    run: Callable[[Clock], bool]


def site_of(
    size: str, device: str, data: str | None = None, weights: str | None = None, folder: str | Path | None = None
) -> Site:
    """Raises ValueError for a size, device or path that is not there, before any work."""
    plan = read_plan(size)
    place = device_of(device)
    for name, path in (("data", data), ("weights", weights)):
        if path is not None and path != "embedded" and not Path(path).exists():
            raise ValueError(f"{name} = {path} is not there; allowed: an existing path; remedy: check {name.upper()}=")
    work = Path(folder) if folder is not None else Path("results", "gpu", plan.size)
    reference = Path("results", "reference", "gpu", plan.size)
    out = reference if place.type != "cpu" and folder is None else work / "report"
    return Site(plan, str(place), data, weights, work, out)


# ---- the journal ------------------------------------------------------------------------------------------------------


def claim(site: Site) -> None:
    """Mark the folder as this run's. Raises ValueError if it is another one's: other plan, device, data or weights."""
    mine = {
        "plan": hashlib.sha256(plain(site.plan).encode()).hexdigest()[:16],
        "device": site.device,
        "data": site.data,
        "weights": site.weights,
    }
    file = site.work / SETTINGS
    if file.is_file():
        theirs = json.loads(file.read_text(encoding="utf-8"))
        differing = [f"{key}: {theirs.get(key)!r}, asked {mine[key]!r}" for key in mine if theirs.get(key) != mine[key]]
        if differing:
            raise ValueError(
                f"{site.work} holds another run ({'; '.join(differing)}); allowed: the same again; remedy: move that folder "
                "away, or give the values it was begun with"
            )
    record.atomic_text(file, json.dumps(mine, indent=1) + "\n")


def finished(site: Site) -> list[dict[str, Any]]:
    """The lines of the journal; one that was cut while it was written does not count."""
    file = site.work / JOURNAL
    found = []
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []:
        if line.endswith("\n"):
            found.append(json.loads(line))
    return found


def note(site: Site, entries: Sequence[dict[str, Any]]) -> None:
    """The journal whole: it is short, and so never half a line."""
    record.atomic_text(site.work / JOURNAL, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))


# ---- running ----------------------------------------------------------------------------------------------------------


def pieces_of(site: Site, only: Sequence[str] = ()) -> list[Piece]:
    """All pieces in their order, or those whose name begins with one of `only`."""
    from imagenet import gpu_bench, gpu_pieces

    every = [*gpu_pieces.pieces(site), *gpu_bench.pieces(site)]
    unknown = [name for name in only if not any(piece.name.startswith(name) for piece in every)]
    if unknown:
        raise ValueError(
            f"piece {unknown[0]!r}; allowed: {', '.join(p.name for p in every)}; remedy: one of them, or its start"
        )
    return [piece for piece in every if not only or any(piece.name.startswith(name) for name in only)]


def run(site: Site, minutes: float | None = None, only: Sequence[str] = ()) -> list[str]:
    """Do what is not done yet, as far as `minutes` reach; gather the results; return the names of the pieces that are left."""
    from imagenet import gpu_pieces

    wanted = pieces_of(site, only)
    site.source  # noqa: B018  (refuses a missing path before any work)
    claim(site)
    if site.on_gpu:
        torch.cuda.set_device(site.device)
    entries, clock = finished(site), Clock(minutes)
    done = {entry["piece"] for entry in entries}
    waiting = [piece for piece in wanted if piece.name not in done]
    worked = False
    while waiting and (clock.holds(waiting[0].minutes if site.on_gpu else 0.0) or not worked):
        piece, begun = waiting[0], time.perf_counter()
        log.info("%s begins", piece.name)
        complete, worked = piece.run(clock), True
        seconds = time.perf_counter() - begun
        if not complete:
            log.info("%s: stopped after %.0f s, to be continued", piece.name, seconds)
            break
        log.info("%s is finished after %.1f s", piece.name, seconds)
        entries.append({"piece": piece.name, "seconds": round(seconds, 2), "date": _now(), **gpu_pieces.hardware(site.device)})
        note(site, entries)
        waiting.pop(0)
    gpu_pieces.gather(site, entries)
    return [piece.name for piece in waiting]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def page(site: Site) -> Path:
    """The page of this run: docs/gpu.md from a GPU's files, one beside the files of a run on a processor."""
    from imagenet import gpu_page, gpu_results

    if site.on_gpu and site.out.parts[:2] == ("results", "reference"):
        return gpu_page.write(Path("docs", "gpu.md"), gpu_results.REFERENCE)
    return gpu_page.write(site.out / "gpu.md", site.out.parent, names=(site.out.name,))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Mistakes of the user end with a sentence and status 2, not with a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    options = _parser().parse_args(arguments)
    try:
        site = site_of(options.size, options.device, options.data, options.weights, options.folder)
        if options.command == "list":
            _list(site)
            return 0
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str((site.work / "compiled").absolute()))  # compile once, not per call
        only = ("pack", "bench") if options.command == "bench" else tuple(options.only or ())
        left = run(site, options.minutes, only)
        print(f"page: {page(site)}; results: {site.out}")
    except (ValueError, FileNotFoundError) as error:  # settings, checkpoints and devices raise kinds of ValueError
        print(f"error: {error}", file=sys.stderr)
        return 2
    if left:
        print(f"{len(left)} pieces are left ({', '.join(left)}): the same command goes on")
    else:
        print("nothing is left to do")
    return 0


def _list(site: Site) -> None:
    done = {entry["piece"]: entry["seconds"] for entry in finished(site)}
    every = pieces_of(site)
    for piece in every:
        state = f"done in {done[piece.name]:.0f} s" if piece.name in done else f"about {piece.total:.1f} min on one H200"
        print(f"{piece.name:48} {state}")
    print(f"{'left':48} about {sum(p.total for p in every if p.name not in done):.0f} min on one H200")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m imagenet.gpu", description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("run", "everything"), ("bench", "the benchmarks only"), ("list", "the pieces, and which are done")):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--size", default="small32", help=f"{', '.join(sizes())}, or a .json file")
        command.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
        command.add_argument("--data", help="an .npz pack or a folder of images; by default what the size names")
        command.add_argument("--weights", help="SqueezeNet's weights, for FD-SqueezeNet beside FD-PCA")
        command.add_argument("--minutes", type=float, help="begin nothing that does not fit into them")
        command.add_argument("--folder", help="of the work, by default results/gpu/SIZE; results then go to its folder report")
        if name == "run":
            command.add_argument("--only", action="append", help="pieces whose name begins so; may be repeated")
    return parser


if __name__ == "__main__":
    sys.exit(main())
