"""N_ε by its definition, and growth laws recovered from numbers that follow them."""

import math

import numpy as np
import pytest

from theory import growth
from theory.growth import Case
from theory.reduction import Line
from theory.sampler import STEPS
from theory.schedule import LipschitzOptimal, variance_preserving_flow

DIMS = 10.0 ** np.arange(1, 13)


def test_steps_needed_is_the_edge_of_its_bracket():
    """N_ε passes, N_ε − stride fails; with a kink all N are even; numbers of the paper's notebooks' setting at ε = 5 %."""
    step, paper = STEPS["Euler"](), ("weight", "across")
    cases = [Case(variance_preserving_flow("sqrt", d, 3.0), Line.two_modes(d, 0.8)) for d in (1e4, 1e9)]
    cases.append(Case(variance_preserving_flow("linear"), Line.two_modes(1e4, 0.8)))
    found = growth.ladder(step, cases, 512, 0.05, paper)
    steps = growth.steps_needed(step, cases, found, 0.05, paper)
    assert steps[:2].tolist() == [42, 44]
    assert abs(steps[2] - 152) <= 1  # the weights are known to 1e-4
    for case, n in zip(cases, steps, strict=True):
        stride = 2 if case.schedule.kinks else 1
        at, below = (
            growth.feature_errors(step, [case], growth.walks_of(step, [case], int(k)), paper).max() for k in (n, n - stride)
        )
        assert at <= 0.05
        assert below > 0.05 - 2e-4  # the weights are known to 1e-4


def test_out_of_reach_and_undefined_are_nan():
    step = STEPS["Euler"]()
    cases = [
        Case(variance_preserving_flow("linear"), Line.two_modes(1e9, 0.8)),
        Case(LipschitzOptimal(100.0), Line.two_modes(1e2, 0.8)),  # vertical tangent at t = 1: no velocity there
    ]
    found = growth.ladder(step, cases, 32, 0.05)
    assert found.defined.tolist() == [True, False]
    assert np.isnan(growth.steps_needed(step, cases, found, 0.05)).all()


def test_cap_must_be_a_power_of_two():
    with pytest.raises(ValueError, match="cap = 100; allowed: a power of 2"):
        growth.ladder(STEPS["DDIM"](), [], 100, 0.05)


@pytest.mark.parametrize(
    ("law", "steps"),
    [
        ("constant", 40 + 0 * DIMS),
        ("log", 20 + 3 * np.log(DIMS)),
        ("power", 5 * DIMS**0.25),
        ("power", 60 * DIMS ** (1 / 14)),
    ],
)
def test_growth_law_is_recovered_from_integers(law, steps):
    """STATISTICS: rounding is the only noise; the exponent within 4 of its own standard errors."""
    fit = growth.fit_growth(DIMS, np.ceil(steps))
    assert fit.best == law
    if law == "power":
        exponent = math.log(steps[-1] / steps[0]) / math.log(DIMS[-1] / DIMS[0])
        assert abs(fit.exponent - exponent) < 4 * fit.exponent_error
    np.testing.assert_allclose(fit.at(DIMS), np.ceil(steps), rtol=0.1)


def test_rounding_alone_does_not_prefer_a_steeper_law():
    """BITE: without the floor on the residual, 40, 40, …, 41 is a power law with a certainty of 10⁻⁹."""
    assert growth.fit_growth(DIMS, np.array([40.0] * 11 + [41.0])).best == "constant"


def test_few_points_are_no_law():
    fit = growth.fit_growth(DIMS, np.array([10.0, 20.0, 40.0, 80.0] + [np.nan] * 8))
    assert (fit.best, fit.count) == ("too few", 4)
    assert np.isnan(fit.at(DIMS)).all()
