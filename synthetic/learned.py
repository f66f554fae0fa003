"""Learned denoisers: does the step-count class of a schedule survive learning error?

A small network (`synthetic.small_network`) is trained on paper A's mixture (arXiv 2501.00988) with t uniform in each
schedule's own time, so that the schedule decides which noise levels are seen in training as well as which are visited in
sampling: the two-phase question. It is then sampled on the same schedule with DDIM (Euler, on the linear forms). The sampler
of such a denoiser has an exact law too: a scalar map along û, whose sign gives the weights, and a product of numbers across
it, the spread. So nothing is sampled in the measurement, at any d; what is random is the training, repeated with several
seeds.

Prediction: the exact denoiser's errors and N_ε, and the share of training times that fall into each phase, |log(ς/scale)| < 1
with scale m√d for the weights and σ for the spread. Constant denoising shows VP's first phase, and VE's last, to a share ∝
1/√d. Learned N_ε: the first N of the ladder, interpolated, from which on the error stays ≤ ε; none where it never does.

Changed after a first look: the network first predicted the data without EDM's factors, and its error in the spread then grew
with log N, since (D − x)/noise is integrated down to noise 0; L3-growth judges a difference, by a margin set then, not a
ratio of two small floors; what is left at the largest N is judged, not the smallest over N, where learning and step errors
may cancel; exponents start at the d where κ is small against √d. The networks that are told ς, and L4, were added with the
first look at hand.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from scipy import special

from synthetic import families
from synthetic.learned_figure import drawn
from synthetic.small_network import PRECISION, Direction, Networks, Task, learn_direction, train
from theory import growth, program, reduction, schedule
from theory.ledger import Claim, Row, decide, student_k
from theory.program import FIRST, STATE, Array, Program, Walk
from theory.progress import progress
from theory.reduction import Line
from theory.sampler import DDIM, grid
from theory.schedule import Schedule
from theory.stream import Stream

OURS = "derivation: ours"
PAPER = "arXiv 2501.00988, the dilated times; question ours"
HOW = "Gaussian mixture, small network of t and û·x, trained with t uniform in the schedule's own time, sampled on the same"
CONSTANT = ("VP linear", "VE linear")
CLOCKS = ("VP linear, clock", "VE linear, clock")
FEATURES = ("weight", "spread")
CLAIM = (
    Claim("L1-clocks", PAPER, "trained and sampled in the clocks' times, N_ε stays Θ(1) in d", f"{HOW}; VP and VE"),
    Claim("L1-geodesic", OURS, "the same in the geodesic's time", HOW),
    Claim(
        "L2-reach-VP", PAPER, "trained in the time of VP's constant denoising, enough steps still reach ε", f"{HOW}; largest d"
    ),
    Claim(
        "L2-reach-VE", PAPER, "trained in the time of VE's constant denoising, enough steps still reach ε", f"{HOW}; largest d"
    ),
    Claim("L2-told-VP", OURS, "the same with the noise level as input in place of the time", f"{HOW}; largest d, ¼ log ς"),
    Claim("L2-told-VE", OURS, "the same with the noise level as input in place of the time", f"{HOW}; largest d, ¼ log ς"),
    Claim("L3-growth", OURS, "in the times of the clocks and the geodesic, what learning leaves does not grow with d", HOW),
    Claim("L4-share", OURS, "a phase that takes a tenth of the training times or more is learned to within ε", f"{HOW}; all"),
)
MARGINS = {
    "exponent": 0.05,  # of N_ε in d, over three decades: a tenth of the ½ that is at stake
    "growth": 0.02,  # of a relative error, from the smallest to the largest d: a fifth of ε
}
SHARE = 0.1  # of training times


def schedules(settings: Mapping[str, Any]) -> dict[str, Callable[[float], Schedule]]:
    """Schedules by d. Equal ones are the same object: those that are told ς, and one for every training of a d."""
    vp, ve, kappa = schedule.variance_preserving_flow, schedule.variance_exploding_flow, settings["kappa"]

    def scales(dim: float) -> families.Scales:
        return families.Scales.of(_line(settings, dim), settings["window"])

    made: dict[str, Callable[[float], Schedule]] = {
        "VP linear": lambda d: vp("linear", d),
        "VE linear": lambda d: ve("linear", d),
        "VP linear, clock": lambda d: vp("linear", d, kappa),
        "VE linear, clock": lambda d: ve("linear", d, kappa),
        "log-uniform": lambda d: families.log_uniform(scales(d)),
        "geodesic": lambda d: families.geodesic(scales(d)),
    }
    kept: dict[str, Callable[[float], Schedule]] = {name: functools.cache(make) for name, make in made.items()}
    return kept | {f"{name}, told ς": kept[name] for name in CONSTANT}


def _line(settings: Mapping[str, Any], dim: float) -> Line:
    return Line.two_modes(dim, settings["weight"], settings["mean"], settings["spread"])


# ---- prediction -------------------------------------------------------------------------------------------------------


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """The exact denoiser's errors over the ladder and N_ε, and the share of training times in each phase."""
    made, dims, step = schedules(settings), settings["dims"], DDIM()
    ladder = {"weight": settings["steps"], "spread": settings["spread_steps"]}
    out: dict[str, Any] = {}
    cases = [growth.Case(make(d), _line(settings, d)) for make in made.values() for d in dims]
    for name, feature in (("weight", "weight"), ("spread", "across")):
        found = [growth.feature_errors(step, cases, growth.walks_of(step, cases, n), (feature,))[0] for n in ladder[name]]
        out[f"{name}_error"] = (("schedule", "dim", f"{name}_steps"), np.stack(found, -1).reshape(len(made), len(dims), -1))
    share = np.empty((len(made), len(dims), 2))
    t = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    for i, make in enumerate(made.values()):
        for j, dim in enumerate(dims):
            level = torch.log(make(dim).noise_to_signal(t)).numpy()
            for k, scale in enumerate((settings["mean"] * math.sqrt(dim), settings["spread"])):
                share[i, j, k] = np.mean(np.abs(level - math.log(scale)) < 1)
    out["share"] = (
        ("schedule", "dim", "feature"),
        share,
        {"long_name": "share of training times within an e-fold of the phase"},
    )
    return xr.Dataset(out, coords=_coordinates(settings, list(made)))


def _coordinates(settings: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    return {
        "schedule": names, "dim": settings["dims"], "feature": list(FEATURES), "weight_steps": settings["steps"],
        "spread_steps": settings["spread_steps"],
    }  # fmt: skip


# ---- measurement ------------------------------------------------------------------------------------------------------


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """Errors of the learned denoisers' samplers over the ladder, for every schedule, d and training seed."""
    made, dims, repeats = schedules(settings), settings["dims"], settings["repeats"]
    root, chosen = Stream(seed).child("learned"), settings["training"]
    tasks = [
        Task(make(d), d, settings["weight"], settings["mean"], settings["spread"], root.child(name).child(d).generator(k),
             name.endswith("told ς"))
        for name, make in made.items() for d in dims for k in range(repeats)
    ]  # fmt: skip
    directions = [learn_direction(task, chosen["direction_samples"]) for task in tasks]
    networks, late = train(tasks, directions, chosen["width"], chosen["steps"], chosen["batch"], chosen["rate"])
    shape = (len(made), len(dims), repeats)
    weight, spread = {}, {}
    for n in progress(sorted({*settings["steps"], *settings["spread_steps"]}), "learned: samplers"):
        run, times = _compiled(tasks, n)
        if n in settings["steps"]:
            weight[n] = _weight_errors(networks, tasks, directions, run, times)
        if n in settings["spread_steps"]:
            spread[n] = _spread_errors(networks, tasks, run, times)

    def over(found: Mapping[int, Array], ladder: Sequence[int]) -> Array:
        return np.stack([found[n] for n in ladder], -1).reshape(*shape, -1)

    return xr.Dataset(
        {
            "weight_error": (("schedule", "dim", "repeat", "weight_steps"), over(weight, settings["steps"])),
            "spread_error": (("schedule", "dim", "repeat", "spread_steps"), over(spread, settings["spread_steps"])),
            "loss": (("schedule", "dim", "repeat"), late.reshape(shape), {"long_name": "|D − a|²/d, last tenth of training"}),
            "angle": (("schedule", "dim", "repeat"), np.reshape([math.asin(u.sine) for u in directions], shape)),
        },
        coords=_coordinates(settings, list(made)),
    )


def _compiled(tasks: Sequence[Task], steps: int) -> tuple[Program, Array]:
    """(program, what the networks see of the time at the left ends, (steps, runs))."""
    times = grid(steps)
    walks = {id(task.schedule): Walk.of(task.schedule, times, rates=False) for task in tasks}
    seen = [task.feature(w.times[:-1], w.signal[:-1], w.noise[:-1]) for task in tasks for w in (walks[id(task.schedule)],)]
    row = {key: k for k, key in enumerate(walks)}
    distinct = program.compile_walks(DDIM(), list(walks.values()))
    return distinct.rows(np.array([row[id(task.schedule)] for task in tasks])), np.stack(seen, 1)


def _gains(networks: Networks, run: Program, times: Array) -> Array:
    """What the denoiser multiplies x by across û, at the left ends, (steps, runs)."""
    g = networks.g(torch.from_numpy(times.T).to(PRECISION)).numpy().astype(np.float64).T
    return (run.signal[0] + run.noise[0] * g) / (run.signal[0] ** 2 + run.noise[0] ** 2)


def _spread_errors(networks: Networks, tasks: Sequence[Task], run: Program, times: Array) -> Array:
    """Relative error of the spread across û, (runs,): a product of numbers."""
    factors = run.result[..., STATE] + run.result[..., FIRST] * _gains(networks, run, times)
    spread = np.abs(run.start * np.prod(factors, axis=0))
    return np.abs(spread / np.array([task.spread for task in tasks]) - 1)


def _weight_errors(
    networks: Networks, tasks: Sequence[Task], directions: Sequence[Direction], run: Program, times: Array
) -> Array:
    """Error of the weight relative to the heavier mode's, (runs,): mass of the starts that end at û·x > 0.

    The learned map need not rise: the mass is that of nodes in z, and around each change of sign of a second, finer set.
    """
    power = np.array([u.power for u in directions])
    posterior = _posterior(networks, run, times, power)
    z = np.broadcast_to(special.ndtri((np.arange(64) + 0.5) / 64), (len(tasks), 64))
    above = reduction.run(run, posterior, run.start[:, None] * z) > 0
    coarse = above.mean(1)
    turns = (above[:, 1:] != above[:, :-1]).sum(1)
    first = np.argmax(above[:, 1:] != above[:, :-1], axis=1)  # the gap that holds the one change of sign
    inside = (first[:, None] + 0.5 + (np.arange(32) + 0.5) / 32) / 64
    fine = reduction.run(run, posterior, run.start[:, None] * special.ndtri(inside)) > 0
    rising = above[:, -1]
    low = np.where(rising, 62.5 - first, first + 0.5) / 64  # what lies beyond the gap, on the side that ends above
    weight = np.where(turns == 1, low + fine.mean(1) / 64, coarse)
    true = np.array([task.weight for task in tasks])
    return np.abs(weight - true) / np.maximum(true, 1 - true)


def _posterior(networks: Networks, run: Program, times: Array, power: Array) -> reduction.Posterior:
    """Along û, states (runs, points)."""
    signal, noise = run.signal[0][..., None], run.noise[0][..., None]  # (steps, runs, 1)
    scale, root = np.sqrt(signal**2 * power[:, None] + noise**2), np.sqrt(power)[:, None]
    time = torch.from_numpy(times).to(PRECISION)

    def along(_: int, k: int, x: Array) -> Array:
        state = x / scale[k]
        f = networks.f(time[k][:, None].expand(state.shape), torch.from_numpy(state).to(PRECISION)).numpy().astype(np.float64)
        return (signal[k] * root**2 / scale[k]) * state + (noise[k] * root / scale[k]) * f

    return along


# ---- judgement --------------------------------------------------------------------------------------------------------


def first_within(error: Array, steps: Array, epsilon: float) -> Array:
    """N from which on the error (…, steps) stays ≤ ε, log-linear between rungs; NaN where the last rung is above, (…)."""
    above = np.concatenate([np.ones((*error.shape[:-1], 1), dtype=bool), error > epsilon], axis=-1)
    last = above.shape[-1] - 1 - np.argmax(above[..., ::-1], axis=-1)  # 0: never above; k: last above at rung k − 1
    right, left = np.clip(last, 0, len(steps) - 1), np.clip(last - 1, 0, len(steps) - 1)
    high, low = (np.take_along_axis(error, k[..., None], -1)[..., 0] for k in (left, right))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.log(high / epsilon) / np.log(high / low)
    between = steps[left] * (steps[right] / steps[left]) ** np.clip(share, 0, 1)
    return np.where(last == len(steps), np.nan, np.where(last == 0, float(steps[0]), between))


def needed(data: xr.Dataset, epsilon: float) -> xr.DataArray:
    """N_ε of both features, the larger; NaN where one is not reached."""
    each = []
    for name in FEATURES:
        error = data[f"{name}_error"]
        kept = error.dims[:-1]
        values = first_within(error.values, error[f"{name}_steps"].values.astype(float), epsilon)
        each.append(xr.DataArray(values, dims=kept, coords={k: error[k] for k in kept if k in error.coords}))
    return xr.concat(each, dim="feature").max("feature", skipna=False)


def floors(data: xr.Dataset) -> xr.DataArray:
    """Error of each feature at the largest N: not the smallest, which may be where two errors cancel."""
    last = [data[f"{name}_error"].isel({f"{name}_steps": -1}, drop=True) for name in FEATURES]
    return xr.concat(last, dim="feature").assign_coords(feature=list(FEATURES))


def _mean(values: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Over training seeds, and one standard error (NaN with one seed)."""
    count = values.sizes["repeat"]
    bar = values.std("repeat", ddof=1) / math.sqrt(count) if count > 1 else values.mean("repeat") * math.nan
    return values.mean("repeat", skipna=False), bar


def _k(values: xr.DataArray) -> float:
    """Standard errors either side that hold 95 % of means over so few trainings: Student's law."""
    return float(student_k(values.sizes["repeat"] - 1))


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    claims = {claim.id: claim for claim in CLAIM}
    epsilon = settings["epsilon"]
    exact, learned, left = needed(predicted, epsilon), needed(measured, epsilon), floors(measured)
    far = {"dim": measured.dim.values >= settings["fit_from"]}
    return [
        _class(claims["L1-clocks"], CLOCKS, exact.sel(far), learned.sel(far)),
        _class(claims["L1-geodesic"], ("geodesic",), exact.sel(far), learned.sel(far)),
        *(_reach(claims[f"L2-reach-{name[:2]}"], name, exact, left, epsilon) for name in CONSTANT),
        *(_reach(claims[f"L2-told-{name[:2]}"], f"{name}, told ς", exact, left, epsilon) for name in CONSTANT),
        _growth(claims["L3-growth"], (*CLOCKS, "geodesic"), left),
        _share(claims["L4-share"], predicted, left, epsilon),
    ]


def _slopes(steps: xr.DataArray) -> xr.DataArray:
    """Exponent of N in d by least squares, along the axis dim, which must be the last but for repeats."""
    x = xr.apply_ufunc(np.log, steps["dim"])
    centred = x - x.mean()
    return (centred * xr.apply_ufunc(np.log, steps)).sum("dim", skipna=False) / (centred**2).sum()


def _class(claim: Claim, names: Sequence[str], exact: xr.DataArray, learned: xr.DataArray) -> Row:
    """The exponent whose distance from 0 decides, mean over seeds; undecided where some seed does not reach ε."""
    margin, k = MARGINS["exponent"], _k(learned)
    slope, bar = _mean(_slopes(learned.sel(schedule=list(names))))
    theory = _slopes(exact.sel(schedule=list(names)))
    texts = [
        f"{name}: {float(slope.sel(schedule=name)):.3f} ± {float(bar.sel(schedule=name)):.3f}, "
        f"N = {', '.join(f'{v:.0f}' for v in learned.sel(schedule=name).mean('repeat').values)}"
        for name in names
    ]
    told = [f"{name}: {float(theory.sel(schedule=name)):.3f}" for name in names]
    decision = decide(np.abs(slope.values), margin, bar.values, k=k)
    return decision.row(claim, f"Θ(1); exact denoiser over the same d: {'; '.join(told)}", "; ".join(texts))


def _reach(claim: Claim, name: str, exact: xr.DataArray, left: xr.DataArray, epsilon: float) -> Row:
    """The error of the feature that decides, at the largest N and d."""
    (mean, bar), k = _mean(left.sel(schedule=name)), _k(left)
    worst = decide(mean.isel(dim=-1).values, epsilon, bar.isel(dim=-1).values, k=k)
    (feature,) = worst.at
    text = f"{FEATURES[feature]} off by " + ", ".join(
        f"{m:.3f} ± {b:.3f} (d = {d:g})"
        for m, b, d in zip(mean[feature].values, bar[feature].values, mean.dim.values, strict=True)
    )
    steps = exact.sel(schedule=name).isel(dim=-1).item()
    return worst.row(claim, f"the exact denoiser reaches it at N = {steps:.0f}", text)


def _growth(claim: Claim, names: Sequence[str], left: xr.DataArray) -> Row:
    """The rise of a floor from the smallest d to the largest that decides; a fall is no rise."""
    kept, k = left.sel(schedule=list(names)), _k(left)
    mean, bar = _mean(kept.isel(dim=-1) - kept.isel(dim=0))
    rise = np.maximum(mean.values, 0.0)
    worst = decide(rise, MARGINS["growth"], bar.values, k=k)
    largest = tuple(int(i) for i in np.unravel_index(int(np.argmax(mean.values)), mean.shape))
    told = [
        f"{what} {float(mean.values[at]):.4f} ± {float(bar.values[at]):.4f} ({names[at[1]]}, {FEATURES[at[0]]})"
        for what, at in (("rise that decides", worst.at), ("largest rise", largest))
    ]
    text = f"{'; '.join(dict.fromkeys(told))}; largest floor {float(kept.max()):.3f}"
    return worst.row(claim, "no rise", text)


def _share(claim: Claim, predicted: xr.Dataset, left: xr.DataArray, epsilon: float) -> Row:
    """The floor that decides among phases with that share, mean over seeds."""
    (mean, bar), k = _mean(left), _k(left)
    share = predicted.share.transpose(*mean.dims)
    shown = share.values >= SHARE
    if not shown.any():
        return decide(math.nan, epsilon).row(claim, "none", "no phase has that share")
    worst = decide(mean.values[shown], epsilon, bar.values[shown], k=k)
    seldom = mean.values[~shown & (share.values < SHARE / 10)]
    where = ", ".join(str(mean[axis].values[at]) for axis, at in zip(mean.dims, np.argwhere(shown)[worst.at], strict=True))
    rest = f"; below a hundredth: {seldom.min():.3f} to {seldom.max():.3f}" if len(seldom) else ""
    text = f"{int(shown.sum())} phases, the error that decides {worst.error:.3f} ± {worst.bar:.3f} ({where}){rest}"
    return worst.row(claim, f"share ≥ {SHARE:g}", text)


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    epsilon = settings["epsilon"]
    return drawn(predicted, measured, needed(predicted, epsilon), needed(measured, epsilon), floors(measured), settings)
