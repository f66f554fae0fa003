"""Training: a loop around `imagenet.trainer`, so that a run is the same whether it is interrupted or not.

Images, flips, times, dropped labels and noise are functions of seed and step (`imagenet.order`), dropout of seed, step and
place in the batch; a checkpoint holds everything else. So the same command continues after a kill, and on a processor ends
with the same bits. One process, several (`imagenet.distributed`), or micro-batches whose gradients are added: the same
global batch, equal up to the order of sums; with dropout, equal in distribution.

AdamW with a warm-up to a constant rate, the gradient's norm clipped, float32 weights with bfloat16 autocast if asked for. A
step whose gradient is not finite changes nothing; after five in a row training stops. The host reads nothing from the device
between the log's intervals. The folder of a training holds

    run.json, metrics.jsonl      settings; a line per interval (`imagenet.monitor`)
    changes.jsonl                settings that were changed on the way, if any were (`imagenet.checkpoint.TOLD`)
    checkpoints/                 the last few (`imagenet.checkpoint`)
    samples/step-….png           the same noise drawn through the averaged network as it learns
    averages/step-….pt           power averages, if training.post_hoc_every is set (`imagenet.ema`)
    nonfinite/step-….json        images, times and λ of a step that was skipped
    network.pt                   the averaged weights, when training is finished
    knowledge.npz, prior.npz     what generation needs of the data (`imagenet.knowledge`)
    .lock                        held while a process trains here (`imagenet.folders`)
"""

from __future__ import annotations

import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import torch

from imagenet import checkpoint, count, distributed, ema, folders, monitor, order, settings
from imagenet.checkpoint import Checkpoint, Weights
from imagenet.distributed import Sharding, World
from imagenet.failures import of_compiler, out_of_memory
from imagenet.feed import Batch, Feed
from imagenet.knowledge import Knowledge
from imagenet.model import ResidualUViT
from imagenet.packed import Packed
from imagenet.resume import agreed
from imagenet.settings import Run
from imagenet.trainer import Trainer, learning_rate
from theory import record

log = logging.getLogger(__name__)

MOST_SKIPPED = 5  # steps in a row without a finite gradient
_MOST_DUMPED = 20
AVERAGES, CHANGES = "averages", "changes.jsonl"


class TrainingError(RuntimeError):
    """Training cannot go on."""


class Terminated(TrainingError):
    """Training was told to end (SIGTERM) and has saved `checkpoint`."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"terminated; saved {path}; the same command continues from there")
        self.checkpoint = path


def train(
    run: Run,
    packed: Packed,
    folder: str | Path,
    *,
    device: str = "cpu",
    resume: bool = True,
    max_minutes: float | None = None,
    sharding: Sharding = "ddp",
) -> Path:
    """Train, or continue, in `folder`; return network.pt when finished, or the last checkpoint when `max_minutes` were over.

    `checkpoint.load_network` reads either. `resume=False` begins anew, removing the checkpoints there. Under torchrun every
    process calls this. Raises ValueError (settings, data, device, folder, checkpoint) before work begins; TrainingError when
    training cannot go on, CheckpointError when a checkpoint cannot be written; Terminated after SIGTERM. All say what to do.
    """
    if max_minutes is not None and not max_minutes > 0:
        raise ValueError(f"max_minutes = {max_minutes}; allowed: > 0; remedy: leave it out for no limit")
    folders.refuse_pack(Path(folder))
    deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    world = distributed.world(device)
    try:
        with _termination() as told:
            session = Session(Trainer(run, packed, world, sharding), Path(folder))
            with folders.alone(Path(folder), world):
                session.begin(resume)
                return session.loop(told.is_set, lambda: time.monotonic() >= deadline)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, TrainingError) or not out_of_memory(error):
            raise
        raise TrainingError(_memory_advice(world, run)) from error


@contextmanager
def _termination() -> Iterator[threading.Event]:
    """An event that SIGTERM sets. Only the main thread can ask for signals; elsewhere it is never set."""
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)


class Session:
    """A trainer and the folder it leaves its results in."""

    def __init__(self, trainer: Trainer, folder: Path) -> None:
        self.trainer, self.folder, self.run = trainer, folder, trainer.run
        self.first, self.wait = trainer.world.first, trainer.world.wait
        self.clock, self.in_a_row = monitor.Clock(), 0
        counted = count.count(self.run.model, trainer.classes, self.run.objective.told)
        self.flop = float(count.training_flop(counted, self.run.training.recompute))

    def begin(self, resume: bool) -> None:
        """Continue from the last checkpoint of the folder, if there is one; or, unless `resume`, remove it and begin anew."""
        trainer = self.trainer
        if self.first and not resume:
            checkpoint.thin(self.folder, 0)
            snapshots = (self.folder / AVERAGES).glob("*.pt")
            for old in (*(self.folder / name for name in (checkpoint.FINISHED, monitor.METRICS, CHANGES)), *snapshots):
                old.unlink(missing_ok=True)
        self.wait()
        found = agreed(self.folder, trainer.world, self.run, trainer.packed.fingerprint, trainer.spectra)
        if found is not None:
            saved, path = found
            trainer.set_state(saved, str(path))
            log.info("%s: continuing from %s, step %d of %d", self.run.name, path, trainer.step, self.run.training.steps)
            self.tell(checkpoint.changes(saved, self.run))
            if self.first and trainer.spectra and not saved.spectra:
                log.warning(
                    "%s: an earlier version wrote %s, without its spectra: see to it that they are these", self.run.name, path
                )
        if self.first:
            if trainer.step < self.run.training.steps:  # of a shorter training that goes on: it would pass for this one's
                (self.folder / checkpoint.FINISHED).unlink(missing_ok=True)
            text = json.dumps(settings.as_dict(self.run), indent=1, ensure_ascii=False)
            record.atomic_text(self.folder / "run.json", text + "\n")
            Knowledge.of(trainer.packed).save(self.folder)

    def tell(self, changes: list[str]) -> None:
        """That training goes on with other settings: in the log, and in a line of changes.jsonl."""
        if changes and self.first:
            log.warning("%s: from step %d on, other settings: %s", self.run.name, self.trainer.step, "; ".join(changes))
            with (self.folder / CHANGES).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.trainer.step, "old and new": changes}, ensure_ascii=False) + "\n")

    def loop(self, told: Callable[[], bool], late: Callable[[], bool]) -> Path:
        """Until the last step, or until told to stop or late; see `train`."""
        trainer, training, world = self.trainer, self.run.training, self.trainer.world
        journal = monitor.Journal(self.folder, trainer.step) if self.first else None
        ticker = monitor.Ticker(self.run.name, trainer.step, training.steps, self.first)
        self.clock.start()
        source = trainer.feed.batches(trainer.step, training.steps, pin=world.device.type == "cuda")
        with closing(source) as batches, closing(ticker), closing(journal) if journal else nullcontext():  # type: ignore[type-var]
            for batch, waited in batches:
                self.guarded(batch)
                self.watch()
                step, final = trainer.step, trainer.step == training.steps
                self.clock.count(training.batch, waited)
                if step % training.log_every == 0 or final:
                    ticker.loss(self.report(journal))
                ticker.tick(step)
                if training.post_hoc_every and step % training.post_hoc_every == 0:
                    self.aside(self.keep_averages)
                if step % training.sample_every == 0:
                    self.aside(self.draw_samples)
                if step % training.checkpoint_every == 0 or final:
                    self.aside(self.save)
                if not final and world.any(told() or late()):
                    return self.interrupted(world.any(told()))
        return self.finish()

    def aside(self, act: Callable[[], object]) -> None:
        """Do what is no step: its time does not count in their speed, and steps under way on a GPU do, so they end first."""
        device = self.trainer.world.device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        with self.clock.stopped():
            act()

    def guarded(self, batch: Batch) -> None:
        """A step; without the compiler from the first step on at which that fails."""
        trainer = self.trainer
        try:
            trainer.update(batch)
        except RuntimeError as error:
            if out_of_memory(error) or not trainer.compiled or not of_compiler(error):
                raise
            log.warning("the compiler failed (%s: %s); going on without it", type(error).__name__, str(error).split("\n")[0])
            trainer.interpret()
            trainer.update(batch)

    def watch(self, everything: bool = False) -> None:
        """Count steps that were skipped, and stop after five in a row. `everything`: wait for what the device has not told."""
        for step, bad in self.trainer.flags.arrived(everything):
            self.in_a_row = self.in_a_row + 1 if bad else 0
            if not bad:
                continue
            self.trainer.skipped += 1
            where = self.dump(step)
            if self.in_a_row >= MOST_SKIPPED:
                raise TrainingError(
                    f"the gradient was not finite in {self.in_a_row} steps in a row, up to step {step}; allowed: fewer than "
                    f"{MOST_SKIPPED}; images and noise levels are in {where}; remedy: the same command with --set "
                    f"training.learning_rate={self.run.training.learning_rate / 2:g}, a longer training.warm_up, a smaller "
                    "training.clip, or training.precision=float32 continues from the last checkpoint"
                )
            seen = f"; see {where}" if where.is_file() else ""
            log.warning("step %d is skipped: its gradient is not finite (%d so far)%s", step, self.trainer.skipped, seen)

    def dump(self, step: int) -> Path:
        """The images, times and λ of the global batch of a step: made again, as they are functions of the step.

        Of the first twenty, and of one that ends training.
        """
        path = self.folder / "nonfinite" / f"step-{step:08d}.json"
        if self.first and (self.trainer.skipped <= _MOST_DUMPED or self.in_a_row >= MOST_SKIPPED):
            packed, size, seed = self.trainer.packed, self.run.training.batch, self.run.seed
            whole = Feed(self.run, packed, 0, size, self.trainer.feed.schedules)
            indices = order.indices(seed, step, size, len(packed))
            log_snr, times = whole.levels(step, indices).log_snr, order.times(seed, step, size)
            values = {"step": step, "indices": indices.tolist(), "log_snr": log_snr.tolist(), "times": times.tolist()}
            record.atomic_text(path, json.dumps(values) + "\n")
        return path

    def report(self, journal: monitor.Journal | None) -> float | None:
        """A line of metrics; the only place where the loop waits for the device. Returns the mean loss."""
        trainer = self.trainer
        read = trainer.meter.read(trainer.world.sum)
        if journal is not None:
            device = trainer.world.device
            speed = self.clock.read(self.flop, monitor.peak_flops(device), trainer.world.size)
            used = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
            rate = learning_rate(self.run, trainer.step - 1)
            more = {"learning_rate": rate, **speed, "skipped": trainer.skipped, "memory_gb": used}
            journal.write({"step": trainer.step, **read, **more})
        loss: float | None = read["loss"]
        return loss

    # ---- files --------------------------------------------------------------------------------------------------------

    def save(self) -> Path:
        """A checkpoint of the present step; the oldest go. Raises CheckpointError if it cannot be written."""
        self.watch(everything=True)
        path = checkpoint.path_of(self.folder, self.trainer.step)
        state = self.trainer.state()
        if self.first:
            checkpoint.write(path, state)
            checkpoint.thin(self.folder, self.run.training.keep)
        self.wait()
        return path

    def interrupted(self, terminated: bool) -> Path:
        """Save; raise Terminated if it was a signal, and not the time that ran out."""
        step, path = self.trainer.step, checkpoint.path_of(self.folder, self.trainer.step)
        if self.trainer.world.any(self.first and not path.is_file()):  # as the first one sees it: saving takes them all
            self.save()
        if terminated:
            raise Terminated(path)
        log.info("%s: time is over at step %d of %d; saved %s", self.run.name, step, self.run.training.steps, path)
        return path

    def finish(self) -> Path:
        """The averaged weights by themselves."""
        target = self.folder / checkpoint.FINISHED
        state = self.trainer.state()
        if self.first:
            checkpoint.write(target, checkpoint.weights_of(state))
        self.wait()
        return target

    def keep_averages(self) -> None:
        """A snapshot of the power averages."""
        trainer, empty = self.trainer, Weights()
        averages = {name: trainer.gathered(average.values) for name, average in trainer.powers.items()}
        if self.first:
            values, data = settings.as_dict(self.run), trainer.packed.fingerprint
            snapshot = Checkpoint(
                values, trainer.classes, data, trainer.step, empty, empty, averages=averages, spectra=trainer.spectra
            )
            checkpoint.write(self.folder / AVERAGES / f"step-{trainer.step:08d}.pt", snapshot)

    def draw_samples(self) -> None:
        """A grid of images drawn with the averaged weights from noise that is the same at every step."""
        from PIL import Image

        from imagenet.generate import sample_grid

        trainer, device = self.trainer, self.trainer.world.device
        weights = trainer.gathered(trainer.average.values)
        if self.first:
            network = ResidualUViT(self.run.model, trainer.classes, self.run.objective.told).to(device)
            network.load_state_dict(weights)
            network.requires_grad_(False)
            half = torch.bfloat16 if self.run.training.precision == "bfloat16" else None
            pixels = sample_grid(self.run, network, Knowledge.of(trainer.packed), device=device, autocast=half)
            with record.whole(self.folder / "samples" / f"step-{trainer.step:08d}.png") as temporary:
                Image.fromarray(pixels).save(temporary, format="png")
        self.wait()


def post_hoc(folder: str | Path, length: float, step: int | None = None) -> Checkpoint:
    """The power average of relative length σ at `step` (by default the last snapshot's), as a network alone.

    From the snapshots of a training with training.post_hoc_every. Raises CheckpointError without any, ValueError for a step
    beyond the last one or a length out of range.
    """
    paths = sorted((Path(folder) / AVERAGES).glob("step-*.pt"))
    if not paths:
        raise checkpoint.CheckpointError(
            f"no snapshots in {Path(folder) / AVERAGES}; allowed: those of a training with training.post_hoc_every set; "
            "remedy: set it, for example to a fortieth of the steps"
        )
    last = checkpoint.read(paths[-1])
    steps = [int(path.stem.removeprefix("step-")) for path in paths]
    profiles = [ema.Profile(at, ema.exponent(float(name))) for at in steps for name in last.averages]
    wanted = ema.Profile(step or last.step, ema.exponent(length))

    def snapshots() -> Iterator[Weights]:
        for path in paths:
            saved = checkpoint.read(path)
            yield from (saved.averages[name] for name in last.averages)

    weights = ema.combined(snapshots(), ema.combination(profiles, wanted))
    return Checkpoint(last.run, last.classes, last.data, int(wanted.step), Weights(), weights, spectra=last.spectra)


def _memory_advice(world: World, run: Run) -> str:
    count = run.training.batch // world.size
    size = run.training.micro_batch or count
    smaller = max((k for k in range(1, size // 2 + 1) if count % k == 0), default=None)  # only divisors are allowed
    remedy = "training.recompute = true" if smaller is None else f"training.micro_batch = {smaller}"
    return (
        f"out of memory on {world.device} with micro-batches of {size} images of {run.model.resolution} px; allowed: what fits"
        f"; remedy: {remedy}, or --sharding fsdp on several GPUs; checkpoints are intact, the same command continues"
    )
