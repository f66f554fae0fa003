"""Constant denoising on Curie-Weiss loses the weights (VP) or the spins (VE); the clocks recover both.

Derivation, N Euler steps, d → ∞. VP: the first step adds √d·m* tanh(hm*)/N to y = O(1): for h ≠ 0 every trajectory goes to
the mode of sign(h). VE: y/√d follows Euler on the coin ±m* (A7-ve-cw), so weights are right up to O(1/N). The coordinates are
noise √d while c·xᵢ = O(1/√d). Linear form: the last step has gain 1 + Δτ·α'/α = 0 and leaves the posterior mean, rm* for
every spin. Sqrt form: the last gain is N/(2N − 1), none vanishes, and a spread ∝ √d is left; its clock keeps such steps in
phase 1, and fails alike. VP's clock and VE's linear one run Euler on the limiting flows of A7, which are free of d. J < 1:
the field has one maximum, w = ε²J(h + pull)/(1 − J), so √d·E[M] → 0: no weights to lose. But VE's last step is the same: it
loses the spins for J ≤ 1 too.
"""

from __future__ import annotations

import math

import numpy as np
import sympy as sp
import torch
from scipy import special

from theory import limit, phase
from theory.curie_weiss import CurieWeiss, spontaneous_magnetisation
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive
from theory.sampler import Euler, Flow, grid, last, walk
from theory.schedule import Schedule, variance_exploding_flow, variance_preserving_flow

CLAIM = Claim(
    "A9",
    "Aranguri, Biroli, Mézard, Vanden-Eijnden, arXiv 2501.00988 (Curie-Weiss; our working notes, A9)",
    "Curie-Weiss, N Euler steps, d → ∞: for J > 1 constant denoising loses the weights under VP and the spins under "
    "VE (all equal "
    "to rm* in the linear form, spread ∝ √d in the sqrt form); VP's clock and VE's linear clock recover both up to "
    "O(1/N) and a "
    "floor in κ; for J < 1 there are no weights to lose, and VE loses the spins all the same",
    "N ≥ 2 and κ fixed, d → ∞; VP loses the weights only for h ≠ 0; limits as in A7, Euler in paper A's time",
)
PAPER = "The same dichotomy and the same recovery for J > 1; for J ≤ 1 one mode and nothing to lose (our working notes)."
DIFFERS = (
    "'Nothing to lose' is true of the high level only: VE with constant denoising loses the spins at every J (A9-single). "
    "h = 0 is not lost by VP. The recovery under VE needs the linear form: with the sqrt form's clock Euler leaves a "
    "spread ∝ √d."
)
RESTS_ON = (
    "Laplace's method for the field (random, as d → ∞), of which the steps check stationary points, curvature and heights "
    "only; and Euler's convergence on the limiting flows of A7, for the recovery"
)
FORMULAS = (phase.coin, phase.euler_gain)


def prove() -> list[Step]:
    count, mean, small, alpha, tau, k = sp.symbols("N m epsilon alpha tau k", positive=True)
    h, z, xi, b, pull, w = sp.symbols("h z xi b P w", real=True)
    grip, positive_field, j = sp.Symbol("J", positive=True), sp.Symbol("h", positive=True), sp.Symbol("j", positive=True)
    start = z + (phase.coin(0, 1, 1, 0, mean / small, mean * h, z, sp)) / count  # sqrt form: noise' = 0 at τ = 0
    square = sp.sqrt(1 - tau**2)
    gain = phase.euler_gain(square, square.diff(tau), 1 / count)
    exponent = -(w**2) / (2 * grip) + w**2 / 2 + small**2 * w * (h + pull)
    return [
        limit_is("VP: after one step y/√d → m* tanh(hm*)/N", small * start, small, 0, mean * sp.tanh(mean * h) / count, "+"),
        positive("which has the sign of h, whatever z: the weights are lost for h ≠ 0",
                 mean * sp.tanh(mean * positive_field) / count),
        identity("VE, linear: the last step's gain is 0", phase.euler_gain(1 / count, -1, 1 / count)),
        identity("so it returns the posterior mean: x + Δτ·velocity = tanh(b + cx), at noise 1/N, signal 1 − 1/N",
                 (xi + phase.coin(1 - 1 / count, 1 / count, 1, -1, 1, b, xi, sp) / count).rewrite(sp.exp),
                 sp.tanh(b + (1 - 1 / count) * xi * count**2).rewrite(sp.exp)),
        limit_is("and with cx = τξ/(α²√d) that is tanh b = rm* for every spin (b = rJm*; 0 for J ≤ 1)",
                 sp.tanh(b + tau * xi * small / alpha**2), small, 0, sp.tanh(b), "+"),
        identity("VE, sqrt: the gain at τ = k/N is (N² − k² − k)/(N² − k²)", gain.subs(tau, k / count),
                 (count**2 - k**2 - k) / (count**2 - k**2)),
        positive("positive for k ≤ N − 1 (k = N − 1 − i, N = i + 2 + x): √d·Π gains diverges",
                 sp.expand((count**2 - k**2 - k).subs(k, count - 1 - j).subs(count, j + 2 + tau)),
                 sp.expand((count**2 - k**2 - k).subs(k, count - 1 - j).subs(count, j + 2 + tau))),
        identity("at the last step, j = 1, it is N/(2N − 1)", gain.subs(tau, 1 - 1 / count), count / (2 * count - 1)),
        identity("J < 1: the field's only stationary point is ε²J(h + P)/(1 − J)", exponent.diff(w).subs(
            w, small**2 * grip * (h + pull) / (1 - grip))),
        limit_is("J < 1: √d·E[M] → 0: nothing is decided, nothing is lost along u",
                 sp.tanh(small**2 * grip * (h + pull) / (1 - grip)) / small, small, 0, sp.Integer(0), "+"),
    ]  # fmt: skip


COUPLING, SINGLE, FIELD, KAPPA, DIM = 2.0, 0.5, 0.7, 3.0, 1600
FEW, STEPS = 4, 20  # of constant denoising, of the clocks
STARTS = np.linspace(-2.4, 0.6, 25)  # z of y(0)


# VP, VE, and both with their clocks; and the number of steps
SAMPLERS: list[tuple[Schedule, int]] = [
    (variance_preserving_flow("sqrt"), FEW),
    (variance_exploding_flow("linear", DIM), FEW),
    (variance_preserving_flow("sqrt", DIM, KAPPA), STEPS),
    (variance_exploding_flow("linear", DIM, KAPPA), STEPS),
]


def predict() -> dict[str, np.ndarray]:
    """Which starts end in the + mode, d → ∞, by Euler on the coin; the spins' spread in that mode; last gains under VE."""
    mean = spontaneous_magnetisation(COUPLING)
    q, y, half = STARTS.copy(), STARTS.copy(), STEPS // 2
    for tau in np.arange(FEW) / FEW:  # VE, constant denoising
        q = q + phase.coin(tau, 1 - tau, 1.0, -1.0, mean, FIELD * mean, q) / FEW
    slow = STARTS.copy()
    for tau in np.arange(half) / half:  # VE, phase 1
        slow = slow + phase.coin(tau, 1 - tau, 1.0, -1.0, mean, FIELD * mean, slow) / half
    for theta in KAPPA * np.arange(half) / half:  # VP, phase 1
        y = y + phase.coin(theta, 1.0, 1.0, 0.0, mean, FIELD * mean, y) * KAPPA / half
    threshold = [-math.inf, *(float(np.interp(0, values, STARTS)) for values in (q, FIELD + KAPPA * y, slow))]
    modes = [limit.curie_weiss_mode(COUPLING, FIELD, s, grid(n), 1, 2001).spread for s, n in SAMPLERS]
    single = [limit.curie_weiss_mode(SINGLE, FIELD, s, grid(n), 1, 2001).spread for s, n in SAMPLERS[:2]]
    return {
        "weight": special.ndtr(-np.array(threshold)),
        "spread": np.array(modes),
        "spread, J < 1": np.array(single),
        "gain": np.array([phase.euler_gain(math.sqrt(1 - t**2), -t / math.sqrt(1 - t**2), 0.1) for t in (0.0, 0.5, 0.9)]),
    }


def measure() -> dict[str, np.ndarray]:
    """The same from the d-dimensional sampler with the exact posterior mean."""
    z = torch.special.ndtri((torch.arange(DIM, dtype=torch.float64) + 0.5) / DIM)
    start = z + torch.from_numpy(STARTS)[:, None] / math.sqrt(DIM)
    weights, spreads, single = [], [], []
    for schedule, count in SAMPLERS:
        flow = Flow(schedule, CurieWeiss(DIM, COUPLING, FIELD).denoise)
        x = last(walk(flow, flow.start(start), grid(count), Euler()))
        ends = x.mean(-1).numpy()
        weights.append(float(special.ndtr(-np.interp(0, ends, STARTS))) if ends[0] < 0 else 1.0)
        spreads.append(float(x[-1].std(correction=0)))
    for schedule, count in SAMPLERS[:2]:
        flow = Flow(schedule, CurieWeiss(DIM, SINGLE, FIELD).denoise)
        single.append(float(last(walk(flow, flow.start(start[16:17]), grid(count), Euler())).std(correction=0)))
    times = np.array([1.0, 0.5, 0.1])
    square = variance_exploding_flow("sqrt", DIM)
    gains = [1 - 0.1 * float(square.rates(t)[1] / square.noise(t)) for t in times]
    return {
        "weight": np.array(weights),
        "spread": np.array(spreads),
        "spread, J < 1": np.array(single),
        "gain": np.array(gains),
    }


# starts are 0.125 apart: weights to 0.05; finite d: κ/√d = 0.075 at most in a spread
MARGIN = {"weight": 0.05, "spread": 0.075, "spread, J < 1": 0.075, "gain": 1e-9}
