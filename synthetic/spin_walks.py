"""Samplers on Curie-Weiss at one dimension: schedules told about the law, features of the output, and N_ε.

Two ways to walk. `Spins` walks groups of equal coordinates with the exact posterior mean (`theory.occupation`): any d at one
cost. `sampled` walks all d coordinates from random normals, with u·z stratified. Features are those of the law at the same d,
exactly (`synthetic.magnetisation`): the weight of the "+" mode, the mean of M and the spread of a coordinate inside it; for J
≤ 1, where there is one mode, the root mean square of M and the spread.

For J ≤ 1 the magnetisation is as small as what the quantiles of normals leave out. With the same groups but random numbers of
coordinates in each, multinomial as for d normals, M = f(u·z) + rest, f from the quantiles, and E M² = E f² + E rest², the
mean of f·rest being of higher order in 1/d: one integral, and one average over random groups that has the only error bar.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import special
from torch import Tensor

from synthetic import magnetisation
from synthetic.families import Scales, entries
from synthetic.noise import noise_blocks
from theory import bound, reduction
from theory.curie_weiss import CurieWeiss, spontaneous_magnetisation
from theory.occupation import OccupiedSpins, normal_groups
from theory.program import Program, Walk, compile_walks, needs_rates
from theory.sampler import Flow, Step, grid, last, walk
from theory.schedule import Schedule
from theory.stream import Stream

FEATURES = ("weight", "magnetisation", "spread")
SCHEDULES = (
    "geodesic", "VP sqrt clock", "VP linear clock", "VE linear clock", "log-uniform", "EDM ρ = 7", "tangent, geometric mean",
    "cosine", "linear", "square root", "VE linear", "VE sqrt",
)  # fmt: skip
NODES, MASS = (v / 2 + shift for v, shift in zip(np.polynomial.legendre.leggauss(4), (0.5, 0.0), strict=True))
BRACKET = (-3.0, -1.2, -0.5, -0.15, 0.15, 0.5, 1.2, 3.0)  # of the separatrix's u·z, about where it should be
STRATA = 8  # of u·z for J ≤ 1, and Gauss-Hermite nodes
INSIDE = 6  # further points in the bracket, twice: 0.3/49 of z, so 2e-3 of a weight


def law_scales(law: CurieWeiss, epsilon: float) -> Scales:
    """What a schedule may know of the law: the variances d·E M² along u and (d − d·E M²)/(d − 1) across, exact at its d."""
    mass = law.magnetisation_log_pmf().exp().numpy()
    square = float(mass @ np.linspace(-1, 1, law.dim + 1) ** 2)
    large, small = law.dim * square, law.dim * (1 - square) / (law.dim - 1)
    low, high = bound.noise_window([small, large], epsilon)
    return Scales(float(law.dim), small, large, math.sqrt(low), math.sqrt(high))


def schedules(law: CurieWeiss, epsilon: float, kappa: float) -> dict[str, Schedule]:
    """The schedules of SCHEDULES for this law: window of ε, clocks of κ."""
    scales, listed = law_scales(law, epsilon), entries(epsilon, kappa)
    return {name: listed[name].make(scales) for name in SCHEDULES}


def defined(step: Step, schedule: Schedule) -> bool:
    """Whether the step exists on the schedule: Euler and Heun in its time need finite rates."""
    return not needs_rates(step) or _walk(step, schedule, 4).fits(step)


def _walk(step: Step, schedule: Schedule, steps: int) -> Walk:
    return Walk.of(schedule, grid(steps), needs_rates(step))


def compiled(step: Step, told: Sequence[Schedule], steps: int) -> Program:
    """N steps on each schedule, one row per schedule: the coefficients that the step has on its walks (`theory.program`)."""
    return compile_walks(step, [_walk(step, schedule, steps) for schedule in told])


@dataclass(frozen=True, eq=False)
class Groups:
    """Values and shares (K,) of groups of coordinates, and the law that is seen through them."""

    values: Tensor
    share: Tensor
    law: OccupiedSpins


@dataclass(frozen=True, eq=False)
class Spins:
    """Curie-Weiss at dimension d, walked in groups of equal coordinates."""

    law: CurieWeiss

    @cached_property
    def truth(self) -> dict[str, float]:
        """FEATURES of the law itself at its d."""
        if self.law.coupling > 1:
            weight, mean, _, spread = magnetisation.law_features(self.law)
            return {"weight": weight, "magnetisation": mean, "spread": spread}
        square = float(self.law.magnetisation_log_pmf().exp().numpy() @ np.linspace(-1, 1, self.law.dim + 1) ** 2)
        return {"weight": math.nan, "magnetisation": math.sqrt(square), "spread": math.sqrt(1 - square)}

    @cached_property
    def _fine(self) -> Groups:
        """Fine where spins are about to turn: in the "+" mode, or for J ≤ 1 at 0, as far as M reaches."""
        if self.law.coupling > 1:
            minority = (1 - spontaneous_magnetisation(self.law.coupling)) / 2
            return self._walked(*normal_groups(float(special.ndtri(minority)), 0.25, 0.01, 0.25))
        reach = 6 * self.truth["magnetisation"]
        return self._walked(*normal_groups(0.0, 0.25, min(reach / 50, 0.25), reach))

    @cached_property
    def _coarse(self) -> Groups:
        return self._walked(*normal_groups(0.0, 0.3, 0.3))  # the mode is chosen long before spins are sharp

    def _walked(self, values: Tensor, share: Tensor) -> Groups:
        return Groups(values, share, OccupiedSpins(self.law.dim, self.law.coupling, self.law.field, share))

    def random_groups(self, component: np.ndarray, stream: Stream) -> Groups:
        """Groups with as many coordinates as d normals would put there, each row moved to u·z = 0; one row per `component`."""
        values, share = self._fine.values.numpy(), self._fine.share.numpy()
        rows = [stream.generator(k).multinomial(self.law.dim, share) / self.law.dim for k in range(len(component))]
        shares = torch.from_numpy(np.array(rows))
        moved = torch.from_numpy(values - (np.array(rows) @ values)[:, None])
        return self._walked(moved, shares)

    def final(self, run: Program, component: np.ndarray, groups: Groups | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(M, variance of a coordinate about it), (rows, S), of trajectories that start at u·z = `component` (rows, S) or (S,).

        One row per row of the program, all walked side by side. `groups`: others than the fine ones.
        """
        groups = groups or self._fine

        def posterior(evaluation: int, k: int, x: np.ndarray) -> np.ndarray:
            signal, noise = (torch.from_numpy(level[evaluation, k, : len(x), None, None]) for level in (run.signal, run.noise))
            return groups.law.denoise(torch.from_numpy(x), signal, noise).numpy()

        start = groups.values.numpy() + np.asarray(component)[..., None] / math.sqrt(self.law.dim)
        x = reduction.run(run, posterior, run.start[:, None, None] * start)
        share = groups.share.numpy()
        mean = (x * share).sum(-1)
        return mean, ((x - mean[..., None]) ** 2 * share).sum(-1)

    def weight(self, run: Program) -> np.ndarray:
        """p̂ = P(M > 0), (rows,), by the u·z at which M(u·z), taken as rising, changes sign."""
        z = np.tile(special.ndtri(1 - self.truth["weight"]) + np.array(BRACKET), (len(run.start), 1))
        low, high = self._narrowed(run, z, np.full((len(z), 1), -math.inf), np.full((len(z), 1), math.inf))
        weight = (low == -math.inf)[:, 0].astype(np.float64)  # beyond the bracket: one mode is lost
        inside = np.isfinite(high - low)[:, 0]
        if inside.any():
            run, low, high = run.rows(inside), low[inside], high[inside]
            for _ in range(2):
                low, high = self._narrowed(run, np.linspace(low[:, 0], high[:, 0], INSIDE + 2, axis=1)[:, 1:-1], low, high)
            weight[inside] = special.ndtr(-(low + high) / 2)[:, 0]
        return weight

    def _narrowed(self, run: Program, z: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The neighbours among (low, z, high), each (rows, 1), between which M changes sign."""
        above = (self.final(run, z, self._coarse)[0] <= 0).sum(1, keepdims=True)
        ends = np.concatenate([low, z, high], axis=1)
        return np.take_along_axis(ends, above, 1), np.take_along_axis(ends, above + 1, 1)

    def mode(self, run: Program, weight: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """(mean of M, spread of a coordinate) in the "+" mode, (rows,), over quantiles of u·z inside it; NaN where it got none.

        `weight` of the mode, positive, (rows, 1) or one for all.
        """
        mean, variance = self.final(run, special.ndtri(1 - weight + weight * NODES))
        share = MASS * (mean > 0)
        total = np.where(share.any(1), share.sum(1), math.nan)
        return (share * mean).sum(1) / total, np.sqrt((share * variance).sum(1) / total)

    def found(self, run: Program) -> np.ndarray:
        """FEATURES of the sampler's output (rows, 3); NaN for the mean and the spread of a mode that got nothing."""
        weight = self.weight(run)
        out, kept = np.full((len(weight), len(FEATURES)), math.nan), weight > 0
        out[:, 0] = weight
        if kept.any():
            out[kept, 1:] = np.stack(self.mode(run.rows(kept), weight[kept, None]), axis=1)
        return out

    def single(self, run: Program, repeats: int, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
        """FEATURES and their standard errors (rows, 3) for J ≤ 1: E M² = E f² + E rest² (module docstring).

        `repeats` random groups per stratum, the same ones for all rows.
        """
        nodes, mass = np.polynomial.hermite_e.hermegauss(STRATA)
        strata = special.ndtri((np.arange(STRATA) + 0.5) / STRATA)
        mean, variance = self.final(run, np.concatenate([nodes, strata]))
        component = np.repeat(strata, repeats)
        found = self.final(run, component, self.random_groups(component, stream))[0]
        rest = (found - np.repeat(mean[:, STRATA:], repeats, axis=1)) ** 2
        size = np.sqrt(mean[:, :STRATA] ** 2 @ mass / mass.sum() + rest.mean(1))
        bar = rest.std(1, ddof=1) / math.sqrt(len(component))
        spread = np.sqrt(variance[:, :STRATA] @ mass / mass.sum())
        blank = np.full(len(size), math.nan)
        return np.stack([blank, size, spread], axis=1), np.stack([blank, bar / (2 * size), 0 * size], axis=1)

    def passes(self, run: Program, epsilon: float) -> np.ndarray:
        """Whether every error is ≤ ε, (rows,): the weight by one trajectory on either side of what it may be off by."""
        weight = self.truth["weight"]
        slack = epsilon * max(weight, 1 - weight)
        ends = special.ndtri(np.clip([1 - weight - slack, 1 - weight + slack], 1e-12, 1 - 1e-12))
        low, high = self.final(run, ends, self._coarse)[0].T
        good = (low <= 0) & (high > 0)
        if good.any():
            found = self.mode(run.rows(good), weight)
            good[good] = np.all(
                [abs(v / self.truth[k] - 1) <= epsilon for v, k in zip(found, FEATURES[1:], strict=True)], axis=0
            )
        return good

    def steps_needed(self, step: Step, told: Sequence[Schedule], epsilon: float, caps: Sequence[int]) -> np.ndarray:
        """N_ε of each schedule: the first N = 4, 8, 16, … that passes, 2N passing too, narrowed to 3 % over even N.

        NaN if more than cap/2, a power of 2 for each schedule. All are walked side by side.
        """
        walks = [_walk(step, schedule, cap) for schedule, cap in zip(told, caps, strict=True)]
        low, high, rung = np.zeros(len(told), dtype=int), np.zeros(len(told), dtype=int), 2
        before, open_ = np.zeros(len(told), dtype=bool), np.arange(len(told))
        while len(open_ := open_[np.array(caps)[open_] >= 2 * rung]):
            rung *= 2
            after = self.passes(compile_walks(step, [walks[i].every(caps[i] // rung) for i in open_.tolist()]), epsilon)
            both = before[open_] & after
            low[open_[both]], high[open_[both]] = max(rung // 4, 4), rung // 2
            before[open_] = after
            open_ = open_[~both]
        while len(wide := np.flatnonzero(high - low > np.maximum(2, 0.03 * high))):
            middle = 2 * np.round((low + high)[wide] / 4).astype(int)
            wide, middle = wide[order := np.argsort(-middle, kind="stable")], middle[order]  # longest first: see `Program`
            run = compile_walks(step, [_walk(step, told[i], n) for i, n in zip(wide.tolist(), middle.tolist(), strict=True)])
            good = self.passes(run, epsilon)
            high[wide[good]], low[wide[~good]] = middle[good], middle[~good]
        return np.where(high > 0, high, math.nan)


def relative_errors(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Errors of FEATURES (first axis): of the weight relative to the heavier mode's, of the others relative; NaN becomes ∞."""
    scale = np.concatenate([np.maximum(true[:1], 1 - true[:1]), true[1:]])
    gaps = np.abs(found - true) / scale
    return np.where(np.isnan(gaps), math.inf, gaps)


def sampled(step: Step, schedule: Schedule, law: CurieWeiss, steps: int, count: int, stream: Stream) -> np.ndarray:
    """(2, count): M and the variance of a coordinate about it, of `count` trajectories in all d coordinates, u·z rising.

    The step's coefficients are read off it once, not once per block of trajectories.
    """
    run = compiled(step, [schedule], steps)

    def posterior(evaluation: int, k: int, x: np.ndarray) -> np.ndarray:
        signal, noise = (float(level[evaluation, k, 0]) for level in (run.signal, run.noise))
        return law.denoise(torch.from_numpy(x), signal, noise).numpy()

    blocks = (z.numpy() for _, z in noise_blocks(count, law.dim, stream))
    found = [reduction.run(run, posterior, run.start[:, None, None] * z[None])[0] for z in blocks]
    return np.concatenate([[x.mean(-1), x.var(-1)] for x in found], axis=1)


def walked(step: Step, schedule: Schedule, law: CurieWeiss, steps: int, z: Tensor) -> np.ndarray:
    """(2, rows): M and the variance of a coordinate about it, after a walk in all d coordinates from z (rows, d)."""
    flow = Flow(schedule, law.denoise)
    x = last(walk(flow, flow.start(z), grid(steps), step))
    return np.stack([x.mean(-1).numpy(), x.var(-1, correction=0).numpy()])
