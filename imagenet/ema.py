"""Averages of the weights over training: one with a fixed length, and any length after the fact.

    fixed   θ̂ ← β θ̂ + (1 − β) θ; β may ramp up as (1 + n)/(10 + n) until it reaches its value, for runs of a few hundred steps
    power   θ̂(n) ∝ Σ_k k^γ θ(k): the length grows with training; β(n) = (1 − 1/n)^{γ+1}

The second is of Karras et al. (arXiv 2312.02696, section 3). Its length is told by the standard deviation of its profile as a
share of training, σ = √(γ+1)/((γ+2)√(γ+3)). Two are kept, σ = .05 and .10, and written now and then; the average of any other
length, at any step up to the last, is the combination of those snapshots whose profile is nearest to the wanted one in least
squares: inner products of profiles are known, so a small linear system gives the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

POWER_LENGTHS = (0.05, 0.10)  # Karras et al., section 3.2
Rate = Callable[[int], float]
"""n → 1 − β(n): the weight of the newest parameters at the n-th update, n from 1."""


def fixed(decay: float, ramp: bool = False) -> Rate:
    """1 − β with a constant β = `decay`, or with min(decay, (1 + n)/(10 + n)). Raises ValueError unless 0 ≤ decay < 1."""
    if not 0 <= decay < 1:
        raise ValueError(f"decay = {decay}; allowed: 0 ≤ decay < 1; remedy: 0.9999")

    def rate(update: int) -> float:
        return 1 - (min(decay, (1 + update) / (10 + update)) if ramp else decay)

    return rate


def power(gamma: float) -> Rate:
    """1 − (1 − 1/n)^{γ+1}; the first update takes the parameters themselves. Raises ValueError unless γ > −1."""
    if not gamma > -1:
        raise ValueError(f"γ = {gamma}; allowed: > −1; remedy: γ = exponent(0.1)")

    def rate(update: int) -> float:
        return 1.0 if update <= 1 else -math.expm1((gamma + 1) * math.log1p(-1 / update))

    return rate


def exponent(length: float) -> float:
    """γ of the relative length σ: the root above −1 of (γ+1) = σ²(γ+2)²(γ+3). Raises ValueError unless 0 < σ < .28.

    σ as a function of γ rises to 1/√12 = .2887 at γ = 0, the plain mean, and falls; the falling branch is meant.
    """
    if not 0 < length < 0.28:
        raise ValueError(f"relative length = {length}; allowed: 0 < length < 0.28; remedy: 0.05 … 0.15 are usual")
    inverse = length**-2  # (γ+2)²(γ+3) − σ⁻²(γ+1) = γ³ + 7γ² + (16 − σ⁻²)γ + 12 − σ⁻²
    roots = np.roots([1, 7, 16 - inverse, 12 - inverse])
    return float(max(roots.real))


def length(gamma: float) -> float:
    """σ of γ."""
    return math.sqrt(gamma + 1) / ((gamma + 2) * math.sqrt(gamma + 3))


class Average:
    """An average of some tensors, kept beside them in their dtype and on their device."""

    def __init__(self, tensors: Iterable[Tensor], rate: Rate) -> None:
        self.values = [tensor.detach().clone() for tensor in tensors]
        self.rate = rate

    @torch.no_grad()
    def update(self, tensors: Sequence[Tensor], number: int) -> None:
        """The `number`-th update, from 1. One fused pass over all tensors, nothing read back from the device."""
        torch._foreach_lerp_(self.values, list(tensors), self.rate(number))


# ---- any length, afterwards -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Profile:
    """How much a power average taken at `step` weighs the weights of step τ: (γ+1) τ^γ/step^{γ+1} on [0, step]."""

    step: float
    gamma: float

    def __post_init__(self) -> None:
        if not (self.step > 0 and self.gamma > -0.5):
            raise ValueError(
                f"profile at step {self.step} with γ = {self.gamma}; allowed: step > 0, γ > −½; remedy: correct it"
            )


def overlap(a: Profile, b: Profile) -> float:
    """∫ p_a p_b dτ = (γ_a+1)(γ_b+1)/(γ_a+γ_b+1) · m^{γ_a+γ_b+1}/(s_a^{γ_a+1} s_b^{γ_b+1}), m the earlier step."""
    least = min(a.step, b.step)
    ratio = a.gamma * math.log(least / a.step) + b.gamma * math.log(least / b.step)  # ≤ 0: steps to the power γ overflow
    scale = least / (a.step * b.step)
    return (a.gamma + 1) * (b.gamma + 1) / (a.gamma + b.gamma + 1) * scale * math.exp(ratio)


def combination(kept: Sequence[Profile], wanted: Profile) -> np.ndarray:
    """Weights (len(kept),) of the snapshots whose combined profile is nearest to the wanted one, among those that sum to 1.

    They need not be positive. The condition is ours: a weight that stands still stays where it is.

    Raises ValueError without snapshots, or for a wanted step beyond the last one.
    """
    if not kept or wanted.step > max(profile.step for profile in kept):
        last = max((profile.step for profile in kept), default=0)
        raise ValueError(f"average wanted at step {wanted.step}, snapshots up to {last}; allowed: not beyond; remedy: train on")
    matrix = np.array([[overlap(a, b) for b in kept] for a in kept])
    right = np.array([overlap(a, wanted) for a in kept])
    norm = np.sqrt(np.diag(matrix))  # unit profiles: the system is badly scaled otherwise
    gram, unit = matrix / np.outer(norm, norm), norm.min() / norm
    bordered = np.block([[gram, unit[:, None]], [unit[None], np.zeros((1, 1))]])  # the multiplier of the condition
    solution = np.linalg.lstsq(bordered, np.append(right / norm, norm.min()), rcond=1e-12)[0]
    weights: np.ndarray = solution[:-1] / norm
    return weights


def combined(snapshots: Iterable[dict[str, Tensor]], weights: Sequence[float] | np.ndarray) -> dict[str, Tensor]:
    """Σ weight × snapshot by name, summed in float64, in the snapshots' dtype; one snapshot in memory at a time."""
    total: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    for weight, snapshot in zip(weights, snapshots, strict=True):
        for name, tensor in snapshot.items():
            dtypes[name] = tensor.dtype
            part = tensor.double() * float(weight)
            total[name] = total[name] + part if name in total else part
    return {name: tensor.to(dtypes[name]) for name, tensor in total.items()}
