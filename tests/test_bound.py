"""The noise window's checked entrance, and its formulas and the binary channel at the extremes their claims do not visit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate

from theory import bound


@pytest.mark.parametrize("power", [[], [1.0, 0.0], [1.0, -2.0], [math.inf], [math.nan, 1.0]])
def test_window_refuses_spectra_that_have_none(power: list[float]) -> None:
    with pytest.raises(ValueError, match=r"power .*allowed: finite values > 0; remedy"):
        bound.noise_window(power, 0.01)


@pytest.mark.parametrize("epsilon", [0.0, 0.5, -1.0, math.nan])
def test_window_refuses_tolerances_outside_its_range(epsilon: float) -> None:
    with pytest.raises(ValueError, match=r"epsilon = .*allowed: 0 < ε < ½; remedy"):
        bound.noise_window([1.0], epsilon)


@pytest.mark.parametrize(("power", "epsilon"), [("a", 0.01), ([1.0], "a"), ([1.0], None), ([[1.0], [1.0, 2.0]], 0.01)])
def test_window_names_what_is_no_number(power: Any, epsilon: Any) -> None:
    with pytest.raises(TypeError, match=r"power = .*, epsilon = .*; allowed: an array of numbers and a number; remedy"):
        bound.noise_window(power, epsilon)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("spectrum", [[1.0], [1e-300, 1e300], np.geomspace(1e-8, 1e12, 50).reshape(5, 10)])
def test_window_keeps_epsilon_over_the_whole_range_of_floats(spectrum: object, joint: bool) -> None:
    power, epsilon = np.asarray(spectrum, dtype=np.float64), 0.01
    low, high = bound.noise_window(power, epsilon, joint=joint)
    assert 0 < low < high < math.inf
    worst = bound.both_deficits(power, low, high).max()
    assert worst <= (epsilon if joint else 2 * epsilon - epsilon**2) * (1 + 1e-9)


@pytest.mark.parametrize("bias", [0.0, 0.7, 3.0, -3.0])
@pytest.mark.parametrize("snr", [0.0, 1e-6, 0.3, 7.0, 60.0])
def test_error_of_a_sign_against_adaptive_quadrature_of_the_posterior(snr: float, bias: float) -> None:
    weight = 1 / (1 + math.exp(-2 * bias))

    def given(sign: int, z: float) -> float:
        field = bias + snr * sign + math.sqrt(snr) * z
        return math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) / math.cosh(field) ** 2

    parts = ((weight, 1), (1 - weight, -1))
    ends = [-math.sqrt(snr), math.sqrt(snr)]  # where tanh turns
    truth = sum(
        p * integrate.quad(lambda z, s=s: given(s, z), -12, 12, epsabs=0, epsrel=1e-11, points=ends, limit=500)[0]
        for p, s in parts
    )
    assert float(bound.binary_mmse(snr, bias)) == pytest.approx(truth, rel=1e-8)


def test_information_about_a_sign_fills_its_entropy() -> None:
    bias = 0.7
    p = 1 / (1 + math.exp(-2 * bias))
    entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert float(bound.binary_information(1e9, bias)) == pytest.approx(entropy, rel=1e-9)
    assert float(bound.binary_information(0.0, bias)) == 0.0
