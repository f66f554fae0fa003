"""A network as a denoiser: the (x, signal, noise) → E[data | x] that the samplers of `theory.sampler` walk with.

The network knows variance-preserving states only. A state x = signal·data + noise·ε of any gauge becomes one by a number,

    z = x/√(signal² + noise²),   λ = 2 log(signal/noise),   a² = sigmoid(λ), s² = sigmoid(−λ),

and what is predicted at z, velocity v = a·ε − s·data, data or ε, is turned into data by `theory.interpolant.convert`: z is a
circle with signal cos φ and noise sin φ, whose rates in φ are −s and a.

Outside the levels the network was trained on. Below λ(1) it is told λ(1), and data is solved for at λ(1), so that a start from
signal = 0 is finite: the network's guess from noise. Above λ(0) it is told λ(0), and data is solved for at the true λ, so that
x/signal is the limit at noise = 0, which is exact.

Guidance (Ho and Salimans, arXiv 2207.12598) is linear, null + w·(labelled − null), in an interval of λ only (Kynkäänniemi et
al., arXiv 2404.07724; the interval in λ, since per-image schedules give t no common meaning, is ours). First guide, then clip
the data to [−1, 1].
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenet.objective import Network
from theory.interpolant import Kind, Point, against, convert
from theory.sampler import Flow, Memory, Step
from theory.schedule import Schedule


@dataclass(frozen=True)
class Guidance:
    """Weight w inside low ≤ λ ≤ high. w = 1 is none, 0 the null label alone; it is what a second evaluation is told.

    EDM2-XXL's best, in its latents: 2.0 on ς from .28 to 1.61, that is λ from −.95 to 2.55. Raises ValueError for w < 0 or an
    empty interval.
    """

    weight: float = 1.0
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"guidance weight = {self.weight}; allowed: finite and ≥ 0; remedy: 1 for none")
        if not self.low <= self.high:  # NaN too
            raise ValueError(
                f"guidance for λ from {self.low} to {self.high}; allowed: low ≤ high; remedy: λ = log(signal²/noise²) is large "
                "near the data, so give the noisier end first"
            )

    @property
    def only_null(self) -> bool:
        """Whether the class plays no part: weight 0 at every λ."""
        return self.weight == 0 and self.low == -math.inf and self.high == math.inf

    def inside(self, log_snr: Tensor) -> Tensor:
        """Where the weight applies: bool, shape of λ; nowhere at weight 1."""
        if self.weight == 1:
            return torch.zeros_like(log_snr, dtype=torch.bool)
        return (log_snr >= self.low) & (log_snr <= self.high)


class Level(NamedTuple):
    """What signal and noise are to a network: z = x/norm, data = of_z·z + of_prediction·prediction.

    norm, of_z, of_prediction (batch, 1, …); told, λ as the network is told it, and inside, where guidance applies, (batch,);
    guided: number of images inside.
    """

    norm: Tensor
    of_z: Tensor
    of_prediction: Tensor
    told: Tensor
    inside: Tensor
    guided: int


@dataclass(frozen=True, eq=False)
class NetworkDenoiser:
    """E[data | x] of a batch of images by a network; called with (x, signal, noise) as a law's `denoise`.

    labels (batch,) int64, `null_label` for none; start, end: λ(0) and λ(1) that the network is told, (batch,).
    clip      data to [−1, 1] after guidance
    inputs    dtype of what the network is given; autocast: of its matrix products, None for that of its weights
    fixed     evaluate twice for all images or for none, so that shapes are few: for compiled networks and CUDA graphs
    """

    network: Network
    prediction: Kind
    labels: Tensor
    start: Tensor
    end: Tensor
    null_label: int
    guidance: Guidance = field(default_factory=Guidance)
    clip: bool = True
    inputs: torch.dtype = torch.float32
    autocast: torch.dtype | None = None
    fixed: bool = False

    @torch.no_grad()
    def __call__(self, x: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
        """The posterior mean of the data, of x's shape and dtype; signal and noise 0-dim or one per image."""
        signal, noise = (value.reshape(1, -1).expand(1, len(x)) for value in (signal, noise))
        (level,) = self.levels(signal, noise, x)
        return self.at(x, level)

    def levels(self, signal: Tensor, noise: Tensor, x: Tensor) -> tuple[Level, ...]:
        """What signal and noise (nodes, batch) are to the network at each node, for states like x."""
        signal, noise = signal.double(), noise.double()
        log_snr = 2 * (torch.log(signal) - torch.log(noise))
        start, end = self.start.double(), self.end.double()
        a, s = (torch.exp(0.5 * F.logsigmoid(sign * torch.maximum(log_snr, end))) for sign in (1, -1))
        at, zero, one = Point(a, s, -s, a), torch.zeros_like(a), torch.ones_like(a)
        # `convert` is linear in state and prediction: what it makes of (1, 0) and (0, 1) are its coefficients.
        of_z, of_prediction = (convert(v, z, at, self.prediction, "data") for z, v in ((one, zero), (zero, one)))
        if self.prediction == "data":  # from the other two comes z itself at noise = 0
            of_z, of_prediction = torch.where(noise == 0, one, of_z), torch.where(noise == 0, zero, of_prediction)
        told = torch.clamp(log_snr, min=end, max=start).to(self.inputs)
        inside = self.guidance.inside(log_snr)
        guided = inside.sum(-1).tolist() if self.guidance.weight != 1 else [0] * len(inside)  # tolist waits for a device
        factors = (
            [against(at_node, x) for at_node in value.to(x.dtype)]
            for value in (torch.hypot(signal, noise), of_z, of_prediction)
        )
        per_node = zip(*factors, told, inside, guided, strict=True)
        return tuple(Level(*level) for level in per_node)

    @torch.no_grad()
    def at(self, x: Tensor, level: Level) -> Tensor:
        """The posterior mean of the data for states x at a level, of x's shape and dtype.

        Raises ValueError for a network whose prediction is not of x's shape.
        """
        z = x / level.norm
        predicted = self._guided(z, level).to(x.dtype)
        if predicted.shape != z.shape:
            raise ValueError(
                f"the network predicts {tuple(predicted.shape)} for states of shape {tuple(z.shape)}; allowed: equal shapes; "
                "remedy: a network of this resolution and three channels"
            )
        data = (level.of_z * z).add_(level.of_prediction * predicted)
        return data.clamp_(-1, 1) if self.clip else data

    @cached_property
    def _ends(self) -> tuple[Tensor, Tensor]:
        return self.start.to(self.inputs), self.end.to(self.inputs)

    def _guided(self, z: Tensor, level: Level) -> Tensor:
        (start, end), told, count = self._ends, level.told, level.guided
        if count == 0:
            return self._evaluate(z, self.labels, told, start, end)
        if self.fixed or count == len(z):
            chosen = torch.arange(len(z), device=z.device)
        else:
            chosen = torch.nonzero(level.inside)[:, 0]
        null = torch.full_like(self.labels[chosen], self.null_label)
        both = self._evaluate(
            torch.cat([z, z[chosen]]),
            torch.cat([self.labels, null]),
            *(torch.cat([value, value[chosen]]) for value in (told, start, end)),
        )
        labelled, unlabelled = both[: len(z)], both[len(z) :]
        weight = torch.where(level.inside[chosen], self.guidance.weight, 1.0).to(both.dtype)
        guided = labelled.clone()
        guided[chosen] = torch.lerp(unlabelled, labelled[chosen], against(weight, unlabelled))  # weight 1: labelled, to the bit
        return guided

    def _evaluate(self, z: Tensor, labels: Tensor, log_snr: Tensor, start: Tensor, end: Tensor) -> Tensor:
        device = z.device.type
        mixed = contextlib.nullcontext() if self.autocast is None else torch.autocast(device, self.autocast)
        with mixed:
            return self.network(z.to(self.inputs), labels, log_snr, start, end)


# ---- what a walk of images needs beside theory's steps ------------------------------------------------------------------


@dataclass(frozen=True)
class Ended(Schedule):
    """The base schedule with noise 0 and signal 1 at t = 0 exactly: a step to there returns the posterior mean.

    A schedule of images ends at a finite λ(0), where noise is no longer seen. N steps on `theory.sampler.grid` evaluate the
    network at t = 1, 1 − 1/N, …, 1/N; theory's steps take noise(s) = 0 for the end and return E[data | x] of the last of these
    (SiD2's last step without noise, completed). To spend the N-th evaluation at λ(0) instead costs DDIM on power-law spectra
    a fifth of W₂² at N = 8 and gains nothing at 32. For steps in λ or ς only: the rates are the base's.
    """

    base: Schedule

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        signal, noise = self.base.coefficients(t)
        end = t == 0
        return torch.where(end, torch.ones_like(signal), signal), torch.where(end, torch.zeros_like(noise), noise)

    @property
    def kinks(self) -> tuple[float, ...]:
        return self.base.kinks


@dataclass(frozen=True, eq=False)
class AtNodes(Schedule):
    """A schedule at the nodes of a grid from 1 to 0 only, (steps + 1, *batch) each: made once in float64, rounded to a dtype.

    In float64 a number per image would turn all of a walk's arithmetic into float64. Asked for another time, it answers with
    the nearest node. Raises ValueError where it is differentiated: it has no rates.
    """

    signals: Tensor
    noises: Tensor

    @classmethod
    def of(cls, base: Schedule, times: Tensor, dtype: torch.dtype) -> AtNodes:
        """`times`: `theory.sampler.grid(steps)`, float64."""
        shared = base.coefficients(times[0])[0].ndim == 0
        signals, noises = base.coefficients(times if shared else times[:, None])
        return cls(signals.to(dtype), noises.to(dtype))

    def node(self, t: Tensor) -> int:
        """Number of the node nearest to one time."""
        return round((1 - t.item()) * (len(self.signals) - 1))

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        if torch.func.debug_unwrap(t) is not t:
            raise ValueError(
                "rates of a schedule that is known at the nodes of a grid; allowed: steps in noise level; remedy: walk the "
                "schedule itself with Euler or Heun"
            )
        node = self.node(t)
        return self.signals[node], self.noises[node]


@dataclass(frozen=True)
class NodeFlow(Flow):
    """A flow at the nodes of its schedule, with what signal and noise are to the network made for all of them at once.

    Made at each step, that costs a small network on a processor as much time as its arithmetic on pixels. Times are to stay
    with the processor: finding a node then waits for no device.
    """

    schedule: AtNodes
    denoiser: NetworkDenoiser
    levels: tuple[Level, ...]

    @classmethod
    def of(cls, schedule: AtNodes, denoiser: NetworkDenoiser, x: Tensor) -> NodeFlow:
        """For states like x."""
        shape = (len(schedule.signals), len(x))
        signals, noises = (values.reshape(len(values), -1).expand(shape) for values in (schedule.signals, schedule.noises))
        return cls(schedule, denoiser, denoiser.levels(signals, noises, x))

    def data(self, x: Tensor, t: Tensor) -> Tensor:
        return self.denoiser.at(x, self.levels[self.schedule.node(t)])


@dataclass(frozen=True)
class Stored(Step):
    """A step whose result is kept in `dtype`: rates are float64, and per image would turn the state into float64."""

    step: Step
    dtype: torch.dtype
    order: float = field(init=False)
    evaluations: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", self.step.order)
        object.__setattr__(self, "evaluations", self.step.evaluations)

    def __call__(self, flow: Flow, x: Tensor, t: Tensor, s: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        state, data = self.step(flow, x, t, s, memory)
        return state.to(self.dtype), data


# ---- CUDA graphs --------------------------------------------------------------------------------------------------------


class Graphed:
    """A network whose forward pass is recorded once for each shape of its arguments and replayed: one launch, not hundreds.

    Small networks wait for launches, not for arithmetic. On another device than CUDA the network is called as it is. Weights
    may change in place between calls; replacing a parameter's tensor leaves the recording at the old one.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._recorded: dict[tuple[object, ...], tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Tensor]] = {}

    def __call__(self, z: Tensor, labels: Tensor, log_snr: Tensor, start: Tensor, end: Tensor) -> Tensor:
        if z.device.type != "cuda":
            return self.network(z, labels, log_snr, start, end)
        inputs = (z, labels, log_snr, start, end)
        key = (z.shape, z.dtype, torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda"))
        if key not in self._recorded:
            self._recorded[key] = self._record(inputs)
        graph, kept, result = self._recorded[key]
        for target, source in zip(kept, inputs, strict=True):
            target.copy_(source)
        graph.replay()
        return result.clone()  # the recording's own output is overwritten by the next call

    def _record(self, inputs: tuple[Tensor, ...]) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...], Tensor]:
        kept = tuple(value.clone() for value in inputs)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries choose their kernels, and allocate, before the recording
            for _ in range(3):
                self.network(*kept)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        cached = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)  # a cast kept from outside would be freed under the recording
        try:
            with torch.cuda.graph(graph):
                result = self.network(*kept)
        finally:
            torch.set_autocast_cache_enabled(cached)
        return graph, kept, result
