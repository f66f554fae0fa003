"""With one frequency per direction, two of the three shapes fail on the mixture for every N < d.

The other reading of "frequency" for the mixture (claim C12 has the first): f = 1 … d, R(1) = m²d + σ², R(f) = σ² for f ≥ 2,
log R linear between rings. In t from 1 (noise) to 0, u = 1 − t, a curve is λ_min + L·shape(u), with shape = min((d − 1)u, 1)
for frequency focus, min(u/w, 1) for power focus, w the share of ∫R between f = 1 and f = 2, and their mean for the mixed one.

Derivation. The first of N equal steps ends at u = 1/N. Frequency focus: shape = 1 there for N ≤ d − 1, so this one step spans
the whole window, and all others have length 0. Across μ it leaves √κ_max(σ² + √(κ_min κ_max))/(σ² + κ_max) → √κ_min, and the
posterior mean (1 − ε) of that: σ̂/σ → √(ε(1 − ε)). Mixed: the step spans at least half the window, to κ ≤ √(κ_min κ_max) =
O(√d), which along μ is nothing against m²d: in units of √d the state is the posterior mean m tanh(h + z√(ε/(1 − ε))) of pure
noise z, and its sign is final: p̂ → Φ(h√((1 − ε)/ε)), 1 for practical purposes. Power focus: u/w is log-uniform over a share w
→ m²/(m² + 2σ²) of the steps, the rest have length 0: Θ(log d), with 1/w times the steps of claim C12.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp
import torch
from scipy import special

from theory import bound, cost, limit
from theory.curve import Karras
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive
from theory.schedule import VarianceExploding


def power_share(separation: Any, variance: Any, dim: Any) -> Any:
    """w = the share of Σ R, by trapezoids, that lies between f = 1 and f = 2: D = m²d, v = σ²."""
    first = separation / 2 + variance
    return first / (first + (dim - 2) * variance)


def one_step_spread(variance: Any, kappa_min: Any, kappa_max: Any, xp: Any = np) -> Any:
    """σ̂/σ after one DDIM step from κ_max to κ_min, from pure noise, and the posterior mean."""
    left, right = xp.sqrt(kappa_max), xp.sqrt(kappa_min)
    return left * cost.ddim_multiplier(variance, left, right) * xp.sqrt(variance) / (variance + kappa_min)


CLAIM = Claim(
    "C12-index",
    "ours; the second reading of our working notes ('the two papers meet')",
    "With one frequency per direction, for every N ≤ d − 1: frequency focus gives σ̂/σ → √(ε(1 − ε)), mixed (at fixed "
    "N) p̂ → Φ(h√((1 − ε)/ε)) for the weight p, "
    "as d → ∞; only power focus has Θ(log d), with (m² + 2σ²)/m² times the steps of two rings",
    "fixed m, σ, 0 < p < 1, 0 < ε < ½; DDIM at equal steps of t, posterior mean last; log R linear between "
    "frequencies, as in theory.spectrum",
)
PAPER = "Neither paper has this; the mixed shape is paper B's default."
DIFFERS = (
    "The default fails on a spectrum of one large line above a flat floor: rings, not coefficients, have to be the frequencies."
)
FORMULAS = (power_share, one_step_spread)


def prove() -> list[Step]:
    mean, spread, dim, odds, n, z, root = sp.symbols("m sigma d w n z q", positive=True)
    bias = sp.Symbol("h", real=True)
    extra = sp.Symbol("e", nonnegative=True)
    epsilon = 1 / (1 + odds)
    low, high = bound.window(spread**2, mean**2 * dim + spread**2, epsilon)
    left = one_step_spread(spread**2, low, high, sp)
    share = sp.limit(power_share(mean**2 * dim, spread**2, dim), dim, sp.oo)
    level = sp.sqrt(low * high)  # half the window
    noise = root * dim  # κ_max in the limit, q = m²(1 − ε)/ε
    seen = mean * sp.sqrt(dim) * sp.sqrt(noise) * z / (noise + spread**2)
    return [
        positive(
            "frequency focus: (d − 1)/N ≥ 1 at the first node for d = N + 1 + e", (n + extra) / n - 1, extra / n, strict=False
        ),
        limit_is("so σ̂/σ → √(ε(1 − ε))", left**2, dim, sp.oo, epsilon * (1 - epsilon)),
        positive("and σ is lost: that is below 1/2", sp.Rational(1, 4) - (1 / (2 + odds)) * (1 - 1 / (2 + odds))),
        positive(
            "mixed: the shape at the first node is (1 + min(1/(wN), 1))/2, above 1/2", (1 + 1 / n) / 2 - sp.Rational(1, 2)
        ),
        limit_is("its level is nothing against m²d", level / (mean**2 * dim), dim, sp.oo, sp.Integer(0)),
        limit_is(
            "from pure noise the posterior's field is h + z m/√q", bias + seen, dim, sp.oo, bias + z * mean / sp.sqrt(root)
        ),
        identity(
            "which is h + z√(ε/(1 − ε))",
            (mean / sp.sqrt(root)).subs(root, mean**2 * (1 - epsilon) / epsilon) ** 2,
            epsilon / (1 - epsilon),
        ),
        *(
            limit_is(
                f"at that level the next posterior mean of a state √d·{sign}Y, Y > 0, is {sign}m: the sign is final",
                sp.tanh(bias + factor * mean * dim * z / (spread**2 + root * sp.sqrt(dim))),
                dim,
                sp.oo,
                sp.Integer(factor),
            )
            for sign, factor in (("", 1), ("−", -1))
        ),
        identity("power focus: the share of the steps that move is m²/(m² + 2σ²)", share, mean**2 / (mean**2 + 2 * spread**2)),
    ]


MEAN, SPREAD, WEIGHT, EPSILON, DIM, STEPS = 1.0, 0.5, 0.6, 0.3, 1e10, 60
SHARES = (3.0, 10.0, 1e10)


def predict() -> dict[str, np.ndarray | float]:
    """σ̂/σ, p̂ and the log-spread lost, at d = 10¹⁰, N = 60; ε = 0.3 and p = 0.6, so that p̂ is not 1 to rounding."""
    low, high = bound.window(SPREAD**2, MEAN**2 * DIM + SPREAD**2, EPSILON)
    moving = power_share(MEAN**2 * DIM, SPREAD**2, DIM) * STEPS
    half = np.log(high / low) / (4 * moving) * 2  # δ = L/(2wN)
    middle = np.log(low / SPREAD**2) / 2 + half / 2 * (2 * np.arange(round(moving)) + 1)
    bias = 0.5 * special.logit(WEIGHT)
    return {
        "frequency: spread": one_step_spread(SPREAD**2, low, high),
        "mixed: weight": special.ndtr(bias * np.sqrt((1 - EPSILON) / EPSILON)),
        "power: loss": cost.ddim_loss_in_log_levels(half, middle).sum(),
        "power: moving": 1000 * np.array([power_share(MEAN**2 * dim, SPREAD**2, dim) for dim in SHARES]),
    }


def shapes(dim: float, steps: int) -> dict[str, np.ndarray]:
    """The three shapes at u = 0 … 1 from a table of rings: f(u) uniform, or the quantile of the running trapezoids of R."""
    u = np.arange(steps + 1) / steps
    rings = np.array([1.0, 2.0, dim])
    power = np.array([MEAN**2 * dim + SPREAD**2, SPREAD**2, SPREAD**2])
    unit = np.log(power[0] / power) / np.log(power[0] / power[-1])
    running = np.concatenate([[0.0], np.cumsum(np.diff(rings) * (power[1:] + power[:-1]) / 2)])
    frequency = np.interp(1 + (dim - 1) * u, rings, unit)
    by_power = np.interp(u, running / running[-1], unit)
    return {"frequency": frequency, "power": by_power, "mixed": (frequency + by_power) / 2}


def measure() -> dict[str, np.ndarray | float]:
    """The exact reduction on the levels of the three shapes, made from the table of rings."""
    odds = EPSILON / (1 - EPSILON)
    low, high = SPREAD**2 * odds, (MEAN**2 * DIM + SPREAD**2) / odds
    ends = float(np.sqrt(low)), float(np.sqrt(high))
    schedule = VarianceExploding(Karras(*ends, 1.0))  # ς linear in t: Euler in t is DDIM
    gains, weights = {}, {}
    for name, shape in shapes(DIM, STEPS).items():
        levels = ends[1] * (low / high) ** (shape / 2)
        times = torch.from_numpy((levels - ends[0]) / (ends[1] - ends[0])).clamp(0, 1)
        gains[name] = limit.complement_gain(schedule, times, SPREAD**2)
        weights[name] = limit.weight_plus(limit.TwoModes.gaussian_mixture(DIM, WEIGHT, MEAN, SPREAD), schedule, times)
    exact = np.sqrt(high * (SPREAD**2 + low) / (SPREAD**2 + high))
    return {
        "frequency: spread": gains["frequency"] * SPREAD / (SPREAD**2 + low),
        "mixed: weight": weights["mixed"],
        "power: loss": np.log(exact / gains["power"]),
        "power: moving": np.array([1 / shapes(dim, 1000)["power"][1] for dim in SHARES]),  # in thousandths of the time
    }


# Along μ the first level is O(√d), which moves p̂ by its square root over m√d: d^{−¼} ≈ 3e-3 of a density of 0.4; w is 2/3 to
# 1e-10, which moves the count of steps as much; the rest is rounding of ς in t.
MARGIN = {"frequency: spread": 1e-7, "mixed: weight": 1e-3, "power: loss": 1e-5, "power: moving": 1e-9}
