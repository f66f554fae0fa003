"""What came out of a sampler, mode by mode: weights, means, spreads along and across the line of modes, and W₂.

The law of the output along the line is the image of N(0, 1) under an increasing map y(z) (`theory.reduction`), so the weights
are the roots of y(z) = cut, found by nested brackets; quantiles inside a mode are values of the map; means are Gauss–Legendre
integrals in probability, mode by mode; and W₂ along the line is the distance of two quantile functions. Spread along it is
half of the central 68.27 % of a mode: trajectories that end between two modes, or in the wrong one, are counted by the weights,
the means and W₂, and would otherwise swamp it (a share f of them adds f·|μ|² ∝ d to a variance). A map that is not increasing,
as of steps far too long, is taken by the mass of its nodes: such an output has lost its modes anyway.
Random methods: the same numbers from sorted particles; resolution 1/particles of the mass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from theory.program import RANDOM, Array, Program
from theory.reduction import Line, across, lattice_kick, line_posterior, run, subspace_posterior

TAIL = float(special.ndtr(-1.0))  # below the central 68.27 %
COARSE, FINE = 42, 30  # points of the first bracket and of the two nested ones: an edge is known to 0.0003 in z
REACH = 8.0  # standard deviations of z that are looked at: 1e-15 of the mass lies outside
_PARTICLES = 512  # of a random method; `outcome` takes more
_NODES, _MASS = (np.polynomial.legendre.leggauss(16) + np.array([[1.0], [0.0]])) / 2  # on [0, 1]

Map = Callable[[Array], Array]  # z (rows, points) → final (y, root mean square of the complement): (2, rows, points)


@dataclass(frozen=True, eq=False)
class Modes:
    """Arrays (rows, K): weight, mean along the line, half-width of the central 68.27 % along it, spread across it.

    NaN: not asked for, or of a mode that got no mass.
    """

    weight: Array
    mean: Array
    along: Array
    across: Array


FEATURES = ("weight", "mean", "along", "across")


def _cdf(law: Line, x: Array) -> Array:
    """P(y ≤ x) under the law itself, x (rows, points)."""
    weights, centres, spreads = (v.T[..., None] for v in (law.weights, law.centres, np.sqrt(law.variances)))  # modes first
    return (weights * special.ndtr((x - centres) / spreads)).sum(0)


def quantile(law: Line, probability: Array) -> Array:
    """The law's own quantile function along the line, (rows, points), by bisection to 2⁻⁶⁰ of its range."""
    reach = 10 * np.sqrt(law.variances.max(1, keepdims=True))
    low = np.broadcast_to(law.centres[:, :1] - reach, probability.shape).copy()
    high = np.broadcast_to(law.centres[:, -1:] + reach, probability.shape).copy()
    for _ in range(60):
        middle = (low + high) / 2
        below = _cdf(law, middle) < probability
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def truth(law: Line, features: Sequence[str] = FEATURES) -> Modes:
    """The features of the law itself, cut at the same places (overlapping modes exchange their tails); `along` if asked for."""
    rows = len(law.dim)
    edges = np.concatenate([np.full((rows, 1), -np.inf), law.cuts, np.full((rows, 1), np.inf)], axis=1)
    z = (edges[..., None] - law.centres[:, None]) / np.sqrt(law.variances)[:, None]  # (rows, K + 1, K)
    below, height = special.ndtr(z), np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    mass = law.weights[:, None] * np.diff(below, axis=1)
    moment = mass * law.centres[:, None] - law.weights[:, None] * np.sqrt(law.variances)[:, None] * np.diff(height, axis=1)
    weight = mass.sum(-1)
    along = np.full(weight.shape, np.nan)
    if "along" in features:
        first = np.concatenate([np.zeros((rows, 1)), np.cumsum(weight, 1)[:, :-1]], axis=1)
        ends = [quantile(law, first + share * weight) for share in (TAIL, 1 - TAIL)]
        along = (ends[1] - ends[0]) / 2
    return Modes(weight, moment.sum(-1) / weight, along, np.sqrt(law.variances))


def final_map(program: Program, law: Line) -> Map:
    """z → where a trajectory started at noise·z along the line ends; deterministic methods.

    With unequal spreads the complement starts at its median length and moves with y; otherwise it is 0 here: see `across`.
    """
    start = program.start[:, None]
    if law.equal_spreads:
        posterior = line_posterior(program, law)
        return lambda z: np.stack([y := run(program, posterior, start * z), np.zeros_like(y)])
    joint = subspace_posterior(program, law.weights, law.centres[..., None], law.variances, law.dim)
    rest = start * median_length(law.dim)[:, None]
    return lambda z: np.moveaxis(run(program, joint, np.stack([start * z, np.broadcast_to(rest, z.shape)], -1)), -1, 0)


def median_length(dim: Array) -> Array:
    """Median of |z_⊥|/√(d − 1) for d − 1 standard normals: chi, relative width 1/√(2d)."""
    spare = dim - 1
    return np.sqrt(
        np.where(spare < 1e8, special.chdtri(np.minimum(spare, 1e8), 0.5) / np.minimum(spare, 1e8), 1 - 2 / (3 * spare))
    )


def outcome(program: Program, law: Line, features: Sequence[str] = FEATURES, particles: int = _PARTICLES) -> Modes:
    """The features of the sampler's output, those asked for. `particles` matters for random methods only."""
    blank = np.full(law.centres.shape, np.nan)
    spread = np.abs(across(program, law.variances[:, 0]))[:, None] + 0 * law.centres
    if set(features) == {"across"} and law.equal_spreads:
        return Modes(blank, blank, blank, spread)
    if program.uses(RANDOM):
        return _from_particles(*_particles(program, law, particles), spread, law)
    moves = final_map(program, law)
    edges = _edges(moves, law)
    weight = np.diff(edges, axis=1)
    if set(features) <= {"weight", "across"} and law.equal_spreads:
        return Modes(weight, blank, blank, spread)
    u = (edges[:, :-1, None] + weight[..., None] * np.array([*_NODES, TAIL, 1 - TAIL])).reshape(len(edges), -1)
    y, rest = moves(special.ndtri(np.clip(u, 1e-300, 1 - 1e-16))).reshape(2, *weight.shape, -1)
    if not law.equal_spreads:
        spread = np.sqrt((rest[..., :-2] ** 2) @ _MASS)
    mean, along = y[..., :-2] @ _MASS, (y[..., -1] - y[..., -2]) / 2
    lost = weight == 0
    return Modes(weight, *(np.where(lost, np.nan, v) for v in (mean, along, spread)))


def may_pass(program: Program, law: Line, epsilon: float) -> Array:
    """(rows,): False where some weight is certainly off by more than ε of the heaviest, by two trajectories beside each cut.

    The mass below cut k is a sum of k weights or of K − k, so it may be off by min(k, K − k)·ε. A quick test: whatever
    is not false, and every random method, gets the full answer.
    """
    if program.uses(RANDOM):
        return np.ones(len(law.dim), dtype=bool)
    below = _cdf(law, law.cuts)
    modes = law.centres.shape[1]
    count = np.minimum(np.arange(1, modes), np.arange(modes - 1, 0, -1))
    slack = epsilon * truth(law, ("weight",)).weight.max(1, keepdims=True) * count
    z = special.ndtri(np.clip(np.concatenate([below - slack, below + slack], axis=1), 1e-16, 1 - 1e-16))
    low, high = np.split(final_map(program, law)(z)[0], 2, axis=1)
    return np.logical_not(((low > law.cuts) | (high < law.cuts)).any(1))


def _edges(moves: Map, law: Line) -> Array:
    """(rows, K + 1): probabilities 0 = F₀ ≤ F₁ ≤ … ≤ 1 of ending below each cut."""
    rows, cuts = len(law.dim), law.cuts
    z = np.broadcast_to(np.linspace(-REACH, REACH, COARSE), (rows, COARSE))
    above = moves(z)[0][:, None, :] > cuts[..., None]  # (rows, K − 1, COARSE)
    rises = (np.diff(above.astype(np.int8), axis=-1) >= 0).all((1, 2))
    count = above.sum(-1)
    low, high = z[0][np.clip(COARSE - 1 - count, 0, COARSE - 1)], z[0][np.clip(COARSE - count, 0, COARSE - 1)]
    for _ in range(2):
        share = np.linspace(0, 1, FINE)
        inside = low[..., None] + (high - low)[..., None] * share
        y = moves(inside.reshape(rows, -1))[0].reshape(inside.shape)
        index = np.clip((y <= cuts[..., None]).sum(-1), 1, FINE - 1)[..., None]
        low, high = (np.take_along_axis(inside, index - shift, -1)[..., 0] for shift in (1, 0))
    below = special.ndtr((low + high) / 2)
    below = np.where(count == 0, 1.0, np.where(count == COARSE, 0.0, below))
    half = np.diff(special.ndtr(np.concatenate([[-np.inf], (z[0][1:] + z[0][:-1]) / 2, [np.inf]])))
    below = np.where(rises[:, None], below, 1 - above @ half)
    return np.concatenate([np.zeros((rows, 1)), below, np.ones((rows, 1))], axis=1)


def _particles(program: Program, law: Line, count: int) -> tuple[Array, Array | None]:
    """Sorted final particles along the line (rows, count), and the complement's root mean square with unequal spreads."""
    z = special.ndtri((np.arange(count) + 0.5) / count)
    start, kick = program.start[:, None] * z, lattice_kick(count)
    if law.equal_spreads:
        return np.sort(run(program, line_posterior(program, law), start, kick), axis=1), None
    joint = subspace_posterior(program, law.weights, law.centres[..., None], law.variances, law.dim)
    rest = np.broadcast_to(program.start[:, None], start.shape)
    x = run(program, joint, np.stack([start, rest], -1), kick)
    x = np.take_along_axis(x, np.argsort(x[..., :1], axis=1), axis=1)
    return x[..., 0], x[..., 1]


def _from_particles(y: Array, rest: Array | None, spread: Array, law: Line) -> Modes:
    cell = (y[..., None] > law.cuts[:, None]).sum(-1)
    out = np.full((4, *law.centres.shape), np.nan)
    for row, k in np.ndindex(*law.centres.shape):
        mine = y[row, cell[row] == k]
        out[0, row, k] = len(mine) / y.shape[1]
        if len(mine):
            low, high = np.quantile(mine, [TAIL, 1 - TAIL], method="hazen")
            width = spread[row, k] if rest is None else np.sqrt(np.mean(rest[row, cell[row] == k] ** 2))
            out[1:, row, k] = mine.mean(), (high - low) / 2, width
    return Modes(*out)


def errors(found: Modes, true: Modes, features: Sequence[str] = FEATURES) -> Array:
    """Relative errors (features, rows), worst mode: spreads relative to the mode's own, a weight to the heaviest mode's, a mean
    to the farthest mode's. ∞ for the mean and the spread of a mode that got no mass.
    """
    scale = {
        "weight": true.weight.max(1, keepdims=True),
        "mean": np.abs(true.mean).max(1, keepdims=True),
        "along": true.along,
        "across": true.across,
    }
    gaps = np.stack([np.abs(getattr(found, name) - getattr(true, name)) / scale[name] for name in features])
    return np.where(np.isnan(gaps), np.inf, gaps).max(-1)


def wasserstein(program: Program, law: Line) -> Array:
    """W₂ between output and law, per coordinate in units of the spread: W₂/(σ√d), (rows,). Equal spreads only.

    Along the line exactly (quantile functions, cut where either changes its mode), across it √(d − 1)·|σ̂ − σ|.
    """
    if not law.equal_spreads:
        raise ValueError(
            "spreads of the modes differ: the complement's transport depends on the mode; allowed: equal spreads; remedy: "
            "read `outcome`, mode by mode, instead of W₂"
        )
    variance = law.variances[:, 0]
    if program.uses(RANDOM):
        y, _ = _particles(program, law, _PARTICLES)
        u = np.broadcast_to((np.arange(_PARTICLES) + 0.5) / _PARTICLES, y.shape)
        square = ((y - quantile(law, u)) ** 2).mean(1)
    else:
        moves = final_map(program, law)
        ends = np.sort(np.concatenate([_edges(moves, law), _cdf(law, law.cuts)], axis=1), axis=1)
        width = np.diff(ends, axis=1)[..., None]
        u = np.clip((ends[:, :-1, None] + width * _NODES).reshape(len(ends), -1), 1e-300, 1 - 1e-16)
        gap = (moves(special.ndtri(u))[0] - quantile(law, u)) ** 2
        square = (gap * (width * _MASS).reshape(gap.shape)).sum(1)
    rest = (law.dim - 1) * (np.abs(across(program, variance)) - np.sqrt(variance)) ** 2
    return np.sqrt((square + rest) / (variance * law.dim))
