"""Per-image schedules: the laws they obey for any spectrum, and errors that say what is wrong with an image."""

import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import cost, per_image
from theory.cost import missing_spread
from theory.per_image import SHAPES, Basis, Rule
from theory.spectrum import QUANTISATION_POWER, PowerLaw, isotonic, rapsd, rings

SIDES = st.integers(4, 24)
RULES = st.builds(
    Rule,
    shape=st.sampled_from(SHAPES),
    epsilon=st.floats(1e-4, 0.4),
    evenness=st.floats(0.005, 1.0),
    nodes=st.sampled_from([2, 3, 17, 64, 65]),
    floor=st.just(QUANTISATION_POWER),
)


def of_images(x, rule):
    return per_image.of_images(x, rule)  # untyped: a test looks into the table


def schedules(power, table, rule):
    return per_image.schedules(power, table, rule)


def picture(kind, channels, height, width, seed):
    """8-bit images in [−1, 1] of every kind that has tripped a schedule."""
    generator = np.random.default_rng(seed)
    shape = (channels, height, width)
    if kind == "constant":
        return torch.full(shape, float(generator.uniform(-1, 1)), dtype=torch.float64)
    if kind == "binary":
        return torch.from_numpy(2.0 * generator.integers(0, 2, shape) - 1)
    if kind == "half":  # one straight edge: rings of very different power
        x = -torch.ones(shape, dtype=torch.float64)
        x[..., width // 2 :] = 1
        return x
    if kind == "single pixel":
        x = torch.zeros(shape, dtype=torch.float64)
        x[:, generator.integers(height), generator.integers(width)] = 1
        return x
    noise = torch.from_numpy(generator.standard_normal(shape))
    return noise if kind == "noise" else noise.cumsum(-1).cumsum(-2) / height


KINDS = ("constant", "binary", "half", "single pixel", "noise", "smooth")
PICTURES = st.builds(picture, st.sampled_from(KINDS), st.integers(1, 5), SIDES, SIDES, st.integers(0, 2**32 - 1))


@given(PICTURES, RULES)
@settings(max_examples=150)
def test_any_image_has_a_decreasing_schedule_on_its_window(x, rule):
    """BITE: without the straight share, λ of a binary image is flat in the middle; without pinning, ends miss by 1e-15·λ."""
    table = rings(*x.shape[-2:])
    schedule = of_images(x, rule)
    power = isotonic(rapsd(x, "hann"), table, rule.floor)[1 : table.nyquist + 1].clamp(min=rule.floor).numpy()
    margin = math.log((1 - rule.epsilon) / rule.epsilon)
    t = torch.linspace(0, 1, 301, dtype=torch.float64)
    level = schedule.curve(t)
    assert (level.diff() < 0).all()
    assert abs(level[0].item() - (margin - math.log(power.min()))) < 1e-12
    assert abs(level[-1].item() - (-margin - math.log(power.max()))) < 1e-12
    single = schedule.curve(t[::10].float())
    assert single.dtype == torch.float32
    assert (single.diff() < 0).all()
    assert torch.allclose(single.double(), level[::10], rtol=0, atol=1e-4)


@given(PICTURES, RULES, st.floats(0.01, 0.99))
@settings(max_examples=100)
def test_the_rate_is_the_slope_and_the_inverse_is_exact(x, rule, t):
    schedule = of_images(x, rule)
    intervals = rule.nodes - 1
    # a table is smooth inside an interval
    time = torch.tensor((math.floor(t * intervals) + 0.5) / intervals, dtype=torch.float64)
    h = 1e-5 / intervals
    slope = (schedule.curve(time + h) - schedule.curve(time - h)) / (2 * h)
    assert math.isclose(schedule.log_snr_rate(time).item(), slope.item(), rel_tol=1e-5)
    found = schedule.time_at(schedule.log_snr(time))
    assert abs(found - time) < 1e-11
    assert schedule.time_at(schedule.log_snr(torch.zeros_like(time))) == 0


@given(PICTURES, RULES, st.floats(0.1, 10.0))
@settings(max_examples=100)
def test_scale_law(x, rule, factor):
    """x → c·x moves λ by −2 log c at every time. The floor is a number of 8-bit images, so it moves along."""
    scaled = Rule(rule.shape, rule.epsilon, rule.evenness, rule.nodes, rule.floor * factor**2)
    before, after = of_images(x, rule), of_images(x * factor, scaled)
    assert torch.allclose(after.curve.nodes, before.curve.nodes - 2 * math.log(factor), rtol=0, atol=1e-10)


@given(st.integers(4, 16), st.sampled_from(SHAPES), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_pooling_law(side, shape, seed):
    """Waves sampled twice as densely have four times the power per coefficient: with the rings that both sizes have, λ
    falls by 2 log 2, which is simple diffusion's shift.
    """
    generator = np.random.default_rng(seed)
    spectrum = np.fft.fftshift(np.fft.fft2(generator.standard_normal((side, side)) / side))
    spectrum[0], spectrum[:, 0] = (0, 0) if side % 2 == 0 else (spectrum[0], spectrum[:, 0])  # the unpaired wave at Nyquist

    def sampled(n):
        full = np.zeros((n, n), dtype=complex)
        start = n // 2 - side // 2
        full[start : start + side, start : start + side] = spectrum
        return torch.from_numpy(np.fft.ifft2(np.fft.ifftshift(full)).real * n**2)[None]

    small, large = rapsd(sampled(side)), rapsd(sampled(2 * side))
    shared = (side - 1) // 2
    assert torch.allclose(large[1 : shared + 1], 4 * small[1 : shared + 1], rtol=1e-10, atol=0)
    table, rule = rings(side, side), Rule(shape, floor=1e-9)
    coarse, fine = (per_image.log_snr(p, table, r) for p, r in ((small, rule), (4 * small, Rule(shape, floor=4e-9))))
    assert torch.allclose(fine, coarse - 2 * math.log(2), rtol=0, atol=1e-10)


@pytest.mark.parametrize("slope", [0.5, 2.0, 3.5])
def test_resolution_moves_the_two_ends_differently(slope):
    """R = 4^octaves·f^−b: the noise end moves by −2 log 2 per doubling, the data end by (b − 2) log 2: not at all at b = 2."""

    def ends(n):
        table = rings(n, n)
        theta = torch.tensor([math.log(n**2), -slope], dtype=torch.float64)
        power = per_image.power_of(theta, table)
        power[1:] = (n**2) * torch.arange(1, len(table), dtype=torch.float64) ** -slope
        return torch.stack(per_image.window(power, table, Rule()))

    move = ends(64) - ends(32)
    assert torch.allclose(move, torch.tensor([-2.0, slope - 2]).double() * math.log(2), rtol=0, atol=1e-12)


@given(st.lists(st.sampled_from(KINDS), min_size=2, max_size=9), st.integers(1, 3), SIDES, SIDES, RULES)
@settings(max_examples=60)
def test_a_batch_equals_its_images_one_by_one_bit_for_bit(kinds, channels, height, width, rule):
    x = torch.stack([picture(kind, channels, height, width, seed) for seed, kind in enumerate(kinds)])
    batch = of_images(x, rule)
    assert torch.equal(batch.curve.nodes, torch.stack([of_images(one, rule).curve.nodes for one in x]))
    t = torch.rand(len(x), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    alone = torch.stack([of_images(one, rule).log_snr(at) for one, at in zip(x, t, strict=True)])
    assert torch.equal(batch.log_snr(t), alone)


@pytest.mark.parametrize("slope", [-1.0, -2.0, -3.0])
def test_the_geodesic_shape_is_the_geodesic_of_cost(slope):
    """Witness: `cost.geodesic` with the weights the shape settles on, and a smaller Wasserstein error than the three others."""
    table = rings(32, 32)
    power = per_image.power_of(torch.tensor([0.0, slope], dtype=torch.float64), table)
    used, count = power[1:17].numpy(), table.count[1:17].numpy()
    errors = {}
    for shape in SHAPES:
        rule = Rule(shape, evenness=1e-9, nodes=513)
        nodes = per_image.log_snr(power, table, rule).numpy()
        levels = np.exp(-nodes[::-1][:: 512 // 32] / 2)
        errors[shape] = float((count * cost.wasserstein_error(used, missing_spread(used.tolist(), np.append(levels, 0)))).sum())
        if shape == "geodesic":
            weight = count * used
            for _ in range(30):
                known = cost.geodesic(used, weight, levels[-1], levels[0], 400)
                weight = np.sqrt(weight * count * used * cost.spread_losses(used, known))
                weight /= weight.sum()
            known = cost.geodesic(used, weight, levels[-1], levels[0], 32)
            assert np.abs(np.log(levels / known)).max() < 0.05  # of a step of about 0.3; four rounds against thirty
    assert min(errors, key=lambda shape: errors[shape]) == "geodesic"


def test_parameters_and_basis_return_the_spectrum():
    """With all components θ is the spectrum; with none it is the line. BITE: a component's sign, or the mean left out."""
    generator = np.random.default_rng(3)
    table = rings(24, 24)
    power = torch.from_numpy(np.exp(generator.standard_normal((40, len(table))) - 2 * np.log(np.arange(1, len(table) + 1))))
    inner = slice(1, table.nyquist + 1)
    everything = Basis.fit(power, table, table.nyquist)
    again = per_image.power_of(per_image.parameters(power, table, everything), table, everything)
    assert torch.allclose(again[:, inner], power[:, inner], rtol=1e-9, atol=0)
    theta = per_image.parameters(power, table)
    line = per_image.power_of(theta, table)
    law = PowerLaw(theta[:, 0], theta[:, 1], theta[:, 1])
    assert torch.allclose(line[:, inner].log(), law.log_power(table.radius[inner]), atol=1e-12)
    few = Basis.fit(power, table, 3)
    left = [per_image.power_of(per_image.parameters(power, table, b), table, b) for b in (Basis.none(table), few, everything)]
    error = [float((p[:, inner].log() - power[:, inner].log()).square().mean()) for p in left]
    assert error[0] > error[1] > error[2]
    schedule = schedules(line, table, Rule("geodesic"))
    assert schedule.curve.nodes.shape == (40, 65)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_mean_colour_can_be_a_ring(shape):
    """Of a data set: the noise end is set by it, the data end is not; with its power that of f = 1 the ends are the same."""
    table = rings(16, 16)
    power = per_image.power_of(torch.tensor([0.0, -2.0], dtype=torch.float64), table)
    power[0] = 100 * power[1]
    without, with_it = (
        per_image.log_snr(power, table, Rule(shape)),
        per_image.log_snr(*per_image.with_mean_colour(power, table), Rule(shape)),
    )
    assert torch.allclose(with_it[0], without[0], rtol=0, atol=1e-12)
    assert torch.allclose(with_it[-1], without[-1] - math.log(100), rtol=0, atol=1e-12)


def test_a_rising_spectrum_becomes_flat():
    """θ with a positive slope, as a mixture may draw: a valid, straight schedule."""
    schedule = schedules(per_image.power_of(torch.tensor([0.0, 0.7]), rings(16, 16)), rings(16, 16), Rule("power"))
    assert torch.allclose(schedule.curve.nodes.diff().diff(), torch.zeros(63).double(), atol=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: of_images(torch.zeros(2, 3, 8, 8), Rule()), ["image 0", "no power", "QUANTISATION_POWER"]),
        (lambda: of_images(torch.zeros(1, 1, 1), Rule(floor=1.0)), ["1 × 1", "≥ 2"]),
        (lambda: of_images(torch.zeros(1, 3, 8), Rule(floor=1.0)), ["3 × 8", "≥ 4"]),
        (lambda: of_images(torch.full((1, 8, 8), math.nan), Rule(floor=1.0)), ["image 0", "not finite"]),
        (lambda: Rule(shape=cast(Any, "cubic")), ["'cubic'", "mixed", "remedy"]),
        (lambda: Rule(epsilon=0.5), ["0.5", "0 < ε < ½", "remedy"]),
        (lambda: Rule(evenness=0.0), ["0.0", "evenness ≤ 1", "remedy"]),
        (lambda: Rule(nodes=1), ["nodes = 1", "≥ 2", "remedy"]),
        (lambda: Rule(floor=-1.0), ["-1.0", "> 0", "remedy"]),
        (lambda: per_image.power_of(torch.tensor([0.0, math.nan]), rings(8, 8)), ["1 values not finite", "remedy"]),
        (lambda: per_image.power_of(torch.zeros(3), rings(8, 8)), ["(3,)", "(..., 2)", "remedy"]),
        (lambda: Basis.fit(torch.ones(3, 6), rings(8, 8), 3), ["3 components of 3", "0 … 2", "remedy"]),
    ],
)
def test_errors(make, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        make()
    assert all(word in str(caught.value) for word in words), caught.value
