"""Laws: denoiser, density and samples of each are written apart, and must agree with each other and with brute force."""

import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import LAWS, dims, levels, mixtures_1d, seeds, spread_out, tensor
from theory.stream import Stream
from theory.target import Gaussian, GaussianMixture, SpectralMixture, hartley

every_law = pytest.mark.parametrize("name", LAWS)
one_number = pytest.mark.parametrize("name", [name for name in LAWS if "channels" not in name])


def states(law, count, signal, noise, *, seed=0):
    """(data, state): what a sampler sees at this level."""
    stream = Stream(seed)
    data = law.sample(count, stream.child("data"))
    return data, signal * data + noise * stream.child("noise").normal(count, law.event_shape)


def tweedie(law, x, signal, noise):
    x = x.clone().requires_grad_()
    law.log_density(x, signal, noise).sum().backward()
    return (x.detach() + noise**2 * x.grad) / signal


def assert_close(actual, expected, margin):
    """|actual − expected| ≤ margin · max(1, |expected|), entry by entry: no errors to cancel in a sum."""
    error = (actual - expected).abs() / expected.abs().clamp(min=1)
    assert error.max().item() <= margin


# ---- laws over all -----------------------------------------------------------------------------------------------------


@every_law
@given(dim=dims, level=levels, seed=seeds)
def test_denoiser_is_tweedies_formula(name, dim, level, seed):
    law = LAWS[name](dim)
    _, x = states(law, 3, *level, seed=seed)
    assert_close(law.denoise(x, *level), tweedie(law, x, *level), 1e-8)


@every_law
@pytest.mark.parametrize("dim", [1, 2, 15, 64])
def test_tweedie_with_a_level_for_each_row(name, dim):
    law = LAWS[name](dim)
    shape = (4, *(1 for _ in law.event_shape))
    signal, noise = tensor(1.0, 0.9, 0.3, 0.05).reshape(shape), tensor(0.1, 0.5, 1.0, 4.0).reshape(shape)
    _, x = states(law, 4, signal, noise)
    together = law.denoise(x, signal, noise)
    assert_close(together, tweedie(law, x, signal, noise), 1e-8)
    for k in range(4):
        alone = law.denoise(x[k : k + 1], signal[k].item(), noise[k].item())
        assert_close(together[k : k + 1], alone, 1e-14)


@one_number
@given(level=levels)
def test_density_integrates_to_one_in_one_dimension(name, level):
    law = LAWS[name](1)
    width = 12 * math.hypot(3 * level[0], level[1])
    # The trapezoid rule is exact to rounding once its spacing is below half of the narrowest Gaussian, 0.1.
    x = torch.linspace(-width, width, 4001, dtype=torch.float64).reshape(-1, *(1 for _ in law.event_shape))
    density = torch.exp(law.log_density(x, *level))
    assert density.shape == (4001,)
    assert density.sum().item() * 2 * width / 4000 == pytest.approx(1, abs=1e-10)


@one_number
@pytest.mark.parametrize("level", [(1.0, 0.3), (0.4, 1.5)])
def test_density_integrates_to_one_in_two_dimensions(name, level):
    law = LAWS[name](2)
    width = 9 * math.hypot(2 * level[0], level[1])
    axis = torch.linspace(-width, width, 161, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis).reshape(-1, *law.event_shape)
    total = torch.exp(law.log_density(x, *level)).sum().item() * (2 * width / 160) ** 2
    assert total == pytest.approx(1, abs=1e-9)


@every_law
@pytest.mark.parametrize("level", [(1.0, 0.5), (0.5, 2.0)])
def test_samples_and_denoiser_are_of_one_law(name, level):
    # The posterior mean is the projection: E[(a − E[a|x])·g(x)] = 0 for every g. Margin: 5 standard errors, per coordinate.
    law = LAWS[name](6)
    data, x = states(law, 4000, *level)
    residual = (data - law.denoise(x, *level)).flatten(1)
    for g in (torch.ones_like(residual), x.flatten(1), torch.tanh(3 * x.flatten(1).roll(1, -1))):
        product = residual * g
        assert (product.mean(0).abs() < 5 * product.std(0) / math.sqrt(4000)).all()


@every_law
@given(seed=seeds, start=st.integers(0, 2**40), split=st.integers(1, 4))
def test_sample_bits_do_not_depend_on_the_batch(name, seed, start, split):
    law, stream = LAWS[name](7), Stream(seed)
    parts = [law.sample(split, stream, start), law.sample(5 - split, stream, start + split)]
    assert torch.equal(law.sample(5, stream, start), torch.cat(parts))


# Curie-Weiss is exact to a few bits, not to the last one, in batches of another size: see its own tests.
@pytest.mark.parametrize("name", [name for name in LAWS if "Curie" not in name])
@pytest.mark.parametrize("dim", [1, 3, 16, 63])
def test_denoised_bits_of_a_row_do_not_depend_on_the_batch(name, dim):
    law = LAWS[name](dim)
    _, x = states(law, 37, 0.6, 0.8)
    together, density = law.denoise(x, 0.6, 0.8), law.log_density(x, 0.6, 0.8)
    for k in range(37):
        assert torch.equal(together[k : k + 1], law.denoise(x[k : k + 1], 0.6, 0.8))
        assert torch.equal(density[k : k + 1], law.log_density(x[k : k + 1], 0.6, 0.8))


@pytest.mark.parametrize("name", ["Gaussian", "two modes", "mixture, diagonal"])
def test_bits_of_a_long_row_do_not_depend_on_batch_or_threads(name):
    # torch splits a lone row of 32768 numbers or more among its threads, and a row in a batch not.
    law, level = LAWS[name](40_000), (0.01, 1.0)
    _, x = states(law, 3, *level)
    threads = torch.get_num_threads()
    try:
        values = []
        for count in (1, 2):
            torch.set_num_threads(count)
            rows = [x[k : k + 1] for k in range(3)]
            values.append((law.denoise(x, *level), law.log_density(x, *level)))
            one_by_one = [(law.denoise(row, *level), law.log_density(row, *level)) for row in rows]
            values.append((torch.cat([mean for mean, _ in one_by_one]), torch.cat([density for _, density in one_by_one])))
    finally:
        torch.set_num_threads(threads)
    for mean, density in values[1:]:
        assert torch.equal(mean, values[0][0])
        assert torch.equal(density, values[0][1])


@every_law
@given(level=levels, factor=st.floats(1e-3, 1e3))
def test_only_the_ratios_of_state_signal_and_noise_matter(name, level, factor):
    law = LAWS[name](5)
    _, x = states(law, 3, *level)
    scaled = law.denoise(factor * x, factor * level[0], factor * level[1])
    assert_close(scaled, law.denoise(x, *level), 1e-11)


@every_law
def test_without_signal_the_posterior_mean_is_the_prior_mean(name):
    law = LAWS[name](6)
    _, x = states(law, 3, 0.0, 2.0)
    prior = law.denoise(x, 0.0, 2.0)
    assert torch.equal(prior[0], prior[1])
    nearly = law.denoise(x, 1e-9, 2.0)
    assert_close(nearly, prior, 1e-7)
    # and it is the mean of the samples: 5 standard errors
    data = law.sample(4000, Stream(3))
    assert ((data.mean(0) - prior[0]).abs() <= 5 * data.std(0) / math.sqrt(4000)).all()


@every_law
def test_without_noise_the_data_are_seen(name):
    law = LAWS[name](6)
    data = law.sample(4, Stream(3))
    assert_close(law.denoise(0.7 * data, 0.7, 0.0), data, 1e-13)
    assert_close(law.denoise(0.7 * data, 0.7, 1e-12), data, 1e-10)


@every_law
def test_wrong_shape_is_refused(name):
    law = LAWS[name](6)
    for function in (law.denoise, law.log_density):
        with pytest.raises(ValueError, match=r"shape \(2, 5\); allowed: \(…, "):
            function(torch.zeros(2, 5, dtype=torch.float64), 0.5, 0.5)


@pytest.mark.parametrize("name", [name for name in LAWS if "Curie" not in name])
def test_single_precision_is_refused(name):
    law = LAWS[name](6)
    for function in (law.denoise, law.log_density):
        with pytest.raises(ValueError, match=r"state of dtype torch.float32; allowed: .*; remedy: x.double\(\)"):
            function(torch.zeros(2, *law.event_shape), 0.5, 0.5)


# ---- brute force ---------------------------------------------------------------------------------------------------------


def brute_force(law: GaussianMixture, x: float, signal: float, noise: float) -> tuple[float, float]:
    """(posterior mean, log density) in one dimension by the trapezoid rule over the data, in numpy, from the definition."""
    a = np.linspace(-14, 14, 40_001)
    spreads = law.variances[:, 0].sqrt().tolist()
    prior = sum(
        w * scipy.stats.norm.pdf(a, m, s)
        for w, m, s in zip(law.weights.tolist(), law.means[:, 0].tolist(), spreads, strict=True)
    )
    joint = prior * scipy.stats.norm.pdf(x, signal * a, noise)
    return (a * joint).sum() / joint.sum(), math.log(joint.sum() * (a[1] - a[0]))


@given(law=mixtures_1d(), level=levels, z=st.floats(-3, 3))
def test_mixture_in_one_dimension_is_the_integral(law, level, z):
    x = level[0] * z + level[1] * z / 2
    mean, log_density = brute_force(law, x, *level)
    state = tensor(x)
    assert law.denoise(state, *level).item() == pytest.approx(mean, rel=1e-9, abs=1e-9)
    assert law.log_density(state, *level).item() == pytest.approx(log_density, rel=1e-9, abs=1e-9)


@given(z=st.floats(-4, 4), weight=st.floats(0.01, 0.99), level=levels, spread=st.floats(0.1, 2.0))
def test_two_modes_are_paper_as_formula(z, weight, level, spread):
    # η = (σ²β/Δ)x + (s²α²/Δ) μ tanh(h + β μ·x/Δ), Δ = s²α² + σ²β², h = ½ log(p/(1 − p)); β the signal, sα the noise.
    d, mean = 5, 0.7
    signal, noise = level
    x = z * noise * np.linspace(-1, 1.5, d)
    delta = noise**2 + spread**2 * signal**2
    h = 0.5 * math.log(weight / (1 - weight))
    eta = spread**2 * signal / delta * x + noise**2 / delta * mean * np.tanh(h + signal * mean * x.sum() / delta)
    ours = GaussianMixture.two_modes(d, weight, mean, spread).denoise(torch.from_numpy(x), signal, noise)
    np.testing.assert_allclose(ours.numpy(), eta, rtol=1e-11, atol=1e-12)


def dense(spectrum: torch.Tensor) -> torch.Tensor:
    """Covariance of the pixels of a stationary field: C(r) is the inverse transform of P, by its definition."""
    height, width = spectrum.shape
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    covariance = np.zeros((height * width, height * width))
    for j in range(height):
        for k in range(width):
            phase = 2 * math.pi * (j * rows / height + k * columns / width).ravel()
            covariance += spectrum[j, k].item() * np.cos(phase[:, None] - phase[None, :]) / (height * width)
    return torch.from_numpy(covariance)


@pytest.mark.parametrize("size", [(4, 5), (5, 4), (4, 4), (3, 7), (1, 6)])
def test_spectral_mixture_is_a_mixture_of_dense_gaussians(size):
    law = SpectralMixture.power_law(size, tensor(0.5, 2.5), tensor(1.0, 0.3), tensor(0.4, 0.6))
    signal, noise = 0.8, 0.6
    _, x = states(law, 5, signal, noise)
    flat = x.flatten(1)
    covariances = [dense(spectrum) for spectrum in law.spectra]
    totals = [signal**2 * c + noise**2 * torch.eye(len(c), dtype=torch.float64) for c in covariances]
    log_parts = np.stack(
        [
            math.log(w) + scipy.stats.multivariate_normal(cov=total.numpy()).logpdf(flat.numpy())
            for w, total in zip(law.weights.tolist(), totals, strict=True)
        ]
    )
    np.testing.assert_allclose(
        law.log_density(x, signal, noise).numpy(), scipy.special.logsumexp(log_parts, axis=0), rtol=1e-12
    )
    shares = torch.from_numpy(scipy.special.softmax(log_parts, axis=0))
    expected = sum(
        share[:, None] * (signal * flat @ torch.linalg.inv(total) @ covariance)
        for share, total, covariance in zip(shares, totals, covariances, strict=True)
    )
    assert_close(law.denoise(x, signal, noise).flatten(1), expected, 1e-12)


@pytest.mark.parametrize("size", [(4, 5), (5, 5), (1, 1), (6, 2)])
def test_hartley_is_its_own_inverse_and_orthonormal(size):
    x = Stream(0).normal(3, size)
    assert_close(hartley(hartley(x)), x, 1e-14)
    assert_close((hartley(x) ** 2).sum((-2, -1)), (x**2).sum((-2, -1)), 1e-14)


def test_fields_have_the_stated_spectrum_and_pixel_variance():
    # Periodograms of 4000 fields: |DFT|² has mean P_k and standard error at most P_k·√2/√4000; margin 5.
    law = SpectralMixture.power_law((6, 5), tensor(2.0), tensor(0.7), tensor(1.0), channels=2)
    x = law.sample(4000, Stream(5))
    power = torch.fft.fft2(x, norm="ortho").abs() ** 2
    assert ((power.mean(0) / law.spectra[0] - 1).abs() < 5 * math.sqrt(2 / 4000)).all()
    assert law.spectra.mean().item() == pytest.approx(0.7, rel=1e-14)
    # Channels are independent: correlation of the two at one pixel, margin 5/√4000.
    pixels = x[:, :, 2, 3]
    assert abs(torch.corrcoef(pixels.T)[0, 1].item()) < 5 / math.sqrt(4000)


def test_power_law_exponent():
    # |f|^−2 between |f| = 1 and 4 on one axis: a factor 16; P(0) = P(|f| = 1).
    spectrum = SpectralMixture.power_law((16, 16), tensor(2.0), tensor(1.0), tensor(1.0)).spectra[0]
    assert (spectrum[0, 1] / spectrum[0, 4]).item() == pytest.approx(16, rel=1e-13)
    assert (spectrum[0, 0] / spectrum[1, 0]).item() == pytest.approx(1, rel=1e-13)


# ---- invariances ---------------------------------------------------------------------------------------------------------


@given(level=levels, seed=seeds)
def test_order_of_coordinates_and_of_components_does_not_matter(level, seed):
    law = LAWS["mixture, diagonal"](9)
    order, swap = torch.randperm(9, generator=torch.Generator().manual_seed(seed % 2**32)), torch.tensor([1, 0])
    _, x = states(law, 3, *level, seed=seed)
    permuted = GaussianMixture(law.weights[swap], law.means[swap][:, order], law.variances[swap][:, order])
    assert_close(permuted.denoise(x[:, order], *level), law.denoise(x, *level)[:, order], 1e-12)
    assert_close(permuted.log_density(x[:, order], *level), law.log_density(x, *level), 1e-12)


@pytest.mark.parametrize("centre", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("spreads", [(1e-3, 1e-3, 1e-3), (1e-3, 2e-3, 5e-4)])
def test_a_mixture_far_from_zero_is_as_sharp_as_one_at_zero(centre, spreads):
    # All means move by `centre`: so does the posterior mean. Logits of size (centre/σ)² = 1e18 must not be formed.
    means = tensor(0.0, 2e-3, 5e-3)[:, None]
    near = GaussianMixture(tensor(0.2, 0.5, 0.3), means, tensor(*spreads)[:, None] ** 2)
    far = GaussianMixture(near.weights, means + centre, near.variances)
    x = torch.linspace(-2e-3, 8e-3, 41, dtype=torch.float64)[:, None]
    # Rounding of the inputs alone: ulp(centre), amplified by the steepest slope of the mean, 30.
    margin = 1e-13 + 30 * centre * 2**-52
    error = (far.denoise(x + centre, 1.0, 1e-3) - centre - near.denoise(x, 1.0, 1e-3)).abs()
    assert error.max().item() < margin


def test_flipping_a_balanced_mixture_flips_the_posterior_mean_bit_for_bit():
    law = GaussianMixture.two_modes(1000, 0.5)
    _, x = states(law, 5, 0.03, 1.0)
    assert torch.equal(law.denoise(-x, 0.03, 1.0), -law.denoise(x, 0.03, 1.0))


def test_one_component_of_a_mixture_is_a_gaussian():
    mean, variance = 1 - spread_out(8, 0.1, 3.0), spread_out(8, 0.1, 2.0)
    gaussian, mixture = Gaussian(variance, mean), GaussianMixture(tensor(1.0), mean[None], variance[None])
    _, x = states(gaussian, 4, 0.7, 0.4)
    assert_close(mixture.denoise(x, 0.7, 0.4), gaussian.denoise(x, 0.7, 0.4), 1e-14)
    assert_close(mixture.log_density(x, 0.7, 0.4), gaussian.log_density(x, 0.7, 0.4), 1e-14)


def test_isotropic_and_diagonal_writing_of_one_mixture_agree():
    law = LAWS["mixture, isotropic"](8)
    written_out = GaussianMixture(law.weights, law.means, law.variances.expand(3, 8).contiguous())
    _, x = states(law, 4, 0.7, 0.4)
    assert_close(written_out.denoise(x, 0.7, 0.4), law.denoise(x, 0.7, 0.4), 1e-13)
    assert_close(written_out.log_density(x, 0.7, 0.4), law.log_density(x, 0.7, 0.4), 1e-13)


# ---- extremes --------------------------------------------------------------------------------------------------------------

MEMORY = """
import resource, sys, torch
from theory.stream import Stream
from theory.target import GaussianMixture
dim = 1_000_000
law = {"two modes": lambda: GaussianMixture.two_modes(dim, 0.8),
       "diagonal": lambda: GaussianMixture(torch.tensor([.3, .7]).double(), torch.zeros(2, dim).double(),
                                           torch.linspace(.5, 2, 2 * dim).double().reshape(2, dim))}[sys.argv[1]]()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
x = law.sample(4, Stream(0))
mean, density = law.denoise(x, 0.9, 0.4), law.log_density(x, 0.9, 0.4)
assert torch.isfinite(mean).all() and torch.isfinite(density).all()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (x.numel() * 8 / 1024))
"""


@pytest.mark.parametrize("kind", ["two modes", "diagonal"])
def test_a_million_dimensions_take_a_few_copies_of_the_state(kind):
    done = subprocess.run([sys.executable, "-c", MEMORY, kind], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 10


def two_mode_mean(weight: float, mean: float, spread: float, x: float, signal: float, noise: float) -> float:
    """Posterior mean in one dimension, from log-odds in exact rational arithmetic until the last exponential."""
    from fractions import Fraction

    p, m, s, n = Fraction(weight), Fraction(mean), Fraction(signal), Fraction(noise)
    total = s**2 * Fraction(spread) ** 2 + n**2
    odds = math.log(weight) - math.log1p(-weight) + float(2 * s * m * Fraction(x) / total)
    plus = float(scipy.special.expit(odds))
    assert 0 < p < 1
    gain, pull = s * Fraction(spread) ** 2 / total, n**2 / total
    return float(gain * Fraction(x)) + float(pull) * mean * (2 * plus - 1)


@pytest.mark.parametrize("weight", [1e-300, 1e-12, 0.8, 1 - 1e-12])
@pytest.mark.parametrize(("signal", "noise"), [(1.0, 1e-9), (1.0, 1e-3), (1e-6, 1.0), (1e-3, 1e6), (1.0, 1e6), (1.0, 1e150)])
@pytest.mark.parametrize("spread", [1e-6, 0.5, 100.0])
def test_dimension_1e12_along_the_modes(weight, signal, noise, spread):
    # The law of u·x at d = 10¹²: modes at ±10⁶. At the watershed, where the posterior is undecided, and far from it.
    law = GaussianMixture.two_modes(1, weight, 1e6, spread)
    total = signal**2 * spread**2 + noise**2
    for odds in (-50.0, -1.0, 0.0, 0.3, 40.0):
        x = odds * total / (2 * signal * 1e6)
        ours = law.denoise(tensor(x), signal, noise).item()
        expected = two_mode_mean(weight, 1e6, spread, x, signal, noise)
        assert ours == pytest.approx(expected, rel=1e-10, abs=1e-6 * 1e-10 + 1e6 * 2e-13)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)])
def test_a_component_of_weight_zero_is_absent(weights):
    law = GaussianMixture(tensor(*weights), tensor(-1.0, 2.0)[:, None], tensor(0.5, 0.1)[:, None])
    kept = Gaussian(law.variances[weights.index(1.0)], law.means[weights.index(1.0)])
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None]
    assert_close(law.denoise(x, 0.8, 0.3), kept.denoise(x, 0.8, 0.3), 1e-15)
    assert_close(law.log_density(x, 0.8, 0.3), kept.log_density(x, 0.8, 0.3), 1e-15)
    assert torch.equal(law.sample(20, Stream(0)) > 0.5, torch.full((20, 1), weights[1] == 1.0)) or weights[0] == 1.0


def test_weights_of_the_samples():
    # Binomial: 5 standard errors.
    law = GaussianMixture(tensor(0.05, 0.7, 0.25), tensor(-10.0, 0.0, 10.0)[:, None], tensor(0.1, 0.1, 0.1)[:, None])
    x = law.sample(10_000, Stream(1))[:, 0]
    for weight, mean in zip(law.weights.tolist(), (-10, 0, 10), strict=True):
        inside = (x - mean).abs() < 5
        assert abs(inside.double().mean().item() - weight) < 5 * math.sqrt(weight * (1 - weight) / 10_000)
        spread = x[inside].var().item()
        assert abs(spread / 0.1 - 1) < 5 * math.sqrt(2 / int(inside.sum()))


def test_a_direction_without_variance_stays_at_its_mean():
    law = Gaussian(tensor(0.0, 1.0), tensor(3.0, -1.0))
    for noise in (0.0, 0.5):
        assert law.denoise(tensor(3.3, 0.0), 1.0, noise)[0].item() == 3.0
    assert torch.equal(law.sample(4, Stream(0))[:, 0], torch.full((4,), 3.0, dtype=torch.float64))


# ---- bad input -----------------------------------------------------------------------------------------------------------

ONE, TWO = tensor(1.0), tensor(0.5, 0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaussian(tensor(1.0, -0.5)), r"variance\[1\] = -0.5; allowed: 0 ≤ variance < ∞"),
        (lambda: Gaussian(tensor(math.nan)), r"variance\[0\] = nan"),
        (lambda: Gaussian(tensor(math.inf)), r"variance\[0\] = inf"),
        (lambda: Gaussian(tensor()), r"variance of shape \(0,\); allowed: \(d,\) with d ≥ 1"),
        (lambda: Gaussian(torch.ones(2, 2, dtype=torch.float64)), r"variance of shape \(2, 2\); allowed: \(d,\)"),
        (lambda: Gaussian(tensor(1.0, 1.0), ONE), r"mean of shape \(1,\); allowed: \(2,\), the variance's"),
        (lambda: Gaussian(torch.ones(2)), r"variance of dtype torch.float32; allowed: torch.float64"),
        (lambda: Gaussian(tensor(1.0), torch.ones(1)), r"mean of dtype torch.float32; allowed: torch.float64"),
        (lambda: GaussianMixture(tensor(0.5, 0.4), TWO[:, None], TWO[:, None]), r"sum to 0.9; .* divide them by their sum"),
        (
            lambda: GaussianMixture(tensor(1.5, -0.5), TWO[:, None], TWO[:, None]),
            r"\[1.5, -0.5\] sum to 1.0; allowed: each ≥ 0",
        ),
        (lambda: GaussianMixture(tensor(math.nan, 1.0), TWO[:, None], TWO[:, None]), r"weights \[nan, 1.0\] sum to nan"),
        (lambda: GaussianMixture(TWO, TWO[:, None], tensor(1.0, 0.0)[:, None]), r"variances\[1, 0\] = 0.0; allowed: 0 < value"),
        (lambda: GaussianMixture(TWO, TWO[:, None], tensor(1.0, -1.0)[:, None]), r"variances\[1, 0\] = -1.0"),
        (lambda: GaussianMixture(TWO, tensor(math.nan, 0.0)[:, None], TWO[:, None]), r"means\[0, 0\] = nan; allowed: finite"),
        (lambda: GaussianMixture(TWO, ONE[:, None], TWO[:, None]), r"weights \(2,\) and means \(1, 1\); allowed: \(K,\) and"),
        (lambda: GaussianMixture(TWO, TWO[:, None], TWO), r"variances of shape \(2,\); allowed: \(2, 1\) or \(2, 1\)"),
        (lambda: GaussianMixture(TWO, TWO[:, None].float(), TWO[:, None]), r"means of dtype torch.float32; allowed"),
        (lambda: GaussianMixture.two_modes(10, 0.0), r"weight p = 0.0; allowed: 0 < p < 1"),
        (lambda: GaussianMixture.two_modes(10, 1.0), r"weight p = 1.0"),
        (lambda: GaussianMixture.two_modes(10, 0.8, spread=0.0), r"spread σ = 0.0; allowed: 0 < σ < ∞"),
        (lambda: GaussianMixture.two_modes(10, 0.8, spread=-0.5), r"spread σ = -0.5"),
        (lambda: GaussianMixture.two_modes(0, 0.8), r"dim = 0; allowed: an integer ≥ 1"),
        (lambda: GaussianMixture.two_modes(2.5, 0.8), r"dim = 2.5"),  # type: ignore[arg-type]
        (lambda: GaussianMixture.two_modes(10, 0.8, mean=math.inf), r"means\[0, 0\] = inf; allowed: finite numbers; remedy"),
        (
            lambda: SpectralMixture(ONE, torch.ones(3, 3, dtype=torch.float64)),
            r"spectra of shape \(3, 3\); allowed: \(K, H, W\)",
        ),
        (lambda: SpectralMixture(ONE, torch.zeros(1, 3, 3, dtype=torch.float64)), r"spectra\[0, 0, 0\] = 0.0; allowed: 0 < "),
        (
            lambda: SpectralMixture(ONE, torch.arange(1, 10, dtype=torch.float64).reshape(1, 3, 3)),
            r"which no real field has; allowed: P\(k\) = P\(−k\); remedy",
        ),
        (lambda: SpectralMixture(ONE, torch.ones(1, 3, 3, dtype=torch.float64), 0), r"channels = 0; allowed: ≥ 1"),
        (lambda: SpectralMixture(TWO, torch.ones(1, 3, 3, dtype=torch.float64)), r"weights \(2,\) and means \(1, 9\)"),
        (lambda: SpectralMixture(tensor(0.9), torch.ones(1, 3, 3, dtype=torch.float64)), r"weights \[0.9\] sum to 0.9"),
    ],
)
def test_bad_laws_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
