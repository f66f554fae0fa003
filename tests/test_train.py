"""Training: the same bits after any interruption, the same step as a plain loop, and every error with its remedy."""

from __future__ import annotations

import copy
import dataclasses
import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from imagenet import checkpoint, ema, objective, order, settings, trainer
from imagenet import train as training
from imagenet.checkpoint import CheckpointError
from imagenet.commands import train as command
from imagenet.distributed import DistributedError, World
from imagenet.feed import Batch
from imagenet.model import ResidualUViT
from imagenet.pack import Options, renew_spectra
from imagenet.schedules import of_data
from imagenet.train import Session, Terminated, TrainingError, post_hoc, train
from imagenet.trainer import Trainer
from tests import tiny

ROOT = Path(__file__).parents[1]
ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return tiny.packed(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def straight(packed, tmp_path_factory):
    """The folder of a training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    train(tiny.run(), packed, folder)
    return folder


def last(folder: Path, step: int = 12) -> checkpoint.Checkpoint:
    return checkpoint.read(checkpoint.path_of(folder, step))


def assert_same(a: Path, b: Path, step: int = 12) -> None:
    """Every bit of what a next step would depend on, and of the finished network."""
    for one, two in ((last(a, step), last(b, step)), *((checkpoint.read(p / "network.pt") for p in (a, b)),)):
        plain = [{k: getattr(c, k) for k in ("step", "model", "ema", "optimizer", "averages", "skipped")} for c in (one, two)]
        assert checkpoint.digest(plain[0]) == checkpoint.digest(plain[1])


def moved(trained: Trainer, seed: int = 1) -> Trainer:
    """Away from the initial network, whose zeros stop most gradients."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in trained.parts:
            part += 0.1 * torch.randn(part.shape, generator=generator)
    return trained


def batch_of(trained: Trainer, step: int = 0):
    return next(iter(trained.feed.batches(step, step + 1)))[0]


# ---- the step against a plain loop -----------------------------------------------------------------------------------


def test_steps_are_those_of_a_plain_loop(packed, tmp_path):
    """Written out anew: order, times, noise, loss, clipping, AdamW of torch not fused, average. Float32 in another order of
    sums; 1e-6 after 8 steps at a learning rate of 1e-3."""
    run = tiny.run(training__clip=0.3, training__steps=8, training__weight_decay=0.1)
    train(run, packed, tmp_path)
    network = ResidualUViT(run.model, 3, True, run.seed)
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, 1e-3, (0.9, 0.99), weight_decay=0.1, fused=False, foreach=False)
    average = [p.detach().clone() for p in parameters]
    schedules = of_data(run.noise, packed)
    for step in range(8):
        chosen = order.indices(0, step, 16, len(packed))
        x = torch.from_numpy(packed.images[chosen.numpy()]).float() / 127.5 - 1
        x = torch.stack([i.flip(-1) if f else i for i, f in zip(x, order.flips(0, step, 16), strict=True)])
        labels = packed.labels[chosen].clone()
        labels[order.drops(0, step, 16, 0.1)] = 3
        t, schedule = order.times(0, step, 16), schedules.of(chosen)
        lam, rate = schedule.log_snr(t), schedule.log_snr_rate(t)
        noise = order.noise(0, step, 0, 16, (3, 8, 8))
        a, s = torch.sigmoid(lam).sqrt().float()[:, None, None, None], torch.sigmoid(-lam).sqrt().float()[:, None, None, None]
        ends = [schedule.log_snr(torch.full_like(t, at)).float() for at in (0.0, 1.0)]
        z = a * x + s * noise
        data = a * z - s * network(z, labels, lam.float(), *ends)
        weight = 0.5 * -rate * np.e**2 * torch.sigmoid(lam - 2)
        loss = (weight.float() * (x - data).square().flatten(1).mean(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.3)
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1, (step + 1) / 4)
        optimizer.step()
        for mean, p in zip(average, parameters, strict=True):
            mean.mul_(0.9).add_(p.detach(), alpha=0.1)
    saved = last(tmp_path, 8)
    for (name, p), mean in zip(network.named_parameters(), average, strict=True):
        torch.testing.assert_close(saved.model[name], p.detach(), rtol=0, atol=1e-6, msg=name)
        torch.testing.assert_close(saved.ema[name], mean, rtol=0, atol=1e-6, msg=name)


def test_micro_batches_are_the_large_batch(packed):
    """4 × 16 and 64: the gradient, and the weights after six steps, to 1e-6."""
    trained = [
        moved(Trainer(tiny.run(training__batch=64, training__micro_batch=m, training__clip=1e9), packed, ALONE))
        for m in (None, 16)
    ]
    gradients = []
    for one in trained:
        one.accumulate(batch_of(one))
        gradients.append(torch.cat([p.grad.flatten() for p in one.parameters]))
        one.forget()
    assert gradients[0].norm() > 0.1
    assert (gradients[0] - gradients[1]).norm() < 1e-6 * gradients[0].norm()
    for one in trained:
        for batch, _ in one.feed.batches(0, 6):
            one.update(batch)
    for a, b in zip(*(one.parts for one in trained), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_the_step_reads_nothing_back_from_the_device(packed, monkeypatch):
    trained = moved(Trainer(tiny.run(training__micro_batch=8), packed, ALONE))
    batches = [batch for batch, _ in trained.feed.batches(0, 2)]
    trained.update(batches[0])
    noise = torch.randn(8, 3, 8, 8)  # on a processor, where that costs nothing, philox looks at its sample numbers
    monkeypatch.setattr(Batch, "noise", lambda self, seed: noise)
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, lambda self, *_, name=name: pytest.fail(f"Tensor.{name} in the loop"))
    trained.update(batches[1])


def test_warm_up_is_linear_then_constant():
    run = tiny.run()
    assert [trainer.learning_rate(run, k) for k in (0, 1, 3, 4, 100)] == pytest.approx([2.5e-4, 5e-4, 1e-3, 1e-3, 1e-3])
    assert trainer.learning_rate(tiny.run(training__warm_up=0), 0) == 1e-3


def test_autocast_leaves_weights_moments_and_loss_in_float32(packed):
    runs = [tiny.run(training__precision=p) for p in ("float32", "bfloat16")]
    trained = [moved(Trainer(run, packed, ALONE)) for run in runs]
    results = []
    for one in trained:
        batch = batch_of(one)
        loss, _ = one.losses(batch)
        results.append(loss)
        one.update(batch)
    half = trained[1]
    assert {t.dtype for t in (*half.parts, *half.average.values, results[1])} == {torch.float32}
    assert all(half.optimizer.state[p]["exp_avg"].dtype == torch.float32 for p in half.parts)
    assert not torch.equal(*results)  # it was in force
    torch.testing.assert_close(*results, rtol=0.05, atol=0)  # eight bits, through some ten layers


def test_recomputed_blocks_have_the_same_gradient(packed):
    gradients = []
    for recompute in (False, True):
        one = moved(Trainer(tiny.run(training__recompute=recompute, model__dropout=0.3), packed, ALONE))
        one.accumulate(batch_of(one))
        gradients.append(torch.cat([p.grad.flatten() for p in one.parameters]))
    assert torch.equal(*gradients)


def test_dropout_depends_on_seed_step_and_place_alone(packed):
    one = moved(Trainer(tiny.run(model__dropout=0.3), packed, ALONE))
    batch = batch_of(one)

    def loss(part):
        with one.randomness(part):
            return one.losses(part)[0]

    torch.manual_seed(0)
    first, state = loss(batch), torch.random.get_rng_state()
    torch.manual_seed(99)
    assert torch.equal(loss(batch), first)
    torch.manual_seed(0)
    assert torch.equal(torch.random.get_rng_state(), state)  # the global generator is put back
    with one.randomness(batch_of(one, 1)):
        other = one.losses(batch)[0]
    assert not torch.equal(other, first)


# ---- resuming --------------------------------------------------------------------------------------------------------


def test_pieces_are_the_whole(packed, straight, tmp_path):
    """Stopped by time after each of the first five steps."""
    for step in range(1, 6):
        assert train(tiny.run(), packed, tmp_path, max_minutes=1e-9) == checkpoint.path_of(tmp_path, step)
        assert not (tmp_path / checkpoint.FINISHED).exists()
    assert train(tiny.run(), packed, tmp_path) == tmp_path / "network.pt"
    assert_same(tmp_path, straight)
    lines = [[json.loads(x)["step"] for x in (p / "metrics.jsonl").read_text().splitlines()] for p in (tmp_path, straight)]
    assert lines[0] == lines[1] == [4, 8, 12]


def test_a_finished_training_has_nothing_left_to_do(packed, straight, tmp_path):
    before = checkpoint.path_of(straight, 12).stat().st_mtime_ns
    assert train(tiny.run(), packed, straight) == straight / "network.pt"
    assert checkpoint.path_of(straight, 12).stat().st_mtime_ns == before


def test_more_steps_continue_a_finished_one(packed, straight, tmp_path):
    train(tiny.run(training__steps=6), packed, tmp_path)
    train(tiny.run(), packed, tmp_path)
    assert_same(tmp_path, straight)


def test_a_shorter_trainings_network_does_not_pass_for_the_longer_ones(packed, tmp_path):
    """It goes as soon as the longer one has begun, also if that is stopped."""
    train(tiny.run(training__steps=6), packed, tmp_path)
    train(tiny.run(), packed, tmp_path, max_minutes=1e-9)
    assert not (tmp_path / checkpoint.FINISHED).exists()
    found = checkpoint.load_network(tmp_path)[2].state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in last(tmp_path, 7).ema.items())


def test_a_truncated_checkpoint_costs_some_steps_and_no_bit(packed, straight, tmp_path, caplog):
    train(tiny.run(training__steps=10), packed, tmp_path)
    broken, before = checkpoint.path_of(tmp_path, 10), checkpoint.path_of(tmp_path, 8)
    broken.write_bytes(broken.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        train(tiny.run(), packed, tmp_path)
    assert str(broken) in caplog.text
    assert str(before) in caplog.text
    assert_same(tmp_path, straight)


def test_sigterm_saves_and_ends(packed, straight, tmp_path, monkeypatch):
    """The handler of before comes back."""
    before = signal.getsignal(signal.SIGTERM)
    update = Trainer.update

    def signalled(self, batch):
        update(self, batch)
        if self.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "update", signalled)
    with pytest.raises(Terminated, match=r"saved .*step-00000007\.pt; the same command continues") as ended:
        train(tiny.run(), packed, tmp_path)
    assert ended.value.checkpoint == checkpoint.path_of(tmp_path, 7)
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.undo()
    train(tiny.run(), packed, tmp_path)
    assert_same(tmp_path, straight)


def test_it_trains_in_a_thread_too(packed, straight, tmp_path):
    """Where no signal handler can be set."""
    thread = threading.Thread(target=train, args=(tiny.run(), packed, tmp_path))
    thread.start()
    thread.join()
    assert_same(tmp_path, straight)


def test_killed_twice_it_ends_with_the_same_bits(packed, tmp_path):
    """A real process: SIGTERM, then SIGKILL in the middle of a step, then to the end; against one that nobody stopped.

    With dropout, micro-batches, power averages and a schedule per image, so that all that is random takes part.
    """
    changes = {"model__dropout": 0.2, "training__micro_batch": 8, "training__post_hoc_every": 30, "training__keep": 2}
    run = tiny.run(training__steps=60, training__checkpoint_every=10, training__log_every=1, **changes)
    file, folder = tmp_path / "run.json", tmp_path / "killed"
    file.write_text(json.dumps(settings.as_dict(run)))
    start = [sys.executable, "-m", "imagenet", "train", str(file), "--data", str(packed.folder), "--out", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

    def until(step: int, number: signal.Signals) -> int:
        process = subprocess.Popen(start, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        begun = time.monotonic()
        while time.monotonic() - begun < 240 and process.poll() is None:
            lines = (folder / "metrics.jsonl").read_text().count("\n") if (folder / "metrics.jsonl").is_file() else 0
            if lines >= step:
                process.send_signal(number)
                break
            time.sleep(0.005)
        return process.wait(timeout=60)

    assert until(13, signal.SIGTERM) == command.TERMINATED
    assert checkpoint.latest(folder)[0].step >= 13  # saved where it stood
    assert until(27, signal.SIGKILL) == -signal.SIGKILL
    reached = checkpoint.latest(folder)[0].step
    assert 20 <= reached < 60
    done = subprocess.run(start, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"step {reached} of 60" in done.stderr
    train(run, packed, tmp_path / "straight")
    assert_same(folder, tmp_path / "straight", 60)
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 61))


def test_begun_anew_if_asked(packed, straight, tmp_path):
    train(tiny.run(seed=3), packed, tmp_path)
    train(tiny.run(), packed, tmp_path, resume=False)
    assert_same(tmp_path, straight)


def test_another_configuration_or_other_data_are_refused_before_any_work(packed, straight, tmp_path):
    said = r"differ at seed: 0 and 1; training\.batch: 16 and 32; allowed: .*; remedy: "
    with pytest.raises(CheckpointError, match=said):
        train(tiny.run(seed=1, training__batch=32), packed, straight)
    other = copy.copy(packed)
    object.__setattr__(other, "fingerprint", "another")
    with pytest.raises(CheckpointError, match=r"data: '[0-9a-f]+' and 'another'.*allowed.*remedy"):
        train(tiny.run(), other, straight)


@pytest.mark.parametrize("noise", [{}, {"parametric": False}, {"level": "data set"}])
def test_other_spectra_of_the_same_images_are_refused(tmp_path, noise):
    """BITE: a pack's fingerprint does not cover its spectra, so a training went on with other schedules without a word."""
    packed = tiny.packed(tmp_path)
    changes = {f"noise__{key}": value for key, value in noise.items()}
    train(tiny.run(training__steps=4, **changes), packed, tmp_path / "out")
    same, other = renew_spectra(packed.folder), renew_spectra(packed.folder, Options(taper=None))
    assert other.fingerprint == packed.fingerprint
    train(tiny.run(training__steps=5, **changes), same, tmp_path / "out")
    said = r"other spectra: 'taper hann, \w+', not 'taper none, \w+'; allowed: .*; remedy: .*--spectra --taper"
    with pytest.raises(CheckpointError, match=said):
        train(tiny.run(training__steps=6, **changes), other, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["training"]["steps"] == 5


def test_spectra_play_no_part_where_schedules_are_of_none_or_the_checkpoint_says_nothing(tmp_path, caplog):
    packed = tiny.packed(tmp_path)
    cosine = {"noise__kind": "shifted cosine"}
    train(tiny.run(training__steps=4, **cosine), packed, tmp_path / "cosine")
    train(tiny.run(training__steps=4), packed, tmp_path / "older")
    checkpoint.write(path := checkpoint.path_of(tmp_path / "older", 4), dataclasses.replace(checkpoint.read(path), spectra=""))
    other = renew_spectra(packed.folder, Options(taper=None))
    train(tiny.run(training__steps=5, **cosine), other, tmp_path / "cosine")
    assert "without its spectra" not in caplog.text
    train(tiny.run(training__steps=5), other, tmp_path / "older")
    assert "without its spectra: see to it that they are these" in caplog.text


def test_fewer_steps_than_are_done_are_refused(packed, tmp_path):
    """BITE: run.json said 6 and network.pt 8."""
    train(tiny.run(training__steps=8), packed, tmp_path)
    said = r"training\.steps = 6 and checkpoint .* is at step 8; allowed: ≥ 8 here; remedy: training\.steps=8, .*--fresh"
    with pytest.raises(CheckpointError, match=said):
        train(tiny.run(training__steps=6), packed, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["training"]["steps"] == 8
    train(tiny.run(training__steps=6), packed, tmp_path, resume=False)
    assert checkpoint.read(tmp_path / "network.pt").step == 6


def test_the_folder_of_a_pack_is_not_trained_in(tmp_path):
    """BITE: the training's prior.npz took the place of the pack's."""
    packed = tiny.packed(tmp_path)
    before = {path: path.read_bytes() for path in packed.folder.iterdir()}
    with pytest.raises(ValueError, match=r"is a pack \(meta\.json is in it\); allowed: .*; remedy: another --out"):
        train(tiny.run(), packed, packed.folder)
    assert {path: path.read_bytes() for path in packed.folder.iterdir()} == before


def test_one_training_a_folder(packed, straight, tmp_path):
    """A real second process, refused while the first works; a killed one leaves no lock."""
    file, folder = tmp_path / "run.json", tmp_path / "out"
    file.write_text(json.dumps(settings.as_dict(tiny.run())))
    start = [sys.executable, "-m", "imagenet", "train", str(file), "--data", str(packed.folder), "--out", str(folder)]
    holder = f"""
import sys, time
from pathlib import Path
import torch
from imagenet.distributed import World
from imagenet.folders import alone
with alone(Path({str(folder)!r}), World(0, 1, torch.device("cpu"))):
    print("held", flush=True)
    time.sleep(300)
"""
    first = subprocess.Popen([sys.executable, "-c", holder], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "held\n"
        done = subprocess.run(start, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert "another process trains in" in done.stderr
        assert "; allowed: one at a time; remedy: " in done.stderr
        assert [path.name for path in folder.iterdir()] == [".lock"]
    finally:
        first.kill()
        first.wait()
        first.stdout.close()
    train(tiny.run(), packed, folder)
    assert_same(folder, straight)


def test_a_folder_that_cannot_be_made_is_said(packed):
    with pytest.raises(ValueError, match=r"folder /proc/x cannot be made \(.*\); allowed: .*; remedy: another --out"):
        train(tiny.run(), packed, "/proc/x")


def test_a_full_disk_ends_training_and_loses_nothing(packed, straight, tmp_path, monkeypatch):
    save, calls = torch.save, []

    def filling(value, file):
        calls.append(1)
        if len(calls) == 2:
            file.write(b"half of a checkpoint")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(value, file)

    monkeypatch.setattr(torch, "save", filling)
    with pytest.raises(CheckpointError, match=r"step-00000008\.pt could not be written \(the disk is full\).*allowed.*remedy"):
        train(tiny.run(), packed, tmp_path)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000004.pt"]
    train(tiny.run(), packed, tmp_path)
    assert_same(tmp_path, straight)


# ---- what is left behind ---------------------------------------------------------------------------------------------


def test_metrics_are_what_they_are_called(packed, straight):
    lines = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    run, shown = tiny.run(), Trainer(tiny.run(), packed, ALONE)
    losses, by_level = [], []
    for batch, _ in shown.feed.batches(0, 4):
        loss, density = shown.losses(batch)
        losses.append(loss.detach())
        by_level.append(torch.stack([batch.levels[0], density]))
        shown.update(batch)
    assert lines[0]["loss"] == pytest.approx(torch.cat(losses).mean().item(), rel=1e-5)
    log_snr, density = torch.cat(by_level, 1)
    for k, (low, high) in enumerate(zip((-1e9, *np.arange(-17.5, 18, 2.5)), (*np.arange(-17.5, 18, 2.5), 1e9), strict=True)):
        inside = density[(log_snr > low) & (log_snr <= high)]
        found = lines[0]["loss_by_log_snr"][k]
        assert found == (pytest.approx(inside.mean().item(), rel=1e-4) if len(inside) else None)
    for line in lines:
        assert line["images_per_second"] > 0
        assert 0 <= line["data_wait"] < 1
        assert (line["mfu"], line["memory_gb"], line["skipped"]) == (None, None, 0)
    assert [line["learning_rate"] for line in lines] == [trainer.learning_rate(run, k) for k in (3, 7, 11)]
    assert json.loads((straight / "run.json").read_text()) == settings.as_dict(run)


def test_loss_falls(packed, tmp_path):
    """40 steps, mean of the first and last 10: by a third at least."""
    train(tiny.run(training__steps=40, training__log_every=10, training__learning_rate=5e-3), packed, tmp_path)
    lines = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1] < 2 / 3 * lines[0]


def test_samples_are_drawn_as_it_learns(packed, tmp_path):
    from PIL import Image

    train(tiny.run(training__steps=4, training__sample_every=2), packed, tmp_path)
    pictures = [np.asarray(Image.open(tmp_path / "samples" / f"step-{k:08d}.png")) for k in (2, 4)]
    assert pictures[0].shape == pictures[1].shape == (64, 64, 3)
    assert not np.array_equal(*pictures)
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() < 10  # the same noise through nearly the same network


def test_any_length_of_average_after_the_fact(packed, tmp_path):
    run = tiny.run(training__post_hoc_every=2, training__steps=20, training__checkpoint_every=20)
    train(run, packed, tmp_path)
    kept = post_hoc(tmp_path, 0.1)
    for name, tensor in last(tmp_path, 20).averages["0.1"].items():
        torch.testing.assert_close(kept.ema[name], tensor, rtol=1e-4, atol=1e-6)
    between = post_hoc(tmp_path, 0.07, step=16)
    direct = ema.Average([torch.zeros(())] * 0, ema.power(ema.exponent(0.07)))
    again = Trainer(run, packed, ALONE)
    direct.values = [p.clone() for p in again.parts]
    for batch, _ in again.feed.batches(0, 16):
        again.update(batch)
        direct.update(again.parts, again.step)
    apart = sum((between.ema[n] - v).square().sum().item() for n, v in zip(again.names, direct.values, strict=True)) ** 0.5
    way = sum((p - v).square().sum().item() for p, v in zip(again.parts, direct.values, strict=True)) ** 0.5
    assert apart < 0.1 * way  # a tenth of the average's distance from the last weights; profiles are continuous, steps are 16
    path = checkpoint.write(tmp_path / "between.pt", between)
    assert checkpoint.load_network(path)[1] == tiny.CLASSES
    with pytest.raises(CheckpointError, match=r"no snapshots in .*allowed.*remedy"):
        post_hoc(tmp_path / "elsewhere", 0.1)


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def spoiled(monkeypatch, steps: range) -> None:
    losses = Trainer.losses
    monkeypatch.setattr(
        Trainer,
        "losses",
        lambda self, part: tuple(v * (float("nan") if part.step in steps else 1.0) for v in losses(self, part)),
    )


def test_a_step_that_is_not_finite_is_skipped_counted_and_dumped(packed, tmp_path, monkeypatch, caplog):
    spoiled(monkeypatch, range(2, 5))
    with caplog.at_level(logging.WARNING):
        train(tiny.run(training__checkpoint_every=1, training__keep=99), packed, tmp_path)
    before, after, later = last(tmp_path, 2), last(tmp_path, 5), last(tmp_path, 6)
    for key in ("model", "optimizer"):
        assert checkpoint.digest(getattr(before, key)) == checkpoint.digest(getattr(after, key)), key
    assert (after.skipped, later.skipped, last(tmp_path).skipped) == (3, 3, 3)
    assert checkpoint.digest(later.model) != checkpoint.digest(after.model)
    assert all(torch.isfinite(t).all() for t in (*later.model.values(), *later.ema.values()))
    dumped = json.loads((tmp_path / "nonfinite" / "step-00000003.json").read_text())
    assert dumped["indices"] == order.indices(0, 3, 16, len(packed)).tolist()
    assert dumped["times"] == order.times(0, 3, 16).tolist()
    schedule = of_data(tiny.run().noise, packed).of(torch.tensor(dumped["indices"]))
    assert dumped["log_snr"] == schedule.log_snr(torch.tensor(dumped["times"], dtype=torch.float64)).tolist()
    assert caplog.text.count("is skipped: its gradient is not finite") == 3
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines] == [2, 3, 3]


def test_the_step_that_ends_training_is_dumped_however_many_were_before(packed, tmp_path, monkeypatch, caplog):
    """And no message names a file that is not there."""
    monkeypatch.setattr(training, "_MOST_DUMPED", 1)
    spoiled(monkeypatch, range(1, 99))
    with caplog.at_level(logging.WARNING), pytest.raises(TrainingError, match=r"up to step 5.*step-00000005\.json"):
        train(tiny.run(), packed, tmp_path)
    assert sorted(p.name for p in (tmp_path / "nonfinite").iterdir()) == ["step-00000001.json", "step-00000005.json"]
    named = [record.message for record in caplog.records if "is skipped" in record.message]
    assert ["step-0000" in message for message in named] == [True, False, False, False]


def test_five_in_a_row_end_training(packed, tmp_path, monkeypatch):
    spoiled(monkeypatch, range(4, 99))
    with pytest.raises(
        TrainingError, match=r"5 steps in a row, up to step 8; allowed: fewer than 5; .*step-00000008\.json; remedy"
    ):
        train(tiny.run(), packed, tmp_path)
    assert last(tmp_path, 4).skipped == 0
    assert len(list((tmp_path / "nonfinite").iterdir())) == 5


@pytest.mark.parametrize("change", ["training.learning_rate=0.0005", "training.warm_up=50", "training.precision=bfloat16"])
def test_what_is_advised_after_five_continues(packed, tmp_path, monkeypatch, caplog, change):
    """A loss that is not finite at this rate, in this precision; and is with the change, from the last checkpoint."""
    losses = Trainer.losses

    def fragile(self, part):
        bad = self.run.training == tiny.run().training and part.step >= 4
        return tuple(v * (float("nan") if bad else 1.0) for v in losses(self, part))

    monkeypatch.setattr(Trainer, "losses", fragile)
    with pytest.raises(TrainingError, match=r"--set training\.learning_rate=0\.0005, .*continues from the last checkpoint"):
        train(tiny.run(), packed, tmp_path)
    changed = settings.changed(tiny.run(), [change])
    with caplog.at_level(logging.WARNING):
        assert train(changed, packed, tmp_path) == tmp_path / "network.pt"
    key = change.partition("=")[0]
    old, new = (getattr(run.training, key.partition(".")[2]) for run in (tiny.run(), changed))
    assert f"from step 8 on, other settings: {key}: {old!r} and {new!r}" in caplog.text
    assert json.loads((tmp_path / "run.json").read_text()) == settings.as_dict(changed)
    told = json.loads((tmp_path / training.CHANGES).read_text())
    assert told == {"step": 8, "old and new": [f"{key}: {old!r} and {new!r}"]}
    assert last(tmp_path).run == settings.as_dict(changed)


def test_without_a_change_none_is_told(packed, straight, tmp_path, caplog):
    train(tiny.run(training__steps=6), packed, tmp_path)
    train(tiny.run(), packed, tmp_path)
    assert "other settings" not in caplog.text
    assert not (tmp_path / training.CHANGES).exists()
    assert_same(tmp_path, straight)


def test_samples_and_checkpoints_are_no_part_of_the_speed(packed, tmp_path, monkeypatch):
    """Each takes a second here; the interval that they fall into does not."""
    for name in ("save", "draw_samples", "keep_averages"):
        monkeypatch.setattr(Session, name, lambda self: time.sleep(1.0) or self.folder)
    run = tiny.run(training__steps=8, training__log_every=4, training__checkpoint_every=2, training__post_hoc_every=2)
    train(settings.changed(run, ["training.sample_every=2"]), packed, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 8]
    for line in lines:
        assert line["seconds"] < 1.0  # of more than three
        assert line["images_per_second"] == pytest.approx(4 * 16 / line["seconds"])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("can't allocate memory: 9 GB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize(("micro", "remedy"), [(16, "training.micro_batch = 8"), (1, "training.recompute = true")])
def test_out_of_memory_suggests_what_to_change(packed, tmp_path, monkeypatch, error, micro, remedy):
    def full(self, part):
        raise error

    monkeypatch.setattr(Trainer, "losses", full)
    with pytest.raises(TrainingError, match=rf"out of memory on cpu with micro-batches of {micro} images .*allowed.*{remedy}"):
        train(tiny.run(training__micro_batch=micro), packed, tmp_path)


def test_a_suggested_micro_batch_divides_the_batch(packed, tmp_path, monkeypatch):
    """Of 30 images half are 15, and half of those would be 7, which no training takes."""

    def full(self, part):
        raise MemoryError

    monkeypatch.setattr(Trainer, "losses", full)
    run = tiny.run(training__batch=30, training__micro_batch=15)
    with pytest.raises(TrainingError, match=r"micro-batches of 15 images .*remedy: training\.micro_batch = 6, or"):
        train(run, packed, tmp_path)
    with pytest.raises(TrainingError, match=r"micro-batches of 6 "):  # as suggested
        train(settings.changed(run, ["training.micro_batch=6"]), packed, tmp_path)


def test_a_network_that_does_not_fit_is_said_in_the_same_words(packed, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainer, "ResidualUViT", full)
    with pytest.raises(TrainingError, match=r"out of memory on cpu .*allowed: what fits; remedy: "):
        train(tiny.run(), packed, tmp_path)


def test_other_errors_pass_unchanged(packed, tmp_path, monkeypatch):
    def wrong(self, part):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Trainer, "losses", wrong)
    with pytest.raises(RuntimeError, match=r"^a bug$"):
        train(tiny.run(), packed, tmp_path)


def test_without_a_compiler_training_goes_on_with_one_warning(packed, straight, tmp_path, monkeypatch, caplog):
    class CompilerError(RuntimeError):
        __module__ = "torch._inductor.exc"

    def compiling(function, **_):
        def call(*_):
            raise CompilerError("no C++ compiler found")

        return call

    monkeypatch.setattr(torch, "compile", compiling)
    with caplog.at_level(logging.WARNING):
        train(tiny.run(training__compile=True), packed, tmp_path)
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING and "compiler" in r.message] == [
        "the compiler failed (CompilerError: no C++ compiler found); going on without it"
    ]
    a, b = last(tmp_path), last(straight)
    assert checkpoint.digest(a.model) == checkpoint.digest(b.model)


@pytest.mark.parametrize(
    ("changes", "device", "error", "said"),
    [
        (
            {"model__resolution": 16},
            "cpu",
            ValueError,
            r"data of 8 px and model tiny8 of 16 px; allowed: equal; remedy: pack at 16",
        ),
        ({}, "cuda:9", DistributedError, r"device = cuda:9 .*sees 0 GPUs.*allowed: cpu; remedy: --device cpu"),
        ({}, "tpu", DistributedError, r"device = 'tpu'; allowed: cpu, cuda.*remedy"),
    ],
)
def test_what_does_not_fit_is_refused_before_work(packed, tmp_path, monkeypatch, changes, device, error, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(error, match=said):
        train(tiny.run(**changes), packed, tmp_path, device=device)
    assert list(tmp_path.iterdir()) == []


def test_a_micro_batch_larger_than_a_process_has_is_refused(packed):
    with pytest.raises(
        ValueError, match=r"micro_batch = 16 where each of 2 processes has 8 .*remedy: training.micro_batch = 8"
    ):
        trainer._micro_batch(tiny.run(training__micro_batch=16), 8, World(0, 2, torch.device("cpu")))


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(settings.as_dict(tiny.run())))
    return path


def invoke(*arguments: object):
    return CliRunner().invoke(command.command, [str(a) for a in arguments])


def test_command_trains_in_pieces(packed, straight, file, tmp_path):
    given = [file, "--data", packed.folder, "--out", tmp_path / "out"]
    first = invoke(*given, "--max-minutes", "1e-9")
    assert first.exit_code == command.AGAIN == 75
    assert "step-00000001.pt; the same command continues" in first.output
    second = invoke(*given)
    assert (second.exit_code, second.output) == (0, f"finished: {tmp_path / 'out' / 'network.pt'}\n")
    assert_same(tmp_path / "out", straight)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_under_torchrun_the_code_is_said_once(packed, file, tmp_path, monkeypatch, rank):
    """torchrun ends with 1 whatever a process ended with."""
    monkeypatch.setattr("imagenet.train.train", lambda *_, **__: tmp_path / "out" / "checkpoints" / "step-00000001.pt")
    monkeypatch.setenv("RANK", rank)
    given = [file, "--data", packed.folder, "--out", tmp_path / "out"]
    assert "torchrun returns" not in invoke(*given).output
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    ended = invoke(*given)
    assert ended.exit_code == command.AGAIN
    assert ("(exit code 75; torchrun returns 1 and calls it a failure)" in ended.output) == (rank == "0")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "training.stepz=3"], "did you mean steps"),
        (["--set", "training.steps=0"], "training.steps = 0; allowed: ≥ 1; remedy"),
        ([], "--data and --out missing; allowed"),
        (["--data", "nowhere", "--out", "x"], "no pack in nowhere; allowed"),
    ],
)
def test_command_says_what_is_wrong(file, arguments, said):
    result = invoke(file, *arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output


def test_session_counts_flops_of_training(packed, tmp_path):
    """Three forward passes, two FLOP a multiply-add; four where blocks are computed again."""
    flops = [Session(Trainer(tiny.run(training__recompute=r), packed, ALONE), tmp_path).flop for r in (False, True)]
    assert flops[1] == pytest.approx(4 / 3 * flops[0])


def test_objective_of_the_settings_is_in_force(packed):
    runs = [
        tiny.run(),
        tiny.run(objective__rate_factor=False),
        tiny.run(objective__bias=-1.0),
        tiny.run(objective__prediction="data"),
    ]
    levels = [batch_of(Trainer(run, packed, ALONE)).levels for run in runs]
    numbers = [objective.Levels.of(level) for level in levels]
    assert torch.equal(numbers[1].weight, numbers[1].density)
    assert not torch.equal(numbers[0].weight, numbers[0].density)
    assert torch.equal(numbers[0].log_snr, numbers[2].log_snr)
    assert (numbers[2].density < numbers[0].density).all()
    assert (numbers[3].density > numbers[0].density).all()
