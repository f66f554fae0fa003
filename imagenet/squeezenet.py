"""SqueezeNet 1.0 (Iandola et al., arXiv 1602.07360): a small network trained on ImageNet, here as a source of features.

Input (B, 3, 227, 227), channels blue, green, red, 0 … 255 minus (104, 117, 123): the convention of the Caffe weights that the
authors published, not of torchvision's. Parameter names are torchvision's. Poolings round up, as Caffe's do.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 227
FEATURES = 512
CLASSES = 1000
_MEAN = (104.0, 117.0, 123.0)  # blue, green, red

# Position of each fire module in `features`, its inputs, its squeezed channels, half its outputs; None is a pooling.
_FIRES: tuple[tuple[int, int, int] | None, ...] = (
    (96, 16, 64),
    (128, 16, 64),
    (128, 32, 128),
    None,
    (256, 32, 128),
    (256, 48, 192),
    (384, 48, 192),
    (384, 64, 256),
    None,
    (512, 64, 256),
)


class Fire(nn.Module):
    """A 1 × 1 convolution to few channels, then 1 × 1 and 3 × 3 side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.squeeze(x))
        return functional.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class SqueezeNet(nn.Module):
    """features: (B, 3, 227, 227) → (B, 512, 13, 13), fire9; classifier: → (B, 1000) logits."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 96, 7, stride=2), nn.ReLU(), _pooling()]
        layers += [_pooling() if fire is None else Fire(*fire) for fire in _FIRES]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(FEATURES, CLASSES, 1), nn.ReLU())

    @classmethod
    def from_weights(cls, weights: Mapping[str, Tensor], name: str) -> SqueezeNet:
        """In evaluation mode, float32. Raises ValueError unless names and shapes are those of SqueezeNet 1.0."""
        with torch.device("meta"):
            net = cls()
        wanted = {key: tuple(value.shape) for key, value in net.state_dict().items()}
        found = {key: tuple(value.shape) for key, value in weights.items()}
        wrong = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
        if wrong:
            key = wrong[0]
            raise ValueError(
                f"{name}: {len(wrong)} tensors differ from SqueezeNet 1.0, the first {key} of shape {found.get(key, 'none')}; "
                f"allowed: {wanted.get(key, 'no such tensor')}; remedy: give weights with torchvision's names"
            )
        net.load_state_dict({key: value.float() for key, value in weights.items()}, assign=True)
        return net.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Prepared pixels (B, 3, 227, 227) → (fire9 averaged over places (B, 512), logits (B, 1000))."""
        maps = self.features(x)
        return maps.mean((2, 3)), self.classifier(maps).mean((2, 3))


def _pooling() -> nn.Module:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def prepare(images: Tensor) -> Tensor:
    """uint8 RGB (B, 3, H, W) → float32 (B, 3, 227, 227), BGR minus the mean; bilinear, antialiased when shrinking."""
    pixels = images.flip(1).float()
    if pixels.shape[-2:] != (SIDE, SIDE):
        pixels = functional.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True)
    return pixels - pixels.new_tensor(_MEAN)[:, None, None]
