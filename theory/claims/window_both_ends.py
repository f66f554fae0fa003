"""Cutting both ends of the window costs up to 2ε − ε², not ε; the window that keeps ε for both together.

Derivation. The flow is linear for a Gaussian direction, so the remaining shares multiply: 1 − deficit = (1 − a)(1 − b), a and
b the start and stop deficits. 1/(1 − deficit) = (1 + P/κ_max)(1 + κ_min/P) is convex in log P and takes the same value at
P_min and P_max, so the worst frequencies are these two: the extreme ones. With r = ε/(1 − ε) and D = P_max/P_min the value is
(1 + r)(1 + r/D): between 1/(1 − ε), as D → ∞, and 1/(1 − ε)², at D = 1. Solving (1 + r)(1 + r/D) = 1/(1 − ε) for r gives the
window for the sum.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch

from theory import bound
from theory.claims.start_deficit import scale_by_flow
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive
from theory.target import Gaussian

CLAIM = Claim(
    "B2-both",
    "ours; narrows our working notes ('for a relative variance error ≤ ε at every frequency the window is exactly …')",
    "With both ends of the window for ε cut, the worst relative deficit is 1 − (1 − ε)/(1 + εP_min/((1 − ε)P_max)): "
    "above ε, at most "
    "2ε − ε², with equality exactly for one variance; κ_min = P_min r, κ_max = P_max/r with (1 + r)(1 + rP_min/P_max) "
    "= 1/(1 − ε) is "
    "the widest cut that keeps ε for both together among windows placed symmetrically about the spectrum",
    "Gaussian field, P_min ≤ P ≤ P_max, 0 < ε < 1, exact flow between the ends, posterior mean output",
)
PAPER = "Not in the public part of the paper."
DIFFERS = "The two deficits do not add; the sum's bound is 2ε − ε², and for a wide spectrum the excess over ε vanishes."
FORMULAS = (bound.both_deficits, bound.joint_window, bound.window)


def prove() -> list[Step]:
    power, low, shape, odds, ratio = sp.symbols("P P_min s w r", positive=True)
    kappa_min, kappa_max = sp.symbols("kappa_min kappa_max", positive=True)
    gap = sp.Symbol("g", nonnegative=True)
    start = kappa_max * (power + kappa_min) / (power + kappa_max)  # the flow scales N(0, κ_max) by √((P + κ_min)/(P + κ_max))
    left = (power / (power + kappa_min)) ** 2 * start
    inverse = sp.cancel(1 / (1 - bound.both_deficits(power, kappa_min, kappa_max)))
    epsilon, high = 1 / (1 + odds), low * (1 + gap)
    ends = bound.window(low, high, epsilon)
    at_top, at_bottom = (sp.together(bound.both_deficits(p, *ends)) for p in (high, low))
    solved = bound.joint_window(low, low / shape, epsilon, sp)
    joint = [sp.simplify(sp.together(bound.both_deficits(p, *solved))) for p in (low / shape, low)]
    implied = ratio + ratio * shape + ratio**2 * shape  # ε/(1 − ε), from (1 + r)(1 + rs) = 1/(1 − ε)
    return [
        identity(
            "flow and posterior mean leave P(1 − both)", left, power * (1 - bound.both_deficits(power, kappa_min, kappa_max))
        ),
        identity(
            "1/(1 − both) = 1 + κ_min/κ_max + P/κ_max + κ_min/P",
            inverse,
            1 + kappa_min / kappa_max + power / kappa_max + kappa_min / power,
        ),
        positive(
            "it is convex in log P: the worst frequency is an end of the spectrum",
            power * sp.diff(power * sp.diff(inverse, power), power),  # d²/d(log P)²
        ),
        identity("in the window for ε both ends of the spectrum are equally bad", at_top, at_bottom),
        identity("with the deficit stated", at_top, 1 - (1 - epsilon) / (1 + epsilon / (1 - epsilon) / (1 + gap))),
        positive("above ε", at_top - epsilon),
        positive("at most 2ε − ε²", 2 * epsilon - epsilon**2 - at_top, strict=False),
        positive("below that for more than one variance", (2 * epsilon - epsilon**2 - at_top).subs(gap, ratio)),
        identity("with equality for one variance", at_top.subs(gap, 0), 2 * epsilon - epsilon**2),
        limit_is("and ε for a wide spectrum", at_top, gap, sp.oo, epsilon),
        identity("the joint window costs ε at P_max", joint[0], epsilon),
        identity("and at P_min", joint[1], epsilon),
        positive("a larger r costs more", sp.diff((1 + ratio) * (1 + ratio * shape), ratio)),
        positive("it is wider than the window for ε: r < ε/(1 − ε)", implied - ratio),
    ]


VARIANCES, EPSILON = np.array([0.5, 1.0, 3.0]), 0.05


def predict() -> dict[str, np.ndarray]:
    """Deficits at three variances with the window for ε per end, and the worst one with the joint window: ε."""
    low, high = VARIANCES.min(), VARIANCES.max()
    return {
        "per end": bound.both_deficits(VARIANCES, *bound.window(low, high, EPSILON)),
        "joint": bound.both_deficits(VARIANCES, *bound.joint_window(low, high, EPSILON)),
        "ends": np.log(np.concatenate([bound.window(low, high, EPSILON), bound.joint_window(low, high, EPSILON)])),
    }


def measure() -> dict[str, np.ndarray]:
    """The law's flow between the ends, its posterior mean last; the ends from quadratic equations solved afresh."""
    law = Gaussian(torch.from_numpy(VARIANCES))
    odds, shape = EPSILON / (1 - EPSILON), VARIANCES.min() / VARIANCES.max()
    root = float(np.roots([shape, 1 + shape, -odds]).max())
    cuts = [(VARIANCES.min() * r, VARIANCES.max() / r) for r in (odds, root)]
    deficits = []
    for low, high in cuts:
        state = np.sqrt(high) * scale_by_flow(law, float(np.sqrt(high)), float(np.sqrt(low)))
        clean = law.denoise(torch.from_numpy(state)[None], 1.0, float(np.sqrt(low)))[0].numpy()
        deficits.append(1 - clean**2 / VARIANCES)
    return {"per end": deficits[0], "joint": deficits[1], "ends": np.log(np.concatenate(cuts))}


MARGIN = {"per end": 1e-9, "joint": 1e-9, "ends": 1e-10}  # a hundred times the solver's tolerance; rounding
