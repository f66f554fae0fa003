"""Many steps against a tight window: the floor that ε leaves, where a wide global schedule passes below it, and an ε(N)
without.

A window for ε costs the extreme frequencies ε/2 of log-spread at each end, however many steps there are inside; the steps cost
less and less. So at a fixed ε a per-image schedule stops improving while a wider one goes on (Esteves and Makadia, arXiv
2603.19222, report a slight loss at many steps). Balancing the two removes the crossover. Derivations ours:

    log-uniform   Steps lose Λ/(8N) at each frequency (`testbed.mean_speed`), Λ = log(P_max/P_min) + 2 logit(1 − ε) the length
                  of the window in λ. d/dε of Λ/(8N) + ε/2 = −1/(4Nε(1 − ε)) + ½ = 0 gives, for small ε,         ε(N) = 1/(2N).
    geodesic      An end of the window is a step too: of the angle asin √ε in the extreme frequency, at the loss ε/2 = ½Δθ².
                  It is balanced when as long as the others, √ε = L/N. Where the two extreme frequencies are decided one after
                  the other, each through a quarter circle, L = π/2 + π/2, so                            ε(N) = (π/N)².

The first falls slower because a log-uniform window pays for its length: an end that goes further takes steps from all
frequencies. The mixed shape is stretched to the window like a log-uniform one, so the first rule is tried on it.

Changed after a first look: T4-floor moved to more steps, and T4-crossover counts only crossings above 5 %.
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

from synthetic import testbed
from synthetic.testbed import GLOBAL, METRIC_NAMES, METRICS, Field
from theory import bound
from theory.ledger import Claim, Row, decide
from theory.record import LINES, MARKERS

PAPER = "arXiv 2603.19222, abstract (tight schedules; their loss at many steps); floor, crossover and ε(N) ours"
OURS = "ours"
FIELDS = "fields R ∝ f^−b of pixel variance ¼, DDIM"
SHAPES = ("geodesic", "geodesic, spread", "log-uniform, window", "mixed")
SHORT = {"geodesic": "geodesic", "geodesic, spread": "spread", "log-uniform, window": "log-uniform", "mixed": "mixed"}
METRIC_OF = {"geodesic, spread": "log_spectrum"}  # what the shape is made for; W₂² for the others
LARGEST = 0.25  # of ε(N), for very few steps: at ½ the window of a single variance would be empty

CLAIM = (
    Claim("T4-floor", OURS, "at a fixed ε and many steps the error is that of the window's two ends", f"{FIELDS}, W₂²"),
    Claim("T4-crossover", PAPER, "at a fixed ε a global schedule passes below the geodesic at some N tried", f"{FIELDS}, W₂²"),
    *(
        Claim(
            f"T4-rule-{SHORT[shape]}", OURS, f"{shape} at ε(N) errs at most 10 % more than at the best ε for that N",
            f"{FIELDS}, {METRIC_NAMES[METRIC_OF.get(shape, 'wasserstein')]}, every b and N; ε(N) = "
            + ("(π/N)²" if shape.startswith("geodesic") else "1/(2N)"),
        )
        for shape in SHAPES
    ),
    Claim("T4-removed", OURS, "the geodesic at ε(N) is at most 5 % above the best global schedule", f"{FIELDS}, W₂², N ≥ 8"),
    Claim("T4-rate", OURS, "at ε(N) the W₂² of the geodesic goes on falling as N^−2", f"{FIELDS}, the largest two N"),
)  # fmt: skip

FLOOR_MARGIN = 0.1  # relative: the steps still add a few percent, Λ/(8N) beside ε/2
RULE_MARGIN = 1.1  # ratio of errors: less than what 10 % more steps would gain
REMOVED_MARGIN = 1.05  # ratio of errors: below what distinguishes any two schedules here
RATE_MARGIN = 0.1  # on the exponent −2 of N


def balanced(shape: str, evaluations: int) -> float:
    """ε(N) of a shape, see the top of this module."""
    return min(LARGEST, (math.pi / evaluations) ** 2 if shape.startswith("geodesic") else 1 / (2 * evaluations))


def _fields(settings: Mapping[str, Any]) -> list[Field]:
    return [Field.power_law(settings["size"], slope, settings["variance"]) for slope in settings["slopes"]]


def _coordinates(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"shape": list(SHAPES), "slope": settings["slopes"], "steps": settings["steps"], "metric": list(METRICS)}


# ---- prediction -------------------------------------------------------------------------------------------------------


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """The floor of each field from the two deficits; errors at the fixed ε and at ε(N) to first order (mean speed and ends)."""
    fields, steps, epsilon = _fields(settings), settings["steps"], settings["epsilon"]
    floor = np.array([testbed.errors(field, field.power * (1 - _deficit(field, epsilon))) for field in fields])
    shape = (len(SHAPES), len(fields), len(steps), len(METRICS))
    fixed, rule = np.empty(shape), np.empty(shape)
    for (i, name), (j, field), (k, count) in itertools.product(enumerate(SHAPES), enumerate(fields), enumerate(steps)):
        for out, value in ((fixed, epsilon), (rule, balanced(name, count))):
            made = testbed.schedule_for(name, field, count, value)
            lost = testbed.rule_losses(field, made, count)
            out[i, j, k] = testbed.errors(field, field.power * np.exp(-2 * lost))
    axes = ("shape", "slope", "steps", "metric")
    balance = [[balanced(name, count) for count in steps] for name in SHAPES]
    return xr.Dataset(
        {
            "floor": (("slope", "metric"), floor),
            "fixed": (axes, fixed),
            "rule": (axes, rule),
            "epsilon": (("shape", "steps"), balance),
        },
        coords=_coordinates(settings),
    )


def _deficit(field: Field, epsilon: float) -> np.ndarray:
    deficit: np.ndarray = bound.both_deficits(field.power, *bound.noise_window(field.power[field.used], epsilon))
    return deficit


# ---- measurement ------------------------------------------------------------------------------------------------------


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """Exact walks, ring by ring: at the fixed ε, at ε(N), at every ε of a scan, and of the global schedules. Nothing random."""
    fields, steps = _fields(settings), settings["steps"]
    scan = np.geomspace(settings["scan"]["least"], LARGEST, settings["scan"]["count"])
    shape = (len(SHAPES), len(fields), len(steps), len(METRICS))
    fixed, rule, best, where = (np.empty(shape) for _ in range(4))
    known = np.empty((len(GLOBAL), len(fields), len(steps), len(METRICS)))
    for (j, field), (k, count) in itertools.product(enumerate(fields), enumerate(steps)):
        for i, name in enumerate(SHAPES):
            fixed[i, j, k], rule[i, j, k] = (
                _errors(name, field, count, e) for e in (settings["epsilon"], balanced(name, count))
            )
            found = np.array([_errors(name, field, count, float(value)) for value in scan])
            best[i, j, k], where[i, j, k] = np.minimum(found.min(0), rule[i, j, k]), scan[found.argmin(0)]
        for i, name in enumerate(GLOBAL):
            known[i, j, k] = _errors(name, field, count, settings["epsilon"])
    axes = ("shape", "slope", "steps", "metric")
    last = np.array([_errors("geodesic", field, settings["floor_steps"], settings["epsilon"]) for field in fields])
    return xr.Dataset(
        {
            "last": (("slope", "metric"), last, {"long_name": "errors of the geodesic at the fixed ε and floor_steps steps"}),
            "fixed": (axes, fixed, {"long_name": "errors at the fixed ε"}),
            "rule": (axes, rule, {"long_name": "errors at ε(N)"}),
            "best": (axes, best, {"long_name": "least errors over ε"}),
            "best_epsilon": (axes, where),
            "known": (("global", *axes[1:]), known, {"long_name": "errors of the global schedules"}),
        },
        coords={**_coordinates(settings), "global": list(GLOBAL)},
    )


def _errors(name: str, field: Field, count: int, epsilon: float) -> np.ndarray:
    walked = testbed.levels(testbed.schedule_for(name, field, count, epsilon), count)
    return testbed.errors(field, testbed.ddim_variance(field.power, walked))


# ---- judgement --------------------------------------------------------------------------------------------------------


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    claims = {claim.id: claim for claim in CLAIM}
    square = measured.sel(metric="wasserstein")
    best_global = square.known.min("global")
    rows = [_floor(claims["T4-floor"], predicted, square, settings), _crossover(claims["T4-crossover"], square, best_global)]
    for shape in SHAPES:
        m = measured.sel(shape=shape, metric=METRIC_OF.get(shape, "wasserstein"))
        ratio = m.rule / m.best
        value = float(ratio.max())
        b, n = _place(ratio)
        best = ", ".join(f"{float(e):.2g}" for e in m.best_epsilon.sel(slope=2.0, method="nearest"))
        text = (
            f"largest ratio {value:.3f} (b = {b:g}, N = {n}), median {float(ratio.median()):.3f}; best ε at b nearest 2: {best}"
        )
        expected = "ε(N) = " + ", ".join(f"{float(e):.2g}" for e in predicted.epsilon.sel(shape=shape))
        rows.append(decide(value, RULE_MARGIN).row(claims[f"T4-rule-{SHORT[shape]}"], expected, text))
    few = square.rule.sel(shape="geodesic") / best_global
    few = few.sel(steps=few.steps[few.steps >= 8])
    value, (b, n) = float(few.max()), _place(few)
    text = f"largest ratio {value:.3f} (b = {b:g}, N = {n}); at N = {int(few.steps[-1])}: {float(few.isel(steps=-1).max()):.3f}"
    rows.append(decide(value, REMOVED_MARGIN).row(claims["T4-removed"], "ratio below 1", text))
    return [*rows, _rate(claims["T4-rate"], square)]


def _place(ratio: xr.DataArray) -> tuple[float, int]:
    """(b, N) of the largest value."""
    i, j = np.unravel_index(
        int(ratio.transpose("slope", "steps").values.argmax()), (ratio.sizes["slope"], ratio.sizes["steps"])
    )
    return float(ratio.slope[i]), int(ratio.steps[j])


def _floor(claim: Claim, predicted: xr.Dataset, square: xr.Dataset, settings: Mapping[str, Any]) -> Row:
    last, count = square["last"], settings["floor_steps"]
    floor = predicted.floor.sel(metric="wasserstein")
    gap = np.abs(last / floor - 1)
    value, worst = float(gap.max()), int(gap.values.argmax())
    text = f"W₂²/total power at N = {count}: {float(last[worst]):.4g} (b = {float(gap.slope[worst]):g})"
    return decide(value, FLOOR_MARGIN).row(claim, f"{float(floor[worst]):.4g} at ε = {settings['epsilon']:g}", text)


def _crossover(claim: Claim, square: xr.Dataset, best_global: xr.DataArray) -> Row:
    """How many slopes never see the crossing."""
    ratio = square.fixed.sel(shape="geodesic") / best_global
    texts, missing = [], 0
    for row in ratio:
        late = [int(n) for n in row.steps[row.values > REMOVED_MARGIN] if n >= 8]
        missing += not late
        texts.append(f"b = {float(row.slope):g}: " + (f"N = {late[0]}" if late else "none"))
    text = "first N ≥ 8 where a global schedule is better by 5 %: " + ", ".join(texts)
    return decide(float(missing), 0.0).row(claim, "a crossing at every slope", text)


def _rate(claim: Claim, square: xr.Dataset) -> Row:
    pair = square.isel(steps=[-2, -1]).sel(shape="geodesic")
    octaves = float(np.log(pair.steps[1] / pair.steps[0]))
    rates = {key: np.log(pair[key][:, 1] / pair[key][:, 0]) / octaves for key in ("rule", "fixed")}
    gap = float(np.abs(rates["rule"] + 2).max())
    text = f"exponents at ε(N): {float(rates['rule'].min()):.3f} to {float(rates['rule'].max()):.3f}; "
    text += f"at the fixed ε: {float(rates['fixed'].min()):.3f} to {float(rates['fixed'].max()):.3f}"
    return decide(gap, RATE_MARGIN).row(claim, "−2; 0 at the fixed ε", text)


# ---- figure -----------------------------------------------------------------------------------------------------------


LOOK: dict[str, dict[str, Any]] = {  # colour and marker of a schedule in every panel; hollow: at the fixed ε
    shape: {"color": f"C{k}", "marker": MARKERS[k]} for k, shape in enumerate((*SHAPES, "best global"))
}


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6))
    slope = min(settings["slopes"], key=lambda value: abs(value - 2.6))
    _draw_errors(axes[0], predicted, measured, settings, slope)
    n = measured.steps.values
    for k, shape in enumerate(SHAPES):
        line = measured.sel(shape=shape, metric=METRIC_OF.get(shape, "wasserstein"), slope=slope)
        axes[1].plot(n, line.best_epsilon, **LOOK[shape], linestyle="", markersize=4, label=shape)
        axes[2].plot(n, line.rule / line.best, **LOOK[shape], linestyle=LINES[k], linewidth=0.8, markersize=4, label=shape)
    for formula, shape, dash, place in (("(π/N)²", "geodesic", "-", (-34, -10)), ("1/(2N)", "mixed", "--", (0, 9))):
        rule = predicted.epsilon.sel(shape=shape)
        axes[1].plot(n, rule, color="0.3", linestyle=dash, zorder=0)
        middle = (math.sqrt(n[-2] * n[-1]), math.sqrt(rule[-2] * rule[-1]))
        axes[1].annotate(formula, middle, xytext=place, textcoords="offset points", color="0.3")
    axes[1].set(ylabel="best ε", title="the best window, and the rules")
    axes[1].legend(fontsize="x-small", loc="lower left")
    axes[2].axhline(RULE_MARGIN, color="0.3", linewidth=2.5, alpha=0.45, zorder=0)
    axes[2].set(ylabel="error at ε(N)/error at the best ε", title="what the rules cost")
    axes[2].legend(fontsize="x-small", loc="upper right")
    for ax in axes:
        ax.set(xscale="log", xlabel="evaluations N")
    for ax in axes[:2]:
        ax.set_yscale("log")
    return figure


def _draw_errors(ax: Axes, predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any], slope: float) -> None:
    at = {"slope": slope, "metric": "wasserstein"}
    p, m = predicted.sel(at), measured.sel(at)
    n = m.steps.values
    for key, shape, fill, label in (
        ("fixed", "geodesic", "none", f"geodesic, ε = {settings['epsilon']:g}"), ("rule", "geodesic", "full", "geodesic, ε(N)"),
        ("rule", "log-uniform, window", "full", "log-uniform, window, ε(N)"),
    ):  # fmt: skip
        dash = ":" if key == "fixed" else LINES[SHAPES.index(shape)]
        ax.plot(n, p[key].sel(shape=shape), color=LOOK[shape]["color"], linestyle=dash)
        ax.plot(n, m[key].sel(shape=shape), **LOOK[shape], fillstyle=fill, linestyle="", markersize=4, label=label)
    ax.plot(n, m.known.min("global"), **LOOK["best global"], markersize=4, linestyle="", label="best global at each N")
    ax.plot(n, m.known.min("global"), color="0.75", linewidth=0.8, linestyle="-", zorder=0)
    ax.axhline(float(p.floor), color="0.3", linewidth=2.5, alpha=0.45, zorder=0)
    ax.annotate("floor", (n[0], float(p.floor)), xytext=(0, 3), textcoords="offset points", color="0.3")
    ax.set(ylabel="W₂²/total power", title=f"{settings['size']} px, b = {slope:g}")
    ax.legend(fontsize="x-small")
