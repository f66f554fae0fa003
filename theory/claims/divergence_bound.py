"""How far noisy data is from pure noise: KL = E|a|²/(2κ) − I, so at most E|a|²/(2κ), and least for a Gaussian.

Derivation. KL(law of y ‖ N(0, κ)) = −h(y) + ½ log 2πκ + E y²/(2κ), E y² = E a² + κ, and h(y) = I + ½ log 2πeκ: what remains
is E a²/(2κ) − I. As I ≥ 0 it is at most E a²/(2κ); as I ≤ ½ log(1 + P/κ) (Gibbs' inequality against
N(mean, P + κ)) it is at least the Gaussian's value ½[u − log(1 + u)], u = P/κ, for zero mean, which lies between u²/4 − u³/6
and u²/4. A mean m adds m²/(2κ): first order in 1/κ where everything else is second.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch

from theory import bound
from theory.curie_weiss import CurieWeiss
from theory.ledger import Claim
from theory.proof import Step, identity, positive
from theory.target import Gaussian, GaussianMixture

CLAIM = Claim(
    "B4-kl",
    "ours (working notes)",
    "KL(law of noisy data at κ ‖ N(0, κ)) = E|a|²/(2κ) − I: at most E|a|²/(2κ) for every law, at least ½ Σ [P/κ − "
    "log(1 + P/κ)] + |mean|²/(2κ), "
    "which is its value for a Gaussian; for zero mean that is ≤ ¼ Σ (P/κ)²",
    "every law of finite covariance spectrum P, κ > 0; the last bound is the Gaussian's own, other laws lie above its "
    "left side",
)
PAPER = "Not in the public part of the paper."
DIFFERS = (
    "The Gaussian value is a LOWER bound for every other law with the spectrum, so ¼ Σ (P/κ)² is no bound for images; "
    "and a mean "
    "makes the divergence fall like 1/κ instead of 1/κ²: remove it, or take E a² for P at κ_max."
)
FORMULAS = (bound.divergence, bound.gaussian_divergence, bound.two_mode_information)


def prove() -> list[Step]:
    power, kappa, ratio, mean = sp.symbols("P kappa u m", positive=True)
    information, moment = sp.symbols("I M", real=True)
    kl = bound.divergence(moment, information, kappa)
    entropy = information + sp.log(2 * sp.pi * kappa) / 2 + sp.Rational(1, 2)
    half = bound.gaussian_divergence(ratio, 1, sp)
    gauss = bound.gaussian_information(power, kappa, sp)
    return [
        identity(
            "−h(y) + ½ log 2πκ + E y²/(2κ) is the formula",
            -entropy + sp.log(2 * sp.pi * kappa) / 2 + (moment + kappa) / (2 * kappa),
            kl,
        ),
        positive("more information, less divergence: I ≥ 0 gives the upper bound", -sp.diff(kl, information)),
        identity(
            "log r ≤ r − 1: the gap is 0 at r = 1 and its slope has the sign of r − 1; so h(y) is at most the mean of −log q",
            (ratio - 1 - sp.log(ratio)).diff(ratio),
            (ratio - 1) / ratio,
        ),
        identity(
            "for q = N(mean, P + κ) that mean knows only E(y − mean)² = P + κ: I ≤ ½ log(1 + P/κ), whatever the law",
            sp.log(2 * sp.pi * (power + kappa)) / 2
            + (power + kappa) / (2 * (power + kappa))
            - sp.log(2 * sp.pi * kappa) / 2
            - sp.Rational(1, 2),
            gauss,
        ),
        identity(
            "I at its greatest, ½ log(1 + P/κ), gives the Gaussian value, and the mean apart",
            bound.divergence(power + mean**2, gauss, kappa),
            bound.gaussian_divergence(power, kappa, sp) + mean**2 / (2 * kappa),
        ),
        identity(
            "it depends on u = P/κ only, and vanishes at 0",
            bound.gaussian_divergence(ratio * kappa, kappa, sp) - half + half.subs(ratio, 0),
        ),
        positive("u²/4 − ½[u − log(1 + u)] grows from 0: slope u²/(2(1 + u))", sp.diff(ratio**2 / 4 - half, ratio)),
        identity("from 0 it starts", (ratio**2 / 4 - half).subs(ratio, 0)),
        positive(
            "½[u − log(1 + u)] − u²/4 + u³/6 too: tight to third order", sp.diff(half - ratio**2 / 4 + ratio**3 / 6, ratio)
        ),
    ]


VARIANCES, KAPPAS = np.array([0.1, 1.0, 6.0]), np.array([0.5, 2.0, 10.0])
WEIGHT, MEAN, SPREAD, FIELD = 0.8, 1.5, 0.5, 0.4


def predict() -> dict[str, np.ndarray]:
    """Nats at three κ: Gaussian directions, a two-mode mixture of mean 0.9, one spin in a field."""
    bias = 0.5 * np.log(WEIGHT / (1 - WEIGHT))
    told = bound.two_mode_information(MEAN**2, SPREAD**2, bias, KAPPAS)
    return {
        "Gaussian": bound.gaussian_divergence(VARIANCES, KAPPAS[:, None]),
        "two modes": bound.divergence(MEAN**2 + SPREAD**2, told, KAPPAS),
        "one spin": bound.divergence(1.0, bound.binary_information(1 / KAPPAS, FIELD), KAPPAS),
    }


def measure() -> dict[str, np.ndarray]:
    """∫ p log(p/N(0, κ)) with the laws' densities, by Gauss-Hermite around each centre."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    plus = 1 / (1 + np.exp(-2 * FIELD))
    cases = {
        "two modes": (
            GaussianMixture.two_modes(1, WEIGHT, MEAN, SPREAD),
            [(WEIGHT, MEAN, SPREAD**2), (1 - WEIGHT, -MEAN, SPREAD**2)],
        ),
        "one spin": (CurieWeiss(1, 0.7, FIELD), [(plus, 1.0, 0.0), (1 - plus, -1.0, 0.0)]),
        **{str(p): (Gaussian.isotropic(1, p), [(1.0, 0.0, p)]) for p in VARIANCES},
    }
    found = {}
    for name, (law, parts) in cases.items():
        values = []
        for kappa in KAPPAS:
            total = 0.0
            for weight, centre, variance in parts:
                y = torch.from_numpy(centre + np.sqrt(variance + kappa) * nodes)[:, None]
                ratio = law.log_density(y, 1.0, float(np.sqrt(kappa))) + 0.5 * (
                    y[:, 0] ** 2 / kappa + np.log(2 * np.pi * kappa)
                )
                total += weight * float(weights @ ratio.numpy())
            values.append(total)
        found[name] = np.array(values)
    gauss = np.stack([found.pop(str(p)) for p in VARIANCES], -1)
    return {"Gaussian": gauss, **found}


MARGIN = {"Gaussian": 1e-11, "two modes": 1e-6, "one spin": 1e-6}  # rounding; the quadrature's accuracy on two modes
