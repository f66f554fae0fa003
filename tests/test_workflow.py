"""The workflow itself, small, in a copy of the project: it runs, it is lazy, it does not depend on the core count."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from docutils.core import publish_doctree

from imagenet import checkpoint
from imagenet.packed import open_packed
from theory.ledger import COLUMNS, Verdict
from theory.record import ROOT

pytestmark = pytest.mark.xdist_group("workflow")  # one worker, so that the copy is made and run once

# One package each, and what they are for: the rest are found in the workflow itself.
KNOWN = {"synthetic_dichotomy", "synthetic_atlas", "imagenet_spectra", "imagenet_windows"}
THEORY = {"theory_verify", "theory_mutate", "theory_figures"}
# Rules of imagenet that are no experiment: a tool run on our images, and what the pixel model's experiments read.
MAKERS = {f"imagenet_{name}" for name in ("design", "pack", "train", "reference", "evaluate", "gallery")}
NOTHING = "Nothing to be done"


class Project:
    """A copy of the project, and snakemake in it."""

    def __init__(self, folder):
        self.folder = folder
        for name in (
            "Snakefile",
            "config",
            "profiles",
            "theory",
            "synthetic",
            "imagenet",
            "tests/smoke.yaml",
            "tests/smoke-run.yaml",
        ):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, target)

    def snakemake(self, *arguments, cores=1, extra=()):
        command = [sys.executable, "-m", "snakemake", "--cores", str(cores)]
        command += ["--configfile", "tests/smoke.yaml", *map(str, extra)]
        environment = {key: value for key, value in os.environ.items() if key != "SNAKEMAKE_PROFILE"}
        return subprocess.run(
            [*command, *arguments], cwd=self.folder, env=environment, text=True, capture_output=True, timeout=600
        )

    def experiments(self):
        """The names of the rules that run an experiment, as snakemake lists them."""
        listed = set(self.snakemake("--list-rules").stdout.split())
        found = {name for name in listed if name.startswith(("synthetic_", "imagenet_"))} - MAKERS
        assert found >= KNOWN
        return found

    def loaded(self, *modules):
        """The project files that python has loaded after importing `modules`: the import walk's independent witness."""
        code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
        code += "print(*(m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)), sep='\\n')"
        done = subprocess.run(
            [sys.executable, "-c", code, *modules], cwd=self.folder, text=True, capture_output=True, check=True, timeout=120
        )
        files = (Path(line).resolve() for line in done.stdout.splitlines())
        return {
            file.relative_to(self.folder.resolve()).as_posix() for file in files if file.is_relative_to(self.folder.resolve())
        }

    def pending(self, *arguments, **keywords):
        """The names of the jobs that snakemake would run now."""
        done = self.snakemake("-n", *arguments, **keywords)
        assert done.returncode == 0, done.stderr
        if NOTHING in done.stderr + done.stdout:
            return set()
        table = re.search(r"^job +count\n-[- ]+\n(.*?)^total ", done.stdout + done.stderr, re.MULTILINE | re.DOTALL)
        assert table, done.stdout + done.stderr
        return {line.split()[0] for line in table[1].splitlines()} - {"all"}

    @contextmanager
    def changed(self, name, line="# changed"):
        """The project with one line more in the file `name`."""
        path = self.folder / name
        before = path.read_bytes()
        path.write_bytes(before + f"\n{line}\n".encode())
        try:
            yield
        finally:
            path.write_bytes(before)

    def bytes(self, results):
        """The content of every result. Logs, benchmarks and runs (images/s) hold times and durations, which may differ."""
        folder = self.folder / results
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.relative_to(folder).parts[0] not in ("logs", "benchmarks", "runs")
        }


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The copy after one run with README's command, on one core."""
    made = Project(tmp_path_factory.mktemp("project"))
    done = made.snakemake()
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def test_leaves_the_ledger_and_four_files_per_experiment(project):
    results = project.folder / "results" / "smoke"
    with (results / "claims.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {row["verdict"] for row in rows} <= set(Verdict)
    assert (results / "claims.md").read_text(encoding="utf-8").count("\n") == len(rows) + 2
    for name in project.experiments():
        folder = results.joinpath(*name.split("_", 1))
        files = {"predicted.nc", "measured.nc", "verdict.json", "figure.svg"}
        assert {path.name for path in folder.iterdir()} == files
        assert results.joinpath("logs", *name.split("_", 1)).with_suffix(".log").is_file()
        assert results.joinpath("benchmarks", *name.split("_", 1)).with_suffix(".tsv").is_file()


def test_second_run_does_nothing(project):
    done = project.snakemake()
    assert done.returncode == 0, done.stderr
    assert NOTHING in done.stdout + done.stderr


@pytest.fixture(scope="module")
def loaded(project):
    """Rule → the project files that its module loads when it is imported."""
    rules = {name: project.loaded("theory.experiment", name.replace("_", ".", 1)) for name in project.experiments()}
    claims = [f"theory.claims.{path.stem}" for path in (ROOT / "theory" / "claims").glob("[a-z]*.py")]
    return rules | dict.fromkeys(THEORY, project.loaded("theory.__main__", *claims))


@pytest.mark.parametrize(
    "name",
    [
        "theory/curie_weiss.py",
        "theory/sampler.py",
        "theory/record.py",
        "theory/bound.py",
        "theory/claims/continuity.py",
        "synthetic/dichotomy.py",
        "imagenet/data.py",
        "theory/imports.py",
    ],
)
def test_a_changed_line_reruns_exactly_what_imports_it(project, loaded, name):
    """BITE: rules that list only their own module's file leave results older than the theory they test."""
    expected = {rule for rule, files in loaded.items() if name in files}
    with project.changed(name):
        assert project.pending() - {"claims", *MAKERS} == expected
        judged = expected - {"theory_mutate", "theory_figures"}
        assert ("claims" in project.pending()) == bool(judged)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("synthetic: {dichotomy: {steps: 12}}", {"synthetic_dichotomy", "claims"}),
        ("imagenet: {spectra: {patches_per_photograph: 5}}", {"imagenet_spectra", "claims"}),
        ("theory: {claims: [C2]}", {*THEORY, "claims"}),
        ("seed: 1", None),
    ],
)
def test_a_changed_setting_reruns_exactly_what_reads_it(project, tmp_path, text, expected):
    (tmp_path / "changed.yaml").write_text(text)
    everything_random = project.experiments() | {*MAKERS, "claims"}
    assert project.pending(extra=[tmp_path / "changed.yaml"]) == (everything_random if expected is None else expected)


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("imagenet/quality.py", "CHANGED = 1", set()),
        ("imagenet/trainer.py", "# changed", set()),
        ("imagenet/trainer.py", "CHANGED = 1", {"imagenet_train"}),
        ("theory/curve.py", "CHANGED = 1", {"imagenet_pack", "imagenet_train"}),
        ("imagenet/monitor.py", "CHANGED = 1", set()),
    ],
)
def test_code_retrains_and_a_comment_or_a_picture_does_not(project, name, line, expected):
    """BITE: a list of files by hand had left out the optimiser's step and the formulas of the window."""
    with project.changed(name, line):
        pending = project.pending()
    assert pending & {"imagenet_pack", "imagenet_train"} == expected
    assert ("imagenet_gallery" in pending) == (bool(expected) or name == "imagenet/quality.py")  # what is drawn from what


def test_other_data_are_packed_and_trained_from_the_beginning(project, tmp_path):
    """BITE: checkpoints that outlive their training end the next one before it begins; a finished pack refuses another."""
    found = []
    for patches in (8, 9):
        (tmp_path / "anew.yaml").write_text(
            f"{{results_dir: results/anew, imagenet: {{pixel: {{patches_per_photograph: {patches}}}}}}}"
        )
        done = project.snakemake("--", "results/anew/runs/baseline/0/network.pt", extra=[tmp_path / "anew.yaml"])
        assert done.returncode == 0, done.stdout + done.stderr
        folder = project.folder / "results" / "anew" / "runs" / "baseline" / "0"
        assert not (folder / "checkpoints").exists()
        found.append((open_packed(folder.parents[1] / "data"), checkpoint.digest(checkpoint.read(folder / "network.pt").ema)))
    (small, before), (large, after) = found
    assert len(large) > len(small)
    assert before != after


def test_a_finished_sweep_leaves_nothing_to_go_on_from(project):
    assert not list((project.folder / "results" / "smoke" / "runs").rglob("journal.jsonl"))


def test_a_lost_file_is_made_again(project):
    lost = project.folder / "results" / "smoke" / "synthetic" / "dichotomy" / "measured.nc"
    lost.rename(lost.with_suffix(".away"))
    try:
        assert "synthetic_dichotomy" in project.pending()
    finally:
        lost.with_suffix(".away").rename(lost)


@pytest.fixture(scope="module")
def both(project, tmp_path_factory):
    """The same workflow again, on two cores, in results/two."""
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "elsewhere.yaml"
    elsewhere.write_text("results_dir: results/two")
    done = project.snakemake(cores=2, extra=[elsewhere])
    assert done.returncode == 0, done.stdout + done.stderr


def test_networks_do_not_depend_on_the_number_of_cores(project, both):
    smoke, two = (project.folder / "results" / name / "runs" for name in ("smoke", "two"))
    networks = sorted(smoke.glob("*/*/network.pt"))
    assert len(networks) == 5
    for path in networks:
        one, other = (checkpoint.read(root / path.relative_to(smoke)) for root in (smoke, two))
        assert one.ema  # what a finished network keeps
        assert checkpoint.digest(one.ema) == checkpoint.digest(other.ema)


def test_results_do_not_depend_on_the_number_of_cores(project, both):
    one, two = project.bytes("results/smoke"), project.bytes("results/two")
    assert len(one) > 4 * len(project.experiments()) + 2
    assert list(one) == list(two)
    assert [name for name in one if one[name] != two[name]] == []


@pytest.mark.parametrize("caption", sorted(ROOT.glob("*/*.rst")), ids=lambda path: "/".join(path.parts[-2:]))
def test_captions_are_text_the_report_can_set(caption):
    """An absolute value between bars is a substitution to docutils, which puts an error in its place."""
    complaints = io.StringIO()
    text = re.sub(r"\{([{%]).*?[%}]\}", "0", caption.read_text(encoding="utf-8"), flags=re.DOTALL)
    publish_doctree(text, settings_overrides={"warning_stream": complaints, "report_level": 1})
    assert complaints.getvalue() == ""


def test_report_holds_figures_and_captions(project):
    done = project.snakemake("--report", "report.html")
    assert done.returncode == 0, done.stderr
    page = (project.folder / "report.html").read_text(encoding="utf-8")
    assert "Real images" in page
    assert "fixed number of steps" in page  # from synthetic/dichotomy.rst
    assert "{{" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("synthetic: {dichotomy: {stepz: 12}}", "synthetic.dichotomy.stepz is not a key; .*did you mean steps"),
        ("synthetic: {dichotomy: {steps: 0}}", "synthetic.dichotomy.steps = 0; allowed: an integer ≥ 1"),
        ("imagenet: {spectra: {source: no/such}}", "source = 'no/such' does not exist .*allowed: .*remedy: "),
    ],
)
def test_a_wrong_config_stops_before_any_rule(project, tmp_path, text, expected):
    (tmp_path / "wrong.yaml").write_text(text)
    done = project.snakemake(extra=[tmp_path / "wrong.yaml"])
    assert done.returncode != 0
    assert re.search(expected, done.stdout + done.stderr), done.stderr
    assert "Execute" not in done.stdout + done.stderr
