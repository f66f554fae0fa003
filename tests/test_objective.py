"""The loss against its definition in float64, its identities, and what it does at the ends of the noise levels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imagenet import objective, schedules
from imagenet.objective import Levels
from imagenet.schedules import from_rows
from imagenet.settings import Noise, Objective
from theory.curve import LogUniform
from theory.schedule import Linear, VariancePreserving, shifted_cosine

KINDS = ("velocity", "data", "noise")
SHAPE = (5, 3, 4, 4)
BASELINE = shifted_cosine(32, 64)

levels_of_noise = st.lists(st.floats(-20, 20), min_size=SHAPE[0], max_size=SHAPE[0]).map(lambda v: torch.tensor(v).double())
biases = st.floats(-4, 4)


def drawn(seed: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, noise, and a wrong guess of the images."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(SHAPE, generator=generator, dtype=torch.float64).to(dtype) for _ in range(3))


def at(log_snr: torch.Tensor, bias: float, prediction: str) -> Levels:
    """By hand: −dλ/dt = 3."""
    density = torch.exp(objective.log_density(log_snr, bias, prediction))
    signal, noise = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
    return Levels(log_snr, log_snr + 1, log_snr - 1, signal, noise, density, 3 * density)


def network(guess: torch.Tensor, prediction: str, level: Levels):
    """A network whose estimate of the images is `guess`, whatever it is to predict."""
    a, s = level.signal[:, None, None, None], level.noise[:, None, None, None]

    def call(z, labels, log_snr, start, end):
        noise = (z - a * guess) / s
        return {"velocity": a * noise - s * guess, "data": guess, "noise": noise}[prediction]

    return call


@given(levels_of_noise, biases, st.sampled_from(KINDS), st.integers(0, 99))
def test_loss_is_its_definition_for_each_prediction(log_snr, bias, prediction, seed):
    log_snr = log_snr.clamp(-12, 12)  # the stand-in network divides by s; the definition needs float64's digits for that
    x, noise, guess = drawn(seed)
    level = at(log_snr, bias, prediction)
    loss, density = objective.losses(network(guess, prediction, level), x, noise, torch.zeros(5).long(), level, prediction)
    squared = (x - guess).square().flatten(1).mean(1)
    expected = 0.5 * 3 * math.exp(bias) * torch.sigmoid(log_snr - bias) * squared
    # 1e-6: the guess goes through a division by s ≥ 2.5e-3 and back, in float64
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(density * 3, loss, rtol=1e-12, atol=0)


@given(levels_of_noise, biases, st.integers(0, 99))
def test_weight_on_noise_is_a_sigmoid(log_snr, bias, seed):
    """e^b sigmoid(λ − b)‖x − x̂‖² = sigmoid(b − λ)‖ε − ε̂‖²."""
    weight = torch.exp(objective.log_density(log_snr, bias, "noise"))
    torch.testing.assert_close(weight, 0.5 * torch.sigmoid(bias - log_snr), rtol=1e-12, atol=0)


@given(st.floats(-20, 20), biases, st.sampled_from(KINDS))
def test_weights_are_finite_and_kept_by_float32(log_snr, bias, prediction):
    schedule = VariancePreserving(LogUniform(log_snr + 1, log_snr - 1))  # λ(½) = log_snr, −dλ/dt = 2
    level = objective.levels(schedule, torch.full((1,), 0.5), bias=bias, prediction=prediction)
    numbers = Levels.of(level.stacked())
    for name in ("log_snr", "signal", "noise", "density", "weight"):
        exact, rounded = getattr(level, name), getattr(numbers, name)
        assert torch.isfinite(rounded).all()
        # 2⁻²³: one rounding to float32; a weight formed in float32 from exp and sigmoid is off by some 1e-6 at |λ| = 20
        torch.testing.assert_close(rounded.double(), exact, rtol=2.0**-23, atol=0)
    closed = {
        "velocity": 0.5 * math.exp(bias) * torch.sigmoid(level.log_snr - bias) * torch.sigmoid(-level.log_snr),
        "data": 0.5 * math.exp(bias) * torch.sigmoid(level.log_snr - bias),
        "noise": 0.5 * torch.sigmoid(bias - level.log_snr),
    }[prediction]
    torch.testing.assert_close(level.density, closed, rtol=1e-11, atol=0)
    torch.testing.assert_close(level.weight, 2 * closed, rtol=1e-11, atol=0)


@pytest.mark.parametrize("prediction", KINDS)
@pytest.mark.parametrize("log_snr", [-20.0, 0.0, 20.0])
def test_float32_loss_at_the_ends_is_that_of_float64(prediction, log_snr):
    """Of a network that is wrong by a known amount: no difference is divided by a small signal or noise."""
    x, noise, wrong = drawn(3)
    results = []
    for dtype in (torch.float32, torch.float64):
        level = at(torch.full((5,), log_snr, dtype=torch.float64), 2.0, prediction)
        level = Levels(*(getattr(level, name).to(dtype) for name in level.__dataclass_fields__))
        true = objective.target(x.to(dtype), noise.to(dtype), level, prediction)
        answer = lambda *_, true=true, dtype=dtype: true + wrong.to(dtype)  # noqa: E731
        loss, _ = objective.losses(answer, x.to(dtype), noise.to(dtype), torch.zeros(5).long(), level, prediction)
        results.append(loss)
    assert results[0].dtype == torch.float32
    # 1e-5: float32's 6e-8 times the few roundings of (target + wrong) − target, wrong being of the target's size
    torch.testing.assert_close(results[0].double(), results[1], rtol=1e-5, atol=0)


def test_a_perfect_network_has_no_loss():
    x, noise, _ = drawn(0)
    for prediction in KINDS:
        level = at(torch.linspace(-15, 15, 5, dtype=torch.float64), 2.0, prediction)
        true = objective.target(x, noise, level, prediction)
        loss, _ = objective.losses(lambda *_, true=true: true, x, noise, torch.zeros(5).long(), level, prediction)
        assert (loss == 0).all()


def test_the_network_sees_the_state_and_all_three_levels():
    x, noise, _ = drawn(1)
    level = at(torch.linspace(-3, 3, 5, dtype=torch.float64), 2.0, "velocity")
    seen = []

    def call(*inputs):
        seen.extend(inputs)
        return inputs[0]

    labels = torch.tensor([0, 1, 2, 1, 0])
    objective.losses(call, x, noise, labels, level)
    a, s = level.signal[:, None, None, None], level.noise[:, None, None, None]
    torch.testing.assert_close(seen[0], a * x + s * noise)
    assert (seen[1] == labels).all()
    for told, wanted in zip(seen[2:], (level.log_snr, level.start, level.end), strict=True):
        assert torch.equal(told, wanted)


def test_levels_are_the_schedule_and_its_rate():
    """Rates against central differences; ends; a² + s² = 1."""
    times = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)
    level = objective.levels(BASELINE, times, bias=0.0, prediction="data")
    step = 1e-5
    rate = (BASELINE.log_snr(times + step) - BASELINE.log_snr(times - step)) / (2 * step)
    # 1e-6: the error of a central difference, step²·λ'''/6λ' ≈ 1e-7 at t = .02
    torch.testing.assert_close(level.weight / level.density, -rate, rtol=1e-6, atol=0)
    torch.testing.assert_close(level.signal**2 + level.noise**2, torch.ones(25, dtype=torch.float64))
    assert level.start.unique().item() == pytest.approx(15 + 2 * math.log(2), abs=1e-9)
    assert level.end.unique().item() == pytest.approx(-15 + 2 * math.log(2), abs=1e-9)


def test_rate_factor_is_a_switch():
    times = torch.tensor([0.2, 0.7]).double()
    on, off = (objective.levels(BASELINE, times, bias=2.0, rate_factor=flag) for flag in (True, False))
    assert torch.equal(off.weight, off.density)
    torch.testing.assert_close(on.weight, -BASELINE.log_snr_rate(times) * off.weight)


def test_with_the_rate_the_expected_loss_is_the_same_for_every_schedule():
    """∫ weight dt = ∫ density dλ: two schedules with equal ends, midpoint rule of 4000 nodes."""
    times = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    first = VariancePreserving(LogUniform(10.0, -10.0))
    nodes = torch.tensor([[10.0, 6.0, 5.0, -1.0, -10.0]]).expand(4000, 5)
    totals = [objective.levels(s, times, bias=1.0).weight.mean().item() for s in (first, from_rows(nodes))]
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)  # 1/4000² times the second derivatives' size, some 50
    plain = [objective.levels(s, times, bias=1.0, rate_factor=False).weight.mean().item() for s in (first, from_rows(nodes))]
    assert abs(plain[0] / plain[1] - 1) > 0.05  # and without it they differ


def test_per_image_rows_give_each_image_its_own_levels():
    rows = torch.stack([torch.linspace(8, -8, 9), torch.linspace(4, -12, 9)])
    times = torch.tensor([0.25, 0.25]).double()
    level = objective.levels(schedules.Schedules(rows=rows).of(torch.tensor([1, 0])), times, bias=0.0)
    torch.testing.assert_close(level.log_snr, torch.tensor([0.0, 4.0]).double())
    torch.testing.assert_close(level.start, torch.tensor([4.0, 8.0]).double())
    torch.testing.assert_close(level.end, torch.tensor([-12.0, -8.0]).double())


@pytest.mark.parametrize(("resolution", "bias"), [(32, 2.0), (64, 2.0), (128, 0.0), (256, -1.0), (512, -3.0)])
def test_bias_goes_by_resolution_unless_it_is_set(resolution, bias):
    assert Objective().bias_at(resolution) == bias
    assert Objective(bias=0.5).bias_at(resolution) == 0.5


def test_only_the_class_is_dropped():
    labels = torch.tensor([0, 3, 9])
    assert objective.dropped(labels, torch.tensor([True, False, True]), 10).tolist() == [10, 3, 10]


def test_a_schedule_without_an_end_is_refused_by_image_and_time():
    with pytest.raises(ValueError, match=r"position 1 of the batch, t = 1.*allowed.*remedy"):
        objective.levels(Linear(), torch.tensor([0.5, 1.0]), bias=0.0)


@pytest.mark.parametrize("call", [objective.log_density, lambda v, b, k: objective.target(v, v, None, k)])
def test_an_unknown_prediction_is_refused(call):
    with pytest.raises(ValueError, match=r"'score'; allowed: velocity, data, noise; remedy"):
        call(torch.zeros(2), 0.0, "score")


def test_baseline_and_interpolated_schedules_are_those_of_the_settings():
    """λ(t) = t·λ₂₅₆(t) + (1 − t)·λ₃₂(t), base resolutions 256 at noise and 32 at data (simple diffusion, eq. 6)."""
    noise = Noise(kind="interpolated cosine", base_at_data=32, base_at_noise=256)
    t = np.linspace(0.05, 0.95, 7)
    both = [shifted_cosine(512, base).log_snr(torch.from_numpy(t)).numpy() for base in (256, 32)]
    found = schedules.baseline(noise, 512).log_snr(torch.from_numpy(t)).numpy()
    np.testing.assert_allclose(found, t * both[0] + (1 - t) * both[1], rtol=1e-9)
