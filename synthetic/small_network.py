"""A small denoiser trained on paper A's mixture (arXiv 2501.00988), many of them side by side, at any dimension.

With û the learned direction of μ, P = E(û·a)², l² = signal² + noise² and L² = signal²P + noise², the denoiser is
    along û:   (signal·P/L²)·y + (noise·√P/L)·f(t, y/L),  y = û·x;     across:   (signal/l² + (noise/l²)·g(t))·x_⊥:
two small networks f and g of the schedule's own time t (or, if told so, of EDM's ¼ log ς in its place). It is the natural
family: the posterior mean of p N(μ, v) + (1 − p) N(−μ, v) has this form with û = μ/|μ|. The factors around f and g are those
of EDM (arXiv 2206.00364, table 1; data of scale √P along û, 1 across): x itself is returned as noise → 0, and targets are of
order 1 at all levels. Networks know t and nothing of the clock, d, p, m or σ. Training regresses f and g on their targets
with t uniform, so that the schedule is also the density of noise levels: (f − f*)² + |g·x̂ − v|²/(d − 1) with x̂ = x_⊥/l, v =
(noise·a_⊥ − signal·z_⊥)/l and f* = (noise·û·a − signal·P·û·z)/(√P·L).

A batch enters this only through û·a, û·z, the same for the direction in the plane of μ and û that is orthogonal to û, and the
inner products of the remaining d − 2 coordinates, which are chi-square and normal (Bartlett): the law of the gradient is
exactly that of d-dimensional batches, at a cost without d (derivation: ours; checked against vectors by a test). û is the
mean of n sign-aligned samples, whose angle to μ is drawn from its exact law too.

All runs are trained at once: parameters have a leading axis of runs, and Adam acts on each number by itself.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from theory.progress import progress
from theory.schedule import Schedule

Array = np.ndarray
PRECISION = torch.float32  # of the networks and their training: the one place where float64 ends


@dataclass(frozen=True)
class Task:
    """One run: what it is trained on. `weight` p at +mean√d, spread σ in every direction; rng its own.

    `told`: networks see the noise level in place of the schedule's time.
    """

    schedule: Schedule
    dim: float
    weight: float
    mean: float
    spread: float
    rng: np.random.Generator
    told: bool = False

    @property
    def centre(self) -> float:
        return self.mean * math.sqrt(self.dim)

    def feature(self, time: Array, signal: Array, noise: Array) -> Array:
        """What the networks see of the time: 2t − 1, or ¼ log ς with ς held in [10⁻³, 10⁵]."""
        if not self.told:
            return 2 * time - 1
        ends = (1e-3, 1e5)
        return 0.25 * np.log(np.clip(noise / np.maximum(signal, noise / ends[1]), *ends))


@dataclass(frozen=True)
class Direction:
    """The learned û: cosine and sine of its angle to μ, and P = E(û·a)²."""

    cosine: float
    sine: float
    power: float


def learn_direction(task: Task, samples: int) -> Direction:
    """Mean of `samples` sign-aligned data: c + σg/√n along μ, and length σ·chi_{d−1}/√n across, in a random direction.

    The signs are taken as seen: the two clusters are 2m√d/σ standard deviations apart.
    """
    noise = task.spread / math.sqrt(samples)
    along = task.centre + noise * task.rng.standard_normal()
    across = noise * math.sqrt(task.rng.chisquare(task.dim - 1))
    length = math.hypot(along, across)
    cosine, sine = along / length, across / length
    return Direction(cosine, sine, (task.centre * cosine) ** 2 + task.spread**2)


@dataclass(frozen=True, eq=False)
class Batch:
    """What the loss needs of a batch, each (runs, count).

    The feature of time; the input y/L of f and its target; of the d − 1 coordinates across û |x̂|², x̂·v, |v|², over d − 1.
    """

    time: Tensor
    state: Tensor
    target: Tensor
    xx: Tensor
    xv: Tensor
    vv: Tensor

    def part(self, start: int, stop: int) -> Batch:
        return Batch(*(getattr(self, f.name)[:, start:stop] for f in dataclasses.fields(self)))


def draw_batches(tasks: Sequence[Task], directions: Sequence[Direction], count: int, batches: int) -> Batch:
    """`batches` batches of `count` samples one after the other, t stratified within each: (runs, batches·count)."""
    rows = [_row(task, u, count, batches) for task, u in zip(tasks, directions, strict=True)]
    return Batch(*(torch.from_numpy(np.stack(part)).to(PRECISION) for part in zip(*rows, strict=True)))


def _row(task: Task, u: Direction, count: int, batches: int) -> tuple[Array, ...]:
    rng, total, sigma = task.rng, count * batches, task.spread
    t = ((np.arange(count) + rng.random((batches, count))) / count).ravel()
    signal, noise = (v.numpy() for v in task.schedule.coefficients(torch.from_numpy(t)))
    sign = np.where(rng.random(total) < task.weight, 1.0, -1.0)
    g, h, z, w = rng.standard_normal((4, total))
    along_mu, beside = sign * task.centre + sigma * g, sigma * h
    a, b = (
        u.cosine * along_mu + u.sine * beside,
        u.cosine * beside - u.sine * along_mu,
    )  # along û, and the plane's other direction
    large, small = np.sqrt(signal**2 * u.power + noise**2), np.sqrt(signal**2 + noise**2)
    state = (signal * a + noise * z) / large
    target = (noise * a - signal * u.power * z) / (math.sqrt(u.power) * large)
    # Of the other d − 2 coordinates: |g|², g·z, |z|² of standard normals, z split into its part along g and the rest.
    gg, inside = rng.chisquare(task.dim - 2, total), rng.standard_normal(total)
    gz, zz = np.sqrt(gg) * inside, inside**2 + rng.chisquare(task.dim - 3, total)
    aa, az, zz = sigma**2 * gg + b**2, sigma * gz + b * w, zz + w**2
    xx = signal**2 * aa + 2 * signal * noise * az + noise**2 * zz
    xv = signal * noise * (aa - zz) + (noise**2 - signal**2) * az
    vv = noise**2 * aa - 2 * signal * noise * az + signal**2 * zz
    return task.feature(t, signal, noise), state, target, *(v / (small**2 * (task.dim - 1)) for v in (xx, xv, vv))


@dataclass(frozen=True, eq=False)
class Networks:
    """Runs of f(t, y/L) and g(t), each two hidden layers of tanh: lists of (weight (runs, in, out), bias (runs, 1, out))."""

    response: list[tuple[Tensor, Tensor]]
    gain: list[tuple[Tensor, Tensor]]

    @classmethod
    def new(cls, rngs: Sequence[np.random.Generator], width: int) -> Networks:
        """Weights normal with variance 1/inputs, times 3 on inputs: sharp turns are wanted; biases uniform in ±1."""

        def layers(sizes: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
            out = []
            for k, (i, o) in enumerate(itertools.pairwise(sizes)):
                size = (3.0 if k == 0 else 1.0) / math.sqrt(i)
                weight = np.stack([rng.standard_normal((i, o)) * size for rng in rngs])
                bias = np.stack([rng.uniform(-1, 1, (1, o)) for rng in rngs])
                out.append(tuple(torch.from_numpy(v).to(PRECISION).requires_grad_() for v in (weight, bias)))
            return out  # type: ignore[return-value]

        return cls(layers((2, width, width, 1)), layers((1, width, width, 1)))

    @property
    def parameters(self) -> list[Tensor]:
        return [v for layer in (*self.response, *self.gain) for v in layer]

    def f(self, time: Tensor, state: Tensor) -> Tensor:
        """(runs, points)."""
        return _through(self.response, torch.stack([time, state], -1))

    def g(self, time: Tensor) -> Tensor:
        return _through(self.gain, time[..., None])


def _through(layers: list[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    for k, (weight, bias) in enumerate(layers):
        x = torch.baddbmm(bias, x, weight)
        if k + 1 < len(layers):
            x = torch.tanh(x)
    return x[..., 0]


def loss(networks: Networks, batch: Batch) -> Tensor:
    """(f − f*)² + |g·x̂ − v|²/(d − 1), mean over the batch, (runs,)."""
    g = networks.g(batch.time)
    return ((networks.f(batch.time, batch.state) - batch.target) ** 2 + g**2 * batch.xx - 2 * g * batch.xv + batch.vv).mean(1)


def train(
    tasks: Sequence[Task], directions: Sequence[Direction], width: int, steps: int, count: int, rate: float
) -> tuple[Networks, Array]:
    """(networks, mean loss over the last tenth (runs,)): Adam, rate falling to 0 as a cosine."""
    networks = Networks.new([task.rng for task in tasks], width)
    optimiser = torch.optim.Adam(networks.parameters, lr=rate, betas=(0.9, 0.99))
    chunk, late, final = 25, torch.zeros(len(tasks)), min(steps - 1, math.ceil(0.9 * steps))
    for start in progress(range(0, steps, chunk), "learned: train"):
        batches = min(chunk, steps - start)
        drawn = draw_batches(tasks, directions, count, batches)
        for k in range(batches):
            for group in optimiser.param_groups:
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * (start + k) / steps))
            value = loss(networks, drawn.part(k * count, (k + 1) * count))
            optimiser.zero_grad()
            value.sum().backward()
            optimiser.step()
            if start + k >= final:
                late += value.detach() / (steps - final)
    for parameter in networks.parameters:
        parameter.requires_grad_(False)
    return networks, late.numpy().astype(np.float64)
