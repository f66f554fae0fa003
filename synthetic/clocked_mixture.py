"""The Gaussian mixture under paper A's clocks: errors of an Euler sampler's output, exact at any dimension.

The law of the output is that of `theory.reduction` and `theory.feature`; here are its distances to the mixture along the line
of modes, and weights sharp enough for floors and rates.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from synthetic import magnetisation
from theory import feature
from theory.program import Program, Walk, compile_walks
from theory.reduction import Line, stack_lines
from theory.sampler import Euler, grid
from theory.schedule import Schedule, variance_exploding_flow, variance_preserving_flow

CLOCKS = ("VP sqrt", "VP linear", "VE linear", "VE sqrt")
DISTANCES = ("W₂", "energy")


def schedule(name: str, dim: float, kappa: float) -> Schedule:
    noise, form = name.split()
    flow = variance_preserving_flow if noise == "VP" else variance_exploding_flow
    return flow(form, dim, kappa)  # type: ignore[arg-type]


Case = tuple[str, float, float, int]  # clock, d, κ, N


def compiled(cases: Sequence[Case], settings: Mapping[str, Any]) -> tuple[Program, Line]:
    walks = [Walk.of(schedule(name, dim, kappa), grid(steps)) for name, dim, kappa, steps in cases]
    line = (settings["weight"], settings["mean"], settings["spread"])
    return compile_walks(Euler(), walks), stack_lines([Line.two_modes(dim, *line) for _, dim, _, _ in cases])


def errors(cases: Sequence[Case], settings: Mapping[str, Any]) -> np.ndarray:
    """(features and distances, cases): relative errors of the worst mode; distances of M."""
    program, law = compiled(cases, settings)
    found = sharp(program, law, feature.outcome(program, law))
    apart = distances(program, law, found.weight[:, 0], settings["mean"])
    return np.concatenate([feature.errors(found, feature.truth(law)), apart])


def signed_errors(cases: Sequence[Case], settings: Mapping[str, Any]) -> np.ndarray:
    """(p̂ − p, σ̂/σ − 1) by cases."""
    program, law = compiled(cases, settings)
    found = sharp(program, law, feature.outcome(program, law, ("weight", "across")))
    return np.stack([found.weight[:, 1] - law.weights[:, 1], found.across[:, 1] / settings["spread"] - 1])


def sharp(program: Program, law: Line, found: feature.Modes) -> feature.Modes:
    """The same with the weights known to 2e-7 in z in place of 1e-3: floors and rates need more than features do."""
    z, half = special.ndtri(np.clip(found.weight[:, :1], 1e-300, 1 - 1e-16)), 1e-3
    moves, share = feature.final_map(program, law), np.linspace(-1, 1, 21)
    for _ in range(3):
        y = moves(z + half * share)[0]
        below = np.clip((y <= law.cuts).sum(1, keepdims=True), 1, 20)
        z, half = z + half * (share[below] + share[below - 1]) / 2, half / 20
    lower = special.ndtr(z)
    return dataclasses.replace(found, weight=np.concatenate([lower, 1 - lower], axis=1))


def distances(program: Program, law: Line, below: np.ndarray, mean: float) -> np.ndarray:
    """(2, rows): W₂/m and √energy/√m of M: quantile functions, and distribution functions, cut where either changes its mode.

    `below` is the sampler's weight of the lower mode.
    """
    nodes, share = np.polynomial.legendre.leggauss(200)
    rows = len(below)
    ends = np.stack([0 * below, below, law.weights[:, 0], 0 * below + 1], axis=1)
    ends.sort(axis=1)
    width = np.diff(ends, axis=1)[..., None]
    u = np.clip((ends[:, :-1, None] + width * (nodes + 1) / 2).reshape(rows, -1), 1e-300, 1 - 1e-16)
    mass = (width * share / 2).reshape(rows, -1)
    y, q = feature.final_map(program, law)(special.ndtri(u))[0], feature.quantile(law, u)
    out = np.empty((2, rows))
    out[0] = np.sqrt((mass * (y - q) ** 2).sum(1) / law.dim) / mean
    for row in range(rows):
        out[1, row] = math.sqrt(magnetisation.energy_distance(y[row], q[row], mass[row]) / math.sqrt(law.dim[row]) / mean)
    return out
