"""VP with its clock: as d → ∞ at fixed N and κ, p̂ and σ̂ have limits that do not know d.

Phase 1, N/2 steps on τ√d = κs: u·x sees Euler on ẏ = κ·m·tanh(h + κs·m·y), noise 1. Its end is read by the next step, whose
drive is ∝ √d·tanh(h + κ·m·y): the sign of h + κ·m·y decides, for good. As N → ∞ the law of y is p N(κm, 1) + (1 − p) N(−κm,
1), so p̂ → p + (1 − p)Φ(h/(κm) − κm) − pΦ(−h/(κm) − κm): the floor of κ. Across u phase 1 does nothing, phase 2 is constant
denoising with N/2 steps: σ̂ → σ·exp(2C/N), C the constant of constant denoising.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from theory import limit, witness
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is
from theory.schedule import Form, variance_preserving_flow

CLAIM = Claim(
    "A4",
    "arXiv 2501.00988, VP with its time dilation (our working notes, A4)",
    "VP with its clock, N Euler steps: p̂ and σ̂ converge as d → ∞ to limits free of d; as N → ∞ these tend to p plus "
    "the floor of κ, "
    "and to σ, with errors O(1/N)",
    "both α forms; κ > 0 fixed, N even (a node at the kink), 0 < p < 1, m, σ > 0",
)
PAPER = "With a dilated time VP recovers both the weights and the variance in Θ(1) steps."
DIFFERS = "In the paper's sense up to a floor in κ that no N removes; limits and floor in closed form. σ has no floor."
RESTS_ON = (
    "Euler's convergence with order 1 along u as N → ∞ (the limiting velocity is smooth and bounded on the whole of phase 1): "
    "that p̂ tends to p plus the floor with an error O(1/N) is argued, and measured there; the limits at fixed N are steps, "
    "those of σ̂ are A2's"
)
FORMULAS = (limit.mode_velocity, limit.window_floor, limit.window_errors, limit.sqrt_spread_rate, limit.linear_spread_rate)


def prove() -> list[Step]:
    m, k, s, v, e = sp.symbols("m kappa s sigma2 e", positive=True)  # e = 1/√d
    y, h = sp.symbols("y h", real=True)
    d, far, ahead = sp.symbols("d Y tau", positive=True)
    pull = sp.tanh(h + ahead * (m * sp.sqrt(d)) * (far * sp.sqrt(d)) / (1 + v))
    steps = []
    for name, noise, rate in (
        ("sqrt", sp.sqrt(1 - (k * s * e) ** 2), -k * s * e / sp.sqrt(1 - (k * s * e) ** 2)),
        ("linear", 1 - k * s * e, sp.Integer(-1)),
    ):
        point = (k * s * e, noise, 1, rate, v)
        along = k * e * limit.mode_velocity(y, m / e, h, *point, sp)
        across = k * e * limit.linear_rate(*point)
        kicked = (along / k).subs(s, 1)  # e × the velocity per unit of τ, at the kink
        steps += [
            identity(
                f"{name} form, phase 1: dy/ds → κm·tanh(h + κs·m·y), the velocity with signal κs, noise 1, variance 0",
                sp.expand_mul(along, deep=False).subs(e, 0),
                limit.mode_velocity(y, m, h, k * s, 1, k, 0, 0, sp),
            ),
            limit_is(f"{name} form: A·dτ/ds → 0, the complement does not move", across, e, sp.Integer(0), sp.Integer(0), "+"),
            identity(
                f"{name} form: phase 2 opens with a kick √d·m·tanh(h + κ·m·y)",
                sp.expand_mul(kicked, deep=False).subs(e, 0),
                m * sp.tanh(h + k * m * y),
            ),
        ]
    t, yy = sp.symbols("s y_1", real=True)
    density = sp.exp(-((yy**2 + (k * m * t) ** 2) / 2)) * sp.cosh(h + k * t * m * yy) / (sp.sqrt(2 * sp.pi) * sp.cosh(h))
    flux = density * limit.mode_velocity(yy, m, h, k * t, 1, k, 0, 0, sp)
    separation = k * m
    weight = sp.exp(h) / (2 * sp.cosh(h))
    mass = weight * limit.normal_cdf(separation + h / separation, sp) + (1 - weight) * limit.normal_cdf(
        h / separation - separation, sp
    )
    return [
        *steps,
        identity(
            "phase 1 carries N(0, 1) to p N(κms, 1) + (1 − p) N(−κms, 1): continuity, for all s",
            ((density.diff(t) + flux.diff(yy)) / density).rewrite(sp.exp),
        ),
        identity("the kick changes sign at y = −h/(κm)", sp.tanh(h + k * m * (-h / (k * m)))),
        limit_is("after it u·x = √d·Y, Y > 0, and the next tanh is 1: frozen", pull, d, sp.oo, sp.Integer(1)),
        limit_is("and −1 for Y < 0", pull.subs(far, -far), d, sp.oo, sp.Integer(-1)),
        identity(
            "N → ∞: P(y > −h/(κm)) = p + floor(κ)",
            (mass - weight - limit.window_floor(separation, h, sp))
            .rewrite(sp.exp)
            .rewrite(sp.erfc)
            .replace(sp.erfc, _complement),
        ),
        *_floor_signs(k, h),
    ]


def _complement(x: sp.Expr) -> sp.Expr:
    """erfc, with erfc(−x) = 2 − erfc(x) used to make the leading sign positive."""
    x = sp.expand(x)
    return 2 - sp.erfc(-x) if x.could_extract_minus_sign() else sp.erfc(x)


def _floor_signs(k: sp.Symbol, h: sp.Symbol) -> list[Step]:
    minus, plus = limit.window_errors(k, h, sp)
    return [
        limit_is("the floor vanishes as κ → ∞ (mass of − ending in +)", minus.subs(h, 0), k, sp.oo, sp.Integer(0)),
        identity("and at p = ½, by symmetry", (minus - plus).subs(h, 0)),
    ]


WEIGHT, MEAN, KAPPA, STD, DIM = 0.8, 1.0, 1.5, 0.5, 1e12
STEPS, MANY = 12, 4000
FORMS: tuple[Form, ...] = ("sqrt", "linear")


def predict() -> dict[str, np.ndarray]:
    """p̂ at N = 12, d → ∞; then N → ∞ by the floor; N·log(σ̂/σ) as N → ∞."""
    bias = limit.log_odds(WEIGHT)
    return {
        "p̂ (12 steps)": np.full(2, limit.window_weight(STEPS // 2, KAPPA, MEAN, WEIGHT)),
        "p̂ − p (N → ∞)": np.full(2, limit.window_floor(KAPPA * MEAN, bias)),
        "N log": 2 * np.array([limit.sqrt_spread_rate(STD**2), limit.linear_spread_rate(STD**2)]),
    }


def measure() -> dict[str, np.ndarray]:
    flows = [variance_preserving_flow(form, DIM, KAPPA) for form in FORMS]
    at = (WEIGHT, MEAN * DIM**0.5, STD**2)
    many = [[witness.plus_weight(flow, n, *at) - WEIGHT for flow in flows] for n in (200, 400)]
    return {
        "p̂ (12 steps)": np.array([witness.plus_weight(flow, STEPS, *at) for flow in flows]),
        "p̂ − p (N → ∞)": 2 * np.array(many[1]) - np.array(many[0]),
        "N log": np.array([MANY * np.log(witness.spread(flow, MANY, STD**2) / STD) for flow in flows]),
    }


# d = 10¹²: corrections κ/√d ~ 10⁻⁶. N → ∞ by Richardson from 200 and 400: O(1/N²). Phase 1 adds N·κ/√d = 0.006 to N log.
MARGIN = {"p̂ (12 steps)": 1e-5, "p̂ − p (N → ∞)": 1e-4, "N log": 0.02}
