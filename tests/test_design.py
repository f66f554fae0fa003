"""The design tool: its errors are exact, its recommendation beats the usual grids, its messages help."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from imagenet import design as designs
from imagenet.__main__ import main
from imagenet.design import Field, checked_levels, error_of, levels_of, usual
from theory import cost, schedule
from theory.target import Gaussian


def pictures(folder, count=6, side=16, seed=0, suffix="png"):
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for index in range(count):
        smooth = generator.standard_normal((side, side, 3)).cumsum(0).cumsum(1)
        smooth = 128 + 40 * (smooth - smooth.mean()) / smooth.std() + 20 * generator.standard_normal()
        Image.fromarray(smooth.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.{suffix}")
    return folder


def run(*arguments):
    return CliRunner().invoke(main, ["design", *map(str, arguments)])


def designed(tmp_path, *arguments):
    result = run(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    return json.loads((tmp_path / "out" / "design.json").read_text(encoding="utf-8")), result.output


def test_the_error_is_that_of_sampling_a_gaussian():
    """Witness: the sampler on the law itself. BITE: a term of the start, or of the last step to 0, left out."""
    variance = torch.tensor([4.0, 0.5, 0.01], dtype=torch.float64)
    levels = np.array([9.0, 3.0, 1.0, 0.3, 0.05, 0.0])
    law = Gaussian(variance)
    start = torch.eye(3, dtype=torch.float64)
    x = start * levels[0]
    for left, right in pairwise(levels):
        data = law.denoise(x, torch.tensor(1.0).double(), torch.tensor(left).double())
        x = data + right / left * (x - data)
    spread = x.diagonal().numpy()
    found = cost.missing_spread(variance.numpy(), levels)
    assert np.allclose(np.exp(-found) * np.sqrt(variance.numpy()), spread, rtol=1e-12)
    field = Field(variance.numpy(), np.array([1.0, 2.0, 5.0]))
    distance = (np.sqrt(variance.numpy()) - spread) ** 2
    assert math.isclose(error_of(field, levels).wasserstein, 100 * (field.count @ distance) / (field.count @ field.variance))


@pytest.mark.parametrize("steps", [2, 5, 16])
@pytest.mark.parametrize("name", list(usual(64)))
def test_usual_grids_have_n_calls(name, steps):
    levels = levels_of(usual(64)[name], steps)
    assert len(levels) == steps + 1
    assert levels[-1] == 0
    assert (np.diff(levels) < 0).all()
    if name == "EDM" and steps > 2:
        rising = (80 ** (1 / 7) + np.arange(steps) / (steps - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
        assert np.allclose(levels[:-1], rising, rtol=1e-12)


def test_on_images_ours_is_best_and_files_agree(tmp_path):
    folder = tmp_path / "images"
    for name, seed in (("a", 1), ("b", 2)):
        pictures(folder / name, seed=seed)
    found, text = designed(tmp_path, folder, "--steps", 8, "--compare", "14.6, 3.0, 0.5, 0.03, 0")
    assert found["images"] == 12
    assert found["size"] == [16, 16]
    assert list(found["classes"]) == ["a", "b"]
    ours = found["dataset"]
    assert found["predicted"][0]["wasserstein"] == min(row["wasserstein"] for row in found["predicted"])
    assert "Your present sigmas, with 4 steps, would leave" in text
    levels = np.array(ours["sigmas"])
    assert len(levels) == 9
    assert levels[-1] == 0
    assert np.allclose([float(v) for v in (tmp_path / "out" / "sigmas.txt").read_text().split(",")], levels, rtol=1e-5)
    noise = levels[:-1]
    assert np.allclose(ours["log_snr"], -2 * np.log(noise))
    assert np.allclose(ours["alphas_cumprod"], 1 / (1 + noise**2))
    assert np.allclose(ours["flow_sigmas"], levels / (1 + levels))
    trained = schedule.scaled_linear()
    inside = (noise < trained.noise_to_signal(1.0).item()) & (noise > trained.noise_to_signal(0.0).item())
    back = trained.noise_to_signal(torch.tensor(ours["timesteps_scaled_linear"]).double() / 999).numpy()
    assert np.allclose(back[inside], noise[inside], rtol=1e-6)
    assert (tmp_path / "out" / "figure.svg").read_text(encoding="utf-8").count("<svg") == 1


@pytest.mark.parametrize("channels", [1, 4, 16])
@pytest.mark.parametrize("form", ["stack", "folder"])
def test_latents_of_any_channel_count(tmp_path, channels, form):
    latents = np.random.default_rng(0).standard_normal((5, channels, 12, 10)).cumsum(-1).astype(np.float32)
    path = tmp_path / "latents"
    path.mkdir()
    if form == "stack":
        np.save(path / "all.npy", latents)
        path = path / "all.npy"
    else:
        for index, latent in enumerate(latents):
            np.save(path / f"{index}.npy", latent)
    found, _ = designed(tmp_path, path, "--steps", 4)
    assert (found["images"], found["channels"], found["size"]) == (5, channels, [12, 10])


def test_latents_scale_the_sigmas(tmp_path):
    """Scale law, end to end: latents times 10, sigmas times 10."""
    latents = np.random.default_rng(0).standard_normal((6, 4, 16, 16)).cumsum(-1)
    for factor in (1, 10):
        np.save(tmp_path / f"{factor}.npy", latents * factor)
    small, large = (designed(tmp_path, tmp_path / f"{f}.npy", "--steps", 6)[0]["dataset"]["sigmas"] for f in (1, 10))
    assert np.allclose(np.array(large), 10 * np.array(small), rtol=1e-4)  # float32 spectra


def test_broken_files_are_listed_and_skipped(tmp_path):
    folder = pictures(tmp_path / "images")
    (folder / "bad.jpg").write_bytes(b"not a picture")
    found, text = designed(tmp_path, folder, "--steps", 4)
    assert found["images"] == 6
    assert len(found["broken"]) == 1
    assert "bad.jpg" in found["broken"][0]
    assert "bad.jpg" in text


def test_a_constant_latent_is_listed_and_skipped(tmp_path):
    latents = np.random.default_rng(0).standard_normal((4, 2, 8, 8)).astype(np.float32)
    latents[1] = 0.5
    np.save(tmp_path / "x.npy", latents)
    found, _ = designed(tmp_path, tmp_path / "x.npy", "--steps", 4)
    assert found["images"] == 3
    assert "image 1: constant" in found["broken"][0]


def _mixed(folder):
    pictures(folder, 2)
    Image.new("RGB", (24, 20)).save(folder / "other.png")
    return [folder]


def _holes(folder):
    folder.mkdir()
    latents = np.ones((3, 2, 8, 8), np.float32)
    latents[2, 0, 0, 0] = np.nan
    np.save(folder / "x.npy", latents)
    return [folder / "x.npy"]


def _shapes(folder):
    folder.mkdir()
    for index, side in enumerate((8, 12)):
        np.save(folder / f"{index}.npy", np.random.default_rng(0).standard_normal((4, side, side)))
    return [folder]


def _empty(folder):
    folder.mkdir()
    return [folder]


def _all_broken(folder):
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"no")
    return [folder, "--size", "16"]


def _flat(folder):
    folder.mkdir()
    np.save(folder / "x.npy", np.zeros((8, 8), np.float32))
    return [folder / "x.npy"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_empty, ["no image in", "allowed:", "remedy:"]),
        (_mixed, ["2 sizes", "16 px", "20 px", "--size 16"]),
        (_holes, ["[2]", "NaN", "remedy:"]),
        (_shapes, ["(4, 12, 12)", "(4, 8, 8)", "remedy:"]),
        (_all_broken, ["none of 1 images is usable", "a.jpg"]),
        (_flat, ["(8, 8)", "(n, C, H, W)", "channels first"]),
        (lambda folder: [folder / "nowhere"], ["does not exist", "allowed:", "remedy:"]),
        (lambda folder: [pictures(folder), "--steps", "1"], ["steps = 1", "≥ 2", "remedy:"]),
        (lambda folder: [pictures(folder), "--steps", "100000000"], ["steps = 100000000", "2 to 10000", "remedy:"]),
        (lambda folder: [pictures(folder), "--epsilon", "1e-300"], ["1e-300", "from 1e-12", "remedy:"]),
        (lambda folder: [pictures(folder), "--compare", "1e300, 1, 0"], ["from 1e+300 to 1;", "1e-100 to 1e+100", "remedy:"]),
        (lambda folder: [pictures(folder), "--compare", folder / "0.png"], ["allowed: numbers", "remedy:"]),
        (lambda folder: ["  "], ["PATH is empty", "allowed:", "remedy:"]),
        (lambda folder: ["x" * 300], ["File name too long", "allowed:", "remedy:"]),
        (lambda folder: [pictures(folder), "--compare", "1, 2, 0"], ["1.0, 2.0", "decreasing", "t/(1 − t)"]),
        (lambda folder: [pictures(folder), "--compare", "one"], ["one", "allowed: numbers", "remedy"]),
        (lambda folder: [pictures(folder), "--epsilon", "0.7"], ["0.7", "0 < ε < ½", "remedy:"]),
        (lambda folder: [pictures(folder), "--size", "2"], ["size = 2", "≥ 4", "remedy:"]),
    ],
)
def test_errors_are_clear(tmp_path, make, words):
    arguments = make(tmp_path / "source")
    result = run(*arguments, *([] if "--steps" in arguments else ["--steps", "4"]), "--out", tmp_path / "out")
    assert result.exit_code != 0
    said = " ".join(result.output.split())
    assert all(word in said for word in words), result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    result = run(pictures(tmp_path / "images"), "--steps", "4", "--out", "/dev/null/x")
    assert result.exit_code == 1
    assert "allowed: paths that can be read and written" in result.output


def test_few_images_are_cautioned_about(tmp_path):
    # BITE: "0 % of the variance of the mean colour", as if one image had told.
    latents = np.random.default_rng(0).standard_normal((designs.FEW, 2, 8, 8)).astype(np.float32)
    latents += np.arange(designs.FEW)[:, None, None, None]
    said = {}
    for count in (1, 4, designs.FEW):
        np.save(tmp_path / "x.npy", latents[:count])
        said[count] = designed(tmp_path, tmp_path / "x.npy", "--steps", 4)[1]
    assert "0 % of the variance of the mean colour" not in said[1]
    assert "cannot be known from one image" in said[1]
    assert "Caution: one image." in said[1]
    assert "Caution: 4 images." in said[4]
    assert "± 82 %" in said[4]  # √(2/3)
    assert "Caution" not in said[designs.FEW]
    np.save(tmp_path / "x.npy", latents[:, 0])
    assert f"one image (C, H, W) of {designs.FEW} channels" in designed(tmp_path, tmp_path / "x.npy", "--steps", 4)[1]
    np.save(tmp_path / "x.npy", np.repeat(latents[:1], 5, 0))
    assert "do not differ in their mean colour" in designed(tmp_path, tmp_path / "x.npy", "--steps", 4)[1]


def test_long_lists_of_present_sigmas(tmp_path):
    # BITE: a list of more than 255 letters, asked whether it is a file, was an OSError.
    written = ", ".join(f"{80 * 0.95**k:.6g}" for k in range(100))
    _, text = designed(tmp_path, pictures(tmp_path / "images"), "--steps", 4, "--compare", written)
    assert "Your present sigmas, with 100 steps, would leave" in text


def test_present_sigmas_from_a_file(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text("[14.6, 3.0,\n 0.5]", encoding="utf-8")
    found, _ = designed(tmp_path, pictures(tmp_path / "images"), "--steps", 4, "--compare", file)
    mine = next(row for row in found["predicted"] if row["grid"] == "yours")
    assert np.isfinite(mine["wasserstein"])
    assert np.array_equal(checked_levels([14.6, 3.0, 0.5]), [14.6, 3.0, 0.5, 0.0])


# ---- other people's samplers ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grid():
    """A grid as the tool writes it, on the images' own law: levels that 1000 trained ones of latent diffusion reach."""
    return np.array([12.0, 4.0, 1.5, 0.6, 0.2, 0.06, 0.0])


def test_diffusers_euler_walks_exactly_our_grid(grid):
    """EulerDiscreteScheduler(sigmas=…) on an exact denoiser gives our sampler's result, at every step."""
    diffusers = pytest.importorskip("diffusers", reason="optional witness, not installed: pip install .[oracle]")
    theirs = diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    theirs.set_timesteps(sigmas=grid.tolist())
    assert np.allclose(theirs.sigmas.numpy(), grid, rtol=1e-6)
    values = designs.Grid("mixed", 0.01, grid, error_of(Field(np.ones(1), np.ones(1)), grid)).values
    assert np.allclose(theirs.timesteps.numpy(), values["timesteps_scaled_linear"], rtol=0, atol=0.02)
    law = Gaussian(torch.tensor([4.0, 0.5, 0.01], dtype=torch.float64))
    ours = x = torch.tensor([[1.0, -0.7, 0.4]], dtype=torch.float64) * grid[0]
    for level, right, step in zip(grid[:-1], grid[1:], theirs.timesteps, strict=True):
        one = torch.tensor(1.0, dtype=torch.float64)
        noise = (x - law.denoise(x, one, one * level)) / level
        x = theirs.step(noise, step, x).prev_sample
        data = law.denoise(ours, one, one * level)
        ours = data + right / level * (ours - data)
        assert torch.allclose(x, ours, rtol=1e-5)


def test_diffusers_ddim_walks_exactly_our_grid(grid):
    """DDIMScheduler made from our alphas_cumprod: one trained level per step, walked in order."""
    diffusers = pytest.importorskip("diffusers", reason="optional witness, not installed: pip install .[oracle]")
    values = designs.Grid("mixed", 0.01, grid, error_of(Field(np.ones(1), np.ones(1)), grid)).values
    rising = np.array(values["alphas_cumprod"])[::-1]  # data to noise, as a trained schedule is stored
    betas = 1 - rising / np.concatenate([[1.0], rising[:-1]])
    theirs = diffusers.DDIMScheduler(len(rising), trained_betas=betas, clip_sample=False, set_alpha_to_one=True)
    theirs.set_timesteps(len(rising))
    law = Gaussian(torch.tensor([4.0, 0.5, 0.01], dtype=torch.float64))
    one = torch.tensor(1.0, dtype=torch.float64)
    ours = torch.tensor([[1.0, -0.7, 0.4]], dtype=torch.float64) * grid[0]  # noise/signal units: x/signal
    x = ours * values["alphas_cumprod"][0] ** 0.5
    for number, (level, right, step) in enumerate(zip(grid[:-1], grid[1:], theirs.timesteps, strict=True)):
        signal = values["alphas_cumprod"][number] ** 0.5
        data = law.denoise(x, one * signal, one * signal * level)
        x = theirs.step((x - signal * data) / (signal * level), int(step), x).prev_sample
        known = law.denoise(ours, one, one * level)
        ours = known + right / level * (ours - known)
        after = values["alphas_cumprod"][number + 1] ** 0.5 if right > 0 else 1.0
        assert torch.allclose(x / after, ours, rtol=1e-5)
