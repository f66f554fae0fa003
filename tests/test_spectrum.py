"""Spectra: the definition and its laws, an independent reference, the power-law fit, the isotonic step, the curves."""

import functools
import importlib.util
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression
from sklearn.isotonic import IsotonicRegression

from theory.spectrum import QUANTISATION_POWER, fit_power_law, isotonic, rapsd, rings, spectral_log_snr

SIDES = st.integers(2, 33)
SHAPES = st.tuples(st.integers(1, 5), SIDES, SIDES)  # channels, height, width
WINDOWS = st.sampled_from([None, "hann"])


def noise(*shape, seed=0, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def field(slope, *shape, seed=0):
    """Gaussian random fields (…, H, W) on the torus with power |k|^slope, |k| in cycles per shorter side."""
    height, width = shape[-2:]
    k_y, k_x = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)
    frequency = min(height, width) * np.hypot(k_y, k_x)
    frequency[0, 0] = 1
    white = np.fft.fft2(np.random.default_rng(seed).standard_normal(shape))
    return torch.from_numpy(np.fft.ifft2(white * frequency ** (slope / 2)).real.copy())


def power_law(slope, table, images=1):
    power = torch.ones(images, len(table), dtype=torch.float64)
    power[:, 1:] = table.radius[1:] ** slope
    return power


def reference(x, ring):
    """R of one image (C, H, W) from the full DFT and a function ring(k_y, k_x) → number, in plain numpy loops."""
    _, height, width = x.shape
    power = (np.abs(np.fft.fft2(x, norm="ortho")) ** 2).mean(0)
    found: dict[int, list[float]] = {}
    for row in range(height):
        for column in range(width):
            k_y = row - height if row > (height - 1) // 2 else row
            k_x = column - width if column > (width - 1) // 2 else column
            found.setdefault(ring(k_y, k_x), []).append(power[row, column])
    return np.array([math.fsum(found[f]) / len(found[f]) for f in sorted(found)]), sorted(found)


# LAW


@given(SHAPES)
@example((1, 2, 2))
@example((1, 4, 40))
def test_rings_partition_the_frequencies(shape):
    _, height, width = shape
    table = rings(height, width)
    assert table.count.sum() == height * width
    assert (table.count > 0).all()  # no empty ring
    assert table.count[0] == 1  # DC alone, however elongated the image
    assert table.nyquist < len(table)
    assert len(table) - 1 <= min(height, width) / math.sqrt(2) + 1


@given(SHAPES, st.integers(0, 2**32 - 1))
def test_parseval(shape, seed):
    """BITE: weight 2 for the Nyquist column of an even width breaks it."""
    x = noise(3, *shape, seed=seed)
    counted = (rapsd(x) * rings(*shape[1:]).count).sum(-1)
    assert torch.allclose(counted, x.square().sum((-2, -1)).mean(-1), rtol=1e-12, atol=0)


@settings(max_examples=12, deadline=None)
@given(st.tuples(st.integers(1, 3), st.integers(2, 20), st.integers(2, 20)), WINDOWS, st.integers(0, 2**32 - 1))
@example((1, 4, 40), None, 0)
@example((1, 16, 16), "hann", 0)
def test_white_noise_is_flat(shape, window, seed):
    """R(f) = s² within 6 standard errors of the mean over 300 images, at every ring.

    With the window, ring 1 lies lower, since the window spreads the removed mean over it: its expectation is
    s²·(1 − mean over the ring of |ŵ(k)|²/(H·W)), ŵ the window's orthonormal DFT; so is any ring it reaches.
    """
    variance, images = 2.5, 300
    _, height, width = shape
    power = rapsd(math.sqrt(variance) * noise(images, *shape, seed=seed), window)
    expected = torch.full_like(power[0], variance)
    if window:
        taper = np.outer(*(np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in (height, width)))
        taper /= np.sqrt((taper**2).mean())
        leak = rapsd(torch.from_numpy(taper)[None]) / (height * width)
        expected[1:] *= 1 - leak[1:]
    error = power.std(0) / math.sqrt(images)
    # one image's ring is χ²-distributed; a ring the window empties (2 px sides) has no spread at all
    assert ((power.mean(0) - expected).abs() <= 6 * error + 1e-12).all()


def test_hann_ring_one_of_a_large_image():
    """The 5/72 of the docstring."""
    taper = torch.sin(math.pi * (torch.arange(64, dtype=torch.float64) + 0.5) / 64) ** 2
    taper = torch.outer(taper, taper) / (3 / 8)
    leak = rapsd(taper[None]) / 64**2
    assert float(leak[1]) == pytest.approx(5 / 72, rel=1e-12)
    assert float(leak[2:].max()) < 1e-20


@given(SHAPES, WINDOWS, st.integers(0, 2**32 - 1), st.floats(-50, 50), st.floats(0.01, 100))
def test_invariances(shape, window, seed, constant, factor):
    x = noise(2, *shape, seed=seed)
    power = rapsd(x, window)
    close = functools.partial(torch.allclose, rtol=1e-9, atol=1e-11)
    assert close(rapsd(x.flip(-1), window), power)
    assert close(rapsd(x.flip(-2), window), power)
    assert close(rapsd(x.transpose(-2, -1), window), power)
    assert torch.allclose(rapsd(factor * x, window), factor**2 * power, rtol=1e-9, atol=1e-11 * factor**2)
    assert torch.allclose(rapsd(x + constant, window)[:, 1:], power[:, 1:], rtol=1e-7, atol=1e-9)
    mean_power = x.mean((-2, -1)).square().mean(-1) * x[0, 0].numel()
    assert close(power[:, 0], mean_power)
    if window is None:
        assert close(rapsd(x.roll((3, -2), (-2, -1))), power)


@given(SHAPES, WINDOWS, st.sampled_from([torch.float32, torch.float64]), st.integers(2, 40))
def test_batched_equals_one_by_one_bit_for_bit(shape, window, dtype, images):
    x = noise(images, *shape, dtype=dtype)
    power = rapsd(x, window)
    assert power.dtype == dtype
    assert torch.equal(power, torch.stack([rapsd(image, window) for image in x]))


def test_bits_survive_the_chunks_and_the_threads():
    """300 images are several chunks; one thread and two give the same."""
    x = noise(300, 3, 64, 48, dtype=torch.float32)
    before = torch.get_num_threads()
    try:
        powers = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            powers.append(rapsd(x, "hann"))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(powers[0], powers[1])
    assert torch.equal(powers[0][250:], rapsd(x[250:], "hann"))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (31, 31), (24, 48), (33, 20)])
@pytest.mark.parametrize("wave", [(0, 5), (4, 0), (3, -4), (7, 2)])
def test_a_wave_lands_in_its_ring(height, width, wave):
    """cos(2π(k_y·y/H + k_x·x/W)): all power, HW/2 over two coefficients, in ring ⌊|k| + ½⌋, and none elsewhere."""
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    image = torch.cos(2 * math.pi * (wave[0] * y / height + wave[1] * x / width))
    power = rapsd(image[None])
    ring = math.floor(min(height, width) * math.hypot(wave[0] / height, wave[1] / width) + 0.5)
    count = rings(height, width).count
    expected = torch.zeros_like(power)
    expected[ring] = height * width / 2 / count[ring]
    assert torch.allclose(power, expected, atol=1e-10)


def test_the_batch_shape_is_kept_and_may_be_empty():
    x = noise(2, 3, 4, 8, 9)
    assert torch.equal(rapsd(x)[1, 2], rapsd(x[1, 2]))
    table = rings(8, 9)
    assert rapsd(x[:0]).shape == (0, 3, len(table))
    law = fit_power_law(rapsd(x), table)
    assert law.slope.shape == law.slope_error.shape == law.log_amplitude.shape == (2, 3)
    assert torch.equal(law.slope[1], fit_power_law(rapsd(x[1]), table).slope)
    assert fit_power_law(rapsd(x[:0]), table).slope.shape == (0, 3)
    assert isotonic(rapsd(x[:0]), table).shape == (0, 3, len(table))


def test_gradient():
    x = noise(2, 3, 5, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda image: rapsd(image, "hann"), x)


def test_float32_keeps_a_steep_spectrum():
    """Ring sums in float64: relative error at every ring of a spectrum over six decades below 1e-4."""
    x = field(-3.0, 4, 3, 128, 128)
    exact = rapsd(x)
    assert ((rapsd(x.float()).double() - exact).abs() / exact).max() < 1e-4


# WITNESS


@settings(max_examples=25, deadline=None)
@given(st.tuples(st.integers(1, 3), st.integers(2, 16), st.integers(2, 16)), st.integers(0, 2**32 - 1))
@example((1, 3, 6), 0)  # ties: |k| = ½, 3/2 on the long axis
@example((1, 8, 4), 0)
def test_equals_the_definition_by_loops(shape, seed):
    """BITE: a ring of round(|k|) with half to even, or DC shared with |k| < ½, fails on elongated images."""
    x = noise(*shape, seed=seed)
    _, height, width = shape

    def ring(k_y, k_x):
        # |k|² = n²(k_y²/H² + k_x²/W²) in integers: f is the largest with (f − ½)² ≤ |k|², and at least 1 off DC
        square = 4 * min(height, width) ** 2 * (k_y**2 * width**2 + k_x**2 * height**2)
        f = 0
        while (2 * f + 1) ** 2 * height**2 * width**2 <= square:
            f += 1
        return max(f, 1) if (k_y, k_x) != (0, 0) else 0

    power, found = reference(x.numpy(), ring)
    assert found == list(range(len(rings(height, width))))
    assert np.allclose(rapsd(x).numpy(), power, rtol=1e-12, atol=1e-14)


def pysteps_rapsd(x):
    """pysteps.utils.spectral.rapsd by its documented definition, for one channel (H, W).

    Rings of integer radius in the index plane, round(√(k_y² + k_x²)), of |FFT|²/(H·W); radii 0 … L/2 for even and
    0 … (L − 1)/2 − 1 for odd L = max(H, W).
    """
    power, found = reference(x[None], lambda k_y, k_x: round(math.hypot(k_y, k_x)))
    longer = max(x.shape)
    last = longer // 2 if longer % 2 == 0 else longer // 2 - 1
    return power[: found.index(last) + 1] if last in found else power


@pytest.mark.parametrize("side", [2, 5, 8, 9, 16, 27, 32])
def test_equals_pysteps_where_the_definitions_coincide(side):
    """Square images of one channel: equal at every radius pysteps returns.

    The definitions differ: (i) for odd sides pysteps stops one ring earlier; (ii) it drops the corners, kept here;
    (iii) for non-square images its rings are circles in index space, so ellipses in cycles per pixel, up to half the
    LONGER side (and empty rings, NaN, can occur); here they are circles in cycles per pixel, up to half the shorter;
    (iv) it takes one channel and no window.
    """
    x = noise(side, side, seed=side)
    theirs = pysteps_rapsd(x.numpy())
    nyquist = rings(side, side).nyquist
    assert len(theirs) == (nyquist + 1 if side % 2 == 0 else nyquist)
    assert np.allclose(rapsd(x[None])[: len(theirs)].numpy(), theirs, rtol=1e-12)


@pytest.mark.skipif(importlib.util.find_spec("pysteps") is None, reason="pysteps is not installed; it is optional")
@pytest.mark.parametrize("side", [8, 9, 32])
def test_equals_pysteps_itself(side):
    from pysteps.utils.spectral import rapsd as theirs  # type: ignore[import-not-found]

    x = noise(side, side, seed=side)
    expected = theirs(x.numpy(), fft_method=np.fft)
    assert np.allclose(rapsd(x[None])[: len(expected)].numpy(), expected, rtol=1e-12)


# The power law


@given(st.floats(-4, 1), st.floats(-10, 10), st.integers(6, 80), st.integers(6, 80))
def test_an_exact_power_law_is_recovered(slope, log_amplitude, height, width):
    table = rings(height, width)
    power = power_law(slope, table) * math.exp(log_amplitude)
    law = fit_power_law(power, table)
    assert float(law.slope) == pytest.approx(slope, abs=1e-9)
    assert float(law.log_amplitude) == pytest.approx(log_amplitude, abs=1e-9)
    assert float(law.slope_error) < 1e-9
    frequency = table.radius[1 : table.nyquist + 1]
    assert torch.allclose(law.log_power(frequency), power[:, 1 : table.nyquist + 1].log(), atol=1e-8)


@pytest.mark.parametrize(
    ("slope", "shape"), [(0.0, (1, 32, 32)), (-2.0, (3, 64, 64)), (-3.0, (2, 40, 64)), (-2.0, (1, 65, 65))]
)
def test_slopes_of_random_fields(slope, shape):
    """300 fields: bias below the error of one fit; error bars true to within a factor: rms error/bar between ½ and 1.1.

    And 2 bars cover at least 80 %: the share stated in the docstring, less 3 standard errors (k = 3, 2 % each).
    """
    law = fit_power_law(rapsd(field(slope, 300, *shape)), rings(*shape[1:]))
    error = law.slope - slope
    bar = law.slope_error.square().mean().sqrt()
    assert error.mean().abs() < bar
    assert 0.5 < error.square().mean().sqrt() / bar < 1.1
    assert (error.abs() < 2 * law.slope_error).double().mean() > 0.8


@given(st.integers(8, 24), st.integers(0, 2**32 - 1))
def test_the_slope_minimises_the_differences_of_residuals(side, seed):
    """Σ over pairs |rᵢ − rⱼ| is convex and piecewise linear in the slope: least at one of the pairs' slopes.

    per_octave = 100 makes every ring its own band. BITE: without the weights, or with an unweighted median, it is not.
    """
    table = rings(side, side)
    power = rapsd(noise(1, side, side, seed=seed))
    x = table.radius[1 : table.nyquist + 1].log().numpy()
    y = power[1 : table.nyquist + 1].log().numpy()
    first, second = np.triu_indices(len(x), 1)

    def dispersion(slope):
        return np.abs((y - slope * x)[first] - (y - slope * x)[second]).sum()

    least = min(dispersion(slope) for slope in (y[second] - y[first]) / (x[second] - x[first]))
    law = fit_power_law(power, table, per_octave=100)
    assert dispersion(float(law.slope)) == pytest.approx(least, rel=1e-9)
    assert float(law.log_amplitude) == pytest.approx(np.median(y - float(law.slope) * x), abs=1e-9)


@pytest.mark.parametrize("ring", [1, 2, 3, 7, 20, 31, 32])
def test_one_outlier_ring_does_not_move_the_slope(ring):
    """A ring 10⁶ or 10⁻⁶ times off moves the slopes of 40 fields by at most 1.5 error bars in the median, and 4 at most.

    BITE: a least-squares line moves by 6 (ring 20) to 32 bars (ring 1).
    """
    table = rings(64, 64)
    power = rapsd(field(-2.0, 40, 3, 64, 64))
    clean = fit_power_law(power, table)
    for factor in (1e6, 1e-6):
        spoilt = power.clone()
        spoilt[:, ring] *= factor
        moved = (fit_power_law(spoilt, table).slope - clean.slope).abs()
        assert moved.median() < 1.5 * clean.slope_error.median()
        assert moved.max() < 4 * clean.slope_error.median()


def test_the_mean_colour_and_the_corners_are_not_in_the_fit():
    table = rings(32, 32)
    power = power_law(-2.0, table)
    power[:, 0], power[:, table.nyquist + 1 :] = 1e9, 1e-9
    assert float(fit_power_law(power, table).slope) == pytest.approx(-2.0, abs=1e-9)


@given(st.integers(6, 40), st.integers(6, 40), st.integers(2, 30), st.sampled_from([torch.float32, torch.float64]))
def test_fits_and_steps_batched_equal_one_by_one(height, width, images, dtype):
    table = rings(height, width)
    power = rapsd(noise(images, 2, height, width, dtype=dtype))
    law = fit_power_law(power, table)
    single = [fit_power_law(p, table) for p in power]
    assert torch.equal(law.slope, torch.stack([one.slope for one in single]))
    assert torch.equal(law.slope_error, torch.stack([one.slope_error for one in single]))
    assert torch.equal(law.log_amplitude, torch.stack([one.log_amplitude for one in single]))
    smooth = isotonic(power, table)
    assert torch.equal(smooth, torch.stack([isotonic(p, table) for p in power]))
    curve = spectral_log_snr(smooth, table, 0.01)
    assert torch.equal(curve, torch.stack([spectral_log_snr(p, table, 0.01) for p in smooth]))


@given(st.floats(0.001, 1000))
def test_a_factor_moves_the_amplitude_only(factor):
    table = rings(24, 24)
    power = rapsd(noise(3, 1, 24, 24))
    law, scaled = fit_power_law(power, table), fit_power_law(power * factor**2, table)
    assert torch.allclose(scaled.slope, law.slope, atol=1e-10)
    assert torch.allclose(scaled.log_amplitude, law.log_amplitude + 2 * math.log(factor), atol=1e-10)


# The isotonic spectrum


@given(st.integers(4, 40), st.integers(4, 40), st.integers(0, 2**32 - 1))
def test_isotonic_equals_two_libraries(height, width, seed):
    """scikit-learn and scipy, one spectrum at a time. BITE: without the weights, or on R instead of log R, it differs."""
    table = rings(height, width)
    power = rapsd(noise(3, 1, height, width, seed=seed))
    smooth = isotonic(power, table)
    used = slice(1, table.nyquist + 1)
    assert (smooth[:, used].diff(dim=-1) <= 0).all()
    assert torch.equal(smooth[:, 0], power[:, 0])
    assert torch.equal(smooth[:, table.nyquist + 1 :], power[:, table.nyquist + 1 :])
    weight = table.count[used].numpy()
    for mine, given_power in zip(smooth[:, used].log().numpy(), power[:, used].log().numpy(), strict=True):
        theirs = IsotonicRegression(increasing=False).fit(np.arange(len(weight)), given_power, weight)
        assert np.allclose(mine, theirs.predict(np.arange(len(weight))), atol=1e-10)
        assert np.allclose(mine, isotonic_regression(given_power, weights=weight, increasing=False).x, atol=1e-10)


@given(st.integers(4, 40), st.integers(0, 2**32 - 1))
def test_isotonic_is_a_projection(side, seed):
    table = rings(side, side)
    power = rapsd(noise(2, 1, side, side, seed=seed))
    smooth = isotonic(power, table)
    assert torch.allclose(isotonic(smooth, table), smooth, rtol=1e-12)
    used = slice(1, table.nyquist + 1)
    shift = ((smooth[:, used].log() - power[:, used].log()) * table.count[used]).sum(-1)
    assert shift.abs().max() < 1e-8  # the weighted mean of log R is kept


# The curves λ(t)


@given(st.integers(4, 40), st.integers(4, 40), st.sampled_from([0.0, 0.5, 1.0]), st.floats(1e-4, 0.3))
def test_curves_are_monotone_and_end_at_the_window(height, width, focus, epsilon):
    table = rings(height, width)
    power = isotonic(rapsd(noise(3, 2, height, width)), table)
    curve = spectral_log_snr(power, table, epsilon, focus, nodes=33)
    used = power[:, 1 : table.nyquist + 1]
    logit = math.log((1 - epsilon) / epsilon)
    assert (curve.diff(dim=-1) <= 1e-12).all()
    assert torch.allclose(curve[:, 0], -used.amin(-1).log() + logit, rtol=0, atol=1e-12)
    assert torch.allclose(curve[:, -1], -used.amax(-1).log() - logit, rtol=0, atol=1e-12)
    # the deficits of variance at the extremes are ε: sigmoid(±(λ + log R))
    assert torch.allclose(torch.sigmoid(-(curve[:, 0] + used.amin(-1).log())), torch.tensor(epsilon).double())
    scaled = spectral_log_snr(power * 9, table, epsilon, focus, nodes=33)
    assert torch.allclose(scaled, curve - 2 * math.log(3), atol=1e-10)


def test_shapes_of_the_curves():
    """R = f^−2 on 64 px: λ_F before the stretch is 2 log f, f uniform; λ_P by its own quantiles; mixed their mean."""
    table = rings(64, 64)
    power = torch.ones(1, len(table), dtype=torch.float64)
    power[:, 1:] = torch.arange(1, len(table)).double() ** -2
    curves = [spectral_log_snr(power, table, 0.01, focus, nodes=32)[0] for focus in (0.0, 0.5, 1.0)]
    unit = [(curve - curve[-1]) / (curve[0] - curve[-1]) for curve in curves]
    f = torch.arange(32, 0, -1).double()
    assert torch.allclose(unit[0], f.log() / math.log(32), atol=1e-12)
    assert torch.allclose(unit[1], (unit[0] + unit[2]) / 2, atol=1e-12)
    assert (unit[2][1:-1] < unit[0][1:-1]).all()  # most power at low f, so more steps at high noise


def test_a_flat_spectrum_gives_a_straight_curve():
    curve = spectral_log_snr(torch.full((1, len(rings(16, 16))), 2.0), rings(16, 16), 0.01, nodes=5)
    assert torch.allclose(curve[0], math.log(99) * torch.linspace(1, -1, 5).double() - math.log(2), atol=1e-12)


# Errors: the value, what is allowed, the remedy


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.zeros((1, 4, 4)), TypeError, ["ndarray", "allowed", "torch.as_tensor"]),
        (torch.zeros(1, 4, 4, dtype=torch.complex64), TypeError, ["complex64", "float32, float64"]),
        (torch.zeros(1, 4, 4, dtype=torch.uint8), TypeError, ["uint8", "x.to(torch.float32)"]),
        (torch.zeros(4, 4), ValueError, ["(4, 4)", "(..., C, H, W)", "x[None]"]),
        (torch.zeros(0, 4, 4), ValueError, ["(0, 4, 4)", "C ≥ 1"]),
        (torch.zeros(3, 1, 8), ValueError, ["1 × 8", "≥ 2", "pad"]),
    ],
)
def test_bad_images(x, error, words):
    with pytest.raises(error) as caught:
        rapsd(x)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("window", [None, "hann"])
def test_values_that_are_not_finite_name_their_image(value, window):
    x = noise(100, 3, 32, 32, dtype=torch.float32)
    x[73, 1, 5, 6] = value
    with pytest.raises(ValueError, match=r"image 73 of 100 .* not finite.*allowed.*drop"):
        rapsd(x, window)


def test_bad_window():
    with pytest.raises(ValueError, match=r"'hamming'.*allowed: None, 'hann'"):
        rapsd(torch.zeros(1, 4, 4), "hamming")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_without_power_need_a_floor(dtype):
    """A constant image, rounding residue included: an error without floor, a flat spectrum with it."""
    x = noise(3, 3, 32, 32, dtype=dtype)
    x[1] = 0.3
    table = rings(32, 32)
    for window in (None, "hann"):
        power = rapsd(x, window)
        for step in (fit_power_law, isotonic):
            with pytest.raises(ValueError, match=r"image 1 .*no power in ring 1.*floor="):
                step(power, table)
        law = fit_power_law(power, table, floor=QUANTISATION_POWER)
        assert float(law.slope[1]) == 0
        assert float(law.log_amplitude[1]) == pytest.approx(math.log(QUANTISATION_POWER))
        flat = isotonic(power, table, floor=QUANTISATION_POWER)[1, 1 : table.nyquist + 1]
        assert torch.allclose(flat, torch.tensor(QUANTISATION_POWER, dtype=torch.float64))


def test_bad_spectra():
    table = rings(32, 32)
    good = power_law(-2.0, table, 3)
    with pytest.raises(ValueError, match=r"\(3, 5\).*allowed: \(..., 24\)"):
        fit_power_law(good[:, :5], table)
    with pytest.raises(ValueError, match="image 2 is negative or not finite"):
        isotonic(torch.where(torch.arange(3)[:, None] == 2, -good, good), table)
    with pytest.raises(TypeError, match="as `rapsd` returns it"):
        isotonic(good.to(torch.complex128), table)
    with pytest.raises(ValueError, match=r"floor = 0.*allowed: finite and > 0"):
        isotonic(good, table, floor=0.0)
    with pytest.raises(ValueError, match="allowed: ≥ 6 a side"):
        fit_power_law(power_law(-2.0, rings(5, 9)), rings(5, 9))
    with pytest.raises(ValueError, match="per_octave = 0"):
        fit_power_law(good, table, per_octave=0)
    with pytest.raises(ValueError, match=r"spectrum 0 increases.*use isotonic"):
        spectral_log_snr(power_law(1.0, table), table, 0.01)
    with pytest.raises(ValueError, match=r"epsilon = 0.5; allowed"):
        spectral_log_snr(good, table, 0.5)
    with pytest.raises(ValueError, match=r"focus = 2; allowed"):
        spectral_log_snr(good, table, 0.1, focus=2)
    with pytest.raises(ValueError, match=r"nodes = 1; allowed"):
        spectral_log_snr(good, table, 0.1, nodes=1)
    with pytest.raises(ValueError, match=r"nodes = 2.5; allowed: an integer ≥ 2"):
        spectral_log_snr(good, table, 0.1, nodes=2.5)
    with pytest.raises(TypeError, match=r"epsilon = '0.1', str; allowed: a number; remedy"):
        spectral_log_snr(good, table, "0.1")
    with pytest.raises(ValueError, match=r"per_octave = 2.5; allowed: an integer ≥ 1"):
        fit_power_law(good, table, per_octave=2.5)
    with pytest.raises(ValueError, match=r"image of 6.5 × 6 pixels; allowed: integers, ≥ 2"):
        rings(6.5, 6)
