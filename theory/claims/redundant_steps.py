"""Steps outside the window are redundant: leaving them out changes no frequency's variance by more than ε.

Derivation. Exact steps: a start at k > κ_max ends at Pk/(P + k), one at κ_max at Pκ_max/(P + κ_max); the relative difference
is P/(P + κ_max)·(1 − κ_max/k), less than the start deficit. DDIM steps, any number on any levels: one step takes a spread
between ς and √(P + ς²) to one between ς' and √(P + ς'²) (below because the multiplier is at least ς'/ς, above by
Cauchy-Schwarz), so at κ_max they have changed the variance from κ_max to at most P + κ_max. Below κ_min likewise: one jump to
the posterior mean multiplies the spread by P/(P + κ), any DDIM walk by at least that and at most √(P/(P + κ)).
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch

from theory import bound, cost
from theory.claims.start_deficit import scale_by_flow
from theory.curve import LogUniform
from theory.ledger import Claim
from theory.proof import Step, identity, positive
from theory.sampler import DDIM, Flow, grid, walk
from theory.schedule import VarianceExploding
from theory.target import Gaussian

CLAIM = Claim(
    "B2-redundant",
    "ours; what 'tight' means in arXiv 2603.19222 is not public (our working notes)",
    "Leaving out all steps above κ_max, or all below κ_min, changes the output variance of no frequency by more than "
    "ε, relative to "
    "the larger: for exact steps, and for any number of DDIM steps on any levels",
    "Gaussian field, the window for ε (claim B2-window), the same linear steps inside; posterior mean as output; both "
    "ends left out "
    "together: 2ε − ε²",
)
PAPER = "Noise levels beyond the bounds are redundant (abstract: tight schedules, avoiding redundant steps)."
DIFFERS = (
    "Says of what: a relative ε of each frequency's variance; holds for a coarse sampler too, not only for the exact flow."
)
FORMULAS = (bound.left_out_above, bound.left_out_below, bound.start_deficit, bound.stop_deficit, cost.ddim_multiplier)


def prove() -> list[Step]:
    power, kappa, more, level, drop = sp.symbols("P kappa u sigma d", positive=True)
    far, above = kappa + more, level + drop  # k > κ, and a step down from ς = above to level
    near, between = kappa, kappa + more  # below the window: k = near < κ = between
    multiplier = cost.ddim_multiplier(power, above, level)
    started = [k * power / (power + k) for k in (kappa, far)]
    stopped = [power**2 / (power + k) for k in (between, near)]
    start, stop = bound.start_deficit(power, kappa), bound.stop_deficit(power, between)
    return [
        identity("exact, above: the relative change", 1 - started[0] / started[1], bound.left_out_above(power, kappa, far)),
        positive("is less than the start deficit, ≤ ε", start - bound.left_out_above(power, kappa, far)),
        identity("exact, below: the relative change", 1 - stopped[0] / stopped[1], bound.left_out_below(power, between, near)),
        positive("is less than the stop deficit, ≤ ε", stop - bound.left_out_below(power, between, near)),
        positive("DDIM keeps the spread above that of pure noise", above * multiplier - level),
        positive("and below that of noisy data", power + level**2 - (power + above**2) * multiplier**2),
        identity("between the two the variance differs by the start deficit", 1 - kappa / (power + kappa), start),
        positive(
            "a DDIM step, then the posterior mean, keeps more than the posterior mean at once",
            multiplier * power / (power + level**2) - power / (power + above**2),
        ),
        positive(
            "and less than the exact flow",
            power / (power + above**2) - (multiplier * sp.sqrt(power / (power + level**2))) ** 2,
        ),
        identity(
            "between the two the variance differs by the stop deficit",
            1 - (power / (power + between)) ** 2 / (power / (power + between)),
            stop,
        ),
    ]


VARIANCES, EPSILON = np.array([0.5, 1.0, 3.0]), 0.05
FACTOR, STEPS = 50.0, 9


def _ends() -> tuple[float, float]:
    return 0.5 * 0.05 / 0.95, 3.0 * 0.95 / 0.05  # written out: the witness may not ask `bound`


def predict() -> dict[str, np.ndarray | int]:
    """Relative change of variance when the levels up to 50 κ_max, down to κ_min/50 are left out: exact, and nine DDIM steps.

    `kept`: in how many of the four cases ε holds at every frequency.
    """
    low, high = bound.window(VARIANCES.min(), VARIANCES.max(), EPSILON)
    levels = np.sqrt(high) * FACTOR ** (np.arange(STEPS, -1, -1) / (2 * STEPS))
    lower = np.sqrt(low) * FACTOR ** (-np.arange(STEPS + 1) / (2 * STEPS))
    ddim_above = [levels[0] * np.prod(cost.ddim_multiplier(p, levels[:-1], levels[1:])) for p in VARIANCES]
    ddim_below = [np.prod(cost.ddim_multiplier(p, lower[:-1], np.append(lower[1:-1], 0.0))) for p in VARIANCES]
    return {
        "exact above": bound.left_out_above(VARIANCES, high, high * FACTOR),
        "exact below": bound.left_out_below(VARIANCES, low, low / FACTOR),
        "DDIM above": 1 - high / np.array(ddim_above) ** 2,
        "DDIM below": 1 - (1 - bound.stop_deficit(VARIANCES, low)) ** 2 / np.array(ddim_below) ** 2,
        "kept": 4,
    }


def measure() -> dict[str, np.ndarray | int]:
    """The same from the law: its flow by an ODE solver, its DDIM walk by the sampler; and whether ε holds."""
    law, (low, high) = Gaussian(torch.from_numpy(VARIANCES)), _ends()
    below = []
    for kappa in (low, low / FACTOR):
        state = torch.from_numpy(scale_by_flow(law, np.sqrt(low), np.sqrt(kappa)) if kappa < low else np.ones(3))
        below.append(law.denoise(state[None], 1.0, float(np.sqrt(kappa)))[0].numpy())
    above = np.sqrt(FACTOR) * scale_by_flow(law, float(np.sqrt(high * FACTOR)), float(np.sqrt(high)))

    def ddim(first: float, final: float) -> np.ndarray:
        flow = Flow(VarianceExploding(LogUniform(-float(np.log(final)), -float(np.log(first)))), law.denoise)
        path = list(walk(flow, torch.ones(1, 3, dtype=torch.float64), grid(STEPS), DDIM()))
        if final > low:
            return np.sqrt(first) * path[-1][1][0].numpy()
        level = float(np.sqrt(first * (final / first) ** ((STEPS - 1) / STEPS)))
        return law.denoise(path[-2][1], 1.0, level)[0].numpy()  # the last step goes to the posterior mean

    changes = {
        "exact above": 1 - above**-2.0,
        "exact below": 1 - (below[0] / below[1]) ** 2,
        "DDIM above": 1 - high / ddim(high * FACTOR, high) ** 2,
        "DDIM below": 1 - (below[0] / ddim(low, low / FACTOR)) ** 2,
    }
    return {**changes, "kept": sum(c.min() >= 0 and c.max() <= EPSILON for c in changes.values())}


MARGIN = {"exact above": 1e-8, "exact below": 1e-8, "DDIM above": 1e-11, "DDIM below": 1e-11, "kept": 0.5}
