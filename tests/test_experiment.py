"""The runner: checks a module before any work, keeps what it made, refuses what does not fit its claims."""

import json
import sys

import pytest
from click.testing import CliRunner

from theory import experiment, ledger, record

SOURCE = """
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from theory.ledger import Claim, Row, decide

CLAIM = [Claim("X1", "a test", "the mean is zero", "always"), Claim("X2", "a test", "the count is n", "always")]
CALLS = []

def predict(settings):
    CALLS.append("predict")
    return xr.Dataset({"mean": 0.0})

def measure(settings, seed):
    CALLS.append("measure")
    x = np.random.default_rng(seed).normal(size=settings["n"])
    return xr.Dataset({"mean": x.mean(), "error": x.std() / len(x) ** 0.5, "count": len(x)})

def judge(predicted, measured, settings):
    assert predicted.attrs["seed"] == measured.attrs["seed"]  # both come from disk, with their provenance
    error = abs(float(measured["mean"]))
    return [
        decide(error, 1.0, float(measured.error)).row(CLAIM[0], "0", f"{error:.3g}"),
        Row(Claim("X2-n", "a test", "the count is n", "n"), "n", "n", 0.0, 0.0, "holds"),
    ]

def draw(predicted, measured, settings):
    figure = Figure()
    figure.add_subplot().plot([0, 1], [0, 1])
    return figure
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write and import a module made of SOURCE with some text replaced; returns its name."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def make(*replacements):
        text = SOURCE
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (folder / "stand_in.py").write_text(text, encoding="utf-8")
        return "stand_in"

    yield make
    sys.modules.pop("stand_in", None)


def test_run_leaves_four_files(module, tmp_path):
    rows = experiment.run(module(), {"n": 100}, 3, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "figure.svg",
        "measured.nc",
        "predicted.nc",
        "verdict.json",
    ]
    measured = record.load(tmp_path / "out" / "measured.nc")
    assert json.loads(measured.attrs["settings"]) == {"n": 100}
    assert measured.attrs["seed"] == 3
    assert [repr(row) for row in ledger.read(tmp_path / "out" / "verdict.json")] == [repr(row) for row in rows]
    assert [row.claim.id for row in rows] == ["X1", "X2-n"]


def test_same_seed_same_bytes(module, tmp_path):
    name = module()
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        experiment.run(name, {"n": 10}, seed, tmp_path / folder)
    a, b, c = ({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in "abc")
    assert a == b
    assert a["measured.nc"] != c["measured.nc"]


@pytest.mark.parametrize("name", ["CLAIM", "predict", "measure", "judge", "draw"])
def test_a_missing_name_stops_before_any_work(module, tmp_path, name):
    old = "CLAIM = [" if name == "CLAIM" else f"def {name}("
    stand_in = module((old, old.replace(name, f"{name}_")), ("CLAIM[0]", "None"))
    with pytest.raises(TypeError, match=rf"stand_in is not an experiment: it lacks {name}; allowed: .*; remedy: "):
        experiment.run(stand_in, {"n": 2}, 0, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert sys.modules["stand_in"].CALLS == []


@pytest.mark.parametrize(
    ("old", "new", "error", "expected"),
    [
        ('Claim("X2-n"', 'Claim("Y1"', ValueError, r"undeclared: \['Y1'\], declared but not judged: \['X2'\]"),
        ('Claim("X2-n"', 'Claim("X22"', ValueError, r"undeclared: \['X22'\]"),  # X22 is not part of X2
        ('Claim("X2-n"', 'Claim("X1"', ValueError, r"declared but not judged: \['X2'\]"),
        ("    return figure", "    return 3", TypeError, r"draw returned int; allowed: Figure"),
        (
            'return xr.Dataset({"mean": 0.0})',
            "return None",
            TypeError,
            r"predicted\.nc returned NoneType; allowed: Data",
        ),
        (
            "    return [\n        decide(",
            "    return 3, [\n        decide(",
            TypeError,
            r"judge returned tuple; allowed: list",
        ),
    ],
)
def test_what_does_not_fit_is_refused(module, tmp_path, old, new, error, expected):
    with pytest.raises(error, match=expected):
        experiment.run(module((old, new)), {"n": 10}, 0, tmp_path / "out")
    assert not (tmp_path / "out" / "verdict.json").exists()


def test_command(module, tmp_path):
    name, out = module(), str(tmp_path / "out")
    result = CliRunner().invoke(experiment.main, [name, "--settings", '{"n": 10}', "--seed", "0", "--out", out])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "verdict.json").is_file()


@pytest.mark.parametrize(
    ("settings", "seed", "expected"),
    [("{n: 1}", "0", "is not JSON"), ("[1]", "0", "is a list; allowed: a JSON object"), ("{}", "-1", "x>=0")],
)
def test_command_refuses(module, tmp_path, settings, seed, expected):
    arguments = [module(), "--settings", settings, "--seed", seed, "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(experiment.main, arguments)
    assert result.exit_code == 2
    assert expected in result.output
