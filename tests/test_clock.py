"""Clocks: laws of an increasing map of [0, 1], paper A's clocks as it writes them, and what is refused."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import inner_times
from theory import clock

CLOCKS = {
    "VP": clock.vp_clock(1e4, 3.0),
    "VE linear": clock.ve_linear_clock(1e4, 3.0),
    "VE sqrt": clock.VESquareRootClock(1e4, 3.0),
    "VE sqrt, d = 10¹²": clock.VESquareRootClock(1e12, 5.0),
    "piecewise": clock.PiecewiseLinear(0.3, 0.9),
    "power": clock.PowerClock(2.0),
    "resolution": clock.ResolutionClock(3.0),
    "resolution, k < 1": clock.ResolutionClock(0.25),
    "beta": clock.BetaClock(),
    "beta, one hump": clock.BetaClock(2.0, 3.0),
}
every_clock = pytest.mark.parametrize("name", CLOCKS)


# Paper A's formulas in its own direction: t = 0 noise, τ the share of data (its section on time dilations).
def paper_vp(t, dim, kappa):
    first = 2 * kappa * t / math.sqrt(dim)
    second = kappa / math.sqrt(dim) + (1 - kappa / math.sqrt(dim)) * (2 * t - 1)
    return np.where(t <= 0.5, first, second)


def paper_ve_linear(t, dim, kappa):
    first = (1 - kappa / math.sqrt(dim)) * 2 * t
    second = (1 - kappa / math.sqrt(dim)) + kappa / math.sqrt(dim) * (2 * t - 1)
    return np.where(t <= 0.5, first, second)


def paper_ve_sqrt(t, dim, kappa):
    first = math.sqrt(1 - kappa**2 / dim) * 2 * t
    second = np.sqrt(1 - (kappa * (2 - 2 * np.maximum(t, 0.5))) ** 2 / dim)
    return np.where(t <= 0.5, first, second)


PAPER = {
    "VP": (clock.vp_clock, paper_vp),
    "VE linear": (clock.ve_linear_clock, paper_ve_linear),
    "VE sqrt": (clock.VESquareRootClock, paper_ve_sqrt),
}
every_paper_clock = pytest.mark.parametrize("name", PAPER)


@every_clock
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_maps_the_unit_interval_onto_itself_increasing(name, dtype):
    u = CLOCKS[name](torch.linspace(0, 1, 1001, dtype=dtype))
    assert u.dtype == dtype
    assert (u[0].item(), u[-1].item()) == (0.0, 1.0)
    # The float32 spacing below 1 is 6e-8: the clock of d = 10¹² climbs by less than that near its kink.
    assert bool((torch.diff(u) > 0).all() if dtype == torch.float64 else (torch.diff(u) >= 0).all())


@every_clock
@given(t=inner_times)
def test_rate_is_the_finite_difference(name, t):
    if any(abs(t - kink) < 2e-6 for kink in CLOCKS[name].kinks):
        t = 0.25
    h = 1e-6
    nodes = torch.tensor([t - h, t, t + h], dtype=torch.float64)
    before, _, after = CLOCKS[name](nodes).tolist()
    rate = torch.func.jvp(CLOCKS[name], (nodes,), (torch.ones_like(nodes),))[1][1].item()
    assert rate == pytest.approx((after - before) / (2 * h), rel=1e-6, abs=1e-9)


def test_beta_clock_has_a_reverse_mode_rate_too():
    t = torch.tensor([0.1, 0.5, 0.93], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(clock.BetaClock(0.6, 1.7), (t,), rtol=1e-5)


@every_paper_clock
@pytest.mark.parametrize(("dim", "kappa"), [(100.0, 3.0), (1e4, 5.0), (1e6, 3.0), (1e12, 3.0)])
def test_clock_is_the_papers_turned_round(name, dim, kappa):
    make, paper = PAPER[name]
    t_paper = np.linspace(0, 1, 201)
    ours = 1 - make(dim, kappa)(torch.from_numpy(1 - t_paper)).numpy()
    np.testing.assert_allclose(ours, paper(t_paper, dim, kappa), rtol=0, atol=4e-16)


@pytest.mark.parametrize(
    ("made", "knot"),
    [
        (clock.vp_clock(1e4, 3.0), 1 - 0.03),
        (clock.ve_linear_clock(1e4, 3.0), 0.03),
        (clock.VESquareRootClock(1e4, 3.0), 1 - math.sqrt(1 - 9e-4)),
    ],
)
def test_value_at_the_knot(made, knot):
    assert made.kinks == (0.5,)
    assert made(torch.tensor(0.5, dtype=torch.float64)).item() == pytest.approx(knot, rel=1e-15)


def test_square_root_clock_keeps_its_digits_near_the_data():
    # u = 1 − √(1 − (2tκ)²/d) ≈ 2t²κ²/d = 1.8e-17 at d = 10¹², t = 10⁻³: the formula as written gives 0.
    u = clock.VESquareRootClock(1e12, 3.0)(torch.tensor(1e-3, dtype=torch.float64)).item()
    assert u == pytest.approx(1.8e-17, rel=1e-9)


@given(t=inner_times, dim=st.floats(4.0, 1e6))
def test_vp_clock_at_half_root_d_is_the_identity(t, dim):
    u = clock.vp_clock(dim, math.sqrt(dim) / 2)(torch.tensor(t, dtype=torch.float64)).item()
    assert u == pytest.approx(t, abs=4e-16)


def test_turning_twice_is_the_identity():
    t = torch.linspace(0, 1, 65, dtype=torch.float64)  # multiples of 1/64: 1 − t is exact
    square = clock.PowerClock(2.0)
    assert torch.equal(clock.turned(lambda s: clock.turned(square, s), t), t**2)


def test_beta_clock_is_scipys_quantile():
    t = np.linspace(0.01, 0.99, 33)
    ours = clock.BetaClock(0.6, 0.6)(torch.from_numpy(t)).numpy()
    np.testing.assert_allclose(scipy.stats.beta(0.6, 0.6).cdf(ours), t, rtol=1e-12)


@every_paper_clock
@pytest.mark.parametrize(("dim", "kappa"), [(100.0, 10.0), (100.0, 11.0), (100.0, 0.0), (0.0, 1.0), (100.0, math.nan)])
def test_kappa_outside_its_range_is_refused_with_the_range(name, dim, kappa):
    with pytest.raises(ValueError, match=r"κ = .* allowed: 0 < κ < √d = \d+; remedy: choose a smaller κ or a larger d"):
        PAPER[name][0](dim, kappa)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: clock.PiecewiseLinear(0.0, 0.5), r"knot = \(0.0, 0.5\); allowed: 0 < time < 1 and 0 < value < 1; remedy: "),
        (lambda: clock.PiecewiseLinear(0.5, 1.0), r"knot = \(0.5, 1.0\)"),
        (lambda: clock.PowerClock(0.0), r"exponent = 0.0; allowed: > 0"),
        (lambda: clock.PowerClock(math.nan), r"exponent = nan; allowed: > 0"),
        (lambda: clock.PowerClock(math.inf), r"exponent = inf; allowed: > 0 and finite"),
        (lambda: clock.ResolutionClock(math.inf), r"shift = inf; allowed: > 0 and finite"),
        (lambda: clock.BetaClock(math.inf, 0.6), r"Beta\(inf, 0.6\); allowed: both parameters > 0 and finite"),
        (lambda: clock.ResolutionClock(-1.0), r"shift = -1.0; allowed: > 0"),
        (lambda: clock.BetaClock(0.6, 0.0), r"Beta\(0.6, 0.0\); allowed: both parameters > 0"),
    ],
)
def test_bad_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
