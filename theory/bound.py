"""The noise window of a spectrum, and bounds on error and information that hold for every law with that spectrum.

Paper B (Esteves, Makadia, "Spectrally-Guided Diffusion Noise Schedules", arXiv 2603.19222) limits each image's noise levels by
"theoretical bounds" that the abstract announces and that were not at hand: everything here is our own reconstruction, proved in
`theory.claims` and stated there with its conditions. Notation: y = a + √κ·z is the data with noise of variance
κ = noise²/signal² = e^{−λ}; P (or R(f)) the variance of a direction (a frequency) of the data; ε the relative error of a
variance that is allowed. Information and divergence are in nats.

Formulas are plain arithmetic, elementwise, with a namespace `xp` (numpy, sympy, `theory.ball`); `noise_window` is the one that
checks its input. The two-mode and binary functions are the exact truths that the bounds are compared with (one-dimensional
quadrature, numpy only, relative accuracy 1e-12 for |bias| ≤ 5).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# ---- one frequency ----------------------------------------------------------------------------------------------------


def resolved(log_snr: Any, log_power: Any, xp: Any = np) -> Any:
    """sigmoid(λ + log R): the share of a frequency's variance that a linear estimate recovers; its SNR is e^λ R (claim B1)."""
    return 1 / (1 + xp.exp(-log_snr - log_power))


def unresolved(log_snr: Any, log_power: Any, xp: Any = np) -> Any:
    """sigmoid(−(λ + log R)): the share that it does not recover, 1/(1 + SNR) (claim B1)."""
    return 1 / (1 + xp.exp(log_snr + log_power))


def start_deficit(variance: Any, kappa: Any) -> Any:
    """P/(P + κ): relative variance lost by starting the exact flow at κ from N(0, κ) (claim B2-start)."""
    return variance / (variance + kappa)


def stop_deficit(variance: Any, kappa: Any) -> Any:
    """κ/(P + κ): relative variance lost by stopping the exact flow at κ with the posterior mean (claim B2-stop)."""
    return kappa / (variance + kappa)


def noisy_excess(variance: Any, kappa: Any) -> Any:
    """κ/P: relative variance gained by stopping the exact flow at κ with the noisy state (claim B2-stop)."""
    return kappa / variance


def both_deficits(variance: Any, kappa_min: Any, kappa_max: Any) -> Any:
    """1 − (1 − start)(1 − stop): relative variance lost when both ends are cut (claim B2-both)."""
    return 1 - (1 - start_deficit(variance, kappa_max)) * (1 - stop_deficit(variance, kappa_min))


def left_out_above(variance: Any, kappa: Any, farther: Any) -> Any:
    """P(k − κ)/(k(P + κ)): relative change of the variance when exact steps from k to κ are dropped (claim B2-redundant)."""
    return variance * (farther - kappa) / (farther * (variance + kappa))


def left_out_below(variance: Any, kappa: Any, nearer: Any) -> Any:
    """(κ − k)/(P + κ): relative change of the variance when exact steps from κ down to k are left out (claim B2-redundant)."""
    return (kappa - nearer) / (variance + kappa)


# ---- the window -------------------------------------------------------------------------------------------------------


def window(power_min: Any, power_max: Any, epsilon: Any) -> tuple[Any, Any]:
    """(κ_min, κ_max) = (P_min ε/(1 − ε), P_max (1 − ε)/ε): each end alone costs no frequency more than ε (claim B2-window).

    Formula for 0 < P_min ≤ P_max and 0 < ε < ½, unchecked: beyond, the ends may be in the wrong order (`noise_window` checks).
    """
    return power_min * epsilon / (1 - epsilon), power_max * (1 - epsilon) / epsilon


def log_snr_window(power_min: Any, power_max: Any, epsilon: Any, xp: Any = np) -> tuple[Any, Any]:
    """(λ_min, λ_max) = (−log P_max − logit(1 − ε), −log P_min + logit(1 − ε)): `window` in log-SNR (claim B2-window).

    Unchecked, as `window`.
    """
    margin = xp.log((1 - epsilon) / epsilon)
    return -xp.log(power_max) - margin, -xp.log(power_min) + margin


def joint_window(power_min: Any, power_max: Any, epsilon: Any, xp: Any = np) -> tuple[Any, Any]:
    """(κ_min, κ_max) = (P_min·r, P_max/r) such that both ends together cost no frequency more than ε (claim B2-both).

    r solves (1 + r)(1 + r·P_min/P_max) = 1/(1 − ε); written without cancellation. A little wider than `window`, where r is
    ε/(1 − ε); equal to it as P_min/P_max → 0, and half its r for one variance and small ε. Unchecked, as `window`.
    """
    odds, shape = epsilon / (1 - epsilon), power_min / power_max
    ratio = 2 * odds / (1 + shape + xp.sqrt((1 + shape) ** 2 + 4 * odds * shape))
    return power_min * ratio, power_max / ratio


def noise_window(power: Any, epsilon: float, *, joint: bool = False) -> tuple[float, float]:
    """(κ_min, κ_max) of a spectrum: all variances P > 0, any shape, units of the data squared.

    ε for each end alone, or for both together with `joint`. Raises ValueError for a spectrum that is empty or not positive and
    finite, and for ε outside (0, ½); TypeError for what is no number.
    """
    try:
        values, epsilon = np.asarray(power, dtype=np.float64), float(epsilon)
    except (TypeError, ValueError) as cause:
        raise TypeError(
            f"power = {repr(power)[:60]}, epsilon = {epsilon!r}; allowed: an array of numbers and a number; remedy: the "
            "variances of all frequencies, and e.g. 0.01"
        ) from cause
    if not values.size or not np.all((values > 0) & np.isfinite(values)):
        bad = values[~((values > 0) & np.isfinite(values))]
        found = f"holds {bad.flat[0]}" if bad.size else "is empty"
        raise ValueError(
            f"power {found}; allowed: finite values > 0; remedy: drop constant images, or put a floor under R, as the q²/12 "
            "of 8-bit images"
        )
    if not 0 < epsilon < 0.5:
        raise ValueError(
            f"epsilon = {epsilon}; allowed: 0 < ε < ½; remedy: a relative error of a variance such as 0.01 (from ½ on the "
            "window of one variance is empty)"
        )
    low, high = (joint_window if joint else window)(values.min(), values.max(), epsilon)
    return float(low), float(high)


# ---- every law with the spectrum P: error, information, divergence ----------------------------------------------------


def linear_mmse(variance: Any, kappa: Any) -> Any:
    """Pκ/(P + κ): the error of the best linear estimate, which no law with variance P exceeds (claim B3)."""
    return variance * kappa / (variance + kappa)


def gaussian_information(variance: Any, kappa: Any, xp: Any = np) -> Any:
    """½ log(1 + P/κ): the information y gives about a Gaussian direction, the most for any law (claim B4-information)."""
    return xp.log(1 + variance / kappa) / 2


def power_information(variance: Any, kappa: Any) -> Any:
    """P/(2κ): the coarser bound on the information (claim B4-information)."""
    return variance / (2 * kappa)


def divergence(second_moment: Any, information: Any, kappa: Any) -> Any:
    """E a²/(2κ) − I: KL(law of y ‖ N(0, κ)), for every law (claim B4-kl)."""
    return second_moment / (2 * kappa) - information


def gaussian_divergence(variance: Any, kappa: Any, xp: Any = np) -> Any:
    """½[P/κ − log(1 + P/κ)]: the divergence for N(0, P), the least for any law with E a² = P (claim B4-kl).

    Absolute error 1e-16: for P/κ below 1e-5 use (P/κ)²/4, from which it differs by less than (P/κ)³/6.
    """
    return (variance / kappa - xp.log(1 + variance / kappa)) / 2


# ---- 8 bits -----------------------------------------------------------------------------------------------------------


def rounding_power(spacing: Any, spread: Any, centre: Any, xp: Any = np) -> Any:
    """E e² of rounding N(centre, spread²) to multiples of q: q²/12 + (q²/π²) Σ_k (−1)^k/k² e^{−2π²k²s²/q²} cos 2πkc/q.

    The series of e² in cosines (after Widrow's quantisation theorem), six terms; for s ≥ q/5 the rest is below 1e-17 q².
    Claim B5.
    """
    waves = [
        xp.exp(-2 * (xp.pi * k * spread / spacing) ** 2) * xp.cos(2 * xp.pi * k * centre / spacing) / ((-1) ** k * k**2)
        for k in range(1, 7)
    ]
    return spacing**2 * (xp.pi**2 / 12 + sum(waves)) / xp.pi**2


# ---- images at two resolutions ----------------------------------------------------------------------------------------


def pooled_power(power: Any, alias: Any, angle: Any, xp: Any = np) -> Any:
    """½(cos²φ·P_k + sin²φ·P_{k+n/2}), φ = πk/n: the power at frequency k after averaging pairs of n pixels (claim B6-pooling).

    One axis of an orthonormal transform; for 2 × 2 pixels once per axis. A wave with k + n/2 beyond the coarse grid comes out
    at k: its alias.
    """
    return (xp.cos(angle) ** 2 * power + xp.sin(angle) ** 2 * alias) / 2


# ---- the three shapes -------------------------------------------------------------------------------------------------


def stretched(level: Any, first: Any, last: Any, low: Any, high: Any) -> Any:
    """The affine map of −log R that takes −log R(1) = first to λ_min = low and −log R(F) = last to λ_max = high (claim B7)."""
    return low + (high - low) * (level - first) / (last - first)


# ---- exact truths: a sign in noise, two modes -------------------------------------------------------------------------

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)  # on [−1, 1]
_POINTS, _POINT_WEIGHTS = np.polynomial.legendre.leggauss(48)
_UNIT, _UNIT_WEIGHTS = (_POINTS + 1) / 2, _POINT_WEIGHTS / 2  # on [0, 1]


def binary_mmse(snr: Any, bias: Any) -> Any:
    """E Var(s | √g·s + z) of a sign s with P(s = 1) = sigmoid(2b), snr = g ≥ 0, bias = b; shapes broadcast (claim B3).

    = e^{−g/2} E_z[2cosh w/(cosh 2b + cosh 2w)], w = √g·z: all exponentials are in front, so it is accurate where it is tiny.
    """
    root, bias = np.sqrt(np.asarray(snr, dtype=np.float64))[..., None], np.asarray(bias, dtype=np.float64)[..., None]
    reach = np.minimum(9.0, 45.0 / np.maximum(root, 5.0))  # beyond: e^{−9²/2}, or 1/cosh 45
    z = reach * _NODES
    normal = reach * _WEIGHTS * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    kernel = 2 * np.cosh(root * z) / (np.cosh(2 * bias) + np.cosh(2 * root * z))
    return np.exp(-(root[..., 0] ** 2) / 2) * np.einsum("...k, ...k -> ...", normal, kernel)


def binary_information(snr: Any, bias: Any) -> Any:
    """Information that √g·s + z gives about the sign s: ½∫₀^g MMSE (I-MMSE, claim B4-information)."""
    # in √g: the integrand then is smooth, and what lies beyond √g = 12 is below e⁻⁷²
    root = np.minimum(np.sqrt(np.asarray(snr, dtype=np.float64)), 12.0)[..., None]
    at = root * _UNIT
    return (root * at * binary_mmse(at**2, np.asarray(bias)[..., None])) @ _UNIT_WEIGHTS


def two_mode_mmse(separation: Any, variance: Any, bias: Any, kappa: Any) -> Any:
    """MMSE along μ of p·N(μ, v) + (1 − p)·N(−μ, v): separation = |μ|² (m²d), bias = ½ logit p (claim B3)."""
    total = variance + kappa
    return linear_mmse(variance, kappa) + (kappa / total) ** 2 * separation * binary_mmse(separation / total, bias)


def two_mode_information(separation: Any, variance: Any, bias: Any, kappa: Any) -> Any:
    """Information along μ: that of the mode's sign, and that of the position inside it (claim B4-information)."""
    return gaussian_information(variance, kappa) + binary_information(separation / (variance + kappa), bias)
