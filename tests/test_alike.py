"""The one-visit posterior mean against the panels, which share no series with it, and against its own statement of range."""

import math

import pytest
import torch

from theory import alike
from theory.curie_weiss import CurieWeiss
from theory.stream import Stream


def states(dim: int, centre: float, width: float, rows: int = 4) -> torch.Tensor:
    """θ of `rows` rows around a centre, one of them skewed by a single outlier of three widths."""
    theta = centre + width * (2 * torch.from_numpy(Stream(dim).normal(rows, (dim,)).numpy()).sigmoid() - 1)
    theta[0, 0] = centre + 3 * width
    return theta


@pytest.mark.parametrize("dim", [1, 2, 30, 1000, 40_000])
@pytest.mark.parametrize("coupling", [0.3, 1.0, 1.1, 2.0, 6.0])
def test_agrees_with_panels(dim, coupling):
    # BITE: C₁ dropped, (1 − u²) for its square's root, or the sign of w: each is off by far more than 1e-10.
    law = CurieWeiss(dim, coupling, 0.4)
    for centre, width in ((0.0, 1e-12), (0.0, 0.05), (0.3 / math.sqrt(dim), 0.1), (0.2, 0.03), (-1.0, 0.02)):
        theta = states(dim, centre, width)
        easy = alike.alike(theta, law._nodes)
        assert easy.any() or centre == -1.0
        if easy.any():
            one, panels = alike.posterior_mean(theta[easy], law._nodes), law._panel_mean(theta[easy])
            torch.testing.assert_close(one, panels, rtol=0, atol=1e-10)


def test_who_is_alike():
    law = CurieWeiss(100, 2.0)
    narrow, wide = states(100, 0.0, 0.05), states(100, 0.0, 1.0)
    assert alike.alike(torch.cat([narrow, wide]), law._nodes).tolist() == [True] * 4 + [False] * 4
    assert not alike.alike(torch.full((1, 100), 5.0).double(), law._nodes).any()  # 1 + T̄u would vanish
    assert not alike.alike(states(100, 0.0, 0.0), CurieWeiss(100, 40.0)._nodes).isnan().any()


def test_series_stop_before_the_longest_they_may_be():
    for ratio in (0.1, alike.RATIO):
        sums = torch.zeros(alike.MOST, 2, dtype=torch.float64)
        values = ratio * torch.tensor([[1.0, -1.0, 1.0], [0.5, 0.1, -0.2]], dtype=torch.float64)
        orders = alike.add_power_sums(sums, values, 1.0, ratio)
        assert orders < alike.MOST
        exact = torch.log1p(values).sum(-1)
        signs = -((-1.0) ** torch.arange(1, alike.MOST + 1, dtype=torch.float64)) / torch.arange(1, alike.MOST + 1)
        torch.testing.assert_close(signs @ sums, exact, rtol=0, atol=1e-16 + 3 * alike.TRUNCATION)


def test_a_row_keeps_its_bits_beside_any_neighbour():
    nodes = CurieWeiss(500, 1.1)._nodes
    theta = torch.cat([states(500, 0.0, width) for width in (1e-3, 0.03, 0.1)])
    together = alike.posterior_mean(theta, nodes)
    assert all(torch.equal(alike.posterior_mean(theta[k : k + 1], nodes)[0], together[k]) for k in range(len(theta)))
