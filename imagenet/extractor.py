"""Features of images: what a Fréchet distance is taken between. The name printed beside the number says which.

    FD-PCA         principal components of the training images: no weights needed, so always at hand
    FD-SqueezeNet  SqueezeNet 1.0, fire9 averaged over places, 512 features; weights from a file
    FID            Inception of 2015 as everyone uses it, through torch-fidelity; weights from a file, its sha256 checked
    FD-DINOv2      DINOv2 features (Stein et al., arXiv 2306.04675) of a network that you exported yourself; from a file

Only Inception's may be called FID. Numbers of different extractors cannot be compared with one another, nor can FD-PCA between
data sets: its features are those of one training set.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from imagenet import squeezenet, weights
from theory import record
from theory.stream import Stream

# 32 whitened components. Of the embedded photographs at 16 px they hold 94 % of the variance of pixels: layout, colour and
# coarse structure; the fine texture they miss has the distance of spectra. More cost bias: half of those photographs' patches
# against 300 of the other half gives .7 with 16 components, 2.5 with 32 and 9 with 64, where a network of a minute's training
# at 4 evaluations gives 6, 12 and 30. So few that a small run can afford the images, so many that layout cannot hide.
COMPONENTS = 32
FITTED_ON = 4096  # images the components are fitted on, evenly spread: their variances are known to a few per cent
# Images a network takes at a time: the first layer's output of one is 5 MB, and a CPU wants it in its cache.
AT_A_TIME = {"cpu": 8, "cuda": 250}
LARGEST_SIDE = 64  # px; larger images are averaged down to it first, since the first components are smooth anyway

SQUEEZENET = weights.Source(
    "SqueezeNet 1.0 (Caffe convention, half precision, torchvision's names)",
    "https://github.com/songhan/SqueezeNet-Deep-Compression",
    "d99e7c58c5bf9bbb89ab74160cf633a7ffebe1b46149d10e6284573eb9defecb",
    "squeezenet1_0-imagenet-fp16.safetensors",
)
INCEPTION = weights.Source(
    "Inception (2015-12-05, converted from TensorFlow)",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    "weights-inception-2015-12-05-6726825d.pth",
)
DINOV2 = weights.Source(
    "DINOv2, exported by you with torch.export.save: (B, 3, 224, 224) float, normalised, B dynamic, → features (B, dim)",
    "https://github.com/facebookresearch/dinov2",
    "of your own export",
    "dinov2.pt2",
)
# DINOv2's own preparation: 224 px, mean and deviation of ImageNet in 0 … 1 (Oquab et al., arXiv 2304.07193).
_DINO_SIDE, _DINO_MEAN, _DINO_STD = 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Extractor(Protocol):
    """Images → features. `label` is printed beside every number; `identity` changes when the features do."""

    @property
    def label(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def dim(self) -> int: ...
    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (B, 3, H, W) on any device → (B, dim), float32 or float64."""
        ...


@runtime_checkable
class Classifying(Protocol):
    """An extractor that also classifies, so that an inception score can be taken."""

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, 3, H, W) → features (B, dim), logits (B, classes)."""
        ...


def require_images(images: Tensor) -> None:
    """Raises TypeError or ValueError unless `images` is uint8 (B, 3, H, W)."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"images are {images.dtype} {tuple(images.shape)}; allowed: uint8 (B, 3, H, W); remedy: map [−1, 1] to 0 … 255, "
            "channels first"
        )


# ---- principal components ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of training images, each divided by its deviation there: the training covariance is the identity.

    Whitened, because else the first component, brightness, would be most of every distance. explained: share of the variance.
    Second moments of pixels only: two sets with equal mean and covariance are at distance 0, whatever they show.
    """

    mean: Tensor  # (pixels,) float32
    directions: Tensor  # (pixels, dim) float32, divided by the deviations
    side: int
    explained: float

    @classmethod
    def fit(cls, images: Callable[[Tensor], Tensor], count: int, dim: int = COMPONENTS, seed: int = 0) -> Components:
        """From `images` (positions → uint8 (B, 3, H, W)) of `count` images; at most FITTED_ON of them are read.

        Raises ValueError where there are not more images, or pixels, than components.
        """
        chosen = torch.linspace(0, count - 1, min(count, FITTED_ON), dtype=torch.float64).round().long()
        first = _small(images(chosen[:1]))
        if not 1 <= dim < min(len(chosen), first.shape[1]):
            raise ValueError(
                f"{dim} principal components of {len(chosen)} images with {first.shape[1]} values; allowed: 1 … "
                f"{min(len(chosen), first.shape[1]) - 1}; remedy: fewer components (pca=N), or more images"
            )
        pixels = torch.cat([_small(images(part)) for part in chosen.split(256)])
        generator = int(Stream(seed).child("principal components").generator(0).integers(2**31))
        from sklearn.decomposition import PCA as ScikitPCA  # seconds to import, and only fitting needs it

        found = ScikitPCA(dim, svd_solver="randomized", random_state=generator).fit(pixels.numpy())
        deviation = torch.from_numpy(found.explained_variance_).sqrt()
        if not bool((deviation > 0).all()):
            raise ValueError(f"fewer than {dim} components have variance; allowed: all; remedy: fewer components (pca=N)")
        directions = torch.from_numpy(found.components_).T / deviation
        side = round((first.shape[1] // 3) ** 0.5)
        return cls(
            torch.from_numpy(found.mean_).float(), directions.float(), side, float(found.explained_variance_ratio_.sum())
        )

    @classmethod
    def kept(
        cls, file: Path, images: Callable[[Tensor], Tensor], count: int, dim: int = COMPONENTS, seed: int = 0
    ) -> Components:
        """As `fit`, read from `file` (npz, no pickles) where it is there already, else written to it.

        Raises ValueError for a file that cannot be read.
        """
        if not file.is_file():
            made = cls.fit(images, count, dim, seed)
            rest = [made.side, made.explained]
            record.save_arrays(file, mean=made.mean.numpy(), directions=made.directions.numpy(), rest=rest)
            return made
        with record.arrays(file, "a whole file", "delete it, it is made anew") as stored:
            side, explained = stored["rest"].tolist()
            return cls(torch.from_numpy(stored["mean"]), torch.from_numpy(stored["directions"]), int(side), explained)

    @property
    def label(self) -> str:
        return f"FD-PCA ({self.dim})"

    @property
    def identity(self) -> str:
        return "pca " + hashlib.sha256(self.directions.contiguous().numpy().tobytes()).hexdigest()[:16]

    @property
    def dim(self) -> int:
        return self.directions.shape[1]

    def __call__(self, images: Tensor) -> Tensor:
        pixels = _small(images)
        return (pixels - self.mean.to(pixels.device)) @ self.directions.to(pixels.device)


def _small(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) → float32 (B, 3·side²) in 0 … 1, averaged down to LARGEST_SIDE where larger."""
    require_images(images)
    pixels = images.float() / 255
    if max(pixels.shape[-2:]) > LARGEST_SIDE:
        pixels = functional.interpolate(pixels, (LARGEST_SIDE, LARGEST_SIDE), mode="area")
    return pixels.flatten(1)


# ---- networks from files ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network: `prepare` turns uint8 images into its input, `net` that into features, or features and logits."""

    label: str
    identity: str
    dim: int
    net: torch.nn.Module = field(repr=False)
    prepare: Callable[[Tensor], Tensor] = field(repr=False)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        parts = self._run(images)
        return torch.cat([part[0] if isinstance(part, tuple) else part for part in parts])

    def _run(self, images: Tensor) -> list[Tensor | tuple[Tensor, Tensor]]:
        require_images(images)
        size = AT_A_TIME["cuda" if images.device.type == "cuda" else "cpu"]
        # TensorFloat-32 would move features in their third digit: the same image, another device, another distance.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            return [self.net(self.prepare(part)) for part in images.split(size)]


@dataclass(frozen=True, eq=False)
class ClassifyingNetwork(Network):
    """A network whose logits are meant to be scored as well: Inception."""

    @torch.inference_mode()
    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        parts = [part for part in self._run(images) if isinstance(part, tuple)]
        if not parts:
            raise TypeError(f"{self.label} gives features alone; allowed: features and logits; remedy: use Network")
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def squeeze_net(path: str | Path, device: torch.device | str = "cpu") -> Network:
    """FD-SqueezeNet from a safetensors file. A file other than the one known to us is used, and its hash joins the name."""
    file, sha256 = weights.find(path, SQUEEZENET, exact=False)
    net = squeezenet.SqueezeNet.from_weights(weights.read_safetensors(file), str(file)).to(device)
    label = "FD-SqueezeNet" if sha256 == SQUEEZENET.sha256 else f"FD-SqueezeNet (weights {sha256[:8]})"
    return Network(
        label, f"squeezenet {sha256}", squeezenet.FEATURES, net, lambda images: squeezenet.prepare(images.to(device))
    )


def inception(path: str | Path, device: torch.device | str = "cpu", source: weights.Source = INCEPTION) -> ClassifyingNetwork:
    """FID's features and the logits of the inception score, by torch-fidelity. The file is opened only if its hash is right."""
    file, sha256 = weights.find(path, source)
    try:
        module = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")  # optional: not on every machine
    except ImportError as error:
        raise ImportError(
            f"FID needs torch-fidelity, and {error.name} is not installed; allowed: torch-fidelity ≥ 0.3 with the torchvision "
            "of your torch; remedy: pip install 'torch-fidelity' torchvision, or choose pca or squeezenet"
        ) from error
    net = module.FeatureExtractorInceptionV3("inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(file))
    return ClassifyingNetwork("FID", f"inception {sha256}", 2048, net.eval().to(device), lambda images: images.to(device))


def dino(path: str | Path, device: torch.device | str = "cpu") -> Network:
    """FD-DINOv2 from a file of torch.export that you made yourself: it is a program, so take none from a stranger."""
    file, sha256 = weights.find(path, DINOV2, exact=False)
    try:
        net = torch.export.load(str(file)).module().to(device)
    except Exception as error:  # zipfile, json, torch: each has its own
        raise ValueError(
            f"{file} is not an exported program ({error}); allowed: {DINOV2.what}; remedy: export it anew"
        ) from error
    with torch.inference_mode():
        found = net(torch.zeros(2, 3, _DINO_SIDE, _DINO_SIDE, device=device))
    if not isinstance(found, Tensor) or found.ndim != 2:
        raise ValueError(f"{file} does not give one tensor (B, dim); allowed: {DINOV2.what}; remedy: export features alone")
    return Network("FD-DINOv2", f"dinov2 {sha256}", found.shape[1], net, lambda images: _dino_input(images.to(device)))


def _dino_input(images: Tensor) -> Tensor:
    pixels = functional.interpolate(images.float() / 255, (_DINO_SIDE, _DINO_SIDE), mode="bicubic", antialias=True)
    mean, deviation = (pixels.new_tensor(values)[:, None, None] for values in (_DINO_MEAN, _DINO_STD))
    return (pixels.clamp(0, 1) - mean) / deviation


# ---- by name ----------------------------------------------------------------------------------------------------------

_BY_PATH: dict[str, Callable[[str, torch.device | str], Extractor]] = {
    "squeezenet": squeeze_net,
    "inception": inception,
    "dinov2": dino,
}


def by_name(
    text: str, images: Callable[[Tensor], Tensor], count: int, device: torch.device | str = "cpu", stem: Path | None = None
) -> Extractor:
    """The extractor "pca", "pca=32", "squeezenet=PATH", "inception=PATH" or "dinov2=PATH"; `images` and `count` as for `fit`.

    stem: fitted components are kept in the file stem-NUMBER.npz.
    Raises ValueError for another name, and what the extractor raises for missing or broken weights.
    """
    name, _, value = text.partition("=")
    if name == "pca" and (not value or value.isdecimal()):
        dim = int(value) if value else COMPONENTS
        if stem is None:
            return Components.fit(images, count, dim)
        return Components.kept(stem.with_name(f"{stem.name}-{dim}.npz"), images, count, dim)
    if name in _BY_PATH and value:
        return _BY_PATH[name](value, device)
    raise ValueError(
        f"extractor {text!r}; allowed: pca, pca=COMPONENTS, squeezenet=PATH, inception=PATH, dinov2=PATH; remedy: correct the "
        "name, or add the path of its weights"
    )
