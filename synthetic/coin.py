"""One phase of a hierarchy by itself: what a grid of noise levels does to a biased coin, or to a spread, far from other scales.

When the scales of a law are far apart, a level of modes ±c decides at noise-to-signal ς = O(c), where everything larger is
decided and everything smaller is invisible: it is the coin ±1 in Gaussian noise s = ς/c (the limit v → 0 of `theory.phase`),
and the spread inside a mode is one Gaussian direction, s = ς/σ. A schedule enters through the levels s that it has near 1: its
local grid. DDIM in the gauge signal = 1, x' = (s'/s)x + (1 − s'/s)·E[a | x] with E[a | x] = tanh(h + x/s²) for the coin
(derivation: ours). From here come predictions without d: the coarsest local grid that still gets the coin right. Nothing here
calls `theory.reduction`, which is what the predictions are held against.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import special

Array = np.ndarray
Grid = Callable[[float], Array]  # spacing h → levels s, noise first, the last one 0 or where the walk stops
FAR, NEAR = 200.0, 0.05  # in units of the scale: above it all is undecided, below it (20 spreads apart) all is decided


def coin_weight(levels: Array, weight: float) -> float:
    """P(x > 0) after DDIM over the levels, from x = s₀z + (2p − 1): where a step from infinite noise, or many, put it."""
    bias = 0.5 * math.log(weight / (1 - weight))
    left, ratio = levels[:-1], levels[1:] / levels[:-1]
    steps = list(zip(ratio.tolist(), (1 - ratio).tolist(), (left**2).tolist(), strict=True))
    low, high = -8.0, 8.0
    for _ in range(3):
        z = np.linspace(low, high, 65)
        x = levels[0] * z + (2 * weight - 1)
        for kept, added, square in steps:
            mean = x / square
            mean += bias
            np.tanh(mean, out=mean)
            mean *= added
            x *= kept
            x += mean
        first = int(np.searchsorted(x > 0, True))  # the map rises: DDIM's step does, and so do compositions
        low, high = z[max(first - 1, 0)], z[min(first, 64)]
    return float(special.ndtr(-(low + high) / 2))


def coin_error(levels: Array, weight: float) -> float:
    """Error of the weight, relative to the heavier side's."""
    return abs(coin_weight(levels, weight) - weight) / max(weight, 1 - weight)


def spread_error(levels: Array) -> float:
    """Relative error of the spread of N(0, 1), from s₀z; noise that the last level leaves in counts."""
    s, t = levels[:-1], levels[1:]
    return abs(float(levels[0] * np.prod((1 + s * t) / (1 + s**2))) - 1)


def spacing(error: Callable[[Array], float], grid: Grid, epsilon: float) -> float:
    """The largest h below which the error stays ≤ ε: halved until two in a row pass, then bisected; NaN at a floor above ε."""
    h, passed, least = 4.0, 0, 1e-10
    while passed < 2 and h > least:
        h /= math.sqrt(2)
        passed = passed + 1 if error(grid(h)) <= epsilon else 0
    if passed < 2:
        return math.nan
    low, high = math.sqrt(2) * h, 2 * h
    for _ in range(10):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if error(grid(middle)) <= epsilon else (low, middle)
    return low


# ---- local grids: which levels s a schedule has near a scale, for its spacing h ------------------------------------------


DENSE = np.arange(1, 65) / 64  # where another half of a clock lies beside the scale: far more steps than are needed


def inverse(cut: float = 1 / NEAR, dense: float = 0.0) -> Grid:
    """1/s = h, 2h, … up to `cut`, then 0: VP near the noise end (signal ∝ time), from infinite noise; dense up to `dense`."""

    def grid(h: float) -> Array:
        count = max(1, math.ceil(cut / h - 1e-9))
        before = dense * DENSE if dense > 0 else np.empty(0)
        return np.concatenate([1 / before, 1 / (dense + h * np.arange(1, count + 1)), [0.0]])

    return grid


def direct(start: float = FAR, dense: float = 0.0) -> Grid:
    """s = start, …, 2h, h, 0: VE near the data end (noise ∝ time), `start` reached from infinite noise; dense below `dense`."""

    def grid(h: float) -> Array:
        levels = dense + h * np.arange(max(1, round(start / h)), -1, -1, dtype=np.float64)
        return np.concatenate([levels, dense * (1 - DENSE)]) if dense > 0 else levels

    return grid


def interpolant(scale: float) -> Grid:
    """ς = t/(1 − t) with t = 1, 1 − h, …, 0, in units of `scale`: the whole of a linear interpolant."""

    def grid(h: float) -> Array:
        count = max(2, round(1 / h))
        t = np.arange(count - 1, -1, -1) / count  # t = 1 is infinite noise
        return t / (1 - t) / scale

    return grid


def power(exponent: float, low: float, high: float) -> Grid:
    """s^{1/ρ} from high^{1/ρ} to low^{1/ρ}, h apart: EDM's levels."""

    def grid(h: float) -> Array:
        ends = high ** (1 / exponent), low ** (1 / exponent)
        return np.linspace(*ends, max(2, round((ends[0] - ends[1]) / h)) + 1) ** exponent

    return grid


def logarithmic(low: float, high: float) -> Grid:
    """log s, h apart."""
    return lambda h: np.geomspace(high, low, max(2, round(math.log(high / low) / h)) + 1)


def from_length(length: Callable[[Array], Array], low: float, high: float) -> Grid:
    """Levels at equal steps h of a rising function of s: a geodesic near a scale."""
    s = np.geomspace(low, high, 4001)
    along = length(s)

    def grid(h: float) -> Array:
        places = np.linspace(along[-1], along[0], max(2, round((along[-1] - along[0]) / h)) + 1)
        levels = np.exp(np.interp(places, along, np.log(s)))
        levels[0], levels[-1] = high, low
        return levels

    return grid
