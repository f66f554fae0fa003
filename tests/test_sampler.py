"""Samplers: measured orders, the papers' own recipes in numpy, exact reductions, moments of the stochastic ones, grids."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import LAWS, SCHEDULES, STEPS, tensor
from theory import schedule
from theory.curve import Tabulated
from theory.sampler import (
    DDIM,
    Ancestral,
    DPMSolver2M,
    Euler,
    Flow,
    Heun,
    HeunNoiseToSignal,
    Memory,
    check_grid,
    grid,
    last,
    walk,
)
from theory.schedule import Normalised, Schedule, VariancePreserving
from theory.stream import Stream
from theory.target import Gaussian, GaussianMixture

every_step = pytest.mark.parametrize("step_name", STEPS)
DETERMINISTIC = [name for name in STEPS if name != "ancestral"]
every_ode_step = pytest.mark.parametrize("step_name", DETERMINISTIC)
GAUGE_FREE = [name for name in STEPS if name not in ("Euler", "Heun")]  # functions of the log-SNR alone
MADE = {name: make() for name, make in SCHEDULES.items()}
LAW = LAWS["mixture, diagonal"](3)
Z = Stream(0).normal(4, (3,))


def run(flow, x, times, step, **options):
    return last(walk(flow, x, times, step, **options))


# ---- orders ----------------------------------------------------------------------------------------------------------


def reference(flow: Flow, x: torch.Tensor, start: float, stop: float) -> torch.Tensor:
    """The exact flow by scipy's eighth-order integrator."""

    def velocity(t, y):
        return flow.velocity(torch.from_numpy(y).reshape(x.shape), tensor(t)[0]).numpy().ravel()

    solved = scipy.integrate.solve_ivp(velocity, (start, stop), x.numpy().ravel(), "DOP853", rtol=1e-12, atol=1e-13)
    return torch.from_numpy(solved.y[:, -1]).reshape(x.shape)


@pytest.fixture(scope="module", params=["linear", "trigonometric", "VP-SDE", "EDM"])
def solved(request):
    """A flow away from its singular ends, a start at t = .9, and where the exact flow takes it at t = .1."""
    flow = Flow(MADE[request.param], LAW.denoise)
    x = flow.schedule.noise(0.9) * Z
    return flow, x, reference(flow, x, 0.9, 0.1)


@every_ode_step
def test_measured_order_is_the_stated_one(solved, step_name):
    flow, x, exact = solved
    step = STEPS[step_name]()
    counts = [40, 80, 160]
    errors = [(run(flow, x, grid(n, 0.9, 0.1), step) - exact).norm().item() for n in counts]
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert order == pytest.approx(step.order, abs=0.1)
    assert errors[-1] < 0.3  # and it converges to this flow, not to another


def test_stated_orders_and_costs():
    stated = {name: (make().order, make().evaluations) for name, make in STEPS.items()}
    assert stated == {
        "Euler": (1, 1),
        "Heun": (2, 2),
        "DDIM": (1, 1),
        "Heun in noise-to-signal": (2, 2),
        "DPM-Solver++(2M)": (2, 1),
        "ancestral": (1, 1),
    }


@every_step
def test_the_denoiser_is_called_as_often_as_stated_and_never_at_the_data_end(step_name):
    step, seen = STEPS[step_name](), []

    def denoiser(x, signal, noise):
        seen.append(noise.item())
        return LAW.denoise(x, signal, noise)

    flow = Flow(MADE["linear"], denoiser)
    run(flow, flow.start(Z), grid(6), step)
    # A second evaluation would fall on signal = 0 or noise = 0 at the ends, where the step is of first order.
    ends = {"Heun": 1, "Heun in noise-to-signal": 2}.get(step_name, 0)
    assert len(seen) == 6 * step.evaluations - ends
    assert min(seen) > 0


# ---- witnesses: the sources' own recipes ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["sqrt", "linear"])
@pytest.mark.parametrize("s", [1.0, 20.0])
def test_euler_is_paper_as_recipe(form, s):
    # X ← X + Δt·b_t(X), t from 0 (noise) to 1, b = A x + B μ tanh(h + β μ·x/Δ); its letters, its direction of time.
    d, p, m, sigma, n = 5, 0.8, 0.6, 0.5, 40
    mu, h = np.full(d, m), 0.5 * math.log(p / (1 - p))
    z = Stream(1).normal(7, (d,))
    x = s * z.numpy()
    for k in range(n):
        t = k / n
        alpha, beta = (math.sqrt(1 - t**2), t) if form == "sqrt" else (1 - t, t)
        alpha_rate, beta_rate = (-t / alpha, 1.0) if form == "sqrt" else (-1.0, 1.0)
        delta = s**2 * alpha**2 + sigma**2 * beta**2
        a = (s**2 * alpha * alpha_rate + sigma**2 * beta * beta_rate) / delta
        b = s**2 * alpha * (alpha * beta_rate - alpha_rate * beta) / delta
        x = x + (a * x + b * mu * np.tanh(h + beta * (x @ mu)[:, None] / delta)) / n
    flow = Flow(schedule.Scaled(schedule.FORMS[form], s), GaussianMixture.two_modes(d, p, m, sigma).denoise)
    np.testing.assert_allclose(run(flow, flow.start(z), grid(n), Euler()).numpy(), x, rtol=1e-9, atol=1e-11)


def denoised(x: np.ndarray, sigma: float) -> np.ndarray:
    return LAW.denoise(torch.from_numpy(x), 1.0, sigma).numpy()


def test_heun_in_noise_to_signal_is_edms_algorithm():
    # EDM (arXiv 2206.00364), algorithm 1, σ(t) = t, s(t) = 1, its levels and the final 0 replaced by σ_min.
    n, rho, low, high = 12, 7, 0.002, 80.0
    levels = (high ** (1 / rho) + np.arange(n) / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    x = high * Z.numpy()
    for here, there in itertools.pairwise(levels):
        slope = (x - denoised(x, here)) / here
        guess = x + (there - here) * slope
        x = x + (there - here) * 0.5 * (slope + (guess - denoised(guess, there)) / there)
    flow = Flow(MADE["EDM"], LAW.denoise)
    ours = run(flow, flow.start(Z), grid(n - 1), HeunNoiseToSignal())
    np.testing.assert_allclose(ours.numpy(), x, rtol=1e-8, atol=1e-10)


def test_dpm_solver_is_k_diffusions_2m():
    # k-diffusion's sample_dpmpp_2m: t = −log σ, h = t_next − t, r = h_last/h.
    levels = MADE["EDM"].noise(grid(15)).numpy()
    x, old = levels[0] * Z.numpy(), None
    for k in range(15):
        clean = denoised(x, levels[k])
        h = math.log(levels[k] / levels[k + 1])
        blend = clean
        if old is not None:
            r = math.log(levels[k - 1] / levels[k]) / h
            blend = (1 + 1 / (2 * r)) * clean - 1 / (2 * r) * old
        x, old = levels[k + 1] / levels[k] * x - math.expm1(-h) * blend, clean
    flow = Flow(MADE["EDM"], LAW.denoise)
    np.testing.assert_allclose(run(flow, flow.start(Z), grid(15), DPMSolver2M()).numpy(), x, rtol=1e-9, atol=1e-11)


def test_ddim_is_the_papers_equation():
    # arXiv 2010.02502, equation 12 with σ = 0: √ᾱ_s·(x − √(1 − ᾱ_t) ε)/√ᾱ_t + √(1 − ᾱ_s) ε.
    times = grid(9, 0.95, 0.05)
    alpha_bars = (MADE["cosine"].signal(times) ** 2).numpy()
    x = math.sqrt(1 - alpha_bars[0]) * Z.numpy()
    for a, b in itertools.pairwise(alpha_bars):
        clean = LAW.denoise(torch.from_numpy(x), math.sqrt(a), math.sqrt(1 - a)).numpy()
        epsilon = (x - math.sqrt(a) * clean) / math.sqrt(1 - a)
        x = math.sqrt(b) * (x - math.sqrt(1 - a) * epsilon) / math.sqrt(a) + math.sqrt(1 - b) * epsilon
    flow = Flow(MADE["cosine"], LAW.denoise)
    ours = run(flow, flow.schedule.noise(0.95) * Z, times, DDIM())
    np.testing.assert_allclose(ours.numpy(), x, rtol=1e-9, atol=1e-11)


# ---- laws of a step --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
@given(t=st.floats(0.1, 0.95), ratio=st.floats(0.1, 0.99), variance=st.floats(1e-3, 1e3))
def test_one_ddim_step_on_a_gaussian(name, t, ratio, variance):
    # Spread of x/signal × (P + ςς')/(P + ς²): never more than the exact flow's √((P + ς'²)/(P + ς²)).
    made = MADE[name]
    flow = Flow(made, Gaussian.isotropic(1, variance).denoise)
    left, right = tensor(t)[0], tensor(t * ratio)[0]
    x, _ = DDIM()(flow, made.signal(left).reshape(1, 1), left, right, Memory())
    multiplier = (x / made.signal(right)).item()
    a, b = made.noise_to_signal(left).item(), made.noise_to_signal(right).item()
    assert multiplier == pytest.approx((variance + a * b) / (variance + a**2), rel=1e-11)
    assert multiplier <= math.sqrt((variance + b**2) / (variance + a**2)) * (1 + 1e-11)


@every_step
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_step_walks_every_schedule_from_noise_to_data(name, step_name):
    flow = Flow(MADE[name], LAW.denoise)
    infinite_rates = name in ("sigmoid", "logit-normal", "Laplace", "Lipschitz-optimal") and step_name not in GAUGE_FREE
    if name == "EDM training" or infinite_rates:
        with pytest.raises(ValueError, match=r"infinite noise at t = 1|not finite at t = 1.*start the grid below 1"):
            run(flow, flow.start(Z), grid(6), STEPS[step_name]())
    else:
        assert torch.isfinite(run(flow, flow.start(Z), grid(6), STEPS[step_name]())).all()
    x = flow.at(tensor(0.99)[0], Z)[1] * Z
    assert torch.isfinite(run(flow, x, grid(7, 0.99, 0.0), STEPS[step_name](), allow_kinks=True)).all()


@pytest.mark.parametrize("step_name", GAUGE_FREE)
@pytest.mark.parametrize("gauge", ["variance preserving", "linear", "variance exploding"])
def test_steps_in_the_log_snr_do_not_see_the_gauge(step_name, gauge):
    flow = Flow(MADE["VP-SDE"], LAW.denoise)
    other = Flow(Normalised(MADE["VP-SDE"], gauge), LAW.denoise)
    times, ratio = grid(10), other.schedule.noise(1.0) / flow.schedule.noise(1.0)
    x, y = (run(f, start, times, STEPS[step_name]()) for f, start in ((flow, Z), (other, ratio * Z)))
    torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-11)  # signal(0) = 1 in all three


@every_step
@pytest.mark.parametrize("name", ["linear", "VP-SDE", "VE linear clock"])
def test_steps_on_a_single_point_end_there(name, step_name):
    # A law of one point has a straight flow: after the last step, to noise = 0, nothing else is left.
    law = Gaussian(tensor(0.0, 0.0), tensor(1.5, -2.0))
    flow = Flow(MADE[name], law.denoise)
    x = run(flow, flow.start(Z[:, :2]), grid(10), STEPS[step_name]())
    # VP-SDE under Euler and Heun ends with a step of finite length in √t: first order only.
    margin = 0.2 if name == "VP-SDE" and step_name in ("Euler", "Heun") else 1e-11
    assert (x - law.mean).abs().max().item() < margin


@pytest.mark.parametrize("dim", [1, 3, 17])
@every_step
def test_bits_do_not_depend_on_the_batch(step_name, dim):
    law = LAWS["mixture, isotropic"](dim)
    flow, z = Flow(MADE["cosine"], law.denoise), Stream(4).normal(6, (dim,))
    together = run(flow, flow.start(z), grid(7), STEPS[step_name]())
    for start, stop in ((0, 1), (1, 5), (5, 6)):
        step = Ancestral(Stream(0), start=start) if step_name == "ancestral" else STEPS[step_name]()
        assert torch.equal(together[start:stop], run(flow, flow.start(z[start:stop]), grid(7), step))


# ---- exact reduction (spec of paper A's setting: p = 0.8, m = 1, σ = ½, κ = 3) -------------------------------------------


def along_and_across(made: Schedule, dim: float, times: torch.Tensor, step, **options) -> tuple[float, float]:
    """(p̂, σ̂) of the sampler at dimension `dim`: a monotone map along u, one factor across it."""
    flow = Flow(made, GaussianMixture.two_modes(1, 0.8, math.sqrt(dim), 0.5).denoise)
    low, high = -9.0, 9.0
    for _ in range(4):
        z = torch.linspace(low, high, 1001, dtype=torch.float64)[:, None]
        above = run(flow, flow.start(z), times, step, **options)[:, 0] > 0
        root = int(above.double().argmax())
        assert above[root:].all()
        low, high = z[root - 1].item(), z[root].item()
    across = Flow(made, Gaussian.isotropic(1, 0.25).denoise)
    one = torch.ones(1, 1, dtype=torch.float64)
    return scipy.stats.norm.sf(low), run(across, across.start(one), times, step, **options).item()


VP, VE = schedule.variance_preserving_flow, schedule.variance_exploding_flow


@pytest.mark.parametrize(
    ("made", "weight", "spread"),
    [
        (VP("sqrt"), "1.000", "0.510"),  # claim A2
        (VE("linear", 1e6), "0.803", "0.012"),  # claim A3
        (VE("sqrt", 1e6), "0.799", "114.562"),
        (VE("sqrt", 1e6, 3.0), "0.797", "24.523"),  # claim A5: the clock does not save this form under Euler
    ],
)
def test_published_numbers_of_constant_denoising(made, weight, spread):
    p, sigma = along_and_across(made, 1e6, grid(50), Euler())
    assert (f"{p:.3f}", f"{sigma:.3f}") == (weight, spread)


@pytest.mark.parametrize("dim", [1e6, 1e9, 1e12])
@pytest.mark.parametrize(("form", "count"), [("sqrt", 44), ("linear", 58)])
def test_the_clock_recovers_both_features_at_any_dimension(dim, form, count):
    # Claim A4: 43 steps for 5 % (57 for the linear form), rounded up to an even number.
    p, sigma = along_and_across(VP(form, dim, 3.0), dim, grid(count), Euler())
    assert p == pytest.approx(0.8, rel=0.05)
    assert sigma == pytest.approx(0.5, rel=0.05)


def test_what_a_missed_kink_costs():
    made = VE("linear", 1e6, 3.0)
    _, with_node = along_and_across(made, 1e6, grid(50), Euler())
    _, without = along_and_across(made, 1e6, grid(51), Euler(), allow_kinks=True)
    assert with_node == pytest.approx(0.45, abs=0.01)
    assert abs(without) > 2.5 * with_node


@every_ode_step
@pytest.mark.parametrize(
    "made",
    [VP("sqrt"), VP("linear", 1e5, 3.0), VE("linear", 1e5), VE("linear", 1e5, 3.0), VE("sqrt", 1e5, 3.0)],
    ids=["VP", "VP clock", "VE", "VE clock", "VE sqrt clock"],
)
def test_walk_in_1e5_dimensions_is_the_exact_reduction(made, step_name):
    dim, step, times = 100_000, STEPS[step_name](), grid(20)
    flow = Flow(made, GaussianMixture.two_modes(dim, 0.8).denoise)
    z = Stream(7).normal(2, (dim,))
    x = run(flow, flow.start(z), times, step)
    along_z, along_x = z.mean(-1) * math.sqrt(dim), x.mean(-1) * math.sqrt(dim)
    line = Flow(made, GaussianMixture.two_modes(1, 0.8, math.sqrt(dim), 0.5).denoise)
    torch.testing.assert_close(along_x[:, None], run(line, line.start(along_z[:, None]), times, step), rtol=1e-9, atol=1e-9)
    across = Flow(made, Gaussian.isotropic(1, 0.25).denoise)
    gain = run(across, across.start(torch.ones(1, 1, dtype=torch.float64)), times, step).item()
    residual = (x - x.mean(-1, keepdim=True)) - gain * (z - z.mean(-1, keepdim=True))
    assert residual.abs().max().item() < 1e-9 * max(1, abs(gain))
    assert (x - x.mean(-1, keepdim=True)).std().item() == pytest.approx(abs(gain), rel=5 / math.sqrt(2 * dim * 2))


@pytest.mark.parametrize("made", [VP("sqrt", 1000, 3.0), VE("linear", 1000)], ids=["VP clock", "VE"])
def test_weights_of_the_full_sampler_are_the_reductions(made):
    # Binomial, 1000 rows: 4 standard errors.
    expected, _ = along_and_across(made, 1000, grid(20), Euler())
    flow = Flow(made, GaussianMixture.two_modes(1000, 0.8).denoise)
    x = run(flow, flow.start(Stream(9).normal(1000, (1000,))), grid(20), Euler())
    measured = (x.mean(-1) > 0).double().mean().item()
    assert abs(measured - expected) < 4 * math.sqrt(expected * (1 - expected) / 1000)


# ---- ancestral ---------------------------------------------------------------------------------------------------------


def ancestral_variance(made: Schedule, times, variance: float, gamma: float) -> float:
    """Variance after the reverse process on N(0, P), by VDM's formulas (arXiv 2107.00630, appendix A), per step."""
    signal, noise = (v.numpy() for v in made.coefficients(times))
    total = noise[0] ** 2
    for k in range(len(times) - 1):
        (a_t, s_t), (a_s, s_s) = (signal[k], noise[k]), (signal[k + 1], noise[k + 1])
        forward = s_t**2 - (a_t / a_s) ** 2 * s_s**2  # σ²_{t|s}
        posterior = forward * s_s**2 / s_t**2
        gain = a_t * variance / (a_t**2 * variance + s_t**2)
        slope = a_t / a_s * s_s**2 / s_t**2 + a_s * forward / s_t**2 * gain
        added = posterior ** (1 - gamma) * forward**gamma if s_s > 0 else 0.0
        total = slope**2 * total + added
    return total


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", ["linear", "VP-SDE", "EDM"])
def test_ancestral_moments_on_a_gaussian(name, gamma):
    # 40 000 numbers: 5 standard errors of mean and variance.
    n, times, mean = 40_000, grid(8), 0.7
    expected = ancestral_variance(MADE[name], times, 0.25, gamma)
    flow = Flow(MADE[name], Gaussian(torch.full((1000,), 0.25, dtype=torch.float64)).denoise)
    x = run(flow, flow.start(Stream(3).normal(40, (1000,))), times, Ancestral(Stream(5), gamma))
    assert abs(x.mean().item()) < 5 * math.sqrt(expected / n)
    assert abs(x.var().item() / expected - 1) < 5 * math.sqrt(2 / n)
    moved = Flow(MADE[name], Gaussian(torch.full((1000,), 0.25).double(), torch.full((1000,), mean).double()).denoise)
    y = run(moved, moved.start(Stream(3).normal(40, (1000,))), times, Ancestral(Stream(5), gamma))
    assert (y.var() / x.var()).item() == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", ["linear", "VP-SDE"])
def test_ancestral_converges_to_the_law(name, gamma):
    # Weak order 1: the closed form at N and 2N steps halves its error. (Measured against the sampler just above.)
    errors = [ancestral_variance(MADE[name], grid(n, 1.0, 0.05), 0.25, gamma) for n in (400, 800)]
    signal, noise = (v.item() for v in MADE[name].coefficients(tensor(0.05)))
    errors = [abs(e / (signal**2 * 0.25 + noise**2) - 1) for e in errors]
    assert errors[0] < 0.1
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)


def test_many_ancestral_steps_give_the_mixture():
    # Weights within 4 standard errors of 1000 rows; spread within 5, around what 100 steps give a Gaussian of that spread.
    law = GaussianMixture.two_modes(8, 0.8)
    flow = Flow(MADE["VP-SDE"], law.denoise)
    x = run(flow, flow.start(Stream(0).normal(1000, (8,))), grid(100), Ancestral(Stream(1)))
    plus = x.mean(-1) > 0
    assert abs(plus.double().mean().item() - 0.8) < 4 * math.sqrt(0.16 / 1000)
    inside = x - torch.where(plus, 1.0, -1.0)[:, None]
    expected = math.sqrt(ancestral_variance(MADE["VP-SDE"], grid(100), 0.25, 0.0))
    assert abs(inside.std().item() / expected - 1) < 5 / math.sqrt(2 * x.numel())


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
def test_the_last_ancestral_step_adds_no_noise(gamma):
    flow, t, s = Flow(MADE["linear"], LAW.denoise), tensor(0.2)[0], tensor(0.0)[0]
    states = [Ancestral(Stream(seed), gamma)(flow, Z, t, s, Memory())[0] for seed in (0, 1)]
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], flow.data(Z, t))


def test_ancestral_noise_differs_between_steps_samples_and_streams():
    flow = Flow(MADE["linear"], lambda x, signal, noise: torch.zeros_like(x))
    x, t, s = torch.zeros(2, 3, dtype=torch.float64), tensor(0.6)[0], tensor(0.5)[0]
    noises = [
        Ancestral(Stream(seed), 0.5, start)(flow, x, t, s, Memory(number))[0].flatten()
        for seed, start, number in ((0, 0, 0), (0, 0, 1), (1, 0, 0), (0, 2, 0))
    ]
    assert len(set(torch.cat(noises).tolist())) == 4 * 6


# ---- grids and the walk --------------------------------------------------------------------------------------------------


@given(steps=st.integers(1, 3000), ends=st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda e: abs(e[0] - e[1]) > 1e-6))
def test_n_steps_are_n_plus_one_nodes_with_both_ends(steps, ends):
    start, stop = max(ends), min(ends)
    times = grid(steps, start, stop)
    assert (len(times), times.dtype) == (steps + 1, torch.float64)
    assert (times[0].item(), times[-1].item()) == (start, stop)
    torch.testing.assert_close(torch.diff(times), torch.full((steps,), (stop - start) / steps).double(), rtol=1e-6, atol=1e-15)
    check_grid(times, MADE["linear"])


def test_every_even_grid_has_the_middle_as_a_node_exactly():
    # torch.linspace(1, 0, 99) has 0.5 − 2⁻⁵⁴ there, and the clock's kink is at 0.5.
    for steps in range(2, 1001, 2):
        assert grid(steps)[steps // 2].item() == 0.5


def test_a_grid_without_a_node_at_the_kink_is_refused_unless_asked_for():
    flow = Flow(MADE["VE linear clock"], LAW.denoise)
    with pytest.raises(
        ValueError, match=r"kink at t = 0.5 and the grid of 7 steps no node there; .*; remedy: use an even number"
    ):
        walk(flow, flow.start(Z), grid(7), Euler())
    assert len(list(walk(flow, flow.start(Z), grid(7), Euler(), allow_kinks=True))) == 8
    assert len(list(walk(flow, flow.start(Z), grid(8), Euler()))) == 9
    # A grid on one side of the kink has nothing to miss.
    assert len(list(walk(flow, Z, grid(7, 0.5, 0.0), Euler()))) == 8


def test_the_walk_yields_every_node_and_starts_with_the_start():
    flow, times = Flow(MADE["linear"], LAW.denoise), grid(5)
    path = list(walk(flow, Z, times, DDIM()))
    assert torch.equal(torch.stack([t for t, _ in path]), times)
    assert path[0][1] is Z
    x = Z
    for (t, state), (s, after) in itertools.pairwise(path):
        assert torch.equal(x, state)
        x, _ = DDIM()(flow, x, t, s, Memory())
        assert torch.equal(x, after)


@pytest.mark.parametrize("steps", [0, -3, 2.0, True, None])
def test_bad_step_counts_are_refused(steps):
    with pytest.raises(ValueError, match=rf"steps N = {steps!r}; allowed: an integer ≥ 1"):
        grid(steps)


def test_an_integer_of_numpy_is_a_step_count():
    assert torch.equal(grid(np.int64(4)), grid(4))


@pytest.mark.parametrize("ends", [("a", 0.0), (1.0, None)])
def test_grid_ends_that_are_no_numbers_are_named(ends):
    with pytest.raises(TypeError, match=r"(start = 'a'|stop = None), .*; allowed: a number; remedy"):
        grid(4, *ends)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": Euler}, r"step is Euler; allowed: a Step; remedy: an instance with its brackets, as Euler\(\)"),
        ({"step": "Euler"}, r"step is of type str; allowed: a Step"),
        ({"flow": MADE["linear"]}, r"flow is of type Linear; allowed: a Flow; remedy: Flow\(schedule, denoiser\)"),
        ({"x": Z.numpy()}, r"x is of type ndarray; allowed: a Tensor; remedy: torch.as_tensor"),
        ({"times": [1.0, 0.0]}, r"grid of type list; allowed: a tensor \(N \+ 1,\); remedy: grid\(N\)"),
    ],
)
def test_a_walk_names_what_it_cannot_walk(change, message):
    given = {"flow": Flow(MADE["linear"], LAW.denoise), "x": Z, "times": grid(4), "step": Euler(), **change}
    with pytest.raises(TypeError, match=message):
        walk(**given)


@pytest.mark.parametrize(("start", "stop"), [(0.5, 0.5), (0.2, 0.8), (1.1, 0.0), (1.0, -0.1), (math.nan, 0.0)])
def test_bad_grid_ends_are_refused(start, stop):
    with pytest.raises(ValueError, match=rf"grid from t = {start} to {stop}; allowed: 0 ≤ stop < start ≤ 1"):
        grid(4, start, stop)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (tensor(1.0), r"grid of shape \(1,\); allowed: \(N \+ 1,\) with N ≥ 1 steps"),
        (tensor(1.0, 0.0)[:, None], r"grid of shape \(2, 1\); allowed"),
        (tensor(1.0, 0.5, 0.5, 0.0), r"nodes 1, 2 of the grid are 0.5, 0.5; allowed: strictly decreasing"),
        (tensor(0.0, 1.0), r"nodes 0, 1 of the grid are 0.0, 1.0"),
        (tensor(1.5, 0.0), r"t outside \[0, 1\]: it spans \[0.0, 1.5\]"),
        (tensor(1.0, math.nan, 0.0), r"t outside \[0, 1\]"),
    ],
)
@pytest.mark.parametrize("allow_kinks", [False, True])
def test_bad_grids_are_refused_before_any_work(times, message, allow_kinks):
    flow = Flow(MADE["linear"], LAW.denoise)
    with pytest.raises(ValueError, match=message):
        walk(flow, Z, times, Euler(), allow_kinks=allow_kinks)


@pytest.mark.parametrize("gamma", [-0.1, 1.1, math.nan])
def test_bad_variance_interpolation_is_refused(gamma):
    with pytest.raises(ValueError, match=rf"γ = {gamma}; allowed: 0 ≤ γ ≤ 1"):
        Ancestral(Stream(0), gamma)


def test_bad_states_are_refused():
    flow = Flow(MADE["linear"], LAW.denoise)
    with pytest.raises(ValueError, match=r"state of dtype torch.float32"):
        run(flow, Z.float(), grid(2), Euler())
    with pytest.raises(ValueError, match=r"state of shape \(4, 2\); allowed: \(…, 3\)"):
        run(flow, Z[:, :2], grid(2), Euler())
    with pytest.raises(ValueError, match=r"the walk has no state; allowed"):
        last([])


def test_heun_ends_with_an_euler_step_where_the_noise_vanishes():
    flow, t, s = Flow(MADE["linear"], LAW.denoise), tensor(0.2)[0], tensor(0.0)[0]
    assert torch.equal(Heun()(flow, Z, t, s, Memory())[0], Euler()(flow, Z, t, s, Memory())[0])


def test_ancestral_adds_no_noise_to_a_row_that_ends_clean():
    """Two images in one batch, one of which reaches noise 0 before the other: at γ = 1 its last step is still the mean."""
    nodes = torch.tensor([[9.0, 0.0, -9.0], [9.0, 3.0, -9.0]], dtype=torch.float64)

    class OneEndsClean(VariancePreserving):
        def coefficients(self, t):
            signal, noise = super().coefficients(t)
            clean = torch.tensor([True, False]) & (t < 0.3)
            return torch.where(clean, 1.0, signal), torch.where(clean, 0.0, noise)

    flow = Flow(OneEndsClean(Tabulated(nodes)), lambda x, signal, noise: torch.zeros_like(x))
    x = torch.ones(2, 4, dtype=torch.float64)
    out = last(walk(flow, x, grid(2, 0.5, 0.1), Ancestral(Stream(0), gamma=1.0)))
    assert torch.equal(out[0], torch.zeros(4, dtype=torch.float64))
    assert (out[1] != 0).all()
