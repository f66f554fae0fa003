"""The Curie-Weiss law: enumeration of all spins, brute-force quadrature, Tweedie's formula, invariances, extremes."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from theory import curie_weiss
from theory.benchmark import PEAK
from theory.curie_weiss import CurieWeiss
from theory.stream import Stream

COUPLINGS = (0.5, 1.0, 1.1, 2.0, 3.0)
FIELDS = (0.0, 1.0, -0.7)
ALPHAS = (0.01, 0.05, 0.3, 1.0, 3.0, 10.0, 100.0)  # the paper's noise coefficient
SPREADS = {"VP": lambda dim: 1.0, "VE": math.sqrt}  # standard deviation of the paper's z
every_spread = pytest.mark.parametrize("spread", SPREADS.values(), ids=SPREADS)
every_coupling = pytest.mark.parametrize("coupling", COUPLINGS)


def enumerate_spins(law: CurieWeiss) -> tuple[torch.Tensor, torch.Tensor]:
    """All 2^d arrangements, and the log probability of each."""
    spins = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=law.dim)), dtype=torch.float64)
    total = spins.sum(-1)
    log_weight = law.coupling / (2 * law.dim) * total**2 + law.field / law.dim * total
    return spins, log_weight - torch.logsumexp(log_weight, 0)


def noisy(law: CurieWeiss, count: int, signal: float, noise: float, seed: int = 0) -> torch.Tensor:
    stream = Stream(seed)
    data = law.sample(count, stream.child("data"))
    return signal * data + noise * stream.child("noise").normal(count, law.event_shape)


def adversarial(dim: int, size: float) -> torch.Tensor:
    """Rows that no sampler makes: two and three clusters, one outlier, heavy tails, all equal, zero, alternating."""
    steps = torch.linspace(0.05, 0.95, dim, dtype=torch.float64)
    ones = torch.ones(dim, dtype=torch.float64)
    split = torch.where(torch.arange(dim) < dim / 2, 1.0, -1.0).double()
    outlier = torch.where(torch.arange(dim) == 0, 1e6, -0.01).double()
    clusters = (torch.arange(dim) % 3 - 1).double() * 3
    heavy = torch.tan(math.pi * (steps - 0.47))
    return size * torch.stack([split, 0.7 * split - 0.1, outlier, clusters - 0.3, heavy, 0.3 * ones, 0 * ones])


def brute_force(law: CurieWeiss, x: np.ndarray, signal: float, noise: float) -> np.ndarray:
    """E[a | x] for one row by the trapezoid rule, twice as dense as needed, every node visited, numpy only."""
    theta = law.field / law.dim + signal / noise**2 * x
    width = math.sqrt(law.coupling / law.dim)
    nodes = np.arange(-law.coupling - 10 * width, law.coupling + 10 * width, width / 3)
    level = np.empty_like(nodes)
    for k, y in enumerate(nodes):
        size = np.abs(y + theta)
        level[k] = -law.dim * y * y / (2 * law.coupling) + np.sum(size - np.abs(theta) + np.log1p(np.exp(-2 * size)))
    weight = np.exp(level - level.max())
    weight /= weight.sum()
    return sum(weight[k] * np.tanh(nodes[k] + theta) for k in np.flatnonzero(weight > 1e-20))


# ---- witnesses: enumeration ----------------------------------------------------------------------------------------


@every_spread
@every_coupling
def test_posterior_mean_is_that_of_enumeration(coupling, spread):
    # BITE: h instead of h/d, J/d instead of J/2d, a float32 coefficient in the series of a panel: each is seen here.
    for field in FIELDS:
        law = CurieWeiss(10, coupling, field)
        spins, log_prior = enumerate_spins(law)
        for alpha, signal in itertools.product(ALPHAS, (1.0, 0.3)):
            noise = alpha * spread(law.dim)
            x = torch.cat([noisy(law, 4, signal, noise), adversarial(law.dim, noise), adversarial(law.dim, 1.0)])
            # c Σ xᵢaᵢ less its maximum c Σ|xᵢ|: a sum over the spins that oppose x, without cancellation
            against = 2 * signal / noise**2 * (x.abs()[:, None] * (spins * x.sign()[:, None] < 0)).sum(-1)
            exact = torch.softmax(log_prior - against, -1) @ spins
            torch.testing.assert_close(law.denoise(x, signal, noise), exact, rtol=0, atol=1e-12)
            panels = law._panel_mean(law._evidence(*law._rows(x, signal, noise)))
            torch.testing.assert_close(panels, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dim", [30, 150])
@every_coupling
def test_all_nodes_give_what_panels_give(coupling, dim):
    # BITE: nodes where d·nodes belongs in L, or a product of 64 factors, which overflows.
    law = CurieWeiss(dim, coupling, 0.4)
    assert law._few_nodes
    for size in (1e-3, 1.0, 10.0, 1e3):
        theta = law._evidence(size * adversarial(dim, 1.0), *torch.ones(2, 7, 1, dtype=torch.float64))
        torch.testing.assert_close(law._dense_mean(theta), law._panel_mean(theta), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("dim", "coupling"), [*itertools.product((1, 2, 10), (0.01, 0.5, 1.0, 1.1, 3.0)), (3, 2.0), (10, 10.0)]
)
def test_log_density_is_that_of_enumeration(dim, coupling):
    for field in (0.0, -0.7):
        law = CurieWeiss(dim, coupling, field)
        spins, log_prior = enumerate_spins(law)
        for noise, signal in itertools.product((0.05, 1.0, 10.0, 100.0), (1.0, 0.3, 0.0)):
            x = torch.cat([noisy(law, 3, signal, noise), adversarial(dim, 1.0)[[0, 1, 3, 5, 6]]])
            squares = ((x[:, None] - signal * spins) ** 2).sum(-1)
            exact = torch.logsumexp(log_prior - squares / (2 * noise**2), -1)
            exact -= dim * math.log(noise * math.sqrt(2 * math.pi))
            torch.testing.assert_close(law.log_density(x, signal, noise), exact, rtol=1e-12, atol=1e-11)


@every_coupling
def test_magnetisation_is_that_of_enumeration(coupling):
    for dim, field in itertools.product((1, 2, 9, 10), FIELDS):
        law = CurieWeiss(dim, coupling, field)
        spins, log_prior = enumerate_spins(law)
        plus = (spins.sum(-1).long() + dim) // 2
        exact = torch.zeros(dim + 1).double().index_add(0, plus, log_prior.exp())
        torch.testing.assert_close(law.magnetisation_log_pmf(), exact.log(), rtol=0, atol=1e-13)


# ---- witnesses: Tweedie, brute force, refinement -------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 2, 5, 16, 64])
@pytest.mark.parametrize("coupling", [0.5, 1.0, 1.1, 3.0])
def test_tweedie(dim, coupling):
    law = CurieWeiss(dim, coupling, 0.6)
    for noise, signal in itertools.product((0.01, 0.3, 3.0, 100.0), (1.0, 0.2)):
        x = torch.cat([noisy(law, 4, signal, noise), adversarial(dim, noise)]).requires_grad_()
        (score,) = torch.autograd.grad(law.log_density(x, signal, noise).sum(), x)
        tweedie = (x.detach() + noise**2 * score) / signal
        # x + noise²·score cancels: what the sum loses of its terms, no formula gives back.
        margin = 1e-8 + 1e-15 * x.detach().abs().amax(-1, keepdim=True) / signal
        assert ((law.denoise(x, signal, noise) - tweedie).abs() / margin).max() < 1


@pytest.mark.parametrize(
    ("dim", "coupling", "noise"),
    [(1_000, 3.0, 0.4), (3_000, 1.0, 20.0), (10_000, 2.0, 60.0), (10_000, 1.1, 3.0), (100_000, 1.1, 300.0)],
)
def test_posterior_mean_is_that_of_every_node_visited(dim, coupling, noise):
    law = CurieWeiss(dim, coupling, 0.5)
    rows = noisy(law, 1, 1.0, noise)
    if dim <= 3000:
        rows = torch.cat([rows, adversarial(dim, noise**2)[[0, 3, 4]]])
    mean = law.denoise(rows, 1.0, noise).numpy()
    for row, exact in zip(rows.numpy(), mean, strict=True):
        np.testing.assert_allclose(exact, brute_force(law, row, 1.0, noise), rtol=0, atol=1e-11)


@given(
    dim=st.integers(1, 600),
    coupling=st.floats(0.02, 12.0),
    field=st.floats(-3.0, 3.0),
    centres=st.lists(st.floats(-6.0, 6.0), min_size=1, max_size=4),
    scatter=st.floats(0.0, 3.0),
    scale=st.floats(-2.0, 2.0),
)
def test_any_state_is_denoised_exactly(dim, coupling, field, centres, scatter, scale):
    law = CurieWeiss(dim, coupling, field)
    clusters = torch.tensor(centres, dtype=torch.float64)[torch.arange(dim) % len(centres)]
    x = 10**scale * (clusters + scatter * Stream(dim).normal(1, (dim,)))
    exact = brute_force(law, x[0].numpy(), 1.0, 1.0)
    np.testing.assert_allclose(law.denoise(x, 1.0, 1.0)[0].numpy(), exact, rtol=0, atol=1e-11)


@every_spread
@pytest.mark.parametrize("dim", [10_000, 100_000])
@pytest.mark.parametrize("coupling", [0.5, 1.0, 1.1, 2.0])
def test_halving_the_spacing_changes_nothing(dim, coupling, spread):
    law, fine = CurieWeiss(dim, coupling, 0.7), CurieWeiss(dim, coupling, 0.7, refine=2)
    for tau in (3 / math.sqrt(dim), 0.2, 0.9, 1 - 1 / math.sqrt(dim)):
        signal, noise = tau, (1 - tau) * spread(dim)
        x = noisy(law, 2, signal, noise)
        change = (law.denoise(x, signal, noise) - fine.denoise(x, signal, noise)).abs().max().item()
        assert change < 1e-10  # the project's margin is 1e-9


def test_bound_on_unvisited_nodes_holds():
    # The search is exact because of this inequality: it must hold far away and after rounding of saturated spins.
    distance = torch.linspace(-40, 40, 801, dtype=torch.float64)
    for theta in (*adversarial(50, 1.0), *adversarial(50, 20.0), noisy(CurieWeiss(50, 2.0), 1, 1.0, 0.7)[0]):
        spins, at_centre, sums = curie_weiss.power_sums(theta[None], torch.zeros(1).double(), 2)
        torch.testing.assert_close(spins[0], torch.tanh(theta), rtol=0, atol=4e-16)
        bound = at_centre[:, None] + curie_weiss.farthest(distance[None], sums[:, :1], sums[:, 1:], 50)
        value = torch.logaddexp(distance + theta[:, None], -distance - theta[:, None]).sum(0)
        slack = 1e-6 + 1e-12 * value.abs()  # rounding; e⁻⁴² leaves room for far more
        assert (bound[0] >= value - slack).all()


# ---- invariance ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 7, 64, 1000, 20_000])
@pytest.mark.parametrize("coupling", [0.5, 1.1, 2.0])
def test_permutation_and_global_flip(dim, coupling):
    law, flipped = CurieWeiss(dim, coupling, 0.4), CurieWeiss(dim, coupling, -0.4)
    x = noisy(law, 3, 1.0, 0.2 * math.sqrt(dim))
    order = torch.from_numpy(np.random.default_rng(0).permutation(dim))
    mean = law.denoise(x, 1.0, 0.2 * math.sqrt(dim))
    torch.testing.assert_close(law.denoise(x[:, order], 1.0, 0.2 * math.sqrt(dim)), mean[:, order], rtol=0, atol=1e-12)
    torch.testing.assert_close(flipped.denoise(-x, 1.0, 0.2 * math.sqrt(dim)), -mean, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dim", [1, 10, 300, 10_000, 40_000])
def test_a_row_has_the_same_bits_in_any_batch(dim):
    law = CurieWeiss(dim, 1.1, 0.4)
    # rows of different kinds, so that they visit different numbers of panels side by side
    noise = torch.tensor([0.01, 0.5, 3.0, 0.3 * math.sqrt(dim), 10 * math.sqrt(dim), 1.0, 0.0]).double()[:, None]
    x = torch.cat([noisy(law, 5, 1.0, 1.0) * noise[:5], adversarial(dim, 0.5)[[0, 3]]])
    together = law.denoise(x, 0.5, noise)
    threads = torch.get_num_threads()
    try:
        for count, few in ((1, 1), (2, 2), (3, 1)):
            torch.set_num_threads(few)
            parts = [law.denoise(x[k : k + count], 0.5, noise[k : k + count]) for k in range(0, len(x), count)]
            assert torch.equal(torch.cat(parts), together)
    finally:
        torch.set_num_threads(threads)
    for k in range(6):
        assert torch.equal(law.denoise(x[k], 0.5, noise[k].item()), together[k])
        assert torch.equal(law.log_density(x[k], 0.5, noise[k]), law.log_density(x[:6], 0.5, noise[:6])[k])


def test_batch_shapes():
    law = CurieWeiss(5, 2.0)
    x = noisy(law, 6, 1.0, 1.0).reshape(2, 3, 5)
    noise = torch.rand(2, 3, 1).double() + 0.5
    mean, log_density = law.denoise(x, 1.0, noise), law.log_density(x, 1.0, noise)
    assert mean.shape == (2, 3, 5)
    assert log_density.shape == (2, 3)
    assert torch.equal(law.denoise(x[1, 2], 1.0, noise[1, 2]), mean[1, 2])
    assert law.denoise(x[:, :0], 1.0, 1.0).shape == (2, 0, 5)
    assert law.event_shape == (5,)


# ---- sampling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("coupling", "field"), [(0.5, 1.0), (1.0, 0.0), (2.0, -0.7)])
def test_samples_follow_the_law(coupling, field):
    law, count = CurieWeiss(20, coupling, field), 6000
    spins = law.sample(count, Stream(11))
    assert torch.equal(spins.abs(), torch.ones(count, 20).double())
    pmf = law.magnetisation_log_pmf().exp().numpy()
    observed = np.bincount(((spins.sum(-1) + 20) / 2).long().numpy(), minlength=21)
    common = pmf * count >= 5
    expected = np.append(pmf[common], pmf[~common].sum()) * count
    statistic = ((np.append(observed[common], observed[~common].sum()) - expected) ** 2 / np.maximum(expected, 5)).sum()
    assert scipy.stats.chi2.sf(statistic, common.sum()) > 1e-4
    # every coordinate and neighbouring pair has the same mean: 4.5 standard errors for 40 comparisons
    total = np.arange(-20, 21, 2)
    pair = float(pmf @ ((total**2 - 20) / (20 * 19)))
    assert ((spins.mean(0) - float(pmf @ total) / 20).abs() < 4.5 / math.sqrt(count)).all()
    assert (((spins * spins.roll(1, -1)).mean(0) - pair).abs() < 4.5 / math.sqrt(count)).all()


def test_a_sample_depends_on_the_seed_and_its_index_only():
    law = CurieWeiss(50, 1.1, 0.2)
    samples = law.sample(7, Stream(3))
    assert torch.equal(law.sample(3, Stream(3), start=2), samples[2:5])
    assert not torch.equal(law.sample(7, Stream(4)), samples)


@pytest.mark.parametrize("dim", [1_000_000, 999_999])
def test_magnetisation_law_at_a_million_spins(dim):
    law = CurieWeiss(dim, 2.0, 0.3)
    pmf = law.magnetisation_log_pmf().exp().numpy()
    magnetisation = np.linspace(-1, 1, dim + 1)
    mode = law.spontaneous_magnetisation
    assert pmf.sum() == pytest.approx(1, abs=1e-12)
    weights = pmf[magnetisation > 0].sum(), pmf[magnetisation < 0].sum()
    plus = math.exp(0.3 * mode) / (2 * math.cosh(0.3 * mode))  # as d → ∞
    np.testing.assert_allclose(weights, (plus, 1 - plus), rtol=1e-5)
    plus = magnetisation > 0
    mean = pmf[plus] @ magnetisation[plus] / weights[0]
    variance = pmf[plus] @ (magnetisation[plus] - mean) ** 2 / weights[0] * dim
    assert mean == pytest.approx(mode, abs=1e-5)
    assert variance == pytest.approx((1 - mode**2) / (1 - 2 * (1 - mode**2)), rel=1e-4)  # susceptibility


# ---- the asymptotic law --------------------------------------------------------------------------------------------


def test_spontaneous_magnetisation():
    for coupling in (0.3, 1.0):
        assert CurieWeiss(3, coupling).spontaneous_magnetisation == 0
    for coupling in (1.01, 1.1, 2.0, 3.0, 8.0):
        root = scipy.optimize.brentq(lambda m, j=coupling: math.atanh(m) / j - m, 1e-9, 1 - 1e-16, xtol=1e-15)
        assert CurieWeiss(3, coupling).spontaneous_magnetisation == pytest.approx(root, rel=1e-12)
    for excess in (2.0**-10, 2.0**-30, 2.0**-52):
        expansion = math.sqrt(3 * excess) * (1 - 0.9 * excess)  # artanh(m)/m = 1 + m²/3 + m⁴/5 + …
        magnetisation = CurieWeiss(3, 1 + excess).spontaneous_magnetisation
        assert magnetisation == pytest.approx(expansion, rel=3 * excess**2 + 1e-15)
    for coupling in (19.9, 20.0, 1e3):
        assert CurieWeiss(3, coupling).spontaneous_magnetisation == 1


def test_two_mode_formula_and_its_distance_from_the_truth():
    for coupling, field in ((2.0, 0.7), (1.5, -0.4)):
        worst = []
        for dim in (100, 10_000):
            law = CurieWeiss(dim, coupling, field)
            m, signal, noise = law.spontaneous_magnetisation, 2 / math.sqrt(dim), 1.0
            x = noisy(law, 20, signal, noise)
            tilt = signal / noise**2 * x
            plus = torch.log1p(m * torch.tanh(tilt)).sum(-1, keepdim=True) + field * m
            minus = torch.log1p(-m * torch.tanh(tilt)).sum(-1, keepdim=True) - field * m
            heavy = torch.sigmoid(plus - minus)
            formula = heavy * torch.tanh(coupling * m + tilt) + (1 - heavy) * torch.tanh(tilt - coupling * m)
            approximation = law.two_mode_denoise(x, signal, noise)
            torch.testing.assert_close(approximation, formula, rtol=0, atol=1e-11)
            worst.append((approximation - law.denoise(x, signal, noise)).square().mean().sqrt().item())
        assert worst[1] < worst[0] / 20  # O(1/d), less what 20 samples scatter
        assert worst[1] > 1e-8
    free = CurieWeiss(10, 0.5)
    x = noisy(free, 2, 1.0, 1.0)
    torch.testing.assert_close(free.two_mode_denoise(x, 1.0, 1.0), torch.tanh(x), rtol=0, atol=1e-15)
    saturated = CurieWeiss(10, 50.0).two_mode_denoise(adversarial(10, 1e9), 1.0, 0.0)
    assert torch.isfinite(saturated).all()


# ---- extremes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [1, 10, 5000])
@pytest.mark.parametrize("coupling", [0.5, 1.0, 2.0, 5.0, 40.0])
def test_both_ends(dim, coupling):
    law = CurieWeiss(dim, coupling, 0.3)
    prior = (law.magnetisation_log_pmf().exp() * torch.linspace(-1, 1, dim + 1, dtype=torch.float64)).sum()
    x = adversarial(dim, 1.0)
    for noise in (0.0, 0.01, 1.0, 1e8):
        torch.testing.assert_close(law.denoise(x, 0.0, noise), prior.expand_as(x), rtol=0, atol=1e-10)
    torch.testing.assert_close(law.denoise(x, 1.0, 1e12), prior.expand_as(x), rtol=0, atol=1e-4)
    nonzero = x[:-1][(x[:-1] != 0).all(-1)]
    for noise in (0.0, 1e-200, 1e-6):
        for mean in (law.denoise(nonzero, 1.0, noise), -law.denoise(nonzero, -1.0, noise)):
            torch.testing.assert_close(mean, nonzero.sign(), rtol=0, atol=1e-14)
        torch.testing.assert_close(law.two_mode_denoise(nonzero, 1.0, noise), nonzero.sign(), rtol=0, atol=1e-14)


def test_an_uninformative_coordinate_follows_the_others_without_noise():
    law = CurieWeiss(3, 2.0, 0.5)
    spins, log_prior = enumerate_spins(law)
    seen = (spins[:, 0] == 1) & (spins[:, 1] == 1)
    exact = (log_prior[seen].softmax(0) * spins[seen, 2]).sum()
    mean = law.denoise(torch.tensor([0.4, 0.7, 0.0], dtype=torch.float64), 1.0, 0.0)
    torch.testing.assert_close(mean, torch.stack([exact / exact, exact / exact, exact]), rtol=0, atol=1e-14)


@given(excess=st.floats(-0.02, 0.02), dim=st.sampled_from([1, 30, 1000, 100_000]))
def test_near_the_critical_coupling(excess, dim):
    # The density of y is flat, of width d^(−1/4): the posterior mean is smooth in J all the same.
    x = 1e-3 * Stream(5).normal(1, (dim,))
    laws = [CurieWeiss(dim, 1 + excess + shift, 0.1) for shift in (-1e-4, 0.0, 1e-4)]
    low, middle, high = (law.denoise(x, 1.0, 1.0) for law in laws)
    curvature = (low + high - 2 * middle).abs().max().item()
    assert curvature < 1e-8 * 3 * math.sqrt(dim) * (1 + math.sqrt(dim))  # ∂²η/∂J² = O(d) at the critical point


def test_a_million_spins_in_bounded_memory():
    # In a process of its own, because the peak of a process never falls. Numpy and torch alone take 0.2 to 0.4 GB.
    program = """
import torch
from theory.curie_weiss import CurieWeiss
law = CurieWeiss(10**6, 2.0, 0.3)
x = 0.001 * torch.ones(10, 10**6, dtype=torch.float64).cumsum(-1).sin()
mean = law.denoise(x, 0.001, 1.0)
assert torch.isfinite(mean).all() and (mean.abs() <= 1).all()
"""
    done = subprocess.run([sys.executable, "-c", program + PEAK], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1e9


def test_the_law_at_a_million_spins():
    law = CurieWeiss(10**6, 1.1, 0.4)
    x = noisy(law, 1, 1.0, 300.0)
    change = law.denoise(x, 1.0, 300.0) - CurieWeiss(10**6, 1.1, 0.4, refine=2).denoise(x, 1.0, 300.0)
    assert change.abs().max() < 1e-9
    pure = -0.5 * (x**2).sum(-1) - 10**6 * math.log(math.sqrt(2 * math.pi))
    torch.testing.assert_close(law.log_density(x, 0.0, 1.0), pure, rtol=1e-13, atol=0)


# ---- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0, "coupling": 1.0}, "dim = 0; allowed: an integer ≥ 1"),
        ({"dim": 5, "coupling": 0.0}, r"coupling = 0.0; allowed: 0 < J < ∞"),
        ({"dim": 5, "coupling": -1.0}, r"coupling = -1.0; allowed: 0 < J < ∞"),
        ({"dim": 5, "coupling": math.nan}, r"coupling = nan; allowed: 0 < J < ∞"),
        ({"dim": 5, "coupling": 1.0, "field": math.inf}, "field = inf; allowed: a finite number"),
        ({"dim": 5, "coupling": 1.0, "refine": 0}, "refine = 0; allowed: an integer ≥ 1"),
    ],
)
def test_bad_laws(arguments, message):
    with pytest.raises(ValueError, match=message):
        CurieWeiss(**arguments)


@pytest.mark.parametrize("method", ["denoise", "log_density", "two_mode_denoise"])
@pytest.mark.parametrize(
    ("x", "signal", "noise", "message"),
    [
        (torch.zeros(2, 4).double(), 1.0, 1.0, r"allowed: \(…, 5\)"),
        (torch.zeros(()).double(), 1.0, 1.0, r"allowed: \(…, 5\)"),
        (torch.zeros(2, 5), 1.0, 1.0, "float64"),
        (torch.full((2, 5), math.nan).double(), 1.0, 1.0, "x has a non-finite entry"),
        (torch.full((2, 5), math.inf).double(), 1.0, 1.0, "x has a non-finite entry"),
        (torch.zeros(2, 5).double(), 1.0, -0.1, "noise = -0.1; allowed: finite numbers, noise ≥ 0"),
        (torch.zeros(2, 5).double(), math.nan, 1.0, "signal = nan; allowed: finite numbers"),
        (torch.zeros(5, 5).double(), 1.0, torch.ones(5).double(), r"noise has shape \(5,\); allowed: .* \(5, 1\)"),
        (torch.zeros(2, 5).double(), torch.ones(3, 1).double(), 1.0, r"signal has shape \(3, 1\); allowed"),
    ],
)
def test_bad_states(method, x, signal, noise, message):
    with pytest.raises(ValueError, match=message):
        getattr(CurieWeiss(5, 2.0), method)(x, signal, noise)


def test_no_density_without_noise():
    with pytest.raises(ValueError, match="noise = 0; allowed: noise > 0"):
        CurieWeiss(2, 1.0).log_density(torch.ones(2).double(), 1.0, 0.0)
