"""The signal-to-noise ratio of a frequency is e^λ R(f), and sigmoid(λ + log R) of its variance can be recovered from it.

Derivation. Noise of variance κ = e^{−λ} that is white over pixels is white over the coefficients of an orthonormal transform:
Σ_x |u_f(x)|² = 1. So a coefficient is y = a + √κ·z with E a² = R, and SNR = R/κ = e^λ R by definition. What can be proved
about it: the estimate c·y has the error E(a − cy)² = R(1 − c)² + c²κ, least at c = R/(R + κ), where it is Rκ/(R + κ): the
share 1/(1 + SNR) = sigmoid(−(λ + log R)) of R. The squared correlation of a and y is the complement, sigmoid(λ + log R).
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch

from theory import bound
from theory.ledger import Claim
from theory.proof import Step, identity, positive
from theory.target import SpectralMixture, hartley

CLAIM = Claim(
    "B1",
    "Esteves, Makadia, arXiv 2603.19222 (the abstract names the spectrum, not the formula): reconstruction",
    "At log-SNR λ a frequency of power R(f) has SNR e^λ R(f): the best linear estimate leaves the share sigmoid(−(λ + log R)) "
    "of its variance, and its squared correlation with the noisy coefficient is sigmoid(λ + log R)",
    "orthonormal transform with uncorrelated coefficients of zero mean, white noise; every law with these variances; for a "
    "Gaussian field the best linear estimate is the posterior mean",
)
PAPER = "Per-instance noise schedules follow the image's radially averaged spectrum (abstract; no formula at hand)."
DIFFERS = "A definition in the source is a statement here: which share of the variance the ratio decides."
FORMULAS = (bound.resolved, bound.unresolved)


def prove() -> list[Step]:
    power, gain, kappa = sp.symbols("R c kappa", positive=True)
    log_snr = sp.Symbol("lambda", real=True)
    error = power * (1 - gain) ** 2 + gain**2 * kappa
    best = power / (power + kappa)
    level = {kappa: sp.exp(-log_snr)}
    a, z = sp.symbols("a z", real=True)
    cosine, sine = sp.symbols("u v", real=True)  # a pair of coefficients of an orthonormal transform, u² + v² = 1
    turned = (cosine**2 + sine**2) * kappa
    return [
        identity("noise of variance κ has variance κ along any unit vector", turned.subs(sine, sp.sqrt(1 - cosine**2)), kappa),
        identity(
            "E(a − cy)² = R(1 − c)² + c²κ, as E az = 0",
            sp.expand((a - gain * (a + z)) ** 2).subs({a * z: 0, a**2: power, z**2: kappa}),
            sp.expand(error),
        ),
        identity("its slope in c vanishes at c = R/(R + κ)", sp.diff(error, gain).subs(gain, best)),
        positive("and grows: this is the least error", sp.diff(error, gain, 2)),
        identity(
            "the least error is the share sigmoid(−(λ + log R)) of R",
            error.subs(gain, best).subs(level) / power,
            bound.unresolved(log_snr, sp.log(power), sp),
        ),
        identity(
            "the squared correlation (E ay)²/(E a² E y²) is sigmoid(λ + log R)",
            (power**2 / (power * (power + kappa))).subs(level),
            bound.resolved(log_snr, sp.log(power), sp),
        ),
        identity(
            "their ratio is the SNR, e^λ R",
            bound.resolved(log_snr, sp.log(power), sp) / bound.unresolved(log_snr, sp.log(power), sp),
            sp.exp(log_snr) * power,
        ),
    ]


SLOPE, SIZE, LEVELS = 2.0, 8, (-3.0, 0.0, 2.5)


def predict() -> dict[str, np.ndarray]:
    """Shares at every frequency of an 8 × 8 field with power |f|^{−2}, total variance 1 per pixel, at three log-SNRs."""
    rows = SIZE * np.fft.fftfreq(SIZE)
    radius = np.hypot(rows[:, None], rows[None, :])
    radius[0, 0] = 1.0
    power = radius**-SLOPE / np.mean(radius**-SLOPE)
    return {
        "recovered": np.stack([bound.resolved(level, np.log(power)) for level in LEVELS]),
        "left": np.stack([bound.unresolved(level, np.log(power)) for level in LEVELS]),
    }


def measure() -> dict[str, np.ndarray]:
    """What the law's denoiser does to one wave at a time: signal times its gain is the share it recovers."""
    one = torch.ones(1, dtype=torch.float64)
    law = SpectralMixture.power_law((SIZE, SIZE), SLOPE * one, one, one)
    waves = hartley(torch.eye(SIZE**2, dtype=torch.float64).reshape(-1, 1, SIZE, SIZE))
    recovered = []
    for level in LEVELS:
        signal, noise = (float(np.sqrt(1 / (1 + np.exp(sign * level)))) for sign in (-1, 1))
        gains = hartley(law.denoise(waves, signal, noise)).flatten(1).diagonal()
        recovered.append(signal * gains.reshape(SIZE, SIZE).numpy())
    return {"recovered": np.stack(recovered), "left": 1 - np.stack(recovered)}


MARGIN = {"recovered": 1e-12, "left": 1e-12}
