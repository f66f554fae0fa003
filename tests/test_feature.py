"""Features of the output: against a plain simulation of the one-dimensional map, and against the law itself."""

import math

import numpy as np
import pytest
from scipy import special

from theory import feature, limit, reduction
from theory.program import Walk, compile_walks
from theory.reduction import Line
from theory.sampler import STEPS, grid
from theory.schedule import variance_exploding_flow, variance_preserving_flow


def _program(schedule, steps, method="DDIM"):
    return compile_walks(STEPS[method](), [Walk.of(schedule, grid(steps))])


@pytest.mark.parametrize("dim", [100.0, 1e6, 1e12])
def test_weights_are_those_of_the_other_reduction(dim):
    """WITNESS: limit.weight_plus, written from A and B and with its own root search."""
    schedule = variance_preserving_flow("sqrt", dim, 3.0)
    found = feature.outcome(_program(schedule, 40, "Euler"), Line.two_modes(dim, 0.8))
    expected = limit.weight_plus(limit.TwoModes.gaussian_mixture(dim, 0.8), schedule, grid(40))
    assert found.weight[0, 1] == pytest.approx(expected, abs=3e-4)
    assert found.across[0, 0] == pytest.approx(limit.complement_gain(schedule, grid(40), 0.25), rel=1e-10)


@pytest.mark.parametrize("spreads", [[0.5, 0.5, 0.5], [0.5, 0.3, 0.8]])
def test_features_are_those_of_a_dense_set_of_trajectories(spreads):
    """WITNESS: 20 000 quantiles of z and numpy's own mean and quantiles, mode by mode."""
    law = Line.of(400.0, [0.3, 0.5, 0.2], np.array([-20.0, 4.0, 30.0]), spreads)
    program = _program(variance_preserving_flow("linear"), 60)
    y, rest = feature.final_map(program, law)(special.ndtri((np.arange(20_000)[None] + 0.5) / 20_000))
    found, cell = feature.outcome(program, law), (y[0][:, None] > law.cuts).sum(1)
    for k in range(3):
        mine = y[0][cell == k]
        low, high = np.quantile(mine, [feature.TAIL, 1 - feature.TAIL])
        assert found.weight[0, k] == pytest.approx(len(mine) / 20_000, abs=4e-4)
        assert found.mean[0, k] == pytest.approx(mine.mean(), abs=0.03)
        assert found.along[0, k] == pytest.approx((high - low) / 2, rel=0.01)
        if len(set(spreads)) > 1:
            assert found.across[0, k] == pytest.approx(math.sqrt(np.mean(rest[0][cell == k] ** 2)), rel=1e-3)


def test_particles_of_a_random_method_converge():
    """The weight from 256, 1024 and 8192 particles; resolution 1/particles."""
    law, program = Line.two_modes(1e4, 0.8), _program(variance_preserving_flow("linear", 1e4, 3.0), 40, "ancestral")
    weights = [feature.outcome(program, law, particles=n).weight[0, 1] for n in (256, 1024, 8192)]
    assert abs(weights[0] - weights[2]) < 2 / 256
    assert abs(weights[1] - weights[2]) < 2 / 1024


def test_errors_vanish_with_many_steps_at_first_order():
    """ORDER: weight and spread from N = 200 to 400, DDIM; the weight is known to 1e-4 of its error of 2e-3. W₂ falls."""
    law = Line.two_modes(100.0, 0.8)
    few, many = (_program(variance_preserving_flow("linear"), n) for n in (200, 400))
    gaps = [feature.errors(feature.outcome(p, law), feature.truth(law))[[0, 3], 0] for p in (few, many)]
    np.testing.assert_allclose(gaps[0] / gaps[1], 2, rtol=0.12)
    assert feature.wasserstein(many, law) < 0.75 * feature.wasserstein(few, law)


def test_truth_of_well_separated_modes_is_their_parameters():
    true = feature.truth(Line.of(1e6, [0.3, 0.5, 0.2], [-1000.0, 200.0, 1500.0], [0.5, 0.3, 0.8]))
    np.testing.assert_allclose(true.weight[0], [0.3, 0.5, 0.2], rtol=1e-12)
    np.testing.assert_allclose(true.mean[0], [-1000.0, 200.0, 1500.0], rtol=1e-9)
    np.testing.assert_allclose(true.along[0], [0.5, 0.3, 0.8], rtol=1e-6)


def test_quick_test_never_rejects_what_passes():
    """BITE: a slack of ε in place of min(k, K − k)·ε would reject four modes whose two middle weights are off."""
    law = Line.of(1e4, [0.2, 0.3, 0.3, 0.2], np.array([-1.5, -0.5, 0.5, 1.5]) * 100, [0.5] * 4)
    for steps in (10, 20, 40, 80, 160):
        program = _program(variance_preserving_flow("linear", 1e4, 6.0), steps)
        error = feature.errors(feature.outcome(program, law), feature.truth(law), ["weight"])[0, 0]
        for epsilon in (0.02, 0.05, 0.1, 0.3):
            if error <= epsilon:
                assert feature.may_pass(program, law, epsilon)[0]


def test_lost_mode_counts_as_infinite_error():
    law, program = Line.two_modes(1e12, 0.8), _program(variance_preserving_flow("sqrt"), 20)
    gaps = feature.errors(feature.outcome(program, law), feature.truth(law))[:, 0]
    assert gaps[0] == pytest.approx(0.25, abs=1e-6)
    assert gaps[1] == math.inf


def test_wasserstein_of_unequal_spreads_is_refused():
    law = Line.of(100.0, [0.5, 0.5], [-10.0, 10.0], [0.5, 0.6])
    with pytest.raises(ValueError, match="allowed: equal spreads"):
        feature.wasserstein(_program(variance_exploding_flow("linear", 100), 10), law)


def test_median_length_of_the_complement():
    found = feature.median_length(np.array([2.0, 50.0, 1e12]))
    assert found[0] == pytest.approx(special.ndtri(0.75))
    assert found[1] == pytest.approx(math.sqrt(special.chdtri(49, 0.5) / 49))
    assert found[2] == pytest.approx(1, abs=1e-11)
    assert reduction.Line.two_modes(100.0, 0.8).equal_spreads
