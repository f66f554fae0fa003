"""What is run on a GPU: networks, budgets, sweeps and benchmarks of one size, read from config/gpu/<size>.json.

JSON and fully resolved, since the machine with the GPU may have no YAML: a test keeps the networks equal to config/model. The
first arm is the baseline (SiD2's shifted cosine, Hoogeboom et al., arXiv 2410.19324), the second the schedule under test
(Esteves and Makadia, arXiv 2603.19222); the others are ablations, trained and measured after both.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from imagenet.denoiser import Guidance
from imagenet.evaluate import Sweep
from imagenet.pack import Options
from imagenet.request import Request
from imagenet.settings import Model, Noise, Objective, Run, SettingsError, Training, build, load

CONFIGURATIONS = Path(__file__).resolve().parents[1] / "config" / "gpu"


@dataclass(frozen=True)
class Arm:
    """One training: a name for tables, its schedule and objective, and its steps, None for the plan's."""

    name: str
    noise: Noise
    objective: Objective = field(default_factory=Objective)
    steps: int | None = None

    @property
    def key(self) -> str:
        """Of files and pieces."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


@dataclass(frozen=True)
class Sampling:
    """The sweep. images: of a point; weights: of guidance that are tried, at `tried_at` evaluations, before the best is swept.

    gammas: other values of γ that both arms are drawn with. Guided from λ = guide_low to guide_high: EDM2-XXL's interval, ς
    from .28 to 1.61. ablated: evaluations of the ablations; shown: of the samples on the page.
    """

    evaluations: tuple[int, ...]
    samplers: tuple[str, ...]
    images: int
    seed_ranges: int
    batch: int
    components: int
    gamma: float
    gammas: tuple[float, ...]
    weights: tuple[float, ...]
    tried_at: int
    guide_low: float
    guide_high: float
    ablated: tuple[int, ...]
    shown: tuple[int, ...]

    def sweep(
        self, evaluations: tuple[int, ...], seed_ranges: int, samplers: tuple[str, ...] | None = None, first: int = 0
    ) -> Sweep:
        return Sweep(evaluations, samplers or self.samplers, self.images, seed_ranges, first, self.batch)

    def request(self, weight: float, seed: int) -> Request:
        """Of a sweep with this weight of guidance, 1 for none."""
        guidance = Guidance() if weight == 1 else Guidance(weight, self.guide_low, self.guide_high)
        return Request(gamma=self.gamma, guidance=guidance, batch=self.batch, seed=seed)


@dataclass(frozen=True)
class Benchmark:
    """What is timed. models: of training steps; batches: tried for each, up to what the memory holds; seconds: of a timing.

    dimensions and rows: of the exact samplers of `theory`, whose CPU timing uses the first dimension only.
    """

    models: tuple[Model, ...]
    batches: tuple[int, ...]
    seconds: float
    repeats: int
    generation: tuple[int, ...]
    generation_batch: int
    mixture_dimensions: tuple[int, ...]
    mixture_rows: tuple[int, ...]
    spin_dimensions: tuple[int, ...]
    spin_rows: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """One size. source: "embedded", or None: a path is asked for; part_megabytes: of stored networks, in bfloat16 if `half`."""

    size: str
    model: Model
    training: Training
    arms: tuple[Arm, ...]
    sampling: Sampling
    benchmark: Benchmark
    source: str | None = None
    patches: int = 300
    half: bool = True
    part_megabytes: float = 15.0
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.arms) < 2 or len({arm.key for arm in self.arms}) < len(self.arms):
            raise SettingsError(
                f"{self.size}: arms {[arm.name for arm in self.arms]}; allowed: a baseline and at least one more, each name "
                "once; remedy: correct the list"
            )

    @property
    def baseline(self) -> Arm:
        return self.arms[0]

    @property
    def spectral(self) -> Arm:
        return self.arms[1]

    @property
    def ablations(self) -> tuple[Arm, ...]:
        return self.arms[2:]

    def run(self, arm: Arm) -> Run:
        """The training of an arm: all have the same seed, and the same budget unless the arm says otherwise."""
        training = self.training if arm.steps is None else dataclasses.replace(self.training, steps=arm.steps)
        return Run(arm.key, self.model, training, arm.noise, arm.objective, self.seed)

    def options(self) -> Options:
        return Options(patches=self.patches, seed=self.seed)


def sizes() -> list[str]:
    return sorted(file.stem for file in CONFIGURATIONS.glob("*.json"))


def read_plan(size: str) -> Plan:
    """The plan called `size`, or in the file of that path. Raises SettingsError for neither, and for what is wrong in it."""
    path = Path(size) if size.endswith(".json") else CONFIGURATIONS / f"{size}.json"
    if not path.is_file():
        raise SettingsError(f"size = {size!r}; allowed: {', '.join(sizes())}, or a .json file; remedy: make gpu SIZE=small32")
    return build(Plan, load(path), str(path))


def plain(plan: Plan) -> str:
    """As JSON, for provenance and to tell one plan from another."""
    return json.dumps(dataclasses.asdict(plan), sort_keys=True, ensure_ascii=False)
