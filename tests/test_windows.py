"""The experiment on windows: known fields give known answers, the real ones run."""

import math

import numpy as np
import pytest
import torch

from imagenet import windows
from imagenet.design import usual
from theory import experiment, record
from theory.ledger import Verdict
from theory.spectrum import rings

SETTINGS = {
    "source": "embedded",
    "patch": 32,
    "patches_per_photograph": 3,
    "window": "hann",
    "epsilon": 0.01,
    "components": 2,
    "sizes": [32, 64],
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows")
    rows = experiment.run("imagenet.windows", SETTINGS, 0, folder)
    return rows, record.load(folder / "predicted.nc"), record.load(folder / "measured.nc")


def test_it_runs_and_judges_every_claim(ran):
    rows, predicted, measured = ran
    assert [row.claim.id for row in rows] == [claim.id for claim in windows.CLAIM]
    assert measured.sizes["class"] == 16
    assert (measured["window"].sel(end="noise") < measured["window"].sel(end="data")).all()
    assert (measured["left_by_few"].sum() < measured["left_by_two"].sum()).all()
    assert list(predicted["schedule"].values) == list(usual(32))


def test_the_noise_end_follows_the_number_of_pixels(ran):
    """The claim that holds exactly, and simple diffusion's at the data end, which does not."""
    by_name = {row.claim.id: row for row in ran[0]}
    assert by_name["B8-noise-end"].verdict is Verdict.HOLDS
    assert by_name["B8-noise-end"].error < 0.05
    assert by_name["B8-shift"].verdict is Verdict.FAILS


def test_shares_of_a_known_window():
    """Log-uniform on ±15 spends a third of its steps below −5 and a half above 0; no other window counts."""
    shares = windows._shares(torch.tensor([-5.0, -40.0]).double(), torch.tensor([0.0, 40.0]).double(), 64)
    row = list(usual(64)).index("log-uniform")
    assert np.allclose(shares[0, row], (1 / 3, 1 / 2), atol=1e-3)
    assert (shares[1, row] == 0).all()


def test_predicted_window_of_field():
    """Derived by hand: R = c/f², Σ count·R = n²/4."""
    predicted = windows.predict(SETTINGS)
    low, high = predicted["window"].values
    logit = math.log(99)
    radius = rings(32, 32).radius
    assert (high - logit) - (low + logit) == pytest.approx(2 * math.log(radius[16].item() / radius[1].item()), abs=0.02)
