"""How fast the pixel model is on a device: training, drawing, what schedules cost; python -m imagenet.gpu bench.

Training steps on made-up images, in bfloat16 with float32 weights and fused AdamW, eager over a sweep of batches and compiled
at the best one and the next, beside a stock torch.nn.TransformerEncoder of as many FLOP in the same run: what hardware and
library give to anyone. MFU = FLOP of forward and backward pass (`imagenet.count`, three forward passes) per second ÷ the
device's dense bfloat16 peak. The cost of schedules is taken on the training loop itself, arms in turn, so that drifts of clock
and heat hit all alike.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from imagenet import count, monitor
from imagenet.denoiser import Graphed
from imagenet.distributed import World
from imagenet.failures import out_of_memory
from imagenet.generate import Generator
from imagenet.gpu_pieces import hardware, packed
from imagenet.gpu_plan import Arm
from imagenet.knowledge import Knowledge
from imagenet.model import ResidualUViT
from imagenet.packed import Packed
from imagenet.request import Request
from imagenet.settings import Model
from imagenet.trainer import Trainer, compile_blocks
from theory import on_device, record

if TYPE_CHECKING:
    from imagenet.gpu import Clock, Piece, Site

log = logging.getLogger(__name__)

_CLASSES = 10
_LEAST_STEPS = 3  # of a timing
_ROWS_SHOWN = 12  # of the profiler's table


def pieces(site: Site) -> list[Piece]:
    """One for each model, one each for drawing, schedules and the exact samplers."""
    from imagenet.gpu import Piece

    found = [
        Piece(f"bench:{model.name}", 5.0, 5.0, functools.partial(_model, site, model)) for model in site.plan.benchmark.models
    ]
    found.append(Piece("bench:generation", 3.0, 3.0, functools.partial(_kept, site, "generation", generation)))
    found.append(Piece("bench:schedules", 4.0, 4.0, functools.partial(_kept, site, "schedules", schedules)))
    found.append(Piece("bench:samplers", 4.0, 4.0, functools.partial(_kept, site, "samplers", samplers)))
    return found


def _model(site: Site, model: Model, clock: Clock) -> bool:
    return _kept(site, f"training-{model.name}", functools.partial(training, model=model), clock)


def _kept(site: Site, name: str, measure: Callable[[Site], dict[str, Any]], clock: Clock) -> bool:
    values = {"device": site.device, **hardware(site.device), "commit": record.commit(), **measure(site)}
    record.atomic_text(site.work / "bench" / f"bench-{name}.json", json.dumps(values, indent=1, ensure_ascii=False) + "\n")
    return True


# ---- clocks -----------------------------------------------------------------------------------------------------------


def synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def timed(step: Callable[[], object], device: str, seconds: float) -> tuple[float, float]:
    """(seconds of the first call, with whatever it compiles; seconds of a later one, over at least `seconds`)."""
    begun = time.perf_counter()
    step()
    synchronise(device)
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    step()
    synchronise(device)
    steps = max(_LEAST_STEPS, math.ceil(seconds / (time.perf_counter() - begun)))
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    synchronise(device)
    return first, (time.perf_counter() - begun) / steps


# ---- training steps ---------------------------------------------------------------------------------------------------


class Encoder(nn.Module):
    """A stock transformer of about as many FLOP as a network: width of its widest level, tokens of its coarsest grid.

    A layer costs 12·width² + 2·tokens·width multiply-adds a token (attention's four matrices, a fourfold MLP, two products).
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.width = max(model.channels)
        self.tokens = (model.resolution // model.patch // 2 ** (len(model.channels) - 1)) ** 2
        mac = self.tokens * (12 * self.width**2 + 2 * self.tokens * self.width)
        layers = max(1, round(count.count(model, _CLASSES).mac / mac))
        self.flop = 2 * mac * layers
        heads = max(1, self.width // 64)
        layer = nn.TransformerEncoderLayer(
            self.width, heads, 4 * self.width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.body(x)
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A network with an optimiser and made-up inputs: `step` is one update."""

    network: nn.Module
    inputs: tuple[Tensor, ...]
    optimizer: torch.optim.Optimizer
    half: bool

    @classmethod
    def of(cls, network: nn.Module, inputs: tuple[Tensor, ...], half: bool) -> Trained:
        return cls(network, inputs, torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True), half)

    def step(self) -> None:
        with torch.autocast(self.inputs[0].device.type, torch.bfloat16, enabled=self.half):
            output = self.network(*self.inputs)
        output.float().square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def _inputs(model: Model, batch: int, device: str) -> tuple[Tensor, ...]:
    images, labels, *levels = count.inputs(model, batch, device)
    return images.normal_(), labels, *levels


def training(site: Site, model: Model) -> dict[str, Any]:
    """Rows of images/s, MFU, memory and compile time; the reference; where the time goes."""
    benchmark, half = site.plan.benchmark, site.on_gpu
    counted = count.count(model, _CLASSES)
    network = ResidualUViT(model, _CLASSES).to(site.device).train()
    own = functools.partial(_inputs, model, device=site.device)
    flop = count.training_flop(counted)
    rows = _batches(site, network, own, flop, "eager", benchmark.batches)
    fitting = [row for row in rows if "images_per_second" in row]
    if not fitting:
        return {"model": model.name, "rows": rows}
    best = max(fitting, key=lambda row: row["images_per_second"])["batch"]
    chosen = [best, *[size for size in benchmark.batches if size > best][:1]]
    encoder = Encoder(model).to(site.device).train()

    def plain(batch: int) -> tuple[Tensor, ...]:
        return (torch.randn(batch, encoder.tokens, encoder.width, device=site.device),)

    reference = _batches(site, encoder, plain, 3 * encoder.flop, "eager", chosen)
    if site.on_gpu:
        compile_blocks(network)
        for layer in encoder.body.layers:
            layer.compile(dynamic=False)
        rows += _batches(site, network, own, flop, "compiled", chosen)
        reference += _batches(site, encoder, plain, 3 * encoder.flop, "compiled", chosen)
    return {
        "model": model.name, "resolution": model.resolution, "parameters": counted.parameters, "flop": counted.flop,
        "precision": "bfloat16" if half else "float32", "rows": rows,
        "reference": {"what": "torch.nn.TransformerEncoder", "flop": encoder.flop, "layers": len(encoder.body.layers),
                      "width": encoder.width, "tokens": encoder.tokens, "rows": reference},
        "profile": where(Trained.of(network, own(best), half), site.device),
    }  # fmt: skip


def _batches(
    site: Site, network: nn.Module, inputs: Callable[[int], tuple[Tensor, ...]], flop: float, mode: str, batches: Sequence[int]
) -> list[dict[str, Any]]:
    """A row for each batch, up to the first that the memory does not hold."""
    rows = []
    for batch in batches:
        try:
            rows.append(_row(site, Trained.of(network, inputs(batch), site.on_gpu), batch, flop, mode))
        except (torch.OutOfMemoryError, RuntimeError) as error:
            rows.append(
                {"mode": mode, "batch": batch, "failed": "out of memory" if out_of_memory(error) else _first_line(error)}
            )
        network.zero_grad(set_to_none=True)
        if site.on_gpu:
            torch.cuda.empty_cache()
        if "failed" in rows[-1]:
            log.warning("%s at batch %d: %s", mode, batch, rows[-1]["failed"])
            break
    return rows


def _row(site: Site, trained: Trained, batch: int, flop: float, mode: str) -> dict[str, Any]:
    if site.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    first, later = timed(trained.step, site.device, site.plan.benchmark.seconds)
    peak = monitor.peak_flops(torch.device(site.device))
    return {
        "mode": mode,
        "batch": batch,
        "images_per_second": batch / later,
        "mfu": None if peak is None else flop * batch / later / peak,
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if site.on_gpu else None,
        "first_step_seconds": first,
    }


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:200]


def where(trained: Trained, device: str) -> list[dict[str, Any]]:
    """The operations or kernels that take most of the device's time in two steps, with their share."""
    trained.step()
    synchronise(device)
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device != "cpu" else [])
    with profile(activities=activities) as seen:
        for _ in range(2):
            trained.step()
        synchronise(device)
    name = "self_cpu_time_total" if device == "cpu" else "self_device_time_total"
    kind = "CPU" if device == "cpu" else "CUDA"  # a kernel's time is told again of the operation that launched it
    entries = [entry for entry in seen.key_averages() if entry.device_type.name == kind]
    taken = sorted(((getattr(entry, name), entry.key, entry.count) for entry in entries), reverse=True)
    total = sum(time_of for time_of, _, _ in taken)
    return [{"what": key[:80], "share": t / total, "calls": calls} for t, key, calls in taken[:_ROWS_SHOWN] if t > 0]


# ---- drawing ----------------------------------------------------------------------------------------------------------


def generation(site: Site) -> dict[str, Any]:
    """Images/s by DDIM for each number of evaluations: eager, compiled, and with CUDA graphs. Weights play no part."""
    plan = site.plan
    data = packed(site)
    network = ResidualUViT(plan.model, len(data.class_names)).to(site.device).eval().requires_grad_(False)
    knowledge, run = Knowledge.of(data), plan.run(plan.baseline)
    autocast = torch.bfloat16 if site.on_gpu else None
    modes: dict[str, Callable[[], Any]] = {"eager": lambda: network}
    if site.on_gpu:
        modes["eager, CUDA graphs"] = lambda: Graphed(network)
        modes["compiled"] = lambda: torch.compile(network, dynamic=False)
        modes["compiled, CUDA graphs"] = lambda: Graphed(torch.compile(network, dynamic=False))
    rows = []
    for mode, make in modes.items():
        of = Generator(run, make(), knowledge, site.device, autocast, fixed=True)
        for steps in plan.benchmark.generation:
            rows.append(_drawing(site, of, mode, steps))
    return {"model": plan.model.name, "rows": rows}


def _drawing(site: Site, of: Generator, mode: str, steps: int) -> dict[str, Any]:
    batch = site.plan.benchmark.generation_batch
    request = Request("DDIM", steps, count=batch, batch=batch)
    row: dict[str, Any] = {"mode": mode, "evaluations": steps, "batch": batch}
    try:
        first, later = timed(lambda: of.draw(request, 0, batch), site.device, site.plan.benchmark.seconds)
    except RuntimeError as error:  # of compilers and drivers: a mode that fails is a row that says so
        log.warning("drawing, %s: %s", mode, _first_line(error))
        return row | {"failed": _first_line(error)}
    return row | {"images_per_second": batch / later, "first_draw_seconds": first}


# ---- what schedules cost ----------------------------------------------------------------------------------------------


def schedules(site: Site) -> dict[str, Any]:
    """Images/s of the training loop: baseline, spectral rows, and not told λ(0), λ(1); in turn, and as ratios to the first."""
    plan = site.plan
    data = packed(site)
    told = dataclasses.replace(plan.baseline.objective, told=False)
    arms = {
        "baseline": plan.baseline,
        "spectral, a row per image": plan.spectral,
        "baseline, not told its ends": Arm("not told", plan.baseline.noise, told),
    }
    speeds: dict[str, list[float]] = {name: [] for name in arms}
    loops = {name: _Loop(site, arm, data) for name, arm in arms.items()}
    for loop in loops.values():  # compile, and learn how many steps a timing needs
        loop.turn(_LEAST_STEPS)
    steps = max(_LEAST_STEPS, math.ceil(plan.benchmark.seconds / max(loop.seconds for loop in loops.values())))
    for _ in range(plan.benchmark.repeats):
        for name, loop in loops.items():
            speeds[name].append(loop.turn(steps))
    for loop in loops.values():
        loop.close()
    first = np.array(speeds["baseline"])
    rows = []
    for name, values in speeds.items():
        ratio = np.array(values) / first
        error = float(ratio.std(ddof=1) / math.sqrt(len(ratio))) if len(ratio) > 1 else None
        rows.append({"what": name, "images_per_second": float(np.median(values)), "ratio": float(ratio.mean()), "error": error})
    return {"model": plan.model.name, "batch": plan.training.batch, "rows": rows}


class _Loop:
    """A training without files, a few steps at a time."""

    def __init__(self, site: Site, arm: Arm, data: Packed) -> None:
        self.device, self.batch = site.device, site.plan.training.batch
        run = site.plan.run(arm)
        run = dataclasses.replace(run, training=dataclasses.replace(run.training, steps=2**30))
        self.trainer = Trainer(run, data, World(0, 1, torch.device(site.device)))
        self.batches = self.trainer.feed.batches(0, 2**30, site.on_gpu)
        self.seconds = math.inf  # of a step

    def turn(self, steps: int) -> float:
        """Images/s of that many steps, waiting for data included."""
        for _ in range(2):  # those that were read ahead while another one had its turn
            self.trainer.update(next(self.batches)[0])
        synchronise(self.device)
        begun = time.perf_counter()
        for _ in range(steps):
            self.trainer.update(next(self.batches)[0])
        synchronise(self.device)
        self.seconds = (time.perf_counter() - begun) / steps
        return self.batch / self.seconds

    def close(self) -> None:
        with closing(self.batches):  # type: ignore[type-var]
            pass


# ---- the exact samplers -----------------------------------------------------------------------------------------------


def samplers(site: Site) -> dict[str, Any]:
    """The Gaussian mixture and the Curie-Weiss law of `theory` on the device, against the processor and the bandwidth."""
    benchmark = site.plan.benchmark
    mixture = [
        on_device.time_mixture(dim, rows, site.device, benchmark.repeats, on_processor=k == 0)
        for k, (dim, rows) in enumerate(zip(benchmark.mixture_dimensions, benchmark.mixture_rows, strict=True))
    ]
    spins = [
        on_device.time_spins(dim, rows, site.device, benchmark.repeats, on_processor=k == 0)
        for k, (dim, rows) in enumerate(zip(benchmark.spin_dimensions, benchmark.spin_rows, strict=True))
    ]
    return {"mixture": mixture, "curie_weiss": spins}
