"""Metrics against closed forms, brute force and other libraries.

BITE: dropping the square root of one factor in `gaussian_distance`, the count in `Moments.merge`'s shift term, `_off_diagonal`
(each image its own neighbour), the absolute value ring by ring, or the confusion in `proportion_error` turns a test here red.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from imagenet import metric
from imagenet.metric import Moments, NearestMean, gaussian_distance
from theory.spectrum import rapsd, rings
from theory.stream import Stream

EXACT = 1e-8  # what the issue asks of the Fréchet distance, relative to the traces


def normal(*shape: int, seed: int = 0) -> Tensor:
    return Stream(seed).child("test").normal(1, shape)[0]


def rotation(dim: int, seed: int) -> Tensor:
    return torch.linalg.qr(normal(dim, dim, seed=seed))[0]


spectra = st.lists(st.sampled_from([0.0, 1e-6, 0.3, 1.0, 7.0, 1e3]), min_size=6, max_size=6)


# ---- the Fréchet distance ---------------------------------------------------------------------------------------------


@given(spectra, spectra, st.integers(0, 100))
def test_commuting_covariances_have_a_closed_form_whatever_their_rank(
    first: list[float], second: list[float], seed: int
) -> None:
    a, b = torch.tensor(first).double(), torch.tensor(second).double()
    turn, shift = rotation(6, seed), normal(6, seed=seed + 1)
    found = gaussian_distance(torch.zeros(6), turn @ a.diag() @ turn.T, shift, turn @ b.diag() @ turn.T)
    wanted = float(shift.square().sum() + (a.sqrt() - b.sqrt()).square().sum())
    # Rank-deficient parts: an entry of S is known to 1e-16 of the largest, so the overlap of a zero and a one only to 1e-8.
    assert abs(found - wanted) <= EXACT * max(1.0, float(a.sum() + b.sum()))


@given(st.integers(0, 1000), st.floats(-6, 6))
def test_two_by_two_without_commuting(seed: int, exponent: float) -> None:
    """tr √M = √(tr M + 2 √det M) for 2 × 2: an independent route, without any decomposition."""
    a, b = (normal(2, 2, seed=seed + k) for k in (0, 2000))
    s1, s2 = a @ a.T * 10**exponent, b @ b.T
    product = s1 @ s2
    overlap = math.sqrt(float(product.trace()) + 2 * math.sqrt(max(float(s1.det() * s2.det()), 0)))
    wanted = float(s1.trace() + s2.trace()) - 2 * overlap
    found = gaussian_distance(torch.zeros(2), s1, torch.zeros(2), s2)
    assert abs(found - wanted) <= EXACT * float(s1.trace() + s2.trace())


@pytest.mark.parametrize("rank", [1, 7, 40])
def test_equal_sets_are_at_distance_zero_and_a_translation_at_its_square(rank: int) -> None:
    factor = normal(40, rank)
    covariance, shift = factor @ factor.T, normal(40, seed=3)
    scale = float(covariance.trace())
    assert gaussian_distance(shift, covariance, shift, covariance) <= EXACT * scale
    found = gaussian_distance(torch.zeros(40), covariance, shift, covariance)
    assert abs(found - float(shift.square().sum())) <= EXACT * scale


def test_disjoint_supports() -> None:
    """S₁S₂ = 0: nothing overlaps, the traces remain; here the root of a rounded zero would cost most."""
    turn = rotation(300, 5)
    left, right = torch.zeros(300).double(), torch.zeros(300).double()
    left[:150], right[150:] = 2.0, 3.0
    s1, s2 = turn @ left.diag() @ turn.T, turn @ right.diag() @ turn.T
    found = gaussian_distance(torch.zeros(300), s1, torch.zeros(300), s2)
    assert abs(found - 750) <= EXACT * 750


def test_scipy_agrees_while_it_has_sqrtm() -> None:
    sqrtm = pytest.importorskip("scipy.linalg").sqrtm
    a, b = (Moments.of(normal(200, 20, seed=k) @ normal(20, 20, seed=9 + k)) for k in (0, 1))
    root = np.trace(sqrtm((a.covariance @ b.covariance).numpy()).real)
    wanted = float((a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace()) - 2 * root
    assert metric.frechet(a, b) == pytest.approx(wanted, rel=1e-8)


def test_distance_is_symmetric_and_scales_with_the_square_of_the_features() -> None:
    x, y = normal(100, 12), 1 + normal(90, 12, seed=4)
    one = metric.frechet(Moments.of(x), Moments.of(y))
    assert metric.frechet(Moments.of(y), Moments.of(x)) == pytest.approx(one, rel=1e-12)
    assert metric.frechet(Moments.of(5 * x), Moments.of(5 * y)) == pytest.approx(25 * one, rel=1e-12)


def test_what_is_no_covariance_is_refused() -> None:
    mean, good = torch.zeros(3), torch.eye(3).double()
    with pytest.raises(ValueError, match=r"eigenvalue -1.*allowed: ≥ 0"):
        gaussian_distance(mean, -good, mean, good)
    with pytest.raises(ValueError, match="not finite"):
        gaussian_distance(mean, good * math.nan, mean, good)


def test_too_few_images_are_refused_with_value_range_and_remedy() -> None:
    few, enough = Moments.of(normal(20, 20)), Moments.of(normal(21, 20))
    with pytest.raises(ValueError, match=r"too few images for FID: 20 images for 20 features; allowed: more than 20.*remedy"):
        metric.frechet(few, enough, "FID")
    assert metric.frechet(enough, enough, "FID") <= EXACT


def test_extrapolation_removes_the_bias_of_few_images() -> None:
    """N(0, 1) in 10 dimensions against itself: FD is all bias, about (dim + dim(dim + 1)/4)/N; its first order must go."""
    dim, count, repeats = 10, 200, 40
    exact = Moments(10**6, torch.zeros(dim).double(), torch.eye(dim).double() * (10**6 - 1))
    sets = [normal(count, dim, seed=k) for k in range(repeats)]
    biased = np.array([metric.frechet(exact, Moments.of(features)) for features in sets])
    extrapolated = np.array([metric.frechet_without_bias(exact, features) for features in sets])
    assert biased.mean() == pytest.approx((dim + dim * (dim + 1) / 4) / count, rel=0.15)
    # 4 standard errors, and a second order of about biased²
    assert abs(extrapolated.mean()) < 4 * extrapolated.std() / repeats**0.5 + biased.mean() ** 2
    assert abs(extrapolated.mean()) < biased.mean() / 4
    assert math.isnan(metric.frechet_without_bias(exact, sets[0][: 2 * dim]))


def test_each_half_of_the_extrapolation_has_every_class() -> None:
    """BITE: every other image of classes asked for in turn is every other class: the halves lie far from a perfect match."""
    classes, count, dim = 4, 400, 6
    asked = torch.arange(count) % classes
    centres = 4 * normal(classes, dim, seed=50)
    exact = Moments.of(centres[torch.arange(40_000) % classes] + normal(40_000, dim, seed=51))
    found = [metric.frechet_without_bias(exact, centres[asked] + normal(count, dim, seed=k), asked=asked) for k in range(20)]
    whole = metric.frechet(exact, Moments.of(centres[asked] + normal(count, dim, seed=0)))
    assert abs(float(np.mean(found))) < 4 * float(np.std(found)) / 20**0.5 + whole**2


# ---- moments ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.sampled_from([0.0, 1.0, 1e4]))
def test_pieces_merge_to_the_whole_in_any_order(pieces: list[int], offset: float) -> None:
    features = offset + normal(sum(pieces), 5)
    whole = Moments.of(features)
    parts = [Moments.of(part) for part in features.split(pieces)]
    for order in (parts, parts[::-1]):
        merged = order[0]
        for part in order[1:]:
            merged = merged.merge(part)
        assert merged.count == whole.count
        # 1e-12 of the spread, and rounding of the offset: 1e-16·offset in a mean, times a spread of 1 in the scatter
        torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-14, atol=1e-12)
        torch.testing.assert_close(merged.scatter, whole.scatter, rtol=1e-12, atol=1e-9 if offset else 1e-12)


def test_covariance_is_numpys() -> None:
    features = normal(50, 7).float()
    np.testing.assert_allclose(Moments.of(features).covariance, np.cov(features.double().numpy(), rowvar=False), rtol=1e-12)


def test_bad_features_are_refused() -> None:
    broken = normal(5, 3)
    broken[3, 1] = math.inf
    with pytest.raises(ValueError, match="image 3 of 5 are not finite"):
        Moments.of(broken)
    with pytest.raises(ValueError, match=r"\(5,\); allowed"):
        Moments.of(broken[:, 0])
    with pytest.raises(ValueError, match="moments of 3 and 2 features"):
        Moments.of(normal(5, 3)).merge(Moments.of(normal(5, 2)))
    with pytest.raises(ValueError, match=r"covariance of 1 image"):
        _ = Moments.of(normal(1, 3)).covariance


# ---- inception score --------------------------------------------------------------------------------------------------


def test_inception_score_between_one_and_the_number_of_classes() -> None:
    assert metric.inception_score(torch.zeros(40, 8))[0] == pytest.approx(1, abs=1e-12)
    sure = 1e3 * torch.eye(8).repeat(5, 1)
    assert metric.inception_score(sure, 5) == pytest.approx((8, 0), abs=1e-9)
    with pytest.raises(ValueError, match=r"40 images in 30 splits; allowed: ≥ 60"):
        metric.inception_score(torch.zeros(40, 8), 30)


def test_inception_score_by_hand() -> None:
    logits = normal(30, 5)
    p = torch.softmax(logits, 1).numpy()
    scores = []
    for part in np.split(p, 3):
        scores.append(np.exp(np.mean([np.sum(row * np.log(row / part.mean(0))) for row in part])))
    assert metric.inception_score(logits, 3) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-12)


# ---- precision and recall ---------------------------------------------------------------------------------------------


def brute_force(points: Tensor, centres: Tensor, neighbours: int) -> float:
    """The definition in loops: is the point within the k-th neighbour's distance of some centre?"""
    radii = []
    for i, centre in enumerate(centres):
        others = sorted(float((centre - other).norm()) for j, other in enumerate(centres) if j != i)
        radii.append(others[neighbours - 1])
    inside = [any(float((p - c).norm()) <= r for c, r in zip(centres, radii, strict=True)) for p in points]
    return float(np.mean(inside))


@given(st.integers(0, 1000), st.integers(1, 4), st.floats(0, 3))
def test_precision_and_recall_by_brute_force(seed: int, neighbours: int, shift: float) -> None:
    real, generated = 100 + normal(14, 3, seed=seed), 100 + shift + 0.5 * normal(11, 3, seed=seed + 5000)
    found = metric.precision_recall(real, generated, neighbours)
    wanted = brute_force(generated, real, neighbours), brute_force(real, generated, neighbours)
    assert found == pytest.approx(wanted, abs=1e-12)


def test_precision_and_recall_do_not_depend_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = normal(40, 4), 0.7 + normal(31, 4, seed=1)
    whole = metric.precision_recall(real, generated)
    monkeypatch.setattr(metric, "_DISTANCES", 100)
    assert metric.precision_recall(real, generated) == whole


def test_precision_and_recall_at_the_ends() -> None:
    real = normal(30, 4)
    assert metric.precision_recall(real, real) == (1.0, 1.0)
    assert metric.precision_recall(real, real + 1e3) == (0.0, 0.0)
    one_mode = real[:1] + 1e-3 * normal(30, 4, seed=2)
    precision, recall = metric.precision_recall(real, one_mode)
    assert precision == 1
    assert recall < 0.1  # collapse: all samples real, few real ones covered
    with pytest.raises(ValueError, match="3 neighbours among 3 images"):
        metric.precision_recall(real, real[:3])


# ---- spectra ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 7, 8, 12, 32, 48, 128])
def test_octaves_hold_every_ring_once(size: int) -> None:
    table = rings(size, size)
    bands = metric.octaves(table)
    assert [ring for band in bands for ring in range(band.first, band.last + 1)] == list(range(1, table.nyquist + 1))
    assert all(later.first == 2 * earlier.first for earlier, later in itertools.pairwise(bands))
    assert len({band.name for band in bands}) == len(bands)


def test_brighter_contrast_moves_every_band_by_its_logarithm() -> None:
    images = normal(20, 3, 16, 16)
    table = rings(16, 16)
    data, samples = (rapsd(c * images).mean(0) for c in (1.0, 1.1))
    for distance in metric.spectrum_distance(samples, data, table).values():
        assert distance == pytest.approx(2 * math.log(1.1), rel=1e-9)


def test_too_much_here_does_not_make_up_for_too_little_there() -> None:
    table = rings(16, 16)
    data = torch.ones(len(table)).double()
    samples = data.clone()
    samples[4:6], samples[6:8] = 2.0, 0.5
    found = metric.spectrum_distance(samples, data, table)
    assert found["4–8"] == pytest.approx(4 / 5 * math.log(2))
    assert found["2–3"] == 0
    with pytest.raises(ValueError, match="spectrum of the samples has no power at f = 3"):
        metric.spectrum_distance(data.index_fill(0, torch.tensor([3]), 0.0), data, table)


# ---- classes ----------------------------------------------------------------------------------------------------------


def clusters(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Three classes of unlike variance in each direction, so that the metric matters."""
    labels = torch.arange(count) % 3
    means = torch.tensor([[0.0, 0, 0, 0], [2, 0, 0, 0], [0, 2, 0, 0]]).double()
    mixing = torch.eye(4).double() + 0.3 * normal(4, 4, seed=77)  # a shrunk inverse needs a moderate condition
    return (means[labels] + normal(count, 4, seed=seed) * torch.tensor([1.0, 0.4, 1, 3])) @ mixing, labels


def test_nearest_mean_is_scikit_learns_discriminant() -> None:
    features, labels = clusters(3000, 1)
    ours = NearestMean.fit(features, labels, 3)
    theirs = LinearDiscriminantAnalysis(priors=[1 / 3] * 3).fit(features.numpy(), labels.numpy())
    others, true = clusters(1000, 2)
    found = ours(others)
    # Ledoit and Wolf shrink by O(1/n): a per cent of points near a border may change sides
    assert float((found.numpy() == theirs.predict(others.numpy())).mean()) > 0.99
    assert float((found == true).double().mean()) > 0.8


def test_a_class_without_images_is_never_predicted_and_constant_features_do_no_harm() -> None:
    features, labels = clusters(300, 1)
    features = torch.cat([features, torch.zeros(300, 1)], 1)
    found = NearestMean.fit(features, labels + 1, 5)
    assert set(found(features).tolist()) <= {1, 2, 3}
    with pytest.raises(ValueError, match="4 images of 3 classes"):
        NearestMean.fit(features[:4], labels[:4], 3)


def test_proportions_of_a_perfect_generator_through_a_poor_classifier() -> None:
    """The classifier takes a third of class 0 for class 1: samples with just those mistakes have no error."""
    true = torch.tensor([0] * 300 + [1] * 100)
    predicted = true.clone()
    predicted[:100] = 1
    mistakes = metric.confusion(predicted, true, 2)
    assert metric.proportion_error(predicted, true, mistakes) == pytest.approx(0, abs=1e-12)
    assert metric.proportion_error(predicted, true, torch.eye(2).double()) == pytest.approx(0.25)
    assert (
        metric.proportion_error(torch.ones(400, dtype=torch.long), torch.zeros(400, dtype=torch.long), torch.eye(2).double())
        == 1
    )


def test_confusion_rows_are_shares_and_an_unseen_class_is_itself() -> None:
    found = metric.confusion(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 1]), 3)
    assert found.tolist() == [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]]
