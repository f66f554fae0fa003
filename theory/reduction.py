"""The exact law of an N-step sampler at any dimension, for every step of `sampler.STEPS`, at a cost that does not depend on d.

`theory.program` reads the coefficients of a step off the step itself. A mixture whose means lie on a line (in general a
subspace of K' directions) is then seen by the sampler through y, the coordinates along it, and r, the length of the rest
(derivation: ours). The posterior mean of
Σ_k p_k N(c_k, v_k Id_d) at x = signal·a + noise·z, Δ_k = noise² + signal²v_k, is
    along:   Σ_k w_k (g_k y + h_k c_k),   across:  (Σ_k w_k g_k)·x_⊥,   g = signal·v/Δ,  h = noise²/Δ,
    log w_k = log p_k − |y − signal·c_k|²/2Δ_k − r²/2Δ_k − (d/2) log Δ_k + constant.
 * Equal spreads: r cancels. y moves by a scalar map, the complement by a number per step (a 2 × 2 matrix for a method with
   memory; with fresh noise its variance by a number and an addend). Exact at any d, one-dimensional quadrature apart.
 * Unequal spreads: (y, r) moves by a map of K' + 1 variables, exact for a deterministic method; r starts from its chi law,
   which has relative width 1/√(2d): one quantile is exact as d → ∞. Fresh noise acts on r² in the mean.
 * Fresh noise along y: particles sorted at each step, noise from a lattice (Array-RQMC; L'Ecuyer, Lécot, Tuffin 2008).

Rows are independent cases (schedule, grid, law, d), computed side by side in numpy: every array has the row axis where stated.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from theory.program import FIRST, RANDOM, REMEMBERED, SECOND, STATE, Array, Program

# ---- laws seen along a line --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Line:
    """Mixtures with means on a line: weights, centres (increasing), variances (rows, K); dim (rows,), all > 1."""

    weights: Array
    centres: Array
    variances: Array
    dim: Array

    def __post_init__(self) -> None:
        shape = self.centres.shape
        if not (self.weights.shape == shape == self.variances.shape and self.dim.shape == shape[:1] and len(shape) == 2):
            raise ValueError(
                f"weights {self.weights.shape}, centres {shape}, variances {self.variances.shape}, dim {self.dim.shape}; "
                "allowed: (rows, K) three times and (rows,); remedy: Line.of or Line.two_modes for each law, then stack_lines"
            )
        if not (np.diff(self.centres) > 0).all():
            raise ValueError(
                f"centres {self.centres.tolist()}; allowed: increasing in every row; remedy: sort the modes and merge equals"
            )
        if not ((self.variances > 0).all() and (self.weights > 0).all() and (self.dim > 1).all()):
            low = [float(part.min()) for part in (self.weights, self.variances, self.dim)]
            raise ValueError(
                f"smallest weight, variance, d: {low}; allowed: weights > 0, variances > 0, d > 1; remedy: drop empty modes"
            )
        if not np.allclose(self.weights.sum(1), 1, rtol=0, atol=1e-9):
            raise ValueError(
                f"weights sum to {self.weights.sum(1).tolist()}; allowed: 1 in every row; remedy: divide by their sum"
            )

    @classmethod
    def two_modes(cls, dim: float, weight: float, mean: float = 1.0, spread: float = 0.5) -> Line:
        """Paper A's mixture (arXiv 2501.00988): p at +m√d along u = μ/|μ|, 1 − p at −m√d; one row."""
        centre = mean * math.sqrt(dim)
        return cls.of(dim, [1 - weight, weight], [-centre, centre], [spread, spread])

    @classmethod
    def of(cls, dim: float, weights: Sequence[float], centres: Sequence[float], spreads: Sequence[float]) -> Line:
        w, c, v = (np.array([part], dtype=np.float64) for part in (weights, centres, np.square(spreads)))
        return cls(w, c, v, np.array([float(dim)]))

    def rows(self, index: Any) -> Line:
        return Line(*(getattr(self, f.name)[index] for f in dataclasses.fields(self)))

    @property
    def equal_spreads(self) -> bool:
        return bool((self.variances == self.variances[:, :1]).all())

    @property
    def cuts(self) -> Array:
        """(rows, K − 1): where a point changes its mode: between neighbours, in the ratio of their spreads."""
        spread, c = np.sqrt(self.variances), self.centres
        return c[:, :-1] + np.diff(c) * spread[:, :-1] / (spread[:, :-1] + spread[:, 1:])


def stack_lines(lines: Sequence[Line]) -> Line:
    """Rows of several laws with the same number of modes."""
    return Line(*(np.concatenate([getattr(line, f.name) for line in lines]) for f in dataclasses.fields(Line)))


Posterior = Callable[[int, int, Array], Array]  # (evaluation, step, state (rows, particles, …)) → posterior mean


def linear_posterior(program: Program, variance: Array) -> Posterior:
    """Of N(0, v) in every direction, v (rows,): across a line of modes with equal spreads."""
    gain = program.signal * variance / (program.noise**2 + program.signal**2 * variance)
    return lambda e, k, x: gain[e, k, : len(x), None] * x


@dataclass(frozen=True, eq=False)
class Wave:
    """Posterior mean of two modes with equal spreads: gain·x + middle + half·tanh(slope·x + shift), each (E, N, rows, 1)."""

    gain: Array
    middle: Array
    half: Array
    slope: Array
    shift: Array

    def __call__(self, e: int, k: int, x: Array) -> Array:
        at = (e, k, slice(len(x)))
        wave = self.slope[at] * x
        wave += self.shift[at]
        np.tanh(wave, out=wave)
        wave *= self.half[at]
        wave += self.middle[at]
        wave += self.gain[at] * x
        return wave


def line_posterior(program: Program, law: Line) -> Posterior:
    """Along a line of modes with equal spreads; states (rows, particles)."""
    s, n, v, c = program.signal[..., None], program.noise[..., None], law.variances[:, :1], law.centres
    total = n**2 + s**2 * v
    gain, pull = s * v / total, n**2 / total
    with np.errstate(divide="ignore"):
        rate, offset = s * c / total, np.log(law.weights) - (s * c) ** 2 / (2 * total)  # (E, N, rows, K)
    if c.shape[1] == 2:
        half, middle = pull * (c[:, 1:] - c[:, :1]) / 2, pull * (c[:, 1:] + c[:, :1]) / 2
        return Wave(gain, middle, half, np.diff(rate) / 2, np.diff(offset) / 2)
    # Modes first: sums over few modes are then sums of whole arrays.
    rate, offset, centres = (np.moveaxis(v, -1, -2)[..., None] for v in (rate - rate[..., :1], offset - offset[..., :1], c))
    rate, offset = np.ascontiguousarray(rate), np.ascontiguousarray(offset)  # (E, N, K, rows, 1)

    def several(e: int, k: int, x: Array) -> Array:
        at, rows = (e, k, slice(len(x))), slice(len(x))
        share = rate[e, k, :, rows] * x
        share += offset[e, k, :, rows]
        share -= share.max(0)
        np.exp(share, out=share)
        mean = (share * centres[:, rows]).sum(0)
        mean /= share.sum(0)
        mean *= pull[at]
        mean += gain[at] * x
        return mean

    return several


def subspace_posterior(program: Program, weights: Array, centres: Array, variances: Array, dim: Array) -> Posterior:
    """Any modes: weights, variances (rows, K), centres (rows, K, K'), dim (rows,).

    States (rows, particles, K' + 1): y, then the complement's root mean square r/√(d − K'). The logits are differences to
    mode 0, with r² and log Δ joined per coordinate, so that at d = 10¹² they keep about 1e-4.
    """
    s, n = program.signal[..., None], program.noise[..., None]
    total = n**2 + s**2 * variances  # (E, N, rows, K)
    gain, pull = s * variances / total, n**2 / total
    spare = (dim - centres.shape[2])[:, None]
    inverse = 1 / total - 1 / total[..., :1]
    volume = np.log1p((total - total[..., :1]) / total[..., :1])

    def posterior(e: int, k: int, x: Array) -> Array:
        rows = slice(len(x))
        y, square = x[..., None, :-1], x[..., -1:] ** 2  # (rows, particles, 1, K'), (rows, particles, 1)
        level, delta, inner, size, g, h = (v[e, k, rows, None] for v in (s, total, inverse, volume, gain, pull))
        gap = ((y - level[..., None] * centres[rows, None]) ** 2).sum(-1)
        logits = np.log(weights)[rows, None] - gap / (2 * delta) - 0.5 * centres.shape[2] * size
        logits = logits - 0.5 * spare[rows, None] * (square * inner + size)
        share = special.softmax(logits, axis=-1)  # (rows, particles, K)
        linear = (share * g).sum(-1, keepdims=True)
        along = linear * y[..., 0, :] + np.einsum("bzk,bkj->bzj", share * h, centres[rows])
        return np.concatenate([along, linear * x[..., -1:]], axis=-1)

    return posterior


# ---- running a program -------------------------------------------------------------------------------------------------

Kick = Callable[[int, Array, Array], Array]  # (step, mean, std (rows, 1, …)) → state: how fresh noise enters


def run(program: Program, posterior: Posterior, x: Array, kick: Kick | None = None) -> Array:
    """The state after all steps from x (rows, particles, …), elementwise in particles unless `kick` mixes them.

    Raises ValueError for a program with fresh noise and no `kick`.
    """
    if program.uses(RANDOM) and kick is None:
        raise ValueError("kick = None for a method that adds noise at every step; allowed: a kick; remedy: lattice_kick()")
    if isinstance(posterior, Wave) and kick is None:
        return _waves(program, posterior, x)
    twice, remembers = program.uses(SECOND), program.uses(REMEMBERED)
    result = _columns(program.result, x.ndim)
    guess = _columns(program.guess, x.ndim) if program.guess is not None else []
    state, remembered = x.copy(), np.zeros_like(x)
    for k, count in enumerate(program.active.tolist()):
        x = state[:count]
        first = posterior(0, k, x)
        new = result[STATE][k, :count] * x
        new += result[FIRST][k, :count] * first
        if twice and program.guess is not None:
            at = guess[STATE][k, :count] * x
            at += guess[FIRST][k, :count] * first
            new += result[SECOND][k, :count] * posterior(1, k, at)
        if remembers:
            new += result[REMEMBERED][k, :count] * remembered[:count]
            remembered[:count] = first
        state[:count] = new if kick is None else kick(k, new, result[RANDOM][k, :count])
    return state


def _columns(coefficients: Array, axes: int) -> list[Array]:
    """Those of each kind, contiguous (N, rows, 1, …), to go with a state of `axes` axes."""
    return [np.ascontiguousarray(v).reshape(v.shape + (1,) * (axes - 1)) for v in np.moveaxis(coefficients, -1, 0)]


def _waves(program: Program, wave: Wave, x: Array) -> Array:
    """The same for two modes and no fresh noise: each step is linear in the state and in the posterior's tanh.

    Terms that vanish in the whole program are left out, which changes no bit of the others.
    """
    c, gain, middle, half, slope, shift = _columns(program.result, 2), wave.gain, wave.middle, wave.half, wave.slope, wave.shift
    scale, height, drift = c[STATE] + c[FIRST] * gain[0], c[FIRST] * half[0], c[FIRST] * middle[0]
    twice, remembers = program.uses(SECOND), program.uses(REMEMBERED)
    if twice and program.guess is not None:
        g, again = _columns(program.guess, 2), c[SECOND] * gain[1]
        guess = (g[STATE] + g[FIRST] * gain[0], g[FIRST] * half[0], g[FIRST] * middle[0])
        scale, height, drift = (one + again * two for one, two in zip((scale, height, drift), guess, strict=True))
        drift, second = drift + c[SECOND] * middle[1], c[SECOND] * half[1]
    if remembers:  # what the step before saw: the first step has none
        old_scale, old_height = (np.concatenate([c[REMEMBERED][:1], c[REMEMBERED][1:] * v[0, :-1]]) for v in (gain, half))
        drift[1:] += c[REMEMBERED][1:] * middle[0, :-1]
    centred = not middle.any()  # modes at ±c
    state, bent = x.copy(), np.empty_like(x)
    old_state, old_bent = np.zeros_like(x), np.zeros_like(x)
    for k, count in enumerate(program.active.tolist()):
        y, t = state[:count], bent[:count]
        np.multiply(slope[0, k, :count], y, out=t)
        t += shift[0, k, :count]
        np.tanh(t, out=t)
        add = height[k, :count] * t
        if not centred:
            add += drift[k, :count]
        if twice:
            u = guess[0][k, :count] * y
            u += guess[1][k, :count] * t
            if not centred:
                u += guess[2][k, :count]
            u *= slope[1, k, :count]
            u += shift[1, k, :count]
            np.tanh(u, out=u)
            u *= second[k, :count]
            add += u
        if remembers:
            add += old_scale[k, :count] * old_state[:count]
            add += old_height[k, :count] * old_bent[:count]
            old_state[:count], old_bent[:count] = y, t
        y *= scale[k, :count]
        y += add
    return state


def lattice_kick(particles: int) -> Kick:
    """Noise for sorted particles: rank i gets Φ⁻¹ of a Kronecker sequence, shifted from step to step.

    States (rows, particles), or (rows, particles, 2) with the complement's root mean square last: its square gains std².
    """
    rank = np.arange(particles) + 0.5

    def kick(k: int, mean: Array, std: Array) -> Array:
        fresh = special.ndtri((rank * 0.6180339887498949 + (k + 1) * 0.7548776662466927) % 1.0)
        if mean.ndim == 2:
            return np.sort(mean, axis=1) + std * fresh
        mean = np.take_along_axis(mean, np.argsort(mean[..., :1], axis=1), axis=1)
        return np.stack([mean[..., 0] + std[..., 0] * fresh, np.hypot(mean[..., 1], std[..., 0])], axis=-1)

    return kick


def across(program: Program, variance: Array) -> Array:
    """σ̂ (rows,) of a direction across the line, spread v^½ (rows,) in every mode: signed for a deterministic method."""
    if not program.uses(REMEMBERED) and not program.uses(RANDOM):
        return program.start * np.prod(_gains(program, variance), axis=0)
    posterior = linear_posterior(program, variance)
    # With fresh noise the state is √variance: independent parts add in squares.
    kick = (lambda k, mean, std: np.hypot(mean, std)) if program.uses(RANDOM) else None
    return run(program, posterior, program.start[:, None], kick)[:, 0]


def _gains(program: Program, variance: Array) -> Array:
    """(N, rows): what one step of a method without memory or noise multiplies a linear direction by."""
    gain = program.signal * variance / (program.noise**2 + program.signal**2 * variance)
    out = program.result[..., STATE] + program.result[..., FIRST] * gain[0]
    if program.guess is not None:
        out = out + program.result[..., SECOND] * gain[1] * (program.guess[..., STATE] + program.guess[..., FIRST] * gain[0])
    return out
