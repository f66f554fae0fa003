"""One pass over the noise gives the state that the sampler walks to: every deterministic step, any isotropic modes."""

import itertools
import math

import pytest
import torch

from tests.strategies import LAWS, SCHEDULES, STEPS, spread_out, tensor
from theory import one_pass
from theory.sampler import Ancestral, Euler, Flow, grid, last, walk
from theory.stream import Stream
from theory.target import GaussianMixture

DETERMINISTIC = [name for name in STEPS if name != "ancestral"]
DIM = 7
MIXTURES = {
    "two modes": LAWS["two modes"](DIM),
    "three modes of unequal spread": LAWS["mixture, isotropic"](DIM),
    "one mode": GaussianMixture(tensor(1.0), spread_out(DIM, 0.5, 2.0)[None], tensor(0.3)[:, None]),
    "far from 0": GaussianMixture(
        tensor(0.3, 0.7), 100 + torch.stack([spread_out(DIM, 0.1, 1.0), -spread_out(DIM, 0.5, 2.0)]), tensor(0.2, 0.2)[:, None]
    ),
    "means on a line, equal spreads": GaussianMixture(
        tensor(0.2, 0.5, 0.3), tensor(-2.0, 0.5, 1.5)[:, None] * spread_out(DIM, 0.5, 1.0), tensor(0.1, 0.1, 0.1)[:, None]
    ),
}
Z = Stream(1).normal(5, (DIM,))


def plain(law, schedule, z, times, step):
    flow = Flow(schedule, law.denoise)
    return [x for _, x in walk(flow, schedule.noise(times[0]) * z, times, step)]


@pytest.mark.parametrize("law", MIXTURES.values(), ids=MIXTURES)
@pytest.mark.parametrize("step", DETERMINISTIC)
def test_equals_the_plain_walk(step, law):
    # BITE: |x|² left out for unequal spreads, the origin's shift forgotten, or z·(μ − μ₀) for z·μ: each is seen here.
    for name, steps in itertools.product(("linear", "VP sqrt clock", "VE linear clock", "EDM", "cosine"), (1, 12)):
        schedule, start = SCHEDULES[name](), 0.99 if name == "cosine" else 1.0
        times = grid(steps, start) if steps > 1 or not schedule.kinks else grid(2)
        expected = plain(law, schedule, Z, times, STEPS[step]())[-1]
        found = one_pass.last_state(law, schedule, Z, times, STEPS[step]())
        scale = max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize(("name", "weight"), [("VP sqrt clock", 0.8), ("VE linear clock", 0.5)])
def test_equals_the_plain_walk_at_a_million_dimensions(name, weight):
    law, schedule, times = GaussianMixture.two_modes(10**6, weight), SCHEDULES[name](), grid(4)
    z = Stream(0).normal(2, (10**6,))
    expected = last(walk(Flow(schedule, law.denoise), schedule.noise(times[0]) * z, times, Euler()))
    overwritten = z.clone()
    found = one_pass.last_state(law, schedule, overwritten, times, Euler(), in_place=True)
    assert found.data_ptr() == overwritten.data_ptr()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_a_trajectory_is_that_of_the_walk():
    law, schedule, times = MIXTURES["two modes"], SCHEDULES["VP sqrt clock"](), grid(8)
    path = plain(law, schedule, Z, times, Euler())
    kept = list(one_pass.trajectory(law, schedule, Z, times, Euler(), keep=(-1, 0, 3)))
    assert [time.item() for time, _ in kept] == [1.0, times[3].item(), 0.0]
    for (_, state), k in zip(kept, (0, 3, 8), strict=True):
        torch.testing.assert_close(state, path[k], rtol=0, atol=1e-12)


def test_samples_do_not_depend_on_the_block():
    law, schedule = MIXTURES["three modes of unequal spread"], SCHEDULES["VP sqrt clock"]()
    arguments = (law, schedule, grid(6), Euler(), 5, Stream(3))
    blocks = [torch.cat(list(one_pass.samples(*arguments, rows=rows))) for rows in (1, 2, 5)]
    assert torch.equal(blocks[0], blocks[1])
    assert torch.equal(blocks[0], blocks[2])
    tail = torch.cat(list(one_pass.samples(law, schedule, grid(6), Euler(), 2, Stream(3), start=3)))
    assert torch.equal(tail, blocks[0][3:])


def test_weights_and_spread_of_many_samples():
    law, schedule = GaussianMixture.two_modes(400, 0.8), SCHEDULES["VE linear"]()
    x = torch.cat(list(one_pass.samples(law, schedule, grid(400), Euler(), 2000, Stream(5), rows=500)))
    assert (x.mean(-1) > 0).double().mean().item() == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / 2000) + 0.01)


def test_what_one_pass_cannot_do_is_refused():
    law, schedule = MIXTURES["two modes"], SCHEDULES["linear"]()
    with pytest.raises(ValueError, match=r"allowed: a deterministic step; remedy: sampler\.walk"):
        one_pass.last_state(law, schedule, Z, grid(3), Ancestral(Stream(0)))
    with pytest.raises(ValueError, match=r"allowed: \(2, 1\), isotropic modes; remedy"):
        one_pass.last_state(LAWS["mixture, diagonal"](DIM), schedule, Z, grid(3), Euler())
    with pytest.raises(ValueError, match=r"allowed: \(samples, d\)"):
        one_pass.last_state(law, schedule, Z[0], grid(3), Euler())
    with pytest.raises(ValueError, match=r"kink at t = 0\.5"):
        one_pass.last_state(law, SCHEDULES["VP sqrt clock"](), Z, grid(3), Euler())
    with pytest.raises(ValueError, match="rows = 0; allowed: ≥ 1"):
        next(one_pass.samples(law, schedule, grid(3), Euler(), 2, Stream(0), rows=0))
