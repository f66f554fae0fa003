"""Equal angles are optimal on one Gaussian direction, for every number of steps.

Derivation. N steps from θ_max down to θ_min lose Σ f(Δθ_i), f = −log cos, with ΣΔθ_i = Θ fixed (claim C1). f' = tan, so the
loss of a step is the area under tan(θ_i − θ) over it; f'' = 1/cos² > 0. At the mean step m = Θ/N the gap between f and its
tangent line, g(x) = f(x) − f(m) − tan(m)(x − m), is 0 at m and has the slope sin(x − m)/(cos x cos m), of the sign of x − m:
g ≥ 0, and 0 only at m. Summed over the steps the linear term vanishes: Σ f(Δθ_i) ≥ N f(Θ/N), with equality for equal steps
alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import sympy as sp
import torch
from matplotlib.figure import Figure
from scipy.optimize import minimize
from torch import Tensor

from theory import cost, curve
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive
from theory.sampler import grid
from theory.schedule import VarianceExploding, edm, ve_geometric
from theory.target import Gaussian

CLAIM = Claim(
    "C3",
    "ours (working notes, tangent law)",
    "Of all N-step grids between two levels, equal angles atan(ς/√P) alone minimise the loss −Σ log cos Δθ_i of DDIM on "
    "N(0, P); "
    "the least loss −N log cos(Θ/N) falls with N, is at least Θ²/(2N) and approaches it",
    "one variance P > 0, every N ≥ 1, both end levels fixed, Θ = θ_max − θ_min < π/2; monotone or not, angles stay in [0, π/2)",
)
PAPER = (
    "Align Your Steps, Theorem 3.1 (as the notes quote it): the KL-optimal levels for an isotropic Gaussian are a tangent law."
)
DIFFERS = (
    "Every N and every error that grows with the loss, with the value of the optimum and its uniqueness; see C4 for the KL."
)
FORMULAS = (cost.angle_loss, cost.equal_angle_loss)


def prove() -> list[Step]:
    x, m = sp.symbols("x m", real=True)
    total, count, mean = sp.symbols("Theta N mu", positive=True)
    f = cost.angle_loss(x, sp)
    gap = f - f.subs(x, m) - sp.diff(f, x).subs(x, m) * (x - m)
    step, tau, rest = sp.symbols("x tau S", positive=True)  # τ = tan x, any positive number as x crosses (0, π/2)
    in_tangent = cost.angle_loss(sp.atan(tau), sp)
    slope_of_ratio = sp.atan(tau) * tau - in_tangent  # x²·(f/x)' = x tan x − f
    slope_of_gap = tau - sp.atan(tau)  # (f − x²/2)' = tan x − x
    return [
        identity("the slope of the loss is tan: a step costs the area under a tangent curve", sp.diff(f, x), sp.tan(x)),
        identity("the loss is strictly convex: its second derivative times cos² is 1", sp.diff(f, x, 2) * sp.cos(x) ** 2, 1),
        identity("the gap to the tangent line is 0 at the mean step", gap.subs(x, m)),
        identity(
            "its slope is sin(x − m)/(cos x cos m), of the sign of x − m on (−π/2, π/2): the gap is positive elsewhere",
            sp.diff(gap, x) * sp.cos(x) * sp.cos(m),
            sp.sin(x - m),
        ),
        identity(
            "summed over N steps of sum S = Nm the linear term is gone, and N f(m) is the stated least loss",
            (count * f.subs(x, mean) + sp.tan(mean) * (rest - count * mean)).subs(rest, total).subs(mean, total / count),
            cost.equal_angle_loss(total, count, sp),
        ),
        identity(
            "x²(f/x)' is x tan x − f(x)", step**2 * sp.diff(f.subs(x, step) / step, step), step * sp.tan(step) - f.subs(x, step)
        ),
        limit_is("which is 0 at x = 0", slope_of_ratio, tau, sp.Integer(0), sp.Integer(0), "+"),
        positive("and rises with τ = tan x, so f(x)/x rises: more steps cost less", sp.diff(slope_of_ratio, tau), sp.atan(tau)),
        limit_is("f(x) − x²/2 is 0 at x = 0", in_tangent - sp.atan(tau) ** 2 / 2, tau, sp.Integer(0), sp.Integer(0), "+"),
        identity(
            "its slope in x, dx = dτ/(1 + τ²), is τ − atan τ",
            sp.diff(in_tangent - sp.atan(tau) ** 2 / 2, tau) * (1 + tau**2),
            slope_of_gap,
        ),
        positive("which rises from 0: the least loss is at least Θ²/(2N)", sp.diff(slope_of_gap, tau), tau**2 / (1 + tau**2)),
        limit_is(
            "N times the least loss tends to Θ²/2 (n = 1/N)",
            cost.equal_angle_loss(total, 1 / step, sp) / step,
            step,
            sp.Integer(0),
            total**2 / 2,
            "+",
        ),
    ]


VARIANCE, ENDS, STEPS = 0.25, (0.002, 80.0), (2, 5, 9)


def predict() -> dict[str, np.ndarray]:
    """Least losses for three N, and the loss of the tangent schedule's grid from its angles."""
    low, high = (cost.angle(VARIANCE, end) for end in ENDS)
    return {
        "least loss": np.array([cost.equal_angle_loss(high - low, n) for n in STEPS]),
        "one step": cost.angle_loss(high - low),
    }


def measure() -> dict[str, np.ndarray]:
    """The best levels that a general optimiser finds, with the law's own denoiser."""
    found = [least_error([VARIANCE], torch.sum, *ENDS, n) for n in (*STEPS, 1)]
    return {"least loss": np.array([value for value, _ in found[:-1]]), "one step": np.array(found[-1][0])}


MARGIN = {
    "least loss": 1e-9,
    "one step": 1e-12,
}  # the optimiser stops at gradients of 1e-7: losses 1e-12 off on curvatures of 1


def least_error(
    variances: list[float], error: Callable[[Tensor], Tensor], noise_min: float, noise_max: float, steps: int
) -> tuple[float, np.ndarray]:
    """Least error(e) over all decreasing levels between the ends, e (K,) the losses of DDIM with the law's denoiser; the
    levels."""
    p = torch.tensor(variances, dtype=torch.float64)
    law = Gaussian(p)
    span = float(np.log(noise_max / noise_min))

    def levels_of(z: Tensor) -> Tensor:
        return noise_min * torch.exp(span * (1 - torch.cat([z.new_zeros(1), torch.cumsum(torch.softmax(z, 0), 0)])))

    def losses(z: Tensor) -> Tensor:
        levels = levels_of(z)
        y = torch.ones(1, len(p), dtype=torch.float64)
        for left, right in itertools.pairwise(levels):
            data = law.denoise(y, 1.0, left)
            y = data + right / left * (y - data)
        return (torch.log(p + noise_min**2) - torch.log(p + noise_max**2)) / 2 - torch.log(y[0])

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.tensor(z, requires_grad=True)
        value = error(losses(at))
        (slope,) = torch.autograd.grad(value, at)
        return value.item(), slope.numpy()

    found = minimize(objective, np.zeros(steps), jac=True, method="BFGS", options={"gtol": 1e-7, "maxiter": 2000})
    return float(found.fun), levels_of(torch.tensor(found.x)).numpy()


def draw() -> Figure:
    """Loss per step as area: under tan(θ_i − θ) in angle, for eight steps of three schedules."""
    low, high = ENDS
    deviation = float(np.sqrt(VARIANCE))
    schedules = {
        "equal angles": VarianceExploding(curve.Tangent(deviation, curve.log_snr_of(low), curve.log_snr_of(high))),
        "EDM, ρ = 7": edm(low, high),
        "uniform in log ς": ve_geometric(low, high),
    }
    figure, axes = plt.subplots(3, 1, figsize=(6.4, 5.6), sharex=True, layout="constrained")
    for axis, (name, schedule) in zip(axes, schedules.items(), strict=True):
        angles = cost.angle(VARIANCE, schedule.noise_to_signal(grid(8)).numpy())
        total = cost.angle_loss(-np.diff(angles)).sum()
        for left, right in itertools.pairwise(angles):
            theta = np.linspace(left, right, 200)
            axis.fill_between(theta, np.tan(left - theta), color="0.75", lw=0)
            axis.plot(theta, np.tan(left - theta), color="C0", ls="-")
            axis.plot([right, right], [0, np.tan(left - right)], color="C0", ls="-")
        axis.set(ylim=(0, 0.85), ylabel="tan(θᵢ − θ)")
        axis.set_title(f"{name}: grey area = loss of log-spread = {total:.3f}", loc="left", fontsize="medium")
        axis.set_xlim(np.pi / 2, 0)
    axes[-1].set_xticks(np.pi / 8 * np.arange(5), ["0 (data)", "π/8", "π/4", "3π/8", "π/2 (noise)"])
    axes[-1].set_xlabel(f"angle θ = atan(ς/√P), P = {VARIANCE:g}, ς from {high:g} to {low:g}, N = 8")
    return figure
