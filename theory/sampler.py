"""Samplers: a grid of times, a step from t to s, and one generator that walks the grid.

A sampler integrates the probability-flow ODE dx/dt = velocity from t = 1 (noise) to t = 0 (data), or simulates the reverse
process. Its one hard quantity is the step, `step(flow, x, t, s, memory)`: from the noisier time t to the cleaner s. A `Flow`
is a schedule with a denoiser (x, signal, noise) → E[data | x]: an exact law or a trained network. N steps visit N + 1 nodes,
both ends included, and evaluate the denoiser at the left (noisier) ends, so never at the data end of the last step: `Heun`
states what it does there.
"""

from __future__ import annotations

import itertools
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from theory.curve import check_number
from theory.interpolant import Point, against, velocity_coefficients
from theory.schedule import Schedule, as_time
from theory.stream import Noise, Stream

Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Flow:
    """A schedule and a denoiser (x, signal, noise) → posterior mean of the data, shape of x.

    Walks of many blocks of states visit the same nodes, so a flow asks its schedule once for each single time. A subclass may
    answer `data` from what it keeps for each time; the rest is final.
    """

    schedule: Schedule
    denoiser: Denoiser
    _asked: dict[tuple[object, ...], tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def _once(self, ask: Callable[[Tensor], tuple[Tensor, Tensor]], t: Tensor) -> tuple[Tensor, Tensor]:
        """ask(t), kept where t is one number on a processor and nothing is differentiated."""
        if t.ndim or t.device.type != "cpu" or t.requires_grad:
            return ask(t)
        key = (ask.__name__, t.dtype, t.item())
        if key not in self._asked:
            found = ask(t)
            if any(v.requires_grad for v in found):
                return found
            self._asked[key] = found
        return self._asked[key]

    def _levels(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.schedule.coefficients(as_time(t))

    def _slopes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(p, q) of `velocity`, checked."""
        p, q = velocity_coefficients(Point(*self._once(self._levels, t), *self.schedule.rates(t)))
        if p.device.type == "cpu" and not bool((torch.isfinite(p) & torch.isfinite(q)).all()):
            raise ValueError(
                f"the velocity of {self.schedule} is not finite at t = {t.tolist()}; allowed: times where noise > 0 and both "
                "rates are finite; remedy: start the grid below 1, e.g. grid(N, start=0.999), or take a step without rates "
                "(DDIM)"
            )
        return p, q

    def at(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(signal, noise) at t, shaped against x."""
        signal, noise = self._once(self._levels, t)
        return against(signal, x), against(noise, x)

    def slopes(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(p, q) of the velocity p·x + q·data at t, shaped against x (see `interpolant.velocity_coefficients`).

        Raises ValueError where p or q is not finite: at noise = 0, and where a coefficient has a vertical tangent.
        """
        p, q = self._once(self._slopes, t)
        return against(p, x), against(q, x)

    def data(self, x: Tensor, t: Tensor) -> Tensor:
        """Posterior mean of the data at state x, time t."""
        return self.denoiser(x, *self.at(t, x))

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """E[dx/dt | x] = p·x + q·data. Raises ValueError as `slopes`."""
        p, q = self.slopes(t, x)
        return p * x + q * self.data(x, t)

    def start(self, z: Tensor) -> Tensor:
        """The state at t = 1 from standard normals: noise(1)·z, data being invisible there (signal(1) taken as 0).

        Raises ValueError where noise(1) is infinite, as for a training density of unbounded support.
        """
        noise = self.at(as_time(1.0), z)[1]
        if noise.device.type == "cpu" and not bool(torch.isfinite(noise).all()):
            raise ValueError(
                f"{self.schedule} has infinite noise at t = 1; allowed: a finite level; remedy: start the walk at some t < 1 "
                "from noise(t)·z instead"
            )
        return noise * z


# ---- grids ------------------------------------------------------------------------------------------------------------


def grid(steps: int, start: float = 1.0, stop: float = 0.0) -> Tensor:
    """N + 1 equally spaced times from `start` (noise) down to `stop` (data), float64, both ends exact.

    Raises ValueError unless N ≥ 1 and 0 ≤ stop < start ≤ 1.
    """
    if isinstance(steps, bool) or not isinstance(steps, numbers.Integral) or steps < 1:
        raise ValueError(f"steps N = {steps!r}; allowed: an integer ≥ 1; remedy: give the number of steps, not of nodes")
    check_number(start=start, stop=stop)
    if not 0 <= stop < start <= 1:
        raise ValueError(
            f"grid from t = {start} to {stop}; allowed: 0 ≤ stop < start ≤ 1; remedy: t = 1 is noise, t = 0 data; a sampler "
            "goes down"
        )
    # Not torch.linspace: at N = 98, 196, 206 … its middle node is one bit off ½, where the clocks have their kink.
    index = torch.arange(steps + 1, dtype=torch.float64)
    nodes = (start * (steps - index) + stop * index) / steps
    nodes[0], nodes[-1] = start, stop
    return nodes


def check_grid(times: Tensor, schedule: Schedule, *, allow_kinks: bool = False) -> None:
    """Raises ValueError unless the times are ≥ 2, inside [0, 1], strictly decreasing and include the schedule's kinks.

    `allow_kinks` waives the last condition, and only that.
    """
    if not isinstance(times, Tensor):
        raise TypeError(
            f"grid of type {type(times).__name__}; allowed: a tensor (N + 1,); remedy: grid(N), or torch.as_tensor(…) of the "
            "times"
        )
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"grid of shape {tuple(times.shape)}; allowed: (N + 1,) with N ≥ 1 steps; remedy: grid(N)")
    as_time(times)
    rising = torch.nonzero(torch.diff(times) >= 0)
    if len(rising):
        k = int(rising[0])
        raise ValueError(
            f"nodes {k}, {k + 1} of the grid are {times[k].item()}, {times[k + 1].item()}; allowed: strictly decreasing times; "
            "remedy: order them from noise to data and merge equals"
        )
    for kink in () if allow_kinks else schedule.kinks:
        if times[-1] < kink < times[0] and not bool((times == kink).any()):
            raise ValueError(
                f"the schedule has a kink at t = {kink} and the grid of {len(times) - 1} steps no node there; allowed: a node "
                "at every kink; remedy: use an even number of steps, or add the node (`allow_kinks=True` walks the grid as it "
                "is)"
            )


# ---- steps ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """What a step leaves for the next: its time, its posterior mean (multistep methods) and its number (noise streams)."""

    number: int = 0
    time: Tensor | None = None
    data: Tensor | None = None


class Step(ABC):
    """One step from t (noisier) to s < t. `order` is the global order in the step size, checked by measurement."""

    order: float
    evaluations: int = 1

    @abstractmethod
    def __call__(self, flow: Flow, x: Tensor, t: Tensor, s: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        """(state at s, posterior mean at t for the next step's memory, or None)."""


@dataclass(frozen=True)
class Euler(Step):
    """Euler in the interpolant's time (paper A): x + (s − t)·velocity(x, t). Needs finite rates at every left end."""

    order: float = 1

    def __call__(self, flow: Flow, x: Tensor, t: Tensor, s: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        p, q = flow.slopes(t, x)
        step = s - t
        return (1 + step * p) * x + (step * q) * flow.data(x, t), None  # fewer passes over the states than by `velocity`


@dataclass(frozen=True)
class Heun(Step):
    """Heun (explicit trapezoid) in the interpolant's time. Where noise(s) = 0 the velocity is 0/0: that one step is Euler's."""

    order: float = 2
    evaluations: int = 2

    def __call__(self, flow: Flow, x: Tensor, t: Tensor, s: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        if bool((flow.at(s, x)[1] == 0).any()):
            return Euler()(flow, x, t, s, memory)
        slope = flow.velocity(x, t)
        return x + 0.5 * (s - t) * (slope + flow.velocity(x + (s - t) * slope, s)), None


def _ddim(x: Tensor, data: Tensor, left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> Tensor:
    """signal_s·data + noise_s·(x − signal_t·data)/noise_t: exact for a constant noise prediction."""
    ratio = right[1] / left[1]
    return ratio * x + (right[0] - left[0] * ratio) * data


@dataclass(frozen=True)
class DDIM(Step):
    """DDIM with η = 0 (arXiv 2010.02502): Euler in the noise-to-signal ς. Works from signal(t) = 0 and to noise(s) = 0."""

    order: float = 1

    def __call__(self, flow: Flow, x: Tensor, t: Tensor, s: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        data = flow.data(x, t)
        return _ddim(x, data, flow.at(t, x), flow.at(s, x)), data


@dataclass(frozen=True)
class HeunNoiseToSignal(Step):
    """Heun in ς for x/signal (EDM's deterministic sampler, arXiv 2206.00364, algorithm 1).

    d(x/signal)/dς is the noise prediction. It is unbounded at signal(t) = 0 and undetermined at noise(s) = 0; such steps, at
    the two ends only, are DDIM's, as in EDM.
    """

    order: float = 2
    evaluations: int = 2

    def __call__(self, flow: Flow, x: Tensor, t: Tensor, s: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        (signal_t, noise_t), (signal_s, noise_s) = flow.at(t, x), flow.at(s, x)
        data = flow.data(x, t)
        guess = _ddim(x, data, (signal_t, noise_t), (signal_s, noise_s))
        if bool((signal_t == 0).any()) or bool((noise_s == 0).any()):
            return guess, data
        z_left, z_right = (x - signal_t * data) / noise_t, (guess - signal_s * flow.data(guess, s)) / noise_s
        change = noise_s / signal_s - noise_t / signal_t
        return signal_s * (x / signal_t + 0.5 * change * (z_left + z_right)), data


@dataclass(frozen=True)
class DPMSolver2M(Step):
    """DPM-Solver++(2M) (arXiv 2211.01095, algorithm 2): two-step, linear in the data prediction, in h = Δ log(signal/noise).

    First order where h or the previous h is infinite: the first step, a start from signal = 0, a last step to noise = 0.
    """

    order: float = 2

    def __call__(self, flow: Flow, x: Tensor, t: Tensor, s: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        data = flow.data(x, t)
        left, right = flow.at(t, x), flow.at(s, x)
        if memory.data is None or memory.time is None:
            return _ddim(x, data, left, right), data
        log_snr = [against(flow.schedule.log_snr(v), x) for v in (memory.time, t, s)]
        previous, step = log_snr[1] - log_snr[0], log_snr[2] - log_snr[1]
        weight = step / (2 * previous)  # 1/(2r): 0 after an infinite step
        weight = torch.where(torch.isfinite(step), weight, torch.zeros_like(weight))
        blended = (1 + weight) * data - weight * memory.data
        return _ddim(x, blended, left, right), data


@dataclass(frozen=True)
class Ancestral(Step):
    """Ancestral sampling of the reverse process, log-variance interpolated: γ = 0 the posterior's, 1 the forward step's.

    With c = 1 − e^{λ_t − λ_s}: mean = (signal_s/signal_t)(1 − c)·x + c·signal_s·data, variance = c·noise_s^{2−2γ}·noise_t^{2γ}
    (VDM, arXiv 2107.00630, for γ = 0). Noise of step n, sample k comes from `stream.child(n)`, sample
    `start` + k. The step to noise(s) = 0 is the mean. Weak order 1. Needs 0 ≤ γ ≤ 1.
    """

    stream: Noise
    gamma: float = 0.0
    start: int = 0
    order: float = 1

    def __post_init__(self) -> None:
        check_number(gamma=self.gamma)
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"γ = {self.gamma}; allowed: 0 ≤ γ ≤ 1; remedy: 0 adds no noise, 1 is ancestral sampling")

    def __call__(self, flow: Flow, x: Tensor, t: Tensor, s: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None]:
        (signal_t, noise_t), (signal_s, noise_s) = flow.at(t, x), flow.at(s, x)
        data = flow.data(x, t)
        # (1 − c)·signal_s/signal_t and c, without forming λ: both stay finite at signal_t = 0 and at noise_s = 0.
        shrink = signal_t * noise_s**2 / (noise_t**2 * signal_s)
        share = 1 - (signal_t * noise_s / (noise_t * signal_s)) ** 2
        mean = shrink * x + share * signal_s * data
        if bool((noise_s == 0).all()):
            return mean, data
        std = torch.sqrt(share) * noise_s ** (1 - self.gamma) * noise_t**self.gamma
        std = torch.where(noise_s > 0, std, torch.zeros_like(std))  # at γ = 1 the power of 0 is 1
        z = self.stream.child(memory.number).normal(len(x), tuple(x.shape[1:]), self.start)
        return mean + std * z.to(dtype=x.dtype, device=x.device), data


# ---- the walk ---------------------------------------------------------------------------------------------------------


def walk(flow: Flow, x: Tensor, times: Tensor, step: Step, *, allow_kinks: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (time, state) at every node of the grid, the start first; x is the state at times[0].

    The caller keeps what it wants: `last(walk(…))`, or `list(walk(…))` for the path. Raises ValueError, before any work, for a
    bad grid (see `check_grid`; `allow_kinks` lets a grid miss a kink, for showing what that costs), and TypeError for what is
    no flow, no state or no step.
    """
    for name, given, kind, remedy in (
        ("flow", flow, Flow, "Flow(schedule, denoiser)"),
        ("x", x, Tensor, "torch.as_tensor(x), e.g. flow.start(z)"),
        ("step", step, Step, "an instance with its brackets, as Euler() or STEPS['Euler']()"),
    ):
        if not isinstance(given, kind):
            found = given.__name__ if isinstance(given, type) else f"of type {type(given).__name__}"
            raise TypeError(f"{name} is {found}; allowed: a {kind.__name__}; remedy: {remedy}")
    check_grid(times, flow.schedule, allow_kinks=allow_kinks)
    return _walk(flow, x, times, step)


def _walk(flow: Flow, x: Tensor, times: Tensor, step: Step) -> Iterator[tuple[Tensor, Tensor]]:
    memory = Memory()
    yield times[0], x
    for t, s in itertools.pairwise(times):
        x, data = step(flow, x, t, s, memory)
        memory = Memory(memory.number + 1, t, data)
        yield s, x


def last(path: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """The final state of a walk."""
    state: Tensor | None = None
    for _, state in path:  # noqa: B007  (only the last one is wanted)
        pass
    if state is None:
        raise ValueError(
            "the walk has no state; allowed: one state at least; remedy: pass walk(…) as it comes, not one already used up"
        )
    return state


STEPS: dict[str, Callable[[], Step]] = {
    "Euler": Euler,
    "Heun": Heun,
    "DDIM": DDIM,
    "Heun in noise-to-signal": HeunNoiseToSignal,
    "DPM-Solver++(2M)": DPMSolver2M,
    "ancestral": lambda: Ancestral(Stream(0)),
}
