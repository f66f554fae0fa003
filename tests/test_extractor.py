"""Features: principal components, SqueezeNet from a file, files that lie, and agreement with torch-fidelity.

BITE: forgetting to reverse the channels in `squeezenet.prepare`, the deviation in `Components.fit`, or a bound in the
safetensors reader turns a test here red.
"""

from __future__ import annotations

import hashlib
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from imagenet import extractor, metric, squeezenet, weights
from imagenet.extractor import Classifying, Components
from imagenet.metric import Moments
from theory.stream import Stream

DTYPES = {torch.float16: "F16", torch.float32: "F32", torch.int64: "I64", torch.bfloat16: "BF16"}


def pictures(count: int, size: int = 8, seed: int = 0) -> Tensor:
    """uint8 images with some large-scale structure."""
    coarse = Stream(seed).child("coarse").normal(count, (3, 2, 2))
    fine = Stream(seed).child("fine").normal(count, (3, size, size))
    grown = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")
    return (128 + 40 * grown + 10 * fine).round().clamp(0, 255).to(torch.uint8)


def safetensors(tensors: dict[str, Tensor]) -> bytes:
    """The format written by hand, as its description says."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, tensor in tensors.items():
        raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def random_squeezenet(seed: int = 0) -> dict[str, Tensor]:
    state = squeezenet.SqueezeNet().state_dict()
    stream = Stream(seed)
    scaled = {}
    for name, value in state.items():
        fan = value[0].numel() if value.ndim > 1 else 1e4
        scaled[name] = (stream.child(name).normal(1, tuple(value.shape))[0] * (2 / fan) ** 0.5).half()
    return scaled


@pytest.fixture(scope="module")
def squeezenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    path.write_bytes(safetensors(random_squeezenet()))
    return path


# ---- principal components ---------------------------------------------------------------------------------------------


def test_the_training_covariance_of_the_components_is_the_identity() -> None:
    images = pictures(300)
    found = Components.fit(lambda at: images[at], 300, 6)
    moments = Moments.of(found(images))
    torch.testing.assert_close(moments.covariance, torch.eye(6).double(), rtol=0, atol=1e-4)  # float32 features
    torch.testing.assert_close(moments.mean, torch.zeros(6).double(), rtol=0, atol=1e-4)
    assert found.label == "FD-PCA (6)"
    assert 0.5 < found.explained < 1


def test_components_are_the_leading_eigenvectors() -> None:
    images = pictures(200)
    found = Components.fit(lambda at: images[at], 200, 5)
    values = np.linalg.eigvalsh(np.cov((images.flatten(1).double() / 255).numpy(), rowvar=False))[::-1]
    lengths = found.directions.double().norm(dim=0) ** -2  # directions are divided by the deviations
    np.testing.assert_allclose(lengths, values[:5], rtol=1e-3)  # randomised: exact where the spectrum falls
    assert found.explained == pytest.approx(values[:5].sum() / values.sum(), rel=1e-3)


def test_components_do_not_depend_on_the_run_and_features_not_on_the_batch() -> None:
    images = pictures(100)
    one, two = (Components.fit(lambda at: images[at], 100, 4) for _ in range(2))
    assert one.identity == two.identity
    assert Components.fit(lambda at: pictures(100, seed=1)[at], 100, 4).identity != one.identity
    torch.testing.assert_close(torch.cat([one(part) for part in images.split(7)]), one(images), rtol=1e-4, atol=1e-4)


def test_kept_components_are_read_back_and_a_broken_file_is_named(tmp_path: Path) -> None:
    images, file = pictures(100), tmp_path / "kept" / "components.npz"
    made = Components.kept(file, lambda at: images[at], 100, 4)
    found = Components.kept(file, lambda at: pictures(1)[at], 1, 4)  # too few to be fitted on: it is read
    assert (found.identity, found.label, found.explained) == (made.identity, made.label, made.explained)
    torch.testing.assert_close(found(images), made(images), rtol=0, atol=0)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"components.npz cannot be read .*allowed: a whole file; remedy: delete it"):
        Components.kept(file, lambda at: images[at], 100, 4)


def test_large_images_are_averaged_down() -> None:
    small = pictures(90, 64)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    found = Components.fit(lambda at: small[at], 90, 3)
    torch.testing.assert_close(found(large), found(small), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("count", "dim"), [(10, 10), (300, 192), (300, 0)])
def test_too_many_components_are_refused(count: int, dim: int) -> None:
    images = pictures(count)
    with pytest.raises(ValueError, match=rf"{dim} principal components of {count} images.*allowed: 1 … .*remedy"):
        Components.fit(lambda at: images[at], count, dim)


def test_images_of_another_kind_are_refused() -> None:
    images = pictures(20)
    found = Components.fit(lambda at: images[at], 20, 2)
    with pytest.raises(ValueError, match=r"torch.float32 \(20, 3, 8, 8\); allowed: uint8"):
        found(images.float())
    with pytest.raises(ValueError, match=r"\(20, 8, 8, 3\)"):
        found(images.permute(0, 2, 3, 1))


# ---- SqueezeNet -------------------------------------------------------------------------------------------------------


def test_squeezenet_has_the_published_size() -> None:
    """1,248,424 parameters in every public implementation; fire9 on a 13 × 13 grid."""
    net = squeezenet.SqueezeNet()
    assert sum(p.numel() for p in net.parameters()) == 1_248_424
    assert net.features(torch.zeros(1, 3, 227, 227)).shape == (1, 512, 13, 13)


def test_squeezenet_input_is_bgr_minus_the_mean() -> None:
    image = torch.zeros(1, 3, 227, 227, dtype=torch.uint8)
    image[0, 0], image[0, 1], image[0, 2] = 200, 100, 50  # red, green, blue
    found = squeezenet.prepare(image)
    assert found[0, :, 5, 7].tolist() == [50 - 104, 100 - 117, 200 - 123]
    assert squeezenet.prepare(image[..., :32, :32]).shape == (1, 3, 227, 227)


def test_squeezenet_from_a_file(squeezenet_file: Path) -> None:
    found = extractor.by_name(f"squeezenet={squeezenet_file}", lambda at: pictures(1), 1)
    images = pictures(2, 32)
    features = found(images)
    assert features.shape == (2, 512)
    assert found.label.startswith("FD-SqueezeNet (weights ")  # not the file we know: its hash is in the name
    assert not isinstance(found, Classifying)
    net = squeezenet.SqueezeNet()
    net.load_state_dict({name: value.float() for name, value in random_squeezenet().items()})
    with torch.no_grad():
        torch.testing.assert_close(features, net.eval()(squeezenet.prepare(images))[0])


def test_other_weights_are_refused(tmp_path: Path) -> None:
    tensors = random_squeezenet()
    del tensors["features.3.squeeze.bias"]
    path = tmp_path / "other.safetensors"
    path.write_bytes(safetensors(tensors))
    with pytest.raises(ValueError, match=r"1 tensors differ.*features.3.squeeze.bias of shape none; allowed: \(16,\)"):
        extractor.squeeze_net(path)


# ---- files ------------------------------------------------------------------------------------------------------------


def test_missing_weights_name_url_hash_and_folder(tmp_path: Path) -> None:
    for name, source in (
        ("squeezenet", extractor.SQUEEZENET),
        ("inception", extractor.INCEPTION),
        ("dinov2", extractor.DINOV2),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            extractor.by_name(f"{name}={tmp_path / 'none.bin'}", lambda at: pictures(1), 1)
        for text in (source.url, source.sha256, str(tmp_path), source.file, "remedy"):
            assert text in str(caught.value)


def test_inception_of_another_hash_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "weights-inception-2015-12-05-6726825d.pth"
    path.write_bytes(b"not the weights")
    with pytest.raises(ValueError, match=f"{hashlib.sha256(b'not the weights').hexdigest()}; allowed: 6726825d"):
        extractor.inception(tmp_path)


@pytest.mark.parametrize("text", ["pca=", "pca=x", "vgg", "squeezenet", "inception="])
def test_unknown_extractors_are_refused(text: str) -> None:
    images = pictures(200)
    if text == "pca=":
        assert extractor.by_name(text, lambda at: images[at], 200).dim == extractor.COMPONENTS
        return
    with pytest.raises(ValueError, match="allowed: pca, pca=COMPONENTS, squeezenet=PATH"):
        extractor.by_name(text, lambda at: images[at], 200)


def test_safetensors_round_trip(tmp_path: Path) -> None:
    tensors = {
        "a": torch.arange(6).reshape(2, 3),
        "b": torch.randn(4, generator=torch.Generator().manual_seed(0)).half(),
        "scalar": torch.tensor(2.5),
        "none": torch.empty(0, 3),
        "c": torch.ones(2, 2).bfloat16(),
    }
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors(tensors))
    found = weights.read_safetensors(path)
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


@pytest.mark.parametrize("missing", [1, 5, 53, 54, 60])
def test_a_truncated_file_is_named(tmp_path: Path, missing: int) -> None:
    """54 bytes of numbers: cut in them, at their start, and in the header."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors({"a": torch.arange(6), "b": torch.ones(3).half()})[:-missing])
    with pytest.raises(ValueError, match=r"x.safetensors has .*remedy: it is truncated or corrupt"):
        weights.read_safetensors(path)


@given(st.data())
def test_a_damaged_file_gives_our_error_or_a_readable_tensor(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    good = safetensors({"a": torch.arange(6), "b": torch.ones(3).half()})
    kind = data.draw(st.sampled_from(["cut", "flip", "noise"]))
    if kind == "cut":
        content = good[: data.draw(st.integers(0, len(good) - 1))]
    elif kind == "flip":
        at = data.draw(st.integers(0, 8 * len(good) - 1))
        changed = bytearray(good)
        changed[at // 8] ^= 1 << (at % 8)
        content = bytes(changed)
    else:
        content = data.draw(st.binary(max_size=60))
    path = tmp_path_factory.mktemp("damaged") / "x.safetensors"
    path.write_bytes(content)
    try:
        found = weights.read_safetensors(path)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017  (either outcome is allowed; no other exception is)
        assert "remedy" in str(error)  # noqa: PT017
    else:
        assert kind != "cut"
        assert all(isinstance(tensor, Tensor) for tensor in found.values())


# ---- DINOv2 and Inception ---------------------------------------------------------------------------------------------


class Averaged(torch.nn.Module):
    """Stands for an exported network: the mean colour."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def test_an_exported_network_is_run_on_normalised_pixels(tmp_path: Path) -> None:
    path = tmp_path / "dinov2.pt2"
    program = torch.export.export(
        Averaged(), (torch.zeros(2, 3, 224, 224),), dynamic_shapes={"x": {0: torch.export.Dim.DYNAMIC}}
    )
    torch.export.save(program, path)
    found = extractor.dino(path)
    image = torch.full((3, 3, 32, 32), 51, dtype=torch.uint8)  # 0.2
    wanted = [(0.2 - m) / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]
    assert (found.label, found.dim) == ("FD-DINOv2", 3)
    torch.testing.assert_close(found(image), torch.tensor([wanted] * 3), rtol=1e-5, atol=1e-5)
    path.write_bytes(b"no program")
    with pytest.raises(ValueError, match="is not an exported program"):
        extractor.dino(path)


@pytest.fixture
def fidelity(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """torch-fidelity, if installed. It imports torchvision at its head, for other extractors than Inception: where there is
    none for this torch, empty modules take its place."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
            module = types.ModuleType(name)
            module.__dict__.update({key: type(key, (), {}) for key in ("CIFAR10", "STL10", "CIFAR100")})
            monkeypatch.setitem(sys.modules, name, module)
        sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]  # type: ignore[attr-defined]
        sys.modules["torchvision.transforms"].functional = sys.modules["torchvision.transforms.functional"]  # type: ignore[attr-defined]
    return pytest.importorskip("torch_fidelity", reason="torch-fidelity is not installed: pip install torch-fidelity")


def test_fid_is_torch_fidelitys_on_random_weights(fidelity: types.ModuleType, tmp_path: Path) -> None:
    """Same random Inception, same images, their code and ours: 1e-3 relative is the issue's bar."""
    from torch_fidelity import metric_fid, metric_isc, metric_prc
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with pytest.MonkeyPatch.context() as patch:  # their constructor always loads a file: give it nothing to load
        patch.setattr(torch, "load", lambda *_, **__: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        net = FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], feature_extractor_weights_path="none")
    generator = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if value.ndim > 1:
            value.copy_(torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5)
        assert torch.isfinite(value).all(), name
    path = tmp_path / extractor.INCEPTION.file
    torch.save(net.state_dict(), path)
    source = weights.Source("random", "none", hashlib.sha256(path.read_bytes()).hexdigest(), path.name)
    ours = extractor.inception(path, source=source)
    assert isinstance(ours, Classifying)
    first, second = pictures(24, 32), pictures(24, 32, seed=1)
    (a, logits), (b, _) = (ours.both(images) for images in (first, second))
    torch.testing.assert_close(a, net(first)[0])
    # 8 fixed mixtures of the 2048 features keep the covariance regular with few images; both codes see the same
    mixing = torch.randn(2048, 8, generator=generator)
    a, b = a @ mixing, b @ mixing
    theirs = metric_fid.fid_statistics_to_metric(
        *(metric_fid.fid_features_to_statistics(x.double()) for x in (a, b)), verbose=False
    )["frechet_inception_distance"]
    found = metric.frechet(Moments.of(a), Moments.of(b), "FID")
    print(f"FID of torch-fidelity {theirs!r}, ours {found!r}, relative difference {abs(found / theirs - 1):.2g}")
    assert found == pytest.approx(theirs, rel=1e-3)
    score = metric_isc.isc_features_to_metric(logits, splits=3, shuffle=False)
    assert metric.inception_score(logits, 3) == pytest.approx(tuple(score.values()), rel=1e-6)
    shares = metric_prc.calculate_precision_recall_full(a, b, 3)
    assert metric.precision_recall(b, a, 3) == pytest.approx(shares, abs=1e-6)
