"""README's figure: drawn from a measured.nc alone, each line with the law that was fitted, nothing beyond what was measured."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from synthetic import atlas_figure
from theory import growth, record


@pytest.fixture
def measured():
    """N_ε made up: one power, one logarithm, the rest flat; the power's last two dimensions were beyond the cap."""
    dims = np.array([1e1, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9])
    steps = {name: np.full(8, 40.0 + 3 * k) for k, name in enumerate(atlas_figure.PLAIN)}
    steps["linear"] = np.where(dims < 1e8, np.round(3 * dims**0.5), np.nan)
    steps["log-uniform"] = np.round(10 + 8 * np.log10(dims))
    fits = [growth.fit_growth(dims[1:], row[1:]) for row in steps.values()]
    axes = ("law", "integrator", "schedule")

    def one(values):
        return np.array(values)[None, None]

    return xr.Dataset(
        {
            "steps_needed": ((*axes, "dim"), one(list(steps.values()))),
            "fitted": ((*axes, "dim"), one([fit.at(dims) for fit in fits])),
            "best": (axes, one([fit.best for fit in fits])),
            "exponent": (axes, one([fit.exponent for fit in fits])),
            "per_decade": (axes, one([fit.per_decade for fit in fits])),
        },
        coords={"law": ["two modes"], "integrator": ["DDIM"], "schedule": list(steps), "dim": dims},
    )


def test_names_carry_the_fitted_laws(measured):
    """BITE: labelling every line with its power law."""
    with record.style():
        figure = atlas_figure.headline(measured, 0.05, 1e3)
    (ax,) = figure.axes
    texts = {text.get_text().split(": ")[0]: text.get_text().split(": ")[1] for text in ax.texts}
    assert texts["constant denoising"] == "∝ $d^{0.50}$"
    assert texts["log-uniform"] == "+8.0 a decade"
    assert texts["geodesic"] == "constant"
    assert set(texts) == set(atlas_figure.PLAIN.values())
    lines = [line for line in ax.lines if line.get_linestyle() != "None"]
    assert max(lines[0].get_xdata()) == 1e7  # no line where nothing was measured
    heights = sorted(text.xyann[1] for text in ax.texts)
    assert np.diff(np.log10(heights)).min() > 0.1  # names do not overlap


@pytest.mark.parametrize(
    ("best", "exponent", "per_decade", "text"),
    [
        ("log", 0.003, 0.4, "flat, +0.4 a decade"),  # BITE: the exponent of the law that AICc did not choose
        ("power", 0.003, 0.4, "flat, $d^{0.003}$"),
        ("log", 0.03, 5.6, "+5.6 a decade"),
        ("power", 0.17, 90.0, "∝ $d^{0.17}$"),
        ("constant", 0.0, 0.0, "constant"),
        ("too few", np.nan, np.nan, "too few points"),
    ],
)
def test_the_text_is_of_the_law_that_was_chosen(best, exponent, per_decade, text):
    row = xr.Dataset({"best": ((), best), "exponent": ((), exponent), "per_decade": ((), per_decade)})
    assert atlas_figure._law_text(row) == text


def test_both_figures_name_laws_alike(measured):
    """The panel of the atlas and README's figure, by the same words."""
    figure, ax = plt.subplots()
    atlas_figure._draw_growth(ax, measured.isel(law=0, integrator=0), {"fit_from": 1e3})
    texts = dict(text.get_text().split(": ") for text in ax.texts)
    plt.close(figure)
    assert texts["linear"] == "∝ $d^{0.50}$"
    assert texts["log-uniform"] == "+8.0 a decade"


def test_the_steps_of_readme_are_labelled_within_decades(measured):
    with record.style():
        figure = atlas_figure.headline(measured, 0.05, 1e3)
    figure.canvas.draw()
    assert {"30", "100", "300", "1000", "3000"} <= {label.get_text() for label in figure.axes[0].get_yticklabels()}
    plt.close(figure)


def test_the_command_writes_a_small_figure(measured, tmp_path):
    record.save(measured, tmp_path / "measured.nc", settings={"epsilon": 0.05, "fit_from": 1e3}, seed=0)
    out = tmp_path / "docs" / "figure.svg"
    result = CliRunner().invoke(atlas_figure.main, [str(tmp_path), str(out)])
    assert result.exit_code == 0, result.output
    text = out.read_text(encoding="utf-8")
    assert len(text) < 300_000
    assert not re.search("<dc:date>", text)


def test_readme_shows_the_figure():
    """The file is tracked, linked, and refreshed by `make readme`."""
    root = record.ROOT
    assert "](docs/n_epsilon.svg)" in (root / "README.md").read_text(encoding="utf-8")
    assert (root / "docs" / "n_epsilon.svg").stat().st_size < 300_000
    assert "synthetic.atlas_figure results/synthetic/atlas docs/n_epsilon.svg" in (root / "Makefile").read_text(
        encoding="utf-8"
    )
