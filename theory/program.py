"""A sampler's step as numbers: what it does with everything it sees, read off the `sampler.Step` itself.

A step is affine in the state, the posterior means it asks for, the mean it remembers, and fresh noise. `compile_walks` walks
the step once over unit vectors, with a denoiser that answers with the next unit vector, for all steps of all grids at the same
time: the coefficients are then those of the very object that samples, and nothing about a method is written down twice. They
are run on a law by `theory.reduction`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from theory.sampler import Euler, Flow, Heun, Memory, Step
from theory.schedule import Schedule
from theory.stream import Stream

Array = np.ndarray

# ---- a walk: schedule values at the nodes of a grid --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Walk:
    """Signal, noise and their rates at the N + 1 nodes of a grid, noise first: what a step can ask of a schedule.

    The rates may be left out (0) for methods that do not ask for them: see `needs_rates`.
    """

    times: Array
    signal: Array
    noise: Array
    signal_rate: Array
    noise_rate: Array

    @classmethod
    def of(cls, schedule: Schedule, times: Tensor, rates: bool = True) -> Walk:
        blank = (torch.zeros_like(times), torch.zeros_like(times))
        at = (*schedule.coefficients(times), *(schedule.rates(times) if rates else blank))
        return cls(times.numpy(), *(v.detach().numpy() for v in at))

    @property
    def steps(self) -> int:
        return len(self.times) - 1

    def every(self, stride: int) -> Walk:
        """The same schedule on every `stride`-th node; stride must divide N."""
        if self.steps % stride:
            raise ValueError(
                f"stride = {stride} of a grid of {self.steps} steps; allowed: a divisor; remedy: a grid of a power of 2 has "
                "many"
            )
        return Walk(*(getattr(self, f.name)[::stride] for f in dataclasses.fields(self)))

    def fits(self, step: Step) -> bool:
        """Whether the step is defined on it: methods in interpolant time need finite rates where they evaluate."""
        if not needs_rates(step):
            return True
        last = None if isinstance(step, Heun) and self.noise[-1] > 0 else -1
        return bool(np.isfinite(self.signal_rate[:last]).all() and np.isfinite(self.noise_rate[:last]).all())


def needs_rates(step: Step) -> bool:
    """Whether the step works in the interpolant's time."""
    return isinstance(step, Euler | Heun)


class _Listed(torch.autograd.Function):
    """Signal and noise listed at a few times of each row, and their rates for forward-mode differentiation."""

    @staticmethod
    def forward(t: Tensor, times: Tensor, signal: Tensor, noise: Tensor, *rates: Tensor) -> tuple[Tensor, ...]:
        index = (t[:, :1] == times).to(torch.int8).argmax(1, keepdim=True)  # every column of t is the row's one time
        levels = (v.gather(1, index).repeat(1, t.shape[1]) for v in (signal, noise))
        return *levels, *(v.gather(1, index) for v in rates)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        ctx.save_for_forward(*output[2:])

    @staticmethod
    def jvp(ctx, tangent, *_):  # type: ignore[no-untyped-def]
        rates = ctx.saved_tensors
        return *(tangent * rate for rate in rates), *(torch.zeros_like(rate) for rate in rates)


@dataclass(frozen=True, eq=False)
class _Neighbours(Schedule):
    """A schedule known only at each row's own (before, left, right) nodes: signal, noise and their rates, each (rows, 3)."""

    times: Tensor
    listed: Sequence[Tensor]

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        signal, noise, *_ = _Listed.apply(t, self.times, *self.listed)
        return signal, noise


# ---- reading a step's coefficients ------------------------------------------------------------------------------------

STATE, FIRST, SECOND, REMEMBERED, RANDOM = range(5)
BASIS = 5
_IDENTITY = np.eye(BASIS)[STATE]


@dataclass(frozen=True, eq=False)
class Program:
    """N steps of a sampler for each of B rows; a row with fewer steps is padded with the identity.

    result (N, B, 5): coefficients of the next state on (state, first mean, second mean, remembered mean, noise).
    guess (N, B, 5): the point where the second posterior mean is asked for; None where the method asks once.
    signal, noise (evaluations, N, B): the levels of the evaluations; start (B,): noise at the first node.
    """

    result: Array
    guess: Array | None
    signal: Array
    noise: Array
    start: Array

    @property
    def active(self) -> Array:
        """(N,): how many leading rows still move at each step; sort rows by falling N to make the most of it."""
        still = (self.result != _IDENTITY).any(-1)
        rows = still.shape[1] - np.argmax(still[:, ::-1], axis=1)
        return np.maximum.accumulate(rows[::-1])[::-1]

    def rows(self, index: Array) -> Program:
        """The rows of a boolean or integer index."""
        guess = None if self.guess is None else self.guess[:, index]
        return Program(self.result[:, index], guess, self.signal[..., index], self.noise[..., index], self.start[index])

    def uses(self, kind: int) -> bool:
        return bool(self.result[..., kind].any())


class _Probe:
    """A denoiser that answers call k with unit vector k, and writes down what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, x: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
        if len(self.calls) == 2:
            raise ValueError(
                "a step with three evaluations; allowed: at most two; remedy: extend the basis of theory.reduction"
            )
        self.calls.append((x, signal, noise))
        return _unit(len(x), len(self.calls))


class _Marked:
    """In place of a stream: its "noise" is the unit vector RANDOM."""

    def child(self, _: object) -> _Marked:
        return self

    def normal(self, count: int, _: tuple[int, ...], __: int = 0) -> Tensor:
        return _unit(count, RANDOM)


def _unit(rows: int, kind: int) -> Tensor:
    return torch.eye(BASIS, dtype=torch.float64)[kind].expand(rows, BASIS)


def compile_walks(step: Step, walks: Sequence[Walk]) -> Program:
    """The coefficients of `step` on every step of every walk, one row per walk; three or four calls of the step in all."""
    if hasattr(step, "stream"):
        step = dataclasses.replace(cast(Any, step), stream=cast(Stream, _Marked()))
    steps, rows = np.array([w.steps for w in walks]), len(walks)
    idle = np.broadcast_to(_IDENTITY, (steps.max(), rows, BASIS))
    result, guess = idle.copy(), None
    signal, noise = np.ones((2, 2, steps.max(), rows))
    row = np.repeat(np.arange(rows), steps)
    number = np.arange(len(row)) - np.repeat(np.cumsum(steps) - steps, steps)
    nodes = [np.concatenate([getattr(w, f.name) for w in walks]) for f in dataclasses.fields(Walk)]
    left = np.arange(len(row)) + row  # a walk has one more node than steps
    # Steps look at whole batches for the ends of a schedule ("any noise 0?"), so ends and interior are asked separately.
    ends = (number == 0) + 2 * (nodes[1][left] == 0) + 4 * (nodes[2][left + 1] == 0)
    for kind in np.unique(ends).tolist():
        chosen, first = np.flatnonzero(ends == kind), kind % 2 == 1
        listed = [v[left[chosen, None] + (-1, 0, 1)] for v in nodes]  # (steps, 3): before, left and right
        if first:
            listed[0][:, 0] = 2.0  # there is no node before: a time out of range
        out, calls = _probed(step, listed, first)
        at = (number[chosen], row[chosen])
        result[at] = out
        for k, (x, level_signal, level_noise) in enumerate(calls):
            signal[(k, *at)], noise[(k, *at)] = level_signal, level_noise
            if k == 1:
                guess = idle.copy() if guess is None else guess
                guess[at] = x
    asked = 1 if guess is None else 2
    start = np.array([w.noise[0] for w in walks])
    return Program(result, guess, signal[:asked], noise[:asked], start)


def _probed(step: Step, listed: Sequence[Array], first: bool) -> tuple[Array, list[tuple[Array, Array, Array]]]:
    times, *values = (torch.from_numpy(v) for v in listed)
    known, probe, rows = _Neighbours(times, values), _Probe(), len(times)
    before, left, right = (times[:, k : k + 1].repeat(1, BASIS) for k in range(3))
    memory = Memory() if first else Memory(1, before, _unit(rows, REMEMBERED))
    out, kept = step(Flow(known, probe), _unit(rows, STATE), left, right, memory)
    if kept is not None and not torch.equal(kept, _unit(rows, FIRST)):
        raise ValueError(
            f"{step} remembers something else than its first posterior mean; allowed: that, or nothing; remedy: walk it with "
            "theory.sampler instead of compiling it"
        )
    calls = [(x.numpy(), s[:, 0].numpy(), n[:, 0].numpy()) for x, s, n in probe.calls]
    return out.numpy(), calls
