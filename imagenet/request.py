"""What images are asked for: sampler, steps, guidance, classes, spectral parameters, and the numbers of the images."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from imagenet.denoiser import Guidance
from imagenet.settings import as_dict
from theory.sampler import STEPS
from theory.schedule import Gauge

Labels = Literal["balanced", "as data"]
Theta = Literal["as trained", "drawn", "data set"]
Levels = Literal["own", "sqrt", "linear"]
_BOUNDS = {  # images are numbered in 64 bits, and so are seeds
    "steps": (1, 1_000_000), "count": (1, 2**40), "batch": (1, 2**31), "first": (0, 2**62), "seed": (0, 2**63 - 1)
}  # fmt: skip
_FACTORS = {  # beyond, R(f) lies beneath the 8 bits of pixels, or above any image's, on every ring: schedules no longer change
    "slope": (0.1, 10.0), "amplitude": (1e-4, 1e4)
}  # fmt: skip
IN_TIME = ("Euler", "Heun")  # steps in the interpolant's time, which change with the gauge


def require(holds: bool, what: str, allowed: str, remedy: str) -> None:
    """Raises ValueError, in the words of every error here, unless it holds."""
    if not holds:
        raise ValueError(f"{what}; allowed: {allowed}; remedy: {remedy}")


@dataclass(frozen=True)
class Request:
    """What is drawn. Raises ValueError for a value out of range.

    sampler   a name of `theory.sampler.STEPS`; gamma: of "ancestral" alone, where any but 0 makes the gauge matter
    labels    "balanced": the classes that have training images, in turn; "as data": as frequent as there; or numbers, in turn
    theta     "as trained"; of per-image schedules "drawn" from p(θ | class), which is as trained, "data set", or rows, in turn
    slope, amplitude   factors on θ's slope, 0.1 … 10, and power, 10⁻⁴ … 10⁴, of per-image schedules
    levels    "own": λ(t) of the schedule, in `gauge`; "sqrt", "linear": that form of paper A's variance-preserving or
              -exploding interpolant, noise variance 1 or 3·side², whatever the schedule
    clip      the posterior mean to [−1, 1] in each step
    first     number of the first image; batch: images at a time, which changes none
    """

    sampler: str = "ancestral"
    steps: int = 32
    gamma: float = 0.3
    guidance: Guidance = field(default_factory=Guidance)
    labels: Labels | tuple[int, ...] = "balanced"
    theta: Theta | tuple[tuple[float, ...], ...] = "as trained"
    slope: float = 1.0
    amplitude: float = 1.0
    levels: Levels = "own"
    gauge: Gauge = "variance preserving"
    clip: bool = True
    first: int = 0
    count: int = 64
    batch: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.sampler in STEPS, f"sampler = {self.sampler!r}", ", ".join(STEPS), "one of them")
        require(0 <= self.gamma <= 1, f"γ = {self.gamma}", "0 ≤ γ ≤ 1", "0.3")
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            fits = isinstance(value, int) and least <= value <= most
            require(fits, f"{name} = {value!r}", f"an integer from {least} to {most}", "correct it")
        for name, kind in (("labels", Labels), ("theta", Theta)):
            value = getattr(self, name)
            fits = value in get_args(kind) if isinstance(value, str) else len(value) > 0
            require(fits, f"{name} = {value!r}", f"{', '.join(get_args(kind))}, or a list", "one of them")
        if not isinstance(self.theta, str):
            wrong = [number for row in self.theta for number in row if not math.isfinite(number)]
            require(not wrong, f"θ with {wrong[:3]}", "finite numbers", "correct the rows")
        for name, (low, high) in _FACTORS.items():
            value = getattr(self, name)
            allowed = f"a factor from {low:g} to {high:g}, beyond which schedules no longer change"
            require(low <= value <= high, f"{name} = {value}", allowed, "1 leaves the image as it is")
        require(self.levels in get_args(Levels), f"levels = {self.levels!r}", ", ".join(get_args(Levels)), "own")
        require(self.gauge in get_args(Gauge), f"gauge = {self.gauge!r}", ", ".join(get_args(Gauge)), "variance preserving")
        require(
            self.levels == "own" or self.gauge != "linear",
            f"levels {self.levels!r} in the linear gauge",
            "variance preserving, variance exploding: the two of paper A",
            'levels = "own", or another gauge',
        )

    def plain(self) -> dict[str, Any]:
        """As JSON has it; an infinite end of the guidance interval is a text."""
        values = as_dict(self)
        ends = {name: str(value) if abs(value) == math.inf else value for name, value in values["guidance"].items()}
        return {**values, "guidance": ends}
