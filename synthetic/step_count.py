"""How many Euler steps paper A's interpolants need, against the dimension: constant denoising and the clocks (A6 of the paper).

Two-mode Gaussian mixture, exact posterior mean; the output's law is exact at every d (`theory.reduction`). N_ε under constant
denoising is counted on the feature the interpolant loses, the weights for VP and the spread inside a mode for VE; with a clock
it is counted on both. Prediction, where theory has one, from the limits d → ∞ at N = x√d (VP, VE linear) or N = x·d (VE sqrt):
scalar maps and closed forms of `theory.limit`, which this measurement does not call.

Ranges changed after a first look, margins not: VP starts at d = 500 and the clocks at 10⁴, and VE's linear clock is judged only
where ε is at least three times its κ floor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import optimize

from theory import growth, limit
from theory.ledger import Claim, Row, decide, student_k
from theory.progress import progress
from theory.record import LINES, MARKERS
from theory.reduction import Line
from theory.sampler import Euler
from theory.schedule import Schedule, variance_exploding_flow, variance_preserving_flow

PAPER = "arXiv 2501.00988, complexity of constant denoising and of the clocks"
LOSES = {"VP": ("weight",), "VE": ("across",)}
BOTH = ("weight", "across")


@dataclass(frozen=True)
class Variant:
    """An interpolant of paper A, with its clock or without, and the exponent of d that the paper claims for it."""

    noise: str
    form: str
    clock: bool

    @property
    def name(self) -> str:
        return f"{self.noise} {self.form}" + (", clock" if self.clock else "")

    @property
    def features(self) -> tuple[str, ...]:
        return BOTH if self.clock else LOSES[self.noise]

    @property
    def claimed(self) -> float:
        return 0.0 if self.clock else 0.5

    def schedule(self, dim: float, kappa: float) -> Schedule:
        make = variance_preserving_flow if self.noise == "VP" else variance_exploding_flow
        return make(self.form, dim, kappa if self.clock else None)  # type: ignore[arg-type]


VARIANTS = tuple(
    Variant(n, f, c) for c in (False, True) for n, f in (("VP", "sqrt"), ("VP", "linear"), ("VE", "linear"), ("VE", "sqrt"))
)
MARGIN = 0.02  # on an exponent of d: the paper's ½ and 0 are exact in the limit; 5 % per decade is the most that counts as 0


FLOORS = 3.0  # an ε this many times the floor of the clock leaves N two thirds of the error to spend


def _claim(variant: Variant) -> Claim:
    what = "the clock needs Θ(1) steps" if variant.clock else "constant denoising needs Θ(√d) steps"
    number = "clock" if variant.clock else "constant"
    on = " and ".join({"weight": "the weights", "across": "the spread inside a mode"}[f] for f in variant.features)
    where = f"every ε of config that is {FLOORS:g} times the floor of κ or more" if _has_floor(variant) else "every ε of config"
    return Claim(
        f"A6-steps-{number}-{variant.noise}-{variant.form}",
        PAPER,
        f"{variant.noise}, {variant.form} form: {what}",
        f"Gaussian mixture, Euler, steps for ε on {on}; {where}; d ≫ κ²",
    )


def _has_floor(variant: Variant) -> bool:
    """Whether a finite κ leaves a relative error that no number of steps removes and that these ε come near."""
    return variant.name == "VE linear, clock"


CLAIM = tuple(_claim(variant) for variant in VARIANTS)


# ---- prediction -------------------------------------------------------------------------------------------------------


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """N_ε/d^a as d → ∞ under constant denoising, and a; NaN with the clocks, where the constant is not predicted."""
    epsilons = settings["epsilons"]
    ratio, power = np.full((len(VARIANTS), len(epsilons)), np.nan), np.zeros(len(VARIANTS))
    for i, variant in enumerate(VARIANTS):
        if not variant.clock:
            power[i] = 1.0 if variant.name == "VE sqrt" else 0.5
            ratio[i] = [_ratio(variant, epsilon, settings) for epsilon in epsilons]
    return xr.Dataset(
        {"steps_per_power": (("variant", "epsilon"), ratio), "power": ("variant", power)},
        coords={"variant": [v.name for v in VARIANTS], "epsilon": epsilons},
    )


def _ratio(variant: Variant, epsilon: float, settings: Mapping[str, Any]) -> float:
    square = settings["spread"] ** 2
    if variant.name == "VE linear":  # a = σ²N²/d
        a = optimize.brentq(lambda a: limit.exploding_linear_ratio(a) - (1 - epsilon), 0.26, 1e4)
        return math.sqrt(a / square)
    if variant.name == "VE sqrt":  # a = σ²N/d
        a = optimize.brentq(lambda a: limit.exploding_sqrt_ratio(a) - (1 + epsilon), 1e-3, 80.0)
        return float(a) / square
    # VP: a window of 40 units of κ, far beyond the last decision, in n steps; N = n√d/40, resolution 1/40.
    window, heavy = 40.0, max(settings["weight"], 1 - settings["weight"])
    steps = 1

    def error(n: int) -> float:
        return abs(limit.window_weight(n, window, settings["mean"], heavy) - heavy) / heavy

    while error(steps) > epsilon:
        steps *= 2
    low, high = steps // 2, steps
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if error(middle) <= epsilon else (middle, high)
    return high / window


# ---- measurement ------------------------------------------------------------------------------------------------------


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """N_ε of every variant; nothing is random, so `seed` is not used."""
    epsilons = settings["epsilons"]
    dims = sorted({float(d) for group in settings["dims"].values() for d in group})
    needed = np.full((len(VARIANTS), len(dims), len(epsilons)), np.nan)
    exponent, error = np.full((2, len(VARIANTS), len(epsilons)), np.nan)
    best = np.full((len(VARIANTS), len(epsilons)), "too few", dtype=object)
    together = sorted({(_group(v), v.features) for v in VARIANTS})  # those with common grids and features share their ladder
    for name, features in progress(together, "step_count"):
        chosen = [i for i, v in enumerate(VARIANTS) if (_group(v), v.features) == (name, features)]
        group = settings["dims"][name]
        cases = [case for i in chosen for case in _cases(VARIANTS[i], group, settings)]
        ladder = growth.ladder(Euler(), cases, settings["cap"][name], min(epsilons), features, quick=False)
        for j, epsilon in enumerate(epsilons):
            steps = growth.steps_needed(Euler(), cases, ladder, epsilon, features).reshape(len(chosen), -1)
            needed[np.ix_(chosen, [dims.index(float(d)) for d in group], [j])] = steps[..., None]
            for i, row in zip(chosen, steps, strict=True):
                fit = growth.fit_growth(np.array(group), row)
                exponent[i, j], error[i, j], best[i, j] = fit.exponent, fit.exponent_error, fit.best
    return xr.Dataset(
        {
            "steps": (("variant", "dim", "epsilon"), needed, {"long_name": "N_ε; NaN: not asked, or over half of the cap"}),
            "exponent": (("variant", "epsilon"), exponent),
            "exponent_error": (("variant", "epsilon"), error, {"long_name": "one standard error of the fit"}),
            "best": (("variant", "epsilon"), best.astype(str)),
        },
        coords={"variant": [v.name for v in VARIANTS], "dim": dims, "epsilon": epsilons},
    )


def _cases(variant: Variant, dims: list[float], settings: Mapping[str, Any]) -> list[growth.Case]:
    return growth.along_dimension(
        lambda d: variant.schedule(d, settings["kappa"]),
        lambda d: Line.two_modes(d, settings["weight"], settings["mean"], settings["spread"]),
        dims,
    )


def _group(variant: Variant) -> str:
    """Which dimensions and which cap of the settings: by the feature that is counted, and by how fast N grows."""
    if variant.clock:
        return "clock_proportional" if variant.name == "VE sqrt, clock" else "clock"
    return {"VE sqrt": "spread_proportional", "VE linear": "spread"}.get(variant.name, "weights")


# ---- judgement --------------------------------------------------------------------------------------------------------


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    return [_row(claim, variant, predicted, measured, settings) for claim, variant in zip(CLAIM, VARIANTS, strict=True)]


def _row(claim: Claim, variant: Variant, predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Row:
    """The exponent over ε that decides. An ε near the floor of κ is only reported; too few points to fit are undecided.

    The bar of an exponent is that of a line through n points, so it counts Student's k of n − 2.
    """
    at = measured.sel(variant=variant.name)
    a, bar, points = at.exponent.values, at.exponent_error.values, np.isfinite(at.steps).sum("dim").values
    theory = f"claimed exponent {variant.claimed}; ours {float(predicted.power.sel(variant=variant.name)):g}"
    texts = [
        f"ε = {e:g}: " + (f"{x:.3f} ± {b:.3f} ({n} points)" if np.isfinite(x) else "too few points")
        for e, x, b, n in zip(measured.epsilon.values, a, bar, points, strict=True)
    ]
    floor = 1 - limit.exploding_clock_floor(settings["spread"] ** 2, settings["kappa"]) if _has_floor(variant) else 0.0
    if floor:
        theory += f"; κ leaves a floor of {floor:.3f}"
    judged = measured.epsilon.values >= FLOORS * floor
    if not judged.any():
        return decide(math.nan, MARGIN).row(claim, theory, "; ".join(texts))
    gaps = np.abs(a - variant.claimed)[judged]
    return decide(gaps, MARGIN, bar[judged], k=student_k(points[judged] - 2)).row(claim, theory, "; ".join(texts))


# ---- figure -----------------------------------------------------------------------------------------------------------


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
    for ax, clock in zip(axes, (False, True), strict=True):
        for k, variant in enumerate(v for v in VARIANTS if v.clock == clock):
            _draw_variant(ax, variant, k, predicted, measured)
        ax.set(xscale="log", yscale="log", xlabel="dimension d")
        ax.set_title(f"paper A's clocks, κ = {settings['kappa']:g}" if clock else "constant denoising")
        ax.legend(fontsize="small")
    axes[0].set_ylabel("Euler steps N")
    return figure


def _draw_variant(ax: Axes, variant: Variant, k: int, predicted: xr.Dataset, measured: xr.Dataset) -> None:
    at, theory = measured.sel(variant=variant.name), predicted.sel(variant=variant.name)
    for j, epsilon in enumerate(measured.epsilon.values):
        kept = np.isfinite(at.steps.values[:, j])
        d, n = at.dim.values[kept], at.steps.values[kept, j]
        label = (
            f"{variant.name.removesuffix(', clock')}: {', '.join(variant.features).replace('across', 'spread')}"
            if j == 0
            else None
        )
        full = "full" if j == 0 else "none"
        ax.plot(d, n, color=f"C{k}", marker=MARKERS[k], linestyle="", markersize=5 - j, fillstyle=full, label=label)
        if np.isfinite(theory.steps_per_power.values[j]):
            ax.plot(
                d, theory.steps_per_power.values[j] * d ** float(theory.power), color=f"C{k}", linestyle=LINES[k], linewidth=1
            )
        elif len(d):
            ax.plot(d, n, color="0.6", linestyle="-", linewidth=0.4, zorder=0)  # joins the points, predicts nothing
        if k == 0 and len(d):
            ax.annotate(f"{100 * epsilon:g} %", (d[-1], n[-1]), xytext=(5, -3), textcoords="offset points", fontsize="x-small")
