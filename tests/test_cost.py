"""EXTREME and input errors of `theory.cost`, beyond what the claims C1 to C11 show of it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from theory import cost


def test_geodesic_of_one_variance_is_the_tangent_law() -> None:
    levels = cost.geodesic([0.25], [3.0], 0.002, 80.0, 10)
    assert levels == pytest.approx(cost.tangent_level(0.5, 0.002, 80.0, np.arange(11) / 10), rel=1e-5)
    assert (levels[0], levels[-1]) == (80.0, 0.002)


def test_geodesic_reaches_clean_data_and_spans_twelve_decades() -> None:
    levels = cost.geodesic([1e24, 1e-2], [1.0, 1.0], 0.0, 1e15, 50)
    assert levels[-1] == 0
    assert np.all(np.diff(levels) < 0)
    assert cost.spread_losses([1e24, 1e-2], levels) == pytest.approx([np.pi**2 / 200] * 2, rel=0.01)


def test_geodesic_of_a_spectrum_has_equal_pieces() -> None:
    variances = np.geomspace(1e-6, 1, 500)
    _, length = cost.geodesic_arc(variances, np.ones(500), 1e-4, 10.0)
    levels = cost.geodesic(variances, np.ones(500), 1e-4, 10.0, 16)
    pieces = [cost.geodesic_arc(variances, np.ones(500), b, a)[1][-1] for a, b in itertools.pairwise(levels)]
    assert pieces == pytest.approx([length[-1] / 16] * 16, rel=1e-4)


def test_direction_without_weight_plays_no_part() -> None:
    both = cost.geodesic([1.0, 0.01], [1.0, 0.0], 0.002, 80.0, 7)
    assert both == pytest.approx(cost.geodesic([1.0], [1.0], 0.002, 80.0, 7))


@pytest.mark.parametrize(
    ("variances", "weights", "low", "high", "steps", "message"),
    [
        ([1.0, 0.0], [1.0, 1.0], 0.1, 1.0, 4, "leave out directions without variance"),
        ([1.0, np.nan], [1.0, 1.0], 0.1, 1.0, 4, "0 < P < ∞"),
        ([1.0], [1.0, 1.0], 0.1, 1.0, 4, "one weight for each"),
        ([], [], 0.1, 1.0, 4, "K ≥ 1"),
        ([1.0], [-1.0], 0.1, 1.0, 4, "0 ≤ w < ∞"),
        ([1.0], [0.0], 0.1, 1.0, 4, "not all 0"),
        ([1.0], [1.0], 1.0, 1.0, 4, "ς_min < ς_max"),
        ([1.0], [1.0], 0.1, np.inf, 4, "ς_max < ∞"),
        ([1.0], [1.0], 0.1, 1.0, 0, "integer ≥ 1"),
        ([1.0], [1.0], 0.1, 1.0, 2.5, "steps N = 2.5; allowed: an integer ≥ 1; remedy"),
    ],
)
def test_bad_input_is_refused_with_its_range(
    variances: list[float], weights: list[float], low: float, high: float, steps: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cost.geodesic(variances, weights, low, high, steps)


@pytest.mark.parametrize(("variances", "levels"), [([1.0], []), ([1.0], [np.inf]), ([1.0], [2.0]), (1.0, [2.0, 0.0])])
def test_missing_spread_wants_a_list_of_variances_and_a_step(variances: Any, levels: list[float]) -> None:
    with pytest.raises(ValueError, match=r"variances .* and levels .*; allowed: \(K,\) and \(N \+ 1,\) with N ≥ 1; remedy"):
        cost.missing_spread(variances, levels)


def test_no_iteration_and_no_variance_are_refused() -> None:
    with pytest.raises(ValueError, match=r"iterations = 0; allowed: an integer ≥ 1; remedy"):
        cost.consistent_weights([1.0, 2.0], lambda e: e, 0.0, 2.0, 3, iterations=0)
    with pytest.raises(ValueError, match=r"K ≥ 1; remedy"):
        cost.consistent_weights([], lambda e: e, 0.0, 2.0, 3)


def test_weights_that_do_not_settle_are_refused() -> None:
    with pytest.raises(ArithmeticError, match="still move"):
        cost.consistent_weights([1.0, 0.01], lambda e: e, 0.002, 80.0, 8, iterations=1)
