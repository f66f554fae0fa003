"""The Curie-Weiss law and its exact posterior mean at any dimension.

    ρ(a) ∝ exp( (J/2d)(Σaᵢ)² + (h/d) Σaᵢ ),   a ∈ {±1}^d,   J the coupling (inverse temperature), h the field

is the second model of Aranguri, Biroli, Mézard, Vanden-Eijnden, arXiv 2501.00988 (there β is our J). Seen through
x = signal·a + noise·z, with θᵢ = h/d + (signal/noise²)·xᵢ, the posterior of a is ∝ exp((J/2d)M² + Σ θᵢaᵢ), M = Σaᵢ.
The Hubbard-Stratonovich identity makes it a mixture of independent spins over one real variable y:

    E[aᵢ | x] = ∫ p(y) tanh(y + θᵢ) dy,   p(y) ∝ exp L(y),   L(y) = −d y²/(2J) + Σᵢ log cosh(y + θᵢ).      (1)

**Quadrature.** p(y) tanh(y + θᵢ) = Σ_a P(a | x) aᵢ N(y; J M/d, J/d): Gaussians of one width w = √(J/d), centred in
[−J, J], with signs. Hence the trapezoid rule of spacing w/√2 on [−J − 9w, J + 9w] is exact to 2exp(−4π²) < 2e-17, for
every x, d and J, and so is the normaliser: nothing needs an adaptive rule. But it has about 26 + 2.9√(Jd) nodes, too
many to visit d coordinates at each; the two ideas below leave one to three visits.

**Panels.** Around a centre y₀, with Tᵢ = tanh(y₀ + θᵢ), δ = y − y₀ and u = tanh δ,

    L(y) − L(y₀) = −d(y² − y₀²)/(2J) + d log cosh δ + Σ_k (−1)^{k+1} (u^k/k) Σᵢ Tᵢ^k,                       (2)
    tanh(y + θᵢ) = Tᵢ + (1 − Tᵢ²) Σ_k (−Tᵢ)^{k−1} u^k:                                                     (3)

power sums give p on all nodes of the panel, and moments of u give every posterior mean as a polynomial in Tᵢ.

**Where the mass is.** For all y, near or far, with e = sign δ, sᵢ = (1 − eTᵢ)/2, σ = Σsᵢ²/Σsᵢ,

    L(y) − L(y₀) ≤ −d(y² − y₀²)/(2J) + d|δ| + (Σsᵢ/σ) log(1 − σ(1 − e^{−2|δ|})),                            (4)

because cosh δ + T sinh δ = e^{|δ|}(1 − s(1 − e^{−2|δ|})) and s ↦ −log(1 − sg)/s is convex (Jensen with weights sᵢ; an
equality when the Tᵢ are alike or all ±1). So: put a panel where the bound is highest, and stop when no node outside the
panels can hold e⁻⁴² of the largest weight. This needs no assumption on x, and no root finding.

Where the spins of a row differ little, as early in a walk, `alike` sums (2) and (3) about their mean on all nodes at once. And
where the nodes are few (d up to some 200), (1) is summed as it stands.

`log_density` uses neither panels nor bounds: it interpolates Σ log cosh(y + θᵢ) in y. So Tweedie's formula is a test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from theory import alike
from theory.alike import NEGLIGIBLE, TRUNCATION
from theory.stream import Stream
from theory.target import Law, Level, check_state, part_of, row_sum

TAIL = 9.0  # Gaussian widths w kept beyond [−J, J]: erfc(9/√2) = 2e-19
DROP = 42.0  # nodes below e⁻⁴² = 6e-19 of the largest weight are left out of the search
REACH = (12.0, 0.48)  # half-width of a panel: 12 standard deviations of a mode, but u ≤ 0.45: then (2) needs < 50 terms
SATURATED = 20.0  # tanh(±20) = ±1 in float64
FEW = 90  # nodes that are all visited, at every coordinate: d up to some 200, beyond which panels cost less
TOGETHER = 8  # numbers up to e^80 whose product is far from overflow
CELLS = 1 << 18  # coordinates × nodes at a time where all nodes are visited
ROWS = 32768  # elements per block of rows: they fit the cache
DEVICE_ROWS = 1 << 26  # on an accelerator: half a gigabyte for each of some ten temporaries


@dataclass(frozen=True)
class Quadrature:
    """Nodes of the trapezoid rule, and a panel of 2·reach + 1 of them with the powers of u that its series need."""

    nodes: Tensor  # (nodes,) y, symmetric about 0
    reach: int
    log_cosh: Tensor  # (panel,) log cosh δ
    powers: Tensor  # (terms + 1, panel) u^k, k = 0 … terms
    series: Tensor  # (panel, terms) (−1)^{k+1} u^k/k, k = 1 … terms

    @staticmethod
    def build(dim: int, coupling: float, magnetisation: float, refine: int) -> Quadrature:
        width = math.sqrt(coupling / dim)
        spacing = width / math.sqrt(2) / refine
        half = math.ceil((coupling + TAIL * width) / spacing)
        nodes = spacing * torch.arange(-half, half + 1, dtype=torch.float64)
        flatness = abs(1 - coupling * (1 - magnetisation**2))  # of L at a mode: its standard deviation is w/√flatness
        reach = min(int(min(REACH[0] * width / max(math.sqrt(flatness), width), REACH[1]) / spacing), half)
        u = math.tanh(reach * spacing)
        terms = 2  # at least the two moments of the bound (4)
        while u ** (terms + 1) > TRUNCATION * (terms + 1) * (1 - u):  # what (2) leaves out per coordinate
            terms += 1
        orders = torch.arange(terms * refine + 1, dtype=torch.float64)
        offsets = torch.tanh(spacing * torch.arange(-reach, reach + 1, dtype=torch.float64))
        series = -((-offsets[:, None]) ** orders[1:]) / orders[1:]
        return Quadrature(nodes, reach, -torch.log1p(-(offsets**2)) / 2, offsets ** orders[:, None], series)


@dataclass(frozen=True)
class Panel:
    """One visit to the coordinates of some rows of a block, each at a centre of its own."""

    rows: Tensor  # (visited,) which rows of the block
    index: Tensor  # (visited, panel) its nodes
    fresh: Tensor  # (visited, panel) those that no earlier panel holds
    spins: Tensor  # (visited, d) T = tanh(centre + θ)
    log_cosh: Tensor  # (visited,) Σ log(2cosh(centre + θ))


def spontaneous_magnetisation(coupling: float) -> float:
    """m*, the positive root of m = tanh(J m); 0 for J ≤ 1; relative accuracy 1e-15 also as J → 1+.

    With x = J m it solves x·coth x − 1 = J − 1, whose left side is x²/(3 + x²/(5 + x²/(7 + …))) (Lambert): no cancellation
    at small x, where m* ≈ √(3(J − 1)). Raises ValueError for J ≤ 0.
    """
    if not coupling > 0:
        raise ValueError(f"coupling J = {coupling}; allowed: J > 0; remedy: a small J is close to independent spins")
    if coupling <= 1:
        return 0.0
    if coupling >= SATURATED:
        return math.tanh(coupling)
    low, high = 0.0, coupling
    while low < (x := (low + high) / 2) < high:
        fraction = 0.0
        for odd in range(129, 1, -2):
            fraction = x * x / (odd + fraction)
        low, high = (x, high) if fraction < coupling - 1 else (low, x)
    return math.tanh(high)


@dataclass(frozen=True)
class CurieWeiss(Law):
    """The Curie-Weiss law on {±1}^dim with coupling J > 0 and field h (it acts as h/d on each spin).

    `refine` = r divides the node spacing by r and multiplies the number of series terms and interpolation points by r:
    1 is already exact to rounding, 2 is there to show it. Raises ValueError unless dim ≥ 1, 0 < J < ∞, refine ≥ 1.
    """

    dim: int
    coupling: float
    field: float = 0.0
    refine: int = 1

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise ValueError(
                f"dim = {self.dim}; allowed: an integer ≥ 1, the number of spins; remedy: a dim of 10 or more has a visible "
                "phase transition"
            )
        if not 0 < self.coupling < math.inf:
            raise ValueError(
                f"coupling = {self.coupling}; allowed: 0 < J < ∞; remedy: J → 0 is a product of independent spins, J > 1 has "
                "two modes"
            )
        if not math.isfinite(self.field):
            raise ValueError(f"field = {self.field}; allowed: a finite number; remedy: 0 is the symmetric law")
        if self.refine < 1:
            raise ValueError(f"refine = {self.refine}; allowed: an integer ≥ 1; remedy: 1 is exact to rounding")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    # The law itself

    def magnetisation_log_pmf(self) -> Tensor:
        """log P(Σa = M) for M = −d, −d + 2, … d, shape (d + 1,).

        Ratios of neighbours, summed from M ≈ 0 outwards: no factorial of d is ever formed, and the law at h = 0 is
        symmetric to the last bit.
        """
        d, centre = self.dim, self.dim // 2
        plus = np.arange(centre, d, dtype=np.float64)  # number of spins +1
        ratio = np.log((d - plus) / (plus + 1)) + (2 * self.coupling / d) * (2 * plus - d + 1)
        upper = np.concatenate([[0.0], np.cumsum(ratio)])  # M = 2·centre − d … d
        symmetric = np.concatenate([upper[: d % 2 : -1], upper])
        log_weight = symmetric + self.field * np.linspace(-1, 1, d + 1)
        log_weight -= log_weight.max()
        return torch.from_numpy(log_weight - math.log(np.exp(log_weight).sum()))

    def sample(self, count: int, stream: Stream, start: int = 0) -> Tensor:
        """Exact samples start … start + count − 1, shape (count, d): M by inversion, then a uniform arrangement."""
        cumulative = np.cumsum(np.exp(self.magnetisation_log_pmf().numpy()))
        cumulative /= cumulative[-1]
        spins = np.empty((count, self.dim))
        for row in range(count):
            generator = stream.generator(start + row)
            plus = int(np.searchsorted(cumulative, generator.random(), side="right"))
            arrangement = np.repeat(np.array([1, -1], dtype=np.int8), [plus, self.dim - plus])
            generator.shuffle(arrangement)
            spins[row] = arrangement
        return torch.from_numpy(spins)

    @cached_property
    def spontaneous_magnetisation(self) -> float:
        """m* of this coupling, see `spontaneous_magnetisation`."""
        return spontaneous_magnetisation(self.coupling)

    # The posterior mean

    @torch.no_grad()
    def denoise(self, x: Tensor, signal: Level, noise: Level) -> Tensor:
        """E[a | signal·a + noise·z = x], exact (1); x (…, d), signal and noise numbers or one per row, shape (…, 1).

        signal = 0: x says nothing, the prior mean. noise = 0: the sign of signal·x, to rounding (a coordinate that
        is exactly 0 says nothing, and follows the others). Carries no gradient. Raises ValueError on a wrong shape
        or dtype, a non-finite number or noise < 0.
        """
        return self._blockwise(self._posterior_mean, x, signal, noise)

    @torch.no_grad()
    def two_mode_denoise(self, x: Tensor, signal: Level, noise: Level) -> Tensor:
        """The asymptotic approximation of `denoise` by two modes of independent spins, as in the authors' code.

        With c = signal/noise² and Q± = Πᵢ(1 ± m* tanh c xᵢ), the average of tanh(±J m* + c xᵢ) with weights
        e^{±hm*} Q±. As m* = tanh(J m*), Q± ∝ Πᵢ cosh(c xᵢ ± J m*): this form also holds when m* rounds to 1.
        """
        return self._blockwise(self._two_mode_mean, x, signal, noise)

    def _two_mode_mean(self, theta: Tensor) -> Tensor:
        magnetisation = self.spontaneous_magnetisation
        evidence, mode = theta - self.field / self.dim, theta.new_full((len(theta),), self.coupling * magnetisation)
        plus, log_plus, _ = power_sums(evidence, mode, 0)
        minus, log_minus, _ = power_sums(evidence, -mode, 0)
        odds = 2 * self.field * magnetisation + log_plus - log_minus
        return torch.lerp(minus, plus, torch.sigmoid(odds)[:, None])

    def _blockwise(self, mean_of: Callable[[Tensor], Tensor], x: Tensor, signal: Level, noise: Level) -> Tensor:
        """mean_of(θ) for as many rows at a time as fit the cache."""
        rows, signal, noise = self._rows(x, signal, noise)
        mean, size = torch.empty_like(rows), max(1, (ROWS if x.device.type == "cpu" else DEVICE_ROWS) // self.dim)
        for block in (slice(k, k + size) for k in range(0, len(rows), size)):
            mean[block] = mean_of(self._evidence(rows[block], signal[block], noise[block]))
        return mean.reshape(x.shape)

    def _rows(self, x: Tensor, signal: Level, noise: Level) -> tuple[Tensor, Tensor, Tensor]:
        """x as (rows, d), signal and noise as (rows, 1), float64, checked."""
        check_state(self, x)
        if not torch.isfinite(x.detach().sum(-1)).all() and not torch.isfinite(x).all():
            raise ValueError(
                "x has a non-finite entry; allowed: finite numbers; remedy: look at the sampler's step before this"
            )
        numbers = []
        for name, value in (("signal", signal), ("noise", noise)):
            number, shape = torch.as_tensor(value, dtype=torch.float64), (*x.shape[:-1], 1)
            fits = number.ndim <= x.ndim and all(
                have in (1, want) for have, want in zip(number.shape[::-1], shape[::-1], strict=False)
            )
            if not fits:
                raise ValueError(
                    f"{name} has shape {tuple(number.shape)}; allowed: a number, or {shape}, one per row; remedy: {name}[..., "
                    "None]"
                )
            if not torch.isfinite(number).all() or (name == "noise" and (number < 0).any()):
                raise ValueError(
                    f"{name} = {value}; allowed: finite numbers{', noise ≥ 0' * (name == 'noise')}; remedy: take it from a "
                    "schedule at t in [0, 1]"
                )
            numbers.append(number.expand(shape).reshape(-1, 1))
        return x.reshape(-1, self.dim), numbers[0], numbers[1]

    def _evidence(self, x: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
        """θ = h/d + (signal/noise²) x, (rows, d), cut where it saturates every tanh(y + θ) that occurs.

        The cut changes Σ log cosh(y + θᵢ) by a constant only, and θ = ±∞ (noise = 0) needs no other treatment.
        """
        tilt = (x / noise).mul_(signal / noise)
        if (noise == 0).any() or (signal == 0).any() or not torch.isfinite(tilt.sum()):
            tilt = torch.where((signal == 0) | (x == 0), 0.0, tilt)  # 0/0 and 0·∞: no information
        return tilt.add_(self.field / self.dim).clamp_(-self._bound, self._bound)

    @property
    def _bound(self) -> float:
        """|θ| beyond which every tanh(y + θ) that occurs is ±1 in float64."""
        return SATURATED + 2 * float(self._quadrature.nodes[-1])

    @cached_property
    def _quadrature(self) -> Quadrature:
        return Quadrature.build(self.dim, self.coupling, self.spontaneous_magnetisation, self.refine)

    @cached_property
    def _nodes(self) -> alike.Nodes:
        return alike.Nodes.build(self._quadrature.nodes, self.dim, self.coupling)

    def _posterior_mean(self, theta: Tensor) -> Tensor:
        """E[a | θ] of a block, (rows, d): on all nodes where they are few, by `alike` where it serves, else by panels."""
        if self._few_nodes:
            cells = CELLS if theta.device.type == "cpu" else DEVICE_ROWS
            size = max(1, cells // (self.dim * len(self._quadrature.nodes)))
            return torch.cat([self._dense_mean(part) for part in theta.split(size)])
        easy = alike.alike(theta, self._nodes)
        if easy.all():
            return alike.posterior_mean(theta, self._nodes)
        if not easy.any():
            return self._panel_mean(theta)
        mean = torch.empty_like(theta)
        mean[easy], mean[~easy] = alike.posterior_mean(theta[easy], self._nodes), self._panel_mean(theta[~easy])
        return mean

    @property
    def _few_nodes(self) -> bool:
        """Whether all nodes at every coordinate cost less than panels, and e^{2(y + θ)} is far enough from overflow."""
        nodes = self._quadrature.nodes
        return len(nodes) <= FEW and 2 * TOGETHER * (self._bound + float(nodes[-1])) < 700

    def _dense_mean(self, theta: Tensor) -> Tensor:
        """E[a | θ] of rows, (rows, d), by (1) itself: Z = 1 + e^{2(y + θ)}, log 2cosh = log Z − (y + θ), tanh = 1 − 2/Z."""
        nodes = self._quadrature.nodes
        above = torch.exp(2 * theta)[:, None] * torch.exp(2 * nodes)[:, None]  # (rows, nodes, d)
        above += 1
        level = sum_log(above, TOGETHER) - self.dim * (nodes**2 / (2 * self.coupling) + nodes)
        weight = level.softmax(-1)
        weight = torch.where(weight > NEGLIGIBLE, weight, 0.0)  # quotients too small for a normal number are slow
        return (1 - 2 * torch.div(weight[..., None], above, out=above).sum(1)).clamp_(-1, 1)  # which rounding may leave

    def _panel_mean(self, theta: Tensor) -> Tensor:
        """E[a | θ] of rows, (rows, d): visit panels until they hold the mass, then average (3) over their nodes."""
        quadrature, count = self._quadrature, len(theta)
        level = torch.full((count, len(quadrature.nodes)), math.inf, dtype=torch.float64)  # L where known, else (4)
        known = torch.zeros(level.shape, dtype=torch.bool)
        mode = self.coupling * self.spontaneous_magnetisation * row_sum(theta).sign()  # a first guess, no more
        last = len(quadrature.nodes) - 1 - quadrature.reach
        rows, centre = torch.arange(count), torch.searchsorted(quadrature.nodes, mode).clamp(quadrature.reach, last)
        panels: list[Panel] = []
        while len(rows):
            panels.append(self._visit(theta, rows, centre, level, known, panels[:1]))
            rows, centre = next_visits(level, known, quadrature.reach)
        weight = torch.where(known, level, -math.inf).softmax(-1)
        mean = torch.zeros_like(theta)
        for panel in panels:
            share = torch.where(panel.fresh, weight[panel.rows].gather(1, panel.index), 0.0)
            moments = contract(share, quadrature.powers)  # (visited, terms + 1)
            heavy = moments[:, 0] > NEGLIGIBLE
            if heavy.any():
                spins = panel.spins if heavy.all() else panel.spins[heavy]
                add_panel_mean(mean, panel.rows[heavy], moments[heavy], spins)
        return mean.clamp_(-1, 1)  # which rounding may leave

    def _visit(self, theta: Tensor, rows: Tensor, centre: Tensor, level: Tensor, known: Tensor, first: list[Panel]) -> Panel:
        """Put a panel at node centre[k] of row rows[k]: L on its nodes (2), and the bound (4) on the unknown ones."""
        quadrature, d = self._quadrature, self.dim
        gauss = -d / (2 * self.coupling) * quadrature.nodes**2
        visited = theta if len(rows) == len(theta) else theta[rows]
        spins, log_cosh, sums = power_sums(visited, quadrature.nodes[centre], quadrature.series.shape[1])
        reference = first[0].log_cosh[rows] if first else log_cosh
        offset = (log_cosh - reference)[:, None]  # each is of the order d: keep the difference
        distance = quadrature.nodes - quadrature.nodes[centre, None]
        bound = gauss + offset + farthest(distance, sums[:, 0, None], sums[:, 1, None], d)
        unknown = ~known[rows]
        level[rows] = torch.where(unknown, torch.minimum(level[rows], bound), level[rows])
        index = centre[:, None] + torch.arange(-quadrature.reach, quadrature.reach + 1)
        fresh = unknown.gather(1, index)
        series = contract(sums, quadrature.series)
        exact = gauss[index] + offset + d * quadrature.log_cosh + series
        here = (rows[:, None], index)
        level[here] = torch.where(fresh, exact, level[here])
        known[here] = True
        return Panel(rows, index, fresh, spins, log_cosh)

    # The density

    def log_density(self, x: Tensor, signal: Level, noise: Level) -> Tensor:
        """log density of signal·a + noise·z at x (…, d), shape (…,); differentiable in x, signal and noise by autograd.

        With a² = 1 the Gaussian factors are −(|xᵢ| − |signal|)²/(2noise²), and what is left is the integral of (1).
        Σ log cosh(y + θᵢ) is analytic in |Im y| < π/2, so its Chebyshev interpolant converges at a rate free of d.
        A gradient keeps one array like x per point (40 to 100). Raises ValueError as `denoise`, and for noise = 0.
        """
        rows, signal, noise = self._rows(x, signal, noise)
        if (noise == 0).any():
            raise ValueError(
                "noise = 0; allowed: noise > 0; remedy: ask at a small noise; without any the law has atoms at ±signal, no "
                "density"
            )
        tilt = rows * (signal / noise) / noise
        points, interpolate = self._interpolation  # (points,), (points, nodes)
        nodes = self._quadrature.nodes
        level: Tensor = -self.dim / (2 * self.coupling) * nodes**2
        sign = torch.ones_like(tilt).copysign(tilt.detach())  # one branch for every |·|, so that x = 0 has its gradient
        for point, basis in zip(points, interpolate, strict=True):
            shift = sign * (self.field / self.dim + float(point))
            excess = torch.maximum(shift, -shift - 2 * sign * tilt)  # |tilt + shift| − |tilt|, without cancellation
            level = level + row_sum(excess + torch.log1p(torch.exp(-2 * (sign * tilt + shift).abs())))[:, None] * basis
        shifted = nodes + self.field / self.dim
        uniform = -self.dim / (2 * self.coupling) * nodes**2 + self.dim * torch.logaddexp(shifted, -shifted)
        gauss = -row_sum((sign * rows - signal) ** 2 / (2 * noise**2))
        normaliser = self.dim * torch.log(noise * math.sqrt(2 * math.pi))[:, 0] + torch.logsumexp(uniform, -1)
        return (gauss + torch.logsumexp(level, -1) - normaliser).reshape(x.shape[:-1])

    @cached_property
    def _interpolation(self) -> tuple[Tensor, Tensor]:
        """Chebyshev points on the range of y, and the matrix (points, nodes) that takes values there to the nodes."""
        radius = float(self._quadrature.nodes[-1])
        strip = math.pi / (2 * radius)
        count = self.refine * math.ceil(-math.log(1e-17) / math.asinh(strip))  # error ∝ ϱ^−count, log ϱ = asinh(strip)
        angle = (torch.arange(count, dtype=torch.float64) + 0.5) * (math.pi / count)
        degree = torch.arange(count, dtype=torch.float64)[:, None]
        at_nodes = torch.cos(degree * torch.arccos(self._quadrature.nodes / radius))
        to_coefficients = torch.cos(degree * angle) * torch.where(degree == 0, 1.0, 2.0) / count
        return radius * torch.cos(angle), to_coefficients.T @ at_nodes


def power_sums(theta: Tensor, centre: Tensor, terms: int) -> tuple[Tensor, Tensor, Tensor]:
    """T = tanh(centre + θ), Σᵢ log(2cosh(centre + θᵢ)) and Σᵢ Tᵢ^k for k = 1 … terms; θ (rows, d), centre (rows,).

    With ε = e^{−2|v|} ≤ 1: tanh|v| = (1 − ε)/(1 + ε) and log(2cosh v) = |v| + log(1 + ε), one exponential in all.
    """
    spins, log_cosh = torch.empty_like(theta), theta.new_zeros(len(theta))
    sums = theta.new_zeros(terms, len(theta))
    block = part_of(theta)
    for part, out in zip(theta.split(block, -1), spins.split(block, -1), strict=True):
        value = part + centre[:, None]
        size = value.abs()
        log_cosh += size.sum(-1)
        decay = size.mul_(-2).exp_()
        above = decay + 1
        torch.sub(1, decay, out=out).div_(above).copysign_(value)
        log_cosh += sum_log(above, 64)
        power = out
        for order in sums:
            order += power.sum(-1)
            power = torch.mul(power, out, out=value)
    return spins, log_cosh, sums.T


def contract(rows: Tensor, table: Tensor) -> Tensor:
    """Σ_k rows[r, k] table[n, k], (r, n), the same bits for a row in any batch.

    A matrix product would not promise that, nor a sum whose layout torch infers from the strides of a lone row.
    """
    products = torch.mul(rows[:, None], table, out=rows.new_empty(len(rows), *table.shape))
    return products.sum(-1)


def sum_log(factors: Tensor, together: int) -> Tensor:
    """Σ log over the last axis, by products of `together` factors, which must not overflow: a log costs ten products."""
    whole = factors.shape[-1] // together * together
    products = factors[..., :whole].unflatten(-1, (-1, together)).prod(-1)
    if whole < factors.shape[-1]:
        products = torch.cat([products, factors[..., whole:].prod(-1, keepdim=True)], -1)
    return products.log_().sum(-1)


def farthest(distance: Tensor, first: Tensor, second: Tensor, dim: int) -> Tensor:
    """The bound (4) on Σᵢ log cosh(y + θᵢ) − Σᵢ log cosh(y₀ + θᵢ) at distance y − y₀, from ΣT and ΣT²."""
    sign, gap = distance.sign(), -torch.expm1(-2 * distance.abs())  # gap = 1 − e^{−2|δ|}
    against = ((dim - sign * first) / 2).clamp(min=0)  # Σ s
    mean = torch.where(against > 0, (dim - 2 * sign * first + second) / (4 * against), 1.0)  # σ
    mean = mean.clamp(0, 1 - 1e-14)  # T = ±1 is known to rounding only: beyond |δ| = 16 the spin may yet turn
    return dim * distance.abs() + torch.where(mean > 0, against / mean * torch.log1p(-mean * gap), -against * gap)


def next_visits(level: Tensor, known: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Rows whose unknown nodes could still hold mass, and for each the centre of a panel over its highest bound.

    The panel is shifted away from known nodes and from the ends, so that it learns as much as it can.
    """
    peak = level.masked_fill(~known, -math.inf).amax(-1)
    highest, node = level.masked_fill(known, -math.inf).max(-1)
    rows = torch.nonzero(highest > peak - DROP)[:, 0]
    node = node[rows]
    index = node[:, None] + torch.arange(-reach, reach + 1)
    inside = (index >= 0) & (index < level.shape[-1])
    free = inside & ~known[rows].gather(1, index.clamp(0, level.shape[-1] - 1))
    room_below = free[:, :reach].flip(-1).long().cumprod(-1).sum(-1)
    room_above = free[:, reach + 1 :].long().cumprod(-1).sum(-1)
    centre = (node - room_below + room_above).clamp(reach, level.shape[-1] - 1 - reach)
    return rows, centre


def add_panel_mean(mean: Tensor, rows: Tensor, moments: Tensor, spins: Tensor) -> None:
    """mean[rows] += Σ p(y) tanh(y + θ) over a panel's nodes, from moments[:, k] = Σ p u^k: (3), by Horner's rule."""
    every = len(rows) == len(mean)
    signed = torch.where(moments.abs() > NEGLIGIBLE, moments, 0.0)  # the last terms are often nothing
    signed[:, ::2] *= -1  # −(−1)^k Σ p u^k
    terms = max(2, int(torch.nonzero(signed)[:, 1].max()) + 1)
    block = part_of(spins)
    for part, out in zip(spins.split(block, -1), mean.split(block, -1), strict=True):
        series = signed[:, terms - 1, None].expand_as(part).clone()
        for k in range(terms - 2, 0, -1):
            torch.addcmul(signed[:, k, None], series, part, out=series)
        series -= series * part**2
        series.addcmul_(part, moments[:, :1])
        if every:
            out += series
        else:
            out[rows] += series
