"""The spectral window as a schedule for paper A's mixture: Θ(log d) DDIM steps, whichever of the three shapes.

The mixture has two variances: P₁ = m²d + σ² along μ (second moment, which a start from N(0, κ) has to cover) and P₂ = σ². As
a spectrum of two rings, f = 1 and f = 2, every shape is the straight line between two points, log R being linear between
rings and the quantile of R running linearly from ring to ring: frequency, power and mixed are one curve, λ linear in t from
λ_min to λ_max, of length L = log(P₁/P₂) + 2 logit(1 − ε) = log d + O(1).

Derivation. Across μ the sampler is linear. One DDIM step ς → ς' on N(0, P) loses ½ log(1 + P(ς − ς')²/(P + ςς')²) of
log-spread; with log(ς/ς') = δ and v = log √(ςς'/P) that is ½ log(1 + sinh²(δ/2)/cosh²v). N equal steps have δ = L/(2N). Lower
bound: one step has |v| ≤ δ/2 and loses at least ½ log(1 + tanh²(δ/2)), so a loss ≤ η needs δ ≤ 2 atanh √(e^{2η} − 1), N ≥
L/(2δ). Upper bound: the sum of a one-peaked function is at most its peak plus its integral over the spacing: ½ sinh²(δ/2)(1 +
2/δ), free of d, and about δ/4 = L/(8N). Along μ, in units of √d and κ/d the levels start at m²(1 − ε)/ε + O(1/d) and the map
tends to that of two points ±m: at fixed δ nothing depends on d.
"""

from __future__ import annotations

import itertools

import numpy as np
import sympy as sp
import torch
from matplotlib.figure import Figure
from scipy import optimize, special

from theory import bound, cost, limit
from theory.curve import Karras
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive
from theory.schedule import VarianceExploding

CLAIM = Claim(
    "C12",
    "ours; asked in our working notes ('the two papers meet'): paper B's window (arXiv 2603.19222) on paper A's mixture "
    "(arXiv 2501.00988)",
    "On the window of the mixture's two variances all three shapes are log-uniform, of length log d + O(1), and DDIM "
    "needs N = Θ(log d) steps for "
    "any fixed loss of log-spread across μ: L/(4 atanh √(e^{2η} − 1)) ≤ N, and N steps lose at most ½ sinh²(L/4N)(1 + 4N/L)",
    "two rings (all directions across μ are one frequency), fixed m, σ, p, ε and 0 < η < ½ log 2 as d → ∞, exact "
    "denoiser, levels in the window; the loss is that of "
    "the steps inside, the two ends add what claims B2 state",
)
PAPER = "Neither paper has this."
DIFFERS = (
    "Between constant denoising (√d) and the geodesic (Θ(1)): tight, but not dilated. See C12-index for one frequency "
    "per direction. The statement is about the loss across μ; along μ the limit of the map is derived and its weights measured."
)
FORMULAS = (cost.ddim_loss_in_log_levels, bound.log_snr_window, cost.ddim_multiplier)


def prove() -> list[Step]:
    power, delta, mean, spread, dim, odds = sp.symbols("P delta m sigma d w", positive=True)
    v, y, bias = sp.symbols("v y h", real=True)
    kappa = sp.Symbol("k", positive=True)  # κ/d
    left, right = (sp.sqrt(power) * sp.exp(v + s * delta / 2) for s in (1, -1))
    exact = sp.sqrt((power + right**2) / (power + left**2))
    gain = (cost.ddim_multiplier(power, left, right) / exact) ** -2
    epsilon, x = 1 / (1 + odds), sp.Symbol("x", positive=True)
    ends = bound.log_snr_window(spread**2, mean**2 * dim + spread**2, epsilon, sp)
    peak = cost.ddim_loss_in_log_levels(delta, delta / 2, sp)
    total = spread**2 + kappa * dim
    along = (
        spread**2 * y * sp.sqrt(dim)
        + kappa * dim * mean * sp.sqrt(dim) * sp.tanh(bias + mean * sp.sqrt(dim) * y * sp.sqrt(dim) / total)
    ) / total
    return [
        identity(
            "a DDIM step loses ½ log(1 + sinh²(δ/2)/cosh²v) of log-spread",
            sp.simplify((sp.exp(2 * cost.ddim_loss_in_log_levels(delta, v, sp)) - gain).rewrite(sp.exp)),
        ),
        limit_is(
            "the window has length log d + O(1)",
            sp.expand_log(ends[1] - ends[0], force=True) - sp.log(dim),
            dim,
            sp.oo,
            sp.log(mean**2 / spread**2) + 2 * sp.log(odds),
        ),
        identity(
            "at |v| = δ/2 the loss is ½ log(1 + tanh²(δ/2))",
            sp.simplify(sp.exp(2 * peak).rewrite(sp.exp) - (1 + sp.tanh(delta / 2) ** 2).rewrite(sp.exp)),
        ),
        positive(
            "and it falls with |v|: the step around v = 0 loses that, any other below its mean over the gap towards 0",
            -sp.diff(sp.cosh(x) ** -2, x),
            2 * sp.sinh(x) / sp.cosh(x) ** 3,
        ),
        identity(
            "which is η at δ = 2 atanh √(e^{2η} − 1)",
            sp.log(1 + sp.tanh(sp.atanh(sp.sqrt(sp.exp(2 * v) - 1))) ** 2) / 2,
            sp.log(sp.exp(2 * v)) / 2,
        ),
        positive("log(1 + x) ≤ x: equal at 0, slope x/(1 + x)", sp.diff(x - sp.log(1 + x), x)),
        identity("∫ dv/cosh²v over the line is 2", sp.limit(sp.tanh(x), x, sp.oo) - sp.limit(sp.tanh(x), x, -sp.oo), 2),
        identity("as tanh' = 1/cosh²", sp.diff(sp.tanh(x), x), sp.cosh(x) ** -2),
        limit_is(
            "the upper bound ½ sinh²(δ/2)(1 + 2/δ) is δ/4 for small steps: L/(8N)",
            sp.sinh(delta / 2) ** 2 * (1 + 2 / delta) / (2 * delta),
            delta,
            0,
            sp.Rational(1, 4),
            "+",
        ),
        limit_is(
            "along μ, in units of √d: the posterior mean tends to m tanh(h + m y/k), free of d",
            along / sp.sqrt(dim),
            dim,
            sp.oo,
            mean * sp.tanh(bias + mean * y / kappa),
        ),
        limit_is("and so does the first level, κ_max/d", sp.exp(-ends[0]) / dim, dim, sp.oo, mean**2 * odds),
    ]


MEAN, SPREAD, WEIGHT, EPSILON, LOSS = 1.0, 0.5, 0.8, 0.01, 0.05
DIMS = 10.0 ** np.arange(2, 13, 2)
HALF_STEP = 0.3


def losses(dim: float, steps: int) -> float:
    """Log-spread lost across μ by N DDIM steps on the window, by the formula; ends apart."""
    low, high = bound.log_snr_window(SPREAD**2, MEAN**2 * dim + SPREAD**2, EPSILON)
    half = (high - low) / (2 * steps)
    midpoints = half * (np.arange(steps) + 0.5) - high / 2 - np.log(SPREAD)  # log(ς/σ), from the data end up
    return float(cost.ddim_loss_in_log_levels(half, midpoints).sum())


def _commensurate() -> np.ndarray:
    """Dimensions at which the window is a whole number of steps of δ = 0.3: N = 30, 45, 60."""
    return (np.exp(2 * HALF_STEP * np.array([30, 45, 60])) * (EPSILON / (1 - EPSILON)) ** 2 - 1) * SPREAD**2 / MEAN**2


def predict() -> dict[str, np.ndarray]:
    """Fewest steps for a loss of 5 %, its growth per decade of d, and p̂ at fixed step length: that of two points, whatever
    d."""
    counts = np.array([next(n for n in range(4, 500) if losses(d, n) <= LOSS) for d in DIMS])
    bias, levels = 0.5 * special.logit(WEIGHT), np.sqrt((1 - EPSILON) / EPSILON) * np.exp(-HALF_STEP * np.arange(40))

    def final(z: float) -> float:
        y = levels[0] * z
        for left, right in itertools.pairwise(levels):
            data = np.tanh(bias + y / left**2)
            y = data + right / left * (y - data)
        return float(y)

    root = optimize.brentq(final, -5.0, 5.0, xtol=1e-12)
    return {"steps": counts, "weight": np.full(3, special.ndtr(-root)), "bounds": np.full(len(DIMS), 1.0)}


def _reduced(dim: float, steps: int) -> tuple[VarianceExploding, torch.Tensor, float, float]:
    """A schedule on which Euler in t is DDIM on the log-uniform window: ς linear in t; times, and the ends of ς."""
    high = np.sqrt((MEAN**2 * dim + SPREAD**2) * (1 - EPSILON) / EPSILON)
    low = np.sqrt(SPREAD**2 * EPSILON / (1 - EPSILON))
    levels = high * (low / high) ** (np.arange(steps + 1) / steps)
    times = (levels - low) / (high - low)
    times[0], times[-1] = 1.0, 0.0
    return VarianceExploding(Karras(low, high, 1.0)), torch.from_numpy(times), low, high


def measured_loss(dim: float, steps: int) -> float:
    """Log-spread lost across μ by the exact reduction, against the exact flow between the same ends."""
    schedule, times, low, high = _reduced(dim, steps)
    spread = limit.complement_gain(schedule, times, SPREAD**2)
    return float(np.log(high * np.sqrt((SPREAD**2 + low**2) / (SPREAD**2 + high**2)) / spread))


def measure() -> dict[str, np.ndarray]:
    """The exact reduction at every d: across μ a product of N factors, along μ the root of the map."""
    counts = np.array([next(n for n in range(4, 500) if measured_loss(d, n) <= LOSS) for d in DIMS])
    weights = []
    for dim, steps in zip(_commensurate(), (30, 45, 60), strict=True):
        schedule, times, _, _ = _reduced(dim, steps)
        model = limit.TwoModes.gaussian_mixture(dim, WEIGHT, MEAN, SPREAD)
        weights.append(limit.weight_plus(model, schedule, times))
    length = np.log((MEAN**2 * DIMS + SPREAD**2) / SPREAD**2) + 2 * special.logit(1 - EPSILON)
    below = length / (4 * np.arctanh(np.sqrt(np.expm1(2 * LOSS))))
    half = optimize.brentq(lambda x: 0.5 * np.sinh(x / 2) ** 2 * (1 + 2 / x) - LOSS, 1e-3, 1.0)
    return {
        "steps": counts,
        "weight": np.array(weights),
        "bounds": (below <= counts) & (counts <= np.ceil(length / (2 * half))),
    }


# Counts are whole numbers. p̂ in finite d differs by O(σ²/(m²d)) ~ 1e-5 at the smallest d, and δ in its last step.
MARGIN = {"steps": 0.5, "weight": 1e-4, "bounds": 0.5}


def draw() -> Figure:
    """Fewest DDIM steps for a loss of 5 % across μ, d = 10² … 10¹², between the two bounds."""
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.subplots()
    length = np.log((MEAN**2 * DIMS + SPREAD**2) / SPREAD**2) + 2 * special.logit(1 - EPSILON)
    half = optimize.brentq(lambda x: 0.5 * np.sinh(x / 2) ** 2 * (1 + 2 / x) - LOSS, 1e-3, 1.0)
    below = length / (4 * np.arctanh(np.sqrt(np.expm1(2 * LOSS))))
    axes.fill_between(DIMS, below, length / (2 * half), color="0.88", label="between the bounds")
    axes.plot(DIMS, length / (8 * LOSS), "k-", label="L/(8η), small steps")
    axes.plot(DIMS, measure()["steps"], "ko", label="exact reduction")
    axes.set(
        xscale="log",
        ylim=(0, None),
        xlabel="dimension d",
        ylabel="steps N for a loss of 5 %",
        title="the spectral window on two modes: N ∝ log d",
    )
    axes.legend(loc="lower right")
    return figure
