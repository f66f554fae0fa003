"""What steps alone do to a spectrum, and how the claims on trained networks are judged."""

import numpy as np
import pytest
import torch
import xarray as xr
import yaml
from matplotlib import pyplot as plt

from imagenet import few_steps, sweeps, switches, two_levels
from imagenet.denoiser import Ended
from imagenet.discretisation import ddim_power, euler_power
from imagenet.generate import Generator
from imagenet.knowledge import Knowledge
from imagenet.request import Request
from imagenet.settings import as_dict
from tests import tiny
from theory.ledger import Verdict, student_k
from theory.sampler import DDIM, Euler, Flow, grid, last, walk
from theory.schedule import shifted_cosine, variance_exploding_flow, variance_preserving_flow

POWER = torch.tensor([8.0, 1.0, 0.02], dtype=torch.float64)


def linear(x, signal, noise):
    """The exact denoiser of independent coefficients of variance POWER."""
    return signal * POWER / (signal**2 * POWER + noise**2) * x


@pytest.mark.parametrize("steps", [1, 2, 7, 32])
def test_ddim_power_is_what_the_sampler_leaves(steps):
    """The product of closed factors against the walk of theory's own step on a unit of each coefficient."""
    schedule = shifted_cosine(16)
    flow = Flow(Ended(schedule), linear)
    unit = schedule.noise(1.0) * torch.ones(1, 3, dtype=torch.float64)
    walked = last(walk(flow, unit, grid(steps), DDIM()))[0].square()
    assert torch.allclose(ddim_power(POWER[None], schedule, steps)[0], walked, rtol=1e-9)


@pytest.mark.parametrize("flow", [variance_preserving_flow("linear"), variance_exploding_flow("linear", 768)])
@pytest.mark.parametrize("steps", [2, 9])
def test_euler_power_is_what_the_sampler_leaves(flow, steps):
    unit = flow.noise(1.0) * torch.ones(1, 3, dtype=torch.float64)
    walked = last(walk(Flow(flow, linear), unit, grid(steps), Euler()))[0].square()
    assert torch.allclose(euler_power(POWER, flow, steps), walked, rtol=1e-9)


def test_many_steps_leave_the_power():
    assert torch.allclose(ddim_power(POWER[None], shifted_cosine(16), 4000)[0], POWER, rtol=2e-2)
    assert torch.allclose(euler_power(POWER, variance_preserving_flow("linear"), 4000), POWER, rtol=1e-2)


def sweep(ratio, scatter=0.0, seeds=3, steps=(8, 16, 32, 64)):
    """A made-up pair of runs: the second's distance is `ratio` times the first's."""
    generator = np.random.default_rng(0)
    base = 5.0 / np.sqrt(np.array(steps)) * np.exp(0.3 * generator.standard_normal((seeds, 1)))
    ours = base * ratio * np.exp(scatter * generator.standard_normal((seeds, 1)))
    distance = np.stack([base, ours])[:, :, None, :, None].repeat(2, axis=2)
    return xr.Dataset(
        {
            sweeps.DISTANCE: (("run", "seed", "sampler", "evaluations", "extractor"), distance),
            "rapsd_distance": (("run", "seed", "sampler", "evaluations", "band"), distance),
            "floor": (("run", "seed", "extractor"), np.ones((2, seeds, 1))),
            "first_step": (("run", "seed", "image"), np.array([[[9.0] * 4], [[2.0, 3.0, 7.0, 14.0]]]).repeat(seeds, axis=1)),
        },
        coords={"run": ["baseline", "spectral"], "seed": list(range(seeds)), "sampler": ["ancestral", "DDIM"],
                "evaluations": list(steps), "extractor": ["FD-PCA"], "band": ["1"]},
        attrs={"images": 10, "size": 16},
    )  # fmt: skip


def expectation(better="spectral"):
    values = {"baseline": 0.5, "spectral": 0.3 if better == "spectral" else 0.8}
    return xr.Dataset(
        {"rapsd_distance": (("run", "evaluations", "band"), np.array([[[values[run]]] for run in values]))},
        coords={"run": list(values), "evaluations": [8], "band": ["1"]},
    )


def verdicts(measured, better="spectral"):
    return {row.claim.id: row.verdict for row in few_steps.judge(expectation(better), measured, {})}


def test_a_clear_gain_holds_and_a_clear_loss_fails():
    won = verdicts(sweep(0.7))
    assert won == {"P1-gain": Verdict.HOLDS, "P1-few": Verdict.HOLDS, "P1-many": Verdict.FAILS, "P1-spectrum": Verdict.HOLDS}
    lost = verdicts(sweep(1.3))
    assert lost == {"P1-gain": Verdict.FAILS, "P1-few": Verdict.FAILS, "P1-many": Verdict.HOLDS, "P1-spectrum": Verdict.FAILS}
    assert verdicts(sweep(0.9))["P1-gain"] == Verdict.FAILS


def test_what_the_testbed_expects_can_be_a_loss():
    assert verdicts(sweep(1.3), better="baseline")["P1-spectrum"] == Verdict.HOLDS


def test_scatter_over_trainings_leaves_it_undecided():
    """BITE: the same mean ratio with two bars of a normal law would pass; three trainings have two degrees of freedom."""
    assert verdicts(sweep(0.8, scatter=0.3))["P1-gain"] == Verdict.UNDECIDED


def test_one_training_decides_nothing():
    assert set(verdicts(sweep(0.5, seeds=1)).values()) == {Verdict.UNDECIDED}


def test_steps_that_were_not_swept_are_undecided():
    found = verdicts(sweep(0.5, steps=(4, 8)))
    assert found["P1-gain"] == found["P1-few"] == Verdict.UNDECIDED
    assert verdicts(sweep(1.5, steps=(4, 8)))["P1-few"] == Verdict.FAILS  # one of the two is enough


def test_a_distance_extrapolated_below_zero_decides_nothing():
    measured = sweep(0.7)
    below = measured.assign({sweeps.DISTANCE: measured[sweeps.DISTANCE] - 20})
    assert {verdicts(below)[name] for name in ("P1-gain", "P1-few", "P1-many")} == {Verdict.UNDECIDED}


def test_switches_are_judged_by_the_scatter_of_the_spectral_run():
    measured = sweep(1.0, scatter=0.02, steps=(8, 32)).isel(sampler=[0])
    worse = measured[sweeps.DISTANCE].sel(run=["spectral"]) * 3.0
    names = {"bias 0": worse.where(worse["seed"] == 0), "alike": worse / 3}
    more = [values.to_dataset(name=sweeps.DISTANCE).assign_coords(run=[name]) for name, values in names.items()]
    joined = xr.concat([measured[[sweeps.DISTANCE]], *more], dim="run")
    settings = {"runs": [{"name": "baseline"}, {"name": "spectral"}, {"name": "bias 0"}, {"name": "alike"}],
                "switches": {"resampled": [{"name": "geodesic"}]}}  # fmt: skip
    predicted = switches.predict(settings)
    assert list(predicted["run"].values) == ["baseline", "bias 0", "alike", "geodesic", switches.THETA]
    # the others need networks
    rows = {row.claim.id: row for row in switches.judge(predicted.sel(run=["bias 0", "alike"]), joined, settings)}
    assert rows["P2-bias-0"].verdict == Verdict.HOLDS
    assert "1 network;" in rows["P2-bias-0"].measured
    assert rows["P2-alike"].verdict == Verdict.UNDECIDED


def switched(change, names, scatter=0.0):
    """The spectral run of mean 1 at three seeds, and each of `names` at distances `change` times those, but for scatter."""
    own = np.array([0.9, 1.0, 1.1])
    each = np.stack([own, own, *[own * change + scatter * np.array([1.0, -2.0, 1.0])] * len(names)])
    joined = xr.Dataset(
        {sweeps.DISTANCE: (("run", "seed", "sampler", "evaluations", "extractor"), each[:, :, None, None, None])},
        coords={"run": ["baseline", "spectral", *names], "seed": [0, 1, 2], "sampler": ["ancestral"], "evaluations": [8],
                "extractor": ["FD-PCA"]},
    )  # fmt: skip
    settings = {
        "runs": [{"name": "baseline"}, {"name": "spectral"}],
        "switches": {"resampled": [{"name": name} for name in names]},
    }
    return xr.Dataset({"least_ratio": ("run", np.ones(len(names)))}, coords={"run": list(names)}), joined, settings


def test_rows_side_by_side_have_a_larger_k():
    """The same numbers hold as the one row, and are undecided among ten. BITE: k of one row for each of ten."""
    alone = switches.judge(*switched(1.5, ["a"], scatter=0.08))
    assert [row.verdict for row in alone] == [Verdict.HOLDS]
    ten = switches.judge(*switched(1.5, list("abcdefghij"), scatter=0.08))
    assert {row.verdict for row in ten} == {Verdict.UNDECIDED}
    assert {row.error for row in ten} == {alone[0].error}
    assert {row.verdict for row in switches.judge(*switched(1.5, list("abcdefghij")))} == {Verdict.HOLDS}
    assert {row.verdict for row in switches.judge(*switched(0.6, list("abcdefghij")))} == {Verdict.FAILS}
    # a single network: its bar is √2·10 % of its ratio, 4.3 of that alone and 14 among ten
    for names, expected in (("a", Verdict.HOLDS), ("abcdefghij", Verdict.UNDECIDED)):
        predicted, joined, settings = switched(1.8, list(names))
        joined[sweeps.DISTANCE][2, 1:] = np.nan
        row = switches.judge(predicted, joined, settings)[0]
        assert row.verdict is expected
        assert "1 network;" in row.measured


def test_the_figure_of_the_switches_shows_what_is_judged():
    """Diamonds are ratios of means with bars of k standard errors; a single network is named as such. BITE: means of ratios."""
    predicted, joined, settings = switched(1.5, ["a", "b"], scatter=0.3)
    joined[sweeps.DISTANCE][3, 1:] = np.nan
    rows = switches.judge(predicted, joined, settings)
    figure = switches.draw(predicted, joined, settings)
    plt.close(figure)
    (axes,) = figure.axes
    (container,) = axes.containers
    middle = container.lines[0].get_xdata()
    assert np.allclose(middle, [row.error for row in rows])
    assert not np.isclose(middle[0], float((joined[sweeps.DISTANCE][1] / joined[sweeps.DISTANCE][2]).mean()))
    found = switches.comparisons(joined, "spectral", ["a", "b"], 8)
    ends = [segment[:, 0] for segment in container.lines[2][0].get_segments()]
    assert np.allclose(ends, [(one.ratio - one.allowed, one.ratio + one.allowed) for one in found])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b (1 network)"]
    assert rows[0].measured.count("3 networks") == rows[1].measured.count("1 network;") == 1


def test_the_number_of_steps_that_decides_is_judged():
    """BITE: at 16 steps the ratio is larger but sure; at 8 it is not known. The larger error alone would hold."""
    measured = sweep(0.9)
    distance = measured[sweeps.DISTANCE].copy()
    distance.loc[{"run": "spectral", "evaluations": 8}] *= xr.DataArray([0.6, 0.9, 1.2], dims="seed")
    row = few_steps.judge(expectation(), measured.assign({sweeps.DISTANCE: distance}), {})[1]
    assert row.verdict == Verdict.UNDECIDED
    assert "at 8 steps" in row.measured
    distance.loc[{"run": "spectral", "evaluations": 16}] *= 2
    row = few_steps.judge(expectation(), measured.assign({sweeps.DISTANCE: distance}), {})[1]
    assert row.verdict == Verdict.FAILS
    assert "at 16 steps" in row.measured


def test_long_first_steps_are_reported():
    row = few_steps.judge(expectation(), sweep(0.7), {})[1]
    assert row.measured.endswith("over 6 nats of λ in 50 % of the spectral images, at most 14.0; baseline: 9.0")


def test_first_steps_are_those_of_the_schedules_drawn(tmp_path):
    """The last node of a row less the one an eighth before it, of the very rows that a generator of the same seed makes."""
    packed = tiny.packed(tmp_path)
    run = tmp_path / "run.yaml"
    run.write_text(yaml.safe_dump(as_dict(tiny.run())), encoding="utf-8")
    settings = {"files": {"data": str(tmp_path / "pack")}, "settings": str(run), "sweep": {"images": 7}}
    found = few_steps._first_steps(settings, {"changes": []}, {"2": "", "5": ""}, 3)
    assert found.shape == (2, 7)
    assert list(found["seed"].values) == [2, 5]
    generator = Generator(tiny.run(), few_steps._no_network, Knowledge.of(packed))
    request = Request(count=7, seed=3 + 5)
    rows = generator.knowledge.maker(generator.run.noise).from_theta(generator.theta(request, 0, generator.labels(request)))
    assert np.allclose(found.sel(seed=5), rows[:, -9] - rows[:, -1], atol=1e-5)  # of 64 intervals, 8
    same = few_steps._first_steps(settings, {"changes": ["noise.kind=shifted cosine"]}, {"0": ""}, 3)
    assert np.ptp(same.values) == 0


def test_ratio_is_of_means_and_its_error_of_paired_differences():
    values = xr.DataArray(
        [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]], dims=("run", "seed"), coords={"run": ["a", "b"], "seed": [0, 1, 2]}
    )
    found, error, k = sweeps.ratio(values, "a", "b")
    assert (found, error) == (0.5, pytest.approx(0, abs=1e-15))
    assert k == student_k(2) < sweeps.ratio(values, "a", "b", rows=10)[2] == student_k(2, 10)


def test_two_levels_names_the_interpolant_that_is_better():
    steps, seeds = [4, 8], [0, 1, 2]
    shape = (2, len(seeds), len(steps))
    scale = np.array([1.0, 0.2])[:, None, None] * np.ones(shape) * np.array([1.0, 1.02, 0.98])[None, :, None]
    measured = xr.Dataset(
        {
            "class_error": (("interpolant", "seed", "evaluations", "extractor"), scale[..., None]),
            "rapsd_distance": (("interpolant", "seed", "evaluations", "band"), (1 / scale)[..., None]),
            "high_frequency_change": (("interpolant", "seed", "evaluations"), -3.0 * np.ones(shape)),
            "estimate_change": ("seed", np.array([-2.9, -3.1, -2.8])),
        },
        coords={"interpolant": ["VP", "VE"], "seed": seeds, "evaluations": steps, "extractor": ["FD-PCA"], "band": ["4–8"]},
        attrs={"size": 16},
    )
    predicted = xr.Dataset(
        {"high_frequency_change": (("interpolant", "evaluations"), [[-1.0, -0.5], [-3.2, -2.0]])},
        coords={"interpolant": ["VP", "VE"], "evaluations": steps},
    )
    found = {row.claim.id: row.verdict for row in two_levels.judge(predicted, measured, {})}
    assert set(found) == {"A11-high", "A11-low", "A11-network", "A11-spectrum"}
    assert set(found.values()) == {Verdict.HOLDS}
    reversed_ = measured.assign_coords(interpolant=["VE", "VP"])
    found = {row.claim.id: row.verdict for row in two_levels.judge(predicted, reversed_, {})}
    assert found["A11-high"] == found["A11-low"] == Verdict.FAILS
