"""The radially averaged power spectral density (RAPSD) of images, and what is read off it.

Definition. X is the orthonormal two-dimensional DFT of a channel of an H × W image, n = min(H, W), and a
coefficient (k_y, k_x) has the frequency |k| = n·√((k_y/H)² + (k_x/W)²), in cycles per shorter side, so that
a ring is isotropic in cycles per pixel for non-square images too. R(f) = mean of |X|² over the channels and
over ring f. White noise of variance s² has R(f) = s² at every f, and Σ_f count(f)·R(f) = mean over the
channels of Σ x² (Parseval).

Rings. Ring 0 holds the mean colour (DC) and nothing else; every other coefficient is in ring
max(1, ⌊|k| + ½⌋). (In an elongated image |k| can lie below ½: it joins ring 1, never DC.) All rings are kept:
1 … ⌊n/2⌋ are the ones a schedule or a fit uses, and the corners of the frequency square follow as rings of
their own up to the largest |k|, about n/√2; none is empty.

The definition is that of per-instance schedules in Esteves and Makadia, "Spectrally-Guided Diffusion Noise
Schedules", arXiv 2603.19222. That paper has no public code: ring convention, window, fit, isotonic step and
the tabulated curves below are a reconstruction.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from theory.curve import check_number

# Bytes of image per transform call, on a CPU per thread: half-spectra that stay in a core's cache make the FFT
# itself faster than one call over the whole batch; an accelerator wants fewer, larger calls.
_CHUNK_BYTES_CPU = 2 << 20
_CHUNK_BYTES_ACCELERATOR = 256 << 20
# Elements of the largest temporary in the fit and in the isotonic step: 2 MiB of float64, measured fastest.
_CHUNK_ELEMENTS = 1 << 18

QUANTISATION_POWER = (2 / 255) ** 2 / 12
"""R(f) of the rounding noise of 8-bit images in [−1, 1]: spacing q = 2/255, variance q²/12."""


@dataclass(frozen=True, eq=False)
class Rings:
    """The rings of an H × W image; made by `rings`, shared, not to be written to.

    index   (H, W//2 + 1) ring of each coefficient of rfft2
    weight  (H, W//2 + 1) 1 or 2: how many coefficients of the full DFT it stands for
    count   (K + 1,) coefficients of the full DFT in each ring; sums to H·W
    radius  (K + 1,) geometric mean of |k| in each ring, cycles per shorter side; 0 for DC
    nyquist ⌊n/2⌋, the last ring before the corners
    """

    shape: tuple[int, int]
    index: Tensor
    weight: Tensor
    count: Tensor
    radius: Tensor
    nyquist: int

    def __len__(self) -> int:
        return len(self.count)


@lru_cache(maxsize=64)
def rings(height: int, width: int, device: torch.device | str = "cpu") -> Rings:
    """The ring convention of this module for an image of `height` × `width` pixels (each ≥ 2)."""
    if not (isinstance(height, numbers.Integral) and isinstance(width, numbers.Integral)) or min(height, width) < 2:
        raise ValueError(
            f"image of {height} × {width} pixels; allowed: integers, ≥ 2 pixels a side; remedy: crop or pad it first"
        )
    # |k|² = numerator/long_side² in integers: at a tie, |k| = f + ½, root and quotient then are exact
    common = math.gcd(height, width)
    long_side = max(height, width) // common
    per_row, per_column = (min(height, width) * long_side // side for side in (height, width))
    k_y = torch.fft.fftfreq(height, 1 / height, dtype=torch.float64).round().long()
    k_x = torch.arange(width // 2 + 1)
    numerator = (k_y[:, None] * per_row).square() + (k_x * per_column).square()
    radius = numerator.double().sqrt() / long_side
    index = (radius + 0.5).long().clamp(min=1).where(numerator > 0, 0)

    weight = torch.full(index.shape, 2.0, dtype=torch.float64)
    weight[:, 0] = 1
    if width % 2 == 0:
        weight[:, -1] = 1
    count = torch.zeros(int(index.max()) + 1, dtype=torch.float64)
    count.index_add_(0, index.flatten(), weight.flatten())
    log_radius = torch.zeros_like(count)
    log_radius.index_add_(0, index.flatten(), (weight * radius.where(numerator > 0, 1).log()).flatten())
    mean_radius = (log_radius / count).exp()
    mean_radius[0] = 0
    index, weight, count, mean_radius = (table.to(device) for table in (index, weight, count, mean_radius))
    return Rings((height, width), index, weight, count, mean_radius, nyquist=min(height, width) // 2)


def rapsd(x: Tensor, window: str | None = None) -> Tensor:
    """R(f) of images x (..., C, H, W), float32 or float64 on any device → (..., K + 1), same dtype.

    Entry f is ring f of `rings(H, W)`, entry 0 the mean colour. Each image is computed alone in a fixed
    order (float64 sums over the ring): on a CPU its value does not depend, to the bit, on the batch it came
    in; on an accelerator the last bits of the sums may vary. Memory beyond input and output is bounded
    by a few megabytes on a CPU. Differentiable.

    window = "hann" for images that are not periodic, as photographs are not: each channel has its mean removed
    and is multiplied by w(y)·w(x), w_i ∝ sin²(π(i + ½)/n), mean square 1, so that white noise stays at s²
    (ring 1 comes out 5/72 low, because the window spreads the removed mean over it; every f ≥ 2 is exact).
    Entry 0 then is the mean colour of the unwindowed image.

    Raises TypeError or ValueError for anything else, and ValueError with the index of the first image that
    holds a value that is not finite.
    """
    _check_images(x, window)
    batch_shape, (channels, height, width) = x.shape[:-3], x.shape[-3:]
    table = rings(height, width, x.device)
    images = x.reshape(batch_shape.numel(), channels, height, width)
    on_cpu = x.device.type == "cpu"
    budget = _CHUNK_BYTES_CPU * torch.get_num_threads() if on_cpu else _CHUNK_BYTES_ACCELERATOR
    size = max(1, budget // (channels * height * width * x.element_size()))
    taper = None if window is None else _hann(height, width).to(x)
    if not len(images):
        return x.new_empty((*batch_shape, len(table)))
    power = torch.cat([_ring_means(chunk, table, taper) for chunk in images.split(size)])
    finite = power.isfinite().all(-1)
    if not finite.all():
        first = int((~finite).nonzero()[0, 0])
        raise ValueError(
            f"image {first} of {len(power)} (batch flattened) holds values that are not finite, or too large for {x.dtype}; "
            "allowed: finite values; remedy: drop that image or clean it"
        )
    return power.reshape(*batch_shape, len(table))


def _check_images(x: Tensor, window: str | None) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"x is {type(x).__name__}; allowed: a torch tensor (..., C, H, W); remedy: torch.as_tensor(x)")
    if x.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"x has dtype {x.dtype}; allowed: float32, float64; remedy: x.to(torch.float32)")
    if x.ndim < 3 or x.shape[-3] < 1:
        raise ValueError(
            f"x has shape {tuple(x.shape)}; allowed: (..., C, H, W) with C ≥ 1; remedy: a single grey image is x[None], shape "
            "(1, H, W)"
        )
    if window not in (None, "hann"):
        raise ValueError(
            f"window = {window!r}; allowed: None, 'hann'; remedy: 'hann' for photographs, None for periodic fields"
        )


def _hann(height: int, width: int) -> Tensor:
    """Separable Hann window (height, width) with mean square 1; sampled at i + ½, so flips map it to itself."""
    rows, columns = (torch.sin(math.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n) ** 2 for n in (height, width))
    taper = rows[:, None] * columns
    return taper / taper.square().mean().sqrt()


def _ring_means(x: Tensor, table: Rings, taper: Tensor | None) -> Tensor:
    """x (b, C, H, W) → R (b, K + 1)."""
    mean = None
    if taper is not None:
        mean = x.mean((-2, -1), keepdim=True)
        x = (x - mean) * taper
    half = torch.view_as_real(torch.fft.rfft2(x, norm="ortho"))  # (b, C, H, W//2 + 1, 2)
    squares = half[:, 0].square()
    for channel in range(1, x.shape[1]):
        squares = squares.addcmul_(half[:, channel], half[:, channel])
    # real and imaginary parts are summed by the ring sum itself: one pass fewer
    terms = (squares.double() * table.weight[..., None]).flatten(1)
    index = table.index[..., None].expand(*table.index.shape, 2).flatten()
    total = terms.new_zeros((len(x), len(table))).scatter_add(1, index.expand(len(x), -1), terms)
    power = total / (table.count * x.shape[1])
    if mean is not None:
        direct = mean.double().square().mean((1, 2, 3)) * (x.shape[-2] * x.shape[-1])
        power = torch.cat([direct[:, None], power[:, 1:]], 1)
    return power.to(x.dtype)


def _log_power(power: Tensor, table: Rings, floor: float | None) -> Tensor:
    """log R of rings 1 … nyquist in float64, (images, nyquist), with the rule for rings without power.

    A ring at rounding error, 4·eps²·Σ x² (eps of the dtype of `power`: a removed mean may be off by that), has
    none. With `floor` it counts as `floor`, and so does every ring below it; without, it is an error.
    """
    if not isinstance(power, Tensor) or power.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"power is {getattr(power, 'dtype', type(power).__name__)}; allowed: a float32 or float64 tensor; remedy: pass it "
            "as `rapsd` returns it"
        )
    if power.ndim < 1 or power.shape[-1] != len(table):
        raise ValueError(
            f"power has shape {tuple(power.shape)}; allowed: (..., {len(table)}), the rings of a {table.shape[0]} × "
            f"{table.shape[1]} image; remedy: pass the rings of the images it was computed from"
        )
    flat = power.reshape(power.shape[:-1].numel(), len(table)).double()
    bad = ~(flat.isfinite() & (flat >= 0)).all(-1)
    if bad.any():
        raise ValueError(
            f"power of image {int(bad.nonzero()[0, 0])} is negative or not finite; allowed: 0 ≤ power < ∞; remedy: drop that "
            "image, or measure it again with `rapsd`"
        )
    used = flat[:, 1 : table.nyquist + 1]
    if floor is not None:
        if not (0 < floor < math.inf):
            raise ValueError(
                f"floor = {floor}; allowed: finite and > 0; remedy: QUANTISATION_POWER for 8-bit images, or None for no floor"
            )
        return used.clamp(min=floor).log()
    rounding = 4 * torch.finfo(power.dtype).eps ** 2 * (flat * table.count).sum(-1, keepdim=True)
    empty = (used <= rounding).nonzero()
    if len(empty):
        image, ring = int(empty[0, 0]), int(empty[0, 1]) + 1
        raise ValueError(
            f"image {image} (batch flattened) has no power in ring {ring}, as constant images have none: its log is undefined; "
            "allowed: power > 0; remedy: drop the image, or pass floor=, e.g. QUANTISATION_POWER for 8-bit images in [−1, 1]"
        )
    return used.log()


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """R(f) ≈ exp(log_amplitude)·f^slope; every field has the batch shape of the spectra it was fitted to.

    slope_error is the standard error of the slope of ONE spectrum, see `fit_power_law`.
    """

    log_amplitude: Tensor
    slope: Tensor
    slope_error: Tensor

    def log_power(self, frequency: Tensor) -> Tensor:
        """log R at the frequencies (F,), in cycles per shorter side, > 0 → (..., F)."""
        return self.log_amplitude[..., None] + self.slope[..., None] * frequency.log()


def fit_power_law(power: Tensor, table: Rings, floor: float | None = None, per_octave: int = 4) -> PowerLaw:
    """Robust straight line through log R(f) against log f over rings 1 … nyquist; power (..., K + 1).

    Rings are first averaged, in the logarithm, into bands of 1/per_octave octave, so that every octave weighs the
    same: half of all rings lie in the last octave, where optics, sensor and JPEG bend a photograph's spectrum.
    A ring stands at the geometric mean of its |k|, not at f (ring 1 holds |k| = 1 and √2). The slope is the
    weighted median of the slopes between all pairs of bands, weights = distance in log f (Theil and Sen; with these
    weights it minimises Σ|rᵢ − rⱼ| of the residuals): one ring that is off by any factor moves it little.

    slope_error: delete-one-band jackknife, √((B − 1)/B·Σ(slope₋ᵢ − mean)²). It makes no assumption of equal
    variances, but takes the deviations of the bands from the line as independent. On Gaussian random fields of 16 to
    128 px it is 1.1 to 1.4 times the actual root-mean-square error, and, being noisy itself, ±2 of it cover 85 to
    90 % of the fits, not 95.

    All in float64. Raises ValueError for rings without power (see `floor`) and for sides below 6 pixels.
    """
    if table.nyquist < 3:
        raise ValueError(
            f"image of {table.shape[0]} × {table.shape[1]} pixels; allowed: ≥ 6 a side, for a slope and its error; remedy: "
            "larger images"
        )
    if not isinstance(per_octave, numbers.Integral) or per_octave < 1:
        raise ValueError(f"per_octave = {per_octave}; allowed: an integer ≥ 1; remedy: the default, 4")
    flat = _log_power(power, table, floor)
    membership = _bands(table.nyquist, per_octave).to(flat)  # (rings, bands), columns sum to 1
    x = (table.radius[1 : table.nyquist + 1].log()[:, None] * membership).sum(0)
    # one ring at a time: a matrix product may order its sums by the batch size
    y = torch.zeros(len(flat), len(x), dtype=flat.dtype, device=flat.device)
    for ring, share in enumerate(membership):
        y += flat[:, ring, None] * share
    first, second = torch.triu_indices(len(x), len(x), 1, device=flat.device)
    distance = x[second] - x[first]
    kept = torch.ones(len(x) + 1, len(first), dtype=torch.bool, device=flat.device)  # row 0 keeps every pair
    bands = torch.arange(len(x), device=flat.device)[:, None]
    kept[1:] = (first != bands) & (second != bands)
    size = max(1, _CHUNK_ELEMENTS // kept.numel())
    slopes = [_weighted_medians((c[:, second] - c[:, first]) / distance, distance * kept) for c in y.split(size)]
    slope = torch.cat(slopes)  # (images, 1 + bands)
    deviation = slope[:, 1:] - slope[:, 1:].mean(-1, keepdim=True)
    error = (deviation.square().sum(-1) * (len(x) - 1) / len(x)).sqrt()
    amplitude = (y - slope[:, :1] * x).quantile(0.5, dim=-1) if len(y) else y.new_empty(0)
    batch = power.shape[:-1]
    return PowerLaw(amplitude.reshape(batch), slope[:, 0].reshape(batch), error.reshape(batch))


def _bands(nyquist: int, per_octave: int) -> Tensor:
    """(rings 1 … nyquist, bands): the share of each ring in each band; no band is empty."""
    octave = (per_octave * torch.arange(1, nyquist + 1, dtype=torch.float64).log2() + 0.5).floor()
    band = octave.unique(return_inverse=True)[1]
    members = torch.nn.functional.one_hot(band).double()
    return members / members.sum(0)


def _weighted_medians(value: Tensor, weight: Tensor) -> Tensor:
    """value (images, pairs), weight (sets, pairs) → the weighted median for every set, (images, sets)."""
    value, order = value.sort(-1)
    mass = weight[:, order].cumsum(-1)  # (sets, images, pairs)
    half = (mass[..., -1:] / 2).contiguous()
    below = torch.searchsorted(mass, half).clamp(max=value.shape[-1] - 1).squeeze(-1)
    return value.gather(1, below.T)


def isotonic(power: Tensor, table: Rings, floor: float | None = None) -> Tensor:
    """The non-increasing spectrum closest to R: (..., K + 1) → (..., K + 1), float64.

    Least squares on log R over rings 1 … nyquist with weights count(f), the rings a schedule uses; the mean colour
    and the corners pass unchanged. It is isotonic regression by its min–max formula, min over a ≤ f of max over
    b ≥ f of the mean of a … b: exactly monotone, batched, on any device, where scikit-learn's routine takes one
    spectrum at a time. Rings without power are an error, or with `floor` count as `floor`.
    """
    y = _log_power(power, table, floor)
    count = table.count[1 : table.nyquist + 1]
    parts = [_non_increasing(chunk, count) for chunk in y.split(max(1, _CHUNK_ELEMENTS // table.nyquist**2))]
    fitted = torch.cat(parts).exp()
    flat = power.reshape(power.shape[:-1].numel(), len(table)).double()
    return torch.cat([flat[:, :1], fitted, flat[:, table.nyquist + 1 :]], 1).reshape(power.shape)


def _non_increasing(y: Tensor, weight: Tensor) -> Tensor:
    """Weighted least-squares fit of y (images, n) under y₁ ≥ y₂ ≥ … ≥ yₙ."""
    offset = y.mean(-1, keepdim=True)  # means are differences of running sums: keep the sums small
    running = torch.cat([y.new_zeros((len(y), 1)), ((y - offset) * weight).cumsum(-1)], 1)
    mass = torch.cat([weight.new_zeros(1), weight.cumsum(0)])
    n = len(weight)
    lower = torch.ones(n, n, dtype=torch.bool, device=y.device).tril(-1)  # b < a: no such block
    means = (running[:, None, 1:] - running[:, :-1, None]) / (mass[1:] - mass[:-1, None]).masked_fill(lower, 1)
    means = means.masked_fill(lower, -math.inf)  # (images, a, b)
    highest = means.flip(-1).cummax(-1).values.flip(-1)  # max over b ≥ f, for each a
    highest = highest.masked_fill(lower, math.inf)
    return highest.amin(1) + offset


def spectral_log_snr(power: Tensor, table: Rings, epsilon: float, focus: float = 0.5, nodes: int = 65) -> Tensor:
    """λ at `nodes` equidistant times from t = 0 (data, largest λ) to t = 1 (noise): (..., K + 1) → (..., nodes).

    focus = 0: frequency-focused, λ_F(t) = −log R(f(t)) with f(t) uniform from nyquist to 1;
    focus = 1: power-focused, λ_P(t) the same with f(t) the quantile of R taken as a density over f;
    between: (1 − focus)·λ_F + focus·λ_P, and ½ is the mixed schedule. log R is linear between rings.
    Each curve is then stretched affinely to the window in which the relative error of the variance at every
    frequency of a Gaussian field stays ≤ ε under the exact flow:
    λ ∈ [−log P_max − logit(1 − ε), −log P_min + logit(1 − ε)]. The window is ours, derived and not the paper's.

    `power` must not increase over rings 1 … nyquist (`isotonic`). λ does not increase in t; where R is flat
    so is λ, and a spectrum flat throughout has no curve to stretch: λ is then linear in t.
    """
    check_number(epsilon=epsilon, focus=focus, nodes=nodes)
    if not 0 < epsilon < 0.5:
        raise ValueError(
            f"epsilon = {epsilon}; allowed: 0 < ε < ½, the relative error of variance at the extremes; remedy: 0.01 is usual"
        )
    if not 0 <= focus <= 1:
        raise ValueError(f"focus = {focus}; allowed: 0 (frequency) … 1 (power); remedy: ½ is the mixed shape")
    if not isinstance(nodes, numbers.Integral) or nodes < 2:
        raise ValueError(f"nodes = {nodes}; allowed: an integer ≥ 2, both ends; remedy: the default, 65")
    log_power = _log_power(power, table, None)
    rising = (log_power.diff(dim=-1) > 0).any(-1)
    if rising.any():
        image = int(rising.nonzero()[0, 0])
        raise ValueError(f"spectrum {image} increases with frequency; allowed: non-increasing; remedy: use isotonic first")
    if table.nyquist < 2:
        raise ValueError(
            f"image of {table.shape[0]} × {table.shape[1]} pixels; allowed: ≥ 4 a side, for a curve; remedy: larger images"
        )
    t = torch.linspace(0, 1, nodes, dtype=torch.float64, device=power.device)
    ramp = log_power[:, :1] - log_power[:, -1:]  # span of log R; 0 where flat
    unit = (log_power[:, :1] - log_power) / ramp.where(ramp > 0, 1)  # 0 at f = 1, 1 at nyquist; = stretched −log R
    density = (log_power - log_power[:, :1]).exp()
    quantile = torch.cat([torch.zeros_like(ramp), ((density[:, 1:] + density[:, :-1]) / 2).cumsum(-1)], 1)
    uniform = torch.linspace(0, 1, table.nyquist, dtype=torch.float64, device=power.device).expand_as(log_power)
    shape = (1 - focus) * _interpolate(uniform, unit, 1 - t) + focus * _interpolate(quantile / quantile[:, -1:], unit, 1 - t)
    shape = shape.where(ramp > 0, 1 - t)
    margin = math.log1p(-epsilon) - math.log(epsilon)  # logit(1 − ε)
    lowest, highest = -log_power[:, :1] - margin, -log_power[:, -1:] + margin
    return (lowest * (1 - shape) + highest * shape).reshape(*power.shape[:-1], nodes)


def _interpolate(x: Tensor, y: Tensor, at: Tensor) -> Tensor:
    """Piecewise-linear y(x) per row, x (images, n) increasing from 0 to 1, at the points `at` (m,) of [0, 1]."""
    points = at.expand(len(x), -1).contiguous()
    right = torch.searchsorted(x.contiguous(), points).clamp(1, x.shape[-1] - 1)
    x0, x1, y0, y1 = x.gather(1, right - 1), x.gather(1, right), y.gather(1, right - 1), y.gather(1, right)
    share = ((points - x0) / (x1 - x0)).clamp(0, 1)
    return y0 * (1 - share) + y1 * share
