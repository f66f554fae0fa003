"""The exact samplers on a device: equal to those on the processor. Without an accelerator here, the path itself is tested."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import on_device, one_pass
from theory.curie_weiss import CurieWeiss
from theory.sampler import DDIM, Ancestral, DPMSolver2M, Heun, grid
from theory.schedule import variance_preserving_flow
from theory.stream import Stream
from theory.target import PART, GaussianMixture, part_of


def _mixture(modes: int, dim: int, seed: int, spread: float = 0.5) -> GaussianMixture:
    stream = Stream(seed)
    weights = stream.child("weights").uniform(modes) + 0.1
    means = stream.child("means").normal(modes, (dim,))
    return GaussianMixture(weights / weights.sum(), means, torch.full((modes, 1), spread**2, dtype=torch.float64))


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 4), st.integers(1, 60), st.integers(1, 5), st.integers(0, 100), st.sampled_from([DDIM(), DPMSolver2M()]))
def test_equal_to_the_processor(modes, dim, rows, seed, step):
    law, schedule, times = _mixture(modes, dim, seed), variance_preserving_flow("sqrt"), grid(12)
    z = Stream(seed).child("noise").normal(rows, (dim,))
    expected = one_pass.last_state(law, schedule, z, times, step)
    program = one_pass.deterministic(schedule, times, step)
    found = on_device.Mixture.of(law, "cpu").last_state(z.clone(), program)
    # The products are summed in another order: rounding of d terms, carried through the weights of the modes.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_constant_means_take_no_memory():
    mixture = on_device.Mixture.of(GaussianMixture.two_modes(1000, 0.3), "cpu")
    assert mixture.means.stride(1) == mixture.differences.stride(1) == 0
    assert mixture.means[:, 0].tolist() == [1.0, -1.0]
    assert mixture.differences[:, 7].tolist() == [0.0, -2.0]


def test_refuses_what_it_cannot_do():
    law = GaussianMixture(torch.tensor([0.5, 0.5]).double(), torch.ones(2, 3).double(), torch.tensor([[1.0], [2.0]]).double())
    with pytest.raises(ValueError, match=r"variances \[1.0, 2.0\]; allowed: one isotropic spread; remedy"):
        on_device.Mixture.of(law, "cpu")
    with pytest.raises(ValueError, match="deterministic"):
        one_pass.deterministic(variance_preserving_flow("sqrt"), grid(4), Ancestral(Stream(0)))
    assert one_pass.deterministic(variance_preserving_flow("sqrt"), grid(4, start=0.9), Heun()).guess is not None


def test_a_processor_works_in_blocks_and_an_accelerator_in_whole_rows():
    assert part_of(torch.empty(2, 10 * PART)) == PART
    assert part_of(torch.empty(2, 10 * PART, device="meta")) == 10 * PART


def test_spins_have_the_law_of_their_device():
    law, x = CurieWeiss(500, 2.0), Stream(1).normal(3, (500,))
    torch.testing.assert_close(on_device.spin_mean(law, x, 0.3, 0.9), CurieWeiss(500, 2.0).denoise(x, 0.3, 0.9), rtol=0, atol=0)


def test_timings_have_every_part():
    mixture = on_device.time_mixture(200, 3, "cpu", 2, on_processor=True)
    assert mixture["difference"] < 1e-10
    assert 0 < mixture["share"] <= mixture["share_of_passes"]
    spins = on_device.time_spins(50, 2, "cpu", 2, on_processor=True)
    assert [row["time"] for row in spins["rows_of_times"]] == ["early", "split", "late"]
    assert all(row["difference"] == 0 for row in spins["rows_of_times"])  # the same code on the same device
