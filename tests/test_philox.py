"""Philox on arrays: the paper's words, the laws of its normals, and no dependence on batch, order or device."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import SCHEDULES, seeds
from theory import philox as module
from theory.philox import Ahead, DeviceStream, normals, philox
from theory.sampler import Ancestral, Flow, Memory
from theory.stream import Stream

DTYPES = [torch.float32, torch.float64]
FULL = 0xFFFFFFFF

# Salmon et al.'s known answers (file kat_vectors of Random123, philox4x32 with 10 rounds): zeros, ones, digits of π.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((FULL,) * 4, (FULL,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers(counter, key, words):
    """BITE: nine rounds, multipliers exchanged, a high word without its carry: each changes all four."""
    found = philox(tuple(torch.tensor([word]) for word in counter), key)
    assert " ".join(f"{int(word):08x}" for word in found) == words


@given(st.lists(st.integers(0, FULL), min_size=6, max_size=6))
def test_words_are_those_of_plain_integers(numbers):
    """Against Python's unbounded integers, written from the paper's formula."""
    *c, k0, k1 = numbers
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k0, q & FULL, (p >> 32) ^ c[3] ^ k1, p & FULL]
        k0, k1 = (k0 + 0x9E3779B9) & FULL, (k1 + 0xBB67AE85) & FULL
    counter, key = tuple(torch.tensor([word]) for word in numbers[:4]), (numbers[4], numbers[5])
    assert [int(word) for word in philox(counter, key)] == c
    assert [int(word) for word in module._rounds(counter, key, module._signed)] == c  # what other devices compute


def test_tensors_and_unsigned_arrays_give_the_same_words():
    """On broadcast counters too, as a batch has them; tensors are what a device computes, here on the processor."""
    stream = DeviceStream(5)
    counter = module._counter(torch.tensor([0, 3, 2**40 + 1]), torch.arange(1000), module._NORMAL)
    for left, right in zip(philox(counter, stream.key), module._rounds(counter, stream.key, module._signed), strict=True):
        assert left.dtype == right.dtype == torch.int64
        assert torch.equal(left, right)


@settings(max_examples=40)
@given(
    seeds,
    st.integers(0, 2**62),
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.sampled_from([(), (1,), (5,), (3, 4, 4), (2, 7)]),
    st.sampled_from(DTYPES),
)
def test_batch_split_does_not_change_a_bit(seed, start, parts, shape, dtype):
    stream = DeviceStream(seed, dtype=dtype).child("data")
    whole = stream.normal(sum(parts), shape, start)
    starts = [start + sum(parts[:k]) for k in range(len(parts))]
    split = torch.cat([stream.normal(count, shape, first) for count, first in zip(parts, starts, strict=True)])
    assert whole.dtype == dtype
    assert torch.equal(whole, split)
    scattered = torch.arange(start, start + sum(parts)).flip(0)
    assert torch.equal(stream.normal_at(scattered, shape), whole.flip(0))
    assert torch.equal(stream.uniform_at(scattered), stream.uniform(sum(parts), start).flip(0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limit", [1, 3, 64])
def test_pieces_do_not_change_a_bit(monkeypatch, dtype, limit):
    """However few blocks are in hand at a time, along samples and along elements."""
    stream = DeviceStream(4, dtype=dtype)
    whole = stream.normal(5, (3, 3, 5))
    monkeypatch.setattr(module, "_CPU_BLOCKS", limit)
    assert torch.equal(stream.normal(5, (3, 3, 5)), whole)


@pytest.mark.parametrize("limit", [0, 5 * 12 * 4, 1 << 24])
@pytest.mark.parametrize("stream", [Stream(3), DeviceStream(3)])
def test_children_drawn_ahead_are_the_children(monkeypatch, stream, limit):
    """One at a time, a few, all at once; in turn, again, out of turn, for other samples, past the last, and by any label."""
    monkeypatch.setattr(module, "_AHEAD_BYTES", limit)
    ahead = Ahead(stream.child("noise"), 4)
    for number in (0, 1, 2, 2, 3, 1, 7):
        for start in (0, 0, 9):
            found = ahead.child(number).normal(5, (3, 4), start)
            assert torch.equal(found, stream.child("noise").child(number).normal(5, (3, 4), start))
    assert torch.equal(ahead.child("other").normal(2, (3,)), stream.child("noise").child("other").normal(2, (3,)))
    assert torch.equal(ahead.child(2).uniform(3), stream.child("noise").child(2).uniform(3))
    assert torch.equal(ahead.child(2).child("a").normal(2, ()), stream.child("noise").child(2).child("a").normal(2, ()))
    assert torch.equal(ahead.normal(2, ()), stream.child("noise").normal(2, ()))


def test_drawing_ahead_draws_nothing_twice_and_nothing_in_vain():
    class Counted:
        drawn = 0

        def child(self, label):
            return self

        def normal(self, count, shape, start=0):
            self.drawn += 1
            return torch.zeros(count, *shape)

    source = Counted()
    ahead = Ahead(source, 6)
    for number in range(6):
        ahead.child(number).normal(2, (3,))
    assert source.drawn == 6


def test_elements_do_not_depend_on_the_shape():
    """A larger image begins with the numbers of the smaller: element e is block ⌊e/4⌋ whatever surrounds it."""
    stream = DeviceStream(4)
    assert torch.equal(stream.normal(3, (100,))[:, :37], stream.normal(3, (37,)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_of_normal_and_uniform_are_the_laws(dtype):
    # Margins: 5 standard errors.
    z = DeviceStream(2, dtype=dtype).normal(400, (1000,)).double()
    n = z.numel()
    assert abs(z.mean().item()) < 5 / math.sqrt(n)
    assert abs(z.var().item() - 1) < 5 * math.sqrt(2 / n)
    assert abs((z**3).mean().item()) < 5 * math.sqrt(15 / n)
    assert abs((z**4).mean().item() - 3) < 5 * math.sqrt(96 / n)
    u = DeviceStream(2, dtype=dtype).uniform(20_000)
    assert u.dtype == dtype
    assert 0 <= u.min().item() < u.max().item() < 1
    assert abs(u.double().mean().item() - 0.5) < 5 / math.sqrt(12 * len(u))
    assert abs(u.double().var().item() - 1 / 12) < 5 / math.sqrt(180 * len(u))


@pytest.mark.parametrize("dtype", DTYPES)
def test_distribution_function_is_the_normal_law(dtype):
    # Kolmogorov's distance of n = 4·10⁵: P(√n·D > 2.2) = 1.3e-4.
    z = DeviceStream(3, dtype=dtype).normal(100, (4000,)).double().flatten().sort().values
    law = torch.special.ndtr(z)
    n = len(z)
    steps = torch.arange(n + 1, dtype=torch.float64) / n
    distance = torch.maximum((steps[1:] - law).max(), (law - steps[:-1]).max())
    assert distance * math.sqrt(n) < 2.2


def test_no_correlation_between_elements_samples_children_and_seeds():
    # Correlations over n numbers are N(0, 1/n): margin 5 standard errors; 28 pairs and 7 lags.
    n = 40_000
    rows = [DeviceStream(0).normal(4, (n,)), DeviceStream(1).normal(1, (n,)), DeviceStream(0).child("a").normal(2, (n,))]
    rows.append(DeviceStream(0).normal(n, (1,)).T)
    flat = torch.cat(rows).double()
    correlation = torch.corrcoef(flat) - torch.eye(len(flat), dtype=torch.float64)
    assert correlation.abs().max().item() < 5 / math.sqrt(n)
    for power in (1, 2):  # pairs of Box and Muller share a radius: squares would show it
        z = flat[0] ** power
        z = (z - z.mean()) / z.std()
        lags = [(z[:-lag] * z[lag:]).mean().abs().item() for lag in (1, 2, 3, 4, 5, 8, 32)]
        assert max(lags) < 5 / math.sqrt(n - 32)


def test_streams_differ_in_every_part_of_their_name():
    streams = [DeviceStream(seed, path) for seed in (0, 1, 2**64) for path in ((), ("a",), ("a", "b"), ("ab",))]
    draws = {stream.normal(1, (), index).item() for stream in streams for index in (0, 1, 2**32, 2**33, 2**62)}
    assert len(draws) == 5 * len(streams)


def test_normals_and_uniforms_of_a_sample_share_no_word():
    stream = DeviceStream(0, dtype=torch.float64)
    u, z = stream.uniform(20_000), stream.normal(20_000, ())
    correlation = np.corrcoef(u, z.abs())[0, 1]  # of one word, u would be the radius; the sign is the angle's
    assert abs(correlation) < 5 / math.sqrt(20_000)


def test_the_two_precisions_are_laws_of_their_own_ends(monkeypatch):
    """The words 0 and 2³² − 1 give finite normals: √(2 log 2³²) = 6.66 at most, √(2 log 2⁵³) = 8.57 in float64."""
    for word, dtype, largest in ((0, torch.float32, 6.66), (FULL, torch.float32, 0.0), (0, torch.float64, 8.57)):
        monkeypatch.setattr(module, "philox", lambda *_, word=word: (torch.full((1, 1), word),) * 4)
        z = normals(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), (0, 0), dtype)
        assert z.isfinite().all()
        assert z.abs().max().item() == pytest.approx(largest, abs=0.01)


def test_empty_and_scalar_samples():
    assert DeviceStream(0).normal(0, (3,)).shape == (0, 3)
    assert DeviceStream(0).normal(3, (0,)).shape == (3, 0)
    assert DeviceStream(0).normal(3, ()).shape == (3,)


def test_the_meta_device_has_shapes_only():
    assert DeviceStream(0, device="meta").normal(2, (3, 4)).shape == (2, 3, 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the same words on a GPU cannot be checked")
def test_the_gpu_draws_the_same_numbers():
    # Words are equal; log, cos and sin may differ in the last places: 4 units of 2⁻²³ at values up to 6.66.
    here, there = (DeviceStream(7, device=device).normal(64, (3, 32, 32)).cpu() for device in ("cpu", "cuda"))
    assert (here - there).abs().max() < 4 * 6.66 * 2.0**-23
    assert torch.equal(DeviceStream(7, device="cuda").uniform(999).cpu(), DeviceStream(7).uniform(999))


def test_ancestral_sampling_takes_either_kind_of_noise():
    """The step is the same function of its noise: moved by std·(difference of the normals)."""
    x = Stream(1).normal(4, (6,))
    t, s = torch.tensor([0.7, 0.4], dtype=torch.float64)
    flow = Flow(SCHEDULES["cosine"](), lambda x, signal, noise: torch.zeros_like(x))
    noises = [Stream(0), DeviceStream(0, dtype=torch.float64)]
    left, right = (Ancestral(noise, 0.3)(flow, x, t, s, Memory(2))[0] for noise in noises)
    difference = noises[0].child(2).normal(4, (6,)) - noises[1].child(2).normal(4, (6,))
    ratio = (left - right) / difference
    assert torch.allclose(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DeviceStream(-1), "seed = -1; allowed: an integer ≥ 0"),
        (lambda: DeviceStream(0, dtype=torch.float16), "dtype = torch.float16; allowed: torch.float32"),
        (lambda: DeviceStream(0).child("a\x1fb"), "U\\+001F"),
        (lambda: DeviceStream(0).normal(1, (), -1), "samples from -1, 1 of them; allowed: both ≥ 0"),
        (lambda: DeviceStream(0).normal_at(torch.tensor([3, -2]), ()), "sample index = -2; allowed: ≥ 0"),
        (lambda: DeviceStream(0).normal_at(torch.tensor([0.5]), ()), "indices are torch.float32 of shape"),
        (lambda: DeviceStream(0).uniform_at(torch.zeros(2, 2).long()), r"shape \(2, 2\); allowed: int64 \(n,\)"),
        (lambda: DeviceStream(0).normal(1, (2**18, 2**18)), "68719476736 elements; allowed: 0 … 17179869184"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
