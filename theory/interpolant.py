"""The interpolant x = signal·a + noise·z between data a and noise z, and the four ways to predict along it.

A prediction is the conditional mean, given x, of one of: data a, noise z, score −z/noise, or velocity
signal'·a + noise'·z (rates in time). Any one of them, with x, gives the others: two linear equations,
    x = signal·a + noise·z   and   the prediction's own.
They are solved here, once. Each solution has a singular end, where the prediction stops determining the rest:

| from     | gives data by division by | gives noise by division by | singular where          |
|----------|---------------------------|----------------------------|-------------------------|
| data     | (itself)                  | noise                      | noise = 0 (data end)    |
| noise    | signal                    | (itself)                   | signal = 0 (noise end)  |
| score    | signal                    | (it is −noise × score)     | signal = 0 (noise end)  |
| velocity | W                         | W                          | W = 0: λ stands still   |

W = signal·noise' − signal'·noise = −½ λ'·signal·noise.
A score is −noise-prediction/noise, so the score itself is singular at noise = 0. There the functions return the ±∞ or NaN of
IEEE arithmetic rather than a wrong finite number; samplers do not evaluate there (see `sampler`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from theory.schedule import Schedule, Time

Kind = Literal["data", "noise", "score", "velocity"]
KINDS: tuple[Kind, ...] = ("data", "noise", "score", "velocity")


@dataclass(frozen=True)
class Point:
    """One time of a schedule: coefficients and their rates, shaped to broadcast against states x."""

    signal: Tensor
    noise: Tensor
    signal_rate: Tensor
    noise_rate: Tensor

    @property
    def wronskian(self) -> Tensor:
        """W = signal·noise' − signal'·noise = −½ λ'·signal·noise ≥ 0."""
        return self.signal * self.noise_rate - self.signal_rate * self.noise


def against(value: Tensor, x: Tensor) -> Tensor:
    """`value`, one number per leading index of x, with trailing axes appended so that it broadcasts against x."""
    if value.shape != x.shape[: value.ndim]:
        raise ValueError(
            f"one number per image has shape {tuple(value.shape)}, states {tuple(x.shape)}; allowed: (), or a leading part of "
            "the states' shape; remedy: give one number for each state of the batch"
        )
    return value.reshape(value.shape + (1,) * (x.ndim - value.ndim))


def point(schedule: Schedule, t: Time, x: Tensor) -> Point:
    """The schedule at time t, ready to be used with states x (batch, …)."""
    return Point(*(against(v, x) for v in (schedule.signal(t), schedule.noise(t), *schedule.rates(t))))


def corrupt(data: Tensor, z: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
    """x = signal·data + noise·z; signal and noise are one number each, or one per image. Raises ValueError for shapes."""
    if data.shape != z.shape:
        raise ValueError(
            f"data has shape {tuple(data.shape)} and noise {tuple(z.shape)}; allowed: equal shapes; "
            "remedy: draw the noise with the data's shape"
        )
    return against(signal, data) * data + against(noise, data) * z


def _data(kind: Kind, prediction: Tensor, x: Tensor, at: Point) -> Tensor:
    match kind:
        case "data":
            return prediction
        case "noise":
            return (x - at.noise * prediction) / at.signal
        case "score":
            return (x + at.noise**2 * prediction) / at.signal
        case "velocity":
            return (at.noise_rate * x - at.noise * prediction) / at.wronskian


def _noise(kind: Kind, prediction: Tensor, x: Tensor, at: Point) -> Tensor:
    match kind:
        case "data":
            return (x - at.signal * prediction) / at.noise
        case "noise":
            return prediction
        case "score":
            return -at.noise * prediction
        case "velocity":
            return (at.signal * prediction - at.signal_rate * x) / at.wronskian


def convert(prediction: Tensor, x: Tensor, at: Point, source: Kind, target: Kind) -> Tensor:
    """The `target` prediction equivalent to a `source` prediction at state x; all of x's shape.

    Singular ends: see the table at the top of this module. Raises ValueError for an unknown kind or unequal shapes.
    """
    for kind in (source, target):
        if kind not in KINDS:
            raise ValueError(
                f"prediction kind {kind!r}; allowed: {', '.join(KINDS)}; remedy: EDM's and Karras' networks predict data once "
                "preconditioned"
            )
    if prediction.shape != x.shape:
        raise ValueError(
            f"prediction of shape {tuple(prediction.shape)} for states of shape {tuple(x.shape)}; allowed: equal shapes; "
            "remedy: pass the states that the prediction was made for"
        )
    if source == target:
        return prediction
    match target:
        case "data":
            return _data(source, prediction, x, at)
        case "noise":
            return _noise(source, prediction, x, at)
        case "score":
            return -_noise(source, prediction, x, at) / at.noise
        case "velocity":
            return at.signal_rate * _data(source, prediction, x, at) + at.noise_rate * _noise(source, prediction, x, at)


def velocity_coefficients(at: Point) -> tuple[Tensor, Tensor]:
    """(p, q) with velocity = p·x + q·data: p = noise'/noise, q = −W/noise (paper A: α̇/α and β̇ − α̇β/α).

    This form needs no division by the signal, so Euler may start from pure noise.
    """
    return at.noise_rate / at.noise, -at.wronskian / at.noise
