"""The Curie-Weiss posterior mean where spins look alike: one visit to the coordinates, whatever the coupling.

Notation of `curie_weiss`: L(y) = −d y²/(2J) + Σᵢ log cosh(y + θᵢ), weights ∝ e^{L(y)} on the nodes of its rule. Early in VP
and nearly all through VE, c·x is small: the θᵢ differ little. With Tᵢ = tanh θᵢ = T̄ + δᵢ, u = tanh y and w = u/(1 + T̄u),

    L(y) − L(0) = −d y²/(2J) + d log cosh y + d log(1 + T̄u) + Σ_k (−1)^{k+1} (w^k/k) Σᵢ δᵢ^k,                 (1)
    tanh(y + θᵢ) = (T̄ + u)/(1 + T̄u) + B Σ_{k≥0} δᵢ^{k+1} (−w)^k,   B = (1 − u²)/(1 + T̄u)²,                  (2)

since 1 + Tᵢu = (1 + T̄u)(1 + δᵢw). Both converge like (δw)^k on ALL nodes at once, both modes and what lies between them: no
panels, no search, no logarithm per coordinate. Rows with max|δw| ≤ ½ (`alike`) are done here, the others by panels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from theory.target import part_of, row_sum

TRUNCATION = 1e-17  # of L per coordinate, by what a series leaves out
NEGLIGIBLE = 1e-18  # weights and moments below this are left out of means, which are known to 1e-16
RATIO = 0.5  # largest |δw| on this path: above it a panel of the general path needs fewer orders
CLOSEST = 0.1  # least 1 + T̄u on this path: nearer to 0, log(1 + T̄u) loses digits
MOST = 64  # orders of either series, never reached: ½^64 is nothing


@dataclass(frozen=True)
class Nodes:
    """The nodes y of a trapezoid rule, with what (1) and (2) need of them; d and J inside."""

    dim: int
    u: Tensor  # (nodes,) tanh y
    prior: Tensor  # (nodes,) −d y²/(2J) + d log cosh y
    sech_square: Tensor  # (nodes,) 1 − u²

    @staticmethod
    def build(nodes: Tensor, dim: int, coupling: float) -> Nodes:
        u, size = torch.tanh(nodes), nodes.abs()
        log_cosh = torch.where(size < 1, -torch.log1p(-(u**2)) / 2, size + torch.log1p(torch.exp(-2 * size)) - math.log(2))
        return Nodes(dim, u, dim * (log_cosh - nodes**2 / (2 * coupling)), 1 / torch.cosh(nodes) ** 2)


def alike(theta: Tensor, nodes: Nodes) -> Tensor:
    """Which rows of θ (rows, d) the series (1) and (2) serve, a mask (rows,): max|δ|·max|w| ≤ ½, and 1 + T̄u ≥ 0.1."""
    low, high = torch.tanh(theta.amin(-1)), torch.tanh(theta.amax(-1))  # torch.aminmax costs ten times as much
    farthest_node = float(nodes.u[-1])
    least = 1 - torch.maximum(low.abs(), high.abs()) * farthest_node
    return (least >= CLOSEST) & ((high - low) * farthest_node <= RATIO * least)


def posterior_mean(theta: Tensor, nodes: Nodes) -> Tensor:
    """E[a | θ] of rows that are `alike`, (rows, d)."""
    grown = torch.expm1(2 * theta)
    deviation = grown / (grown + 2)  # tanh θ, at half the cost of torch's; |tanh θ| ≤ 0.9 here
    centre = row_sum(deviation)[:, None] / nodes.dim  # T̄
    deviation -= centre
    size = torch.maximum(deviation.amax(-1), -deviation.amin(-1))  # max|δ|
    below = centre * nodes.u
    w = nodes.u / (1 + below)  # (rows, nodes)
    scale = w.abs().amax(-1)

    sums = theta.new_zeros(MOST, len(theta))
    orders = 0
    for part in deviation.split(part_of(deviation), -1):
        orders = max(orders, add_power_sums(sums, part, scale, size * scale))
    series = torch.zeros_like(w)
    for k in range(orders, 0, -1):
        series = (series + (sums[k - 1] * (-1) ** (k + 1) / k)[:, None]) * w
    weight = (nodes.prior + nodes.dim * torch.log1p(below) + series).softmax(-1)

    mean = row_sum(weight * (centre + nodes.u) / (1 + below))
    moment = weight * nodes.sech_square / (1 + below) ** 2
    coefficients: list[Tensor] = []
    while (
        len(coefficients) < MOST
        and ((bound := scale ** len(coefficients) * size ** (len(coefficients) + 1)) > NEGLIGIBLE).any()
    ):
        coefficients.append(torch.where(bound > NEGLIGIBLE, row_sum(moment), 0.0))
        moment = moment * -w
    return _polynomial(deviation, [mean, *coefficients]).clamp_(-1, 1)


def _polynomial(values: Tensor, coefficients: list[Tensor]) -> Tensor:
    """Σ_k coefficients[k]·values^k, one coefficient per row, by Horner's rule."""
    out = torch.empty_like(values)
    size = part_of(values)
    for part, result in zip(values.split(size, -1), out.split(size, -1), strict=True):
        result.copy_(coefficients[-1][:, None].expand_as(part))
        for coefficient in coefficients[-2::-1]:
            torch.addcmul(coefficient[:, None], result, part, out=result)
    return out


def add_power_sums(sums: Tensor, values: Tensor, scale: Tensor | float, ratio: Tensor | float) -> int:
    """sums[k − 1] += Σᵢ values^k, k = 1 … len(sums), rows (rows, part); the number of orders that any row needed.

    The sums are for series Σ_k scale^k·sums/k with |values|·scale ≤ ratio < 1. What these leave out after an even order k is at
    most ratio·scale^k Σ values^k/((k + 1)(1 − ratio)): where that is nothing, a row's later sums stay 0. A row stops on its own
    account, whatever its neighbours need, so its bits do not depend on the batch.
    """
    power, needed, scratch = values, None, torch.empty_like(values)
    for k in range(1, len(sums) + 1):
        total = power.sum(-1)
        sums[k - 1] += total if needed is None else torch.where(needed, total, 0.0)
        if k % 2 == 0:
            more = total * scale**k * ratio > TRUNCATION * values.shape[-1] * (k + 1) * (1 - ratio)
            needed = more if needed is None else needed & more
            if not needed.any():
                return k
        power = torch.mul(power, values, out=scratch)
    return len(sums)
