"""Schedules: laws over every one in the catalogue, witnesses from the papers' own formulas, and known traps."""

import itertools
import math

import numpy as np
import pytest
import scipy.interpolate
import scipy.stats
import sympy
import torch
from hypothesis import given

from tests.strategies import GAUGE, INFINITE_ENDS, SCHEDULES, away_from_kinks, decreasing_nodes, inner_times, tensor
from theory import clock, curve, schedule
from theory.schedule import Dilated, Linear, Normalised, Scaled, Schedule, SquareRoot, shifted

every_schedule = pytest.mark.parametrize("name", SCHEDULES)
MADE = {name: make() for name, make in SCHEDULES.items()}
GRID = torch.linspace(0, 1, 1001, dtype=torch.float64)
INNER = GRID[1:-1]


def alpha_bar(made: Schedule, t) -> np.ndarray:
    return (made.signal(torch.as_tensor(t, dtype=torch.float64)) ** 2).numpy()


# ---- laws ----------------------------------------------------------------------------------------------------------


@every_schedule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_snr_decreases_strictly(name, dtype):
    log_snr = MADE[name].log_snr(GRID.to(dtype))
    assert log_snr.dtype == dtype
    assert torch.isfinite(log_snr[1:-1]).all()
    assert (torch.diff(log_snr) < 0).all()
    assert tuple(torch.isinf(log_snr[[0, -1]]).tolist()) == INFINITE_ENDS[name]


@every_schedule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coefficients_are_finite_and_not_negative(name, dtype):
    # One exception by construction: signal = 1 with λ → −∞ needs infinite noise at t = 1.
    signal, noise = MADE[name].coefficients(GRID.to(dtype))
    if name == "EDM training":
        assert noise[-1] == math.inf
        noise = noise[:-1]
    for value in (signal, noise):
        assert value.dtype == dtype
        assert torch.isfinite(value).all()
        assert (value >= 0).all()


@every_schedule
def test_infinite_ends_are_exact_zeros_and_finite_ones_are_not(name):
    # Not 6e-17, the cosine of the double nearest π/2: a guard at λ = ±∞ must see 0.
    data, noise = INFINITE_ENDS[name]
    assert (MADE[name].noise(0.0).item() == 0) == data
    assert (MADE[name].signal(1.0).item() == 0) == (noise and name != "EDM training")


@every_schedule
def test_stated_gauge_holds(name):
    signal, noise = MADE[name].coefficients(GRID[:-1])
    assert (GAUGE[name](signal, noise) - 1).abs().max().item() < 1e-14


@every_schedule
@given(t=inner_times)
def test_time_at_inverts_log_snr_to_its_conditioning(name, t):
    made = MADE[name]
    level = made.log_snr(t)
    # 16 ulp of λ (and of the logarithms it is made of), and of t, through the local slope.
    slope = abs(made.log_snr_rate(t).item())
    ulps = 16 * 2**-52
    margin = ulps * (1 + (1 + abs(level.item())) / slope) if slope else 1e-6
    assert made.time_at(level).item() == pytest.approx(t, abs=margin)


@every_schedule
def test_time_at_the_ends(name):
    made = MADE[name]
    ends = made.time_at(made.log_snr(tensor(0.0, 1.0)))
    assert ends[0].item() == 0.0
    assert made.log_snr(ends[1]).item() == made.log_snr(1.0).item()


@every_schedule
def test_time_at_refuses_levels_outside_the_range(name):
    made = MADE[name]
    for level, infinite in zip((1e4, -1e4), INFINITE_ENDS[name], strict=True):
        if infinite:  # then the last time that bisection and double precision can tell from the end
            assert abs(made.time_at(level).item() - (level < 0)) < 2**-48
        else:
            with pytest.raises(ValueError, match=r"log-SNR between .* asked for; allowed: this schedule's, from .*; remedy"):
                made.time_at(level)
    with pytest.raises(ValueError, match="log-SNR between nan"):
        made.time_at(math.nan)


@every_schedule
@given(t=inner_times)
def test_rates_are_finite_differences(name, t):
    made = MADE[name]
    t, h = away_from_kinks(name, t)
    nodes = t + h * tensor(-2.0, -1.0, 1.0, 2.0)
    for coefficient, rate in zip((made.signal, made.noise), made.rates(t), strict=True):
        a, b, c, d = coefficient(nodes).tolist()
        difference = (a - 8 * b + 8 * c - d) / (12 * h)  # error ∝ h⁴ and 1e-16/h
        assert rate.item() == pytest.approx(difference, rel=1e-7, abs=1e-8 * max(abs(a), 1e-3))


@every_schedule
@given(t=inner_times)
def test_log_snr_rate_follows_from_the_rates(name, t):
    made = MADE[name]
    signal, noise = made.coefficients(tensor(t))
    signal_rate, noise_rate = made.rates(tensor(t))
    rate = made.log_snr_rate(tensor(t))
    assert rate.item() < 0
    assert rate.item() == pytest.approx((2 * (signal_rate / signal - noise_rate / noise)).item(), rel=1e-9)


@every_schedule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (2,)])
def test_dtype_and_shape_are_those_of_the_time(name, dtype, shape):
    t, made = torch.full(shape, 0.25, dtype=dtype), MADE[name]
    for value in (
        *made.coefficients(t),
        *made.rates(t),
        made.log_snr(t),
        made.log_snr_rate(t),
        made.noise_to_signal(t),
    ):
        assert (value.dtype, value.shape) == (dtype, torch.Size(shape))


# Forward mode is 0·∞ at these ends: two have a limit (0.1 and 2κ), the quantiles of unbounded densities have none.
UNDEFINED_RATES = {
    ("sub-VP SDE", 0.0), ("VE sqrt clock", 0.0), ("EDM training", 0.0),
    ("logit-normal", 0.0), ("logit-normal", 1.0), ("Laplace", 0.0), ("Laplace", 1.0),
}  # fmt: skip


@every_schedule
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_rates_at_the_ends_are_numbers_or_infinite(name, end):
    undefined = any(torch.isnan(rate).item() for rate in MADE[name].rates(end))
    assert undefined == ((name, end) in UNDEFINED_RATES)


# ---- witnesses: the papers' formulas, in sympy with 30 digits -------------------------------------------------------

T = sympy.Symbol("t", positive=True)
R = sympy.Rational


def vp(log_snr):
    return sympy.sqrt(1 / (1 + sympy.exp(-log_snr))), sympy.sqrt(1 / (1 + sympy.exp(log_snr)))


def ve(noise_to_signal):
    return sympy.Integer(1), noise_to_signal


def truncated(shift=0):
    t0, t1 = (sympy.atan(sympy.exp(-R(x) / 2)) for x in (15, -15))
    return -2 * sympy.log(sympy.tan(t0 + T * (t1 - t0))) + shift


def logistic(x):
    return 1 / (1 + sympy.exp(-x))


def from_alpha_bar(value):
    return sympy.sqrt(value), sympy.sqrt(1 - value)


LOG_SDE = -(T**2) * (20 - R(1, 10)) / 4 - R(1, 10) * T / 2
COSINE = sympy.cos((T + R(1, 125)) / (1 + R(1, 125)) * sympy.pi / 2) ** 2
LOW, HIGH = R(2, 1000), R(80)
ANGLES = [sympy.atan(x / R(1, 2)) for x in (LOW, HIGH)]
ENTROPIES = [sympy.log(1 + R(1, 4) / x**2) for x in (LOW, HIGH)]
FORMULAS = {
    "linear": (1 - T, T),
    "square root": (1 - T, sympy.sqrt(1 - (1 - T) ** 2)),
    "trigonometric": (sympy.cos(sympy.pi * T / 2), sympy.sin(sympy.pi * T / 2)),
    "VP-SDE": (sympy.exp(LOG_SDE), sympy.sqrt(1 - sympy.exp(2 * LOG_SDE))),
    "sub-VP SDE": (sympy.exp(LOG_SDE), 1 - sympy.exp(2 * LOG_SDE)),
    "VE geometric": ve(R(1, 100) * (1348 / R(1, 100)) ** T),
    "cosine": from_alpha_bar(COSINE / COSINE.subs(T, 0)),
    "truncated cosine": vp(truncated()),
    "shifted cosine": vp(truncated(2 * sympy.log(R(64, 128)))),
    # More noise at small t: the shift of base 32 has weight 1 − t.
    "interpolated cosine": vp((1 - T) * truncated(2 * sympy.log(R(32, 256))) + T * truncated(2 * sympy.log(R(256, 256)))),
    "sigmoid": from_alpha_bar((logistic(R(3)) - logistic(6 * T - 3)) / (logistic(R(3)) - logistic(-R(3)))),
    "log-uniform": vp(15 - 30 * T),
    "EDM": ve((LOW ** R(1, 7) + T * (HIGH ** R(1, 7) - LOW ** R(1, 7))) ** 7),
    "polyexponential": ve(sympy.exp(sympy.log(R(1, 100)) + T**2 * (sympy.log(80) - sympy.log(R(1, 100))))),
    "SD3 shift": (1 - 3 * T / (1 + 2 * T), 3 * T / (1 + 2 * T)),
    "tangent": ve(sympy.tan((1 - T) * ANGLES[0] + T * ANGLES[1]) / 2),
    "entropic": ve(R(1, 2) / sympy.sqrt(sympy.exp((1 - T) * ENTROPIES[0] + T * ENTROPIES[1]) - 1)),
    "Lipschitz-optimal": from_alpha_bar((100 ** (1 - T) - 1) / 99),
    "VE linear": (1 - T, 100 * T),
    "VE sqrt": (1 - T, 100 * sympy.sqrt(1 - (1 - T) ** 2)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_coefficients_and_rates_are_the_formulas(name):
    times = [R(1, 1000), R(1, 7), R(1, 2), R(6, 7), R(999, 1000)]
    ours = [*MADE[name].coefficients(tensor(*map(float, times))), *MADE[name].rates(tensor(*map(float, times)))]
    formulas = [*FORMULAS[name], *(sympy.diff(f, T) for f in FORMULAS[name])]
    for values, formula in zip(ours, formulas, strict=True):
        exact = [float(sympy.N(formula.subs(T, t), 30)) for t in times]
        # 1e-12: λ = ±15 costs ten of the last bits, and 6/7 is not a double.
        np.testing.assert_allclose(values.numpy(), exact, rtol=1e-12, atol=1e-16)


# ---- witnesses: the papers' discrete recipes, in numpy ---------------------------------------------------------------

BETAS = {
    "DDPM linear": np.linspace(1e-4, 0.02, 1000),
    "scaled linear": np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2,
}


@pytest.mark.parametrize("name", BETAS)
def test_discrete_betas_give_the_product(name):
    nodes = np.arange(1000) / 999
    np.testing.assert_allclose(alpha_bar(MADE[name], nodes), np.cumprod(1 - BETAS[name]), rtol=1e-11)


def test_vp_sde_is_ddpm_in_the_limit():
    i = np.arange(1000)
    discrete = np.log(np.cumprod(1 - BETAS["DDPM linear"]))
    continuous = np.log(alpha_bar(MADE["VP-SDE"], (i + 1) / 1000))
    difference = np.abs(discrete - continuous).max()
    assert 0.06 < difference <= 0.07


def test_shape_of_the_beta_scheduler():
    # web interfaces: timesteps = Beta(0.6, 0.6).ppf(1 − linspace(0, 1, n, endpoint=False)) · 999
    u = scipy.stats.beta(0.6, 0.6).ppf(1 - np.linspace(0, 1, 20, endpoint=False))
    expected = MADE["scaled linear"].log_snr(torch.from_numpy(u))
    ours = MADE["beta quantiles"].log_snr(torch.from_numpy(1 - np.linspace(0, 1, 20, endpoint=False)))
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_edm_levels():
    # EDM, equation 5, with its own index i = 0 … N − 1 from σ_max down to σ_min.
    n, rho, low, high = 18, 7, 0.002, 80.0
    i = np.arange(n)
    levels = (high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    np.testing.assert_allclose(MADE["EDM"].noise(torch.from_numpy(1 - i / (n - 1))).numpy(), levels, rtol=1e-12)


def test_large_rho_is_log_uniform():
    # |λ_ρ − λ_∞| falls like 1/ρ: ρ = 10⁶ and 10⁷ differ by a factor 10.
    limit = schedule.ve_geometric(0.002, 80.0).log_snr(INNER)
    errors = [(schedule.edm(exponent=rho).log_snr(INNER) - limit).abs().max().item() for rho in (1e3, 1e4)]
    assert errors[0] < 0.1
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.02)


@pytest.mark.parametrize("rho", [1.0, 2.0, 0.5])
def test_polyexponential_is_k_diffusions(rho):
    ramp = np.linspace(1, 0, 13) ** rho
    levels = np.exp(ramp * (math.log(80) - math.log(0.01)) + math.log(0.01))
    ours = schedule.polyexponential(0.01, 80.0, rho).noise(torch.from_numpy(np.linspace(1, 0, 13)))
    np.testing.assert_allclose(ours.numpy(), levels, rtol=1e-13)


@pytest.mark.parametrize("model", schedule.AYS_LEVELS)
def test_ays_tables(model):
    levels = schedule.AYS_LEVELS[model]
    made = schedule.ays(model)
    ours = made.noise(torch.linspace(1, 0, 11, dtype=torch.float64))
    np.testing.assert_allclose(ours.numpy(), levels, rtol=1e-13)
    # Between two nodes log ς is linear: the geometric mean.
    assert made.noise(0.95).item() == pytest.approx(math.sqrt(levels[0] * levels[1]), rel=1e-13)


def test_ays_first_and_last_published_levels():
    # SD 1.5, as printed on the project page of arXiv 2404.14507.
    ours = schedule.ays("sd1.5").noise(torch.linspace(1, 0, 11, dtype=torch.float64))
    published = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]
    np.testing.assert_allclose(ours.numpy(), published, rtol=1e-12)


def test_edm_and_logit_normal_quantiles_have_the_stated_densities():
    t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    log_noise = torch.log(MADE["EDM training"].noise(t)).numpy()
    np.testing.assert_allclose(scipy.stats.norm(-1.2, 1.2).cdf(log_noise), t.numpy(), rtol=1e-12)
    # SD3: its time (linear gauge: the noise) is sigmoid(N(m, s²)).
    noise = schedule.logit_normal(0.3, 0.8).noise(t).numpy()
    np.testing.assert_allclose(scipy.stats.norm(0.3, 0.8).cdf(np.log(noise / (1 - noise))), t.numpy(), rtol=1e-12)
    log_snr = schedule.laplace(0.4, 0.5).log_snr(t).numpy()
    np.testing.assert_allclose(scipy.stats.laplace(0.4, 0.5).sf(log_snr), t.numpy(), rtol=1e-12)


# ---- equivalences and known traps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0.5, 3.0, math.exp(1.15)])
def test_resolution_shifts_are_one_thing(k):
    # SD3's t' = kt/(1 + (k − 1)t), Flux's e^μ/(e^μ + 1/t − 1), and λ − 2 log k on the linear schedule.
    mu, t = math.log(k), INNER.numpy()
    flux = math.exp(mu) / (math.exp(mu) + (1 / t - 1))
    sd3, constant = schedule.sd3(k), shifted(Linear(), -2 * math.log(k), "linear")
    for made in (sd3, constant):
        np.testing.assert_allclose(made.noise(INNER).numpy(), flux, rtol=1e-13)
        np.testing.assert_allclose(made.signal(INNER).numpy(), 1 - flux, rtol=1e-11)
    np.testing.assert_allclose((sd3.log_snr(INNER) - Linear().log_snr(INNER)).numpy(), -2 * math.log(k), rtol=1e-11, atol=1e-12)


@every_schedule
@pytest.mark.parametrize("gauge", ["variance preserving", "linear", "variance exploding"])
def test_a_shift_moves_log_snr_everywhere_by_the_same_amount_once(name, gauge):
    base, amount = MADE[name], -1.3862943611198906
    moved = shifted(base, amount, gauge)
    difference = moved.log_snr(INNER) - base.log_snr(INNER)
    assert (difference - amount).abs().max().item() < 1e-12
    signal, noise = moved.coefficients(INNER)
    invariant = {"variance preserving": signal**2 + noise**2, "linear": signal + noise, "variance exploding": signal}
    assert (invariant[gauge] - 1).abs().max().item() < 1e-14


def test_shifted_cosine_moves_by_two_log_of_the_base_and_its_ends_too():
    # Factor 2: λ = log(signal²/noise²). At 128 px and base 64: −2 log 2; λ(0) = 15 − 2 log 2.
    difference = MADE["shifted cosine"].log_snr(GRID) - MADE["truncated cosine"].log_snr(GRID)
    assert (difference + 2 * math.log(2)).abs().max().item() < 1e-12


@pytest.mark.parametrize("name", ["truncated cosine", "log-uniform"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_truncated_ends_are_exact(name, dtype):
    ends = MADE[name].log_snr(torch.tensor([0.0, 1.0], dtype=dtype))
    assert ends.tolist() == [15.0, -15.0]


@pytest.mark.parametrize("name", ["linear", "trigonometric", "truncated cosine", "Laplace", "log-uniform"])
def test_log_snr_at_half_time_is_zero(name):
    # diffusers' Laplace schedule has 0.88 there (it returns α where ᾱ = α² is meant).
    assert MADE[name].log_snr(0.5).item() == pytest.approx(0, abs=1e-15)
    assert MADE[name].signal(0.5).item() == pytest.approx(MADE[name].noise(0.5).item(), rel=1e-15)


def test_log_snr_is_twice_dpm_solvers():
    # log α − log σ of DPM-Solver against log(α²/σ²) of VDM, on numbers: 1 − t = 0.8, t = 0.2.
    assert Linear().log_snr(0.2).item() == pytest.approx(math.log(16), rel=1e-15)
    assert Linear().noise_to_signal(0.2).item() == pytest.approx(0.25, rel=1e-15)


def test_interpolated_cosine_direction():
    # Two public codes have it reversed. Base 32 at the data end: more noise there than with the high base; at the noise
    # end none of the low base's shift is left.
    made, high = MADE["interpolated cosine"], shifted(schedule.truncated_cosine(), 0.0)
    assert made.log_snr(0.0).item() == pytest.approx(15 + 2 * math.log(32 / 256), rel=1e-14)
    assert made.log_snr(1.0).item() == pytest.approx(-15, rel=1e-14)
    difference = high.log_snr(GRID) - made.log_snr(GRID)
    assert (torch.diff(difference) < 0).all()  # 2 log 8·(1 − t): all at t = 0, nothing at t = 1
    lower_base = schedule.interpolated_cosine(base_at_data=16)
    assert lower_base.noise(0.1).item() > made.noise(0.1).item()


def test_vp_has_no_noise_added_in_quadrature():
    # noise(0) = 0, not σ₀: "VP" with a floor is another schedule.
    assert MADE["VP-SDE"].noise(0.0).item() == 0.0


def test_square_root_form_keeps_its_digits_near_the_data():
    # 1 − τ² with τ = 1 − t: in float32 it vanishes at t < 6e-8; here noise² = t(2 − t).
    t = torch.tensor(1e-9, dtype=torch.float32)
    assert SquareRoot().noise(t).item() == pytest.approx(math.sqrt(2e-9), rel=1e-6)


def test_tangent_matches_ays_theorem():
    # ς_i = c tan((1 − i/N) atan(ς_max/c) + (i/N) atan(ς_min/c)), i = 0 … N.
    n, c = 10, 0.5
    i = np.arange(n + 1)
    levels = c * np.tan((1 - i / n) * math.atan(80 / c) + i / n * math.atan(0.002 / c))
    np.testing.assert_allclose(MADE["tangent"].noise(torch.from_numpy(1 - i / n)).numpy(), levels, rtol=1e-11)


@pytest.mark.parametrize("variance", [0.01, 100.0])
def test_lipschitz_optimal_variance_grows_at_a_constant_rate(variance):
    signal, noise = schedule.LipschitzOptimal(variance).coefficients(GRID)
    log_total = torch.log(noise**2 + variance * signal**2)
    expected = (1 - GRID) * math.log(variance)
    assert (log_total - expected).abs().max().item() < 1e-12


def test_paper_a_flows_in_the_papers_letters():
    # τ = 1 − t: β = τ on the data; α = √(1 − τ²) or 1 − τ, times s = √d for VE, on the noise.
    tau, d = 1 - INNER, 400.0
    alphas: dict[schedule.Form, torch.Tensor] = {"sqrt": torch.sqrt(1 - tau**2), "linear": 1 - tau}
    for form, alpha in alphas.items():
        for make, s in ((schedule.variance_preserving_flow, 1.0), (schedule.variance_exploding_flow, 20.0)):
            signal, noise = make(form, dim=d).coefficients(INNER)
            torch.testing.assert_close(signal, tau, rtol=1e-13, atol=0)
            torch.testing.assert_close(noise, s * alpha, rtol=1e-11, atol=0)


@pytest.mark.parametrize("kappa", [3.0, 5.0])
def test_paper_a_clocks_compose(kappa):
    d = 1e4
    assert schedule.variance_preserving_flow("sqrt", d, kappa) == Dilated(SquareRoot(), clock.vp_clock(d, kappa))
    assert schedule.variance_preserving_flow("sqrt", d, kappa).kinks == (0.5,)
    assert schedule.variance_exploding_flow("linear", d, kappa).noise(0.5).item() == pytest.approx(kappa, rel=1e-14)
    # The square-root clock makes α = κ(2 − 2t_A)/√d linear in time near the data: noise = √d·α = 2κt.
    t = torch.linspace(0.01, 0.5, 50, dtype=torch.float64)
    noise = schedule.variance_exploding_flow("sqrt", d, kappa).noise(t)
    torch.testing.assert_close(noise, 2 * kappa * t, rtol=1e-12, atol=0)


@every_schedule
def test_wrappers_keep_the_kinks(name):
    base = MADE[name]
    for wrapped in (Scaled(base, 2.0), Normalised(base, "linear"), schedule.SubVariancePreserving(base)):
        assert wrapped.kinks == base.kinks


def test_every_family_of_the_list_has_a_row_in_the_tables():
    assert set(INFINITE_ENDS) == set(GAUGE) == set(SCHEDULES)


# ---- tabulated -----------------------------------------------------------------------------------------------------


@given(decreasing_nodes)
def test_monotone_cubic_stays_monotone_between_adversarial_nodes(nodes):
    # Fritsch and Butland: no overshoot, whatever the steps. λ may stall by one rounding of its largest value.
    made = curve.Tabulated(nodes)
    intervals = len(nodes) - 1
    log_snr = made(torch.linspace(0, 1, 64 * intervals + 1, dtype=torch.float64))
    rounding = 8 * 2**-52 * nodes.abs().max()
    assert (torch.diff(log_snr) <= rounding).all()
    low, high = nodes[1:].repeat_interleave(64), nodes[:-1].repeat_interleave(64)
    assert ((log_snr[:-1] >= low - rounding) & (log_snr[:-1] <= high + rounding)).all()
    # At the nodes t·K is rounded, and the steep side amplifies it.
    at_nodes = log_snr[::64]
    margin = rounding + 1e-14 * torch.diff(nodes).abs().max() * intervals
    assert ((at_nodes - nodes).abs() <= margin).all()


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("count", [2, 3, 9, 17])
def test_nodes_are_exact_where_the_node_times_are(smooth, count):
    # K − 1 a power of two: t·(K − 1) is exact, and so must the nodes be, ends included.
    nodes = 10 - torch.cumsum(torch.linspace(0.1, 3.7, count, dtype=torch.float64), 0)
    made = curve.Tabulated(nodes, smooth=smooth)
    assert torch.equal(made(torch.linspace(0, 1, count, dtype=torch.float64)), nodes)


def test_linear_table_is_numpys_interpolation():
    nodes = 10 - torch.cumsum(torch.linspace(0.1, 3.7, 12, dtype=torch.float64), 0)
    expected = np.interp(GRID.numpy(), np.linspace(0, 1, 12), nodes.numpy())
    np.testing.assert_allclose(curve.Tabulated(nodes, smooth=False)(GRID).numpy(), expected, rtol=1e-13)


def test_smooth_table_is_scipys_pchip_inside_and_fourth_order():
    # scipy's PCHIP is the same harmonic mean on equal spacing; ends differ by design, so compare off the end intervals.
    t = np.linspace(0, 1, 12)
    nodes = 5 - 8 * t - np.sin(5 * t)
    expected = scipy.interpolate.PchipInterpolator(t, nodes)
    inside = np.linspace(t[1], t[-2], 200)
    ours = curve.Tabulated(torch.from_numpy(nodes))(torch.from_numpy(inside))
    np.testing.assert_allclose(ours.numpy(), expected(inside), rtol=0, atol=1e-12)


def test_smooth_table_has_a_continuous_rate():
    nodes = 10 - torch.cumsum(tensor(0.1, 3.0, 0.2, 0.2, 5.0, 1e-3), 0)
    made = schedule.VariancePreserving(curve.Tabulated(nodes))
    knots, h = torch.linspace(0, 1, 6, dtype=torch.float64)[1:-1], 1e-9
    jump = made.log_snr_rate(knots + h) - made.log_snr_rate(knots - h)
    assert (jump.abs() < 1e-4).all()


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batched_table_is_one_by_one_bit_for_bit(smooth, dtype):
    steps = torch.rand(3, 5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1e-3
    nodes = 12 - torch.cumsum(steps, -1)
    t = torch.rand(3, 5, generator=torch.Generator().manual_seed(1), dtype=dtype)
    together = schedule.VariancePreserving(curve.Tabulated(nodes, smooth))
    values = [*together.coefficients(t), together.log_snr(t), *together.rates(t), together.time_at(together.log_snr(t))]
    for i, j in itertools.product(range(3), range(5)):
        alone = schedule.VariancePreserving(curve.Tabulated(nodes[i, j], smooth))
        s = t[i, j]
        expected = [*alone.coefficients(s), alone.log_snr(s), *alone.rates(s), alone.time_at(alone.log_snr(s))]
        for ours, single in zip(values, expected, strict=True):
            assert ours.dtype == dtype
            assert torch.equal(ours[i, j], single)


def test_one_time_is_read_by_every_row_of_a_batch():
    nodes = torch.stack([tensor(5.0, 0.0, -5.0), tensor(3.0, 1.0, -1.0)])
    made = schedule.VariancePreserving(curve.Tabulated(nodes, smooth=False))
    torch.testing.assert_close(made.log_snr(0.5), tensor(0.0, 1.0), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([1.0], r"nodes of shape \(1,\); allowed: \(\*batch, K\) with K ≥ 2"),
        ([1.0, 0.0, 0.0], r"row \(\), nodes 1, 2 \(t = 0.5\) have log-SNR 0.0, 0.0; allowed: finite and strictly decreasing"),
        ([[1.0, 0.0], [0.0, 1.0]], r"row \(1,\), nodes 0, 1 \(t = 0\) have log-SNR 0.0, 1.0"),
        ([1.0, math.nan, 0.0], r"row \(\), nodes 0, 1 .* log-SNR 1.0, nan; allowed: finite"),
        ([math.inf, 1.0, 0.0], r"row \(\), nodes 0, 1 \(t = 0\) have log-SNR inf, 1.0"),
    ],
)
def test_bad_tables_are_refused_with_row_and_node(nodes, message):
    with pytest.raises(ValueError, match=message):
        curve.Tabulated(torch.tensor(nodes, dtype=torch.float64))


# ---- bad input -----------------------------------------------------------------------------------------------------


@every_schedule
@pytest.mark.parametrize("t", [-1e-9, 1 + 1e-9, math.nan])
def test_times_outside_are_refused_with_their_value(name, t):
    made = MADE[name]
    for function in (made.signal, made.noise, made.log_snr, made.noise_to_signal, made.rates, made.log_snr_rate):
        with pytest.raises(ValueError, match=r"t outside \[0, 1\]: it spans \[.*; allowed: 0 \(data\) … 1 \(noise\); remedy"):
            function(tensor(0.5, t))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedule.VPSDE(0.0, 20.0), r"β from 0.0 to 20.0; allowed: 0 < β_min ≤ β_max < ∞"),
        (lambda: schedule.VPSDE(2.0, 1.0), r"β from 2.0 to 1.0"),
        (lambda: schedule.Sigmoid(3.0, -3.0), r"start 3.0, end -3.0, τ 1.0; allowed: start < end and τ > 0"),
        (lambda: schedule.Sigmoid(temperature=0.0), r"τ 0.0"),
        (lambda: schedule.LipschitzOptimal(1.0), r"variance M = 1.0; allowed: 0 < M < ∞, M ≠ 1"),
        (lambda: Scaled(Linear(), 0.0), r"noise_scale = 0.0; allowed: 0 < noise_scale < ∞"),
        (lambda: Scaled(Linear(), math.inf), r"noise_scale = inf"),
        (
            lambda: Normalised(Linear(), "vp"),  # type: ignore[arg-type]
            r"gauge = 'vp'; allowed: variance preserving, linear, variance exploding",
        ),
        (lambda: schedule.ve_geometric(0.0, 80.0), r"ς = 0.0; allowed: 0 < ς < ∞"),
        (
            lambda: schedule.ve_geometric(80.0, 0.01),
            r"λ runs from .* \(data\) to .* \(noise\); allowed: finite and decreasing",
        ),
        (lambda: schedule.edm(exponent=0.0), r"exponent = 0.0; allowed: 0 < exponent < ∞"),
        (lambda: schedule.edm(noise_max=math.inf), r"ς = inf"),
        (lambda: schedule.tangent(0.0), r"scale = 0.0; allowed: 0 < scale < ∞"),
        (lambda: schedule.entropic(-1.0), r"scale = -1.0"),
        (lambda: schedule.laplace(scale=0.0), r"scale = 0.0"),
        (lambda: schedule.logit_normal(std=0.0), r"std = 0.0"),
        (lambda: schedule.log_uniform(-1.0, 1.0), r"λ runs from -1.0 \(data\) to 1.0 \(noise\)"),
        (lambda: schedule.truncated_cosine(math.nan), r"λ runs from nan"),
        (lambda: schedule.ays("sd2"), r"model = 'sd2'; allowed: sd1.5, sdxl, svd"),
        (
            lambda: schedule.variance_preserving_flow("sqrt", 100, 10.0),
            r"κ = 10.0 at dimension d = 100; .* κ < √d = 10",
        ),
        (lambda: schedule.variance_exploding_flow("sqrt", 100, 10.0), r"κ = 10.0 at dimension d = 100"),
        *(
            (
                lambda flow=flow, dim=dim, kappa=kappa: flow("sqrt", dim, kappa),
                rf"dimension d = {dim}; allowed: 0 < d < ∞; remedy",
            )
            for flow in (schedule.variance_preserving_flow, schedule.variance_exploding_flow)
            for dim in (0, -1, math.nan, math.inf)
            for kappa in (None, 3.0)
        ),
        *(
            (lambda n=n: schedule.shifted_cosine(n), rf"resolution = {n}; allowed: 0 < resolution < ∞; remedy")
            for n in (0, -5, math.nan, math.inf)
        ),
        (lambda: schedule.shifted_cosine(64, 0), r"base_resolution = 0; allowed: 0 < base_resolution < ∞"),
        (lambda: schedule.interpolated_cosine(0), r"resolution = 0; allowed: 0 < resolution < ∞; remedy"),
        (lambda: schedule.interpolated_cosine(256, 0), r"base_at_data = 0; allowed: 0 < base_at_data < ∞"),
        (lambda: schedule.interpolated_cosine(256, 32, -1), r"base_at_noise = -1"),
        (lambda: schedule.interpolated_cosine(1024, 32, 1024), r"base_at_noise = 1024 over .* = 32; allowed: a ratio < 23.09"),
        (lambda: schedule.discrete_betas([0.1, 1.2]), r"β_1 = 1.2; allowed: 0 < β < 1; remedy"),
        (lambda: schedule.discrete_betas([0.0, 0.1]), r"β_0 = 0.0; allowed: 0 < β < 1"),
        (lambda: schedule.discrete_betas([0.1, math.nan]), r"β_1 = nan"),
        (lambda: schedule.discrete_betas([]), r"betas of shape \(0,\); allowed: \(n,\) with n ≥ 2; remedy"),
        (lambda: schedule.discrete_betas([[0.1, 0.2]] * 2), r"betas of shape \(2, 2\)"),
        (lambda: schedule.ddpm_linear(1), r"count = 1; allowed: an integer ≥ 2; remedy"),
        (lambda: schedule.scaled_linear(10.5), r"count = 10.5"),
        (lambda: schedule.Cosine(-0.5), r"offset s = -0.5; allowed: 0 ≤ s ≤ 1e6; remedy"),
        (lambda: schedule.Cosine(math.nan), r"offset s = nan"),
        (lambda: schedule.Sigmoid(temperature=1e-3), r"τ 0.001; allowed: .* −400τ ≤ start and end ≤ 400τ; remedy"),
        (lambda: schedule.Sigmoid(temperature=math.inf), r"τ inf"),
        (lambda: schedule.Sigmoid(-math.inf), r"start -inf"),
        (lambda: schedule.truncated_cosine(1e4, -1e4), r"Tangent\(.*\) cannot be computed in double precision; .*; remedy"),
        (lambda: schedule.edm(exponent=1e-3), r"Karras\(.*\) cannot be computed in double precision"),
        (lambda: schedule.entropic(1e-300), r"Entropic\(.*\) cannot be computed in double precision"),
        (lambda: schedule.entropic(0.5, 1e-200), r"Entropic\(.*\) cannot be computed in double precision"),
        (lambda: schedule.logit_normal(math.nan), r"mean = nan; allowed: finite; remedy"),
        (lambda: schedule.edm_training(std=-1.0), r"std = -1.0; allowed: 0 < std < ∞"),
        (lambda: schedule.laplace(math.inf), r"location = inf; allowed: finite"),
        (lambda: curve.Offset(curve.Karras(), math.nan), r"shift = nan; allowed: finite"),
        (lambda: shifted(Linear(), -1e4), r"log_snr_shift = -10000.0; allowed: −1400 … 1400, .*; remedy"),
        (lambda: shifted(Linear(), math.nan), r"log_snr_shift = nan"),
        (lambda: schedule.ays([]), r"model = \[\]; allowed: sd1.5, sdxl, svd"),
        (lambda: schedule.spectral(slope=-1.0), r"slope = -1.0; allowed: 0 ≤ slope < ∞"),
        (lambda: schedule.spectral(variance=0.0), r"variance = 0.0; allowed: 0 < variance < ∞"),
        (lambda: schedule.spectral(size=6.5), r"image of 6.5 × 6.5 pixels; allowed: integers, ≥ 2"),
    ],
)
def test_bad_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_dilated_dilation_knows_the_kinks_of_both():
    inner = Dilated(Linear(), clock.vp_clock(100, 3.0))
    outer = Dilated(inner, clock.ResolutionClock(3.0))
    (kink,) = outer.kinks
    assert clock.ResolutionClock(3.0)(torch.tensor(kink, dtype=torch.float64)).item() == pytest.approx(0.5, abs=1e-15)


NUMBER = r", .*; allowed: a number; remedy: "


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedule.shifted_cosine("a"), "resolution = 'a'" + NUMBER),
        (lambda: schedule.variance_exploding_flow("linear", None), "dim = None" + NUMBER),
        (lambda: schedule.variance_preserving_flow("sqrt", 100, "a"), "kappa = 'a'" + NUMBER),
        (lambda: schedule.ve_geometric("a"), "noise_to_signal = 'a'" + NUMBER),
        (lambda: schedule.log_uniform(None), "log_snr_max = None" + NUMBER),
        (lambda: schedule.VPSDE("a"), "beta_min = 'a'" + NUMBER),
        (lambda: schedule.spectral(epsilon="a"), "epsilon = 'a'" + NUMBER),
        (lambda: shifted(Linear(), [1.0]), r"log_snr_shift = \[1.0\]" + NUMBER),
        (lambda: schedule.discrete_betas("a"), r"betas = 'a', str; allowed: a real number, or an array"),
        (lambda: Scaled(None, 1.0), r"base of type NoneType; allowed: a Schedule; remedy"),
        (lambda: Normalised(curve.Karras(), "linear"), r"base of type Karras; allowed: a Schedule; remedy"),
        (lambda: schedule.SubVariancePreserving(None), r"base of type NoneType"),
        (lambda: Dilated(Linear(), None), r"clock of type NoneType; allowed: a Clock; remedy"),
        (lambda: schedule.VariancePreserving(Linear()), r"curve of type Linear; allowed: a Curve, λ\(t\); remedy"),
        (lambda: schedule.VarianceExploding(None), r"curve of type NoneType"),
        (lambda: curve.Tabulated([1.0, 0.0]), r"nodes of type list; allowed: a tensor \(\*batch, K\) of log-SNR; remedy"),
    ],
)
def test_parameters_of_the_wrong_kind_are_named(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@every_schedule
@pytest.mark.parametrize("integer", [torch.int64, torch.int32, torch.bool])
def test_integer_times_are_the_numbers_they_stand_for(name, integer):
    made, ends = MADE[name], torch.tensor([0, 1], dtype=integer)
    for function in (made.signal, made.noise, made.log_snr):
        torch.testing.assert_close(function(ends), function(tensor(0.0, 1.0)), rtol=0, atol=0)


def test_integer_levels_are_the_numbers_they_stand_for():
    """BITE: a level of integers bisected in float32."""
    for made in (Linear(), schedule.edm()):
        assert torch.equal(made.time_at(torch.tensor([0, 1])), made.time_at(tensor(0.0, 1.0)))


@pytest.mark.parametrize("t", [None, "a", [None], [[0, 1], [1]], 1j, np.array([0.1j]), torch.tensor([0.1j]), np.array(["a"])])
def test_times_and_levels_that_are_no_numbers_are_named(t):
    for name, function in (("t", Linear().signal), ("t", Linear().rates), ("log_snr", Linear().time_at)):
        with pytest.raises(
            TypeError, match=rf"{name} = .*, {type(t).__name__}; allowed: a real number, or an array .*; remedy"
        ):
            function(t)


def test_the_blend_of_cosines_falls_up_to_the_ratio_that_is_allowed():
    """BITE: base_at_noise = 1024 over 32 made a schedule whose log-SNR rises about t = ½."""
    made = schedule.interpolated_cosine(256, 32, 32 * 23.08)
    assert (torch.diff(made.log_snr(GRID)) < 0).all()
    cosine = curve.Tangent(1.0, 15.0, -15.0)
    beyond = schedule.VariancePreserving(curve.Blend(cosine, curve.Offset(cosine, 2 * math.log(23.1))))
    assert beyond.log_snr_rate(0.5) > 0


@pytest.mark.parametrize("flow", [schedule.variance_preserving_flow, schedule.variance_exploding_flow])
def test_an_unknown_form_is_refused(flow):
    with pytest.raises(ValueError, match="form = 'foo'; allowed: sqrt, linear"):
        flow("foo")
    with pytest.raises(ValueError, match=r"form = \['sqrt'\]; allowed: sqrt, linear"):
        flow(["sqrt"])
