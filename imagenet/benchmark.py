"""What our loops cost against the bare network, as ratios in one run: `python -m imagenet.benchmark [NAME …]`, all by default.

As `theory.benchmark`, whose table this prints: ours and the alternative in turn, CPU seconds of one thread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from imagenet import settings
from imagenet.distributed import World
from imagenet.generate import Generator
from imagenet.knowledge import Knowledge
from imagenet.model import ResidualUViT
from imagenet.pack import Options, pack
from imagenet.prior import POOLED, Mixture, Prior
from imagenet.request import Request
from imagenet.settings import Model, Noise, Run, Training
from imagenet.train import Session
from imagenet.trainer import Trainer
from theory.benchmark import Cost, command, threads
from theory.per_image import Basis
from theory.spectrum import rings

MODELS = Path(__file__).resolve().parents[1] / "config" / "model"
CLASSES = 10


def _model(name: str) -> Model:
    return settings.build(Model, settings.load(MODELS / f"{name}.yaml"), name)


# ---- generation -----------------------------------------------------------------------------------------------------------


def power_law_knowledge(size: int) -> Knowledge:
    """Of a data set that never was: ten classes, slopes about 2.5 ± .3, as photographs have."""
    basis = Basis.none(rings(size, size))
    mixture = Mixture(np.ones(1), np.array([[3.0, 2.5]]), np.diag([0.5, 0.3])[None])
    names = tuple(f"class {k}" for k in range(CLASSES))
    counts, theta = torch.full((CLASSES,), 100), torch.tensor([[3.0, 2.5]], dtype=torch.float64)
    return Knowledge(size, names, counts, theta, 0.2 * size**2, Prior({POOLED: mixture}, names, basis))


class Beside:
    """A network that makes each forward pass twice and times the second: bare passes under the same load, step by step.

    Whole batches timed in turn differ by more than what is asked about, where other programs share the processor. The first
    pass, the sampler's own, finds the cache as the sampler's arithmetic left it.
    """

    def __init__(self, network: ResidualUViT) -> None:
        self.network, self.seconds = network, 0.0

    def __call__(self, *inputs: Tensor) -> Tensor:
        predicted: Tensor = self.network(*inputs)
        begun = time.process_time()
        self.network(*inputs)
        self.seconds += time.process_time() - begun
        return predicted


def generation(repeats: int = 3) -> list[Cost]:
    """Drawing a batch, schedules and noise of each image included, against as many forward passes of the network alone.

    A batch's schedules are made once, so what it costs falls with the steps: the promise is for the default 32; at 8 steps of
    the small network the same is shown without one (a split made after a first look, when 8 steps cost up to 1.2).
    """
    out = []
    for name, batch, steps, promised in (("nano32", 32, 8, False), ("nano32", 32, 32, True), ("small32", 4, 4, True)):
        model = _model(name)
        network = Beside(ResidualUViT(model, CLASSES).eval())
        limit = 1 / 0.95 if promised else math.inf
        for kind in ("shifted cosine", "spectral"):
            run = Run(name, model, Training(1, 1), Noise(kind))
            generator = Generator(run, network, power_law_knowledge(model.resolution))
            for sampler in ("ancestral", "DDIM"):
                request = Request(sampler, steps, count=batch, batch=batch)
                with threads(1):
                    ours, bare = _drawn(generator, network, request, repeats)
                case = f"{name}, {kind}, {sampler}, {batch} images, {steps} steps"
                out.append(Cost("generation", case, ours, bare, "s", "forward passes", limit))
    return out


def _drawn(generator: Generator, network: Beside, request: Request, repeats: int) -> tuple[float, float]:
    """(seconds of drawing, seconds of as many bare passes), means over `repeats` after one that is not counted."""
    generator.sample(request)
    network.seconds, begun = 0.0, time.process_time()
    for _ in range(repeats):
        generator.sample(request)
    bare = network.seconds
    return (time.process_time() - begun - bare) / repeats, bare / repeats


# ---- training -------------------------------------------------------------------------------------------------------------


def training() -> list[Cost]:
    """A step of the training loop against forward, backward and optimiser's step of the same network on one batch.

    The loop's step has all that comes at every step: images, order, schedule, noise, clipping, averages, watching; not what
    comes at intervals: reports, samples, checkpoints. Data-wait is wall seconds, of the loop's own. Medians of steps in turn:
    the best of three, as it was, differed by a tenth between runs.
    """
    out = []
    with TemporaryDirectory() as folder, threads(1):
        packed = pack("embedded", Path(folder) / "pack", 32, Options(patches=8), workers=1)
        # small32 at 4 images gave 1.02 and 1.12 on a busy machine at first look: clipping, norm and average pass over 24
        # million weights whatever the batch, and real batches have 512.
        for name, batch, steps in (("nano32", 32, 24), ("small32", 8, 6)):
            for kind in ("shifted cosine", "spectral"):
                run = Run(name, _model(name), Training(1_000_000, batch), Noise(kind))
                looped = Looped(Session(Trainer(run, packed, World(0, 1, torch.device("cpu"))), Path(folder)))
                bare = Bare(run, len(packed.class_names))
                loop, alone = _in_turn(looped.step, bare.step, steps)
                looped.close()
                case = f"{name}, {kind}, batches of {batch}"
                against = "forward, backward, step"
                out.append(Cost("training", f"{case}, a step", loop, alone, "s", against, 1 / 0.9))
                out.append(Cost("training", f"{case}, data-wait", looped.waited, looped.seconds, "s", "wall", 0.02))
    return out


def _in_turn(ours: Callable[[], None], alternative: Callable[[], None], steps: int) -> tuple[float, float]:
    """Median CPU seconds of a step of either, over `steps` of each in turn after a first pair that is not counted."""
    seconds = np.empty((steps + 1, 2))
    for row in seconds:
        for k, step in enumerate((ours, alternative)):
            begun = time.process_time()
            step()
            row[k] = time.process_time() - begun
    loop, alone = np.median(seconds[1:], axis=0)
    return float(loop), float(alone)


class Looped:
    """The steps of a training, one at a time."""

    def __init__(self, session: Session) -> None:
        self._session, self._batches = session, session.trainer.feed.batches(0, 1_000_000)
        self.waited = self.seconds = 0.0

    def step(self) -> None:
        begun = time.perf_counter()
        batch, waited = next(self._batches)
        self._session.guarded(batch)
        self._session.watch()
        self._session.clock.count(len(batch), waited)
        if self._session.trainer.step > 1:  # the first batch has nothing to hide behind
            self.waited += waited
            self.seconds += time.perf_counter() - begun

    def close(self) -> None:
        self._batches.close()  # type: ignore[attr-defined]


class Bare:
    """The network, torch's AdamW and a batch that is there already."""

    def __init__(self, run: Run, classes: int) -> None:
        self._network = ResidualUViT(run.model, classes).train()
        self._optimizer = torch.optim.AdamW(self._network.parameters(), 1e-4, fused=True)
        size, side = run.training.batch, run.model.resolution
        level = torch.linspace(-5, 5, size)
        self._inputs = (torch.randn(size, 3, side, side), torch.arange(size) % classes, level, level + 5, level - 5)
        self._target = torch.randn(size, 3, side, side)

    def step(self) -> None:
        loss = (self._network(*self._inputs) - self._target).square().mean()
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()


BENCHMARKS: dict[str, Callable[[], list[Cost]]] = {"generation": generation, "training": training}


if __name__ == "__main__":
    command(BENCHMARKS)()
