"""Numbers from the definition, for the claims to be measured against: Euler on E[dx/dt | x], posterior means by Bayes' rule.

Written from x = signal·a + noise·z alone and sharing nothing with `limit`: the velocity is signal'·E[a|x] + noise'·E[z|x], the
posterior mean of a two-mode mixture is the responsibility-weighted mean of two Gaussian ones. One dimension: u for the
weights, any direction across u for the spread (that this loses nothing is a claim of its own, checked on the sampler in d
dimensions).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import special

from theory.sampler import grid
from theory.schedule import Schedule

Array = np.ndarray
Posterior = Callable[[Array, float, float], Array]


def gaussian(variance: float) -> Posterior:
    """E[a | x] for a ~ N(0, variance)."""
    return lambda x, signal, noise: x * (signal * variance) / (signal**2 * variance + noise**2)


def two_modes(weight: float, centre: float, variance: float) -> Posterior:
    """E[a | x] for a ~ weight·N(centre, variance) + (1 − weight)·N(−centre, variance)."""

    def mean(x: Array, signal: float, noise: float) -> Array:
        total = signal**2 * variance + noise**2
        inside = [c + signal * variance / total * (x - signal * c) for c in (centre, -centre)]
        exponent = [-0.5 * (x - signal * c) ** 2 / total for c in (centre, -centre)]
        share = special.expit(special.logit(weight) + exponent[0] - exponent[1])
        return share * inside[0] + (1 - share) * inside[1]

    return mean


def euler(posterior: Posterior, schedule: Schedule, steps: int, z: Array) -> Array:
    """The state at t = 0 of `steps` Euler steps from noise(1)·z; elementwise."""
    times = grid(steps)
    left = times[:-1]
    rows = [v.numpy() for v in (schedule.signal(left), schedule.noise(left), *schedule.rates(left))]
    x = rows[1][0] * np.asarray(z, dtype=np.float64)
    for signal, noise, signal_rate, noise_rate, step in zip(*rows, torch.diff(times).numpy(), strict=True):
        data = posterior(x, signal, noise)
        x = x + step * (signal_rate * data + noise_rate * (x - signal * data) / noise)
    return x


def spread(schedule: Schedule, steps: int, variance: float) -> float:
    """σ̂ across u, signed."""
    return float(euler(gaussian(variance), schedule, steps, np.ones(1))[0])


def quantile(posterior: Posterior, schedule: Schedule, steps: int) -> float:
    """The z that ends at 0, found by bisection with 201 points at a time; NaN when no point of [−40, 40] does."""
    low, high = -40.0, 40.0
    for _ in range(7):
        z = np.linspace(low, high, 201)
        above = int(np.argmax(euler(posterior, schedule, steps, z) > 0))
        if above == 0:
            return float("nan")
        low, high = z[above - 1], z[above]
    return float((low + high) / 2)


def plus_weight(schedule: Schedule, steps: int, weight: float, centre: float, variance: float) -> float:
    """p̂ = P(u·x > 0); `centre` = m√d."""
    return float(special.ndtr(-quantile(two_modes(weight, centre, variance), schedule, steps)))
