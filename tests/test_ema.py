"""Averages against plain sums, and averages of any length against those that were kept all the way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imagenet import ema
from imagenet.ema import Average, Profile

STEPS = 600


def walk(seed: int = 0) -> np.ndarray:
    """Weights (steps, 5) of a training: they drift and jitter."""
    random = np.random.default_rng(seed)
    return np.cumsum(random.normal(size=(STEPS, 5)), 0) / 10 + random.normal(size=(STEPS, 5))


def followed(path: np.ndarray, rate: ema.Rate) -> list[torch.Tensor]:
    """The average after each update; two tensors at a time, so that the fused pass has a list to work on."""
    average = Average([torch.zeros(3).double(), torch.zeros(2).double()], rate)
    seen = []
    for number, weights in enumerate(torch.from_numpy(path), start=1):
        average.update([weights[:3], weights[3:]], number)
        seen.append(torch.cat(average.values).clone())
    return seen


@given(st.floats(0, 0.9999), st.integers(1, 200))
def test_fixed_is_a_geometric_sum(decay, count):
    path = walk()[:count]
    ages = np.arange(count)[::-1]
    expected = ((1 - decay) * decay**ages) @ path  # started from zeros
    np.testing.assert_allclose(followed(path, ema.fixed(decay))[-1], expected, atol=1e-11)


def test_ramp_starts_short_and_ends_fixed():
    rate = ema.fixed(0.99, ramp=True)
    assert rate(1) == pytest.approx(1 - 2 / 11)
    assert rate(100) == pytest.approx(1 - 101 / 110)
    assert rate(10_000) == pytest.approx(0.01)
    assert all(rate(n + 1) <= rate(n) for n in range(1, 2000))


@given(st.floats(-0.4, 40), st.integers(1, STEPS))
def test_power_is_the_sum_with_weights_of_powers(gamma, count):
    """(k^{γ+1} − (k − 1)^{γ+1})/n^{γ+1} on the weights of step k."""
    share = np.arange(count + 1) / count
    expected = np.diff(share ** (gamma + 1)) @ walk()[:count]
    np.testing.assert_allclose(followed(walk()[:count], ema.power(gamma))[-1], expected, atol=1e-10)


@given(st.floats(0.01, 0.279))
def test_exponent_is_the_inverse_of_length(length):
    gamma = ema.exponent(length)
    assert ema.length(gamma) == pytest.approx(length, rel=1e-9)
    assert gamma > 0  # the branch that falls


def test_lengths_of_the_paper():
    """Karras et al., section 3: σ = .05 and .10 are γ = 16.97 and 6.94."""
    assert [round(ema.exponent(x), 2) for x in ema.POWER_LENGTHS] == [16.97, 6.94]


@given(st.floats(-0.4, 20), st.floats(-0.4, 20), st.floats(10, 1e6), st.floats(0.05, 1))
def test_overlap_is_the_integral_of_the_product(first, second, step, share):
    a, b = Profile(step, first), Profile(step * share, second)
    power = first + second + 1
    # by the substitution τ = m·u, ∫ u^{γ_a+γ_b} du = 1/power, each factor written out for itself
    expected = (first + 1) / step * (second + 1) / (step * share) * share**first * (step * share) / power
    assert ema.overlap(a, b) == pytest.approx(expected, rel=1e-9)
    assert ema.overlap(a, b) == ema.overlap(b, a)


@pytest.mark.parametrize("length", [0.04, 0.07, 0.13, 0.2])
@pytest.mark.parametrize("step", [STEPS, 450])
def test_any_length_at_any_step_from_snapshots_of_two(length, step):
    """Against the average kept directly: 20 snapshots of two lengths."""
    path = walk()
    kept = {x: followed(path, ema.power(ema.exponent(x))) for x in ema.POWER_LENGTHS}
    profiles, snapshots = [], []
    for at in range(30, STEPS + 1, 30):
        for x, averages in kept.items():
            profiles.append(Profile(at, ema.exponent(x)))
            snapshots.append({"w": averages[at - 1]})
    weights = ema.combination(profiles, Profile(step, ema.exponent(length)))
    found = ema.combined(snapshots, weights)["w"]
    direct = followed(path[:step], ema.power(ema.exponent(length)))[-1]
    nearest = min((s["w"] - direct).norm().item() for s in snapshots)
    # fixed before measuring: 3 % of what weights jitter by in a step (1), and a tenth of what the nearest snapshot misses
    assert (found - direct).abs().max() < 0.03
    assert (found - direct).norm() < max(0.1 * nearest, 0.01)
    assert weights.sum() == pytest.approx(1, abs=1e-6)  # a constant stays itself


def test_a_snapshot_is_reconstructed_from_itself():
    profiles = [Profile(at, ema.exponent(x)) for at in (100, 200, 300) for x in ema.POWER_LENGTHS]
    weights = ema.combination(profiles, profiles[3])
    np.testing.assert_allclose(weights, np.eye(6)[3], atol=1e-6)


def test_combined_sums_in_float64_and_keeps_the_dtype():
    third = {"w": torch.full((2,), 1 / 3, dtype=torch.float32)}
    found = ema.combined([third, third, third], [1e8, -1e8, 1.0])["w"]
    assert found.dtype == torch.float32
    assert torch.equal(found, third["w"])


@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan])
def test_a_decay_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match=r"decay = .*allowed.*remedy"):
        ema.fixed(value)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ema.exponent(0.3), r"relative length = 0.3; allowed.*remedy"),
        (lambda: ema.power(-1.0), r"γ = -1.0; allowed.*remedy"),
        (lambda: Profile(0, 1.0), r"step 0 .*allowed.*remedy"),
        (lambda: ema.combination([Profile(10, 5.0)], Profile(11, 5.0)), r"step 11, snapshots up to 10; allowed.*remedy"),
        (lambda: ema.combination([], Profile(11, 5.0)), r"snapshots up to 0; allowed.*remedy"),
    ],
)
def test_what_is_out_of_range_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
