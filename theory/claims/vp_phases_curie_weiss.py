"""VP with its clock on Curie-Weiss: phase 1 is the coin ±m* in noise 1, phase 2 makes of each coordinate a coin ±1.

Derivation. The posterior is a mixture of independent spins over a field w of density ∝ exp(−dw²/(2J) + Σ log cosh(w + h/d +
cxᵢ)), c = τ/noise². Phase 1: τ = 2κt/√d, so cxᵢ = O(1/√d), and with y = u·x, Σ log cosh = d log cosh w + tanh w·(h + 2κty) +
(even in w) + o(1). d(log cosh w − w²/(2J)) has two equal, strict maxima w = ±Jm* for J > 1; Laplace's method leaves the odd
part ±m*(h + 2κty), hence E tanh w → m* tanh(m*(h + 2κty)) and ẏ = 2κm* tanh(hm* + 2κtm*y). Phase 2: c = O(1) and the field
settles at w = J·mean tanh(w + cxᵢ). If the xᵢ are the coin with mean rm* in noise α, w = rJm* solves it, each coordinate
follows the coin ±1 of log-odds 2rJm*, and so they stay that coin: M = rm*τ, ending at ±1 with mean rm*.
"""

from __future__ import annotations

import math

import numpy as np
import sympy as sp
import torch
from scipy import special
from scipy.integrate import solve_ivp

from theory import exact_flow, phase
from theory.curie_weiss import CurieWeiss, spontaneous_magnetisation
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive
from theory.sampler import Flow
from theory.schedule import Form, variance_preserving_flow

CLAIM = Claim(
    "A7-vp-cw",
    "Aranguri, Biroli, Mézard, Vanden-Eijnden, arXiv 2501.00988 (Curie-Weiss; our working notes, A7); rates ours",
    "VP clock, Curie-Weiss: phase 1 tends to ẏ = 2κm* tanh(hm* + 2κtm*y), at rate 1/√d (linear form) or 1/d (sqrt form); in "
    "phase 2 each coordinate tends to the flow of the coin ±1 with log-odds 2rJm* in noise α(2t − 1), M to rm*(2t − "
    "1), at rate 1/√d",
    "J > 1, h, κ fixed, d → ∞, the exact flow at fixed t > 0 in either phase; coordinates of the start with the moments of "
    "N(0, 1); derived by Laplace's method: the limits and the linear form's coefficient of 1/√d; measured: the other rates",
)
PAPER = (
    "Curie-Weiss has the mixture's two phases; in the second the coordinates follow a scalar mean-field flow to ±1 "
    "(reconstruction)."
)
DIFFERS = (
    "The mean-field flow is a fixed coin's: the field is rJm* at all times, so coordinates are transported in closed form."
)
RESTS_ON = (
    "Laplace's method for the field, of which the steps check stationary points, curvature and heights only; convergence of "
    "flows whose velocities converge; the rates, which are measured"
)
FORMULAS = (phase.coin, phase.response)
BOTH: tuple[Form, ...] = ("sqrt", "linear")


def laplace(noise: sp.Expr | int, pull: sp.Expr) -> list[Step]:
    """E[M | x] → m* tanh(m*(h + pull)) when c·xᵢ = ε·bᵢ/noise², Σ c·xᵢ → pull; shared by VP and VE."""
    small, x = sp.symbols("epsilon x", positive=True)
    field, bias, b = sp.symbols("w h b", real=True)
    even = sp.log(sp.cosh(field)) - field**2 * sp.tanh(x) / (2 * x)  # J = x/tanh x, x = Jm*
    spin = sp.log(sp.cosh(field + small**2 * bias + small * b / noise**2))
    plus, minus = (sp.exp(sign * sp.tanh(x) * (bias + pull)) for sign in (1, -1))
    return [
        identity("a spin's log cosh to first order in ε = 1/√d: c·xᵢ tanh w, and these sum to pull·tanh w",
                 spin.diff(small).subs(small, 0), b / noise**2 * sp.tanh(field)),
        identity("to second order: h tanh w + ½(c·xᵢ)²/cosh² w",
                 spin.diff(small, 2).subs(small, 0) / 2,
                 bias * sp.tanh(field) + b**2 / noise**4 / (2 * sp.cosh(field) ** 2)),
        identity("w = x is stationary: m* = tanh(Jm*)", even.diff(field).subs(field, x)),
        identity("and strictly a maximum: −d²/dw² there is (sinh 2x − 2x)·tanh x/(x·sinh 2x)",
                 -even.diff(field, 2).subs(field, x).rewrite(sp.exp),
                 ((sp.sinh(2 * x) - 2 * x) * sp.tanh(x) / (x * sp.sinh(2 * x))).rewrite(sp.exp)),
        positive("sinh 2x − 2x > 0: it is 0 at 0 and grows", sp.diff(sp.sinh(2 * x) - 2 * x, x), 4 * sp.sinh(x) ** 2),
        identity("both maxima are equally high, and the term in b² alike: even in w",
                 (even + b**2 / sp.cosh(field) ** 2) - (even + b**2 / sp.cosh(field) ** 2).subs(field, -field)),
        identity("the two maxima weigh e^{±m*(h + pull)}: E tanh w = m* tanh(m*(h + pull))",
                 (sp.tanh(x) * (plus - minus) / (plus + minus)).rewrite(sp.exp),
                 (sp.tanh(x) * sp.tanh(sp.tanh(x) * (bias + pull))).rewrite(sp.exp)),
    ]  # fmt: skip


def mean_field(signal: sp.Expr, noise: sp.Expr) -> list[Step]:
    """With coordinates that are the coin of mean tanh b in noise, b = rJm*, the field b is self-consistent."""
    x, b = sp.symbols("x b", real=True)
    gauss = lambda c: sp.exp(-((x - c) ** 2) / (2 * noise**2))  # noqa: E731
    plus, minus = (sp.exp(sign * b) / (2 * sp.cosh(b)) * gauss(sign * signal) for sign in (1, -1))
    return [
        identity("tanh(b + cx) is the posterior mean of the coin, c = signal/noise²",
                 ((plus + minus) * sp.tanh(b + signal * x / noise**2)).rewrite(sp.exp), (plus - minus).rewrite(sp.exp)),
        identity("so it averages to the coin's mean tanh b: with b = rJm*, the field J·E tanh = rJm* = b",
                 ((sp.exp(b) - sp.exp(-b)) / (2 * sp.cosh(b))).rewrite(sp.exp), sp.tanh(b).rewrite(sp.exp)),
    ]  # fmt: skip


def prove() -> list[Step]:
    kappa, time, mean, small, tau = sp.symbols("kappa t m epsilon tau", positive=True)
    bias, y, b, x = sp.symbols("h y b x", real=True)
    limit = 2 * kappa * phase.coin(2 * kappa * time, 1, 1, 0, mean, bias * mean, y, sp)
    steps = laplace(1, 2 * kappa * time * y)
    for form, noise in (("sqrt", sp.sqrt(1 - tau**2)), ("linear", 1 - tau)):
        rate, clock = noise.diff(tau), {tau: 2 * kappa * time * small}
        spins = mean * sp.tanh(mean * (bias + tau * y / (small * noise**2)))  # E[M | x] as Laplace gives it
        full = 2 * kappa * small * (rate / noise * y + (1 - rate * tau / noise) * spins / small)
        alone = rate / noise * x + (1 - rate * tau / noise) * sp.tanh(b + tau * x / noise**2)
        steps += [
            limit_is(f"{form}: phase 1 tends to the coin ±m* in noise 1", full.subs(clock), small, 0, limit, "+"),
            identity(f"{form}: phase 2, a coordinate in the field b is the coin ±1", alone,
                     phase.coin(tau, noise, 1, rate, 1, b, x, sp)),
            identity(f"{form}: phase 2, the mean coordinate τ·tanh b has the mean velocity",
                     rate / noise * tau * sp.tanh(b) + (1 - rate * tau / noise) * sp.tanh(b), sp.diff(tau * sp.tanh(b), tau)),
            *[Step(s.kind, f"{form}: {s.says}", s.passed, s.remainder) for s in mean_field(tau, noise)],
        ]  # fmt: skip
    return steps


COUPLING, FIELD, KAPPA, STARTS, DIMS = 2.0, 0.7, 3.0, (-1.5, 1.5), (400, 1600)
LATE, SHOWN = 0.75, slice(None, None, 100)
QUANTILES = {dim: (np.arange(dim) + 0.5) / dim for dim in DIMS}  # of the coordinates of a start


def predict() -> dict[str, np.ndarray]:
    """y(½) in the limit, the linear form's coefficient, exponents, and every coordinate at t = ¾ in the limit."""
    mean, z = spontaneous_magnetisation(COUPLING), np.array(STARTS)
    weight, top = float(special.expit(2 * FIELD * mean)), KAPPA * mean
    y = phase.state_at(weight, top, z)
    signs, coordinate = phase.chosen_sign(weight, z), special.ndtri(QUANTILES[DIMS[1]][SHOWN])
    noise = math.sqrt(0.75)
    spins = [noise * phase.state_at(float(special.expit(2 * r * COUPLING * mean)), 0.5 / noise, coordinate) for r in signs]
    return {
        "y(1/2)": y,
        "coefficient, linear": -2 * KAPPA * phase.response(FIELD * mean, top, y, 1.0),
        "exponents": np.array([-1.0, -0.5, -0.5]),
        "coordinates": np.array(spins),
    }


def measure() -> dict[str, np.ndarray]:
    """The limiting ODE by Runge-Kutta; the d-dimensional flow from the exact posterior mean, at d = 400 and 1600."""
    mean = spontaneous_magnetisation(COUPLING)
    limit = solve_ivp(
        lambda t, y: 2 * KAPPA * mean * np.tanh(FIELD * mean + 2 * KAPPA * t * mean * y), (0, 0.5), STARTS, "DOP853",
        rtol=1e-11, atol=1e-11,
    ).y[:, -1]  # fmt: skip
    gaps: dict[str, list[float]] = {**{form: [] for form in BOTH}, "coordinates": []}
    scaled = []
    for dim in DIMS:
        z = special.ndtri(QUANTILES[dim])
        start = torch.from_numpy(z + np.array(STARTS)[:, None] / math.sqrt(dim))
        for form in BOTH:
            flow = Flow(variance_preserving_flow(form, dim, KAPPA), CurieWeiss(dim, COUPLING, FIELD).denoise)
            middle = exact_flow.integrated(flow, start, (1.0, 0.5), 1e-6)[-1]
            gap = middle.sum(-1).numpy() / math.sqrt(dim) - limit
            gaps[form].append(float(np.linalg.norm(gap)))
            if form == "linear":
                scaled.append(math.sqrt(dim) * gap)
                continue
            late = exact_flow.integrated(flow, middle, (0.5, 1 - LATE), 1e-4)[-1].numpy()
            coins = np.array([_coin(math.copysign(COUPLING * mean, x.sum()), z) for x in late])
            gaps["coordinates"].append(float(np.sqrt(np.mean((late - coins) ** 2))))
    return {
        "y(1/2)": limit,
        "coefficient, linear": 2 * scaled[1] - scaled[0],  # Richardson: the next power is a factor 2 apart
        "exponents": np.array([math.log(many / few) / math.log(DIMS[1] / DIMS[0]) for few, many in gaps.values()]),
        "coordinates": coins[:, SHOWN],
    }


def _coin(b: float, z: np.ndarray) -> np.ndarray:
    """The coin's flow in noise √(1 − τ²), from z at τ = 0 to τ = 2·LATE − 1."""
    return solve_ivp(
        lambda tau, x: (np.tanh(b + tau * x / (1 - tau**2)) - tau * x) / (1 - tau**2), (0, 2 * LATE - 1), z, "DOP853",
        rtol=1e-9, atol=1e-9,
    ).y[:, -1]  # fmt: skip


# Richardson leaves the next power, (2κ)²/d = 0.02 of coefficients up to 4; slopes over one factor 4 in d: half of 2κ/√d/log 4
MARGIN = {"y(1/2)": 1e-8, "coefficient, linear": 0.1, "exponents": 0.1, "coordinates": 1e-6}
