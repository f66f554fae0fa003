"""What a run would be, without its data and without doing it: settings, counts, memory, and how long it would take.

The network is made on torch's meta device, where tensors have shapes and no contents, and one image passes through network,
loss and backward pass, so that a run that fits together on paper is known to fit together in the code. The largest takes a
second or two.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import torch

from imagenet import count, objective, schedules, settings
from imagenet.count import Count
from imagenet.distributed import World
from imagenet.model import ResidualUViT
from imagenet.settings import Run

_UTILISATION = 0.4  # of the peak, for the guess of the time: what compiled networks of this size are to reach
_ACCELERATOR = "H200"
_DEVICES = (24, 80, 141)  # GB: usual sizes of GPUs


def describe(run: Run, *, classes: int | None = None, images: int | None = None, processes: int = 1) -> str:
    """The text of a dry run. `classes` and `images` of the data if they are known; ImageNet's or CIFAR's classes otherwise.

    Raises ValueError where settings do not fit together.
    """
    World(0, processes, torch.device("cpu")).part(run.training.batch)  # refuses a batch that they cannot share
    classes = classes or count.usual_classes(run.model)
    counted = count.count(run.model, classes, run.objective.told)
    check_shapes(run, classes)
    lines = ["settings, as --set takes them", *_settings(settings.as_dict(run)), "", *_network(run, counted, classes)]
    return "\n".join([*lines, *_memory(run, counted, classes, processes), *_duration(run, counted, images)]) + "\n"


def _settings(values: Mapping[str, Any], place: str = "") -> list[str]:
    """A line each: training.steps=100."""
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += _settings(value, f"{place}{key}.")
        else:
            plain = value if isinstance(value, str) else json.dumps(value)
            lines.append(f"  {place}{key}={plain}")
    return lines


def check_shapes(run: Run, classes: int) -> None:
    """One image through network, loss and backward pass on the meta device. Raises what the real run would raise."""
    side = run.model.resolution
    with torch.device("meta"):
        network = ResidualUViT(run.model, classes, run.objective.told).train()
        images, noise = torch.empty(1, 3, side, side), torch.empty(1, 3, side, side)
        labels = torch.empty(1, dtype=torch.int64)
    network.checkpointing = run.training.recompute
    schedule = schedules.baseline(run.noise, side)  # one per image needs the images; its numbers have the same shapes
    bias = run.objective.bias_at(side)
    times = torch.full((1,), 0.5, dtype=torch.float64)
    levels = objective.levels(schedule, times, bias=bias, prediction=run.objective.prediction)
    on_meta = objective.Levels.of(levels.stacked().to("meta"))
    loss, _ = objective.losses(network, images, noise, labels, on_meta, run.objective.prediction)
    loss.sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or p.grad.shape != p.shape]
    if loss.shape != (1,) or without:
        raise RuntimeError(f"loss of shape {tuple(loss.shape)}, parameters without a gradient: {without}: a bug of ours")


def _network(run: Run, counted: Count, classes: int) -> list[str]:
    model = run.model
    return [
        f"network {model.name}: {model.resolution} px, {classes} classes, {counted.parameters / 1e6:.1f} million parameters",
        f"  one image forward: {counted.mac / 1e9:.3g} GMAC = {counted.flop / 1e9:.3g} GFLOP; "
        f"in training: {count.training_flop(counted, run.training.recompute) / 1e9:.3g} GFLOP",
        "  shapes: passed forward and backward on the meta device",
    ]


def _memory(run: Run, counted: Count, classes: int, processes: int) -> list[str]:
    training = run.training
    each = training.batch // processes
    micro = training.micro_batch or each
    kept = count.kept(run.model, training.precision, training.recompute, classes)
    parts = {name: size * counted.parameters for name, size in count.BYTES_OF_STATE.items()}
    state = sum(parts.values())
    parts["activations"] = kept.of(micro)
    fitting = [max(0, int((0.9 * size * 1e9 - state - kept.fixed) // kept.per_image)) for size in _DEVICES]
    advised = [max((k for k in range(1, min(most, each) + 1) if each % k == 0), default=0) for most in fitting]
    fits = [f"{most} in {size} GB" for most, size in zip(fitting, _DEVICES, strict=True)]
    advice = [f"{micro} for {size} GB" for micro, size in zip(advised, _DEVICES, strict=True) if micro]
    listed = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in parts.items())
    return [
        f"memory on each of {processes} devices, micro-batches of {micro}: about {sum(parts.values()) / 1e9:.1f} GB ({listed})",
        f"  images of a micro-batch that fit, a tenth left free: {', '.join(fits)}",
        f"  so training.micro_batch={', '.join(advice) or 'none: try training.recompute=true, or fsdp on several GPUs'}",
        f"  an optimiser step: {training.batch} images = {processes} × {math.ceil(each / micro)} × {micro}",
        f"  a checkpoint: {16 * counted.parameters / 1e9:.2f} GB, {training.keep} kept",
    ]


def _duration(run: Run, counted: Count, images: int | None) -> list[str]:
    training = run.training
    seen = training.steps * training.batch
    epochs = "" if images is None else f" = {seen / images:.1f} epochs of {images}"
    speed = count.throughput(counted, count.peak_of(_ACCELERATOR), _UTILISATION, training.recompute)
    return [
        f"{training.steps} steps: {seen / 1e6:.3g} million images{epochs}",
        f"  at {_UTILISATION:.0%} of an {_ACCELERATOR}'s peak {speed:.4g} images/s, {seen / speed / 3600:.3g} hours: "
        "a bound for orientation, not measured",
    ]
