"""Constant denoising costs √d: the loss along μ is a function of N/(m√d) alone, in closed form.

Derivation. With signal = 1 − t a grid of N steps has ς_i ≈ N/i near the noise end, and along a variance P ≫ 1 only i ~ N/√P ≪
N matter. With c = N/√P, tan θ_i = c/i, the step from i to i + 1 keeps (claim C2)
    cos²Δθ_i = (i² + i + c²)²/[(i² + c²)((i + 1)² + c²)],   i² + i + c² = (i + ½)² + b²,   b² = c² − ¼.
Euler's products Π(1 + c²/i²) = sinh(πc)/(πc), Π(1 + b²/(i + ½)²) = cosh πb and nΓ(n)²/Γ(n + ½)² → 1 give the sum over all
steps,
    e = log[sinh πc/cosh πb],   → π/(8c) for large c:   N_ε = c_ε·√P ≈ π√P/(8ε) = π m√d/(8ε).
Both forms of paper A (linear and sqrt) have ς ≈ N/i there. The true mixture along μ: in units of m√d its map too depends on c
alone (C9's limit of the denoiser), so p̂ is a function of N/(m√d) and N_ε = Θ(√d).
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch
from scipy import special

from theory import cost
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is
from theory.sampler import DDIM, Flow, grid, last, walk
from theory.schedule import Linear, SquareRoot
from theory.target import Gaussian, GaussianMixture

CLAIM = Claim(
    "C10-sqrt",
    "ours; paper A, arXiv 2501.00988, for the class (Euler); our working notes, complexity atlas",
    "Under constant denoising (VP) DDIM loses log[sinh πc/cosh π√(c² − ¼)] of log-spread along μ, c = N/(m√d), as d → ∞: "
    "N_ε = c_ε·m√d, and "
    "c_ε ≈ π/(8ε) for small ε; p̂ of the mixture is a function of the same c",
    "signal = 1 − t, noise = t or √(1 − signal²), t from 1 to 0 in N equal steps; proved for a Gaussian of variance m²d "
    "along μ, c > ½; "
    "for the mixture's p̂ at d → ∞ by its limiting map",
)
PAPER = "Paper A: constant denoising needs Θ(√d) steps (for Euler)."
DIFFERS = "DDIM instead of Euler, with the constant in closed form. 5 % on p̂ = 0.8 needs c = 1.509, 5 % of spread c = 7.7."
RESTS_ON = (
    "an exchange of limits: each step tends to its limit at fixed i as d → ∞, but their number grows like √d (a step's loss "
    "falls like 1/i⁴, which no step bounds); for p̂ of the mixture the same, which is measured"
)
FORMULAS = (cost.constant_denoising_loss,)


def prove() -> list[Step]:
    c, i, n = sp.symbols("c i n", positive=True)
    loss = cost.ddim_loss(1, c / i, c / (i + 1), sp)
    wallis = n * sp.gamma(n) ** 2 / sp.gamma(n + sp.Rational(1, 2)) ** 2
    numerator = c ** (-2 * (n - 1)) * sp.gamma(n) ** 2 * sp.sinh(sp.pi * c) / (sp.pi * c) * (n / c)
    half = sp.sqrt(c**2 - sp.Rational(1, 4))
    denominator = c ** (-2 * n) * sp.gamma(n + sp.Rational(1, 2)) ** 2 * sp.cosh(sp.pi * half) / sp.pi
    return [
        identity("the first step, from ς = ∞ to c, keeps cos² = 1/(1 + c⁻²)",
                 sp.cos(sp.pi / 2 - sp.atan(c)) ** 2, 1 / (1 + c**-2)),
        identity("step i keeps (i² + i + c²)²/[(i² + c²)((i + 1)² + c²)]", sp.factor(sp.exp(-2 * loss)),
                 (i**2 + i + c**2) ** 2 / ((i**2 + c**2) * ((i + 1) ** 2 + c**2))),
        identity("the middle factor is (i + ½)² + b²", i**2 + i + c**2, (i + sp.Rational(1, 2)) ** 2 + half**2),
        identity("the product of n steps is the formula's argument times nΓ(n)²/Γ(n + ½)² (Euler's products)",
                 numerator / denominator, wallis * sp.sinh(sp.pi * c) / sp.cosh(sp.pi * half)),
        identity("the formula is its logarithm",
                 sp.exp(cost.constant_denoising_loss(c, sp)).subs(sp.Float(0.25), sp.Rational(1, 4)),
                 sp.sinh(sp.pi * c) / sp.cosh(sp.pi * half)),
        limit_is("for large c the exponents differ by π(c − b), π/(8c)", sp.pi * (c - half) * c, c, sp.oo, sp.pi / 8),
    ]  # fmt: skip


RATIOS, WEIGHT_RATIOS, ROOT, ODDS = (0.8, 1.0, 2.0), (1.0, 1.5), 300, 0.8


def predict() -> dict[str, np.ndarray]:
    """The closed form; p̂ of the limiting map Y → D + (S'/S)(Y − D), D = tanh(h + Y/S²), S_i = c/i."""
    h = special.logit(ODDS) / 2
    z = np.linspace(-4, 4, 20001)
    weights = []
    for c in WEIGHT_RATIOS:
        y = np.tanh(h) + z * c  # the step from ς = ∞ sees the prior mean
        for i in range(1, 60):
            data = np.tanh(h + y * (i / c) ** 2)
            y = data + i / (i + 1) * (y - data)
        weights.append(special.ndtr(-z[np.argmax(y > 0)]))
    return {"loss": np.array([[cost.constant_denoising_loss(c)] * 2 for c in RATIOS]), "weight": np.array(weights)}


def measure() -> dict[str, np.ndarray]:
    """The sampler at √d = 300: a Gaussian of variance d, in both forms of paper A, and the mixture along μ."""
    law = Gaussian.isotropic(1, ROOT**2)
    losses = []
    for c in RATIOS:
        times = grid(round(c * ROOT))
        flows = [Flow(schedule, law.denoise) for schedule in (Linear(), SquareRoot())]
        ends = [last(walk(flow, flow.start(torch.ones(1, 1, dtype=torch.float64)), times, DDIM())).item() for flow in flows]
        losses.append(np.log(ROOT / np.array(ends)))
    mixture = GaussianMixture.two_modes(1, ODDS, float(ROOT), 0.5)
    weights = []
    for c in WEIGHT_RATIOS:
        flow, low, high = Flow(Linear(), mixture.denoise), -4.0, 4.0
        for _ in range(2):
            z = torch.linspace(low, high, 101, dtype=torch.float64)[:, None]
            above = int(torch.argmax((last(walk(flow, flow.start(z), grid(round(c * ROOT)), DDIM()))[:, 0] > 0).int()))
            low, high = z[above - 1].item(), z[above].item()
        weights.append(special.ndtr(-(low + high) / 2))
    return {"loss": np.array(losses), "weight": np.array(weights)}


MARGIN = {"loss": 3.3e-3, "weight": 3.3e-3}  # corrections of relative order 1/√d
