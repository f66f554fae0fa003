"""Pictures of what the trained networks draw: samples at equal seeds, steering strips, spectra against the data's, a table.

    python -m imagenet.gallery --settings JSON --files JSON --seed 0 --out FOLDER --table FILE

writes samples.svg (a row per class; the data, then each schedule at each number of steps, the same noise in a row),
steering.svg (the same images under scaled slope and amplitude of θ) and spectra.svg; and the table of all sweeps with the
papers' numbers where --table says: its images/s depend on the machine. No claim is judged here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import torch
import xarray as xr
from torch import Tensor

from imagenet import quality
from imagenet.generate import Generator, load_generator, steering
from imagenet.packed import Packed, open_packed
from imagenet.request import Request
from theory import record
from theory.experiment import json_option


def samples(settings: Mapping[str, Any], seed: int) -> str:
    """SVG: photographs, then samples of the first two runs' first networks, class by class."""
    files, gallery = settings["files"], settings["gallery"]
    packed = open_packed(files["data"])
    rows, columns = _photographs(packed, gallery["each"], gallery["classes"])
    for run in settings["runs"][:2]:
        generator = _first(files, run["name"], settings["device"])
        for steps in gallery["steps"]:
            request = _request(settings, packed, rows, steps, seed)
            columns[f"{run['name']}, {steps}"] = generator.sample(request)
    return quality.sheet(columns, rows)


def _request(settings: Mapping[str, Any], packed: Packed, rows: list[str], steps: int, seed: int) -> Request:
    """One image of the class of each row."""
    labels = tuple(packed.class_names.index(name) for name in rows)
    sampler, gamma = settings["gallery"]["sampler"], settings["sweep"]["gamma"]
    return Request(sampler, steps, gamma, labels=labels, count=len(rows), seed=seed)


def _first(files: Mapping[str, Any], name: str, device: str) -> Generator:
    return load_generator(next(iter(files["checkpoints"][name].values())), device=device)


def _photographs(packed: Packed, each: int, classes: int) -> tuple[list[str], dict[str, Tensor]]:
    """Names of the rows, `each` of at most so many classes, evenly among all, and a column of training images."""
    labels = torch.as_tensor(packed.labels)
    present = [int(label) for label in labels.unique()]
    if len(present) > classes:
        present = [present[len(present) * (2 * k + 1) // (2 * classes)] for k in range(classes)]
    places = [torch.nonzero(labels == label)[:, 0] for label in present]
    # from the middle of each class: a pack of photographs is in order of rows, and begins with sky
    chosen = torch.cat([of[len(of) * (2 * torch.arange(each) + 1) // (2 * each)] for of in places])
    return [packed.class_names[int(label)] for label in labels[chosen]], {"data": packed.take(chosen)[0]}


def steered(settings: Mapping[str, Any], seed: int) -> str:
    """SVG: one image of each class shown under factors on the slope, then on the power."""
    files, gallery = settings["files"], settings["gallery"]
    packed = open_packed(files["data"])
    rows, _ = _photographs(packed, 1, gallery["classes"])
    factors = [*((f, 1.0) for f in gallery["factors"]), *((1.0, f) for f in gallery["factors"] if f != 1)]
    request = _request(settings, packed, rows, max(gallery["steps"]), seed)
    images = steering(_first(files, settings["runs"][1]["name"], settings["device"]), request, factors)
    return quality.steering_strip(images, factors, rows)


def first_sweeps(settings: Mapping[str, Any]) -> xr.Dataset:
    """The sweeps of every run's first network, along `model`."""
    named = settings["files"]["sweeps"]
    return quality.combine({name: record.load(next(iter(of_seeds.values()))) for name, of_seeds in named.items()})


def _networks(files: Mapping[str, Any], names: Sequence[str]) -> str:
    """Which networks a figure shows: "one network each, training seed 0"."""
    seeds = dict.fromkeys(next(iter(files["sweeps"][name])) for name in names)
    return f"one network each, training seed {' and '.join(seeds)}"


@click.command()
@click.option("--settings", required=True, callback=json_option, help="the section imagenet.pixel of the config, as JSON")
@click.option("--files", required=True, callback=json_option, help="data, sweeps and checkpoints, as JSON")
@click.option("--seed", required=True, type=click.IntRange(min=0))
@click.option("--out", "folder", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--table", required=True, type=click.Path(dir_okay=False, path_type=Path), help="where the table goes")
def main(settings: dict[str, Any], files: dict[str, Any], seed: int, folder: Path, table: Path) -> None:
    """Draw the gallery."""
    import matplotlib as mpl

    mpl.use("Agg")  # no display
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    settings = {**settings, "files": files}
    sweeps = first_sweeps(settings)
    names = (settings["runs"][1]["name"], settings["runs"][0]["name"])
    record.atomic_text(table, quality.table(sweeps, names))
    record.atomic_text(folder / "samples.svg", samples(settings, seed))
    record.atomic_text(folder / "steering.svg", steered(settings, seed))
    sampler = "ancestral" if "ancestral" in sweeps["sampler"].values else str(sweeps["sampler"].values[0])
    with record.style():
        figure = quality.draw_spectra(sweeps.sel(model=list(names)), sampler, title=_networks(files, names))
        record.save_figure(figure, folder / "spectra.svg")


if __name__ == "__main__":
    main()
