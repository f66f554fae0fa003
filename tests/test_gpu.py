"""The run on a GPU, as far as a processor can show it: the same command in pieces, killed and resumed, with few libraries."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from imagenet import checkpoint, count, gpu, gpu_bench, gpu_page, gpu_plan, gpu_results
from imagenet.settings import SettingsError, as_dict, build, load, read

ROOT = Path(__file__).resolve().parents[1]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # as many sums as threads: bits depend on it

# What a machine with a GPU must have: our own code may load these, and nobody may load what the rest of the project needs.
SEVEN = ["torch", "numpy", "scipy", "sklearn", "PIL", "xarray", "tqdm"]
REFUSED = [
    "click", "yaml", "matplotlib", "seaborn", "h5netcdf", "h5py", "netCDF4", "jsonschema", "skimage", "snakemake", "pyarrow",
    "torchvision", "tensorboard", "cairosvg", "hypothesis", "pytest", "torch_fidelity", "datasets", "statsmodels", "diffusers",
]  # fmt: skip
REFUSING = f"""
import os, runpy, sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

ours = {["theory", "imagenet", "synthetic"]!r}
known = {SEVEN!r} + ours

def asked_by_us():
    frame = sys._getframe(2)
    while frame is not None and "importlib" in frame.f_code.co_filename:
        frame = frame.f_back
    place = os.path.relpath(frame.f_code.co_filename, {str(ROOT)!r}) if frame is not None else ""
    return place.split(os.sep)[0] in ours

class Few:
    @staticmethod
    def find_spec(name, path=None, target=None):
        top = name.partition(".")[0]
        strange = top not in known and top not in sys.stdlib_module_names and asked_by_us()
        return None if top in {REFUSED!r} or strange else PathFinder.find_spec(name, path, target)

    find_distributions = PathFinder.find_distributions

sys.meta_path = [BuiltinImporter, FrozenImporter, Few]
runpy.run_module("imagenet.gpu", run_name="__main__", alter_sys=True)
"""


def _micro(folder: Path) -> Path:
    """The nano plan, smaller still: every piece, in seconds."""
    plan = json.loads((gpu_plan.CONFIGURATIONS / "nano.json").read_text(encoding="utf-8"))
    plan |= {"size": "micro", "patches": 12, "part_megabytes": 0.3}
    plan["training"] |= {"steps": 16, "batch": 8, "checkpoint_every": 4, "log_every": 4}
    plan["arms"] = [*plan["arms"][:2], plan["arms"][-1] | {"steps": 4}]
    plan["sampling"] |= {
        "evaluations": [2, 4],
        "images": 12,
        "batch": 12,
        "components": 3,
        "tried_at": 2,
        "ablated": [2],
        "gammas": [1.0],
    }
    plan["sampling"] |= {"shown": [2], "samplers": ["DDIM"], "weights": [1.5]}
    plan["benchmark"] |= {"batches": [2], "seconds": 0.01, "repeats": 2, "generation": [2], "generation_batch": 2}
    plan["benchmark"] |= {"mixture_dimensions": [100], "mixture_rows": [2], "spin_dimensions": [20], "spin_rows": [2]}
    file = folder / "micro.json"
    file.write_text(json.dumps(plan), encoding="utf-8")
    # An .npz pack, as CIFAR-10 would come: 48 made-up images of four colours, rough as photographs are (power ∝ 1/f²).
    generator = np.random.default_rng(0)
    waves = np.hypot(*np.meshgrid(np.fft.fftfreq(16), np.fft.fftfreq(16)))[..., None] + 1 / 16
    rough = np.fft.ifft2(np.fft.fft2(generator.standard_normal((48, 16, 16, 3)), axes=(1, 2)) / waves, axes=(1, 2)).real
    colour = generator.uniform(80, 170, (4, 1, 1, 3)).repeat(12, 0)
    np.savez(folder / "made-up.npz", images=np.clip(colour + 8 * rough, 0, 255).astype(np.uint8), labels=np.arange(48) // 12)
    return file


def _command(plan: Path, folder: Path, *more: str) -> list[str]:
    data = str(plan.with_name("made-up.npz"))
    options = ["--size", str(plan), "--device", "cpu", "--data", data, "--folder", str(folder), *more]
    return [sys.executable, "-c", REFUSING, "run", *options]


def _run(plan: Path, folder: Path, *more: str) -> str:
    done = subprocess.run(
        _command(plan, folder, *more), cwd=ROOT, capture_output=True, text=True, timeout=600, check=False, env=ONE_THREAD
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _kill_when(plan: Path, folder: Path, pattern: str) -> None:
    """SIGKILL as soon as a file of this pattern is there."""
    process = subprocess.Popen(
        _command(plan, folder), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, env=ONE_THREAD
    )
    until = time.monotonic() + 300
    while not list(folder.glob(pattern)) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, f"it ended before {pattern} was there"


def test_killed_and_resumed_gives_the_same_files(tmp_path):
    """Kills in the middle of a training and of a sweep; then the same numbers as without."""
    plan, straight, broken = _micro(tmp_path), tmp_path / "straight", tmp_path / "broken"
    assert "nothing is left to do" in _run(plan, straight)
    _kill_when(plan, broken, "train/spectral-mixed/checkpoints/*.pt")
    assert not (broken / "networks" / "spectral-mixed").is_dir()
    _kill_when(plan, broken, "sweeps/*.jsonl")
    assert "nothing is left to do" in _run(plan, broken)
    for name in ("quality-off.nc", "quality-best.nc", "ablations.nc"):
        ours, theirs = (xr.load_dataset(folder / "report" / name, engine="scipy") for folder in (broken, straight))
        for dataset in (ours, theirs):
            dataset.attrs.pop("commit")  # which may change while the test runs
        timings = ["seconds", "images_per_second"]
        xr.testing.assert_identical(ours.drop_vars(timings), theirs.drop_vars(timings))
        assert bool(np.isfinite(ours["frechet"]).all())
    for name in ("guidance.json", "samples.npz"):
        assert (broken / "report" / name).read_bytes() == (straight / "report" / name).read_bytes()
    for arm in ("baseline", "spectral-mixed"):
        ours, theirs = (checkpoint.load_network(f / "networks" / arm / "network.pt")[2] for f in (broken, straight))
        assert checkpoint.digest(dict(ours.state_dict())) == checkpoint.digest(dict(theirs.state_dict()))
        assert len(list((broken / "networks" / arm).glob("network.pt.*"))) > 1  # stored in parts
    _check_page(straight / "report")


def _check_page(report: Path) -> None:
    """The page of a run on a processor says what it is, and none of its numbers counts."""
    page = (report / "gpu.md").read_text(encoding="utf-8")
    assert "device = cpu: a test of the path, no result" in page
    assert f"**State: {gpu_results.NOT_RUN}.**" in page
    found = gpu_results.found_in(report.parent, (report.name,))
    assert found[0].provenance["device"] == "cpu"
    assert all(row.state == gpu_results.NOT_RUN for row in gpu_results.targets(found))
    about = found[0].provenance
    assert {"commit", "hardware", "versions", "seeds", "data", "pieces", "plan"} <= set(about)
    assert {piece["piece"] for piece in about["pieces"]} >= {"pack", "train:baseline", "bench:samplers", "sweep:baseline:best"}
    assert set(found[0].bench) == {"training-nano16", "generation", "schedules", "samplers"}
    assert sum(file.stat().st_size for file in report.rglob("*")) < 5e6


# ---- plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", gpu_plan.sizes())
def test_plans_hold_the_networks_of_the_configuration(size):
    plan = gpu_plan.read_plan(size)
    for model in (plan.model, *plan.benchmark.models):
        file = ROOT / "config" / "model" / f"{model.name}.yaml"
        assert as_dict(model) == as_dict(build(type(model), load(file), str(file)))
    for arm in plan.arms:
        assert plan.run(arm).seed == plan.seed
    assert plan.baseline.noise.kind == "shifted cosine"
    assert (plan.spectral.noise.kind, plan.spectral.noise.shape) == ("spectral", "mixed")


def test_the_size_of_the_targets_is_that_of_the_issue():
    plan = gpu_plan.read_plan("small32")
    assert as_dict(plan.training) == as_dict(read(ROOT / "config" / "runs" / "small32.yaml").training)
    assert plan.sampling.evaluations == (4, 8, 16, 32, 64, 128, 256)
    assert (plan.sampling.images, plan.sampling.seed_ranges) == (10_000, 3)
    assert [model.name for model in plan.benchmark.models] == ["small32", "in64-b", "in128-b", "in128-L", "in256-L", "in512-L"]
    site = gpu.site_of("small32", "cpu", data="embedded")
    long = [p.name for p in gpu.pieces_of(site) if p.minutes > 9]
    assert not long, f"pieces that cannot stop before nine minutes: {long}"


def test_mistakes_are_answered_before_any_work(tmp_path):
    with pytest.raises(SettingsError, match="size = 'huge'; allowed: nano, small32"):
        gpu.site_of("huge", "cpu")
    with pytest.raises(ValueError, match=r"data = gone.npz is not there; allowed: .*; remedy"):
        gpu.site_of("nano", "cpu", data="gone.npz")
    with pytest.raises(ValueError, match="no data for size small32"):
        gpu.run(gpu.site_of("small32", "cpu", folder=tmp_path / "a"))
    assert not (tmp_path / "a").exists()
    with pytest.raises(ValueError, match="piece 'dance'; allowed: pack, "):
        gpu.run(gpu.site_of("nano", "cpu", folder=tmp_path / "b"), only=["dance"])
    site = gpu.site_of("nano", "cpu", folder=tmp_path / "c")
    gpu.claim(site)
    with pytest.raises(ValueError, match="holds another run \\(data: None, asked 'embedded'\\)"):
        gpu.claim(dataclasses.replace(site, data="embedded"))
    plan = gpu_plan.read_plan("nano")
    with pytest.raises(SettingsError, match="a baseline and at least one more"):
        dataclasses.replace(plan, arms=plan.arms[:1])
    assert gpu.main(["run", "--size", "small32", "--device", "cpu"]) == 2


def test_minutes_that_are_over_leave_one_piece_done(tmp_path):
    """Each call gets on by at least a piece, however few its minutes; the next one begins after it."""
    site = gpu.site_of(str(_micro(tmp_path)), "cpu", data=str(tmp_path / "made-up.npz"), folder=tmp_path / "work")
    left = gpu.run(site, minutes=0)
    assert left[0] == "train:baseline"
    assert [entry["piece"] for entry in gpu.finished(site)] == ["pack"]
    with pytest.raises(ValueError, match="holds another run \\(plan"):
        gpu.run(dataclasses.replace(site, plan=dataclasses.replace(site.plan, seed=1)))


def test_a_line_that_was_cut_does_not_count(tmp_path):
    site = gpu.site_of("nano", "cpu", folder=tmp_path)
    gpu.note(site, [{"piece": "pack", "seconds": 1.0}])
    with (tmp_path / gpu.JOURNAL).open("a", encoding="utf-8") as opened:
        opened.write('{"piece": "train:base')
    assert [entry["piece"] for entry in gpu.finished(site)] == ["pack"]


# ---- what is measured -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nano16", "small32", "in128-L", "in512-L"])
def test_the_reference_has_equal_flop(name):
    """The stock encoder's FLOP are those of the network, to half a layer; and they are what its matrices multiply."""
    import torch

    model = count.configuration(name)
    with torch.device("meta"):
        encoder = gpu_bench.Encoder(model)
    layers = len(encoder.body.layers)
    assert abs(encoder.flop - count.count(model).flop) <= max(0.51 * encoder.flop / layers, 0.01 * encoder.flop)
    per_token = sum(w.numel() for n, w in encoder.body.named_parameters() if w.ndim == 2 and "bias" not in n)
    attention = 2 * encoder.tokens * encoder.width * layers
    assert encoder.flop == 2 * encoder.tokens * (per_token + attention)


def test_a_timing_that_fails_is_a_row(tmp_path):
    site = gpu.site_of("nano", "cpu", folder=tmp_path)
    model = site.plan.model
    import torch

    def inputs(batch):
        if batch > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return gpu_bench._inputs(model, batch, "cpu")

    network = gpu_bench.ResidualUViT(model, 10)
    rows = gpu_bench._batches(site, network, inputs, 1.0, "eager", (2, 16, 4))
    assert [(row["batch"], row.get("failed")) for row in rows] == [(2, None), (16, "out of memory")]
    assert rows[0]["mfu"] is None  # a processor's peak is not known


# ---- targets ----------------------------------------------------------------------------------------------------------


def _results(ratio: float, spread: float, device: str = "cuda") -> gpu_results.Results:
    """A sweep whose arms stand in a ratio, and benchmarks; made up."""
    plan = gpu_plan.read_plan("small32")
    budgets = list(plan.sampling.evaluations)
    base = 100 / np.sqrt(budgets)
    noise = 1 + spread * np.array([-1, 0, 1])
    values = np.stack([base[:, None] * noise, ratio * base[:, None] * noise[::-1]])  # (models, evaluations, seed ranges)
    dataset = xr.Dataset(
        {"frechet": (("model", "evaluations", "seed_range", "sampler", "extractor"), values[..., None, None])},
        coords={"model": [plan.baseline.name, plan.spectral.name], "evaluations": budgets, "seed_range": [0, 1, 2],
                "sampler": ["ancestral"], "extractor": ["FD-PCA (64)"]},
    )  # fmt: skip
    rows = [{"mode": "compiled", "batch": 64, "mfu": 0.3}, {"mode": "eager", "batch": 64, "mfu": 0.9}]
    bench = {
        "training-small32": {"rows": rows},
        "training-in128-L": {"rows": rows},
        "schedules": {"rows": [{"what": "spectral, a row per image", "ratio": 0.995, "error": 0.001}]},
        "samplers": {"mixture": [{"share": 0.5}, {"share": 0.7}]},
    }
    about = {"size": "small32", "device": device, "plan": json.loads(gpu_plan.plain(plan))}
    return gpu_results.Results(about, {"off": dataset}, bench=bench)


def _state(results, text):
    (row,) = [row for row in gpu_results.targets([results]) if row.target.startswith(text)]
    return row.state


def test_targets_are_met_missed_or_undecided():
    good = _results(0.8, 0.001)
    assert _state(good, "at least 15% better") == "met"
    assert _state(good, "not worse at 8 steps") == "met"
    assert _state(good, "the crossover") == "reported"
    assert _state(good, "small32: at least 25%") == "met"
    assert _state(good, "in128-L: at least 40%") == "missed"  # the eager row does not count
    assert _state(good, "in256-L: at least 40%") == gpu_results.NOT_RUN
    assert _state(good, "spectral schedules cost") == "met"
    assert _state(good, "mixture sampler") == "met"
    assert _state(_results(0.9, 0.001), "at least 15% better") == "missed"
    assert _state(_results(0.86, 0.1), "at least 15% better") == "undecided"
    assert _state(_results(0.84, 0.1), "at least 15% better") == "undecided"
    assert _state(_results(1.1, 0.001), "not worse at 8 steps") == "missed"
    (row,) = [row for row in gpu_results.targets([_results(1.1, 0.001)]) if row.target.startswith("the crossover")]
    assert row.measured == "worse from 4 steps on"


def test_numbers_of_a_processor_never_count():
    assert {row.state for row in gpu_results.targets([_results(0.5, 0.001, "cpu")])} == {gpu_results.NOT_RUN}
    assert {row.state for row in gpu_results.targets([])} == {gpu_results.NOT_RUN}
    assert gpu_results.judged(math.nan, math.nan, 0.1, 3) == gpu_results.NOT_RUN
    assert gpu_results.judged(1.0, math.nan, 0.1, 3) == "undecided"
    assert gpu_results.judged(1.0, 0.0, 0.1, 1) == "undecided"


def test_three_seed_ranges_have_student_s_k():
    """BITE: three standard errors above are met by two of them, but three values say so by 4.30 only, thirty by 2.05."""
    assert gpu_results.judged(0.18, 0.01, 0.15, 3) == "undecided"
    assert gpu_results.judged(0.18, 0.01, 0.15, 30) == "met"
    assert gpu_results.judged(0.10, 0.01, 0.15, 3) == "missed"
    assert gpu_results.judged(0.12, 0.01, 0.15, 3) == "undecided"
    results = _results(0.82, 0.004)  # gain .18 ± .0027: 11 standard errors
    assert _state(results, "at least 15% better") == "met"
    assert _state(_results(0.82, 0.012), "at least 15% better") == "undecided"  # 3.7 of them
    dropped = results.quality["off"].copy(deep=True)
    dropped["frechet"][1, :, 2] = math.nan  # a range not finished: two values, 12.7 standard errors
    assert gpu_results.ranges(dropped, *results.arms).max() == 2


def test_readme_is_filled_between_its_markers(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{gpu_page.BEGIN}\nold\n{gpu_page.END}\nafter\n", encoding="utf-8")
    for _ in range(2):
        gpu_page.fill_readme(readme, tmp_path / "docs" / "gpu.md", tmp_path / "none")
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{gpu_page.BEGIN}\n\nState: not yet run on a GPU.")
    assert text.endswith(f"{gpu_page.END}\nafter\n")
    assert "[docs/gpu.md](docs/gpu.md)" in text
    assert "old" not in text
    readme.write_text("nothing", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks the markers; allowed"):
        gpu_page.fill_readme(readme, tmp_path / "gpu.md")


def test_the_page_in_docs_is_the_one_the_files_make(tmp_path):
    made = gpu_page.write(tmp_path / "gpu.md", ROOT / gpu_results.REFERENCE)
    assert made.read_text(encoding="utf-8") == (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8"), (
        "docs/gpu.md is not what its files make; remedy: python -m imagenet.gpu_page"
    )
