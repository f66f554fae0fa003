"""A run and a packed data set so small that training takes a few milliseconds a step."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imagenet.pack import pack
from imagenet.packed import Packed
from imagenet.settings import Run, build

SIZE, CLASSES, IMAGES = 8, 3, 40


def run(**changes: object) -> Run:
    """One residual block a level and two transformer blocks; `changes` as training__steps=4, seed=1."""
    values: dict[str, object] = {
        "name": "tiny",
        "model": {
            "name": "tiny8",
            "resolution": SIZE,
            "patch": 1,
            "channels": [8, 16],
            "types": "RT",
            "blocks": [1],
            "middle": 2,
            "embedding": 16,
        },
        "noise": {"kind": "spectral"},
        "training": {
            "steps": 12,
            "batch": 16,
            "learning_rate": 1e-3,
            "warm_up": 4,
            "ema": 0.9,
            "log_every": 4,
            "checkpoint_every": 4,
            "sample_every": 1000,
        },
    }
    for name, value in changes.items():
        *way, last = name.split("__")
        section = values
        for key in way:
            section = section.setdefault(key, {})  # type: ignore[assignment]
        section[last] = value
    return build(Run, values, "tiny")


def packed(folder: Path) -> Packed:
    """40 images of 8 px in three classes: smooth stripes with noise."""
    random = np.random.default_rng(0)
    phase = random.uniform(0, 2 * np.pi, (IMAGES, 1, 1, 3))
    stripes = np.sin(np.arange(SIZE)[:, None, None] + phase) * 60 + 128 + random.normal(0, 20, (IMAGES, SIZE, SIZE, 3))
    archive = folder / "tiny.npz"
    np.savez(archive, images=stripes.clip(0, 255).astype(np.uint8), labels=np.arange(IMAGES) % CLASSES)
    return pack(archive, folder / "pack", SIZE, workers=1)
