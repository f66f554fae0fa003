"""The window of noise levels outside which no frequency's variance changes by more than ε, exact and tight at each end.

Derivation. The start deficit P/(P + κ) grows with P and falls with κ; the stop deficit κ/(P + κ) falls with P and grows with
κ. So the first is largest at P_max and equals ε there at κ_max = P_max(1 − ε)/ε, the second at P_min, κ_min = P_min ε/(1 −
ε). With λ = −log κ the two read sigmoid(λ + log P) and sigmoid(−(λ + log P)): one bound, mirrored, and logit ε at either end.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch
from matplotlib.figure import Figure
from scipy import optimize

from theory import bound
from theory.claims.start_deficit import scale_by_flow
from theory.ledger import Claim
from theory.proof import Step, identity, positive
from theory.target import Gaussian

CLAIM = Claim(
    "B2-window",
    "ours, reconstruction of the bounds announced in arXiv 2603.19222 (our working notes)",
    "Starting at κ_max costs every frequency at most ε of its variance exactly when κ_max ≥ P_max(1 − ε)/ε, and "
    "stopping at κ_min "
    "with the posterior mean exactly when κ_min ≤ P_min ε/(1 − ε): λ ∈ [−log P_max − logit(1 − ε), −log P_min + logit(1 − ε)]",
    "Gaussian field, P_min ≤ P ≤ P_max, 0 < ε < 1, exact flow inside; each end alone: both together cost up to 2ε − ε² "
    "(claim B2-both)",
)
PAPER = "Bounds on the useful minimum and maximum noise level make the schedules tight (abstract; the bounds are not in it)."
DIFFERS = "Necessary and sufficient, per end. The notes' 'error ≤ ε at every frequency' holds for one end, not for the sum."
FORMULAS = (bound.window, bound.log_snr_window, bound.start_deficit, bound.stop_deficit)


def prove() -> list[Step]:
    low, gap, odds, more, kappa = sp.symbols("P_min gap w u kappa", positive=True)
    high, epsilon = low + gap, 1 / (1 + odds)  # P_max > P_min, and ε anywhere in (0, 1)
    start, stop = bound.start_deficit, bound.stop_deficit
    kappa_min, kappa_max = bound.window(low, high, epsilon)
    log_min, log_max = bound.log_snr_window(low, high, epsilon, sp)
    margin = sp.log((1 - epsilon) / epsilon)
    return [
        positive("the start deficit is largest at P_max", start(high, kappa) - start(low, kappa)),
        positive("the stop deficit is largest at P_min", stop(low, kappa) - stop(high, kappa)),
        identity("at κ_max it is ε there", start(high, kappa_max), epsilon),
        identity("at κ_min it is ε there", stop(low, kappa_min), epsilon),
        positive("any smaller κ_max violates ε", start(high, kappa_max / (1 + more)) - epsilon),
        positive("any larger κ_min violates ε", stop(low, kappa_min * (1 + more)) - epsilon),
        positive("any larger κ_max keeps it", epsilon - start(high, kappa_max * (1 + more))),
        positive("any smaller κ_min keeps it", epsilon - stop(low, kappa_min / (1 + more))),
        identity("λ_min = −log κ_max", log_min, -sp.log(kappa_max)),
        identity("λ_max = −log κ_min", log_max, -sp.log(kappa_min)),
        identity("the mirror image: λ_min + log P_max = −(λ_max + log P_min)", log_min + sp.log(high), -log_max - sp.log(low)),
        identity("its length is log(P_max/P_min) + 2 logit(1 − ε)", log_max - log_min, sp.log(high / low) + 2 * margin),
    ]


VARIANCES, EPSILON = np.array([0.3, 1.0, 4.0]), 0.02


def predict() -> dict[str, np.ndarray]:
    """Ends of the window for three variances and ε = 0.02, from both forms."""
    low, high = VARIANCES.min(), VARIANCES.max()
    kappa = bound.window(low, high, EPSILON)
    return {
        "log kappa": np.log(kappa),
        "log-SNR": np.array(bound.log_snr_window(low, high, EPSILON)),
        "deficit": np.array([bound.start_deficit(high, kappa[1]), bound.stop_deficit(low, kappa[0])]),
    }


def measure() -> dict[str, np.ndarray]:
    """The κ at which the law's flow and the law's denoiser first lose ε at some frequency, by bisection."""
    law = Gaussian(torch.from_numpy(VARIANCES))

    def started(log_kappa: float) -> float:
        level = float(np.exp(log_kappa / 2))
        return float(np.max(1 - (level * scale_by_flow(law, level, 1e-6)) ** 2 / VARIANCES))

    def stopped(log_kappa: float) -> float:
        level = float(np.exp(log_kappa / 2))
        noisy = np.sqrt(VARIANCES + level**2)
        return float(np.max(1 - law.denoise(torch.from_numpy(noisy)[None], 1.0, level)[0].numpy() ** 2 / VARIANCES))

    log_max = optimize.brentq(lambda x: started(x) - EPSILON, 0.0, 10.0, xtol=1e-10)
    log_min = optimize.brentq(lambda x: stopped(x) - EPSILON, -10.0, 0.0, xtol=1e-10)
    return {
        "log kappa": np.array([log_min, log_max]),
        "log-SNR": np.array([-log_max, -log_min]),
        "deficit": np.array([started(log_max), stopped(log_min)]),
    }


MARGIN = {"log kappa": 1e-7, "log-SNR": 1e-7, "deficit": 1e-8}  # the solver's 1e-11, divided by ε, with room for its sum


def draw() -> Figure:
    """A spectrum with its window, and the deficits of both ends: the window's, and those of one 20 % narrower."""
    frequency = np.arange(1, 65)
    power, epsilon = 100.0 * frequency**-2.0, 0.01
    kappa_min, kappa_max = bound.window(power.min(), power.max(), epsilon)
    figure = Figure(figsize=(9.2, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.axhspan(kappa_min, kappa_max, color="0.9")
    left.loglog(frequency, power, color="k", label="power R(f) ∝ f⁻²")
    for kappa, name, offset, side in (
        (kappa_max, "κ_max = P_max(1 − ε)/ε", -8, "top"),
        (kappa_min, "κ_min = P_min ε/(1 − ε)", 6, "bottom"),
    ):
        left.axhline(kappa, color="k", linestyle="--")
        text = f"{name},  λ = {-np.log(kappa):+.1f}".replace("-", "−")
        left.annotate(text, (1.15, kappa), (0, offset), textcoords="offset points", va=side)
    left.set(
        xlabel="frequency f (cycles per image)",
        ylabel="power, noise-to-signal variance κ",
        title="a spectrum and its window, ε = 1 %",
    )
    left.set(ylim=(kappa_min / 3, kappa_max * 3))
    left.legend(loc="center right")
    right.axhline(epsilon, color="0.5", linewidth=3, alpha=0.5)
    right.annotate("ε", (64, epsilon), (3, 4), textcoords="offset points")
    right.loglog(frequency, bound.start_deficit(power, kappa_max), "k-", label="start at κ_max")
    right.loglog(frequency, bound.stop_deficit(power, kappa_min), "k--", label="stop at κ_min")
    right.loglog(frequency, bound.both_deficits(power, kappa_min, kappa_max), "k-", linewidth=3, alpha=0.25, label="both")
    right.loglog(frequency, bound.start_deficit(power, 0.8 * kappa_max), "k:", label="window 20 % narrower")
    right.loglog(frequency, bound.stop_deficit(power, 1.25 * kappa_min), "k:")
    right.set(xlabel="frequency f (cycles per image)", ylabel="relative deficit of variance", ylim=(1e-6, 3e-2))
    right.set(title="what each end costs: ε at the extreme frequency")
    right.legend(loc="lower center")
    return figure
