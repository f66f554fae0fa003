"""Dry runs: every ImageNet configuration passes without its data and without memory for it."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
from click.testing import CliRunner

from imagenet import count, dry_run, settings
from imagenet.commands.train import command
from tests import tiny

RUNS = sorted((Path(__file__).parents[1] / "config" / "runs").glob("imagenet-*.yaml"))


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_every_imagenet_run_passes_without_data(path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = CliRunner().invoke(command, [str(path), "--dry-run"])
    assert result.exit_code == 0, result.output
    counted = count.count(settings.read(path).model)
    assert f"{counted.parameters / 1e6:.1f} million parameters" in result.output
    assert f"{counted.mac / 1e9:.3g} GMAC" in result.output
    assert "shapes: passed forward and backward on the meta device" in result.output
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < counted.parameters  # bytes: a quarter of what the weights alone would take


def test_there_are_such_runs():
    assert len(RUNS) >= 3


def test_data_at_hand_give_classes_and_epochs(tmp_path):
    packed = tiny.packed(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(settings.as_dict(tiny.run())))
    result = CliRunner().invoke(command, [str(tmp_path / "run.json"), "--dry-run", "--data", str(packed.folder)])
    assert "8 px, 3 classes" in result.output
    assert "4.8 epochs of 40" in result.output  # 12 · 16/40


def test_memory_is_that_of_the_count():
    text = dry_run.describe(tiny.run(training__micro_batch=4), classes=3, processes=2)
    total = count.memory(tiny.run().model, 4, classes=3)["total"]
    assert f"memory on each of 2 devices, micro-batches of 4: about {total / 1e9:.1f} GB" in text
    assert "16 images = 2 × 2 × 4" in text


def test_what_does_not_fit_together_is_found(tmp_path):
    values = settings.as_dict(tiny.run()) | {"model": settings.as_dict(tiny.run())["model"] | {"resolution": 9}}
    (tmp_path / "run.json").write_text(json.dumps(values))
    result = CliRunner().invoke(command, [str(tmp_path / "run.json"), "--dry-run"])
    assert result.exit_code == 1
    assert "allowed: a multiple of patch·2^(levels − 1) = 2; remedy" in result.output
