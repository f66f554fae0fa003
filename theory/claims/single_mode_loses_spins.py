"""Curie-Weiss with J < 1 has no weights to lose, and VE with constant denoising loses its spins all the same.

Derivation, α = 1 − τ, N Euler steps. The last step has gain 1 + Δτ·α'/α = 0: what it returns is the posterior mean E tanh(w +
sᵢ), sᵢ = h/d + c·xᵢ, over a field w of density ∝ e^{−V}, V = d·w²/(2J) − Σ log cosh(w + sᵢ). With k = 1/J − 1 > 0, V'' ≥ dk
and |V'(0)| ≤ Σ|sᵢ|. So the minimum w₀ of V is within mean|s|/k of 0; and as E (w − w₀)V' = 1 (by parts) while (w − w₀)V' ≥
dk(w − w₀)², E(w − w₀)² ≤ 1/(dk). With |tanh x| ≤ |x|, spin i ends at most |sᵢ| + mean|s|/k + 1/√(dk) from 0, at every d.
Before the last step the noise has the size √d/N, to which earlier steps add O(1) per spin (posterior means are in [−1, 1]);
c = (1 − 1/N)N²/d, so c·xᵢ ≈ (N − 1)zᵢ/√d: every spin tends to 0 instead of ±1, with a spread ≈ (N − 1)/√d, as for a Gaussian
of variance 1 (claim A3).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sympy as sp
import torch
from scipy import optimize

from theory import phase
from theory.curie_weiss import CurieWeiss
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive
from theory.sampler import Euler, Flow, grid, last, walk
from theory.schedule import variance_exploding_flow


def largest_mean(coupling: Any, dim: Any, own: Any, typical: Any, xp: Any = np) -> Any:
    """|E aᵢ| ≤ |sᵢ| + (mean|s| + √(k/d))/k, k = 1/J − 1: bound on a posterior mean, `own` = |sᵢ|, `typical` = mean|s|."""
    convexity = 1 / coupling - 1
    return own + (typical + xp.sqrt(convexity / dim)) / convexity


CLAIM = Claim(
    "A9-single",
    "arXiv 2501.00988 (Curie-Weiss; our working notes, A9: 'for J ≤ 1 there is one mode and nothing to lose')",
    "Curie-Weiss with J < 1, VE (α = 1 − τ), constant denoising, N Euler steps: as d → ∞ every spin ends at 0 instead of ±1, "
    "with a spread ~ (N − 1)/√d: the low-level feature is lost although there is one mode",
    "0 < J < 1, any field h, N ≥ 2 fixed, noise scale √d, starts with bounded moments of z and Σzᵢ = O(√d); 'nothing to lose' "
    "is true of the weights, and of VP",
)
PAPER = "For J > 1 the dichotomy of the Gaussian mixture; for J ≤ 1 there is one mode and nothing to lose (our working notes)."
DIFFERS = "Fails for VE: what it loses is the low level, whether or not there is a high level. J = 1 is left out (k = 0)."
REFUTES = True
FORMULAS = (largest_mean, phase.euler_gain, phase.coin)


def prove() -> list[Step]:
    count, dim, k, excess = sp.symbols("N d k e", positive=True)
    xi, b, w, s, z = sp.symbols("xi b w s z", real=True)
    field, x = sp.Symbol("v", real=True), sp.Symbol("x", positive=True)
    coupling = 1 / (1 + k)
    potential = w**2 / (2 * coupling) - sp.log(sp.cosh(w + s))  # per spin
    gap = sp.Function("V", real=True)(field)
    signal, noise = 1 - 1 / count, sp.sqrt(dim) / count
    seen = signal / noise**2 * (noise * z + b)  # c·x before the last step, b what the steps before have added
    return [
        identity("the last step's gain is 0", phase.euler_gain(1 / count, -1, 1 / count)),
        identity("so it returns the posterior mean: x + Δτ·velocity = tanh(b + cx), at noise 1/N, signal 1 − 1/N",
                 (xi + phase.coin(1 - 1 / count, 1 / count, 1, -1, 1, b, xi, sp) / count).rewrite(sp.exp),
                 sp.tanh(b + (1 - 1 / count) * xi * count**2).rewrite(sp.exp)),
        positive("V''/d ≥ k = 1/J − 1, spin by spin: what is above it is tanh²",
                 potential.diff(w, 2) - k, sp.tanh(w + s) ** 2, strict=False),
        identity("V'(0) = −Σ tanh sᵢ", potential.diff(w).subs(w, 0), -sp.tanh(s)),
        positive("|tanh x| ≤ |x|: the slopes differ by tanh²", sp.diff(x - sp.tanh(x), x), sp.tanh(x) ** 2),
        identity("∫ (w − w₀)V' e^{−V} = ∫ e^{−V}: the difference is the derivative of −(w − w₀)e^{−V}",
                 (field - z) * gap.diff(field) * sp.exp(-gap) - sp.exp(-gap), sp.diff(-(field - z) * sp.exp(-gap), field)),
        identity("1/√(dk) is √(k/d)/k: the three parts add up to the bound",
                 largest_mean(coupling, dim, x, excess, sp), x + excess / k + 1 / sp.sqrt(dim * k)),
        limit_is("before the last step √d·c·x → (N − 1)z: noise √d/N, and b = O(1) drops out",
                 sp.sqrt(dim) * seen, dim, sp.oo, (count - 1) * z),
        limit_is("with |sᵢ| and mean|s| of order 1/√d the bound tends to 0: every spin does",
                 largest_mean(coupling, dim, x / sp.sqrt(dim), excess / sp.sqrt(dim), sp), dim, sp.oo, sp.Integer(0)),
        limit_is("√d·tanh(w + s) with s = x/√d, w → 0: differences between spins keep the factor 1",
                 sp.sqrt(dim) * (sp.tanh(x / sp.sqrt(dim)) - sp.tanh(excess / sp.sqrt(dim))), dim, sp.oo, x - excess),
    ]  # fmt: skip


COUPLING, FIELD, DIM, COUNTS = 0.5, 0.7, 10_000, (2, 4)


def _starts() -> np.ndarray:
    return np.asarray(torch.special.ndtri((torch.arange(DIM, dtype=torch.float64) + 0.5) / DIM).numpy()) + 0.3 / math.sqrt(DIM)


FIELDS = np.append(0.2, np.where(np.arange(15) % 2, 1, -1) * 1.4 / 15)  # sᵢ of 16 spins: |s₀| = 0.2, mean|s| = 0.1


def _extremal(own: float, fields: np.ndarray) -> float:
    """The largest |E aᵢ| that V'' ≥ dk, |V'(0)| ≤ Σ|s| and |tanh x| ≤ |x| allow, J = ½: V = dk·w²/2 − Σ|s|·w, by quadrature."""
    count = len(fields)
    field = np.linspace(-3.0, 3.0, 6001)  # twelve standard deviations 1/√(dk): the trapezoidal rule is exact to rounding
    density = np.exp(-count * field**2 / 2)
    lowest = optimize.brentq(lambda w: count * w - np.abs(fields).sum(), -1.0, 1.0, xtol=1e-16)
    return float(own + lowest + np.sqrt(density @ field**2 / density.sum()))


def _enumerated() -> np.ndarray:
    """E aᵢ of 16 spins, weight exp(J(Σa)²/2d + Σ sᵢaᵢ), J = ½, over all 2¹⁶ states."""
    states = 2.0 * (np.arange(2**16)[:, None] >> np.arange(16) & 1) - 1
    weight = np.exp(states.sum(1) ** 2 / 64 + states @ FIELDS)
    return np.asarray(weight @ states / weight.sum())


def predict() -> dict[str, np.ndarray]:
    """√d times the spread of the spins, N = 2 and 4; the bound on a spin's posterior mean for J = ½, d = 16."""
    kept = [phase.euler_gain(1 / n, -1.0, 1 / n) for n in COUNTS]
    mean = [phase.coin(1 - 1 / n, 1 / n, 1.0, -1.0, 1.0, 0.0, 0.3 / n, np) / n + 0.3 / n for n in COUNTS]
    return {
        "√d·spread": np.array(COUNTS) - 1.0,
        "gain": np.array(kept),
        "coin": np.array(mean),
        "bound": np.array([largest_mean(0.5, 16.0, 0.0, 0.0), largest_mean(0.5, 16.0, 0.2, 0.1)]),
        "below": np.full(16, True),
        "within": np.full(len(COUNTS), True),
    }


def measure() -> dict[str, np.ndarray]:
    """The d-dimensional sampler with the exact posterior mean; the bound from the flattest potential, k = 1; and is no spin
    beyond it, by enumeration of 2¹⁶ states and by the sampler?"""
    z, spreads, gains, coins, within = _starts(), [], [], [], []
    for count in COUNTS:
        schedule = variance_exploding_flow("linear", DIM)
        law = CurieWeiss(DIM, COUPLING, FIELD)
        flow = Flow(schedule, law.denoise)
        x = last(walk(flow, flow.start(torch.from_numpy(z)[None]), grid(count), Euler()))[0].numpy()
        spreads.append(float(x.std()) * math.sqrt(DIM))
        t = torch.tensor(1 / count, dtype=torch.float64)
        gains.append(1 - float(schedule.rates(t)[1] / schedule.noise(t)) / count)
        one = Flow(variance_exploding_flow("linear", 1), CurieWeiss(1, COUPLING, 0.0).denoise)  # a fair coin in noise 1/N
        before = torch.tensor([[0.3 / count]], dtype=torch.float64)
        coins.append((before - one.velocity(before, t) / count).item())  # t falls
        within.append(float(np.abs(x).max()) <= 2 * (count - 1) * 4.5 / math.sqrt(DIM) + 1 / math.sqrt(DIM))
    return {
        "√d·spread": np.array(spreads),
        "gain": np.array(gains),
        "coin": np.array(coins),
        "bound": np.array([_extremal(0.0, np.zeros(16)), _extremal(0.2, FIELDS)]),
        "below": np.array([abs(mean) <= _extremal(abs(own), FIELDS) for mean, own in zip(_enumerated(), FIELDS, strict=True)]),
        "within": np.array(within),
    }


# tanh and the steps before bend a spread of (N − 1)/√d by its square, 1e-3, times N
MARGIN = {"√d·spread": 0.02, "gain": 1e-12, "coin": 1e-12, "bound": 1e-15, "below": 0.5, "within": 0.5}
