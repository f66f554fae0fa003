"""VE with its clocks on the Gaussian mixture: the limiting flow of either phase, and how fast it is approached.

Derivation. Noise √d·α(τ), so y = √d·q and Δ/d = α² + σ²τ²/d → α²: in phase 1 (τ → 2t) the width σ of the modes is invisible
from the distance √d, and q follows the coin ±m in noise α, dq/dτ = (α'/α)q + (1 − α'τ/α) m tanh(h + mτq/α²). At t → ½ it has
ended: q → m r τ, M = r. Exactly, q_d = √D·Y(mτ/√D) with D = Δ/d, so it depends on d through the clock (τ = 2t(1 − κ/√d), or
2t√(1 − κ²/d)) and through D − α² = σ²τ²/d: rates 1/√d (linear) and 1/d (sqrt). Phase 2: noise = κa, a = 2 − 2t, τ → 1, hence
Δ → κ²a² + σ²: the complement shrinks from √(κ² + σ²) to σ by the linear flow, while M − r is of order √Δ/√d.
"""

from __future__ import annotations

import math

import numpy as np
import sympy as sp
import torch
from scipy.integrate import solve_ivp

from theory import exact_flow, limit, phase
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is
from theory.sampler import Flow
from theory.schedule import Form, variance_exploding_flow
from theory.target import GaussianMixture

CLAIM = Claim(
    "A7-ve-gm",
    "Aranguri, Biroli, Mézard, Vanden-Eijnden, arXiv 2501.00988 (limiting flows; our working notes, A7); rates ours",
    "VE clock, GM: in phase 1 q = y/√d tends to the flow of the coin ±m in noise α(2t), at rate 1/√d (linear form) or 1/d "
    "(sqrt form), and ends decided; in phase 2 M → r and every other direction follows the linear flow √(κ²(2 − 2t)² + σ²)",
    "0 < p < 1, σ, m, κ > 0 fixed, d → ∞ at fixed t < ½ (phase 1) and fixed t ≥ ½ (phase 2); the exact flow",
)
PAPER = (
    "Two phases, each with a limiting ODE: the modes are chosen in the first, their inner width forms in the second "
    "(reconstruction)."
)
DIFFERS = (
    "Phase 1 is not uniform up to t = ½: within 1/√d of it (linear form) or 1/d (sqrt form) the complement bends from κ to "
    "√(κ² + σ²). Steps that do not resolve that layer deliver κ: a floor σ²/(2κ²) in the spread, a power of κ, not a tail."
)
FORMULAS = (
    phase.coin,
    limit.mode_velocity,
    limit.linear_rate,
    limit.drive_rate,
    limit.total_variance,
    phase.response,
    phase.frozen,
)
BOTH: tuple[Form, ...] = ("sqrt", "linear")


def prove() -> list[Step]:
    kappa, time, mean, spread, small, ahead = sp.symbols("kappa t m sigma epsilon a", positive=True)  # ε = 1/√d, a = 2 − 2t
    bias, q, w, r = sp.symbols("h q w r", real=True)
    tau = sp.Symbol("tau", positive=True)
    steps = []
    for form, noise, clock, last in (
        ("linear", 1 - tau, 2 * time * (1 - kappa * small), 1 - kappa * small * ahead),
        ("sqrt", sp.sqrt(1 - tau**2), 2 * time * sp.sqrt(1 - kappa**2 * small**2), sp.sqrt(1 - (kappa * small * ahead) ** 2)),
    ):
        coin = phase.coin(tau, noise, 1, noise.diff(tau), mean, bias, q, sp)
        rate = noise.diff(tau)
        full = small * limit.mode_velocity(q / small, mean / small, bias, tau, noise / small, 1, rate / small, spread**2, sp)
        total = limit.total_variance(tau, noise / small, spread**2)
        decided = phase.frozen(r, tau, noise / small, mean / small, spread**2, w, sp)
        ending = total.subs(tau, last)
        held = limit.mode_velocity(
            decided * mean / small, mean / small, bias, tau, noise / small, 1, rate / small, spread**2, sp
        )
        (tanh,) = held.atoms(sp.tanh)
        linear = limit.mode_velocity(1, 0, bias, tau, noise / small, 1, rate / small, spread**2, sp) * sp.diff(last, ahead) / -1
        order, lag = (1, -2 * kappa * time) if form == "linear" else (2, -(kappa**2) * time)
        steps += [
            limit_is(f"{form}: d^{{−1/2}} times the velocity at y = √d·q tends to it", full, small, 0, coin, "+"),
            limit_is(f"{form}: Δ/d − α² = σ²τ²/d", (total * small**2 - noise**2) / small**2, small, 0, spread**2 * tau**2, "+"),
            limit_is(f"{form}: the clock lags by its coefficient times d^{{−{order}/2}}",
                     (clock - 2 * time) / small**order, small, 0, lag, "+"),
            limit_is(f"{form}: phase 1 ends decided: at t = ½ the argument of tanh is of order d",
                     small**2 * (mean / small) ** 2 * (last / total.subs(tau, last)).subs(ahead, 1), small, 0,
                     mean**2 / (kappa**2 + spread**2), "+"),
            identity(f"{form}: rτ + √Δ·w/(m√d) solves the flow with tanh = r, at every d",
                     decided.diff(tau), held.subs(tanh, r) * small / mean),
            limit_is(f"{form}: phase 2, Δ → κ²a² + σ²", ending, small, 0, kappa**2 * ahead**2 + spread**2, "+"),
            limit_is(f"{form}: phase 2, the linear flow in −a", linear.subs(tau, last), small, 0,
                     -(kappa**2) * ahead / (kappa**2 * ahead**2 + spread**2), "+"),
            limit_is(f"{form}: phase 2, M → r", decided.subs(tau, last), small, 0, r, "+"),
            limit_is(f"{form}: phase 2, the gap of M is the deviation of its mode and the clock's",
                     (decided.subs(tau, last) - r) / small, small, 0,
                     sp.sqrt(kappa**2 * ahead**2 + spread**2) * w / mean - (kappa * ahead * r if form == "linear" else 0), "+"),
        ]  # fmt: skip
    return steps


WEIGHT, MEAN, SPREAD, KAPPA = 0.8, 0.9, 1.0, 3.0
BIAS = 0.5 * math.log(WEIGHT / (1 - WEIGHT))
STARTS, EARLY, LATER, DIMS = (-2.0, -1.0, -0.7, 0.3, 1.5), 0.25, (0.5, 0.75, 0.95), (400, 1600)
NOISES = {"sqrt": (math.sqrt(0.75), -0.5 / math.sqrt(0.75)), "linear": (0.5, -1.0)}  # α and α' at τ = 2·EARLY


def predict() -> dict[str, np.ndarray]:
    """q(¼) in the limit, how it is approached, and both features during phase 2 at d = 1600, by form (sqrt, linear)."""
    z = np.array(STARTS)
    found: dict[str, list] = {name: [] for name in ("q(1/4)", "coefficients", "M", "spread")}
    r, w, dim = phase.chosen_sign(WEIGHT, z), phase.deviation(WEIGHT, z), DIMS[-1]
    for form, (noise, rate) in NOISES.items():
        top = phase.level(2 * EARLY, noise, MEAN, 0.0)
        state = phase.state_at(WEIGHT, top, z)
        speed = phase.coin(2 * EARLY, noise, 1.0, rate, MEAN, BIAS, noise * state)
        response = phase.response(BIAS, top, state, noise**2)
        found["q(1/4)"].append(noise * state)
        found["coefficients"].append(
            SPREAD**2 * (2 * EARLY) ** 2 * response - KAPPA**2 * EARLY * speed if form == "sqrt" else -2 * KAPPA * EARLY * speed
        )
        for t in LATER:
            share = KAPPA * (2 - 2 * t) / math.sqrt(dim)
            tau = 1 - share if form == "linear" else math.sqrt(1 - share**2)
            noisy = KAPPA * (2 - 2 * t)
            found["M"].append(phase.frozen(r, tau, noisy, MEAN * math.sqrt(dim), SPREAD**2, w))
            found["spread"].append(math.sqrt(limit.total_variance(tau, noisy, SPREAD**2)))
    return {**{name: np.array(values) for name, values in found.items()}, "exponents": np.array([-1.0, -0.5])}


def measure() -> dict[str, np.ndarray]:
    """The limiting ODE by Runge-Kutta; the d-dimensional flow from the law's posterior mean, at d = 400 and 1600."""
    found: dict[str, list] = {name: [] for name in ("q(1/4)", "coefficients", "M", "spread", "exponents")}
    for form in BOTH:
        coin, gaps = _coin(form), []
        for dim in DIMS:
            flow = Flow(variance_exploding_flow(form, dim, KAPPA), GaussianMixture.two_modes(dim, WEIGHT, MEAN, SPREAD).denoise)
            start = torch.tensor(STARTS, dtype=torch.float64)[:, None].repeat(1, dim)
            start[:, :2] += torch.tensor([1.0, -1.0]) * math.sqrt(dim)  # one direction across u
            early = exact_flow.integrated(flow, start, (1.0, 1 - EARLY), 1e-8)[-1]
            gaps.append(early.sum(-1).numpy() / dim - coin)
        states = exact_flow.integrated(flow, early, (1 - EARLY, *(1 - t for t in LATER)), 1e-8)[1:]
        few, many = (gap * (dim if form == "sqrt" else math.sqrt(dim)) for gap, dim in zip(gaps, DIMS, strict=True))
        ratio = 4 if form == "sqrt" else 2  # of the next power, for Richardson
        found["q(1/4)"].append(coin)
        found["coefficients"].append((ratio * many - few) / (ratio - 1))
        found["exponents"].append(math.log(np.linalg.norm(gaps[1]) / np.linalg.norm(gaps[0])) / math.log(4))
        found["M"] += [(x.sum(-1) / (MEAN * dim)).numpy() for x in states]
        found["spread"] += [float(x[0, 0] - x[0, 1]) / 2 for x in states]
    return {name: np.array(values) for name, values in found.items()}


def _coin(form: Form) -> np.ndarray:
    def rate(tau: float, q: np.ndarray) -> np.ndarray:
        square, slope = (1 - tau**2, -tau) if form == "sqrt" else ((1 - tau) ** 2, tau - 1)  # α² and αα'
        return (slope * q + (square - slope * tau) * MEAN * np.tanh(BIAS + MEAN * tau * q / square)) / square

    return solve_ivp(rate, (0, 2 * EARLY), STARTS, "DOP853", rtol=1e-11, atol=1e-11).y[:, -1]


# what Richardson leaves is the next power but one, (2κ)²/d = 0.02 of coefficients up to 2; slopes over one factor 4 in d:
# half of 2κ/√d/log 4; the rest is integration: 1e-11, and 1e-8 of a start of size √d = 40, 100 times over
MARGIN = {"q(1/4)": 1e-8, "coefficients": 0.05, "exponents": 0.1, "M": 1e-5, "spread": 1e-4}
