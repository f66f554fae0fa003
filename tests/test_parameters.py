"""Spectra of a source: what is read, what is remembered, and when what is remembered is stale."""

import logging
import os

import numpy as np
import pytest
import torch
from PIL import Image

from imagenet import parameters
from imagenet.data import embedded, to_unit
from imagenet.parameters import BATCH, open_source, read_spectra
from theory.spectrum import QUANTISATION_POWER, rapsd


def latents(folder, count=5, seed=0):
    folder.mkdir(exist_ok=True)
    values = np.random.default_rng(seed).standard_normal((count, 4, 8, 8)).astype(np.float32)
    np.save(folder / "x.npy", values)
    return folder / "x.npy", torch.from_numpy(values)


def test_embedded_spectra_are_those_of_the_images():
    found = read_spectra("embedded", 32, count=2)
    batch = next(embedded(32, count=2).batches(10_000))
    images = to_unit(batch.images)
    assert torch.equal(found.power, rapsd(images, "hann").double())
    assert torch.allclose(found.means, images.double().mean((-2, -1)))
    assert torch.equal(found.labels, batch.labels)
    assert found.floor == QUANTISATION_POWER
    parts = found.by_class()
    assert sum(map(len, parts.values())) == len(found)
    variance = found.means.var(0, correction=1).mean() * 32 * 32
    assert found.mean_colour_power() == pytest.approx(float(variance))


def test_mean_colour_of_one_image_is_no_variance(tmp_path):
    path, _ = latents(tmp_path, 1)
    assert read_spectra(path).mean_colour_power() == 0


def test_pieces_are_bounded_by_the_batch(tmp_path):
    path, values = latents(tmp_path, 2 * BATCH + 3)
    pieces = list(open_source(path).pieces)
    assert [len(piece.pixels) for piece in pieces] == [BATCH, BATCH, 3]
    assert torch.equal(torch.cat([piece.pixels for piece in pieces]), values)
    assert torch.equal(torch.cat([piece.positions for piece in pieces]), torch.arange(2 * BATCH + 3))


def test_eight_bit_arrays_are_images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    found = read_spectra(tmp_path / "x.npy")
    assert torch.equal(found.power, rapsd(to_unit(torch.from_numpy(pixels)), "hann").double())
    assert found.floor == QUANTISATION_POWER


def test_folders_of_latents_are_classes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "0.npy", np.random.default_rng(0).standard_normal((2, 8, 8)))
    assert list(read_spectra(tmp_path).by_class()) == ["a", "b"]


def test_the_cache_is_used_and_noticed_when_stale(tmp_path, monkeypatch, caplog):
    """BITE: a key without the fingerprint returns the spectra of files that are gone."""
    caplog.set_level(logging.INFO)
    path, _ = latents(tmp_path / "data")
    cache = tmp_path / "cache"
    first = read_spectra(path, cache=cache)
    assert [file.suffix for file in cache.iterdir()] == [".nc"]  # whole, and no temporary beside it
    with monkeypatch.context() as context:
        context.setattr(parameters, "_computed", None)
        again = read_spectra(path, cache=cache)
    for name in ("power", "means", "labels", "positions"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
    assert (again.class_names, again.shape, again.floor) == (first.class_names, first.shape, first.floor)
    latents(tmp_path / "data", seed=1)
    os.utime(path, (1, 1))  # however coarse the clock
    changed = read_spectra(path, cache=cache)
    assert not torch.equal(changed.power, first.power)
    assert "stale" in caplog.text
    assert len(list(cache.iterdir())) == 1
    next(cache.iterdir()).write_bytes(b"not netcdf")
    assert torch.equal(read_spectra(path, cache=cache).power, changed.power)
    assert "cannot be read" in caplog.text


def test_resolutions_and_windows_have_caches_of_their_own(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / "a.png")
    for size, taper in ((16, "hann"), (8, "hann"), (16, None)):
        read_spectra(folder, size, taper=taper, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((3, 2, 8, 8), np.int64), ["int64", "floating point", "remedy"]),
        (np.zeros((3, 2, 8, 8), np.float32), ["none of 3 images is usable", "constant", "remedy"]),
        (np.zeros((0, 2, 8, 8), np.float32), ["(0, 2, 8, 8)", "n ≥ 1", "remedy"]),
        (np.zeros((3, 2, 3, 8), np.float32), ["(3, 2, 3, 8)", "≥ 4", "remedy"]),
    ],
)
def test_bad_arrays(tmp_path, values, words):
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read_spectra(tmp_path / "x.npy")
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_truncated_array(tmp_path):
    path, _ = latents(tmp_path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"is not an array.*allowed.*remedy"):
        read_spectra(path)
