"""Two levels: one trained network through the variance-preserving and the variance-exploding interpolant, few steps each.

Aranguri, Biroli, Mézard and Vanden-Eijnden (arXiv 2501.00988) find that under constant denoising in high dimension VP loses the
high-level feature (which mode, here: which class) and keeps the low-level one (the spread inside a mode, here: power at high
frequencies), and VE the reverse; they show it on pretrained models of faces. Here the baseline network, asked for no class
(guidance weight 0: the null label alone), is walked by Euler through signal = 1 − t and noise t (VP) or √d·t (VE), where
d = 3·side².

    high level   how far the classes of samples are from the data's proportions: total variation, the classifier's own mistakes
                 allowed for (`imagenet.metric.proportion_error`); it sees classes in principal components, so through blur
    low level    mean |Δ log R| of the highest octave of frequency

Predicted beside the low level: what Euler's steps alone leave of the data's spectrum, every frequency Gaussian
(`imagenet.discretisation`). For the high level the source gives an order, no number. In the linear form Euler's last step
returns the estimate of the data at t = 1/N, whatever the state; so beside it stands the same network's estimate from real
images at that level. Where the two agree and the exact testbed does not, what is seen at high frequencies is the network's
error and not the interpolant's. (This last row was added after a first look showed the testbed's prediction to fail.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from imagenet import metric
from imagenet.data import to_unit
from imagenet.denoiser import Guidance, NetworkDenoiser
from imagenet.discretisation import euler_power
from imagenet.evaluate import Sweep, sweep
from imagenet.generate import Generator, Source, load_generator
from imagenet.packed import Packed, open_packed
from imagenet.request import Request
from imagenet.schedules import ends
from imagenet.sweeps import TIMED, compared, over_seeds, ratio, step_ticks
from theory.ledger import Claim, Row, decide, student_k
from theory.philox import DeviceStream
from theory.record import LINES, MARKERS
from theory.schedule import Gauge, Schedule, variance_exploding_flow, variance_preserving_flow
from theory.spectrum import rapsd, rings

GAUGES: dict[str, Gauge] = {"VP": "variance preserving", "VE": "variance exploding"}
BATCH = 250  # images through a network at a time, as in a sweep
_SOURCE = "arXiv 2501.00988, abstract and its experiments on images"
_HERE = (
    "the baseline networks of the configuration, no class asked for; constant denoising, linear form, Euler; fewest steps tried"
)
CLAIM = (
    Claim("A11-high", _SOURCE, "With few steps VE is better at high-level features: class proportions", _HERE),
    Claim("A11-low", _SOURCE, "With few steps VP is better at low-level features: power at high frequencies", _HERE),
    Claim("A11-network", "ours", "Samples' power at high frequencies is that of the network's estimate from real images",
          "VE, fewest steps, level of the last; log power of the highest octave, within log 2"),
    Claim("A11-spectrum", "ours", "The power lost at high frequencies is what Euler's steps alone predict",
          "VE, fewest steps, level of the last; log power of the highest octave, within log 2"),
)  # fmt: skip


def _flow(name: str, size: int) -> Schedule:
    return variance_preserving_flow("linear") if name == "VP" else variance_exploding_flow("linear", 3 * size**2)


def predict(settings: Mapping[str, Any]) -> xr.Dataset:
    """What Euler alone leaves of the mean spectrum, in the highest octave: (interpolant, evaluations)."""
    packed = open_packed(settings["files"]["data"])
    table, steps = rings(packed.size, packed.size), settings["levels"]["steps"]
    power = torch.as_tensor(packed.power).double().mean(0)
    band = metric.octaves(table)[-1]
    inside = slice(band.first, band.last + 1)
    distance, change = np.empty((2, len(steps))), np.empty((2, len(steps)))
    for row, name in enumerate(GAUGES):
        for column, count in enumerate(steps):
            left = euler_power(power, _flow(name, packed.size), count)
            distance[row, column] = list(metric.spectrum_distance(left, power, table).values())[-1]
            change[row, column] = float((left[inside].log() - power[inside].log()).mean())
    return xr.Dataset(
        {
            "high_frequency_error": (("interpolant", "evaluations"), distance, {"meaning": "mean |Δ log R|, highest octave"}),
            "high_frequency_change": (("interpolant", "evaluations"), change, {"meaning": "mean Δ log R, highest octave"}),
        },
        coords={"interpolant": list(GAUGES), "evaluations": steps, "band": band.name},
    )


def measure(settings: Mapping[str, Any], seed: int) -> xr.Dataset:
    """The sweep of each baseline network through both interpolants: (interpolant, seed, evaluations, …)."""
    files, levels = settings["files"], settings["levels"]
    packed = open_packed(files["data"])
    images, device = settings["sweep"]["images"], settings["device"]
    wanted = Sweep(tuple(levels["steps"]), ("Euler",), images, seed_ranges=1)
    known, extractors = compared(settings)
    # The network is told no class; what is asked for are the data's proportions, which the samples' are held against.
    at = torch.linspace(0, len(packed) - 1, images, dtype=torch.float64).round().long()
    labels = tuple(packed.labels[at].tolist())
    networks = files["checkpoints"][settings["runs"][0]["name"]]
    by_gauge = []
    for gauge in GAUGES.values():
        each = []
        for number, path in networks.items():
            request = Request(levels="linear", gauge=gauge, guidance=Guidance(0.0), labels=labels, seed=seed + int(number))
            found = sweep(Source(load_generator(path, device=device), request), known, extractors, wanted, device=device)
            each.append(found.isel(seed_range=0, sampler=0, drop=True))
        by_gauge.append(xr.concat(each, dim="seed", data_vars="all", combine_attrs="drop_conflicts"))
    joined = xr.concat(by_gauge, dim="interpolant", data_vars="all", combine_attrs="drop_conflicts").drop_vars(TIMED)
    joined = joined.assign_coords(interpolant=list(GAUGES), seed=[int(name) for name in networks])
    first, last = metric_band(joined)
    inside = slice(first, last + 1)
    change = xr.apply_ufunc(np.log, joined["power"] / joined["reference_power"]).isel(frequency=inside)
    t = 1 / min(levels["steps"])
    estimated = [_estimate(load_generator(path, device=device), packed, at, t, seed)[inside] for path in networks.values()]
    wanted_power = joined["reference_power"].isel(seed=0, interpolant=0, missing_dims="ignore").values[inside]
    changes = [float(np.log(power.numpy() / wanted_power).mean()) for power in estimated]
    return joined.assign(high_frequency_change=change.mean("frequency"), estimate_change=("seed", changes))


def _estimate(generator: Generator, packed: Packed, at: torch.Tensor, t: float, seed: int) -> torch.Tensor:
    """Mean R(f) of the network's estimates of the images `at`, seen through VE at t without a class: (K + 1,)."""
    flow, device = _flow("VE", packed.size), generator.device
    signal, noise = (value.to(device) for value in (flow.signal(t), flow.noise(t)))
    stream, first, power = DeviceStream(seed, ("two levels",), device), 0, torch.zeros(1, dtype=torch.float64)
    for part in at.split(BATCH):
        x = to_unit(packed.take(part)[0]).to(device)
        z = stream.normal(len(x), tuple(x.shape[1:]), first)
        labels = torch.full((len(x),), generator.classes, device=device)
        start, end = ends(generator.schedule(Request(), first, packed.labels[part].to(device)), len(x), device)
        told = NetworkDenoiser(generator.network, generator.run.objective.prediction, labels, start, end, generator.classes)
        power = power + rapsd(told(signal.float() * x + noise.float() * z, signal, noise), packed.taper).double().sum(0).cpu()
        first += len(x)
    return power / len(at)


def metric_band(dataset: xr.Dataset) -> tuple[int, int]:
    """First and last ring of the highest octave."""
    band = metric.octaves(rings(dataset.attrs["size"], dataset.attrs["size"]))[-1]
    return band.first, band.last


def judge(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]:
    """Ratios of the two interpolants' errors at the fewest steps, paired by network; the last row in log power."""
    few = int(measured["evaluations"].min())
    here = measured.sel(evaluations=few).rename(interpolant="run").isel(extractor=0)
    high, low, network, spectrum = CLAIM
    low_error = here["rapsd_distance"].isel(band=-1)
    rows = []
    for claim, values, better, worse in ((high, here["class_error"], "VE", "VP"), (low, low_error, "VP", "VE")):
        found, bar, k = ratio(values, better, worse)
        each = ", ".join(f"{name} {float(values.sel(run=name).mean()):.3g}" for name in (better, worse))
        said = f"{each} at {few} steps; ratio {found:.2f} ± {bar:.2f}"
        rows.append(decide(found, 1.0, bar, k=k).row(claim, f"{better} below {worse}", said))
    change = here["high_frequency_change"].sel(run="VE")
    expected = float(predicted["high_frequency_change"].sel(interpolant="VE", evaluations=few))
    margin, k = float(np.log(2)), student_k(change.sizes["seed"] - 1)
    mean, bar = (float(value) for value in over_seeds(change))
    estimate, estimate_bar = (float(value) for value in over_seeds(measured["estimate_change"]))
    text = f"Δ log R = {mean:.2f} ± {bar:.2f}"
    gap, gap_bar = (abs(float(value)) for value in over_seeds(change - measured["estimate_change"]))
    said = f"{estimate:.2f} ± {estimate_bar:.2f}"
    rows.append(decide(gap, margin, gap_bar, k=k).row(network, said, text))
    gap = abs(mean - expected)
    rows.append(decide(gap, margin, bar, k=k).row(spectrum, f"{expected:.2f}", text))
    return rows


def draw(predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure:
    """Left: proportions of classes. Right: power at high frequencies."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2))
    _draw_level(left, measured["class_error"].isel(extractor=0), None)
    left.set_ylabel("error of class proportions (total variation)")
    left.set_title("high level")
    _draw_level(right, measured["rapsd_distance"].isel(band=-1), predicted["high_frequency_error"])
    right.set(yscale="log", ylabel=f"|Δ log R|, f = {measured['band'].values[-1]} cycles per image", title="low level")
    for axes in (left, right):
        step_ticks(axes, measured)
    for ticks in (right.yaxis.set_major_formatter, right.yaxis.set_minor_formatter):
        ticks("{x:g}")  # less than a decade: plain numbers
    left.legend()
    right.legend(loc="center", bbox_to_anchor=(0.5, 0.72), ncols=2)  # between the lines, where no point is
    return figure


def _draw_level(axes: Axes, values: xr.DataArray, expected: xr.DataArray | None) -> None:
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    for name, colour, line, marker in zip(GAUGES, colours, LINES, MARKERS, strict=False):
        mean, error = over_seeds(values.sel(interpolant=name))
        axes.errorbar(values["evaluations"], mean, error, color=colour, marker=marker, capsize=2, label=name,
                      linestyle=line if expected is None else "none")  # fmt: skip
        if expected is not None:
            axes.plot(expected["evaluations"], expected.sel(interpolant=name), color=colour, linestyle=line,
                      label=f"{name}, steps alone")  # fmt: skip
    axes.set(xscale="log", xlabel="Euler steps N")
