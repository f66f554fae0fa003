"""Multiplying the data by c moves the window, and every curve of the three shapes, by −2 log c in log-SNR.

Derivation. R becomes c²R. Both ends of the window are −log of a power plus a constant, and so is −log R(f(t)) at any f(t).
The frequency f(t) itself does not move: uniform in f has no power in it, and the quantile of R as a density is a ratio. So
λ(t) moves by −2 log c at every t.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch

from theory import bound, spectrum
from theory.ledger import Claim
from theory.proof import Step, identity
from theory.stream import Stream

CLAIM = Claim(
    "B6-scale",
    "ours (working notes)",
    "x → c·x moves λ(t) by −2 log c at every t: both ends of the window, and the frequency-focused, power-focused and "
    "mixed curves",
    "c > 0, any spectrum, the same ε; no floor under the spectrum (a floor does not scale)",
)
PAPER = "Not in the public part of the paper."
DIFFERS = "The units of the data are no hyper-parameter of the rule; a floor such as q²/12 is one."
FORMULAS = (bound.log_snr_window, bound.stretched)


def prove() -> list[Step]:
    low, high, level, scale, first = sp.symbols("P_min P_max R c R_1", positive=True)
    epsilon = 1 / (1 + sp.Symbol("w", positive=True))
    shift = -2 * sp.log(scale)
    before, after = (bound.log_snr_window(k * low, k * high, epsilon, sp) for k in (1, scale**2))
    powers = sp.symbols("R_2:5", positive=True)
    quantiles = [sum(k * p for p in powers[:2]) / sum(k * p for p in powers) for k in (1, scale**2)]
    curves = [
        bound.stretched(-sp.log(k * level), -sp.log(k * high), -sp.log(k * low), *ends)
        for k, ends in ((1, before), (scale**2, after))
    ]
    return [
        identity(
            "Parseval: the power of c·x is c² times that of x, per coefficient", (scale * first) ** 2, scale**2 * first**2
        ),
        identity("the noise end moves by −2 log c", sp.expand_log(after[0] - before[0]), shift),
        identity("the data end moves by −2 log c", sp.expand_log(after[1] - before[1]), shift),
        identity("the quantile of R as a density does not move", *quantiles),
        identity("so every point of a stretched curve moves by −2 log c", sp.expand_log(curves[1] - curves[0]), shift),
    ]


SCALE, EPSILON = 3.7, 0.01
POWER = np.array([8.0, 2.0, 1.0, 0.3])  # a spectrum on four rings, f = 1 … 4


def predict() -> dict[str, np.ndarray | float]:
    """The window and the frequency-focused curve of the scaled spectrum, and the shift that all of a curve has."""
    power = SCALE**2 * POWER
    ends = bound.log_snr_window(power.min(), power.max(), EPSILON)
    curve = bound.stretched(-np.log(power), -np.log(power[0]), -np.log(power[-1]), *ends)
    before = bound.log_snr_window(POWER.min(), POWER.max(), EPSILON)
    return {"ends": np.array(ends), "curve": curve, "shift": np.full((3, 33), ends[0] - before[0])}


def measure() -> dict[str, np.ndarray]:
    """`spectral_log_snr` on the scaled spectrum; and from pixels, the curves of c·x less those of x, x a walk of noise."""
    table = spectrum.rings(8, 8)
    power = torch.zeros(len(table), dtype=torch.float64)
    power[1:5] = torch.from_numpy(SCALE**2 * POWER)
    curve = spectrum.spectral_log_snr(power, table, EPSILON, focus=0.0, nodes=4).flip(0).numpy()  # t = 1 is f = 1
    image, table = Stream(3).normal(1, (1, 32, 32)).cumsum(-1).cumsum(-2)[0], spectrum.rings(32, 32)
    powers = torch.stack([spectrum.isotonic(spectrum.rapsd(k * image), table) for k in (1.0, SCALE)])
    curves = torch.stack([spectrum.spectral_log_snr(powers, table, EPSILON, focus, 33) for focus in (0.0, 0.5, 1.0)])
    return {"ends": curve[[0, -1]], "curve": curve, "shift": (curves[:, 1] - curves[:, 0]).numpy()}


# Rounding; for the images that of a transform, through logarithms and a division by the span of log R.
MARGIN = {"ends": 1e-13, "curve": 1e-13, "shift": 1e-9}
