"""What noisy data tells is at most ½ Σ log(1 + P/κ) ≤ ½ Σ P/κ nats, by integrating the error: I-MMSE, derived here.

Derivation. The density p of y = a + √κ·z obeys the heat equation ∂p/∂κ = ½p''. So entropy grows at half the Fisher
information, dh/dκ = ½ E(p'/p)² (de Bruijn; the boundary term (½p'(1 + log p))' integrates to 0). Tweedie's formula says p'/p
= (η − y)/κ = −E[z|y]/√κ, and E E[z|y]² = 1 − E Var(z|y) = 1 − mmse/κ. Information is I = h(y) − ½ log 2πeκ, hence dI/dκ =
−mmse/(2κ²), or dI/dγ = ½ mmse in γ = 1/κ. With mmse ≤ P/(1 + Pγ) (claim B3) and I = 0 at γ = 0: I ≤ ½ log(1 + P/κ), and log(1
+ u) ≤ u.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch

from theory import bound
from theory.ledger import Claim
from theory.proof import Step, identity, positive
from theory.target import Gaussian, GaussianMixture, Law

CLAIM = Claim(
    "B4-information",
    "ours (working notes); I-MMSE: Guo, Shamai, Verdú, arXiv cs/0412108",
    "The information noisy data gives about the data is ½∫ mmse dγ over 0 … 1/κ ≤ ½ Σ log(1 + P/κ) ≤ ½ Σ P/κ nats",
    "every law with covariance spectrum P, finite, white noise of variance κ > 0; first bound an equality exactly for "
    "a Gaussian",
)
PAPER = "Not in the public part of the paper."
DIFFERS = (
    "What lies above κ_max is bounded for every law: at most ½ Σ P/κ_max nats; the window's 'redundant' then is not "
    "only Gaussian."
)
RESTS_ON = (
    "de Bruijn's identity for every law of finite variance: that the entropy may be differentiated under the integral and that "
    "the divergence integrates to 0 (Guo, Shamai, Verdú); the steps check the integrands, and the bounds from there"
)
FORMULAS = (bound.gaussian_information, bound.two_mode_information, bound.binary_information)


def prove() -> list[Step]:
    power, kappa, ratio, mmse, gamma = sp.symbols("P kappa u mmse gamma", positive=True)
    x, y = sp.symbols("x y", real=True)
    density = sp.Function("p", positive=True)(x, kappa)
    kernel = sp.exp(-((x - y) ** 2) / (2 * kappa)) / sp.sqrt(2 * sp.pi * kappa)
    slope = sp.diff(density, x)
    entropy_rate = -sp.diff(density * sp.log(density), kappa).subs(sp.diff(density, kappa), sp.diff(density, x, 2) / 2)
    flux = -sp.diff(slope * (1 + sp.log(density)) / 2, x)
    z, mean_z = sp.symbols("z zhat", real=True)
    information = bound.gaussian_information(power, 1 / gamma, sp)
    return [
        identity("the Gaussian kernel, hence p, obeys the heat equation", sp.diff(kernel, kappa), sp.diff(kernel, x, 2) / 2),
        identity("−∂(p log p)/∂κ = ½p'²/p + a divergence: de Bruijn", entropy_rate, slope**2 / (2 * density) + flux),
        identity(
            "Tweedie on each component: ∂N/∂x = −(x − y)/κ N, so p'/p = −(x − E[a|x])/κ",
            sp.diff(kernel, x) / kernel,
            -(x - y) / kappa,
        ),
        identity(
            "what is left of z is what is left of a: √κ(z − E[z|y]) = −(a − η)",
            sp.sqrt(kappa) * (z - mean_z),
            -((x - sp.sqrt(kappa) * z) - (x - sp.sqrt(kappa) * mean_z)),
        ),
        identity(
            "so E(p'/p)² = (1 − mmse/κ)/κ and dI/dκ = ½E(p'/p)² − 1/(2κ) = −mmse/(2κ²)",
            (1 - mmse / kappa) / (2 * kappa) - sp.diff(sp.log(2 * sp.pi * sp.E * kappa) / 2, kappa),
            -mmse / (2 * kappa**2),
        ),
        identity(
            "in γ = 1/κ: the bound's slope is half the linear error",
            sp.diff(information, gamma),
            bound.linear_mmse(power, 1 / gamma) / 2,
        ),
        identity("and both start from 0", information.subs(gamma, 0)),
        positive("log(1 + u) ≤ u: equal at 0, slope u/(1 + u)", sp.diff(ratio - sp.log(1 + ratio), ratio)),
        identity(
            "at u = P/κ that is the coarser bound",
            (bound.power_information(power, kappa) - bound.gaussian_information(power, kappa, sp)).subs(power, ratio * kappa),
            (ratio - sp.log(1 + ratio)) / 2,
        ),
    ]


VARIANCES, KAPPAS = np.array([0.1, 1.0, 6.0]), np.array([0.2, 1.0, 5.0])
WEIGHT, MEAN, SPREAD = 0.8, 1.5, 0.5


def predict() -> dict[str, np.ndarray]:
    """Nats at three κ: three Gaussian directions, and a scalar two-mode mixture by integrating its error."""
    bias = 0.5 * np.log(WEIGHT / (1 - WEIGHT))
    return {
        "Gaussian": bound.gaussian_information(VARIANCES, KAPPAS[:, None]),
        "two modes": bound.two_mode_information(MEAN**2, SPREAD**2, bias, KAPPAS),
        "ceiling": np.full(3, True),
    }


def entropy(law: Law, parts: list[tuple[float, float, float]], kappa: float) -> float:
    """h(y) = −E log p(y) of a scalar law, y ~ Σ weight·N(centre, variance) + noise, by Gauss-Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    total = 0.0
    for weight, centre, variance in parts:
        y = torch.from_numpy(centre + np.sqrt(variance + kappa) * nodes)[:, None]
        total -= weight * float(weights @ law.log_density(y, 1.0, float(np.sqrt(kappa))).numpy()) / weights.sum()
    return total


def measure() -> dict[str, np.ndarray]:
    """h(y) − h(noise) from the laws' densities, which know nothing of errors; is it below ½ P/κ?"""
    mixture = GaussianMixture.two_modes(1, WEIGHT, MEAN, SPREAD)
    parts = [(WEIGHT, MEAN, SPREAD**2), (1 - WEIGHT, -MEAN, SPREAD**2)]
    noise = 0.5 * np.log(2 * np.pi * np.e * KAPPAS)
    gauss = [[entropy(Gaussian.isotropic(1, p), [(1.0, 0.0, p)], k) for p in VARIANCES] for k in KAPPAS]
    modes = np.array([entropy(mixture, parts, k) for k in KAPPAS]) - noise
    variance = SPREAD**2 + 4 * WEIGHT * (1 - WEIGHT) * MEAN**2
    return {"Gaussian": np.array(gauss) - noise[:, None], "two modes": modes, "ceiling": modes <= variance / (2 * KAPPAS)}


MARGIN = {"Gaussian": 1e-11, "two modes": 1e-6, "ceiling": 0.5}  # rounding; the quadrature's accuracy on a mixture; a yes or no
