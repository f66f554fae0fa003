"""What a finite number of steps does to the spectrum of samples, if every frequency is Gaussian and the network exact.

A coefficient of variance P under an exact denoiser moves by a factor at each step; the product over a grid, on each image's
own schedule, gives the spectrum that N steps leave of the data's. It is the exact testbed's answer for images of these
spectra, so what a trained network adds to it is its own error. DDIM: claim C2. Euler in interpolant time: the velocity of a
Gaussian is linear, p·x + q·gain·x with gain = signal·P/(signal²P + noise²) (`theory.interpolant`). Derivation: ours.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from theory import cost
from theory.interpolant import point, velocity_coefficients
from theory.sampler import grid
from theory.schedule import Schedule


def ddim_power(power: Tensor, schedule: Schedule, steps: int) -> Tensor:
    """R(f) of N DDIM steps, the last to noise 0: power (n, K) of n images and a schedule of theirs, or one for all → (n, K).

    N evaluations of the denoiser, at t = 1, 1 − 1/N, …, 1/N, then a step to no noise, as `imagenet.generate` ends.
    """
    times = grid(steps)[:-1]
    levels = schedule.noise_to_signal(times[:, None].expand(-1, len(power))).double()  # (N, n)
    levels = torch.cat([levels, torch.zeros_like(levels[:1])])[..., None]
    start = levels[0]  # x/signal begins with noise alone, of variance ς²
    factor = torch.ones_like(power)
    for left, right in itertools.pairwise(levels):
        factor = factor * cost.ddim_multiplier(power, left, right)
    return factor.square() * start.square()


def euler_power(power: Tensor, schedule: Schedule, steps: int) -> Tensor:
    """R(f) of N Euler steps in the schedule's own time, from noise alone at t = 1 to t = 0: power (K,) → (K,)."""
    spread = schedule.noise(1.0).double().expand_as(power)
    times = grid(steps)
    for t, s in itertools.pairwise(times):
        at = point(schedule, t, spread)
        p, q = velocity_coefficients(at)
        gain = at.signal * power / (at.signal**2 * power + at.noise**2)
        spread = spread * (1 + (s - t) * (p + q * gain))
    return spread.square()
