"""The exact testbed: factors against the samplers, conventions of a walk's ends, geodesics, the rule of mean speed."""

import itertools
import math

import numpy as np
import pytest
import xarray as xr

from synthetic import bias, conditioning, crossover, per_image, testbed, told, window
from synthetic.testbed import GLOBAL, SCHEDULES, Field
from theory import cost, spectrum
from theory.ledger import Verdict
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


@pytest.fixture(scope="module")
def population():
    settings = {"size": 16, "count": 6, "steps": 8, "epsilon": 0.01, "slope": 2.6, "slope_spread": 0.45, "variance": 0.25}
    return settings | {"log_variance_spread": 0.6, "curvature_spread": 0.3}


def test_no_condition_beats_the_oracle_by_much(population):
    measured = conditioning.measure(population, 1).sel(metric="wasserstein")
    mean = measured.error.sel(shape="geodesic").mean("image")
    assert float(mean.sel(condition="oracle")) <= 1.05 * float(mean.drop_sel(condition=["oracle", "sampled"]).min())
    followed = float(measured.oracle_followers.sel(shape="geodesic").mean())
    assert followed <= 1.05 * float(mean.sel(condition="sampled"))


def test_the_predicted_population_is_another_one_whatever_the_seed(population):
    """BITE: a fixed seed, which is the measurement's when that is chosen."""
    stream = conditioning._predicted_stream()
    predicted = conditioning._population(population, stream)
    for seed in (0, 1, 2**31):
        assert stream.path != conditioning._stream(seed).path
        measured = conditioning._population(population, conditioning._stream(seed))
        for k in range(population["count"]):
            assert not np.allclose(predicted.fields[k].power, measured.fields[k].power, rtol=1e-3)
        assert not np.allclose(predicted.theta, measured.theta, rtol=1e-3)


def test_a_follower_is_compared_with_what_knowing_it_gains():
    """Followers cost twice as much: known 2, by sampled θ 2.5, by the best global one 4. BITE: either of other images."""
    own = np.full((6, 40), 1.0)
    own[conditioning.CONDITIONS.index("sampled")] = 2.5
    dataset = xr.Dataset(
        {
            "error": (("shape", "condition", "image", "metric"), own[None, :, :, None]),
            "oracle_followers": (("shape", "image", "metric"), np.full((1, 40, 1), 2.0)),
            "known": (("global", "image", "metric"), np.full((2, 40, 1), 2.0) * [[[1.0]], [[1.5]]]),
            "known_followers": (("global", "image", "metric"), np.full((2, 40, 1), 4.0) * [[[1.5]], [[1.0]]]),
        },
        coords={
            "shape": ["geodesic"],
            "condition": list(conditioning.CONDITIONS),
            "global": ["a", "b"],
            "metric": ["wasserstein"],
        },
    )
    kept, bar, best, _ = conditioning._kept(dataset, "geodesic", "wasserstein", 20)
    assert best == "a"
    assert float(kept.sel(condition="sampled")) == pytest.approx(0.75)
    np.testing.assert_allclose(kept.drop_sel(condition="sampled"), 1.0)
    assert float(bar.max()) < 1e-12


BIAS = {"slopes": [2.0, 2.6], "variance": 0.25, "samples": 8}


def _bias_rows(change, bar):
    predicted = bias.predict(BIAS)
    found = predicted.image.expand_dims(slope=BIAS["slopes"]).copy()
    found[:, 0] += np.array(change)
    bars = xr.zeros_like(found)
    bars[:, 0] = np.array(bar)
    measured = xr.Dataset({"bias": found, "bias_error": bars, "knee": predicted.knee})
    return {row.claim.id: row for row in bias.judge(predicted, measured, BIAS)}


@pytest.mark.parametrize(
    ("change", "bar", "expected"),
    [
        ((0.05, -0.1), (0.03, 0.03), Verdict.HOLDS),
        ((0.05, 0.0), (0.09, 0.0), Verdict.UNDECIDED),  # BITE: k = 2, for eight images
        ((0.2, 0.1), (0.0, 0.08), Verdict.UNDECIDED),  # BITE: the largest difference without its bar
        ((0.2, 0.5), (0.5, 0.01), Verdict.FAILS),
    ],
)
def test_the_shift_is_judged_with_the_bars_of_eight_images(change, bar, expected):
    assert _bias_rows(change, bar)["T5-shift"].verdict is expected


def test_the_rule_of_the_bias_is_tried_where_it_was_not_fitted():
    """At 32 px it asks for 2.97, tuned is 2. BITE: "at every resolution"."""
    rows = _bias_rows((0.0, 0.0), (0.0, 0.0))
    assert rows["T5-image-small"].verdict is Verdict.FAILS
    assert rows["T5-image-small"].error == pytest.approx(5 * math.log(2) - 2.5)
    assert rows["T5-image"].verdict is Verdict.HOLDS
    assert "64–512 px" in rows["T5-image"].claim.statement
    assert "one offset fitted" in rows["T5-image"].claim.statement


@pytest.mark.parametrize(
    ("change", "bar", "expected"),
    [
        ([0.09, -0.05], [0.002, 0.01], Verdict.HOLDS),
        ([0.09, -0.07], [0.002, 0.02], Verdict.UNDECIDED),
        ([0.13, 0.2], [0.002, 0.1], Verdict.FAILS),  # BITE: the largest with its bar, which is undecided
    ],
)
def test_the_mixture_is_decided_by_the_ring_that_fails(change, bar, expected):
    measured = xr.Dataset({"mixture": ("mixture_ring", change), "mixture_error": ("mixture_ring", bar)})
    claim = next(claim for claim in window.CLAIM if claim.id == "T1-mixture")
    assert window._judge_mixture(claim, measured, 0.05).verdict is expected


def test_every_claim_has_its_own_name():
    names = [claim.id for module in (window, per_image, told, conditioning, crossover, bias) for claim in module.CLAIM]
    assert len(set(names)) == len(names)
