"""Packing: the same bytes whatever happens on the way; nothing opened that does not fit together."""

import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from imagenet import data, decode, order, packed, parameters, samples
from imagenet import pack as module
from imagenet.commands.pack import command
from imagenet.pack import Options, pack, renew_spectra
from imagenet.packed import batches, open_packed

CHUNK = 4  # rows: several chunks of a dozen images


@pytest.fixture(autouse=True, scope="module")
def _small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "_CHUNK_ROWS", CHUNK)
        yield


def picture(seed, height=20, width=24):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def make_folder(root, count=14, broken=()):
    """Images in three classes, under train/ as ILSVRC has them; the broken ones cut short."""
    for index in range(count):
        file = root / "train" / f"n0{index * 3 // count}" / f"{index:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(index)).save(file)
        if index in broken:
            file.write_bytes(file.read_bytes()[:200])
    return root


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def made(source, tmp_path_factory):
    """A finished pack, not to be changed."""
    pack(source, tmp_path_factory.mktemp("made") / "pack", 16)
    return next(tmp_path_factory.getbasetemp().glob("made*/pack"))


@pytest.fixture
def copy(made, tmp_path):
    """A finished pack to damage."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def files(folder):
    return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}


# What a pack holds


def test_a_pack_holds_what_the_source_gives(source, made):
    """Pixels, labels and classes of `open_images`; spectra of `read_spectra`, to the bit; flips and θ by their own tests."""
    found, images = open_packed(made), data.open_images(source / "train", 16)
    batch = next(images.batches(100))
    pixels, labels = found.take(torch.arange(len(found)))
    assert torch.equal(pixels, batch.images)
    assert torch.equal(labels, batch.labels)
    assert found.class_names == images.class_names == ("n00", "n01", "n02")
    assert (len(found), found.size) == (14, 16)
    spectra = parameters.read_spectra(source / "train", 16)
    assert torch.equal(found.power, spectra.power)
    assert found.mean_colour_power == pytest.approx(spectra.mean_colour_power(), rel=1e-6)  # float32 means there
    assert found.theta.shape == (14, 5)
    assert found.theta.isfinite().all()
    assert found.prior.class_names == found.class_names
    assert sorted(files(made)) == [
        "broken.json",
        "images.u8",
        "labels.npy",
        "means.npy",
        "meta.json",
        "power.npy",
        "prior.npz",
        "spectra.json",
        "theta.npy",
    ]
    found.verify()


def test_packing_again_does_nothing(source, copy):
    before = {name: (copy / name).stat().st_mtime_ns for name in files(copy)}
    pack(source, copy, 16)
    assert {name: (copy / name).stat().st_mtime_ns for name in files(copy)} == before


def test_processes_do_not_change_a_byte(source, made, tmp_path):
    pack(source, tmp_path / "two", 16, workers=2)
    assert files(tmp_path / "two") == files(made)


@pytest.mark.parametrize("layout", ["jpeg", "images"])
def test_npz_packs(tmp_path, layout):
    if layout == "images":
        np.savez(tmp_path / "a.npz", images=np.stack([picture(k) for k in range(6)]), labels=[0, 1, 2] * 2)
    else:
        blobs = []
        for k in range(6):
            buffer = io.BytesIO()
            Image.fromarray(picture(k)).save(buffer, "jpeg")
            blobs.append(buffer.getvalue())
        arrays = {"jpeg": np.frombuffer(b"".join(blobs), np.uint8), "offsets": np.cumsum([0, *map(len, blobs)])}
        np.savez(tmp_path / "a.npz", **arrays, labels=[0, 1, 2] * 2)
    found = pack(tmp_path / "a.npz", tmp_path / "out", 8)
    expected = next(data.open_images(tmp_path / "a.npz", 8).batches(6))
    assert torch.equal(found.take(torch.arange(6))[0], expected.images)
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_embedded_photographs_of_each_side(tmp_path):
    """Random patches; classes are the photographs of the side, and no others."""
    for held_out in (False, True):
        options = Options(held_out=held_out, patches=3, patch=96, seed=5)
        found = pack("embedded", tmp_path / str(held_out), 8, options)
        names = tuple(photograph.name for photograph in data.PHOTOGRAPHS if photograph.held_out == held_out)
        assert found.class_names == names
        assert found.labels.bincount().tolist() == [3] * len(names)
        expected = data.embedded(8, patch=96, count=3, seed=5, overlap=True, held_out=held_out)
        assert torch.equal(found.take(torch.arange(len(found)))[0], next(expected.batches(100)).images)


# Broken images


def test_broken_images_are_listed_and_their_places_filled(tmp_path):
    """BITE: labels or spectra left in the order of the source, or a digest of the holes."""
    source = make_folder(tmp_path / "source", 14, broken=(1, 6, 13))
    found = pack(source, tmp_path / "out", 16, Options(tolerance=0.5))
    places = [0, 11, 2, 3, 4, 5, 12, 7, 8, 9, 10]  # 1 and 6 are filled by the good ones behind the end
    images = data.open_images(source / "train", 16, tolerance=0.5)
    expected = {int(k): (pixels, label) for pixels, label, k in zip(*next(images.batches(20)), strict=True)}
    assert len(found) == 11
    for place, origin in enumerate(places):
        pixels, label = found.take(torch.tensor([place]))
        assert torch.equal(pixels[0], expected[origin][0])
        assert label[0] == expected[origin][1]
    listed = json.loads((tmp_path / "out" / "broken.json").read_text())
    assert sorted(listed) == ["1", "13", "6"]
    assert "001.png" in listed["1"]
    assert torch.equal(renew_spectra(tmp_path / "out").power, found.power)
    found.verify()


def test_too_many_broken_images_and_going_on_all_the_same(tmp_path):
    source = make_folder(tmp_path / "source", 14, broken=(1, 6))
    with pytest.raises(ValueError, match=r"1 of 14 images are broken: .*001\.png.*allowed: a share of 0.001; remedy"):
        pack(source, tmp_path / "out", 16)
    with pytest.raises(
        ValueError, match=r"is unfinished; allowed: a finished one; remedy: give .*: python -m imagenet pack … --out"
    ):
        open_packed(tmp_path / "out")
    assert len(pack(source, tmp_path / "out", 16, Options(tolerance=0.2))) == 12


def test_an_image_that_is_too_small_is_listed_like_a_broken_one(tmp_path):
    """BITE: an error outside the list ends the whole pack at the first of them, whatever the tolerance."""
    source = make_folder(tmp_path / "source")
    Image.fromarray(picture(5, 10, 30)).save(source / "train" / "n01" / "005.png")
    made = pack(source, tmp_path / "out", 16, Options(tolerance=0.1))
    listed = json.loads((tmp_path / "out" / "broken.json").read_text())
    assert len(made) == 13
    assert list(listed) == ["5"]
    assert "005.png: 30 × 10 pixels, too small; allowed: ≥ size = 16 a side" in listed["5"]
    with pytest.raises(ValueError, match=r"another kind \(upsample False, asked True\); .*another --out"):
        pack(source, tmp_path / "out", 16, Options(tolerance=0.1, upsample=True))  # the journal has it as broken
    assert len(pack(source, tmp_path / "larger", 16, Options(upsample=True))) == 14


@pytest.mark.parametrize(
    ("folders", "split", "said"),
    [
        (["val/n0", "test/n0"], "train", r"has no folder 'train', but test, val; allowed: .*; remedy: --split test"),
        (["ILSVRC/Data/CLS-LOC/train/n0", "ILSVRC/ImageSets/a"], "train", "but ILSVRC; .*; remedy: give .*/Data/CLS-LOC/train"),
        (["Data/CLS-LOC/val/n0", "Annotations/a"], "val", "but Annotations, Data; .*; remedy: give .*/Data/CLS-LOC/val"),
        (["n0", "n1"], "vla", "has no folder 'vla', but n0, n1; .*; remedy: give the folder that holds the classes"),
    ],
)
def test_folders_that_are_no_classes_are_refused(tmp_path, folders, split, said):
    """BITE: train and val packed as two classes, or all of ILSVRC as one."""
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(picture(1)).save(tmp_path / folder / "a.png")
    with pytest.raises(ValueError, match=said):
        pack(tmp_path, tmp_path / "out", 16, Options(split=split))


def test_an_option_that_plays_no_part_in_the_source_is_refused(tmp_path):
    """BITE: training images packed as those kept from training."""
    source, archive = make_folder(tmp_path / "source", 4), tmp_path / "a.npz"
    np.savez(archive, images=np.zeros((3, 16, 16, 3), np.uint8), labels=np.arange(3))
    for place, options, said in (
        (source, Options(held_out=True), "--held-out with .*; allowed: with the embedded photographs; remedy: --split val"),
        (archive, Options(held_out=True), "--held-out with"),
        (archive, Options(split="val"), "split = 'val' of .*, which has none; allowed"),
        ("embedded", Options(split="val"), "split = 'val' of the embedded photographs; allowed: train; remedy: --held-out"),
        (
            source / "train" / "n00",
            Options(split="val"),
            "has no folder 'val', but pictures alone; allowed",
        ),  # pictures, no folders
    ):
        with pytest.raises(ValueError, match=said):
            pack(place, tmp_path / "out", 16, options)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_classes_is_taken_whole(tmp_path):
    """Also the split's own folder, named by --split."""
    source = make_folder(tmp_path / "source", 6)
    for folder, split in ((source / "train", "train"), (source.rename(tmp_path / "other") / "train", "train")):
        if folder.is_dir():
            assert module.open_source(folder, 16, Options(split=split)).class_names == ("n00", "n01", "n02")
    (tmp_path / "other" / "train").rename(tmp_path / "val")
    assert len(module.open_source(tmp_path / "val", 16, Options(split="val"))) == 6


def test_a_pack_of_another_resize_is_neither_continued_nor_silent(source, copy, caplog):
    """Packed by a program whose filter was another one."""
    meta = json.loads((copy / "meta.json").read_text())
    del meta["key"]["resize"]
    (copy / "meta.json").write_text(json.dumps(meta))
    open_packed(copy)
    assert "was packed before pictures were resized by an antialiased filter" in caplog.text
    with pytest.raises(ValueError, match=r"another kind \(resize None, asked 'ADM"):
        pack(source, copy, 16)


def test_an_image_without_bytes_is_broken(tmp_path, monkeypatch):
    """What cannot be read by the parent counts like what cannot be decoded."""
    images = data.open_images(make_folder(tmp_path / "source") / "train", 16, tolerance=0.5)

    def item(index):
        if index == 3:
            raise ValueError("the row holds no image bytes")
        return images.item(index)

    lacking = data.Images(16, images.labels, images.class_names, item, images.name, tolerance=0.5)
    monkeypatch.setattr(module, "open_source", lambda *_: lacking)
    assert len(pack(tmp_path / "source", tmp_path / "out", 16, Options(tolerance=0.5))) == 13
    assert "no image bytes" in (tmp_path / "out" / "broken.json").read_text()


# Interruptions

KILLED = """
import os, pathlib, shutil, signal, sys
import torch
from imagenet import decode
from imagenet.pack import Options, pack

torch.set_num_threads(1)
decode._CHUNK_ROWS = 4
source, root = sys.argv[1], pathlib.Path(sys.argv[2])
flush = os.fsync


def run(folder, last):
    '''Pack in a process of its own that kills itself instead of flushing for the time `last`. True if it was killed.'''
    child = os.fork()
    if not child:
        calls = iter(range(1, 10**9))

        def fsync(number):
            if next(calls) == last:
                os.kill(os.getpid(), signal.SIGKILL)
            flush(number)

        os.fsync = fsync
        pack(source, folder, 16, Options(tolerance=0.5))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status == signal.SIGKILL


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


run(root / "whole", None)
whole = content(root / "whole")
points = 0
while run(root / "cut", points + 1):
    points += 1
    if points % 3 == 0:
        run(root / "cut", 1 + points // 2)  # killed a second time, elsewhere
    run(root / "cut", None)
    left = content(root / "cut")
    assert left == whole, (points, [name for name in whole if left.get(name) != whole[name]])
    shutil.rmtree(root / "cut")
print("killed at", points)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here: the killed processes would each import for seconds")
def test_a_killed_run_continues_to_the_same_bytes(tmp_path):
    """SIGKILL at every flush to the disk, chunks, closing of holes, and end included, some twice over, then to the end.

    BITE: a chunk noted before it is written; holes filled again from a file already cut.
    """
    source = make_folder(tmp_path / "source", 14, broken=(1, 6, 13))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", KILLED, str(source), str(tmp_path / "out")]
    (tmp_path / "out").mkdir()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 20  # 4 chunks × 3 flushes, two of the cut file, nine files


def test_a_journal_cut_short_loses_one_chunk_only(source, made, tmp_path, monkeypatch):
    """The last line is torn, as by a power cut; the chunks before are not decoded again."""
    monkeypatch.setattr(module, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pack(source, tmp_path / "out", 16)
    monkeypatch.undo()
    journal = tmp_path / "out" / packed.JOURNAL
    journal.write_bytes(journal.read_bytes()[:-20])
    decoded = []
    monkeypatch.setattr(decode, "decode", lambda job, real=decode.decode: decoded.append(job.number) or real(job))
    pack(source, tmp_path / "out", 16)
    assert decoded == [3]
    assert files(tmp_path / "out") == files(made)


@pytest.mark.parametrize("changed", ["size", "taper", "file"])
def test_another_pack_is_not_continued(source, made, tmp_path, changed):
    folder = Path(shutil.copytree(made, tmp_path / "out"))
    sources = Path(shutil.copytree(source, tmp_path / "source"))
    meta = json.loads((folder / "meta.json").read_text())
    meta["key"]["source"] = parameters.fingerprint(sources)  # the copies are of another time
    (folder / "meta.json").write_text(json.dumps(meta))
    if changed == "file":
        Image.fromarray(picture(99)).save(sources / "train" / "n00" / "new.png")
    size, options = (12 if changed == "size" else 16), Options(taper=None if changed == "taper" else "hann")
    word = "source" if changed == "file" else changed
    with pytest.raises(ValueError, match=rf"holds a pack of another kind \({word} .*, asked .*; remedy: another --out"):
        pack(sources, folder, size, options)


# Refusals before any work


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": 2}, "size = 2 px; allowed: 4 … 8192"),
        ({"size": 16, "workers": 0}, "workers = 0; allowed: ≥ 1"),
        ({"size": 32}, r"000\.png: 24 × 20 pixels, too small; allowed: ≥ size = 32.*; remedy: see .*--upsample.*--tolerance"),
    ],
)
def test_bad_requests(source, tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        pack(source, tmp_path / "out", **arguments)


def test_a_single_image_is_too_few(tmp_path):
    with pytest.raises(ValueError, match=r"holds 1 image; allowed: ≥ 2; remedy"):
        pack(make_folder(tmp_path / "source", 1), tmp_path / "out", 16)


def test_images_are_not_drawn_into_a_pack(copy):
    before = files(copy)
    with pytest.raises(ValueError, match=r"is a pack \(meta\.json is in it\); allowed: .*; remedy: another --out"):
        samples.write(None, None, copy)  # whatever they are
    assert files(copy) == before


def test_a_folder_with_something_else(source, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty and holds no pack; allowed: a new folder; remedy"):
        pack(source, tmp_path, 16)


def test_a_disk_too_small(source, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(OSError, match=r"packing needs 0\.0 GB more, 0\.0 GB are free at .*; allowed: .*; remedy"):
        pack(source, tmp_path / "out", 16)


# Opening


def _cut(folder):
    with (folder / "images.u8").open("r+b") as file:
        file.truncate(14 * 768 - 100)


def _other_pixels(folder):
    """As if images.u8 were another pack's of the same size."""
    pixels = np.memmap(folder / "images.u8", np.uint8, "r+", shape=(14, 768))
    pixels[:] = pixels[::-1].copy()
    pixels.flush()


def _edit(name, **changes):
    def damage(folder):
        values = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps({key: value for key, value in values.items() if value != "gone"}))

    return damage


def _array(name, change):
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


DAMAGE = [
    (_cut, r"images\.u8 has 10652 bytes, 13\.9 images; allowed: 10752, 14 images; remedy: it is truncated"),
    (lambda folder: (folder / "images.u8").unlink(), r"images\.u8 has 0 bytes"),
    (_other_pixels, r"the spectrum of image 0 in .* is not that of its pixels; allowed: .*--spectra"),
    (
        _array("labels.npy", lambda a: np.where(np.arange(14) == 5, 3, a)),
        r"label of image 5 in .*labels\.npy is 3; allowed: 0 … 2",
    ),
    (_array("labels.npy", lambda a: a - 1), "label of image 0 in .* is -1"),
    (_array("labels.npy", lambda a: a[:9]), r"labels\.npy holds int64 \(9,\); allowed: 8-byte integers \(14\)"),
    (_array("labels.npy", lambda a: a.astype(float)), r"holds float64 \(14,\); allowed: 8-byte integers"),
    (_array("power.npy", lambda a: a[:, 1:]), r"power\.npy holds float64 \(14, 11\); allowed: 8-byte floats \(14, 12\)"),
    (_array("power.npy", lambda a: a * 1.1), "the spectrum of image 0 in"),
    (_array("theta.npy", lambda a: a[:, :3]), "has 3 parameters, its basis 5; allowed: the same"),
    (lambda folder: (folder / "means.npy").write_bytes(b"junk"), r"means\.npy cannot be read .*; remedy"),
    (lambda folder: (folder / "prior.npz").write_bytes(b"junk"), r"prior\.npz cannot be read .*; remedy: fit it again"),
    (lambda folder: (folder / "spectra.json").unlink(), r"the spectra in .* are of other images \(none\); allowed.*--spectra"),
    (_edit("spectra.json", fingerprint="0" * 32), r"of other images \(0000.*; remedy: python -m imagenet pack --spectra"),
    (_edit("meta.json", layout=0), "layout 0, missing keys: none; allowed: layout 1"),
    (_edit("meta.json", class_names="gone"), "missing keys: class_names"),
    (_edit("meta.json", images=1), "holds 1 images; allowed: ≥ 2"),
    (lambda folder: (folder / "meta.json").write_text("{"), r"meta\.json is not JSON"),
    (lambda folder: (folder / "meta.json").write_text("[]"), r"meta\.json holds list"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE)
def test_damaged_packs(copy, damage, words):
    damage(copy)
    with pytest.raises(ValueError, match=words):
        open_packed(copy)


def test_no_pack(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no pack in .*; allowed: a folder made by packing; remedy: python -m imagenet pack"
    ):
        open_packed(tmp_path / "nothing")


def test_spectra_can_be_made_anew(made, copy):
    """Lost or stale spectra come back to the bit; another taper gives others."""
    for name in ("power.npy", "means.npy", "theta.npy", "prior.npz", "spectra.json"):
        (copy / name).unlink()
    renew_spectra(copy)
    assert files(copy) == files(made)
    assert not torch.equal(renew_spectra(copy, Options(taper=None)).power, open_packed(made).power)
    assert open_packed(copy).taper is None


def test_verify_finds_one_changed_pixel(copy):
    """BITE: a check of the size alone."""
    pixels = np.memmap(copy / "images.u8", np.uint8, "r+", shape=(14, 768))
    pixels[6, 100] ^= 1
    pixels.flush()
    with pytest.raises(ValueError, match=r"images 4 … 7 of .*images\.u8 are not what was packed"):
        open_packed(copy).verify()


# Reading


def test_take_and_writes_stay_private(made):
    found = open_packed(made)
    pixels, labels = found.take(torch.tensor([5, 0, 5]))
    assert pixels.shape == (3, 3, 16, 16)
    assert torch.equal(pixels[0], pixels[2])
    assert torch.equal(labels, found.labels[[5, 0, 5]])
    found.images[:] = 0
    found.power.zero_()
    open_packed(made).verify()
    for index in (-1, 14):
        with pytest.raises(ValueError, match=rf"image {index} of .*; allowed: 0 … 13; remedy"):
            found.take(torch.tensor([0, index]))


def test_batches_are_the_order_and_parts_are_slices(made):
    found = open_packed(made)
    whole = list(batches(found, 3, range(5, 9), 6))
    assert [loaded.step for loaded in whole] == [5, 6, 7, 8]
    for loaded in whole:
        assert torch.equal(loaded.indices, order.indices(3, loaded.step, 6, 14))
        assert torch.equal(loaded.images, found.take(loaded.indices)[0])
        assert torch.equal(loaded.labels, found.labels[loaded.indices])
    for start, count in ((0, 2), (2, 4)):
        for part, loaded in zip(batches(found, 3, range(5, 9), 6, start=start, count=count), whole, strict=True):
            assert torch.equal(part.images, loaded.images[start : start + count])


def test_the_next_batch_is_gathered_while_a_step_runs(made, monkeypatch):
    """After the consumer has had time for `ahead` batches, the next comes without waiting for its gathering of 50 ms."""
    found = open_packed(made)
    monkeypatch.setattr(packed.Packed, "take", lambda self, indices, pin=False: (time.sleep(0.05), self.labels[indices]))
    loader = batches(found, 0, range(100), 4)
    next(loader)
    waits = []
    for _ in range(5):
        time.sleep(0.15)
        began = time.monotonic()
        next(loader)
        waits.append(time.monotonic() - began)
    loader.close()
    assert sorted(waits)[2] < 0.02


def test_a_loader_that_is_left_ends_its_thread(made):
    before = threading.active_count()
    loader = batches(open_packed(made), 0, range(10**6), 4)
    next(loader)
    assert threading.active_count() == before + 1
    loader.close()
    assert threading.active_count() == before


def test_an_error_in_the_thread_reaches_the_step_it_belongs_to(made, monkeypatch):
    real, calls = packed.order.indices, iter(range(100))

    def indices(*arguments, **keywords):
        if next(calls) == 3:  # the first call checks the arguments
            raise MemoryError("no room")
        return real(*arguments, **keywords)

    monkeypatch.setattr(packed.order, "indices", indices)
    loader = batches(open_packed(made), 0, range(10), 4)
    assert [next(loader).step, next(loader).step] == [0, 1]
    with pytest.raises(MemoryError, match="no room"):
        next(loader)


def test_bad_loaders_are_refused_at_once(made):
    found = open_packed(made)
    with pytest.raises(ValueError, match="part from 4, 3 positions, of a batch of 6"):
        batches(found, 0, range(2), 6, start=4, count=3)
    with pytest.raises(ValueError, match="ahead = 0; allowed: ≥ 1"):
        batches(found, 0, range(2), 6, ahead=0)
    assert list(batches(found, 0, range(0), 6)) == []


# The command


def test_the_command(source, made, tmp_path):
    """Writes what `pack` writes; errors are one line; --spectra renews."""
    runner, out = CliRunner(), tmp_path / "out"
    done = runner.invoke(command, [str(source), "--size", "16", "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "14 images of 16 px in 3 classes" in done.output
    assert files(out) == files(made)
    (out / "power.npy").unlink()
    done = runner.invoke(command, ["--spectra", "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert files(out) == files(made)
    for more in ([str(source)], ["--size", "8"], ["--tolerance", "0.5"], ["--held-out"]):
        done = runner.invoke(command, [*more, "--spectra", "--out", str(out)])
        assert done.exit_code == 1
        assert f"{more[0]} with --spectra, which takes the images of the pack at --out; allowed: --out, --taper" in done.output
    done = runner.invoke(command, [str(source), "--size", "16", "--out", "/proc/x"])
    assert "folder /proc/x cannot be made" in done.output
    assert "disk" not in done.output
    done = runner.invoke(command, [str(tmp_path / "none"), "--out", str(tmp_path / "b")])
    assert done.exit_code == 1
    assert "does not exist; allowed:" in done.output


def test_the_command_says_how_many_images_are_left_out(tmp_path):
    source = make_folder(tmp_path / "source", 14, broken=(1, 6))
    start = [str(source), "--size", "16", "--out", str(tmp_path / "out"), "--tolerance"]
    done = CliRunner().invoke(command, [*start, "0.2"], catch_exceptions=False)
    assert f"; 2 broken or too small, left out: see {tmp_path / 'out' / 'broken.json'}" in done.output
