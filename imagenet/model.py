"""The network: a Residual U-ViT (SiD2, Hoogeboom et al., arXiv 2410.19324), in pixels, told its class and its noise.

    call    net(z, labels, log_snr, log_snr_start, log_snr_end), z (batch, 3, side, side); the prediction has z's shape
    trunk   patches → levels, each half as wide a grid as the one before → the last level's transformer → levels → patches
    skips   one per change of resolution: down keeps h_high and h_low = Down(h_high); up gives Up(x − h_low) + h_high,
            so that blocks which add nothing leave the trunk the identity, and the coarse part learns a correction
    R       x + conv(silu(norm(conv(silu(norm(x)))))), 3×3, GroupNorm
    T       x + attention(norm(x)), then x + mlp(norm(x)): RMSNorm, normed queries and keys, rotary positions along rows and
            columns, MLP four times as wide; the only blocks with dropout
    FiLM    every norm is followed by (1 + scale)·x + shift, linear in one vector per image: the sum of an embedding of the
            class (one row more than classes: the null label of guidance) and of λ(t), λ(0), λ(1)

From SiD2: channels, types and numbers of blocks, the skip. Ours, where its text leaves it open: the kinds of norm, the
rotary frequencies, zeros for the last layer of every branch and of the head, average pooling and a 1×1 convolution down, a
1×1 convolution and nearest neighbour up, the embedding of λ. The network as it is made predicts 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from imagenet.blocks import (
    FILM_GAIN,
    Conv,
    Down,
    Linear,
    ResidualBlock,
    Scale,
    Table,
    TransformerBlock,
    Up,
    film_of_groups,
    group_count,
    head_width,
    rotation_table,
    stable,
)
from imagenet.settings import Model
from theory.stream import Stream

# Wavelengths in λ of its embedding: a step of .05 turns the fastest by 18°, and the slowest tells apart all |λ| < 50.
SHORTEST, LONGEST = 1.0, 100.0


def feature_count(embedding: int) -> int:
    """Sines and cosines of λ: a quarter of the conditioning vector, 256 of 1024."""
    return max(2, embedding // 4 // 2 * 2)


class NoiseEmbedding(nn.Module):
    """λ (batch,) → sines and cosines of it, wavelengths 1 to 100 in geometric steps → a vector, by one hidden layer."""

    frequency: Tensor

    def __init__(self, embedding: int) -> None:
        super().__init__()
        self.count = feature_count(embedding) // 2
        self.register_buffer("frequency", torch.empty(self.count), persistent=False)
        self.inner = Linear(2 * self.count, embedding)
        self.outer = Linear(embedding, embedding)

    def reset(self) -> None:
        wavelength = torch.logspace(math.log10(SHORTEST), math.log10(LONGEST), self.count, dtype=torch.float64, device="cpu")
        self.frequency.copy_(2 * math.pi / wavelength)

    def forward(self, log_snr: Tensor) -> Tensor:
        angle = stable(log_snr)[:, None] * self.frequency  # float32: below 2e-6 of a turn off at |λ| = 20
        features = torch.cat((angle.cos(), angle.sin()), dim=-1)
        return self.outer(F.silu(self.inner(features.to(self.inner.weight.dtype))))


class Head(nn.Module):
    """GroupNorm, FiLM, silu, and a linear map of each token to its patch (3, patch, patch); made 0."""

    def __init__(self, channels: int, embedding: int, patch: int) -> None:
        super().__init__()
        self.groups, self.patch = group_count(channels), patch
        self.film = Linear(embedding, 2 * channels, gain=FILM_GAIN)
        self.pixels = Conv(channels, 3 * patch * patch, 1, gain=0.0)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition).chunk(2, dim=-1)
        return F.pixel_shuffle(self.pixels(F.silu(film_of_groups(x, self.groups, scale, shift))), self.patch)


# ---- the network -------------------------------------------------------------------------------------------------------


class ResidualUViT(nn.Module):
    """The network of `settings` for `classes` classes. `told`: whether it is told λ(0) and λ(1) beside λ(t).

    Made under `torch.device("meta")` it has shapes only; `to_empty` and `initialise` (or loaded weights and `reset_buffers`)
    give it values. Elsewhere it comes initialised, a pure function of `seed`: torch's global random state is left alone.
    `checkpointing`: keep only the inputs of blocks and compute these again in the backward pass.
    Raises ValueError for no classes, or channels that heads cannot share.
    """

    def __init__(self, settings: Model, classes: int, told: bool = True, seed: int = 0) -> None:
        super().__init__()
        if classes < 1:
            raise ValueError(f"classes = {classes}; allowed: ≥ 1; remedy: one class for images without labels")
        self.settings, self.classes, self.told, self.checkpointing = settings, classes, told, False
        channels, embedding = settings.channels, settings.embedding
        self.labels = Table(classes + 1, embedding)
        self.noise = nn.ModuleList(NoiseEmbedding(embedding) for _ in range(3 if told else 1))
        self.patches = Conv(3, channels[0], settings.patch, stride=settings.patch)
        self.descent = nn.ModuleList(self._level(level, count) for level, count in enumerate(settings.blocks))
        self.down = nn.ModuleList(Down(high, low) for high, low in itertools.pairwise(channels))
        self.middle = self._level(len(channels) - 1, settings.middle)
        self.up = nn.ModuleList(Up(low, high) for high, low in itertools.pairwise(channels))
        self.ascent = nn.ModuleList(self._level(level, count) for level, count in enumerate(settings.blocks))
        self.head = Head(channels[0], embedding, settings.patch)
        for level, kind in enumerate(settings.types):
            if kind == "T":
                self.register_buffer(f"rotation_{level}", torch.empty(self._table_shape(level)), persistent=False)
        if not self.patches.weight.is_meta:
            initialise(self, seed)

    def _level(self, level: int, count: int) -> nn.ModuleList:
        settings, channels = self.settings, self.settings.channels[level]
        if settings.types[level] == "R":
            return nn.ModuleList(ResidualBlock(channels, settings.embedding) for _ in range(count))
        block = (channels, settings.embedding, settings.head_dim, settings.dropout)
        return nn.ModuleList(TransformerBlock(*block) for _ in range(count))

    def _grid(self, level: int) -> int:
        return self.settings.resolution // self.settings.patch // 2**level

    def _table_shape(self, level: int) -> tuple[int, int, int]:
        return 2, self._grid(level) ** 2, head_width(self.settings.channels[level], self.settings.head_dim)

    def blocks(self) -> list[nn.Module]:
        """The blocks in the order of the forward pass: what a trainer compiles, shards, or sees recomputed, one by one."""
        levels = [*self.descent, self.middle, *reversed(list(self.ascent))]
        return [block for level in levels for block in level]

    @torch.no_grad()
    def reset_buffers(self) -> None:
        """Fill the fixed tables: rotations, frequencies. They are in no checkpoint, and `to_empty` leaves them undefined."""
        for level, kind in enumerate(self.settings.types):
            if kind == "T":
                table: Tensor = getattr(self, f"rotation_{level}")
                table.copy_(rotation_table(self._grid(level), table.shape[-1]))
        for embedding in self.noise:
            embedding.reset()  # type: ignore[operator]

    def condition(self, labels: Tensor, *log_snr: Tensor) -> Tensor:
        """The vector (batch, embedding) that every FiLM is linear in; log_snr: λ(t), then λ(0) and λ(1) if told."""
        total = self.labels(labels)
        for embed, value in zip(self.noise, log_snr, strict=self.told):
            total = total + embed(value)
        return F.silu(total)

    def forward(self, z: Tensor, labels: Tensor, log_snr: Tensor, log_snr_start: Tensor, log_snr_end: Tensor) -> Tensor:
        """The prediction, of z's shape, at least float32. Labels int64, `classes` for none; λ(t), λ(0), λ(1) (batch,).

        Raises ValueError for images that are not (batch, 3, resolution, resolution).
        """
        side = self.settings.resolution
        if z.ndim != 4 or z.shape[1:] != (3, side, side):
            raise ValueError(
                f"images of shape {tuple(z.shape)} for {self.settings.name}; allowed: (batch, 3, {side}, {side}); "
                f"remedy: a model of the data's resolution, or data packed at {side} px"
            )
        condition = self.condition(labels, log_snr, log_snr_start, log_snr_end)
        x = self.patches(z.contiguous(memory_format=torch.channels_last))
        return stable(self.head(self.trunk(x, condition), condition))

    def trunk(self, x: Tensor, condition: Tensor) -> Tensor:
        """Everything between patch embedding and head: (batch, channels[0], grid, grid) to the same."""
        skips = []
        for level, down in enumerate(self.down):
            high = self._run(self.descent[level], x, condition, level)
            x = down(high)
            skips.append((high, x))
        x = self._run(self.middle, x, condition, len(skips))
        for level in reversed(range(len(skips))):
            high, low = skips.pop()
            x = self._run(self.ascent[level], self.up[level](x - low, high), condition, level)
        return x

    def _run(self, blocks: nn.Module, x: Tensor, condition: Tensor, level: int) -> Tensor:
        rotation: Tensor | None = getattr(self, f"rotation_{level}", None)
        for block in blocks:  # type: ignore[attr-defined]
            if self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, condition, rotation, use_reentrant=False)
            else:
                x = block(x, condition, rotation)
        return x


@torch.no_grad()
def initialise(model: nn.Module, seed: int) -> None:
    """Draw every parameter anew and fill the tables: a pure function of the seed, the parameter's name and its shape.

    Weights are normal with variance gain²/inputs, the gain 1 or what the layer says; biases are 0, factors 1. Each has a stream
    of its own (`theory.stream`): a network with more blocks shares the weights of those it has in common with a smaller one.
    """
    stream = Stream(seed).child("weights")
    for name, layer in _layers(model):
        if isinstance(layer, Scale):
            layer.weight.fill_(1.0)
            continue
        weight = layer.weight
        if layer.spread:
            drawn = stream.child(name).generator(0).standard_normal(tuple(weight.shape), dtype=np.float32)
            weight.copy_(torch.from_numpy(drawn) * layer.spread)
        else:
            weight.zero_()
        if not isinstance(layer, Table) and layer.bias is not None:
            layer.bias.zero_()
    if isinstance(model, ResidualUViT):
        model.reset_buffers()


def _layers(model: nn.Module) -> Iterator[tuple[str, Linear | Conv | Table | Scale]]:
    for name, module in model.named_modules():
        if isinstance(module, Linear | Conv | Table | Scale):
            yield name, module
