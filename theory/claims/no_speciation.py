"""Curie-Weiss with J ≤ 1 has no speciation: along u the noisy law stays log-concave down to noise of the law's own width.

Derivation. At ς² = 1/J the square of the coupling cancels: density(T) ∝ Σ_a exp(JS²/(2d) + hS/d − J(T − S/√d)²/2) =
e^{−JT²/2} (2cosh(h/d + JT/√d))^d, S = Σa. In the field w = JT/√d that is exp(d·(log cosh(w + h/d) − w²/(2J))), with second
derivative d(1/cosh² − 1/J) ≤ 0 iff J ≤ 1 (at every w). More noise is a convolution with a Gaussian, which preserves
log-concavity (Prékopa). So for J ≤ 1, every d, h and ς ≥ 1/√J, there is one mode. For J > 1 and h = 0 the curvature at w = 0
is positive: two. Below 1/√J the limit law N(0, 1/(1 − J)) has one mode at every noise, but at finite d the lattice of S
shows: T sits at spacing 2/√d, and ς well below 1/√d resolves it into d + 1 modes. That is no speciation, and it is why "at
every noise level" needs a limit.
"""

from __future__ import annotations

import math

import numpy as np
import sympy as sp

from theory import phase
from theory.curie_weiss import CurieWeiss
from theory.ledger import Claim
from theory.proof import Step, identity, positive

CLAIM = Claim(
    "A8-none",
    "Aranguri, Biroli, Mézard, Vanden-Eijnden, arXiv 2501.00988 (Curie-Weiss; our working notes, A8); theorem ours",
    "For J ≤ 1 the noisy law of Curie-Weiss along u is log-concave, so has one mode, at every d and h and every "
    "noise-to-signal "
    "ς ≥ 1/√J; for J > 1, h = 0 it is bimodal at ς = 1/√J",
    "all d ≥ 1 and real h; exact, no limit; nothing is claimed for ς < 1/√J at finite d, where the law shows its lattice in "
    "the end: d + 1 modes (measured at ς = 0.4/√d); there the limit law N(0, 1/(1 − J)), J < 1, has one mode at every noise",
)
PAPER = "J ≤ 1 has a single mode, so nothing to decide (our working notes, reconstruction)."
DIFFERS = (
    "A theorem at every finite d instead of a limit; the noise range where it holds, and the lattice below it, are stated."
)
RESTS_ON = "Prékopa's theorem (convolution keeps log-concavity) for ς > 1/√J; at ς = 1/√J every step is checked"
FORMULAS = (phase.field_exponent,)


def prove() -> list[Step]:
    coupling, dim, more = sp.symbols("J d x", positive=True)
    bias, t, s, w, v = sp.symbols("h T S w v", real=True)
    exponent = phase.field_exponent(coupling, bias / dim, w, sp)
    curvature = exponent.diff(w, 2).subs(w, v - bias / dim)
    in_j = 1 - sp.tanh(v) ** 2 - 1 / coupling
    limit_variance = 1 / (1 / coupling - 1)  # of w·√d at h = 0, J < 1
    return [
        identity("at ς² = 1/J the squares of S cancel: independent spins in the field h/d + JT/√d",
                 coupling * s**2 / (2 * dim) + bias * s / dim - coupling * (t - s / sp.sqrt(dim)) ** 2 / 2,
                 -coupling * t**2 / 2 + (bias / dim + coupling * t / sp.sqrt(dim)) * s),
        identity("each sums to 2cosh: log density = d·field_exponent at w = JT/√d",
                 -coupling * t**2 / 2 + dim * sp.log(sp.cosh(bias / dim + coupling * t / sp.sqrt(dim))),
                 dim * exponent.subs(w, coupling * t / sp.sqrt(dim))),
        identity("its curvature at w = v − h/d is 1/cosh² v − 1/J", curvature.rewrite(sp.exp), in_j.rewrite(sp.exp)),
        positive("J = 1/(1 + x) < 1: negative everywhere, −curvature = tanh² v + x", -in_j.subs(coupling, 1 / (1 + more)),
                 sp.tanh(v) ** 2 + more),
        positive("J = 1: nowhere positive, −curvature = tanh² v", -in_j.subs(coupling, 1), sp.tanh(v) ** 2, strict=False),
        positive("J = 1 + x > 1, h = 0: positive at w = 0, where the slope is 0: a minimum between two modes",
                 curvature.subs({bias: 0, v: 0, coupling: 1 + more}), more / (1 + more)),
        identity("the slope there", exponent.diff(w).subs({bias: 0, w: 0})),
        identity("J < 1, d → ∞: T = √d·w/J has variance J/(1 − J)/J² = 1/(1 − J) + 1/J: law plus noise",
                 limit_variance / coupling**2, 1 / (1 - coupling) + 1 / coupling),
        identity("and its density is Gaussian: the curvature of d·field_exponent(w/√d) at w = 0, h = 0 is 1 − 1/J",
                 curvature.subs({bias: 0, v: 0}), 1 - 1 / coupling),
    ]  # fmt: skip


DIM, CASES = 20, ((0.4, 0.0), (0.9, 1.0), (1.0, 0.0), (1.0, -2.0), (1.6, 0.0), (1.6, 0.5))
GRID = np.arange(-16.0, 16.0, 0.01)


def _modes(log_density: np.ndarray) -> int:
    rises = np.diff(log_density) > 0
    return int((rises[:-1] & ~rises[1:]).sum())


def predict() -> dict[str, np.ndarray]:
    """Log density of T and its number of modes at ς² = 1/J; one mode above it for J ≤ 1; d + 1 where the lattice shows."""
    logs = [DIM * phase.field_exponent(coupling, field / DIM, coupling * GRID / math.sqrt(DIM)) for coupling, field in CASES]
    return {
        "log density": np.array([values - values.max() for values in logs])[:, ::40],
        "modes": np.array([int((np.diff(np.sign(np.diff(values))) < 0).sum()) for values in logs]),
        "modes, more noise": np.ones((4, 3)),
        "modes, lattice": np.full(4, DIM + 1),
    }


def measure() -> dict[str, np.ndarray]:
    """The same from the exact law of the magnetisation, a mixture of d + 1 Gaussians."""

    def log_density(case: tuple[float, float], noise: float, t: np.ndarray) -> np.ndarray:
        pmf = CurieWeiss(DIM, *case).magnetisation_log_pmf().numpy()
        places = math.sqrt(DIM) * np.linspace(-1, 1, DIM + 1)
        values = np.logaddexp.reduce(pmf - (t[:, None] - places) ** 2 / (2 * noise**2), -1)
        return values - values.max()

    logs = [log_density(case, 1 / math.sqrt(case[0]), GRID) for case in CASES]
    fine = np.arange(-5.0, 5.0, 0.002)
    return {
        "log density": np.array(logs)[:, ::40],
        "modes": np.array([_modes(values) for values in logs]),
        "modes, more noise": np.array(
            [[_modes(log_density(case, f / math.sqrt(case[0]), GRID)) for f in (1.1, 2.0, 5.0)] for case in CASES[:4]]
        ),
        "modes, lattice": np.array([_modes(log_density(case, 0.4 / math.sqrt(DIM), fine)) for case in CASES[:4]]),
    }


# log densities down to −400 by sums of 21 terms; numbers of modes are integers
MARGIN = {"log density": 1e-10, "modes": 0.5, "modes, more noise": 0.5, "modes, lattice": 0.5}
