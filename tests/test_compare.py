"""`python -m synthetic compare`: its numbers against other ways to them, and an error for every bad input."""

import csv
import json
import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from synthetic import compare, user_input
from synthetic.__main__ import main
from theory import one_pass
from theory.curve import Karras
from theory.sampler import DDIM, grid
from theory.schedule import CATALOGUE, VarianceExploding, edm
from theory.stream import Stream
from theory.target import GaussianMixture


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Arguments of `compare` → (exit code, output without line breaks); files land in tmp_path, which is importable."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "10000")

    def call(*arguments):
        done = CliRunner().invoke(main, ["compare", "--out", str(tmp_path / "out"), *arguments])
        return done.exit_code, done.output

    return call


def law_file(tmp_path, content, name="law.yaml"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


# ---- numbers -----------------------------------------------------------------------------------------------------------


def test_table_csv_and_figure(run, tmp_path):
    code, output = run(
        "--schedules", "linear, EDM ρ = 7, entropic, σ", "--sigmas", "300,30,3,.3,0", "--dim", "1e4", "--epsilon", "0.2"
    )
    assert code == 0, output
    with (tmp_path / "out" / "compare.csv").open(encoding="utf-8") as file:
        rows = {row["schedule"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"linear", "EDM ρ = 7", "entropic, σ", "sigmas 300,…,0"}
    assert rows["sigmas 300,…,0"]["steps"] == "4"
    assert [line.split("  ")[0] for line in output.splitlines()[1:5]] == list(rows)  # best first
    worst = [float(row["worst"]) for row in rows.values()]
    assert worst == sorted(worst)
    assert 2 < float(rows["EDM ρ = 7"]["steps_needed"]) < 64
    assert "spread along" in output
    assert (tmp_path / "out" / "compare.svg").read_text(encoding="utf-8").startswith("<?xml")


def law_of(content, dim):
    return user_input._law(content, dim, "law")


def test_particles_agree_with_the_exact_line():
    # BITE: √d for √(d − K'), or a posterior without its weights, moves these by far more than the margin.
    law = law_of({"weights": [0.3, 0.7], "means": [-1.0, 0.5], "spreads": [0.5, 0.5]}, 10**5)
    candidate = user_input.named_schedules("geodesic", law.scales(0.05), 0.05, 3.0)[0]
    exact = compare.errors(law, candidate, DDIM(), 12)
    particles = compare._by_particles(compare._program(candidate, DDIM(), 12), law)
    for name in particles:
        assert particles[name] == pytest.approx(exact[name], abs=2e-3), name


def test_subspace_agrees_with_samples_in_d_dimensions():
    dim, weights = 300, [0.2, 0.5, 0.3]
    named = {"weights": weights, "means": [{"a": 1}, {"a": -0.5, "b": 0.8}, {"b": -1}], "spreads": [0.4, 0.5, 0.6]}
    law = law_of(named, dim)
    candidate = user_input.named_schedules("log-uniform", law.scales(0.05), 0.05, 3.0)[0]
    expected = compare.errors(law, candidate, DDIM(), 10)
    basis = torch.linalg.qr(Stream(0).normal(2, (dim,)).T).Q.T  # any two orthonormal directions
    means = torch.from_numpy(law.centres) @ basis
    target = GaussianMixture(torch.tensor(weights, dtype=torch.float64), means, torch.from_numpy(law.spreads[:, None] ** 2))
    z = Stream(1).normal(4000, (dim,))
    x = one_pass.last_state(target, candidate.schedule, z, grid(10), DDIM())
    y, rest = (x @ basis.T).numpy(), (x - x @ basis.T @ basis).norm(dim=1).numpy() / math.sqrt(dim - 2)
    weight, _, across = compare._summary(y, rest, np.full(len(y), 1 / len(y)), law)
    bar = 4 * math.sqrt(0.25 / 4000) / 0.5  # four standard errors of the largest weight's
    assert np.abs(weight - weights).max() / 0.5 == pytest.approx(expected["weight"], abs=bar)
    assert np.abs(across / law.spreads - 1).max() == pytest.approx(expected["across"], abs=0.01)


def test_full_vectors_are_the_same_law_as_named_directions():
    vectors = law_of({"weights": [0.5, 0.5], "means": [[3.0, 0, 0, 0], [0, 0, 4.0, 0]], "spreads": 1.0}, 4)
    named = law_of({"weights": [0.5, 0.5], "means": [{"a": 1.5}, {"b": 2.0}], "spreads": 1.0}, 4)
    np.testing.assert_allclose(vectors.centres @ vectors.centres.T, named.centres @ named.centres.T, atol=1e-12)
    on_a_line = law_of({"weights": [0.5, 0.5], "means": [[1.0, 1, 1, 1], [-2.0, -2, -2, -2]], "spreads": 1.0}, 4)
    assert sorted(np.abs(on_a_line.line.centres[0])) == pytest.approx([2.0, 4.0])


def test_a_list_of_levels_is_its_schedule():
    law, step = law_of({"p": 0.8, "m": 1.0}, 100), DDIM()
    listed = edm().noise(grid(12)).tolist()
    by_list = compare.errors(law, user_input.levels(listed, "list"), step, 12)
    by_name = compare.errors(law, user_input.Candidate("EDM", VarianceExploding(Karras())), step, 12)
    assert by_list == pytest.approx(by_name, rel=1e-9)


def test_the_rate_at_a_level_is_that_of_the_piece_below():
    # BITE: floor for ceil takes the piece above, and Euler in time is no longer DDIM.
    schedule = user_input.levels([10.0, 4.0, 1.0, 0.0], "list").schedule
    assert schedule.rates(grid(3)[:-1])[1].tolist() == pytest.approx([18.0, 9.0, 3.0])


def test_entries_lists_and_files(run, tmp_path):
    (tmp_path / "mine_to_compare.py").write_text(
        "from theory.schedule import Linear\nline = Linear()\n"
        "def levels(steps):\n    return [9 * (1 - k / steps) for k in range(steps + 1)]\n"
        "def fixed():\n    return [3, 2, 1]\ndef two(steps, dim):\n    return [dim, 1, 0]\n"
    )
    (tmp_path / "levels.txt").write_text("30\n3, 1\n0\n")
    entries = [x for name in ("line", "levels", "fixed", "two") for x in ("--entry", f"mine_to_compare:{name}")]
    code, output = run(*entries, "--sigmas", str(tmp_path / "levels.txt"), "--dim", "50", "--steps", "6")
    assert code == 0, output
    steps = {line.split()[0]: line.split()[1] for line in output.splitlines()[1:6]}
    assert steps == {
        **{f"mine_to_compare:{name}": count for name, count in (("line", "6"), ("levels", "6"), ("fixed", "2"), ("two", "2"))},
        "levels": "3",
    }


def test_curie_weiss_is_sampled(run, tmp_path):
    code, output = run(
        "--schedules", "geodesic", "--law", law_file(tmp_path, {"J": 2.0, "h": 0.72}), "--dim", "200", "--steps", "64"
    )
    assert code == 0, output
    with (tmp_path / "out" / "compare.csv").open(encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    assert float(row["weight"]) < 0.05
    assert float(row["mean"]) < 0.05


# ---- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--schedules", "geodesik"), "unknown schedule 'geodesik'; allowed: linear | square root"),
        (("--schedules", "geodesik"), "remedy: did you mean geodesic"),
        (("--schedules", "linear, VP sqrt clok"), "unknown schedule 'VP sqrt clok'"),
        (("--schedules", "linear", "--step", "DDIMM"), "unknown step 'DDIMM'; allowed: Euler | Heun | DDIM"),
        (("--schedules", "linear, linear"), "linear is given twice; allowed: each once"),
        ((), "nothing to compare; allowed: --schedules, --sigmas, --entry"),
        (("--sigmas", "3"), "sigmas 3: 1 noise level; allowed: 2 or more"),
        (("--sigmas", "3,"), "1 noise level; allowed: 2 or more"),
        (("--sigmas", "3,1,2"), "levels 1, 2 are 1.0, 2.0; allowed: strictly falling; remedy: sort it"),
        (("--sigmas", "1,2,3"), "remedy: reverse the list: noise comes first"),
        (("--sigmas", "3,3,1"), "levels 0, 1 are 3.0, 3.0; allowed: strictly falling"),
        (("--sigmas", "3,nan,1"), "level 1 is nan; allowed: finite and ≥ 0"),
        (("--sigmas", "inf,1"), "level 0 is inf; allowed: finite"),
        (("--sigmas", "1,-1"), "level 1 is -1.0; allowed: finite and ≥ 0"),
        (("--sigmas", "3,x,1"), "could not convert string to float: 'x'; allowed: numbers"),
        (("--sigmas", "1e51,1"), "level 0 is 1e+51; allowed: 0, or from 1e-50 to 1e50"),
        (("--sigmas", " ".join(["0.12345"] * 50)), "levels 0, 1 are 0.12345, 0.12345"),  # longer than a file's name may be
        (
            ("--schedules", "linear", "--dim", "3.5"),
            "dim = '3.5'; allowed: an integer from 2 to 1e15, as 1000000 or 1e6; remedy: round",
        ),
        (("--schedules", "linear", "--dim", "nan"), "1e6; remedy: write a number"),
        (
            ("--schedules", "linear", "--dim", "1e300"),
            "dim = '1e300'; allowed: an integer from 2 to 1e15, as 1000000 or 1e6; remedy: 1e15",
        ),
        (("--schedules", "linear", "--dim", "inf"), "1e6; remedy: 1e15"),
        (("--schedules", "linear", "--dim", "-3"), "1e6; remedy: 2 or more"),
        (("--schedules", "linear", "--dim", "many"), "dim = 'many'; allowed: an integer"),
        (("--schedules", "linear", "--dim", "1"), "dim = '1'; allowed: an integer from 2"),
        (("--schedules", "linear", "--steps", "0"), "steps = 0; allowed: 1 to 10000; remedy: 16"),
        (("--schedules", "linear", "--steps", "100000000"), "steps = 100000000; allowed: 1 to 10000; remedy: --epsilon finds"),
        (("--schedules", "linear", "--window", "nan"), "--window = nan; allowed: a finite number"),
        (("--schedules", "linear", "--epsilon", "nan"), "--epsilon = nan; allowed: a finite number"),
        (("--schedules", "linear", "--law", "x" * 300), "there is no such file, check the path"),
        (("--schedules", "linear", "--out", "/dev/null/x"), "allowed: a folder that can be written"),
        (("--schedules", " , "), "nothing to compare; allowed"),
        (("--entry", "os:system"), "called with (steps = 16) it ended with TypeError: expected str, bytes or os.PathLike"),
        (("--entry", "builtins:exit"), "called with (steps = 16) it ended with SystemExit: 16; allowed: a theory.schedule.Sch"),
        (("--entry", "builtins:min"), "no signature found for builtin"),
        (("--entry", "os:getcwd"), "gave a str"),
        (("--entry", ".x:y"), "to import .x ended with TypeError"),
        (("--schedules", "VP sqrt clock", "--steps", "5"), "VP sqrt clock, N = 5: the schedule has a kink at t = 0.5"),
        (("--schedules", "VP sqrt clock", "--kappa", "2000"), "allowed: 0 < κ < √d"),
        (("--schedules", "EDM training"), "noise at t = 1 is infinite; allowed: a finite level"),
        (("--schedules", "linear", "--law", "nowhere.yaml"), "law = 'nowhere.yaml'; allowed: gm, or a YAML or JSON file"),
        (("--entry", "nocolon"), "allowed: module:object"),
        (("--entry", "no_such_module_here:x"), "allowed: an importable object; remedy"),
        (
            ("--entry", "math:pi"),
            "gave a float (TypeError: 'float' object is not iterable); allowed: a theory.schedule.Schedule, or noise levels",
        ),
        (("--entry", "theory.sampler:missing"), "has no attribute 'missing'"),
    ],
)
def test_bad_arguments(run, arguments, expected):
    code, output = run(*arguments)
    assert code == 2
    assert expected in output


BROKEN = """
import torch
from theory.schedule import Schedule

def own():
    raise KeyError("mine")

def three(steps, dim, more):
    return [1, 0]

def endless():
    while True:
        yield 1.0

class Numpy(Schedule):
    def coefficients(self, t):
        return torch.ones_like(t), torch.from_numpy(t.numpy() * 2)

class Rising(Schedule):
    def coefficients(self, t):
        return t, 1 - t

class Few(Schedule):
    def coefficients(self, t):
        return torch.ones(3), torch.ones(3)
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("own", "called with () it ended with KeyError: 'mine'; allowed: a theory.schedule.Schedule, or noise levels, or a c"),
        ("three", "called with (steps = 16, dim = 1000000) it ended with TypeError: three() missing 1"),
        ("endless", "more than 10001 noise levels"),
        ("Numpy", "coefficients(t) of 17 times ended with"),
        ("Rising", "signal 0.0625, noise 0.9375 at t = 0.0625; allowed: shapes as t, both ≥ 0, noise/signal rising"),
        ("Few", "shapes (3,), (3,) for (17,)"),
    ],
)
def test_entries_that_fail(run, tmp_path, name, expected):
    (tmp_path / "broken_to_compare.py").write_text(BROKEN)
    code, output = run("--entry", f"broken_to_compare:{name}")
    assert code == 2
    assert f"entry = 'broken_to_compare:{name}'" in output or name == "endless"
    assert expected in output


def test_the_users_own_exception_is_the_cause(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken_cause.py").write_text(BROKEN)
    with pytest.raises(user_input.InputError) as caught:
        user_input.read_entry("broken_cause:own", 16, 100)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_schedules_of_ours_pass_the_check_of_entries(name):
    user_input._check_schedule(name, CATALOGUE[name]())


def test_a_file_of_levels_that_is_no_text(run, tmp_path):
    (tmp_path / "levels.bin").write_bytes(b"\xff\xfe\x00")
    code, output = run("--sigmas", str(tmp_path / "levels.bin"))
    assert code == 2
    assert "allowed: numbers" in output


def test_n_is_not_reached_only_where_it_was_searched(run, tmp_path):
    # BITE: "> 4096" for a list of levels, or for one mode, whose N nobody looked for.
    law = law_file(tmp_path, {"weights": [1], "means": [1], "spreads": 1})
    for more in (("--sigmas", "3,1,0"), ("--schedules", "linear", "--law", law)):
        code, output = run(*more, "--epsilon", "0.1", "--dim", "1000")
        assert code == 0, output
        assert output.splitlines()[1].endswith("—")
    assert "> 4096" in run("--schedules", "linear", "--epsilon", "1e-12", "--dim", "1000")[1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{p: 0.5, m: " + "9" * 400 + "}", "m = 9999999999999999999999999999999999999999…; allowed: a finite number"),
        ("{p: 0.5, m: 1.0e+300}", "m = 1e+300; allowed: a finite number from −1e50 to 1e50"),
        ("{p: 0.5, m: 1e3}", "m = '1e3'; allowed: a finite number from −1e50 to 1e50; remedy: write 1.0e+5 for 1e5"),
        ("{p: 0.5, m: 1, sigma: 1.0e-300}", "spreads = [1e-300, 1e-300]; allowed: > 0, from 1e-50"),
        ({"weights": [1.5, -0.5], "means": [1, 2], "spreads": 1}, "remedy: a weight > 0 for each mode"),
        ({"weights": [0.5, 0.5], "means": [[1, 2], [3]], "spreads": 1}, "remedy: vectors of one length, 2 or more"),
        (
            {"weights": [1 / 400] * 400, "means": list(range(400)), "spreads": 1},
            "400 modes in 1 directions; allowed: modes² × directions ≤ 40000",
        ),
        ({"J": 1e6}, "allowed: J + |h|/d ≤ 15"),
        ({"J": 2, "h": 1e6}, "allowed: J + |h|/d ≤ 15"),
        ({"J": 2, "h": -1000}, "allowed: h ≥ -300, below which M > 0 has no weight; remedy: −h"),
        ({"p": 0.8}, "missing key m; allowed: use the keys p, m, sigma (two modes)"),
        ({"weights": [0.5, 0.5], "spreads": 1}, "missing key means"),
        ({"J": 2.0, "field": 1.0}, "unknown key field; allowed for Curie-Weiss: J, h"),
        ({"p": 0.8, "m": 1, "sigmma": 1}, "unknown key sigmma; allowed for two modes: p, m, sigma"),
        ({"p": 1.2, "m": 1}, "p = 1.2; allowed: 0 < p < 1"),
        ({"p": 0.8, "m": "1"}, "m = '1'; allowed: a finite number"),
        ({"p": 0.8, "m": 1, "sigma": 0}, "spreads = [0.0, 0.0]; allowed: > 0"),
        ("{p: .nan, m: 1}", "p = nan; allowed: a finite number"),
        ({"weights": [0.5, 0.6], "means": [1, 2], "spreads": 1}, "weights = [0.5, 0.6]; allowed: > 0 with sum 1"),
        ({"weights": [0.5, 0.5], "means": [1], "spreads": 1}, "2 weights, 1 means, 2 spreads; allowed: as many of each"),
        ({"weights": [0.5, 0.5], "means": [1, 1], "spreads": 1}, "two modes have the same mean"),
        (
            {"weights": [0.5, 0.5], "means": [[1, 2], [3, 4]], "spreads": 1},
            "means of length [2] at d = 1000; allowed: length d; remedy: --dim 2",
        ),
        ({"weights": 1, "means": [1], "spreads": 1}, "weights = 1; allowed: a list"),
        ({"J": -1, "h": 0}, "coupling = -1.0; allowed: 0 < J"),
        ("[1, 2]", "holds a list; allowed: a mapping of keys"),
        ("{p: 0.8, m: ", "is neither YAML nor JSON"),
    ],
)
def test_bad_laws(run, tmp_path, content, expected):
    code, output = run("--schedules", "linear", "--dim", "1000", "--law", law_file(tmp_path, content))
    assert code == 2
    assert expected in output


def test_means_that_leave_no_direction_across_are_refused(run, tmp_path):
    law = law_file(tmp_path, {"weights": [0.5, 0.5], "means": [[0, 1], [1, 2]], "spreads": 1})
    code, output = run("--schedules", "linear", "--dim", "2", "--law", law)
    assert code == 2
    assert "means span 2 directions at d = 2; allowed: 1 to d − 1" in output


def test_a_sampled_law_has_a_largest_dimension(run, tmp_path):
    code, output = run("--schedules", "linear", "--law", law_file(tmp_path, {"J": 2.0}), "--dim", "1e6")
    assert code == 2
    assert "allowed: d ≤ 100000, it is sampled; remedy: a smaller --dim" in output
