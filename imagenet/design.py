"""A noise grid for somebody's own images or latents, beside the usual ones, with the error that each predicts.

The images are taken as Gaussian fields with their spectrum: variance R(f) in each of the count(f) coefficients of ring f,
and in the mean colour its variance over the images. For DDIM (Euler in ς) over levels ς₀ > … > ς_{N−1}, then 0, started from
N(0, ς₀²), the log-spread that a direction of variance P lacks is exact (`theory.cost`):

    e = ½ log(1 + P/ς₀²) + Σ ½ log(1 + P(ς − ς')²/(P + ςς')²)

and from it W₂² = Σ count·P·(1 − e^{−e})², shown in % of the total variance. N levels are N calls of the network.

The grid recommended is the one of least W₂² among the four shapes of `theory.per_image` and the windows in EPSILONS: with few
steps a narrow window is worth more than its ends, with many it is not. Derivation: ours. Real images are not Gaussian, and a
network is not exact: this ranks grids by what no network can repair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from imagenet.parameters import Spectra
from theory import cost, per_image, sampler, schedule
from theory.per_image import SHAPES, Rule, Shape
from theory.record import MARKERS
from theory.schedule import Schedule

Array = np.ndarray

# Relative errors of variance at the ends of the window, tried from wide to narrow: a factor of about 2 each, over what 4 to
# 1000 steps can want.
EPSILONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
MEMBERS = 4  # images that a class needs for a grid of its own: below, its mean spectrum is one picture's
FEW = 33  # images: below, the variance of the mean colour is known to worse than ± 25 % (√(2/(n − 1)), were it Gaussian)
MOST_STEPS = 10_000  # ten times the levels of trained models; there the six digits of sigmas.txt still tell levels apart
LEAST_EPSILON = 1e-12  # its window spans 55 in log-SNR each way, beyond any float32 sampler
LARGEST = 1e100  # of a user's sigma, and 1/LARGEST the least: their squares times a variance stay in float64
SHOWN = 40  # classes in the figure
SAMPLED = 256  # images, evenly spaced, on which per-image grids are compared with one grid for all


def usual(size: int) -> dict[str, Schedule]:
    """What people use, with the defaults of their sources; the shift for images of `size` px."""
    return {
        "cosine": schedule.Cosine(),
        "shifted cosine": schedule.shifted_cosine(size),
        "sigmoid": schedule.Sigmoid(),
        "EDM": schedule.edm(),
        "log-uniform": schedule.log_uniform(),
        "linear (flow)": schedule.Linear(),
        "SD3 shift 3": schedule.sd3(),
        "scaled linear (SD)": schedule.scaled_linear(),
    }


# ---- directions and their error ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Field:
    """A Gaussian field: variances (K,), and how many coefficients have each."""

    variance: Array
    count: Array

    @classmethod
    def of(cls, spectra: Spectra) -> Field:
        """Of many images: R averaged over them, corners included; the mean colour's variance, if they differ in it."""
        floor = 0.0 if spectra.floor is None else spectra.floor
        power = spectra.power.mean(0)[1:].clamp(min=floor).numpy()
        count = spectra.table.count[1:].numpy()
        colour = spectra.mean_colour_power()
        return cls(np.append(power, colour), np.append(count, 1.0)) if colour > 0 else cls(power, count)


@dataclass(frozen=True)
class Error:
    """wasserstein: W₂² in % of the variance; log_spectrum: RMS error of log R; kl: nats per coefficient."""

    wasserstein: float
    log_spectrum: float
    kl: float


def error_of(field: Field, levels: Array) -> Error:
    """The exact error of DDIM on a field; levels from noise to data, then 0. From an infinite level it starts at the second."""
    loss = cost.missing_spread(field.variance, levels)
    p, share = field.variance, field.count / field.count.sum()
    return Error(
        float(100 * (field.count @ cost.wasserstein_error(p, loss)) / (field.count @ p)),
        float(2 * math.sqrt(share @ loss**2)),
        float(share @ cost.kl_error(loss)),
    )


def levels_of(found: Schedule, steps: int) -> Array:
    """N levels at equal times, then 0. A schedule whose own last level is 0 reaches it at t = 0, in the N-th step."""
    ends_clean = not bool(found.noise_to_signal(0.0) > 0)
    times = sampler.grid(steps if ends_clean else steps - 1)
    levels = found.noise_to_signal(times).numpy()
    levels = levels[:-1] if ends_clean else levels
    return np.append(levels, 0.0)


# ---- the recommendation -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Grid:
    """A recommended grid: levels ς from noise to data, N of them, then 0."""

    shape: Shape
    epsilon: float
    levels: Array
    error: Error

    @property
    def values(self) -> dict[str, Any]:
        """What the samplers in use ask for; N values each, the trailing 0 where they want it."""
        noise = self.levels[:-1]
        log_snr = -2 * np.log(noise)
        return {
            "shape": self.shape,
            "epsilon": self.epsilon,
            "sigmas": self.levels.tolist(),
            "log_snr": log_snr.tolist(),
            "alphas_cumprod": (1 / (1 + noise**2)).tolist(),
            "flow_sigmas": (self.levels / (1 + self.levels)).tolist(),
            "timesteps_scaled_linear": _timesteps(schedule.scaled_linear(), log_snr),
            "timesteps_ddpm_linear": _timesteps(schedule.ddpm_linear(), log_snr),
            "wasserstein_percent": self.error.wasserstein,
        }


def _timesteps(trained: Schedule, log_snr: Array) -> list[float]:
    """Positions 0 … 999 of the levels among 1000 trained ones, log-SNR linear between; levels beyond are put at the ends."""
    ends = trained.log_snr(torch.tensor([1.0, 0.0], dtype=torch.float64))
    inside = torch.from_numpy(log_snr).clamp(float(ends[0]), float(ends[1]))
    times: list[float] = (999 * trained.time_at(inside)).tolist()
    return times


def recommend(spectra: Spectra, steps: int, epsilon: float | None = None, shape: Shape | None = None) -> dict[Shape, Grid]:
    """The best grid of each shape for the spectra as a whole, best shape first; `epsilon` and `shape` fix what they say."""
    epsilons = EPSILONS if epsilon is None else (epsilon,)
    grids = [_best(spectra, steps, one, epsilons) for one in (SHAPES if shape is None else (shape,))]
    return {grid.shape: grid for grid in sorted(grids, key=lambda grid: grid.error.wasserstein)}


def _best(spectra: Spectra, steps: int, shape: Shape, epsilons: Sequence[float]) -> Grid:
    """For the mean spectrum; the mean colour is a ring of it when the images differ there."""
    field, power, table = Field.of(spectra), spectra.power.mean(0), spectra.table
    colour = spectra.mean_colour_power()
    if colour > 0:
        power[0] = colour
        power, table = per_image.with_mean_colour(power, table)
    grids = []
    for epsilon in epsilons:
        rule = Rule(shape, epsilon, floor=spectra.floor)
        levels = levels_of(per_image.schedules(power, table, rule), steps)
        grids.append(Grid(shape, epsilon, levels, error_of(field, levels)))
    return min(grids, key=lambda grid: grid.error.wasserstein)


def gain_per_image(spectra: Spectra, grid: Grid) -> tuple[float, float]:
    """Mean W₂² in % over images, each on its own spectrum: (with this one grid, each with its own of the same shape and ε)."""
    chosen = spectra.select(torch.from_numpy(np.linspace(0, len(spectra) - 1, min(len(spectra), SAMPLED)).round().astype(int)))
    rule = Rule(grid.shape, grid.epsilon, floor=spectra.floor)
    steps = len(grid.levels) - 1
    times = sampler.grid(steps - 1)[:, None].expand(-1, len(chosen))
    own = per_image.schedules(chosen.power, chosen.table, rule).noise_to_signal(times).numpy()
    count, floor = chosen.table.count[1:].numpy(), 0.0 if spectra.floor is None else spectra.floor
    fields = [Field(power, count) for power in chosen.power[:, 1:].clamp(min=floor).numpy()]
    together = [error_of(field, grid.levels).wasserstein for field in fields]
    alone = [error_of(field, np.append(own[:, k], 0.0)).wasserstein for k, field in enumerate(fields)]
    return float(np.mean(together)), float(np.mean(alone))


@dataclass(frozen=True, eq=False)
class Design:
    """Everything that the tool reports."""

    source: str
    spectra: Spectra
    steps: int
    shapes: dict[Shape, Grid]
    others: dict[str, Array]
    classes: dict[str, tuple[Grid, Error]]  # its own grid, and the error of the common grid on its spectrum
    per_image: tuple[float, float]

    @property
    def best(self) -> Grid:
        return next(iter(self.shapes.values()))

    @property
    def errors(self) -> dict[str, Error]:
        """Of every grid, ours first, then the usual and the user's by their error."""
        field = Field.of(self.spectra)
        theirs = {name: error_of(field, levels) for name, levels in self.others.items()}
        ranked = sorted(theirs.items(), key=lambda item: item[1].wasserstein)
        return {f"ours: {shape}": grid.error for shape, grid in self.shapes.items()} | dict(ranked)


def design(
    source: str,
    spectra: Spectra,
    steps: int,
    *,
    present: Array | None = None,
    epsilon: float | None = None,
    shape: Shape | None = None,
) -> Design:
    """The grids for the whole and for each class of MEMBERS images or more. Raises ValueError, see `check`."""
    check(steps, epsilon)
    shapes = recommend(spectra, steps, epsilon, shape)
    best = next(iter(shapes.values()))
    others = {name: levels_of(found, steps) for name, found in usual(min(spectra.shape)).items()}
    if present is not None:
        others = {"yours": present} | others
    classes = {}
    for name, members in spectra.by_class().items():
        if len(members) < MEMBERS:
            continue
        own = _best(members, steps, best.shape, EPSILONS if epsilon is None else (epsilon,))
        classes[name] = (own, error_of(Field.of(members), best.levels))
    return Design(source, spectra, steps, shapes, others, classes, gain_per_image(spectra, best))


def check(steps: int, epsilon: float | None) -> None:
    """Raises ValueError unless 2 ≤ steps ≤ MOST_STEPS and `epsilon`, if given, is from LEAST_EPSILON up to ½."""
    if steps < 2:
        raise ValueError(
            f"steps = {steps}; allowed: an integer ≥ 2, up to {MOST_STEPS}; remedy: 2 or more: with a single call there is no "
            "grid to design"
        )
    if steps > MOST_STEPS:
        raise ValueError(
            f"steps = {steps}; allowed: 2 to {MOST_STEPS}; remedy: fewer; models are trained on 1000 levels, and at 1000 steps "
            "every grid is close to exact"
        )
    if epsilon is not None and not LEAST_EPSILON <= epsilon < 0.5:
        raise ValueError(
            f"epsilon = {epsilon}; allowed: 0 < ε < ½, from {LEAST_EPSILON:g}; remedy: an error of variance, such as 0.01"
        )


def checked_levels(values: Sequence[float]) -> Array:
    """The user's sigmas, from noise to data, with a trailing 0. Raises ValueError unless they are positive and decrease."""
    levels = np.asarray(values, dtype=np.float64)
    if len(levels) and levels[-1] != 0:
        levels = np.append(levels, 0.0)
    good = levels.ndim == 1 and len(levels) >= 3 and bool(np.isfinite(levels).all()) and bool((np.diff(levels) < 0).all())
    if good and len(levels) > MOST_STEPS + 1:
        raise ValueError(f"{len(levels)} sigmas; allowed: 2 to {MOST_STEPS + 1}; remedy: a shorter list")
    if good and not 1 / LARGEST <= levels[-2] < levels[0] <= LARGEST:
        raise ValueError(
            f"sigmas from {levels[0]:g} to {levels[-2]:g}; allowed: {1 / LARGEST:g} to {LARGEST:g}; remedy: correct the ends"
        )
    if not good:
        raise ValueError(
            f"sigmas {list(values)}; allowed: at least two finite numbers > 0, decreasing from noise to data, and a final 0 "
            "or none; remedy: give noise/signal, as k-diffusion and ComfyUI do; for a flow's t in (0, 1) that is t/(1 − t)"
        )
    return levels


# ---- what is written --------------------------------------------------------------------------------------------------


def as_json(found: Design) -> dict[str, Any]:
    """The whole design in plain values."""
    spectra = found.spectra
    return {
        "source": found.source,
        "images": len(spectra),
        "broken": list(spectra.broken),
        "size": list(spectra.shape),
        "channels": spectra.means.shape[1],
        "steps": found.steps,
        "dataset": found.best.values,
        "classes": {
            name: own.values | {"wasserstein_percent_of_dataset_grid": common.wasserstein}
            for name, (own, common) in found.classes.items()
        },
        "predicted": [{"grid": name, **vars(error)} for name, error in found.errors.items()],
        "per_image": {"one_grid_percent": found.per_image[0], "own_grids_percent": found.per_image[1]},
    }


def as_text(grid: Grid) -> str:
    """The sigmas on one comma-separated line, as ComfyUI's custom sigmas and k-diffusion's callers take them."""
    return ", ".join(f"{level:.6g}" for level in grid.levels) + "\n"


def summary(found: Design) -> str:
    """What would be gained, in plain words."""
    spectra, best, errors = found.spectra, found.best, found.errors
    kind = "images" if spectra.floor is not None else "arrays"
    theirs = {name: error for name, error in errors.items() if not name.startswith("ours")}
    rival = "yours" if "yours" in theirs else next(iter(theirs))
    calls = len(found.others[rival]) - 1
    present = "Your present sigmas" + (f", with {calls} steps," if calls != found.steps else "")
    ratio = theirs[rival].wasserstein / best.error.wasserstein
    lines = [
        f"{len(spectra)} {kind} of {spectra.shape[0]} × {spectra.shape[1]}, {spectra.means.shape[1]} channels, "
        f"{len(found.classes)} of {len(spectra.labels.unique())} classes have the {MEMBERS} images for a grid of their own; "
        f"{found.steps} steps.",
        f"Recommended: the {best.shape} shape, sigma from {best.levels[0]:.4g} to {best.levels[-2]:.3g}, then 0.",
        f"Predicted error (W₂², exact for Gaussian images with your spectrum): {best.error.wasserstein:.3g} % of the variance.",
        f"{present if rival == 'yours' else f'The best usual grid, {rival},'} would leave "
        f"{theirs[rival].wasserstein:.3g} %: "
        + (f"{ratio:.3g} times as much." if ratio >= 1.005 else "no more than ours: keep what you have."),
        f"A grid for each image instead of one for all: {found.per_image[1]:.3g} % instead of {found.per_image[0]:.3g} %, "
        "each image taken alone.",
        _left_out(spectra, best),
        f"Left out as unusable: {len(spectra.broken)}" + "".join(f"\n  {line}" for line in spectra.broken),
        *_cautions(found),
        "Real images are not Gaussian and no network is exact: try the grid before you trust it.",
    ]
    return "\n".join(lines) + "\n"


def _left_out(spectra: Spectra, best: Grid) -> str:
    """What the first level costs the mean colour; nothing can be said where the images do not differ in it."""
    colour = spectra.mean_colour_power()
    if len(spectra) == 1:
        return "What starting there leaves out of the variance of the mean colour cannot be known from one image."
    if colour == 0:
        return "The images do not differ in their mean colour: starting there leaves out nothing of its variance."
    return (
        f"Starting there leaves out {100 * colour / (colour + best.levels[0] ** 2):.2g} % of the variance of the mean colour."
    )


def _cautions(found: Design) -> list[str]:
    """What so few images cannot tell."""
    count, channels = len(found.spectra), found.spectra.means.shape[1]
    lines = []
    if count == 1:
        lines.append(
            "Caution: one image. How images differ, in their mean colour and in their spectra, cannot be known from it: the "
            f"grid is this image's own, and its first sigma may be too small for others. Give {FEW} images or more."
        )
        if found.source.endswith(".npy"):
            lines.append(
                f"If the array has three axes, they were read as one image (C, H, W) of {channels} channels: save n images of "
                "one channel as (n, 1, H, W)."
            )
    elif count < FEW:
        lines.append(
            f"Caution: {count} images. The variance of their mean colour, which the first sigma follows, is known to "
            f"± {100 * math.sqrt(2 / (count - 1)):.0f} % at best. Give {FEW} images or more."
        )
    return lines


def draw(found: Design) -> Figure:
    """Left: the levels of each grid, step by step. Right: the predicted error of each."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.6), width_ratios=(1.1, 1))
    errors = found.errors
    _draw_levels(left, found, [name for name in errors if not name.startswith("ours")][:4])
    _draw_errors(right, {name: error.wasserstein for name, error in errors.items()})
    return figure


def _draw_levels(axes: Axes, found: Design, shown: Sequence[str]) -> None:
    for name in shown:
        levels = found.others[name][:-1]
        axes.plot(np.linspace(0, 1, len(levels)), levels, linewidth=1, label=name)
    best = found.best
    axes.plot(
        np.linspace(0, 1, found.steps), best.levels[:-1], color="black", linestyle="-", marker=MARKERS[0], markersize=3.5,
        linewidth=1.8, label=f"recommended: {best.shape}",
    )  # fmt: skip
    for own, _ in list(found.classes.values())[:SHOWN]:
        axes.plot(np.linspace(0, 1, found.steps), own.levels[:-1], color="black", linestyle="-", linewidth=0.4, alpha=0.35)
    if found.classes:
        axes.plot([], [], color="black", linestyle="-", linewidth=0.4, label="the same, class by class")
    axes.set(yscale="log", xlabel="share of the steps taken (noise → data)", ylabel="noise/signal σ")
    low, high = best.levels[-2] / 8, best.levels[0] * 8
    axes.set_ylim(low, high)
    for line in axes.get_lines()[: len(shown)]:
        _mark_leaving(axes, line, low, high)
    axes.legend(loc="lower left", fontsize="small")


def _mark_leaving(axes: Axes, line: Line2D, low: float, high: float) -> None:
    """An arrow where a curve leaves the axes: what people use may begin or end far outside the window."""
    x, y = (np.asarray(values, dtype=np.float64) for values in line.get_data())
    for edge, outside, marker in ((high, y > high, "^"), (low, y < low, "v")):
        for k in np.nonzero(outside[1:] != outside[:-1])[0]:
            part = (math.log(edge) - math.log(y[k])) / (math.log(y[k + 1]) - math.log(y[k])) if np.isfinite(y[k]) else 0.5
            at = x[k] + part * (x[k + 1] - x[k])  # a flow's first level is infinite
            axes.plot([at], [edge], marker, color=line.get_color(), markersize=5, clip_on=False, zorder=5)


def _draw_errors(axes: Axes, errors: Mapping[str, float]) -> None:
    names = sorted(errors, key=lambda name: -errors[name])
    place = np.arange(len(names))
    ours = np.array([name.startswith("ours") for name in names])
    value = np.array([errors[name] for name in names])
    for mine, marker, face in ((ours, MARKERS[0], "black"), (~ours, MARKERS[1], "white")):
        axes.plot(value[mine], place[mine], marker, color="black", markerfacecolor=face, markersize=5, linestyle="none")
    axes.set(xscale="log", xlabel="predicted error W₂² (% of the variance)")
    axes.set_yticks(place, names)
    axes.set_xlim(value.min() * 0.7, max(100.0, value.max() * 1.2))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())  # no stems: on a log axis their lengths would mean nothing
    axes.set_ylim(-0.6, len(names) - 0.4)
