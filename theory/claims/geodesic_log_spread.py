"""The schedule that loses least log-spread over several directions is a geodesic: equal lengths of √(Σ w_k P_k/(P_k + ς²)²) dς.

Derivation. Direction k loses e_k = −Σ log cos Δθ_k = ½ΣΔθ_k² + O(N⁻³), with dθ_k/dς = √P_k/(P_k + ς²). For N nodes of density
N·n(ς), ∫ n dς = 1, this is e_k = ∫ g_k/n dς/(2N), g_k = P_k/(P_k + ς²)². With G = Σ w_k g_k and L = ∫√G dς,
    G/n − (2L√G − L²n) = (√G − Ln)²/n ≥ 0;   integrated: ∫ G/n dς ≥ L², with equality for n = √G/L alone, unit speed.
So Σ w_k e_k ≥ L²/(2N) to leading order. At finite N the levels are stationary where the tangents balance (`cost.balance`).
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import sympy as sp
import torch
from matplotlib.figure import Figure

from theory import cost, curve
from theory.claims.equal_angles import least_error
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive
from theory.sampler import grid
from theory.schedule import VarianceExploding, edm, ve_geometric

CLAIM = Claim(
    "C8-spread",
    "ours (working notes, geodesic schedule)",
    "For directions P_k with weights w_k the least Σ w_k e_k of N DDIM steps is L²/(2N) to leading order, L = ∫√(Σ w_k "
    "P_k/(P_k + ς²)²) dς, "
    "reached by equal lengths and by no other node density; at finite N the optimum balances the tangents of the steps",
    "Gaussian data, exact denoiser, fixed end levels, weights ≥ 0 that do not depend on the schedule; leading order in "
    "1/N, among grids that follow a continuous node density",
)
PAPER = (
    "Not in either paper; arXiv 2601.13602 (as quoted in the notes) finds a tangent law, and that one angle fails for "
    "several variances."
)
DIFFERS = (
    "The error is the weighted mean of losses of log-spread, which are all of one sign. For W₂ and KL see C8-w2 and C8-kl."
)
FORMULAS = (cost.speed, cost.balance, cost.ddim_loss)


def prove() -> list[Step]:
    noise, node, length, x = sp.symbols("sigma n L x", positive=True)
    p, w = sp.symbols("P_1:4", positive=True), sp.symbols("w_1:4", positive=True)
    before, after = sp.symbols("before after", positive=True)
    g = cost.speed(p, w, noise, sp) ** 2
    root = sp.Symbol("G", positive=True)  # √G
    one, unit = p[0], w[0]
    whole = unit * (cost.ddim_loss(one, before, noise, sp) + cost.ddim_loss(one, noise, after, sp))
    return [
        limit_is("a small step of angle x costs x²/2", cost.angle_loss(x, sp) / x**2, x, sp.Integer(0), sp.Rational(1, 2), "+"),
        identity(
            "the squared speed is Σ w_k (dθ_k/dς)²",
            g,
            sum(wk * sp.diff(cost.angle(pk, noise, sp), noise) ** 2 for pk, wk in zip(p, w, strict=True)),
        ),
        positive(
            "any node density n costs at least 2L√G − L²n at every ς, whose integral is L²; the gap is a square",
            root**2 / node - (2 * length * root - length**2 * node),
            (root - length * node) ** 2 / node,
            strict=False,
        ),
        identity("and the gap is 0 for n = √G/L", ((root - length * node) ** 2 / node).subs(node, root / length)),
        identity("one direction: the length element is dθ, C3 again", cost.speed(p[:1], [1], noise, sp),
                 sp.diff(cost.angle(p[0], noise, sp), noise)),
        identity("the exact derivative in an inner level is the balance of tangents, direction by direction",
                 sp.factor(sp.diff(whole, noise)), sp.factor(cost.balance([one], [unit], before, noise, after))),
    ]  # fmt: skip


VARIANCES, ENDS, STEPS = (1.0, 0.25, 0.01), (0.002, 80.0), (8, 16)


def predict() -> dict[str, np.ndarray]:
    """Leading law; the geodesic's own loss; the best levels for the balance of tangents."""
    ones = np.ones(3)
    length = cost.geodesic_arc(VARIANCES, ones, *ENDS)[1][-1]
    loss = cost.spread_losses(VARIANCES, cost.geodesic(VARIANCES, ones, *ENDS, STEPS[-1])).sum()
    return {"N × least loss": length**2 / 2, "least loss": loss, "balance": np.zeros(STEPS[-1] - 1)}


def measure() -> dict[str, np.ndarray]:
    """The best levels that a general optimiser finds through the law's denoiser; N × loss extrapolated in 1/N²."""
    (coarse, _), (fine, levels) = (least_error(list(VARIANCES), torch.sum, *ENDS, n) for n in STEPS)
    p = np.array(VARIANCES)[:, None]
    theta = np.arctan(levels / np.sqrt(p))
    pull = np.diff(np.tan(np.diff(theta)), axis=1) / np.cosh(np.log(levels[1:-1] / np.sqrt(p))) / 2  # per unit of log ς
    return {
        "N × least loss": np.array((4 * STEPS[1] * fine - STEPS[0] * coarse) / 3),
        "least loss": np.array(fine),
        "balance": pull.sum(0),
    }


# N·loss = L²/2 + a/N² + b/N⁴, a and b of order L⁴: (π/8)⁴ of the first is 2 %, of it 1 in 10 remains. The geodesic's loss
# exceeds the optimum by the square of its distance to it: (1/N²)² = 2e-5. The optimiser stops at gradients of 1e-7.
MARGIN = {"N × least loss": 1e-2, "least loss": 2e-5, "balance": 1e-5}


def draw() -> Figure:
    """Levels of four schedules for a law of two variances, and what each loses per direction."""
    variances, (low, high), steps = np.array([100.0, 0.25]), (0.002, 1000.0), 24
    ends = curve.log_snr_of(low), curve.log_snr_of(high)
    single = min(
        np.geomspace(0.1, 30, 300), key=lambda c: _largest(variances, VarianceExploding(curve.Tangent(c, *ends)), steps)
    )
    grids = {
        "geodesic": cost.geodesic(variances, np.ones(2), low, high, steps),
        f"tangent, best c = {single:.2g}": VarianceExploding(curve.Tangent(single, *ends)).noise_to_signal(grid(steps)).numpy(),
        "EDM, ρ = 7": edm(low, high).noise_to_signal(grid(steps)).numpy(),
        "uniform in log ς": ve_geometric(low, high).noise_to_signal(grid(steps)).numpy(),
    }
    figure, axis = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for k, (name, levels) in enumerate(grids.items()):
        losses = cost.spread_losses(variances, levels)
        label = f"{name}: loses {losses[0]:.3f}, {losses[1]:.3f}"
        axis.plot(np.arange(steps + 1), levels, marker="os^D"[k], ms=3.5, label=label)
    for p in variances:
        axis.axhline(np.sqrt(p), color="0.5", lw=0.8, ls="-")
        axis.annotate(f"√P = {np.sqrt(p):g}", (0.2, np.sqrt(p)), va="bottom", fontsize="small", color="0.3")
    axis.set(yscale="log", xlabel="node i (noise to data)", ylabel="noise-to-signal ς", xlim=(0, steps))
    axis.legend(title="log-spread lost along P = 100 and P = ¼, N = 24", fontsize="small", loc="lower left")
    return figure


def _largest(variances: np.ndarray, schedule: VarianceExploding, steps: int) -> float:
    return float(cost.spread_losses(variances, schedule.noise_to_signal(grid(steps)).numpy()).max())
