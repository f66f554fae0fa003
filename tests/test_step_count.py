"""Paper A's step counts: the judge on made-up fits."""

import math

import numpy as np
import pytest
import xarray as xr

from synthetic import step_count
from synthetic.step_count import CLAIM, VARIANTS

SETTINGS = {"spread": 0.5, "kappa": 3.0}
NAN = math.nan


def _row(name, exponent, error, points, epsilons=(0.1, 0.05)):
    """The row of one variant: exponents and standard errors per ε, fitted to so many of six dimensions."""
    index = next(i for i, variant in enumerate(VARIANTS) if variant.name == name)
    steps = np.array([[10.0] * n + [NAN] * (6 - n) for n in points]).T  # (dim, epsilon)
    coords = {"variant": [name], "epsilon": list(epsilons)}
    measured = xr.Dataset(
        {
            "steps": (("variant", "dim", "epsilon"), steps[None]),
            "exponent": (("variant", "epsilon"), [exponent]),
            "exponent_error": (("variant", "epsilon"), [error]),
        },
        coords=coords,
    )
    predicted = xr.Dataset({"power": ("variant", [0.0])}, coords={"variant": [name]})
    return step_count._row(CLAIM[index], VARIANTS[index], predicted, measured, SETTINGS)


@pytest.mark.parametrize(
    ("exponent", "error", "points", "verdict"),
    [
        ([0.003, 0.002], [0.002, 0.001], [6, 6], "holds"),
        ([0.013, 0.003], [0.003, 0.001], [6, 6], "undecided"),  # BITE: k = 2 makes it .019, within .02
        ([0.008, 0.003], [0.004, 0.001], [6, 6], "holds"),
        ([0.008, 0.003], [0.004, 0.001], [5, 6], "undecided"),  # BITE: freedom of another ε's fit
        ([0.012, 0.001], [0.001, 0.01], [6, 6], "undecided"),  # BITE: the larger exponent without its bar holds
        ([0.06, 0.001], [0.005, 0.1], [6, 6], "fails"),  # and one that fails outweighs a wide bar
        ([0.003, NAN], [0.002, NAN], [6, 4], "undecided"),  # BITE: an ε that is claimed and cannot be fitted, left out
        ([1.0, NAN], [0.02, NAN], [6, 4], "fails"),
    ],
)
def test_exponents_are_judged_by_the_freedom_of_their_fit(exponent, error, points, verdict):
    assert _row("VP linear, clock", exponent, error, points).verdict == verdict


def test_an_epsilon_near_the_floor_of_kappa_is_not_judged_and_the_row_says_so():
    """σ²/(2κ²) = .014: ε = .02 is reported only. VP's clock has no such floor."""
    row = _row("VE linear, clock", [0.003, 0.06], [0.001, 0.001], [6, 6], epsilons=(0.1, 0.02))
    assert row.verdict == "holds"
    assert "3 times the floor of κ or more" in row.claim.conditions
    assert "ε = 0.02: 0.060" in row.measured
    assert _row("VP linear, clock", [0.003, 0.06], [0.001, 0.001], [6, 6], epsilons=(0.1, 0.02)).verdict == "fails"
    assert _row("VE linear, clock", [0.06, 0.06], [0.001, 0.001], [6, 6], epsilons=(0.01, 0.02)).verdict == "undecided"
