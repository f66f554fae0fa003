"""Oracle grids: equal angles for one direction, the crossing step for two, and never worse than anything tried."""

import numpy as np
import pytest

from theory import cost, oracle
from theory.program import Walk, compile_walks
from theory.reduction import across
from theory.sampler import STEPS, grid
from theory.schedule import CATALOGUE


@pytest.mark.parametrize("steps", [2, 5, 12])
def test_one_direction_has_equal_angles(steps):
    """WITNESS: N free levels make N + 1 equal angles of π/2 (claim C3)."""
    found = oracle.free_grid([0.7], [1.0], steps)
    angles = np.append(np.arctan(found.levels / np.sqrt(0.7)), [])
    np.testing.assert_allclose(-np.diff(angles), np.pi / 2 / (steps + 1), rtol=1e-4)
    assert found.error == pytest.approx(cost.equal_angle_loss(np.pi / 2, steps + 1), rel=1e-9)


@pytest.mark.parametrize("steps", range(2, 17))
def test_far_scales_cross_in_one_step(steps):
    """N + 2 stretches of angle. BITE: one search from the geodesic alone ends in a valley, 15 % above, at odd N."""
    found = oracle.free_grid([1e12, 0.25], [0.5, 0.5], steps)
    assert found.error == pytest.approx(oracle.decoupled_error(steps), rel=1e-4)


@pytest.mark.parametrize("dim", [1e2, 1e6])
def test_oracle_is_stationary_and_below_the_geodesic(dim):
    pair, weights = (dim + 0.25, 0.25), (0.5, 0.5)
    for steps in (4, 7, 16):
        found = oracle.free_grid(pair, weights, steps)
        geodesic = cost.geodesic(pair, weights, 0.0, 1e6 * dim**0.5, steps + 1)[1:]
        assert found.error == pytest.approx(weights @ cost.missing_spread(pair, found.levels), rel=1e-12)
        assert found.error <= weights @ cost.missing_spread(pair, geodesic) * (1 + 1e-12)
        assert found.gradient < 1e-6
        assert (len(found.levels), found.levels[-1]) == (steps + 1, 0.0)


@pytest.mark.parametrize("name", ["linear", "EDM", "log-uniform"])
def test_missing_spread_is_the_samplers(name):
    """WITNESS: the spread that DDIM itself leaves, of x/signal where noise remains."""
    schedule, variance = CATALOGUE[name](), 3.0
    program = compile_walks(STEPS["DDIM"](), [Walk.of(schedule, grid(9))])
    spread = across(program, np.array([variance]))[0] / float(schedule.signal(0.0))
    levels = schedule.noise_to_signal(grid(9)).numpy()
    assert cost.missing_spread([variance], levels)[0] == pytest.approx(abs(np.log(spread / variance**0.5)), rel=1e-9)


def test_missing_spread_of_many_directions_and_of_an_infinite_start():
    """Each direction as if alone, bit for bit; ς₀ = ∞ is the start at ς₁. BITE: the first step from ∞ counted, NaN."""
    variances, levels = np.geomspace(1e-4, 1e12, 9), np.array([np.inf, 30.0, 3.0, 0.2, 0.0])
    found = cost.missing_spread(variances, levels)
    assert found.tolist() == [cost.missing_spread([p], levels[1:])[0] for p in variances]
    assert np.isfinite(found).all()
