"""The complexity atlas on Curie-Weiss (arXiv 2501.00988, second model): schedules × integrators × d × J, exact posterior mean.

Features: for J > 1 the weight of the "+" mode, the mean of M and the spread of a coordinate inside it; for J ≤ 1, where the
law has one mode, the root mean square of M and the spread: all at the law's own d. Walked in groups of equal coordinates,
which is the exact posterior mean at any d (`theory.occupation`, `synthetic.spin_walks`). Real samplers in all d coordinates
confirm the groups up to d = 10⁵ and give the fluctuations √d·std(M) inside a mode.

Prediction: p̂ and the spread by the scalar maps of `theory.limit` (Euler), and N_ε of the Gaussian mixture that has the same
two modes, ±m*√d along u and √(1 − m*²) wide (`theory.growth`). Growth expected as for that mixture (`synthetic.atlas`).

Changed after a first look: growth is fitted from d = 10³ on, as below it weight and spread take turns, and to 10⁶ where N_ε
is flat; J ≤ 1 went from a few real trajectories to random groups; real samplers are compared in the "+" mode, which the
groups resolve; the rows at J = 1 itself were split off S7 once J = 3 had decided it for the geodesic. Margins did not move.
S8 was judged with DPM-Solver++(2M) alone, because DDIM's .85 ± .04 lay on the margin, and on the mean of three signed errors;
now every integrator has a row, decided by one schedule.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from scipy import special

from synthetic import magnetisation, spins_figure
from synthetic.spin_walks import (
    FEATURES,
    SCHEDULES,
    Spins,
    compiled,
    defined,
    law_scales,
    relative_errors,
    sampled,
    schedules,
    walked,
)  # fmt: skip
from theory import growth, limit
from theory.curie_weiss import CurieWeiss
from theory.growth import Case
from theory.ledger import Claim, Row, decide, student_k
from theory.progress import progress
from theory.reduction import Line
from theory.sampler import STEPS, Euler, grid
from theory.stream import Stream

PAPER = "arXiv 2501.00988, complexity on the Curie-Weiss model"
OURS = "derivation: ours"
LAW = "Curie-Weiss, J and h of config, exact posterior mean, N_ε on weight, mean and spread of a mode, d ≥ 10³"
TABLE = "Curie-Weiss, exact posterior mean, N of config, every d"
S8 = {  # the claim by integrator; the first was the only one at first
    "S8-fluctuations": "DPM-Solver++(2M)", "S8-fluctuations-DDIM": "DDIM", "S8-fluctuations-Euler": "Euler",
}  # fmt: skip
CLAIM = (
    Claim("S1-constant", PAPER, "constant denoising (VP, both forms) needs N_ε ∝ √d", f"{LAW}; linear Euler, square root DDIM"),
    Claim("S1-ve", PAPER, "constant denoising (VE, linear form) needs N_ε ∝ √d, for the spread", f"{LAW}; Euler"),
    Claim("S2-clocks", PAPER, "N_ε does not grow with d under the clocks", f"{LAW}; VP and VE linear forms, Euler"),
    Claim("S3-geodesic", OURS, "N_ε of the geodesic of the law's two variances does not grow with d", f"{LAW}; DDIM"),
    Claim("S3-log-uniform", OURS, "N_ε of log-uniform levels grows as the log of their range", f"{LAW}; DDIM, both ends of d"),
    Claim(
        "S4-mixture",
        OURS,
        "N_ε is that of the Gaussian mixture with the same two modes",
        f"{LAW}; every schedule and integrator where both are found, powers of ten",
    ),
    Claim("S5-weight", OURS, "p̂ of the exact sampler is the two-mode scalar map's", f"{TABLE} ≥ 10³, J > 1, Euler"),
    Claim("S5-spread", OURS, "the spread inside a mode is that of the mean-field map", f"{TABLE} ≥ 10³, J > 1, Euler"),
    Claim(
        "S6-real",
        OURS,
        "samplers in all d coordinates do what groups of equal coordinates do",
        "J of config, every integrator, d to 10⁵, same u·z; M in the + mode in its standard deviations, largest of all",
    ),
    Claim(
        "S7-clocks",
        OURS,
        "the clocks pass through J = 1: every feature within 10 % on both sides and at it",
        f"{TABLE} and J; VP and VE linear clocks, DPM-Solver++(2M)",
    ),
    Claim(
        "S7-geodesic",
        OURS,
        "the geodesic passes through J = 1: every feature within 10 % on both sides and at it",
        f"{TABLE} and J; DPM-Solver++(2M)",
    ),
    Claim(
        "S7-critical-clocks",
        OURS,
        "at J = 1 itself, where |M| is of order d^−¼, the clocks keep every feature within 10 %",
        f"{TABLE}; VP and VE linear clocks, DPM-Solver++(2M)",
    ),
    Claim("S7-critical-geodesic", OURS, "at J = 1 itself the geodesic does", f"{TABLE}; DPM-Solver++(2M)"),
    Claim("S7-log-uniform", OURS, "so do log-uniform levels", f"{TABLE} and J; DPM-Solver++(2M)"),
    Claim("S7-constant", OURS, "so does constant denoising (VP linear form)", f"{TABLE} and J; DPM-Solver++(2M)"),
    *(
        Claim(
            name,
            OURS,
            f"with {method} the geodesic and the linear clocks keep the fluctuations √d·std(M) inside a mode within 15 %",
            f"Curie-Weiss, J, h, d and N of config, {method}, real samplers; each of the three schedules",
        )
        for name, method in S8.items()
    ),
)  # fmt: skip
MARGINS = {
    "S1": 0.05,  # half-way to .45 and .55, which nothing in the atlas has; five points
    "S2": 0.05,
    "S3": 0.05,
    "S3-log": 0.1,
    "S4": 0.25,
    "S5-weight": 0.01,  # the bracket of p̂ is 2e-3 wide
    "S5-spread": 0.03,  # as in dichotomy: the map is the limit d → ∞
    "S6": 5.0,  # the largest of some hundred normals is 3; groups add up to 1 at d = 10⁵
    "S7": 0.1,
    "S8": 0.15,  # as in recovery: a hundred trajectories know a standard deviation to 7 %
}  # fmt: skip
CONFIRMED = ("geodesic", "VP linear clock", "VE linear clock", "log-uniform")
KEEP = ("geodesic", "VP linear clock", "VE linear clock")


def _law(settings: Mapping[str, Any], dim: float, coupling: float | None = None) -> CurieWeiss:
    return CurieWeiss(int(dim), coupling or settings["coupling"], settings["field"])


def _told(settings: Mapping[str, Any], law: CurieWeiss) -> dict[str, Any]:
    return schedules(law, settings["window"], settings["kappa"])


# ---- prediction -------------------------------------------------------------------------------------------------------


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """The law's features; N_ε of the mixture with the same modes; p̂ and spread of Euler by scalar maps; windows' ranges."""
    couplings, dims = settings["couplings"], settings["dims"]
    truth = np.array([[list(Spins(_law(settings, d, j)).truth.values()) for d in dims] for j in couplings])
    maps = np.full((2, len(couplings), len(SCHEDULES), len(dims)), np.nan)
    for (i, coupling), (k, dim) in itertools.product(enumerate(couplings), enumerate(dims)):
        law = _law(settings, dim, coupling)
        for j, schedule in enumerate(_told(settings, law).values()):
            if coupling > 1 and dim >= settings["fit_from"] and defined(Euler(), schedule):
                maps[:, i, j, k] = _scalar_maps(law, schedule, settings["steps"])
    return xr.Dataset(
        {
            "truth": (("coupling", "dim", "feature"), truth),
            "log_range": ("growth_dim", _log_ranges(settings)),
            "mixture_steps": (("integrator", "schedule", "dim"), _mixture_steps(settings)),
            "map_weight": (("coupling", "schedule", "dim"), maps[0]),
            "map_spread": (("coupling", "schedule", "dim"), maps[1]),
        },
        coords={
            "coupling": couplings, "dim": dims, "feature": list(FEATURES), "schedule": list(SCHEDULES),
            "integrator": settings["methods"],
            "growth_dim": _growth_dims(settings),
        },
    )  # fmt: skip


def _log_ranges(settings: Mapping[str, Any]) -> list[float]:
    """log(ς_max/ς_min) of the windows at the dimensions of the growth laws."""
    scales = [law_scales(_law(settings, d), settings["window"]) for d in _growth_dims(settings)]
    return [math.log(s.noise_max / s.noise_min) for s in scales]


def _growth_dims(settings: Mapping[str, Any]) -> list[int]:
    return sorted({dim for entry in settings["growth"] for dim in entry["dims"]})


def _scalar_maps(law: CurieWeiss, schedule: Any, steps: int) -> tuple[float, float]:
    model = limit.TwoModes.curie_weiss(law.dim, law.coupling, law.field)
    try:
        weight = limit.weight_plus(model, schedule, grid(steps))
    except ArithmeticError:  # not monotone along u: N too small for the schedule, and p̂ no single quantile
        weight = math.nan
    return weight, limit.curie_weiss_mode(law.coupling, law.field, schedule, grid(steps), +1, nodes=2001).spread


def _mixture_steps(settings: Mapping[str, Any]) -> np.ndarray:
    """N_ε (integrator, schedule, dim) of the Gaussian mixture with modes ±m*√d of spread √(1 − m*²)."""
    epsilon, demanded, cases = settings["epsilon"], ("weight", "mean", "across"), []
    for dim in settings["dims"]:
        law = _law(settings, dim)
        model = limit.TwoModes.curie_weiss(dim, law.coupling, law.field)
        line = Line.two_modes(dim, model.weight, model.mean, model.spread)
        cases += [Case(schedule, line) for schedule in _told(settings, law).values()]
    needed = []
    for method in settings["methods"]:
        step = STEPS[method]()
        ladder = growth.ladder(step, cases, settings["cap"], epsilon, demanded)
        needed.append(growth.steps_needed(step, cases, ladder, epsilon, demanded).reshape(-1, len(SCHEDULES)).T)
    return np.array(needed)


# ---- measurement ------------------------------------------------------------------------------------------------------


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    stream = Stream(seed).child("spins")
    return xr.merge([_needed(settings), _growth(settings), _table(settings, stream), _real(settings, stream)])


def _needed(settings: Mapping[str, Any]) -> xr.Dataset:
    """N_ε of every schedule and integrator at the dimensions of the tables; NaN: more than cap/2, or Euler without rates."""
    methods, dims = settings["methods"], settings["dims"]
    needed = np.full((len(methods), len(SCHEDULES), len(dims)), np.nan)
    for (k, dim), (i, method) in progress(list(itertools.product(enumerate(dims), enumerate(methods))), "spins: N_ε"):
        law, step = _law(settings, dim), STEPS[method]()
        told = _told(settings, law)
        kept = [j for j, schedule in enumerate(told.values()) if defined(step, schedule)]
        chosen = [told[SCHEDULES[j]] for j in kept]
        needed[i, kept, k] = Spins(law).steps_needed(step, chosen, settings["epsilon"], [settings["cap"]] * len(kept))
    return xr.Dataset(
        {"steps_needed": (("integrator", "schedule", "dim"), needed, {"long_name": f"N_ε at ε = {settings['epsilon']}"})},
        coords={"integrator": methods, "schedule": list(SCHEDULES), "dim": dims},
    )


def _growth(settings: Mapping[str, Any]) -> xr.Dataset:
    """N_ε against d with a longer cap, and the growth law of each: chosen by AICc, exponent with its error."""
    listed, dims = settings["growth"], _growth_dims(settings)
    steps = np.full((len(listed), len(dims)), np.nan)
    for k, dim in enumerate(progress(dims, "spins: growth")):
        law = _law(settings, dim)
        spins, told = Spins(law), _told(settings, law)
        for method in {entry["integrator"] for entry in listed}:
            rows = [j for j, entry in enumerate(listed) if dim in entry["dims"] and entry["integrator"] == method]
            if rows:
                chosen, caps = [told[listed[j]["schedule"]] for j in rows], [listed[j]["cap"] for j in rows]
                steps[rows, k] = spins.steps_needed(STEPS[method](), chosen, settings["epsilon"], caps)
    every = np.array(dims, dtype=np.float64)
    fits = [growth.fit_growth(every, row) for row in steps]
    return xr.Dataset(
        {
            "growth_steps": (("grown", "growth_dim"), steps),
            "fitted": (("grown", "growth_dim"), np.array([fit.at(every) for fit in fits])),
            "best": ("grown", [fit.best for fit in fits]),
            "exponent": ("grown", [fit.exponent for fit in fits]),
            "exponent_error": ("grown", [fit.exponent_error for fit in fits]),
        },
        coords={
            "grown": [entry["schedule"] for entry in listed],
            "growth_dim": dims,
            "grown_by": ("grown", [entry["integrator"] for entry in listed]),
        },
    )


def _table(settings: Mapping[str, Any], stream: Stream) -> xr.Dataset:
    """FEATURES of the output at N steps, every J, integrator, schedule and d; error bars of the random groups for J ≤ 1."""
    couplings, methods, dims = settings["couplings"], settings["methods"], settings["dims"]
    found, bar = np.full((2, len(couplings), len(methods), len(SCHEDULES), len(dims), len(FEATURES)), np.nan)
    jobs = list(itertools.product(enumerate(couplings), enumerate(dims)))
    for (i, coupling), (k, dim) in progress(jobs, "spins: table"):
        law = _law(settings, dim, coupling)
        spins, told, here = Spins(law), _told(settings, law), stream.child("groups").child(dim)
        for m, method in enumerate(methods):
            if coupling <= 1 and method == "Euler":
                continue  # whose M is DDIM's, to the figure: one method of first order is enough
            step = STEPS[method]()
            kept = [j for j, schedule in enumerate(told.values()) if defined(step, schedule)]
            run = compiled(step, [told[SCHEDULES[j]] for j in kept], settings["steps"])
            if coupling > 1:
                found[i, m, kept, k] = spins.found(run)
            else:
                found[i, m, kept, k], bar[i, m, kept, k] = spins.single(run, settings["repeats"], here)
    axes = ("coupling", "integrator", "schedule", "dim", "feature")
    return xr.Dataset(
        {"found": (axes, found), "found_error": (axes, bar, {"long_name": "one standard error, over random groups"})},
        coords={"coupling": couplings, "feature": list(FEATURES)},
    )


def _real(settings: Mapping[str, Any], stream: Stream) -> xr.Dataset:
    """M of real samplers minus M of groups at the same u·z, in standard deviations inside a mode; and fluctuations of M."""
    real, methods = settings["real"], settings["methods"]
    gap = np.full((len(real["dims"]), len(methods), len(CONFIRMED), max(real["samples"])), np.nan)
    jobs = list(itertools.product(enumerate(zip(real["dims"], real["samples"], strict=True)), enumerate(methods)))
    for (k, (dim, count)), (i, method) in progress(jobs, "spins: real samplers"):
        law = _law(settings, dim)
        told, step, spins = _told(settings, law), STEPS[method](), Spins(law)
        width = magnetisation.law_features(law)[2] / math.sqrt(dim)
        for j, name in enumerate(CONFIRMED):
            if defined(step, told[name]):
                gap[k, i, j, :count] = (
                    _gap(step, told[name], spins, settings["steps"], count, stream.child("real").child(dim)) / width
                )
    ratio, bar = _kept_fluctuations(settings, stream)
    return xr.Dataset(
        {
            "gap": (("real_dim", "integrator", "confirmed", "trajectory"), gap),
            "fluctuations": (("integrator", "kept"), ratio, {"long_name": "√d·std(M) inside the + mode, output over law"}),
            "fluctuations_error": (("integrator", "kept"), bar, {"long_name": "one standard error"}),
        },
        coords={"real_dim": real["dims"], "confirmed": list(CONFIRMED), "kept": list(KEEP), "integrator": methods},
    )


def _kept_fluctuations(settings: Mapping[str, Any], stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """√d·std(M) inside the "+" mode over the law's, and its standard error, (integrators, KEEP), all from the same noise."""
    methods, real = settings["methods"], settings["real"]
    law, count = _law(settings, real["fluctuation_dim"]), real["fluctuation_samples"]
    told, true = _told(settings, law), magnetisation.law_features(law)[2]
    ratio, bar = np.full((2, len(methods), len(KEEP)), np.nan)
    for (i, method), (j, name) in progress(list(itertools.product(enumerate(methods), enumerate(KEEP))), "spins: fluctuations"):
        step = STEPS[method]()
        if not defined(step, told[name]):
            continue
        mean, variance = sampled(step, told[name], law, settings["steps"], count, stream.child("fluctuations"))
        ratio[i, j] = magnetisation.mode_features(mean, variance, np.full(count, 1 / count), law)[2] / true
        bar[i, j] = magnetisation.standard_errors(mean, variance)[2] * ratio[i, j]
    return ratio, bar


def _judged_method(methods: Sequence[str]) -> str:
    return "DPM-Solver++(2M)" if "DPM-Solver++(2M)" in methods else methods[-1]


def _gap(step: Any, schedule: Any, spins: Spins, steps: int, count: int, stream: Stream) -> np.ndarray:
    """(count,) differences of M in the "+" mode, away from the separatrix, where a tiny cause turns the mode."""
    weight, dim = spins.truth["weight"], spins.law.dim
    component = special.ndtri(1 - weight + weight * (0.2 + 0.8 * (np.arange(count) + 0.5) / count))
    z = stream.normal(count, (dim,))
    z += torch.from_numpy(component / math.sqrt(dim))[:, None] - z.mean(1, keepdim=True)
    return walked(step, schedule, spins.law, steps, z)[0] - spins.final(compiled(step, [schedule], steps), component)[0][0]


# ---- judgement --------------------------------------------------------------------------------------------------------


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    claims = {claim.id: claim for claim in CLAIM}
    error = errors(predicted, measured)
    critical = error.sel(coupling=error.coupling == 1)
    euler = measured.found.reindex(integrator=["Euler"]).isel(integrator=0)  # NaN where it was not asked for
    above = euler.sel(dim=measured.dim >= settings["fit_from"], coupling=measured.coupling > 1)
    weight_gap = abs(above.sel(feature="weight") - predicted.map_weight)
    spread_gap = abs(above.sel(feature="spread") / predicted.map_spread - 1)
    return [
        _exponents(claims["S1-constant"], measured, ("linear", "square root"), 0.5, "S1"),
        _exponents(claims["S1-ve"], measured, ("VE linear",), 0.5, "S1"),
        _exponents(claims["S2-clocks"], measured, ("VP linear clock", "VE linear clock"), 0.0, "S2"),
        _exponents(claims["S3-geodesic"], measured, ("geodesic",), 0.0, "S3"),
        _log_uniform(claims["S3-log-uniform"], predicted, measured),
        _mixture(claims["S4-mixture"], predicted, measured, settings),
        _largest(claims["S5-weight"], "0", weight_gap, "S5-weight"),
        _largest(claims["S5-spread"], "0", spread_gap, "S5-spread"),
        _largest(claims["S6-real"], "0", abs(measured.gap), "S6"),
        _transition(claims["S7-clocks"], error, ("VP linear clock", "VE linear clock")),
        _transition(claims["S7-geodesic"], error, ("geodesic",)),
        _transition(claims["S7-critical-clocks"], critical, ("VP linear clock", "VE linear clock")),
        _transition(claims["S7-critical-geodesic"], critical, ("geodesic",)),
        _transition(claims["S7-log-uniform"], error, ("log-uniform",)),
        _transition(claims["S7-constant"], error, ("linear",)),
        *(_fluctuations(claims[name], measured, method) for name, method in S8.items()),
    ]  # fmt: skip


def errors(predicted: xr.Dataset, measured: xr.Dataset) -> xr.Dataset:
    """Relative errors of FEATURES at N steps (NaN: not run, or no such feature) and their standard errors (0 for groups)."""
    axes = ("feature", "coupling", "integrator", "schedule", "dim")
    found = measured.found.transpose(*axes)
    true = predicted.truth.broadcast_like(found).transpose(*axes)
    ran = np.isfinite(found).any("feature") & np.isfinite(true)
    gap = xr.DataArray(relative_errors(found.values, true.values), found.coords, axes).where(ran)
    return xr.Dataset({"gap": gap, "bar": (measured.found_error.transpose(*axes) / true).fillna(0.0).where(ran)})


def _exponents(claim: Claim, data: xr.Dataset, names: tuple[str, ...], expected: float, margin: str) -> Row:
    """The exponent of d that decides; each has the error bar of a line through its n points, n − 2 degrees of freedom."""
    fits = data.sel(grown=[name for name in names if name in data.grown.values])
    gaps, free = abs(fits.exponent.values - expected), np.isfinite(fits.growth_steps).sum("growth_dim").values - 2
    text = "; ".join(
        f"{n}: {float(a):.3f} ± {float(b):.3f}"
        for n, a, b in zip(fits.grown.values, fits.exponent, fits.exponent_error, strict=True)
    )
    if not len(gaps) or np.isnan(gaps).any():
        return decide(math.nan, MARGINS[margin]).row(claim, f"exponent {expected}", text or "—")
    decision = decide(gaps, MARGINS[margin], fits.exponent_error.values, k=student_k(free, len(gaps)))
    return decision.row(claim, f"exponent {expected}", text)


def _log_uniform(claim: Claim, predicted: xr.Dataset, measured: xr.Dataset) -> Row:
    """N_ε at the first and the last d where it was found, against the ranges of log ς there. N_ε is known to 3 %."""
    if "log-uniform" not in measured.grown.values:
        return decide(math.nan, MARGINS["S3-log"]).row(claim, "—", "—")
    steps = measured.growth_steps.sel(grown="log-uniform").dropna("growth_dim")
    ranges = predicted.log_range.sel(growth_dim=steps.growth_dim)
    ratio, found = float(ranges[-1] / ranges[0]), float(steps[-1] / steps[0])
    gap, bar = abs(found / ratio - 1), 0.03 / math.sqrt(12) * math.sqrt(2)  # two numbers rounded to a cell of 3 %
    text = f"{found:.3f} (N_ε = {float(steps[0]):g}, {float(steps[-1]):g}; d to {float(steps.growth_dim[-1]):.0e})"
    return decide(gap, MARGINS["S3-log"], bar).row(claim, f"ratio {ratio:.3f}", text)


def _mixture(claim: Claim, predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Row:
    far = measured.dim >= settings["fit_from"]
    ratio = (measured.steps_needed / predicted.mixture_steps).where(far)
    if not np.isfinite(ratio).any():
        return decide(math.nan, MARGINS["S4"]).row(claim, "1", "—")
    parts = "; ".join(
        f"{m}: {float(ratio.sel(integrator=m).min()):.2f} to {float(ratio.sel(integrator=m).max()):.2f}, median "
        f"{float(ratio.sel(integrator=m).median()):.2f}"
        for m in ratio.integrator.values
        if np.isfinite(ratio.sel(integrator=m)).any()
    )
    worst = float(abs(np.log(ratio)).max())
    return decide(math.expm1(worst), MARGINS["S4"]).row(claim, "ratio 1", parts)


def _largest(claim: Claim, theory: str, gap: xr.DataArray, margin: str) -> Row:
    """The largest deviation and where it is."""
    if not np.isfinite(gap).any():
        return decide(math.nan, MARGINS[margin]).row(claim, theory, "—")
    value = float(gap.max())
    at = gap.where(gap == value, drop=True)
    where = ", ".join(f"{name} = {at[name].values.ravel()[0]}" for name in at.dims)
    text = f"largest of {int(np.isfinite(gap).sum())}: {value:.3g} ({where}); median {float(gap.median()):.2g}"
    return decide(value, MARGINS[margin]).row(claim, theory, text)


def _transition(claim: Claim, error: xr.Dataset, names: tuple[str, ...]) -> Row:
    """Largest error of any feature over d, by J; decided by the largest of all, error bar included."""
    data = error.sel(schedule=list(names), integrator=_judged_method(list(error.integrator.values)))
    worst = data.gap.max(("feature", "schedule", "dim"))
    text = ", ".join(f"J = {float(j):g}: {float(v):.3g}" for j, v in zip(data.coupling, worst, strict=True))
    ran = np.argwhere(np.isfinite(data.bar.values))  # NaN: not run, or no such feature
    if not len(ran):
        return decide(math.nan, MARGINS["S7"]).row(claim, "≤ 0.1", "—")
    gaps, bars = (v.values[tuple(ran.T)] for v in (data.gap, data.bar))
    largest = decide(gaps, MARGINS["S7"], bars)
    k = ran[largest.at[0]]
    where = f"decided by {data.feature.values[k[0]]} at d = {int(data.dim[k[3]])}, {largest.error:.3g} ± {largest.bar:.2g}"
    return largest.row(claim, "≤ 0.1", f"{text}; {where}")


def _fluctuations(claim: Claim, measured: xr.Dataset, method: str) -> Row:
    """Decided by one schedule: errors of opposite sign must not cancel."""
    if method not in measured.integrator.values:
        return decide(math.nan, MARGINS["S8"]).row(claim, "ratio 1", "—")
    at = measured.sel(integrator=method)
    ratio, bar = at.fluctuations.values, at.fluctuations_error.values
    text = "; ".join(f"{n} {r:.3f} ± {b:.3f}" for n, r, b in zip(KEEP, ratio, bar, strict=True))
    worst = decide(abs(ratio - 1), MARGINS["S8"], bar)
    return worst.row(claim, "ratio 1", f"{text}; decided by {KEEP[worst.at[0]]}")


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    return spins_figure.drawn(predicted, measured, errors(predicted, measured), settings)
