"""Whatever is given to `python -m imagenet`, the answer is its work or one line: the value, what is allowed, the remedy.

Files are cut, overwritten and have bits flipped at places that hypothesis draws. Nothing here looks at a traceback: any
exception that is not click's own fails the test.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagenet import checkpoint
from imagenet import settings as runs
from imagenet.commands import average, count, evaluate, export, generate, pack, reference, train
from imagenet.generate import Generator
from imagenet.knowledge import Knowledge
from imagenet.packed import open_packed
from imagenet.train import train as trained
from tests import tiny

PACKED = ("images.u8", "labels.npy", "power.npy", "means.npy", "theta.npy", "prior.npz", "meta.json", "spectra.json")
few = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A source, a pack of it, a run's settings and its training."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "run.json").write_text(json.dumps(runs.as_dict(tiny.run())))
    trained(tiny.run(training__steps=4), tiny.packed(folder), folder / "out")
    return folder


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def invoke(command: click.Command, *arguments: object) -> Result:
    """The result; an exception of somebody else's is raised, and an error of ours must say what to do."""
    found = CliRunner().invoke(command, [str(a) for a in arguments])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    if found.exit_code == 1:
        assert found.output.startswith("Error: ")
        assert "; allowed: " in found.output
        assert "remedy: " in found.output
    return found


def refused(command: click.Command, *arguments: object) -> str:
    found = invoke(command, *arguments)
    assert found.exit_code in (1, 2), found.output
    return found.output


def drawn(folder: Path, *more: object) -> list[object]:
    start = [folder / "out", "--out", folder / "images", "--count", 2, "--steps", 1, "--sampler", "DDIM", "--device", "cpu"]
    return [*start, *more]


def damaged(data: st.DataObject, path: Path, original: Path) -> None:
    """Cut, some bits flipped, a stretch of zeros, or other bytes."""
    content = bytearray(original.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1), "place")
    match data.draw(st.sampled_from(["cut", "bits", "zeros", "junk"]), "damage"):
        case "cut":
            del content[place:]
        case "bits":
            for at in [place, *data.draw(st.lists(st.integers(0, len(content) - 1), max_size=5), "more")]:
                content[at] ^= 1 << data.draw(st.integers(0, 7), "bit")
        case "zeros":
            stretch = content[place : place + 100]
            content[place : place + 100] = bytes(len(stretch))
        case _:
            content = bytearray(data.draw(st.binary(max_size=200), "junk"))
    path.write_bytes(content)


# ---- damaged files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PACKED)
@few
@given(data=st.data())
def test_a_damaged_pack_is_used_or_refused(made, copy, name, data):
    damaged(data, copy / "pack" / name, made / "pack" / name)
    invoke(train.command, copy / "run.json", "--data", copy / "pack", "--dry-run")
    if name in ("labels.npy", "meta.json", "images.u8") and data.draw(st.booleans(), "renew"):
        invoke(pack.command, "--spectra", "--out", copy / "pack")
        for each in PACKED:  # --spectra writes
            shutil.copy(made / "pack" / each, copy / "pack" / each)


@few
@given(data=st.data())
def test_a_damaged_source_is_packed_or_refused(made, copy, data):
    damaged(data, copy / "tiny.npz", made / "tiny.npz")
    shutil.rmtree(copy / "other", ignore_errors=True)
    invoke(pack.command, copy / "tiny.npz", "--size", tiny.SIZE, "--out", copy / "other", "--workers", 1)


@pytest.mark.parametrize("name", ["knowledge.npz", "prior.npz", "network.pt"])
@few
@given(data=st.data())
def test_damaged_files_of_a_network_draw_or_are_refused(made, copy, name, data):
    damaged(data, copy / "out" / name, made / "out" / name)
    shutil.rmtree(copy / "images", ignore_errors=True)
    invoke(generate.command, *drawn(copy, "--labels", "as data"))


@few
@given(data=st.data())
def test_damaged_settings_are_taken_or_refused(made, copy, data):
    damaged(data, copy / "run.json", made / "run.json")
    invoke(train.command, copy / "run.json", "--dry-run")
    invoke(count.command, copy / "run.json")


def test_damaged_metrics_do_not_stop_a_training(copy):
    (copy / "out" / "metrics.jsonl").write_bytes(b"\xb5\xf3\n" + (copy / "out" / "metrics.jsonl").read_bytes())
    again = [copy / "run.json", "--data", copy / "pack", "--out", copy / "out", "--set", "training.steps=6"]
    assert invoke(train.command, *again).exit_code == 0


# ---- files that are whole, and wrong ----------------------------------------------------------------------------------


def rewritten(path: Path, **changes: np.ndarray) -> None:
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(path, **(arrays | changes))


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("prior.npz", {"weights_0": np.array([2.0])}, "weights|shapes"),
        ("prior.npz", {"means_0": np.zeros((1, 1))}, "of shapes"),
        ("prior.npz", {"roots_0": np.full((1, 5, 5), np.nan)}, "not finite|shapes"),
        ("prior.npz", {"basis_mean": np.zeros(3)}, "basis of torch.float64 .*3"),
        ("prior.npz", {"mixture_names": np.array(["a"])}, "no mixture of all classes"),
        ("knowledge.npz", {"class_counts": np.zeros(3, np.int64)}, "none above 0"),
        ("knowledge.npz", {"class_counts": np.ones(2, np.int64)}, "for 3 classes"),
        ("knowledge.npz", {"mean_theta": np.zeros((1, 1))}, "θ of shape"),
        ("knowledge.npz", {"class_names": np.array(["x", "y", "z"])}, "does not have, such as 'x'"),
        ("knowledge.npz", {"size": np.array(16)}, "size 16 px"),
        ("knowledge.npz", {"mean_colour_power": np.array(-1.0)}, "mean colour -1.0"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused_before_drawing(copy, name, changes, said):
    rewritten(copy / "out" / name, **changes)
    with pytest.raises(ValueError, match=rf"{name} cannot be read \(.*({said}).*; allowed: .*; remedy: "):
        Knowledge.load(copy / "out")
    refused(generate.command, *drawn(copy))


@pytest.mark.parametrize(
    "changes",
    [{"images": "40"}, {"images": -1}, {"size": 8.0}, {"class_names": "abc"}, {"class_names": [1, 2, 3]}, {"digests": [1]},
     {"rows_per_digest": 0}, {"key": []}, {"images": True}, {"fingerprint": None}],
)  # fmt: skip
def test_a_description_of_the_wrong_kind_is_refused(copy, changes):
    file = copy / "pack" / "meta.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(ValueError, match=rf"meta.json: {next(iter(changes))} = .*; allowed: what packing wrote; remedy"):
        open_packed(copy / "pack")


def test_digests_for_another_number_of_images_are_refused(copy):
    file = copy / "pack" / "meta.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"digests": []}))
    with pytest.raises(ValueError, match=r"0 digests of \d+ images each for 40 images; allowed: .*; remedy"):
        open_packed(copy / "pack").verify()


def test_a_pack_without_its_prior_says_how_to_make_it(copy):
    (copy / "pack" / "prior.npz").unlink()
    said = refused(train.command, copy / "run.json", "--data", copy / "pack", "--out", copy / "new")
    assert "python -m imagenet pack --spectra" in said


# ---- weights alone ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [False, True])
def test_an_export_is_what_was_trained_and_is_drawn_from(made, tmp_path, half):
    target = tmp_path / "sent" / "weights.pt"
    given = checkpoint.path_of(made / "out", 4) if half else made / "out"  # a file, or the folder
    found = invoke(export.command, given, "--out", target, *(["--half"] if half else []))
    assert found.exit_code == 0, found.output
    assert f"averaged weights in {'bfloat16' if half else 'float32'}" in found.output
    stored, trained_weights = checkpoint.read(target), checkpoint.read(made / "out" / "network.pt").ema
    assert (stored.optimizer, stored.model) == ({}, {})
    for name, tensor in trained_weights.items():
        assert torch.equal(stored.ema[name], tensor.bfloat16() if half else tensor)
    assert sorted(path.name for path in target.parent.iterdir()) == ["knowledge.npz", "prior.npz", "weights.pt"]
    assert invoke(generate.command, target, *drawn(made, "--out", tmp_path / "images")[1:]).exit_code == 0


@pytest.fixture(scope="module")
def snapshots(made) -> Path:
    """A training that kept its power averages."""
    trained(tiny.run(training__steps=8, training__post_hoc_every=2), open_packed(made / "pack"), made / "kept")
    return made / "kept"


def test_an_average_is_that_of_the_length(snapshots, tmp_path):
    target = tmp_path / "average.pt"
    found = invoke(average.command, snapshots, "--std", 0.1, "--out", target)
    assert found.exit_code == 0, found.output
    assert "average of length 0.1 at step 8" in found.output
    for name, tensor in checkpoint.read(checkpoint.path_of(snapshots, 8)).averages["0.1"].items():
        torch.testing.assert_close(checkpoint.read(target).ema[name], tensor, rtol=1e-4, atol=1e-6)
    earlier = tmp_path / "earlier.pt"
    assert invoke(average.command, snapshots, "--std", 0.07, "--step", 6, "--half", "--out", earlier).exit_code == 0
    assert checkpoint.read(earlier).step == 6
    assert invoke(generate.command, earlier, *drawn(snapshots.parent, "--out", tmp_path / "images")[1:]).exit_code == 0


def test_nonsense_to_average_and_export(made, snapshots, tmp_path):
    start = ["--std", 0.1, "--out", tmp_path / "a.pt"]
    assert "no snapshots in" in refused(average.command, made / "out", *start)
    assert "relative length = 0.5" in refused(average.command, snapshots, "--out", tmp_path / "a.pt", "--std", 0.5)
    assert "average wanted at step 99" in refused(average.command, snapshots, *start, "--step", 99)
    assert "no checkpoint at" in refused(export.command, tmp_path / "none.pt", "--out", tmp_path / "a.pt")
    own = checkpoint.path_of(snapshots, 8)
    for target in (
        own,
        own.with_name("step-00000099.pt"),
        snapshots / "network.pt",
        snapshots / "averages" / "step-00000002.pt",
    ):
        assert "belongs to the training" in refused(export.command, own, "--out", target)
        assert "belongs to the training" in refused(average.command, snapshots, "--std", 0.1, "--out", target)
    assert "holds only averaged weights" in refused(export.command, made / "out", "--no-ema", "--out", tmp_path / "a.pt")
    assert not (tmp_path / "a.pt").exists()


def test_an_export_beside_another_trainings_files_is_refused(made, copy, tmp_path):
    """BITE: generation would tell the network the classes and spectra of other data."""
    rewritten(copy / "out" / "knowledge.npz", class_names=np.array(["0", "1", "2"]), mean_colour_power=np.array(1.0))
    assert invoke(export.command, made / "out", "--out", copy / "out" / "other.pt").exit_code == 0  # of the same data
    rewritten(copy / "out" / "knowledge.npz", mean_theta=np.full_like(Knowledge.load(copy / "out").mean_theta.numpy(), 0.5))
    assert "is of other data" in refused(export.command, made / "out", "--out", copy / "out" / "third.pt")
    assert not (copy / "out" / "third.pt").exists()


# ---- nonsense ---------------------------------------------------------------------------------------------------------

HUGE = "9" * 25


@pytest.mark.parametrize(
    "more",
    [["--device", name] for name in ("foo", "mps", "meta", "cuda:77")]
    + [["--first", HUGE], ["--seed", HUGE], ["--steps", HUGE], ["--batch", HUGE], ["--count", HUGE], ["--labels", ","],
       ["--labels", HUGE], ["--slope", "nan"], ["--amplitude", "inf"], ["--guidance", "nan"],
       ["--interval", "3", "1"], ["--rank", "-1"], ["--world", "0"]],
)  # fmt: skip
def test_nonsense_to_generate(made, tmp_path, monkeypatch, more):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused(generate.command, *drawn(made, "--out", tmp_path / "images", *more))


@pytest.mark.parametrize(
    "more",
    [["--device", "foo"], ["--steps", HUGE], ["--seed", HUGE], ["--images", "2"], ["--extractor", "pca=0"],
     ["--held-out", "nowhere"], ["--steps", "0"]],
)  # fmt: skip
def test_nonsense_to_evaluate(made, tmp_path, more):
    start = [made / "out", "--data", made / "pack", "--out", tmp_path, "--images", 20, "--steps", 1, "--samplers", "DDIM"]
    refused(evaluate.command, *start, "--extractor", "pca=2", "--device", "cpu", *more)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--samplers", "DDIM,Heun"], "a budget of 1 evaluations for Heun; allowed: ≥ 2"),
        (["--images", 3, "--extractor", "pca=1"], "images = 3; allowed: > 3"),
        (["--images", 4, "--extractor", "pca=4"], "4 generated images for 4 features; allowed: more than 4"),
    ],
)
def test_what_a_sweep_refuses_is_refused_before_its_reference(made, tmp_path, monkeypatch, more, said):
    monkeypatch.setattr("imagenet.commands.evaluate.reference", None)  # hours, for a million images
    start = [made / "out", "--data", made / "pack", "--out", tmp_path, "--images", 20, "--steps", 1, "--samplers", "DDIM"]
    assert said in refused(evaluate.command, *start, "--extractor", "pca=2", "--device", "cpu", *more)


def test_a_sweep_that_is_cut_short_says_so_and_exits_as_training_does(made, tmp_path, monkeypatch):
    assert evaluate.AGAIN == train.AGAIN
    start = [made / "out", "--data", made / "pack", "--out", tmp_path, "--images", 20, "--steps", "1,2", "--samplers", "DDIM"]
    start += ["--seed-ranges", 1, "--extractor", "pca=2", "--device", "cpu", "--no-pictures"]
    sweep = evaluate.evaluate.sweep
    with monkeypatch.context() as patch:
        patch.setattr(evaluate.evaluate, "sweep", lambda *a, **more: sweep(*a, **(more | {"max_minutes": 0})))
        found = invoke(evaluate.command, *start, "--max-minutes", 5)
    assert found.exit_code == evaluate.AGAIN
    assert "time is over; 0 of 2 points are finished; the same command continues from there" in found.stderr.splitlines()
    assert invoke(evaluate.command, *start, "--max-minutes", 5).exit_code == 0


def test_other_images_than_the_trainings_are_refused_unless_they_are_meant(made, tmp_path):
    """BITE: size and classes agree, and numbers against other images pass as numbers against the training images."""
    with np.load(made / "tiny.npz") as stored:
        np.savez(tmp_path / "other.npz", images=stored["images"][:, ::-1], labels=stored["labels"])
    packing = ["--size", tiny.SIZE, "--out", tmp_path / "pack", "--workers", 1]
    assert invoke(pack.command, tmp_path / "other.npz", *packing).exit_code == 0
    start = [made / "out", "--out", tmp_path / "swept", "--images", 20, "--steps", 1, "--samplers", "DDIM", "--no-pictures"]
    start += ["--seed-ranges", 1, "--extractor", "pca=2", "--device", "cpu"]
    said = refused(evaluate.command, *start, "--data", tmp_path / "pack")
    assert "the network was trained on data of fingerprint" in said
    assert "or --other-data if other images are meant" in said
    assert not (tmp_path / "swept").exists()
    assert invoke(evaluate.command, *start, "--data", tmp_path / "pack", "--other-data").exit_code == 0
    assert "\nOther data: " in (tmp_path / "swept" / "table.md").read_text()
    assert invoke(evaluate.command, *start, "--data", made / "pack").exit_code == 0  # its own, asked for or not
    assert "Other data: " not in (tmp_path / "swept" / "table.md").read_text()


@pytest.mark.parametrize(
    "more",
    [["--device", "foo"], ["--images", "2"], ["--extractor", "pca=0"], ["--held-out", "nowhere"], ["--reference-images", "1"]],
)
def test_nonsense_to_reference(made, tmp_path, more):
    start = [made / "pack", "--out", tmp_path / "seen", "--images", 20, "--extractor", "pca=2", "--device", "cpu"]
    refused(reference.command, *start, *more)
    assert not list(tmp_path.rglob("reference-*"))


def test_evaluate_reads_the_reference_that_was_made_for_it(made, tmp_path, monkeypatch):
    """BITE: a fingerprint that differs between the two commands makes everything twice, unnoticed."""
    compared = ["--images", 20, "--extractor", "pca=2", "--device", "cpu"]
    assert invoke(reference.command, made / "pack", "--out", tmp_path / "seen", *compared).exit_code == 0
    before = sorted(path.name for path in (tmp_path / "seen").iterdir())
    assert [name.split("-")[0] for name in before] == ["components", "reference"]
    monkeypatch.setattr("imagenet.extractor.Components.fit", None)  # neither may be made again
    monkeypatch.setattr("imagenet.reference._Reader", None)
    swept = ["--steps", 1, "--samplers", "DDIM", "--seed-ranges", 1, "--out", tmp_path / "swept", "--no-pictures"]
    found = invoke(evaluate.command, made / "out", "--data", made / "pack", "--cache", tmp_path / "seen", *compared, *swept)
    assert found.exit_code == 0, found.output
    assert sorted(path.name for path in (tmp_path / "swept").iterdir()) == ["journal.jsonl", "measured.nc", "table.md"]


@pytest.mark.parametrize(
    "change",
    ["seed=" + HUGE, "training.batch=" + HUGE, "training.clip=" + "9" * 400, "objective.bias=" + "9" * 400,
     f"model.channels=[8, {HUGE}]", "model.resolution=" + HUGE, "model.head_dim=" + HUGE, "training.learning_rate=NaN"],
)  # fmt: skip
def test_nonsense_to_train(made, tmp_path, change):
    start = [made / "run.json", "--data", made / "pack", "--out", tmp_path / "new"]
    for more in ([], ["--dry-run"]):
        said = refused(train.command, *start, "--set", change, *more)
        assert "a size or count of" in said if "model" in change else change.split("=")[0].split(".")[-1] in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "more",
    [["--size", HUGE], ["--size", "1000000"], ["--seed", HUGE], ["--tolerance", "nan"], ["--tolerance", "-1"]],
)
def test_nonsense_to_pack(made, tmp_path, more):
    refused(pack.command, made / "tiny.npz", "--size", tiny.SIZE, "--out", tmp_path / "new", *more)


def test_nonsense_to_count():
    refused(count.command, "nano16", "--classes", HUGE)
    refused(count.command, "nano16", "--mfu", "0")


def test_what_the_system_says_alone_gets_a_remedy(made, tmp_path):
    """A folder that cannot be made."""
    (tmp_path / "file").write_text("")
    for command, start in (
        (generate.command, drawn(made)),
        (train.command, [made / "run.json", "--data", made / "pack"]),
        (pack.command, [made / "tiny.npz", "--size", tiny.SIZE]),
    ):
        assert "file" in refused(command, *start, "--out", tmp_path / "file" / "inside")


def test_no_time_is_refused(made, tmp_path):
    with pytest.raises(ValueError, match=r"max_minutes = nan; allowed: > 0; remedy"):
        trained(tiny.run(), open_packed(made / "pack"), tmp_path / "new", max_minutes=float("nan"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory")])
def test_too_little_memory_for_images_suggests_a_batch(made, tmp_path, monkeypatch, error):
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(Generator, "draw", full)
    said = refused(generate.command, *drawn(made, "--out", tmp_path, "--batch", 12))
    assert "out of memory with batches of 12 images; allowed: what fits; remedy: --batch 6" in said


def test_a_bug_is_not_taken_for_too_little_memory(made, tmp_path, monkeypatch):
    def wrong(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Generator, "draw", wrong)
    with pytest.raises(RuntimeError, match=r"^a bug$"):
        invoke(generate.command, *drawn(made, "--out", tmp_path))
