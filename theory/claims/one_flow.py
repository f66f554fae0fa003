"""Along u, every schedule runs the same flow dY/dθ = tanh(h + θY); only the clock θ differs.

Derivation. In paper A's notation the velocity along u = μ/|μ| is A y + B c tanh(h + βcy/Δ), with c = m√d, Δ = noise² + σ²β²,
A = Δ'/(2Δ), B = noise(noise·β' − noise'β)/Δ. Put Y = y/√Δ and θ = βc/√Δ. Then (√Δ)' = A√Δ takes the linear term away, √Δ·θ' =
c(β' − βA) = cB is the factor of the tanh, and βcy/Δ = θY is its argument. The flow carries N(0, 1) to p N(θ, 1) + (1 − p)
N(−θ, 1) and keeps order, so the distribution function p Φ(Y − θ) + (1 − p) Φ(Y + θ) is constant along it. For θ → ∞ this
gives the mode, r = sign(z − Φ⁻¹(1 − p)), and the place w = lim Y − rθ in it, Φ(w) = (Φ(z) − (1 − p))/p.
"""

from __future__ import annotations

import math

import numpy as np
import sympy as sp
import torch
from scipy import special

from theory import exact_flow, limit, phase
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is
from theory.sampler import Flow
from theory.schedule import VPSDE, Schedule, Trigonometric, variance_exploding_flow, variance_preserving_flow
from theory.target import GaussianMixture

CLAIM = Claim(
    "A7-flow",
    "ours; it carries A7 and A8 of paper A, arXiv 2501.00988 (velocity as in our working notes)",
    "For the two-mode mixture and any schedule, Y = y/√Δ obeys dY/dθ = tanh(h + θY) in the level θ = signal·m√d/√Δ, "
    "the complement scales as √Δ, and p Φ(Y − θ) + (1 − p) Φ(Y + θ) is constant along a trajectory",
    "any 0 < p < 1, σ > 0, m > 0, d ≥ 1; differentiable signal and noise, Δ > 0; the exact flow (no steps)",
)
PAPER = "Paper A gives a limiting flow for each phase and interpolant; one flow behind all of them is not stated (abstract)."
DIFFERS = "Exact at every d and for every schedule: rates of approach and the modes' boundary Φ⁻¹(1 − p) follow in closed form."
FORMULAS = (
    limit.total_variance,
    limit.mode_velocity,
    limit.linear_rate,
    limit.drive_rate,
    phase.level,
    phase.drift,
    phase.transported,
)


def prove() -> list[Step]:
    time, centre, variance = sp.Symbol("tau", positive=True), sp.Symbol("c", positive=True), sp.Symbol("v", positive=True)
    bias, state, theta, w, held = sp.symbols("h Y theta w T", real=True)
    signal, noise = sp.Function("beta", positive=True)(time), sp.Function("n", positive=True)(time)
    total, level = limit.total_variance(signal, noise, variance), phase.level(signal, noise, centre, variance, sp)
    y = sp.sqrt(total) * state
    velocity = limit.mode_velocity(y, centre, bias, signal, noise, signal.diff(time), noise.diff(time), variance, sp)
    (tanh,) = velocity.atoms(sp.tanh)
    moved = sp.sqrt(total).diff(time) * state + sp.sqrt(total) * level.diff(time) * held  # (√Δ Y)' where dY/dθ = held
    weight = sp.exp(bias) / (2 * sp.cosh(bias))
    density = lambda x: sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)  # noqa: E731
    cdf = lambda x: (1 + sp.erf(x / sp.sqrt(2))) / 2  # noqa: E731
    carried = phase.transported(weight, theta, state, cdf)
    rate = phase.drift(bias, theta, state, sp).rewrite(sp.exp)
    plus, minus = weight * density(state - theta), (1 - weight) * density(state + theta)
    return [
        identity("the argument of the velocity's tanh is h + θY", tanh.args[0], phase.drift(bias, level, state, sp).args[0]),
        identity("the velocity at y = √Δ·Y is (√Δ·Y)' with dY/dθ = that tanh", velocity.subs(tanh, held), moved),
        identity("across u there is no pull: (√Δ)' = A√Δ", sp.sqrt(total).diff(time), velocity.subs(tanh, 0) / state),
        identity("tanh(h + θY) is the posterior mean of the mode's sign", plus - minus, (plus + minus) * rate),
        identity("∂F/∂θ + ∂F/∂Y·dY/dθ is the difference of these two: F is constant along the flow",
                 carried.diff(theta) + carried.diff(state) * rate, (plus + minus) * rate - (plus - minus)),
        limit_is("Y = rθ + w, r = +1: F tends to 1 − p + pΦ(w)", carried.subs(state, theta + w), theta, sp.oo,
                 1 - weight + weight * cdf(w)),
        limit_is("Y = rθ + w, r = −1: F tends to (1 − p)Φ(w)", carried.subs(state, w - theta), theta, sp.oo,
                 (1 - weight) * cdf(w)),
    ]  # fmt: skip


DIM, WEIGHT, MEAN, SPREAD = 100, 0.8, 0.9, 0.5
STARTS, TIMES = (-2.0, -0.9, -0.6, 0.3, 1.5), (1.0, 0.5, 0.02)
SCHEDULES: tuple[Schedule, ...] = (
    variance_preserving_flow("sqrt"),
    variance_preserving_flow("linear", DIM, 3.0),
    variance_exploding_flow("linear", DIM),
    variance_exploding_flow("sqrt", DIM, 3.0),
    Trigonometric(),
    VPSDE(),
)


def predict() -> dict[str, np.ndarray]:
    """y/noise(1) and the complement's gain at two times under six schedules; VP-SDE starts with some signal left."""
    along, across = [], []
    for schedule in SCHEDULES:
        first = float(schedule.noise(1.0))
        for t in TIMES[1:]:
            signal, noise = float(schedule.signal(t)), float(schedule.noise(t))
            centre, spread = MEAN * math.sqrt(DIM), SPREAD**2
            start, start_total = _start(schedule)
            state = phase.state_at(WEIGHT, phase.level(signal, noise, centre, spread), start)
            total = limit.total_variance(signal, noise, spread)
            along.append(math.sqrt(total) * state / first)
            across.append(math.sqrt(total / start_total))
    return {"along": np.array(along), "across": np.array(across)}


def _start(schedule: Schedule) -> tuple[np.ndarray, float]:
    """z of the trajectory through y = noise(1)·start, by the distribution function at the first level, and Δ there."""
    signal, noise = float(schedule.signal(1.0)), float(schedule.noise(1.0))
    total = limit.total_variance(signal, noise, SPREAD**2)
    first = phase.level(signal, noise, MEAN * math.sqrt(DIM), SPREAD**2)
    state = noise * np.array(STARTS) / math.sqrt(total)
    return special.ndtri(phase.transported(WEIGHT, first, state)), total


def measure() -> dict[str, np.ndarray]:
    """The same in 100 dimensions, from the law's posterior mean."""
    law = GaussianMixture.two_modes(DIM, WEIGHT, MEAN, SPREAD)
    across = torch.zeros(DIM, dtype=torch.float64)
    across[:2] = torch.tensor([1.0, -1.0])  # orthogonal to u
    z = torch.tensor(STARTS, dtype=torch.float64)[:, None] / math.sqrt(DIM) + across
    found: dict[str, list[np.ndarray]] = {"along": [], "across": []}
    for schedule in SCHEDULES:
        flow, first = Flow(schedule, law.denoise), float(schedule.noise(1.0))
        for x in exact_flow.integrated(flow, first * z, TIMES, 1e-8)[1:]:
            found["along"].append((x.sum(-1) / math.sqrt(DIM) / first).numpy())
            found["across"].append(((x[0, 0] - x[0, 1]) / (2 * first)).numpy())
    return {name: np.array(values) for name, values in found.items()}


# local tolerance 1e-8 of the start: 100 times that in all, ten times more beside the separatrix
MARGIN = {"along": 1e-5, "across": 1e-6}
