"""Told and blind: the margin of the means, from how many independent ones are compared."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from synthetic import told


def test_schedules_of_one_noise_do_not_widen_the_margin():
    """BITE: a literal 4.5, or a margin for all 135 comparisons, of which those of the nine schedules are one."""
    zero = xr.DataArray(np.zeros((9, 3, 5)), dims=("schedule", "slope", "octave"))
    claim = next(claim for claim in told.CLAIM if claim.id == "T6-mean")
    for largest, verdict in ((2.9, "holds"), (3.0, "fails")):
        power = zero.copy()
        power[4, 1, 2] = -largest
        measured = xr.Dataset({"band_power": power, "band_error": zero + 1})
        row = told._mean(claim, xr.Dataset({"band_power": zero}), measured)
        assert row.margin == pytest.approx(norm.isf(0.025 / 15))
        assert row.verdict == verdict
