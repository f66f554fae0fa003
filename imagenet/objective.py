"""What the network minimises: SiD2's sigmoid-weighted loss (Hoogeboom et al., arXiv 2410.19324), per image and per noise level.

    loss = ½ (−dλ/dt) e^b sigmoid(λ − b) ‖x − x̂‖²,  mean over pixels,  t uniform on [0, 1]

and, since ‖x − x̂‖² = e^{−λ}‖ε − ε̂‖² and e^b sigmoid(λ − b) e^{−λ} = sigmoid(b − λ), a weight sigmoid(b − λ) on ‖ε − ε̂‖².
The state is variance preserving: z = a·x + s·ε, a² = sigmoid(λ), s² = sigmoid(−λ); its velocity v = a·ε − s·x has
‖x − x̂‖² = s²‖v − v̂‖². Each kind of prediction is compared with its own target, and its weight is formed whole in float64
from logarithms of sigmoids: no weight overflows, and no difference is divided by a small a or s, at any λ a schedule reaches.

Everything that depends on the schedule is a number per image, made where the batch is made; the device gets them as float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from theory.interpolant import Kind, against, corrupt
from theory.schedule import Schedule

Network = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""net(z, labels, λ(t), λ(0), λ(1)) → prediction (batch, 3, side, side)."""


@dataclass(frozen=True)
class Levels:
    """The schedule at the times of a batch, (batch,) each.

    log_snr λ(t), start λ(0), end λ(1); signal a and noise s; density: the factor of the prediction's squared error in the loss
    per unit of λ; weight: the factor in the loss per unit of t (density·(−dλ/dt), or density if the rate factor is off).
    """

    log_snr: Tensor
    start: Tensor
    end: Tensor
    signal: Tensor
    noise: Tensor
    density: Tensor
    weight: Tensor

    def stacked(self) -> Tensor:
        """(7, batch) float32: one transfer to the device."""
        return torch.stack([self.log_snr, self.start, self.end, self.signal, self.noise, self.density, self.weight]).float()

    @classmethod
    def of(cls, stacked: Tensor) -> Levels:
        return cls(*stacked.unbind())


def log_density(log_snr: Tensor, bias: float, prediction: Kind) -> Tensor:
    """log of ½ e^b sigmoid(λ − b)·‖x − x̂‖²/‖target − prediction‖². Raises ValueError for a prediction that is not learned."""
    of_data = bias + F.logsigmoid(log_snr - bias)  # → λ at low λ, → b at high λ
    match prediction:
        case "data":
            factor = torch.zeros_like(log_snr)
        case "velocity":
            factor = F.logsigmoid(-log_snr)  # s²
        case "noise":
            factor = -log_snr  # s²/a²
        case _:
            raise ValueError(f"prediction = {prediction!r}; allowed: velocity, data, noise; remedy: velocity")
    return of_data + factor + torch.log(torch.tensor(0.5, dtype=log_snr.dtype))


def levels(
    schedule: Schedule, times: Tensor, *, bias: float, prediction: Kind = "velocity", rate_factor: bool = True
) -> Levels:
    """The schedule at `times` (batch,) in [0, 1], one per image; computed and returned in float64.

    Raises ValueError, naming the first bad image, where λ is not finite or does not fall.
    """
    times = times.double()
    log_snr, rate = schedule.log_snr(times), schedule.log_snr_rate(times)
    start, end = schedule.log_snr(torch.zeros_like(times)), schedule.log_snr(torch.ones_like(times))
    bad = torch.nonzero(~(torch.isfinite(log_snr) & torch.isfinite(rate) & (rate <= 0)))
    if len(bad):
        k = int(bad[0])
        raise ValueError(
            f"λ = {log_snr[k].item()}, dλ/dt = {rate[k].item()} at position {k} of the batch, t = {times[k].item():.6g}; "
            "allowed: finite λ that falls in t; remedy: a schedule with finite ends, such as shifted cosine"
        )
    density = torch.exp(log_density(log_snr, bias, prediction))
    signal, noise = torch.exp(0.5 * F.logsigmoid(log_snr)), torch.exp(0.5 * F.logsigmoid(-log_snr))
    return Levels(log_snr, start, end, signal, noise, density, -rate * density if rate_factor else density)


def target(x: Tensor, noise: Tensor, at: Levels, prediction: Kind) -> Tensor:
    """What a perfect prediction of this kind equals, of x's shape: v = a·ε − s·x, x or ε."""
    match prediction:
        case "velocity":
            return against(at.signal, x) * noise - against(at.noise, x) * x
        case "data":
            return x
        case "noise":
            return noise
    raise ValueError(f"prediction = {prediction!r}; allowed: velocity, data, noise; remedy: velocity")


def losses(
    network: Network, x: Tensor, noise: Tensor, labels: Tensor, at: Levels, prediction: Kind = "velocity"
) -> tuple[Tensor, Tensor]:
    """(loss, density), float32 (batch,) each: of each image per unit of t and per unit of λ, mean over pixels.

    x (batch, 3, side, side) in [−1, 1], noise of its shape, labels int64 with the null label where the class is dropped: the
    noise levels are told all the same. Reads no value back from the device. `density` is comparable between schedules.
    """
    z = corrupt(x, noise, at.signal, at.noise)
    predicted = network(z, labels, at.log_snr, at.start, at.end)
    difference = predicted.to(x.dtype) - target(x, noise, at, prediction)
    error = difference.square().flatten(1).mean(1)
    return at.weight * error, at.density.detach() * error.detach()


def dropped(labels: Tensor, drops: Tensor, classes: int) -> Tensor:
    """Labels with the null label, which is `classes`, where `drops` is true."""
    return torch.where(drops, torch.full_like(labels, classes), labels)
