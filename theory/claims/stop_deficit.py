"""Stopping the flow at κ costs the share κ/(P + κ) with the posterior mean, and adds κ/P with the noisy state.

Derivation. The exact flow has brought y to N(0, P + κ). Its posterior mean P/(P + κ)·y has variance P²/(P + κ) = P(1 − κ/(P +
κ)); y itself has P(1 + κ/P). For any law the first is the law of total variance: Var E[a|y] = Var a − E Var(a|y), so the
deficit IS the relative MMSE, which is at most κ/(P + κ) (claim B3). In log-SNR both deficits are one function: sigmoid(∓(λ +
log P)).
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch

from theory import bound
from theory.claims.start_deficit import scale_by_flow
from theory.ledger import Claim
from theory.proof import Step, identity, positive
from theory.target import Gaussian

CLAIM = Claim(
    "B2-stop",
    "ours, reconstruction of the lower bound announced in arXiv 2603.19222 (our working notes)",
    "The exact flow stopped at κ_min has the relative variance deficit κ_min/(P + κ_min) = sigmoid(−(λ_max + log P)) when the "
    "posterior mean is output, and the excess κ_min/P when the noisy state is; for any law the deficit is its relative MMSE",
    "equalities: zero-mean Gaussian direction, P > 0, κ_min > 0, exact denoiser, exact flow from the true law above; the last "
    "clause: every law of finite variance",
)
PAPER = "Bounds on the useful minimum noise level make the schedules tight (abstract; the bound is not in it)."
DIFFERS = "An equality; the excess of the noisy state exceeds the deficit of the posterior mean, by the factor 1/(1 − deficit)."
FORMULAS = (bound.stop_deficit, bound.noisy_excess, bound.unresolved)


def prove() -> list[Step]:
    power, kappa = sp.symbols("P kappa", positive=True)
    mean, rest = sp.symbols("eta r", real=True)  # posterior mean, and what it leaves of a
    deficit = bound.stop_deficit(power, kappa)
    after = (power / (power + kappa)) ** 2 * (power + kappa)
    return [
        identity("the posterior mean of N(0, P + κ) has variance P(1 − deficit)", after, power * (1 - deficit)),
        identity("the noisy state has variance P(1 + excess)", power + kappa, power * (1 + bound.noisy_excess(power, kappa))),
        identity(
            "the deficit is sigmoid(−(λ + log P)) at λ = −log κ",
            deficit,
            bound.unresolved(-sp.log(kappa), sp.log(power), sp),
        ),
        identity(
            "any law: E a² = E η² + E(a − η)², as a − η is orthogonal to every function of y",
            sp.expand((mean + rest) ** 2).subs(mean * rest, 0),
            mean**2 + rest**2,
        ),
        positive("the excess is larger than the deficit", bound.noisy_excess(power, kappa) - deficit),
        identity("by 1/(1 − deficit)", bound.noisy_excess(power, kappa), deficit / (1 - deficit)),
    ]


VARIANCES = np.array([0.02, 0.7, 5.0, 40.0])
KAPPA, START = 0.09, 1e3


def predict() -> dict[str, np.ndarray]:
    """Deficit and excess at κ_min = 0.09."""
    return {
        "deficit": bound.stop_deficit(VARIANCES, KAPPA),
        "sigmoid": bound.unresolved(-np.log(KAPPA), np.log(VARIANCES)),
        "excess": bound.noisy_excess(VARIANCES, KAPPA),
    }


def measure() -> dict[str, np.ndarray]:
    """The law's denoiser integrated from the true law at κ = 1000 to κ_min, then applied once."""
    law = Gaussian(torch.from_numpy(VARIANCES))
    noisy = np.sqrt(VARIANCES + START) * scale_by_flow(law, float(np.sqrt(START)), float(np.sqrt(KAPPA)))
    clean = law.denoise(torch.from_numpy(noisy)[None], 1.0, float(np.sqrt(KAPPA)))[0].numpy()
    deficit = 1 - clean**2 / VARIANCES
    return {"deficit": deficit, "sigmoid": deficit, "excess": noisy**2 / VARIANCES - 1}


MARGIN = {"deficit": 1e-9, "sigmoid": 1e-9, "excess": 1e-8}  # a hundred times the solver's tolerance
