"""The exact reduction against real samplers, for every step of the list and laws of every kind."""

import math

import numpy as np
import pytest
import torch

from tests.strategies import STEPS
from theory import reduction
from theory.program import Walk, compile_walks
from theory.reduction import Line
from theory.sampler import Ancestral, Flow, Step, grid, last, walk
from theory.schedule import CATALOGUE, Schedule, variance_exploding_flow, variance_preserving_flow
from theory.stream import Stream
from theory.target import Gaussian, GaussianMixture

DETERMINISTIC = [name for name in STEPS if name != "ancestral"]
SCHEDULES = {
    "VP": lambda d: variance_preserving_flow("linear"),
    "VP clock": lambda d: variance_preserving_flow("sqrt", d, 3.0),
    "VE": lambda d: variance_exploding_flow("linear", d),
    "EDM": lambda d: CATALOGUE["EDM"](),  # noise left at the end, signal from the start
}


def _sampled(schedule: Schedule, law, step: Step, z: torch.Tensor, steps: int) -> torch.Tensor:
    flow = Flow(schedule, law.denoise)
    return last(walk(flow, flow.start(z), grid(steps), step))


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_program_is_the_sampler_on_the_laws_along_and_across(name, schedule):
    """WITNESS: coefficients read off the step, against walking the step. Two walks of different length share a program.

    BITE: rates of the right node in place of the left one's, or an identity row that is not one, and this is red.
    """
    dim, step = 10_000, STEPS[name]()
    made = SCHEDULES[schedule](dim)
    program = compile_walks(step, [Walk.of(made, grid(n)) for n in (10, 6)])
    law = reduction.stack_lines([Line.two_modes(dim, 0.8)] * 2)
    z = np.linspace(-2.5, 2.5, 11)
    y = reduction.run(program, reduction.line_posterior(program, law), program.start[:, None] * z)
    gain = reduction.across(program, law.variances[:, 0])
    columns = torch.from_numpy(z)[:, None]
    for row, steps in enumerate((10, 6)):
        along = _sampled(made, GaussianMixture.two_modes(1, 0.8, math.sqrt(dim), 0.5), step, columns, steps)
        np.testing.assert_allclose(y[row], along[:, 0].numpy(), rtol=1e-10, atol=1e-10 * math.sqrt(dim))
        unit = _sampled(made, Gaussian.isotropic(1, 0.25), step, torch.ones(1, 1, dtype=torch.float64), steps)
        assert gain[row] == pytest.approx(unit.item(), rel=1e-11)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("dim", [100, 10_000, 1_000_000])
def test_samplers_in_d_dimensions_do_what_the_reduction_says(name, dim):
    """The same noise: complement and u·x to 1e-9, ancestral noise included."""
    count, steps = 2 if dim < 1_000_000 else 1, 4
    stream, made = Stream(5), variance_preserving_flow("linear", dim, 3.0)
    step = Ancestral(stream) if name == "ancestral" else STEPS[name]()
    z = stream.child("start").normal(count, (dim,))
    x = _sampled(made, GaussianMixture.two_modes(dim, 0.8), step, z, steps)
    program = compile_walks(step, [Walk.of(made, grid(steps))])
    law = Line.two_modes(dim, 0.8)

    def split(v):
        mean = v.mean(1, keepdim=True)
        return (mean * math.sqrt(dim)).numpy().T, (v - mean).numpy().reshape(1, -1)

    posteriors = (reduction.line_posterior(program, law), reduction.linear_posterior(program, law.variances[:, 0]))
    for part, (posterior, expected, start) in enumerate(zip(posteriors, split(x), split(z), strict=True)):

        def kick(k, mean, std, part=part):
            return mean + std * split(stream.child(k).normal(count, (dim,)))[part]

        found = reduction.run(program, posterior, program.start[:, None] * start, kick if name == "ancestral" else None)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_unequal_spreads_in_a_plane(name):
    """Three modes with unequal spreads in a plane of 60 dimensions: y and r of every trajectory."""
    dim, steps, step = 60, 8, STEPS[name]()
    weights, variances = torch.tensor([0.3, 0.5, 0.2]).double(), torch.tensor([0.25, 0.09, 0.64]).double()
    weights = weights / weights.sum()
    centres = torch.tensor([[6.0, 0.0], [-2.0, 5.0], [0.0, -7.0]], dtype=torch.float64)
    means = torch.cat([centres, torch.zeros(3, dim - 2, dtype=torch.float64)], 1)
    made = variance_preserving_flow("linear")
    z = Stream(2).normal(7, (dim,))
    x = _sampled(made, GaussianMixture(weights, means, variances[:, None]), step, z, steps)
    program = compile_walks(step, [Walk.of(made, grid(steps))])
    posterior = reduction.subspace_posterior(
        program, weights.numpy()[None], centres.numpy()[None], variances.numpy()[None], np.array([float(dim)])
    )

    def state(v):
        rest = v[:, 2:].norm(dim=1, keepdim=True) / math.sqrt(dim - 2)
        return torch.cat([v[:, :2], rest], 1).numpy()[None]

    found = reduction.run(program, posterior, program.start[:, None, None] * state(z))
    found[..., 2] = np.abs(found[..., 2])
    np.testing.assert_allclose(found, state(x), rtol=1e-9, atol=1e-9)


def test_several_modes_on_a_line_agree_with_the_general_posterior():
    """WITNESS: K = 3 with equal spreads by the fast path and by the one for any subspace; d = 10¹² costs what 10 costs."""
    for dim in (10.0, 1e12):
        law = Line.of(dim, [0.3, 0.5, 0.2], np.array([-1, 0.2, 1.5]) * math.sqrt(dim), [0.5] * 3)
        program = compile_walks(STEPS["DDIM"](), [Walk.of(variance_preserving_flow("linear", dim, 3.0), grid(20))])
        z = program.start[:, None] * np.linspace(-3, 3, 20)
        joint = reduction.subspace_posterior(program, law.weights, law.centres[..., None], law.variances, law.dim)
        full = reduction.run(program, joint, np.stack([z, np.ones_like(z)], -1))
        line = reduction.run(program, reduction.line_posterior(program, law), z)
        np.testing.assert_allclose(full[..., 0], line, rtol=1e-8, atol=1e-8 * math.sqrt(dim))


def test_ancestral_variance_across_is_the_samplers():
    """STATISTICS: 20 000 numbers, 4.5 standard errors of a variance."""
    count, step, made = 20_000, Ancestral(Stream(3)), variance_preserving_flow("linear")
    x = _sampled(made, Gaussian.isotropic(count, 0.25), step, Stream(4).normal(1, (count,)), 12)
    spread = reduction.across(compile_walks(step, [Walk.of(made, grid(12))]), np.array([0.25]))[0]
    assert abs(x.var().item() / spread**2 - 1) < 4.5 * math.sqrt(2 / count)


def test_random_method_without_a_kick_is_refused():
    program = compile_walks(STEPS["ancestral"](), [Walk.of(CATALOGUE["linear"](), grid(4))])
    with pytest.raises(ValueError, match=r"kick = None .*; remedy: lattice_kick\(\)"):
        reduction.run(program, reduction.linear_posterior(program, np.ones(1)), np.ones((1, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((100.0, [0.5, 0.6], [-1.0, 1.0], [1.0, 1.0]), "weights sum to"),
        ((100.0, [0.5, 0.5], [1.0, -1.0], [1.0, 1.0]), "increasing"),
        ((100.0, [0.5, 0.5], [-1.0, 1.0], [1.0, 0.0]), "variances > 0"),
        ((1.0, [0.5, 0.5], [-1.0, 1.0], [1.0, 1.0]), "d > 1"),
        ((100.0, [0.5, 0.5], [-1.0, 1.0], [1.0]), "allowed: \\(rows, K\\)"),
    ],
)
def test_bad_lines_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Line.of(*arguments)
