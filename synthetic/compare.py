"""Schedules compared on one law, with one step and one number of steps: a table of feature errors and a figure.

`python -m synthetic compare --schedules "geodesic, VP sqrt clock, EDM ρ = 7" --dim 1e6 --steps 16 --law gm`. Modes on a line
through 0 go through `theory.feature`, exact at any d. Modes in a larger subspace are walked there by quasi-random particles,
with the complement at its median length. Curie-Weiss is sampled in d dimensions with its exact posterior mean. Errors are
relative: a weight to the heaviest mode's, a mean to the farthest mode's, spreads to the mode's own; the worst mode counts.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import special, stats

from synthetic.user_input import Candidate, InputError, Modes, Spins
from theory import feature, growth
from theory.curie_weiss import CurieWeiss
from theory.program import Array, Program, Walk, compile_walks
from theory.progress import progress
from theory.record import LINES, MARKERS
from theory.reduction import Kick, run, subspace_posterior
from theory.sampler import Flow, Step, check_grid, grid, last, walk
from theory.stream import Stream

PARTICLES = 4096  # of laws that are not on a line; a weight is then known to about 1/1000
NUMBERS = 4_000_000  # d × samples of a law that is sampled
LADDER = tuple(2**k for k in range(1, 9))  # N of the figure
CAP = 8192  # largest N that is tried for N_ε is half of it


@dataclass(frozen=True)
class Result:
    """One schedule: relative errors by feature (NaN: not defined for this law), N_ε (NaN: not reached, or not searched for)."""

    name: str
    steps: int
    errors: dict[str, float]
    wasserstein: float = math.nan
    needed: float = math.nan
    searched: bool = False  # for N_ε: only for schedules, on laws of several modes on a line

    @property
    def worst(self) -> float:
        return float(np.nanmax(list(self.errors.values())))


def compare(law: Modes | Spins, candidates: Sequence[Candidate], step: Step, steps: int, epsilon: float | None) -> list[Result]:
    """One result per candidate, best first. Raises InputError where a schedule or a step is not defined on its grid."""
    shown = progress(candidates, "schedules") if len(candidates) > 1 else candidates
    results = [_one(law, candidate, step, candidate.steps or steps, epsilon) for candidate in shown]
    return sorted(results, key=lambda result: (not math.isfinite(result.worst), result.worst))


def _one(law: Modes | Spins, candidate: Candidate, step: Step, steps: int, epsilon: float | None) -> Result:
    found = errors(law, candidate, step, steps)
    line = law.line if isinstance(law, Modes) else None
    if line is None:
        return Result(candidate.name, steps, found)
    distance = math.nan
    if line.equal_spreads and line.centres.shape[1] > 1:
        distance = float(feature.wasserstein(_program(candidate, step, steps), line)[0])
    needed = math.nan
    searched = epsilon is not None and candidate.steps is None and line.centres.shape[1] > 1
    if epsilon is not None and searched:
        cases = [growth.Case(candidate.schedule, line)]
        needed = float(growth.steps_needed(step, cases, growth.ladder(step, cases, CAP, epsilon), epsilon)[0])
    return Result(candidate.name, steps, found, distance, needed, searched)


def errors(law: Modes | Spins, candidate: Candidate, step: Step, steps: int) -> dict[str, float]:
    """Relative errors by feature after N steps."""
    program = _program(candidate, step, steps)
    if isinstance(law, Spins):
        return _sampled(law.law, candidate, step, steps)
    if law.line is not None and len(law.weights) > 1:
        with np.errstate(over="ignore", invalid="ignore"):
            found = feature.errors(feature.outcome(program, law.line), feature.truth(law.line))[:, 0]
        return dict(zip(feature.FEATURES, map(float, found), strict=True))
    return _by_particles(program, law)


def _program(candidate: Candidate, step: Step, steps: int) -> Program:
    times = grid(steps)
    try:
        check_grid(times, candidate.schedule)
        levels = Walk.of(candidate.schedule, times)
        if not math.isfinite(levels.noise[0]):
            raise ValueError(
                "noise at t = 1 is infinite; allowed: a finite level; remedy: another schedule: this is a training density"
            )
        if not levels.fits(step):
            raise ValueError(
                f"{type(step).__name__} on a schedule whose rates are not finite at an end; allowed: finite rates; "
                "remedy: --step DDIM"
            )
        return compile_walks(step, [levels])
    except ValueError as error:
        raise InputError(f"{candidate.name}, N = {steps}: {error}") from error


# ---- modes in a subspace of several dimensions -------------------------------------------------------------------------


def _normals(directions: int) -> Array:
    """(PARTICLES, directions) quasi-random standard normals."""
    return special.ndtri(stats.qmc.Sobol(directions, rng=np.random.default_rng(0)).random(PARTICLES))


def _kick() -> Kick:
    generator = np.random.default_rng(1)

    def kick(_: int, mean: Array, std: Array) -> Array:
        along = mean[..., :-1] + std * generator.standard_normal(mean[..., :-1].shape)
        return np.concatenate([along, np.hypot(mean[..., -1:], std)], axis=-1)

    return kick


def _by_particles(program: Program, law: Modes) -> dict[str, float]:
    """Weights, means and spread across of the particles of each mode, against the law's own particles sorted the same way."""
    directions = law.centres.shape[1]
    posterior = subspace_posterior(
        program, law.weights[None], law.centres[None], law.spreads[None] ** 2, np.array([float(law.dim)])
    )
    z = _normals(directions)
    spare = float(feature.median_length(np.array([float(law.dim - directions + 1)]))[0])
    start = program.start[0] * np.concatenate([z, np.full((len(z), 1), spare)], axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        final = run(program, posterior, start[None], _kick())[0]
    own = np.concatenate([c + s * z for c, s in zip(law.centres, law.spreads, strict=True)])
    share = np.repeat(law.weights / len(z), len(z))
    true = _summary(own, np.repeat(law.spreads, len(z)), share, law)
    found = _summary(final[:, :-1], final[:, -1], np.full(len(z), 1 / len(z)), law)
    farthest = np.linalg.norm(true[1], axis=1).max() or 1.0
    mean = np.linalg.norm(found[1] - true[1], axis=1) / farthest
    gaps = {"weight": np.abs(found[0] - true[0]) / true[0].max(), "mean": mean, "across": np.abs(found[2] / law.spreads - 1)}
    return {name: float(np.where(np.isnan(gap), np.inf, gap).max()) for name, gap in gaps.items()}


def _summary(y: Array, rest: Array, share: Array, law: Modes) -> tuple[Array, Array, Array]:
    """Weight, mean and root mean square across of each mode; a particle belongs to its likeliest mode."""
    gap = ((y[:, None] - law.centres) ** 2).sum(-1)
    extra = (law.dim - law.centres.shape[1]) * (rest[:, None] ** 2 / law.spreads**2 + 2 * np.log(law.spreads))
    extra = extra if np.ptp(law.spreads) else 0.0
    mode = (2 * np.log(law.weights) - gap / law.spreads**2 - extra).argmax(1)
    weight, mean, across = np.zeros(len(law.weights)), np.full(law.centres.shape, np.nan), np.full(len(law.weights), np.nan)
    for k in range(len(law.weights)):
        mine = mode == k
        if mine.any():
            weight[k] = share[mine].sum()
            mean[k] = share[mine] @ y[mine] / weight[k]
            across[k] = math.sqrt(share[mine] @ rest[mine] ** 2 / weight[k])
    return weight, mean, across


# ---- Curie-Weiss -------------------------------------------------------------------------------------------------------


def _sampled(law: CurieWeiss, candidate: Candidate, step: Step, steps: int) -> dict[str, float]:
    """Weight of M > 0, mean and spread of a coordinate there, of samples whose u·z is stratified, against the exact law."""
    count = int(np.clip(NUMBERS // law.dim, 40, 1000))
    z = Stream(0).child("noise").normal(count, (law.dim,))
    along = torch.special.ndtri((torch.arange(count, dtype=torch.float64) + 0.5) / count)
    z += (along / math.sqrt(law.dim) - z.mean(-1))[:, None]
    flow, times = Flow(candidate.schedule, law.denoise), grid(steps)
    x = last(walk(flow, flow.start(z), times, step))
    mean = x.mean(-1)
    plus = mean > 0
    pmf = law.magnetisation_log_pmf().exp().numpy()
    value = np.linspace(-1, 1, law.dim + 1)
    chance = pmf * np.where(value > 0, 1.0, np.where(value == 0, 0.5, 0.0))
    weight, centre = chance.sum(), chance @ value / chance.sum()
    if not plus.any():
        return {"weight": weight / max(weight, 1 - weight), "mean": math.inf, "across": math.inf}
    spread = math.sqrt(float(((x[plus] - mean[plus, None]) ** 2).mean()))
    true = math.sqrt(chance @ (1 - value**2) / weight)
    found = float(plus.double().mean()), float(mean[plus].mean())
    return {
        "weight": abs(found[0] - weight) / max(weight, 1 - weight),
        "mean": abs(found[1] - centre) / centre,
        "across": abs(spread / true - 1),
    }


# ---- table and figure --------------------------------------------------------------------------------------------------

HEADS = {"weight": "weights", "mean": "means", "along": "spread along", "across": "spread across"}


def table(results: Sequence[Result], epsilon: float | None) -> list[list[str]]:
    """Rows of cells, the head first; a column that says nothing about any schedule is left out."""
    columns = [name for name in HEADS if any(name in result.errors for result in results)]
    distances = any(math.isfinite(result.wasserstein) for result in results)
    head = ["schedule", "N", *(HEADS[name] for name in columns), "worst"]
    head += ["W₂/(σ√d)"] * distances + ([] if epsilon is None else [f"N for {_percent(epsilon)}"])
    rows = [head]
    for r in results:
        row = [r.name, str(r.steps), *(_percent(r.errors.get(name, math.nan)) for name in columns), _percent(r.worst)]
        row += [f"{r.wasserstein:.3g}"] * distances
        row += [_needed(r.needed) if r.searched else "—"] * (epsilon is not None)
        rows.append(row)
    return rows


def _percent(error: float) -> str:
    if math.isnan(error):
        return "—"
    return "lost" if math.isinf(error) else f"{100 * error:.3g} %"


def _needed(steps: float) -> str:
    return f"> {CAP // 2}" if math.isnan(steps) else str(int(steps))


def as_text(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )


def as_csv(results: Sequence[Result]) -> str:
    """All numbers in full; empty where not defined."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["schedule", "steps", *HEADS, "worst", "wasserstein", "steps_needed"])
    for r in results:
        cells = [*(r.errors.get(name, math.nan) for name in HEADS), r.worst, r.wasserstein, r.needed]
        writer.writerow([r.name, r.steps, *("" if math.isnan(cell) else repr(float(cell)) for cell in cells)])
    return out.getvalue()


def draw(law: Modes | Spins, candidates: Sequence[Candidate], results: Sequence[Result], step: Step, step_name: str) -> Figure:
    """Left, the levels that are visited; right, the worst error against N (lists of levels and sampled laws: at theirs)."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    by_name = {candidate.name: candidate for candidate in candidates}
    for k, result in enumerate(progress(results, "figure")):
        candidate = by_name[result.name]
        look = {"color": f"C{k % 6}", "linestyle": LINES[(k + k // 6) % 6]}  # colours come round, pairs with dashes do not
        point = {"marker": MARKERS[k % 6], "fillstyle": ("full", "none")[k // 6 % 2]}
        levels = candidate.schedule.noise_to_signal(grid(result.steps)).numpy()
        share = np.arange(len(levels)) / result.steps
        shown = (levels > 0) & np.isfinite(levels)
        axes[0].plot(share[shown], levels[shown], markersize=4, label=result.name, **point, **look)
        if candidate.steps is None and isinstance(law, Modes):
            curve = [_or_nan(law, candidate, step, n) for n in LADDER]
            axes[1].plot(LADDER, np.where(np.isfinite(curve), curve, np.nan), **look)
        if math.isfinite(result.worst):
            axes[1].plot([result.steps], [result.worst], color=look["color"], linestyle="", **point)
    axes[0].set(
        yscale="log", xlabel="share of the steps done", ylabel="noise-to-signal ς", title="levels visited (0 and ∞ not shown)"
    )
    axes[0].legend(fontsize="x-small")
    axes[1].axhline(1.0, color="0.6", linewidth=0.8)
    axes[1].set(xscale="log", yscale="log", xlabel="steps N", ylabel="worst relative error of a feature")
    axes[1].set_xticks(LADDER, list(map(str, LADDER)))
    axes[1].minorticks_off()
    axes[1].set_title(f"{law.name}, d = {law.dim:.6g}, {step_name}")
    return figure


def _or_nan(law: Modes, candidate: Candidate, step: Step, steps: int) -> float:
    """The worst error, or NaN where the grid is not allowed (an odd number of steps at a kink)."""
    try:
        return float(np.nanmax(list(errors(law, candidate, step, steps).values())))
    except InputError:
        return math.nan
