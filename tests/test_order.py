"""Order of training: every image once an epoch, parts equal to slices of the whole, nothing but (seed, step) matters."""

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagenet import order
from imagenet.order import drops, flips, indices, noise, permuted, times
from tests.strategies import seeds


@given(seeds, st.integers(1, 200), st.integers(1, 64), st.integers(0, 3))
def test_every_image_once_per_epoch_across_its_borders(seed, images, batch, epoch):
    """BITE: an epoch that begins anew at a batch border, or a permutation that is none."""
    steps = range(epoch * images // batch, (epoch + 1) * images // batch + 1)
    drawn = torch.cat([indices(seed, step, batch, images) for step in steps])
    first = epoch * images - steps[0] * batch
    assert sorted(drawn[first : first + images].tolist()) == list(range(images))


FUNCTIONS = {
    "indices": lambda seed, step, batch, **part: indices(seed, step, batch, 1000, **part),
    "flips": flips,
    "times": times,
    "drops": lambda seed, step, batch, **part: drops(seed, step, batch, 0.3, **part),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@given(seed=seeds, step=st.integers(0, 10**6), parts=st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_parts_are_slices_of_the_whole(name, seed, step, parts):
    draw, batch = FUNCTIONS[name], max(1, sum(parts))
    whole = draw(seed, step, batch)
    assert len(whole) == batch
    for k, count in enumerate(parts):
        start = sum(parts[:k])
        assert torch.equal(draw(seed, step, batch, start=start, count=count), whole[start : start + count])
    assert torch.equal(draw(seed, step, batch, start=batch // 2), whole[batch // 2 :])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_global_seeds_do_not_matter_but_seed_and_step_do(name):
    draw = FUNCTIONS[name]
    first = draw(3, 5, 256)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002  (the global generator that must not matter)
    assert torch.equal(draw(3, 5, 256), first)
    assert not torch.equal(draw(4, 5, 256), first)
    assert not torch.equal(draw(3, 6, 256), first)


def test_noise_of_a_position_is_its_own():
    whole = noise(1, 7, 0, 12, (3, 4, 4))
    assert whole.shape == (12, 3, 4, 4)
    assert whole.dtype == torch.float32
    assert torch.equal(noise(1, 7, 5, 4, (3, 4, 4)), whole[5:9])
    others = [noise(1, 8, 0, 12, (3, 4, 4)), noise(2, 7, 0, 12, (3, 4, 4)), whole.roll(1, 0)]
    # Correlation of 576 numbers: 5 standard errors.
    assert all(abs(np.corrcoef(whole.flatten(), other.flatten())[0, 1]) < 5 / math.sqrt(576) for other in others)
    assert noise(1, 2**31 - 1, 2**32 - 1, 1, (2,)).isfinite().all()


@settings(max_examples=30)
@given(st.integers(1, 3000), st.text(max_size=8))
def test_permutations(size, name):
    assert sorted(permuted(np.arange(size), size, name).tolist()) == list(range(size))


@pytest.mark.parametrize("size", [order._SORTED + 1, 2**17 - 1, 2**17, 300_001])
def test_permutations_of_large_sets(size):
    """BITE: a round that is not undone by itself, or a walk that stops outside, sends two images to one place."""
    assert np.array_equal(np.sort(permuted(np.arange(size), size, "a")), np.arange(size))


def _uneven(table):
    """χ² of a square table of counts with equal expectations and given margins, in standard deviations above its mean."""
    expected, free = table.mean(), (len(table) - 1) ** 2
    return (((table - expected) ** 2 / expected).sum() - free) / math.sqrt(2 * free)


@pytest.mark.parametrize("size", [2, 3, 5, 8, 17])
def test_every_place_is_equally_likely(size):
    # 3000 names; margin 5 standard deviations. BITE: a Feistel network on these few bits is 10 away at 5 images.
    table = np.zeros((size, size))
    for name in range(3000):
        table[np.arange(size), permuted(np.arange(size), size, str(name))] += 1
    assert _uneven(table) < 5


@pytest.mark.parametrize("size", [70_000, 2**17 - 5, 10**7])
def test_every_region_of_a_large_set_is_equally_likely(size):
    """Positions 0 … 63 and 64 spread over the set, the place in 8 equal regions: each row of counts, 5 standard deviations."""
    for positions in (np.arange(64), np.linspace(0, size - 1, 64).astype(np.int64)):
        places = np.stack([permuted(positions, size, str(name)) for name in range(300)])
        regions = places * 8 // size
        counts = np.stack([np.bincount(regions[:, k], minlength=8) for k in range(64)])
        free = 64 * 7
        assert ((counts - 37.5) ** 2 / 37.5).sum() < free + 5 * math.sqrt(2 * free)


def test_neighbours_are_scattered():
    """No trace of the order in the set: rank correlation with the position, and of neighbours, within 5 standard errors."""
    size = 100_000
    drawn = permuted(np.arange(size), size, "epoch").astype(float)
    assert abs(np.corrcoef(np.arange(size), drawn)[0, 1]) < 5 / math.sqrt(size)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 5 / math.sqrt(size)
    fixed = (drawn == np.arange(size)).sum()  # Poisson with mean 1
    assert fixed <= 9


def test_epochs_are_ordered_differently():
    first, second = indices(0, 0, 1000, 1000), indices(0, 1, 1000, 1000)
    assert (first == second).sum() <= 9  # Poisson with mean 1


def test_ten_million_images_cost_no_more_than_a_batch():
    """O(1) state: less than 20 ms CPU for a batch of 1024 out of 10⁷ (a permutation of all takes over 200)."""
    began = time.process_time()
    drawn = [indices(0, step, 1024, 10**7) for step in range(5000, 5010)]
    assert (time.process_time() - began) / 10 < 0.02
    assert len(torch.cat(drawn).unique()) == 10 * 1024


@settings(max_examples=50)
@given(seeds, st.integers(0, 10**6), st.integers(1, 300))
def test_each_cell_of_time_holds_one_time(seed, step, batch):
    """BITE: times drawn independently, or stratified per rank instead of over the global batch."""
    drawn = times(seed, step, batch)
    assert drawn.dtype == torch.float64
    assert 0 <= drawn.min() < 1
    assert drawn.max() < 1
    assert torch.equal((drawn * batch + 1e-9).floor().sort().values, torch.arange(batch).double())


def test_a_time_is_uniform():
    first = torch.stack([times(0, step, 8)[0] for step in range(4000)])
    assert abs(first.mean() - 0.5) < 5 / math.sqrt(12 * 4000)
    assert abs(first.var() - 1 / 12) < 5 / math.sqrt(180 * 4000)


def test_the_last_cell_stays_below_one(monkeypatch):
    """(2 + u)/3 with the largest u rounds to 1 in float64: t < 1 all the same."""

    class Largest:
        random = staticmethod(lambda: 1 - 2.0**-53)

    monkeypatch.setattr(order.Stream, "generator", lambda *_: Largest)
    assert (2 + (1 - 2.0**-53)) / 3 == 1
    assert times(0, 0, 3).max() < 1


def test_flips_and_drops_are_independent_coins():
    """Shares within 5 standard errors; flips and drops of the same position are not the same coin."""
    flipped = torch.cat([flips(0, step, 100) for step in range(200)])
    dropped = torch.cat([drops(0, step, 100, 0.5) for step in range(200)])
    few = torch.cat([drops(0, step, 100, 0.1) for step in range(200)])
    error = 5 * 0.5 / math.sqrt(20_000)
    assert abs(flipped.double().mean() - 0.5) < error
    assert abs(dropped.double().mean() - 0.5) < error
    assert abs((flipped ^ dropped).double().mean() - 0.5) < error
    assert abs(few.double().mean() - 0.1) < 5 * 0.3 / math.sqrt(20_000)
    assert not drops(0, 0, 100, 0.0).any()
    assert drops(0, 0, 100, 1.0).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: indices(0, 0, 8, 0), "images = 0; allowed: ≥ 1; remedy"),
        (lambda: flips(0, -1, 8), "step = -1, batch = 8; allowed: step 0 … 2147483647, batch ≥ 1; remedy"),
        (lambda: times(0, 0, 0), "batch = 0; allowed"),
        (lambda: times(0, 2**31, 8), "step = 2147483648"),
        (lambda: flips(0, 0, 8, start=4, count=5), "part from 4, 5 positions, of a batch of 8; allowed: inside it; remedy"),
        (lambda: drops(0, 0, 8, 1.5), "probability = 1.5; allowed: 0 … 1; remedy"),
        (lambda: noise(0, 0, -1, 2, (3,)), "part from -1"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_known_order():
    """The order of a seed is part of every checkpoint: a change here breaks the resumption of runs."""
    assert indices(1, 0, 6, 1000).tolist() == [422, 210, 921, 238, 193, 299]
    assert indices(1, 0, 6, 10**6).tolist() == [395197, 832472, 870623, 820728, 452671, 617838]
    assert flips(1, 0, 6).int().tolist() == [1, 0, 1, 0, 0, 1]
