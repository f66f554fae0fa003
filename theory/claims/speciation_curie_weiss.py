"""When the two modes of Curie-Weiss separate: the mixture's threshold, with m* for m and hm* for h.

Derivation. Seen along u through noise, T = √d·M + ςz, and completing the square turns the law of T into a Curie-Weiss
partition function: density(T) ∝ e^{−T²/(2ς²)} Z(J − 1/ς², h + √d·T/ς²). Speciation needs ς = b√d; then the coupling tends to
J, and with Y = T/ς the field is h + Y/b = O(1). As in A7-vp-cw, Laplace's method leaves Z ∝ cosh(m*(h + Y/b)) for J > 1, so
density(Y) ∝ e^{−Y²/2} cosh(m*(h + Y/b)) = p N(θ, 1) + (1 − p) N(−θ, 1), θ = m*/b, log-odds 2hm*: A8-gm applies.
"""

from __future__ import annotations

import math

import numpy as np
import sympy as sp

from theory import phase
from theory.claims.vp_phases_curie_weiss import laplace
from theory.curie_weiss import CurieWeiss, spontaneous_magnetisation
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is

CLAIM = Claim(
    "A8-cw",
    "Aranguri, Biroli, Mézard, Vanden-Eijnden, arXiv 2501.00988 (Curie-Weiss; our working notes, A8); thresholds ours",
    "For J > 1 the noisy law of Curie-Weiss along u becomes bimodal at ς/√d → m*/θ_s(hm*), with the mixture's threshold θ_s: "
    "at τ ~ θ_s/(m*√d) for VP and τ = O(1) for VE; the field matters through hm* only, and m*² ~ 3(J − 1) as J → 1",
    "J > 1 and h fixed, d → ∞, by Laplace's method; ς = noise/signal; approached like 1/d (measured)",
)
PAPER = "Curie-Weiss has the mixture's speciation, with the magnetisation of its modes for their mean (reconstruction)."
DIFFERS = "Exact threshold in J and h; the shift by the field is that of unequal weights."
RESTS_ON = (
    "Laplace's method for the partition function, of which the steps check stationary points, curvature and heights only; the "
    "rate of approach, which is measured"
)
FORMULAS = (phase.largest_bias,)


def prove() -> list[Step]:
    coupling, dim, noise, b, mean, x = sp.symbols("J d varsigma b m x", positive=True)
    bias, t, y, m = sp.symbols("h T Y M", real=True)
    weight = sp.exp(bias * mean) / (2 * sp.cosh(bias * mean))
    gauss = lambda c: sp.exp(-((y - c) ** 2) / 2)  # noqa: E731
    level = sp.Symbol("theta", positive=True)
    return [
        identity("completing the square: coupling J − 1/ς², field h + √d·T/ς²",
                 coupling * dim * m**2 / 2 + bias * m - (t - sp.sqrt(dim) * m) ** 2 / (2 * noise**2),
                 -(t**2) / (2 * noise**2) + (coupling - 1 / noise**2) * dim * m**2 / 2
                 + (bias + sp.sqrt(dim) * t / noise**2) * m),
        identity("ς = b√d, T = ςY: the field is h + Y/b", (sp.sqrt(dim) * t / noise**2).subs(
            {t: noise * y}).subs(noise, b * sp.sqrt(dim)), y / b),
        limit_is("and the coupling tends to J", coupling - 1 / (b**2 * dim), dim, sp.oo, coupling),
        *laplace(1, y / b),
        identity("e^{−Y²/2} cosh(m*(h + Y/b)) is the mixture of N(±θ, 1), θ = m*/b, log-odds 2hm*",
                 (weight * gauss(mean / b) + (1 - weight) * gauss(-mean / b)).rewrite(sp.exp),
                 (sp.exp(-(y**2) / 2 - mean**2 / (2 * b**2)) * sp.cosh(mean * (bias + y / b))
                  / sp.cosh(bias * mean)).rewrite(sp.exp)),
        identity("its threshold H grows from H(1) = 0 with slope 2√(θ² − 1): one θ_s for every field",
                 phase.largest_bias(level, sp).diff(level), 2 * sp.sqrt(level**2 - 1)),
        limit_is("m*²/(J − 1) → 3 as J = x/tanh x → 1, x = Jm*",
                 sp.tanh(x) ** 2 / (x / sp.tanh(x) - 1), x, 0, sp.Integer(3), "+"),
    ]  # fmt: skip


CASES, DIMS = ((2.0, 0.0), (2.0, 0.7), (1.5, -1.5)), (100, 400, 1600)


def predict() -> dict[str, np.ndarray]:
    """Limit of ς/√d at speciation, and the exponent of its approach."""
    means = [spontaneous_magnetisation(coupling) for coupling, _ in CASES]
    levels = [phase.speciation_level(field * mean) for (_, field), mean in zip(CASES, means, strict=True)]
    return {"level": np.array(means) / np.array(levels), "exponent": np.full(len(CASES), -1.0)}


def measure() -> dict[str, np.ndarray]:
    """From the exact law of the magnetisation at d = 100, 400 and 1600: bisect on the noise where the second mode appears."""
    found = np.array([[_speciation(CurieWeiss(dim, *case)) / math.sqrt(dim) for case in CASES] for dim in DIMS])
    few, more, most = found
    return {"level": (4 * most - more) / 3, "exponent": np.log((most - more) / (more - few)) / math.log(4)}  # Richardson in 1/d


def _speciation(law: CurieWeiss) -> float:
    pmf = np.exp(law.magnetisation_log_pmf().numpy())
    places = math.sqrt(law.dim) * np.linspace(-1, 1, law.dim + 1) * (-1 if law.field > 0 else 1)  # lighter mode at T > 0
    pmf, places = pmf[pmf > 1e-14], places[pmf > 1e-14]
    low, high = 0.2 * math.sqrt(law.dim), 1.2 * math.sqrt(law.dim)
    t = np.arange(0.005, 3, 0.01)[:, None]  # in units of ς, between the barrier and the far end of the lighter mode
    for _ in range(22):
        noise = 0.5 * (low + high)
        weights = pmf * np.exp(-0.5 * (t - places / noise) ** 2)
        slope = (weights @ (places / noise)) / weights.sum(-1) - t[:, 0]
        k, top = int(np.argmax(slope)), float(slope.max())
        if 0 < k < len(slope) - 1:  # the parabola through the three highest points
            left, middle, right = slope[k - 1 : k + 2]
            top = float(middle - (right - left) ** 2 / (8 * (left - 2 * middle + right)))
        low, high = (noise, high) if top > 0 else (low, noise)  # two modes: speciation is at more noise
    return 0.5 * (low + high)


# Richardson leaves order d^{−2}, here 100/d² at d = 400; beside equal weights the grid resolves θ − 1 to 1e-4
MARGIN = {"level": 1e-3, "exponent": 0.2}
