"""What a run of the pixel model is made of: five frozen records, read from YAML or JSON, checked when they are made.

    Model      the network (`imagenet.model`)
    Noise      the noise schedule: SiD2's shifted cosine, or a schedule from each image's spectrum (`imagenet.schedules`)
    Objective  what the network predicts and how the loss weighs noise levels (`imagenet.objective`)
    Training   batches, steps, optimiser, checkpoints (`imagenet.train`)
    Run        the four together, with a name and the seed

A file may name another one under the key `base` (a path beside it): it is read first, and the file changes what it says.
Keys are those of the records; a mistake is answered with the key, what is allowed and the nearest name. Not JSON Schema as
for the workflow's own configuration: a machine that only trains need not have that library, nor YAML if the file is JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import math
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from theory.interpolant import Kind
from theory.per_image import SHAPES, Rule, Shape

Precision = Literal["float32", "bfloat16"]
NoiseKind = Literal["shifted cosine", "interpolated cosine", "spectral"]
Level = Literal["image", "data set"]


_LARGEST = 65_536  # of a side in px, and of every width and count of a network
_MOST_IMAGES = 2**24  # of a step
_MOST_BIAS = 30.0  # λ of every schedule is within ± 30: beyond, the weighting is one and the same function of λ, up to a factor
_LEAST_EPSILON = 1e-6  # of a window, whose ends are then 14 units of λ beyond the spectrum: noise alone, and images alone


class SettingsError(ValueError):
    """A settings file or a value in it is not allowed."""


def _require(holds: bool, what: str, allowed: str, remedy: str) -> None:
    if not holds:
        raise SettingsError(f"{what}; allowed: {allowed}; remedy: {remedy}")


@dataclass(frozen=True)
class Model:
    """A Residual U-ViT (Hoogeboom et al., arXiv 2410.19324).

    resolution  side of the images, px; patch: side of a patch, px
    channels    per level, from the finest; types: one letter a level, R residual convolutions or T transformer
    blocks      per level but the last, as many down as up; middle: transformer blocks of the last level
    embedding   width of the conditioning vector; dropout: in T only
    """

    name: str
    resolution: int
    patch: int
    channels: tuple[int, ...]
    types: str
    blocks: tuple[int, ...]
    middle: int
    embedding: int
    dropout: float = 0.0
    head_dim: int = 64

    def __post_init__(self) -> None:
        levels = len(self.channels)
        _require(levels >= 2, f"{self.name}: channels = {list(self.channels)}", "at least two levels", "add a level")
        lengths = {"channels": levels, "types": len(self.types), "blocks + middle": len(self.blocks) + 1}
        _require(
            len(set(lengths.values())) == 1,
            f"{self.name}: lists of different lengths, {lengths}",
            f"{levels} types and {levels - 1} numbers of blocks for {levels} channels",
            "one entry of types per level, one of blocks per level but the last, whose count is `middle`",
        )
        _require(set(self.types) <= {"R", "T"}, f"{self.name}: types = {self.types!r}", "the letters R and T", "such as RRTT")
        _require(self.types[-1] == "T", f"{self.name}: types = {self.types!r}", "T at the last level", "end with T")
        counts = (*self.channels, *self.blocks, self.middle, self.embedding, self.patch, self.head_dim)
        _require(min(counts) >= 1, f"{self.name}: a size or count of {min(counts)}", "≥ 1", "correct it")
        most = max(*counts, self.resolution)
        _require(most <= _LARGEST, f"{self.name}: a size or count of {most}", f"≤ {_LARGEST}", "correct it")
        _require(0 <= self.dropout < 1, f"{self.name}: dropout = {self.dropout}", "0 ≤ dropout < 1", "0.1")
        divisor = self.patch * 2 ** (levels - 1)
        near = max(divisor, round(self.resolution / divisor) * divisor)
        _require(
            self.resolution >= divisor and self.resolution % divisor == 0,
            f"{self.name}: resolution {self.resolution} px, patch {self.patch} and {levels} levels",
            f"a multiple of patch·2^(levels − 1) = {divisor}",
            f"a resolution of {near} px, a smaller patch, or fewer levels",
        )


@dataclass(frozen=True)
class Noise:
    """The noise schedule of training, and of sampling unless that names another.

    kind        "shifted cosine": SiD2's baseline, λ of the cosine on [−15, 15] moved by 2 log(base_resolution/resolution);
                "interpolated cosine": between two such shifts (simple diffusion, eq. 6); "spectral": from the spectrum
    level       "image": each image has its own; "data set": all share that of the mean spectrum. Spectral only
    shape, epsilon, evenness: `theory.per_image.Rule`
    parametric  from θ, the few parameters a mixture can draw, so that training sees what sampling draws; or from the whole R(f)
    mean_colour the window takes in the mean colour, as one more ring with its variance over the data set: a sample starts from
                noise alone, so a colour that noise has not yet hidden at t = 1 would never come back
    """

    kind: NoiseKind = "shifted cosine"
    base_resolution: int = 64
    base_at_data: int = 32
    base_at_noise: int = 256
    level: Level = "image"
    shape: Shape = "mixed"
    epsilon: float = 0.01
    evenness: float = 0.02
    parametric: bool = True
    mean_colour: bool = True

    def __post_init__(self) -> None:
        for name in ("base_resolution", "base_at_data", "base_at_noise"):
            side = getattr(self, name)
            _require(1 <= side <= _LARGEST, f"noise.{name} = {side}", f"1 … {_LARGEST} px", "the paper's value")
        near = f"noise.epsilon = {self.epsilon}"
        _require(not 0 < self.epsilon < _LEAST_EPSILON, near, f"{_LEAST_EPSILON:g} ≤ ε < ½", "0.01")
        _require(self.shape in SHAPES, f"noise.shape = {self.shape!r}", ", ".join(SHAPES), "one of them")
        Rule(self.shape, self.epsilon, self.evenness)

    @property
    def per_image(self) -> bool:
        return self.kind == "spectral" and self.level == "image"


@dataclass(frozen=True)
class Objective:
    """What is learned (SiD2): E_t[½ (−dλ/dt) e^b sigmoid(λ − b) ‖x − x̂‖²], mean over pixels.

    prediction   of the network: velocity aε − s·x, data or noise
    bias         b of the sigmoid weighting; None for SiD2's, by resolution: 2 up to 64 px, 0 at 128, −1 at 256, −3 at 512
    rate_factor  the factor −dλ/dt: with it a schedule moves only end points, variance of gradients and the sampler's grid;
                 without it, t is drawn from the schedule and the schedule is a weighting too
    told         whether the network is told λ(0) and λ(1) beside λ(t)
    label_drop   share of labels replaced by the null label, for guidance
    """

    prediction: Kind = "velocity"
    bias: float | None = None
    rate_factor: bool = True
    told: bool = True
    label_drop: float = 0.1

    def __post_init__(self) -> None:
        allowed = ("velocity", "data", "noise")
        _require(self.prediction in allowed, f"objective.prediction = {self.prediction!r}", ", ".join(allowed), "velocity")
        _require(
            self.bias is None or abs(self.bias) <= _MOST_BIAS,
            f"objective.bias = {self.bias}",
            f"−{_MOST_BIAS:g} … {_MOST_BIAS:g}, where schedules have their λ",
            "leave it out for SiD2's, by resolution",
        )
        _require(0 <= self.label_drop < 1, f"objective.label_drop = {self.label_drop}", "0 ≤ label_drop < 1", "0.1")

    def bias_at(self, resolution: int) -> float:
        """b, by resolution unless set. Second-hand figures of SiD2."""
        if self.bias is not None:
            return self.bias
        return next((b for most, b in ((64, 2.0), (128, 0.0), (256, -1.0)) if resolution <= most), -3.0)


@dataclass(frozen=True)
class Training:
    """batch is the global one: over all processes and micro-batches. micro_batch: images of one forward pass of one process,
    None for all that the process has. Intervals are in steps. post_hoc_every: between snapshots of the two power averages that
    `imagenet.ema` makes an average of any length from; None keeps none."""

    steps: int
    batch: int
    micro_batch: int | None = None
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    warm_up: int = 10_000
    clip: float = 1.0
    ema: float = 0.9999
    ema_ramp: bool = False
    flip: bool = True
    precision: Precision = "float32"
    compile: bool = False
    recompute: bool = False
    checkpoint_every: int = 5_000
    keep: int = 3
    log_every: int = 100
    sample_every: int = 10_000
    post_hoc_every: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "checkpoint_every", "keep", "log_every", "sample_every"):
            _require(getattr(self, name) >= 1, f"training.{name} = {getattr(self, name)}", "≥ 1", "a positive number")
        _require(self.batch <= _MOST_IMAGES, f"training.batch = {self.batch}", f"≤ {_MOST_IMAGES} images", "a smaller batch")
        snapshots = self.post_hoc_every
        _require(snapshots is None or snapshots >= 1, f"training.post_hoc_every = {snapshots}", "≥ 1", "leave it out for none")
        _require(
            self.micro_batch is None or (1 <= self.micro_batch <= self.batch and self.batch % self.micro_batch == 0),
            f"training.micro_batch = {self.micro_batch} of batch {self.batch}",
            "a divisor of the batch",
            "a divisor, or leave it out",
        )
        _require(0 < self.learning_rate < 1, f"training.learning_rate = {self.learning_rate}", "between 0 and 1", "1e-4")
        _require(0 <= self.ema < 1, f"training.ema = {self.ema}", "0 ≤ ema < 1", "0.9999")
        _require(self.clip > 0, f"training.clip = {self.clip}", "> 0", "1.0; .inf for none")
        _require(self.warm_up >= 0, f"training.warm_up = {self.warm_up}", "≥ 0 steps", "0 for none")
        _require(all(0 <= beta < 1 for beta in self.betas), f"training.betas = {list(self.betas)}", "0 ≤ β < 1", "[0.9, 0.99]")
        decay = self.weight_decay
        _require(0 <= decay < math.inf, f"training.weight_decay = {decay}", "finite and ≥ 0", "0")


@dataclass(frozen=True)
class Run:
    """One training, whole: with the packed data it decides every bit."""

    name: str
    model: Model
    training: Training
    noise: Noise = field(default_factory=Noise)
    objective: Objective = field(default_factory=Objective)
    seed: int = 0

    def __post_init__(self) -> None:
        _require(0 <= self.seed < 2**63, f"seed = {self.seed}", "0 … 2⁶³ − 1", "0")


# ---- from files -------------------------------------------------------------------------------------------------------

Record = TypeVar("Record")


def read(path: str | Path, changes: Sequence[str] = ()) -> Run:
    """The run in a YAML or JSON file, after `changes` such as "training.steps=100" or "model=PATH".

    A path among the changes is seen from here, or else, as in the file, from the file's folder. Raises SettingsError for a
    file that is absent or not a mapping, an unknown or missing key, a value of the wrong kind.
    """
    values = load(path)
    _apply(values, changes, Path(path).parent)
    return build(Run, values, str(path))


def changed(run: Run, changes: Sequence[str]) -> Run:
    """The run after `changes`, as `read` takes them. Raises SettingsError."""
    values = as_dict(run)
    _apply(values, changes)
    return build(Run, values, run.name)


def _apply(values: dict[str, Any], changes: Sequence[str], beside: Path = Path()) -> None:
    """Set section.key=value in a mapping of sections; model=PATH reads the file, here or in the folder `beside`."""
    for change in changes:
        key, equals, text = change.partition("=")
        _require(bool(equals and key), f"change {change!r}", "section.key=value", "such as training.steps=100")
        section = values
        *way, last = key.split(".")
        for name in way:
            inner = section.setdefault(name, {})
            _require(isinstance(inner, dict), f"change {change!r}: {name} is not a section", "a section", "check the key")
            section = inner
        section[last] = _value(text)
        if key == "model" and isinstance(section[last], str):
            section[last] = load(next((place for place in (Path(text), beside / text) if _is_file(place)), text))


def load(path: str | Path, within: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The mapping in a file, on top of its `base` if it names one, and with `model` read from its file if that is a path.

    `within`: the files that are being read and need this one.
    """
    file = Path(path)
    there = _is_file(file)
    _require(not (there and file.resolve() in within), f"{file} needs itself as base or model", "no circle", "remove it")
    _require(there, f"settings {file} do not exist", "a .yaml or .json file", "check the path; see config/runs")
    values = _parse(file)
    _require(isinstance(values, dict), f"{file} holds {type(values).__name__}", "keys and values", "see config/runs")
    base = values.pop("base", None)
    if base is not None:
        values = _merge(load(file.parent / str(base), (*within, file.resolve())), values)
    if isinstance(values.get("model"), str):
        values["model"] = load(file.parent / values["model"], (*within, file.resolve()))
    return values


def _is_file(path: Path) -> bool:
    """False for a name that is too long, or that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _parse(file: Path) -> Any:
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            return json.loads(text)
        import yaml  # not on every machine that trains

        return yaml.safe_load(text)
    except ImportError:
        raise SettingsError(
            f"{file} is YAML and PyYAML is not installed; allowed: JSON without it; remedy: pip install pyyaml, or convert it"
        ) from None
    except Exception as error:  # yaml's and json's own errors share no base
        raise SettingsError(f"{file} cannot be parsed ({error}); allowed: YAML or JSON; remedy: correct it there") from error


def _value(text: str) -> Any:
    """JSON if it is, else a text: 100, 1e-4, true, null, [1, 2], geodesic."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def build(kind: type[Record], values: object, where: str) -> Record:
    """A record from a mapping, its fields' types checked. Raises SettingsError; see `read`."""
    _require(isinstance(values, Mapping), f"{where} = {values!r}", "a section of keys", "indent its keys under it")
    given = typing.cast(Mapping[str, Any], values)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    for key in given:
        near = difflib.get_close_matches(str(key), fields, n=1, cutoff=0.5)
        remedy = f"did you mean {near[0]}?" if near else "remove it"
        _require(key in fields, f"{where}: {key} is not a key", ", ".join(fields), remedy)
    needed = [n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING]
    lacking = [name for name in needed if name not in given]
    _require(not lacking, f"{where}: {', '.join(lacking)} missing", f"all of {', '.join(needed)}", "add what is missing")
    made = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in given.items()}
    try:
        return kind(**made)
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return build(typing.cast(type, hint), value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        _require(value in arguments, f"{where} = {value!r}", ", ".join(map(str, arguments)), "one of them")
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple:
        _require(isinstance(value, list | tuple), f"{where} = {value!r}", "a list", "write [1, 2]")
        fixed = arguments[-1] is not Ellipsis
        _require(not fixed or len(value) == len(arguments), f"{where} = {value!r}", f"{len(arguments)} entries", "correct it")
        return tuple(_convert(arguments[0], v, f"{where}[{k}]") for k, v in enumerate(value))
    return _plain(hint, value, where)


def _plain(hint: type, value: Any, where: str) -> Any:
    words = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}[hint]
    if hint is float and isinstance(value, str):  # YAML takes 1e-4 for a text
        with contextlib.suppress(ValueError):
            value = float(value)
    boolean = isinstance(value, bool)
    if hint is float and isinstance(value, int) and abs(value) > sys.float_info.max:
        raise SettingsError(f"{where} = {str(value)[:20]}…; allowed: a number below 1e308; remedy: correct it")
    fits = {
        int: isinstance(value, int) and not boolean,
        float: isinstance(value, int | float) and not boolean and not math.isnan(value),
        bool: boolean,
        str: isinstance(value, str),
    }[hint]
    _require(fits, f"{where} = {value!r}", words, f"write {words}")
    return float(value) if hint is float else value


def as_dict(record: object) -> dict[str, Any]:
    """Plain values, lists for tuples: what a checkpoint or a result stores; `build` reads it back."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(record)))  # type: ignore[call-overload]
    return plain


def differences(a: Mapping[str, Any], b: Mapping[str, Any], path: str = "") -> list[str]:
    """The keys at which two records differ, with both values: what a checkpoint of another configuration is refused by."""
    found = []
    for key in sorted({*a, *b}):
        place = f"{path}.{key}" if path else key
        mine, other = a.get(key), b.get(key)
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            found += differences(mine, other, place)
        elif mine != other:
            found.append(f"{place}: {mine!r} and {other!r}")
    return found
