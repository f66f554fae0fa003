"""Checkpoints: what a training is resumed from and what images are generated with; data, never code.

A checkpoint is a file of `torch.save` that holds tensors and plain values only (text, numbers, lists, mappings), read with
`weights_only`: a file from a stranger cannot run anything. It carries a BLAKE2b digest of its content, every tensor's bytes
included, so a flipped bit is found. A file takes its name only when it is complete and on the disk (`theory.record.whole`).
Whatever is wrong with one, the answer is a `CheckpointError` with the file, what is wrong and what to do.

    step-00001000.pt    weights, their average, the optimiser's state: in the folder `checkpoints` of a training, the last few
    network.pt          weights alone: of a training that is finished, or exported, in float32 or bfloat16
    NAME.000-of-004     parts of a file (`imagenet.parts`); `read` and `load_network` take NAME all the same
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import json
import logging
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

import theory
from imagenet import settings
from imagenet.failures import out_of_memory
from imagenet.parts import CheckpointError as CheckpointError  # also ours
from imagenet.parts import join as join
from imagenet.parts import parts_of
from imagenet.parts import split as split
from imagenet.settings import Run
from theory import record

if TYPE_CHECKING:
    from imagenet.model import ResidualUViT

log = logging.getLogger(__name__)

FORMAT = "schedules: checkpoint 1"
FOLDER, FINISHED = "checkpoints", "network.pt"
# What may change between the pieces of one training: how long, how often it reports, how it is computed; not what is computed.
# Beside it, what a training that went wrong may continue with: another network than from the start, so each change is told.
TOLD = ("learning_rate", "warm_up", "clip", "precision")
FREE = (
    "steps",
    "checkpoint_every",
    "keep",
    "log_every",
    "sample_every",
    "post_hoc_every",
    "micro_batch",
    "compile",
    "recompute",
)
_LATER = frozenset({"spectra"})  # fields that files of earlier versions lack
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after `step` updates; or, with `optimizer` empty, a network alone.

    run: the settings as plain values; classes; data: fingerprint of the packed data; model, ema: tensors by parameter name;
    optimizer: for each of its quantities, tensors by parameter name; averages: power averages by length; skipped: steps whose
    gradient was not finite; spectra: taper and digest of those that the schedules were made of (`imagenet.schedules.identity`),
    empty if they were made of none.
    """

    run: dict[str, Any]
    classes: int
    data: str
    step: int
    model: Weights
    ema: Weights
    optimizer: dict[str, Weights] = field(default_factory=dict)
    averages: dict[str, Weights] = field(default_factory=dict)
    skipped: int = 0
    versions: dict[str, str] = field(default_factory=lambda: versions())
    commit: str = field(default_factory=record.commit)
    spectra: str = ""


def versions() -> dict[str, str]:
    """Of what decides the bits: python, torch, numpy, this project."""
    numpy: str = np.__version__
    return {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": numpy, "theory": theory.__version__}


# ---- one file ---------------------------------------------------------------------------------------------------------


def digest(content: object) -> str:
    """BLAKE2b over names, values, and the dtype, shape and bytes of every tensor; the order of a mapping's keys plays no part.

    Raises CheckpointError for anything that is neither a tensor nor plain.
    """
    hashed = hashlib.blake2b(digest_size=32)
    for piece in _pieces(content):
        hashed.update(len(piece).to_bytes(8, "little"))
        hashed.update(piece)
    return hashed.hexdigest()


def _pieces(value: object) -> Any:
    match value:
        case Tensor():
            yield f"tensor {value.dtype} {tuple(value.shape)}".encode()
            yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        case Mapping():
            yield f"mapping {len(value)}".encode()
            for key in sorted(value, key=str):
                yield from _pieces(key)
                yield from _pieces(value[key])
        case list() | tuple():
            yield f"list {len(value)}".encode()
            for entry in value:
                yield from _pieces(entry)
        case None | bool() | int() | float() | str():
            yield f"{type(value).__name__} {value!r}".encode()
        case _:
            raise CheckpointError(
                f"a checkpoint with a {type(value).__name__} in it; allowed: tensors, text, numbers, lists, mappings; "
                "remedy: convert it before saving"
            )


def write(path: str | os.PathLike[str], content: Checkpoint) -> Path:
    """The checkpoint in a file, complete or not there at all. Raises CheckpointError if the disk refuses it."""
    target = Path(path)
    plain = {f.name: getattr(content, f.name) for f in dataclasses.fields(content)}
    stored = {"format": FORMAT, "digest": digest(plain), **plain}
    try:
        with record.whole(target) as temporary, temporary.open("wb") as file:
            torch.save(stored, file)
            file.flush()
    except (OSError, RuntimeError) as error:  # torch reports a failed write as the latter
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
        what = "the disk is full" if full else str(cause or error).splitlines()[0]
        size = sum(t.nbytes for t in _tensors(plain)) / 1e6
        allowed = f"{size:.0f} MB free" if full else f"a folder where {size:.0f} MB can be written"
        remedy = "free space or set training.keep lower" if full else f"see that {target.parent} is there and may be written"
        raise CheckpointError(
            f"{target} could not be written ({what}); allowed: {allowed}; earlier checkpoints are intact; "
            f"remedy: {remedy}, then start the same command again"
        ) from error
    return target


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for entry in value.values() for t in _tensors(entry)] if isinstance(value, Mapping) else []


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint in a file or in the parts of one, on the processor, verified. Raises CheckpointError."""
    target = Path(path)
    try:
        with _open(target) as file:
            stored = torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # pickle, zipfile, torch and struct each have their own
        if out_of_memory(error):  # the file may be whole, and an earlier one would need as much
            raise
        raise CheckpointError(
            _damaged(target, f"it cannot be read as tensors and plain values: {_first_line(error)}")
        ) from error
    fields = {f.name: f for f in dataclasses.fields(Checkpoint)}
    if not isinstance(stored, dict) or stored.get("format") != FORMAT:
        given = stored.get("format") if isinstance(stored, dict) else type(stored).__name__
        raise CheckpointError(
            f"{target} has format {given!r}; allowed: {FORMAT!r}; remedy: give a file that this project's training wrote"
        )
    plain = {key: value for key, value in stored.items() if key not in ("format", "digest")}
    if set(plain) - _LATER != set(fields) - _LATER:
        lacking, strange = sorted(set(fields) - set(plain)), sorted(map(str, set(plain) - set(fields)))
        raise CheckpointError(_damaged(target, f"keys missing: {lacking}, unknown: {strange}"))
    if digest(plain) != stored.get("digest"):
        raise CheckpointError(_damaged(target, "its content does not match its digest"))
    _check_kinds(target, plain)
    return Checkpoint(**plain)


def _check_kinds(target: Path, plain: Mapping[str, Any]) -> None:
    """A digest can be right and the content still not a checkpoint: somebody else's program may have written it."""
    counts = ("classes", "step", "skipped")
    bad = [key for key in counts if not isinstance(plain[key], int) or plain[key] < 0]
    bad += [key for key in ("run", "versions", "model", "ema", "optimizer", "averages") if not isinstance(plain[key], dict)]
    bad += [key for key in ("data", "commit", "spectra") if not isinstance(plain.get(key, ""), str)]
    if not bad:
        groups = {"model": plain["model"], "ema": plain["ema"]}
        groups |= {f"{key}.{n}": g for key in ("optimizer", "averages") for n, g in plain[key].items()}
        for key, group in groups.items():
            if not isinstance(group, dict) or not all(isinstance(n, str) and isinstance(t, Tensor) for n, t in group.items()):
                bad.append(key)
    if bad:
        raise CheckpointError(_damaged(target, f"of the wrong kind: {', '.join(bad)}"))


def _open(target: Path) -> BinaryIO:
    if target.is_file():
        return target.open("rb")
    parts = parts_of(target)
    if parts:
        return io.BytesIO(b"".join(part.read_bytes() for part in parts))
    raise CheckpointError(
        f"no checkpoint at {target}; allowed: a file that training wrote; remedy: check the path, or train first"
    )


def _damaged(target: Path, what: str) -> str:
    return f"checkpoint {target} is damaged ({what}); allowed: a whole file; remedy: take an earlier one, or copy it again"


def _first_line(error: BaseException) -> str:
    if "weights_only" in str(error):  # torch advises to read the file without it, which would run what is in it
        found = re.search(r"^(?:Trying to load u|U)nsupported .*", str(error), re.MULTILINE)
        return f"{type(error).__name__}: {found[0][:200].rstrip('.') if found else 'it holds something else'}"
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:200]}"


# ---- the folder of a training -----------------------------------------------------------------------------------------


def path_of(folder: Path, step: int) -> Path:
    return folder / FOLDER / f"step-{step:08d}.pt"


def listed(folder: Path) -> list[Path]:
    """The checkpoints of a training, the latest first."""
    return sorted((folder / FOLDER).glob("step-*.pt"), key=lambda p: p.name, reverse=True)


def thin(folder: Path, keep: int) -> None:
    """Remove all but the last `keep`, and what an interrupted writer left."""
    for path in listed(folder)[keep:]:
        path.unlink(missing_ok=True)
    for path in (folder / FOLDER).glob(".*.part"):
        path.unlink(missing_ok=True)


def latest(folder: Path) -> tuple[Checkpoint, Path] | None:
    """The last checkpoint that can be read, with a warning that names any that cannot; None if there is none at all.

    Raises CheckpointError if there are some and none can be read: to begin anew would overwrite them.
    """
    found = listed(folder)
    failed: list[str] = []
    for path in found:
        try:
            content = read(path)
        except CheckpointError as error:
            failed.append(str(error))
            continue
        if failed:
            log.warning("%s; resuming from the previous one, %s", " | ".join(failed), path)
        return content, path
    if failed:
        raise CheckpointError(
            f"none of {len(found)} checkpoints in {folder / FOLDER} can be read: {' | '.join(failed)}; "
            "allowed: at least one whole; remedy: restore one, or empty the folder (or --fresh) to begin anew"
        )
    return None


def check_same(saved: Checkpoint, path: str, run: Run, classes: int, data: str, spectra: str = "") -> None:
    """Raises CheckpointError, naming each key and both values, unless the checkpoint belongs to this run on these data.

    And where it is beyond the run's last step: its network would be told to be of fewer. Spectra are compared where the
    schedules are made of them, and the checkpoint says of which.
    """
    differing = settings.differences(*_without(saved, run, (*FREE, *TOLD)))
    differing += [
        f"{name}: {a!r} and {b!r}" for name, a, b in (("classes", saved.classes, classes), ("data", saved.data, data)) if a != b
    ]
    other = bool(saved.spectra and spectra) and saved.spectra != spectra
    if other and not differing:
        raise CheckpointError(
            f"checkpoint {path} is of schedules made of other spectra: {saved.spectra!r}, not {spectra!r}; allowed: those that "
            "the training began with; remedy: another folder, or compute the pack's spectra as they were: python -m imagenet "
            "pack --spectra --taper … --out PACK"
        )
    if saved.step > run.training.steps and not differing:
        raise CheckpointError(
            f"training.steps = {run.training.steps} and checkpoint {path} is at step {saved.step}; allowed: ≥ {saved.step} "
            f"here; remedy: training.steps={saved.step}, another folder, or --fresh to begin anew"
        )
    if differing:
        raise CheckpointError(
            f"checkpoint {path} is of another configuration; its values and the present ones differ at {'; '.join(differing)}; "
            f"allowed: changes of training.{', '.join((*TOLD, *FREE))}; remedy: another folder, or the settings of that run"
        )


def changes(saved: Checkpoint, run: Run) -> list[str]:
    """What differs of TOLD, with both values: a training that continues with it is not the one that it was."""
    return settings.differences(*_without(saved, run, FREE))


def _without(saved: Checkpoint, run: Run, keys: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of both but for these of training."""
    theirs, ours = json.loads(json.dumps(saved.run)), settings.as_dict(run)
    for values in (theirs, ours):
        for key in keys:
            values.get("training", {}).pop(key, None)
    return theirs, ours


def fit(target: Mapping[str, Tensor], source: Mapping[str, Tensor], path: str, what: str) -> None:
    """Raises CheckpointError unless `source` has exactly the names and shapes of `target`."""
    lacking, strange = sorted(set(target) - set(source)), sorted(set(source) - set(target))
    shapes = [
        f"{n}: {tuple(source[n].shape)}, not {tuple(target[n].shape)}"
        for n in target
        if n in source and source[n].shape != target[n].shape
    ]
    if lacking or strange or shapes:
        told = [f"{len(names)} {word} ({', '.join(names[:3])})" for names, word in _named(lacking, strange, shapes) if names]
        raise CheckpointError(
            f"{what} of checkpoint {path} does not fit the network: {'; '.join(told)}; allowed: its {len(target)} parameters; "
            "remedy: the model settings that the checkpoint was trained with"
        )


def _named(lacking: list[str], strange: list[str], shapes: list[str]) -> Sequence[tuple[list[str], str]]:
    return (lacking, "missing"), (strange, "unknown"), (shapes, "of another shape")


# ---- networks -----------------------------------------------------------------------------------------------------------


def found_in(path: str | os.PathLike[str]) -> tuple[Checkpoint, Path]:
    """What is in a file; of a training's folder, the finished network or else the last checkpoint. Raises CheckpointError."""
    target = Path(path)
    if not target.is_dir():
        return read(target), target
    done = target / FINISHED
    found = None if done.is_file() or parts_of(done) else latest(target)
    return found or (read(done), done)


def load_network(path: str | os.PathLike[str], ema: bool = True) -> tuple[Run, int, ResidualUViT]:
    """(run, classes, network in evaluation mode, float32, on the processor) from a checkpoint, an export or a folder.

    A training's folder gives its finished network, or the last checkpoint. `ema`: averaged weights. Raises CheckpointError.
    """
    content, target = found_in(path)
    run, network = network_of(content, target, ema)
    return run, content.classes, network


def network_of(content: Checkpoint, target: Path, ema: bool = True) -> tuple[Run, ResidualUViT]:
    """As `load_network`, from what `found_in` has read from `target`."""
    from imagenet.model import ResidualUViT

    weights = content.ema if ema else content.model
    if not weights:
        raise _lacking(target, ema)
    try:
        run = settings.build(Run, content.run, f"run of {target}")
        network = ResidualUViT(run.model, content.classes, run.objective.told, run.seed)
    except ValueError as error:
        raise CheckpointError(f"{target}: its settings do not make a network: {error}") from error
    state = network.state_dict()
    fit(state, weights, str(target), "the averaged weights" if ema else "the weights")
    network.load_state_dict({name: tensor.to(state[name].dtype) for name, tensor in weights.items()})
    return run, network.eval()


def _lacking(path: Path, ema: bool) -> CheckpointError:
    return CheckpointError(
        f"{path} holds only {'plain' if ema else 'averaged'} weights; allowed: ema={not ema}; remedy: ask for those"
    )


def export(source: str | os.PathLike[str], target: str | os.PathLike[str], *, ema: bool = True, half: bool = False) -> Path:
    """The weights of a checkpoint alone, a quarter of its size; in bfloat16 (`half`) an eighth. Raises CheckpointError."""
    content, path = found_in(source)
    if not (content.ema if ema else content.model):
        raise _lacking(path, ema)
    return write(target, weights_of(content, ema=ema, half=half))


def weights_of(content: Checkpoint, *, ema: bool = True, half: bool = False) -> Checkpoint:
    """Without the optimiser's state, with the averaged weights or the plain ones."""
    chosen = content.ema if ema else content.model
    kept = {name: t.bfloat16() if half else t for name, t in chosen.items()}
    empty: Weights = {}
    return dataclasses.replace(content, model=empty if ema else kept, ema=kept if ema else empty, optimizer={}, averages={})
