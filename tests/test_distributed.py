"""Two processes, started as torchrun starts them, against one: whole weights in each, and weights divided among them.

And what two processes say that do not see the same folder, settings or data.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from imagenet import checkpoint, distributed
from imagenet.distributed import DistributedError, World
from imagenet.train import train
from tests import tiny

ROOT = Path(__file__).parents[1]
STEPS = 20

PROGRAM = """
import json, sys
from pathlib import Path
import torch
sys.path.insert(0, {root!r})
from imagenet.packed import open_packed
from imagenet.train import train
from tests import tiny
from tests.test_distributed import changes
torch.set_num_threads(1)
packed = open_packed({pack!r})
for sharding in ("ddp", "fsdp"):
    train(tiny.run(**changes()), packed, Path({folder!r}) / sharding, sharding=sharding)
# A second piece on two processes from the half-way checkpoint of one process.
train(tiny.run(**changes()), packed, Path({folder!r}) / "resumed", sharding="fsdp")
"""


def changes() -> dict[str, object]:
    """20 steps with micro-batches; widths that two processes cannot halve evenly come with the odd number of labels (4)."""
    return {
        "training__steps": STEPS,
        "training__micro_batch": 4,
        "training__checkpoint_every": 10,
        "training__post_hoc_every": 10,
    }


def launched(script, timeout):
    """Run the script as two processes, as torchrun does."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(launch, capture_output=True, text=True, timeout=timeout, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folders of one process and of two, the same run."""
    folder = tmp_path_factory.mktemp("distributed")
    packed = tiny.packed(folder)
    train(tiny.run(**changes()), packed, folder / "one")
    half = checkpoint.read(checkpoint.path_of(folder / "one", 10))
    checkpoint.write(checkpoint.path_of(folder / "resumed", 10), half)
    script = folder / "two.py"
    script.write_text(PROGRAM.format(root=str(ROOT), pack=str(folder / "pack"), folder=str(folder)))
    launched(script, 300)
    return folder


def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert set(a) == set(b)
    return max((a[name].double() - b[name].double()).abs().max().item() for name in a)


@pytest.mark.parametrize("folder", ["ddp", "fsdp", "resumed"])
def test_two_processes_are_one(trained, folder):
    """Weights, averages and moments after 20 steps, to 1e-6: sums in another order are all that differs."""
    one, two = (checkpoint.read(checkpoint.path_of(trained / name, STEPS)) for name in ("one", folder))
    assert (one.step, one.run, one.data) == (two.step, two.run, two.data)
    assert apart(one.model, two.model) < 1e-6
    assert apart(one.ema, two.ema) < 1e-6
    for key in ("exp_avg", "exp_avg_sq", "step"):
        assert apart(one.optimizer[key], two.optimizer[key]) < 1e-6
    for length in ("0.05", "0.1"):
        assert apart(one.averages[length], two.averages[length]) < 1e-6
    start = checkpoint.read(checkpoint.path_of(trained / "one", 10))
    assert apart(one.model, start.model) > 1e-3  # it has moved: equality is no accident


@pytest.mark.parametrize("folder", ["ddp", "fsdp"])
def test_metrics_of_two_processes_are_those_of_one(trained, folder):
    lines = [(trained / name / "metrics.jsonl").read_text().splitlines() for name in ("one", folder)]
    assert len(lines[0]) == len(lines[1]) == STEPS // 4
    for mine, theirs in zip(*(map(json.loads, part) for part in lines), strict=True):
        for key in ("step", "loss", "gradient_norm", "learning_rate"):
            assert mine[key] == pytest.approx(theirs[key], rel=1e-4), key
        assert [v is None for v in mine["loss_by_log_snr"]] == [v is None for v in theirs["loss_by_log_snr"]]


def test_the_finished_network_of_two_processes_is_loaded(trained):
    assert checkpoint.load_network(trained / "fsdp")[1] == tiny.CLASSES


APART = """
import copy, json, os, shutil, sys
from pathlib import Path
import torch
sys.path.insert(0, {root!r})
from imagenet import checkpoint
from imagenet.packed import open_packed
from imagenet.train import train
from tests import tiny
from tests.test_distributed import changes
torch.set_num_threads(1)
rank, folder = int(os.environ["RANK"]), Path({folder!r})
packed, other = (open_packed({pack!r}) for _ in range(2))
object.__setattr__(other, "fingerprint", "another")
seen, alone = folder / "seen", folder / "alone"  # the first process's disk, and the second one's
rate = changes() | {{"training__learning_rate": 5e-4}}
cases = {{
    "unseen": lambda: (changes(), packed, (seen, alone)[rank]),
    "settings": lambda: (rate if rank else changes(), packed, folder / "new"),
    "data": lambda: (changes(), other if rank else packed, folder / "new"),
    "weights": lambda: (changes(), packed, (seen, folder / "moved")[rank]),
    "damaged": lambda: (changes(), packed, folder / "damaged"),
    "same": lambda: (changes(), packed, seen),
}}
said = {{}}
for name, made in cases.items():
    settings, data, place = made()
    try:
        train(tiny.run(**settings), data, place)
        said[name] = "trained"
    except checkpoint.CheckpointError as error:
        said[name] = str(error)
(folder / f"said-{{rank}}.json").write_text(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(trained, tmp_path_factory):
    """What each of two processes says of each case; the folder."""
    folder = tmp_path_factory.mktemp("apart")
    half = checkpoint.read(checkpoint.path_of(trained / "one", 10))
    checkpoint.write(checkpoint.path_of(folder / "seen", 10), half)
    moved = {name: tensor + 1e-3 for name, tensor in half.model.items()}
    checkpoint.write(checkpoint.path_of(folder / "moved", 10), dataclasses.replace(half, model=moved))
    checkpoint.path_of(folder / "damaged", 10).parent.mkdir(parents=True)
    checkpoint.path_of(folder / "damaged", 10).write_bytes(b"junk")
    script = folder / "apart.py"
    script.write_text(APART.format(root=str(ROOT), pack=str(trained / "pack"), folder=str(folder)))
    launched(script, 150)
    return [json.loads((folder / f"said-{rank}.json").read_text()) for rank in range(2)], folder


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (
            "unseen",
            r"process 1 cannot read the checkpoint that process 0 continues from: no checkpoint at .*alone.*step-00000010",
        ),
        ("settings", r"processes 0 and 1 would train different things: settings\.training\.learning_rate: 0\.001 and 0\.0005"),
        ("data", r"processes 0 and 1 would train different things: data: '[0-9a-f]+' and 'another'"),
        ("weights", r"processes 0 and 1 would train different things: weights: '[0-9a-f]+' and '[0-9a-f]+'"),
        ("damaged", r"none of 1 checkpoints in .*damaged.* can be read"),
    ],
)
def test_processes_that_would_train_apart_all_say_so(said, case, words):
    """BITE: each looks for itself; the second begins anew, and the first writes a network of both."""
    for rank in range(2):
        assert re.search(rf"{words}.*; allowed: .*; remedy: ", said[0][rank][case]), said[0][rank][case]
    assert not (said[1] / "new" / checkpoint.FINISHED).exists()


def test_the_first_process_chooses_the_checkpoint(trained, said):
    assert [each["same"] for each in said[0]] == ["trained", "trained"]
    one, two = (checkpoint.read(checkpoint.path_of(place, STEPS)) for place in (trained / "one", said[1] / "seen"))
    assert apart(one.model, two.model) < 1e-6


def test_a_batch_that_processes_cannot_share_is_refused():
    assert World(1, 4, torch.device("cpu")).part(64) == (16, 16)
    with pytest.raises(DistributedError, match=r"batch = 30 over 4 processes; allowed: .*remedy: training.batch = 32"):
        World(0, 4, torch.device("cpu")).part(30)


@pytest.mark.parametrize("name", ["cuda", "cuda:7", "gpu", "mps", "quantum"])
def test_a_device_that_is_not_there_is_refused(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DistributedError, match=r"device = .*; allowed: cpu.*remedy: "):
        distributed.device_of(name)


def test_gpus_are_numbered_by_the_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert distributed.device_of("cuda", 1) == torch.device("cuda", 1)
    with pytest.raises(
        DistributedError, match=r"GPU number 2\) and this process sees 2 GPUs .*allowed: cpu, cuda:0 … cuda:1; remedy"
    ):
        distributed.device_of("cuda", 2)


def test_alone_nothing_is_wrapped_or_gathered():
    network = torch.nn.Linear(2, 2)
    world = distributed.world("cpu")
    assert (world.rank, world.size, world.first) == (0, 1, True)
    assert distributed.spread(network, [], world, "fsdp") is network
    assert [world.any(flag) for flag in (True, False)] == [True, False]
    assert distributed.local(network.weight) is network.weight
    copy = distributed.whole(network.weight)
    copy += 1
    assert not torch.equal(copy, network.weight)
