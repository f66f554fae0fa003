"""In any dimension the sampler of the two-mode mixture is a scalar map along u and one multiplication across it.

Derivation. |x − gμ|² − |x + gμ|² = −4g·μ·x, so the log-odds of mode + given x are 2h + 2g·μ·x/Δ: they see x through u·x only.
Given the mode the posterior mean is affine with slope g·v/Δ. So E[a | x], and with it the velocity, is (a function of u·x)·u
plus a number times x: with x = y·u + w, w ⊥ u, it is f(y)·u + m·w. Maps of this kind are closed under sums, multiples and
composition; every one-step method built from them (Euler, Heun, DDIM, …) is therefore one of them. When noise is concave in
paper A's time along each step, Euler's scalar map is increasing, and p̂ = Φ(−z*) with z* its one root.
"""

from __future__ import annotations

import math

import numpy as np
import sympy as sp
import torch

from theory import limit
from theory.ledger import Claim
from theory.proof import Step, identity, positive
from theory.sampler import DDIM, Euler, Flow, Heun, grid, last, walk
from theory.schedule import variance_exploding_flow, variance_preserving_flow
from theory.target import GaussianMixture

CLAIM = Claim(
    "A-reduction",
    "ours (working notes, Exact reduction); the velocity is arXiv 2501.00988's",
    "Any one-step method that combines states and velocities linearly maps x = y·u + w, w ⊥ u, to F(y)·u + m·w; for Euler F is "
    "increasing, so p̂ = Φ(−z*) and σ̂ = noise·Π(1 + A·Δt)",
    "two modes ±μ with equal isotropic covariance, any d, weights, schedule; F increasing: signal ≥ 0 rising, noise "
    "concave in paper "
    "A's time within every step and ≥ 0 (both α forms; both piecewise linear clocks on a grid with their kink)",
)
PAPER = "Not in the paper (its experiments sample in d dimensions)."
DIFFERS = "Ours. A sufficient condition for the map to be monotone, which p̂ = Φ(−z*) needs, is stated and proved."
FORMULAS = (limit.total_variance, limit.linear_rate, limit.drive_rate, limit.mode_velocity)


def prove() -> list[Step]:
    x2, mx, m2 = sp.symbols("x2 mx m2", real=True)  # |x|², μ·x, |μ|²: any dimension
    g, n, v, dg, step = sp.symbols("g n v g' Delta_t", positive=True)
    h, dn, y, w, tilt = sp.symbols("h n' y w T", real=True)
    total = limit.total_variance(g, n, v)
    log_odds = 2 * h - (x2 - 2 * g * mx + g**2 * m2) / (2 * total) + (x2 + 2 * g * mx + g**2 * m2) / (2 * total)
    x, mu, a = sp.symbols("x mu a", real=True)
    inside = (g * v * x + n**2 * mu) / total  # posterior mean given mode +μ, per coordinate
    energy = (a - mu) ** 2 / (2 * v) + (x - g * a) ** 2 / (2 * n**2)
    mean = g * v / total * x + n**2 / total * mu * tilt
    velocity = dg * mean + dn * (x - g * mean) / n
    linear, drive = limit.linear_rate(g, n, dg, dn, v), limit.drive_rate(g, n, dg, dn, v)
    first, second = sp.Function("F"), sp.Function("G")
    m1, m2_, p, q = sp.symbols("m1 m2 p q", real=True)
    inner = (second(y), m2_ * w)
    gap, rise = sp.symbols("noise_next slack", nonnegative=True)  # concavity: n + step·n' = noise_next + slack ≥ 0
    concave = linear.subs(dn, (gap + rise - n) / step)
    return [
        identity("log-odds of mode + given x: twice h + g·μ·x/Δ", log_odds, 2 * (h + g * mx / total)),
        identity("the posterior mean given the mode is where the joint log density is flat", energy.diff(a).subs(a, inside)),
        positive("and that density is log-concave, so it is the mean of a Gaussian", energy.diff(a, 2)),
        identity("P(+) − P(−) = tanh of half the log-odds", sp.exp(y) / (sp.exp(y) + 1) - 1 / (sp.exp(y) + 1), sp.tanh(y / 2)),
        identity("the velocity is A·x + B·μ·tanh", velocity, linear * x + drive * mu * tilt),
        identity(
            "across u (μ·w = 0) it is A·w: Euler multiplies by 1 + A·Δt",
            (w + step * velocity.subs({mu: 0, x: w})) / w,
            1 + step * linear,
        ),
        identity(
            "DDIM across u: the number (v·g·g₊ + n·n₊)/Δ, the same for every w",
            (mean.subs({mu: 0, x: w}) * dg + q * (w - g * mean.subs({mu: 0, x: w})) / n) / w,
            (g * v * dg + n * q) / total,
        ),
        identity(
            "closure, sum: p·(F(y)u + m1·w) + q·(G(y)u + m2·w), component along w",
            sp.diff(p * (first(y) + m1 * w) + q * (second(y) + m2_ * w), w),
            p * m1 + q * m2_,
        ),
        identity(
            "closure, composition: across u multipliers multiply, along u only y enters",
            sp.diff(first(inner[0]) + m1 * inner[1], w),
            m1 * m2_,
        ),
        positive("concave noise: 1 + A·Δt ≥ 0 for every step length", sp.factor(1 + step * concave), strict=False),
        identity(
            "the slope of one step along u is F' = 1 + A·Δt + B·Δt·c²·g/(Δ·cosh²)",
            (y + step * limit.mode_velocity(y, a, h, g, n, dg, dn, v, sp)).diff(y).rewrite(sp.exp),
            (1 + step * (linear + drive * a**2 * g / total / sp.cosh(h + g * a * y / total) ** 2)).rewrite(sp.exp),
        ),
        positive("whose last term is not negative: B > 0 when noise falls", drive.subs(dn, -rise)),
    ]


DIM, WEIGHT, STEPS = 7, 0.8, 12
FLOWS = {
    "VP": variance_preserving_flow("sqrt", DIM, 1.0),
    "VE": variance_exploding_flow("linear", DIM, 1.0),
}


STARTS = 1.5 * np.sin(np.arange(5 * DIM) ** 2 + 1.0).reshape(5, DIM)


def predict() -> dict[str, np.ndarray]:
    """Final states in d = 7 from five starts: u times the scalar map, plus the multiplied complement."""
    model = limit.TwoModes.gaussian_mixture(DIM, WEIGHT)
    z, u = STARTS, np.full(DIM, 1 / math.sqrt(DIM))
    along = z @ u
    return {
        name: limit.along_map(model, flow, grid(STEPS), along)[:, None] * u
        + (z - along[:, None] * u) * limit.complement_gain(flow, grid(STEPS), model.spread**2)
        for name, flow in FLOWS.items()
    } | {"Heun and DDIM leave the plane of u and w": np.zeros(4)}


def measure() -> dict[str, np.ndarray]:
    """The d-dimensional sampler with the law's own posterior mean; for Heun and DDIM, the part outside span(u, w)."""
    law, z = GaussianMixture.two_modes(DIM, WEIGHT), torch.from_numpy(STARTS)
    flows = {name: Flow(schedule, law.denoise) for name, schedule in FLOWS.items()}
    ends = {name: last(walk(flow, flow.start(z), grid(STEPS), Euler())).numpy() for name, flow in flows.items()}
    outside = []
    for flow in flows.values():
        for method in (Heun(), DDIM()):
            end = last(walk(flow, flow.start(z), grid(STEPS), method)).numpy()
            across, start = end - end.mean(1, keepdims=True), STARTS - STARTS.mean(1, keepdims=True)
            factor = (across * start).sum() / (start * start).sum()  # one number for all five starts
            outside.append(np.abs(across - factor * start).max())
    return ends | {"Heun and DDIM leave the plane of u and w": np.array(outside)}


# 12 steps of float64 arithmetic on states of size ~10: 1e-11 leaves four digits for cancellation.
MARGIN = {"VP": 1e-11, "VE": 1e-11, "Heun and DDIM leave the plane of u and w": 1e-11}
