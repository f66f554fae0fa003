"""Clocks: increasing maps of [0, 1] onto itself that reparametrise the time of a schedule.

Time here runs from t = 0 (data) to t = 1 (noise). Paper A (arXiv 2501.00988) runs the other way and writes
τ(t_A) for the share of data; `turned` is the only place where its time is turned round: our clock is
u(t) = 1 − τ(1 − t). Composition with a schedule is `schedule.Dilated(base, clock)`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import scipy.special
import torch
from torch import Tensor


class Clock(ABC):
    """An increasing map u of [0, 1] onto [0, 1], with u(0) = 0 and u(1) = 1."""

    @abstractmethod
    def __call__(self, t: Tensor) -> Tensor:
        """u(t), shape and dtype of t."""

    @property
    @abstractmethod
    def kinks(self) -> tuple[float, ...]:
        """Times in (0, 1) where u is not smooth; a grid without a node there is another, far worse method."""


def turned(paper_clock: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    """Our clock from one of paper A's: u(t) = 1 − τ(1 − t)."""
    return 1 - paper_clock(1 - t)


def time_when(clock: Clock, value: float) -> float:
    """The t with u(t) = value ∈ [0, 1], by bisection."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        below = clock(torch.tensor(middle, dtype=torch.float64)).item() < value
        low, high = (middle, high) if below else (low, middle)
    return high


@dataclass(frozen=True)
class PiecewiseLinear(Clock):
    """Straight lines through (0, 0), (`knot_time`, `knot_value`) and (1, 1)."""

    knot_time: float
    knot_value: float

    def __post_init__(self) -> None:
        if not (0 < self.knot_time < 1 and 0 < self.knot_value < 1):
            raise ValueError(
                f"knot = ({self.knot_time}, {self.knot_value}); allowed: 0 < time < 1 and 0 < value < 1; remedy: move the knot "
                "inside the unit square"
            )

    def __call__(self, t: Tensor) -> Tensor:
        before = self.knot_value * (t / self.knot_time)
        after = 1 - (1 - self.knot_value) * ((1 - t) / (1 - self.knot_time))
        return torch.where(t <= self.knot_time, before, after)

    @property
    def kinks(self) -> tuple[float, ...]:
        return (self.knot_time,)


def _share(dim: float, kappa: float) -> float:
    """κ/√d, the share of the path that a clock of paper A gives half of its steps."""
    if not (dim > 0 and 0 < kappa < math.sqrt(dim)):
        raise ValueError(
            f"κ = {kappa} at dimension d = {dim}; allowed: 0 < κ < √d = {math.sqrt(max(dim, 0)):.6g}; remedy: choose a smaller "
            "κ or a larger d"
        )
    return kappa / math.sqrt(dim)


def vp_clock(dim: float, kappa: float) -> PiecewiseLinear:
    """Paper A's clock for VP, both α forms: half of the time on the speciation phase τ ∈ [0, κ/√d] at the noise end.

    τ = 2κ t_A/√d on [0, ½], then linear to 1. κ = √d/2 is the identity.
    """
    return PiecewiseLinear(0.5, 1 - _share(dim, kappa))


def ve_linear_clock(dim: float, kappa: float) -> PiecewiseLinear:
    """Paper A's clock for VE with α = 1 − τ: half of the time on the last κ/√d of the path, at the data end."""
    return PiecewiseLinear(0.5, _share(dim, kappa))


@dataclass(frozen=True)
class VESquareRootClock(Clock):
    """Paper A's clock for VE with α = √(1 − τ²).

    τ = √(1 − κ²/d)·2t_A on [0, ½], then √(1 − (κ(2 − 2t_A))²/d), which makes α linear in time near the data.
    Raises ValueError unless 0 < κ < √d.
    """

    dim: float
    kappa: float

    def __post_init__(self) -> None:
        _share(self.dim, self.kappa)

    def __call__(self, t: Tensor) -> Tensor:
        share = _share(self.dim, self.kappa)
        # Near the data u = 1 − √(1 − a²) with a = 2tκ/√d; written without the cancellation.
        square = (2 * share * t.clamp(max=0.5)) ** 2
        near_data = square / (1 + torch.sqrt(1 - square))
        near_noise = turned(lambda t_paper: math.sqrt((1 - share) * (1 + share)) * 2 * t_paper, t)
        return torch.where(t <= 0.5, near_data, near_noise)

    @property
    def kinks(self) -> tuple[float, ...]:
        return (0.5,)


@dataclass(frozen=True)
class PowerClock(Clock):
    """u = t^ρ (k-diffusion's polyexponential grid is this clock on a log-uniform schedule). Needs ρ > 0."""

    exponent: float

    def __post_init__(self) -> None:
        if not 0 < self.exponent < math.inf:
            raise ValueError(
                f"exponent = {self.exponent}; allowed: > 0 and finite; remedy: 1 is the clock that changes nothing"
            )

    def __call__(self, t: Tensor) -> Tensor:
        return t**self.exponent

    @property
    def kinks(self) -> tuple[float, ...]:
        return ()


@dataclass(frozen=True)
class ResolutionClock(Clock):
    """u = kt/(1 + (k − 1)t): the timestep shift of SD3 (arXiv 2403.03206, section 5.3.2). Needs k > 0.

    On the linear schedule it is the constant log-SNR shift −2 log k: see `schedule.shifted`.
    """

    shift: float

    def __post_init__(self) -> None:
        if not 0 < self.shift < math.inf:
            raise ValueError(
                f"shift = {self.shift}; allowed: > 0 and finite; remedy: 1 is the clock that changes nothing; below and above "
                "it are each other's inverse"
            )

    def __call__(self, t: Tensor) -> Tensor:
        return self.shift * t / (1 + (self.shift - 1) * t)

    @property
    def kinks(self) -> tuple[float, ...]:
        return ()


class _BetaQuantile(torch.autograd.Function):
    """Quantile of Beta(a, b); torch has none, so scipy evaluates it and 1/density differentiates it."""

    @staticmethod
    def forward(t: Tensor, a: float, b: float) -> Tensor:
        quantile = scipy.special.betaincinv(a, b, t.detach().cpu().double().numpy())
        return torch.as_tensor(quantile, dtype=t.dtype, device=t.device)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        _, a, b = inputs
        log_norm = scipy.special.betaln(a, b)
        rate = torch.exp(log_norm - (a - 1) * torch.log(output) - (b - 1) * torch.log1p(-output))
        ctx.save_for_backward(rate)
        ctx.save_for_forward(rate)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return grad * ctx.saved_tensors[0], None, None

    @staticmethod
    def jvp(ctx, tangent, *_):  # type: ignore[no-untyped-def]
        return tangent * ctx.saved_tensors[0]


@dataclass(frozen=True)
class BetaClock(Clock):
    """u = quantile of Beta(a, b), the "beta" scheduler of the web interfaces (arXiv 2407.12173); a = b = 0.6 there."""

    a: float = 0.6
    b: float = 0.6

    def __post_init__(self) -> None:
        if not (0 < self.a < math.inf and 0 < self.b < math.inf):
            raise ValueError(
                f"Beta({self.a}, {self.b}); allowed: both parameters > 0 and finite; remedy: (1, 1) is the clock that "
                "changes nothing"
            )

    def __call__(self, t: Tensor) -> Tensor:
        return _BetaQuantile.apply(t, self.a, self.b)

    @property
    def kinks(self) -> tuple[float, ...]:
        return ()
