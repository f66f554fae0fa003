"""What a step costs: losses, angles and lengths of sampling a Gaussian direction, and the schedules that minimise them.

Notation: a Gaussian direction of variance P, noise-to-signal ς = noise/signal, angle θ = atan(ς/√P). One DDIM step multiplies
the spread by cos Δθ of what the exact flow does (claim C1), so N steps lose e = −Σ log cos Δθ of log-spread. For several
directions small steps cost e_k ≈ ½ΣΔθ_k², a Riemannian length for each set of weights. Formulas are plain arithmetic with a
namespace `xp` (numpy, sympy, `theory.ball`), so what is proved is what is used. Levels run from noise to data, as a sampler
visits them.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray


# ---- one direction ----------------------------------------------------------------------------------------------------


def ddim_multiplier(variance: Any, left: Any, right: Any) -> Any:
    """Factor of the spread of x/signal in one DDIM step ς = left → right: (P + ςς')/(P + ς²) (our working notes)."""
    return (variance + left * right) / (variance + left**2)


def angle(variance: Any, noise_to_signal: Any, xp: Any = np) -> Any:
    """θ = atan(ς/√P) ∈ [0, π/2)."""
    return xp.atan(noise_to_signal / xp.sqrt(variance))


def ddim_loss(variance: Any, left: Any, right: Any, xp: Any = np) -> Any:
    """Log-spread that one DDIM step loses against the exact flow: ½ log(1 + P(ς − ς')²/(P + ςς')²) ≥ 0 (claim C2)."""
    return xp.log(1 + variance * (left - right) ** 2 / (variance + left * right) ** 2) / 2


def ddim_loss_in_log_levels(ratio: Any, middle: Any, xp: Any = np) -> Any:
    """The same loss in log coordinates: ½ log(1 + sinh²(δ/2)/cosh²v) (claim C12).

    `ratio` = δ = log(ς/ς'), half the step in λ; `middle` = v = log(√(ςς')/√P).
    """
    return xp.log(1 + (xp.sinh(ratio / 2) / xp.cosh(middle)) ** 2) / 2


def angle_loss(step: Any, xp: Any = np) -> Any:
    """The same from the step in angle: −log cos Δθ (claims C1, C2)."""
    return -xp.log(xp.cos(step))


def equal_angle_loss(total: Any, steps: Any, xp: Any = np) -> Any:
    """The least loss of N steps over the angle Θ: −N log cos(Θ/N) (claim C3)."""
    return -steps * xp.log(xp.cos(total / steps))


def tangent_level(scale: Any, noise_min: Any, noise_max: Any, share: Any, xp: Any = np) -> Any:
    """ς of the tangent law at the share i/N of the way from noise to data: tan interpolated in atan(ς/c) (claim C4)."""
    return scale * xp.tan((1 - share) * xp.atan(noise_max / scale) + share * xp.atan(noise_min / scale))


def gaussian_mmse(variance: Any, noise_to_signal: Any) -> Any:
    """Mean squared error of the posterior mean of N(0, P) seen at ς: Pς²/(P + ς²)."""
    return variance * noise_to_signal**2 / (variance + noise_to_signal**2)


def entropic_time(variance: Any, noise_to_signal: Any, xp: Any = np) -> Any:
    """Conditional entropy of data N(0, P) given its state at ς, up to a constant: −½ log(1 + P/ς²) nats (claim C5)."""
    return -xp.log(1 + variance / noise_to_signal**2) / 2


def rescaled_entropic_time(variance: Any, noise_to_signal: Any, xp: Any = np) -> Any:
    """∫₀^ς mmse/s² ds of N(0, P): √P·atan(ς/√P) (claim C5)."""
    return xp.sqrt(variance) * angle(variance, noise_to_signal, xp)


# ---- Lipschitz cost of a Gaussian ---------------------------------------------------------------------------------------


def lipschitz_linear(variance: Any, xp: Any = np) -> Any:
    """A₂ of signal = 1 − t, noise = t for N(0, M): π(1 + M)/(4√M) − 1 (claim C7)."""
    return xp.pi * (1 + variance) / (4 * xp.sqrt(variance)) - 1


def lipschitz_trigonometric(variance: Any, xp: Any = np) -> Any:
    """A₂ of signal = cos(πt/2), noise = sin(πt/2) for N(0, M): π²(√M − 1)²/(8√M) (claim C7)."""
    return xp.pi**2 * (xp.sqrt(variance) - 1) ** 2 / (8 * xp.sqrt(variance))


def lipschitz_least(variance: Any, xp: Any = np) -> Any:
    """The least A₂ of any interpolation between N(0, 1) and N(0, M): (log M)²/4 (claim C7)."""
    return xp.log(variance) ** 2 / 4


# ---- growth with dimension ----------------------------------------------------------------------------------------------


def constant_denoising_loss(ratio: Any, xp: Any = np) -> Any:
    """log[sinh πc/cosh π√(c² − ¼)] for c = N/√P > ½: loss under signal = 1 − t as P → ∞ (claim C10-sqrt)."""
    return xp.log(xp.sinh(xp.pi * ratio) / xp.cosh(xp.pi * xp.sqrt(ratio**2 - 1 / 4)))


def log_uniform_loss(step: Any, phase: Any, xp: Any = np) -> Any:
    """h/4 − 2cos(2πφ/h)/sinh(π²/h): loss of all the steps h in log ς, one level at √P·e^φ (claim C10-log).

    The second term is the first of a series in odd n; the next is e^{−3π²/h} small.
    """
    return step / 4 - 2 * xp.cos(2 * xp.pi * phase / step) / xp.sinh(xp.pi**2 / step)


def karras_cost(variance: Any, noise_max: Any, exponent: Any, xp: Any = np) -> Any:
    """∫(dθ/dt)²dt of EDM's levels from ς_max to 0, √P ≪ ς_max: (π/4)(ς_max/√P)^{1/ρ}/sin(π/2ρ) (claim C10-edm)."""
    return xp.pi / 4 * (noise_max / xp.sqrt(variance)) ** (1 / exponent) / xp.sin(xp.pi / (2 * exponent))


# ---- several directions -------------------------------------------------------------------------------------------------


def speed(variances: Any, weights: Any, noise_to_signal: Any, xp: Any = np) -> Any:
    """dL/dς = √(Σ_k w_k P_k/(P_k + ς²)²), the length element of Σ_k w_k e_k (claim C8-spread). Any number of directions."""
    return xp.sqrt(sum(w * p / (p + noise_to_signal**2) ** 2 for p, w in zip(variances, weights, strict=True)))


def wasserstein_error(variance: Any, loss: Any, xp: Any = np) -> Any:
    """W₂² of a direction of variance P whose log-spread fell by e: P(1 − e^{−e})²."""
    return variance * (1 - xp.exp(-loss)) ** 2


def wasserstein_weight(variance: Any, loss: Any, xp: Any = np) -> Any:
    """∂W₂²/∂e = 2P(e^{−e} − e^{−2e}), what the direction weighs at the optimum (claim C8-w2)."""
    return 2 * variance * (xp.exp(-loss) - xp.exp(-2 * loss))


def kl_error(loss: Any, xp: Any = np) -> Any:
    """KL(N(0, P e^{−2e}) ‖ N(0, P)) = ½(e^{−2e} − 1 + 2e), in nats."""
    return (xp.exp(-2 * loss) - 1 + 2 * loss) / 2


def kl_weight(loss: Any, xp: Any = np) -> Any:
    """∂KL/∂e = 1 − e^{−2e}, what the direction weighs at the optimum (claim C8-kl)."""
    return 1 - xp.exp(-2 * loss)


def spread_losses(variances: Any, levels: Any) -> Array:
    """e_k ≥ 0 (K,), the log-spread that DDIM over the levels (from noise to data) loses in each direction."""
    variances, levels = np.asarray(variances, dtype=np.float64), np.asarray(levels, dtype=np.float64)
    return np.asarray(ddim_loss(variances[:, None], levels[:-1], levels[1:]).sum(-1))


def missing_spread(variances: Any, levels: Any) -> Array:
    """|log(σ̂_k/√P_k)| (K,) after DDIM over the levels, noise first, from N(0, ς₀²): ½ log(1 + P/ς₀²) + Σ of the steps' losses.

    A last level > 0 leaves its noise in: log-spread ½ log(1 + ς_N²/P) of the other sign. ς₀ may be ∞ (the step from there is
    the prior mean, 0: the walk starts at ς₁) and is then dropped.
    """
    variances, levels = np.asarray(variances, dtype=np.float64), np.asarray(levels, dtype=np.float64)
    if variances.ndim != 1 or levels.ndim != 1 or len(levels) < 2:
        raise ValueError(
            f"variances {variances.shape} and levels {levels.shape}; allowed: (K,) and (N + 1,) with N ≥ 1; remedy: [P] for "
            "one direction, and the levels of all N steps with the last, 0, included"
        )
    levels = levels[1:] if np.isinf(levels[0]) else levels
    start = np.log1p(variances / levels[0] ** 2) / 2
    return np.abs(start + spread_losses(variances, levels) - np.log1p(levels[-1] ** 2 / variances) / 2)


def _checked(variances: Any, weights: Any, noise_min: float, noise_max: float) -> tuple[Array, Array]:
    p, w = np.asarray(variances, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if p.ndim != 1 or p.shape != w.shape or not p.size:
        raise ValueError(
            f"variances {p.shape} and weights {w.shape}; allowed: both (K,) with K ≥ 1; remedy: give one weight for each "
            "variance"
        )
    if not (np.all(p > 0) and np.all(np.isfinite(p))):
        raise ValueError(
            f"variances span [{p.min()}, {p.max()}]; allowed: 0 < P < ∞; remedy: leave out directions without variance"
        )
    if not (np.all(w >= 0) and np.all(np.isfinite(w)) and w.any()):
        raise ValueError(
            f"weights span [{w.min()}, {w.max()}]; allowed: 0 ≤ w < ∞, not all 0; remedy: one weight each, e.g. 1, or the "
            "multiplicities"
        )
    if not 0 <= noise_min < noise_max < np.inf:
        raise ValueError(
            f"levels from ς = {noise_max} to {noise_min}; allowed: 0 ≤ ς_min < ς_max < ∞; remedy: give ς_min first, and a "
            "finite ς_max"
        )
    return p[w > 0], w[w > 0]


def geodesic_arc(variances: Any, weights: Any, noise_min: float, noise_max: float) -> tuple[Array, Array]:
    """(levels rising from ς_min to ς_max, length up to each): the geodesic as a table, relative error about 1e-6.

    The table is dense in every direction's angle, so scales may be any distance apart. Raises ValueError for weights or
    variances out of range.
    """
    p, w = _checked(variances, weights, noise_min, noise_max)
    scales = np.sqrt(np.unique(p))
    scales = scales[:: max(1, len(scales) // 64)]  # a continuous spectrum needs no more than 64 scales for its nodes
    dense = [c * np.tan(np.linspace(np.atan(noise_min / c), np.atan(noise_max / c), 4001)) for c in scales]
    between = np.geomspace(max(noise_min, min(noise_max, scales.min()) / 4001), noise_max, 4001)  # scales may be far apart
    nodes = np.unique(np.clip(np.concatenate([[noise_min, noise_max], between, *dense]), noise_min, noise_max))
    # Lengths of pieces by Simpson's rule in ς: between neighbours the speed is smooth on the scale of every angle.
    middle = speed(p, w, (nodes[1:] + nodes[:-1]) / 2)
    ends = speed(p, w, nodes)
    pieces = (ends[1:] + 4 * middle + ends[:-1]) / 6 * np.diff(nodes)
    return nodes, np.concatenate([[0.0], np.cumsum(pieces)])


def geodesic(variances: Any, weights: Any, noise_min: float, noise_max: float, steps: int) -> Array:
    """N + 1 levels from ς_max down to ς_min, equal lengths apart under `speed`; both ends exact.

    Optimal for Σ_k w_k e_k as N → ∞. Equal weights are one per feature, not per coordinate: pass multiplicities as weights.
    """
    if not isinstance(steps, numbers.Integral) or steps < 1:
        raise ValueError(f"steps N = {steps!r}; allowed: an integer ≥ 1; remedy: one step goes from ς_max to ς_min at once")
    nodes, length = geodesic_arc(variances, weights, noise_min, noise_max)
    levels = np.interp(np.linspace(length[-1], 0.0, steps + 1), length, nodes)
    levels[0], levels[-1] = noise_max, noise_min
    return levels


def consistent_weights(
    variances: Any, slope: Callable[[Array], Array], noise_min: float, noise_max: float, steps: int, *, iterations: int = 200
) -> Array:
    """Weights that reproduce themselves: w_k = slope(e)_k at the losses e of their own N-step geodesic (claims C8-w2, C8-kl).

    For an error Σ_k E_k(e_k), slope is its gradient; each E_k convex makes the fixed point the optimum as N → ∞. Returned
    with sum 1. Raises ArithmeticError when the iteration does not settle to 1e-10.
    """
    if iterations < 1:
        raise ValueError(f"iterations = {iterations}; allowed: an integer ≥ 1; remedy: the default, 200")
    weights = np.full(len(variances), 1 / max(len(variances), 1))  # `geodesic` refuses none
    for _ in range(iterations):
        losses = spread_losses(variances, geodesic(variances, weights, noise_min, noise_max, steps))
        wanted = slope(losses)
        wanted = wanted / wanted.sum()
        if np.max(np.abs(wanted - weights)) < 1e-10:
            return wanted
        weights = np.sqrt(weights * wanted)  # a direction that costs more draws steps to itself: damp in log
        weights = weights / weights.sum()
    raise ArithmeticError(
        f"weights still move by {np.max(np.abs(wanted - weights)):.2g} after {iterations} iterations; allowed: < 1e-10; "
        "remedy: more iterations, or more steps N"
    )


def balance(variances: Any, weights: Any, before: Any, level: Any, after: Any) -> Any:
    """∂/∂ς_i of Σ_k w_k e_k at an inner level, between its neighbours: Σ_k w_k (dθ_k/dς)(tan Δθ_after − tan Δθ_before).

    Zero at the optimum of any finite N. With tan(θ − θ') = √P(ς − ς')/(P + ςς').
    """
    return sum(
        w
        * p
        / (p + level**2)
        * ((level - after) / (p + level * after) - (before - level) / (p + before * level))
        for p, w in zip(variances, weights, strict=True)
    )  # fmt: skip
