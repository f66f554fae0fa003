"""The one list of all schedules, all laws and all steps, and what hypothesis draws: times, levels, laws, sizes.

A new family enters the tests by entering `schedule.CATALOGUE`, `sampler.STEPS` or `LAWS`, and by nothing else.
"""

import math
from collections.abc import Callable
from typing import Any

import scipy.stats
import torch
from hypothesis import strategies as st
from torch import Tensor

from theory import sampler, schedule
from theory.curie_weiss import CurieWeiss
from theory.target import Gaussian, GaussianMixture, SpectralMixture

SCHEDULES = schedule.CATALOGUE
STEPS = sampler.STEPS

# Where λ is infinite: at t = 0, at t = 1. Data, because a sampler must know; every schedule has a row.
INFINITE_ENDS = dict.fromkeys(SCHEDULES, (False, False)) | {
    "linear": (True, True),
    "square root": (True, True),
    "trigonometric": (True, True),
    "VP-SDE": (True, False),
    "sub-VP SDE": (True, False),
    "cosine": (True, True),
    "sigmoid": (True, True),
    "EDM training": (True, True),
    "SD3 shift": (True, True),
    "logit-normal": (True, True),
    "Laplace": (True, True),
    "Lipschitz-optimal": (True, True),
    "VP sqrt clock": (True, True),
    "VP linear clock": (True, True),
    "VE linear": (True, True),
    "VE sqrt": (True, True),
    "VE linear clock": (True, True),
    "VE sqrt clock": (True, True),
}

# The gauge each schedule states: what signal and noise satisfy at every time. The others are in none of the three.
GAUGE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    **dict.fromkeys(
        (
            *("square root", "trigonometric", "VP-SDE", "DDPM linear", "scaled linear", "cosine", "truncated cosine"),
            *("shifted cosine", "interpolated cosine", "sigmoid", "log-uniform", "beta quantiles", "Laplace"),
            *("Lipschitz-optimal", "VP sqrt clock"),
            *("spectral frequency", "spectral power", "spectral mixed"),
        ),
        lambda signal, noise: signal**2 + noise**2,
    ),
    **dict.fromkeys(("linear", "SD3 shift", "logit-normal", "VP linear clock"), lambda signal, noise: signal + noise),
    **dict.fromkeys(
        ("VE geometric", "EDM", "EDM training", "polyexponential", "tangent", "entropic", "AYS"),
        lambda signal, noise: signal,
    ),
    # Paper A's VE: noise variance d = 10⁴ on either form; the sub-VP SDE: noise = 1 − signal².
    **dict.fromkeys(("VE linear", "VE linear clock"), lambda signal, noise: signal + noise / 100),
    **dict.fromkeys(("VE sqrt", "VE sqrt clock"), lambda signal, noise: signal**2 + (noise / 100) ** 2),
    "sub-VP SDE": lambda signal, noise: signal**2 + noise,
}


# Nodes of the schedules that are given by a table: between two of them a piece is smooth, across one it is not.
TABLES = {
    **dict.fromkeys(("DDPM linear", "scaled linear", "beta quantiles"), 1000),
    "AYS": len(schedule.AYS_LEVELS["sdxl"]),
    **{
        name: schedule.spectral().curve.nodes.shape[-1]  # type: ignore[attr-defined]
        for name in ("spectral frequency", "spectral power", "spectral mixed")
    },
}


def away_from_kinks(name: str, t: float) -> tuple[float, float]:
    """(t', h) with the schedule smooth on t' ± 2h, t' near t: a table is smooth inside its intervals only."""
    if name in TABLES:
        intervals = TABLES[name] - 1
        middle = (math.floor(t * intervals) + 0.5) / intervals
        return (scipy.stats.beta(0.6, 0.6).cdf(middle) if name == "beta quantiles" else middle), 1e-5 / intervals**0.5
    near = any(abs(t - kink) < 1e-4 for kink in (*SCHEDULES[name]().kinks, 0.5 if name == "Laplace" else 2.0))
    return (0.25 if near else t), 1e-5


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def spread_out(dim: int, low: float, high: float) -> Tensor:
    """dim unequal positive numbers between low and high, in no order of size."""
    exponent = torch.sin(1.0 + 2.4 * torch.arange(dim, dtype=torch.float64))
    return math.sqrt(low * high) * (high / low) ** (0.5 * exponent)


def image_size(dim: int) -> tuple[int, int]:
    """The most nearly square H × W = dim: even and odd, square and not."""
    height = max(h for h in range(1, math.isqrt(dim) + 1) if dim % h == 0)
    return height, dim // height


# name → a law with `dim` numbers in all. Weights, means and variances are unequal wherever the law lets them be.
LAWS: dict[str, Callable[[int], Any]] = {
    "Gaussian": lambda dim: Gaussian(spread_out(dim, 0.05, 4.0), 1 - spread_out(dim, 0.1, 3.0)),
    "Gaussian, isotropic": lambda dim: Gaussian.isotropic(dim, 0.25),
    "two modes": lambda dim: GaussianMixture.two_modes(dim, 0.8),
    "mixture, isotropic": lambda dim: GaussianMixture(
        tensor(0.2, 0.5, 0.3),
        torch.stack([1.5 - spread_out(dim, 0.2, 2.0), -spread_out(dim, 0.5, 1.0), spread_out(dim, 1.0, 2.0)]),
        tensor(0.3, 1.0, 0.05)[:, None],
    ),
    "mixture, diagonal": lambda dim: GaussianMixture(
        tensor(0.65, 0.35),
        torch.stack([1.5 - spread_out(dim, 0.2, 2.0), -spread_out(dim, 0.5, 1.0)]),
        torch.stack([spread_out(dim, 0.1, 2.0), spread_out(dim, 0.3, 0.9).flip(0)]),
    ),
    "spectral mixture": lambda dim: SpectralMixture.power_law(
        image_size(dim), tensor(1.0, 2.5), tensor(1.0, 0.4), tensor(0.3, 0.7)
    ),
    "spectral mixture, 3 channels": lambda dim: SpectralMixture.power_law(
        image_size(dim), tensor(0.0, 2.0), tensor(0.5, 1.5), tensor(0.6, 0.4), channels=3
    ),
    "Curie-Weiss, two modes": lambda dim: CurieWeiss(dim, 2.0, 0.3),
    "Curie-Weiss, one mode": lambda dim: CurieWeiss(dim, 0.5, -0.2),
}

times = st.floats(0.0, 1.0)
inner_times = st.floats(0.02, 0.98)
dims = st.integers(1, 64)
seeds = st.integers(0, 2**64)
# (signal, noise) as a sampler meets them, from nearly clean to nearly pure noise, in any gauge.
levels = st.tuples(st.floats(0.1, 1.0), st.floats(0.1, 10.0))
# Strictly decreasing nodes, the adversarial kind: steps of very different sizes side by side.
decreasing_nodes = st.lists(st.floats(-6.0, 2.0), min_size=1, max_size=12).map(
    lambda exponents: 10 - torch.cumsum(torch.tensor([0.0, *(10.0**e for e in exponents)], dtype=torch.float64), 0)
)


@st.composite
def mixtures_1d(draw: st.DrawFn) -> GaussianMixture:
    """One-dimensional mixtures of up to four components with unequal weights, means and variances."""
    count = draw(st.integers(1, 4))

    def row(low: float, high: float) -> Tensor:
        return torch.tensor(draw(st.lists(st.floats(low, high), min_size=count, max_size=count)), dtype=torch.float64)

    weights = row(0.01, 1.0)
    return GaussianMixture(weights / weights.sum(), row(-3.0, 3.0)[:, None], row(0.02, 2.0)[:, None])
