"""Drawing images: samplers against exact recursions, guidance, gauges, streams, shards on disk, kill and resume."""

import dataclasses
import itertools
import json
import logging
import math
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagenet import checkpoint, samples, schedules
from imagenet.commands.generate import command
from imagenet.data import to_unit
from imagenet.denoiser import AtNodes, Ended, Graphed, Guidance, NetworkDenoiser, NodeFlow
from imagenet.generate import Generator, Source, load_generator, sample_grid, steering, tile, to_pixels
from imagenet.knowledge import Knowledge
from imagenet.model import ResidualUViT
from imagenet.prior import fit
from imagenet.request import Request
from imagenet.settings import Model, Noise, Objective, Run, Training, as_dict
from theory import cost, per_image
from theory.interpolant import against, point, velocity_coefficients
from theory.philox import DeviceStream
from theory.sampler import STEPS, grid
from theory.schedule import Normalised
from theory.spectrum import QUANTISATION_POWER, rapsd, rings
from theory.stream import Stream
from theory.target import Gaussian

SIDE, DIM = 8, 3 * 8 * 8
MODEL = Model("tiny", SIDE, 1, (16, 32), "RT", (1,), 1, 32)
NOISES = {
    "shifted cosine": Noise(),
    "spectral, per image": Noise("spectral"),
    "spectral, data set": Noise("spectral", level="data set"),
}
IN_LEVEL = ["DDIM", "Heun in noise-to-signal", "DPM-Solver++(2M)"]  # deterministic, functions of λ alone
# Three groups of coordinates: variances from a pixel's own down to fine detail. A mean besides.
VARIANCE = torch.tensor([0.25, 0.04, 0.002], dtype=torch.float64).repeat_interleave(DIM // 3)
MEAN = 0.3 * torch.sin(torch.arange(DIM, dtype=torch.float64))


def run_of(noise="shifted cosine", **objective):
    return Run("tiny", MODEL, Training(1, 1), NOISES[noise], Objective(**objective))


def _knowledge():
    """From 60 random fields of two classes with different slopes; the third class has no image."""
    frequency = torch.fft.fftfreq(SIDE, 1 / SIDE, dtype=torch.float64)
    radius = (frequency[:, None] ** 2 + frequency[None] ** 2).sqrt().clamp(min=1)
    labels = torch.arange(60) % 2
    white = torch.fft.fft2(Stream(5).normal(60, (3, SIDE, SIDE)))
    slope = 1.0 + 0.5 * labels[:, None, None, None] + 0.2 * Stream(6).normal(60, (1, 1, 1))
    fields = 0.2 * torch.fft.ifft2(white * radius**-slope).real
    power, table = rapsd(fields, None), rings(SIDE, SIDE)
    basis = per_image.Basis.fit(power, table, 1, QUANTISATION_POWER)
    theta = per_image.parameters(power, table, basis, QUANTISATION_POWER)
    names = ("smooth", "rough", "absent")
    packed = SimpleNamespace(
        size=SIDE, power=power, theta=theta, basis=basis, mean_colour_power=2.0, labels=labels, class_names=names,
        prior=fit(theta, labels, names, basis),
    )  # fmt: skip
    return Knowledge.of(packed)


KNOWLEDGE = _knowledge()


class Exact:
    """A network that knows a Gaussian exactly and predicts what it is asked to. Counts its calls and the rows of each."""

    def __init__(self, prediction="velocity", mean=None, by_label=None):
        self.law = Gaussian(VARIANCE, MEAN if mean is None else mean)
        self.prediction, self.by_label, self.rows = prediction, by_label, []

    def __call__(self, z, labels, log_snr, start, end):
        self.rows.append(len(z))
        assert bool((log_snr <= start).all() & (log_snr >= end).all())
        a, s = (torch.sigmoid(sign * log_snr.double()).sqrt()[:, None] for sign in (1, -1))
        x = z.double().flatten(1)
        data = self.law.denoise(x, a, s)
        if self.by_label is not None:
            data = data + self.by_label[labels][:, None]
        noise = (x - a * data) / s
        predicted = {"data": data, "noise": noise, "velocity": a * noise - s * data}[self.prediction]
        return predicted.reshape(z.shape).to(z.dtype)


def exact(noise="shifted cosine", network=None, **changes):
    network = Exact() if network is None else network
    run = run_of(noise, prediction=network.prediction)
    return Generator(run, network, KNOWLEDGE, inputs=torch.float64, dtype=torch.float64, **changes)


def untrained(noise="spectral, per image", seed=0, **objective):
    """A real network with weights in every layer: the zeros of a new one would hide whatever they multiply."""
    network = ResidualUViT(MODEL, 3, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return Generator(run_of(noise, **objective), network, KNOWLEDGE, identity="untrained")


def levels_of(generator, request):
    """ς at the nodes of the grid, (steps + 1, images), the last 0."""
    own = generator.schedule(request, request.first, generator.labels(request))
    nodes = torch.stack([Ended(own).noise_to_signal(t).expand(request.count) for t in grid(request.steps)])
    assert (nodes[-1] == 0).all()
    return nodes[..., None]


# ---- samplers against theory --------------------------------------------------------------------------------------------


def multiplier(sampler, variance, levels):
    """What a walk over ς multiplies x/signal − mean by, for N(mean, variance): scalar recursions written from the papers."""
    factor = torch.ones_like(levels[0] * variance)
    if sampler == "DDIM":
        for left, right in itertools.pairwise(levels):
            factor = factor * cost.ddim_multiplier(variance, left, right)
    elif sampler == "Heun in noise-to-signal":  # EDM, algorithm 1: dy/dς = (y − D)/ς = ς·y/(P + ς²)
        for left, right in itertools.pairwise(levels):
            slope, step = left / (variance + left**2), right - left
            guess = 1 + step * slope
            second = 1 + step * (slope + guess * right / (variance + right**2)) / 2
            factor = factor * (guess if bool((right == 0).all()) else second)
    else:  # DPM-Solver++, algorithm 2, in h = Δ log(signal/noise); deviations from the mean only
        before = None
        for k, (left, right) in enumerate(itertools.pairwise(levels)):
            data = factor * variance / (variance + left**2)
            blended = data
            if before is not None and bool((right > 0).all()):
                weight = torch.log(left / right) / torch.log(levels[k - 1] / left) / 2
                blended = (1 + weight) * data - weight * before
            factor, before = right / left * factor + (1 - right / left) * blended, data
    return factor


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("sampler", IN_LEVEL)
@pytest.mark.parametrize("steps", [1, 2, 7, 32])
def test_deterministic_walks_are_theorys(noise, sampler, steps):
    """Mean and spread of every coordinate to 1e-9: float64 throughout. BITE: 2.01·ε in DDIM's weight, or a grid of N − 1."""
    generator = exact(noise)
    request = Request(sampler, steps, count=4, clip=False)
    states, _ = generator.states(request, 0, 4)
    levels = levels_of(generator, request)
    start = generator.states(dataclasses.replace(request, sampler="DDIM", steps=1), 0, 4)[0].flatten(1)
    # One DDIM step is linear and known, so it gives the noise that every walk started from.
    z = MEAN + (start - MEAN) / cost.ddim_multiplier(VARIANCE, levels[0], torch.zeros(1))
    expected = MEAN + multiplier(sampler, VARIANCE, levels) * (z - MEAN)
    assert torch.allclose(states.flatten(1), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("noise", ["shifted cosine", "spectral, per image"])
def test_the_start_is_standard_normal(noise):
    """The noise recovered from one DDIM step, divided by ς(1): mean and variance within 4 standard errors."""
    generator = exact(noise, Exact(mean=torch.zeros(DIM, dtype=torch.float64)))
    request = Request("DDIM", 1, count=64, clip=False)
    state = generator.states(request, 0, 64)[0].flatten(1)
    ratio = levels_of(generator, request)[0]
    z = state / cost.ddim_multiplier(VARIANCE, ratio, torch.zeros(1)) / ratio
    assert abs(z.mean()) < 4 / math.sqrt(z.numel())
    assert abs(z.var() - 1) < 4 * math.sqrt(2 / z.numel())


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("noise", ["shifted cosine", "spectral, data set"])
def test_variance_of_ancestral_samples(gamma, noise):
    """Within 4 standard errors of the recursion, in each group of 64·128 coordinates. BITE: γ and 1 − γ exchanged."""
    count, steps = 128, 6
    generator = exact(noise, Exact(mean=torch.zeros(DIM, dtype=torch.float64)))
    request = Request("ancestral", steps, gamma=gamma, count=count, clip=False)
    states = generator.states(request, 0, count)[0].flatten(1)
    own = Ended(generator.schedule(request, 0, generator.labels(request)))
    variance = own.noise(1.0) ** 2 * torch.ones(3, dtype=torch.float64)
    group = VARIANCE[:: DIM // 3]
    for t, s in zip(grid(steps)[:-1], grid(steps)[1:], strict=True):
        (a, n), (b, m) = own.coefficients(t), own.coefficients(s)
        c = 1 - (a * m / (n * b)) ** 2
        gain = a * group / (a**2 * group + n**2)
        added = c * m ** (2 - 2 * gamma) * n ** (2 * gamma) if m > 0 else 0.0
        variance = (b / a * (1 - c) + c * b * gain) ** 2 * variance + added
    measured = states.reshape(count, 3, -1).square().mean((0, 2))
    error = variance * math.sqrt(2 / (count * DIM / 3))
    assert bool(((measured - variance).abs() < 4 * error).all()), (measured / variance).tolist()


@pytest.mark.parametrize(("sampler", "order"), [("DDIM", 1), ("Heun in noise-to-signal", 2), ("DPM-Solver++(2M)", 2)])
def test_order_in_the_number_of_steps(sampler, order):
    """Spread of the widest group against the exact flow's, √((P + ς²)/(P + ς(1)²)), up to the last step, which is stated apart:
    P/(P + ς²). 16 … 128 steps of the data set's schedule, whose ς spans less than a cosine's. Margin .25, .15 before a first
    look gave 2.22 for DPM-Solver++, whose first step, of first order, errs to the other side."""
    generator = exact("spectral, data set", network=Exact(mean=torch.zeros(DIM, dtype=torch.float64)))
    errors, variance = [], VARIANCE[0].item()
    for steps in (16, 32, 64, 128):
        request = Request(sampler, steps, count=1, clip=False)
        levels = levels_of(generator, request)[:, 0, 0].tolist()
        one = generator.states(dataclasses.replace(request, sampler="DDIM", steps=1), 0, 1)[0].flatten(1)
        z = one / cost.ddim_multiplier(VARIANCE, levels[0], 0.0)
        factor = (generator.states(request, 0, 1)[0].flatten(1) / z)[0, 0].item()
        flow = math.sqrt((variance + levels[-2] ** 2) / (variance + levels[0] ** 2)) * variance / (variance + levels[-2] ** 2)
        errors.append(abs(math.log(factor / flow)))
    slope = np.polyfit(np.log([16, 32, 64, 128]), np.log(errors), 1)[0]
    assert abs(slope + order) < 0.25, errors


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("sampler", STEPS)
def test_kinds_of_prediction_give_the_same_images(noise, sampler):
    """To 1e-7: ε at λ(1) is divided by a, down to 1e-3. BITE: a rate's sign in `NetworkDenoiser.level`."""
    request = Request(sampler, 5, count=3)
    velocity, *others = (exact(noise, Exact(kind)).states(request, 0, 3)[0] for kind in ("velocity", "data", "noise"))
    for other in others:
        assert torch.allclose(other, velocity, atol=1e-7)


@pytest.mark.parametrize("noise", ["shifted cosine", "spectral, per image"])
@pytest.mark.parametrize("sampler", STEPS)
def test_gauges(noise, sampler):
    """Steps in λ do not see the gauge (1e-5, in float32), ancestral at γ = 0; Euler and Heun in interpolant time do: by more
    than 1e-3."""
    generator = dataclasses.replace(exact(noise), dtype=torch.float32, inputs=torch.float32)
    request = Request(sampler, 6, gamma=0.0, count=3)
    gauges = ("variance preserving", "linear", "variance exploding")
    first, *others = (generator.states(dataclasses.replace(request, gauge=gauge), 0, 3)[0] for gauge in gauges)
    assert first.dtype == torch.float32
    for other in others:
        difference = float((other - first).abs().max())
        assert difference > 1e-3 if sampler in ("Euler", "Heun") else difference < 1e-5


@pytest.mark.parametrize("sampler", ["Euler", "Heun"])
def test_steps_in_time_converge_to_the_flow(sampler):
    """Of the data set's own schedule, whose rates are finite; 96 steps are within 4 % of 48 steps of Heun in ς."""
    generator = exact("spectral, data set")
    reference = generator.states(Request("Heun in noise-to-signal", 48, count=2, clip=False), 0, 2)[0]
    found = generator.states(Request(sampler, 96, count=2, clip=False), 0, 2)[0]
    assert float((found - reference).norm() / reference.norm()) < 0.04


@pytest.mark.parametrize("gauge", ["variance preserving", "variance exploding"])
@pytest.mark.parametrize("levels", ["sqrt", "linear"])
@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_interpolants_of_paper_a(gauge, levels, sampler):
    """Levels that the network does not know are told as its last (`Exact` asserts that), all samples are finite, and the spread
    of each group is that of the linear recursion: to 3 % for what is told, and 4 standard errors."""
    generator = exact("spectral, data set", Exact(mean=torch.zeros(DIM, dtype=torch.float64)))
    request = Request(sampler, 60, count=40, levels=levels, gauge=gauge, clip=False)
    states = generator.states(request, 0, 40)[0].reshape(40, 3, -1)
    schedule, group = generator.walked(request, None), VARIANCE[:: DIM // 3]
    spread = schedule.noise(1.0) * torch.ones(3, dtype=torch.float64)
    for t, s in itertools.pairwise(grid(60)):
        here, there = point(schedule, t, spread), schedule.coefficients(s)
        gain = here.signal * group / (here.signal**2 * group + here.noise**2)
        if sampler == "Euler":
            p, q = velocity_coefficients(here)
            spread = spread * (1 + (s - t) * (p + q * gain))
        else:
            spread = spread * (there[1] / here.noise * (1 - here.signal * gain) + there[0] * gain)
    ratio = states.square().mean((0, 2)).sqrt() / spread
    assert bool(((ratio - 1).abs() < 0.03 + 4 / math.sqrt(2 * 40 * DIM / 3)).all()), ratio.tolist()


# ---- the denoiser -------------------------------------------------------------------------------------------------------


def denoiser(network, count=4, guidance=None, start=14.0, end=-14.0, **changes):
    labels = torch.arange(count) % 3
    ends = [torch.full((count,), value) for value in (start, end)]
    guidance = Guidance() if guidance is None else guidance
    return NetworkDenoiser(network, network.prediction, labels, *ends, 3, guidance, inputs=torch.float64, **changes)


X = Stream(1).normal(4, (3, SIDE, SIDE))


@pytest.mark.parametrize("prediction", ["velocity", "data", "noise"])
def test_ends_are_finite_and_right(prediction):
    """signal = 0: what the network guesses from noise at λ(1); noise = 0: x/signal, exactly. BITE: no clamp gives NaN."""
    made = denoiser(Exact(prediction), clip=False)
    zero, one = torch.zeros(()).double(), torch.ones(()).double()
    blind = made(7 * X, zero, 7 * one)
    a, s = (torch.sigmoid(torch.tensor(sign * -14.0).double()).sqrt() for sign in (1, -1))
    assert torch.allclose(blind, Exact().law.denoise(X.flatten(1), a, s).reshape(X.shape), atol=1e-9)
    assert torch.allclose(made(3 * X, 3 * one, zero), X, atol=1e-12)
    beyond = made(X, one, torch.tensor(1e-6).double())  # λ = 27.6, told as 14
    assert bool(torch.isfinite(beyond).all())


@settings(max_examples=30)
@given(st.floats(-13, 13), st.floats(-6, 6), st.sampled_from(["velocity", "data", "noise"]))
def test_any_gauge_is_one_state(log_snr, log_scale, prediction):
    """x scaled by any number, with its coefficients, is the same data: relative 1e-9 over e^±6."""
    made, scale = denoiser(Exact(prediction), clip=False), math.exp(log_scale)
    a, s = (torch.sigmoid(torch.tensor(sign * log_snr).double()).sqrt() for sign in (1, -1))
    expected = Exact().law.denoise(X.flatten(1), a, s).reshape(X.shape)
    assert torch.allclose(made(scale * X, scale * a, scale * s), expected, rtol=1e-9, atol=1e-8)


SHIFTS = torch.tensor([0.1, -0.2, 0.3, 0.05], dtype=torch.float64)  # of the data, by label; the last is the null label's


def at(*log_snr):
    level = against(torch.tensor(log_snr).double(), X)
    return torch.sigmoid(level).sqrt(), torch.sigmoid(-level).sqrt()


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("weight", [0.0, 2.0, 3.5])
def test_guidance_by_formula_inside_the_interval_only(weight, fixed):
    """Images 1 and 2 inside: null + w·(labelled − null) there, the labelled data elsewhere, and as few rows as can be."""
    network = Exact(by_label=SHIFTS)
    made = denoiser(network, guidance=Guidance(weight, -1.0, 2.0), clip=False, fixed=fixed)
    signal, noise = at(-3.0, 0.0, 2.0, 5.0)
    plain = denoiser(Exact(by_label=SHIFTS), clip=False)(X, signal, noise)
    shift = SHIFTS[torch.tensor([0, 1, 2, 0])]
    wanted = torch.where(torch.tensor([False, True, True, False]), (1 - weight) * (SHIFTS[3] - shift), 0.0)
    assert torch.allclose(made(X, signal, noise), plain + against(wanted, X), atol=1e-9)
    assert network.rows == [8 if fixed else 6]


def test_guidance_costs_nothing_outside_and_one_doubled_batch_inside():
    for weight, level, rows in ((3.0, -5.0, 4), (3.0, 0.5, 8), (1.0, 0.5, 4)):
        network = Exact(by_label=SHIFTS)
        denoiser(network, guidance=Guidance(weight, -1.0, 2.0))(X, *at(*[level] * 4))
        assert network.rows == [rows]


@pytest.mark.parametrize("fixed", [False, True])
def test_guidance_of_weight_one_or_outside_is_none_to_the_bit(fixed):
    generator = dataclasses.replace(exact("spectral, per image", Exact(by_label=SHIFTS)), fixed=fixed)
    plain = generator.states(Request(steps=4, count=4), 0, 4)[0]
    for guidance in (Guidance(1.0, -2.0, 2.0), Guidance(5.0, 40.0, 50.0)):
        assert torch.equal(plain, generator.states(Request(steps=4, count=4, guidance=guidance), 0, 4)[0])
    assert not torch.equal(plain, generator.states(Request(steps=4, count=4, guidance=Guidance(5.0, -2.0, 2.0)), 0, 4)[0])


def test_weight_zero_is_the_null_label_alone_in_one_evaluation():
    generator = exact("spectral, per image", Exact(by_label=SHIFTS))
    request = Request("DDIM", 4, count=4, guidance=Guidance(0.0))
    both = dataclasses.replace(request, guidance=Guidance(0.0, -90.0, 90.0))  # every λ there is, by two evaluations
    assert torch.allclose(generator.states(request, 0, 4)[0], generator.states(both, 0, 4)[0], rtol=0, atol=1e-6)
    assert (generator.evaluations(request), generator.evaluations(both)) == (4, 8)


def test_guided_first_then_clipped():
    """BITE: clipping what the network says before it is guided."""
    network = Exact("data", by_label=torch.tensor([2.9, 2.9, 2.9, 2.2], dtype=torch.float64))
    guided = denoiser(network, guidance=Guidance(3.0))
    signal, noise = at(-13.0, -13.0, -13.0, -13.0)
    assert torch.equal(guided(X, signal, noise), torch.ones_like(X))  # 2.2 + 3·.7 = 4.3
    negative = denoiser(network, guidance=Guidance(0.0), clip=False)(X, signal, noise)
    assert float(negative.min()) > 1  # unclipped on request
    low = Exact("data", by_label=torch.tensor([1.5, 1.5, 1.5, 2.5], dtype=torch.float64))
    # guided 2.5 + 3·(1.5 − 2.5) = −.5 ± the mean; both clipped first would give 1
    assert float(denoiser(low, guidance=Guidance(3.0))(X, signal, noise).max()) < 0


@pytest.mark.parametrize("sampler", STEPS)
def test_clip_keeps_states_in_range(sampler):
    wide = Exact(mean=torch.full((DIM,), 1.4, dtype=torch.float64))
    kept = exact(network=wide).states(Request(sampler, 8, count=2), 0, 2)[0]
    free = exact(network=wide).states(Request(sampler, 8, count=2, clip=False), 0, 2)[0]
    assert float(free.max()) > 1.05
    if sampler in IN_LEVEL[:2] or sampler == "ancestral":  # the last state is the clipped posterior mean itself
        assert float(kept.abs().max()) <= 1


@pytest.mark.parametrize("guidance", [Guidance(), Guidance(2.0, -2.0, 3.0)])
@pytest.mark.parametrize("levels", ["own", "sqrt"])
@pytest.mark.parametrize("sampler", STEPS)
def test_evaluations_are_those_made(sampler, levels, guidance):
    """N steps are N evaluations, Heun's 2N − 1 or 2N; guided rows are counted. One image, so that rows are calls."""
    network = Exact(by_label=SHIFTS)
    generator = exact("spectral, per image", network)
    request = Request(sampler, 9, count=1, guidance=guidance, levels=levels)
    generator.states(request, 0, 1)
    assert generator.evaluations(request) == sum(network.rows)
    assert Source(generator, request).evaluations(sampler, 9) == pytest.approx(sum(network.rows), abs=2)


def test_ended_changes_one_instant_and_nothing_else():
    own = schedules.baseline(Noise(), SIDE)
    for base in (own, Normalised(own, "variance exploding")):
        times = torch.tensor([0.0, 1e-9, 0.5, 1.0], dtype=torch.float64)
        assert [c[0].item() for c in Ended(base).coefficients(times)] == [1.0, 0.0]
        for mine, theirs in zip(Ended(base).coefficients(times), base.coefficients(times), strict=True):
            assert torch.equal(mine[1:], theirs[1:])


@pytest.mark.parametrize("guidance", [Guidance(), Guidance(2.0, -2.0, 3.0)])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("prediction", ["velocity", "data", "noise"])
def test_a_flow_of_nodes_is_the_flow(prediction, shared, guidance):
    """What is made for all nodes at once is what the denoiser makes of one: to rounding, both ends included, guided where one
    node is. BITE: `int` for `round` in `AtNodes.node`; a level of the neighbour."""
    generator = exact("spectral, data set" if shared else "spectral, per image")
    own = Ended(generator.schedule(Request(), 0, torch.arange(4) % 2))
    assert (own.noise(1.0).ndim == 0) == shared
    times, network = grid(11), Exact(prediction, by_label=SHIFTS)
    made = denoiser(network, start=9.0, end=-9.0, guidance=guidance)
    schedule = AtNodes.of(own, times, torch.float64)
    flow, rows = NodeFlow.of(schedule, made, X), set()
    for t in times:
        network.rows.clear()
        signal, noise = (against(value, X) for value in own.coefficients(t))
        assert torch.allclose(flow.data(X, t), made(X, signal, noise), rtol=1e-12, atol=1e-14)
        assert network.rows[0] == network.rows[1]
        rows.add(network.rows[0])
        for left, right in zip(flow.at(t, X), (signal, noise), strict=True):
            assert torch.allclose(left * X, right * X, rtol=1e-12, atol=0)
    assert (len(rows) > 1) == (guidance.weight != 1)
    with pytest.raises(ValueError, match=r"rates of a schedule that is known at the nodes .*; allowed: .*; remedy: "):
        flow.velocity(X, times[2])


def test_a_prediction_of_another_shape_is_refused():
    """BITE: one channel would be broadcast to three."""
    one = SimpleNamespace(prediction="velocity")
    made = denoiser(one)
    object.__setattr__(made, "network", lambda z, *_: z[:, :1])
    with pytest.raises(ValueError, match=r"predicts \(4, 1, 8, 8\) for states of shape \(4, 3, 8, 8\); allowed: .*; remedy: "):
        made(X, *at(*[0.5] * 4))


def test_a_walk_draws_each_step_s_noise_once_and_nothing_in_vain(monkeypatch):
    """N steps, the last without noise: the start, the labels, and N − 1 draws. BITE: `steps` drawn ahead."""
    drawn, draw = [], DeviceStream.normal

    def counted(stream, count, shape, start=0):
        drawn.append(stream.path[-1])
        return draw(stream, count, shape, start)

    monkeypatch.setattr(DeviceStream, "normal", counted)
    exact().states(Request("ancestral", 5, count=2), 0, 2)
    assert drawn == ["start", "0", "1", "2", "3"]


# ---- streams ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["ancestral", "DDIM"])
@pytest.mark.parametrize("noise", ["shifted cosine", "spectral, per image"])
def test_batch_size_and_shards_do_not_change_an_image(sampler, noise):
    """A real network: convolutions may sum in another order for another batch, so states to 1e-5 and 8-bit images equal.

    BITE: a stream that starts at 0 in each batch.
    """
    generator = untrained(noise)
    request = Request(sampler, 4, count=8, batch=8, labels="as data")
    states, labels = generator.states(request, 0, 8)
    assert float(states.std()) > 0.02  # else the test could not tell images apart
    for batch in (1, 3):
        drawn = list(generator.batches(dataclasses.replace(request, batch=batch)))
        assert [d.first for d in drawn] == list(range(0, 8, batch))
        assert torch.equal(torch.cat([d.labels for d in drawn]), labels)
        assert torch.equal(torch.cat([d.pixels for d in drawn]), to_pixels(states))
    alone = generator.states(request, 5, 1)[0]
    assert torch.allclose(alone, states[5:6], atol=1e-5)
    padded = dataclasses.replace(generator, fixed=True).sample(dataclasses.replace(request, first=2, count=5, batch=4))
    assert torch.equal(padded, to_pixels(states[2:7]))


def test_seeds_and_images_differ():
    generator = untrained()
    states = generator.states(Request("DDIM", 2, count=2), 0, 2)[0]
    other = generator.states(Request("DDIM", 2, count=2, seed=1), 0, 2)[0]
    assert not torch.allclose(states[0], states[1], atol=1e-2)
    assert not torch.allclose(states, other, atol=1e-2)


def test_labels():
    generator = exact()
    assert generator.labels(Request(count=4, first=3)).tolist() == [1, 0, 1, 0]  # the absent class is not drawn
    assert generator.labels(Request(count=3, labels=(2,))).tolist() == [2, 2, 2]
    assert generator.labels(Request(count=4, first=1, labels=(0, 2))).tolist() == [2, 0, 2, 0]
    uneven = dataclasses.replace(KNOWLEDGE, class_counts=torch.tensor([10, 30, 0]))
    drawn = dataclasses.replace(generator, knowledge=uneven).labels(Request(count=4000, labels="as data"))
    assert int(drawn.max()) == 1
    assert abs(drawn.double().mean().item() - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 4000)


def test_theta_drawn_given_of_the_data_set_and_steered():
    generator = exact("spectral, per image")
    labels = torch.tensor([0, 1, 0])

    def theta(**changes):
        return generator.theta(Request(count=3, **changes), 4, labels)

    drawn = theta()
    assert torch.equal(drawn, theta(theta="drawn"))
    assert torch.equal(drawn[1:2], generator.theta(Request(), 5, labels[1:2]))  # image 5 alone
    assert torch.equal(theta(theta="data set"), KNOWLEDGE.mean_theta.expand(3, -1))
    rows = ((0.0, 2.0, 0.1), (1.0, 3.0, 0.0))
    assert theta(theta=rows).tolist() == [list(rows[0]), list(rows[1]), list(rows[0])]
    steered = theta(slope=1.5, amplitude=2.0)
    assert torch.allclose(steered[:, 1], 1.5 * drawn[:, 1])
    assert torch.allclose(steered[:, 0], drawn[:, 0] + math.log(2))


def test_steering_changes_the_schedule_and_one_leaves_it():
    generator = untrained()
    request = Request("DDIM", 3, count=2)
    strips = steering(generator, request, [(1.0, 1.0), (1.6, 1.0), (1.0, 3.0)])
    assert strips.shape == (3, 2, 3, SIDE, SIDE)
    assert torch.equal(strips[0], generator.sample(request))
    assert not torch.equal(strips[0], strips[1])
    assert not torch.equal(strips[0], strips[2])


def test_schedules_are_those_of_training():
    """A row from θ by the function that made training's; a data set's schedule is that of its mean spectrum."""
    generator = exact("spectral, per image")
    rows = ((0.5, 2.5, 0.1),)
    request = Request(theta=rows, count=2)
    found = generator.schedule(request, 0, torch.tensor([0, 1])).log_snr(torch.tensor(0.25).double())
    expected = schedules.from_rows(KNOWLEDGE.maker(NOISES["spectral, per image"]).from_theta(torch.tensor(rows)))
    assert torch.equal(found, expected.log_snr(torch.tensor(0.25).double()).expand(2))
    shared = exact("spectral, data set").schedule(Request(), 0, torch.tensor([0, 1]))
    assert shared.log_snr(torch.tensor(0.25).double()).shape == ()


# ---- errors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"sampler": "PLMS"}, "PLMS"),
        ({"steps": 0}, "steps = 0"),
        ({"steps": 2.5}, "steps = 2.5"),
        ({"gamma": 1.2}, "γ = 1.2"),
        ({"count": 0}, "count = 0"),
        ({"first": -1}, "first = -1"),
        ({"labels": "all"}, "all"),
        ({"labels": ()}, "labels"),
        ({"theta": "mine"}, "mine"),
        ({"levels": "cosine"}, "cosine"),
        ({"gauge": "flow"}, "flow"),
        ({"levels": "sqrt", "gauge": "linear"}, "linear"),
        ({"slope": math.nan}, "slope = nan"),
        ({"slope": 0.0}, "slope = 0.0"),
        ({"slope": 100.0}, "slope = 100.0"),
        ({"amplitude": 1e300}, "amplitude = 1e.300"),
        ({"amplitude": math.inf}, "amplitude = inf"),
        ({"theta": ((0.0, 2.0, 0.1), (0.0, math.nan, 0.1))}, r"θ with \[nan\]"),
    ],
)
def test_a_wrong_request_is_refused(changes, value):
    with pytest.raises(ValueError, match=rf"{value}.*; allowed: .*; remedy: "):
        Request(**changes)


@pytest.mark.parametrize(
    ("arguments", "value"), [((-1.0,), "-1.0"), ((math.nan,), "nan"), ((2.0, 3.0, 1.0), "from 3.0 to 1.0")]
)
def test_wrong_guidance_is_refused(arguments, value):
    with pytest.raises(ValueError, match=rf"{value}.*; allowed: .*; remedy: "):
        Guidance(*arguments)


@pytest.mark.parametrize(
    ("noise", "objective", "changes", "value"),
    [
        ("shifted cosine", {"label_drop": 0.0}, {"guidance": Guidance(2.0)}, "label_drop = 0"),
        ("shifted cosine", {}, {"labels": (0, 3)}, r"labels \[3\]"),
        ("shifted cosine", {}, {"slope": 1.2}, "slope × 1.2"),
        ("spectral, data set", {}, {"theta": "drawn"}, "drawn"),
        ("spectral, per image", {}, {"theta": ((1.0, 2.0),)}, r"\[2\] numbers"),
    ],
)
def test_what_a_network_cannot_draw_is_refused(noise, objective, changes, value):
    generator = Generator(run_of(noise, **objective), Exact(), KNOWLEDGE)
    with pytest.raises(ValueError, match=rf"{value}.*; allowed: .*; remedy: "):
        generator.sample(Request(**changes))


@pytest.mark.parametrize("sampler", ["ancestral", "DDIM"])
@pytest.mark.parametrize("factors", list(itertools.product((0.1, 10.0), (1e-4, 1e4))))
def test_factors_at_the_ends_of_what_is_allowed_draw_finite_images(sampler, factors):
    states, _ = untrained().states(Request(sampler, 3, slope=factors[0], amplitude=factors[1], clip=False, count=4), 0, 4)
    assert bool(states.isfinite().all())


class Broken:
    """A network whose third image of a batch is `value`."""

    def __init__(self, value):
        self.value = value

    def __call__(self, z, *_):
        out = torch.zeros_like(z)
        out[2] = self.value
        return out


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_image_that_is_not_finite_is_refused(tmp_path, value):
    """BITE: NaN becomes 0 as uint8, a black image among the others."""
    generator = dataclasses.replace(untrained(), network=Broken(value))
    request = Request("DDIM", 2, first=4, count=4, slope=1.2, clip=False)
    said = r"image 6 is not finite after 2 steps of DDIM with slope × 1.2.*; allowed: .*; remedy: "
    with pytest.raises(ValueError, match=said):
        samples.write(generator, request, tmp_path)
    assert not list(tmp_path.iterdir())


# ---- on disk ------------------------------------------------------------------------------------------------------------

ASKED = Request("DDIM", 2, count=7, batch=2, first=3)


def test_npz_of_one_process_and_of_three(tmp_path):
    generator = untrained()
    alone = samples.write(generator, ASKED, tmp_path / "one")
    assert samples.write(generator, ASKED, tmp_path / "three", rank=1, world=3) is None
    assert samples.write(generator, ASKED, tmp_path / "three", rank=0, world=3) is None
    shared = samples.write(generator, ASKED, tmp_path / "three", rank=2, world=3)
    assert alone.read_bytes() == shared.read_bytes()
    with np.load(alone, allow_pickle=False) as stored:
        assert stored["arr_0"].dtype == np.uint8
        assert np.array_equal(stored["arr_0"], generator.sample(ASKED).permute(0, 2, 3, 1).numpy())
        assert stored["labels"].tolist() == generator.labels(ASKED).tolist()
    assert not list((tmp_path / "three" / samples.PARTS).iterdir())


def test_png_in_the_folders_of_classes(tmp_path):
    generator = untrained()
    folder = samples.write(generator, ASKED, tmp_path, form="png")
    files = sorted(folder.rglob("*.png"), key=lambda file: file.name)
    pixels, labels = generator.sample(ASKED), generator.labels(ASKED).tolist()
    assert [file.name for file in files] == [f"{k:06d}.png" for k in range(3, 10)]
    assert [int(file.parent.name) for file in files] == labels
    with Image.open(files[4]) as image:
        assert np.array_equal(np.asarray(image), pixels[4].permute(1, 2, 0).numpy())
    stamp = files[0].stat().st_mtime_ns
    files[5].unlink()
    assert samples.write(generator, ASKED, tmp_path, form="png") == folder
    assert files[5].is_file()
    assert files[0].stat().st_mtime_ns == stamp


def test_another_request_is_not_mixed_in(tmp_path):
    generator = untrained()
    samples.write(generator, ASKED, tmp_path)
    for other, name in (
        (dataclasses.replace(ASKED, steps=3), "request.steps: 2 and 3"),
        (dataclasses.replace(ASKED, guidance=Guidance(2.0)), "request.guidance.weight: 1.0 and 2.0"),
    ):
        with pytest.raises(ValueError, match=rf"{name}.*; allowed: .*; remedy: another folder"):
            samples.write(generator, other, tmp_path)
    prior = dataclasses.replace(KNOWLEDGE.prior, basis=dataclasses.replace(KNOWLEDGE.basis, mean=KNOWLEDGE.basis.mean + 1))
    for changes, name in (
        ({"identity": "other"}, "weights: 'untrained' and 'other'"),
        ({"autocast": torch.bfloat16}, "precision.autocast: 'None' and 'torch.bfloat16'"),
        ({"inputs": torch.bfloat16}, "precision.inputs: 'torch.float32' and 'torch.bfloat16'"),
        ({"knowledge": dataclasses.replace(KNOWLEDGE, prior=prior)}, "knowledge: '.*' and '.*'"),
        ({"knowledge": dataclasses.replace(KNOWLEDGE, class_counts=torch.tensor([30, 29, 1]))}, "knowledge: '.*' and '.*'"),
    ):
        with pytest.raises(ValueError, match=rf"{name} \(there, and now\); allowed: .*; remedy: another folder"):
            samples.write(dataclasses.replace(generator, **changes), ASKED, tmp_path)
    (tmp_path / samples.ASKED).unlink()
    with pytest.raises(ValueError, match=rf"{samples.FINAL} and no {samples.ASKED}; allowed: .*; remedy: "):
        samples.write(generator, ASKED, tmp_path)


class Full:
    """A network that has no memory for more than `most` images, nor after `calls` calls."""

    def __init__(self, network, most, calls=1000):
        self.network, self.most, self.calls = network, most, calls

    def __call__(self, z, *more):
        self.calls -= 1
        if len(z) > self.most or self.calls < 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.network(z, *more)


@pytest.mark.parametrize("form", ["npz", "png"])
@pytest.mark.parametrize(("before", "after", "drawn"), [(4, 3, [3, 1]), (3, 2, [2, 2, 1]), (2, 7, [7])])
def test_another_size_of_batches_goes_on(tmp_path, form, before, after, drawn):
    """BITE: after too little memory the smaller --batch that is advised was refused. Batches that are there are kept."""
    generator = untrained()

    def write(network, batch):
        request = dataclasses.replace(ASKED, batch=batch)
        return samples.write(dataclasses.replace(generator, network=network), request, tmp_path / "a", form=form)

    with pytest.raises(torch.OutOfMemoryError):
        write(Full(generator.network, before - 1), before)
    assert not (tmp_path / "a").exists()  # nothing was drawn
    with pytest.raises(torch.OutOfMemoryError):
        write(Full(generator.network, before, calls=2), before)  # the first batch, both steps
    rows = []

    def counted(z, *more):
        rows.append(len(z))
        return generator.network(z, *more)

    made = write(counted, after)
    assert rows == [count for count in drawn for _ in range(2)]
    alone = samples.write(generator, ASKED, tmp_path / "b", form=form)
    assert not list((tmp_path / "a").rglob("*-*.npz"))
    for one, other in zip(sorted([made, *made.rglob("*.png")]), sorted([alone, *alone.rglob("*.png")]), strict=True):
        assert one.is_dir() or one.read_bytes() == other.read_bytes()


def test_overlapping_parts_are_joined_once(tmp_path):
    """Two processes given unlike sizes of batches: every image once, from any part that has it."""
    generator = untrained()
    assert samples.write(generator, ASKED, tmp_path, rank=0, world=2) is None  # 3, 4; 7, 8 of 3 … 9
    threes = dataclasses.replace(ASKED, batch=3)
    assert samples.write(generator, threes, tmp_path, rank=1, world=3) is None  # 6, 7, 8
    held = sorted(part.stem for part in (tmp_path / samples.PARTS).iterdir())
    assert held == ["00000003-00000005", "00000006-00000009", "00000007-00000009"]
    made = samples.write(generator, threes, tmp_path)
    assert made.read_bytes() == samples.write(generator, ASKED, tmp_path / "b").read_bytes()


def test_requests_begun_at_once_in_one_folder(tmp_path):
    """The one that keeps a batch first has the folder."""
    generator = untrained()
    network = generator.network
    other = dataclasses.replace(generator, identity="other")

    def meanwhile(*inputs):
        samples.write(other, ASKED, tmp_path)
        return network(*inputs)

    with pytest.raises(ValueError, match="weights: 'other' and 'untrained'"):
        samples.write(dataclasses.replace(generator, network=meanwhile), ASKED, tmp_path)


def test_wrong_ranks_and_damaged_parts(tmp_path):
    generator = untrained()
    with pytest.raises(ValueError, match=r"rank = 2 of 2; allowed: .*; remedy: "):
        samples.write(generator, ASKED, tmp_path, rank=2, world=2)
    with pytest.raises(ValueError, match=r"format = 'gif'; allowed: npz, png"):
        samples.write(generator, ASKED, tmp_path, form="gif")
    samples.write(generator, ASKED, tmp_path, rank=0, world=2)
    part = next((tmp_path / samples.PARTS).iterdir())
    part.write_bytes(part.read_bytes()[:50])
    with pytest.raises(ValueError, match=rf"{part.name} cannot be read .*; allowed: .*; remedy: remove it"):
        samples.write(generator, ASKED, tmp_path, rank=1, world=2)
    part.unlink()
    assert samples.write(generator, ASKED, tmp_path).is_file()


KILLED = """
import os, signal, sys
from imagenet import samples
from tests.test_generate import ASKED, untrained
generator, calls = untrained(), []
network = generator.network
def dying(*inputs):
    calls.append(1)
    if len(calls) == 6:  # the second step of the third batch
        os.kill(os.getpid(), signal.SIGKILL)
    return network(*inputs)
object.__setattr__(generator, "network", dying)
samples.write(generator, ASKED, sys.argv[1])
"""


def test_killed_and_started_again(tmp_path):
    """SIGKILL in the third batch of four: two are kept and not drawn again, and the file is that of a run left alone."""
    # With as many threads as here: θ is fitted anew there, and its last bits, which the request knows, depend on them.
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a")], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    kept = sorted(file.name for file in (tmp_path / "a" / samples.PARTS).glob("[0-9]*.npz"))
    assert kept == ["00000003-00000005.npz", "00000005-00000007.npz"]
    generator = untrained()
    rows = []
    network = generator.network

    def counted(z, *more):
        rows.append(len(z))
        return network(z, *more)

    resumed = samples.write(dataclasses.replace(generator, network=counted), ASKED, tmp_path / "a")
    assert rows == [2, 2, 1, 1]  # two steps of the third batch and of the last
    assert resumed.read_bytes() == samples.write(generator, ASKED, tmp_path / "b").read_bytes()
    assert samples.write(dataclasses.replace(generator, network=None), ASKED, tmp_path / "a") == resumed  # nothing is drawn


# ---- from a checkpoint --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a training: an exported network, and what drawing needs beside it."""
    folder = tmp_path_factory.mktemp("training")
    generator = untrained()
    weights = {name: value.detach().clone() for name, value in generator.network.state_dict().items()}
    content = checkpoint.Checkpoint(as_dict(generator.run), 3, "fingerprint", 1, {}, weights)
    checkpoint.write(folder / checkpoint.FINISHED, content)
    KNOWLEDGE.save(folder)
    return folder


@pytest.mark.parametrize("name", ["", checkpoint.FINISHED])
def test_a_checkpoint_is_enough(trained, name):
    loaded = load_generator(trained / name)
    assert torch.equal(loaded.sample(ASKED), untrained().sample(ASKED))
    assert loaded.identity != ""


def test_knowledge_of_another_training_or_none(trained, tmp_path):
    (tmp_path / checkpoint.FINISHED).write_bytes((trained / checkpoint.FINISHED).read_bytes())
    with pytest.raises(FileNotFoundError, match=r"no knowledge.npz in .*; allowed: .*; remedy: copy"):
        load_generator(tmp_path)
    basis = per_image.Basis(torch.zeros(8).double(), torch.zeros(1, 8).double())  # 16 px have 8 rings
    prior = dataclasses.replace(KNOWLEDGE.prior, basis=basis)
    dataclasses.replace(KNOWLEDGE, size=16, prior=prior).save(tmp_path)
    with pytest.raises(ValueError, match=r"3 classes at 8 px, .* 3 at 16 px; allowed: .*; remedy: "):
        load_generator(tmp_path)
    (tmp_path / "knowledge.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ValueError, match=r"knowledge.npz cannot be read .*; allowed: .*; remedy: "):
        load_generator(tmp_path)


def test_knowledge_goes_to_disk_and_back(tmp_path):
    KNOWLEDGE.save(tmp_path)
    found = Knowledge.load(tmp_path)
    assert (found.size, found.class_names, found.mean_colour_power) == (SIDE, ("smooth", "rough", "absent"), 2.0)
    assert torch.equal(found.class_counts, torch.tensor([30, 30, 0]))
    assert torch.equal(found.mean_theta, KNOWLEDGE.mean_theta)
    assert torch.equal(found.prior.draw(["rough"], Stream(0)), KNOWLEDGE.prior.draw(["rough"], Stream(0)))
    assert found.mean_theta.shape == (1, 3)


def test_the_command(trained, tmp_path):
    arguments = [str(trained), "--out", str(tmp_path), "--count", "5", "--batch", "2", "--sampler", "DDIM", "--steps", "2"]
    arguments += ["--labels", "1,0", "--guidance", "2", "--interval", "-1", "3", "--grid", "--device", "cpu"]
    for _ in range(2):  # the second finds everything there
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 0, result.output
    request = Request("DDIM", 2, count=5, batch=2, labels=(1, 0), guidance=Guidance(2.0, -1.0, 3.0))
    with np.load(tmp_path / samples.FINAL) as stored:
        assert np.array_equal(stored["arr_0"], untrained().sample(request).permute(0, 2, 3, 1).numpy())
        assert stored["labels"].tolist() == [1, 0, 1, 0, 1]
    assert json.loads((tmp_path / samples.ASKED).read_text())["request"]["guidance"] == {
        "weight": 2.0,
        "low": -1.0,
        "high": 3.0,
    }
    with Image.open(tmp_path / "grid.png") as image:
        assert image.size == (8 * SIDE, SIDE)


@pytest.mark.parametrize(
    ("more", "value"),
    [
        (["--labels", "7"], "labels"),
        (["--labels", "-1"], "labels [-1]; allowed: 0 … 2"),
        (["--slope", "nan"], "slope = nan; allowed: a factor from 0.1 to 10"),
        (["--slope", "100"], "slope = 100.0"),
        (["--amplitude", "1e300"], "amplitude = 1e+300"),
        (["--device", "cpu:3"], "device = 'cpu:3'; allowed: auto, cpu, cuda"),
        (["--graphs"], "--graphs on device = cpu; allowed: cuda"),
        (["--gamma", "2"], "γ = 2.0"),
        (["--rank", "3", "--world", "2"], "rank = 3"),
        (["--device", "cuda"], "CUDA"),
    ],
)
def test_the_command_answers_a_mistake(trained, tmp_path, more, value):
    if "cuda" in more and torch.cuda.is_available():
        pytest.skip("there is CUDA here, so asking for it is no mistake")
    result = CliRunner().invoke(command, [str(trained), "--out", str(tmp_path), "--device", "cpu", *more])
    assert result.exit_code == 1
    assert value in result.output
    assert "allowed: " in result.output
    assert "remedy: " in result.output
    assert not list(tmp_path.iterdir())  # the right command is not taken for another request


@pytest.mark.parametrize("text", ["some", "1 2", "²", "1,,2", ",", "1,", "0x1", "1.0", "", "9" * 5000])
def test_labels_are_words_or_numbers_with_commas(trained, tmp_path, text):
    result = CliRunner().invoke(command, [str(trained), "--out", str(tmp_path), "--device", "cpu", "--labels", text])
    assert result.exit_code == 2
    assert f"{text!r}; allowed: balanced, as data, or numbers of classes such as 3 or 0,4,7; remedy: " in result.output


def test_a_grid_for_looking_leaves_the_network_in_training():
    generator = untrained()
    network = generator.network.train()
    picture = sample_grid(generator.run, network, KNOWLEDGE, Request("DDIM", 2, count=6), columns=4)
    assert network.training
    assert picture.shape == (2 * SIDE, 4 * SIDE, 3)
    expected = untrained().sample(Request("DDIM", 2, count=6)).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(picture[SIDE:, SIDE : 2 * SIDE], expected[5])
    assert not picture[SIDE:, 2 * SIDE :].any()
    with torch.no_grad():
        next(network.parameters()).fill_(math.nan)
    sample_grid(generator.run, network, KNOWLEDGE, Request("DDIM", 2, count=6))  # does not stop a training that went wrong


def test_pixels_and_unit_are_inverse():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_pixels(to_unit(levels)), levels)
    assert to_pixels(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]
    assert tile(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), 1).shape == (4, 4, 3)


def test_a_source_for_the_sweep():
    generator = untrained()
    source = Source(generator, Request(batch=3))
    assert torch.equal(source.sample("DDIM", 2, 3, 4), generator.sample(Request("DDIM", 2, count=4, first=3)))
    assert source.labels(3, 2).tolist() == [1, 0]
    assert [source.evaluations_per_step(name) for name in ("ancestral", "Heun in noise-to-signal")] == [1, 2]
    assert source.identity == Source(generator, Request("DDIM", 7, batch=5)).identity
    assert source.identity != Source(generator, Request(seed=1)).identity
    mean_theta = KNOWLEDGE.mean_theta + 1
    for changes in (
        {"identity": "x"},
        {"autocast": torch.bfloat16},
        {"knowledge": dataclasses.replace(KNOWLEDGE, mean_theta=mean_theta)},
    ):
        assert source.identity != Source(dataclasses.replace(generator, **changes), Request()).identity


@pytest.mark.parametrize("fails", ["compiler", "driver"])
def test_without_a_compiler_images_are_drawn_all_the_same(trained, monkeypatch, caplog, fails):
    """With one warning, whatever kind of error it was; the same images."""
    calls = []

    def compiling(network, **_):
        def call(*_):
            calls.append(1)
            raise (RuntimeError if fails == "driver" else OSError)("no C++ compiler found\nand more")

        return call

    expected = load_generator(trained).sample(ASKED)
    monkeypatch.setattr(torch, "compile", compiling)
    quick = load_generator(trained, compiled=True, graphs=True)
    assert torch.equal(quick.sample(ASKED), expected)
    assert len(calls) == 1
    warned = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    kind = "RuntimeError" if fails == "driver" else "OSError"
    assert warned == [f"going on without compiler and CUDA graphs, as they failed ({kind}: no C++ compiler found)"]


def test_too_little_memory_is_no_failure_of_the_compiler(trained, monkeypatch):
    def compiling(network, **_):
        def call(*_):
            raise torch.OutOfMemoryError("CUDA out of memory")

        return call

    monkeypatch.setattr(torch, "compile", compiling)
    with pytest.raises(torch.OutOfMemoryError):
        load_generator(trained, compiled=True).sample(ASKED)


def test_without_cuda_graphs_are_the_network():
    generator = untrained()
    assert torch.equal(
        dataclasses.replace(generator, network=Graphed(generator.network)).sample(ASKED), generator.sample(ASKED)
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need CUDA")
def test_cuda_graphs_equal_the_network():
    generator = untrained()
    generator = dataclasses.replace(generator, network=generator.network.cuda(), device="cuda", fixed=True)
    graphed = dataclasses.replace(generator, network=Graphed(generator.network))
    request = Request("DDIM", 4, count=5, batch=4, guidance=Guidance(2.0, -2.0, 2.0))
    assert torch.equal(graphed.sample(request), generator.sample(request))
