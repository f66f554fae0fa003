"""VP-SDE, VE-SDE and sub-VP are interpolants; each is paper A's VP or VE up to a change of time and of scale.

Derivation. dx = f·x dt + √D dw from data a has mean signal·a and variance noise² with signal' = f·signal, (noise²)' =
2f·noise² + D. Conversely f = signal'/signal and D = 2·noise·(noise' − f·noise). Put into f·x − ½D·score, the probability flow
of the process, this is the interpolant's velocity, whatever the law of the data. Two interpolants with equal noise-to-signal
at t and τ(t) have states related by x = c·y, c = signal/signal_A, hence score/c, and velocities c'·y + c·τ'·v_A: one flow,
read on another clock and another scale. The time change solves noise/signal = s·α(τ)/τ: τ = 1/√(1 + r²) (sqrt), 1/(1 + r)
(linear), r = noise/(s·signal).
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch
from scipy import integrate

from theory import limit
from theory.ledger import Claim
from theory.proof import Step, identity
from theory.schedule import VPSDE, SubVariancePreserving, ve_geometric
from theory.target import GaussianMixture

CLAIM = Claim(
    "A10",
    "arXiv 2501.00988, the relation to score-based diffusion; the processes: arXiv 2011.13456",
    "VP-SDE, VE-SDE and sub-VP have the marginals of signal·a + noise·z, their probability flows are its velocity, and "
    "a change of time "
    "and scale carries each to paper A's interpolant of either form and any noise scale s",
    "any law of the data with a density at noise > 0, any positive rate β(t) or rising s(t); the VE-SDE's start at "
    "s(0) > 0 means data "
    "with that noise added; ends τ = 0 and 1 are reached only in the limit",
)
PAPER = (
    "The variance-preserving and variance-exploding interpolants correspond to the VP and VE diffusions of score-based models."
)
DIFFERS = (
    "Sub-VP included; VP and VE themselves differ by such a change only: what separates them is where a grid puts its steps."
)
FORMULAS = (limit.flow_of_process, limit.flow_of_interpolant, limit.process_of_interpolant, limit.matching_share)


def prove() -> list[Step]:
    t, x, y, score = sp.symbols("t x y S", real=True)
    g, n = sp.Function("g", positive=True)(t), sp.Function("n", positive=True)(t)
    rates = (g.diff(t), n.diff(t))
    drift, diffusion = limit.process_of_interpolant(g, n, *rates)
    return [
        identity("the process of the interpolant has its mean: signal' = f·signal", drift * g, g.diff(t)),
        identity("and its variance: (noise²)' = 2f·noise² + D", 2 * drift * n**2 + diffusion, (n**2).diff(t)),
        identity(
            "the probability flow of the process is the interpolant's velocity",
            limit.flow_of_process(x, score, drift, diffusion),
            limit.flow_of_interpolant(x, score, g, n, *rates),
        ),
        identity(
            "which is signal'·E[a|x] + noise'·E[z|x], E[a|x] by Tweedie",
            limit.flow_of_interpolant(x, score, g, n, *rates),
            g.diff(t) * (x + n**2 * score) / g + n.diff(t) * (-n * score),
        ),
        *_families(t),
        *_change(t, y, score, g, n),
    ]


def _families(t: sp.Symbol) -> list[Step]:
    """The three processes, with their f and D from arXiv 2011.13456."""
    total = sp.Function("B", positive=True)(t)  # ∫₀ᵗ β
    beta, level = total.diff(t), sp.Function("s", positive=True)(t)
    signal = sp.exp(-total / 2)
    kept = sp.sqrt(1 - signal**2)
    floor = sp.Symbol("s_0", positive=True)
    table = {
        "VP-SDE": (signal, kept, -beta / 2, beta),
        "sub-VP": (signal, kept**2, -beta / 2, beta * (1 - sp.exp(-2 * total))),
        "VE-SDE": (sp.Integer(1), sp.sqrt(level**2 - floor**2), sp.Integer(0), (level**2).diff(t)),
    }
    steps = []
    for name, (g, n, drift, diffusion) in table.items():
        found = limit.process_of_interpolant(g, n, g.diff(t), n.diff(t))
        steps += [
            identity(f"{name}: its drift gives this signal and noise", found[0], drift),
            identity(f"{name}: and its diffusion", found[1], diffusion),
        ]
    return steps


def _change(t: sp.Symbol, y: sp.Symbol, score: sp.Symbol, g: sp.Expr, n: sp.Expr) -> list[Step]:
    scale, tau = sp.symbols("s tau", positive=True)
    steps = []
    for form, alpha in (("sqrt", sp.sqrt(1 - tau**2)), ("linear", 1 - tau)):
        share = limit.matching_share(g, n, scale, form, sp)
        noise = scale * alpha
        ratio = sp.simplify((noise / tau).subs(tau, share) * g / n)
        if form == "sqrt":
            ratio = sp.simplify(sp.powdenest(ratio**2, force=True))
        stretch = g / share
        own = limit.flow_of_interpolant(y, score, tau, noise, 1, noise.diff(tau)).subs(tau, share) * share.diff(t)
        moved = stretch.diff(t) * y + stretch * own
        steps += [
            identity(f"{form}: noise-to-signal agrees at the matching τ", ratio, 1),
            identity(
                f"{form}: x = c·y with score/c moves with c'·y + c·τ'·v_A(y): the same flow",
                limit.flow_of_interpolant(stretch * y, score / stretch, g, n, g.diff(t), n.diff(t)),
                moved,
            ),
        ]
    return steps


FAMILIES = {"VP-SDE": VPSDE(), "sub-VP": SubVariancePreserving(VPSDE()), "VE-SDE": ve_geometric(0.01, 50.0)}
TIMES = np.array([0.15, 0.5, 0.9])
STATE = 0.7


def _at(name: str) -> tuple[np.ndarray, ...]:
    t, schedule = torch.from_numpy(TIMES), FAMILIES[name]
    return tuple(v.numpy() for v in (schedule.signal(t), schedule.noise(t), *schedule.rates(t)))


def predict() -> dict[str, np.ndarray]:
    """(f, D) of the three schedules at three times, and where the sub-VP flow from x = 0.7, t = 0.5 is at t = 0.15."""
    processes = {name: np.stack(np.broadcast_arrays(*limit.process_of_interpolant(*_at(name)))) for name in FAMILIES}
    return {**processes, "transport": np.array([_transport(form) for form in ("sqrt", "linear")])}


def _transport(form: str) -> float:
    """The sub-VP flow carried out in paper A's time: scale, integrate ẏ over τ, scale back. s = 3."""
    signal, noise, *_ = _at("sub-VP")
    left, right = (limit.matching_share(signal[i], noise[i], 3.0, form) for i in (1, 0))

    def velocity(tau: float, y: np.ndarray) -> np.ndarray:
        alpha = 1 - tau if form == "linear" else np.sqrt(1 - tau**2)
        rate = -1.0 if form == "linear" else -tau / alpha
        total = 9.0 * alpha**2 + 0.25 * tau**2
        score = (-y + tau * np.tanh(0.5 * np.log(4.0) + tau * y / total)) / total
        return limit.flow_of_interpolant(y, score, tau, 3.0 * alpha, 1.0, 3.0 * rate)

    end = integrate.solve_ivp(velocity, (left, right), [STATE * left / signal[1]], rtol=1e-10, atol=1e-12).y[0, -1]
    return float(end * signal[0] / right)


def measure() -> dict[str, np.ndarray]:
    """f and D as the source defines them (β from 0.1 to 20); the flow of that process in its own time, score by autograd."""
    beta = 0.1 + TIMES * 19.9
    integral = 0.1 * TIMES + 19.9 * TIMES**2 / 2
    levels = 0.01 * 5000.0**TIMES
    law = GaussianMixture.two_modes(1, 0.8)

    def score(x: float, signal: float, noise: float) -> float:
        at = torch.tensor([[x]], dtype=torch.float64, requires_grad=True)
        law.log_density(at, signal, noise).sum().backward()
        assert at.grad is not None
        return at.grad.item()

    def velocity(t: float, x: np.ndarray) -> np.ndarray:
        total = 0.1 * t + 19.9 * t**2 / 2
        rate, kept = 0.1 + 19.9 * t, 1 - np.exp(-total)
        return -rate / 2 * (x + (1 - np.exp(-2 * total)) * score(float(x[0]), np.exp(-total / 2), kept))

    end = integrate.solve_ivp(velocity, (0.5, 0.15), [STATE], rtol=1e-9, atol=1e-11).y[0, -1]
    return {
        "VP-SDE": np.stack([-beta / 2, beta]),
        "sub-VP": np.stack([-beta / 2, beta * -np.expm1(-2 * integral)]),
        "VE-SDE": np.stack([0 * levels, 2 * np.log(5000.0) * levels**2]),
        "transport": np.full(2, end),
    }


# Arithmetic on numbers up to 4e4 (VE: 17·48²); the two integrations to 1e-9 each over a stretch of length one.
MARGIN = {"VP-SDE": 1e-10, "sub-VP": 1e-10, "VE-SDE": 1e-8, "transport": 1e-7}
