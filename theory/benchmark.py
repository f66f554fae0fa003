"""What our code costs against a named alternative, as ratios in one run: `python -m theory.benchmark [NAME …]`, all by default.

Each row times ours and the alternative in turn, best of several, so that load on the machine hits both, in CPU seconds of one
thread unless it says otherwise; memory is the peak of a fresh process. Numbers depend on the machine, so they are a benchmark,
not a result: nothing reads them, and `snakemake benchmark` is not part of `snakemake all`. Limits are the project's promises.
"""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from theory import feature, one_pass, per_image
from theory.curie_weiss import CurieWeiss
from theory.limit import drive_rate, linear_rate, total_variance
from theory.program import Walk, compile_walks
from theory.record import atomic_text
from theory.reduction import Line
from theory.sampler import Euler, grid
from theory.schedule import Schedule, variance_exploding_flow, variance_preserving_flow
from theory.spectrum import fit_power_law, isotonic, rapsd, rings
from theory.stream import Stream
from theory.target import GaussianMixture


@dataclass(frozen=True)
class Cost:
    """One comparison: `ratio` = ours/alternative, to be at most `limit` (∞: only shown)."""

    benchmark: str
    case: str
    ours: float
    alternative: float
    unit: str
    against: str
    limit: float

    @property
    def ratio(self) -> float:
        return self.ours / self.alternative

    @property
    def met(self) -> bool:
        return self.ratio <= self.limit

    def row(self) -> dict[str, object]:
        """Plain values for a table; an absent limit is empty."""
        return {**asdict(self), "limit": self.limit if math.isfinite(self.limit) else "", "ratio": self.ratio, "met": self.met}


def best_of(
    stages: dict[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Least seconds of each stage over `repeats` interleaved rounds, each stage warmed up just before."""
    best = dict.fromkeys(stages, math.inf)
    for _ in range(repeats):
        for name, stage in stages.items():
            stage()  # its own warm-up: buffers of the stage before are no longer in reach
            start = clock()
            stage()
            best[name] = min(best[name], clock() - start)
    return best


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# ---- spectra against the Fourier transform they cannot do without ------------------------------------------------------


def spectrum(images: int = 1000, size: int = 128, channels: int = 3, repeats: int = 7) -> list[Cost]:
    """`theory.spectrum.rapsd`, bare, windowed and with both fits, against one call of torch.fft.rfft2 (wall seconds)."""
    x = torch.randn(images, channels, size, size, generator=torch.Generator().manual_seed(0))
    table = rings(size, size)

    def design() -> Tensor:
        power = rapsd(x, "hann")
        fit_power_law(power, table)
        return isotonic(power, table)

    def scheduled() -> Tensor:
        power = rapsd(x, "hann")
        per_image.parameters(power, table)
        return per_image.log_snr(power, table, per_image.Rule(nodes=64))

    stages: dict[str, Callable[[], object]] = {
        "fft": lambda: torch.fft.rfft2(x, norm="ortho"),
        "RAPSD": lambda: rapsd(x),
        "RAPSD, Hann": lambda: rapsd(x, "hann"),
        "RAPSD, Hann, power law, isotonic": design,
        "RAPSD, Hann, power law, 64 levels of the mixed schedule": scheduled,
    }
    limits = {"RAPSD": 1.6, "RAPSD, Hann, power law, 64 levels of the mixed schedule": 2.0}
    out = []
    for count in (1, 2):
        with threads(count):
            best = best_of(stages, repeats, time.perf_counter)
        for name in list(stages)[1:]:
            case = f"{name}; {images} × {channels} × {size}², {count} thread{'s' * (count > 1)}"
            out.append(Cost("spectrum", case, best[name], best["fft"], "s", "bare FFT", limits.get(name, math.inf)))
    return out


# ---- one pass against a loop over the steps ----------------------------------------------------------------------------


def plain_mixture_loop(
    schedule: Schedule, z: Tensor, steps: int, weight: float, spread: float, *, in_place: bool = False
) -> Tensor:
    """Euler on paper A's two modes, m = 1: a product and an update of the whole state at every step."""
    times = grid(steps)
    at = [v.tolist() for v in (schedule.signal(times), schedule.noise(times), *schedule.rates(times))]
    bias, x = 0.5 * math.log(weight / (1 - weight)), at[1][0] * z
    for k, step in enumerate(torch.diff(times).tolist()):
        signal, noise, signal_rate, noise_rate = (v[k] for v in at)
        linear = linear_rate(signal, noise, signal_rate, noise_rate, spread**2)
        drive = drive_rate(signal, noise, signal_rate, noise_rate, spread**2)
        pull = torch.tanh(bias + signal * x.sum(-1, keepdim=True) / total_variance(signal, noise, spread**2))
        if in_place:
            x.mul_(1 + step * linear).add_(step * drive * pull)
        else:
            x = x + step * (linear * x + drive * pull)
    return x


def one_pass_sampler(dim: int = 10**6, batch: int = 10, steps: int = 200, repeats: int = 5) -> list[Cost]:
    """`theory.one_pass` against `plain_mixture_loop`: time, and the largest difference against 1e-10.

    A loop that updates in place saves the memory traffic and the page faults of three temporaries; it is shown beside,
    against a pass that overwrites its noise too.
    """
    law, z = GaussianMixture.two_modes(dim, 0.8), Stream(0).normal(batch, (dim,))
    out = []
    for name, schedule in (
        ("VP sqrt, clock", variance_preserving_flow("sqrt", dim, 3.0)),
        ("VE linear, clock", variance_exploding_flow("linear", dim, 3.0)),
    ):
        for in_place, limit in ((False, 1 / 50), (True, math.inf)):
            noise = z.clone()

            def ours(schedule: Schedule = schedule, noise: Tensor = noise, in_place: bool = in_place) -> Tensor:
                return one_pass.last_state(law, schedule, noise, grid(steps), Euler(), in_place=in_place)

            with threads(1):
                found = ours()
                quick = best_of({"ours": ours}, repeats)["ours"]
                start = time.process_time()
                plain = plain_mixture_loop(schedule, z, steps, 0.8, 0.5, in_place=in_place)  # long enough to need no warm-up
                slow = time.process_time() - start
            case = f"{name}{', in place' * in_place}; d = {dim:.0e}, batch {batch}, N = {steps}"
            out.append(Cost("one pass", case, quick, slow, "s", "plain loop over the steps", limit))
            if not in_place:
                difference = (found - plain).abs().max().item()
                out.append(Cost("one pass", f"{name}; largest difference", difference, 1e-10, "", "1e-10", 1.0))
    return out


# ---- exact Curie-Weiss against the two-mode formula --------------------------------------------------------------------


def plain_two_modes(x: Tensor, signal: float, noise: float, coupling: float, magnetisation: float, field: float) -> Tensor:
    """The two-mode mean as its formula reads: four tanh and two log passes (paper A's official code does the same)."""
    c, m = signal / noise**2, magnetisation
    plus = torch.log(1 + m * torch.tanh(c * x)).sum(-1, keepdim=True) + field * m
    minus = torch.log(1 - m * torch.tanh(c * x)).sum(-1, keepdim=True) - field * m
    heavy = torch.sigmoid(plus - minus)
    return heavy * torch.tanh(coupling * m + c * x) + (1 - heavy) * torch.tanh(c * x - coupling * m)


SHARES = (0.01, 0.03, 0.1, 0.3, 0.6, 0.9, 0.97)  # τ of paper A: from the noise end to the data end


def curie_weiss(dim: int = 10_000, batch: int = 100, repeats: int = 4) -> list[Cost]:
    """One exact posterior mean against `plain_two_modes`: summed over seven times of a walk, and the worst of them."""
    out = []
    for coupling, (name, scale) in ((j, s) for j in (2.0, 1.1, 1.0) for s in (("VP", 1.0), ("VE", math.sqrt(dim)))):
        law = CurieWeiss(dim, coupling, 0.72)
        data, z = law.sample(batch, Stream(0).child("data")), Stream(0).child("noise").normal(batch, (dim,))
        pairs = []
        for share in SHARES:
            signal, noise = share, scale * math.sqrt(1 - share**2)
            x, m = signal * data + noise * z, law.spontaneous_magnetisation
            stages: dict[str, Callable[[], object]] = {
                "exact": lambda x=x, s=signal, n=noise, law=law: law.denoise(x, s, n),  # type: ignore[misc]
                "plain": lambda x=x, s=signal, n=noise, j=coupling, m=m: plain_two_modes(x, s, n, j, m, 0.72),  # type: ignore[misc]
            }
            with threads(1):
                best = best_of(stages, repeats)
            pairs.append((best["exact"], best["plain"]))
        exact, plain = (sum(pair[k] for pair in pairs) for k in (0, 1))
        worst = max(pairs, key=lambda pair: pair[0] / pair[1])
        case = f"J = {coupling}, {name}, d = {dim:.0e}, batch {batch}"
        out.append(Cost("Curie-Weiss step", f"{case}; {len(SHARES)} times", exact, plain, "s", "plain two-mode step", 3.0))
        out.append(Cost("Curie-Weiss step", f"{case}; worst time", *worst, "s", "plain two-mode step", math.inf))
    return out


# ---- memory ------------------------------------------------------------------------------------------------------------

PROGRAMS = {
    "numpy and torch alone": "",
    "one pass, N = 200": """
from theory import one_pass
from theory.sampler import Euler, grid
from theory.schedule import variance_preserving_flow
from theory.stream import Stream
from theory.target import GaussianMixture
law = GaussianMixture.two_modes({dim}, 0.8)
z = Stream(0).normal({batch}, ({dim},))
one_pass.last_state(law, variance_preserving_flow("sqrt", {dim}, 3.0), z, grid(200), Euler())
""",
    "one pass, blocks of 1": """
from theory import one_pass
from theory.sampler import Euler, grid
from theory.schedule import variance_preserving_flow
from theory.stream import Stream
from theory.target import GaussianMixture
law = GaussianMixture.two_modes({dim}, 0.8)
for x in one_pass.samples(law, variance_preserving_flow("sqrt", {dim}, 3.0), grid(200), Euler(), {batch}, Stream(0)):
    pass
""",
    "exact Curie-Weiss step": """
from theory.curie_weiss import CurieWeiss
from theory.stream import Stream
CurieWeiss({dim}, 2.0, 0.3).denoise(Stream(0).normal({batch}, ({dim},)), 0.001, 1.0)
""",
}


# Bytes. Not getrusage alone: on Linux its peak is inherited from the parent, which here has already run other benchmarks.
PEAK = """
import pathlib, resource, sys
status = pathlib.Path("/proc/self/status")
if status.exists():
    print(1024 * int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def memory(dim: int = 10**6, batch: int = 10) -> list[Cost]:
    """Peak resident memory of a fresh process, against 1 GB."""
    tail = PEAK
    out = []
    for name, program in PROGRAMS.items():
        text = "import numpy, torch\ntorch.set_num_threads(1)\n" + program.format(dim=dim, batch=batch) + tail
        done = subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[1]
        )
        case = f"{name}; d = {dim:.0e}, batch {batch}" if program else name
        out.append(Cost("memory", case, int(done.stdout.split()[-1]) / 1e9, 1.0, "GB", "1 GB", 1.0))
    return out


# ---- the exact reduction ------------------------------------------------------------------------------------------------


def reduction(steps: int = 200, repeats: int = 5) -> list[Cost]:
    """All features of the sampler's law at d = 10¹² against d = 10²."""

    def features(dim: float) -> Callable[[], object]:
        law = Line.two_modes(dim, 0.8)
        return lambda: feature.outcome(
            compile_walks(Euler(), [Walk.of(variance_preserving_flow("sqrt", dim, 3.0), grid(steps))]), law
        )

    with threads(1):
        best = best_of({"large": features(1e12), "small": features(1e2)}, repeats)
    return [Cost("reduction", f"d = 10¹², N = {steps}", best["large"], best["small"], "s", "the same at d = 10²", 1.5)]


# ---- the table ----------------------------------------------------------------------------------------------------------

BENCHMARKS: dict[str, Callable[[], list[Cost]]] = {
    "spectrum": spectrum,
    "one-pass": one_pass_sampler,
    "curie-weiss": curie_weiss,
    "memory": memory,
    "reduction": reduction,
}


def as_csv(costs: list[Cost]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, [*(f.name for f in fields(Cost)), "ratio", "met"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(cost.row() for cost in costs)
    return out.getvalue()


def line(cost: Cost) -> str:
    """One line of the printed table."""
    promised = f"≤ {cost.limit:.3g}: {'yes' if cost.met else 'NO'}" if math.isfinite(cost.limit) else ""
    times = f"{cost.ours:.3g} {cost.unit}".strip(), f"{cost.alternative:.3g} {cost.unit}".strip()
    return f"{cost.benchmark:17} {cost.case:62} {times[0]:>10} ÷ {times[1]:>9} ({cost.against}) = {cost.ratio:.3g}  {promised}"


def command(benchmarks: Mapping[str, Callable[[], list[Cost]]]) -> click.Command:
    """The command line of a table of benchmarks."""

    @click.command()
    @click.argument("names", nargs=-1)
    @click.option("--csv", "csv_path", type=click.Path(dir_okay=False), help="write the table as CSV")
    @click.option("--json", "json_path", type=click.Path(dir_okay=False), help="write the table as JSON")
    def run(names: tuple[str, ...], csv_path: str | None, json_path: str | None) -> None:
        """Run the benchmarks NAMES (all by default) and print their table."""
        unknown = [name for name in names if name not in benchmarks]
        if unknown:
            raise click.BadParameter(f"unknown benchmark {', '.join(unknown)}; allowed: {', '.join(benchmarks)}")
        costs: list[Cost] = []
        for name in names or benchmarks:
            for cost in benchmarks[name]():
                click.echo(line(cost))
                costs.append(cost)
        if csv_path:
            atomic_text(csv_path, as_csv(costs))
        if json_path:
            atomic_text(json_path, json.dumps([cost.row() for cost in costs], indent=2, ensure_ascii=False) + "\n")

    return run


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    command(BENCHMARKS)()
