"""Checkpoints: what comes back, what damage is found, and that a stranger's file runs nothing."""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import pickle
import resource
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imagenet import checkpoint, settings
from imagenet.checkpoint import Checkpoint, CheckpointError
from imagenet.model import ResidualUViT
from tests import tiny


def content(step: int = 3, **changes: object) -> Checkpoint:
    run = tiny.run()
    network = ResidualUViT(run.model, tiny.CLASSES, run.objective.told, seed=5)
    weights = {name: p.detach().clone() for name, p in network.named_parameters()}
    averaged = {name: p * 0.5 for name, p in weights.items()}
    moments = {"exp_avg": averaged, "step": {name: torch.tensor(3.0) for name in weights}}
    plain = Checkpoint(settings.as_dict(run), tiny.CLASSES, "data", step, weights, averaged, moments, {"0.05": weights})
    return dataclasses.replace(plain, **changes)


def same(a: object, b: object) -> bool:
    return checkpoint.digest(dataclasses.asdict(a)) == checkpoint.digest(dataclasses.asdict(b))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = checkpoint.write(tmp_path_factory.mktemp("stored") / "a.pt", content())
    return path, path.read_bytes()


# ---- what comes back ----------------------------------------------------------------------------------------------------


def test_what_is_written_is_read(stored):
    assert same(checkpoint.read(stored[0]), content())


def test_torch_alone_reads_it(stored):
    plain = torch.load(stored[0], weights_only=True)
    assert plain["step"] == 3
    assert plain["versions"]["torch"] == torch.__version__


def test_the_digest_sees_every_bit_of_content():
    first = content()
    digest = checkpoint.digest(dataclasses.asdict(first))
    flipped = first.model["patches.weight"].clone()
    flipped.view(torch.int32).view(-1)[7] ^= 1
    for changes in (
        {"step": 4},
        {"data": "Data"},
        {"model": first.model | {"patches.weight": flipped}},
        {"model": first.model | {"patches.weight": first.model["patches.weight"].double()}},
        {"model": {name + " ": t for name, t in first.model.items()}},
    ):
        assert checkpoint.digest(dataclasses.asdict(dataclasses.replace(first, **changes))) != digest
    turned = dict(reversed(first.model.items()))
    assert checkpoint.digest(dataclasses.asdict(dataclasses.replace(first, model=turned))) == digest


def test_networks_are_loaded_plain_and_averaged(stored):
    for ema, factor in ((True, 0.5), (False, 1.0)):
        run, classes, network = checkpoint.load_network(stored[0], ema=ema)
        assert (run, classes, network.training) == (tiny.run(), tiny.CLASSES, False)
        assert torch.equal(network.patches.weight, content().model["patches.weight"] * factor)


def test_export_in_half_precision_is_small_and_near(stored, tmp_path):
    full = checkpoint.export(stored[0], tmp_path / "full.pt")
    half = checkpoint.export(stored[0], tmp_path / "half.pt", half=True)
    sizes = [sum(t.nbytes for t in checkpoint._tensors(dataclasses.asdict(checkpoint.read(p)))) for p in (full, half)]
    assert sizes[0] == 2 * sizes[1] == sum(t.nbytes for t in content().ema.values())
    assert checkpoint.read(half).ema["patches.weight"].dtype == torch.bfloat16
    a, b = (checkpoint.load_network(path)[2].patches.weight for path in (full, half))
    assert a.dtype == b.dtype == torch.float32
    torch.testing.assert_close(a, b, rtol=2.0**-8, atol=0)  # bfloat16 has eight bits
    with pytest.raises(CheckpointError, match=r"holds only averaged weights; allowed: ema=True; remedy"):
        checkpoint.load_network(full, ema=False)


@pytest.mark.parametrize("megabytes", [0.02, 0.05, 10])
def test_parts_are_read_as_the_whole(stored, tmp_path, megabytes):
    path = tmp_path / "network.pt"
    path.write_bytes(stored[1])
    parts = checkpoint.split(path, megabytes)
    assert max(part.stat().st_size for part in parts) <= megabytes * 1e6
    path.unlink()
    assert same(checkpoint.read(path), content())
    assert checkpoint.load_network(tmp_path)[1] == tiny.CLASSES  # the folder of a training
    assert checkpoint.join(path).read_bytes() == stored[1]


def test_a_lacking_part_is_named(stored, tmp_path):
    path = tmp_path / "network.pt"
    path.write_bytes(stored[1])
    parts = checkpoint.split(path, len(stored[1]) / 3e6 + 1e-3)
    path.unlink()
    parts[1].unlink()
    for call in (checkpoint.join, checkpoint.read, checkpoint.load_network):
        with pytest.raises(CheckpointError, match=rf"missing {parts[1].name}; allowed: 3.*remedy"):
            call(path)


# ---- damage ---------------------------------------------------------------------------------------------------------------


def refused_or_unchanged(path) -> bool:
    """Our error, or the same content; anything else, another library's error included, fails the test."""
    try:
        found = checkpoint.read(path)
    except CheckpointError as error:
        assert str(path) in str(error)  # noqa: PT017
        assert "allowed" in str(error) and "remedy" in str(error)  # noqa: PT017, PT018
        return True
    assert same(found, content())
    return False


@given(st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(stored, tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "a.pt"
    path.write_bytes(stored[1][: int(share * len(stored[1]))])
    assert refused_or_unchanged(path)


@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=3, unique=True))
def test_flipped_bits_are_found_or_harmless(stored, tmp_path_factory, places):
    """A bit of padding, or of a checksum that nobody reads, may flip without harm: the content is compared then."""
    damaged = bytearray(stored[1])
    for where, bit in places:
        damaged[int(where * len(damaged))] ^= 1 << bit
    path = tmp_path_factory.mktemp("flip") / "a.pt"
    path.write_bytes(damaged)
    refused_or_unchanged(path)


def test_a_flipped_bit_of_a_weight_is_found(stored, tmp_path):
    """In the bytes of a tensor, where nothing but the digest can see it."""
    weight = content().model["patches.weight"].numpy().tobytes()
    where = stored[1].index(weight)
    damaged = bytearray(stored[1])
    damaged[where + 11] ^= 4
    path = tmp_path / "a.pt"
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=r"a\.pt is damaged \(its content does not match its digest\); allowed.*remedy"):
        checkpoint.read(path)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(tmp_path_factory, junk):
    path = tmp_path_factory.mktemp("junk") / "a.pt"
    path.write_bytes(junk)
    assert refused_or_unchanged(path)


def rewritten(path, **changes):
    """A file with another content and a right digest, as another program might write it."""
    plain = {f.name: getattr(content(), f.name) for f in dataclasses.fields(Checkpoint)} | changes
    plain = {key: value for key, value in plain.items() if value is not ...}
    torch.save({"format": checkpoint.FORMAT, "digest": checkpoint.digest(plain), **plain}, path)
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ema": ...}, r"keys missing: \['ema'\]"),
        ({"extra": 1}, r"unknown: \['extra'\]"),
        ({"step": "3"}, "wrong kind: step"),
        ({"step": -1}, "wrong kind: step"),
        ({"model": [1]}, "wrong kind: model"),
        ({"ema": {"a": 1}}, "wrong kind: ema"),
        ({"optimizer": {"exp_avg": 3}}, "wrong kind: optimizer.exp_avg"),
        ({"data": 3}, "wrong kind: data"),
    ],
)
def test_wrong_keys_and_kinds_are_named(tmp_path, changes, said):
    with pytest.raises(CheckpointError, match=rf"a\.pt is damaged .*{said}.*allowed.*remedy"):
        checkpoint.read(rewritten(tmp_path / "a.pt", **changes))


keys = st.sampled_from([f.name for f in dataclasses.fields(Checkpoint)])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=3) | st.just(torch.zeros(2)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(keys, values, min_size=1, max_size=3))
def test_any_plain_content_loads_as_a_network_or_is_refused(tmp_path_factory, changes):
    path = rewritten(tmp_path_factory.mktemp("odd") / "a.pt", **changes)
    try:
        checkpoint.load_network(path)
    except CheckpointError as error:
        assert "remedy" in str(error)  # noqa: PT017


def test_other_shapes_and_names_are_named(tmp_path):
    shapes = content().model | {"patches.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"1 of another shape \(patches.weight: \(1,\), not \(8, 3, 1, 1\)\).*remedy"):
        checkpoint.load_network(rewritten(tmp_path / "a.pt", ema=shapes))
    names = {("patchez.weight" if name == "patches.weight" else name): t for name, t in content().model.items()}
    with pytest.raises(CheckpointError, match=r"missing \(patches.weight\); 1 unknown \(patchez.weight\).*remedy"):
        checkpoint.load_network(rewritten(tmp_path / "b.pt", ema=names))


def test_another_file_of_torch_is_refused(tmp_path):
    torch.save({"model": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"has format None; allowed: .*remedy"):
        checkpoint.read(tmp_path / "a.pt")
    torch.save([1], tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"has format 'list'; allowed: .*remedy"):
        checkpoint.read(tmp_path / "a.pt")


@pytest.mark.parametrize("call", [checkpoint.read, checkpoint.load_network, lambda p: checkpoint.split(p, 1), checkpoint.join])
def test_an_absent_file_is_refused(tmp_path, call):
    with pytest.raises(CheckpointError, match=r"nothing\.pt.*; allowed.*remedy"):
        call(tmp_path / "nothing.pt")


# ---- a stranger's file ----------------------------------------------------------------------------------------------------


class Malice:
    """What a pickle may carry: a call that is made when it is read."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_malicious_pickle_runs_nothing(tmp_path):
    mark = tmp_path / "executed"
    path = tmp_path / "a.pt"
    torch.save({"format": checkpoint.FORMAT, "model": Malice(str(mark))}, path)
    with pytest.raises(CheckpointError, match=r"cannot be read as tensors and plain values.*allowed.*remedy"):
        checkpoint.read(path)
    path.write_bytes(pickle.dumps(Malice(str(mark))))
    with pytest.raises(CheckpointError, match="remedy"):
        checkpoint.load_network(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Malice(str(mark))))  # it would have done it
    assert mark.exists()


def test_a_malicious_pickle_inside_a_good_archive_runs_nothing(stored, tmp_path):
    mark, path = tmp_path / "executed", tmp_path / "a.pt"
    with zipfile.ZipFile(stored[0]) as good, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as bad:
        for entry in good.namelist():
            bad.writestr(entry, pickle.dumps(Malice(str(mark))) if entry.endswith("data.pkl") else good.read(entry))
    with pytest.raises(CheckpointError, match="remedy"):
        checkpoint.read(path)
    assert not mark.exists()


def test_the_refusal_does_not_advise_to_run_it(tmp_path):
    """BITE: torch's own words are to read it again with weights_only=False."""
    torch.save({"format": checkpoint.FORMAT, "model": Malice("a")}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"Trying to load unsupported GLOBAL posix\.mkdir") as refused:
        checkpoint.read(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes(pickle.dumps(Malice("a")))
    with pytest.raises(CheckpointError, match=r"UnpicklingError: Unsupported operand") as again:
        checkpoint.read(tmp_path / "a.pt")
    assert not any("weights_only" in str(error.value) for error in (refused, again))


def test_objects_are_refused_when_writing(tmp_path):
    with pytest.raises(CheckpointError, match=r"a checkpoint with a Malice in it; allowed.*remedy"):
        checkpoint.write(tmp_path / "a.pt", content(run={"a": Malice("b")}))
    assert list(tmp_path.iterdir()) == []


# ---- the folder of a training ---------------------------------------------------------------------------------------------


def filled(folder, *steps):
    for step in steps:
        checkpoint.write(checkpoint.path_of(folder, step), content(step))


def test_the_previous_one_is_used_and_both_are_named(tmp_path, caplog):
    filled(tmp_path, 2, 4)
    last, before = checkpoint.path_of(tmp_path, 4), checkpoint.path_of(tmp_path, 2)
    last.write_bytes(last.read_bytes()[:5000])
    with caplog.at_level(logging.WARNING):
        found, path = checkpoint.latest(tmp_path)
    assert (found.step, path) == (2, before)
    assert str(last) in caplog.text
    assert str(before) in caplog.text


def test_none_that_can_be_read_is_an_error_and_none_at_all_is_not(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    filled(tmp_path, 2)
    checkpoint.path_of(tmp_path, 2).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"none of 1 checkpoints .*step-00000002.*allowed.*remedy"):
        checkpoint.latest(tmp_path)


def test_the_last_few_are_kept_and_leftovers_removed(tmp_path):
    filled(tmp_path, 2, 4, 6, 8)
    (tmp_path / checkpoint.FOLDER / ".step-00000010.pt.x.part").write_bytes(b"half")
    checkpoint.thin(tmp_path, 2)
    assert [p.name for p in sorted((tmp_path / checkpoint.FOLDER).iterdir())] == ["step-00000006.pt", "step-00000008.pt"]


def test_another_configuration_is_refused_by_its_keys():
    saved = content()
    checkpoint.check_same(saved, "a.pt", tiny.run(training__steps=99, training__keep=9, training__micro_batch=4), 3, "data")
    other = tiny.run(training__ema=0.5, objective__label_drop=0.2)
    with pytest.raises(CheckpointError, match=r"label_drop: 0\.1 and 0\.2; training\.ema: 0\.9 and 0\.5; .*remedy"):
        checkpoint.check_same(saved, "a.pt", other, 3, "data")
    with pytest.raises(CheckpointError, match=r"classes: 3 and 4; data: 'data' and 'other'"):
        checkpoint.check_same(saved, "a.pt", tiny.run(), 4, "other")


def test_what_a_failed_training_may_change_is_let_through_and_told():
    saved = content()
    for key, value in (("learning_rate", 5e-4), ("warm_up", 9), ("clip", 0.5), ("precision", "bfloat16")):
        run = tiny.run(**{f"training__{key}": value, "training__steps": 99})
        checkpoint.check_same(saved, "a.pt", run, 3, "data")
        old = getattr(tiny.run().training, key)
        assert checkpoint.changes(saved, run) == [f"training.{key}: {old!r} and {value!r}"]
    assert checkpoint.changes(saved, tiny.run(training__steps=99)) == []


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("out"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 GB")]
)
def test_too_little_memory_is_no_damage(tmp_path, monkeypatch, error):
    """BITE: the latest checkpoint passed over for an earlier one, and steps trained again, without need."""
    filled(tmp_path, 2, 4)

    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(type(error)):
        checkpoint.latest(tmp_path)


def test_a_full_disk_leaves_the_previous_ones(tmp_path, monkeypatch):
    filled(tmp_path, 2)

    def full(value, file):
        file.write(b"some")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        CheckpointError, match=r"step-00000004\.pt could not be written \(the disk is full\); allowed: .*remedy"
    ):
        filled(tmp_path, 4)
    assert [p.name for p in (tmp_path / checkpoint.FOLDER).iterdir()] == ["step-00000002.pt"]
    monkeypatch.undo()
    assert checkpoint.latest(tmp_path)[0].step == 2


def test_what_is_not_a_full_disk_is_not_answered_by_freeing_space(tmp_path):
    (tmp_path / checkpoint.FOLDER).write_text("a file where the folder should be")
    with pytest.raises(
        CheckpointError, match=r"could not be written \(.*File exists.*\); allowed: .* can be written; "
    ) as refused:
        filled(tmp_path, 2)
    assert "may be written" in str(refused.value)
    assert "free" not in str(refused.value)


def test_a_file_of_an_earlier_version_is_read(tmp_path):
    """Without the fields that came later."""
    plain = {name: value for name, value in vars(content()).items() if name not in checkpoint._LATER}
    torch.save({"format": checkpoint.FORMAT, "digest": checkpoint.digest(plain), **plain}, tmp_path / "a.pt")
    assert checkpoint.read(tmp_path / "a.pt").spectra == ""
    assert same(checkpoint.read(tmp_path / "a.pt"), content())


def test_a_limit_of_the_system_in_the_middle_of_a_file(tmp_path):
    """Really refused by the kernel: a process that may write files of 20 kB only."""
    filled(tmp_path, 2)
    program = f"""
import resource, sys
from pathlib import Path
sys.path.insert(0, {str(Path.cwd())!r})
from tests.test_checkpoint import filled
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    filled(Path({str(tmp_path)!r}), 4)
except Exception as error:
    print(type(error).__name__, error)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert said.stdout.startswith("CheckpointError")
    assert "the disk is full" in said.stdout
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 20_000
    assert [p.name for p in (tmp_path / checkpoint.FOLDER).iterdir()] == ["step-00000002.pt"]
    assert checkpoint.latest(tmp_path)[0].step == 2
