"""The files that a run on a GPU leaves (`imagenet.gpu`), and what they say of each target.

A target is met or missed when 95 % of Student's law says so (4.3 standard errors for three values), else undecided; one that no
file from a GPU speaks of is not yet run.
Files made on a processor are a test of the path: none of their numbers counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from imagenet import quality
from theory import record
from theory.ledger import student_k

REFERENCE = Path("results", "reference", "gpu")
NOT_RUN = "not yet run on a GPU"
GAIN, AT = 0.15, 32  # Esteves and Makadia (arXiv 2603.19222), abstract; second-hand
NEVER_WORSE, CROSSOVER = (8, 16), 256
MFU = {"small32": 0.25, "in128-L": 0.40, "in256-L": 0.40}  # ours; in bfloat16, compiled
COST, BANDWIDTH = 0.02, 0.60  # ours: of schedules in throughput, and of the copy bandwidth


@dataclass(frozen=True, eq=False)
class Results:
    """The files of one size. quality: by "off", "best" (guidance), "gamma-0" …; bench: by name, as bench-NAME.json."""

    provenance: dict[str, Any]
    quality: dict[str, xr.Dataset] = field(default_factory=dict)
    ablations: xr.Dataset | None = None
    training: dict[str, Any] = field(default_factory=dict)
    guidance: dict[str, Any] = field(default_factory=dict)
    bench: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def size(self) -> str:
        return str(self.provenance["size"])

    @property
    def on_gpu(self) -> bool:
        return bool(self.provenance["device"] != "cpu")

    @property
    def arms(self) -> tuple[str, str]:
        """Names of the schedule under test and of the baseline."""
        names = [arm["name"] for arm in self.provenance["plan"]["arms"]]
        return names[1], names[0]

    @classmethod
    def read(cls, folder: Path) -> Results:
        """Whatever is there beside provenance.json. Raises FileNotFoundError without that."""
        if not (folder / "provenance.json").is_file():
            raise FileNotFoundError(f"no provenance.json in {folder}; allowed: results of a run; remedy: make gpu")
        swept = {file.stem.removeprefix("quality-"): _dataset(file) for file in sorted(folder.glob("quality-*.nc"))}
        ablated = folder / "ablations.nc"
        samples = {}
        if (folder / "samples.npz").is_file():
            with record.arrays(folder / "samples.npz", "the file of a run", "copy it again") as stored:
                samples = stored
        return cls(
            _json(folder / "provenance.json"), swept, _dataset(ablated) if ablated.is_file() else None,
            _json(folder / "training.json"), _json(folder / "guidance.json"),
            {file.stem.removeprefix("bench-"): _json(file) for file in sorted(folder.glob("bench-*.json"))}, samples,
        )  # fmt: skip


def _dataset(path: Path) -> xr.Dataset:
    return xr.load_dataset(path, engine="scipy")


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def found_in(folder: Path, names: Sequence[str] | None = None) -> list[Results]:
    """The results of every size in `folder`, or of those named."""
    places = (
        sorted(folder.glob("*/provenance.json")) if names is None else [folder / name / "provenance.json" for name in names]
    )
    return [Results.read(place.parent) for place in places]


# ---- targets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A target: what was asked, whether it is met, and what was measured."""

    target: str
    state: str
    measured: str = ""


def judged(value: float, error: float, least: float, count: int) -> str:
    """Whether value ≥ least, with a standard error from `count` values: met, missed or undecided. Without error: undecided."""
    if math.isnan(value):
        return NOT_RUN
    bar = student_k(count - 1) * error
    if math.isnan(bar):
        return "undecided"
    if value - bar >= least:
        return "met"
    return "missed" if value + bar < least else "undecided"


def targets(results: Iterable[Results]) -> list[Row]:
    """Every target, from results made on a GPU; the last size that speaks of one decides."""
    real = [found for found in results if found.on_gpu]
    return [*_quality_targets(real), *_speed_targets(real)]


def _quality_targets(real: Sequence[Results]) -> list[Row]:
    wanted = [(AT, GAIN, f"at least {GAIN:.0%} better than the baseline at {AT} steps")]
    wanted += [(steps, 0.0, f"not worse at {steps} steps") for steps in NEVER_WORSE]
    swept = [found for found in real if "off" in found.quality and set(found.arms) <= set(found.quality["off"]["model"].values)]
    if not swept:
        return [Row(text, NOT_RUN) for _, _, text in wanted] + [
            Row(f"the crossover, up to {CROSSOVER} steps, reported", NOT_RUN)
        ]
    found = swept[-1]
    data = found.quality["off"]
    gain, error = quality.gain(data, *found.arms)
    finished = ranges(data, *found.arms)
    rows = []
    for sampler in data["sampler"].values:
        for steps, least, text in wanted:
            if steps in data["evaluations"].values:
                at = {"sampler": sampler, "evaluations": steps, "extractor": data["extractor"].values[0]}
                value, bar, count = float(gain.sel(at)), float(error.sel(at)), int(finished.sel(at))
                measured = f"{100 * value:.1f} ± {100 * bar:.1f} %"
                rows.append(Row(f"{text}, {sampler}", judged(value, bar, least, count), measured))
        rows.append(Row(f"the crossover, {sampler}, reported", *_crossover(gain, sampler)))
    return rows


def ranges(data: xr.Dataset, *models: str) -> xr.DataArray:
    """Finished ranges of seeds of each point, of the model that has fewer: its k serves the ratio of both."""
    return data["frechet"].sel(model=list(models)).count("seed_range").min("model")


def _crossover(gain: xr.DataArray, sampler: str) -> tuple[str, str]:
    """Where the gain first falls below 0, from few steps to many."""
    line = gain.isel(extractor=0).sel(sampler=sampler).dropna("evaluations")
    worse = [int(steps) for steps, value in zip(line["evaluations"].values, line.values, strict=True) if value < 0]
    last = int(line["evaluations"].values[-1]) if line.size else 0
    if not line.size:
        return NOT_RUN, ""
    return "reported", f"worse from {min(worse)} steps on" if worse else f"none up to {last} steps"


def _speed_targets(real: Sequence[Results]) -> list[Row]:
    rows = []
    for model, least in MFU.items():
        found = [r for x in real if (b := x.bench.get(f"training-{model}")) for r in b["rows"] if r["mode"] == "compiled"]
        values = [row["mfu"] for row in found if row.get("mfu") is not None]
        rows.append(_threshold(f"{model}: at least {least:.0%} MFU in training", max(values, default=math.nan), least))
    schedules = [
        (row, x.provenance["plan"]["benchmark"]["repeats"])
        for x in real for row in x.bench.get("schedules", {}).get("rows", []) if row["what"].startswith("spectral")
    ]  # fmt: skip
    text = f"spectral schedules cost under {COST:.0%} of throughput"
    if schedules:
        last, repeats = schedules[-1]
        ratio, bar = last["ratio"], math.nan if last["error"] is None else last["error"]
        rows.append(Row(text, judged(ratio, bar, 1 - COST, repeats), f"{100 * (1 - ratio):.2f} ± {100 * bar:.2f} %"))
    else:
        rows.append(Row(text, NOT_RUN))
    shares = [row["share"] for x in real for row in x.bench.get("samplers", {}).get("mixture", [])]
    rows.append(
        _threshold(f"mixture sampler: at least {BANDWIDTH:.0%} of copy bandwidth", max(shares, default=math.nan), BANDWIDTH)
    )
    return rows


def _threshold(text: str, value: float, least: float) -> Row:
    """For times, whose error is far below the distance to a target or of no matter."""
    if math.isnan(value):
        return Row(text, NOT_RUN)
    return Row(text, "met" if value >= least else "missed", f"{value:.1%}")
