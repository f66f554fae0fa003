"""The sweep with a generator whose samples are known: a Gaussian image law, its exact denoiser, theory's samplers, no network.

BITE: counting Heun's steps as evaluations, overlapping ranges of seeds, a journal that ignores its key or keeps a cut line,
or a reference that leaves out the second half turns a test here red.
"""

from __future__ import annotations

import json
import logging
import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from imagenet import evaluate, gallery, metric, quality, targets
from imagenet.evaluate import Sweep, sweep
from imagenet.extractor import Components
from imagenet.reference import Pictures, Reference, reference
from theory.sampler import DDIM, Ancestral, Flow, HeunNoiseToSignal, Step, grid, last, walk
from theory.schedule import truncated_cosine
from theory.stream import Stream
from theory.target import Gaussian

SIZE, CLASSES, DIM = 8, 3, 5
PIXELS = 3 * SIZE**2


def law(label: int) -> Gaussian:
    """Class `label`: a mean colour of its own, and variance that falls along the pixels: mean 0 … ±0.4, deviation .2 to .04."""
    mean = torch.zeros(3, SIZE, SIZE, dtype=torch.float64)
    mean[label] = 0.4
    ramp = torch.linspace(0.2, 0.04, SIZE, dtype=torch.float64) ** 2
    return Gaussian(ramp.repeat(3 * SIZE), mean.flatten())


def to_pixels(x: Tensor) -> Tensor:
    return ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).unflatten(-1, (3, SIZE, SIZE))


@dataclass(frozen=True)
class Toy:
    """The exact generator of `law`: what imagenet's networks are an approximation of."""

    identity: str = "toy"
    shrink: float = 1.0  # a wrong denoiser, for a model that is worse
    seen: list[tuple[str, int, int]] = field(default_factory=list)
    schedule_ends: float = 8.0

    def evaluations_per_step(self, sampler: str) -> int:
        return self._step(sampler, 0).evaluations

    def _step(self, sampler: str, first: int) -> Step:
        known = {"DDIM": DDIM(), "Heun": HeunNoiseToSignal(), "ancestral": Ancestral(Stream(7), 0.2, first)}
        return known[sampler]

    def evaluations(self, sampler: str, steps: int) -> float:
        return steps * self.evaluations_per_step(sampler)

    def labels(self, first: int, count: int) -> Tensor | None:
        return torch.arange(first, first + count) % CLASSES

    def sample(self, sampler: str, steps: int, first: int, count: int) -> Tensor:
        self.seen.append((sampler, steps, first))
        labels = self.labels(first, count)
        x = Stream(5).normal(count, (PIXELS,), first)
        means = torch.stack([law(k).mean for k in range(CLASSES)])[labels]
        variance = law(0).variance

        def denoise(z: Tensor, signal: Tensor, noise: Tensor) -> Tensor:
            gain = signal * variance / (signal**2 * variance + noise**2)
            return self.shrink * (means + gain * (z - signal * means))

        flow = Flow(truncated_cosine(self.schedule_ends, -self.schedule_ends), denoise)
        return to_pixels(last(walk(flow, x, grid(steps), self._step(sampler, first))))


@dataclass(frozen=True)
class Real(Toy):
    """Draws from the law itself: what a perfect generator gives."""

    def sample(self, sampler: str, steps: int, first: int, count: int) -> Tensor:
        return photographs(torch.arange(first, first + count), seed=99)


def photographs(positions: Tensor, seed: int = 1) -> Tensor:
    stream = Stream(seed)
    return torch.cat([to_pixels(law(int(k) % CLASSES).sample(1, stream, int(k))) for k in positions])


def pictures(count: int = 600, seed: int = 1) -> Pictures:
    images = photographs(torch.arange(count), seed)
    names = tuple(f"class {k}" for k in range(CLASSES))
    return Pictures(SIZE, torch.arange(count) % CLASSES, names, f"toy {count} {seed}", lambda at: images[at])


@pytest.fixture(scope="module")
def data() -> Pictures:
    return pictures()


@pytest.fixture(scope="module")
def components(data: Pictures) -> Components:
    return Components.fit(data.images, len(data), DIM)


SETTINGS = Sweep(evaluations=(2, 4, 8, 64), samplers=("DDIM", "Heun"), images=150, seed_ranges=2, batch=60)


@pytest.fixture(scope="module")
def compared(data: Pictures, components: Components) -> Reference:
    return reference(data, [components], SETTINGS.images, held_out=pictures(200, seed=2), taper=None)


@pytest.fixture(scope="module")
def found(compared: Reference, components: Components) -> xr.Dataset:
    return sweep(Toy(), compared, [components], SETTINGS)


# ---- the reference ----------------------------------------------------------------------------------------------------


def test_reference_sees_every_training_image_once(compared: Reference, data: Pictures, components: Components) -> None:
    seen = compared.seen[0]
    assert seen.moments.count == len(data)
    features = components(data.images(torch.arange(len(data)))).double()
    torch.testing.assert_close(seen.moments.mean, features.mean(0), rtol=0, atol=1e-6)
    torch.testing.assert_close(seen.moments.covariance, torch.cov(features.T), rtol=1e-6, atol=1e-6)
    assert (seen.floor_count, seen.held_out_count, len(seen.real)) == (150, 200, 150)
    assert seen.agreement > 0.95  # classes two deviations apart in many pixels
    assert 0 < seen.floor < 1


def test_reference_is_kept_and_read_back(tmp_path: Path, data: Pictures, components: Components) -> None:
    first = reference(data, [components], 100, cache=tmp_path)
    file = next(tmp_path.iterdir())

    def unread(_: Tensor) -> Tensor:
        raise AssertionError("the images must not be read again")

    again = reference(replace(data, images=unread), [components], 100, cache=tmp_path)
    assert torch.equal(again.power, first.power)
    assert torch.equal(again.seen[0].moments.scatter, first.seen[0].moments.scatter)
    assert (again.seen[0].label, again.seen[0].floor, again.fingerprint) == (
        first.seen[0].label,
        first.seen[0].floor,
        first.fingerprint,
    )
    assert math.isnan(again.seen[0].held_out)
    with pytest.raises(AssertionError):  # another number of images is another reference
        reference(replace(data, images=unread), [components], 101, cache=tmp_path)
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"cannot be read.*remedy: delete it"):
        reference(data, [components], 100, cache=tmp_path)


def test_a_limit_takes_that_many_images(data: Pictures, components: Components) -> None:
    assert reference(data, [components], 50, limit=100).seen[0].moments.count == 100


def test_too_few_images_are_refused_before_any_is_read(data: Pictures, components: Components) -> None:
    with pytest.raises(ValueError, match=r"too few images for FD-PCA \(5\): 5 generated images for 5 features"):
        reference(data, [components], 5)
    with pytest.raises(ValueError, match="5 training images for 5 features"):
        reference(data, [components], 50, limit=5)


# ---- the sweep --------------------------------------------------------------------------------------------------------


def test_more_evaluations_come_closer_until_they_are_as_good_as_the_law(
    found: xr.Dataset, compared: Reference, components: Components
) -> None:
    distance = found["frechet"].isel(extractor=0).mean("seed_range")
    for sampler in SETTINGS.samplers:
        curve = distance.sel(sampler=sampler)
        assert float(curve.sel(evaluations=2)) > 3 * float(curve.sel(evaluations=64))
    perfect = sweep(Real(identity="real"), compared, [components], replace(SETTINGS, evaluations=(2,), samplers=("DDIM",)))
    # Two samples of one law: equal up to the error of each, here a few tenths; first seen .2 and .2
    assert float(distance.sel(evaluations=64).min()) < 1.5 * float(perfect["frechet"].mean())
    bands = found["rapsd_distance"].mean("seed_range").sel(sampler="DDIM")
    assert bool((bands.sel(evaluations=64) < bands.sel(evaluations=2)).all())


def test_heun_gets_half_the_steps_for_the_same_evaluations(found: xr.Dataset) -> None:
    steps = found["steps"].isel(seed_range=0)
    assert steps.sel(sampler="DDIM").values.tolist() == [2, 4, 8, 64]
    assert steps.sel(sampler="Heun").values.tolist() == [1, 2, 4, 32]
    assert bool((found["nfe"] == found["evaluations"]).all())


def test_classes_asked_are_classes_found(found: xr.Dataset) -> None:
    last_budget = found.sel(evaluations=64)
    assert float(last_budget["class_agreement"].min()) > 0.9
    assert float(last_budget["class_error"].max()) < 0.1  # counting noise √(3/(2π·150)) = .06
    assert float(last_budget["precision"].min()) > 0.5
    assert float(last_budget["recall"].min()) > 0.5


def test_ranges_of_seeds_are_disjoint(compared: Reference, components: Components) -> None:
    toy = Toy()
    sweep(toy, compared, [components], replace(SETTINGS, evaluations=(2,), samplers=("DDIM",), first=10))
    assert [first for _, _, first in toy.seen] == [10, 70, 130, 160, 220, 280]


def test_results_do_not_depend_on_the_batch(compared: Reference, components: Components) -> None:
    small = replace(SETTINGS, evaluations=(4,), samplers=("ancestral",), seed_ranges=1)
    one, two = (sweep(Toy(), compared, [components], replace(small, batch=size)) for size in (150, 37))
    for name in ("frechet", "precision", "recall", "class_error", "class_agreement", "power"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5, err_msg=name)


def test_unconditional_samples_are_held_against_the_data(compared: Reference, components: Components) -> None:
    @dataclass(frozen=True)
    class Unlabelled(Real):
        def labels(self, first: int, count: int) -> Tensor | None:
            return None

    small = replace(SETTINGS, evaluations=(4,), samplers=("DDIM",), seed_ranges=1)
    got = sweep(Unlabelled(), compared, [components], small)
    assert bool(got["class_agreement"].isnull().all())
    assert float(got["class_error"].max()) < 0.1


def test_bad_input_is_refused_before_any_image(compared: Reference, components: Components) -> None:
    toy = Toy()
    with pytest.raises(ValueError, match=r"a budget of 1 evaluations for Heun; allowed: ≥ 2"):
        sweep(toy, compared, [components], replace(SETTINGS, evaluations=(1, 4)))
    with pytest.raises(ValueError, match="too few images"):
        sweep(toy, compared, [components], replace(SETTINGS, images=DIM))
    with pytest.raises(ValueError, match=r"images = 3; allowed: > 3, the neighbours"):
        evaluate.check(toy, replace(SETTINGS, images=3))
    seen = replace(compared.seen[0], real=compared.seen[0].real[:3])
    with pytest.raises(ValueError, match=r"a reference that keeps 3 training images; allowed: > 3"):
        sweep(toy, replace(compared, seen=(seen,)), [components], SETTINGS)
    for minutes in (-1.0, math.nan):
        with pytest.raises(ValueError, match=rf"max_minutes = {minutes}; allowed: ≥ 0; remedy: "):
            sweep(toy, compared, [components], SETTINGS, max_minutes=minutes)
    with pytest.raises(ValueError, match="allowed: those of the reference"):
        sweep(toy, compared, [], SETTINGS)
    for name, value in (("evaluations", ()), ("samplers", ("DDIM", "DDIM")), ("images", 0), ("batch", 0), ("first", -1)):
        with pytest.raises(ValueError, match=name):
            replace(SETTINGS, **{name: value})
    assert not toy.seen

    @dataclass(frozen=True)
    class Wrong(Toy):
        def sample(self, sampler: str, steps: int, first: int, count: int) -> Tensor:
            return super().sample(sampler, steps, first, count).float()

    with pytest.raises(ValueError, match=r"the generator gave torch.float32 .*allowed: uint8 \(60, 3, 8, 8\)"):
        sweep(Wrong(), compared, [components], SETTINGS)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 32])
def test_the_remedy_for_too_few_images_is_one(count: int) -> None:
    """BITE: for one image it was pca=1, which that image is too few for as well."""
    with pytest.raises(ValueError, match=rf"too few images for FD: {count} images .*; remedy: raise") as raised:
        metric.require_enough(count, 40, "FD")
    advised = re.search(r"pca=(\d+)", str(raised.value))
    assert (advised is None) == (count < 2)
    if advised:
        metric.require_enough(count, int(advised[1]), "FD")


def test_classes_and_sizes_of_another_data_set_are_refused(compared: Reference, components: Components, data: Pictures) -> None:
    @dataclass(frozen=True)
    class Other(Toy):
        def labels(self, first: int, count: int) -> Tensor | None:
            return super().labels(first, count) + 1

        def sample(self, sampler: str, steps: int, first: int, count: int) -> Tensor:
            return photographs(torch.arange(first, first + count))

    with pytest.raises(ValueError, match=r"asks for the classes 1 … 3; allowed: 0 … 2"):
        sweep(Other(), compared, [components], SETTINGS)
    with pytest.raises(ValueError, match="held-out images of 16 px; allowed: 8 px"):
        reference(data, [components], 100, held_out=replace(data, size=16))


# ---- the journal ------------------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_from_its_finished_points(
    tmp_path: Path, compared: Reference, components: Components, found: xr.Dataset
) -> None:
    @dataclass(frozen=True)
    class Mortal(Toy):
        def sample(self, sampler: str, steps: int, first: int, count: int) -> Tensor:
            if len(self.seen) == 10:  # in the middle of the fourth point of three batches
                raise Killed
            return super().sample(sampler, steps, first, count)

    journal = tmp_path / "journal.jsonl"
    with pytest.raises(Killed):
        sweep(Mortal(), compared, [components], SETTINGS, journal)
    assert len(journal.read_text().splitlines()) == 3
    with journal.open("a") as opened:
        opened.write('{"key": "cut in the mid')  # as a power failure leaves it
    toy = Toy()
    whole = sweep(toy, compared, [components], SETTINGS, journal)
    assert len(toy.seen) == 3 * (len(SETTINGS.points()) - 3)
    for name in ("frechet", "rapsd_distance", "class_error", "recall", "nfe"):
        np.testing.assert_array_equal(whole[name], found[name], err_msg=name)
    assert whole.attrs["points_done"] == whole.attrs["points_asked"] == 16
    more = sweep(toy, compared, [components], replace(SETTINGS, evaluations=(2, 4)), journal)
    assert len(toy.seen) == 3 * 13  # a part of what is there: nothing new
    np.testing.assert_array_equal(more["frechet"], found["frechet"].sel(evaluations=[2, 4]))


def test_a_journal_of_another_model_or_setting_is_not_used(tmp_path: Path, compared: Reference, components: Components) -> None:
    journal, small = tmp_path / "journal.jsonl", replace(SETTINGS, evaluations=(2,), samplers=("DDIM",), seed_ranges=1)
    sweep(Toy(), compared, [components], small, journal)
    other = Toy(identity="other")
    sweep(other, compared, [components], small, journal)
    assert len(other.seen) == 3
    fewer = Toy()
    sweep(fewer, compared, [components], replace(small, images=100), journal)
    assert len(fewer.seen) == 2
    assert len(journal.read_text().splitlines()) == 3
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([lines[0], "not json", lines[2]]) + "\n")
    with pytest.raises(ValueError, match=r"line 2 of .*remedy: delete it"):
        sweep(Toy(), compared, [components], small, journal)


def test_no_point_is_begun_after_the_time_is_up(
    tmp_path: Path, compared: Reference, components: Components, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        part = sweep(Toy(), compared, [components], SETTINGS, tmp_path / "journal.jsonl", max_minutes=0)
    assert part.attrs["points_done"] == 0
    assert bool(part["frechet"].isnull().all())
    assert "0 of 16 points" in caplog.text
    assert quality.NOT_RUN in quality.table(part)


def test_dataset_is_saved_with_and_without_h5netcdf(tmp_path: Path, found: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = evaluate.settings_of(SETTINGS)
    evaluate.save(found, tmp_path / "a.nc", settings, 3)
    with monkeypatch.context() as patch:
        patch.setattr(evaluate.importlib.util, "find_spec", lambda name: None)
        evaluate.save(found, tmp_path / "b.nc", settings, 3)
    assert (tmp_path / "b.nc").read_bytes()[:3] == b"CDF"
    for name in ("a.nc", "b.nc"):
        again = xr.load_dataset(tmp_path / name, engine="h5netcdf" if name == "a.nc" else "scipy")
        np.testing.assert_array_equal(again["frechet"], found["frechet"])
        assert again["band"].values.tolist() == ["1", "2–4"]
        assert json.loads(again.attrs["settings"])["images"] == 150
        assert again.attrs["seed"] == 3


# ---- tables and figures -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def joined(found: xr.Dataset, compared: Reference, components: Components) -> xr.Dataset:
    worse = sweep(Toy(identity="worse", shrink=0.9), compared, [components], SETTINGS)
    return quality.combine({"baseline": worse, "spectral": found})


def test_spread_is_the_standard_error_over_ranges() -> None:
    values = xr.DataArray([[1.0, 2, 3], [5, np.nan, np.nan], [1, 3, np.nan]], dims=("k", "seed_range"))
    mean, error = quality.spread(values)
    assert mean.values.tolist() == [2, 5, 2]
    np.testing.assert_allclose(error, [1 / 3**0.5, np.nan, 1])


def test_gain_is_relative_to_the_baseline_with_its_error(joined: xr.Dataset) -> None:
    better, error = quality.gain(joined, "spectral", "baseline")
    one = joined["frechet"].mean("seed_range").isel(extractor=0).sel(sampler="DDIM", evaluations=64)
    wanted = 1 - float(one.sel(model="spectral")) / float(one.sel(model="baseline"))
    assert float(better.isel(extractor=0).sel(sampler="DDIM", evaluations=64)) == pytest.approx(wanted)
    assert 0 < wanted < 1
    assert bool((error > 0).all())


def test_sweeps_of_unlike_settings_are_not_joined(found: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="b has images = 77; allowed: 150"):
        quality.combine({"a": found, "b": found.assign_attrs(images=77)})


def test_table_has_n_beside_every_distance_and_the_papers_numbers_as_targets(joined: xr.Dataset) -> None:
    text = quality.table(joined, ("spectral", "baseline"))
    assert "FD-PCA (5), N = 150 | FD-PCA (5), N → ∞ | precision | recall |" in text
    assert "inception score" not in text
    assert "inception score" in quality.table(joined.assign(inception_score=joined["inception_score"].fillna(2.0)))
    assert text.count("| spectral | DDIM |") == 4
    assert "reference of 600 training images" in text
    assert "(N = 200)" in text
    without = joined.assign(held_out_images=joined["held_out_images"] * 0, floor=joined["floor"] * np.nan)
    assert "One half of them against the other: too few images (N = 150). Photographs kept out of training: none given." in (
        quality.table(without)
    )
    rows = [line for line in text.splitlines() if "arXiv" in line]
    assert len(rows) == len(targets.TARGETS)
    assert all(row.endswith("| not run here |") for row in rows)  # FD-PCA is no FID
    assert any("15 %" in row and "32" in row and "2603.19222" in row for row in rows)
    assert all(targets.SECOND_HAND in row for row in rows)
    assert quality.table(joined.sel(model="spectral", drop=True))


def test_a_run_fills_a_target_only_with_fid_at_its_size_and_number_of_images(joined: xr.Dataset) -> None:
    fid = joined.assign_coords(extractor=["FID"], evaluations=[2, 4, 8, 32])
    fid.attrs |= {"size": 256, "images": targets.EQUAL_IMAGES}
    text = quality.targets(fid, ("spectral", "baseline"))
    rows = [line.split("|") for line in text.splitlines() if "arXiv" in line]
    filled = [row[-2].strip() != quality.NOT_RUN for row in rows]
    assert filled == [True, True, False, False, True]
    assert "(DDIM)" in rows[-1][-2]
    fid.attrs["images"] -= 1
    assert quality.targets(fid, ("spectral", "baseline")).count(quality.NOT_RUN) == len(targets.TARGETS)


def test_figures_are_drawn(joined: xr.Dataset, tmp_path: Path) -> None:
    from matplotlib import pyplot as plt

    from theory import record

    with record.style():
        for name, figure in {
            "quality": quality.draw_quality(joined),
            "spectra": quality.draw_spectra(joined, "DDIM"),
            "single": quality.draw_quality(joined.sel(model="spectral", drop=True), samplers=["DDIM"]),
        }.items():
            record.save_figure(figure, tmp_path / f"{name}.svg")
            panels = np.array(figure.axes)
            for axes in panels:
                at = axes.get_subplotspec()
                assert axes.get_xlabel() or not at.is_last_row()
                assert axes.get_ylabel() or not at.is_first_col()
            plt.close(figure)


def test_a_sheet_holds_the_pixels_themselves() -> None:
    import base64
    import io

    from PIL import Image

    images = {name: photographs(torch.arange(2), seed) for seed, name in enumerate(("baseline & more", "spectral"))}
    text = quality.sheet(images, ["<cat>", "dog"], gap=1)
    root = ElementTree.fromstring(text)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words == ["baseline & more", "spectral", "<cat>", "dog"]
    picture = next(root.iter("{http://www.w3.org/2000/svg}image"))
    code = picture.attrib["{http://www.w3.org/1999/xlink}href"].partition(",")[2]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(code))))
    assert pixels.shape == (2 * SIZE + 1, 2 * SIZE + 1, 3)
    np.testing.assert_array_equal(pixels[SIZE + 1 :, :SIZE], images["baseline & more"][1].permute(1, 2, 0))
    assert "pixelated" in picture.attrib["style"]


def test_sheets_of_unlike_or_too_many_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="remedy: draw the same images"):
        quality.sheet({"a": photographs(torch.arange(2)), "b": photographs(torch.arange(3))}, ["1", "2"])
    monkeypatch.setattr(quality, "_LARGEST_SHEET", 100)
    with pytest.raises(ValueError, match="remedy: fewer rows"):
        quality.sheet({"a": photographs(torch.arange(2))}, ["1", "2"])


def test_a_sheet_of_large_images_is_a_jpeg_of_allowed_size() -> None:
    """BITE: a thousand classes, or eight at 256 px, were refused after hours of sampling."""
    noise = torch.randint(256, (8, 3, 256, 256), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    text = quality.sheet({"a": noise, "b": noise}, [str(k) for k in range(8)])
    assert "data:image/jpeg;base64," in text
    assert len(text) <= quality._LARGEST_SHEET


def test_the_gallery_shows_at_most_so_many_classes() -> None:
    @dataclass
    class Pack:
        labels: torch.Tensor
        class_names: list[str]

        def take(self, at: torch.Tensor) -> tuple[torch.Tensor]:
            return (at,)

    pack = Pack(torch.arange(1000).repeat_interleave(3), [f"class {k}" for k in range(1000)])
    rows, columns = gallery._photographs(pack, 2, 4)  # type: ignore[arg-type]
    assert rows == [f"class {k}" for k in (125, 125, 375, 375, 625, 625, 875, 875)]
    assert pack.labels[columns["data"]].tolist() == [int(row.split()[1]) for row in rows]
    assert len(gallery._photographs(pack, 1, 1000)[0]) == 1000  # type: ignore[arg-type]


def test_a_steering_strip_names_what_was_steered() -> None:
    images = torch.stack([photographs(torch.arange(2))] * 3)
    text = quality.steering_strip(images, [(0.8, 1.0), (1.0, 1.0), (1.2, 2.0)], ["a", "b"])
    words = [element.text for element in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert words[:3] == ["slope ×0.8", "as drawn", "slope ×1.2 power ×2"]


# ---- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "4,x"], "allowed: whole numbers, such as 4,8,16"),
        (["--samplers", "DDIM,RK45"], "sampler 'RK45'; allowed: Euler, Heun"),
        (["--images", "0"], "images = 0; allowed: ≥ 1"),
        (["--max-minutes", "-1"], "-1.0; allowed: > 0; remedy: leave it out"),
        (["--max-minutes", "nan"], "nan; allowed: > 0; remedy: leave it out"),
        (["--device", "cpu:3"], "device = 'cpu:3'; allowed: auto, cpu, cuda"),
        (["--graphs", "--device", "cpu"], "--graphs on device = cpu; allowed: cuda"),
        (["--gamma", "2"], "allowed: 0 ≤ γ ≤ 1"),
        ([], "no pack in"),
    ],
)
def test_the_command_answers_mistakes_with_what_is_allowed(arguments: list[str], message: str, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from imagenet.commands.evaluate import command

    start = [str(tmp_path / "none"), "--data", str(tmp_path / "pack"), "--out", str(tmp_path / "evaluation")]
    found = CliRunner().invoke(command, [*start, *arguments])
    assert found.exit_code != 0
    assert message in found.output
    assert isinstance(found.exception, SystemExit)
    assert not (tmp_path / "evaluation").exists()
