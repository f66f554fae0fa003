"""Start noise: stratified along u, standard across it, and the same whatever the block."""

import math

import torch

from synthetic import noise
from theory.stream import Stream


def _all(count, dim):
    blocks = list(noise.noise_blocks(count, dim, Stream(5)))
    assert [start for start, _ in blocks] == [sum(len(z) for _, z in blocks[:k]) for k in range(len(blocks))]
    return torch.cat([z for _, z in blocks])


def test_one_trajectory_in_every_stratum():
    """BITE: ranks divided by the block's length instead of `count` leave strata empty."""
    z = _all(50, 30)
    rank = torch.special.ndtr(z.sum(-1) / math.sqrt(30)) * 50
    assert torch.equal(rank.floor(), torch.arange(50, dtype=torch.float64))


def test_across_the_stratified_direction_it_is_standard():
    """STATISTICS: variance 1 within 4 standard errors."""
    z = _all(200, 100)
    across = z - z.mean(-1, keepdim=True)
    freedom = 200 * 99
    assert abs(float((across**2).sum()) / freedom - 1) < 4 * math.sqrt(2 / freedom)


def test_blocks_do_not_change_the_noise(monkeypatch):
    """INVARIANCE: bit for bit."""
    whole = _all(20, 10)
    monkeypatch.setattr(noise, "BLOCK", 30)
    assert torch.equal(_all(20, 10), whole)
