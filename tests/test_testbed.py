"""The exact testbed: factors against the samplers, conventions of a walk's ends, geodesics, the rule of mean speed."""

import itertools
import math

import numpy as np
import pytest

from synthetic import bias, conditioning, crossover, per_image, testbed, told, window
from synthetic.testbed import GLOBAL, SCHEDULES, Field
from theory import cost, spectrum
from theory.sampler import DDIM, Ancestral
from theory.stream import Stream


@pytest.fixture(scope="module")
def field():
    return Field.power_law(16, 2.0, 0.25, curvature=0.2)


def test_a_field_has_its_variance_and_its_images_its_power(field):
    """STATISTICS: mean power of 400 images, 5 standard errors of the worst of 12 rings."""
    assert field.power @ field.count / field.count.sum() == pytest.approx(0.25, rel=1e-12)
    found = spectrum.rapsd(testbed.mixture([field]).sample(400, Stream(0))).mean(0).numpy()
    assert np.all(np.abs(found / field.power - 1) < 5 * np.sqrt(2 / (400 * field.count)))


def test_a_mixture_knows_its_spectra_on_the_whole_grid(field):
    """BITE: without mirrored columns the ring of a negative frequency is wrong, and the law refuses an asymmetric spectrum."""
    other = Field.power_law(16, 3.0, 0.25)
    law = testbed.mixture([field, other], [0.25, 0.75])
    assert law.spectra[1, 15, 15].item() == law.spectra[1, 1, 1].item() == other.power[1]
    assert law.spectra.sum((-2, -1)).numpy() == pytest.approx([256 * 0.25] * 2, rel=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_levels_use_n_evaluations_and_end_at_zero(name, field):
    for count in (2, 5):
        walked = testbed.levels(testbed.schedule_for(name, field, count, 0.01), count)
        assert len(walked) == count + 1
        assert walked[-1] == 0
        assert np.all(np.diff(walked[np.isfinite(walked)]) < 0)


@pytest.mark.parametrize("name", ["mixed", "cosine", "geodesic, spread", "SD3 shift 3"])
def test_ddim_factors_equal_the_sampler_on_images(name, field):
    """WITNESS: images through Fourier transforms, denoiser and steps, against products of closed factors, on the same noise."""
    made, law = testbed.schedule_for(name, field, 6, 0.01), testbed.mixture([field])
    z = Stream(1).normal(1, law.event_shape)
    gain = spectrum.rapsd(testbed.sampled(made, law.denoise, z, 6, DDIM())) / spectrum.rapsd(z)
    assert gain[0].numpy() == pytest.approx(testbed.ddim_variance(field.power, testbed.levels(made, 6)), rel=1e-9)


def test_ancestral_recursion_equals_the_sampler(field):
    """STATISTICS: 300 images, 5 standard errors; BITE: leaving out (1 − s)ς'² fails at the first step."""
    law = testbed.mixture([field])
    made = testbed.schedule_for("EDM ρ = 7", field, 5, 0.01)
    z = Stream(2).normal(300, law.event_shape)
    found = spectrum.rapsd(testbed.sampled(made, law.denoise, z, 5, Ancestral(Stream(3)))).mean(0).numpy()
    wanted = testbed.ancestral_variance(field.power, testbed.levels(made, 5))
    assert np.all(np.abs(found / wanted - 1) < 5 * np.sqrt(2 / (300 * field.count)))


def test_a_start_at_infinity_learns_nothing(field):
    finite = np.array([3.0, 1.0, 0.1, 0.0])
    for variance in testbed.VARIANCE.values():
        assert variance(field.power, np.array([np.inf, *finite])) == pytest.approx(variance(field.power, finite), rel=1e-12)


def test_errors_vanish_for_the_field_itself_and_have_closed_forms(field):
    assert testbed.errors(field, field.power) == pytest.approx([0, 0, 0], abs=1e-14)
    wasserstein, root, divergence = testbed.errors(field, field.power * math.exp(-0.2))
    assert wasserstein == pytest.approx(cost.wasserstein_error(1.0, 0.1), rel=1e-12)
    assert root == pytest.approx(0.2, rel=1e-12)
    assert divergence == pytest.approx(cost.kl_error(0.1), rel=1e-12)


def test_the_geodesic_is_that_of_cost(field):
    """WITNESS: a table in log ς against one dense in every angle."""
    low, high = field.window(0.01)
    weights = np.zeros_like(field.power)
    weights[field.used] = 1.0
    wanted = cost.geodesic(field.power, weights, low, high, 9)
    made = testbed.schedule_for("geodesic, spread", field, 10, 0.01)
    assert testbed.levels(made, 10)[:-1] == pytest.approx(wanted, rel=1e-4)


def test_rule_of_mean_speed_is_the_limit_of_many_steps(field):
    """ORDER: its relative error falls as 1/N at least. BITE: without the ends of the window it does not fall."""
    gaps = []
    for count in (64, 256):
        made = testbed.schedule_for("mixed", field, count, 1e-4)
        lost = -0.5 * np.log(testbed.ddim_variance(field.power, testbed.levels(made, count)) / field.power)
        gaps.append(np.abs(testbed.rule_losses(field, made, count) / lost - 1).max())
    assert gaps[0] < 0.1
    assert gaps[1] < gaps[0] / 3


def test_a_log_uniform_schedule_has_its_length_as_speed():
    field = Field.power_law(16, 2.0, 0.25)
    made = GLOBAL["log-uniform, ±15"](16)
    assert testbed.mean_speed(field.power, made) == pytest.approx(30.0, rel=1e-3)


def test_errors_name_what_is_allowed(field):
    with pytest.raises(ValueError, match="schedule = 'cosin'; allowed: mixed"):
        testbed.schedule_for("cosin", field, 4, 0.01)
    with pytest.raises(ValueError, match="evaluations N = 1; allowed"):
        testbed.levels(testbed.schedule_for("mixed", field, 4, 0.01), 1)


def test_window_formulas_are_the_limit_of_long_grids():
    """WITNESS: the loss by cutting, ring by ring; and the window is tight (a margin of 5 % of ε)."""
    settings = {"sizes": [16], "slopes": [2.0], "epsilons": [0.01], "variance": 0.25, "beyond": 8.0, "density": 16}
    settings["mixture"] = {"size": 8, "slopes": [1.0, 3.0], "epsilon": 0.05, "samples": 4, "beyond": 2.0, "density": 2}
    predicted, measured = window.predict(settings), window.measure(settings, 0)
    gap = np.abs(predicted.lost - measured.lost).isel(ring=slice(1, 9)) / 0.01
    assert float(gap.max()) < 0.05
    assert float(measured.lost.sel(cut="start").max()) == pytest.approx(0.01, rel=0.05)


def test_balanced_epsilon_is_capped_and_falls():
    for shape in crossover.SHAPES:
        values = [crossover.balanced(shape, n) for n in (4, 16, 64, 256)]
        assert all(b < a for a, b in itertools.pairwise(values))
        assert values[0] <= crossover.LARGEST
    assert crossover.balanced("mixed", 50) == pytest.approx(0.01)


def test_the_rule_of_the_bias_shifts_by_two_log_two():
    predicted = bias.predict({"slopes": [2.0, 2.6], "variance": 0.25})
    assert np.diff(predicted.image) == pytest.approx([-2 * math.log(2)] * 3)
    assert np.diff(predicted.pixel.sel(slope=2.6)) == pytest.approx([0.6 * math.log(2)] * 3)


def test_energy_distance_of_equal_and_of_shifted_laws():
    """STATISTICS: two sets of 300 normals; a shift by 3 has 2E|X + 3 − X'| − 2E|X − X'| ≈ 3.9, known to a tenth."""
    x, y = (Stream(0).child(k).normal(300, (1,)).numpy() for k in "ab")
    rows = [[np.arange(300), np.arange(300)]]
    assert abs(told._energy(x, y, rows)[0]) < 0.05
    gap = np.random.default_rng(0).standard_normal(200_000) * math.sqrt(2)
    assert told._energy(x, y + 3, rows)[0] == pytest.approx(2 * (np.abs(gap + 3).mean() - np.abs(gap).mean()), abs=0.3)


def test_no_condition_beats_the_oracle_by_much():
    settings = {"size": 16, "count": 6, "steps": 8, "epsilon": 0.01, "slope": 2.6, "slope_spread": 0.45, "variance": 0.25}
    settings |= {"log_variance_spread": 0.6, "curvature_spread": 0.3}
    measured = conditioning.measure(settings, 1)
    mean = measured.error.sel(shape="geodesic", metric="wasserstein").mean("image")
    assert float(mean.sel(condition="oracle")) <= 1.05 * float(mean.drop_sel(condition=["oracle", "sampled"]).min())


def test_every_claim_has_its_own_name():
    names = [claim.id for module in (window, per_image, told, conditioning, crossover, bias) for claim in module.CLAIM]
    assert len(set(names)) == len(names)
