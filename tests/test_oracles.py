"""Grids of other people's libraries, where the definitions coincide with ours: independent witnesses, none of them required.

    pip install diffusers azula            (the extra `oracle`), and smalldiffusion with accelerate
A library that is not installed skips its tests, with the reason. Margins: float32 there; 1/ᾱ − 1 loses digits.
"""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from theory import clock, schedule
from theory.curve import Karras, LaplaceQuantile, log_snr_of
from theory.sampler import grid
from theory.schedule import VarianceExploding, VariancePreserving


def library(name):
    """The module, or a skip that says why not."""
    return pytest.importorskip(
        name, reason=f"{name} is not installed with all it imports: pip install {name.partition('.')[0]}", exc_type=ImportError
    )


@pytest.fixture(scope="module")
def diffusers():
    return library("diffusers")


@pytest.fixture(scope="module")
def azula():
    return library("azula.noise")


@pytest.fixture(scope="module")
def smalldiffusion():
    """Its diffusion.py alone: the package itself also imports torchvision, of which there is no CPU build beside our torch."""
    found = importlib.util.find_spec("smalldiffusion")
    if found is None or found.origin is None:
        pytest.skip("smalldiffusion is not installed: pip install smalldiffusion")
    library("accelerate")
    spec = importlib.util.spec_from_file_location("smalldiffusion_diffusion", Path(found.origin).with_name("diffusion.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def trained(count=1000):
    """The times of the i-th of n trained levels, t = i/(n − 1)."""
    return torch.arange(count, dtype=torch.float64) / (count - 1)


def close(theirs, ours, rtol):
    np.testing.assert_allclose(np.asarray(theirs, dtype=np.float64), ours.numpy(), rtol=rtol, atol=0)


# ---- diffusers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ends", "ours"),
    [("linear", (1e-4, 0.02), schedule.ddpm_linear), ("scaled_linear", (0.00085, 0.012), schedule.scaled_linear)],
)
def test_diffusers_trained_levels(diffusers, name, ends, ours):
    theirs = diffusers.DDPMScheduler(beta_start=ends[0], beta_end=ends[1], beta_schedule=name)
    close(theirs.alphas_cumprod, ours().signal(trained()) ** 2, rtol=2e-5)


def test_diffusers_cosine_is_ours_at_i_plus_one(diffusers):
    # Its β are ratios of ᾱ at i/n and (i + 1)/n, cut at .999: the product telescopes up to the cut.
    theirs = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod[:990]
    close(theirs, schedule.Cosine().signal((torch.arange(990, dtype=torch.float64) + 1) / 1000) ** 2, rtol=2e-4)


def test_diffusers_laplace_takes_the_signal_for_its_square(diffusers):
    # Not an equality but its known mistake: λ(½) = 0.88 where the location is 0.
    theirs = diffusers.DDPMScheduler(beta_schedule="laplace").alphas_cumprod.double()
    ours = VariancePreserving(LaplaceQuantile())
    middle = theirs[499]  # t = (i + 1)/1000 = ½
    assert math.log(middle / (1 - middle)) == pytest.approx(0.8814, abs=0.05)
    assert middle == pytest.approx(ours.signal(0.5).item(), rel=0.02)
    assert ours.log_snr(0.5).item() == 0


@pytest.mark.parametrize("steps", [5, 18])
def test_diffusers_karras_and_exponential(diffusers, steps):
    for kind, ours in (("karras", VarianceExploding(Karras(0.002, 80.0))), ("exponential", schedule.ve_geometric(0.002, 80.0))):
        theirs = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_schedule=kind)
        theirs.set_timesteps(steps)
        assert theirs.sigmas[-1] == 0  # appended: its N steps visit our N levels, then 0
        close(theirs.sigmas[:-1], ours.noise(grid(steps - 1)), rtol=2e-5)


@pytest.mark.parametrize("shift", [1.0, 3.0, 6.0])
def test_diffusers_flow_match_shift(diffusers, shift):
    theirs = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    close(theirs.sigmas, schedule.sd3(shift).noise(torch.arange(1000, 0, -1, dtype=torch.float64) / 1000), rtol=2e-6)


def test_diffusers_beta_quantiles(diffusers):
    # The same quantiles; it puts them linearly between the extreme σ, the web interfaces (and we) on the trained times.
    theirs = diffusers.EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, use_beta_sigmas=True
    )
    theirs.set_timesteps(12)
    sigmas = theirs.sigmas[:-1].double()
    share = (sigmas - sigmas[-1]) / (sigmas[0] - sigmas[-1])
    np.testing.assert_allclose(share.numpy(), clock.BetaClock()(grid(11)).numpy(), rtol=0, atol=2e-6)


def test_diffusers_align_your_steps(diffusers):
    theirs = importlib.import_module("diffusers.schedulers.scheduling_utils").AysSchedules
    tables = {"sd1.5": "StableDiffusionSigmas", "sdxl": "StableDiffusionXLSigmas", "svd": "StableDiffusionVideoSigmas"}
    for model, name in tables.items():
        listed = theirs[name]
        assert tuple(listed[:-1]) == pytest.approx(schedule.AYS_LEVELS[model][: len(listed) - 1])
        assert listed[-1] == 0.0  # in place of the smallest trained level


# ---- azula -------------------------------------------------------------------------------------------------------------


def test_azula_schedules(azula):
    t = torch.linspace(0.0, 1.0, 201, dtype=torch.float64)
    pairs = {
        "geometric": (azula.VESchedule(1e-3, 1e3), schedule.ve_geometric(1e-3, 1e3)),
        "rectified": (azula.RectifiedSchedule(0.0, 0.0), schedule.Linear()),
        # Its σ² = 1 − α² + σ_min²: variance preserving for σ_min = 0 only.
        "cosine": (azula.CosineSchedule(0.0, 0.0), schedule.Trigonometric()),
        "VP": (azula.VPSchedule(math.exp(-20 / 4), 0.0), schedule.VPSDE(1e-12, 20.0)),
    }
    for name, (theirs, ours) in pairs.items():
        signal, noise = theirs(t)
        np.testing.assert_allclose(signal.numpy(), ours.signal(t).numpy(), rtol=1e-9, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(noise.numpy(), ours.noise(t).numpy(), rtol=1e-6, atol=1e-6, err_msg=name)


# ---- smalldiffusion ----------------------------------------------------------------------------------------------------


def test_smalldiffusion_levels(smalldiffusion):
    close(smalldiffusion.ScheduleDDPM().sigmas, schedule.ddpm_linear().noise_to_signal(trained()), rtol=1e-3)
    close(smalldiffusion.ScheduleLDM().sigmas, schedule.scaled_linear().noise_to_signal(trained()), rtol=1e-3)
    close(smalldiffusion.ScheduleLogLinear(50).sigmas, schedule.ve_geometric(0.02, 10.0).noise(grid(49).flip(0)), rtol=2e-5)
    cosine = schedule.Cosine().noise_to_signal((torch.arange(990, dtype=torch.float64) + 1) / 1000)
    close(smalldiffusion.ScheduleCosine(1000).sigmas[:990], cosine, rtol=1e-2)


def test_smalldiffusion_sampling_grid_is_trailing(smalldiffusion):
    # The i-th of its N + 1 sampling levels is a trained one, first the last: no level is repeated, none left out at an end.
    theirs = smalldiffusion.ScheduleLDM().sample_sigmas(10)
    index = [999, 899, 799, 699, 599, 499, 399, 299, 199, 99, 0]
    close(theirs, schedule.scaled_linear().noise_to_signal(trained()[index]), rtol=1e-3)


def test_log_snr_is_twice_dpm_solvers(diffusers):
    # DPM-Solver's λ is log(α/σ), half of ours.
    theirs = diffusers.DPMSolverMultistepScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    ours = schedule.scaled_linear().log_snr(trained())
    np.testing.assert_allclose(2 * theirs.lambda_t.double().numpy(), ours.numpy(), rtol=0, atol=2e-3)
    assert log_snr_of(1.0) == 0
