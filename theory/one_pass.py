"""A sample of an isotropic Gaussian mixture after N deterministic steps for one pass over the noise, at any dimension.

Every deterministic step of `sampler` combines states and posterior means linearly, and the posterior mean of
Σ_k p_k N(μ_k, v_k Id) is, with T_k = noise² + v_k signal²,

    E[a | x] = Σ_k r_k (signal·v_k·x + noise²·μ_k)/T_k,   r_k the posterior weights.

So a walk that starts at x = noise·z never leaves x = gain·z + Σ_k c_k μ_k, one gain and K shifts per sample. It suffices to
walk these K + 1 numbers with the same step, as `reduction` reads it off: the weights r_k need only the products of z with the
means and with itself, and those of the means among themselves. Derivation ours; paper A (arXiv 2501.00988) has K = 2.
z is read twice, for the products and for the sample, instead of N times or more; a trajectory at M times costs M passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import special
from torch import Tensor

from theory.program import RANDOM, Array, Program, Walk, compile_walks
from theory.reduction import Posterior, run
from theory.sampler import Step, check_grid
from theory.schedule import Schedule
from theory.stream import Stream
from theory.target import PART, GaussianMixture, check_state


@dataclass(frozen=True, eq=False)
class Coefficients:
    """x = gain·z + Σ_k shift_k·μ_k of some samples at one time: gain (samples, 1), shift (samples, K)."""

    gain: Tensor
    shift: Tensor

    def state(self, z: Tensor, means: Tensor, out: Tensor | None = None) -> Tensor:
        """The states (samples, d) from the noise z; `out` may be z itself. One pass, in blocks that fit the cache."""
        out = torch.empty_like(z) if out is None else out
        for noise, mean, part in zip(z.split(PART, -1), means.split(PART, -1), out.split(PART, -1), strict=True):
            torch.mul(noise, self.gain, out=part)
            for k in range(len(means)):
                part.addcmul_(self.shift[:, k : k + 1], mean[k])
        return out


@dataclass(frozen=True, eq=False)
class Products:
    """What the posterior weights need of z and of the means; differences are taken before products and cost no digits."""

    noise_difference: Tensor  # (samples, K) z·(μ_k − μ_0)
    mean_difference: Tensor  # (K, K) μ_j·(μ_k − μ_0), row j
    middle: Tensor  # (K,) (μ_k + μ_0)·(μ_k − μ_0)/2
    noise_square: Tensor  # (samples,) |z|²
    noise_mean: Tensor  # (samples, K) z·μ_k
    mean_mean: Tensor  # (K, K)

    @staticmethod
    def of(z: Tensor, means: Tensor, *, squares: bool) -> Products:
        """By blocks that fit the cache; `squares` asks for the last three, which equal spreads do not need (0 otherwise)."""
        count, modes = len(z), len(means)
        sizes = ((count, modes), (modes, modes), (modes,), (count,), (count, modes), (modes, modes))
        p = Products(*(z.new_zeros(size) for size in sizes))
        for noise, mean in zip(z.split(PART, -1), means.split(PART, -1), strict=True):
            origin = mean[0]
            if squares:
                p.noise_square.add_((noise * noise).sum(-1))
            for k in range(modes):
                if k:
                    difference = mean[k] - origin
                    p.noise_difference[:, k] += (noise * difference).sum(-1)
                    p.mean_difference[:, k] += (mean * difference).sum(-1)
                    p.middle[k] += ((mean[k] + origin) * difference).sum() / 2
                if squares:
                    p.noise_mean[:, k] += (noise * mean[k]).sum(-1)
                    p.mean_mean[:, k] += (mean * mean[k]).sum(-1)
        return p


def _posterior(law: GaussianMixture, products: Products, program: Program, equal: bool) -> Posterior:
    """The posterior mean in coefficients: (evaluation, step, state (1, samples, 1 + K)) → the same shape."""
    p = {name: tensor.numpy() for name, tensor in vars(products).items()}
    log_weights, variance = torch.log(law.weights).numpy(), law.variances[:, 0].numpy()
    signal, noise = program.signal[..., 0, None], program.noise[..., 0, None]  # (evaluations, N, 1)
    total = signal**2 * variance + noise**2  # (evaluations, N, K)
    kept, pulled = signal * variance / total, noise**2 / total

    def posterior(e: int, k: int, state: Array) -> Array:
        gain, shift = state[0, :, :1], state[0, :, 1:]
        s, t = signal[e, k], total[e, k]
        logits = log_weights + s / t * (gain * p["noise_difference"] + _product(shift, p["mean_difference"]) - s * p["middle"])
        if not equal:
            around = shift - s * np.eye(1, len(t))  # |x − signal·μ_0|²: the origin's own shift is taken off first
            square = gain**2 * p["noise_square"][:, None] + (
                around * (2 * gain * p["noise_mean"] + _product(around, p["mean_mean"]))
            ).sum(-1, keepdims=True)
            logits = logits + (1 / t[0] - 1 / t) / 2 * square - law.event_shape[0] / 2 * np.log(t / t[0])
        share = special.softmax(logits, axis=-1)
        out = (share * kept[e, k]).sum(-1, keepdims=True) * state[0]
        out[:, 1:] += share * pulled[e, k]
        return out[None]

    return posterior


def _product(rows: Array, matrix: Array) -> Array:
    """rows @ matrix, the same bits for a row in any batch, which a matrix product would not promise."""
    return (rows[:, :, None] * matrix).sum(1)


def coefficients(
    law: GaussianMixture, schedule: Schedule, z: Tensor, times: Tensor, step: Step, keep: Iterable[int] = (-1,)
) -> list[Coefficients]:
    """Those at the nodes numbered by `keep` (negative from the end), in the order of the grid, for noise z (samples, d).

    O(d) once, then O(K²) a step. Raises ValueError for variances that differ between directions, a stochastic step, a bad z or
    a bad grid.
    """
    if law.variances.shape[1] != 1:
        raise ValueError(
            f"variances of shape {tuple(law.variances.shape)}; allowed: ({len(law.means)}, 1), isotropic modes; remedy: walk "
            "the law itself with sampler.walk"
        )
    program = deterministic(schedule, times, step)
    check_state(law, z)
    if z.ndim != 2:
        raise ValueError(f"noise of shape {tuple(z.shape)}; allowed: (samples, d); remedy: z[None] for one sample")
    return coefficients_from(law, program, Products.of(z, law.means, squares=not equal_spreads(law)), keep)


def deterministic(schedule: Schedule, times: Tensor, step: Step) -> Program:
    """The step's numbers on this grid. Raises ValueError for a bad grid, or a stochastic step."""
    check_grid(times, schedule)
    program = compile_walks(step, [Walk.of(schedule, times)])
    if program.uses(RANDOM):
        raise ValueError(f"{step} draws d fresh numbers at every step; allowed: a deterministic step; remedy: sampler.walk")
    return program


def equal_spreads(law: GaussianMixture) -> bool:
    """Whether all modes have one: then the weights do not need |z|²."""
    return bool((law.variances == law.variances[0]).all())


def coefficients_from(
    law: GaussianMixture, program: Program, products: Products, keep: Iterable[int] = (-1,)
) -> list[Coefficients]:
    """`coefficients` of a noise that is known by its products alone, on the processor, wherever that noise is."""
    wanted = {range(len(program.result) + 1)[k] for k in keep}
    start = np.zeros((1, len(products.noise_square), 1 + len(law.means)))
    start[..., 0] = program.start[0]
    found = [start] if 0 in wanted else []

    def kept(k: int, state: Array, _: Array) -> Array:
        if k + 1 in wanted:
            found.append(state)
        return state

    run(program, _posterior(law, products, program, equal_spreads(law)), start, kept)
    return [Coefficients(torch.from_numpy(at[0, :, :1].copy()), torch.from_numpy(at[0, :, 1:].copy())) for at in found]


def last_state(
    law: GaussianMixture, schedule: Schedule, z: Tensor, times: Tensor, step: Step, *, in_place: bool = False
) -> Tensor:
    """What `last(walk(Flow(schedule, law.denoise), noise·z, times, step))` gives, (samples, d), for one pass over z.

    `in_place` overwrites z, so that the peak of memory is z itself and one block. Raises ValueError as `coefficients`.
    """
    (final,) = coefficients(law, schedule, z, times, step)
    return final.state(z, law.means, out=z if in_place else None)


def trajectory(
    law: GaussianMixture, schedule: Schedule, z: Tensor, times: Tensor, step: Step, keep: Iterable[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """(time, states) at the nodes numbered by `keep` (negative from the end), in the grid's order, a pass over z for each."""
    wanted = sorted({range(len(times))[k] for k in keep})
    for k, at in zip(wanted, coefficients(law, schedule, z, times, step, wanted), strict=True):
        yield times[k], at.state(z, law.means)


def samples(
    law: GaussianMixture,
    schedule: Schedule,
    times: Tensor,
    step: Step,
    count: int,
    stream: Stream,
    start: int = 0,
    rows: int = 1,
) -> Iterator[Tensor]:
    """Final states of samples start … start + count − 1 in blocks of `rows`, (rows, d): memory for one block.

    Sample k starts from sample k of the stream, so the bits do not depend on `rows`. Raises ValueError unless rows ≥ 1.
    """
    if rows < 1:
        raise ValueError(f"rows = {rows}; allowed: ≥ 1, the samples held in memory at a time; remedy: 1 holds least")
    for first in range(start, start + count, rows):
        z = stream.normal(min(rows, start + count - first), law.event_shape, first)
        yield last_state(law, schedule, z, times, step, in_place=True)
