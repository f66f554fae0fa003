"""The pieces of a run on a GPU: pack, train each arm, sweep it, find its guidance, sweep again, draw samples; then gather.

Every piece works in the run's folder and ends on files that appear whole, so that one which is cut short is done again or goes
on: packing from its journal, training from its last checkpoint, a sweep from its journal of points. Networks are measured as
they are stored (in bfloat16 where the plan says so, as autocast would round them anyway), so a stored network tells the whole.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import logging
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr

import theory
from imagenet import checkpoint, count, evaluate, generate, monitor
from imagenet import pack as packing
from imagenet import train as training
from imagenet.extractor import Components, Extractor, squeeze_net
from imagenet.gpu_plan import Arm, plain
from imagenet.knowledge import Knowledge
from imagenet.packed import Packed, open_packed
from imagenet.quality import combine
from imagenet.reference import Pictures, Reference, reference
from imagenet.settings import Model
from theory import record

if TYPE_CHECKING:
    from imagenet.gpu import Clock, Piece, Site

log = logging.getLogger(__name__)

OFF, BEST = "off", "best"  # guidance: none, or the weight that was best at a few steps
GAMMA = "gamma-"  # no guidance, and ancestral steps with another γ
UTILISATION = 0.25  # share of the peak that estimates of minutes count with: the target for small32
_PEAK = count.PEAKS["H200"] * 1e12
_SHOWN = 12  # images of each arm and budget that are kept for the page
_LINES = 200  # of a training's metrics that are kept


# ---- the list ---------------------------------------------------------------------------------------------------------


def pieces(site: Site) -> list[Piece]:
    """Both arms first, ablations last; minutes are estimates for one H200 at 25 % of its peak."""
    from imagenet.gpu import Piece

    plan = site.plan
    both = (plan.baseline, plan.spectral)
    found = [Piece("pack", 1.0, 1.0, lambda clock: pack(site, clock))]
    found += [_training(site, arm) for arm in both]
    found += [_sweep(site, arm, OFF) for arm in both]
    found.append(Piece("samples", 1.0, 1.0, lambda clock: samples(site, clock)))
    tried = len(plan.sampling.weights) + 1
    for arm in both:
        minutes = _drawing(site, tried * plan.sampling.tried_at)
        found.append(Piece(f"guidance:{arm.key}", 1.0, minutes, functools.partial(_try_guidance, site, arm)))
        found.append(_sweep(site, arm, BEST))
    found += [_sweep(site, arm, GAMMA + f"{gamma:g}") for gamma in plan.sampling.gammas for arm in both]
    for arm in plan.ablations:
        found += [_training(site, arm), _sweep(site, arm, OFF)]
    return found


@functools.cache
def _counted(model: Model) -> count.Count:
    return count.count(model, 10)


def _training(site: Site, arm: Arm) -> Piece:
    from imagenet.gpu import Piece

    run = site.plan.run(arm)
    flop = count.training_flop(_counted(run.model)) * run.training.steps * run.training.batch
    total = flop / (UTILISATION * _PEAK) / 60 + 1.5  # and the compiler's
    return Piece(f"train:{arm.key}", 2.0, total, functools.partial(train, site, arm))


def _sweep(site: Site, arm: Arm, guidance: str) -> Piece:
    from imagenet.gpu import Piece

    sampling = site.plan.sampling
    budgets = _budgets(site, arm, guidance)
    evaluations = sum(budgets) * len(_samplers(site, guidance)) * sampling.seed_ranges * (1.5 if guidance == BEST else 1)
    least, total = _drawing(site, max(budgets)) + 1.0, _drawing(site, evaluations) + 1.0  # and the compiler's
    return Piece(f"sweep:{arm.key}:{guidance}", least, total, functools.partial(sweep, site, arm, guidance))


def _drawing(site: Site, evaluations: float) -> float:
    """Minutes to draw a point's images with so many evaluations."""
    flop = _counted(site.plan.model).flop
    return site.plan.sampling.images * evaluations * flop / (UTILISATION * _PEAK) / 60


def _budgets(site: Site, arm: Arm, guidance: str) -> tuple[int, ...]:
    few = arm in site.plan.ablations or guidance.startswith(GAMMA)
    return site.plan.sampling.ablated if few else site.plan.sampling.evaluations


def _samplers(site: Site, guidance: str) -> tuple[str, ...]:
    return ("ancestral",) if guidance.startswith(GAMMA) else site.plan.sampling.samplers


# ---- packing and training ---------------------------------------------------------------------------------------------


def pack(site: Site, clock: Clock) -> bool:
    """One process on a processor's test, one a core for a real set."""
    packing.pack(site.source, site.work / "pack", site.plan.model.resolution, site.plan.options())
    return True


def packed(site: Site) -> Packed:
    return open_packed(site.work / "pack")


def train(site: Site, arm: Arm, clock: Clock) -> bool:
    """As far as the minutes reach; then the network alone is stored, in parts where files are limited."""
    data, run = packed(site), site.plan.run(arm)
    folder = site.work / "train" / arm.key
    left = clock.left
    path = training.train(run, data, folder, device=site.device, max_minutes=None if left is None else max(left - 0.3, 0.01))
    if path.name != checkpoint.FINISHED:
        return False
    target = network(site, arm)
    checkpoint.export(path, target, half=site.plan.half)
    Knowledge.of(data).save(target.parent)
    if target.stat().st_size > site.plan.part_megabytes * 1e6:
        checkpoint.split(target, site.plan.part_megabytes)
        target.unlink()
    return True


def network(site: Site, arm: Arm) -> Path:
    """Where an arm's weights are stored, whole or in parts."""
    return site.work / "networks" / arm.key / checkpoint.FINISHED


# ---- measuring --------------------------------------------------------------------------------------------------------


def extractors(site: Site, data: Packed) -> list[Extractor]:
    """FD-PCA always, its components kept in a file; before it FD-SqueezeNet where weights are given."""
    kept = Components.kept(
        site.work / "components.npz", lambda at: data.take(at)[0], len(data), site.plan.sampling.components, site.plan.seed
    )
    return [kept] if site.weights is None else [squeeze_net(site.weights, site.device), kept]


def compared_with(site: Site, data: Packed, seen: Sequence[Extractor]) -> Reference:
    """The training images in the extractors' features, kept in a file."""
    sampling = site.plan.sampling
    return reference(
        Pictures.of(data), seen, sampling.images, seed=site.plan.seed, taper=data.taper, batch=sampling.batch,
        device=site.device, cache=site.work / "reference",
    )  # fmt: skip


def generator(site: Site, arm: Arm) -> generate.Generator:
    """The stored network of an arm; on a GPU compiled and recorded as graphs, while its compiler and driver can."""
    autocast = torch.bfloat16 if site.plan.training.precision == "bfloat16" else None
    quick = site.on_gpu
    return generate.load_generator(network(site, arm), device=site.device, autocast=autocast, compiled=quick, graphs=quick)


def source(site: Site, drawing: generate.Generator, weight: float, gamma: float | None = None) -> generate.Source:
    """With this weight of guidance, and the plan's γ unless another is given."""
    request = site.plan.sampling.request(weight, site.plan.seed)
    return generate.Source(drawing, request if gamma is None else dataclasses.replace(request, gamma=gamma))


def sweep(site: Site, arm: Arm, guidance: str, clock: Clock) -> bool:
    """All points of an arm and a way of sampling; none is begun that does not fit into the minutes."""
    weight = float(_json(site.work / "guidance" / f"{arm.key}.json")["best"]) if guidance == BEST else 1.0
    gamma = float(guidance.removeprefix(GAMMA)) if guidance.startswith(GAMMA) else None
    sampling = site.plan.sampling
    data = packed(site)
    seen = extractors(site, data)
    budgets = _budgets(site, arm, guidance)
    longest = _drawing(site, 1.5 * max(budgets)) if site.on_gpu else 0.0
    left = clock.left
    found = evaluate.sweep(
        source(site, generator(site, arm), weight, gamma), compared_with(site, data, seen), seen,
        sampling.sweep(budgets, sampling.seed_ranges, _samplers(site, guidance)),
        site.work / "sweeps" / f"{arm.key}-{guidance}.jsonl", device=site.device,
        max_minutes=None if left is None else max(left - longest, 0.01),
    )  # fmt: skip
    save(found.assign_attrs(weight=weight), _swept(site, arm, guidance))
    return bool(found.attrs["points_done"] == found.attrs["points_asked"])


def _swept(site: Site, arm: Arm, guidance: str) -> Path:
    return site.work / "sweeps" / f"{arm.key}-{guidance}.nc"


def _try_guidance(site: Site, arm: Arm, clock: Clock) -> bool:
    """The weight of the least Fréchet distance at a few steps, on images that no later point uses."""
    sampling = site.plan.sampling
    data = packed(site)
    seen = extractors(site, data)
    spare = sampling.sweep((sampling.tried_at,), 1, sampling.samplers[:1], sampling.seed_ranges * sampling.images)
    known, drawing, distances = compared_with(site, data, seen), generator(site, arm), {}
    for weight in (1.0, *sampling.weights):
        journal = site.work / "guidance" / f"{arm.key}.jsonl"
        found = evaluate.sweep(source(site, drawing, weight), known, seen, spare, journal, device=site.device)
        distances[weight] = float(found["frechet"].isel(extractor=0).squeeze())
        if not clock.holds(0):
            return False
    best = min(sampling.weights, key=lambda weight: distances[weight])
    values = {"best": best, "distances": {f"{w:g}": value for w, value in distances.items()}, "evaluations": sampling.tried_at}
    record.atomic_text(site.work / "guidance" / f"{arm.key}.json", json.dumps(values, indent=1) + "\n")
    return True


def samples(site: Site, clock: Clock) -> bool:
    """The same images of both arms at a few budgets: uint8 (arms, budgets, images, 3, side, side)."""
    sampling, arms, drawn = site.plan.sampling, (site.plan.baseline, site.plan.spectral), []
    for arm in arms:
        of = source(site, generator(site, arm), 1.0)
        labels = of.labels(0, _SHOWN)
        drawn.append([of.sample(sampling.samplers[0], steps, 0, _SHOWN).cpu().numpy() for steps in sampling.shown])
    buffer = io.BytesIO()
    classes = np.array([packed(site).class_names[k] for k in labels.tolist()])
    names = np.array([arm.name for arm in arms])
    np.savez_compressed(buffer, images=np.array(drawn), budgets=np.array(sampling.shown), arms=names, classes=classes)
    put(site.work / "samples.npz", buffer.getvalue())
    return True


# ---- what is kept -----------------------------------------------------------------------------------------------------


def gather(site: Site, entries: Sequence[Mapping[str, Any]]) -> None:
    """Put together what is finished: a few small files, each with where it came from."""
    plan, out = site.plan, site.out
    both = [plan.baseline, plan.spectral]
    for guidance in (OFF, BEST, *(GAMMA + f"{gamma:g}" for gamma in plan.sampling.gammas)):
        _together(site, both, guidance, out / f"quality-{guidance}.nc")
    if any(_swept(site, arm, OFF).is_file() for arm in plan.ablations):
        _together(site, list(plan.arms), OFF, out / "ablations.nc", plan.sampling.ablated)
    for file in (site.work / "samples.npz", *sorted((site.work / "bench").glob("*.json"))):
        if file.is_file():
            put(out / file.name, file.read_bytes())
    curves = {arm.name: kept for arm in plan.arms if (kept := _curve(site, arm)) is not None}
    chosen = {arm.name: _json(path) for arm in both if (path := site.work / "guidance" / f"{arm.key}.json").is_file()}
    for name, values in (("training.json", curves), ("guidance.json", chosen), ("provenance.json", provenance(site, entries))):
        if values:
            record.atomic_text(out / name, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def _together(site: Site, arms: Sequence[Arm], guidance: str, path: Path, budgets: Sequence[int] | None = None) -> None:
    found = {}
    for arm in arms:
        file = _swept(site, arm, guidance)
        if file.is_file():
            one = load(file)
            found[arm.name] = one if budgets is None else one.sel(evaluations=list(budgets))
    if found:
        save(combine(found), path)


def _curve(site: Site, arm: Arm) -> dict[str, Any] | None:
    """A training's speed and every few lines of its losses."""
    file = site.work / "train" / arm.key / monitor.METRICS
    if not file.is_file():
        return None
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    lines = list({line["step"]: line for line in lines}.values())  # a piece that was killed reports some steps again
    if not lines:
        return None
    settled = lines[1:] or lines  # the first interval holds the compiler's time
    speed = {
        name: statistics.median(values) if (values := [x[name] for x in settled if x.get(name) is not None]) else None
        for name in ("images_per_second", "mfu", "data_wait", "memory_gb")
    }
    thin = lines[:: max(1, len(lines) // _LINES)]
    return {"steps": lines[-1]["step"], **speed, "step": [x["step"] for x in thin], "loss": [x["loss"] for x in thin]}


def provenance(site: Site, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Commit, configuration, hardware, versions, seeds, dates; and what each piece took."""
    meta = site.work / "pack" / "meta.json"
    about = _json(meta) if meta.is_file() else {}
    return {
        "size": site.plan.size,
        "device": site.device,
        **hardware(site.device),
        "commit": record.commit(),
        "versions": {**checkpoint.versions(), "xarray": xr.__version__, "theory": theory.__version__},
        "seeds": {"training": site.plan.seed, "generation": site.plan.seed},
        "data": {key: about.get(key) for key in ("images", "size", "fingerprint")},
        "weights": site.weights is not None,
        "pieces": list(entries),
        "plan": json.loads(plain(site.plan)),
    }


def hardware(device: str) -> dict[str, Any]:
    """What computed."""
    if device == "cpu":
        return {"hardware": f"{platform.machine()} processor, {torch.get_num_threads()} threads"}
    about = torch.cuda.get_device_properties(device)
    return {"hardware": about.name, "memory_gb": round(about.total_memory / 1e9, 1), "cuda": torch.version.cuda}


def put(path: Path, content: bytes) -> None:
    """The file, whole or not at all."""
    with record.whole(path) as temporary:
        temporary.write_bytes(content)


def save(dataset: xr.Dataset, path: Path) -> None:
    """As NetCDF 3, which scipy writes and reads: no other library on the machine with the GPU."""
    content = dataset.assign_attrs(commit=record.commit(), version=theory.__version__).to_netcdf(None, engine="scipy")
    put(path, bytes(content))


def load(path: Path) -> xr.Dataset:
    """In memory, the file closed."""
    return xr.load_dataset(path, engine="scipy")


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
