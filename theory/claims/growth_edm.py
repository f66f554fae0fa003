"""EDM's levels cost d^{1/(2ρ)}: the low-variance direction pays for the steps spent on the way down from ς_max ∝ √d.

Derivation. ς^{1/ρ} = w is linear in t, dw = ς_max^{1/ρ} dt (ς_min → 0), so dς/dt = ρ ς^{1−1/ρ} ς_max^{1/ρ} and, with x =
ς/√P, s = 1/(2ρ),
    A = ∫(dθ/dt)² dt = ∫ P/(P + ς²)²·(dς/dt) dς
      = ρ(ς_max/√P)^{1/ρ} ∫₀^∞ x^{1−2s}/(1 + x²)² dx = (π/4)(ς_max/√P)^{1/ρ}/sin(π/2ρ),
since the integral is πs/(2 sin πs). Then e = A/(2N) and N_ε = A/(2ε) for small ε. At any ε (argued, no step): the
levels near √P depend on the ratio (ς_max/√P)^{1/ρ}/N alone (a grid of w in units of P^{s}), so N_ε = c_ε(ς_max/√P)^{1/ρ} as d
→ ∞: with ς_max ∝ √d the class is d^{1/(2ρ)} for σ² and d⁰ for m²d. ρ = 7: d^{1/14}; ρ = 1, levels linear in ς (VE, linear
clock): √d; ρ → ∞: Λ/2 per N, the log law of C10-log.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch

from theory import cost
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is
from theory.sampler import DDIM, Flow, grid, last, walk
from theory.schedule import edm
from theory.target import Gaussian

CLAIM = Claim(
    "C10-edm",
    "ours; EDM, arXiv 2206.00364, for the levels; our working notes, complexity atlas",
    "EDM's levels with exponent ρ lose (π/8N)(ς_max/√P)^{1/ρ}/sin(π/2ρ) of log-spread in a direction of variance P: with "
    "ς_max ∝ √d they need "
    "N_ε ∝ d^{1/(2ρ)} steps for the spread inside a mode, d^{1/14} for ρ = 7",
    "ρ > ½, ς_min ≪ √P ≪ ς_max; leading order in 1/N, so for small ε; DDIM",
)
PAPER = "Not in either paper; the notes measure d^{1/14} for ρ = 7."
DIFFERS = "The exponent for every ρ and the constant; √d for ρ = 1 and log d as ρ → ∞ are its ends."
FORMULAS = (cost.karras_cost, cost.angle, cost.angle_loss)


def prove() -> list[Step]:
    p, top, rho, x, s, noise, share, factor = sp.symbols("P top rho x s sigma t f", positive=True)
    whole = sp.integrate(x ** (1 - 2 * s) / (1 + x**2) ** 2, (x, 0, sp.oo), conds="none")
    level = (top ** (1 / rho) * share) ** rho
    rate = rho * level ** (1 - 1 / rho) * top ** (1 / rho)
    squared = sp.diff(cost.angle(p, noise, sp), noise) ** 2
    assembled = rho * (top / sp.sqrt(p)) ** (1 / rho) * whole.subs(s, 1 / (2 * rho))
    grow = cost.karras_cost(p, sp.sqrt(factor) * top, rho, sp) / cost.karras_cost(p, top, rho, sp)
    in_units = squared.subs(noise, sp.sqrt(p) * x) * rho * (sp.sqrt(p) * x) ** (1 - 1 / rho) * top ** (1 / rho) * sp.sqrt(p)
    stated = rho * (top / sp.sqrt(p)) ** (1 / rho) * x ** (1 - 1 / rho) / (1 + x**2) ** 2

    def tidy(expression: sp.Expr) -> sp.Expr:
        return sp.powsimp(sp.expand_power_base(expression, force=True))

    return [
        limit_is("a small step of angle x costs x²/2", cost.angle_loss(x, sp) / x**2, x, sp.Integer(0), sp.Rational(1, 2), "+"),
        identity("(dθ/dς)² = P/(P + ς²)²", squared, p / (p + noise**2) ** 2),
        identity("dς/dt = ρ ς^{1−1/ρ} ς_max^{1/ρ}", sp.diff(level, share), rate),
        identity("in units of √P the integrand is x^{1−1/ρ}/(1 + x²)² times ρ(ς_max/√P)^{1/ρ}", tidy(in_units), tidy(stated)),
        identity("∫ x^{1−2s}/(1 + x²)² dx = πs/(2 sin πs), 0 < s < 1", whole, sp.pi * s / (2 * sp.sin(sp.pi * s))),
        identity("together the cost is the formula", assembled, cost.karras_cost(p, top, rho, sp)),
        identity("ς_max² → f·ς_max² multiplies it by f^{1/(2ρ)}", grow, factor ** (1 / (2 * rho))),
        limit_is("ρ = 1, linear levels: cost/ς_max is π/(4√P)", cost.karras_cost(p, top, sp.Integer(1), sp) / top, top, sp.oo,
                 sp.pi / (4 * sp.sqrt(p))),
    ]  # fmt: skip


VARIANCE, STEPS, CASES = 0.25, 400, ((7.0, 1e3), (7.0, 1e6), (3.0, 1e4))


def predict() -> dict[str, np.ndarray]:
    """N × the loss, and one step's loss from its angle."""
    step = cost.angle(VARIANCE, 3.0) - cost.angle(VARIANCE, 1.0)
    return {
        "log of N × loss": np.array([np.log(cost.karras_cost(VARIANCE, top, rho) / 2) for rho, top in CASES]),
        "step": cost.angle_loss(step),
    }


def measure() -> dict[str, np.ndarray]:
    """The sampler on EDM's levels with N and N/2 steps, extrapolated in 1/N²."""
    law, found = Gaussian.isotropic(1, VARIANCE), []
    one = torch.ones(1, 1, dtype=torch.float64)
    for rho, top in CASES:
        low = 1e-12
        flow = Flow(edm(low, top, rho), law.denoise)
        exact = 0.5 * np.log((VARIANCE + low**2) / (VARIANCE + top**2))
        coarse, fine = (
            n * (exact - np.log(last(walk(flow, flow.start(one), grid(n), DDIM())).item() / top)) for n in (STEPS // 2, STEPS)
        )
        found.append(np.log((4 * fine - coarse) / 3))
    x = law.denoise(one, 1.0, 3.0)
    return {
        "log of N × loss": np.array(found),
        "step": np.array(0.5 * np.log((VARIANCE + 1) / (VARIANCE + 9)) - np.log((x + (1 - x) / 3).item())),
    }


# ς_min cuts (ς_min/ς_max)^{1/ρ} off the range, below 1 % at ρ = 7 and 1e-12.
MARGIN = {"log of N × loss": 0.02, "step": 1e-12}
