"""Two phases: input errors and extremes of the formulas that the claims A7 and A8 do not reach."""

import math

import numpy as np
import pytest
from scipy import special

from theory import phase


def test_trajectories_without_signal_do_not_move():
    z = np.linspace(-8, 8, 17)
    assert np.allclose(phase.state_at(0.8, 0.0, z), z, rtol=0, atol=1e-12)


def test_far_starts_and_far_levels_keep_their_digits():
    """Both tails: the flow at p mirrors the one at 1 − p, and at θ = 10⁶ it is rθ + w."""
    z = np.array([-8.0, -3.0, 3.0, 8.0])
    assert np.allclose(phase.state_at(0.8, 2.0, z), -phase.state_at(0.2, 2.0, -z), rtol=0, atol=1e-12)
    moved = phase.state_at(0.8, 1e6, z) - phase.chosen_sign(0.8, z) * 1e6
    assert np.allclose(moved, phase.deviation(0.8, z), rtol=0, atol=1e-8)


def test_deviation_is_standard_normal_in_each_mode():
    quantiles = (np.arange(100_000) + 0.5) / 100_000
    z = special.ndtri(quantiles)
    for sign in (1, -1):
        inside = phase.deviation(0.8, z)[phase.chosen_sign(0.8, z) == sign]
        assert abs(inside.mean()) < 1e-3
        assert abs(inside.std() - 1) < 1e-3


@pytest.mark.parametrize("bias", [1e-9, 1e-3, 0.5, 5.0, 500.0])
def test_speciation_level_inverts_the_threshold(bias):
    theta = phase.speciation_level(bias)
    assert theta == phase.speciation_level(-bias)
    assert math.isclose(phase.largest_bias(theta), bias, rel_tol=1e-6, abs_tol=1e-12)


def test_errors_state_value_range_and_remedy():
    with pytest.raises(ValueError, match=r"weight p = 1.0; allowed: 0 < p < 1"):
        phase.state_at(1.0, 1.0, 0.0)
    with pytest.raises(ValueError, match=r"θ down to -1.0; allowed: θ ≥ 0"):
        phase.state_at(0.5, -1.0, 0.0)
    with pytest.raises(ValueError, match=r"bias h = inf; allowed: a finite number"):
        phase.speciation_level(math.inf)
