"""What a finite κ costs VP for good: a Gaussian tail of misassigned mass, most of which cancels in the weights.

VP. At the window's end u·x ~ p N(k, 1) + (1 − p) N(−k, 1), k = κm, and the cut at −h/k decides (claim A4). Mode − loses (1 −
p)Φ(h/k − k) to +, mode + loses pΦ(−h/k − k) to −. As (1 − p)·e^h = p·e^{−h} = √(p(1 − p)) both are √(p(1 −
p))·φ(k)·e^{−h²/2k²}/(k ∓ h/k) to leading order: their sum, the misassigned mass, is 2√(p(1 − p))φ(k)/k; in their difference,
p̂ − p, the 1/k cancels: 2h√(p(1 − p))φ(k)/k³.
VE. Across u the deficit of σ is 1 − κ/√(κ² + σ²) ≈ σ²/(2κ²) (claim A5); the weights have no floor: claim A-floor-ve, drawn
beside VP's here.
"""

from __future__ import annotations

import math
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import sympy as sp
from matplotlib.figure import Figure
from scipy import integrate, optimize, special, stats

from theory import ball, limit, witness
from theory.ledger import Claim
from theory.proof import Step, certain, identity, limit_is
from theory.schedule import variance_exploding_flow

CLAIM = Claim(
    "A-floor",
    "ours (working notes: the floor is said to fall like a Gaussian tail in κ)",
    "VP's clock leaves a misassigned mass ~ 2√(p(1 − p))·φ(κm)/(κm), of which only p̂ − p ~ 2h√(p(1 − p))·φ(κm)/(κm)³ "
    "shows in the "
    "weights",
    "d → ∞ first, then N → ∞; ratio to the tail within (2h² + 6)/(κm)² of 1 for κm in [3, 8], |h| in [1/16, 1.5] (certified)",
)
PAPER = "A constant κ large enough separates the phases; the paper's notebooks use κ = 3 or 5. No formula for the floor."
DIFFERS = (
    "A formula. Two mistakes cancel in p̂: it hides a factor (κm)²/h of misassigned mass. VE's floor is another: A-floor-ve."
)
RESTS_ON = (
    "claim A4 for what N Euler steps tend to, the law p N(κm, 1) + (1 − p) N(−κm, 1) cut at −h/(κm): Euler's convergence along "
    "u; what the cut costs is steps"
)
FORMULAS = (limit.window_floor, limit.window_errors, limit.window_tail, limit.exploding_clock_floor)


def prove() -> list[Step]:
    k, v, window = sp.symbols("k sigma2 kappa", positive=True)
    h, y = sp.symbols("h y", real=True)
    minus, plus = limit.window_errors(k, h, sp)
    weight = sp.exp(h) / (2 * sp.cosh(h))
    normal = sp.exp(-(y**2) / 2) / sp.sqrt(2 * sp.pi)
    tail = sp.exp(-(k**2) / 2) / sp.sqrt(2 * sp.pi)
    net, mass = limit.window_tail(k, h, sp)
    shift = sp.Symbol("s", real=True)  # h/k
    mills = limit.normal_cdf(-y, sp) / normal
    return [
        identity(
            "the window's error of mode −, differentiated in the cut, is its density there",
            limit.normal_cdf(shift - k, sp).diff(shift),
            normal.subs(y, shift - k),
        ),
        identity("p = e^h/(2cosh h) is what the formula weighs mode + with", plus / limit.normal_cdf(-h / k - k, sp), weight),
        identity("and 1 − p mode −", minus / limit.normal_cdf(h / k - k, sp), 1 - weight),
        identity(
            "(1 − p)·φ(k − h/k) = √(p(1 − p))·φ(k)·e^{−h²/2k²}",
            (1 - weight) * normal.subs(y, k - h / k),
            tail * sp.exp(-(h**2) / (2 * k**2)) / (2 * sp.cosh(h)),
        ),
        identity(
            "p·φ(k + h/k) is the same number: the cut is where the two densities cross",
            weight * normal.subs(y, k + h / k),
            (1 - weight) * normal.subs(y, k - h / k),
        ),
        identity("R(x) = Φ(−x)/φ(x) has R' = xR − 1", mills.diff(y), y * mills - 1),
        identity(
            "so p̂ − p = √(p(1 − p))·φ(k)·e^{−h²/2k²}·(R(k − h/k) − R(k + h/k))",
            minus - plus,
            tail * sp.exp(-(h**2) / (2 * k**2)) / (2 * sp.cosh(h)) * (mills.subs(y, k - h / k) - mills.subs(y, k + h / k)),
        ),
        identity(
            "Φ(−a) ≈ φ(a)/a: 1/(k − h/k) ∓ 1/(k + h/k), their sum in units of the tail",
            (1 / (k - h / k) + 1 / (k + h / k)) * k * (1 - h**2 / k**4),
            mass / (tail / (2 * sp.cosh(h))) * k,
        ),
        identity(
            "and their difference",
            (1 / (k - h / k) - 1 / (k + h / k)) * k**3 * (1 - h**2 / k**4),
            net / (tail / (2 * sp.cosh(h))) * k**3,
        ),
        limit_is(
            "κ²·(1 − VE's floor) → σ²/2", window**2 * (1 - limit.exploding_clock_floor(v, window, sp)), window, sp.oo, v / 2
        ),
    ]


def certify() -> list[Step]:
    """Both over their tails, on boxes of (k, h) and with ξ anywhere in [k − h/k, k + h/k] (mean value theorem for R).

    R(x) = ∫ e^{−xt − t²/2} dt = U(½, ½, x²/2)/√2 and −R'(x) = ∫ t·e^{−xt − t²/2} dt = U(1, ½, x²/2)/2 over t > 0, Tricomi's U.
    """
    net_holds = mass_holds = True
    for h in ball.pieces(0.0625, 1.5, 8, geometric=True):
        for k in ball.pieces(3.0, 8.0, 200, geometric=True):
            reach = k + (h / k).union(-h / k)
            common = ball.exp(-((h / k) ** 2) / 2)
            slope = _tricomi(reach, 1) / 2
            value = _tricomi(reach, 0.5) / ball.sqrt(2)
            slack = (2 * h**2 + 6) / k**2
            net_holds = net_holds and bool(abs(common * k**2 * slope - 1) < slack)
            mass_holds = mass_holds and bool(abs(common * k * value - 1) < slack)
    return [
        certain("p̂ − p over its tail, e^{−h²/2k²}·k²·(−R'(ξ)), is within 1 ± (2h² + 6)/k²", net_holds),
        certain("the misassigned mass over its tail, e^{−h²/2k²}·k·R(ξ), is within the same", mass_holds),
    ]


def _tricomi(x: Any, order: float) -> Any:
    """U(order, ½, x²/2) over a ball x > 0: it decreases in x, so the two ends enclose it."""
    low, high = ((end**2 / 2).hypgeom_u(order, 0.5) for end in (x.lower(), x.upper()))
    return low.union(high)


WEIGHT, STD, KAPPAS = 0.8, 0.5, np.array([1.0, 2.0, 3.0, 5.0])
EXPLODING, DIM, MANY = np.array([1.0, 3.0]), 1e16, 2000


def predict() -> dict[str, np.ndarray]:
    """VP (m = 1): net floor and misassigned mass relative to √(p(1 − p))·φ(k); the tails at k = 35; VE: σ̂/σ."""
    bias = limit.log_odds(WEIGHT)
    unit = math.sqrt(WEIGHT * (1 - WEIGHT)) * stats.norm.pdf(KAPPAS)
    net, mass = limit.window_tail(35.0, bias)
    unit_far = math.sqrt(WEIGHT * (1 - WEIGHT)) * stats.norm.pdf(35.0)
    return {
        "net": limit.window_floor(KAPPAS, bias) / unit,
        "mass": sum(limit.window_errors(KAPPAS, bias)) / unit,
        "tail": np.array([net * 35.0**3, mass * 35.0]) / unit_far,
        "VE": limit.exploding_clock_floor(STD**2, EXPLODING),
    }


def measure() -> dict[str, np.ndarray]:
    """Quadrature of the two densities against the posterior's sign; VE by Euler, first order in 1/N removed."""
    net, mass = [], []
    for k in KAPPAS:
        unit = math.sqrt(WEIGHT * (1 - WEIGHT)) * stats.norm.pdf(k)
        cut = optimize.brentq(lambda y, k=k: stats.norm.logpdf(y, k) - stats.norm.logpdf(y, -k) + math.log(4.0), -40, 40)
        minus = integrate.quad(lambda y, k=k: (1 - WEIGHT) * stats.norm.pdf(y, -k), cut, 12, epsabs=0, epsrel=1e-12)[0]
        plus = integrate.quad(lambda y, k=k: WEIGHT * stats.norm.pdf(y, k), -12, cut, epsabs=0, epsrel=1e-12)[0]
        net.append((minus - plus) / unit)
        mass.append((minus + plus) / unit)
    far = [special.erfcx((35.0 + s * math.log(2.0) / 35.0) / math.sqrt(2)) * math.sqrt(math.pi / 2) for s in (-1, 1)]
    ends = []
    for kappa in EXPLODING:
        flow = variance_exploding_flow("linear", DIM, float(kappa))
        coarse, fine = (math.log(witness.spread(flow, n, STD**2) / STD) for n in (MANY // 2, MANY))
        ends.append(math.exp(2 * fine - coarse))
    return {
        "net": np.array(net),
        "mass": np.array(mass),
        "tail": np.array([(far[0] - far[1]) * 35.0**3, (far[0] + far[1]) * 35.0]),
        "VE": np.array(ends),
    }


# Quadrature to 1e-12 relative, of which the difference keeps 1e-9; the tails by (h² + 3)/k² = 0.3 % of 1.4 and 2;
# VE: O(1/N²) and κN/√d.
MARGIN = {"net": 1e-8, "mass": 1e-9, "tail": 8e-3, "VE": 1e-4}


def draw() -> Figure:
    """The three floors against κ: formula as line, quadrature and sampler as points, leading terms dashed."""
    bias, k = limit.log_odds(WEIGHT), np.linspace(0.8, 5.2, 200)
    unit = lambda x: math.sqrt(WEIGHT * (1 - WEIGHT)) * stats.norm.pdf(x)  # noqa: E731
    found = measure()
    figure, axis = plt.subplots(figsize=(5.2, 3.6), layout="constrained")
    rows = (
        (
            "VP: misassigned mass",
            sum(limit.window_errors(k, bias)),
            limit.window_tail(k, bias)[1],
            found["mass"] * unit(KAPPAS),
            "o",
            "0.0",
        ),
        ("VP: p̂ − p", limit.window_floor(k, bias), limit.window_tail(k, bias)[0], found["net"] * unit(KAPPAS), "s", "0.35"),
    )
    for label, exact, tail, points, marker, grey in rows:
        axis.plot(k, exact, color=grey, label=label)
        axis.plot(k, tail, color=grey, linestyle="--", linewidth=0.8)
        axis.plot(KAPPAS, points, marker, color=grey, markersize=5)
    axis.plot(k, 1 - limit.exploding_clock_floor(STD**2, k), color="0.6", linewidth=2.5, label="VE: 1 − σ̂/σ")
    axis.plot(k, STD**2 / (2 * k**2), color="0.6", linestyle="--", linewidth=0.8)
    axis.plot(EXPLODING, 1 - found["VE"], "^", color="0.5", markersize=6)
    axis.set(yscale="log", ylim=(1e-9, 1), xlabel="κ  (m = 1)", ylabel="what no number of steps removes",
             title=f"Floors of the clocks, p = {WEIGHT}, σ = {STD}; dashed: leading term")  # fmt: skip
    axis.legend(frameon=False, loc="lower left")
    return figure
