"""p(θ | class): Gaussian mixtures of the spectral parameters, one per class, to draw a schedule before the image.

θ is what `theory.per_image.parameters` gives: log amplitude, slope, and coefficients of components. Esteves and Makadia (arXiv
2603.19222) draw spectral parameters from a class-conditional Gaussian mixture at inference; its details are ours: θ is
standardised by the spread of all classes, the number of Gaussians is chosen by BIC, `floor` is added to every standardised
variance so that a class of near copies does not collapse, and a class with fewer than `smallest` images takes the mixture of
all.

A file holds plain arrays (.npz, no pickle), and is written whole or not at all.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from theory import record
from theory.per_image import Basis
from theory.stream import Stream

log = logging.getLogger(__name__)

POOLED = ""  # the name of the mixture of all classes in the table of mixtures


@dataclass(frozen=True, eq=False)
class Mixture:
    """weights (M,), means (M, D), roots (M, D, D): lower Cholesky factors of the covariances."""

    weights: np.ndarray
    means: np.ndarray
    roots: np.ndarray

    def draw(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """(count, D), independent."""
        which = generator.choice(len(self.weights), size=count, p=self.weights)
        normal = generator.standard_normal((count, self.means.shape[1]))
        drawn: np.ndarray = self.means[which] + np.einsum("nij, nj -> ni", self.roots[which], normal)
        return drawn


@dataclass(frozen=True, eq=False)
class Prior:
    """A mixture for each class; `mixtures[POOLED]` is that of all. `basis` is what θ's coefficients belong to."""

    mixtures: dict[str, Mixture]
    class_names: tuple[str, ...]
    basis: Basis

    def mixture(self, name: str) -> Mixture:
        """Of a class, or of all where the class was too small. Raises ValueError for an unknown name."""
        if name not in self.class_names:
            known = ", ".join(self.class_names[:10]) + (" …" if len(self.class_names) > 10 else "")
            raise ValueError(f"class {name!r}; allowed: {known}; remedy: a class of the data that the prior was fitted to")
        return self.mixtures.get(name, self.mixtures[POOLED])

    def draw(self, names: Sequence[str], stream: Stream, start: int = 0) -> Tensor:
        """θ for images start, start + 1, … of the given classes, (n, D) float64: image k has its own stream."""
        rows = [self.mixture(name).draw(1, stream.generator(start + k)) for k, name in enumerate(names)]
        return torch.from_numpy(np.concatenate(rows)) if rows else torch.zeros(0, 2 + len(self.basis.components)).double()

    def save(self, path: Path) -> None:
        """Write plain arrays to `path`, which ends in .npz."""
        named = sorted(self.mixtures)
        arrays = {
            "class_names": np.array(self.class_names),
            "mixture_names": np.array(named),
            "basis_mean": self.basis.mean.numpy(),
            "basis_components": self.basis.components.numpy(),
        }
        for number, name in enumerate(named):
            mixture = self.mixtures[name]
            arrays |= {f"weights_{number}": mixture.weights, f"means_{number}": mixture.means, f"roots_{number}": mixture.roots}
        record.save_arrays(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Prior:
        """What `save` has written. Raises ValueError for another kind of file, or one whose arrays do not fit together."""
        with record.arrays(path, "a file of Prior.save", "fit it again") as stored:
            basis = Basis(torch.from_numpy(stored["basis_mean"]), torch.from_numpy(stored["basis_components"]))
            mixtures = {
                str(name): Mixture(stored[f"weights_{k}"], stored[f"means_{k}"], stored[f"roots_{k}"])
                for k, name in enumerate(stored["mixture_names"])
            }
            found = cls(mixtures, tuple(str(name) for name in stored["class_names"]), basis)
            wrong = _misfits(found)
            if wrong:
                raise ValueError(wrong)
        return found


def _misfits(found: Prior) -> str:
    """What in a prior from a file would fail only when it is drawn from; empty if nothing would."""
    mean, components = found.basis.mean, found.basis.components
    if mean.ndim != 1 or components.ndim != 2 or components.shape[1] != len(mean) or mean.dtype != torch.float64:
        return f"basis of {mean.dtype} {tuple(mean.shape)} and {tuple(components.shape)}"
    if not bool(mean.isfinite().all()) or not bool(components.isfinite().all()):
        return "basis with values that are not finite"
    if POOLED not in found.mixtures or not found.class_names:
        return "no mixture of all classes, or no class"
    width = 2 + len(components)
    for name, mixture in found.mixtures.items():
        count = mixture.weights.size
        shapes = (mixture.weights.shape, mixture.means.shape, mixture.roots.shape)
        if not count or shapes != ((count,), (count, width), (count, width, width)):
            return f"mixture {name!r} of shapes {shapes} for {width} parameters"
        values = (mixture.weights, mixture.means, mixture.roots)
        if any(v.dtype != np.float64 or not np.isfinite(v).all() for v in values):
            return f"mixture {name!r} with values that are not finite float64"
        if (mixture.weights < 0).any() or abs(mixture.weights.sum() - 1) > 1e-9:  # as strict as numpy's own choice
            return f"mixture {name!r} with weights {mixture.weights.tolist()}"
    return ""


def fit(
    theta: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    basis: Basis,
    *,
    most: int = 4,
    floor: float = 1e-3,
    smallest: int = 16,
    seed: int = 0,
) -> Prior:
    """Mixtures of at most `most` Gaussians for θ (n, D) of classes labels (n,).

    Raises ValueError for fewer than two images, or values that are not finite.
    """
    values, numbers = theta.numpy().astype(np.float64), labels.numpy()
    if values.ndim != 2 or len(values) < 2 or len(values) != len(numbers) or not np.isfinite(values).all():
        raise ValueError(
            f"θ of shape {values.shape} with {len(numbers)} labels, {int((~np.isfinite(values)).sum())} values not finite; "
            "allowed: (n, D), n ≥ 2, finite, a label each; remedy: drop those images"
        )
    spread = values.std(0, ddof=1)
    spread = np.where(spread > 0, spread, 1.0)  # a constant parameter stays where it is, but for the floor
    mixtures = {POOLED: _mixture(values, spread, most, floor, seed)}
    small = []
    present = [str(class_names[int(k)]) for k in np.unique(numbers)]
    for label in np.unique(numbers):
        mine = values[numbers == label]
        if len(mine) < max(smallest, 2):
            small.append(f"{class_names[int(label)]} ({len(mine)})")
        else:
            mixtures[str(class_names[int(label)])] = _mixture(mine, spread, most, floor, seed)
    if small:
        log.warning(
            "%d of %d classes have fewer than %d images and take the mixture of all: %s",
            len(small), len(present), smallest, ", ".join(small[:10]) + (" …" if len(small) > 10 else ""),
        )  # fmt: skip
    return Prior(mixtures, tuple(present), basis)


def _mixture(values: np.ndarray, spread: np.ndarray, most: int, floor: float, seed: int) -> Mixture:
    """The mixture of least BIC; each Gaussian must have more images than dimensions to describe it."""
    from sklearn.exceptions import ConvergenceWarning  # seconds to import, and only fitting needs it
    from sklearn.mixture import GaussianMixture

    centre = values.mean(0)
    standard = (values - centre) / spread
    largest = max(1, min(most, len(values) // (values.shape[1] + 1)))
    candidates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # such a candidate has a worse BIC, nothing more
        for count in range(1, largest + 1):
            found = GaussianMixture(count, reg_covar=floor, n_init=2 if count > 1 else 1, random_state=seed).fit(standard)
            candidates.append((found.bic(standard), count, found))
    best = min(candidates, key=lambda candidate: candidate[:2])[2]
    roots = np.linalg.cholesky(best.covariances_) * spread[:, None]
    return Mixture(best.weights_ / best.weights_.sum(), centre + spread * best.means_, roots)
