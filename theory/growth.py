"""How many steps N_ε a sampler needs, and how that number grows with the dimension.

N_ε of a schedule, a step and a law: walk the ladder N = 2, 4, 8, … and take the first rung that passes, its predecessor
failing and its successor 2N passing too (an error that dips through zero on its way does not count); then narrow the bracket
between the failing and the passing rung, over multiples of `stride` (2 for a schedule with a kink at ½, whose odd grids are
another method). To pass is to have every error asked for of `theory.feature.errors` ≤ ε. The last rung is `cap`, so N_ε is at
most cap/2; what is not reached is NaN. N_ε is an integer: as a number it carries rounding noise of variance 1/12.

Growth laws, by least squares on log N: constant; a + b·log d; c·d^a. Chosen by AICc (Hurvich, Tsai 1989) with the mean residual
square never taken below the rounding noise 1/(12N²), so that a law is not preferred for fitting the rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from theory import feature
from theory.program import Array, Walk, compile_walks, needs_rates
from theory.reduction import Line, stack_lines
from theory.sampler import Step, grid
from theory.schedule import Schedule

BUDGET = 2**18  # steps × rows compiled at a time: 100 MB


@dataclass(frozen=True)
class Case:
    """One row: a schedule on its uniform grids, and a law."""

    schedule: Schedule
    law: Line


@dataclass(frozen=True, eq=False)
class Ladder:
    """Errors (cases, rungs) at N = 2, 4, …, cap; NaN above the rung where a case was settled.

    `defined` (cases,): whether the step exists on the schedule (finite rates, see `Walk.fits`).
    """

    rungs: Array
    error: Array
    defined: Array


def walks_of(step: Step, cases: Sequence[Case], steps: int) -> list[Walk]:
    """One walk of N steps per case, with what the step needs; equal schedules (the same object) are evaluated once."""
    known: dict[int, Walk] = {}
    times = grid(steps)
    for case in cases:
        if id(case.schedule) not in known:
            known[id(case.schedule)] = Walk.of(case.schedule, times, needs_rates(step))
    return [known[id(case.schedule)] for case in cases]


def feature_errors(
    step: Step,
    cases: Sequence[Case],
    walks: Sequence[Walk],
    features: Sequence[str] = feature.FEATURES,
    epsilon: float = math.inf,
) -> Array:
    """Relative errors (features, cases) of each case after the steps of its walk; ∞ for a lost mode or an overflow.

    With a finite ε, cases whose weights are seen to be off by more than ε are given ∞ without further work.
    """
    out = np.full((len(features), len(cases)), np.inf)
    for part in _parts(np.array([w.steps for w in walks])):
        law = stack_lines([cases[i].law for i in part.tolist()])
        program = compile_walks(step, [walks[i] for i in part.tolist()])
        # Methods that blow up on a grid far too coarse overflow to ∞ and then NaN: an infinite error, not a surprise.
        with np.errstate(over="ignore", invalid="ignore"):
            kept = np.ones(len(part), dtype=bool)
            if math.isfinite(epsilon) and "weight" in features:
                kept = feature.may_pass(program, law, epsilon)
            if kept.any():
                program, law = program.rows(kept), law.rows(kept)
                found = feature.outcome(program, law, features)
                out[:, part[kept]] = feature.errors(found, feature.truth(law, features), features)
    return out


def _parts(steps: Array) -> Iterator[Array]:
    """Indices in groups within BUDGET, N falling: `reduction.run` drops the rows that are done."""
    order = np.argsort(-steps, kind="stable")
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and steps[order[start]] * (stop + 1 - start) <= BUDGET:
            stop += 1
        yield order[start:stop]
        start = stop


def ladder(
    step: Step,
    cases: Sequence[Case],
    cap: int,
    epsilon: float,
    features: Sequence[str] = feature.FEATURES,
    quick: bool = True,
    walks: Sequence[Walk] | None = None,
) -> Ladder:
    """Errors rung by rung; a case stops two rungs after it first stays ≤ ε. `cap` is a power of 2.

    `quick`: ∞ where the weights alone tell that the error exceeds ε; otherwise the errors are good for any larger ε too.
    `walks`: of the cases at `cap`, where the caller has them.
    """
    if cap < 4 or cap & (cap - 1):
        raise ValueError(f"cap = {cap}; allowed: a power of 2 ≥ 4, the last rung of the ladder; remedy: e.g. 1024")
    walks = walks_of(step, cases, cap) if walks is None else walks
    defined = np.array([w.fits(step) for w in walks])
    rungs = 2 ** np.arange(1, cap.bit_length())
    error = np.full((len(cases), len(rungs)), np.nan)
    for j, n in enumerate(rungs):
        settled = (error[:, j - 2 : j] <= epsilon).all(1) if j >= 2 else np.zeros(len(cases), dtype=bool)
        active = np.flatnonzero(defined & ~settled & (~np.isnan(error[:, j - 1]) if j else True))
        if len(active):
            part = [walks[i].every(cap // int(n)) for i in active.tolist()]
            error[active, j] = feature_errors(
                step, [cases[i] for i in active.tolist()], part, features, epsilon if quick else math.inf
            ).max(0)
    return Ladder(rungs, error, defined)


def steps_needed(
    step: Step, cases: Sequence[Case], found: Ladder, epsilon: float, features: Sequence[str] = feature.FEATURES
) -> Array:
    """N_ε (cases,), NaN where the ladder does not reach it (module docstring). `found` was made with an ε no larger."""
    passes = found.error <= epsilon
    # A case that was settled passes at every rung beyond: the ladder stopped there.
    beyond = np.isnan(found.error) & found.defined[:, None]
    both = passes[:, :-1] & (passes | beyond)[:, 1:]
    reached, rung = both.any(1), both.argmax(1)
    each = np.arange(len(cases))
    high, low = found.rungs[rung].astype(float), np.where(rung == 0, 0.0, found.rungs[rung] / 2)
    above, below = np.where(rung == 0, np.inf, found.error[each, rung - 1]), found.error[each, rung]
    stride = np.array([2 if case.schedule.kinks else 1 for case in cases])
    turn = 0
    while len(open_ := np.flatnonzero(reached & (high - low > stride))):
        guess = _between(low, high, above, below, epsilon, halve=turn >= 3)
        middle = np.clip(np.ceil(guess / stride) * stride, low + stride, high - stride)[open_]
        chosen = [cases[i] for i in open_.tolist()]
        walks = [walks_of(step, [case], int(n))[0] for case, n in zip(chosen, middle, strict=True)]
        error = feature_errors(step, chosen, walks, features, epsilon).max(0)
        fine = error <= epsilon
        high[open_], below[open_] = np.where(fine, middle, high[open_]), np.where(fine, error, below[open_])
        low[open_], above[open_] = np.where(fine, low[open_], middle), np.where(fine, above[open_], error)
        turn += 1
    return np.where(reached, high, np.nan)


def _between(low: Array, high: Array, above: Array, below: Array, epsilon: float, halve: bool) -> Array:
    """Where log error, linear in log N between the two ends, would equal log ε; the middle when that says nothing."""
    middle = (low + high) / 2
    if halve:
        return middle
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.log(above / epsilon) / np.log(above / below)
        guess = low * (high / low) ** share
    return np.where(np.isfinite(guess), guess, middle)


# ---- growth laws -------------------------------------------------------------------------------------------------------

LAWS = ("constant", "log", "power")


@dataclass(frozen=True)
class Growth:
    """The law of N(d) that AICc prefers, the AICc of each, and the power law's exponent with one standard error.

    The error bar is the fit's own: scatter of log N around a straight line, never below the rounding noise. `count` points.
    parameters: constant (log N,), log (a, b), power (log c, a), natural logarithms.
    """

    best: str
    criterion: dict[str, float]
    exponent: float
    exponent_error: float
    parameters: dict[str, tuple[float, ...]]
    count: int

    @property
    def per_decade(self) -> float:
        """Steps added per decade of d by the logarithmic law."""
        return self.parameters["log"][1] * math.log(10)

    def at(self, dims: Array) -> Array:
        """N by the preferred law; NaN when there were too few points."""
        if self.best not in LAWS:
            return np.full(np.shape(dims), np.nan)
        return np.exp(_log_steps(self.best, self.parameters[self.best], np.log(dims)))


def _log_steps(law: str, parameters: Sequence[float], log_dim: Array) -> Array:
    if law == "log":
        # A straight line through steep data falls below 0; at 1e-9 steps it has lost the comparison, with a finite criterion.
        return np.log(np.maximum(parameters[0] + parameters[1] * log_dim, 1e-9))
    return parameters[0] + (parameters[1] * log_dim if law == "power" else 0 * log_dim)


def fit_growth(dims: Array, steps: Array) -> Growth:
    """Growth of N over d by the three laws; points that are NaN are left out. Fewer than five points: NaN and "too few"."""
    kept = np.isfinite(steps)
    d, n = np.asarray(dims, dtype=np.float64)[kept], np.asarray(steps, dtype=np.float64)[kept]
    if len(d) < 5:
        nothing: dict[str, tuple[float, ...]] = dict.fromkeys(LAWS, (math.nan, math.nan))
        return Growth("too few", dict.fromkeys(LAWS, math.nan), math.nan, math.nan, nothing, len(d))
    x, y = np.log(d), np.log(n)
    rounding = float(np.mean(1 / (12 * n**2)))
    slope, intercept = np.polyfit(x, y, 1)
    parameters: dict[str, tuple[float, ...]] = {
        "constant": (float(y.mean()),),
        "log": _logarithmic(x, n),
        "power": (float(intercept), float(slope)),
    }
    residual = {law: y - _log_steps(law, parameters[law], x) for law in LAWS}
    criterion = {law: _aicc(gap, 2 if law == "constant" else 3, rounding) for law, gap in residual.items()}
    scatter = max(float(np.sum(residual["power"] ** 2)) / (len(d) - 2), rounding)
    error = math.sqrt(scatter / float(np.sum((x - x.mean()) ** 2)))
    return Growth(min(criterion, key=criterion.__getitem__), criterion, float(slope), error, parameters, len(d))


def _logarithmic(x: Array, n: Array) -> tuple[float, float]:
    """(a, b) of log N = log(a + b·log d), least squares."""
    start = np.polyfit(x, n, 1)[::-1]
    found = optimize.least_squares(
        lambda p: _log_steps("log", p, x) - np.log(n), start, x_scale=np.maximum(np.abs(start), 1e-3)
    ).x
    return float(found[0]), float(found[1])


def _aicc(residual: Array, parameters: int, floor: float) -> float:
    """n log(RSS/n) + 2k + 2k(k + 1)/(n − k − 1), k counting the noise's variance; RSS/n at least `floor`."""
    count = len(residual)
    correction = 2 * parameters * (parameters + 1) / (count - parameters - 1)
    return count * math.log(max(float(np.mean(residual**2)), floor)) + 2 * parameters + correction


def along_dimension(schedule: Callable[[float], Schedule], law: Callable[[float], Line], dims: Sequence[float]) -> list[Case]:
    """One case per dimension."""
    return [Case(s, w) for s, w in zip(map(schedule, dims), map(law, dims), strict=True)]
