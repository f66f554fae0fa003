"""p(θ | class): what is drawn has the law that was fitted, files come back, small classes are said."""

import logging

import numpy as np
import pytest
import torch

from imagenet import prior
from imagenet.prior import POOLED, Prior
from theory.per_image import Basis
from theory.stream import Stream

NONE = Basis(torch.zeros(4).double(), torch.zeros(0, 4).double())


def clouds(counts=(60, 60, 5), seed=0):
    """Classes of θ around different centres; the second has two modes."""
    generator = np.random.default_rng(seed)
    parts = [generator.standard_normal((n, 2)) * (0.2, 0.05) + (3.0 * k, -2.0 - 0.3 * k) for k, n in enumerate(counts)]
    parts[1][::2] += (4.0, 0.0)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return torch.from_numpy(np.concatenate(parts)), labels


def test_draws_have_the_law_of_their_class():
    """STATISTICS: 4 standard errors of a mean, 5 of a spread. BITE: roots not scaled back, or weights of the other mode."""
    theta, labels = clouds((400, 400, 5))
    fitted = prior.fit(theta, labels, ("a", "b", "c"), NONE, smallest=16, floor=1e-6)
    assert len(fitted.mixtures["a"].weights) == 1
    assert len(fitted.mixtures["b"].weights) == 2
    for label, name in enumerate(("a", "b")):
        mine = theta[labels == label].numpy()
        drawn = fitted.mixture(name).draw(4000, np.random.default_rng(1))
        error = mine.std(0) / np.sqrt(4000)
        assert (np.abs(drawn.mean(0) - mine.mean(0)) < 4 * error).all()
        assert np.abs(drawn.std(0) / mine.std(0) - 1).max() < 0.07


def test_a_small_class_takes_the_pool_and_is_named(caplog):
    theta, labels = clouds()
    with caplog.at_level(logging.WARNING):
        fitted = prior.fit(theta, labels, ("a", "b", "c"), NONE, smallest=16)
    assert "c (5)" in caplog.text
    assert set(fitted.mixtures) == {"a", "b", POOLED}
    assert fitted.mixture("c") is fitted.mixtures[POOLED]
    assert np.isfinite(fitted.draw(["c"] * 3, Stream(0)).numpy()).all()
    with pytest.raises(ValueError, match=r"'d'; allowed: a, b, c; remedy"):
        fitted.mixture("d")


def test_image_k_has_its_own_stream():
    theta, labels = clouds()
    fitted = prior.fit(theta, labels, ("a", "b", "c"), NONE)
    names = ["a", "b", "c", "a"]
    together = fitted.draw(names, Stream(7))
    assert torch.equal(together[2:], fitted.draw(names[2:], Stream(7), start=2))
    assert fitted.draw([], Stream(7)).shape == (0, 2)


def test_save_and_load(tmp_path):
    theta, labels = clouds()
    basis = Basis(torch.arange(4).double(), torch.zeros(0, 4).double())
    fitted = prior.fit(theta, labels, ("a", "β", "c"), basis)
    fitted.save(tmp_path / "deep" / "prior.npz")
    again = Prior.load(tmp_path / "deep" / "prior.npz")
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["prior.npz"]
    assert again.class_names == ("a", "β", "c")
    assert torch.equal(again.draw(["a", "β", "c"], Stream(1)), fitted.draw(["a", "β", "c"], Stream(1)))
    assert torch.equal(again.basis.mean, basis.mean)


def test_a_file_of_another_kind(tmp_path):
    np.savez(tmp_path / "x.npz", values=np.zeros(3))
    (tmp_path / "y.npz").write_bytes(b"no")
    np.savez(tmp_path / "z.npz", class_names=np.array([object()]))
    for name in ("x", "y", "z"):
        with pytest.raises(ValueError, match=r"cannot be read .*; allowed: a file of Prior.save; remedy"):
            Prior.load(tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError):
        Prior.load(tmp_path / "nowhere.npz")


def test_copies_do_not_collapse():
    """EXTREME: one image many times, and a parameter that never moves."""
    theta = torch.tensor([[1.0, -2.0]]).double().repeat(40, 1)
    theta[20:, 0] = 3.0
    labels = torch.arange(40) // 20
    fitted = prior.fit(theta, labels, ("a", "b"), NONE, floor=1e-3)
    drawn = fitted.mixture("a").draw(1000, np.random.default_rng(0))
    assert np.abs(drawn.mean(0) - (1.0, -2.0)).max() < 0.02
    assert (drawn.std(0) < 0.05).all()


@pytest.mark.parametrize("theta", [torch.zeros(1, 2), torch.zeros(4, 2) / 0, torch.zeros(4)])
def test_errors(theta):
    with pytest.raises(ValueError, match=r"allowed: \(n, D\).*remedy"):
        prior.fit(theta.double(), torch.zeros(len(theta), dtype=torch.long), ("a",), NONE)
