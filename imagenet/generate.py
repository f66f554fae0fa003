"""Drawing images: a trained network walked through a schedule by the steps of `theory.sampler`, a stream of noise per image.

A `Request` says what is drawn, a `Generator` (network, settings of its training, `imagenet.knowledge`) draws it. Image k of a
seed has its label, θ, first noise and the noise of each ancestral step from streams numbered by k (`theory.philox`): neither
its batch nor the process that draws it changes it, up to the order of sums in a network's convolutions.

The schedule is that of training: one for all images, or, with schedules per image, a row of λ from θ ~ p(θ | class) (Esteves
and Makadia, arXiv 2603.19222), from the data set's θ, or from a given or steered θ. The network is told this schedule's λ(0)
and λ(1), and λ at each step. What is walked is the same λ(t) in any gauge, or an interpolant of paper A (arXiv 2501.00988)
under constant denoising. The walk starts from noise(1)·ε and ends on the posterior mean (`imagenet.denoiser.Ended`); Euler and
Heun in interpolant time, whose steps have no such end, give state/signal at t = 0, where by the schedule noise is not seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from imagenet import schedules
from imagenet.denoiser import AtNodes, Ended, Graphed, Guidance, NetworkDenoiser, NodeFlow, Stored
from imagenet.failures import Fallback
from imagenet.knowledge import Knowledge
from imagenet.objective import Network
from imagenet.request import IN_TIME, Request, require
from imagenet.settings import Run, as_dict
from theory.philox import Ahead, DeviceStream
from theory.progress import progress
from theory.sampler import STEPS, Ancestral, Flow, Step, grid, last, walk
from theory.schedule import Normalised, Schedule, variance_exploding_flow, variance_preserving_flow
from theory.stream import Stream

GUIDED_OVER = 256  # images over which the share of guided evaluations is counted


class Drawn(NamedTuple):
    """Images first, first + 1, …: pixels uint8 (n, 3, side, side) and labels int64 (n,), on the generator's device."""

    first: int
    pixels: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Generator:
    """A network that draws. Made by `load_generator`, or in a training from what is there.

    network   with λ as `imagenet.objective.Network`, in evaluation mode, on `device`
    autocast  dtype of its matrix products, None for that of its weights; inputs: dtype of what it is given
    dtype     of the state, and what the schedule's coefficients, made in float64, are rounded to; not float16, which 1/signal
              leaves
    fixed     batches of one shape, for compiled networks and CUDA graphs: the last one is drawn whole and its rest dropped
    identity  of the weights, for journals; trained_on: fingerprint of the data it was trained on
    """

    run: Run
    network: Network
    knowledge: Knowledge
    device: torch.device | str = "cpu"
    autocast: torch.dtype | None = None
    inputs: torch.dtype = torch.float32
    dtype: torch.dtype = torch.float32
    fixed: bool = False
    identity: str = ""
    trained_on: str = ""

    @property
    def classes(self) -> int:
        return len(self.knowledge.class_names)

    @functools.cached_property
    def origin(self) -> dict[str, Any]:
        """What images come from beside a request, as JSON: weights, settings, what is known of the data, and precision.

        Not the device, nor compiling: these change the order of sums only.
        """
        precision = {"autocast": self.autocast, "inputs": self.inputs, "state": self.dtype}
        return {
            "weights": self.identity,
            "run": as_dict(self.run),
            "knowledge": _digest(self.knowledge),
            "precision": {name: str(dtype) for name, dtype in precision.items()},
        }

    def check(self, request: Request) -> None:
        """Raises ValueError for what this network cannot draw, before any work."""
        objective, noise = self.run.objective, self.run.noise
        require(
            request.guidance.weight == 1 or objective.label_drop > 0,
            f"guidance weight = {request.guidance.weight} on {self.run.name}, trained with label_drop = 0",
            "1, no guidance",
            "train with objective.label_drop = 0.1: the network has never seen the null label",
        )
        if not isinstance(request.labels, str):
            wrong = [label for label in request.labels if not 0 <= label < self.classes]
            require(not wrong, f"labels {wrong[:5]}", f"0 … {self.classes - 1}, the classes of {self.run.name}", "such ones")
        changed = request.theta != "as trained" or request.slope != 1 or request.amplitude != 1
        require(
            noise.per_image or not changed,
            f"theta = {request.theta!r}, slope × {request.slope}, amplitude × {request.amplitude} on {self.run.name}, whose "
            f"images share one schedule (noise: {noise.kind}, level: {noise.level})",
            "theta = as trained, factors of 1",
            'a network trained with noise.kind = spectral and noise.level = "image"',
        )
        if not isinstance(request.theta, str):
            width = 2 + len(self.knowledge.basis.components)
            lengths = {len(row) for row in request.theta}
            remedy = "log amplitude, slope, and a coefficient per component"
            require(lengths == {width}, f"rows of θ with {sorted(lengths)} numbers", f"{width}", remedy)

    def labels(self, request: Request) -> Tensor:
        """Classes of the images asked for, (count,) int64."""
        self.check(request)
        return self._labels(request, request.first, request.count)

    def _labels(self, request: Request, first: int, count: int) -> Tensor:
        number = torch.arange(first, first + count)
        counts = self.knowledge.class_counts
        if request.labels == "as data":
            drawn = DeviceStream(request.seed, ("generation", "label"), dtype=torch.float64).uniform(count, first)
            shares = counts.double().cumsum(0) / counts.sum()
            return torch.searchsorted(shares, drawn, right=True)
        if isinstance(request.labels, str):
            chosen = torch.nonzero(counts > 0)[:, 0]
        else:
            chosen = torch.tensor(request.labels)
        return chosen[number % len(chosen)]

    def theta(self, request: Request, first: int, labels: Tensor) -> Tensor:
        """θ of the images from `first` on, of the given classes: (n, D) float64."""
        if isinstance(request.theta, tuple):
            rows = torch.tensor(request.theta, dtype=torch.float64)
            theta = rows[torch.arange(first, first + len(labels)) % len(rows)]
        elif request.theta == "data set":
            theta = self.knowledge.mean_theta.expand(len(labels), -1)
        else:
            names = [self.knowledge.class_names[k] for k in labels.tolist()]
            theta = self.knowledge.prior.draw(names, Stream(request.seed, ("generation", "θ")), first)
        return schedules.steered(theta, request.slope, request.amplitude)

    def schedule(self, request: Request, first: int, labels: Tensor) -> Schedule:
        """The schedule that these images are drawn with, one for all or a row each, on the device."""
        noise = self.run.noise
        if noise.kind != "spectral":
            return schedules.baseline(noise, self.knowledge.size)
        maker = self.knowledge.maker(noise)
        if not noise.per_image:
            return schedules.from_rows(maker.from_theta(self.knowledge.mean_theta)[0].to(self.device))
        return schedules.from_rows(maker.from_theta(self.theta(request, first, labels)).to(self.device))

    def walked(self, request: Request, own: Schedule) -> Schedule:
        """What the sampler walks through: `own` in the gauge asked for, or paper A's interpolant."""
        if request.levels == "own":
            return own if request.gauge == "variance preserving" else Normalised(own, request.gauge)
        if request.gauge == "variance preserving":
            return variance_preserving_flow(request.levels)
        return variance_exploding_flow(request.levels, 3 * self.knowledge.size**2)

    def sample(self, request: Request) -> Tensor:
        """The images asked for, uint8 (count, 3, side, side). Raises ValueError for what this network cannot draw."""
        return torch.cat([batch.pixels for batch in self.batches(request)])

    def batches(self, request: Request) -> Iterator[Drawn]:
        """The same, `request.batch` at a time."""
        self.check(request)
        end = request.first + request.count
        for first in range(request.first, end, request.batch):
            yield self.draw(request, first, min(request.batch, end - first))

    def draw(self, request: Request, first: int, count: int) -> Drawn:
        """Images first … first + count − 1. Raises ValueError for one that is not finite: it would become a black image."""
        states, labels = self.states(request, first, count)
        finite = states.isfinite().flatten(1).all(1)
        if not bool(finite.all()):
            image, weight = first + int((~finite).nonzero()[0, 0]), request.guidance.weight
            raise ValueError(
                f"image {image} is not finite after {request.steps} steps of {request.sampler} with slope × {request.slope:g}, "
                f"amplitude × {request.amplitude:g}, guidance {weight:g}; allowed: finite values; remedy: factors and guidance "
                "nearer 1, clipping, float32, or a network whose training went well"
            )
        return Drawn(first, to_pixels(states), labels)

    @torch.no_grad()
    def states(self, request: Request, first: int, count: int) -> tuple[Tensor, Tensor]:
        """What the walk ends on, before it becomes 8 bits, and the labels: (count, 3, side, side) of `dtype`, (count,)."""
        whole = max(count, request.batch) if self.fixed else count
        labels = self._labels(request, first, whole).to(self.device)
        own = self.schedule(request, first, labels)
        instants = torch.tensor([0.0, 1.0], dtype=torch.float64, device=self.device)
        start, end = (own.log_snr(t).expand(whole) for t in instants)  # not rounded: the walk's own λ is compared with them
        told, guidance = labels, request.guidance
        if guidance.only_null:  # one evaluation, not two of which one counts
            told, guidance = torch.full_like(labels, self.classes), Guidance()
        denoiser = NetworkDenoiser(
            self.network, self.run.objective.prediction, told, start, end, self.classes, guidance, request.clip,
            self.inputs, self.autocast, self.fixed,
        )  # fmt: skip
        state = self._walk(request, self.walked(request, own), denoiser, first, whole)
        return state[:count], labels[:count]

    def _walk(self, request: Request, schedule: Schedule, denoiser: NetworkDenoiser, first: int, count: int) -> Tensor:
        in_time, times = request.sampler in IN_TIME, grid(request.steps)
        stream = DeviceStream(request.seed, ("generation",), self.device)
        side = self.knowledge.size
        x = stream.child("start").normal(count, (3, side, side), first).to(self.dtype)
        on_device = times.to(self.device)
        flow: Flow
        if in_time:
            flow, times = Flow(schedule, denoiser), on_device
        else:
            flow = NodeFlow.of(AtNodes.of(Ended(schedule), on_device, self.dtype), denoiser, x)
        x = (flow.at(times[0], x)[1] * x).to(self.dtype)
        step: Step = STEPS[request.sampler]()
        if request.sampler == "ancestral":  # its last step draws no noise
            noise = Ahead(stream, request.steps - 1) if x.device.type == "cpu" else stream
            step = Ancestral(noise, request.gamma, first)
        x = last(walk(flow, x, times, Stored(step, self.dtype)))
        return (x / flow.at(times[-1], x)[0]).to(self.dtype) if in_time else x

    def evaluations(self, request: Request) -> float:
        """Evaluations of the network per image, Heun's second ones included, and guidance's as a mean over images."""
        count = min(GUIDED_OVER, request.count) if self.run.noise.per_image else 1
        own = self.schedule(request, request.first, self._labels(request, request.first, count).to(self.device))
        schedule = self.walked(request, own)
        times = grid(request.steps).to(self.device)
        made = times[:-1]
        if request.sampler == "Heun":
            made = torch.cat([made, times[1:] if bool((schedule.noise(times[-1]) > 0).all()) else times[1:-1]])
        if request.sampler == "Heun in noise-to-signal":
            skipped = 1 if bool((schedule.signal(times[0]) == 0).any()) else 0
            made = torch.cat([made, times[1 + skipped : -1]])
        guidance = Guidance() if request.guidance.only_null else request.guidance
        guided = sum(guidance.inside(schedule.log_snr(t)).double().mean().item() for t in made)
        return len(made) + guided


def _digest(known: Knowledge) -> str:
    """Of all that decides labels and schedules: classes and their counts, θ of the data, its basis, and p(θ | class)."""
    from imagenet.checkpoint import digest

    prior = known.prior
    mixtures = {
        name: [torch.from_numpy(values) for values in (mixture.weights, mixture.means, mixture.roots)]
        for name, mixture in prior.mixtures.items()
    }
    told = [known.size, list(known.class_names), known.class_counts, known.mean_theta, known.mean_colour_power]
    return digest([*told, list(prior.class_names), prior.basis.mean, prior.basis.components, mixtures])


def to_pixels(x: Tensor) -> Tensor:
    """[−1, 1] → uint8 0 … 255, the nearest level: what `imagenet.data.to_unit` undoes."""
    return ((x.float() + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8)


# ---- where generators come from -----------------------------------------------------------------------------------------


def load_generator(
    path: str | Path,
    *,
    ema: bool = True,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
    compiled: bool = False,
    graphs: bool = False,
) -> Generator:
    """From a checkpoint or a training's folder, with the knowledge beside it.

    `compiled`: by torch.compile; `graphs`: forward passes recorded as CUDA graphs, on CUDA only; where these fail, without
    them, with a warning. Raises CheckpointError,
    FileNotFoundError, and ValueError when network and knowledge have different classes or sizes.
    """
    from imagenet.checkpoint import digest, found_in, network_of

    content, target = found_in(path)
    run, network = network_of(content, target, ema)
    knowledge = Knowledge.beside(path)
    mine, known = (content.classes, run.model.resolution), (len(knowledge.class_names), knowledge.size)
    require(
        mine == known,
        f"{path} has {mine[0]} classes at {mine[1]} px, the knowledge beside it {known[0]} at {known[1]} px",
        "those of one training",
        "copy the folder of the training whole",
    )
    identity = digest(dict(network.state_dict()))
    network = network.to(device).requires_grad_(False)
    called: Network = network
    if compiled:
        called = torch.compile(network, dynamic=False)
    if graphs:
        called = Graphed(called)
    if compiled or graphs:
        called = Fallback(called, network)
    fixed = compiled or graphs
    return Generator(run, called, knowledge, device, autocast, fixed=fixed, identity=identity, trained_on=content.data)


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, the mode before after it."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)


def sample_grid(
    run: Run,
    network: nn.Module,
    knowledge: Knowledge,
    request: Request | None = None,
    *,
    columns: int = 8,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
) -> np.ndarray:
    """One picture of many samples, uint8 (rows·side, columns·side, 3): always of the same noise, for looking at a training.

    By default 64 images by 16 DDIM steps.
    """
    wanted = Request("DDIM", 16) if request is None else request
    generator = Generator(run, network, knowledge, device, autocast)
    generator.check(wanted)
    with evaluating(network):  # not `draw`, which refuses what is not finite: a training may show that it goes wrong
        states, _ = generator.states(wanted, wanted.first, wanted.count)
    return tile(to_pixels(states), columns)


def tile(images: Tensor, columns: int) -> np.ndarray:
    """uint8 (n, 3, side, side) → one picture, row by row; places left over are black."""
    count, _, height, width = images.shape
    rows = -(-count // columns)
    picture = torch.zeros(rows * columns, 3, height, width, dtype=torch.uint8)
    picture[:count] = images.cpu()
    grid_of = picture.reshape(rows, columns, 3, height, width).permute(0, 3, 1, 4, 2)  # (rows, height, columns, width, 3)
    return grid_of.reshape(rows * height, columns * width, 3).numpy()


def steering(generator: Generator, request: Request, factors: Sequence[tuple[float, float]]) -> Tensor:
    """The same images under θ with (slope, amplitude) scaled: uint8 (factors, count, 3, side, side); 1, 1 leaves them."""
    strips = [dataclasses.replace(request, slope=slope, amplitude=amplitude) for slope, amplitude in factors]
    return torch.stack([generator.sample(strip) for strip in progress(strips, "steering")])


@dataclass(frozen=True, eq=False)
class Source:
    """A generator and what stays the same in a sweep, as `imagenet.evaluate.Generator` wants it."""

    generator: Generator
    request: Request

    @property
    def identity(self) -> str:
        """Of the generator's origin and the request, but for what the sweep varies and what changes no image."""
        kept = {k: v for k, v in self.request.plain().items() if k not in ("sampler", "steps", "first", "count", "batch")}
        text = json.dumps([self.generator.origin, kept], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def evaluations_per_step(self, sampler: str) -> int:
        """1, or 2 for the two Heuns. Raises ValueError for an unknown sampler."""
        return STEPS[self._with(sampler).sampler]().evaluations

    def evaluations(self, sampler: str, steps: int) -> float:
        return self.generator.evaluations(self._with(sampler, steps=steps))

    def labels(self, first: int, count: int) -> Tensor:
        return self.generator.labels(dataclasses.replace(self.request, first=first, count=count))

    def sample(self, sampler: str, steps: int, first: int, count: int) -> Tensor:
        return self.generator.sample(self._with(sampler, steps=steps, first=first, count=count))

    def _with(self, sampler: str, *, steps: int = 1, first: int = 0, count: int = GUIDED_OVER) -> Request:
        return dataclasses.replace(self.request, sampler=sampler, steps=steps, first=first, count=count)
