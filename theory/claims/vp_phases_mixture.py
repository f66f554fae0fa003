"""VP with its clock on the Gaussian mixture: the limiting flow of either phase, and how fast it is approached.

Derivation. Phase 1: τ = 2κt/√d, so noise → 1, θ → 2κtm and the velocity in t tends to 2κ times that of the coin ±m in noise
1, ẏ = 2κm tanh(h + 2κtmy). By A7-flow y_d = √Δ·Y(2κtm/√Δ) exactly: it depends on d through Δ alone, and Δ − 1 is −4κt/√d + …
for the linear form, −(1 − σ²)(2κt)²/d for the sqrt form. So the approach is 1/√d and 1/d, with coefficient ∂y/∂Δ. Phase 2:
tanh → r, and y/(m√d) = rτ + √Δ·w/(m√d) solves the frozen flow exactly: M → r(2t − 1) like 1/√d, and what is left, √Δ·w along
u like √Δ·z across it, is the linear flow to N(0, σ²).
"""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import sympy as sp
import torch
from matplotlib.figure import Figure
from scipy import special
from scipy.integrate import solve_ivp

from theory import exact_flow, limit, phase
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is
from theory.sampler import Flow
from theory.schedule import Form, variance_exploding_flow, variance_preserving_flow
from theory.target import GaussianMixture

CLAIM = Claim(
    "A7-vp-gm",
    "Aranguri, Biroli, Mézard, Vanden-Eijnden, arXiv 2501.00988 (limiting flows; our working notes, A7); rates ours",
    "VP clock, GM: phase 1 tends to ẏ = 2κm tanh(h + 2κtmy), at rate 1/√d (linear form) or 1/d (sqrt form); in phase 2 "
    "M tends to r(2t − 1) at rate 1/√d and every other direction follows the linear flow √Δ to spread σ",
    "0 < p < 1, σ, m, κ > 0 fixed, d → ∞, the exact flow; r = sign(z − Φ⁻¹(1 − p)), z = y(0); phase 2 at fixed t > ½",
)
PAPER = (
    "Two phases, each with a limiting ODE; y = O(1) obeys the scalar mixture's flow, then its sign is frozen (reconstruction)."
)
DIFFERS = (
    "The frozen sign is not that of y(½): trajectories between the separatrix and 0 change side in a layer t − ½ = O(1/√d). "
    "The exact flow gives P(r = +) = p at every κ, so the κ floor is an effect of steps. Rates and their coefficients are new."
)
FORMULAS = (phase.drift, limit.mode_velocity, limit.linear_rate, limit.drive_rate, phase.response, phase.frozen)
BOTH: tuple[Form, ...] = ("sqrt", "linear")


def prove() -> list[Step]:
    kappa, time, mean, spread, small = sp.symbols("kappa t m sigma epsilon", positive=True)  # ε = 1/√d
    bias, y, state, theta, w, r = sp.symbols("h y Y theta w r", real=True)
    total, tau = sp.symbols("Delta tau", positive=True)
    ends_in = 2 * kappa * mean * phase.drift(bias, 2 * kappa * time * mean, y, sp)  # dθ/dt·dY/dθ at θ = 2κtm
    steps = []
    excess = {"sqrt": (2, -(1 - spread**2) * (2 * kappa * time) ** 2), "linear": (1, -4 * kappa * time)}
    for form, noise in (("sqrt", sp.sqrt(1 - tau**2)), ("linear", 1 - tau)):
        clock = {tau: 2 * kappa * time * small}
        velocity = limit.mode_velocity(y, mean / small, bias, tau, noise, 1, noise.diff(tau), spread**2, sp).subs(clock)
        order, leading = excess[form]
        steps += [
            limit_is(f"{form}: the velocity in t tends to it", 2 * kappa * small * velocity, small, 0, ends_in, "+"),
            limit_is(f"{form}: (Δ − 1)·d^{{{order}/2}} tends to its coefficient",
                     (limit.total_variance(tau, noise, spread**2).subs(clock) - 1) / small**order, small, 0, leading, "+"),
        ]  # fmt: skip
        frozen = phase.frozen(r, tau, noise, mean / small, spread**2, w, sp)
        held = limit.mode_velocity(frozen * mean / small, mean / small, bias, tau, noise, 1, noise.diff(tau), spread**2, sp)
        (tanh,) = held.atoms(sp.tanh)
        steps += [
            identity(f"{form}: the frozen M solves the flow with tanh = r, at every d",
                     frozen.diff(tau), held.subs(tanh, r) * small / mean),
            limit_is(f"{form}: M → rτ", frozen, small, 0, r * tau, "+"),
            limit_is(f"{form}: (M − rτ)√d → √Δ·w/m", (frozen - r * tau) / small, small, 0,
                     sp.sqrt(limit.total_variance(tau, noise, spread**2)) * w / mean, "+"),
            limit_is(f"{form}: the argument of tanh is of order d and has the sign of M: at M → rτ it is frozen",
                     tanh.args[0].subs(w, 0) * small**2, small, 0,
                     r * tau**2 * mean**2 / (noise**2 + spread**2 * tau**2), "+"),
        ]  # fmt: skip
    along = sp.sqrt(total) * sp.Function("Y")(theta / sp.sqrt(total))
    slope = phase.drift(bias, theta / sp.sqrt(total), state, sp)  # dY/dθ
    derivative = along.diff(total).replace(lambda e: isinstance(e, sp.Subs), lambda e: slope)
    steps.append(identity("∂/∂Δ of √Δ·Y(c/√Δ) at fixed c, with dY/dθ = tanh(h + θY), is the response",
                          derivative.replace(sp.Function("Y"), lambda _: state),
                          phase.response(bias, theta / sp.sqrt(total), state, total, sp)))  # fmt: skip
    return steps


WEIGHT, MEAN, SPREAD, KAPPA = 0.8, 0.9, 0.5, 3.0
BIAS = 0.5 * math.log(WEIGHT / (1 - WEIGHT))
STARTS, LATER, DIMS = (-2.0, -1.0, -0.7, 0.3, 1.5), (0.6, 0.9), (100, 400)


def predict() -> dict[str, np.ndarray]:
    """y(½) in the limit, the coefficients and exponents of the approach, and M during phase 2 at d = 400, both forms."""
    z, top = np.array(STARTS), KAPPA * MEAN
    y = phase.state_at(WEIGHT, top, z)
    r, w, centre = phase.chosen_sign(WEIGHT, z), phase.deviation(WEIGHT, z), MEAN * math.sqrt(DIMS[-1])
    response = phase.response(BIAS, top, y, 1.0)
    share = KAPPA / math.sqrt(DIMS[-1])
    later = [share + (1 - share) * (2 * t - 1) for t in LATER]
    return {
        "y(1/2)": y,
        "coefficient, sqrt": (SPREAD**2 - 1) * KAPPA**2 * response,
        "coefficient, linear": -2 * KAPPA * response,
        "exponents": np.array([-1.0, -0.5]),
        "M": np.array(
            [
                [phase.frozen(r, tau, noise(tau), centre, SPREAD**2, w) for tau in later]
                for noise in (lambda tau: math.sqrt(1 - tau**2), lambda tau: 1 - tau)
            ]
        ),
    }


def measure() -> dict[str, np.ndarray]:
    """The limiting ODE by Runge-Kutta; the d-dimensional flow from the law's posterior mean, at d = 100 and 400."""
    path = solve_ivp(
        lambda t, y: 2 * KAPPA * MEAN * np.tanh(BIAS + 2 * KAPPA * t * MEAN * y), (0, 0.5), STARTS, "DOP853",
        rtol=1e-11, atol=1e-11,
    )  # fmt: skip
    at_half, gap, later = path.y[:, -1], {}, []
    for form in BOTH:
        for dim in DIMS:
            flow = Flow(
                variance_preserving_flow(form, dim, KAPPA),
                GaussianMixture.two_modes(dim, WEIGHT, MEAN, SPREAD).denoise,
            )
            start = torch.tensor(STARTS, dtype=torch.float64)[:, None].expand(-1, dim) / math.sqrt(dim)
            middle = exact_flow.integrated(flow, start, (1.0, 0.5), 1e-8)[-1]
            gap[form, dim] = middle.sum(-1).numpy() / math.sqrt(dim) - at_half
        states = exact_flow.integrated(flow, middle, (0.5, *(1 - t for t in LATER)), 1e-6)[1:]
        later.append([(x.sum(-1) / (MEAN * dim)).numpy() for x in states])
    few, many = DIMS
    size = {key: np.linalg.norm(value) for key, value in gap.items()}
    return {
        "y(1/2)": at_half,
        # Richardson: the next power of d^{−1/2} (linear) or 1/d (sqrt) is a factor 2 or 4 apart
        "coefficient, sqrt": (4 * many * gap["sqrt", many] - few * gap["sqrt", few]) / 3,
        "coefficient, linear": 2 * math.sqrt(many) * gap["linear", many] - math.sqrt(few) * gap["linear", few],
        "exponents": np.array([math.log(size[f, many] / size[f, few]) / math.log(many / few) for f in ("sqrt", "linear")]),
        "M": np.array(later),
    }


# what Richardson leaves is the next power, (2κ)²/d = 0.09 of coefficients up to 5, for the slopes (over one factor 4 in
# d) half of 2κ/√d/log 4; the rest is integration, at 1e-11, 1e-8 and (M) 1e-6
MARGIN = {"y(1/2)": 1e-8, "coefficient, sqrt": 0.4, "coefficient, linear": 0.4, "exponents": 0.1, "M": 1e-5}


def draw() -> Figure:
    """Rows: VP and VE with their clocks. Columns: −log density along u through time, trajectories, phase 2's order
    parameters."""
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 5.6), sharex=True)
    dim, weight, bias = 10_000, 0.6, 0.5 * math.log(1.5)
    threshold = float(special.ndtri(1 - weight))
    starts = np.sort(np.concatenate([special.ndtri((np.arange(21) + 0.5) / 21), threshold + np.array([-0.01, 0.01])]))
    time = np.linspace(0, 1, 801)[1:-1]
    top = phase.speciation_level(bias)
    for row, (name, schedule) in zip(
        axes, (("VP", variance_preserving_flow("sqrt", dim, KAPPA)), ("VE", variance_exploding_flow("linear", dim, KAPPA))),
        strict=True,
    ):  # fmt: skip
        signal, noise = (getattr(schedule, f)(torch.from_numpy(1 - time)).numpy() for f in ("signal", "noise"))
        centre, inside = MEAN * math.sqrt(dim), np.sqrt(limit.total_variance(signal, noise, SPREAD**2))
        theta = phase.level(signal, noise, centre, SPREAD**2)
        moment = float(np.interp(top, theta, time))
        y = np.linspace(-5, 5, 401)[:, None]
        levels = -np.logaddexp(
            math.log(weight) - 0.5 * (y - theta.clip(max=8)) ** 2, math.log(1 - weight) - 0.5 * (y + theta.clip(max=8)) ** 2
        )
        left, middle, right = row
        left.contourf(time, y[:, 0], levels - levels.min(0), np.arange(0, 6.6, 0.5), cmap="gray", vmin=-1, extend="max")
        roots = np.where(np.diff(np.sign(np.diff(levels, axis=0)), axis=0) > 0)
        left.plot(time[roots[1]], y[roots[0] + 1, 0], ".", ms=1.5, color="C1", rasterized=True)
        states = np.array([phase.state_at(weight, theta, z) for z in starts])
        for z, state in zip(starts, states, strict=True):
            plus = z > threshold
            middle.plot(time, state * inside / math.sqrt(1 if name == "VP" else dim), "-" if plus else "--",
                        color="C0" if plus else "C1", lw=0.9)  # fmt: skip
        tau = np.minimum(2 * time, 1)
        for sign, style in ((1, "-"), (-1, "--")):
            z, colour = threshold + sign * 0.7, "C0" if sign > 0 else "C1"
            if name == "VP":
                magnetisation = sign * np.maximum(0, 2 * time - 1)
            else:  # the coin ±m in noise 1 − τ, until it is decided
                apart = np.minimum(MEAN * tau / np.maximum(1 - tau, 1e-3), 50)
                magnetisation = np.where(tau < 0.97, (1 - tau) * phase.state_at(weight, apart, z) / MEAN, sign)
            right.plot(time, magnetisation, style, color=colour, label=f"M, d → ∞, r = {'+' if sign > 0 else '−'}1")
            state = phase.state_at(weight, theta, z) * inside / centre
            right.plot(time[::40], state[::40], "o", ms=3, mfc="none", color=colour, label=None if sign > 0 else "d = 10⁴")
        spread = inside / (1 if name == "VP" else math.sqrt(dim))
        right.plot(time, spread, ":", color="0.2", label="spread across u" + ("" if name == "VP" else " /√d"))
        for axis in row:
            axis.axvline(0.5, color="0.4", lw=0.6)
        middle.set_ylim((-8, 8) if name == "VP" else (-2.7, 2.7))  # the word has room above the trajectories
        for axis in (left, middle):
            axis.axvline(moment, color="C3", lw=1, ls="-.")
        middle.text(moment - 0.02, 0.95 * middle.get_ylim()[1], "speciation", ha="right", va="top", fontsize=7, color="C3")
        left.set_ylabel(f"{name} clock\nY = y/√Δ")
        middle.set_ylabel("y" if name == "VP" else "y/√d")
        right.legend(fontsize=7, loc="lower left" if name == "VP" else "center right", bbox_to_anchor=(0, 0, 1, 0.68))
    for axis, title in zip(axes[0], ("potential −log density", "trajectories", "order parameters"), strict=True):
        axis.set_title(title)
    for axis in axes[1]:
        axis.set_xlabel("paper A's time t")
    return figure
