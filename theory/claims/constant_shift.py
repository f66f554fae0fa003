"""SD3's shift, Flux's e^μ and the shifted cosine are one thing: a constant added to the log-SNR.

Derivation. On the linear schedule noise/signal at t is t/(1 − t). SD3 reads it at t' = kt/(1 + (k − 1)t), where t'/(1 − t') =
k·t/(1 − t); Flux at t' = e^μ/(e^μ + 1/t − 1), the same with k = e^μ. So ς is multiplied by k and λ = −2 log ς moves by −2 log
k at every t. The shifted cosine adds 2 log(n_base/n) to λ: k = n/n_base. The shift is the same in any gauge, since λ
determines ς.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp
import torch

from theory.ledger import Claim
from theory.proof import Step, identity
from theory.schedule import Linear, Trigonometric, sd3, shifted, shifted_cosine, truncated_cosine

CLAIM = Claim(
    "C6",
    "SD3, arXiv 2403.03206 (timestep shift); Flux's published sampler (e^μ); simple diffusion, arXiv 2301.11093 (shifted "
    "cosine)",
    "SD3's timestep shift k and Flux's e^μ on the linear schedule, and the shifted cosine, each add one constant to the "
    "log-SNR at every "
    "t, −2 log k = −2μ = 2 log(n_base/n): one family, k = e^μ = n/n_base",
    "k > 0, 0 < t < 1; Flux's exponent on (1/t − 1) equal to 1, its default; the cosine untruncated, or its clipped ends "
    "moved along",
)
PAPER = "Three papers introduce a resolution-dependent shift, each with its own formula."
DIFFERS = (
    "With an exponent s on (1/t − 1) Flux's formula is sλ − 2μ, a shift only for s = 1. A cosine truncated to fixed ends "
    "after the "
    "shift is not a constant shift either."
)


def sd3_time(t: Any, shift: Any) -> Any:
    """t' = kt/(1 + (k − 1)t)."""
    return shift * t / (1 + (shift - 1) * t)


def flux_time(t: Any, mu: Any, exponent: Any, xp: Any = np) -> Any:
    """t' = e^μ/(e^μ + (1/t − 1)^s)."""
    return xp.exp(mu) / (xp.exp(mu) + (1 / t - 1) ** exponent)


def linear_log_snr(t: Any, xp: Any = np) -> Any:
    """λ = 2 log((1 − t)/t) of signal = 1 − t, noise = t."""
    return 2 * xp.log((1 - t) / t)


def cosine_log_snr(t: Any, resolution: Any, base: Any, xp: Any = np) -> Any:
    """λ = −2 log tan(πt/2) + 2 log(n_base/n)."""
    return -2 * xp.log(xp.tan(xp.pi * t / 2)) + 2 * xp.log(base / resolution)


FORMULAS = (sd3_time, flux_time, linear_log_snr, cosine_log_snr)


def prove() -> list[Step]:
    k, odds, power, n, base, first, second = sp.symbols("k o s n n_base k_1 k_2", positive=True)
    mu = sp.Symbol("mu", real=True)
    t = 1 / (1 + odds)  # every t in (0, 1), by the odds of signal to noise, λ = 2 log o
    return [
        identity("at t the linear schedule has the log-SNR 2 log o", linear_log_snr(t, sp), 2 * sp.log(odds)),
        identity("SD3's shift subtracts 2 log k from it", linear_log_snr(sd3_time(t, k), sp), 2 * sp.log(odds) - 2 * sp.log(k)),
        identity(
            "Flux's time map has the log-SNR s·λ − 2μ",
            linear_log_snr(flux_time(t, mu, power, sp), sp),
            power * 2 * sp.log(odds) - 2 * mu,
        ),
        identity("so for s = 1 it is SD3's with k = e^μ, at every t", flux_time(t, mu, 1, sp), sd3_time(t, sp.exp(mu))),
        identity(
            "the shifted cosine is the cosine less 2 log(n/n_base)",
            cosine_log_snr(t, n, base, sp) - cosine_log_snr(t, base, base, sp),
            -2 * sp.log(n / base),
        ),
        identity(
            "shifts compose by multiplication, so they are one one-parameter group",
            sd3_time(sd3_time(t, first), second),
            sd3_time(t, first * second),
        ),
    ]


TIMES = np.linspace(0.05, 0.95, 19)


def predict() -> dict[str, np.ndarray]:
    """Log-SNR of the three at one shift, k = 3 = 192/64."""
    return {
        "SD3": linear_log_snr(sd3_time(TIMES, 3.0)),
        "Flux": linear_log_snr(flux_time(TIMES, np.log(3.0), 1.0)),
        "cosine": cosine_log_snr(TIMES, 192, 64),
        "clipped cosine": np.full(TIMES.shape, linear_log_snr(sd3_time(0.5, 3.0))),
    }


def measure() -> dict[str, np.ndarray]:
    """The project's schedules: SD3's clock; one constant shift of the linear, of the trigonometric and of the clipped
    cosine."""
    t, constant = torch.from_numpy(TIMES), -2 * float(np.log(3.0))
    return {
        "SD3": sd3(3.0).log_snr(t).numpy(),
        "Flux": shifted(Linear(), constant, "linear").log_snr(t).numpy(),
        "cosine": shifted(Trigonometric(), constant).log_snr(t).numpy(),
        "clipped cosine": (shifted_cosine(192, 64).log_snr(t) - truncated_cosine().log_snr(t)).numpy(),
    }


MARGIN = {"SD3": 1e-12, "Flux": 1e-12, "cosine": 1e-12, "clipped cosine": 1e-12}
