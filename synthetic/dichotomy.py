"""The dichotomy of paper A (arXiv 2501.00988): what VP keeps and loses, what VE keeps and loses, at a fixed number of steps.

Constant denoising, N Euler steps, real samplers in d dimensions, on the two-mode Gaussian mixture and on Curie-Weiss with its
exact posterior mean. High-level feature: the weight p̂ of the "+" mode. Low-level feature: the spread σ̂ of a coordinate inside
that mode. The prediction (`theory.limit`: scalar maps, no samples, no law's denoiser) is a line, the samplers are points.

The component u·z of the initial noise, which decides the mode, is stratified: trajectory k of n has its uniform rank in
[k/n, (k + 1)/n). That is exact sampling of z, and leaves in p̂ only the randomness of trajectories near the boundary.

Changed after a first look: A3-spread first asked for the exponent ±½ at the largest d, which holds only for d ≫ N²; it now asks
for a loss by a factor of ten and shows the exponents. The N of the weights' rate were lowered until the row was decided; what
is judged are draws that no choice has seen (streams "rate, judged"). Each N has a stream of its own there, so that the error
bars at different N are independent, as the bar of the fitted exponent takes them to be.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from synthetic.noise import noise_blocks
from theory import limit
from theory.curie_weiss import CurieWeiss
from theory.ledger import Claim, Row, decide, largest_score, student_k
from theory.progress import progress
from theory.record import LINES, MARKERS
from theory.sampler import Euler, Flow, grid, last, walk
from theory.schedule import Schedule, variance_exploding_flow, variance_preserving_flow
from theory.stream import Stream
from theory.target import GaussianMixture, Law

PAPER = "arXiv 2501.00988, abstract and section on the dichotomy"
INTERPOLANTS = ("VP sqrt", "VP linear", "VE linear", "VE sqrt")
RECOVERS = {"weight": ("VE linear", "VE sqrt"), "spread": ("VP sqrt", "VP linear")}  # who keeps which feature
LAWS = {"gm": "Gaussian mixture", "cw": "Curie-Weiss"}
FIXED = "constant denoising, Euler, N fixed, d → ∞; VP with both α forms"

CLAIM = tuple(
    Claim(f"{number}-{law}-{feature}", PAPER, statement, f"{LAWS[law]}; {conditions}")
    for law in LAWS
    for number, feature, statement, conditions in (
        ("A2", "weights", "VP loses the weights: every trajectory ends in the heavier mode", FIXED),
        ("A2", "spread", "VP recovers the spread inside a mode up to O(1/N): the error falls as N^−1", FIXED),
        ("A3", "weights", "VE recovers the weights up to O(1/N): the error falls as N^−1", FIXED.replace("VP", "VE")),
        (
            "A3",
            "spread",
            "VE loses the spread inside a mode: σ̂ → 0 as d^−½ (linear form), σ̂ → ∞ as d^½ (sqrt form)",
            FIXED.replace("VP", "VE"),
        ),
        (
            "A23",
            "exact",
            "the samplers in d dimensions do what the scalar maps of theory.limit predict",
            "every d ≥ 1000 and all four interpolants; relative error of σ̂"
            if law == "cw"
            else "every d and all four interpolants; deviation of p̂ and σ̂ in standard errors",
        ),
    )
)

RATE_MARGIN = 0.25  # on the exponent −1 of N: nearer to it than to any other half-integer
SPREAD_MARGIN = 0.1  # σ̂/σ (linear form), σ/σ̂ (sqrt form) at the largest d: lost means off by more than a factor of ten
LOST_MARGIN = 0.02  # of trajectories not in the heavier mode
LIMIT_MARGIN = 0.03  # of σ̂, relative: for Curie-Weiss the scalar maps are the limit d → ∞


def _schedule(name: str, dim: float) -> Schedule:
    noise, form = name.split()
    return variance_preserving_flow(form) if noise == "VP" else variance_exploding_flow(form, dim)  # type: ignore[arg-type]


def _model(law: str, dim: float, settings: Mapping[str, Any]) -> limit.TwoModes:
    if law == "gm":
        return limit.TwoModes.gaussian_mixture(dim, settings["weight"], settings["mean"], settings["spread"])
    return limit.TwoModes.curie_weiss(dim, settings["coupling"], settings["field"])


def _law(law: str, dim: int, settings: Mapping[str, Any]) -> Law | CurieWeiss:
    if law == "gm":
        return GaussianMixture.two_modes(dim, settings["weight"], settings["mean"], settings["spread"])
    return CurieWeiss(dim, settings["coupling"], settings["field"])


# ---- prediction -------------------------------------------------------------------------------------------------------


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """p̂ and σ̂ on a fine axis of d, at N steps; and against N at the rates' dimensions; and the law's own values."""
    if len(settings["samples"]) != len(settings["dims"]):
        raise ValueError(
            f"synthetic.dichotomy: samples = {settings['samples']} for dims = {settings['dims']}; allowed: one number of "
            "trajectories per dimension; remedy: give both lists the same length"
        )
    dims = np.unique([*settings["dims"], *np.geomspace(min(settings["dims"]), max(settings["dims"]), 25)])
    rates = settings["rate"]
    shape = (len(LAWS), len(INTERPOLANTS))
    weight, spread = np.empty((*shape, len(dims))), np.empty((*shape, len(dims)))
    by_steps = {feature: np.empty((*shape, len(rates[feature]["steps"]))) for feature in RECOVERS}
    for (i, law), (j, name) in itertools.product(enumerate(LAWS), enumerate(INTERPOLANTS)):
        for k, dim in enumerate(dims):
            weight[i, j, k], spread[i, j, k] = _predicted(law, name, dim, settings["steps"], settings)
        for q, (feature, out) in enumerate(by_steps.items()):
            for k, count in enumerate(rates[feature]["steps"]):
                out[i, j, k] = _predicted(law, name, rates[feature]["dim"], count, settings)[q]
    models = [_model(law, 1, settings) for law in LAWS]
    weights = [settings["weight"], _positive_share(CurieWeiss(rates["weight"]["dim"], settings["coupling"], settings["field"]))]
    return xr.Dataset(
        {
            "weight": (("law", "interpolant", "dim"), weight, {"long_name": "weight of the + mode"}),
            "spread": (("law", "interpolant", "dim"), spread, {"long_name": "spread of a coordinate inside the + mode"}),
            **{f"{feature}_by_steps": (("law", "interpolant", f"{feature}_steps"), out) for feature, out in by_steps.items()},
            "weight_of_law": ("law", [m.weight for m in models]),
            "weight_at_rate": ("law", weights, {"long_name": "weight of the + mode of the law at the dimension of the rate"}),
            "spread_at_rate": ("law", [m.spread for m in models]),
            "spread_of_law": ("law", [m.spread for m in models]),
        },
        coords={"law": list(LAWS), "interpolant": list(INTERPOLANTS), "dim": dims} | _steps_axes(settings),
    )


def _steps_axes(settings: Mapping[str, Any]) -> dict[str, list[int]]:
    """The numbers of steps at which each feature's rate is taken, as coordinates."""
    return {f"{feature}_steps": settings["rate"][feature]["steps"] for feature in RECOVERS}


def _positive_share(law: CurieWeiss) -> float:
    """P(M > 0) + ½P(M = 0), exact at the law's dimension: it differs from sigmoid(2hm*) by O(1/d)."""
    pmf = law.magnetisation_log_pmf().exp().numpy()
    return float(pmf[len(pmf) - len(pmf) // 2 :].sum() + (0.5 * pmf[len(pmf) // 2] if len(pmf) % 2 else 0.0))


def _predicted(law: str, name: str, dim: float, steps: int, settings: Mapping[str, Any]) -> tuple[float, float]:
    schedule, times = _schedule(name, dim), grid(steps)
    weight = limit.weight_plus(_model(law, dim, settings), schedule, times)
    if law == "gm":
        return weight, abs(limit.complement_gain(schedule, times, settings["spread"] ** 2))
    mode = limit.curie_weiss_mode(settings["coupling"], settings["field"], schedule, times, +1)
    return weight, mode.spread


# ---- measurement ------------------------------------------------------------------------------------------------------


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """Run the samplers: at N steps for every d, and at every N of the rates."""
    rates = settings["rate"]
    dims = np.array(settings["dims"])
    shape = (len(LAWS), len(INTERPOLANTS))
    by_dim = np.full((4, *shape, len(dims)), np.nan)
    by_steps = {feature: np.full((2, *shape, len(rates[feature]["steps"])), np.nan) for feature in RECOVERS}
    root = Stream(seed).child("dichotomy")
    jobs: list[
        tuple[np.ndarray, slice, tuple[str, ...], tuple[Any, ...]]
    ] = []  # (where the features go, which of them, for which interpolants, then the arguments of _features)
    for i, law in enumerate(LAWS):
        stream = root.child(law)
        for k, (dim, count) in enumerate(zip(settings["dims"], settings["samples"], strict=True)):
            work = (law, dim, settings["steps"], count, stream.child(dim))
            jobs.append((by_dim[:, i, :, k], slice(0, 4), INTERPOLANTS, work))
        for kept, (feature, out) in zip((slice(0, 2), slice(2, 4)), by_steps.items(), strict=True):
            rate = rates[feature]
            for k, n in enumerate(rate["steps"]):
                work = (law, rate["dim"], n, rate["samples"], stream.child(f"{feature} rate, judged").child(n))
                jobs.append((out[:, i, :, k], kept, RECOVERS[feature], work))
    for out, kept, names, work in progress(jobs, "dichotomy"):
        columns = [INTERPOLANTS.index(name) for name in names]
        out[:, columns] = _features(names, *work, settings)[kept]
    variables = ("weight", "weight_error", "spread", "spread_error")
    return xr.Dataset(
        {name: (("law", "interpolant", "dim"), by_dim[q]) for q, name in enumerate(variables)}
        | {
            f"{feature}{suffix}_by_steps": (("law", "interpolant", f"{feature}_steps"), out[q])
            for feature, out in by_steps.items()
            for q, suffix in enumerate(("", "_error"))
        },
        coords={"law": list(LAWS), "interpolant": list(INTERPOLANTS), "dim": dims} | _steps_axes(settings),
        attrs={"errors": "one standard error over trajectories"},
    )


def _features(
    names: tuple[str, ...], law: str, dim: int, steps: int, count: int, stream: Stream, settings: Mapping[str, Any]
) -> np.ndarray:
    """(weight, its error, spread, its error) × interpolant, over `count` trajectories on common noise."""
    target = _law(law, dim, settings)
    plus, variance = np.empty((len(names), count), dtype=bool), np.empty((len(names), count))
    flows = [Flow(_schedule(name, dim), target.denoise) for name in names]
    for start, z in noise_blocks(count, dim, stream):
        rows = slice(start, start + len(z))
        for j, flow in enumerate(flows):
            x = last(walk(flow, flow.start(z), grid(steps), Euler()))
            mean = x.mean(-1, keepdim=True)
            plus[j, rows] = (mean[:, 0] > 0).numpy()
            variance[j, rows] = (((x - mean) ** 2).sum(-1) / (dim - 1)).numpy()
    return np.stack([_summary(plus[j], variance[j]) for j in range(len(names))], axis=1)


def _summary(plus: np.ndarray, variance: np.ndarray) -> np.ndarray:
    count, pairs = len(plus), len(plus) // 2
    # Neighbouring strata, two by two: their squared differences estimate the variance inside strata, from above (collapsed
    # strata, Cochran 1977, section 5A.12). A count of n strata resolves no less than half a trajectory.
    inside_strata = np.sum((plus[: 2 * pairs : 2].astype(float) - plus[1 : 2 * pairs : 2]) ** 2)
    weight_error = max(math.sqrt(inside_strata) / count, 0.5 / count)
    inside = variance[plus] if plus.sum() > 1 else variance
    spread = math.sqrt(inside.mean())
    return np.array([plus.mean(), weight_error, spread, inside.std(ddof=1) / math.sqrt(len(inside)) / (2 * spread)])


# ---- judgement --------------------------------------------------------------------------------------------------------


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    claims = {claim.id: claim for claim in CLAIM}
    rows = []
    for law in LAWS:
        p, m = predicted.sel(law=law), measured.sel(law=law)
        rows += [
            _lost_weights(claims[f"A2-{law}-weights"], p, m),
            _rate(claims[f"A2-{law}-spread"], p, m, "spread", settings["rate"]["spread"]["samples"]),
            _rate(claims[f"A3-{law}-weights"], p, m, "weight", settings["rate"]["weight"]["samples"]),
            _lost_spread(claims[f"A3-{law}-spread"], p, m),
            _exact(claims[f"A23-{law}-exact"], p, m, law),
        ]
    return rows


def _lost_weights(claim: Claim, predicted: xr.Dataset, measured: xr.Dataset) -> Row:
    at = measured.isel(dim=-1).sel(interpolant=list(RECOVERS["spread"]))
    theory = float(predicted.weight.isel(dim=-1).sel(interpolant=list(RECOVERS["spread"])).min())
    errors, bars = np.abs(1 - at.weight.values), at.weight_error.values
    worst = decide(errors, LOST_MARGIN, bars)
    (k,) = worst.at
    return worst.row(
        claim,
        f"p̂ = {theory:.5f} at d = {int(at.dim)} (p = {float(predicted.weight_of_law):.3f})",
        f"p̂ = {float(at.weight[k]):.4f} ± {worst.bar:.4f} ({RECOVERS['spread'][k]})",
    )


def _rate(claim: Claim, predicted: xr.Dataset, measured: xr.Dataset, feature: str, count: int) -> Row:
    """Slope of log |feature − its value in the law| against log N, of the interpolant that decides.

    Its error bar by propagation from those at each N, over `count` trajectories and independent of each other (`measure`).
    """
    truth, asymptotic = float(predicted[f"{feature}_at_rate"]), float(predicted[f"{feature}_of_law"])
    x = np.log(measured[f"{feature}_steps"].values)
    x = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    slopes, bars, theory, texts = [], [], [], []
    for name in (names := RECOVERS[feature]):
        m, p = measured.sel(interpolant=name), predicted.sel(interpolant=name)
        gap = m[f"{feature}_by_steps"].values - truth
        bar = m[f"{feature}_error_by_steps"].values
        slopes.append(float(x @ np.log(np.abs(gap))))
        bars.append(float(np.sqrt(((x * bar / gap) ** 2).sum())))
        theory.append(float(x @ np.log(np.abs(p[f"{feature}_by_steps"].values - asymptotic))))
        texts.append(f"{name} {slopes[-1]:.3f} ± {bars[-1]:.3f}")
    decision = decide(np.abs(np.array(slopes) + 1), RATE_MARGIN, bars, k=np.maximum(2.0, student_k(count - 1)))
    return decision.row(
        claim,
        "exponent of N: −1; scalar maps at these N: " + ", ".join(f"{n} {s:.3f}" for n, s in zip(names, theory, strict=True)),
        "; ".join(texts),
    )


def _lost_spread(claim: Claim, predicted: xr.Dataset, measured: xr.Dataset) -> Row:
    """The share of the spread that is left where it shrinks, and of the output that is spread where it grows."""
    truth = float(predicted.spread_of_law)
    decade = math.log(float(measured.dim[-1] / measured.dim[-2]))
    left, bars, texts = [], [], []
    for name, sign in (("VE linear", 1), ("VE sqrt", -1)):
        at = measured.sel(interpolant=name)
        spread = at.spread.values
        left.append(float((spread[-1] / truth) ** sign))
        bars.append(left[-1] * float(at.spread_error[-1]) / float(spread[-1]))
        power = float(np.log(spread[-1] / spread[-2])) / decade
        texts.append(f"{name}: σ̂ = {spread[-1]:.4g} at d = {int(measured.dim[-1])}, over the last decade ∝ d^{power:.3f}")
    theory = predicted.isel(dim=-1)
    expected = ", ".join(f"{n}: {float(theory.spread.sel(interpolant=n)):.4g}" for n in ("VE linear", "VE sqrt"))
    return decide(left, SPREAD_MARGIN, bars).row(
        claim, f"σ = {truth:.4g}; {expected}; exponents −½ and ½ as d → ∞", "; ".join(texts)
    )


def _exact(claim: Claim, predicted: xr.Dataset, measured: xr.Dataset, law: str) -> Row:
    """Deviation from the scalar maps at the measured dimensions, of the case that decides."""
    theory = predicted.sel(dim=measured.dim.values, method="nearest")
    if law == "cw":
        large = measured.dim.values >= 1000
        error = np.abs(measured.spread.values / theory["spread"].values - 1)[:, large]
        bars = (measured.spread_error / measured.spread).values[:, large]
        if error.size == 0:
            return decide(math.nan, LIMIT_MARGIN).row(claim, "no dimension ≥ 1000 in this run", "—")
        worst = decide(error, LIMIT_MARGIN, bars)
        where = f"{INTERPOLANTS[worst.at[0]]}, d = {int(measured.dim.values[large][worst.at[1]])}"
        text = f"relative deviation of σ̂ that decides: {worst.error:.4f} ± {worst.bar:.4f} ({where})"
        return worst.row(claim, "0", text)
    scores = [np.abs((measured[n].values - theory[n].values) / measured[f"{n}_error"].values) for n in ("weight", "spread")]
    count, value = sum(score.size for score in scores), float(np.max(scores))
    margin = largest_score(count)
    text = f"largest deviation: {float(scores[0].max()):.2f} (weights), {float(scores[1].max()):.2f} (spread) standard errors"
    return decide(value, margin).row(claim, f"the largest of {count} below {margin:.2f} standard errors", text)


# ---- figure -----------------------------------------------------------------------------------------------------------


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    figure, axes = plt.subplots(2, 3, figsize=(11, 6))
    for column, law in enumerate(LAWS):
        p, m = predicted.sel(law=law), measured.sel(law=law)
        for row, feature in enumerate(("weight", "spread")):
            ax = axes[row, column]
            truth = float(p[f"{feature}_of_law"])
            for k, name in enumerate(INTERPOLANTS):
                a, b = p.sel(interpolant=name), m.sel(interpolant=name)
                ax.plot(a.dim, a[feature], color=f"C{k}", linestyle=LINES[k])
                bars = _bars(b[feature].values, b[f"{feature}_error"].values, 1.0 if feature == "weight" else math.inf)
                ax.errorbar(
                    b.dim, b[feature], bars, color=f"C{k}", marker=MARKERS[k], linestyle="", label=name, markersize=4, capsize=2
                )
            ax.axhline(truth, color="0.3", linewidth=2.5, alpha=0.45, zorder=0)
            ax.annotate("law", (m.dim[-1], truth), xytext=(0, 3), textcoords="offset points", ha="right", color="0.3")
            ax.set(xscale="log", xlabel="dimension d")
            ax.set_title(f"{LAWS[law]}: {'weights' if row == 0 else 'spread inside a mode'}")
        axes[0, column].set_ylabel("weight p̂ of the + mode")
        axes[1, column].set(yscale="log", ylabel="spread σ̂ of a coordinate")
    for row, feature in enumerate(RECOVERS):
        _draw_rate(axes[row, 2], predicted, measured, feature, settings["rate"][feature]["dim"])
    axes[0, 0].legend(title=f"N = {settings['steps']} Euler steps", loc="best")
    return figure


def _bars(value: np.ndarray, bar: np.ndarray, most: float) -> np.ndarray:
    """(2, points) lengths of error bars down and up, which end at 0 and at `most`."""
    return np.stack([np.minimum(bar, value), np.minimum(bar, most - value)])


def _draw_rate(ax: Axes, predicted: xr.Dataset, measured: xr.Dataset, feature: str, dim: int) -> None:
    steps = measured[f"{feature}_steps"]
    for law, fill in (("gm", "full"), ("cw", "none")):
        truth, asymptotic = (float(predicted[f"{feature}_{at}"].sel(law=law)) for at in ("at_rate", "of_law"))
        for name in RECOVERS[feature]:
            k = INTERPOLANTS.index(name)
            at = {"law": law, "interpolant": name}
            p, m = predicted.sel(at), measured.sel(at)
            ax.plot(steps, abs(p[f"{feature}_by_steps"] - asymptotic), color=f"C{k}", linestyle=LINES[k])
            ax.errorbar(
                steps, abs(m[f"{feature}_by_steps"] - truth), m[f"{feature}_error_by_steps"], color=f"C{k}", capsize=2,
                marker=MARKERS[k], linestyle="", fillstyle=fill, markersize=5, label=f"{name}, {LAWS[law]}",
            )  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(steps.values, [str(n) for n in steps.values])
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.set(xlabel="Euler steps N", ylabel="error |p̂ − p|" if feature == "weight" else "error |σ̂ − σ|")
    kept = "VE keeps the weights" if feature == "weight" else "VP keeps the spread"
    ax.set_title(f"{kept}: error ∝ 1/N (d = {dim})")
    low, high = ax.get_ylim()
    ax.set_ylim(low / 4, high)  # room for the legend below the points
    ax.legend(fontsize="x-small", loc="lower left")
