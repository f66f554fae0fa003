"""The exact reduction and the mean-field limit against the samplers they predict."""

import math

import numpy as np
import pytest
import torch
from scipy import special

from theory import limit
from theory.curie_weiss import CurieWeiss
from theory.sampler import Euler, Flow, grid, last, walk
from theory.schedule import Linear, SquareRoot, edm_training, variance_exploding_flow, variance_preserving_flow
from theory.stream import Stream
from theory.target import Gaussian, GaussianMixture

INTERPOLANTS = {
    "VP sqrt": lambda d: variance_preserving_flow("sqrt"),
    "VP linear": lambda d: variance_preserving_flow("linear"),
    "VP clock": lambda d: variance_preserving_flow("sqrt", d, 3.0),
    "VE linear": lambda d: variance_exploding_flow("linear", d),
    "VE sqrt": lambda d: variance_exploding_flow("sqrt", d),
    "VE clock": lambda d: variance_exploding_flow("linear", d, 3.0),
}


@pytest.mark.parametrize("name", INTERPOLANTS)
@pytest.mark.parametrize("dim", [10.0, 1e4, 1e12])
def test_scalar_maps_are_the_one_dimensional_samplers(name, dim):
    """WITNESS: the maps from A and B equal the sampler on the one-dimensional laws along and across μ."""
    schedule, times = INTERPOLANTS[name](dim), grid(20)
    model = limit.TwoModes.gaussian_mixture(dim, 0.8)
    z = torch.linspace(-3, 3, 41, dtype=torch.float64)[:, None]
    along = Flow(schedule, GaussianMixture.two_modes(1, 0.8, math.sqrt(dim), 0.5).denoise)
    y = last(walk(along, along.start(z), times, Euler()))[:, 0].numpy()
    # Near the boundary between the modes the map multiplies rounding by its slope; the 1e-9 is in units of the mode's distance.
    np.testing.assert_allclose(
        limit.along_map(model, schedule, times, z[:, 0].numpy()), y, rtol=1e-9, atol=1e-9 * math.sqrt(dim)
    )
    across = Flow(schedule, Gaussian.isotropic(1, 0.25).denoise)
    gain = last(walk(across, across.start(torch.ones(1, 1, dtype=torch.float64)), times, Euler())).item()
    assert limit.complement_gain(schedule, times, 0.25) == pytest.approx(gain, rel=1e-10)


@pytest.mark.parametrize("name", ["VP sqrt", "VE linear"])
def test_reduction_equals_the_sampler_in_a_hundred_thousand_dimensions(name):
    """The same noise: spread across μ to 1e-9; weights of 400 trajectories within 4 standard errors."""
    dim, times = 100_000, grid(50)
    schedule, law = INTERPOLANTS[name](dim), GaussianMixture.two_modes(100_000, 0.8)
    flow, stream = Flow(schedule, law.denoise), Stream(7)
    gain, plus, count = limit.complement_gain(schedule, times, 0.25), 0, 60
    for start in range(count):
        z = stream.normal(1, (dim,), start)
        x = last(walk(flow, flow.start(z), times, Euler()))
        plus += int(x.mean() > 0)
        if start < 3:
            across_z, across_x = z - z.mean(), x - x.mean()
            assert (across_x.norm() / across_z.norm()).item() == pytest.approx(gain, rel=1e-9)
    predicted = limit.weight_plus(limit.TwoModes.gaussian_mixture(dim, 0.8), schedule, times)
    error = math.sqrt(max(predicted * (1 - predicted), 1 / count) / count)
    assert abs(plus / count - predicted) <= 4 * error


def test_weight_is_exact_in_the_limit_of_many_steps():
    """d = 100: as N grows p̂ tends to p, and at first order."""
    model = limit.TwoModes.gaussian_mixture(100, 0.7)
    errors = [limit.weight_plus(model, SquareRoot(), grid(n)) - 0.7 for n in (200, 400, 800)]
    assert errors[-1] < 0.003
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.05)


def test_symmetric_mixture_keeps_its_symmetry():
    model = limit.TwoModes.gaussian_mixture(1e6, 0.5)
    assert limit.weight_plus(model, SquareRoot(), grid(50)) == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_curie_weiss_mode_is_the_law_in_the_limit_of_many_steps(sign):
    mode = limit.curie_weiss_mode(2.0, 0.72, Linear(), grid(1000), sign)
    magnetisation = CurieWeiss(1, 2.0).spontaneous_magnetisation
    assert mode.magnetisation == pytest.approx(sign * magnetisation, abs=2e-3)
    assert mode.spread == pytest.approx(math.sqrt(1 - magnetisation**2), abs=2e-3)


def test_two_modes_of_curie_weiss_have_the_fluctuations_of_the_exact_law():
    """√d·M inside a mode: variance of the exact distribution at d = 20 000 against the central limit theorem."""
    dim, coupling = 20_000, 1.5
    model = limit.TwoModes.curie_weiss(dim, coupling, 0.4)
    law = CurieWeiss(dim, coupling, 0.4)
    magnetisation = torch.arange(-dim, dim + 1, 2, dtype=torch.float64) / dim
    pmf = law.magnetisation_log_pmf().exp() * (magnetisation > 0)
    weight = pmf.sum()
    mean = (pmf * magnetisation).sum() / weight
    variance = dim * (pmf * (magnetisation - mean) ** 2).sum() / weight
    assert model.weight == pytest.approx(weight.item(), abs=1e-4)
    assert model.spread_along**2 == pytest.approx(variance.item(), rel=2e-3)
    assert model.weight == pytest.approx(special.expit(2 * 0.4 * model.mean))


@pytest.mark.parametrize("coupling", [0.5, 1.0])
def test_one_mode_is_refused(coupling):
    with pytest.raises(ValueError, match=r"coupling J = .*; allowed: J > 1; remedy"):
        limit.TwoModes.curie_weiss(100, coupling, 0.0)


def test_exploding_nodes_refuse_an_unknown_form():
    with pytest.raises(ValueError, match=r"form = 'cubic'; allowed: linear, sqrt"):
        limit.exploding_nodes("cubic", 4)


@pytest.mark.parametrize(("shift", "expected"), [(50.0, -math.inf), (-50.0, math.inf)])
def test_sign_change_beyond_reach_is_infinite(shift, expected):
    assert limit.sign_change(lambda z: z + shift) == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: limit.TwoModes.gaussian_mixture(0, 0.5), r"dimension d = 0; allowed: 0 < d < ∞; remedy"),
        (lambda: limit.TwoModes.gaussian_mixture(math.nan, 0.5), r"dimension d = nan"),
        (lambda: limit.TwoModes.gaussian_mixture(100, 2.0), r"weight p = 2.0; allowed: 0 ≤ p ≤ 1; remedy"),
        (lambda: limit.TwoModes.gaussian_mixture(100, 0.5, -1.0), r"mean m = -1.0; allowed: 0 ≤ m < ∞; remedy"),
        (lambda: limit.TwoModes.gaussian_mixture(100, 0.5, 1.0, -1.0), r"spread = -1.0; allowed: 0 ≤ spread < ∞; remedy"),
        (lambda: limit.TwoModes.curie_weiss(100, math.inf, 0.1), r"spread_along = nan"),
        (
            lambda: limit.complement_gain(Linear(), torch.tensor([0.0, 1.0]), 1.0),
            r"times of shape \(2,\); .* nowhere rising; remedy",
        ),
        (lambda: limit.complement_gain(Linear(), torch.tensor([1.0]), 1.0), r"times of shape \(1,\)"),
        (lambda: limit.complement_gain(Linear(), grid(4), -1.0), r"variance = -1.0; allowed: 0 ≤ variance < ∞; remedy"),
        (lambda: limit.window_weight(0, 3.0, 1.0, 0.5), r"steps N = 0; allowed: an integer ≥ 1; remedy"),
        (lambda: limit.window_weight(2.5, 3.0, 1.0, 0.5), r"steps N = 2.5; allowed: an integer ≥ 1"),
        (lambda: limit.window_weight(4, 0.0, 1.0, 0.5), r"window κ = 0.0; allowed: 0 < κ < ∞; remedy"),
        (lambda: limit.window_weight(4, 3.0, 1.0, 1.5), r"weight p = 1.5"),
        (lambda: limit.exploding_weight("linear", 0, 1.0, 0.3), r"steps N = 0; allowed: an integer ≥ 1"),
        (lambda: limit.exploding_weight("sqrt", 4, -1.0, 0.3), r"mean m = -1.0"),
        (lambda: limit.curie_weiss_mode(2.0, 0.1, Linear(), grid(4), 0), r"sign = 0; allowed: −1, 1; remedy"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_weight_is_not_read_off_a_map_that_is_no_number():
    """BITE: NaN counted as negative, and a schedule of infinite noise gave the weight 0."""
    model = limit.TwoModes.gaussian_mixture(100, 0.3)
    with pytest.raises(ArithmeticError, match=r"is NaN in z = .*; allowed: numbers; remedy: .*start=0.999"):
        limit.weight_plus(model, edm_training(), grid(4))


def test_sign_change_refuses_a_falling_map():
    with pytest.raises(ArithmeticError, match=r"falls somewhere in z = .*; remedy: take more steps"):
        limit.sign_change(lambda z: -z)


def test_sign_change_resolves_the_last_digits():
    assert limit.sign_change(lambda z: np.expm1(z - math.pi)) == pytest.approx(math.pi, abs=1e-12)


def test_half_and_half_stays_half():
    """No step prefers a side at p = ½, at any number of steps."""
    assert limit.window_weight(3, 2.0, 1.0, 0.5) == pytest.approx(0.5, abs=1e-12)
    assert limit.exploding_weight("sqrt", 7, 1.0, 0.5) == pytest.approx(0.5, abs=1e-12)


def test_closed_forms_at_their_ends():
    """Many steps recover σ: both ratios tend to 1; few overshoot or fall short without bound."""
    assert limit.exploding_sqrt_ratio(1e8) == pytest.approx(1, abs=1e-6)  # log Γ ~ 10⁹ there: nine digits lost
    assert limit.exploding_linear_ratio(4e4) == pytest.approx(1, abs=2e-3)
    assert limit.exploding_sqrt_ratio(1e-8) > 1e3
    assert limit.exploding_linear_spread(1, 0.25, 100.0) == 0
