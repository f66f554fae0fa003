"""The atlas: exponents of made-up fits, judged by the freedom of each."""

import math

import pytest
import xarray as xr

from synthetic import atlas

NAN = math.nan


def _row(exponent, error, points, margin=0.02):
    axes = ("schedule", "integrator")
    fits = xr.Dataset(
        {name: (axes, [[v] for v in values]) for name, values in
         (("exponent", exponent), ("exponent_error", error), ("points", points))},
        coords={"schedule": ["a", "b"], "integrator": ["Euler"]},
    )  # fmt: skip
    return atlas._exponents(atlas.CLAIM[1], fits, ("a", "b"), ("Euler",), 0.0, margin)


@pytest.mark.parametrize(
    ("exponent", "error", "points", "verdict"),
    [
        ([0.014, 0.003], [0.0024, 0.001], [10, 10], "holds"),
        ([0.014, 0.003], [0.0024, 0.001], [5, 10], "undecided"),  # BITE: k = 2 for a line through five points
        ([0.014, 0.003], [0.001, 0.008], [10, 10], "undecided"),  # BITE: the larger exponent without its bar
        ([0.05, 0.003], [0.002, 0.1], [10, 10], "fails"),
        ([0.003, NAN], [0.001, NAN], [10, 4], "undecided"),
    ],
)
def test_exponents_are_judged_by_the_freedom_of_their_fit(exponent, error, points, verdict):
    assert _row(exponent, error, points).verdict == verdict


def test_no_method_of_a_claim_in_this_run_is_undecided():
    data = xr.Dataset(coords={"integrator": ["DDIM"], "schedule": ["a"]})
    assert atlas._exponents(atlas.CLAIM[1], data, ("a",), ("Euler",), 0.0, 0.02).verdict == "undecided"
