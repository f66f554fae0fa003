"""When the two modes of a Gaussian mixture separate, exactly, for every schedule; and when their inside forms.

Derivation. Along u the noisy law is p N(θ, 1) + (1 − p) N(−θ, 1) in standard deviations (A7-flow). Its stationary points are
the roots of Y = θ tanh(h + θY), that is of g(Y) = artanh(Y/θ) − θY = h on (−θ, θ). g' = θ/(θ² − Y²) − θ has no zero for θ ≤
1: one mode. For θ > 1 it has two, Y = ±√(θ² − 1), and g runs from −∞ up to H(θ) = θ√(θ² − 1) − arcosh θ at the first, down to
−H at the second, up to +∞: two modes iff |h| < H(θ). H' = 2√(θ² − 1) > 0, so the level of speciation θ_s(h) = H⁻¹(|h|) is
unique, free of d and of the schedule; it is 1 for equal weights. θ = θ_s is the noise-to-signal ς_s = √(m²d/θ_s² − σ²), of
order √d.
"""

from __future__ import annotations

import math

import numpy as np
import sympy as sp
import torch

from theory import phase
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive
from theory.schedule import Form, variance_exploding_flow, variance_preserving_flow
from theory.target import GaussianMixture

CLAIM = Claim(
    "A8-gm",
    "Aranguri, Biroli, Mézard, Vanden-Eijnden, arXiv 2501.00988 (speciation; our working notes, A8); thresholds ours",
    "The noisy law along u is bimodal iff |h| < H(θ), θ > 1, H(θ) = θ√(θ² − 1) − arcosh θ: speciation at ς = "
    "√(m²d/θ_s² − σ²), "
    "so at τ ~ θ_s/(m√d) for VP and at τ = θ_s/(m + θ_s) or θ_s/√(m² + θ_s²) for VE (linear, sqrt). The inside forms "
    "at ς = σ: "
    "1 − τ = O(1) for VP, ~ σ/√d for VE in the linear form, ~ σ²/(2d) in the sqrt form",
    "0 < p < 1, m, σ > 0, d > (θ_sσ/m)²; ς = noise/signal; the inside forms: posterior variance σ²/2 in a mode",
)
PAPER = (
    "The modes separate when βm√d/(αs) = O(1); the low level is resolved at 1 − τ = O(1) for VP, ~ 1/√d for VE (working notes)."
)
DIFFERS = (
    "Exact threshold, unequal weights included. For VE the rate 1/√d of the low level belongs to the linear form; in the sqrt "
    "form it is 1/d. The criterion is the noisy law's: the posterior along μ has two modes from the noise end on (it is the "
    "prior there) and loses the smaller one only at ς = O(1), long after its weight is e^{−O(d)}."
)
FORMULAS = (phase.level, phase.largest_bias, phase.speciation_noise, phase.linear_time, phase.square_root_time)
BOTH: tuple[Form, ...] = ("sqrt", "linear")


def prove() -> list[Step]:
    theta, centre, mean, spread, ratio, small = sp.symbols("theta c m sigma varsigma epsilon", positive=True)
    more = sp.Symbol("x", positive=True)
    y, bias = sp.symbols("Y h", real=True)
    weight = sp.exp(bias) / (2 * sp.cosh(bias))
    density = weight * sp.exp(-((y - theta) ** 2) / 2) + (1 - weight) * sp.exp(-((y + theta) ** 2) / 2)
    g = sp.atanh(y / theta) - theta * y
    edge = sp.sqrt(theta**2 - 1)
    at_edge = phase.largest_bias(theta, sp)
    when = phase.speciation_noise(mean / small, theta, spread**2, sp)  # ε = 1/√d
    steps = [
        identity("the slope of the log density is θ tanh(h + θY) − Y", density.diff(y),
                 density * (theta * phase.drift(bias, theta, y, sp) - y).rewrite(sp.exp)),
        identity("g' = θ(1 − θ² + Y²)/(θ² − Y²): zero at Y² = θ² − 1 only",
                 g.diff(y), theta * (1 - theta**2 + y**2) / (theta**2 - y**2)),
        positive("no zero where θ < 1: at θ = 1/(1 + x), g' > 0 on |Y| < θ (its numerator; the denominator is positive there)",
                 (theta * (1 - theta**2 + y**2)).subs(theta, 1 / (1 + more))),
        identity("e^{2g} at the left zero is e^{2H}", (theta - edge) / (theta + edge) * sp.exp(2 * theta * edge),
                 sp.exp(2 * theta * edge) * (theta - edge) ** 2),
        identity("H = θ√(θ² − 1) − arcosh θ, by e^{−H + θ√(θ² − 1)}", sp.exp(theta * edge - at_edge), theta + edge),
        identity("H' = 2√(θ² − 1)", at_edge.diff(theta), 2 * edge),
        identity("H(1) = 0", at_edge.subs(theta, 1)),
        limit_is("H → ∞: every h has its level", at_edge, theta, sp.oo, sp.oo),
        identity("θ at ς_s is θ_s, whatever the signal", phase.level(ratio, ratio * phase.speciation_noise(
            centre, theta, spread**2, sp), centre, spread**2, sp), theta),
    ]  # fmt: skip
    for form, time, alpha, ve in (
        ("linear", phase.linear_time, lambda tau: 1 - tau, theta / (mean + theta)),
        ("sqrt", lambda x: phase.square_root_time(x, sp), lambda tau: sp.sqrt(1 - tau**2), theta / sp.sqrt(mean**2 + theta**2)),
    ):
        steps += [
            identity(f"{form}: τ at noise-to-signal ς/s", alpha(time(ratio)) / time(ratio), ratio),
            limit_is(f"{form}, VP: √d·τ_s → θ_s/m", time(when) / small, small, 0, theta / mean, "+"),
            limit_is(f"{form}, VE: τ_s has a limit inside (0, 1)", time(when * small), small, 0, ve, "+"),
        ]
    steps += [
        identity("posterior variance in a mode is σ²/2 at ς = σ", (spread**2 * ratio**2 / (spread**2 + ratio**2)).subs(
            ratio, spread), spread**2 / 2),
        positive("VP: 1 − τ at ς = σ is free of d (linear)", 1 - phase.linear_time(spread)),
        limit_is("VE, linear: √d(1 − τ) → σ", (1 - phase.linear_time(spread * small)) / small, small, 0, spread, "+"),
        limit_is("VE, sqrt: d(1 − τ) → σ²/2", (1 - phase.square_root_time(spread * small, sp)) / small**2, small, 0,
                 spread**2 / 2, "+"),
    ]  # fmt: skip
    return steps


DIM, MEAN, SPREAD, WEIGHTS = 50, 0.9, 0.6, (0.5, 0.6, 0.8, 0.99)


def predict() -> dict[str, np.ndarray]:
    """τ of speciation at d = 50: VP and VE, sqrt and linear, four weights."""
    times = []
    for scale in (1.0, math.sqrt(DIM)):
        for time in (phase.square_root_time, phase.linear_time):
            for weight in WEIGHTS:
                top = phase.speciation_level(0.5 * math.log(weight / (1 - weight)))
                times.append(time(phase.speciation_noise(MEAN * math.sqrt(DIM), top, SPREAD**2) / scale))
    return {"tau": np.array(times)}


def measure() -> dict[str, np.ndarray]:
    """The same by counting sign changes of the score along u, from the law's posterior mean, and bisecting on τ."""
    times = []
    for interpolant in (variance_preserving_flow, variance_exploding_flow):
        for form in BOTH:
            for weight in WEIGHTS:
                law, low, high = GaussianMixture.two_modes(DIM, weight, MEAN, SPREAD), 0.0, 1.0
                schedule = interpolant(form, DIM)
                for _ in range(24):
                    tau = 0.5 * (low + high)
                    low, high = (low, tau) if _modes(law, tau, float(schedule.noise(1 - tau))) > 1 else (tau, high)
                times.append(0.5 * (low + high))
    return {"tau": np.array(times)}


def _modes(law: GaussianMixture, signal: float, noise: float) -> int:
    reach = 1.01 * signal * MEAN * math.sqrt(DIM)  # every stationary point lies between the means
    y = torch.linspace(-reach, reach, 4001, dtype=torch.float64)[:, None]
    u = torch.full((1, DIM), 1 / math.sqrt(DIM), dtype=torch.float64)
    slope = ((signal * law.denoise(y * u, signal, noise) - y * u) @ u.T)[:, 0]
    return int(((slope[:-1] > 0) & (slope[1:] <= 0)).sum())


# near the fold the root pair is √(θ − θ_s) apart: a grid of 4001 points sees it from θ − θ_s ~ 1e-6 on
MARGIN = {"tau": 1e-5}
