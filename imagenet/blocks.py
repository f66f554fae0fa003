"""The layers and blocks of the Residual U-ViT (`imagenet.model`): what each computes, and what it is made with.

Layers leave their parameters undefined and say how they are to be drawn (`spread`, the standard deviation): a network is made
the same on any device, without a draw from torch's global random state, and `imagenet.model.initialise` gives it values.

A GroupNorm has 32 groups of at least four channels; with fewer than 128 channels, or a number that 32 does not divide, as
many groups as are allowed. A head has `head_dim` = 64 channels, or the largest multiple of four below it that divides the
level's channels. Norms, FiLM and rotations are in float32 under autocast, and in float64 when the network is. The groups, the
rotary base and the zeros are choices of ours; the parts are those SiD2 (Hoogeboom et al., arXiv 2410.19324) is made of.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_GROUPS, LEAST_CHANNELS = 32, 4  # of a GroupNorm, and in a group: 32 groups first at 128 channels
NORM_EPSILON = 1e-6  # part of the definition of both norms: what divides is √(variance + 1e-6)
FILM_GAIN = 0.3  # 0 would do, but nano16 then learns noise levels later: 8 % more loss after 300 steps (two seeds)
CLASS_SPREAD = 0.5  # standard deviation of a class's row: comparable with the embedding of λ
ROTARY_BASE = 100.0  # wavelengths from 2π to 470 tokens for heads of 64: the longest exceeds every grid of config/model


def group_count(channels: int) -> int:
    """The largest divisor of `channels` that is at most 32 and leaves at least four channels (or all of them) in a group."""
    most = max(1, min(MOST_GROUPS, channels // LEAST_CHANNELS))
    return next(count for count in range(most, 0, -1) if channels % count == 0)


def head_width(channels: int, wanted: int) -> int:
    """The largest multiple of 4 that divides `channels` and is at most `wanted`: two axes turn pairs, hence 4."""
    for width in range(min(wanted, channels) // 4 * 4, 0, -4):
        if channels % width == 0:
            return width
    raise ValueError(
        f"channels = {channels} with head_dim = {wanted} in a transformer level; allowed: multiples of 4; remedy: round to one"
    )


# ---- layers whose parameters are left for `initialise` to draw ---------------------------------------------------------


class Linear(nn.Module):
    """x·weightᵀ + bias on the last axis. `gain`: 1 keeps the size of what comes in, 0 for the last layer of a branch."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.spread = gain / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Conv(nn.Module):
    """A convolution (batch, inputs, rows, columns) → outputs channels: same size for stride 1, side ÷ stride else."""

    def __init__(self, inputs: int, outputs: int, side: int, *, stride: int = 1, bias: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, side, side))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.stride, self.padding = stride, (side - 1) // 2 if stride == 1 else 0
        self.spread = gain / (side * math.sqrt(inputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class Scale(nn.Module):
    """One factor per entry, made 1: of normed queries and keys."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*shape))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Table(nn.Module):
    """One row per label."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))
        self.spread = CLASS_SPREAD

    def forward(self, labels: Tensor) -> Tensor:
        return F.embedding(labels, self.weight)


def stable(x: Tensor) -> Tensor:
    """Half precisions as float32, others as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def film_of_groups(x: Tensor, groups: int, scale: Tensor, shift: Tensor) -> Tensor:
    """(1 + scale)·GroupNorm(x) + shift, x (batch, channels, rows, columns), scale and shift (batch, channels)."""
    normed = F.group_norm(stable(x), groups, eps=NORM_EPSILON)
    return torch.addcmul(stable(shift)[..., None, None], normed, (1 + stable(scale))[..., None, None])


def film_of_tokens(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """(1 + scale)·RMSNorm(x) + shift, x (batch, tokens, channels), scale and shift (batch, channels)."""
    normed = F.rms_norm(stable(x), (x.shape[-1],), eps=NORM_EPSILON)
    return torch.addcmul(stable(shift)[:, None], normed, (1 + stable(scale))[:, None])


# ---- blocks ------------------------------------------------------------------------------------------------------------


class ResidualBlock(nn.Module):
    """R: two 3×3 convolutions, each behind GroupNorm, FiLM and silu. Call: x (batch, channels, rows, columns), condition."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.groups = group_count(channels)
        self.film = Linear(embedding, 4 * channels, gain=FILM_GAIN)
        self.first = Conv(channels, channels, 3)
        self.second = Conv(channels, channels, 3, gain=0.0)

    def forward(self, x: Tensor, condition: Tensor, rotation: Tensor | None = None) -> Tensor:
        """x + the branch; `condition` (batch, embedding). A convolution has no use for `rotation`."""
        scale_1, shift_1, scale_2, shift_2 = self.film(condition).chunk(4, dim=-1)
        h = self.first(F.silu(film_of_groups(x, self.groups, scale_1, shift_1)))
        return x + self.second(F.silu(film_of_groups(h, self.groups, scale_2, shift_2)))


class Attention(nn.Module):
    """Among all tokens (batch, tokens, channels) of an image; rotation (2, tokens, head_dim): see `rotate`."""

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        self.width = head_width(channels, head_dim)
        self.heads = channels // self.width
        self.inner = Linear(channels, 3 * channels)
        self.scale = Scale(2, 1, self.width)
        self.outer = Linear(channels, channels, gain=0.0)

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        inner = self.inner(x).view(batch, tokens, 3, self.heads, self.width)
        normed = self.scale(F.rms_norm(stable(inner[:, :, :2]), (self.width,), eps=NORM_EPSILON))
        query, key = rotate(normed, rotation).to(inner.dtype).unbind(2)
        value = inner[:, :, 2]
        mixed = F.scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
        return self.outer(mixed.transpose(1, 2).reshape(batch, tokens, channels))


class TransformerBlock(nn.Module):
    """T: attention, then the MLP, each behind RMSNorm and FiLM. Same call as R; inside, pixels of the grid are tokens."""

    def __init__(self, channels: int, embedding: int, head_dim: int, dropout: float) -> None:
        super().__init__()
        self.film = Linear(embedding, 4 * channels, gain=FILM_GAIN)
        self.attention = Attention(channels, head_dim)
        self.wide = Linear(channels, 4 * channels)
        self.narrow = Linear(4 * channels, channels, gain=0.0)
        self.dropout = dropout

    def forward(self, x: Tensor, condition: Tensor, rotation: Tensor) -> Tensor:
        """x plus both branches; `condition` (batch, embedding), rotation (2, rows·columns, head_dim)."""
        rows, columns = x.shape[-2:]
        tokens = x.flatten(2).transpose(1, 2).contiguous()  # free if channels are last in memory
        scale_1, shift_1, scale_2, shift_2 = self.film(condition).chunk(4, dim=-1)
        tokens = tokens + self._drop(self.attention(film_of_tokens(tokens, scale_1, shift_1), rotation))
        wide = self._drop(F.silu(self.wide(film_of_tokens(tokens, scale_2, shift_2))))
        tokens = tokens + self._drop(self.narrow(wide))
        return tokens.transpose(1, 2).unflatten(2, (rows, columns))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


def rotation_table(side: int, width: int) -> Tensor:
    """Factors (2, side², width), float32, for `rotate`: of row·ω the pairs of the first quarter, of column·ω of the second.

    ω_k = 100^(−k/n), k < n = width/4. Rotary positions: Su et al. (arXiv 2104.09864), along each axis apart; the base is
    ours. A score of rotated query and key depends on the positions through the difference of rows and of columns only.
    """
    count = width // 4
    frequency = ROTARY_BASE ** (-torch.arange(count, dtype=torch.float64, device="cpu") / count)
    angle = torch.arange(side, dtype=torch.float64, device="cpu")[:, None] * frequency  # (side, width/4)
    rows = angle[:, None].expand(side, side, count)
    both = torch.cat((rows, rows.transpose(0, 1)), dim=-1).reshape(side * side, 2 * count)
    return torch.stack((both.cos().repeat(1, 2), torch.cat((-both.sin(), both.sin()), dim=-1))).float()


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """x (batch, tokens, 2, heads, width), pairs (k, k + width/2) turned by the angles of `rotation` (2, tokens, width).

    With a the first and b the second half: (a, b)·(cos, cos) + (b, a)·(−sin, sin). Written on whole vectors because
    products of halves, strided and broadcast, take three times as long on a CPU.
    """
    cosine, sine = rotation.to(x.dtype)[:, :, None, None].unbind()
    return x * cosine + x.roll(x.shape[-1] // 2, dims=-1) * sine


class Down(nn.Module):
    """Average of 2×2, then 1×1 to the next level's channels. No bias: Up(x − h_low) must be 0 where x is h_low."""

    def __init__(self, high: int, low: int) -> None:
        super().__init__()
        self.mix = Conv(high, low, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(F.avg_pool2d(x, 2))


class Up(nn.Module):
    """Up(low) + high: 1×1 to the finer level's channels, each value to 2×2 pixels, added to the skip in the same pass."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.mix = Conv(low, high, 1, bias=False)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        return F.interpolate(self.mix(low), scale_factor=2.0, mode="nearest") + high
