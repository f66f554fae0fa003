"""The two phases: the closed form of who will still turn, against the flow itself, and the figure's ingredients."""

import json
import math

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from synthetic import portrait
from theory import limit, phase
from theory.config import ROOT
from theory.curie_weiss import CurieWeiss
from theory.ledger import Verdict


@given(weight=st.floats(0.05, 0.95), theta=st.floats(0.05, 4.0))
def test_who_will_still_turn_by_following_everybody(weight, theta):
    """WITNESS: 4001 trajectories of the flow, by bisection. Margin two of them. BITE: Φ(−θ) without |2p − 1|."""
    z = special.ndtri((np.arange(4001) + 0.5) / 4001)
    state = phase.state_at(weight, np.full(z.shape, theta), z)
    turning = np.mean((state > 0) != (phase.chosen_sign(weight, z) > 0))
    assert turning == pytest.approx(portrait.still_turning(abs(2 * weight - 1), theta), abs=2 / 4001)


def test_level_of_the_modes_and_of_spins():
    """Far from the data θ = m*√d/ς; at ς = 0 the mode's own width is left; a time at which the ratio is met."""
    model = limit.TwoModes.curie_weiss(1e6, 2.0, 0.72)
    assert portrait.level(model, 1e5) == pytest.approx(model.mean * 1e3 / 1e5, rel=1e-4)
    assert portrait.level(model, 0.0) == pytest.approx(model.mean * 1e3 / model.spread_along)
    for name in portrait.FLOWS:
        schedule = portrait.flow(name, 1e4, 3.0)
        time = portrait._time_of(schedule, 20.0)
        assert float(schedule.noise_to_signal(time)) == pytest.approx(20.0)


def test_crossing_reads_between_nodes():
    """Exact for a share linear in log ς; the last crossing counts, not a wiggle before; NaN when there is none."""
    ratio = np.array([np.inf, 100.0, 10.0, 1.0, 0.1])
    assert portrait.crossing(ratio, np.array([1.0, 0.9, 0.4, 0.45, 0.0]), 0.3) == pytest.approx(10 ** -(1 / 3))
    assert math.isnan(portrait.crossing(ratio, np.full(5, 0.1), 0.3))
    assert math.isnan(portrait.crossing(ratio, np.full(5, 0.9), 0.3))


@pytest.fixture(scope="module")
def small():
    default = yaml.safe_load((ROOT / "config" / "default.yaml").read_text(encoding="utf-8"))
    return json.loads(json.dumps(default["synthetic"]["portrait"])) | {"dim": 400, "steps": 48, "trajectories": 100, "spins": 2}


@pytest.fixture(scope="module")
def run(small):
    return portrait.predict(small), portrait.measure(small, 0)


def test_samplers_do_what_the_closed_form_says(small, run):
    """Every row holds at d = 400 with 100 trajectories too. BITE: with θ = m√d/ς² three of four fail."""
    rows = portrait.judge(*run, small)
    assert [row.claim.id for row in rows] == [claim.id for claim in portrait.CLAIM]
    assert all(row.verdict is Verdict.HOLDS for row in rows), [(row.claim.id, row.error) for row in rows]


def test_the_film_ends_in_the_law(small, run):
    """Share of the + mode within 4 % of P(M > 0), spins within .02 of ±1 at the end."""
    final = run[1].magnetisation.isel(node=-1).sel(flow="VE linear clock")
    pmf = CurieWeiss(400, small["coupling"], small["field"]).magnetisation_log_pmf().exp().numpy()
    assert float((final > 0).mean()) == pytest.approx(pmf[201:].sum() + pmf[200] / 2, abs=0.04)
    assert float(np.median(np.abs(np.abs(run[1].spin.isel(node=-1)) - 1))) < 0.02
