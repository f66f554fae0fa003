"""Images: the embedded photographs, folders, packs and tables; what they yield, and what they say when they cannot."""

import io
import json
import socket
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from imagenet import data
from imagenet.data import PHOTOGRAPHS, embedded, folder, npz, open_images, photograph_pixels, to_unit
from imagenet.table import parquet, tables


def picture(height=20, width=24, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def everything(images, batch_size=5):
    """(pixels, labels, positions) of all batches."""
    return tuple(torch.cat(part) for part in zip(*images.batches(batch_size), strict=True))


def jpegs(count, broken=()):
    """A pack of `count` 16 × 16 JPEGs, some cut short."""
    blobs = []
    for index in range(count):
        buffer = io.BytesIO()
        Image.fromarray(picture(16, 16, index)).save(buffer, "jpeg")
        blobs.append(buffer.getvalue()[: 100 if index in broken else None])
    offsets = np.cumsum([0, *map(len, blobs)])
    return {"jpeg": np.frombuffer(b"".join(blobs), np.uint8), "offsets": offsets, "labels": np.arange(count) % 3}


# The embedded photographs


def test_every_photograph_is_inside_its_wheel(monkeypatch):
    """Read with the network cut; listed once; origin and licence named; both sides of the held-out split filled."""
    monkeypatch.setattr(socket, "socket", None)
    photograph_pixels.cache_clear()
    for label, photograph in enumerate(PHOTOGRAPHS):
        pixels = photograph_pixels(label)
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        assert min(pixels.shape[:2]) >= 300
        assert pixels.std() > 10  # not blank
        assert photograph.origin
        assert photograph.licence
    assert len({photograph.name for photograph in PHOTOGRAPHS}) == len(PHOTOGRAPHS)
    for kind in ("scene", "surface", "instrument"):
        assert {photograph.held_out for photograph in PHOTOGRAPHS if photograph.kind == kind} == {True, False}


def test_patches_are_cut_from_the_photograph_without_overlap():
    """Each patch is found in its photograph at the place it names; cells are disjoint and whole."""
    images = embedded(100, count=7, seed=3)
    assert images.class_names == tuple(photograph.name for photograph in PHOTOGRAPHS)
    pixels, labels, positions = everything(images)
    assert torch.equal(positions, torch.arange(len(images)))
    assert labels.bincount().max() == 7
    assert labels.bincount().min() == 7  # chelsea holds 3 × 4
    seen = set()
    for index, (patch, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
        words = images.name(index).replace(",", "").split()
        top, left = int(words[-3]), int(words[-1])
        whole = photograph_pixels(label)
        assert np.array_equal(patch.permute(1, 2, 0).numpy(), whole[top : top + 100, left : left + 100])
        cell = (label, (top - whole.shape[0] % 100 // 2) // 100, (left - whole.shape[1] % 100 // 2) // 100)
        assert (top - whole.shape[0] % 100 // 2) % 100 == 0
        assert cell not in seen
        seen.add(cell)


def test_patches_depend_on_the_seed_and_on_nothing_else():
    first, again, other = (embedded(64, count=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(everything(first)[0], everything(again, 1)[0])
    assert not torch.equal(everything(first)[0], everything(other)[0])


def test_fewer_cells_than_asked_gives_all_and_overlap_gives_as_many_as_asked():
    counts = embedded(128, count=1000).labels.bincount()
    assert counts[[photograph.name for photograph in PHOTOGRAPHS].index("chelsea")] == 2 * 3
    assert counts.max() < 1000
    assert (embedded(256, count=9, overlap=True).labels.bincount() == 9).all()


def test_held_out_photographs_keep_their_labels():
    for held_out in (True, False):
        labels = embedded(200, count=1, held_out=held_out).labels.tolist()
        assert labels == [label for label, photograph in enumerate(PHOTOGRAPHS) if photograph.held_out == held_out]


def test_patches_are_area_means_when_made_smaller():
    fine, coarse = everything(embedded(64, count=2))[0], everything(embedded(16, patch=64, count=2))[0]
    means = fine.float().unflatten(-1, (16, 4)).unflatten(-3, (16, 4)).mean((-1, -3))
    assert (means - coarse.float()).abs().max() <= 1  # PIL rounds after each axis


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"size": 301}, "patch = 301 px does not fit the photograph chelsea of 300 × 451 px; allowed: patch ≤ 300"),
        ({"size": 64, "patch": 32}, "patch = 32 px is smaller than size = 64; allowed: patch ≥ size; remedy: raise"),
        ({"size": 64, "count": 0}, "count = 0; allowed: ≥ 1"),
        ({"size": 1}, "size = 1; allowed: ≥ 2"),
    ],
)
def test_bad_requests(keywords, words):
    with pytest.raises(ValueError, match=words):
        embedded(**keywords)


def test_a_wheel_without_the_photograph(monkeypatch):
    photograph_pixels.cache_clear()
    monkeypatch.setattr(data, "PHOTOGRAPHS", (data.Photograph("owl", "skimage", "data/owl.png", "scene", "?", "?"),))
    with pytest.raises(FileNotFoundError, match=r"owl is not at data/owl.png in skimage; allowed.*reinstall"):
        embedded(16)
    photograph_pixels.cache_clear()


# Folders


def test_folder_is_sorted_by_class(tmp_path):
    for index, name in enumerate(["b/2.png", "a/deep/1.PNG", "b/1.jpg", "0.png"]):
        write(tmp_path / name, picture(seed=index))
    (tmp_path / "b" / "notes.txt").write_text("no image")
    images = open_images(tmp_path, 20)
    assert images.class_names == (".", "a", "b")
    assert images.labels.tolist() == [0, 1, 2, 2]
    pixels, labels, _ = everything(images, 3)
    assert labels.tolist() == images.labels.tolist()
    assert pixels.shape == (4, 3, 20, 20)
    assert np.array_equal(pixels[0].permute(1, 2, 0).numpy(), picture(seed=3)[:, 2:22])  # the centre of 24 columns


def test_grey_and_transparent_images_have_three_channels(tmp_path):
    write(tmp_path / "grey.png", picture()[..., 0])
    write(tmp_path / "clear.png", np.concatenate([picture(), picture()[..., :1]], -1))
    pixels = everything(folder(tmp_path, 10))[0]
    assert pixels.shape == (2, 3, 10, 10)
    assert torch.equal(pixels[1, 0], pixels[1, 2])


# Bringing to a size


def keys_matrix(length, size):
    """(size, length) float64: the cubic of Keys, a = −½, stretched by the factor when it shrinks, each row of sum 1."""
    factor = length / size
    stretch = max(factor, 1.0)
    x = np.abs((np.arange(length) + 0.5 - (np.arange(size)[:, None] + 0.5) * factor) / stretch)
    inner, outer = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, inner, np.where(x < 2, outer, 0.0))
    return weights / weights.sum(1, keepdims=True)


def waves(side, frequency):
    """(side, side, 3) uint8: a cosine of this frequency, cycles per pixel, along each axis, amplitude 100."""
    wave = np.cos(2 * np.pi * frequency * np.arange(side))
    return np.repeat((127.5 + 50 * (wave[:, None] + wave[None]))[..., None].round().astype(np.uint8), 3, 2)


@pytest.mark.parametrize(("side", "size"), [(24, 16), (31, 16), (17, 16), (10, 16), (7, 24), (16, 16)])
def test_the_resize_is_the_antialiased_cubic(side, size):
    """Factors that are not whole, and enlarging, against the kernel written out. BITE: BOX is 60 off."""
    rough = np.random.default_rng(side).integers(0, 256, (side, side, 3)).astype(float)
    rough = 127.5 + 0.6 * (rough - 127.5)  # away from 0 and 255, where PIL clips what the kernel's lobes overshoot
    pixels = rough.astype(np.uint8)
    matrix = keys_matrix(side, size)
    expected = np.einsum("ij,jkc,lk->ilc", matrix, pixels.astype(float), matrix)
    found = data._square(Image.fromarray(pixels), size)
    assert found.shape == (size, size, 3)
    assert np.abs(found - expected).max() <= 1.5  # PIL rounds after each axis


@pytest.mark.parametrize("side", [192, 230, 320])
def test_no_power_comes_from_above_the_new_nyquist(side):
    """A cosine at .9 of the source's Nyquist frequency, which 128 px cannot hold, leaves a sixth of itself at most.

    BITE: BOX at 1.5 takes every other pixel whole, and folds .71 of it back; .47 and .24 at the other two.
    """
    kept = data._square(Image.fromarray(waves(side, 0.45)), 128).astype(float).std()
    assert kept < 0.18 * waves(side, 0.45).std()
    low = data._square(Image.fromarray(waves(side, 0.03)), 128).astype(float).std()
    assert low > 0.95 * waves(side, 0.03).std()  # and what it can hold stays


@pytest.mark.parametrize(
    ("height", "width", "size"), [(375, 500, 64), (333, 500, 128), (97, 64, 32), (40, 41, 16), (20, 30, 32)]
)
def test_it_is_adms_crop_to_the_byte(height, width, size):
    """center_crop_arr of guided-diffusion, written as there: what published reference statistics were made with."""
    pixels = picture(height, width)
    image = Image.fromarray(pixels)
    while min(*image.size) >= 2 * size:
        image = image.resize(tuple(x // 2 for x in image.size), resample=Image.BOX)
    scale = size / min(*image.size)
    image = image.resize(tuple(round(x * scale) for x in image.size), resample=Image.BICUBIC)
    whole = np.array(image)
    top, left = (whole.shape[0] - size) // 2, (whole.shape[1] - size) // 2
    expected = whole[top : top + size, left : left + size]
    assert np.array_equal(data._square(Image.fromarray(pixels), size), expected)


def test_a_strip_is_cut_before_it_is_made_larger():
    """2 × 40000 px at 512 would be ten million columns; its middle is what is left anyway."""
    strip = np.tile(picture(2, 400), (1, 100, 1))
    found = data._square(Image.fromarray(strip), 512)
    assert found.shape == (512, 512, 3)
    middle = Image.fromarray(strip[:, 19992:20008]).resize((4096, 512), Image.Resampling.BICUBIC)
    assert np.array_equal(found, np.array(middle)[:, 1792:2304])


def test_empty_folder(tmp_path):
    (tmp_path / "readme.txt").write_text("nothing")
    with pytest.raises(FileNotFoundError, match=r"no image in .*allowed: a folder .*\.png.*check the path"):
        open_images(tmp_path, 16)


def test_a_folder_with_a_broken_image_is_refused(tmp_path):
    for index in range(4):
        write(tmp_path / f"{index}.png", picture(seed=index))
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"1 of 4 images are broken: .*2\.png.*allowed: a share of 0.001; remedy: remove"):
        everything(open_images(tmp_path, 16))


def test_broken_images_within_the_tolerance_are_listed_and_skipped(tmp_path, caplog):
    """BITE: labels that do not skip with their images."""
    for index in range(6):
        write(tmp_path / f"{'abc'[index // 2]}/{index}.png", picture(seed=index))
    (tmp_path / "a/1.png").write_text("not a picture")
    Image.fromarray(np.zeros((20, 20), np.uint16)).save(tmp_path / "b/3.png")  # 16 bits
    images = folder(tmp_path, 16, tolerance=0.5)
    for _ in range(2):  # a second walk counts none twice
        pixels, labels, positions = everything(images, 3)
        assert positions.tolist() == [0, 2, 4, 5]
        assert labels.tolist() == [0, 1, 2, 2]
        assert len(pixels) == 4
    assert sorted(images.broken) == [1, 3]
    assert "I;16" in images.broken[3]
    assert "1.png" in caplog.text
    assert "3.png" in caplog.text


def test_nothing_left(tmp_path):
    for index in range(3):
        (tmp_path / f"{index}.jpg").write_text("no")
    with pytest.raises(ValueError, match="of 3 images are broken"):
        everything(folder(tmp_path, 16))


def test_images_smaller_than_asked(tmp_path):
    """Listed as broken files are; made larger if asked."""
    write(tmp_path / "a.png", picture(20, 24))
    write(tmp_path / "b.png", picture(40, 40))
    with pytest.raises(ValueError, match=r"1 of 2 .*a\.png: 24 × 20 pixels, too small; allowed: ≥ size = 32 .*--upsample"):
        everything(open_images(tmp_path, 32))
    images = open_images(tmp_path, 32, tolerance=0.5)
    assert everything(images)[2].tolist() == [1]
    assert "24 × 20 pixels, too small" in images.broken[0]
    assert everything(open_images(tmp_path, 32, upsample=True))[0].shape == (2, 3, 32, 32)


@pytest.mark.parametrize(("name", "words"), [("none", "does not exist"), ("a.csv", "is a file of another kind")])
def test_unknown_sources(tmp_path, name, words):
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(ValueError, match=rf'{words}; allowed: "embedded", a folder of images, a \.npz pack, \.parquet files'):
        open_images(tmp_path / name, 16)


def test_bad_batch_size(tmp_path):
    write(tmp_path / "a.png", picture())
    with pytest.raises(ValueError, match="batch_size = 0; allowed: ≥ 1"):
        next(folder(tmp_path, 16).batches(0))


# Packs


def test_pack_of_jpegs(tmp_path):
    np.savez(tmp_path / "pack.npz", **jpegs(7))
    images = open_images(tmp_path / "pack.npz", 16)
    pixels, labels, _ = everything(images, 4)
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert images.class_names == ("0", "1", "2")
    assert (pixels[3].permute(1, 2, 0).numpy().astype(int) - picture(16, 16, 3)).mean() == pytest.approx(0, abs=5)


@pytest.mark.parametrize("channels", [1, 3])
def test_pack_of_arrays(tmp_path, channels):
    pixels = np.stack([picture(16, 16, seed)[..., :channels] for seed in range(3)])
    np.savez(tmp_path / "pack.npz", images=pixels, labels=[1, 0, 1], class_names=["cat", "dog"])
    images = npz(tmp_path / "pack.npz", 16)
    found, labels, _ = everything(images)
    assert images.class_names == ("cat", "dog")
    assert labels.tolist() == [1, 0, 1]
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), np.broadcast_to(pixels, (3, 16, 16, 3)))


PIXELS = np.zeros((2, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": PIXELS}, r"keys \['images'\]; allowed: jpeg, offsets, labels; or images, labels; remedy"),
        ({"images": PIXELS / 255, "labels": [0, 1]}, r"float64 \(2, 8, 8, 3\); allowed: uint8"),
        ({"images": PIXELS, "labels": [0]}, r"labels are int64 \(1,\); allowed: integers, one for each of the 2"),
        ({"images": PIXELS, "labels": [0.0, 1.0]}, "labels are float64"),
        ({"images": PIXELS, "labels": [0, -1]}, "label of image 1 is -1; allowed: 0 … 999999; remedy"),
        ({"images": PIXELS, "labels": [0, 2], "class_names": ["a", "b"]}, "label of image 1 is 2; allowed: 0 … 1"),
        ({"images": PIXELS[:0], "labels": np.zeros(0, int)}, r"pack\.npz is empty; allowed: at least one image"),
        (jpegs(3) | {"jpeg": jpegs(3)["jpeg"][:-9]}, "the blob has .* truncated or corrupt"),
        (jpegs(3) | {"offsets": jpegs(3)["offsets"][::-1]}, "truncated or corrupt"),
        (jpegs(3) | {"offsets": np.zeros((2, 2))}, r"offsets float64 \(2, 2\)"),
    ],
)
def test_bad_packs(tmp_path, arrays, words):
    np.savez(tmp_path / "pack.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        npz(tmp_path / "pack.npz", 8)


def test_a_pack_with_a_broken_image(tmp_path):
    np.savez(tmp_path / "pack.npz", **jpegs(3, broken=[1]))
    with pytest.raises(ValueError, match=r"1 of 3 images are broken: .*pack\.npz\[1\]"):
        everything(npz(tmp_path / "pack.npz", 16))


def test_to_unit():
    """Ends at ±1, spacing 2/255."""
    levels = to_unit(torch.arange(256, dtype=torch.uint8), torch.float64)
    assert levels[0] == -1
    assert levels[-1] == 1
    assert torch.allclose(levels.diff(), torch.tensor(2 / 255, dtype=torch.float64), rtol=1e-12)
    with pytest.raises(TypeError, match=r"float32; allowed: uint8"):
        to_unit(torch.zeros(3))


# Tables


def encoded(seed):
    buffer = io.BytesIO()
    Image.fromarray(picture(seed=seed)).save(buffer, "png")
    return buffer.getvalue()


class FakeTable:
    """Rows seed, seed + 1, … in groups; counts how often a group is read."""

    def __init__(self, seed, groups, names=("cat", "dog"), absent=()):
        self.names, self.groups, self.reads = names, groups, []
        self.labels = (np.arange(sum(groups)) + seed) % 2
        self._rows = [None if k in absent else encoded(seed + k) for k in range(sum(groups))]

    def encoded(self, number):
        self.reads.append(number)
        start = sum(self.groups[:number])
        return self._rows[start : start + self.groups[number]]


def table_files(tmp_path, *names):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_tables_are_read_in_order_group_by_group(tmp_path):
    """Rows across files and groups, an empty group among them; read in order, each group is read once."""
    root = table_files(tmp_path, "train-00001-of-00002.parquet", "train-00000-of-00002.parquet", "test-00000-of-00001.parquet")
    made = {"train-00000-of-00002.parquet": FakeTable(0, (3, 0, 2)), "train-00001-of-00002.parquet": FakeTable(5, (1, 4))}
    images = parquet(root, 20, open_table=lambda file: made[file.name])
    assert images.class_names == ("cat", "dog")
    assert images.labels.tolist() == [k % 2 for k in range(10)]
    pixels = everything(images, 4)[0]
    for k in range(10):
        assert np.array_equal(pixels[k].permute(1, 2, 0).numpy(), picture(seed=k)[:, 2:22])
    assert [table.reads for table in made.values()] == [[0, 2], [0, 1]]
    assert np.array_equal(np.array(images.read(7)), picture(seed=7))  # and out of order
    assert images.name(7) == f"{root}[7]"


def test_a_row_without_bytes_is_a_broken_image(tmp_path):
    root = table_files(tmp_path, "a.parquet")
    images = parquet(root, 16, tolerance=0.5, open_table=lambda _: FakeTable(0, (4,), absent=(2,)))
    assert everything(images)[2].tolist() == [0, 1, 3]
    assert images.broken[2].endswith("[2]: the row holds no image bytes")


@pytest.mark.parametrize(
    ("found", "split", "chosen"),
    [
        (["train-0.parquet", "val-0.parquet"], "val", ["val-0.parquet"]),
        (["data/train/0.arrow", "data/test/0.arrow"], "train", ["data/train/0.arrow"]),
        (["0.parquet", "1.parquet"], "train", ["0.parquet", "1.parquet"]),
        (["set-train-00000-of-00001.arrow", "set-test-00000-of-00001.arrow"], "test", ["set-test-00000-of-00001.arrow"]),
    ],
)
def test_splits_of_tables(tmp_path, found, split, chosen):
    root = table_files(tmp_path, *found)
    assert [file.relative_to(root).as_posix() for file in tables(root, split)] == chosen


@pytest.mark.parametrize(
    ("found", "split", "words"),
    [
        (["train-0.parquet", "val-0.parquet"], "test", r"split = 'test'; allowed: train, val; remedy: --split train"),
        (
            ["set-validation-00000-of-00002.parquet"],
            "train",
            r"split = 'train'; allowed: validation; remedy: --split validation",
        ),
        (["data/test/0.arrow"], "train", "split = 'train'; allowed: test; remedy: --split test"),
        (["0.parquet"], "vla", "split = 'vla'; allowed: train, which takes all here; remedy: --split train"),
    ],
)
def test_a_split_that_is_not_there_is_refused(tmp_path, found, split, words):
    """BITE: all files, validation images among them, in the place of the split."""
    with pytest.raises(ValueError, match=f"no table in .* is of {words}"):
        tables(table_files(tmp_path, *found), split)


def test_bad_tables(tmp_path):
    root = table_files(tmp_path, "a.parquet", "b.parquet")
    makers = iter([FakeTable(0, (2,)), FakeTable(0, (2,), names=("x", "y"))])
    with pytest.raises(ValueError, match=r"b\.parquet has other class names than .*a\.parquet; allowed: the same; remedy"):
        parquet(root, 16, open_table=lambda _: next(makers))
    hidden = FakeTable(0, (2,))
    hidden.labels = np.array([0, -1])
    with pytest.raises(ValueError, match=r"label of image 1 is -1; allowed: 0 … 1; remedy: a split that has labels"):
        parquet(root / "a.parquet", 16, open_table=lambda _: hidden)
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no \.parquet or \.arrow file in .*; allowed: at least one"):
        parquet(tmp_path / "none", 16)


def test_tables_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it were not installed
    with pytest.raises(
        ImportError, match=r"a\.parquet needs pyarrow, which is not installed; allowed: .*; remedy: pip install"
    ):
        open_images(table_files(tmp_path, "a.parquet"), 16)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_tables_with_pyarrow(tmp_path, suffix):
    """What `datasets` writes: images as {bytes, path}, class names in the metadata of the schema, several row groups."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow, an optional extra, is not installed")
    rows = [{"bytes": encoded(k), "path": None} for k in range(5)]
    described = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pyarrow.table({"image": rows, "label": [0, 1, 0, 1, 0]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(described)})
    if suffix == "parquet":
        from pyarrow import parquet as writer

        writer.write_table(table, tmp_path / "train-0.parquet", row_group_size=2)
    else:
        with pyarrow.OSFile(str(tmp_path / "data-0.arrow"), "wb") as file, pyarrow.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=2)
    images = open_images(tmp_path, 20)
    pixels, labels, _ = everything(images)
    assert images.class_names == ("cat", "dog")
    assert labels.tolist() == [0, 1, 0, 1, 0]
    assert np.array_equal(pixels[3].permute(1, 2, 0).numpy(), picture(seed=3)[:, 2:22])
    (tmp_path / f"z.{suffix}").write_bytes(b"junk")
    with pytest.raises(ValueError, match=rf"z\.{suffix} cannot be read .*; allowed: parquet or arrow; remedy"):
        parquet(tmp_path / f"z.{suffix}", 16)


def test_tables_with_other_columns(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow, an optional extra, is not installed")
    from pyarrow import parquet as writer

    writer.write_table(pyarrow.table({"text": ["a"], "label": [0]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet has the columns text, label; allowed: image or img, and label"):
        open_images(tmp_path, 16)
