"""Counts: frozen numbers, the published ones, another counter, and memory against a real pass."""

from __future__ import annotations

import dataclasses
import functools
import time

import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode

from imagenet import count as counts
from imagenet.commands.count import command
from imagenet.model import ResidualUViT
from imagenet.settings import Model, SettingsError

# name: parameters, and MAC of convolutions, of linear maps, of attention. Frozen: a change of the network shows here.
FROZEN = {
    "nano16": (311_971, 9_748_480, 6_459_392, 1_048_576),
    "nano32": (1_041_948, 43_352_064, 21_758_976, 2_359_296),
    "small32": (24_240_259, 1_238_106_112, 1_493_762_048, 153_092_096),
    "in64-s": (43_057_548, 1_244_659_712, 2_428_567_552, 167_772_160),
    "in64-b": (162_343_043, 9_851_371_520, 8_713_666_560, 343_932_928),
    "in128-b": (325_052_044, 14_709_424_128, 17_810_063_360, 536_870_912),
    "in128-L": (325_049_731, 58_799_947_776, 70_960_283_648, 8_589_934_592),
    "in256-b": (325_061_296, 14_747_172_864, 17_810_063_360, 536_870_912),
    "in256-L": (325_052_044, 58_837_696_512, 70_960_283_648, 8_589_934_592),
    "in256-X": (325_049_731, 235_199_791_104, 283_561_164_800, 137_438_953_472),
    "in512-L": (325_061_296, 58_988_691_456, 70_960_283_648, 8_589_934_592),
    "in512-X": (325_052_044, 235_350_786_048, 283_561_164_800, 137_438_953_472),
}

# The plan of these networks, as printed: GMAC of a forward pass; million parameters with one embedding of λ, no FiLM
# behind the first norm of R nor in the head.
PLANNED = {
    "nano16": (".017", None),
    "nano32": (".067", None),
    "small32": ("2.9", 23),
    "in64-s": ("3.8", 42),
    "in64-b": ("18.9", 156),
    "in128-b": ("33", 317),
    "in128-L": ("138", 317),
    "in256-b": ("33", 317),
    "in256-L": ("138", 317),
    "in256-X": ("656", 317),
    "in512-L": ("138", 317),
    "in512-X": ("656", 317),
}


@functools.cache
def counted_of(name: str) -> counts.Count:
    return counts.count(counts.configuration(name))


def test_every_configuration_is_frozen() -> None:
    assert counts.names() == list(FROZEN)
    for name in FROZEN:
        assert counts.configuration(name).name == name


@pytest.mark.parametrize("name", FROZEN)
def test_counts_are_the_frozen_ones(name: str) -> None:
    counted = counted_of(name)
    assert (counted.parameters, *(counted.kinds[kind] for kind in ("conv", "linear", "attention"))) == FROZEN[name]
    assert counted.flop == 2 * counted.mac == 2 * sum(FROZEN[name][1:])


@pytest.mark.parametrize("name", PLANNED)
def test_counts_agree_with_the_plan_to_its_printed_digits(name: str) -> None:
    settings = counts.configuration(name)
    counted, (printed, millions) = counted_of(name), PLANNED[name]
    # in512-L prints 138.54: its patches of 4 px cost .15 more than those of in128-L, which the plan gives one figure.
    unit = 10 ** -len(printed.partition(".")[2])
    assert abs(counted.mac / 1e9 - float(printed)) <= unit * (0.55 if name == "in512-L" else 0.5)
    if millions is None:
        return
    first_films = sum(
        2 * settings.blocks[level] * 2 * settings.channels[level] * (settings.embedding + 1)
        for level, kind in enumerate(settings.types)
        if kind == "R"
    )
    head_film = 2 * settings.channels[0] * (settings.embedding + 1)
    planned = counts.count(settings, told=False).parameters - first_films - head_film
    assert round(planned / 1e6) == millions


@pytest.mark.parametrize(("name", "published"), [("in128-L", 137.4), ("in256-X", 652.8)])
def test_blocks_alone_cost_what_sid2_publishes(name: str, published: float) -> None:
    """137 and 653 "Gflops", which are multiply-adds: 3×3 convolutions, 12·channels² a token, and attention."""
    settings = counts.configuration(name)
    total, grid = 0, settings.resolution // settings.patch
    for level, (channels, kind) in enumerate(zip(settings.channels, settings.types, strict=True)):
        tokens = (grid // 2**level) ** 2
        repeats = settings.middle if level == 3 else 2 * settings.blocks[level]
        each = 18 * channels**2 if kind == "R" else 12 * channels**2 + 2 * tokens * channels
        total += repeats * tokens * each
    assert round(total / 1e9, 1) == published
    counted = counted_of(name)
    # Beside the blocks: six 1×1 maps between levels, patches, head, FiLM, embeddings. Under 1 %.
    assert 0 < counted.mac - total < 0.01 * total


@pytest.mark.parametrize("name", ["nano16", "nano32", "small32", "in64-b", "in128-b", "in256-X", "in512-L"])
def test_counts_agree_with_torchs_own_counter(name: str) -> None:
    """FlopCounterMode sees the operations that reach the device, 2 FLOP a multiply-add; it knows nothing of our layers."""
    settings = counts.configuration(name)
    with torch.device("meta"):
        model = ResidualUViT(settings, counts.usual_classes(settings))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*counts.inputs(settings, 2))
    assert counter.get_total_flops() == 2 * counted_of(name).flop


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_kept_is_what_a_real_pass_keeps(precision: str, recompute: bool) -> None:
    """Equal to the byte without recomputation; with it, the real pass shows inputs and what is outside blocks, not the peak."""
    settings, batch = counts.configuration("nano16"), 3
    model = ResidualUViT(settings, 10)
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    seen: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            seen[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
    ):
        output = model(*counts.inputs(settings, batch, "cpu"))
    real = sum(tensor.untyped_storage().nbytes() for tensor in seen.values())
    assert output.requires_grad
    estimate = counts.kept(settings, precision, recompute).of(batch)
    if recompute:
        assert 0.2 * real < estimate < 0.6 * real
    else:
        assert estimate == real


def test_memory_adds_up_and_recomputing_saves() -> None:
    settings = counts.configuration("in64-b")
    plain, again = (counts.memory(settings, 8, "bfloat16", recompute) for recompute in (False, True))
    parameters = FROZEN["in64-b"][0]
    assert [plain[name] // parameters for name in ("weights", "gradients", "Adam", "average")] == [4, 4, 8, 4]
    assert plain["total"] == sum(size for name, size in plain.items() if name != "total")
    assert again["activations"] < 0.3 * plain["activations"]


def test_speed_at_a_share_of_the_peak() -> None:
    """An H200 at 20 and 40 %: 238 and 477 images/s of in256-L, six FLOP a MAC."""
    counted = counts.count(counts.configuration("in256-L"))
    assert [round(counts.throughput(counted, counts.peak_of("H200"), mfu)) for mfu in (0.2, 0.4)] == [238, 476]
    assert counts.throughput(counted, 1e12, 1.0) == pytest.approx(1e12 / (6 * counted.mac))
    assert counts.throughput(counted, 1e12, 1.0, recompute=True) == pytest.approx(1e12 / (8 * counted.mac))


def test_a_forward_pass_of_in128_b_is_really_executed() -> None:
    """33 billion multiply-adds at batch 1 in float32, 1.3 GB of weights: shapes and layers hold outside the meta device."""
    settings = counts.configuration("in128-b")
    began = time.process_time()
    model = ResidualUViT(settings, 1000)
    with torch.no_grad():
        torch.nn.init.normal_(model.head.pixels.weight, std=0.02, generator=torch.Generator().manual_seed(0))
        images = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
        prediction = model(images, *counts.inputs(settings, 1, "cpu")[1:])
    assert prediction.shape == (1, 3, 128, 128)
    assert prediction.isfinite().all()
    assert 0.01 < prediction.std() < 1
    assert time.process_time() - began < 60


def test_bad_input_is_answered_with_what_is_allowed(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"model 'in32'; allowed: in128-L, .*nano16.*; remedy"):
        counts.configuration("in32")
    with pytest.raises(SettingsError, match="do not exist"):
        counts.configuration(str(tmp_path / "absent.yaml"))
    with pytest.raises(ValueError, match=r"accelerator 'H300'; allowed: A100, .*; remedy"):
        counts.peak_of("H300")
    with pytest.raises(ValueError, match=r"utilisation = 1.5; allowed: 0 < MFU ≤ 1; remedy"):
        counts.throughput(counts.count(counts.configuration("nano16")), 1e12, 1.5)
    with pytest.raises(ValueError, match=r"micro-batch = 0; allowed: ≥ 1 image; remedy"):
        counts.memory(counts.configuration("nano16"), 0)
    with pytest.raises(TypeError, match=r"layer ReLU; allowed: Attention, Conv, Linear; remedy"):
        counts.mac_of(torch.nn.ReLU(), torch.zeros(1), torch.zeros(1))


def test_the_command_prints_a_table_and_answers_mistakes(tmp_path) -> None:
    shown = CliRunner().invoke(command, ["in256-L", "--mfu", ".2", "--micro-batch", "4"])
    assert shown.exit_code == 0, shown.output
    row = next(line for line in shown.output.splitlines() if line.startswith("in256-L")).split()
    assert row[:6] == ["in256-L", "256", "2", "325,052,044", "138.4", "276.8"]
    assert row[-1] == "238"
    wrong = CliRunner().invoke(command, ["in32"])
    assert wrong.exit_code == 1
    assert "allowed: in128-L" in wrong.output
    file = tmp_path / "mine.yaml"
    file.write_text((counts.CONFIGURATIONS / "nano16.yaml").read_text().replace("patch: 1", "patch: 5"))
    refused = CliRunner().invoke(command, [str(file)])
    assert refused.exit_code == 1
    assert "multiple of patch·2^(levels − 1) = 10" in refused.output
    assert "Traceback" not in refused.output


def test_configurations_differ_from_sid2_only_where_they_say() -> None:
    """The seven of 128 px and up are one network on other grids."""
    trunks: set[Model] = {
        dataclasses.replace(counts.configuration(name), name="", resolution=128, patch=1)
        for name in FROZEN
        if counts.configuration(name).resolution >= 128
    }
    assert len(trunks) == 1
    assert next(iter(trunks)).channels == (128, 256, 512, 1024)
