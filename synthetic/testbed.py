"""The exact testbed of per-image schedules: Gaussian random fields, and what a sampler on N levels makes of each frequency.

A field of n × n pixels has the variance R(f) at every frequency of ring f (`theory.spectrum.rings`, DC at the power of ring
1), so its RAPSD is R and its exact posterior mean is a Wiener filter. With y = x/signal, ς = noise/signal and P = R(f), one
step ς → ς' is linear in y, whatever the schedule's gauge:

    DDIM        y' = y·(P + ςς')/(P + ς²)                                   (`theory.cost.ddim_multiplier`)
    ancestral   E y'² = (s + (1 − s)P/(P + ς²))²·E y² + (1 − s)ς'²,         s = ς'²/ς²  (γ = 0)

A walk of N evaluations starts at y ~ N(0, ς₀²), not at the law of the noisy data, and ends at ς = 0, the posterior mean at its
last level: both ends of a window cost what they cost. Everything here is that recursion, ring by ring: no samples.

The schedules compared are of three kinds. "image": shapes of the spectrum over its own window (Esteves and Makadia, arXiv
2603.19222, our reconstruction in `theory.per_image`), and geodesics. "window": an ordinary shape over the window of the image,
which separates what the window gains from what the shape gains. "global": as published, whatever the image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from theory import bound, cost, curve, per_image, schedule, spectrum
from theory.sampler import Denoiser, Flow, Step, grid, last, walk
from theory.schedule import Schedule, VarianceExploding
from theory.target import SpectralMixture

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Field:
    """A stationary Gaussian field on a square torus: `power` (K + 1,) is R(f) on every ring of `table`, corners included."""

    table: spectrum.Rings
    power: Array

    @classmethod
    def power_law(cls, size: int, slope: float, variance: float, curvature: float = 0.0) -> Field:
        """log R = a − slope·log f + curvature·u², u = log f from −1 (f = 1) to 1 (f = n/2); pixel variance as given."""
        table = spectrum.rings(size, size)
        radius = table.radius.numpy().copy()
        radius[0] = radius[1]
        log_f = np.log(radius)
        u = 2 * log_f / math.log(size / 2) - 1
        power = np.exp(-slope * log_f + curvature * u**2)
        count = table.count.numpy()
        return cls(table, power * (variance * count.sum() / (power @ count)))

    @property
    def count(self) -> Array:
        """Coefficients in each ring, (K + 1,); the sum is the number of pixels."""
        counts: Array = self.table.count.numpy()
        return counts

    @property
    def used(self) -> slice:
        """The rings 1 … n/2 that schedules are made from and log-spectra are compared on."""
        return slice(1, self.table.nyquist + 1)

    def window(self, epsilon: float) -> tuple[float, float]:
        """(ς_min, ς_max) for a relative variance error ε at the rings 1 … n/2."""
        low, high = bound.noise_window(self.power[self.used], epsilon)
        return math.sqrt(low), math.sqrt(high)


def mixture(fields: list[Field], weights: list[float] | None = None) -> SpectralMixture:
    """The mixture of fields of one size as a law of images (1, n, n) with an exact denoiser; equal weights by default."""
    size, _ = fields[0].table.shape
    full = torch.as_tensor(_full_index(size))
    spectra = torch.stack([torch.as_tensor(field.power)[full] for field in fields])
    shares = torch.full((len(fields),), 1 / len(fields), dtype=torch.float64)
    return SpectralMixture(shares if weights is None else torch.tensor(weights, dtype=torch.float64), spectra)


def _full_index(size: int) -> Array:
    """Ring of every coefficient of `torch.fft.fft2`, (n, n)."""
    half: Array = spectrum.rings(size, size).index.numpy()
    columns = np.minimum(np.arange(size), size - np.arange(size))
    return half[:, columns]


# ---- walks, ring by ring ----------------------------------------------------------------------------------------------


def levels(made: Schedule, evaluations: int) -> Array:
    """The N levels ς of a walk of N evaluations and the final 0, from noise to data; the first may be ∞.

    Nodes are equally spaced in t. A schedule that reaches ς = 0 gets its N + 1 nodes; one that stops above gets N, both ends
    included, and the posterior mean at the last is its answer. Either way the denoiser is evaluated N times.
    """
    if evaluations < 2:
        raise ValueError(f"evaluations N = {evaluations}; allowed: an integer ≥ 2; remedy: one step has no schedule")
    whole: Array = made.noise_to_signal(torch.linspace(1, 0, evaluations + 1, dtype=torch.float64)).numpy()
    if whole[-1] == 0:
        return whole
    inner: Array = made.noise_to_signal(torch.linspace(1, 0, evaluations, dtype=torch.float64)).numpy()
    return np.append(inner, 0.0)


def _finite(noise_to_signal: Array) -> Array:
    """Without a first level at ∞: from there both samplers arrive at ς' with y' ~ N(0, ς'²), having learned nothing."""
    return noise_to_signal[1:] if np.isinf(noise_to_signal[0]) else noise_to_signal


def ddim_variance(power: Array, noise_to_signal: Array) -> Array:
    """Variance of every frequency after DDIM over the levels, shape of `power`."""
    walked = _finite(noise_to_signal)
    gain = cost.ddim_multiplier(power[:, None], walked[:-1], walked[1:]).prod(1)
    variance: Array = (gain * walked[0]) ** 2
    return variance


def ancestral_variance(power: Array, noise_to_signal: Array) -> Array:
    """Variance of every frequency after ancestral sampling (γ = 0) over the levels, shape of `power`."""
    walked = _finite(noise_to_signal)
    variance = np.full_like(power, walked[0] ** 2)
    for left, right in itertools.pairwise(walked):
        keep = (right / left) ** 2
        variance = variance * (keep + (1 - keep) * power / (power + left**2)) ** 2 + (1 - keep) * right**2
    return variance


VARIANCE: Mapping[str, Callable[[Array, Array], Array]] = {"DDIM": ddim_variance, "ancestral": ancestral_variance}
METRICS = ("wasserstein", "log_spectrum", "divergence")
METRIC_NAMES = {"wasserstein": "W₂²/total power", "log_spectrum": "RMS error of log R", "divergence": "KL per pixel"}


def errors(field: Field, variance: Array) -> Array:
    """(W₂²/total power, RMS of Δ log R over rings 1 … n/2, KL(sampled ‖ field) per pixel in nats), from the final variances."""
    ratio = variance / field.power
    count = field.count
    wasserstein = (count * field.power) @ (1 - np.sqrt(ratio)) ** 2 / (count @ field.power)
    root_mean_square = np.sqrt(np.mean(np.log(ratio[field.used]) ** 2))
    divergence = count @ (ratio - 1 - np.log(ratio)) / 2 / count.sum()
    return np.array([wasserstein, root_mean_square, divergence])


# ---- schedules --------------------------------------------------------------------------------------------------------

SHAPES = ("mixed", "frequency", "power", "geodesic")  # of `theory.per_image`: what the tool makes
GEODESICS = {"geodesic, spread": "log_spectrum", "geodesic, KL at N": "divergence"}  # "geodesic" alone is that of W₂
WINDOWED = ("log-uniform, window", "EDM ρ = 7, window")
GLOBAL: Mapping[str, Callable[[int], Schedule]] = {
    "linear": lambda _: schedule.Linear(),
    "cosine": lambda _: schedule.Cosine(),
    "truncated cosine": lambda _: schedule.truncated_cosine(),
    "shifted cosine, 32": lambda size: schedule.shifted_cosine(size, 32),
    "interpolated cosine": lambda size: schedule.interpolated_cosine(size, 32, min(256, size)),  # high base: n up to 256 px
    "sigmoid": lambda _: schedule.Sigmoid(),
    "SD3 shift 3": lambda _: schedule.sd3(3.0),
    "EDM ρ = 7": lambda _: schedule.edm(),
    "log-uniform, ±15": lambda _: schedule.log_uniform(),
}
SCHEDULES = (*SHAPES, *GEODESICS, *WINDOWED, *GLOBAL)
NODES = 257  # of a tabulated curve: at 512 px twice as many change no error by a hundredth of itself


def schedule_for(name: str, field: Field, evaluations: int, epsilon: float) -> Schedule:
    """The schedule `name`, made for this field where it is of kind "image" or "window"; N matters to geodesics "at N" only.

    Raises ValueError for an unknown name.
    """
    if name in GLOBAL:
        return GLOBAL[name](field.table.shape[0])
    if name in SHAPES:
        rule = per_image.Rule(name, epsilon, nodes=NODES)  # type: ignore[arg-type]
        return per_image.schedules(torch.as_tensor(field.power), field.table, rule)
    low, high = field.window(epsilon)
    if name in GEODESICS:
        return geodesic(field, low, high, evaluations, GEODESICS[name])
    if name not in WINDOWED:
        raise ValueError(f"schedule = {name!r}; allowed: {', '.join(SCHEDULES)}; remedy: choose one of them")
    ends = curve.log_snr_of(low), curve.log_snr_of(high)
    return VarianceExploding(curve.LogUniform(*ends) if name == WINDOWED[0] else curve.Karras(low, high, 7.0))


def geodesic(field: Field, low: float, high: float, evaluations: int, metric: str) -> Schedule:
    """N levels with equal steps of √Σ w P/(P + ς²)² dς over the window (`theory.cost`), for an error of the sampled field.

    "log_spectrum": one weight per ring. "wasserstein", "divergence": a frequency weighs the derivative of its error by
    its lost log-spread, at what the N levels lose, ends included. Raises ArithmeticError when that does not settle.
    """
    weights = np.zeros_like(field.power)
    weights[field.used] = 1.0
    if metric == "log_spectrum":
        return _equal_lengths(field.power, weights, low, high, evaluations)
    weights = field.count / field.count.sum()
    for _ in range(100):
        made = _equal_lengths(field.power, weights, low, high, evaluations)
        lost = -0.5 * np.log(ddim_variance(field.power, levels(made, evaluations)) / field.power)
        slope = cost.wasserstein_weight(field.power, lost) if metric == "wasserstein" else cost.kl_weight(lost)
        wanted = field.count * slope / (field.count @ slope)
        change = np.abs(wanted - weights).max()
        if change < 1e-6:
            return made
        weights = np.sqrt(weights * wanted)
        weights = weights / weights.sum()
    raise ArithmeticError(
        f"the weights of the geodesic for {metric} still move by {change:.2g} after 100 rounds; allowed: < 1e-6; remedy: more "
        "evaluations, or a narrower window"
    )


def _equal_lengths(power: Array, weights: Array, low: float, high: float, evaluations: int, nodes: int = 801) -> Schedule:
    """As `cost.geodesic`, on a table in log ς: spectra of images have no gaps, so the speed is smooth there."""
    log_level = np.linspace(math.log(low), math.log(high), nodes)
    level = np.exp(log_level)
    speed = level * np.sqrt((weights * power) @ (power[:, None] + level**2) ** -2.0)
    length = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2)])
    inner = np.interp(np.linspace(0.0, length[-1], evaluations), length, log_level)
    inner[0], inner[-1] = math.log(low), math.log(high)
    return VarianceExploding(curve.Tabulated(torch.from_numpy(-2 * inner), smooth=False))


def mean_speed(power: Array, made: Schedule) -> Array:
    """Mean of |dλ/dt| over the walk, weighed at each frequency by s(1 − s), s = sigmoid(λ + log P): shape of `power`.

    For many steps DDIM loses the log-spread (mean speed)/(8N) at that frequency: a step loses ½Δθ² with
    (dθ/dλ)² = s(1 − s)/4, and s(1 − s) is a density in λ (logistic, centred where the SNR is 1). So a schedule errs where it
    runs fast while a frequency is being decided.
    """
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)
    log_snr = made.log_snr(t).numpy()
    change, middle = np.diff(log_snr), (log_snr[1:] + log_snr[:-1]) / 2
    finite = np.isfinite(change)
    above = middle[finite] + np.log(power)[:, None]
    bell = 0.25 / np.cosh(above / 2) ** 2
    speed: Array = (bell * change[finite] ** 2).sum(1) * (len(t) - 1)
    return speed


def rule_losses(field: Field, made: Schedule, evaluations: int) -> Array:
    """Log-spread that DDIM loses at every frequency, to first order: (mean speed)/(8·steps), and what each end costs."""
    walked = levels(made, evaluations)
    stops = made.noise_to_signal(0.0).item() > 0
    lost = mean_speed(field.power, made) / (8 * (evaluations - 1 if stops else evaluations))
    if stops:
        lost = lost + 0.5 * np.log1p(walked[-2] ** 2 / field.power)
    if np.isfinite(walked[0]):
        lost = lost + 0.5 * np.log1p(field.power / walked[0] ** 2)
    return lost


# ---- the same by samples ----------------------------------------------------------------------------------------------


def sampled(made: Schedule, denoiser: Denoiser, z: Tensor, evaluations: int, step: Step) -> Tensor:
    """What a step of `theory.sampler` makes of the noise z in N evaluations: the walk of `levels`, its last answer included."""
    flow = Flow(made, denoiser)
    stops = made.noise_to_signal(0.0).item() > 0
    x = last(walk(flow, flow.start(z), grid(evaluations - 1 if stops else evaluations), step))
    return flow.data(x, torch.zeros((), dtype=torch.float64)) if stops else x
