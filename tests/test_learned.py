"""Learned denoisers: the batch's law, the loss against vectors, samplers of networks that are exact, N on a ladder, rows."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr

from synthetic import learned, learned_figure, small_network
from synthetic.small_network import Direction, Networks, Task
from theory.schedule import variance_exploding_flow, variance_preserving_flow
from theory.stream import Stream

DIM, WEIGHT, MEAN, SPREAD = 40, 0.8, 1.0, 0.5


def _task(schedule=None, dim=DIM, index=0, told=False):
    return Task(
        schedule or variance_preserving_flow("linear", dim), dim, WEIGHT, MEAN, SPREAD, Stream(7).generator(index), told
    )


def _direction(angle=0.3, dim=DIM):
    return Direction(math.cos(angle), math.sin(angle), (MEAN * math.sqrt(dim) * math.cos(angle)) ** 2 + SPREAD**2)


def _vectors(count, u, schedule, dim=DIM):
    """t, signal, noise, a, z in `dim` dimensions, and û; nothing of this is in the module under test."""
    rng = np.random.default_rng(3)
    mu = np.full(dim, 1 / math.sqrt(dim))
    other = np.zeros(dim)
    other[:2] = 1 / math.sqrt(2), -1 / math.sqrt(2)
    hat = u.cosine * mu + u.sine * other
    sign = np.where(rng.random(count) < WEIGHT, 1.0, -1.0)
    a = sign[:, None] * MEAN * math.sqrt(dim) * mu + SPREAD * rng.standard_normal((count, dim))
    z = rng.standard_normal((count, dim))
    t = (np.arange(count) + rng.random(count)) / count
    signal, noise = (v.numpy()[:, None] for v in schedule.coefficients(torch.from_numpy(t)))
    return t, signal, noise, a, z, hat


@pytest.mark.parametrize("flow", [variance_preserving_flow, variance_exploding_flow])
def test_the_batch_has_the_law_of_vectors(flow):
    """STATISTICS: means, mean squares and mean products with the target of all six numbers; 4.5 standard errors.

    In 8 dimensions, where one coordinate counts. BITE: chi-square of d − 3 for d − 2, or û's plane left out.
    """
    dim, count = 8, 150_000
    u, schedule = _direction(dim=dim), flow("linear", dim)
    drawn = small_network._row(_task(schedule, dim), u, count, 1)
    t, signal, noise, a, z, hat = _vectors(count, u, schedule, dim)
    x, small, large = signal * a + noise * z, np.sqrt(signal**2 + noise**2), np.sqrt(signal**2 * u.power + noise**2)[:, 0]
    target = (noise[:, 0] * (a @ hat) - signal[:, 0] * u.power * (z @ hat)) / (math.sqrt(u.power) * large)
    across = [v - (v @ hat)[:, None] * hat for v in (x / small, (noise * a - signal * z) / small)]
    products = [(p * q).sum(1) / (dim - 1) for p, q in ((across[0],) * 2, across, (across[1],) * 2)]
    expected = [2 * t - 1, (x @ hat) / large, target, *products]
    for ours, theirs in zip(drawn, expected, strict=True):
        for p, q in ((ours, theirs), (ours**2, theirs**2), (ours * drawn[2], theirs * expected[2])):
            bar = math.hypot(p.std(), q.std()) / math.sqrt(count)
            assert abs(p.mean() - q.mean()) < 4.5 * bar


def test_the_loss_is_that_of_vectors():
    """WITNESS: (f − f*)² + |g·x̂ − v|²/(d − 1) written out in 40 dimensions; float32, 1e-5."""
    u, schedule = _direction(), variance_preserving_flow("linear", DIM)
    t, signal, noise, a, z, hat = _vectors(64, u, schedule)
    small, large = np.sqrt(signal**2 + noise**2), np.sqrt(signal**2 * u.power + noise**2)
    x = signal * a + noise * z
    target = (noise[:, 0] * (a @ hat) - signal[:, 0] * u.power * (z @ hat)) / (math.sqrt(u.power) * large[:, 0])
    hat_x, v = (p - (p @ hat)[:, None] * hat for p in (x / small, (noise * a - signal * z) / small))
    parts = (
        2 * t - 1,
        (x @ hat) / large[:, 0],
        target,
        *((p * q).sum(1) / (DIM - 1) for p, q in ((hat_x, hat_x), (hat_x, v), (v, v))),
    )
    batch = small_network.Batch(*(torch.from_numpy(p[None]).to(small_network.PRECISION) for p in parts))
    networks = Networks.new([np.random.default_rng(0)], 5)
    f, g = (part.detach().numpy()[0] for part in (networks.f(batch.time, batch.state), networks.g(batch.time)))
    expected = np.mean((f - target) ** 2 + ((g[:, None] * hat_x - v) ** 2).sum(1) / (DIM - 1))
    assert small_network.loss(networks, batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_learned_direction_has_its_exact_angle():
    """STATISTICS: mean of tan² = σ²(d − 1)/(n c²) to first order, 5 standard errors of 400 and 3 % for the order."""
    found = [small_network.learn_direction(_task(index=k), 400) for k in range(400)]
    square = np.array([(u.sine / u.cosine) ** 2 for u in found])
    expected = SPREAD**2 * (DIM - 1) / (400 * MEAN**2 * DIM)
    assert abs(square.mean() - expected) < 5 * square.std() / 20 + 0.03 * expected
    assert all(abs(u.cosine**2 + u.sine**2 - 1) < 1e-12 for u in found)


class _Exact:
    """In place of networks: what they should have learned, for runs of one dimension."""

    def __init__(self, task, power):
        self.task, self.power = task, power

    def _levels(self, seen):
        t = (seen.double() + 1) / 2
        return self.task.schedule.coefficients(t)

    def f(self, seen, state):
        signal, noise = self._levels(seen)
        large = torch.sqrt(signal**2 * self.power + noise**2)
        y, c, v = state.double() * large, self.task.centre, SPREAD**2
        total = noise**2 + signal**2 * v
        bias = 0.5 * math.log(WEIGHT / (1 - WEIGHT))
        mean = signal * v / total * y + noise**2 / total * c * torch.tanh(bias + signal * c * y / total)
        return (mean - signal * self.power / large**2 * y) * large / (noise * math.sqrt(self.power))

    def g(self, seen):
        signal, noise = self._levels(seen)
        return signal * noise * (SPREAD**2 - 1) / (noise**2 + signal**2 * SPREAD**2)


@pytest.mark.parametrize("name", ["VP linear, clock", "VE linear, clock", "geodesic"])
def test_samplers_of_exact_networks_have_the_exact_errors(name):
    """WITNESS: `predict`'s errors, from the exact reduction; the weight to .002 (a 32nd of a 64th), the spread to 1e-4.

    BITE: a feature of the wrong time, or EDM's factors exchanged, is off by .1 and more.
    """
    settings = {
        "dims": [400.0], "weight": WEIGHT, "mean": MEAN, "spread": SPREAD, "kappa": 3.0, "window": 2.5e-5, "steps": [16, 64],
        "spread_steps": [16, 64],
    }  # fmt: skip
    expected = learned.predict(settings).sel(schedule=name).isel(dim=0)
    task = _task(learned.schedules(settings)[name](400.0), 400.0)
    direction = Direction(1.0, 0.0, MEAN**2 * 400 + SPREAD**2)
    networks = _Exact(task, direction.power)
    for k, steps in enumerate((16, 64)):
        run = learned._compiled([task], steps)
        weight = learned._weight_errors(networks, [task], [direction], *run)[0]
        spread = learned._spread_errors(networks, [task], *run)[0]
        assert weight == pytest.approx(float(expected.weight_error[k]), abs=2e-3)
        assert spread == pytest.approx(float(expected.spread_error[k]), abs=1e-4)


def test_training_learns_and_is_reproducible():
    """A hundred steps lower the loss by a fifth or more; the same streams give the same bits."""

    def run(steps):
        tasks = [_task(variance_preserving_flow("linear", 100, 3.0), 100, k) for k in range(2)]
        directions = [small_network.learn_direction(task, 100) for task in tasks]
        return small_network.train(tasks, directions, 8, steps, 64, 0.02)

    (networks, late), (again, same) = run(100), run(100)
    np.testing.assert_array_equal(late, same)
    assert all(torch.equal(p, q) for p, q in zip(networks.parameters, again.parameters, strict=True))
    assert (late < 0.8 * run(2)[1]).all()


def test_what_networks_see():
    schedule = variance_preserving_flow("linear", 100)
    t = np.array([0.0, 0.5, 1.0])
    signal, noise = 1 - t, t
    np.testing.assert_array_equal(_task(schedule).feature(t, signal, noise), [-1, 0, 1])
    seen = _task(schedule, told=True).feature(t, signal, noise)
    np.testing.assert_allclose(seen, [0.25 * math.log(1e-3), 0.0, 0.25 * math.log(1e5)])


def test_steps_on_a_ladder():
    """First N from which on the error stays ≤ ε: a dip does not count, log-linear between rungs, NaN when the end is above."""
    steps = np.array([8.0, 16.0, 32.0])
    errors = np.array([[0.05, 0.04, 0.03], [0.4, 0.1, 0.05], [0.05, 0.4, 0.1], [0.4, 0.05, 0.4], [0.4, 0.2, 0.05]])
    found = learned.first_within(errors, steps, 0.1)
    np.testing.assert_allclose(found, [8, 16, 32, math.nan, 16 * math.sqrt(2)])


def _left(values):
    """(schedule, dim, repeat) errors at the largest N, spreads 0."""
    array = np.stack([values, np.zeros_like(values)])
    dims = ("feature", "schedule", "dim", "repeat")
    coords = {"feature": list(learned.FEATURES), "schedule": ["VP linear"], "dim": [100.0, 1000.0]}
    return xr.DataArray(array, dims=dims, coords=coords)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([0.01, 0.02, 0.015], "holds"), ([0.3, 0.31, 0.32], "fails"), ([0.05, 0.3, 0.1], "undecided")],
)
def test_reach_is_judged_with_its_error_bar(values, verdict):
    left = _left(np.array([[[0.0, 0.0, 0.0], values]]))
    exact = xr.DataArray([[10.0, 20.0]], dims=("schedule", "dim"), coords={"schedule": ["VP linear"], "dim": [100.0, 1000.0]})
    row = learned._reach(learned.CLAIM[2], "VP linear", exact, left, 0.1)
    assert row.verdict == verdict
    assert row.error == pytest.approx(np.mean(values))


def test_exponents_over_dimensions():
    dims = np.array([1e2, 1e3, 1e4])
    steps = xr.DataArray([3 * dims**0.5, 0 * dims + 7], dims=("schedule", "dim"), coords={"schedule": ["a", "b"], "dim": dims})
    np.testing.assert_allclose(learned._slopes(steps), [0.5, 0.0], atol=1e-12)
    row = learned._class(learned.CLAIM[0], ("b",), steps, steps.expand_dims(repeat=3))
    assert row.verdict == "holds"
    assert learned._class(learned.CLAIM[0], ("a",), steps, steps.expand_dims(repeat=3)).verdict == "fails"


def test_the_feature_that_decides_is_not_the_one_of_the_larger_mean():
    """BITE: the larger mean without its bar (.05 ± 0) holds, while the other (.04 ± .02, three trainings) is not known."""
    left = _left(np.array([[[0.0, 0.0, 0.0], [0.05, 0.05, 0.05]]]))
    left[1, 0, 1] = [0.0, 0.04, 0.08]
    exact = xr.DataArray([[10.0, 20.0]], dims=("schedule", "dim"), coords={"schedule": ["VP linear"], "dim": [100.0, 1000.0]})
    row = learned._reach(learned.CLAIM[2], "VP linear", exact, left, 0.1)
    assert row.verdict == "undecided"
    assert row.measured.startswith("spread off by")


def test_what_learning_leaves_is_judged_over_all_cases_with_their_bars():
    growing = learned.CLAIM[6]
    assert learned._growth(growing, ["VP linear"], _left(np.full((1, 2, 3), 0.05))).verdict == "holds"
    left = _left(np.array([[[0.05, 0.05, 0.05], [0.062, 0.062, 0.062]]]))
    assert learned._growth(growing, ["VP linear"], left).verdict == "holds"
    left[1, 0, 1] = [0.0, 0.01, 0.02]  # BITE: the larger mean rise, .012 of the other feature, without its bar
    assert learned._growth(growing, ["VP linear"], left).verdict == "undecided"
    left[0, 0, 1] = 0.2
    assert learned._growth(growing, ["VP linear"], left).verdict == "fails"


def test_phases_of_a_large_share_are_judged_with_their_bars():
    left = _left(np.array([[[0.05, 0.05, 0.05], [0.0, 0.04, 0.08]]]))
    shares = xr.DataArray(np.full((1, 2, 2), 0.5), dims=("schedule", "dim", "feature"), coords={"schedule": ["VP linear"]})
    predicted = xr.Dataset({"share": shares})
    row = learned._share(learned.CLAIM[7], predicted, left, 0.1)
    assert row.verdict == "undecided"  # BITE: the largest mean, .05 ± 0, holds
    assert "(weight, VP linear, 1000.0)" in row.measured
    predicted["share"][0, 1] = 0.05
    assert learned._share(learned.CLAIM[7], predicted, left, 0.1).verdict == "holds"


def test_means_below_the_axis_are_triangles_at_its_foot():
    """BITE: drawn at the foot with the schedule's own marker, as if measured there; one standard error, not one deviation."""
    figure, ax = plt.subplots()
    values = xr.DataArray([[1e-6, 1e-6, 2e-6], [0.1, 0.2, 0.3]], dims=("x", "repeat"))
    learned_figure._draw_points(ax, np.array([1.0, 2.0]), values, 0, "o", None, "full")
    points, below = ax.lines
    assert points.get_xdata().tolist() == [2.0]
    assert (below.get_xdata().tolist(), below.get_marker()) == ([1.0], learned_figure.BELOW)
    ((start, end),) = ax.collections[0].get_segments()
    assert end[1] - start[1] == pytest.approx(2 * 0.1 / math.sqrt(3))
    plt.close(figure)
