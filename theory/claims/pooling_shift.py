"""Doubling the resolution moves the window's noise end by −2 log 2, its data end by (b − 2) log 2.

Derivation, along one axis of a periodic image. The mean of two neighbours multiplies the wave k by (1 + e^{2iφ})/2, φ = πk/n,
and folds the wave k + n/2 onto k; an orthonormal transform of half the length keeps half the power: P'_k = ½(cos²φ P_k +
sin²φ P_{k+n/2}), the other axis at its wave 0 another factor ½. White: P' = P/4. At k = 1, cos²φ → 1: P'_1 → P_1/4, so −log
P_max moves by log 4 per halving: 2 log(64/n). At the coarse Nyquist k = n/4 the fold is its own mirror image, P_{k+n/2} =
P_{n/4}, so P' = P(n/4)/4 exactly, and against the old Nyquist P(n/2) the end −log P_min moves by log 4 − log(P(n/4)/P(n/2)):
by (2 − b) log 2 for P ∝ k^{−b}, nothing at all for b = 2.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from theory import bound
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive

CLAIM = Claim(
    "B6-pooling",
    "ours; simple diffusion, arXiv 2301.11093, shifts by 2 log(64/n); our working notes ('what our rule gives by itself')",
    "Averaging 2 × 2 pixels divides white noise by 4 and, up to a factor 1 + O(1/n²), every low frequency: the "
    "window's noise end moves by "
    "2 log(64/n) for every spectrum; its data end moves by (b − 2) log(n/64) for P ∝ f^{−b}, so the whole schedule "
    "moves by 2 log(64/n) only "
    "where the top octave is flat (b = 0), and only at its noise end for photographs (b ≈ 2)",
    "periodic image with uncorrelated coefficients, P at the lowest frequency the largest, n divisible by 4; along the axes",
)
PAPER = "Simple diffusion moves the whole cosine schedule by 2 log(64/n), by hand; paper B replaces such tuning (abstract)."
DIFFERS = (
    "The spectral window gives the hand-made shift at the noise end only; at b = 2 the data end does not move with resolution."
)
FORMULAS = (bound.pooled_power, bound.log_snr_window)


def prove() -> list[Step]:
    power, alias, slope = sp.symbols("P Q b", positive=True)
    angle, k, n = sp.Symbol("phi", real=True), sp.Symbol("k", integer=True), sp.Symbol("n", integer=True, positive=True)
    even = (1 + sp.exp(2 * sp.I * angle)) / 2  # what the pair's mean does to the wave e^{2iφx}
    odd = even.subs(angle, angle + sp.pi / 2)  # the wave k + n/2
    epsilon = 1 / (1 + sp.Symbol("w", positive=True))
    nyquist = bound.pooled_power(power, power, sp.pi / 4, sp) / 2
    ends = [bound.log_snr_window(low, high, epsilon, sp) for low, high in ((4 * power, 4 * alias), (power, alias))]
    law = [bound.log_snr_window(low, 1, epsilon, sp)[1] for low in (n**-slope, (n / 2) ** -slope / 4)]
    lowest = bound.pooled_power(power, alias, sp.pi / n, sp) / 2
    return [
        identity("the gain of the wave k is cos²φ", sp.expand_complex(even * sp.conjugate(even)), sp.cos(angle) ** 2),
        identity("that of its alias is sin²φ", sp.expand_complex(odd * sp.conjugate(odd)), sp.sin(angle) ** 2),
        identity(
            "k + n/2 falls on k: on even pixels the two waves agree",
            sp.exp(2 * sp.pi * sp.I * (k + n / 2) * 2 / n),
            sp.exp(2 * sp.pi * sp.I * k * 2 / n),
        ),
        identity(
            "white noise, both axes: a quarter",
            bound.pooled_power(
                bound.pooled_power(power, power, angle, sp), bound.pooled_power(power, power, angle, sp), angle, sp
            ),
            power / 4,
        ),
        limit_is(
            "the lowest frequency, axis against the other's wave 0: a quarter as n grows",
            lowest.subs(n, 1 / sp.Symbol("h", positive=True)),
            sp.Symbol("h", positive=True),
            0,
            power / 4,
            "+",
        ),
        limit_is(
            "with a correction of π²(P − Q)/(4n²)",
            ((power / 4 - lowest).subs(n, 1 / sp.Symbol("h", positive=True))) / sp.Symbol("h", positive=True) ** 2,
            sp.Symbol("h", positive=True),
            0,
            sp.pi**2 * (power - alias) / 4,
            "+",
        ),
        identity("the coarse Nyquist: a quarter, exactly, its alias being its mirror image", nyquist, power / 4),
        identity(
            "four times the power at both ends of the spectrum moves both ends of the window by −log 4",
            ends[0][0] - ends[1][0],
            -sp.log(4),
        ),
        identity("(the data end)", ends[0][1] - ends[1][1], -sp.log(4)),
        identity(
            "P ∝ f^{−b}: the data end moves by (b − 2) log 2 when n doubles",
            sp.expand_log(law[0] - law[1], force=True),
            (slope - 2) * sp.log(2),
        ),
        positive(
            "further than the noise end by b log 2: one shift for both only for b = 0",
            sp.expand_log(law[0] - law[1], force=True) + sp.log(4),
            slope * sp.log(2),
        ),
    ]


SIZE, SLOPE, EPSILON = 64, 2.5, 0.01


def _spectrum() -> np.ndarray:
    """P on the grid of fft2, |k|^{−b} over |k| = distance in cycles per image, 1 at k = 0."""
    k = SIZE * np.fft.fftfreq(SIZE)
    radius = np.hypot(k[:, None], k[None, :])
    radius[0, 0] = 1.0
    return radius**-SLOPE


def predict() -> dict[str, np.ndarray]:
    """Power of the pooled image along an axis, k = 1 … n/4, from that of the image; and the moves of the window's ends."""
    k = np.arange(1, SIZE // 4 + 1)
    own, alias = (np.abs(k - shift) ** -SLOPE for shift in (0.0, SIZE / 2))
    axis = bound.pooled_power(own, alias, np.pi * k / SIZE)
    pooled = bound.pooled_power(axis, 0.0, 0.0)
    fine, coarse = (bound.log_snr_window(p[-1], p[0], EPSILON) for p in (np.arange(1.0, SIZE // 2 + 1) ** -SLOPE, pooled))
    return {"log power": np.log(pooled), "moves": np.array(fine) - np.array(coarse), "window": np.array(fine)}


def measure() -> dict[str, np.ndarray]:
    """The covariance of the image as a correlation function, pooled pixel by pixel, transformed again."""
    k = SIZE * np.fft.fftfreq(SIZE)
    radius = np.hypot(k[:, None], k[None, :])
    radius[0, 0] = 1.0
    correlation = np.fft.ifft2(radius**-SLOPE).real  # cov(x_0, x_r), as P is the variance of orthonormal coefficients
    pooled = np.zeros((SIZE // 2, SIZE // 2))
    for row, down in ((0, 2), (-1, 1), (1, 1)):
        for column, across in ((0, 2), (-1, 1), (1, 1)):
            pooled += down * across / 16 * np.roll(correlation, (-row, -column), (0, 1))[::2, ::2]
    power = np.fft.fft2(pooled).real
    axis = power[0, 1 : SIZE // 4 + 1]
    logit = np.log(99.0)
    fine = np.array([-logit, SLOPE * np.log(SIZE // 2) + logit])
    return {
        "log power": np.log(axis),
        "moves": fine - np.array([-np.log(axis[0]) - logit, -np.log(axis[-1]) + logit]),
        "window": fine,
    }


MARGIN = {"log power": 1e-11, "moves": 1e-11, "window": 1e-12}  # rounding of a transform of 64 × 64 numbers
