"""What the grid of 8-bit images, q = 2/255 on [−1, 1], says about the smallest useful noise: q²/12, no more.

Derivation. Rounding an error uniform over a cell has the mean square ∫ q²u² du = q²/12 over |u| ≤ ½, white if pixels round
independently. For a Gaussian pixel of spread s the square of the rounding error, a periodic function, has the Fourier series
q²/12 + (q²/π²) Σ (−1)^k/k² cos 2πkx/q, whose mean damps the k-th wave by e^{−2π²k²s²/q²}: q²/12 to 0.9 % from s = q/2 on.
Stopping at κ = q²/12 with the posterior mean costs at most κ per pixel in mean square (the identity is an estimate), as much
as storing did; the deficit of a frequency is (q²/12)/(P + q²/12).
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import sympy as sp
import torch
from scipy import special

from theory import ball, bound
from theory.ledger import Claim
from theory.proof import Step, certain, identity, positive
from theory.target import Gaussian

CLAIM = Claim(
    "B5",
    "ours (working notes: 'q²/12 that κ_min need not go below'); narrowed",
    "Rounding to a grid of spacing q adds white noise of variance q²/12 (a Gaussian pixel of spread s ≥ q/2: to 0.9 %, "
    "of s ≥ q: to 4e-9); "
    "stopping at κ_min = q²/12 costs at most q²/12 per pixel in mean square, but at a frequency of power P the "
    "relative deficit of variance "
    "(q²/12)/(P + q²/12), which exceeds ε wherever P < (q²/12)(1 − ε)/ε, and is ½ at the rounding noise itself",
    "pixel errors uncorrelated (pixels spread over cells independently, or subtractive dither); deficit: Gaussian "
    "direction, exact flow",
)
PAPER = "Not in the public part of the paper."
DIFFERS = (
    "A floor for the error per pixel, not for the ε of every frequency: with a spectrum that reaches the floor the two "
    "conflict, and the "
    "choice is a setting. Stochastic rounding (non-subtractive dither) adds q²/6 on average, not q²/12."
)
FORMULAS = (bound.rounding_power, bound.stop_deficit)


def prove() -> list[Step]:
    q, power, odds, s = sp.symbols("q P w s", positive=True)
    u, x = sp.symbols("u x", real=True)
    k = sp.Symbol("k", integer=True, positive=True)
    floor, half = q**2 / 12, sp.Rational(1, 2)
    epsilon = 1 / (1 + odds)
    wave = 2 * sp.integrate(u**2 * sp.cos(2 * sp.pi * k * u), (u, -half, half))
    normal = sp.exp(-(x**2) / (2 * s**2)) / sp.sqrt(2 * sp.pi * s**2)
    damped = sp.integrate(normal * sp.exp(2 * sp.pi * sp.I * k * x / q), (x, -sp.oo, sp.oo))
    share = sp.Symbol("f", positive=True)  # where in the cell, for rounding up with probability f
    return [
        identity("an error uniform over a cell has mean square q²/12", sp.integrate((q * u) ** 2, (u, -half, half)), floor),
        identity("the k-th Fourier coefficient of u² on |u| ≤ ½ is (−1)^k/(πk)²", wave, (-1) ** k / (sp.pi * k) ** 2),
        identity("a Gaussian damps it by e^{−2π²k²s²/q²}", damped, sp.exp(-2 * (sp.pi * k * s / q) ** 2)),
        identity(
            "the sum of both is the formula, here its six waves",
            bound.rounding_power(q, s, 0, sp),
            floor + q**2 * sum(wave.subs(k, j) * damped.subs(k, j) for j in range(1, 7)),
        ),
        positive(
            "the posterior mean errs by less than κ in every direction, Gaussian or not (B3)",
            floor - bound.linear_mmse(power, floor),
            floor**2 / (power + floor),
        ),
        identity("stopping at κ = q²/12 on the rounding noise itself: deficit ½", bound.stop_deficit(floor, floor), half),
        identity(
            "ε is kept down to the power P at which the window's lower end is the floor",
            bound.stop_deficit(bound_power(floor, epsilon), floor),
            epsilon,
        ),
        identity("which is where κ_min = q²/12", bound.window(bound_power(floor, epsilon), power, epsilon)[0], floor),
        positive(
            "a wave's damping falls with the spread: what holds at one spread holds above it",
            -sp.diff(sp.exp(-2 * (sp.pi * k * s / q) ** 2), s),
        ),
        positive(
            "a frequency of less power violates ε", bound.stop_deficit(bound_power(floor, epsilon) / (1 + s), floor) - epsilon
        ),
        identity(
            "stochastic rounding: ∫ q²f(1 − f) df = q²/6",
            sp.integrate(q**2 * (share * (1 - share) ** 2 + (1 - share) * share**2), (share, 0, 1)),
            2 * floor,
        ),
    ]


def bound_power(floor: sp.Expr, epsilon: sp.Expr) -> sp.Expr:
    """The power at which the deficit at κ = floor is ε."""
    return floor * (1 - epsilon) / epsilon


def certify() -> list[Step]:
    """The whole series at every spread and centre, by |cos| ≤ 1 and Σ_{k ≥ 2} 1/k² = π²/6 − 1; then the formula, on boxes."""
    worst = {Fraction(1, 2): 0.009, Fraction(1, 1): 4e-9}
    steps = []
    for first, allowed in worst.items():
        leading = ball.exp(-2 * (ball.pi * float(first)) ** 2)  # of k = 1; every other is at most its fourth power over k²
        whole = 12 / ball.pi**2 * (leading + (ball.pi**2 / 6 - 1) * leading**4)
        steps.append(
            certain(f"every spread from {first} q on: all waves together are below {allowed:g} of q²/12", whole < allowed)
        )
        errors = [
            abs(12 * bound.rounding_power(1, spread, centre, ball) - 1)
            for spread in ball.pieces(float(first), 8.0, 96, geometric=True)
            for centre in ball.pieces(-0.5, 0.5, 8)
        ]
        holds = all(bool(error < allowed) for error in errors)
        steps.append(
            certain(f"the formula, spread from {first} q to 8 q, any centre: q²/12 to within {allowed:g}, relative", holds)
        )
    return steps


SPREADS, CENTRES, SPACING = np.array([0.2, 0.35, 0.5, 1.0]), np.array([0.0, 0.17, 0.5]), 0.5


def predict() -> dict[str, np.ndarray]:
    """Mean square rounding error of Gaussian pixels on a grid of ½, in units of the spacing's square; deficits at the floor."""
    power = np.array([[bound.rounding_power(SPACING, SPACING * s, SPACING * c) for c in CENTRES] for s in SPREADS])
    floor = SPACING**2 / 12
    return {"rounding": power / SPACING**2, "deficit": bound.stop_deficit(floor * np.array([1.0, 9.0, 99.0]), floor)}


def measure() -> dict[str, np.ndarray]:
    """Cell by cell: ∫ (x − jq)² of a Gaussian over the cell of jq, from its truncated moments; the deficits from the variance
    of the law's posterior mean, by Gauss-Hermite quadrature over noisy data (two nodes: it is linear).
    """
    cells = np.arange(-40, 41)
    rounding = np.empty((len(SPREADS), len(CENTRES)))
    for i, s in enumerate(SPREADS):
        for j, c in enumerate(CENTRES):
            low, high = (cells - 0.5 - c) / s, (cells + 0.5 - c) / s
            mass = special.ndtr(high) - special.ndtr(low)
            phi_low, phi_high = (np.exp(-(v**2) / 2) / np.sqrt(2 * np.pi) for v in (low, high))
            first, second = phi_low - phi_high, mass + low * phi_low - high * phi_high
            shift = c - cells
            rounding[i, j] = np.sum(s**2 * second + 2 * s * shift * first + shift**2 * mass)
    level, deficits = SPACING / np.sqrt(12), []
    for power in level**2 * np.array([1.0, 9.0, 99.0]):
        noisy = torch.tensor([[-1.0], [1.0]], dtype=torch.float64) * np.sqrt(power + level**2)
        posterior = Gaussian.isotropic(1, float(power)).denoise(noisy, 1.0, float(level))
        deficits.append(1 - float((posterior**2).mean()) / power)
    return {"rounding": rounding, "deficit": np.array(deficits)}


MARGIN = {"rounding": 1e-13, "deficit": 1e-15}  # rounding of sums over 81 cells; one division
