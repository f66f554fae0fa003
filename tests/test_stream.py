"""Streams: the bits of sample k depend on the seed, the path and k, and on nothing else."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import seeds
from theory.stream import Stream


@given(seeds, st.integers(0, 2**40), st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_batch_split_does_not_change_a_bit(seed, start, parts):
    stream = Stream(seed).child("data")
    whole = stream.normal(sum(parts), (2, 3), start)
    starts = [start + sum(parts[:k]) for k in range(len(parts))]
    split = torch.cat([stream.normal(count, (2, 3), first) for count, first in zip(parts, starts, strict=True)])
    assert torch.equal(whole, split)
    uniform = torch.cat([stream.uniform(count, first) for count, first in zip(parts, starts, strict=True)])
    assert torch.equal(stream.uniform(sum(parts), start), uniform)


def test_order_of_evaluation_and_global_seeds_do_not_matter():
    late = Stream(3).child("b").normal(2, (4,))
    np.random.seed(0)  # noqa: NPY002  (the global generator that must not matter)
    torch.manual_seed(1)
    Stream(3).child("a").normal(7, (5,))
    assert torch.equal(Stream(3).child("b").normal(2, (4,)), late)


def test_known_bits():
    # Philox is fixed by its paper and numpy keeps its stream: a change here changes every result of the project.
    bits = Stream(1).child("data").generator(5).integers(0, 2**32, 3).tolist()
    assert bits == [2333844412, 3764213543, 4181025997]


def test_streams_differ_in_every_part_of_their_name():
    streams = [Stream(seed, path) for seed in (0, 1, 2**64, 2**70) for path in ((), ("a",), ("a", "b"), ("ab",), ("b", "a"))]
    draws = {stream.normal(1, (), index).item() for stream in streams for index in (0, 1, 2**33)}
    assert len(draws) == 3 * len(streams)


def test_child_takes_any_label_and_extends_the_path():
    assert Stream(5).child(3).child("noise") == Stream(5, ("3", "noise"))


def test_neighbouring_samples_and_children_are_independent():
    # Correlations over 40 000 numbers are N(0, 1/n): margin 5 standard errors, 4 pairs.
    count = 40_000
    rows = [
        Stream(0).child("a").normal(2, (count,)),
        Stream(0).child("b").normal(1, (count,)),
        Stream(1).normal(1, (count,)),
    ]
    flat = torch.cat(rows)
    correlation = torch.corrcoef(flat) - torch.eye(len(flat), dtype=torch.float64)
    assert correlation.abs().max().item() < 5 / math.sqrt(count)


def test_moments_of_normal_and_uniform_are_the_laws():
    # Margins: 5 standard errors.
    z = Stream(2).normal(200, (500,))
    n = z.numel()
    assert abs(z.mean().item()) < 5 / math.sqrt(n)
    assert abs(z.var().item() - 1) < 5 * math.sqrt(2 / n)
    assert abs((z**4).mean().item() - 3) < 5 * math.sqrt(96 / n)
    u = Stream(2).uniform(20_000)
    assert u.dtype == torch.float64
    assert 0 <= u.min().item() < u.max().item() < 1
    assert abs(u.mean().item() - 0.5) < 5 / math.sqrt(12 * len(u))


def test_scalar_samples_have_shape_count():
    assert Stream(0).normal(3, ()).shape == (3,)


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match=r"seed = -1; allowed: an integer ≥ 0"):
        Stream(-1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Stream(-1), "seed = -1; allowed: an integer ≥ 0"),
        (lambda: Stream(0.5), "seed = 0.5; allowed: an integer ≥ 0"),
        (lambda: Stream(0).child("a\x1fb"), "U\\+001F"),
        (lambda: Stream(0).generator(-1), "sample index = -1; allowed: ≥ 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
