"""What a training says while it runs: numbers gathered on the device, a line of JSON now and then, and how long it still takes.

Reading a number back from a GPU makes it wait, so losses and counts are summed on the device and read at the log's interval
(`Meter`), and whether a step's gradient was finite arrives when it arrives, some steps later (`Flags`).

metrics.jsonl has a line per interval: step, loss, gradient_norm, learning_rate, loss_by_log_snr (mean of the loss per unit of
λ in bins of λ, null where no image fell: comparable between schedules), images_per_second, mfu (share of the GPU's peak, null
on others), data_wait (share of the time spent waiting for images), skipped, memory_gb, seconds. Speed and seconds are those of
steps: samples, snapshots and checkpoints are left out. TensorBoard gets the same numbers if it is installed.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import re
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from theory import record

log = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
BINS = tuple(-20.0 + 2.5 * k for k in range(17))  # edges in λ; what lies outside counts in the first or last bin
_MOST_PENDING = 8  # flags under way before the host waits for the oldest


class Sum(Protocol):
    """Of a tensor over all processes."""

    def __call__(self, values: Tensor) -> Tensor: ...


class Meter:
    """Sums of losses since the last reading, on the device, in one float32 vector: a reading is one transfer."""

    def __init__(self, device: torch.device) -> None:
        self._edges = torch.tensor(BINS[1:-1], device=device)
        self._count = len(BINS) - 1
        self._losses = torch.zeros(2 + 2 * self._count, device=device)
        self._norms = torch.zeros(2, device=device)

    @torch.no_grad()
    def add(self, loss: Tensor, density: Tensor, log_snr: Tensor) -> None:
        """The images of a micro-batch; not finite ones are left out."""
        good = torch.isfinite(loss)
        loss, density = (torch.where(good, v.detach(), torch.zeros_like(v)) for v in (loss, density))
        bins = torch.bucketize(log_snr, self._edges)
        self._losses[0] += loss.sum()
        self._losses[1] += good.sum()
        self._losses[2:].index_add_(0, torch.cat([bins, bins + self._count]), torch.cat([density, good.float()]))

    @torch.no_grad()
    def add_norm(self, norm: Tensor) -> None:
        """Of the gradient of a step."""
        good = torch.isfinite(norm)
        self._norms += torch.stack([torch.where(good, norm, torch.zeros_like(norm)), good.to(norm.dtype)])

    def read(self, total: Sum) -> dict[str, Any]:
        """Means since the last reading, over all processes; None where there is nothing to average. Starts anew."""
        values, norms = total(self._losses).tolist(), self._norms.tolist()
        self._losses.zero_()
        self._norms.zero_()
        sums, counts = values[2 : 2 + self._count], values[2 + self._count :]
        return {
            "loss": _mean(values[0], values[1]),
            "gradient_norm": _mean(norms[0], norms[1]),
            "loss_by_log_snr": [_mean(s, c) for s, c in zip(sums, counts, strict=True)],
        }


def _mean(total: float, count: float) -> float | None:
    return total / count if count else None


class Flags:
    """Whether each step was bad, told to the host without making it wait: on a GPU a few steps late."""

    def __init__(self) -> None:
        self._pending: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()

    def put(self, step: int, bad: Tensor) -> None:
        """`bad`: one element on the device, not 0 if the step was."""
        if bad.device.type != "cuda":
            self._pending.append((step, bad.detach(), None))
            return
        landed = torch.empty((), dtype=bad.dtype, pin_memory=True)
        landed.copy_(bad.detach(), non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._pending.append((step, landed, event))

    def arrived(self, everything: bool = False) -> list[tuple[int, bool]]:
        """(step, bad) of those that have arrived, in order; `everything` waits for all."""
        found = []
        while self._pending:
            step, value, event = self._pending[0]
            if event is not None and not event.query():
                if not everything and len(self._pending) <= _MOST_PENDING:
                    break
                event.synchronize()
            self._pending.popleft()
            found.append((step, bool(value != 0)))
        return found


@dataclass
class Clock:
    """Seconds since the last reading, and how many of them were spent waiting for data."""

    since: float = 0.0
    waited: float = 0.0
    images: int = 0

    def start(self) -> None:
        self.since, self.waited, self.images = time.perf_counter(), 0.0, 0

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What happens inside takes no time: samples and checkpoints are no steps."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.since += time.perf_counter() - begun

    def count(self, images: int, waited: float) -> None:
        """A step: images of all processes, seconds waited for them here."""
        self.images += images
        self.waited += waited

    def read(self, flop_per_image: float, peak: float | None, processes: int) -> dict[str, Any]:
        """Speed since the last reading. `peak` in FLOP/s of one device, None where it is unknown."""
        seconds = time.perf_counter() - self.since
        rate = self.images / seconds if seconds > 0 else 0.0
        values = {
            "images_per_second": rate,
            "mfu": rate * flop_per_image / (peak * processes) if peak else None,
            "data_wait": self.waited / seconds if seconds > 0 else 0.0,
            "seconds": seconds,
        }
        self.start()
        return values


def peak_flops(device: torch.device) -> float | None:
    """Dense bfloat16 peak of the device if it is known, FLOP/s: by the words of its name, and none for a part of one (MIG)."""
    if device.type != "cuda":
        return None
    from imagenet.count import PEAKS

    words = re.split(r"[\s-]+", torch.cuda.get_device_name(device))
    if {"MIG", "Laptop", "Ti", "D"} & set(words):  # a part of a GPU, or a sister of another speed
        return None
    known = [key for key in PEAKS if f"-{key}-" in f"-{'-'.join(words)}-"]
    return PEAKS[max(known, key=len)] * 1e12 if known else None


class Journal:
    """metrics.jsonl of a folder, and TensorBoard's files if it is installed."""

    def __init__(self, folder: Path, step: int) -> None:
        """Lines after `step`, of a piece of the training that was lost, are removed."""
        self.path = folder / METRICS
        if self.path.is_file():
            kept = [
                line for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines() if _step_of(line) <= step
            ]
            record.atomic_text(self.path, "".join(f"{line}\n" for line in kept))
        self._board = _board(folder, step)

    def write(self, values: Mapping[str, Any]) -> None:
        """One line. Numbers that are not finite become null, as JSON has none."""
        clean = {key: _finite(value) for key, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean, ensure_ascii=False, allow_nan=False) + "\n")
        if self._board is not None:
            for key, value in clean.items():
                if isinstance(value, int | float) and key != "step":
                    self._board.add_scalar(key, value, values["step"])

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, RecursionError):  # a line cut off by a kill, or damaged
        return math.inf


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return [_finite(v) for v in value] if isinstance(value, list) else value


def _board(folder: Path, step: int) -> Any:
    """Its numbers after `step`, of a piece that was lost, are removed too."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:  # installed, and not with what it needs
        log.warning("TensorBoard cannot be loaded (%s); metrics are in %s alone", error, METRICS)
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)


class Ticker:
    """How far a training is: a bar on a terminal; in a log a line at every tenth of the way, with the time it still takes."""

    def __init__(self, name: str, step: int, steps: int, speaks: bool) -> None:
        self._steps, self._name, self._speaks = steps, name, speaks
        self._first, self._begun = step, time.perf_counter()
        self._bar = tqdm(total=steps, initial=step, desc=name, unit="step") if speaks and sys.stderr.isatty() else None
        self._loss: float | None = None

    def loss(self, value: float | None) -> None:
        """The latest one known."""
        self._loss = value
        if self._bar is not None and value is not None:
            self._bar.set_postfix(loss=f"{value:.4f}", refresh=False)

    def tick(self, step: int) -> None:
        """`step` steps are done."""
        if self._bar is not None:
            self._bar.update(1)
        elif self._speaks and step * 10 // self._steps > (step - 1) * 10 // self._steps:
            left = (time.perf_counter() - self._begun) / max(1, step - self._first) * (self._steps - step)
            loss = "" if self._loss is None else f", loss {self._loss:.4f}"
            log.info("%s: step %d of %d%s, %.1f min left", self._name, step, self._steps, loss, left / 60)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
