"""The λ tables that training and sampling take from spectra."""

import dataclasses
import logging
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imagenet import schedules
from imagenet.schedules import Maker
from imagenet.settings import Noise
from theory import per_image
from theory.per_image import Basis
from theory.schedule import interpolated_cosine, shifted_cosine
from theory.spectrum import QUANTISATION_POWER, rings


@dataclasses.dataclass(frozen=True)
class Told:
    """A data set's spectra: what `Measured` asks for."""

    size: int
    power: torch.Tensor
    theta: torch.Tensor
    basis: Basis
    mean_colour_power: float


def told(count=6, size=16, seed=0, mean_colour_power=40.0):
    generator = np.random.default_rng(seed)
    table = rings(size, size)
    frequency = np.maximum(np.arange(len(table)), 1.0)
    slopes, levels = generator.uniform(1.5, 3, count), generator.uniform(-1, 2, count)
    noise = np.exp(0.1 * generator.standard_normal((count, len(table))))
    power = torch.from_numpy(np.exp(levels)[:, None] * frequency ** -slopes[:, None] * noise)
    basis = Basis.fit(power, table, 2)
    return Told(size, power, per_image.parameters(power, table, basis), basis, mean_colour_power)


SPECTRAL = Noise(kind="spectral")


def test_the_baseline_is_the_closed_form():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    for noise, expected in (
        (Noise(base_resolution=32), shifted_cosine(16, 32)),
        (Noise(kind="interpolated cosine"), interpolated_cosine(16, 32, 256)),
    ):
        found = schedules.of_data(noise, told()).of(torch.arange(3))
        assert torch.equal(found.log_snr(t), expected.log_snr(t))


@given(seed=st.integers(0, 2**16), mean_colour=st.booleans(), shape=st.sampled_from(per_image.SHAPES), parametric=st.booleans())
def test_each_image_has_its_own_falling_row(seed, mean_colour, shape, parametric):
    noise = Noise(kind="spectral", shape=shape, mean_colour=mean_colour, parametric=parametric)
    data = told(seed=seed)
    rows = schedules.of_data(noise, data).rows
    assert rows.shape == (6, 65)
    assert rows.dtype == torch.float32
    assert bool((torch.diff(rows) < 0).all())
    # An image alone has the row that it has among others.
    alone = dataclasses.replace(data, power=data.power[2:3], theta=data.theta[2:3])
    if parametric:
        assert torch.equal(schedules.of_data(noise, alone).rows[0], rows[2])


def test_many_rows_say_how_far_they_are_and_are_the_same(monkeypatch, caplog):
    """A data set in several parts, at each start of a training; not the few of a sample."""
    whole = schedules.of_data(SPECTRAL, told(40)).rows
    with caplog.at_level(logging.INFO):
        schedules.of_data(SPECTRAL, told(40))
    assert "noise schedules" not in caplog.text
    monkeypatch.setattr(schedules, "_ROWS", 7)
    with caplog.at_level(logging.INFO):
        parts = schedules.of_data(SPECTRAL, told(40)).rows
    assert "noise schedules: 6 of 6" in caplog.text
    assert torch.equal(parts, whole)


def test_the_window_takes_in_the_mean_colour():
    """BITE: without it, a sample that starts from noise alone at λ(1) has no colour to begin with."""
    data, epsilon = told(mean_colour_power=1000.0), SPECTRAL.epsilon
    with_it = schedules.of_data(SPECTRAL, data).rows[:, -1]
    assert torch.allclose(with_it, torch.tensor(-math.log(1000) - math.log((1 - epsilon) / epsilon)), atol=1e-5)
    without = schedules.of_data(dataclasses.replace(SPECTRAL, mean_colour=False), data).rows[:, -1]
    assert bool((without > with_it).all())


def test_sampling_makes_the_rows_of_training():
    data = told()
    rows = schedules.of_data(SPECTRAL, data).rows
    assert torch.equal(Maker.of(SPECTRAL, data).from_theta(data.theta), rows)


def test_one_for_all_is_of_the_mean_spectrum():
    data = told()
    shared = schedules.of_data(Noise(kind="spectral", level="data set"), data)
    assert shared.rows is None
    table = rings(16, 16)
    theta = per_image.parameters(data.power.mean(0, keepdim=True), table, data.basis, QUANTISATION_POWER)
    expected = Maker.of(SPECTRAL, data).from_theta(theta)[0]
    assert torch.equal(shared.of(torch.arange(2)).log_snr(1.0), schedules.from_rows(expected).log_snr(1.0))


def test_rows_are_picked_by_image_and_ends_are_told():
    data = told()
    found = schedules.of_data(SPECTRAL, data)
    start, end = schedules.ends(found.of(torch.tensor([4, 1])), 2)
    assert torch.allclose(start, found.rows[[4, 1], 0], rtol=1e-6)
    assert torch.allclose(end, found.rows[[4, 1], -1], rtol=1e-6)
    assert start.dtype == end.dtype == torch.float32
    part = found.restricted(3, 2)
    assert torch.equal(part.rows, found.rows[3:5])
    flat = schedules.of_data(Noise(), data)
    assert flat.restricted(0, 1) is flat
    assert schedules.ends(flat.of(torch.arange(4)), 4)[0].shape == (4,)


def test_steering_scales_slope_and_power_and_leaves_the_rest():
    theta = told().theta
    assert torch.equal(schedules.steered(theta), theta)
    changed = schedules.steered(theta, slope=1.5, amplitude=2.0)
    assert torch.allclose(changed[:, 1], 1.5 * theta[:, 1])
    assert torch.allclose(changed[:, 0], theta[:, 0] + math.log(2))
    assert torch.equal(changed[:, 2:], theta[:, 2:])
    table = rings(16, 16)
    louder = per_image.power_of(schedules.steered(theta, amplitude=2.0), table, told().basis)
    assert torch.allclose(louder, 2 * per_image.power_of(theta, table, told().basis))


@pytest.mark.parametrize("factors", [{"slope": 0.0}, {"amplitude": -1.0}, {"slope": math.nan}, {"amplitude": math.inf}])
def test_steering_refuses_what_is_no_factor(factors):
    with pytest.raises(ValueError, match=r"allowed: a factor > 0; remedy: 1 leaves"):
        schedules.steered(told().theta, **factors)


@pytest.mark.parametrize("parametric", [True, False])
def test_values_that_are_not_finite_are_refused_by_image_and_parameters(parametric):
    data = told()
    values = (data.theta if parametric else data.power).clone()
    values[4, 1] = math.nan
    data = dataclasses.replace(data, theta=values) if parametric else dataclasses.replace(data, power=values)
    name = "θ" if parametric else r"R\(f\)"
    with pytest.raises(
        ValueError, match=rf"{name} of image 4 = \[.*nan.*\] gives no finite spectrum; allowed: finite.*remedy: "
    ):
        schedules.of_data(dataclasses.replace(SPECTRAL, parametric=parametric), data)


def test_parameters_whose_spectrum_overflows_are_refused_with_their_values():
    theta = told().theta.clone()
    theta[2, 0] = 800.0  # e⁸⁰⁰
    with pytest.raises(ValueError, match=r"θ of image 2 = \[800, .*\] gives no finite spectrum"):
        Maker.of(SPECTRAL, told()).from_theta(theta)


@pytest.mark.parametrize("bad", [0.0, math.nan, 1.0])
def test_a_schedule_that_does_not_fall_is_refused_by_image_time_and_parameters(monkeypatch, bad):
    """Level, rising or not a number from the fourth of five nodes on."""
    log_snr = per_image.log_snr

    def spoiled(power, table, rule):
        rows = log_snr(power, table, rule)[:, :: (rule.nodes - 1) // 4]
        rows[3, 3] = rows[3, 2] + bad
        return rows

    monkeypatch.setattr(per_image, "log_snr", spoiled)
    with pytest.raises(
        ValueError, match=r"schedule of image 3 does not fall: λ = .* at t = 0\.5, .*θ = \[.*; allowed: .*; remedy"
    ):
        schedules.of_data(SPECTRAL, told())
