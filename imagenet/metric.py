"""How far generated images are from photographs: Fréchet distance, inception score, precision and recall, spectra, classes.

Fréchet distance of two Gaussians (Dowson and Landau 1982; of features of images: Heusel et al., arXiv 1706.08500):

    FD = |μ₁ − μ₂|² + tr S₁ + tr S₂ − 2 tr (S₁^½ S₂ S₁^½)^½.

It is the squared 2-Wasserstein distance when the features are Gaussian. It is biased upwards when images are few, so a value is
worth comparing only at equal N, which is printed beside it, and N ≤ dimension is refused: the covariance is then singular.

Precision and recall: Kynkäänniemi et al., arXiv 1904.06991. Inception score: Salimans et al., arXiv 1606.03498. The distance of
spectra, the nearest class mean and the error of class proportions: ours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from theory.spectrum import Rings

# Elements of the largest table of distances held at once: 2²⁴ of float64 are 128 MB.
_DISTANCES = 1 << 24


# ---- moments and the Fréchet distance ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of features seen in pieces; float64, on the device of the features.

    count    images seen
    mean     (dim,)
    scatter  (dim, dim) Σ (f − mean)(f − mean)ᵀ
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """The moments of features (n, dim), n ≥ 1. Raises ValueError for another shape, or values that are not finite."""
        if features.ndim != 2 or not len(features):
            raise ValueError(f"features have shape {tuple(features.shape)}; allowed: (n, dim), n ≥ 1; remedy: one row an image")
        bad = ~torch.isfinite(features).all(1)
        if bool(bad.any()):
            row = int(bad.nonzero()[0, 0])
            raise ValueError(
                f"the features of image {row} of {len(features)} are not finite; allowed: finite values; remedy: look at that "
                "image, and compute the features in float32"
            )
        values = features.double()
        mean = values.mean(0)
        values = values - mean
        return cls(len(features), mean, values.T @ values)

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets together: no approximation (Chan, Golub and LeVeque 1983), rounding apart."""
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"moments of {len(self.mean)} and {len(other.mean)} features; allowed: equal; remedy: one extractor for both"
            )
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        scatter = self.scatter + other.scatter + torch.outer(shift, shift) * (self.count * other.count / count)
        return Moments(count, mean, scatter)

    @property
    def covariance(self) -> Tensor:
        """(dim, dim), unbiased. Raises ValueError for a single image."""
        if self.count < 2:
            raise ValueError(f"a covariance of {self.count} image; allowed: ≥ 2; remedy: give more images")
        return self.scatter / (self.count - 1)


def require_enough(count: int, dim: int, label: str, what: str = "images") -> None:
    """Raises ValueError unless count > dim: fewer give a singular covariance, and a distance that measures their number."""
    if count <= dim:
        fewer = f", or choose an extractor of fewer features (pca={max(1, count // 10)})" if count > 1 else ""
        raise ValueError(
            f"too few images for {label}: {count} {what} for {dim} features; allowed: more than {dim}, better {10 * dim}; "
            f"remedy: raise the number of images{fewer}"
        )


def frechet(first: Moments, second: Moments, label: str = "a Fréchet distance") -> float:
    """The Fréchet distance of two sets of features. Raises ValueError where a set has no more images than features."""
    for moments in (first, second):
        require_enough(moments.count, len(moments.mean), label)
    return gaussian_distance(first.mean, first.covariance, second.mean, second.covariance)


def frechet_without_bias(
    reference: Moments, features: Tensor, label: str = "a Fréchet distance", asked: Tensor | None = None
) -> float:
    """The distance that features (N, dim) would have from the reference with N → ∞ (Chong and Forsyth, arXiv 1911.07023).

    The bias falls as 1/N to first order, so FD_∞ = 2·FD_N − FD_{N/2}, the latter the mean of the two halves: every other image
    of each class asked for (N,), or of all without. (Of classes asked for in turn, every other image would be every other
    class if their number is even.) Its spread is larger than that of FD_N, it may be negative, and the reference keeps its own
    bias. NaN where a half has no more images than features.
    """
    if len(features) // 2 <= features.shape[1]:
        return math.nan
    by_class = features if asked is None else features[asked.argsort(stable=True)]
    halves = [frechet(reference, Moments.of(half), label) for half in (by_class[::2], by_class[1::2])]
    return 2 * frechet(reference, Moments.of(features), label) - sum(halves) / 2


def gaussian_distance(mean_1: Tensor, covariance_1: Tensor, mean_2: Tensor, covariance_2: Tensor) -> float:
    """FD of N(mean_1, covariance_1) and N(mean_2, covariance_2): (dim,), (dim, dim) each, positive semi-definite, float64.

    With Sᵢ = Fᵢ Fᵢᵀ from their eigenvectors, the eigenvalues of S₁^½ S₂ S₁^½ are the squared singular values of F₁ᵀ F₂.
    Taking singular values avoids the square: an eigenvalue is known to 10⁻¹⁶ of the largest, so its root only to 10⁻⁸, and a
    covariance without full rank has many that should be 0. Raises ValueError for a matrix that is no covariance.
    """
    factor_1, factor_2 = _factor(covariance_1.double()), _factor(covariance_2.double())
    overlap = torch.linalg.svdvals(factor_1.T @ factor_2).sum()
    shift = (mean_1.double() - mean_2.double()).square().sum()
    distance = float(shift + covariance_1.double().trace() + covariance_2.double().trace() - 2 * overlap)
    return max(distance, 0.0)  # the true value is ≥ 0; rounding of equal sets falls to either side


def _factor(covariance: Tensor) -> Tensor:
    """F (dim, rank) with F Fᵀ = covariance. Eigenvalues below dim·ε·largest are rounding: they count as 0."""
    if not bool(torch.isfinite(covariance).all()):
        raise ValueError("a covariance is not finite; allowed: finite values; remedy: look for images that are not finite")
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    limit = len(values) * torch.finfo(torch.float64).eps * float(values.abs().max())
    if float(values[0]) < -max(1e3 * limit, 0.0):
        raise ValueError(
            f"a covariance has the eigenvalue {float(values[0]):g}, the largest being {float(values[-1]):g}; allowed: ≥ 0; "
            "remedy: pass the covariance of features, not another matrix"
        )
    kept = values > limit
    return vectors[:, kept] * values[kept].sqrt()


# ---- scores on features -----------------------------------------------------------------------------------------------


def inception_score(logits: Tensor, splits: int = 10) -> tuple[float, float]:
    """exp E KL(p(class | image) ‖ p(class)), mean and standard deviation over `splits` equal parts of logits (n, classes).

    Parts are taken in the order of the images, which must not be sorted by class. Raises ValueError for n < 2·splits.
    """
    if len(logits) < 2 * splits:
        raise ValueError(
            f"{len(logits)} images in {splits} splits; allowed: ≥ {2 * splits}; remedy: more images, or fewer splits"
        )
    log_p = logits.double().log_softmax(1)
    edges = [part * len(logits) // splits for part in range(splits + 1)]
    scores = []
    for start, stop in itertools.pairwise(edges):
        part = log_p[start:stop]
        marginal = part.logsumexp(0) - math.log(stop - start)
        scores.append(float((part.exp() * (part - marginal)).sum(1).mean().exp()))
    return float(np.mean(scores)), float(np.std(scores))


def precision_recall(real: Tensor, generated: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Share of generated images on the manifold of the real ones, and of real ones on the manifold of the generated.

    real (n, dim), generated (m, dim) features. A manifold is the union of balls around its images, each reaching to the k-th
    nearest other image of its set (Kynkäänniemi et al. 2019, equations 1 and 2). Raises ValueError for n or m ≤ neighbours.
    """
    fewest = min(len(real), len(generated))
    if neighbours < 1 or fewest <= neighbours:
        raise ValueError(
            f"{neighbours} neighbours among {fewest} images; allowed: 1 ≤ neighbours < images; remedy: more images"
        )
    centre = real.double().mean(0)  # distances by |a|² + |b|² − 2ab: small numbers keep their digits
    real, generated = real.double() - centre, generated.double() - centre
    return _covered(generated, real, neighbours), _covered(real, generated, neighbours)


def _covered(points: Tensor, centres: Tensor, neighbours: int) -> float:
    """Share of the points (m, dim) in a ball around one of the centres (n, dim)."""
    radii = torch.cat(
        [
            _off_diagonal(squares, start).kthvalue(neighbours, dim=1).values
            for start, squares in _squared_distances(centres, centres)
        ]
    )
    inside = [(squares <= radii).any(1) for _, squares in _squared_distances(points, centres)]
    return float(torch.cat(inside).double().mean())


def _squared_distances(rows: Tensor, columns: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(first row, |row − column|² of a chunk of rows), chunk by chunk."""
    size = max(1, _DISTANCES // len(columns))
    of_columns = columns.square().sum(1)
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        yield start, (part.square().sum(1)[:, None] + of_columns - 2 * part @ columns.T).clamp(min=0)


def _off_diagonal(squares: Tensor, start: int) -> Tensor:
    """Distances to oneself, row k being image start + k, set to ∞."""
    own = torch.arange(len(squares), device=squares.device)
    squares[own, own + start] = math.inf
    return squares


# ---- spectra ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Band:
    """The rings first … last of a spectrum, an octave."""

    first: int
    last: int

    @property
    def name(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}–{self.last}"


def octaves(table: Rings) -> tuple[Band, ...]:
    """The octaves of rings 1 … nyquist: 1, 2–3, 4–7, … A last one of the ring nyquist alone joins the one before."""
    starts = [2**k for k in range(table.nyquist.bit_length())]
    if len(starts) > 1 and starts[-1] == table.nyquist:
        starts.pop()
    return tuple(Band(start, stop - 1) for start, stop in zip(starts, [*starts[1:], table.nyquist + 1], strict=True))


def spectrum_distance(samples: Tensor, data: Tensor, table: Rings) -> dict[str, float]:
    """Mean |Δ log R| of every octave, from mean spectra (K + 1,) of samples and of data; 0.1 is 10 % of power.

    The absolute value is taken ring by ring, so that too much power here does not make up for too little there. Raises
    ValueError where a ring has no power: images that are all constant.
    """
    for name, power in (("samples", samples), ("data", data)):
        empty = (power[1 : table.nyquist + 1] <= 0).nonzero()
        if len(empty):
            raise ValueError(
                f"the spectrum of the {name} has no power at f = {int(empty[0, 0]) + 1}; allowed: > 0; remedy: look at the "
                "images, they are constant"
            )
    gap = (samples.double().cpu().clamp(min=0).log() - data.double().cpu().log()).abs()
    return {band.name: float(gap[band.first : band.last + 1].mean()) for band in octaves(table)}


# ---- classes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class NearestMean:
    """The nearest class mean in the metric of the covariance within classes: linear discriminant analysis, equal priors.

    weight (classes, dim), bias (classes,): the class is where weight·f + bias is largest; a class never seen has bias −∞.
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, features: Tensor, labels: Tensor, classes: int) -> NearestMean:
        """From features (n, dim) and labels (n,). The covariance within classes is pooled and shrunk (Ledoit and Wolf 2004).

        Raises ValueError with fewer than two images more than classes: nothing is left to tell the covariance from.
        """
        present, own, counts = labels.unique(return_inverse=True, return_counts=True)
        if len(labels) < len(present) + 2:
            raise ValueError(
                f"{len(labels)} images of {len(present)} classes; allowed: ≥ {len(present) + 2}; remedy: more images a class"
            )
        from sklearn.covariance import ledoit_wolf  # seconds to import, and only fitting needs it

        values = features.double()
        means = values.new_zeros((len(present), values.shape[1])).index_add_(0, own, values) / counts[:, None]
        within = (values - means[own]).cpu()
        # In units of their own deviation, as scikit-learn's discriminant does: shrinking is towards equal variances.
        unit = within.square().mean(0).sqrt()
        unit = unit.where(unit > 0, 1.0)
        shrunk, _ = ledoit_wolf((within / unit).numpy(), assume_centered=True)
        covariance = torch.from_numpy(shrunk) * torch.outer(unit, unit) * (len(labels) / (len(labels) - len(present)))
        found = torch.linalg.lstsq(covariance, means.cpu().T, driver="gelsd").solution.T  # a constant feature has no variance
        weight = torch.zeros(classes, values.shape[1], dtype=torch.float64)
        bias = torch.full((classes,), -math.inf, dtype=torch.float64)
        weight[present.cpu()] = found
        bias[present.cpu()] = -0.5 * (found * means.cpu()).sum(1)
        return cls(weight, bias)

    def __call__(self, features: Tensor) -> Tensor:
        """The class (n,) int64 of features (n, dim)."""
        return (features.double().cpu() @ self.weight.T + self.bias).argmax(1)


def confusion(predicted: Tensor, true: Tensor, classes: int) -> Tensor:
    """(classes, classes) float64: row j is how images of class j are classified; a class without images, as itself."""
    table = torch.zeros(classes, classes, dtype=torch.float64)
    table.index_put_((true, predicted), torch.ones(len(true), dtype=torch.float64), accumulate=True)
    unseen = table.sum(1) == 0
    table[unseen] = torch.eye(classes, dtype=torch.float64)[unseen]
    return table / table.sum(1, keepdim=True)


def proportion_error(predicted: Tensor, asked: Tensor, mistakes: Tensor) -> float:
    """Total variation between the predicted classes (n,) of samples and what real images of the asked classes (n,) would give.

    `mistakes` is the classifier's `confusion` on real images: without it, its errors would count as the generator's. 0 … 1; of
    perfect samples it is not 0 but about √(classes/(2π n)), counting noise.
    """
    classes = len(mistakes)
    wanted = torch.bincount(asked, minlength=classes).double() / len(asked) @ mistakes
    found = torch.bincount(predicted, minlength=classes).double() / len(predicted)
    return float((found - wanted).abs().sum() / 2)
