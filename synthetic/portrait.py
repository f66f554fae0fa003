"""The two phases of sampling Curie-Weiss, seen: phase portraits of the magnetisation, and a filmstrip of modes and spins.

Paper A (arXiv 2501.00988): first the mode is chosen, at noise-to-signal ς of order √d, then the spins, at ς of order 1. Both
phases are the same flow (`theory.phase`): along u = (1, …, 1)/√d the noisy law is that of a coin ±m*√d of weights p, 1 − p,
and for a spin inside its mode that of a coin ±1 of weights (1 ± m*)/2, in Gaussian noise. Along a trajectory the distribution
function of the noisy law is constant, so who will still turn is known in closed form (derivation: ours). At level θ, half the
coin's distance in standard deviations, the state 0 has quantile p Φ(−θ) + (1 − p)Φ(θ), and the separatrix 1 − p. Between them
lies

    share still on the wrong side = |2p − 1|·Φ(−θ),     modes: θ = m*√d/√(ς² + v),   spins: θ = 1/ς,   2p − 1 = m*,      (1)

v the variance of u·x inside a mode. So the two phases are one curve, m*√d apart in ς. Measured: real samplers in d dimensions
with the exact posterior mean and fine steps, u·z stratified. A clock changes nothing of this but the time at which it
happens: (1) is checked against ς, and the portraits show the times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from scipy import special

from synthetic import portrait_figure
from synthetic.noise import noise_blocks
from theory import limit, phase
from theory.curie_weiss import CurieWeiss
from theory.ledger import Claim, Row, decide
from theory.progress import progress
from theory.sampler import DDIM, Flow, grid, walk
from theory.schedule import Schedule, variance_exploding_flow, variance_preserving_flow
from theory.stream import Stream

PAPER = "arXiv 2501.00988, the two phases and speciation"
OURS = "derivation: ours"
FILM = portrait_figure.FILM  # whose spins are kept
FLOWS = ("VP linear", "VP linear clock", "VE linear", "VE linear clock")
CONDITIONS = (
    "Curie-Weiss, J > 1, real samplers in d dimensions, exact posterior mean; every node of the walk, VP and VE with clocks"
)
CLAIM = (
    Claim("S9-mode", OURS, "the share of trajectories whose mode will still turn is |2p − 1|·Φ(−θ)", CONDITIONS),
    Claim("S9-spin", OURS, "the share of spins that will still turn is m*·Φ(−1/ς), inside a mode", f"{CONDITIONS}; ς ≤ √d/10"),
    Claim(
        "S9-apart",
        PAPER,
        "first the mode, then the spins: half of each is decided m*√d apart in ς",
        f"{CONDITIONS}; relative deviation of the ratio",
    ),
    Claim(
        "S9-speciation",
        OURS,
        "where the noisy law becomes bimodal, |2p − 1|·Φ(−θ_s) of the trajectories still turn, 4 % for p = .8",
        f"{CONDITIONS}, at the level θ_s of the exact threshold",
    ),
)
MARGINS = {
    "mode": 0.02,  # of the trajectories: a few of some hundred, beside one step's error
    "spin": 0.03,  # of the spins: the walk's last level is not 0, and a mode's field is not yet its own at ς ≈ √d/10
    "apart": 0.25,  # on a ratio of some tens; both ends are read between nodes
    "speciation": 0.02,
}


def flow(name: str, dim: float, kappa: float) -> Schedule:
    """One of FLOWS at dimension d."""
    noise, form, *clock = name.split()
    make = variance_preserving_flow if noise == "VP" else variance_exploding_flow
    return make(form, dim, kappa if clock else None)  # type: ignore[arg-type]


def level(model: limit.TwoModes, ratio: Any) -> Any:
    """θ of the modes at noise-to-signal ς = `ratio`: m*√d/√(ς² + v)."""
    return phase.level(1.0, ratio, model.mean * math.sqrt(model.dim), model.spread_along**2)


def still_turning(excess: float, theta: Any) -> Any:
    """(1): the share of trajectories on the side that they will leave, excess = |2p − 1|."""
    return excess * special.ndtr(-np.asarray(theta))


# ---- prediction -------------------------------------------------------------------------------------------------------


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """(1) on the nodes of each walk; the level and ς of speciation; the separatrix; the fields of the portraits."""
    dim, steps = settings["dim"], settings["steps"]
    model = limit.TwoModes.curie_weiss(dim, settings["coupling"], settings["field"])
    ratio = np.stack([flow(name, dim, settings["kappa"]).noise_to_signal(grid(steps)).numpy() for name in FLOWS])
    critical = phase.speciation_level(float(limit.log_odds(model.weight)))
    centre = model.mean * math.sqrt(dim)
    when = float(phase.speciation_noise(centre, critical, model.spread_along**2))
    with np.errstate(divide="ignore"):
        modes = still_turning(abs(2 * model.weight - 1), np.where(np.isfinite(ratio), level(model, ratio), 0.0))
        spins = still_turning(model.mean, 1 / ratio)
    return xr.Dataset(
        {
            "noise_to_signal": (("flow", "node"), ratio),
            "mode_turning": (("flow", "node"), modes),
            "spin_turning": (("flow", "node"), spins),
            "mode_width": (("flow", "node"), np.stack([_width(name, settings, model.spread_along**2) for name in FLOWS])),
            "spin_width": (("flow", "node"), np.stack([_width(name, settings, 1.0) for name in FLOWS])),
            "speciation_level": critical,
            "speciation_noise": when,
            "speciation_time": ("flow", [_time_of(flow(name, dim, settings["kappa"]), when) for name in FLOWS]),
            "spin_time": ("flow", [_time_of(flow(name, dim, settings["kappa"]), 1.0) for name in FLOWS]),
            "separatrix": (("flow", "node"), np.stack([_separatrix(model, row) for row in ratio])),
            "weight": model.weight,
            "spontaneous": model.mean,
        },
        coords={"flow": list(FLOWS), "node": np.arange(steps + 1), "time": ("node", grid(steps).numpy())},
    )


def _width(name: str, settings: Mapping[str, Any], variance: float) -> np.ndarray:
    """√(noise² + variance·signal²) at the nodes."""
    schedule, times = flow(name, settings["dim"], settings["kappa"]), grid(settings["steps"])
    return np.sqrt(limit.total_variance(schedule.signal(times).numpy(), schedule.noise(times).numpy(), variance))


def _time_of(schedule: Schedule, ratio: float) -> float:
    return float(schedule.time_at(torch.tensor(-2 * math.log(ratio), dtype=torch.float64)))


def _separatrix(model: limit.TwoModes, ratio: np.ndarray) -> np.ndarray:
    """Y = u·x in standard deviations of a mode, of the trajectory that starts at Φ⁻¹(1 − p)."""
    theta = np.where(np.isfinite(ratio), level(model, ratio), 0.0)
    return phase.state_at(model.weight, theta, np.full(theta.shape, special.ndtri(1 - model.weight)))


# ---- measurement ------------------------------------------------------------------------------------------------------


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """Walk the samplers and keep, at every node, M of the state, a few spins, and who is still on the wrong side."""
    dim, steps, count = settings["dim"], settings["steps"], settings["trajectories"]
    law = CurieWeiss(dim, settings["coupling"], settings["field"])
    shape = (steps + 1, count)
    magnetisation, wrong = np.empty((2, len(FLOWS), *shape))
    spins = np.empty((*shape, settings["spins"]), dtype=np.float32)  # for histograms only
    for k, name in enumerate(progress(list(FLOWS), "portrait")):
        runner = Flow(flow(name, dim, settings["kappa"]), law.denoise)
        for first, z in noise_blocks(count, dim, Stream(seed).child("portrait")):
            path = [x for _, x in walk(runner, runner.start(z), grid(steps), DDIM())]
            rows, final = slice(first, first + len(z)), path[-1] > 0
            for node, x in enumerate(path):
                magnetisation[k, node, rows] = x.mean(-1).numpy()
                wrong[k, node, rows] = ((x > 0) != final).double().mean(-1).numpy()
                if name == FILM:
                    spins[node, rows] = x[:, : settings["spins"]].numpy()
    kept = ("flow", "node", "trajectory")
    return xr.Dataset(
        {
            "magnetisation": (kept, magnetisation, {"long_name": "u·x/√d of the state"}),
            "wrong": (kept, wrong, {"long_name": "share of spins that will still turn"}),
            "spin": ((*kept[1:], "spin"), spins, {"long_name": f"first coordinates of the state, {FILM}"}),
        },
        coords={"flow": list(FLOWS)},
    )


# ---- judgement --------------------------------------------------------------------------------------------------------


def turning(measured: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Shares (flow, node) of modes, and of spins, that will still turn."""
    sign = measured.magnetisation > 0
    return (sign != sign.isel(node=-1)).mean("trajectory"), measured.wrong.mean("trajectory")


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    claims, modes_spins = {claim.id: claim for claim in CLAIM}, turning(measured)
    clocks = [name for name in FLOWS if name.endswith("clock")]
    modes, spins = (share.sel(flow=clocks) for share in modes_spins)
    ratio = predicted.noise_to_signal.sel(flow=clocks)
    near = ratio <= math.sqrt(settings["dim"]) / 10
    return [
        _deviation(claims["S9-mode"], modes, predicted.mode_turning.sel(flow=clocks), "mode"),
        _deviation(claims["S9-spin"], spins.where(near), predicted.spin_turning.sel(flow=clocks), "spin"),
        _apart(claims["S9-apart"], ratio, modes, spins, float(predicted.spontaneous) * math.sqrt(settings["dim"])),
        _speciation(claims["S9-speciation"], ratio, modes, predicted),
    ]


def _deviation(claim: Claim, share: xr.DataArray, expected: xr.DataArray, margin: str) -> Row:
    gap = abs(share - expected)
    text = "; ".join(f"{name}: largest {float(gap.sel(flow=name).max()):.3g}" for name in gap.flow.values)
    value = float(gap.max())
    return decide(value, MARGINS[margin]).row(claim, "equal", text)


def crossing(ratio: np.ndarray, share: np.ndarray, value: float) -> float:
    """ς at which the falling share passes `value` for the last time, log ς linear between nodes; NaN if it never does."""
    above = np.flatnonzero((share >= value) & np.isfinite(ratio))
    if not len(above) or above[-1] + 1 >= len(share):
        return math.nan
    k = above[-1]
    part = (share[k] - value) / (share[k] - share[k + 1])
    return float(ratio[k] * (ratio[k + 1] / ratio[k]) ** part)


def _apart(claim: Claim, ratio: xr.DataArray, modes: xr.DataArray, spins: xr.DataArray, expected: float) -> Row:
    """Ratio of the ς at which half of those that will turn have turned."""
    found = {}
    for name in ratio.flow.values:
        ends = [
            crossing(ratio.sel(flow=name).values, v.sel(flow=name).values, float(v.sel(flow=name)[0]) / 2)
            for v in (modes, spins)
        ]
        found[str(name)] = ends[0] / ends[1]
    value = max(abs(v / expected - 1) for v in found.values())
    text = "; ".join(f"{name}: {v:.1f}" for name, v in found.items())
    return decide(value, MARGINS["apart"]).row(claim, f"m*√d = {expected:.1f}", text)


def _speciation(claim: Claim, ratio: xr.DataArray, modes: xr.DataArray, predicted: xr.Dataset) -> Row:
    """The share at ς_s, read between the nodes on either side."""
    when, theta = float(predicted.speciation_noise), float(predicted.speciation_level)
    expected = float(still_turning(abs(2 * float(predicted.weight) - 1), theta))
    found = {}
    for name in ratio.flow.values:
        row, share = ratio.sel(flow=name).values, modes.sel(flow=name).values
        kept = np.isfinite(row) & (row > 0)
        found[str(name)] = float(np.interp(-math.log(when), -np.log(row[kept]), share[kept]))
    value = max(abs(v - expected) for v in found.values())
    text = "; ".join(f"{name}: {v:.3f}" for name, v in found.items())
    theory = f"{expected:.3f} at θ_s = {theta:.2f}, ς_s = {when:.1f}"
    return decide(value, MARGINS["speciation"]).row(claim, theory, text)


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    return portrait_figure.drawn(predicted, measured, turning(measured), settings)
