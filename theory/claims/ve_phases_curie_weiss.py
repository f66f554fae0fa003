"""VE with its clocks on Curie-Weiss: phase 1 is the coin ±m* in noise α, phase 2 makes of each coordinate a coin ±1.

Derivation. Noise √d·α: with x = √d·ξ the posterior's fields are cxᵢ = τξᵢ/(α²√d) = O(1/√d), and Σ cxᵢ = τq/α² where q =
u·x/√d = Σξᵢ/√d. The expansion of A7-vp-cw applies with this pull: E[M | x] → m* tanh(m*(h + τq/α²)), so q follows the coin
±m* of log-odds 2hm* in noise α(2t), and ends decided, q → rm*. Phase 2: noise = κa, a = 2 − 2t, signal → 1: c = 1/(κa)² =
O(1), the field is rJm*, and each coordinate follows the coin ±1 in noise κa: x = κa·Y(1/(κa)), which tends to ±1 as a → 0.
"""

from __future__ import annotations

import math

import numpy as np
import sympy as sp
import torch
from scipy import special
from scipy.integrate import solve_ivp

from theory import exact_flow, phase
from theory.claims.vp_phases_curie_weiss import laplace, mean_field
from theory.curie_weiss import CurieWeiss, spontaneous_magnetisation
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is
from theory.sampler import Flow
from theory.schedule import Form, variance_exploding_flow

CLAIM = Claim(
    "A7-ve-cw",
    "Aranguri, Biroli, Mézard, Vanden-Eijnden, arXiv 2501.00988 (Curie-Weiss; our working notes, A7); rates ours",
    "VE clock, Curie-Weiss: in phase 1 q = y/√d tends to the flow of the coin ±m* of log-odds 2hm* in noise α(2t), at "
    "rate 1/√d "
    "(linear form) or 1/d (sqrt form); in phase 2 each coordinate tends to the coin ±1 of log-odds 2rJm* in noise κ(2 − 2t), "
    "at rate 1/√d, and to ±1 at the end",
    "J > 1, h, κ fixed, d → ∞, the exact flow at fixed t < ½ (phase 1) and t ≥ ½ (phase 2); coordinates of the start with the "
    "moments of N(0, 1); derived by Laplace's method: the limits; from the clock: the linear form's coefficient of 1/√d; "
    "measured: the other rates",
)
PAPER = (
    "Curie-Weiss has the mixture's two phases; in the second the coordinates follow a scalar mean-field flow to ±1 "
    "(reconstruction)."
)
DIFFERS = (
    "The mean-field flow is a fixed coin's. It starts in a layer at the end of phase 1, where noise falls to κ: x(½) "
    "= κY(1/κ), not κz; "
    "steps that do not resolve the layer start from κz."
)
RESTS_ON = (
    "Laplace's method for the field, of which the steps check stationary points, curvature and heights only; convergence of "
    "flows whose velocities converge; the rates, which are measured"
)
FORMULAS = (phase.coin,)
BOTH: tuple[Form, ...] = ("sqrt", "linear")


def prove() -> list[Step]:
    kappa, time, mean, small, tau, ahead = sp.symbols("kappa t m epsilon tau a", positive=True)
    bias, q, b, x = sp.symbols("h q b x", real=True)
    alpha = sp.Symbol("alpha", positive=True)
    steps = laplace(alpha, tau * q / alpha**2)
    for form, noise, clock, last in (
        ("linear", 1 - tau, 2 * time * (1 - kappa * small), 1 - kappa * small * ahead),
        ("sqrt", sp.sqrt(1 - tau**2), 2 * time * sp.sqrt(1 - kappa**2 * small**2), sp.sqrt(1 - (kappa * small * ahead) ** 2)),
    ):
        rate = noise.diff(tau)
        spins = mean * sp.tanh(mean * (bias + tau * q / noise**2))
        full = rate / noise * q + (1 - rate * tau / noise) * spins
        order, lag = (1, -2 * kappa * time) if form == "linear" else (2, -(kappa**2) * time)
        steps += [
            identity(f"{form}: phase 1, q with E[M | x] is the coin ±m* in noise α",
                     full, phase.coin(tau, noise, 1, rate, mean, mean * bias, q, sp)),
            limit_is(f"{form}: the clock lags by its coefficient times d^{{−{order}/2}}",
                     (clock - 2 * time) / small**order, small, 0, lag, "+"),
            identity(f"{form}: phase 2, the noise √d·α is κa",
                     sp.sqrt(sp.expand(noise.subs(tau, last) ** 2)) / small, kappa * ahead),
            limit_is(f"{form}: phase 2, the signal is 1", last, small, 0, 1, "+"),
        ]  # fmt: skip
    alone = x / ahead - sp.tanh(b + x / (kappa * ahead) ** 2) / ahead  # noise'/noise = 1/a, signal' = 0
    return [
        *steps,
        identity("phase 2, a coordinate in the field b is the coin ±1 in noise κa",
                 alone, phase.coin(1, kappa * ahead, 0, kappa, 1, b, x, sp)),
        *mean_field(sp.Integer(1), kappa * ahead),
    ]  # fmt: skip


COUPLING, FIELD, KAPPA, STARTS, DIMS = 2.0, 0.7, 3.0, (-1.5, 0.5, 1.5), (576, 2304)
EARLY, LATE, SHOWN = 0.25, 0.75, slice(None, None, 144)
QUANTILES = {dim: (np.arange(dim) + 0.5) / dim for dim in DIMS}  # of the coordinates of a start
NOISES = {"sqrt": (math.sqrt(0.75), -0.5 / math.sqrt(0.75)), "linear": (0.5, -1.0)}  # α and α' at τ = 2·EARLY


def predict() -> dict[str, np.ndarray]:
    """q(¼) in the limit for both forms, the linear form's coefficient, exponents, every coordinate at t = ¾ in the limit."""
    mean, z, early = spontaneous_magnetisation(COUPLING), np.array(STARTS), {}
    weight, noisy = float(special.expit(2 * FIELD * mean)), KAPPA * (2 - 2 * LATE)
    for form, (noise, _) in NOISES.items():
        early[form] = noise * phase.state_at(weight, 2 * EARLY * mean / noise, z)
    noise, rate = NOISES["linear"]
    signs, coordinate = phase.chosen_sign(weight, z), special.ndtri(QUANTILES[DIMS[1]][SHOWN])
    spins = [noisy * phase.state_at(float(special.expit(2 * r * COUPLING * mean)), 1 / noisy, coordinate) for r in signs]
    speed = phase.coin(2 * EARLY, noise, 1.0, rate, mean, FIELD * mean, early["linear"])
    return {
        "q(1/4)": np.array(list(early.values())),
        "coefficient, linear": -2 * KAPPA * EARLY * speed,
        "exponents": np.array([-1.0, -0.5, -0.5]),
        "coordinates": np.array(spins),
    }


def measure() -> dict[str, np.ndarray]:
    """The limiting ODEs by Runge-Kutta; the d-dimensional flow from the exact posterior mean, at d = 576 and 2304."""
    mean = spontaneous_magnetisation(COUPLING)
    limits = {form: _early(form, mean) for form in BOTH}
    gaps: dict[str, list[float]] = {**{form: [] for form in BOTH}, "coordinates": []}
    scaled = []
    for dim in DIMS:
        z = special.ndtri(QUANTILES[dim])
        start = torch.from_numpy(math.sqrt(dim) * (z + np.array(STARTS)[:, None] / math.sqrt(dim)))
        for form in BOTH:
            flow = Flow(variance_exploding_flow(form, dim, KAPPA), CurieWeiss(dim, COUPLING, FIELD).denoise)
            early = exact_flow.integrated(flow, start, (1.0, 1 - EARLY), 1e-6)[-1]
            gap = early.sum(-1).numpy() / dim - limits[form]
            gaps[form].append(float(np.linalg.norm(gap)))
            if form == "linear":
                scaled.append(math.sqrt(dim) * gap)
                continue
            late = exact_flow.integrated(flow, early, (1 - EARLY, 0.5, 1 - LATE), 1e-4)[-1].numpy()
            coins = np.array([_late(math.copysign(COUPLING * mean, x.sum()), z) for x in late])
            gaps["coordinates"].append(float(np.sqrt(np.mean((late - coins) ** 2))))
    return {
        "q(1/4)": np.array([limits[form] for form in BOTH]),
        "coefficient, linear": 2 * scaled[1] - scaled[0],  # Richardson: the next power is a factor 2 apart
        "exponents": np.array([math.log(many / few) / math.log(DIMS[1] / DIMS[0]) for few, many in gaps.values()]),
        "coordinates": coins[:, SHOWN],
    }


def _early(form: Form, mean: float) -> np.ndarray:
    def rate(tau: float, q: np.ndarray) -> np.ndarray:
        square, slope = (1 - tau**2, -tau) if form == "sqrt" else ((1 - tau) ** 2, tau - 1)  # α² and αα'
        return (slope * q + (square - slope * tau) * mean * np.tanh(mean * (FIELD + tau * q / square))) / square

    return solve_ivp(rate, (0, 2 * EARLY), STARTS, "DOP853", rtol=1e-11, atol=1e-11).y[:, -1]


def _late(b: float, z: np.ndarray) -> np.ndarray:
    """The coin's flow at signal 1 from noise 1000 (there x = noise·z + mean, to 1e-6) down to κ(2 − 2·LATE)."""
    top = 1000.0
    return solve_ivp(
        lambda log_noise, x: x - np.tanh(b + x * math.exp(-2 * log_noise)), (math.log(top), math.log(KAPPA * (2 - 2 * LATE))),
        top * z + math.tanh(b), "DOP853", rtol=1e-11, atol=1e-9,
    ).y[:, -1]  # fmt: skip


# Richardson leaves the next power, (2κ)²/d = 0.016 of coefficients below 1; slopes over one factor 4 in d: half of
# 2κ/√d/log 4; the coin starts at a noise of 1000
MARGIN = {"q(1/4)": 1e-8, "coefficient, linear": 0.02, "exponents": 0.1, "coordinates": 1e-5}
