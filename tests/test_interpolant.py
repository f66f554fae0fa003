"""The interpolant: every prediction from every other, checked against its own definition, and the table of singular ends."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given

from tests.strategies import LAWS, SCHEDULES, away_from_kinks, inner_times, tensor
from theory import curve, interpolant, schedule
from theory.interpolant import KINDS, convert, corrupt, point, velocity_coefficients
from theory.stream import Stream
from theory.target import GaussianMixture

every_schedule = pytest.mark.parametrize("name", SCHEDULES)
every_pair = pytest.mark.parametrize(("source", "target"), list(itertools.product(KINDS, KINDS)))
MADE = {name: make() for name, make in SCHEDULES.items()}


def definitions(made, t, data, z):
    """(x, each prediction) for one known pair of data and noise, from the definitions and nothing else."""
    signal, noise = made.coefficients(tensor(t))
    signal_rate, noise_rate = made.rates(tensor(t))
    return signal * data + noise * z, {
        "data": data,
        "noise": z,
        "score": -z / noise,
        "velocity": signal_rate * data + noise_rate * z,
    }


@every_schedule
@pytest.mark.parametrize("t", [0.05, 0.37, 0.81, 0.97])
def test_each_prediction_gives_each_other(name, t):
    made = MADE[name]
    data, z = Stream(0).normal(2, (6,)).unbind()
    x, known = definitions(made, t, data, z)
    at = point(made, t, x)
    # Rounding of x, divided by the smaller coefficient: the conditioning of two linear equations.
    signal, noise = at.signal.item(), at.noise.item()
    condition = max(signal, noise) / min(signal, noise)
    for source, target in itertools.product(KINDS, KINDS):
        converted = convert(known[source], x, at, source, target)
        margin = max(1e-13 * condition**2 * known[target].abs().max().item(), 1e-12)
        assert (converted - known[target]).abs().max().item() <= margin, (source, target)


@every_pair
@pytest.mark.parametrize("name", ["linear", "VP-SDE", "EDM", "VE sqrt clock"])
@pytest.mark.parametrize("law_name", ["mixture, diagonal", "Curie-Weiss, two modes", "spectral mixture, 3 channels"])
def test_predictions_of_a_law_agree_with_the_score_of_its_density(name, law_name, source, target):
    # The score is autograd of log_density, the data prediction is `denoise`: two derivations, one conversion each way.
    law, made, t = LAWS[law_name](6), MADE[name], 0.4
    signal, noise = made.signal(t), made.noise(t)
    x = corrupt(law.sample(3, Stream(1)), Stream(2).normal(3, law.event_shape), signal, noise).requires_grad_()
    (score,) = torch.autograd.grad(law.log_density(x, signal, noise).sum(), x)
    x = x.detach()
    data, at = law.denoise(x, signal, noise), point(made, t, x)
    from_data = convert(convert(data, x, at, "data", source), x, at, source, target)
    from_score = convert(convert(score, x, at, "score", source), x, at, source, target)
    scale = from_score.abs().max()
    assert ((from_data - from_score).abs().max() / scale).item() < 1e-8


def cdf(law, x, signal, noise):
    """P(signal·a + noise·z ≤ x) of a one-dimensional mixture, in numpy."""
    return sum(
        w * scipy.stats.norm.cdf(x, signal * m, math.sqrt(signal**2 * v + noise**2))
        for w, m, v in zip(law.weights.tolist(), law.means[:, 0].tolist(), law.variances[:, 0].tolist(), strict=True)
    )


LAW = GaussianMixture(tensor(0.3, 0.7), tensor(-1.0, 1.2)[:, None], tensor(0.2, 0.6)[:, None])


@every_schedule
@given(t=inner_times)
def test_velocity_moves_the_density(name, t):
    # Continuity in one dimension: velocity = −∂ₜF/ρ, F the distribution function: no rates and no denoiser in it.
    made = MADE[name]
    t, h = away_from_kinks(name, t)
    signal, noise = made.signal(t).item(), made.noise(t).item()
    x = math.hypot(signal, noise) * np.linspace(-1.2, 1.2, 7)
    a, b, c, d = (cdf(LAW, x, made.signal(t + k * h).item(), made.noise(t + k * h).item()) for k in (-2.0, -1.0, 1.0, 2.0))
    density = np.exp(LAW.log_density(torch.from_numpy(x[:, None]), signal, noise).numpy())
    expected = -(a - 8 * b + 8 * c - d) / (12 * h) / density
    state = torch.from_numpy(x[:, None])
    at = point(made, t, state)
    data = LAW.denoise(state, at.signal, at.noise)
    velocity = convert(data, state, at, "data", "velocity")
    # The difference of F is rounded to 1e-16/h; a density of 1/width turns that into width·1e-16/h.
    margin = 1e-6 * np.abs(expected).max() + 1e-14 / h * math.hypot(signal, noise)
    assert np.abs(velocity[:, 0].numpy() - expected).max() < margin
    p, q = velocity_coefficients(at)
    torch.testing.assert_close(p * state + q * data, velocity, rtol=1e-9, atol=1e-9 * velocity.abs().max().item())


@every_schedule
def test_velocity_is_the_mean_of_the_rate_of_the_interpolant(name):
    # E[signal'·a + noise'·z | x] by quadrature over a, z = (x − signal·a)/noise.
    made, t = MADE[name], 0.6
    signal, noise = made.signal(t).item(), made.noise(t).item()
    signal_rate, noise_rate = (rate.item() for rate in made.rates(t))
    a = np.linspace(-8, 8, 20_001)
    prior = sum(
        w * scipy.stats.norm.pdf(a, m, math.sqrt(v))
        for w, m, v in zip(LAW.weights.tolist(), LAW.means[:, 0].tolist(), LAW.variances[:, 0].tolist(), strict=True)
    )
    for x in np.array([-0.7, 0.1, 1.1]) * math.hypot(signal, noise):
        z = (x - signal * a) / noise
        posterior = prior * np.exp(-0.5 * z**2)
        expected = (posterior * (signal_rate * a + noise_rate * z)).sum() / posterior.sum()
        state = tensor(x)
        at = point(made, t, state)
        velocity = convert(LAW.denoise(state, at.signal, at.noise), state, at, "data", "velocity").item()
        assert velocity == pytest.approx(expected, rel=1e-9, abs=1e-9 * (abs(signal_rate) + abs(noise_rate)))


# ---- singular ends: the module's table, row by row -----------------------------------------------------------------------

# (schedule, t): which (source → target) do not determine a finite answer. Linear: W = 1 at both ends.
TO_SCORE_AT_DATA = {("data", "score"), ("noise", "score"), ("velocity", "score")}
SINGULAR = {
    ("linear", 0.0): {("data", "noise"), ("data", "velocity"), *TO_SCORE_AT_DATA},
    # At noise = 0 a finite score says noise prediction 0: data and velocity follow. At signal = 0 nothing gives the data.
    ("linear", 1.0): {(s, t) for s in ("noise", "score") for t in ("data", "velocity")},
    ("trigonometric", 0.0): {("data", "noise"), ("data", "velocity"), *TO_SCORE_AT_DATA},
    ("trigonometric", 1.0): {(s, t) for s in ("noise", "score") for t in ("data", "velocity")},
    # λ' = 0 at t = 0 (log ς ∝ t²): a velocity says nothing there, everything else does.
    ("polyexponential", 0.0): {("velocity", t) for t in ("data", "noise", "score")},
    ("truncated cosine", 0.0): set(),
    ("truncated cosine", 1.0): set(),
}


@every_pair
@pytest.mark.parametrize(("name", "t"), SINGULAR)
def test_singular_ends_are_infinite_or_nan_and_no_others(name, t, source, target):
    made = MADE[name]
    data, z = Stream(0).normal(2, (6,)).unbind()
    x, known = definitions(made, t, data, z)
    if made.noise(t).item() == 0:
        known["score"] = -z  # some finite number: the definition has none
    converted = convert(known[source], x, point(made, t, x), source, target)
    finite = bool(torch.isfinite(converted).all())
    assert finite == ((source, target) not in SINGULAR[name, t])
    if finite and "score" not in (source, target):
        assert (converted - known[target]).abs().max().item() < 1e-6 * (1 + known[target].abs().max().item())


def test_euler_may_start_from_pure_noise():
    # velocity = p·x + q·data needs no division by the signal: at t = 1 of the linear schedule it is x − data.
    x, data = Stream(0).normal(2, (5,)).unbind()
    p, q = velocity_coefficients(point(MADE["linear"], 1.0, x))
    assert (p.item(), q.item()) == (1.0, -1.0)
    torch.testing.assert_close(p * x + q * data, x - data)


@every_schedule
@given(t=inner_times)
def test_wronskian_is_minus_half_the_log_snr_rate_times_the_coefficients(name, t):
    made = MADE[name]
    at = point(made, t, torch.zeros(1, dtype=torch.float64))
    expected = -0.5 * made.log_snr_rate(t).item() * at.signal.item() * at.noise.item()
    assert at.wronskian.item() == pytest.approx(expected, rel=1e-9)
    assert at.wronskian.item() > 0


# ---- shapes --------------------------------------------------------------------------------------------------------------


def test_one_time_per_image_is_image_by_image():
    data, z = Stream(0).child("a").normal(3, (2, 4, 5)), Stream(0).child("z").normal(3, (2, 4, 5))
    t, made = tensor(0.1, 0.5, 0.9), MADE["cosine"]
    x = corrupt(data, z, made.signal(t), made.noise(t))
    for k in range(3):
        assert torch.equal(x[k], corrupt(data[k], z[k], made.signal(t[k]), made.noise(t[k])))
        assert torch.equal(x[k], made.signal(t[k]) * data[k] + made.noise(t[k]) * z[k])


def test_one_schedule_per_image():
    nodes = torch.stack([tensor(5.0, 0.0, -5.0), tensor(3.0, 1.0, -1.0)])
    both = schedule.VariancePreserving(curve.Tabulated(nodes, smooth=False))
    data, z = Stream(0).child("a").normal(2, (3,)), Stream(0).child("z").normal(2, (3,))
    x = corrupt(data, z, both.signal(0.3), both.noise(0.3))
    for k in range(2):
        alone = schedule.VariancePreserving(curve.Tabulated(nodes[k], smooth=False))
        assert torch.equal(x[k], corrupt(data[k], z[k], alone.signal(0.3), alone.noise(0.3)))


def test_bad_input_is_refused():
    x, made = torch.zeros(3, 4, dtype=torch.float64), MADE["linear"]
    at = point(made, 0.5, x)
    with pytest.raises(ValueError, match=r"data has shape \(3, 4\) and noise \(3, 1\); allowed: equal shapes; remedy"):
        corrupt(x, x[:, :1], at.signal, at.noise)
    with pytest.raises(ValueError, match=r"one number per image has shape \(4,\), states \(3, 4\); allowed"):
        corrupt(x, x, *made.coefficients(torch.full((4,), 0.5, dtype=torch.float64)))
    with pytest.raises(ValueError, match=r"prediction kind 'x0'; allowed: data, noise, score, velocity"):
        convert(x, x, at, "x0", "data")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"prediction kind 'eps'; allowed: data, noise, score, velocity"):
        convert(x, x, at, "data", "eps")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"prediction of shape \(3, 1\) for states of shape \(3, 4\)"):
        convert(x[:, :1], x, at, "data", "noise")
    with pytest.raises(ValueError, match=r"t outside \[0, 1\]"):
        point(made, 1.5, x)
    assert interpolant.against(tensor(1.0, 2.0, 3.0), x).shape == (3, 1)
