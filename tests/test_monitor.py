"""What a training says while it runs: speed, time left, metrics that survive damage, TensorBoard only where it works."""

from __future__ import annotations

import io
import json
import logging
import math
import sys
import types

import pytest
import torch

from imagenet import count, monitor
from imagenet.monitor import Clock, Flags, Journal, Ticker

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless told: time.perf_counter of the module."""
    now = types.SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(monitor.time, "perf_counter", lambda: now.seconds)
    return now


# ---- speed and time left ----------------------------------------------------------------------------------------------


def test_speed_utilisation_and_waiting_by_hand(clock):
    """300 images in 4 s of which 1 s was waiting; 2 devices of 1 TFLOP/s, 5 GFLOP an image."""
    timer = Clock()
    timer.start()
    for _ in range(3):
        timer.count(100, 1 / 3)
    clock.seconds += 4.0
    found = timer.read(5e9, 1e12, 2)
    assert found["images_per_second"] == 75
    assert found["mfu"] == pytest.approx(75 * 5e9 / 2e12)
    assert found["data_wait"] == pytest.approx(0.25)
    assert found["seconds"] == 4
    clock.seconds += 1.0
    again = timer.read(5e9, None, 2)  # it starts anew, and an unknown peak gives no share of it
    assert (again["images_per_second"], again["data_wait"], again["mfu"]) == (0, 0, None)


def test_what_is_done_beside_steps_takes_no_time_of_theirs(clock):
    """BITE: a checkpoint of 6 s among 4 s of steps makes 30 images/s of 75."""
    timer = Clock()
    timer.start()
    timer.count(300, 1.0)
    clock.seconds += 1.0
    with timer.stopped():
        clock.seconds += 6.0
    clock.seconds += 3.0
    found = timer.read(1.0, None, 1)
    assert (found["images_per_second"], found["seconds"], found["data_wait"]) == (75, 4, 0.25)


def test_no_time_at_all_divides_by_nothing(clock):
    timer = Clock()
    timer.start()
    timer.count(100, 0.0)
    assert timer.read(1.0, 1.0, 1)["images_per_second"] == 0


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100-PCIe"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA Foo", None),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40", "L40"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA GH200 480GB", None),
    ],
)
def test_the_peak_goes_by_the_devices_name(monkeypatch, name, peak):
    """The longest name that fits by whole words: H100-PCIe is not the H100, an L40 no L4, and a MIG slice none."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert monitor.peak_flops(torch.device("cuda", 0)) == (None if peak is None else count.PEAKS[peak] * 1e12)
    assert monitor.peak_flops(CPU) is None


def test_a_log_gets_a_line_at_every_tenth_with_the_time_left(clock, caplog, monkeypatch):
    """200 steps from the 100th on, 3 s each: after step 120, 20 of them, 80 are left, 4 min."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # no terminal
    ticker = Ticker("run", 100, 200, speaks=True)
    with caplog.at_level(logging.INFO):
        for step in range(101, 201):
            clock.seconds += 3.0
            if step == 115:
                ticker.loss(0.25)
            ticker.tick(step)
    ticker.close()
    lines = [record.message for record in caplog.records]
    assert lines[0] == "run: step 120 of 200, loss 0.2500, 4.0 min left"
    assert [line.split()[2] for line in lines] == ["120", "140", "160", "180", "200"]
    assert lines[-1].endswith("0.0 min left")


def test_other_processes_say_nothing(caplog):
    ticker = Ticker("run", 0, 10, speaks=False)
    with caplog.at_level(logging.INFO):
        for step in range(1, 11):
            ticker.tick(step)
    assert caplog.records == []


def test_a_terminal_gets_a_bar(monkeypatch, caplog):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    ticker = Ticker("run", 0, 4, speaks=True)
    ticker.loss(0.5)
    with caplog.at_level(logging.INFO):
        for step in range(1, 5):
            ticker.tick(step)
    ticker.close()
    assert caplog.records == []
    for text in ("run: ", "4/4", "loss=0.5000", "step/s"):
        assert text in screen.getvalue()


def test_flags_come_in_order():
    flags = Flags()
    for step in range(5):
        flags.put(step, torch.tensor(float(step == 3)))
    assert flags.arrived() == [(0, False), (1, False), (2, False), (3, True), (4, False)]
    assert flags.arrived(everything=True) == []


# ---- metrics.jsonl and TensorBoard ------------------------------------------------------------------------------------


def test_lines_after_the_step_and_damaged_ones_go(tmp_path):
    """Cut by a kill, of another encoding, no JSON, JSON of another kind: what is whole stays."""
    good = [json.dumps({"step": step, "loss": 1.0}) for step in (4, 8, 12)]
    junk = [b"\xb5\xf3", b"[1]", b"null", b'{"loss": 1}', b"[" * 100_000, b'{"step": 8, "lo']
    (tmp_path / monitor.METRICS).write_bytes(
        b"\n".join([good[0].encode(), *junk, good[1].encode(), good[2].encode(), junk[-1]])
    )
    journal = Journal(tmp_path, 8)
    journal.write({"step": 9, "loss": math.nan, "loss_by_log_snr": [math.inf, 1.0, None]})
    journal.close()
    lines = (tmp_path / monitor.METRICS).read_text().splitlines()
    assert lines[:2] == good[:2]
    assert json.loads(lines[2]) == {"step": 9, "loss": None, "loss_by_log_snr": [None, 1.0, None]}
    assert len(lines) == 3


def _with_board(monkeypatch, module):
    monkeypatch.setattr(monitor.importlib.util, "find_spec", lambda name: object() if name == "tensorboard" else None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)


def test_tensorboard_gets_the_numbers_if_it_is_there(tmp_path, monkeypatch):
    told: list[tuple[object, ...]] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            told.append(("folder", folder, purge_step))

        def add_scalar(self, key: str, value: float, step: int) -> None:
            told.append((key, value, step))

        def close(self) -> None:
            told.append(("closed",))

    _with_board(monkeypatch, types.SimpleNamespace(SummaryWriter=SummaryWriter))
    journal = Journal(tmp_path, 3)  # resumed there: what a lost piece wrote of later steps goes
    journal.write({"step": 4, "loss": 0.5, "mfu": None, "loss_by_log_snr": [0.1]})
    journal.close()
    assert told == [("folder", str(tmp_path / "tensorboard"), 4), ("loss", 0.5, 4), ("closed",)]


@pytest.mark.parametrize("installed", [False, True])
def test_without_a_working_tensorboard_there_is_metrics_jsonl(tmp_path, monkeypatch, caplog, installed):
    """Not installed, or installed without what it needs: then a warning says so."""
    _with_board(monkeypatch, None)  # importing it raises ImportError
    if not installed:
        monkeypatch.setattr(monitor.importlib.util, "find_spec", lambda name: None)
    journal = Journal(tmp_path, 0)
    journal.write({"step": 1, "loss": 0.5})
    journal.close()
    assert ("TensorBoard cannot be loaded" in caplog.text) == installed
    assert json.loads((tmp_path / monitor.METRICS).read_text())["loss"] == 0.5
