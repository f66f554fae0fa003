"""The state of a training in one process, and the step that changes it.

AdamW, the average of the weights, and the gradient's norm work entry by entry, so each process does its own part, on plain
tensors that share memory with the network's, whether that is whole here or divided (`imagenet.distributed`). A step whose
gradient is not finite changes neither weights nor moments: the fused optimiser is told so on the device.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from imagenet import checkpoint, distributed, ema, monitor, objective, settings
from imagenet.checkpoint import Checkpoint, Weights
from imagenet.distributed import Sharding, World
from imagenet.feed import Batch, Feed
from imagenet.model import ResidualUViT
from imagenet.packed import Packed
from imagenet.schedules import identity
from imagenet.settings import Run

log = logging.getLogger(__name__)

MOMENTS = ("exp_avg", "exp_avg_sq")  # torch's names, in AdamW's state


def learning_rate(run: Run, step: int) -> float:
    """Of the update after `step` ones: rising linearly over the warm-up, then constant."""
    return run.training.learning_rate * min(1.0, (step + 1) / max(1, run.training.warm_up))


class Trainer:
    """Network, optimiser, averages and the number of steps done. Raises ValueError where run, data and processes do not fit."""

    def __init__(self, run: Run, packed: Packed, world: World, sharding: Sharding = "ddp") -> None:
        training = run.training
        self.run, self.world, self.packed = run, world, packed
        self.classes = len(packed.class_names)
        made_of = identity(run.noise, packed)
        self.spectra = f"taper {packed.taper or 'none'}, {made_of}" if made_of else ""  # another is another training
        self.feed = Feed.of(run, packed, *world.part(training.batch))
        self.micro_batch = _micro_batch(run, self.feed.count, world)
        self.network = ResidualUViT(run.model, self.classes, run.objective.told, run.seed).to(world.device).train()
        self.network.checkpointing = training.recompute
        self.compiled = training.compile
        if self.compiled:
            compile_blocks(self.network)
        self.spread = distributed.spread(self.network, self.network.blocks(), world, sharding)
        self.names = [name for name, _ in self.network.named_parameters()]
        self.parameters = list(self.network.parameters())
        with torch.no_grad():
            self.parts = [distributed.local(p).detach() for p in self.parameters]
        self.divided = world.hosts is not None and sharding == "fsdp"
        self.optimizer = torch.optim.AdamW(
            self.parts, training.learning_rate, training.betas, weight_decay=training.weight_decay, fused=True
        )
        self.average = ema.Average(self.parts, ema.fixed(training.ema, training.ema_ramp))
        lengths = ema.POWER_LENGTHS if training.post_hoc_every else ()
        self.powers = {f"{x:g}": ema.Average(self.parts, ema.power(ema.exponent(x))) for x in lengths}
        self.step, self.skipped = 0, 0
        self.meter, self.flags = monitor.Meter(world.device), monitor.Flags()

    # ---- one step -----------------------------------------------------------------------------------------------------

    def update(self, batch: Batch) -> None:
        """One step of the optimiser and of the averages. Reads nothing back from the device."""
        self.accumulate(batch)
        gradients = [distributed.local(p.grad) for p in self.parameters if p.grad is not None]
        norm = self.norm(gradients)
        torch._foreach_mul_(gradients, torch.clamp(self.run.training.clip / norm, max=1.0))
        for part, gradient in zip(self.parts, gradients, strict=True):
            part.grad = gradient
        bad = (~torch.isfinite(norm)).float()
        self.optimizer.found_inf = bad  # type: ignore[attr-defined]  # as torch's GradScaler says it
        self.optimizer.param_groups[0]["lr"] = learning_rate(self.run, self.step)
        self.optimizer.step()
        self.forget()
        self.meter.add_norm(norm)
        self.flags.put(self.step, bad)
        self.step += 1
        for average in (self.average, *self.powers.values()):
            average.update(self.parts, self.step)

    def forget(self) -> None:
        """The gradient."""
        for parameter, part in zip(self.parameters, self.parts, strict=True):
            parameter.grad = part.grad = None

    def accumulate(self, batch: Batch) -> None:
        """The gradient of the mean loss of the global batch, once the last micro-batch is through."""
        parts = batch.to(self.world.device).parts(self.micro_batch)
        share = self.world.size / self.run.training.batch  # gradients are averaged over processes
        for part in parts:
            with distributed.synchronising(self.spread, part is parts[-1]), self.randomness(part):
                loss, density = self.losses(part)
                (loss.sum() * share).backward()
            self.meter.add(loss, density, part.levels[0])

    def losses(self, part: Batch) -> tuple[Tensor, Tensor]:
        """Of each image, per unit of t and per unit of λ."""
        half = self.run.training.precision == "bfloat16"

        def network(*inputs: Tensor) -> Tensor:
            with torch.autocast(self.world.device.type, torch.bfloat16, enabled=half):
                predicted: Tensor = self.spread(*inputs)
            return predicted

        levels = objective.Levels.of(part.levels)
        noise = part.noise(self.run.seed)
        return objective.losses(network, part.unit(), noise, part.labels, levels, self.run.objective.prediction)

    @contextmanager
    def randomness(self, part: Batch) -> Iterator[None]:
        """Dropout's generator, set by seed, step and the first position of the micro-batch; put back afterwards."""
        if not self.run.model.dropout:
            yield
            return
        name = f"{self.run.seed}\x1fdropout\x1f{part.step}\x1f{part.start}".encode()
        devices = [self.world.device] if self.world.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int.from_bytes(hashlib.blake2b(name, digest_size=7).digest(), "little"))
            yield

    def norm(self, gradients: list[Tensor]) -> Tensor:
        """Euclidean, of the whole gradient, on the device."""
        square = torch.stack(torch._foreach_norm(gradients)).square().sum()
        return (self.world.sum(square) if self.divided else square).sqrt()

    def interpret(self) -> None:
        """Go on without the compiler."""
        self.compiled = False
        for block in self.network.blocks():
            block.__dict__.pop("forward", None)
        self.forget()

    # ---- all that the next step depends on ------------------------------------------------------------------------------

    def state(self) -> Checkpoint:
        """Gathered on the processor. Every process must ask."""
        states = [self.optimizer.state[part] for part in self.parts]
        moments = {key: self.gathered([state[key] for state in states]) for key in MOMENTS if key in states[0]}
        counts = {name: state["step"].cpu() for name, state in zip(self.names, states, strict=True) if "step" in state}
        return Checkpoint(
            run=settings.as_dict(self.run),
            classes=self.classes,
            data=self.packed.fingerprint,
            step=self.step,
            model=self.gathered(self.parts),
            ema=self.gathered(self.average.values),
            optimizer=moments | {"step": counts},
            averages={name: self.gathered(average.values) for name, average in self.powers.items()},
            skipped=self.skipped,
            spectra=self.spectra,
        )

    def gathered(self, parts: list[Tensor]) -> Weights:
        """Whole tensors by name, from everybody's parts. Every process must ask."""
        trio = zip(self.names, self.parameters, parts, strict=True)
        return {name: distributed.whole(distributed.like(part, parameter)) for name, parameter, part in trio}

    def set_state(self, saved: Checkpoint, name: str) -> None:
        """The reverse of `state`. Raises CheckpointError where settings, data, names or shapes differ."""
        checkpoint.check_same(saved, name, self.run, self.classes, self.packed.fingerprint, self.spectra)
        learned = dict(zip(self.names, self.parameters, strict=True))
        filled = {f"average {key}": (saved.averages.get(key, {}), average.values) for key, average in self.powers.items()}
        filled |= {"model": (saved.model, self.parts), "ema": (saved.ema, self.average.values)}
        for part in self.parts:
            self.optimizer.state[part] = {key: torch.zeros_like(part) for key in MOMENTS}
        for key in MOMENTS:
            moments = [self.optimizer.state[part][key] for part in self.parts]
            filled[f"optimizer {key}"] = (saved.optimizer.get(key, {}), moments)
        counts = saved.optimizer.get("step", {})
        checkpoint.fit({key: torch.zeros(()) for key in learned}, counts, name, "optimizer step")
        for what, (weights, _) in filled.items():
            checkpoint.fit(learned, weights, name, what)
        for weights, parts in filled.values():
            for key, parameter, part in zip(self.names, self.parameters, parts, strict=True):
                distributed.fill(distributed.like(part, parameter), weights[key])
        for key, part in zip(self.names, self.parts, strict=True):
            self.optimizer.state[part]["step"] = counts[key].to(part.device, copy=True)
        self.step, self.skipped = saved.step, saved.skipped


def _micro_batch(run: Run, count: int, world: World) -> int:
    size = run.training.micro_batch or count
    if size > count or count % size:
        raise ValueError(
            f"training.micro_batch = {size} where each of {world.size} processes has {count} images of a step; allowed: a "
            f"divisor of {count}; remedy: training.micro_batch = {math.gcd(size, count)}, or leave it out"
        )
    return size


def compile_blocks(network: ResidualUViT) -> None:
    """Each block by itself: equal blocks share their code, so the first step waits for a few compilations, not for all."""
    import torch._dynamo

    blocks = network.blocks()
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 2 * len(blocks))
    for block in blocks:
        block.forward = torch.compile(block.forward, dynamic=False)
