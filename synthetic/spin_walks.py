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
from theory.program import Walk, compile_walks, needs_rates
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
    return bool(Walk.of(schedule, grid(4), needs_rates(step)).fits(step))


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

    def final(
        self, step: Step, schedule: Schedule, steps: int, component: np.ndarray, groups: Groups | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(M, variance of a coordinate about it) of trajectories that start at u·z = `component` (S,).

        `groups`: others than the fine ones. The step's coefficients are those that it has on its walk (`theory.program`).
        """
        groups = groups or self._fine
        run = compile_walks(step, [Walk.of(schedule, grid(steps), needs_rates(step))])

        def posterior(evaluation: int, k: int, x: np.ndarray) -> np.ndarray:
            signal, noise = (float(level[evaluation, k, 0]) for level in (run.signal, run.noise))
            return groups.law.denoise(torch.from_numpy(x[0]), signal, noise).numpy()[None]

        start = groups.values.numpy() + np.asarray(component)[:, None] / math.sqrt(self.law.dim)
        x = reduction.run(run, posterior, run.start[:, None, None] * start[None])[0]
        share = groups.share.numpy()
        mean = (x * share).sum(-1)
        return mean, ((x - mean[:, None]) ** 2 * share).sum(-1)

    def weight(self, step: Step, schedule: Schedule, steps: int) -> float:
        """p̂ = P(M > 0) by the u·z at which M(u·z), taken as rising, changes sign."""
        z = float(special.ndtri(1 - self.truth["weight"])) + np.array(BRACKET)
        low, high = -math.inf, math.inf
        for _ in range(3):
            above = int((self.final(step, schedule, steps, z, self._coarse)[0] <= 0).sum())
            ends = np.concatenate([[low], z, [high]])
            low, high = ends[above], ends[above + 1]
            if not math.isfinite(high - low):  # beyond the bracket: one mode is lost
                return float(low == -math.inf)
            z = np.linspace(low, high, INSIDE + 2)[1:-1]
        return float(special.ndtr(-(low + high) / 2))

    def mode(self, step: Step, schedule: Schedule, steps: int, weight: float) -> tuple[float, float]:
        """(mean of M, spread of a coordinate) in the "+" mode, over quantiles of u·z inside it; NaN where it got none."""
        mean, variance = self.final(step, schedule, steps, special.ndtri(1 - weight + weight * NODES))
        share = MASS * (mean > 0)
        if share.sum() == 0:
            return math.nan, math.nan
        return float(share @ mean / share.sum()), math.sqrt(float(share @ variance / share.sum()))

    def found(self, step: Step, schedule: Schedule, steps: int) -> np.ndarray:
        """FEATURES of the sampler's output; NaN for the mean and the spread of a mode that got nothing."""
        weight = self.weight(step, schedule, steps)
        return np.array([weight, *(self.mode(step, schedule, steps, weight) if weight > 0 else (math.nan, math.nan))])

    def single(self, step: Step, schedule: Schedule, steps: int, repeats: int, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
        """FEATURES and their standard errors for J ≤ 1: E M² = E f² + E rest² (module docstring), `repeats` per stratum."""
        nodes, mass = np.polynomial.hermite_e.hermegauss(STRATA)
        strata = special.ndtri((np.arange(STRATA) + 0.5) / STRATA)
        mean, variance = self.final(step, schedule, steps, np.concatenate([nodes, strata]))
        component = np.repeat(strata, repeats)
        found = self.final(step, schedule, steps, component, self.random_groups(component, stream))[0]
        rest = (found - np.repeat(mean[STRATA:], repeats)) ** 2
        square = float(mass @ mean[:STRATA] ** 2 / mass.sum() + rest.mean())
        size, bar = math.sqrt(square), float(rest.std(ddof=1)) / math.sqrt(len(rest))
        spread = math.sqrt(float(mass @ variance[:STRATA] / mass.sum()))
        return np.array([math.nan, size, spread]), np.array([math.nan, bar / (2 * size), 0.0])

    def passes(self, step: Step, schedule: Schedule, steps: int, epsilon: float) -> bool:
        """Whether every error is ≤ ε: the weight by one trajectory on either side of what it may be off by."""
        weight = self.truth["weight"]
        slack = epsilon * max(weight, 1 - weight)
        ends = special.ndtri(np.clip([1 - weight - slack, 1 - weight + slack], 1e-12, 1 - 1e-12))
        low, high = self.final(step, schedule, steps, ends, self._coarse)[0]
        if not (low <= 0 < high):
            return False
        found = self.mode(step, schedule, steps, weight)
        return all(abs(v / self.truth[name] - 1) <= epsilon for v, name in zip(found, FEATURES[1:], strict=True))

    def steps_needed(self, step: Step, schedule: Schedule, epsilon: float, cap: int) -> float:
        """N_ε: the first N = 4, 8, 16, … that passes, 2N passing too, narrowed to 3 % over even N; NaN if more than cap/2."""
        rung, verdicts = 4, {4: self.passes(step, schedule, 4, epsilon)}
        while True:
            if 2 * rung > cap:
                return math.nan
            verdicts[2 * rung] = self.passes(step, schedule, 2 * rung, epsilon)
            if verdicts[rung] and verdicts[2 * rung]:
                break
            rung *= 2
        low, high = (rung // 2, rung) if rung > 4 else (rung, rung)
        while high - low > max(2, 0.03 * high):
            middle = 2 * round((low + high) / 4)
            low, high = (low, middle) if self.passes(step, schedule, middle, epsilon) else (middle, high)
        return float(high)


def relative_errors(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Errors of FEATURES (first axis): of the weight relative to the heavier mode's, of the others relative; NaN becomes ∞."""
    scale = np.concatenate([np.maximum(true[:1], 1 - true[:1]), true[1:]])
    gaps = np.abs(found - true) / scale
    return np.where(np.isnan(gaps), math.inf, gaps)


def sampled(step: Step, schedule: Schedule, law: CurieWeiss, steps: int, count: int, stream: Stream) -> np.ndarray:
    """(2, count): M and the variance of a coordinate about it, of `count` trajectories in all d coordinates, u·z rising."""
    return np.concatenate([walked(step, schedule, law, steps, z) for _, z in noise_blocks(count, law.dim, stream)], axis=1)


def walked(step: Step, schedule: Schedule, law: CurieWeiss, steps: int, z: Tensor) -> np.ndarray:
    """(2, rows): M and the variance of a coordinate about it, after a walk in all d coordinates from z (rows, d)."""
    flow = Flow(schedule, law.denoise)
    x = last(walk(flow, flow.start(z), grid(steps), step))
    return np.stack([x.mean(-1).numpy(), x.var(-1, correction=0).numpy()])
