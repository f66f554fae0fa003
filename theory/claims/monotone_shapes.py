"""The three shapes fall from the window's upper end to its lower end, for every non-increasing spectrum.

Derivation. f(t) falls from F to 1: uniform in f for the first shape, the inverse of a quantile that grows with f (a running
sum of powers > 0) for the second. −log R is non-decreasing in f, so λ(t) = −log R(f(t)) does not rise; a mean of two such
curves does not; an affine map of positive slope keeps that. All start at −log R(F) and end at −log R(1), so one affine map
takes both ends of all of them to the window, and mixing commutes with stretching. A flat spectrum (slope 0/0) has no curve:
there λ is linear in t by convention.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch

from theory import bound, spectrum
from theory.ledger import Claim
from theory.proof import Step, identity, positive
from theory.stream import Stream

CLAIM = Claim(
    "B7",
    "Esteves, Makadia, arXiv 2603.19222: the three shapes; monotonicity and ends: ours, reconstruction (our working notes)",
    "For every non-increasing spectrum that is not flat, the frequency-focused, power-focused and mixed curves do not "
    "rise in t, and run from "
    "λ_max to λ_min of the window exactly; mixing before or after stretching is the same",
    "R(1) ≥ … ≥ R(F) > 0, R(1) > R(F), 0 < ε < ½; where R is flat over a band the frequency-focused curve is flat too "
    "(strict fall needs strict R)",
)
PAPER = "Three shapes: frequency-focused, power-focused, and their average, the mixed schedule, which is the default."
DIFFERS = "Monotone, not strictly so: a flat band gives repeated levels, steps of length 0 that a grid must merge."
FORMULAS = (bound.stretched, bound.log_snr_window)


def prove() -> list[Step]:
    last_power, fall, odds = sp.symbols("R_F g w", positive=True)
    level, other, mix = sp.symbols("l m x", real=True)
    first_power, epsilon = last_power * (1 + fall), 1 / (1 + 1 + odds)  # R(1) > R(F), and ε < ½
    first, last = -sp.log(first_power), -sp.log(last_power)
    low, high = bound.log_snr_window(last_power, first_power, epsilon, sp)
    a, b, ends = sp.Symbol("a", real=True), sp.Symbol("b", positive=True), (low, high)
    span, window = sp.symbols("span window", positive=True)  # −log R(F) + log R(1), λ_max − λ_min
    powers = sp.symbols("R_1:6", positive=True)
    return [
        identity("t = 1, f = 1: the lower end", bound.stretched(first, first, last, *ends), low),
        identity("t = 0, f = F: the upper end", bound.stretched(last, first, last, *ends), high),
        identity(
            "the window is longer than the spectrum, by 2 logit(1 − ε)",
            sp.expand_log(high - low, force=True),
            sp.expand_log(sp.log(1 + fall) + 2 * sp.log((1 - epsilon) / epsilon), force=True),
        ),
        positive("logit(1 − ε) > 0 for ε < ½: (1 − ε)/ε > 1", (1 - epsilon) / epsilon - 1),
        positive("so the map's slope is positive", sp.diff(bound.stretched(level, a, a + span, b, b + window), level)),
        positive(
            "the quantile grows from ring to ring, R being positive",
            sum(powers[:3]) / sum(powers) - sum(powers[:2]) / sum(powers),
        ),
        identity(
            "stretching the mixture is mixing the stretched: the map is affine and the same for both",
            bound.stretched((1 - mix) * level + mix * other, first, last, *ends),
            (1 - mix) * bound.stretched(level, first, last, *ends) + mix * bound.stretched(other, first, last, *ends),
        ),
    ]


POWER, EPSILON = np.array([3.5, 1.0, 0.5]), 0.02  # so that the quantile of f = 2 is ¾: both shapes pass it on a node


def predict() -> dict[str, np.ndarray | float]:
    """Levels where f(t) is a ring: t = 0, ½, 1 of the frequency-focused curve, 0, ¼, 1 of the power-focused one; rises:
    none."""
    ends = bound.log_snr_window(POWER.min(), POWER.max(), EPSILON)
    levels = bound.stretched(-np.log(POWER), -np.log(POWER[0]), -np.log(POWER[-1]), *ends)[::-1]
    return {"frequency": levels, "power": levels, "rise": 0.0, "ends": 0.0}


def measure() -> dict[str, np.ndarray | float]:
    """`spectral_log_snr` on that spectrum; and, over 2000 random non-increasing spectra and five mixtures, the largest rise."""
    table = spectrum.rings(6, 6)
    power = torch.zeros(len(table), dtype=torch.float64)
    power[1:4] = torch.from_numpy(POWER)
    curves = [spectrum.spectral_log_snr(power, table, EPSILON, focus, 5).numpy() for focus in (0.0, 1.0)]
    table = spectrum.rings(16, 16)
    steps = Stream(11).normal(2000, (9,)).clamp(min=0) * 3  # half the rings flat
    logs = steps.flip(-1).cumsum(-1).flip(-1)
    many = torch.ones(2000, len(table), dtype=torch.float64)
    many[:, 1:9] = logs[:, :8].exp()
    flat = many[:, 1] == many[:, 8]
    rise, off = 0.0, 0.0
    for focus in (0.0, 0.25, 0.5, 0.75, 1.0):
        found = spectrum.spectral_log_snr(many, table, EPSILON, focus)
        rise = max(rise, float(found.diff(dim=-1).max()))
        expected = torch.stack([-many[:, 8].log() + np.log(49.0), -many[:, 1].log() - np.log(49.0)], -1)
        off = max(off, float((found[:, [0, -1]] - expected)[~flat].abs().max()))
    return {"frequency": curves[0][[0, 2, 4]], "power": curves[1][[0, 1, 4]], "rise": max(rise, 0.0), "ends": off}


MARGIN = {
    "frequency": 1e-12,
    "power": 1e-12,
    "rise": 1e-12,
    "ends": 1e-12,
}  # rounding of a few operations on numbers of order 10
