"""No law with the variances P has a larger denoising error than Σ Pκ/(P + κ); how far below it the truth can lie.

Derivation. With η = E[a | y], E(a − l(y))² = E(a − η)² + E(η − l(y))² for every estimate l, since a − η is orthogonal to
functions of y. Take the linear l = P/(P + κ)·y: its error is Pκ/(P + κ). So MMSE ≤ Pκ/(P + κ), direction by direction, with
equality exactly when the posterior mean is linear.

How loose? Along μ of the two-mode mixture, a = sign·|μ| + inner noise of variance v; given the sign the posterior is
Gaussian, so MMSE = vκ/(v + κ) + (κ/(v + κ))²|μ|²·V(g, b), g = |μ|²/(v + κ), V the error of a sign in Gaussian noise
(`bound.binary_mmse`). The linear bound has the same form with q/(1 + gq) in place of V, q = 1/cosh²b = 4p(1 − p). V falls
like e^{−g/2}, the bound like 1/g: as d → ∞ the bound is loose by every power of d, in the one direction μ. For Curie-Weiss
the coordinates are such signs themselves, with b = J m*, as d → ∞ (mean field; measured here at d = 4096): there the bound is
loose in every direction.
"""

from __future__ import annotations

import numpy as np
import sympy as sp
import torch
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from scipy import optimize

from theory import bound
from theory.curie_weiss import CurieWeiss
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is, positive
from theory.stream import Stream
from theory.target import Gaussian, GaussianMixture

CLAIM = Claim(
    "B3",
    "ours (working notes); the inequality is classical linear estimation",
    "For every law with covariance spectrum P, MMSE(κ) ≤ Σ Pκ/(P + κ), with equality exactly for a linear posterior "
    "mean; for the sign of "
    "a two-mode mixture the truth is at most e^{−g/2}, g = |μ|²/(v + κ), where the bound has q/(1 + gq), q = 4p(1 − p)",
    "finite variances, known mean (for the estimate to be affine), white noise of variance κ > 0; κ = noise²/signal²",
)
PAPER = "Not in the public part of the paper."
DIFFERS = "Gives the window's lower end for every law; the exact truth on paper A's models shows where it is loose."
FORMULAS = (bound.linear_mmse, bound.two_mode_mmse, bound.binary_mmse)


def prove() -> list[Step]:
    power, kappa, separation, q = sp.symbols("P kappa D q", positive=True)
    a, mean, other, w, bias, root = sp.symbols("a eta l w b r", real=True)
    gain, total = power / (power + kappa), power + kappa
    snr = separation / total
    split = power * kappa / total + (kappa / total) ** 2 * separation * q / (1 + snr * q)
    plus, minus = (sp.exp(s * (bias + w)) for s in (1, -1))  # p±N(w; ±g, g) ∝ e^{±(b + w)}, times what they share
    shared = sp.exp(-(root**2) / 2) / (2 * sp.cosh(bias))
    z = w / root
    normal = sp.exp(-(z**2) / 2)
    kernel, g = sp.cosh(2 * bias) + sp.cosh(2 * w), sp.Symbol("g", positive=True)
    return [
        identity(
            "E(a − l)² = E(a − η)² + E(η − l)²: the cross term is 2(a − η)(η − l), whose mean is 0",
            sp.expand((a - other) ** 2 - 2 * (a - mean) * (mean - other)),
            sp.expand((a - mean) ** 2 + (mean - other) ** 2),
        ),
        identity(
            "the linear estimate's error is the formula",
            power * (1 - gain) ** 2 + gain**2 * kappa,
            bound.linear_mmse(power, kappa),
        ),
        positive("which is below P: the estimate is of use at every κ", power - bound.linear_mmse(power, kappa)),
        identity(
            "two modes, variance v + |μ|²q along μ: the bound splits like the truth, with V replaced by q/(1 + gq)",
            bound.linear_mmse(power + separation * q, kappa),
            split,
        ),
        identity(
            "N(w; ±g, g) = e^{−g/2 ± w} N(w; 0, g), g = r²",
            sp.exp(-((w - root**2) ** 2) / (2 * root**2)),
            sp.exp(-(root**2) / 2 + w) * normal,
        ),
        identity(
            "the posterior variance of the sign, 4f₊f₋/(f₊ + f₋)², integrated against f₊ + f₋, has the kernel "
            "e^{−g/2}/(cosh b·cosh(b + w))",
            4 * shared**2 * plus * minus / (shared * (plus + minus)),
            (sp.exp(-(root**2) / 2) / (sp.cosh(bias) * sp.cosh(bias + w))).rewrite(sp.exp),
        ),
        identity(
            "and, w and −w being equally likely, 2cosh w/(cosh 2b + cosh 2w)",
            ((1 / sp.cosh(bias + w) + 1 / sp.cosh(bias - w)) / (2 * sp.cosh(bias))).rewrite(sp.exp),
            (2 * sp.cosh(w) / kernel).rewrite(sp.exp),
        ),
        positive(
            "which is at most 1/cosh w ≤ 1: V ≤ e^{−g/2}",
            (1 / sp.cosh(w) - 2 * sp.cosh(w) / kernel).rewrite(sp.exp),
            2 * sp.sinh(bias) ** 2 / (sp.cosh(w) * kernel),
            strict=False,
        ),
        limit_is(
            "below the bound q/(1 + gq) by more than any power of g",
            sp.exp(-g / 2) * (1 + g * q) * g**9 / q,
            g,
            sp.oo,
            sp.Integer(0),
        ),
        _map_step(),
    ]


def _map_step() -> Step:
    """The bound holds on every cell of the maps; how far below it the truth is there."""
    cells = np.concatenate([m.values.ravel() for m in maps(coarse=6)])
    says = f"truth ≤ bound on {cells.size} cells of the maps; log₁₀(truth/bound) from {cells.min():.1f} to {cells.max():.1g}"
    return Step("numeric", says, bool(cells.max() <= 1e-12))


VARIANCES, KAPPAS = np.array([0.1, 1.0, 6.0]), np.array([0.2, 1.0, 5.0])
WEIGHT, MEAN, SPREAD = 0.8, 1.0, 0.5
SPINS, COUPLING, DRAWS = 4096, 1.3, 64


def predict() -> dict[str, np.ndarray]:
    """MMSE at three κ: a Gaussian (all directions), the mixture at d = 2 (along and across μ), a spin of Curie-Weiss."""
    spin = optimize.brentq(lambda m: m - np.tanh(COUPLING * m), 1e-3, 1.0)
    across = bound.linear_mmse(SPREAD**2, KAPPAS)
    bias = 0.5 * np.log(WEIGHT / (1 - WEIGHT))
    return {
        "Gaussian": bound.linear_mmse(VARIANCES, KAPPAS[:, None]).sum(-1),
        "two modes": across + bound.two_mode_mmse(2 * MEAN**2, SPREAD**2, bias, KAPPAS),
        "Curie-Weiss": bound.binary_mmse(1 / KAPPAS, COUPLING * spin),
    }


def measure() -> dict[str, np.ndarray]:
    """E|a|² − E|η(y)|² with the laws' denoisers: Gauss-Hermite in y, and 64 exact samples of 4096 spins."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    z, weight = torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())
    gauss, modes, spins = [], [], []
    mixture = GaussianMixture.two_modes(2, WEIGHT, MEAN, SPREAD)
    law, stream = CurieWeiss(SPINS, COUPLING, 0.0), Stream(7)
    data, noise = law.sample(DRAWS, stream.child("data")), stream.child("noise").normal(DRAWS, (SPINS,))
    for kappa in KAPPAS:
        level = float(np.sqrt(kappa))
        y = z[:, None] * torch.sqrt(torch.from_numpy(VARIANCES) + kappa)
        eta = Gaussian(torch.from_numpy(VARIANCES)).denoise(y, 1.0, level)
        gauss.append(VARIANCES.sum() - float((weight[:, None] * eta**2).sum()))
        spread = float(np.sqrt(SPREAD**2 + kappa))
        square = torch.stack(torch.meshgrid(z, z, indexing="ij"), -1).reshape(-1, 2) * spread
        both = (weight[:, None] * weight).reshape(-1)
        power = sum(p * float(both @ mixture.denoise(square + s * MEAN, 1.0, level).square().sum(-1))
                    for s, p in ((1, WEIGHT), (-1, 1 - WEIGHT)))  # fmt: skip
        modes.append(2 * (SPREAD**2 + MEAN**2) - power)
        eta = law.denoise(data + level * noise, 1.0, level)
        spins.append(float(((data - eta) ** 2).mean()))
    return {"Gaussian": np.array(gauss), "two modes": np.array(modes), "Curie-Weiss": np.array(spins)}


# Quadratures to rounding and to the nodes' accuracy; 4 standard errors of ≤ 1/√(64·4096) for the spins, and 1/d for the limit.
MARGIN = {"Gaussian": 1e-11, "two modes": 1e-6, "Curie-Weiss": 0.008}


class LoosenessMap:
    """log₁₀(truth/bound) on a grid: rows y, columns x."""

    def __init__(self, title: str, x: tuple[str, np.ndarray], y: tuple[str, np.ndarray], values: np.ndarray) -> None:
        self.title, self.x, self.y, self.values = title, x, y, values


def maps(coarse: int = 1) -> list[LoosenessMap]:
    """How loose: MMSE along μ in d and κ, and in SNR and p; of a Curie-Weiss spin in κ and J; information along μ in d and
    κ."""
    log_kappa, log_dim = np.linspace(-3, 5, 41)[None, ::coarse], np.linspace(0, 4, 33)[::coarse, None]
    kappa, separation, variance, bias = 10**log_kappa, 10**log_dim, 0.25, 0.5 * np.log(4.0)
    power = variance + separation / np.cosh(bias) ** 2
    error = bound.two_mode_mmse(separation, variance, bias, kappa) / bound.linear_mmse(power, kappa)
    information = bound.two_mode_information(separation, variance, bias, kappa) / bound.gaussian_information(power, kappa)
    log_snr, weight = np.linspace(-2, 2, 61)[None, ::coarse], np.linspace(0.5, 0.99, 49)[::coarse, None]
    half = 0.5 * np.log(weight / (1 - weight))
    q = 4 * weight * (1 - weight)
    sign = bound.binary_mmse(10**log_snr, half) / (q / (1 + 10**log_snr * q))
    coupling, log_level = np.linspace(0.5, 2.0, 61)[::coarse], np.linspace(-2, 2, 61)[None, ::coarse]
    spins = [optimize.brentq(lambda m, j=j: m - np.tanh(j * m), 1e-6, 1.0) if j > 1 + 1e-9 else 0.0 for j in coupling]
    spin = np.array(spins)[:, None]
    free = bound.binary_mmse(10**-log_level, coupling[:, None] * spin) / bound.linear_mmse(1 - spin**2, 10**log_level)
    level, dim = ("log₁₀ κ", log_kappa[0]), ("log₁₀ d", log_dim[:, 0])
    return [
        LoosenessMap("error along μ, p = 0.8, σ = ½", level, dim, np.log10(error)),
        LoosenessMap("information along μ, same law", level, dim, np.log10(information)),
        LoosenessMap("error of a sign", ("log₁₀ SNR g", log_snr[0]), ("weight p", weight[:, 0]), np.log10(sign)),
        LoosenessMap("error of a Curie-Weiss spin, d → ∞", ("log₁₀ κ", log_level[0]), ("coupling J", coupling), np.log10(free)),
    ]


def draw() -> Figure:
    """Looseness maps: log₁₀ of truth over bound, cut at −3; 0 is tight."""
    figure = Figure(figsize=(8.6, 6.6), layout="constrained")
    for axes, chart in zip(figure.subplots(2, 2).flat, maps(), strict=True):
        image = _draw(axes, chart)
    figure.colorbar(image, ax=figure.axes, label="log₁₀(truth / bound); 0 = tight", shrink=0.6, extend="min")
    return figure


def _draw(axes: Axes, chart: LoosenessMap) -> QuadMesh:
    shown = np.maximum(chart.values, -3)
    image = axes.pcolormesh(chart.x[1], chart.y[1], shown, cmap="gray", vmin=-3, vmax=0, rasterized=True, shading="nearest")
    lines = [-3, -2, -1, -0.3, -0.1, -0.03, -0.01]
    for chosen, colour in (([v for v in lines if v < -0.7], "white"), ([v for v in lines if v > -0.7], "black")):
        drawn = axes.contour(chart.x[1], chart.y[1], chart.values, levels=chosen, colors=colour, linewidths=0.8, linestyles="-")
        axes.clabel(drawn, fmt="%g", fontsize=8)
    axes.set(title=chart.title, xlabel=chart.x[0], ylabel=chart.y[0])
    axes.grid(visible=False)
    return image
