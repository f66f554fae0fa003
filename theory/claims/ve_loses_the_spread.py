"""VE, constant denoising, N fixed: as d → ∞ the weights converge to a map without d, and σ̂ to a power of d.

Weights. In Y = u·x/√d the velocity is the mixture's with centre m, noise α and inside-mode variance σ²/d: its limit has
variance 0, and every α at a left node is ≥ 1/N, so the map of N Euler steps converges, with O(1/d).
Rate in N. Euler's local defect −(h²/2)·Ÿ, pulled back to the start by the flow (∂z/∂Y_t = ρ_t(Y)/φ(z), for ρ(Y_t)·∂Y_t/∂z is
constant), moves the separatrix: p̂ = p + C/N, C = −½ ∫ ρ_t(Y*)·Ÿ* dt along the trajectory Y* that splits the mass p : 1 − p.
Spread. Linear form: all factors but the last tend to (j − 1)/j, j = N − k, and the last to σ²N(N − 1)/d: σ̂ → σ²(N − 1)/√d.
Sqrt form: Π(1 − k/(N² − k²)), a quotient of Gamma functions: σ̂ ≈ √(2d/(πN)).
"""

from __future__ import annotations

import numpy as np
import sympy as sp
from scipy import integrate, optimize

from theory import limit, witness
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is
from theory.schedule import variance_exploding_flow

CLAIM = Claim(
    "A3",
    "arXiv 2501.00988, VE under constant denoising (our working notes, A3)",
    "VE, N Euler steps, d → ∞: p̂ has a limit p + C/N + O(1/N²) with C an integral along the separatrix; σ̂ ~ σ²(N − "
    "1)/√d (linear "
    "form, → 0) and σ̂ ~ G(N)·√d, G ≈ √(2/(πN)) (sqrt form, → ∞)",
    "0 < p < 1 and any m > 0, σ > 0; N ≥ 2 fixed, uniform grid in τ, noise scale √d; at p = ½ C = 0",
)
PAPER = "Under constant denoising with Θ(1) steps VE recovers the weights of the modes and loses their variance."
DIFFERS = (
    "How σ is lost depends on the form: it vanishes like 1/√d or explodes like √d. The constants of both, and of the "
    "weights' 1/N."
)
RESTS_ON = (
    "the expansion of Euler's global error by its local defects, used up to τ = 1 where the velocity along u is singular (the "
    "density of the separatrix vanishes there faster than every power): p + C/N + O(1/N²) is argued and measured; the limits "
    "of σ̂ are steps"
)
FORMULAS = (limit.exploding_linear_spread, limit.exploding_sqrt_gain, limit.acceleration)


def prove() -> list[Step]:
    return [*_weights(), *_linear(), *_sqrt()]


def _weights() -> list[Step]:
    d, c, v, g, n = sp.symbols("d m sigma2 g n", positive=True)
    y, h, dg, dn = sp.symbols("Y h g' n'", real=True)
    root = sp.sqrt(d)
    scaled = limit.mode_velocity(root * y, root * c, h, g, root * n, dg, root * dn, v, sp) / root
    small = limit.mode_velocity(y, c, h, g, n, dg, dn, v / d, sp)
    t, velocity, bend, third = sp.symbols("t v_1 v_2 v_3", real=True)
    step = sp.Symbol("e", positive=True)
    signal, noise = t, sp.Function("n", positive=True)(t)
    path = sp.Function("Y")(t)
    flow = limit.mode_velocity(path, c, h, signal, noise, 1, noise.diff(t), 0, sp)
    bent = flow.diff(t).subs(path.diff(t), flow)
    formula = limit.acceleration(path, c, h, signal, noise, 1, noise.diff(t), noise.diff(t, 2), sp)
    angle, tilt = h + signal * c * path / noise**2, sp.Symbol("T", real=True)

    def in_tanh(expression: sp.Expr) -> sp.Expr:
        return expression.subs(sp.cosh(angle), 1 / sp.sqrt(1 - tilt**2)).subs(sp.tanh(angle), tilt)

    rate, slope, density = (sp.Function(name) for name in ("b", "J", "rho"))
    x = sp.Symbol("x", real=True)
    continuity = -(rate(x, t) * density(x, t)).diff(x)
    along = continuity + density(x, t).diff(x) * rate(x, t)  # dρ/dt on a trajectory
    return [
        identity("Y = u·x/√d moves with noise α and variance σ²/d: d enters nowhere else", scaled, small),
        limit_is("so the velocity converges while α > 0", small, d, sp.oo, limit.mode_velocity(y, c, h, g, n, dg, dn, 0, sp)),
        identity("Ÿ along the flow is `acceleration`, any noise(t)", in_tanh(sp.expand(bent)), in_tanh(sp.expand(formula))),
        identity(
            "ρ(Y_t)·∂Y_t/∂z is constant: dρ/dt = −ρ·∂b/∂x against d(∂Y/∂z)/dt = ∂b/∂x·∂Y/∂z",
            along * slope(t) + density(x, t) * rate(x, t).diff(x) * slope(t),
        ),
        limit_is(
            "a step e of Euler misses the flow Y, Ẏ e + ½Ÿ e² + …, by −(e²/2)·Ÿ",
            (velocity * step - (velocity * step + bend * step**2 / 2 + third * step**3 / 6)) / step**2,
            step,
            0,
            -bend / 2,
        ),
    ]


def _linear() -> list[Step]:
    d, v, n, j = sp.symbols("d sigma2 N j", positive=True)
    k = sp.Symbol("k", positive=True, integer=True)
    share, root = 1 - j / n, sp.sqrt(d)
    factor = sp.factor(1 + limit.linear_rate(share, root * j / n, 1, -root, v) / n)
    last = sp.factor(factor.subs(j, 1))
    return [
        limit_is("linear form: the step from α = j/N multiplies by (j − 1)/j", factor, d, sp.oo, (j - 1) / j),
        limit_is("and the last, j = 1, by σ²N(N − 1)/d", last * d, d, sp.oo, v * n * (n - 1)),
        identity("the others telescope: Π_{j=2}^N (j − 1)/j = 1/N", (1 / k) * k / (k + 1), 1 / (k + 1)),
        identity(
            "together σ̂ = √d·(1/N)·σ²N(N − 1)/d", root / n * v * n * (n - 1) / d, limit.exploding_linear_spread(n, v, d, sp)
        ),
    ]


def _sqrt() -> list[Step]:
    d, v, n, k = sp.symbols("d sigma2 N k", positive=True)
    root = sp.Symbol("r", positive=True)
    share = k / n
    noise = sp.sqrt(d) * sp.sqrt(1 - share**2)
    factor = sp.together(
        sp.simplify(1 + limit.linear_rate(share, noise, 1, -sp.sqrt(d) * share / sp.sqrt(1 - share**2), v) / n)
    )

    def partial(x: sp.Expr) -> sp.Expr:
        """Π over the first x steps."""
        top = sp.gamma(root + 1 + x) / sp.gamma(root + 1 - x)
        return top * sp.gamma(n - x + 1) * sp.gamma(n) / (sp.gamma(n + 1) * sp.gamma(n + x))

    r = (sp.sqrt(1 + 4 * n**2) - 1) / 2
    ratio = sp.gammasimp(partial(k + 1) / partial(k))
    ending = sp.gammasimp(partial(n) / limit.exploding_sqrt_gain(n, sp).subs(r, root))
    return [
        limit_is("sqrt form: the step at τ = k/N multiplies by 1 − k/(N² − k²)", factor, d, sp.oo, 1 - k / (n**2 - k**2)),
        identity("N² − k − k² = (r − k)(r + 1 + k), r = (√(1 + 4N²) − 1)/2", n**2 - k - k**2, ((r - k) * (r + 1 + k)).expand()),
        identity(
            "the partial products are quotients of Γ: their ratio is the factor",
            ratio,
            (root - k) * (root + 1 + k) / (n**2 - k**2),
        ),
        identity("they start at 1", sp.gammasimp(partial(sp.Integer(0))), 1),
        identity("and end at the formula", ending, 1),
        limit_is("r = N − ½ + o(1), so the arguments of Γ are 2N + ½, ½ and 2N + 1", r - n, n, sp.oo, -sp.Rational(1, 2)),
        limit_is(
            "Γ(2N + ½)√(2N)/Γ(2N + 1) → 1, its square being between 2N/(2N + ½) and 1 (Γ is log-convex): G ≈ √(2/(πN))",
            2 * n / (2 * n + sp.Rational(1, 2)),
            n,
            sp.oo,
            sp.Integer(1),
        ),
    ]


WEIGHT, MEAN, STD, DIM = 0.8, 1.0, 0.5, 1e10
STEPS, MANY = np.array([2, 10, 50]), 400


def _constant(form: str) -> float:
    """C = −½ ∫ ρ·Ÿ along the separatrix, by quadrature; beyond τ = 0.97 the density there is below e^{−500}."""
    bias = float(limit.log_odds(WEIGHT))

    def integrand(t: float) -> float:
        noise = 1 - t if form == "linear" else np.sqrt(1 - t * t)
        rate, bend = (-1.0, 0.0) if form == "linear" else (-t / noise, -1 / noise**3)
        modes = ((WEIGHT, t * MEAN), (1 - WEIGHT, -t * MEAN))
        below = lambda y: sum(w * limit.normal_cdf((y - c) / noise) for w, c in modes) - (1 - WEIGHT)  # noqa: E731
        y = optimize.brentq(below, -6.0, 6.0)
        density = sum(w * np.exp(-0.5 * ((y - c) / noise) ** 2) for w, c in modes) / (noise * np.sqrt(2 * np.pi))
        return -0.5 * density * limit.acceleration(y, MEAN, bias, t, noise, 1.0, rate, bend)

    return integrate.quad(integrand, 0, 0.97, epsabs=1e-7, limit=60)[0]


def predict() -> dict[str, np.ndarray]:
    """σ̂·√d and σ̂/√d at d → ∞, and N·(p̂ − p) at N → ∞."""
    return {
        "linear σ̂√d": limit.exploding_linear_spread(STEPS, STD**2, 1.0),
        "sqrt σ̂/√d": limit.exploding_sqrt_gain(STEPS),
        "N(p̂ − p)": np.array([_constant("linear"), _constant("sqrt")]),
    }


def measure() -> dict[str, np.ndarray]:
    linear, sqrt = variance_exploding_flow("linear", DIM), variance_exploding_flow("sqrt", DIM)
    at = (WEIGHT, MEAN * np.sqrt(DIM), STD**2)
    # Richardson: N·(p̂ − p) = C + D/N + …, so twice the value at 2N less the value at N is C + O(1/N²).
    excess = [[n * (witness.plus_weight(flow, n, *at) - WEIGHT) for flow in (linear, sqrt)] for n in (MANY // 2, MANY)]
    return {
        "linear σ̂√d": np.array([witness.spread(linear, int(n), STD**2) for n in STEPS]) * np.sqrt(DIM),
        "sqrt σ̂/√d": np.array([witness.spread(sqrt, int(n), STD**2) for n in STEPS]) / np.sqrt(DIM),
        "N(p̂ − p)": 2 * np.array(excess[1]) - np.array(excess[0]),
    }


# d = 10¹⁰: relative corrections σ²N²/d < 10⁻⁷ of values up to 12.25 and 0.67. C: D/N² with N = 200 and D of order 1.
MARGIN = {"linear σ̂√d": 1e-5, "sqrt σ̂/√d": 1e-6, "N(p̂ − p)": 5e-4}
