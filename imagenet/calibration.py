"""Are schedules that are drawn like schedules that are measured? p(θ | class) against images that it has not seen.

The patches of each class are split at random; `imagenet.prior` is fitted to the one part, and as many θ are drawn as there are
in the other. Per class and parameter, the two-sample Kolmogorov–Smirnov test, and the ranks of held-out θ among many drawn
ones; per class, the energy distance (Székely and Rizzo 2013) of drawn θ, of the class's other images, and of draws from the
mixture of all classes, each to the held-out θ: what is left of the last, knowing the class.

What to expect of p-values below α (derivation: ours). With m held out, m drawn and n to fit, D is the largest of a difference
of variance ∝ 1/m + 1/m + at most 1/n, where the test allows for 2/m. So D² is inflated by 1 + m/(2n), and Kolmogorov's tail
2e^{−2x²} at x² = ½ log(2/α) gives a share of at most 2(α/2)^{1/(1 + m/2n)}.

Steering: θ with its slope or amplitude scaled as `generate --slope --amplitude` scales it (`imagenet.schedules.steered`); DDIM
with the exact denoiser of that Gaussian field, on its own schedule; then slope and amplitude of what comes out are measured.

Changed after a first look: B9-energy was redefined (its first form scaled by a distance that is about 0) with its margin set
before the new form ran, and the steering rows got four times the fields. k of the rows with error bars is Student's, and the
factor that decides is chosen by `theory.ledger.decide`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy.spatial.distance import cdist, pdist
from scipy.stats import ks_2samp

from imagenet import prior, schedules
from imagenet.parameters import Spectra, read_spectra
from theory import cost, per_image, sampler
from theory.ledger import Claim, Row, decide, student_k
from theory.per_image import Basis, Rule
from theory.progress import progress
from theory.record import MARKERS
from theory.spectrum import QUANTISATION_POWER, fit_power_law, rapsd, rings
from theory.stream import Stream

log = logging.getLogger(__name__)

LEVEL = 0.01  # of the p-values that are counted
REPEATS = 20  # of the draws: the count of p-values is then the fit's, not one draw's
BINS = 10  # of the ranks
# Margins. KS: two standard errors of the count (see judge). Energy: a tenth of the distance that not
# knowing the class costs. (Not a share of the distance between two parts of a class: that is about 0, so a few classes decide.)
# Steering: 5 % of a slope, or of an amplitude.
ENERGY_MARGIN, STEER_MARGIN = 0.1, 0.05

_SPLIT = "patches of photographs, split at random within each class; classes too small have the mixture of all"
_STEER = "Gaussian fields with the drawn spectrum, DDIM with the exact denoiser on the drawn schedule"
CLAIM = (
    Claim("B9-ks", "arXiv 2603.19222, abstract", "Drawn θ are distributed as θ of unseen images of the class", _SPLIT),
    Claim("B9-energy", "ours", "Knowing the class removes the distance between drawn θ and θ of its unseen images", _SPLIT),
    Claim("B9-slope", "arXiv 2603.19222, abstract", "Scaling the slope of θ scales the slope of what is generated", _STEER),
    Claim("B9-amplitude", "arXiv 2603.19222, abstract", "Scaling the power in θ scales the power of what is generated", _STEER),
)


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """The share of small p-values, flat ranks, and the factors that steering should show."""
    share = settings["held_out_share"]
    inflation = 1 + share / (2 * (1 - share))
    factors = settings["steer"]["factors"]
    return xr.Dataset(
        {
            "share": ((), 2 * (LEVEL / 2) ** (1 / inflation), {"meaning": f"of p-values below {LEVEL}, at most"}),
            "rank_share": ("bin", np.full(BINS, 1 / BINS)),
            "out": (("kind", "factor"), np.array([factors, factors], dtype=np.float64), {"meaning": "measured over unsteered"}),
        },
        coords={"kind": ["slope", "amplitude"], "factor": factors, "bin": np.arange(BINS)},
    )


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """Fit on one part, compare with the other, steer."""
    taper = None if settings["window"] == "none" else settings["window"]
    spectra = read_spectra(
        settings["source"], settings["patch"], taper=taper, count=settings["patches_per_photograph"], seed=seed
    )
    stream = Stream(seed).child("calibration")
    seen = _seen(spectra, settings["held_out_share"], stream.child("split"))
    fitted, theta = _fit(spectra, seen, settings, seed)
    names, tests, energies, ranks = [], [], [], []
    for name in progress(list(spectra.by_class()), "classes"):
        mine = spectra.labels == spectra.class_names.index(name)
        train, held = theta[mine & seen].numpy(), theta[mine & ~seen].numpy()
        if len(held) < 2:
            log.warning("class %s has %d held-out images and is left out of the tests", name, len(held))
            continue
        names.append(name)
        mixture, generator = fitted.mixture(name), stream.child("draws").child(name).generator(0)
        samples = [mixture.draw(len(held), generator) for _ in range(REPEATS)]
        tests.append([[ks_2samp(few[:, d], held[:, d]).pvalue for d in range(held.shape[1])] for few in samples])
        scale = theta[seen].std(0).numpy()
        rivals = (mixture.draw(999, generator), train, fitted.mixtures[prior.POOLED].draw(999, generator))
        energies.append([_energy(rival / scale, held / scale) for rival in rivals])
        crowd = mixture.draw(999, generator)
        ranks.append([np.histogram((crowd[:, d, None] < held[:, d]).mean(0), BINS, (0, 1))[0] for d in range(held.shape[1])])
    if not names:
        raise ValueError(
            f"no class has 2 held-out images (held_out_share = {settings['held_out_share']}); allowed: at least one; "
            "remedy: more images, or a larger share"
        )
    parameter = ["log amplitude", "slope", *(f"component {k + 1}" for k in range(settings["components"]))]
    return xr.Dataset(
        {
            "p": (("class", "repeat", "parameter"), np.array(tests)),
            "energy": (("class", "of"), np.array(energies), {"meaning": "squared energy distance to the held-out θ"}),
            "rank": (("class", "parameter", "bin"), np.array(ranks), {"meaning": "held-out θ by rank among drawn ones"}),
            "gaussians": ("class", [len(fitted.mixture(name).weights) for name in names]),
            "own": ("class", [name in fitted.mixtures for name in names], {"meaning": "has a mixture of its own"}),
            **_steered(fitted, names, settings, stream.child("steer")),
        },
        coords={
            "class": names,
            "parameter": parameter,
            "of": ["drawn", "other images", "drawn from all classes"],
            "bin": np.arange(BINS),
            "kind": ["slope", "amplitude"],
            "factor": settings["steer"]["factors"],
        },
    )


def _seen(spectra: Spectra, share: float, stream: Stream) -> torch.Tensor:
    """(n,) True for the images to fit: in each class a random part, `share` of it left out."""
    seen = torch.ones(len(spectra), dtype=torch.bool)
    for name in spectra.by_class():
        mine = (spectra.labels == spectra.class_names.index(name)).nonzero()[:, 0]
        order = stream.child(name).generator(0).permutation(len(mine))
        seen[mine[torch.from_numpy(order[: round(share * len(mine))])]] = False
    return seen


def _fit(spectra: Spectra, seen: torch.Tensor, settings: Mapping[str, Any], seed: int) -> tuple[prior.Prior, torch.Tensor]:
    """The prior of the seen images, and θ of all on the basis of the seen ones."""
    table, floor = spectra.table, spectra.floor
    basis = Basis.fit(spectra.power[seen], table, settings["components"], floor)
    theta = per_image.parameters(spectra.power, table, basis, floor)
    mixtures = settings["mixture"]
    fitted = prior.fit(
        theta[seen],
        spectra.labels[seen],
        spectra.class_names,
        basis,
        most=mixtures["most"],
        floor=mixtures["floor"],
        smallest=mixtures["smallest"],
        seed=seed,
    )
    return fitted, theta


def _energy(a: np.ndarray, b: np.ndarray) -> float:
    """2E|A − B| − E|A − A'| − E|B − B'| between two samples, without bias (pairs of different members)."""
    return float(2 * cdist(a, b).mean() - pdist(a).mean() - pdist(b).mean())


def _steered(fitted: prior.Prior, names: list[str], settings: Mapping[str, Any], stream: Stream) -> dict[str, Any]:
    """Measured slope and power over those of the unsteered fields, per drawn θ: (kind, factor, field)."""
    steer, size = settings["steer"], settings["patch"]
    table = rings(size, size)
    chosen = [names[k % len(names)] for k in range(steer["fields"])]
    theta = fitted.draw(chosen, stream.child("theta"))
    noise = stream.child("noise").normal(len(chosen), (1, size, size))
    plain = _generated(theta, fitted.basis, noise, steer["steps"], settings["epsilon"])
    before = fit_power_law(plain, table)
    out = np.empty((2, len(steer["factors"]), len(chosen)))
    for column, factor in enumerate(steer["factors"]):
        steeper, louder = schedules.steered(theta, slope=factor), schedules.steered(theta, amplitude=factor)
        after = fit_power_law(_generated(steeper, fitted.basis, noise, steer["steps"], settings["epsilon"]), table)
        out[0, column] = (1 + (after.slope - before.slope) / theta[:, 1]).numpy()
        powered = _generated(louder, fitted.basis, noise, steer["steps"], settings["epsilon"])
        out[1, column] = (powered[:, 1:] / plain[:, 1:]).log().mean(1).exp().numpy()
    return {"out": (("kind", "factor", "field"), out, {"meaning": "measured over unsteered"})}


def _generated(theta: torch.Tensor, basis: Basis, noise: torch.Tensor, steps: int, epsilon: float) -> torch.Tensor:
    """R(f) of the fields that DDIM makes of white noise (n, 1, S, S) for each θ, on its own schedule: (n, K + 1)."""
    size = noise.shape[-1]
    table = rings(size, size)
    power = per_image.power_of(theta, table, basis)
    schedule = per_image.schedules(power, table, Rule(epsilon=epsilon, floor=QUANTISATION_POWER))
    levels = schedule.noise_to_signal(sampler.grid(steps - 1)[:, None].expand(-1, len(theta))).numpy()
    levels = np.concatenate([levels, np.zeros((1, len(theta)))])[:, :, None]
    variance = power.numpy()
    factor = np.ones_like(variance) * levels[0]
    for left, right in pairwise(levels):
        factor *= cost.ddim_multiplier(variance, left, right)
    wave = torch.fft.rfft2(noise) * torch.from_numpy(factor)[:, table.index][:, None]
    return rapsd(torch.fft.irfft2(wave, s=(size, size)))


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    """KS: the excess over the predicted share, against two binomial standard errors of it over classes × parameters."""
    ks, energy, slope, amplitude = CLAIM
    wanted = float(predicted["share"])
    small = (measured["p"] < LEVEL).mean("repeat")
    count, share = small.size, float(small.mean())
    margin = 2 * math.sqrt(wanted * (1 - wanted) / count)
    excess = max(0.0, share - wanted)
    text = f"{100 * share:.1f} % of {count} p-values below {LEVEL}"
    rows = [decide(excess, margin).row(ks, f"≤ {100 * wanted:.1f} ± {100 * margin:.1f} %", text)]
    drawn, pooled = (measured["energy"].sel(of=name).values for name in ("drawn", "drawn from all classes"))
    left, bar = drawn.sum() / pooled.sum(), math.nan  # sums: an estimate without bias can be negative in a class
    if len(drawn) > 1:  # jackknife over classes
        without = (drawn.sum() - drawn) / (pooled.sum() - pooled)
        bar = float(np.sqrt((len(drawn) - 1) / len(drawn) * ((without - without.mean()) ** 2).sum()))
    off = max(0.0, float(left))
    text = f"{100 * left:.1f} ± {100 * bar:.1f} % of the distance left"
    k = student_k(len(drawn) - 1)
    rows.append(decide(off, ENERGY_MARGIN, bar, k=k).row(energy, "none left", text))
    for claim, kind in ((slope, "slope"), (amplitude, "amplitude")):
        ratio = measured["out"].sel(kind=kind) / predicted["out"].sel(kind=kind)
        count = ratio.sizes["field"]
        mean, error = ratio.mean("field").values, ratio.std("field", ddof=1).values / math.sqrt(count)
        k = student_k(count - 1, len(mean))
        worst = decide(np.abs(mean - 1), STEER_MARGIN, error, k=k)
        factor = float(ratio["factor"][worst.at])
        text = f"× {factor * mean[worst.at]:.3f} ± {factor * worst.bar:.3f}, which decides of {len(mean)}"
        rows.append(worst.row(claim, f"× {factor:g}", text))
    return rows


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    """p-values against their uniform law, ranks of held-out θ, energy distances, steering."""
    figure, ((first, second), (third, fourth)) = plt.subplots(2, 2, figsize=(7.2, 5.8))
    _draw_p(first, measured)
    _draw_ranks(second, predicted, measured)
    _draw_energy(third, measured)
    _draw_steering(fourth, predicted, measured)
    return figure


def _draw_p(axes: Axes, measured: xr.Dataset) -> None:
    for row, name in enumerate(measured["parameter"].values):
        p = np.sort(measured["p"].isel(parameter=row).values.ravel())
        axes.plot(p, np.arange(1, len(p) + 1) / len(p), label=str(name))
    axes.plot([0, 1], [0, 1], color="black", linestyle="-", linewidth=0.8, label="uniform")
    axes.axvline(LEVEL, color="0.3", linestyle=":", linewidth=1, label=f"p = {LEVEL:g}, judged")
    axes.set(xlabel="p-value of the KS test", ylabel="share of classes and draws below")
    axes.legend(fontsize="x-small")


def _draw_ranks(axes: Axes, predicted: xr.Dataset, measured: xr.Dataset) -> None:
    ranks = measured["rank"].sum("class")
    total = ranks.sum("bin")
    share = ranks / total
    place = (np.arange(BINS) + 0.5) / BINS
    for row, name in enumerate(measured["parameter"].values):
        axes.plot(place, 100 * share.isel(parameter=row), marker=MARKERS[row % len(MARKERS)], markersize=3.5, label=str(name))
    expected = predicted["rank_share"].values
    error = np.sqrt(expected * (1 - expected) / float(total.mean()))
    axes.fill_between(place, 100 * (expected - 2 * error), 100 * (expected + 2 * error), color="black", alpha=0.12, linewidth=0)
    axes.plot(place, 100 * expected, color="black", linestyle="-", linewidth=0.8)
    band = Patch(color="black", alpha=0.12, linewidth=0, label="uniform ± 2 standard errors")
    axes.set(xlabel="rank of a held-out θ among drawn ones", ylabel="share (%)", ylim=(0, 1.3 * axes.get_ylim()[1]))
    axes.legend(handles=[*axes.get_legend_handles_labels()[0], band], fontsize="x-small", ncols=2, loc="upper center")


def _draw_energy(axes: Axes, measured: xr.Dataset) -> None:
    ordered = measured.sortby(measured["energy"].sel(of="drawn from all classes"))
    place = np.arange(ordered.sizes["class"])
    for name, marker, face in zip(ordered["of"].values, MARKERS, ("black", "white", "0.7"), strict=False):
        style: dict[str, Any] = {"color": "black", "markerfacecolor": face, "markersize": 4.5, "linestyle": "none"}
        axes.plot(ordered["energy"].sel(of=name), place, marker, label=str(name), **style)
    axes.set_yticks(place if len(place) <= 40 else [], ordered["class"].values if len(place) <= 40 else [])
    axes.tick_params(axis="y", labelsize="x-small")
    axes.axvline(0, color="black", linewidth=0.8)  # estimates without bias can be negative
    axes.set(xlabel="squared energy distance to held-out θ")
    axes.grid(axis="y", visible=False)
    axes.legend(fontsize="small", loc="lower right")


def _draw_steering(axes: Axes, predicted: xr.Dataset, measured: xr.Dataset) -> None:
    factor = measured["factor"].values
    axes.plot(factor, predicted["out"].isel(kind=0), color="black", linestyle="-", label="asked for")
    for kind, marker, face, move in (("slope", MARKERS[0], "black", 0.985), ("amplitude", MARKERS[1], "white", 1.015)):
        out = measured["out"].sel(kind=kind)
        axes.errorbar(factor * move, out.mean("field"), yerr=out.std("field", ddof=1), fmt=marker, color="black", capsize=2,
                      markersize=5, markerfacecolor=face, label=f"{kind}: mean and spread")  # fmt: skip
    axes.set(xlabel="factor on θ", ylabel="factor on what comes out", xscale="log", yscale="log")
    ticks = [str(value) for value in factor]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(factor, ticks)
        axis.set_ticks([], minor=True)
    axes.legend(fontsize="small")
