"""The two phases of paper A (arXiv 2501.00988) and when they happen: limiting flows d → ∞ and speciation (derivations ours).

Paper A's time: τ runs from 0 (noise) to 1 (data), signal = τ, noise = s·α(τ). Two facts carry everything here.

One flow. Along u = μ/|μ| the law is p N(c, v) + (1 − p) N(−c, v) (c = m√d). With Δ = noise² + v·signal², the state Y = y/√Δ
and the level θ = signal·c/√Δ, the velocity of every schedule (`limit.mode_velocity`) becomes dY/dθ = tanh(h + θY), h = ½ log(p/
(1 − p)): the flow of p N(θ, 1) + (1 − p) N(−θ, 1). Hence p Φ(Y − θ) + (1 − p) Φ(Y + θ) = Φ(z) along a trajectory that starts
at Y = z. So a phase is a range of θ: undecided at θ = O(1), frozen at θ → ∞.

One limit. As d → ∞ each phase of each model is the flow of a biased coin ±c in Gaussian noise (`coin`): the modes
±m seen from far (high level), or the spins ±1 of Curie-Weiss in the field of the others (low level).

Formulas are plain arithmetic with a namespace `xp` (numpy, sympy, `theory.ball`); nothing here calls a law or a sampler.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import optimize, special

from theory.limit import total_variance

Array = np.ndarray

# ---- one flow ---------------------------------------------------------------------------------------------------------


def coin(
    signal: Any, noise: Any, signal_rate: Any, noise_rate: Any, centre: Any, bias: Any, state: Any, xp: Any = np
) -> Any:  # fmt: skip
    """E[x' | x] for the biased coin ±c of log-odds 2·bias in Gaussian noise, the limit v/noise² → 0 of `limit.mode_velocity`:
    (noise'/noise)·x + (signal' − noise'·signal/noise)·c·tanh(bias + signal·c·x/noise²).
    """
    mean = centre * xp.tanh(bias + signal * centre * state / noise**2)
    return noise_rate / noise * state + (signal_rate - noise_rate * signal / noise) * mean


def level(signal: Any, noise: Any, centre: Any, variance: Any, xp: Any = np) -> Any:
    """θ = signal·c/√Δ: half the distance of the modes of the noisy law, in standard deviations."""
    return signal * centre / xp.sqrt(total_variance(signal, noise, variance))


def drift(bias: Any, level: Any, state: Any, xp: Any = np) -> Any:
    """dY/dθ = tanh(h + θY)."""
    return xp.tanh(bias + level * state)


def transported(weight: Any, level: Any, state: Any, cdf: Any = special.ndtr) -> Any:
    """p Φ(Y − θ) + (1 − p) Φ(Y + θ): the distribution function of the noisy law, constant along a trajectory."""
    return weight * cdf(state - level) + (1 - weight) * cdf(state + level)


def state_at(weight: float, level: Any, z: Any) -> Array:
    """Y at level θ of the trajectory that starts at Y = z, elementwise: the root of transported = Φ(z), by bisection.

    |dY/dθ| ≤ 1 brackets it in z ± θ. Raises ValueError unless 0 < weight < 1 and θ ≥ 0.
    """
    theta, start = np.broadcast_arrays(np.asarray(level, dtype=np.float64), np.asarray(z, dtype=np.float64))
    if not 0 < weight < 1:
        raise ValueError(
            f"weight p = {weight}; allowed: 0 < p < 1; remedy: a single mode (p = 0 or 1) has no speciation: leave it out"
        )
    if not np.all(theta >= 0):
        raise ValueError(
            f"level θ down to {np.min(theta)}; allowed: θ ≥ 0; remedy: take signal and centre as ≥ 0, and the sign of the mode "
            "from the weight"
        )
    # Φ is resolved in its lower tail only: a start above 0 is seen from the other side.
    flip = np.where(start > 0, -1.0, 1.0)
    share, goal = np.where(start > 0, 1 - weight, weight), special.ndtr(flip * start)
    low, high = flip * start - theta, flip * start + theta
    for _ in range(80):
        middle = 0.5 * (low + high)
        below = transported(share, theta, middle) < goal
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return flip * 0.5 * (low + high)


def response(bias: Any, level: Any, state: Any, total: Any, xp: Any = np) -> Any:
    """∂y/∂Δ at fixed signal, of y = √Δ·Y(signal·c/√Δ): (Y − θ tanh(h + θY))/(2√Δ). It carries the corrections in 1/d."""
    return (state - level * xp.tanh(bias + level * state)) / (2 * xp.sqrt(total))


def chosen_sign(weight: float, z: Any) -> Array:
    """r = ±1: the mode of the trajectory that starts at z, the sign of z − Φ⁻¹(1 − p); 0 on the separatrix."""
    return np.sign(np.asarray(z) - special.ndtri(1 - weight))


def deviation(weight: float, z: Any) -> Array:
    """w = lim Y − rθ as θ → ∞: where in its mode a trajectory ends, standard normal given the mode.

    Φ(w) = (Φ(z) − (1 − p))/p for r = +1, and Φ(w) = Φ(z)/(1 − p) for r = −1.
    """
    z = np.asarray(z, dtype=np.float64)
    plus = special.ndtr(-z) / weight  # 1 − Φ(w)
    minus = special.ndtr(z) / (1 - weight)
    above = chosen_sign(weight, z) > 0
    return np.where(above, -1.0, 1.0) * special.ndtri(np.clip(np.where(above, plus, minus), 0, 1))


# ---- one limit --------------------------------------------------------------------------------------------------------


def euler_gain(noise: Any, noise_rate: Any, step: Any) -> Any:
    """Factor of what is only noise in one Euler step: 1 + Δτ·noise'/noise."""
    return 1 + step * noise_rate / noise


def frozen(sign: Any, signal: Any, noise: Any, centre: Any, variance: Any, deviation: Any, xp: Any = np) -> Any:
    """y/c once the sign r is frozen: r·signal + √Δ·w/c, w the deviation inside the mode. Tends to r·signal like 1/√d."""
    return sign * signal + xp.sqrt(total_variance(signal, noise, variance)) * deviation / centre


# ---- speciation -------------------------------------------------------------------------------------------------------


def largest_bias(level: Any, xp: Any = np) -> Any:
    """p N(θ, 1) + (1 − p) N(−θ, 1) has two modes iff θ > 1 and |h| < θ√(θ² − 1) − log(θ + √(θ² − 1)): the right side."""
    root = xp.sqrt(level**2 - 1)
    return level * root - xp.log(level + root)


def speciation_level(bias: float) -> float:
    """θ_s(h) ≥ 1, the level at which the noisy law along u becomes bimodal: the inverse of `largest_bias`."""
    if not math.isfinite(bias):
        raise ValueError(
            f"bias h = {bias}; allowed: a finite number, ½ log(p/(1 − p)) with 0 < p < 1; remedy: a single mode has no "
            "speciation: leave it out"
        )
    if bias == 0:
        return 1.0
    upper = 2.0 + math.sqrt(2 * abs(bias))  # largest_bias > θ²/2 − … is beyond |h| there
    return float(optimize.brentq(lambda theta: largest_bias(theta) - abs(bias), 1.0, upper, xtol=1e-15, rtol=1e-15))


def speciation_noise(centre: Any, level: Any, variance: Any, xp: Any = np) -> Any:
    """ς = noise/signal at which θ = `level`: √(c²/θ² − v). Of order √d whatever the schedule."""
    return xp.sqrt(centre**2 / level**2 - variance)


def field_exponent(coupling: Any, bias: Any, field: Any, xp: Any = np) -> Any:
    """Per spin, the log density of Curie-Weiss' field w: log cosh(w + bias) − w²/(2J), bias = h/d.

    At noise-to-signal² 1/J it is the noisy law itself: d times this is log density of u·x/signal at T = √d·w/J.
    """
    return xp.log(xp.cosh(field + bias)) - field**2 / (2 * coupling)


def linear_time(ratio: Any) -> Any:
    """τ where (1 − τ)/τ = ratio: paper A's linear form."""
    return 1 / (1 + ratio)


def square_root_time(ratio: Any, xp: Any = np) -> Any:
    """τ where √(1 − τ²)/τ = ratio: paper A's sqrt form."""
    return 1 / xp.sqrt(1 + ratio**2)
