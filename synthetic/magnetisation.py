"""What a sampler on Curie-Weiss made, read off the magnetisation M of its trajectories, and the same numbers of the law itself.

Features of the "+" mode: its weight P(M > 0); the mean of M there; the fluctuations √d·std(M) of what arrived within m*/2 of
m* (a trajectory left between the modes would swamp a standard deviation); the root mean variance of a coordinate. Distances
between two laws of M: W₂, and the root of the energy distance 2∫(F − G)² (Székely and Rizzo 2013).
"""

from __future__ import annotations

import math

import numpy as np

from theory.curie_weiss import CurieWeiss

FEATURES = ("weights", "means", "fluctuations", "spread")
Features = tuple[float, float, float, float]


def law_features(law: CurieWeiss) -> Features:
    """Exact (weight, mean, fluctuations, spread) of the "+" mode at the law's dimension."""
    magnetisation, mass = np.linspace(-1, 1, law.dim + 1), law.magnetisation_log_pmf().exp().numpy()
    return mode_features(magnetisation, 1 - magnetisation**2, mass, law)


def mode_features(magnetisation: np.ndarray, variance: np.ndarray, mass: np.ndarray, law: CurieWeiss) -> Features:
    """Weight, mean, √d·std of M and root mean variance of a coordinate for M > 0; fluctuations of what arrived near m*."""
    share = mass * ((magnetisation > 0) + 0.5 * (magnetisation == 0))
    arrived = mass * (np.abs(magnetisation - law.spontaneous_magnetisation) <= law.spontaneous_magnetisation / 2)
    if not (share.sum() > 0 and arrived.sum() > 0):
        return float(share.sum()), math.nan, math.nan, math.nan
    centre = np.average(magnetisation, weights=arrived)
    fluctuations = math.sqrt(law.dim * np.average((magnetisation - centre) ** 2, weights=arrived))
    mean, spread = np.average(magnetisation, weights=share), math.sqrt(np.average(variance, weights=share))
    return float(share.sum()), float(mean), fluctuations, spread


def standard_errors(magnetisation: np.ndarray, variance: np.ndarray) -> Features:
    """Standard errors of (weight, mean, relative fluctuations, spread); weight: collapsed strata."""
    plus, pairs = magnetisation > 0, len(magnetisation) // 2
    changes = np.sum((plus[: 2 * pairs : 2].astype(float) - plus[1 : 2 * pairs : 2]) ** 2)
    weight = max(math.sqrt(changes), 0.5) / len(plus)
    count = int(plus.sum())
    if count < 2:
        return weight, math.nan, math.nan, math.nan
    inside = variance[plus]
    spread = inside.std(ddof=1) / math.sqrt(count) / (2 * math.sqrt(inside.mean()))
    return weight, magnetisation[plus].std(ddof=1) / math.sqrt(count), 1 / math.sqrt(2 * count), spread


def energy_distance(left: np.ndarray, right: np.ndarray, mass: np.ndarray) -> float:
    """2∫(F − G)² = 2E|X − Y| − E|X − X'| − E|Y − Y'| of two sets of points with the same masses."""
    points = np.concatenate([left, right])
    order = np.argsort(points, kind="stable")
    gap = np.cumsum(np.concatenate([mass, -mass])[order])
    return float(2 * (gap[:-1] ** 2 * np.diff(points[order])).sum())


def distances(magnetisation: np.ndarray, law: CurieWeiss) -> tuple[float, float]:
    """W₂/m* and √energy/√m* to the exact law of M, each trajectory standing for 16 equal shares of its stratum."""
    u = (np.arange(16 * len(magnetisation)) + 0.5) / (16 * len(magnetisation))
    cumulative = np.cumsum(law.magnetisation_log_pmf().exp().numpy())
    exact = np.linspace(-1, 1, law.dim + 1)[np.minimum(np.searchsorted(cumulative, u), law.dim)]
    found, scale = np.repeat(magnetisation, 16), law.spontaneous_magnetisation
    energy = energy_distance(found, exact, np.full(len(u), 1 / len(u)))
    return math.sqrt(np.mean((found - exact) ** 2)) / scale, math.sqrt(energy / scale)
