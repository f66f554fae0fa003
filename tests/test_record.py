"""Results on disk: what goes in comes out, whole or not at all, the same bytes for the same content."""

import io
import json
import re
import shutil
import subprocess
import time

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import theory
from theory import record
from theory.progress import progress

SETTINGS = {"steps": 3, "form": "sqrt", "dims": [10, 100], "nested": {"σ": 0.5, "on": True, "none": None}}


def _dataset():
    return xr.Dataset(
        {
            "spread": (("schedule", "dim"), np.array([[1 / 3, np.nan, np.inf], [0.1, -0.0, 1e-300]])),
            "count": ("dim", np.array([1, 2, 3])),
            "kept": ("dim", np.array([True, False, True])),
        },
        {"schedule": ["VP", "VE · 2"], "dim": [10, 100, 1000]},
        {"unit": "1"},
    )


def test_round_trip_and_provenance(tmp_path):
    path = tmp_path / "new folder" / "a.nc"
    record.save(_dataset(), path, settings=SETTINGS, seed=7)
    back = record.load(path)
    xr.testing.assert_equal(back, _dataset())
    assert back.spread.dtype == np.float64
    assert back.kept.dtype == bool
    assert json.loads(back.attrs["settings"]) == SETTINGS
    assert back.attrs["unit"] == "1"
    assert back.attrs["seed"] == 7
    assert back.attrs["version"] == theory.__version__
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", back.attrs["commit"])


def test_same_content_same_bytes(tmp_path):
    """BITE: HDF5 keeps creation times when asked to track them; they have a resolution of one second."""
    paths = [tmp_path / "a.nc", tmp_path / "b.nc"]
    record.save(_dataset(), paths[0], settings=SETTINGS, seed=7)
    time.sleep(1.1)
    record.save(_dataset(), paths[1], settings=dict(reversed(SETTINGS.items())), seed=7)
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("bad", [float("nan"), np.arange(3), {1, 2}])
def test_settings_must_be_json(tmp_path, bad):
    with pytest.raises(ValueError, match=r"settings = .* is not JSON .*; allowed: .*; remedy: "):
        record.save(_dataset(), tmp_path / "a.nc", settings={"x": bad}, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_missing_result(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no result at .*a\.nc; allowed: .*; remedy: snakemake"):
        record.load(tmp_path / "a.nc")


def test_interrupted_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "a.nc"
    record.save(_dataset(), path, settings={}, seed=0)
    before = path.read_bytes()

    def half(self, target, **_):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.Dataset, "to_netcdf", half)
    with pytest.raises(KeyboardInterrupt):
        record.save(_dataset(), path, settings={}, seed=1)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.nc"]


def test_arrays_come_back_as_they_went(tmp_path):
    record.save_arrays(tmp_path / "folder" / "a.npz", whole=np.arange(3), text=np.array("né"), empty=np.zeros((0, 2)))
    with record.arrays(tmp_path / "folder" / "a.npz", "a file", "another") as found:
        assert set(found) == {"whole", "text", "empty"}
        assert found["whole"].tolist() == [0, 1, 2]
        assert str(found["text"]) == "né"
        assert found["empty"].shape == (0, 2)


@pytest.mark.parametrize("spoil", ["truncated", "pickle", "array", "absent member", "in the block"])
def test_damaged_arrays_are_named_with_the_remedy(tmp_path, spoil):
    def use(path, name):
        with record.arrays(path, "thousand numbers", "make them anew") as found:
            assert found[name].sum() == 499500
            raise RuntimeError("they do not fit")

    file = tmp_path / "a.npz"
    record.save_arrays(file, whole=np.arange(1000))
    if spoil == "truncated":
        file.write_bytes(file.read_bytes()[:600])
    if spoil == "pickle":
        np.savez(file, whole=np.array([{"a": 1}], dtype=object))
    if spoil == "array":
        np.save(file.open("wb"), np.arange(3))
    message = r"a\.npz cannot be read \(.+\); allowed: thousand numbers; remedy: make them anew"
    with pytest.raises(ValueError, match=message):
        use(file, "missing" if spoil == "absent member" else "whole")


def test_absent_arrays(tmp_path):
    with pytest.raises(FileNotFoundError), record.arrays(tmp_path / "none.npz", "a file", "another"):
        pass


def test_text(tmp_path):
    record.atomic_text(tmp_path / "a" / "b.md", "σ\nτ\n")
    record.atomic_text(tmp_path / "a" / "b.md", "λ\n")
    assert (tmp_path / "a" / "b.md").read_bytes() == "λ\n".encode()


def _figure():
    with record.style():
        figure = Figure()
        axes = figure.add_subplot()
        for k in range(3):
            axes.plot([0, 1], [k, k + 1], label=f"{k}")
        axes.errorbar([0, 1], [0, 1], [0.1, 0.2], fmt=record.MARKERS[0])
        axes.fill_between([0, 1], [0, 1], [1, 2])
        axes.legend()
        return figure


def test_figures_are_the_same_bytes(tmp_path):
    for name in "ab":
        record.save_figure(_figure(), tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "a.svg").read_bytes()


def test_style_reads_in_grey():
    lines = _figure().axes[0].get_lines()[:3]
    assert len({line.get_linestyle() for line in lines}) == 3
    assert len({to_rgb(line.get_color()) for line in lines}) == 3
    assert {line.get_marker() for line in lines} == {"None"}
    assert len(set(record.LINES)) == len(set(record.MARKERS)) == 6


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with one commit, in place of ours."""
    if shutil.which("git") is None:
        pytest.skip("no git on this machine; commit() is then 'unknown', which test_outside_git covers")
    monkeypatch.setattr(record, "ROOT", tmp_path)
    (tmp_path / "theory").mkdir()
    (tmp_path / "theory" / "a.py").write_text("x = 1\n")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=n@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "--no-verify", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    record.commit.cache_clear()
    yield tmp_path
    record.commit.cache_clear()


def test_commit_clean_beside_results(repository):
    """BITE: counting every untracked file would let a first run's results make the second run dirty."""
    (repository / "results").mkdir()
    (repository / "results" / "a.nc").write_text("")
    assert re.fullmatch("[0-9a-f]{40}", record.commit())


@pytest.mark.parametrize("name", ["a.py", "new.py"])
def test_commit_dirty(repository, name):
    (repository / "theory" / name).write_text("x = 2\n")
    assert re.fullmatch("[0-9a-f]{40}-dirty", record.commit())


def test_outside_git(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "ROOT", tmp_path)
    record.commit.cache_clear()
    assert record.commit() == "unknown"
    record.commit.cache_clear()


@pytest.mark.parametrize(("count", "lines"), [(3, 3), (10, 10), (1000, 10)])
def test_progress_in_a_log(caplog, monkeypatch, count, lines):
    monkeypatch.setattr("sys.stderr", io.StringIO())  # not a terminal, also under pytest -s
    with caplog.at_level("INFO"):
        assert list(progress(range(count), "walk")) == list(range(count))
    assert len(caplog.messages) == lines
    assert caplog.messages[-1] == f"walk: {count} of {count}"


def test_progress_without_a_length(caplog):
    with caplog.at_level("INFO"):
        assert list(progress(iter("ab"), "walk")) == ["a", "b"]
        assert list(progress(iter("ab"), "walk", total=2)) == ["a", "b"]
    assert caplog.messages == ["walk: 1 of 2", "walk: 2 of 2"]
