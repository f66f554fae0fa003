"""What drawing images needs beside the network, so that a checkpoint is enough and the data set may be elsewhere.

Names and frequencies of the classes, the spectral parameters θ of the whole data set, p(θ | class), and the variance of the
mean colour. Two files of plain arrays in the folder of a training: knowledge.npz and prior.npz (`imagenet.prior`); no pickles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from imagenet import schedules
from imagenet.prior import Prior
from imagenet.schedules import Maker, Measured
from imagenet.settings import Noise
from theory import record
from theory.per_image import Basis
from theory.spectrum import rings

FILE, PRIOR = "knowledge.npz", "prior.npz"


class Described(Measured, Protocol):
    """A packed data set: its spectra (`imagenet.schedules.Measured`), classes and prior."""

    @property
    def labels(self) -> Tensor | np.ndarray: ...
    @property
    def class_names(self) -> Sequence[str]: ...
    @property
    def prior(self) -> Prior: ...


@dataclass(frozen=True, eq=False)
class Knowledge:
    """size px; class_names; class_counts (classes,) of the training images; mean_theta (1, D) float64 of the whole data set;
    mean_colour_power as `imagenet.schedules.Measured`; prior p(θ | class), whose basis θ belongs to."""

    size: int
    class_names: tuple[str, ...]
    class_counts: Tensor
    mean_theta: Tensor
    mean_colour_power: float
    prior: Prior

    @property
    def basis(self) -> Basis:
        return self.prior.basis

    @classmethod
    def of(cls, packed: Described) -> Knowledge:
        names = tuple(str(name) for name in packed.class_names)
        counts = torch.bincount(torch.as_tensor(packed.labels).long(), minlength=len(names))
        return cls(packed.size, names, counts, schedules.mean_theta(packed), float(packed.mean_colour_power), packed.prior)

    def maker(self, noise: Noise) -> Maker:
        """Rows of λ by the very function that made those of training."""
        return Maker(noise, self.size, self.basis, self.mean_colour_power)

    def save(self, folder: str | Path) -> None:
        """Write both files into the folder, each whole or not at all."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        self.prior.save(target / PRIOR)
        record.save_arrays(
            target / FILE,
            size=np.array(self.size),
            class_names=np.array(self.class_names),
            class_counts=self.class_counts.numpy(),
            mean_theta=self.mean_theta.numpy(),
            mean_colour_power=np.array(self.mean_colour_power),
        )

    @classmethod
    def load(cls, folder: str | Path) -> Knowledge:
        """What `save` has written. Raises FileNotFoundError if a file is absent, ValueError if one is of another kind."""
        target = Path(folder)
        for name in (FILE, PRIOR):
            if not (target / name).is_file():
                raise FileNotFoundError(
                    f"no {name} in {target}; allowed: the folder of a training; remedy: copy {FILE} and {PRIOR} from there to "
                    "beside the checkpoint"
                )
        prior = Prior.load(target / PRIOR)
        with record.arrays(target / FILE, f"the {FILE} of a training", "copy it again") as stored:
            found = cls(
                int(stored["size"]),
                tuple(str(name) for name in stored["class_names"]),
                torch.from_numpy(stored["class_counts"]),
                torch.from_numpy(stored["mean_theta"]),
                float(stored["mean_colour_power"]),
                prior,
            )
            wrong = _misfits(found)
            if wrong:
                raise ValueError(wrong)
        return found

    @classmethod
    def beside(cls, checkpoint: str | Path) -> Knowledge:
        """Of a training's folder, or of a file in it or in its folder of checkpoints. Raises as `load`."""
        path = Path(checkpoint)
        places = [path] if path.is_dir() else [path.parent, path.parent.parent]
        return cls.load(next((place for place in places if (place / FILE).is_file()), places[0]))


def _misfits(found: Knowledge) -> str:
    """What in knowledge from a file would fail only when images are drawn; empty if nothing would."""
    counts, theta, names = found.class_counts, found.mean_theta, found.class_names
    if counts.shape != (len(names),) or counts.dtype != torch.int64 or bool((counts < 0).any()) or not bool((counts > 0).any()):
        return f"counts of {counts.dtype} {tuple(counts.shape)} for {len(names)} classes, or none above 0"
    if theta.shape != (1, 2 + len(found.basis.components)) or not bool(theta.isfinite().all()):
        return f"θ of shape {tuple(theta.shape)}, {2 + len(found.basis.components)} parameters in prior.npz, or not finite"
    lacking = [
        name for name, count in zip(names, counts.tolist(), strict=True) if count and name not in found.prior.class_names
    ]
    if lacking:
        return f"classes that prior.npz does not have, such as {lacking[0]!r}"
    if found.size < 4 or len(found.basis.mean) != rings(found.size, found.size).nyquist:
        return f"size {found.size} px, and a basis of {len(found.basis.mean)} rings in prior.npz"
    if not 0 <= found.mean_colour_power < math.inf:
        return f"variance of the mean colour {found.mean_colour_power}"
    return ""
