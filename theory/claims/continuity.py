"""The interpolant's velocity transports its law: ∂ρ/∂t + ∇·(ρ b) = 0, for every signal(t), noise(t) and every law of the data.

Derivation. For data fixed at one point a, x = g·a + n·z has density ρ_a = Π_i N(x_i; g·a_i, n²) and moves with the velocity
v_a = g'·a + (n'/n)(x − g·a), which solves the continuity equation coordinate by coordinate. Both sides are linear in the law
of a: ρ = E_a ρ_a and ρ·b = E_a ρ_a·v_a with b = E[v_a | x] = (n'/n)·x + (g' − g·n'/n)·E[a | x]. While n > 0 every
derivative of ρ_a is at most a constant times 1 + |a|, so the mean over a may be taken under it as soon as E|a| < ∞. The same
average of ∇ρ_a is Tweedie's formula.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
from scipy import special

from theory import limit
from theory.ledger import Claim
from theory.proof import Step, identity, positive

CLAIM = Claim(
    "A1",
    "arXiv 2501.00988, the interpolant and its velocity (our working notes, Setting)",
    "b(x) = (noise'/noise)·x + (signal' − signal·noise'/noise)·E[a | x] solves the continuity equation of signal·a + "
    "noise·z; for the "
    "two-mode Gaussian mixture it is A·x + B·μ·tanh(h + signal·μ·x/Δ), also for both α forms",
    "signal and noise differentiable, noise > 0; any law of a with E|a| < ∞ (proved for every finite mixture of points in any "
    "dimension, and for the Gaussian mixture along u directly; a general law by averaging over a under the derivative)",
)
PAPER = "The probability-flow velocity is the conditional mean of dI/dt given I, written with the posterior mean of the data."
DIFFERS = (
    "The proof's paths are arbitrary functions of time, so both forms, both noise scales and every clock are covered at once."
)
FORMULAS = (limit.total_variance, limit.linear_rate, limit.drive_rate, limit.mode_velocity)


def prove() -> list[Step]:
    t, y = sp.symbols("t y", real=True)
    g, n = sp.Function("g")(t), sp.Function("n", positive=True)(t)
    return [*_any_law(t, y, g, n), *_mixture(t, y, g, n)]


def _any_law(t: sp.Symbol, y: sp.Symbol, g: sp.Expr, n: sp.Expr) -> list[Step]:
    a = sp.Symbol("a", real=True)
    density = sp.exp(-((y - g * a) ** 2) / (2 * n**2)) / n
    velocity = g.diff(t) * a + n.diff(t) / n * (y - g * a)
    u, v, away = (y - g * a) / n, sp.Symbol("v", real=True), sp.Symbol("s", positive=True)
    points, weights = sp.symbols("a1:4", real=True), sp.symbols("w1:4", positive=True)
    rho = sum(w * density.subs(a, b) for w, b in zip(weights, points, strict=True))
    mean = sum(w * b * density.subs(a, b) for w, b in zip(weights, points, strict=True)) / rho
    flux = sum(w * (density * velocity).subs(a, b) for w, b in zip(weights, points, strict=True))
    form = n.diff(t) / n * y + (g.diff(t) - g * n.diff(t) / n) * mean
    first, second = sp.Function("p1")(t, y), sp.Function("p2")(t, a)
    one, two = sp.Function("v1")(t, y), sp.Function("v2")(t, a)
    split = second * (first.diff(t) + (first * one).diff(y)) + first * (second.diff(t) + (second * two).diff(a))
    whole = (first * second).diff(t) + (first * second * one).diff(y) + (first * second * two).diff(a)
    return [
        identity("a single point a: ∂ρ/∂t + ∂(ρv)/∂y = 0", (density.diff(t) + (density * velocity).diff(y)) / density),
        identity(
            "∂ρ/∂t there is ρ times (noise'(u² − 1) + signal'·a·u)/noise, u = (x − signal·a)/noise, and so is −∂(ρv)/∂x",
            density.diff(t) / density,
            (n.diff(t) * (u**2 - 1) + g.diff(t) * a * u) / n,
        ),
        positive(
            "e^w > w for w = u²/2: the slope of the gap at w = log(1 + s) is s; so u²e^{−u²/2} < 2",
            (sp.exp(v) - v).diff(v).subs(v, sp.log(1 + away)),
            away,
        ),
        positive(
            "and |u| ≤ (1 + u²)/2: both are at most a constant times 1 + |a|, so the mean over a may be taken under them",
            (1 + v**2) / 2 - v,
            (1 - v) ** 2 / 2,
            strict=False,
        ),
        identity(
            "product densities with velocities acting per coordinate: the equation splits, so d = 1 gives any d", whole, split
        ),
        identity("three points of any weights: the averaged flux is ρ times the stated b", flux / rho, form),
        identity(
            "and the same average of ∇ρ is Tweedie's formula: ∇log ρ = (g·E[a|x] − x)/n²",
            rho.diff(y) / rho,
            (g * mean - y) / n**2,
        ),
    ]


def _mixture(t: sp.Symbol, y: sp.Symbol, g: sp.Expr, n: sp.Expr) -> list[Step]:
    """Along u: modes N(±c, v) with weights e^{±h}/(2 cosh h)."""
    c, v, tau_rate = sp.symbols("c v r", positive=True)
    h, s = sp.Symbol("h", real=True), sp.Symbol("s", positive=True)
    total = n**2 + v * g**2
    modes = [sp.exp(k * h) / (2 * sp.cosh(h)) * sp.exp(-((y - k * g * c) ** 2) / (2 * total)) / sp.sqrt(total) for k in (1, -1)]
    at = (g, n, g.diff(t), n.diff(t), v)
    b = limit.mode_velocity(y, c, h, *at, sp)
    angle = h + g * c * y / total
    log_density = -(y**2 + g**2 * c**2) / (2 * total) - sp.log(total) / 2 + sp.log(sp.cosh(angle))
    common = sp.exp(-(y**2 + g**2 * c**2) / (2 * total)) / sp.sqrt(total) / sp.cosh(h)
    continuity = log_density.diff(t) + b * log_density.diff(y) + b.diff(y)

    def in_tanh(expression: sp.Expr) -> sp.Expr:
        """The same with T for tanh(angle), a symbol: what is left is rational."""
        return expression.replace(sp.sinh, lambda x: sp.tanh(x) * sp.cosh(x)).subs(sp.tanh(angle), sp.Symbol("T", real=True))

    score = log_density.diff(y)
    bayes = (y + n**2 * score) / g
    tau = sp.Symbol("tau", positive=True)
    forms = {"sqrt": sp.sqrt(1 - tau**2), "linear": 1 - tau}
    steps = [
        identity(
            "the two modes sum to cosh(h + g·c·y/Δ) times what they share",
            (sum(modes) / common).rewrite(sp.exp),
            sp.cosh(angle).rewrite(sp.exp),
        ),
        identity("∂log ρ/∂t + b·∂log ρ/∂y + ∂b/∂y = 0 for b = A·y + B·c·tanh, any g(t), n(t)", in_tanh(continuity)),
        identity(
            "b is (n'/n)·y + (g' − g·n'/n)·E[a|y], E[a|y] from the score",
            in_tanh(b),
            in_tanh(n.diff(t) / n * y + (g.diff(t) - g * n.diff(t) / n) * bayes),
        ),
    ]
    for name, alpha in forms.items():
        point = (tau, s * alpha, tau_rate, s * alpha.diff(tau) * tau_rate, v)
        a_form = {"sqrt": (v - s**2) * tau, "linear": v * tau - s**2 * (1 - tau)}[name]
        b_form = {"sqrt": s**2, "linear": s**2 * (1 - tau)}[name]
        delta = limit.total_variance(tau, s * alpha, v)
        steps += [
            identity(f"{name} form: A = {a_form}·τ'/Δ", limit.linear_rate(*point), a_form * tau_rate / delta),
            identity(f"{name} form: B = {b_form}·τ'/Δ", limit.drive_rate(*point), b_form * tau_rate / delta),
        ]
    return steps


STATES = np.linspace(-9.0, 9.0, 13)
CENTRE, BIAS, VARIANCE, SCALE, SHARE = 4.0, 0.5 * np.log(4.0), 0.25, 1.7, 0.35


def predict() -> dict[str, np.ndarray]:
    """The velocity along u of a mixture with p = 0.8 at τ = 0.35, τ' = 1, both forms."""
    root = np.sqrt(1 - SHARE**2)
    return {
        "linear": limit.mode_velocity(STATES, CENTRE, BIAS, SHARE, SCALE * (1 - SHARE), 1.0, -SCALE, VARIANCE),
        "sqrt": limit.mode_velocity(STATES, CENTRE, BIAS, SHARE, SCALE * root, 1.0, -SCALE * SHARE / root, VARIANCE),
    }


def measure() -> dict[str, np.ndarray]:
    """In one dimension the flow keeps the distribution function F, so b = −(∂F/∂t)/(∂F/∂y): complex-step derivatives of erf."""

    def below(tau: complex, y: np.ndarray, form: str) -> np.ndarray:
        noise = SCALE * (1 - tau if form == "linear" else np.sqrt(1 - tau**2))
        width = np.sqrt(2 * (noise**2 + VARIANCE * tau**2))
        return sum(w * (1 + special.erf((y - tau * c) / width)) / 2 for w, c in ((0.8, CENTRE), (0.2, -CENTRE)))

    h = 1e-30j
    return {
        form: -np.imag(below(SHARE + h, STATES + 0j, form)) / np.imag(below(SHARE + 0j, STATES + h, form))
        for form in ("linear", "sqrt")
    }


MARGIN = {"linear": 1e-8, "sqrt": 1e-8}
