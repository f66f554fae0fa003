"""The one runner of every experiment.

An experiment is a module with five names, in this order:

    CLAIM                                  what is claimed: a Claim, or a sequence of them
    predict(settings)                      → Dataset: from theory, no samples
    measure(settings, seed)                → Dataset: does not call what predict calls
    judge(predicted, measured, settings)   → rows of the ledger, one per claim, or several: A3 may become A3-gm, A3-cw
    draw(predicted, measured, settings)    → Figure: prediction as line, measurement as points with error bars

Where an experiment reads what other rules made (networks, their sweeps), `settings` has one key more, "files": the paths by
name. It is not among the settings that its results record: those say what was done, not where.

It leaves predicted.nc, measured.nc, verdict.json and figure.svg in one folder. Judge and draw see the datasets
as read back from disk, so whatever is reported is in a file. One thread, so that bits do not depend on the machine's
load. The module is imported by its name only: theory knows no experiment.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import click
import matplotlib as mpl
import torch
import xarray as xr
from matplotlib.figure import Figure

from theory import ledger, record
from theory.ledger import Claim, Row

log = logging.getLogger(__name__)


class Experiment(Protocol):
    """What a module must offer to be run."""

    CLAIM: Claim | Sequence[Claim]

    def predict(self, settings: Mapping[str, Any]) -> xr.Dataset: ...
    def measure(self, settings: Mapping[str, Any], seed: int) -> xr.Dataset: ...
    def judge(self, predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> list[Row]: ...
    def draw(self, predicted: xr.Dataset, measured: xr.Dataset, settings: Mapping[str, Any]) -> Figure: ...


def find(module: str) -> Experiment:
    """Import `module` and check its five names, before any work. Raises TypeError naming what it lacks."""
    experiment = importlib.import_module(module)
    lacking = [name for name in ("predict", "measure", "judge", "draw") if not callable(getattr(experiment, name, None))]
    listed = _claims(getattr(experiment, "CLAIM", ()))
    if not listed or not all(isinstance(claim, Claim) for claim in listed):
        lacking.insert(0, "CLAIM")
    if lacking:
        raise TypeError(
            f"{module} is not an experiment: it lacks {', '.join(lacking)}; allowed: a Claim (or several) called CLAIM "
            "and the functions predict, measure, judge, draw; remedy: see theory/experiment.py"
        )
    return cast(Experiment, experiment)


def run(module: str, settings: Mapping[str, Any], seed: int, folder: Path, files: Mapping[str, Any] | None = None) -> list[Row]:
    """Predict, measure, judge and draw; write the four files into `folder`; return the rows."""
    experiment = find(module)
    recorded, settings = settings, {**settings, "files": files} if files else settings
    log.info("%s: predict", module)
    _keep(experiment.predict(settings), folder / "predicted.nc", recorded, seed)
    log.info("%s: measure", module)
    _keep(experiment.measure(settings, seed), folder / "measured.nc", recorded, seed)
    predicted, measured = record.load(folder / "predicted.nc"), record.load(folder / "measured.nc")
    log.info("%s: judge", module)
    rows = _judged(experiment.judge(predicted, measured, settings), _claims(experiment.CLAIM), module)
    with record.style():
        figure = experiment.draw(predicted, measured, settings)
        _expect(figure, Figure, f"{module}.draw")
        record.save_figure(figure, folder / "figure.svg")
    ledger.write(rows, folder / "verdict.json")
    for row in rows:
        log.info("%s %s: error %.3g, margin %.3g", row.claim.id, row.verdict.value, row.error, row.margin)
    return rows


def _claims(claim: Claim | Sequence[Claim]) -> list[Claim]:
    return [claim] if isinstance(claim, Claim) else list(claim)


def _keep(dataset: object, path: Path, settings: Mapping[str, Any], seed: int) -> None:
    _expect(dataset, xr.Dataset, f"the function behind {path.name}")
    record.save(cast(xr.Dataset, dataset), path, settings=settings, seed=seed)


def _judged(rows: object, claims: Sequence[Claim], module: str) -> list[Row]:
    """The rows, if each belongs to a declared claim and each declared claim has one."""
    _expect(rows, list, f"{module}.judge")
    listed = cast(list[object], rows)
    for row in listed:
        _expect(row, Row, f"an entry of {module}.judge")
    judged = [cast(Row, row).claim.id for row in listed]
    declared = [claim.id for claim in claims]
    strange = [name for name in judged if not any(_belongs(name, claim) for claim in declared)]
    silent = [claim for claim in declared if not any(_belongs(name, claim) for name in judged)]
    if strange or silent:
        raise ValueError(
            f"{module}.judge returned rows {judged}; undeclared: {strange}, declared but not judged: {silent}; "
            f"allowed: one or more per id of CLAIM {declared}, as A2 or A2-…; "
            "remedy: declare it, or judge it (undecided is a verdict)"
        )
    return cast(list[Row], listed)


def _belongs(name: str, claim: str) -> bool:
    return name == claim or name.startswith(f"{claim}-")


def _expect(value: object, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{what} returned {type(value).__name__}; allowed: {kind.__name__}; remedy: see theory/experiment.py")


def json_option(_: click.Context, __: click.Parameter, text: str) -> dict[str, Any]:
    """The mapping in a JSON text: what a rule hands to a module."""
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not JSON ({error}); allowed: an object; remedy: quote it, '{{…}}'") from error
    if not isinstance(settings, dict):
        raise click.BadParameter(f"{text} is a {type(settings).__name__}; allowed: a JSON object; remedy: '{{…}}'")
    return settings


@click.command()
@click.argument("module")
@click.option("--settings", required=True, callback=json_option, help="the experiment's section of the config, as JSON")
@click.option("--files", callback=json_option, default="{}", help="paths that the experiment reads, by name, as JSON")
@click.option("--seed", required=True, type=click.IntRange(min=0))
@click.option("--out", "folder", required=True, type=click.Path(file_okay=False, path_type=Path))
def main(module: str, settings: dict[str, Any], files: dict[str, Any], seed: int, folder: Path) -> None:
    """Run one experiment, for example synthetic.dichotomy."""
    mpl.use("Agg")  # no display
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    run(module, settings, seed, folder, files)


if __name__ == "__main__":
    main()
