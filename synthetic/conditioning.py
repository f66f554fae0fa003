"""How much of a per-image schedule's gain is left when the image's spectrum is not known but sampled, or replaced by the
average.

A population of fields whose slopes, amplitudes and curvatures scatter as those of photographs. Each is sampled with an exact
denoiser by schedules that know less and less of it:

    oracle        the field's R(f)
    own           the RAPSD of one image of it, as Esteves and Makadia (arXiv 2603.19222) have it in training
    parameters    amplitude and slope fitted to that RAPSD: the curvature is lost
    sampled       amplitude and slope drawn from a law fitted to such pairs, and an image that follows them, with a curvature
                  of its own: what sampling θ before the image amounts to when the network obeys
    ignored       the same draw, for an image that takes no notice of it
    dataset       one schedule for all, from the geometric mean of the spectra
    global        the best, for this population, of the usual schedules

The gain is that of the oracle over the best global schedule, on the same images; each condition keeps a share of it. So for
"sampled" the oracle and the global schedules are walked on the images that follow. The prediction is the rule of mean speed
(`testbed.rule_losses`) on a population of its own, from a stream that no seed of the measurement has; the measurement walks
every field ring by ring. Population and law of θ are ours, chosen after what the photographs of `imagenet` show.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from torch import Tensor

from synthetic import testbed
from synthetic.testbed import GLOBAL, METRIC_NAMES, METRICS, Field
from theory import per_image, spectrum
from theory.ledger import Claim, Row, decide
from theory.progress import progress
from theory.schedule import Schedule
from theory.stream import Stream

PAPER = "arXiv 2603.19222, abstract (spectral parameters sampled before the image); population and numbers ours"
OURS = "ours"
POPULATION = "64 px fields scattered as photographs, DDIM, N = 16"
GEODESIC = f"{POPULATION}; geodesic, W₂²"
CONDITIONS = ("oracle", "own", "parameters", "sampled", "ignored", "dataset")
FOLLOWED = "oracle of the followers"  # R(f) of the images that follow a sampled θ
SHAPES = ("geodesic", "mixed")

CLAIM = (
    Claim("T3-own", PAPER, "the RAPSD of one image keeps at least 90 % of the gain of knowing the field", GEODESIC),
    Claim("T3-parameters", PAPER, "its amplitude and slope alone keep at least 90 % of the gain", GEODESIC),
    Claim("T3-sampled", PAPER, "sampled amplitude and slope, if the image follows them, keep 90 % of the gain", GEODESIC),
    Claim("T3-ignored", OURS, "sampled parameters that the image ignores are worse than one schedule for all", GEODESIC),
    Claim("T3-dataset", PAPER, "one schedule for the dataset keeps less than half of the gain", GEODESIC),
    Claim("T3-mixed", PAPER, "with the mixed shape, too, the oracle gains over the best global schedule", f"{POPULATION}; W₂²"),
)  # fmt: skip

LOSS_MARGIN = 0.1  # share of the gain that may be lost: as the statements say
KEPT_MARGIN = 0.5
RATIO_MARGIN = 1.0


@dataclass(frozen=True, eq=False)
class Population:
    """Fields, the RAPSDs of one image each (count, K + 1), and θ drawn from the law of θ with the fields that follow them."""

    fields: list[Field]
    seen: Tensor
    theta: Tensor
    followers: list[Field]


def _population(settings: Mapping[str, Any], stream: Stream) -> Population:
    """The population of a stream; image k depends on nothing but the stream and k, and on the law fitted to all for θ."""
    size, count = settings["size"], settings["count"]
    table = spectrum.rings(size, size)
    draws = stream.child("field").normal(count, (3,)).numpy()
    fields = [_field(size, row, settings) for row in draws]
    images = torch.cat([testbed.mixture([field]).sample(1, stream.child("image"), k) for k, field in enumerate(fields)])
    seen = spectrum.rapsd(images)
    known = per_image.parameters(seen, table).numpy()
    root = np.linalg.cholesky(np.cov(known.T))
    theta = known.mean(0) + stream.child("theta").normal(count, (2,)).numpy() @ root.T
    bends = stream.child("bend").normal(count, (1,)).numpy()[:, 0] * settings["curvature_spread"]
    followers = [_follower(size, row, bend) for row, bend in zip(theta, bends, strict=True)]
    return Population(fields, seen, torch.from_numpy(theta), followers)


def _field(size: int, draw: np.ndarray, settings: Mapping[str, Any]) -> Field:
    slope = np.clip(settings["slope"] + settings["slope_spread"] * draw[0], 0.5, 5.0)
    variance = settings["variance"] * np.exp(settings["log_variance_spread"] * draw[1])
    return Field.power_law(size, float(slope), float(variance), settings["curvature_spread"] * float(draw[2]))


def _follower(size: int, theta: np.ndarray, curvature: float) -> Field:
    """A field whose line is exp(θ₀)·f^θ₁, bent about it: the bend is made orthogonal to the line, as a fit leaves it."""
    table = spectrum.rings(size, size)
    log_f = np.log(table.radius.numpy().clip(1.0))
    u = 2 * log_f / np.log(size / 2) - 1
    return Field(table, np.exp(theta[0] + theta[1] * log_f + curvature * (u**2 - 1 / 3)))


def _made(shape: str, power: np.ndarray | Tensor, table: spectrum.Rings, epsilon: float) -> Schedule:
    rule = per_image.Rule(shape, epsilon, nodes=testbed.NODES)  # type: ignore[arg-type]
    return per_image.schedules(torch.as_tensor(power), table, rule)


def _pairs(population: Population, condition: str, shape: str, epsilon: float) -> list[tuple[Field, Schedule]]:
    """Every image with the schedule that this condition gives it."""
    fields, followers, table = population.fields, population.followers, population.fields[0].table
    known = per_image.power_of(per_image.parameters(population.seen, table), table)
    drawn = per_image.power_of(population.theta, table)
    mean = np.exp(np.mean([np.log(field.power) for field in fields], 0))
    powers: dict[str, Callable[[int], np.ndarray | Tensor]] = {
        "oracle": lambda k: fields[k].power,
        FOLLOWED: lambda k: followers[k].power,
        "own": lambda k: population.seen[k],
        "parameters": lambda k: known[k],
        "sampled": lambda k: drawn[k],
        "ignored": lambda k: drawn[k],
        "dataset": lambda _: mean,
    }
    images = followers if condition in ("sampled", FOLLOWED) else fields
    return [(image, _made(shape, powers[condition](k), table, epsilon)) for k, image in enumerate(images)]


Walk = Callable[[Field, Schedule, int], np.ndarray]


def _table(settings: Mapping[str, Any], stream: Stream, walk: Walk) -> xr.Dataset:
    """Errors of every image under every condition and under the global schedules; `walk` gives the final variances."""
    population, epsilon, steps = _population(settings, stream), settings["epsilon"], settings["steps"]
    conditions = [*CONDITIONS, FOLLOWED]
    error = np.empty((len(SHAPES), len(conditions), settings["count"], len(METRICS)))
    for (i, shape), (j, condition) in progress(
        list(itertools.product(enumerate(SHAPES), enumerate(conditions))), "conditioning"
    ):
        for k, (field, made) in enumerate(_pairs(population, condition, shape, epsilon)):
            error[i, j, k] = testbed.errors(field, walk(field, made, steps))
    known = {}
    for name, fields in (("known", population.fields), ("known_followers", population.followers)):
        known[name] = np.empty((len(GLOBAL), settings["count"], len(METRICS)))
        for (i, usual), (k, field) in itertools.product(enumerate(GLOBAL), enumerate(fields)):
            known[name][i, k] = testbed.errors(field, walk(field, testbed.schedule_for(usual, field, steps, epsilon), steps))
    axes = ("global", "image", "metric")
    return xr.Dataset(
        {
            "error": (("shape", "condition", "image", "metric"), error[:, :-1]),
            "oracle_followers": (("shape", "image", "metric"), error[:, -1], {"long_name": "oracle, images of `sampled`"}),
            "known": (axes, known["known"], {"long_name": "errors of the global schedules"}),
            "known_followers": (axes, known["known_followers"], {"long_name": "the same, images of `sampled`"}),
        },
        coords={"shape": list(SHAPES), "condition": list(CONDITIONS), "global": list(GLOBAL), "metric": list(METRICS)},
    )


# ---- prediction and measurement ---------------------------------------------------------------------------------------


def _stream(seed: int) -> Stream:
    """The measured population's."""
    return Stream(seed).child("conditioning")


def _predicted_stream() -> Stream:
    """The population that the rule is evaluated on: one label more than `_stream` has for any seed, so never the same."""
    return _stream(0).child("of the prediction")


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """The errors by the rule of mean speed: first order in 1/N."""
    return _table(settings, _predicted_stream(), lambda f, s, n: f.power * np.exp(-2 * testbed.rule_losses(f, s, n)))


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """The errors of DDIM, walked ring by ring: exact for a field whose spectrum the denoiser knows."""
    return _table(settings, _stream(seed), lambda f, s, n: testbed.ddim_variance(f.power, testbed.levels(s, n)))


# ---- judgement --------------------------------------------------------------------------------------------------------


Kept = tuple[xr.DataArray, xr.DataArray, str, xr.DataArray]


def _best(known: xr.DataArray) -> tuple[str, xr.DataArray]:
    """The global schedule with the least mean error over these images, and its error of each."""
    best = str(known["global"][int(known.mean("image").values.argmin())].item())
    return best, known.sel({"global": best}, drop=True)


def _kept(dataset: xr.Dataset, shape: str, metric: str, resamples: int = 400) -> Kept:
    """Share of the oracle's gain that each condition keeps, its bootstrap error over images, the best global, and the means."""
    at = dataset.sel(metric=metric)
    error = at.error.sel(shape=shape)
    best, baseline = _best(at.known)
    followed = _best(at.known_followers)[1]
    own = error.condition != "sampled"  # whose images are others: compared with what those cost
    oracle = xr.where(own, error.sel(condition="oracle", drop=True), at.oracle_followers.sel(shape=shape))
    usual = xr.where(own, baseline, followed)

    def share(rows: np.ndarray) -> xr.DataArray:
        mean, known, base = (values.isel(image=rows).mean("image") for values in (error, oracle, usual))
        return (base - mean) / (base - known)

    count = error.sizes["image"]
    rng = Stream(0).child("conditioning bootstrap").generator(0)
    draws = xr.concat([share(rng.integers(0, count, count)) for _ in range(resamples)], "resample")
    known = baseline.mean("image").drop_vars("metric").expand_dims(condition=["global"])
    means = xr.concat([error.mean("image").drop_vars(["shape", "metric"]), known], "condition")
    return share(np.arange(count)), draws.std("resample"), best, means


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    claims = {claim.id: claim for claim in CLAIM}
    kept, bar, best, means = _kept(measured, "geodesic", "wasserstein")
    theory = _kept(predicted, "geodesic", "wasserstein", 2)[0]
    rows = []

    def shares(name: str) -> tuple[float, float, str, str]:
        value, error = float(kept.sel(condition=name)), float(bar.sel(condition=name))
        mine, oracle, known = (float(means.sel(condition=condition)) for condition in (name, "oracle", "global"))
        usual = best
        if name == "sampled":  # the followers' own
            usual, baseline = _best(measured.known_followers.sel(metric="wasserstein"))
            oracle = float(measured.oracle_followers.sel(shape="geodesic", metric="wasserstein").mean())
            known = float(baseline.mean())
        text = f"keeps {value:.1%} ± {error:.1%} (W₂² {mine:.3%}; oracle {oracle:.3%}, {usual} {known:.3%})"
        return value, error, f"keeps {float(theory.sel(condition=name)):.1%} by the rule of mean speed", text

    for name in ("own", "parameters", "sampled"):
        value, error, expected, text = shares(name)
        lost = max(0.0, 1 - value)
        rows.append(decide(lost, LOSS_MARGIN, error).row(claims[f"T3-{name}"], expected, text))
    value, error, expected, text = shares("ignored")
    pair = measured.error.sel(shape="geodesic", metric="wasserstein")
    ratio = float(means.sel(condition="dataset") / means.sel(condition="ignored"))
    gap = pair.sel(condition="dataset") - ratio * pair.sel(condition="ignored")
    ratio_bar = float(gap.std("image", ddof=1) / np.sqrt(gap.sizes["image"]) / means.sel(condition="ignored"))
    text = f"ratio {ratio:.3f} ± {ratio_bar:.3f}; {text}"
    rows.append(decide(ratio, RATIO_MARGIN, ratio_bar).row(claims["T3-ignored"], "ratio dataset/ignored below 1", text))
    value, error, expected, text = shares("dataset")
    rows.append(decide(max(0.0, value), KEPT_MARGIN, error).row(claims["T3-dataset"], expected, text))
    return [*rows, _mixed(claims["T3-mixed"], measured)]


def _mixed(claim: Claim, measured: xr.Dataset) -> Row:
    _, _, best, means = _kept(measured, "mixed", "wasserstein", 2)
    pair = measured.sel(metric="wasserstein")
    oracle, base = pair.error.sel(shape="mixed", condition="oracle"), pair.known.sel({"global": best})
    ratio = float(oracle.mean() / base.mean())
    bar = float((oracle - ratio * base).std("image", ddof=1) / np.sqrt(base.sizes["image"]) / base.mean())
    listed = ", ".join(f"{condition} {float(mean):.3%}" for condition, mean in zip(means.condition.values, means, strict=True))
    return decide(ratio, RATIO_MARGIN, bar).row(claim, "ratio below 1", f"ratio {ratio:.3f} ± {bar:.3f} to {best}; {listed}")


# ---- figure -----------------------------------------------------------------------------------------------------------


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    for ax, metric in zip(axes, ("wasserstein", "log_spectrum"), strict=True):
        for k, shape in enumerate(SHAPES):
            _, _, best, means = _kept(measured, shape, metric, 2)
            theory = _kept(predicted, shape, metric, 2)[3]
            error = measured.error.sel(shape=shape, metric=metric)
            known = measured.known.sel({"global": best, "metric": metric})
            bars = np.append(error.std("image", ddof=1), known.std("image", ddof=1))
            at = np.arange(means.sizes["condition"]) + 0.16 * (2 * k - 1)
            ax.errorbar(
                at, means, 2 * bars / np.sqrt(error.sizes["image"]), color=f"C{k}", marker="os"[k], linestyle="", capsize=2,
                markersize=5, label=shape,
            )  # fmt: skip
            ax.hlines(theory, at - 0.14, at + 0.14, color=f"C{k}", linewidth=1.5)
        labels = [*CONDITIONS, f"global:\n{best}"]
        ax.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
        ax.set(ylabel=f"{METRIC_NAMES[metric]}, mean over images", ylim=(0, None))
    title = f"{settings['size']} px, N = {settings['steps']}; bars: rule of mean speed"
    axes[0].legend(title=title, fontsize="x-small", title_fontsize="x-small", loc="lower left")
    return figure
