"""The exact samplers on an accelerator, d = 10⁶ … 10⁸: how near the Gaussian mixture comes to the speed of plain copying.

After N steps a sample of a Gaussian mixture of one spread is x = gain·z + Σ_k shift_k·μ_k (`theory.one_pass`, derivation ours):
z is read for its products with the means, K + 1 numbers a sample are walked on the processor, z is read again and x written.
Nothing can be faster than these three passes, 24 bytes a coordinate in float64, at the rate at which the device copies memory;
so time is told as that share of it. Means that are one number each, as in paper A (arXiv 2501.00988), cost no traffic.

On an accelerator the two passes are each compiled into one kernel; on a processor, or where there is no compiler, they are the
same expressions unfused. The Curie-Weiss posterior mean (`theory.curie_weiss`) is timed as it is, at a middle and a late time.
"""

from __future__ import annotations

import functools
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from theory import one_pass
from theory.curie_weiss import CurieWeiss
from theory.one_pass import Coefficients, Products
from theory.philox import DeviceStream
from theory.program import Program
from theory.sampler import DDIM, grid
from theory.schedule import variance_preserving_flow
from theory.target import GaussianMixture

log = logging.getLogger(__name__)

STEPS = 200  # of a walk: their number costs the device nothing
PASSES = 3  # over z or x: twice read, once written
COPIED, COPIED_BY_A_PROCESSOR = 1 << 30, 1 << 26  # bytes of a copy whose speed is the measure: far beyond any cache


# ---- the mixture ------------------------------------------------------------------------------------------------------


def noise_products(z: Tensor, differences: Tensor) -> Tensor:
    """z·(μ_k − μ_0), (samples, K), of z (samples, d) and differences (K, d); one reading of z when compiled."""
    return torch.stack([(z * difference).sum(-1) for difference in differences], -1)


def blend(z: Tensor, gain: Tensor, shift: Tensor, means: Tensor) -> Tensor:
    """gain·z + Σ_k shift_k·μ_k, one reading and one writing when compiled."""
    out = gain * z
    for k in range(len(means)):
        out = torch.addcmul(out, shift[:, k : k + 1], means[k])
    return out


def blend_into(z: Tensor, gain: Tensor, shift: Tensor, means: Tensor) -> None:
    """The same, into z itself."""
    z.copy_(blend(z, gain, shift, means))


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """In one kernel; as it is from the first time that the compiler fails."""
    compiled: Callable[..., Any] | None = torch.compile(function, dynamic=True)

    def call(*arguments: Tensor) -> Any:
        nonlocal compiled
        if compiled is not None:
            try:
                return compiled(*arguments)
            except Exception as error:  # of compilers, which have no common kind
                compiled = None
                log.warning("the compiler failed, going on without it: %s", str(error).partition("\n")[0])
        return function(*arguments)

    return call


def _fused(function: Callable[..., Any], *arguments: Tensor) -> Any:
    return (function if arguments[0].device.type == "cpu" else _compiled(function))(*arguments)


@dataclass(frozen=True, eq=False)
class Mixture:
    """A Gaussian mixture of one spread on a device: the law on the processor, its means there; (K, d), float64.

    Raises ValueError for modes of different spreads: their weights need |z|² too, see `theory.one_pass`.
    """

    law: GaussianMixture
    means: Tensor
    differences: Tensor

    @classmethod
    def of(cls, law: GaussianMixture, device: str | torch.device) -> Mixture:
        if law.variances.shape[1] != 1 or not one_pass.equal_spreads(law):
            raise ValueError(
                f"variances {law.variances.squeeze().tolist()}; allowed: one isotropic spread; remedy: theory.one_pass, on a "
                "processor"
            )
        constant = law.means.stride(1) == 0  # a number a mode: stays one on the device
        means = law.means[:, :1].to(device).expand_as(law.means) if constant else law.means.to(device)
        differences = (means[:, :1] - means[:1, :1]).expand_as(means) if constant else means - means[:1]
        return cls(law, means, differences)

    @functools.cached_property
    def _between(self) -> Products:
        """Products of the means with one another, by blocks on the processor; those with z are filled in later."""
        empty = torch.zeros(1, 1, dtype=torch.float64).expand(1, self.means.shape[1])
        return Products.of(empty, self.law.means, squares=False)

    def products(self, z: Tensor) -> Products:
        """Those of z (samples, d), on the processor: the only thing that is read back."""
        count, modes = len(z), len(self.means)
        with_z = _fused(noise_products, z, self.differences).cpu()
        between = self._between
        unused = torch.zeros(count, dtype=torch.float64), torch.zeros(count, modes, dtype=torch.float64)
        return Products(with_z, between.mean_difference, between.middle, *unused, between.mean_mean)

    def last_state(self, z: Tensor, program: Program) -> Tensor:
        """z (samples, d) float64 on the device becomes the samples, in place, and is returned; `one_pass.deterministic` has
        the program."""
        (final,) = one_pass.coefficients_from(self.law, program, self.products(z))
        return self.state(z, final)

    def state(self, z: Tensor, at: Coefficients) -> Tensor:
        """The second pass alone."""
        _fused(blend_into, z, at.gain.to(z.device), at.shift.to(z.device), self.means)
        return z


# ---- timing -----------------------------------------------------------------------------------------------------------


def _synchronise(device: str | torch.device) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def median_seconds(work: Callable[[], object], device: str | torch.device, repeats: int) -> float:
    """Of `repeats` timings after one that is not counted."""
    work()
    found = []
    for _ in range(repeats):
        _synchronise(device)
        begun = time.perf_counter()
        work()
        _synchronise(device)
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def copy_bandwidth(device: str | torch.device, repeats: int) -> float:
    """Bytes/s that a copy reads and writes together."""
    size = COPIED_BY_A_PROCESSOR if torch.device(device).type == "cpu" else COPIED
    source = torch.ones(size // 8, dtype=torch.float64, device=device)
    target = torch.empty_like(source)
    return 2 * size / median_seconds(lambda: target.copy_(source), device, repeats)


def time_mixture(dim: int, rows: int, device: str, repeats: int, on_processor: bool = False) -> dict[str, Any]:
    """Seconds of each part of `rows` samples, paper A's two modes under its clock, and the share of the copy bandwidth.

    share: of the whole sampler from given noise, the walk on the processor included; share_of_passes: of the two passes alone.
    With `on_processor` also the seconds of `one_pass` on the processor and the largest difference of samples of equal noise.
    """
    law, times = GaussianMixture.two_modes(dim, 0.3), grid(STEPS)
    schedule = variance_preserving_flow("sqrt", dim, kappa=4.0)
    program, mixture = one_pass.deterministic(schedule, times, DDIM()), Mixture.of(law, device)
    stream = DeviceStream(0, ("mixture",), device, torch.float64)
    z = stream.normal(rows, (dim,))
    kept = z.cpu().clone() if on_processor else None
    products = mixture.products(z)
    still = Coefficients(
        torch.ones(rows, 1, dtype=torch.float64), torch.zeros_like(products.noise_mean)
    )  # repeated, it stays finite
    seconds = {
        "noise": median_seconds(lambda: stream.normal(rows, (dim,)), device, repeats),
        "products": median_seconds(lambda: mixture.products(z), device, repeats),
        "walk": median_seconds(lambda: one_pass.coefficients_from(law, program, products), "cpu", repeats),
        "state": median_seconds(lambda: mixture.state(z, still), device, repeats),
    }
    copied = copy_bandwidth(device, repeats)
    needed, passes = PASSES * 8 * rows * dim / copied, seconds["products"] + seconds["state"]
    found: dict[str, Any] = {
        "dim": dim, "rows": rows, "steps": STEPS, "seconds": seconds, "copy_bandwidth": copied,
        "share": needed / (passes + seconds["walk"]), "share_of_passes": needed / passes,
    }  # fmt: skip
    if kept is not None:
        ours = mixture.last_state(z, program).cpu()
        begun = time.perf_counter()
        theirs = one_pass.last_state(law, schedule, kept, times, DDIM())
        found |= {"processor_seconds": time.perf_counter() - begun, "difference": float((ours - theirs).abs().max())}
    return found


# ---- spins ------------------------------------------------------------------------------------------------------------


def spin_mean(law: CurieWeiss, x: Tensor, signal: float, noise: float) -> Tensor:
    """`law.denoise` on x's device. The law keeps its quadrature where it is first used: one law for each device."""
    with torch.device(x.device):
        return law.denoise(x, signal, noise)


def time_spins(dim: int, rows: int, device: str, repeats: int, on_processor: bool = False) -> dict[str, Any]:
    """Seconds of one Curie-Weiss posterior mean of `rows` states at J = 2, early, at the split of the modes, and late.

    traffic: bytes of reading and writing the state once, at the copy bandwidth, as a share of that time. With `on_processor`
    also the processor's seconds and the largest difference on equal states.
    """
    copied = copy_bandwidth(device, repeats)
    half = (
        torch.arange(rows * dim, device=device).reshape(rows, dim) % 3 < 2
    )  # two thirds up: near m* at J = 2, no memory of old noise
    spins = torch.where(half, 1.0, -1.0).double()
    z = DeviceStream(0, ("spins",), device, torch.float64).normal(rows, (dim,))
    found = []
    for name, signal in (("early", 0.1 / dim**0.5), ("split", 1.0 / dim**0.5), ("late", 0.7)):
        noise = (1 - signal**2) ** 0.5
        x = signal * spins + noise * z
        there = CurieWeiss(dim, 2.0)
        seconds = median_seconds(lambda: spin_mean(there, x, signal, noise), device, repeats)  # noqa: B023
        row: dict[str, Any] = {"time": name, "seconds": seconds, "traffic": 2 * 8 * rows * dim / copied / seconds}
        if on_processor:
            begun, here = time.perf_counter(), CurieWeiss(dim, 2.0)
            expected = here.denoise(x.cpu(), signal, noise)
            row["processor_seconds"] = time.perf_counter() - begun
            row["difference"] = float((spin_mean(there, x, signal, noise).cpu() - expected).abs().max())
        found.append(row)
    return {"dim": dim, "rows": rows, "coupling": 2.0, "copy_bandwidth": copied, "rows_of_times": found}
