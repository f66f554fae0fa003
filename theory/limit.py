"""What a sampler does at any dimension, without sampling: exact reduction, limits d → ∞, order parameters.

Two-mode Gaussian mixture (paper A, arXiv 2501.00988; the reduction is ours). The velocity is
    b_t(x) = A_t x + B_t μ tanh(h + signal·μ·x/Δ_t),   Δ = noise² + v·signal²,
    A = (noise·noise' + v·signal·signal')/Δ,   B = noise(noise·signal' − noise'·signal)/Δ,
so a one-step method that is linear in state and velocity acts on y = u·x, u = μ/|μ|, by a scalar map, and on the complement
of u by multiplication with a number. The law of N Euler steps is a one-dimensional push-forward: O(N) work at any d.

Curie-Weiss, d → ∞ at fixed N: coordinates decouple given the field y = J·E tanh(y + c·x), c = signal/noise², and each moves
by a scalar map (mean-field derivation, ours). The weights are decided along u, where the law is the mixture's with mean m*√d
and the variance of √d·magnetisation inside a mode.

Constant denoising and the clocks as d → ∞ at a fixed number of steps: the same velocity in other units, with variance 0 along
u (`Nodes`, `limit_map`), and closed forms where they exist. Derivations: the modules of `theory.claims` that use them.

Everything here is numpy on the coefficients of a schedule and calls neither a law's `denoise` nor `sampler`: it is the
prediction that those are measured against (of a law, only its constant m*).
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from theory import cost
from theory.curie_weiss import spontaneous_magnetisation
from theory.schedule import Schedule

Array = np.ndarray


def _check_modes(mean: float, weight: float) -> None:
    if not 0 <= mean < math.inf:
        raise ValueError(f"mean m = {mean}; allowed: 0 ≤ m < ∞; remedy: for modes the other way round, weight 1 − p")
    if not 0 <= weight <= 1:
        raise ValueError(f"weight p = {weight}; allowed: 0 ≤ p ≤ 1; remedy: the share of mode +")


def _check_steps(steps: int) -> None:
    if not isinstance(steps, numbers.Integral) or steps < 1:
        raise ValueError(f"steps N = {steps!r}; allowed: an integer ≥ 1; remedy: give the number of steps, not of nodes")


@dataclass(frozen=True)
class TwoModes:
    """Modes at ±mean·(1, …, 1) in dimension `dim`, "+" with `weight`.

    `spread` is the standard deviation across μ inside a mode, `spread_along` the one along μ (the same for a Gaussian mixture).
    """

    weight: float
    mean: float
    spread: float
    spread_along: float
    dim: float

    def __post_init__(self) -> None:
        """Raises ValueError for weights, means, spreads or a dimension that no such law has."""
        _check_modes(self.mean, self.weight)
        for name, value in (("spread", self.spread), ("spread_along", self.spread_along)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} = {value}; allowed: 0 ≤ {name} < ∞; remedy: a standard deviation")
        if not 0 < self.dim < math.inf:
            raise ValueError(
                f"dimension d = {self.dim}; allowed: 0 < d < ∞; remedy: the number of coordinates (as d → ∞: window_weight)"
            )

    @classmethod
    def gaussian_mixture(cls, dim: float, weight: float, mean: float = 1.0, spread: float = 0.5) -> TwoModes:
        return cls(weight, mean, spread, spread, dim)

    @classmethod
    def curie_weiss(cls, dim: float, coupling: float, field: float) -> TwoModes:
        """The two modes of Curie-Weiss for J > 1: weight sigmoid(2hm*), mean m*, spread √(1 − m*²).

        Along μ the variance of √d·M inside a mode is (1 − m*²)/(1 − J(1 − m*²)) (central limit theorem around m*).
        Raises ValueError for J ≤ 1, where there is one mode.
        """
        magnetisation = spontaneous_magnetisation(coupling)
        if magnetisation == 0:
            raise ValueError(
                f"coupling J = {coupling}; allowed: J > 1; remedy: for J ≤ 1 the law has a single mode, and no weights"
            )
        variance = 1 - magnetisation**2
        along = variance / (1 - coupling * variance)
        weight = float(special.expit(2 * field * magnetisation))
        return cls(weight, magnetisation, math.sqrt(variance), math.sqrt(along), dim)


# ---- the velocity, as plain arithmetic: xp is numpy, sympy or theory.ball ---------------------------------------------


def total_variance(signal: Any, noise: Any, variance: Any) -> Any:
    """Δ = noise² + v·signal²: the variance of the state inside a mode."""
    return noise**2 + variance * signal**2


def linear_rate(signal: Any, noise: Any, signal_rate: Any, noise_rate: Any, variance: Any) -> Any:
    """A of the velocity: half the logarithmic rate of Δ."""
    return (noise * noise_rate + variance * signal * signal_rate) / total_variance(signal, noise, variance)


def drive_rate(signal: Any, noise: Any, signal_rate: Any, noise_rate: Any, variance: Any) -> Any:
    """B of the velocity: what pulls towards the modes."""
    return noise * (noise * signal_rate - noise_rate * signal) / total_variance(signal, noise, variance)


def mode_velocity(
    y: Any,
    centre: Any,
    bias: Any,
    signal: Any,
    noise: Any,
    signal_rate: Any,
    noise_rate: Any,
    variance: Any,
    xp: Any = np,
) -> Any:
    """Velocity along u of modes at ±centre with log-odds 2·bias: A·y + B·centre·tanh(bias + signal·centre·y/Δ)."""
    at = (signal, noise, signal_rate, noise_rate, variance)
    pull = xp.tanh(bias + signal * centre * y / total_variance(signal, noise, variance))
    return linear_rate(*at) * y + drive_rate(*at) * centre * pull


@dataclass(frozen=True)
class EulerCoefficients:
    """A, B, Δ, signal at the left nodes of a grid, the step sizes (negative: t falls), and noise(times[0])."""

    linear: Array
    drive: Array
    total: Array
    signal: Array
    step: Array
    start: float


def euler_coefficients(schedule: Schedule, times: Tensor, variance: float) -> EulerCoefficients:
    """A, B and Δ of the velocity in a direction of variance `variance` inside a mode (module docstring).

    Raises ValueError unless the times are ≥ 2 and nowhere rise (a step of length 0 changes nothing), and the variance is finite
    and ≥ 0.
    """
    if times.ndim != 1 or len(times) < 2 or not bool((torch.diff(times) <= 0).all()):
        raise ValueError(
            f"times of shape {tuple(times.shape)}; allowed: (N + 1,) with N ≥ 1, nowhere rising; remedy: sampler.grid(N)"
        )
    if not 0 <= variance < math.inf:
        raise ValueError(f"variance = {variance}; allowed: 0 ≤ variance < ∞; remedy: the square of a spread")
    left = times[:-1]
    signal, noise = (v.numpy() for v in (schedule.signal(left), schedule.noise(left)))
    signal_rate, noise_rate = (v.numpy() for v in schedule.rates(left))
    return EulerCoefficients(
        linear=linear_rate(signal, noise, signal_rate, noise_rate, variance),
        drive=drive_rate(signal, noise, signal_rate, noise_rate, variance),
        total=total_variance(signal, noise, variance),
        signal=signal,
        step=torch.diff(times).numpy(),
        start=float(schedule.noise(times[0])),
    )


def complement_gain(schedule: Schedule, times: Tensor, variance: float) -> float:
    """Spread σ̂ of a direction across μ after Euler over the grid: noise(1)·Π(1 + A_k Δt_k), signed."""
    c = euler_coefficients(schedule, times, variance)
    return float(c.start * np.prod(1 + c.linear * c.step))


def along_map(model: TwoModes, schedule: Schedule, times: Tensor, z: Array) -> Array:
    """Final y = u·x of Euler over the grid, started at y = noise(1)·z; elementwise in z."""
    return _along(model, euler_coefficients(schedule, times, model.spread_along**2), z)


def _along(model: TwoModes, c: EulerCoefficients, z: Array) -> Array:
    centre = model.mean * math.sqrt(model.dim)
    bias = 0.5 * special.logit(model.weight)
    y = c.start * np.asarray(z, dtype=np.float64)
    for a, b, total, signal, step in zip(c.linear, c.drive, c.total, c.signal, c.step, strict=True):
        y = y + step * (a * y + b * centre * np.tanh(bias + signal * centre * y / total))
    return y


def weight_plus(model: TwoModes, schedule: Schedule, times: Tensor) -> float:
    """p̂ = P(u·x > 0) after Euler over the grid, by the root of the monotone map y(z).

    Raises ArithmeticError when the map is not monotone at the resolution of the search (steps too long for the claim).
    """
    c = euler_coefficients(schedule, times, model.spread_along**2)
    return float(special.ndtr(-sign_change(lambda z: _along(model, c, z))))


def sign_change(monotone: Callable[[Array], Array]) -> float:
    """The z in [−40, 40] where an increasing map changes sign; −∞ or ∞ when it is positive or negative on all of it.

    Raises ArithmeticError when the map's sign falls somewhere at the resolution of the search, and when the map is NaN.
    """
    low, high = -40.0, 40.0
    for _ in range(5):
        z = np.linspace(low, high, 2001)
        y = monotone(z)
        if np.isnan(y).any():
            raise ArithmeticError(
                f"the sampler's map along μ is NaN in z = {low} … {high}; allowed: numbers; remedy: coefficients and rates "
                "must be finite at every left end (grid(N, start=0.999) where they are not at t = 1), the weight inside (0, 1)"
            )
        if np.any(np.diff(np.sign(y)) < 0):
            raise ArithmeticError(
                f"the sampler's map along μ falls somewhere in z = {low} … {high}; allowed: an increasing map; remedy: take "
                "more steps"
            )
        above = int(np.searchsorted(y > 0, True))
        if above in (0, len(z)):
            return -math.inf if above == 0 else math.inf
        low, high = z[above - 1], z[above]
    return float(0.5 * (low + high))


# ---- d → ∞ at a fixed number of steps: one velocity in rescaled units --------------------------------------------------


@dataclass(frozen=True)
class Nodes:
    """Coefficients at the left nodes of a limiting Euler scheme, in paper A's time (rising), and the steps' length."""

    signal: Array
    noise: Array
    signal_rate: Array
    noise_rate: Array
    step: float


def window_nodes(steps: int, window: float) -> Nodes:
    """VP near pure noise: signal √d·τ = κs on s ∈ [0, 1], noise 1 (both α forms). κ = `window`, y = u·x unscaled.

    Raises ValueError unless N ≥ 1 and 0 < κ < ∞.
    """
    _check_steps(steps)
    if not 0 < window < math.inf:
        raise ValueError(f"window κ = {window}; allowed: 0 < κ < ∞; remedy: the clock's κ, 3 for example")
    return Nodes(window * np.arange(steps) / steps, np.ones(steps), np.full(steps, window), np.zeros(steps), 1 / steps)


def exploding_nodes(form: str, steps: int) -> Nodes:
    """VE as d → ∞, state u·x/√d: signal τ = k/N, noise 1 − τ ("linear") or √(1 − τ²) ("sqrt"). Raises ValueError otherwise."""
    _check_steps(steps)
    share = np.arange(steps) / steps
    if form == "linear":
        return Nodes(share, 1 - share, np.ones(steps), -np.ones(steps), 1 / steps)
    if form == "sqrt":
        noise = np.sqrt((1 - share) * (1 + share))
        return Nodes(share, noise, np.ones(steps), -share / noise, 1 / steps)
    raise ValueError(f"form = {form!r}; allowed: linear, sqrt; remedy: linear is α = 1 − τ, sqrt is √(1 − τ²)")


def limit_map(nodes: Nodes, mean: float, bias: float, z: Array) -> Array:
    """Euler over the nodes with variance 0 inside a mode, from z; elementwise."""
    y = np.asarray(z, dtype=np.float64)
    for at in zip(nodes.signal, nodes.noise, nodes.signal_rate, nodes.noise_rate, strict=True):
        y = y + nodes.step * mode_velocity(y, mean, bias, *at, 0.0)
    return y


def log_odds(weight: Any) -> Any:
    """The bias h = ½ log(p/(1 − p))."""
    return (np.log(weight) - np.log(1 - weight)) / 2


def window_weight(steps: int, window: float, mean: float, weight: float) -> float:
    """p̂ of VP as d → ∞ with `steps` Euler steps in τ ≤ κ/√d, decided by the sign of h + κ·m·y at its end.

    The clock spends N/2 steps there; constant denoising is a window without end, with N/√d steps per unit of κ.
    """
    _check_modes(mean, weight)
    nodes, bias = window_nodes(steps, window), log_odds(weight)
    return float(special.ndtr(-sign_change(lambda z: bias + window * mean * limit_map(nodes, mean, bias, z))))


def exploding_weight(form: str, steps: int, mean: float, weight: float) -> float:
    """p̂ of VE under constant denoising as d → ∞; with its clock, the same at half the steps."""
    _check_modes(mean, weight)
    nodes, bias = exploding_nodes(form, steps), log_odds(weight)
    return float(special.ndtr(-sign_change(lambda z: limit_map(nodes, mean, bias, z))))


# ---- what N Euler steps cost: closed forms ----------------------------------------------------------------------------


def acceleration(
    y: Any, mean: Any, bias: Any, signal: Any, noise: Any, signal_rate: Any, noise_rate: Any, noise_bend: Any, xp: Any = np
) -> Any:
    """ÿ along the exact flow with variance 0 inside a mode and signal linear in time; `noise_bend` is noise''."""
    angle = bias + signal * mean * y / noise**2
    rate = mode_velocity(y, mean, bias, signal, noise, signal_rate, noise_rate, 0, xp)
    angle_rate = mean * ((signal_rate * y + signal * rate) / noise**2 - 2 * signal * y * noise_rate / noise**3)
    bend = noise_bend / noise * (y - signal * mean * xp.tanh(angle))
    return bend + (signal_rate - signal * noise_rate / noise) * mean * angle_rate / xp.cosh(angle) ** 2


def step_gain(total: Any, total_next: Any, curvature: Any, step: Any) -> Any:
    """(Euler's multiplier/exact multiplier)² of one step across μ, Δ quadratic in time: 1 + curvature·step²/(Δ·Δ_next).

    Exact. `curvature` = Δ'²/4 − Δ·Δ''/2, a constant: s²(s² − σ²) for the sqrt form (it overshoots when σ < s), −s²σ² for the
    linear form (it falls short).
    """
    return 1 + curvature * step**2 / (total * total_next)


def first_step_quantile(steps: Any, start_rate: Any, centre: Any, bias: Any, xp: Any = np) -> Any:
    """The z that VP's first Euler step sends to 0, A = `start_rate` there: what remains of the weights as d → ∞."""
    return -centre * xp.tanh(bias) / (steps + start_rate)


def sqrt_spread_rate(variance: Any, xp: Any = np) -> Any:
    """C in log σ̂ = log σ + C/N + O(1/N²), VP sqrt form, σ < 1 (σ > 1: √q·artanh √q reads −√|q|·arctan √|q|)."""
    q = 1 - variance
    return q / (4 * variance) + xp.sqrt(q) * xp.atanh(xp.sqrt(q)) / 4


def linear_spread_rate(variance: Any, xp: Any = np) -> Any:
    """C in log σ̂ = log σ + C/N + O(1/N²), VP linear form, any σ."""
    return -(1 + xp.pi * (1 + variance) / (4 * xp.sqrt(variance))) / 2


def settling_spread_rate(variance: Any, window: Any, xp: Any = np) -> Any:
    """C of Euler in noise κ(1 − s), signal 1, s from 0 to 1 in N steps: the last half of the VE clocks."""
    ratio = window / xp.sqrt(variance)
    return -(window**2 / (window**2 + variance) + ratio * xp.atan(ratio)) / 4


def exploding_linear_spread(steps: Any, variance: Any, dim: Any, xp: Any = np) -> Any:
    """σ̂ of VE, linear form, constant denoising, as d → ∞ at fixed N."""
    return variance * (steps - 1) / xp.sqrt(dim)


def _gamma_ratio(x: Any, y: Any, xp: Any) -> Any:
    """Γ(x)/Γ(y)."""
    return np.exp(special.gammaln(x) - special.gammaln(y)) if xp is np else xp.gamma(x) / xp.gamma(y)


def exploding_sqrt_gain(steps: Any, xp: Any = np) -> Any:
    """lim σ̂/√d of VE, sqrt form, constant denoising, as d → ∞ at fixed N; ~ √(2/(πN))."""
    root = (xp.sqrt(1 + 4 * steps**2) - 1) / 2
    top = _gamma_ratio(root + steps + 1, 2 * steps + 1, xp)
    return 2 * top * _gamma_ratio(1, root - steps + 1, xp)


def exploding_linear_ratio(a: Any, xp: Any = np) -> Any:
    """lim σ̂/σ of VE, linear form, N = x√d → ∞, a = σ²x² > ¼: it falls short, ≈ exp(−π/(8√a))."""
    return xp.cosh(xp.pi * xp.sqrt(a - 0.25)) / xp.sinh(xp.pi * xp.sqrt(a))


def exploding_sqrt_ratio(a: Any, xp: Any = np) -> Any:
    """lim σ̂/σ of VE, sqrt form, N = x·d → ∞, a = σ²x: it overshoots, ≈ 1 + 1/(4a)."""
    return xp.sqrt(2 / a) * _gamma_ratio(1 + a / 2, (1 + a) / 2, xp)


def normal_cdf(x: Any, xp: Any = np) -> Any:
    """Φ(x)."""
    return special.ndtr(x) if xp is np else xp.erfc(-x / xp.sqrt(2)) / 2


def window_floor(separation: Any, bias: Any, xp: Any = np) -> Any:
    """p̂ − p of VP with its clock, d → ∞ then N → ∞; k = κm is the separation of the modes at the window's end."""
    wrong_minus, wrong_plus = window_errors(separation, bias, xp)
    return wrong_minus - wrong_plus


def window_errors(separation: Any, bias: Any, xp: Any = np) -> tuple[Any, Any]:
    """Mass of mode − that ends in mode +, and of + in −, when y ~ p N(k, 1) + (1 − p) N(−k, 1) is cut at −h/k."""
    shift = bias / separation
    minus, plus = 1 / (1 + xp.exp(2 * bias)), 1 / (1 + xp.exp(-2 * bias))
    return minus * normal_cdf(shift - separation, xp), plus * normal_cdf(-shift - separation, xp)


def window_tail(separation: Any, bias: Any, xp: Any = np) -> tuple[Any, Any]:
    """Leading terms of p̂ − p and of the misassigned mass as k → ∞: √(p(1 − p))·φ(k)·(2h/k³, 2/k)."""
    scale = xp.exp(-(separation**2) / 2) / (xp.sqrt(2 * xp.pi) * 2 * xp.cosh(bias))
    return scale * 2 * bias / separation**3, scale * 2 / separation


def heun_gain(variance: Any, left: Any, right: Any) -> Any:
    """One step of Heun in ς multiplies x/signal by this across u."""
    guess = cost.ddim_multiplier(variance, left, right)
    return 1 + (right - left) / 2 * (left / (variance + left**2) + right / (variance + right**2) * guess)


def exploding_clock_floor(variance: Any, window: Any, xp: Any = np) -> Any:
    """lim σ̂/σ of VE with its clock, linear form, d → ∞ then N → ∞: ≈ 1 − σ²/(2κ²), a power of κ and not a tail."""
    return window / xp.sqrt(window**2 + variance)


@dataclass(frozen=True)
class ModeShape:
    """One mode of the sampler's Curie-Weiss output as d → ∞: mean and spread of a coordinate."""

    magnetisation: float
    spread: float


def curie_weiss_mode(
    coupling: float, field: float, schedule: Schedule, times: Tensor, sign: int, nodes: int = 40001
) -> ModeShape:
    """Euler on Curie-Weiss in the limit of many coordinates, inside the mode that trajectories of `sign` end in.

    The law of one coordinate is N(0, noise(1)²) pushed through x ← x + Δt(p·x + q·tanh(y + c·x)), y the root of
    y = J·E tanh(y + c·x) on the side of `sign`. The first step, at signal = 0, sees the prior mean m*·tanh(h·m*).
    Coefficients p = noise'/noise, q = signal' − p·signal. Raises ValueError for another sign than ±1.
    """
    if sign not in (-1, 1):
        raise ValueError(f"sign = {sign}; allowed: −1, 1; remedy: the side of the mode, 1 for the one with positive mean")
    z = np.linspace(-9.0, 9.0, nodes)
    density = np.exp(-0.5 * z**2)
    density /= density.sum()
    left = times[:-1]
    signal, noise = (v.numpy() for v in (schedule.signal(left), schedule.noise(left)))
    signal_rate, noise_rate = (v.numpy() for v in schedule.rates(left))
    magnetisation = spontaneous_magnetisation(coupling)
    x = noise[0] * z
    for s, n, ds, dn, step in zip(signal, noise, signal_rate, noise_rate, torch.diff(times).numpy(), strict=True):
        if s == 0:
            data: Array | float = magnetisation * math.tanh(field * magnetisation)
        else:
            data = np.tanh(_field(coupling, s / n**2 * x, density, sign) + s / n**2 * x)
        p = dn / n
        x = x + step * (p * x + (ds - p * s) * data)
    mean = float(density @ x)
    return ModeShape(mean, math.sqrt(float(density @ (x - mean) ** 2)))


def _field(coupling: float, shift: Array, density: Array, sign: int) -> float:
    """Outermost root, on the side of `sign`, of y = J·E tanh(y + shift).

    The map is increasing, so iterating it from ±J moves inward and cannot jump over that root; a Newton step replaces an
    iteration where it stays on the outer side too.
    """

    def excess(y: float) -> tuple[float, float]:
        """(how far y lies outside its image, the derivative of that in the inward direction)."""
        spins = np.tanh(y + shift)
        return sign * (y - coupling * float(density @ spins)), 1 - coupling * float(density @ (1 - spins**2))

    y = sign * coupling
    gap, slope = excess(y)
    for _ in range(10_000):
        if gap <= 1e-13:
            return y
        if slope > 0:
            newton = y - sign * gap / slope
            gap_newton, slope_newton = excess(newton)
            if gap_newton >= -1e-13:
                y, gap, slope = newton, gap_newton, slope_newton
                continue
        y -= sign * gap
        gap, slope = excess(y)
    raise ArithmeticError(
        f"the mean field did not converge: |y − J·E tanh| = {abs(gap):.3g} after 10000 iterations; allowed: ≤ 1e-13; remedy: a "
        "coupling further from 1, or more nodes"
    )


# ---- stochastic processes as interpolants: time change and scale ------------------------------------------------------


def flow_of_process(x: Any, score: Any, drift: Any, diffusion: Any) -> Any:
    """Velocity of the probability flow of dx = drift·x dt + √diffusion dw (arXiv 2011.13456, equation 13)."""
    return drift * x - diffusion * score / 2


def flow_of_interpolant(x: Any, score: Any, signal: Any, noise: Any, signal_rate: Any, noise_rate: Any) -> Any:
    """Velocity of signal·a + noise·z, from the score."""
    return signal_rate / signal * x + noise * (signal_rate * noise / signal - noise_rate) * score


def process_of_interpolant(signal: Any, noise: Any, signal_rate: Any, noise_rate: Any) -> tuple[Any, Any]:
    """(drift, diffusion) of the linear process with the interpolant's conditional marginals."""
    drift = signal_rate / signal
    return drift, 2 * noise * (noise_rate - drift * noise)


def matching_share(signal: Any, noise: Any, scale: Any, form: str, xp: Any = np) -> Any:
    """τ at which paper A's interpolant of noise scale s has noise-to-signal noise/signal: the time change between the two."""
    ratio = noise / (scale * signal)
    return 1 / (1 + ratio) if form == "linear" else 1 / xp.sqrt(1 + ratio**2)
