"""The dichotomy's judges on made-up features, the streams its rates are measured on, and the ends of its error bars."""

import math

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from scipy.stats import norm

from synthetic import dichotomy
from synthetic.dichotomy import INTERPOLANTS
from theory.stream import Stream

STEPS = np.array([8.0, 16.0, 32.0])


def _spreads(exponents, bars):
    """σ̂ = 1 + N^exponent of VP sqrt and VP linear, with relative error bars on the 1/N."""
    names, claim = ["VP sqrt", "VP linear"], next(c for c in dichotomy.CLAIM if c.id == "A2-cw-spread")
    value = np.array([1 + STEPS**a for a in exponents])
    error = np.array([b * STEPS**a for a, b in zip(exponents, bars, strict=True)])
    axes = ("interpolant", "spread_steps")
    coords = {"interpolant": names, "spread_steps": STEPS}
    measured = xr.Dataset({"spread_by_steps": (axes, value), "spread_error_by_steps": (axes, error)}, coords=coords)
    predicted = xr.Dataset(
        {"spread_by_steps": (axes, value), "spread_at_rate": ((), 1.0), "spread_of_law": ((), 1.0)}, coords=coords
    )
    return claim, predicted, measured


@pytest.mark.parametrize(
    ("exponents", "bars", "count", "verdict"),
    [
        ((-0.9, -0.95), (0.01, 0.01), 50, "holds"),
        ((-0.88, -0.95), (0.02, 0.17), 50, "undecided"),  # BITE: the larger error alone, without its bar, holds
        ((-0.6, -0.95), (0.01, 0.5), 50, "fails"),  # one that fails outright outweighs one that is not known
        ((-0.9, -0.95), (0.07, 0.01), 50, "holds"),
        ((-0.9, -0.95), (0.07, 0.01), 4, "undecided"),  # BITE: k = 2 for a bar of four trajectories
    ],
)
def test_a_rate_is_judged_with_the_bar_of_every_interpolant(exponents, bars, count, verdict):
    assert dichotomy._rate(*_spreads(exponents, bars), "spread", count).verdict == verdict


def test_the_bar_of_a_rate_is_that_of_independent_errors():
    """WITNESS: the spread of slopes fitted to errors drawn independently, to 10 %."""
    claim, predicted, measured = _spreads((-1.0, -1.0), (0.02, 0.02))
    text = dichotomy._rate(claim, predicted, measured, "spread", 50).measured
    bar = float(text.split("± ")[1].split(";")[0])
    drawn = (1 + 0.02 * np.random.default_rng(0).standard_normal((4000, 3))) / STEPS
    found = np.polyfit(np.log(STEPS), np.log(drawn).T, 1)[0].std()
    assert bar == pytest.approx(found, rel=0.1)


def test_rates_have_a_stream_for_each_number_of_steps(monkeypatch):
    """BITE: one stream for every N, so that errors combined as independent are not; or the one that chose the N."""
    seen = []

    def features(names, law, dim, steps, count, stream, settings):
        seen.append((law, steps, count, stream.path))
        return np.ones((4, len(names)))

    monkeypatch.setattr(dichotomy, "_features", features)
    rate = {"steps": [2, 3], "dim": 8, "samples": 5}
    settings = {"dims": [4, 8], "samples": [7, 7], "steps": 6, "rate": {"weight": rate, "spread": rate}}
    dichotomy.measure(settings, 0)
    paths = [path for _, _, count, path in seen if count == 5]
    assert len(paths) == len(set(paths)) == 2 * 2 * 2
    root = Stream(0).child("dichotomy")
    chosen = {root.child(law).child(f"{feature} rate").path for law in dichotomy.LAWS for feature in ("weight", "spread")}
    assert not chosen & set(paths)


def _at_largest(weight, weight_error):
    claim = next(c for c in dichotomy.CLAIM if c.id == "A2-gm-weights")
    coords = {"interpolant": list(INTERPOLANTS), "dim": [10.0, 100.0]}
    axes = ("interpolant", "dim")
    measured = xr.Dataset(
        {
            "weight": (axes, np.repeat(weight, 2).reshape(4, 2)),
            "weight_error": (axes, np.repeat(weight_error, 2).reshape(4, 2)),
        },
        coords=coords,
    )
    return claim, measured.assign(weight_of_law=0.8), measured


def test_lost_weights_are_judged_with_the_bar_of_every_interpolant():
    judged = dichotomy._lost_weights
    assert judged(*_at_largest([0.99, 0.999, 0.8, 0.8], [0.001, 0.001, 0.01, 0.01])).verdict == "holds"
    row = judged(*_at_largest([0.99, 0.999, 0.8, 0.8], [0.001, 0.02, 0.01, 0.01]))
    assert row.verdict == "undecided"  # BITE: the smaller p̂ alone holds
    assert "VP linear" in row.measured
    assert judged(*_at_largest([0.9, 0.999, 0.8, 0.8], [0.001, 0.02, 0.01, 0.01])).verdict == "fails"


def test_the_margin_follows_from_the_number_of_comparisons():
    """32 two-sided comparisons at 5 % in all are 3.16 standard errors. BITE: a literal 4.5."""
    score = np.ones((4, 4))
    axes = ("interpolant", "dim")
    coords = {"interpolant": list(INTERPOLANTS), "dim": [10.0, 1e2, 1e3, 1e4]}
    predicted = xr.Dataset({"weight": (axes, 0 * score), "spread": (axes, 0 * score)}, coords=coords)
    claim = next(c for c in dichotomy.CLAIM if c.id == "A23-gm-exact")
    for largest, verdict in ((3.0, "holds"), (3.5, "fails")):
        score[1, 2] = largest
        measured = xr.Dataset(
            {"weight": (axes, score), "spread": (axes, score), "weight_error": (axes, 0 * score + 1),
             "spread_error": (axes, 0 * score + 1)}, coords=coords,
        )  # fmt: skip
        row = dichotomy._exact(claim, predicted, measured, "gm")
        assert row.verdict == verdict
        assert row.margin == pytest.approx(norm.isf(0.05 / 64))


def test_bars_of_a_weight_end_at_0_and_1():
    value, bar = np.array([1.0, 0.99, 0.5, 0.0]), np.array([0.1, 0.1, 0.1, 0.1])
    down, up = dichotomy._bars(value, bar, 1.0)
    np.testing.assert_allclose(up, [0, 0.01, 0.1, 0.1])
    np.testing.assert_allclose(down, [0.1, 0.1, 0.1, 0])
    assert dichotomy._bars(value, bar, math.inf)[1].tolist() == bar.tolist()


def test_axes_of_rates_have_more_than_one_label():
    """A range of less than a decade: powers of ten alone would label one tick or none."""
    figure, ax = plt.subplots()
    steps = [5, 10, 20]
    value = np.array([[[0.03, 0.015, 0.007]] * 4] * 2)
    axes = ("law", "interpolant", "weight_steps")
    data = xr.Dataset(
        {"weight_by_steps": (axes, value), "weight_error_by_steps": (axes, 0.1 * value), "weight_at_rate": ("law", [0.0, 0.0]),
         "weight_of_law": ("law", [0.0, 0.0])},
        coords={"law": list(dichotomy.LAWS), "interpolant": list(INTERPOLANTS), "weight_steps": steps},
    )  # fmt: skip
    dichotomy._draw_rate(ax, data, data, "weight", 100)
    figure.canvas.draw()
    low, high = ax.get_ylim()
    labels = [label.get_text() for label in ax.get_yticklabels() if label.get_text() and low < label.get_position()[1] < high]
    plt.close(figure)
    assert {"0.005", "0.01", "0.02"} <= set(labels)
