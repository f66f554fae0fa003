"""Entropic time of a Gaussian: rescaled it is the tangent law, unrescaled it is uniform in log(1 + c²/ς²).

Derivation. The posterior variance of N(0, c²) at ς is mmse = c²ς²/(c² + ς²). By I-MMSE dH[a | x]/dς = mmse/ς³ = c²/(ς(c² +
ς²)), which integrates to −½ log(1 + c²/ς²): minus the mutual information of the Gaussian channel. The rescaled clock leaves
out one factor 1/ς:  ∫₀^ς mmse/s² ds = ∫₀^ς c²/(c² + s²) ds = c·atan(ς/c), so its unit is that of ς and equal steps of it are
equal angles.
"""

from __future__ import annotations

import itertools

import numpy as np
import sympy as sp
import torch
from scipy.integrate import quad

from theory import cost, curve
from theory.ledger import Claim
from theory.proof import Step, identity, limit_is
from theory.sampler import grid
from theory.schedule import VarianceExploding
from theory.target import Gaussian

CLAIM = Claim(
    "C5",
    "Entropic time, arXiv 2504.13612 (definition as quoted in our working notes); ours for the Gaussian law",
    "For data N(0, c²) the rescaled entropic time ∫₀^ς mmse/s² ds is c·atan(ς/c), the tangent law, and the unrescaled one, "
    "∫ mmse/s³ ds, is −½ log(1 + c²/ς²): `curve.Tangent` and `curve.Entropic` are equal steps of the two",
    "one variance c² > 0; 0 < ς < ∞; the constant of the unrescaled time is its limit ς → ∞, the data's own entropy",
)
PAPER = "A schedule uniform in the conditional entropy H[x₀ | x_t], dH/dς = mmse/ς³, or in its rescaled form ∫ mmse/ς² dς."
DIFFERS = (
    "The paper's text was not at hand. The two clocks differ in kind: only the rescaled one is finite at ς = 0 and "
    "optimal (C3)."
)
FORMULAS = (cost.gaussian_mmse, cost.entropic_time, cost.rescaled_entropic_time, cost.angle)


def prove() -> list[Step]:
    c, noise = sp.symbols("c sigma", positive=True)
    y = sp.Symbol("y", real=True)
    mmse = cost.gaussian_mmse(c**2, noise)
    entropy = cost.entropic_time(c**2, noise, sp)
    clock = cost.rescaled_entropic_time(c**2, noise, sp)
    posterior_log_density = -(y**2) / (2 * c**2) - y**2 / (2 * noise**2)  # of a − its mean, up to a constant
    return [
        identity("the mmse is the posterior variance, −1/(log density)''", -1 / sp.diff(posterior_log_density, y, 2), mmse),
        identity("the entropy has the slope mmse/ς³", sp.diff(entropy, noise), mmse / noise**3),
        identity(
            "it is the entropy of a normal of the posterior's variance, less that of the data",
            entropy,
            (sp.log(2 * sp.pi * sp.E * mmse) - sp.log(2 * sp.pi * sp.E * c**2)) / 2,
        ),
        limit_is("which is 0 for ς → ∞", entropy, noise, sp.oo, sp.Integer(0)),
        limit_is("and −∞ for ς → 0: no grid uniform in it reaches clean data", entropy, noise, sp.Integer(0), -sp.oo, "+"),
        identity("the rescaled time has the slope mmse/ς²", sp.diff(clock, noise), mmse / noise**2),
        limit_is("and starts at 0", clock, noise, sp.Integer(0), sp.Integer(0), "+"),
        identity("it is c times the angle of claim C1, so equal steps of it are equal angles", clock / c, sp.atan(noise / c)),
    ]


SCALE, ENDS, STEPS = 0.5, (0.02, 20.0), 5


def predict() -> dict[str, np.ndarray]:
    """Both times over the window in equal shares, and the mmse at its ends."""
    whole = [cost.rescaled_entropic_time(SCALE**2, end) for end in ENDS]
    entropy = [cost.entropic_time(SCALE**2, end) for end in ENDS]
    return {
        "rescaled": np.full(STEPS, (whole[1] - whole[0]) / STEPS),
        "entropy": np.full(STEPS, (entropy[1] - entropy[0]) / STEPS),
        "mmse": np.array([cost.gaussian_mmse(SCALE**2, end) for end in ENDS]),
    }


def measure() -> dict[str, np.ndarray]:
    """Quadrature of the measured error of the law's denoiser between the nodes of `curve.Tangent` and `curve.Entropic`."""
    law = Gaussian.isotropic(1, SCALE**2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)  # exact: the squared error is a quadratic in data and noise
    data, noise = (torch.tensor(v.reshape(-1, 1)) for v in np.meshgrid(SCALE * nodes, nodes))
    weight = np.outer(weights, weights).ravel() / weights.sum() ** 2

    def mmse(level: float) -> float:
        return float(weight @ ((law.denoise(data + level * noise, 1.0, level) - data) ** 2).numpy()[:, 0])

    def pieces(kind: type[curve.Curve], power: int) -> np.ndarray:
        schedule = VarianceExploding(kind(SCALE, *(curve.log_snr_of(end) for end in ENDS)))  # type: ignore[call-arg]
        levels = schedule.noise_to_signal(grid(STEPS)).numpy()
        return np.array(
            [quad(lambda s: mmse(s) / s**power, low, high, epsabs=1e-10)[0] for high, low in itertools.pairwise(levels)]
        )

    return {
        "rescaled": pieces(curve.Tangent, 2),
        "entropy": pieces(curve.Entropic, 3),
        "mmse": np.array([mmse(end) for end in ENDS]),
    }


MARGIN = {"rescaled": 1e-8, "entropy": 1e-8, "mmse": 1e-12}  # quadrature to 1e-8, its default relative accuracy
