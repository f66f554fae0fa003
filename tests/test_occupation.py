"""Spins in groups: equal to the general posterior mean on starts with equal coordinates, and groups that are normals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from theory.curie_weiss import CurieWeiss
from theory.occupation import OccupiedSpins, normal_groups
from theory.stream import Stream


@settings(max_examples=30)
@given(
    coupling=st.floats(0.2, 4.0),
    field=st.floats(-2, 2),
    level=st.floats(-5, 5),
    size=st.sampled_from([1, 7, 64, 1000]),
    seed=st.integers(0, 10**6),
)
def test_groups_are_the_general_posterior_mean_on_tied_coordinates(coupling, field, level, size, seed):
    """WITNESS: panels against one Chebyshev interpolant. Margin 1e-10: L is known to 1e-14·d. BITE: leaving out h/d."""
    groups, ratio = 12, math.exp(level)
    signal, noise = 1 / math.hypot(1, ratio), ratio / math.hypot(1, ratio)
    x = noise * Stream(seed).normal(3, (groups,)) + signal * 0.7
    law = OccupiedSpins(groups * size, coupling, field, torch.full((groups,), 1 / groups, dtype=torch.float64))
    full = CurieWeiss(groups * size, coupling, field).denoise(x.repeat_interleave(size, 1), signal, noise)
    torch.testing.assert_close(law.denoise(x, signal, noise), full[:, ::size], rtol=0, atol=1e-10)


def test_each_trajectory_may_have_its_own_shares():
    """INVARIANCE: rows together are rows alone. BITE: using the first row's shares for all."""
    share = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]], dtype=torch.float64)
    x = Stream(1).normal(2, (3,))
    together = OccupiedSpins(50, 1.7, 0.4, share).denoise(x, 0.6, 0.8)
    for row in range(2):
        alone = OccupiedSpins(50, 1.7, 0.4, share[row]).denoise(x[row : row + 1], 0.6, 0.8)
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-13)


@given(focus=st.floats(-3, 3), fine=st.floats(0.005, 0.1), half_width=st.floats(0.05, 1.0))
def test_groups_have_the_distribution_of_normals(focus, fine, half_width):
    """Mean 0 and variance 1 exactly; fourth moment and distribution function to a cell. BITE: cell middles for cell means."""
    values, shares = (v.numpy() for v in normal_groups(focus, 0.15, fine, half_width))
    assert abs(shares @ values) < 1e-12
    assert shares @ values**2 == pytest.approx(1, abs=1e-12)
    assert shares @ values**4 == pytest.approx(3, abs=0.03)
    assert (np.diff(values) > 0).all()
    assert np.abs(np.cumsum(shares) - shares / 2 - special.ndtr(values)).max() < 0.15 * 0.4


@pytest.mark.parametrize("dim", [1, 10**6])
def test_the_largest_coupling_and_spins_that_are_sure(dim):
    """EXTREME: e^{2y} stays finite, and certain spins are ±1. BITE: 0·∞ where θ saturates and the points do not."""
    law = OccupiedSpins(dim, 200.0, 0.0, torch.tensor([0.5, 0.5], dtype=torch.float64))
    x = torch.tensor([[-1e8, 1e8], [1e8, 1e8]], dtype=torch.float64)
    torch.testing.assert_close(law.denoise(x, 1.0, 1e-3), x.sign(), rtol=0, atol=1e-9)


def test_groups_at_the_edge_of_the_range():
    """EXTREME: a focus beyond the outermost cell, as for J = 5 and more, leaves coarse cells only."""
    values, shares = normal_groups(-8.0)
    assert len(values) < 100
    assert float(shares.sum()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"dim": 0}, "allowed: dim ≥ 1"),
        ({"coupling": 0.0}, "allowed: dim ≥ 1, 0 < J ≤ 200"),
        ({"coupling": 201.0}, "allowed: dim ≥ 1, 0 < J ≤ 200"),
        ({"field": math.nan}, "a finite field"),
        ({"share": torch.tensor([0.5, 0.6])}, "divide them by their sum"),
        ({"share": torch.tensor([1.5, -0.5])}, "≥ 0, each row with sum 1"),
    ],
)
def test_bad_laws_are_refused(change, text):
    with pytest.raises(ValueError, match=text):
        OccupiedSpins(**{"dim": 10, "coupling": 1.0, "field": 0.0, "share": torch.tensor([1.0])} | change)


def test_cells_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match="remedy: exchange or shrink"):
        normal_groups(0.0, 0.01, 0.15)
