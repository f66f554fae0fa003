"""The network: before training, its symmetries, its parts against their definitions, and where its values come from."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from imagenet import model as models
from imagenet.blocks import (
    Attention,
    Conv,
    Linear,
    ResidualBlock,
    TransformerBlock,
    film_of_groups,
    film_of_tokens,
    group_count,
    head_width,
    rotate,
    rotation_table,
)
from imagenet.count import configuration
from imagenet.model import ResidualUViT, initialise
from imagenet.settings import Model, SettingsError

CLASSES = 5
NANO = configuration("nano16")
PATCHED = Model("patched", 16, 2, (8, 12, 16), "RTT", (1, 2), 1, 24)  # patches, a T level with a skip, odd head widths
FREQUENCY = ResidualUViT(NANO, 1).noise[0].frequency.double()
ALONE = 1e-5  # an image in a batch against it alone, float32: other kernels, other sums; values are of order 1


def network(settings: Model = NANO, *, told: bool = True, seed: int = 0, live: bool = True) -> ResidualUViT:
    """In float64; `live`: zero-initialised layers drawn too, so that every part acts."""
    net = ResidualUViT(settings, CLASSES, told, seed).double()
    net.reset_buffers()  # the tables in float64
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in net.parameters():
            if live and not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.2)
    return net


def call_of(settings: Model = NANO, batch: int = 3, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 3, settings.resolution, settings.resolution, generator=generator, dtype=dtype)
    labels = torch.arange(batch) % CLASSES
    log_snr = torch.linspace(-6, 6, batch, dtype=dtype)
    return images, labels, log_snr, torch.full_like(log_snr, 9.0), torch.full_like(log_snr, -8.0)


# ---- before training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [NANO, PATCHED, configuration("nano32")], ids=lambda s: s.name)
@pytest.mark.parametrize("told", [True, False])
def test_a_new_network_predicts_exactly_zero_in_the_images_shape(settings: Model, told: bool) -> None:
    call = call_of(settings, dtype=torch.float32)
    prediction = ResidualUViT(settings, CLASSES, told)(*call)
    assert prediction.shape == call[0].shape
    assert prediction.dtype == torch.float32
    assert (prediction == 0).all()


@pytest.mark.parametrize("settings", [NANO, PATCHED], ids=lambda s: s.name)
def test_the_trunk_of_a_new_network_is_the_identity(settings: Model) -> None:
    """Zero branches leave x at h_low, so Up(x − h_low) + h_high = h_high: bit for bit, at every level."""
    net = network(settings, live=False)
    side = settings.resolution // settings.patch
    x = torch.randn(2, settings.channels[0], side, side, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    condition = torch.randn(2, settings.embedding, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    assert torch.equal(net.trunk(x, condition), x)


def test_going_up_adds_what_the_middle_changed() -> None:
    """With the fine blocks idle, the trunk is x + nearest(mix(change)), change = middle(h_low) − h_low: written out anew."""
    net = network(live=False)
    for block in net.middle:
        nn.init.normal_(block.narrow.weight, generator=torch.Generator().manual_seed(1))
    x = torch.randn(2, 32, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    condition = torch.randn(2, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    mean = x.reshape(2, 32, 8, 2, 8, 2).mean((3, 5))
    low = torch.einsum("oi,bihw->bohw", net.down[0].mix.weight[:, :, 0, 0], mean)
    after = low
    for block in net.middle:
        after = block(after, condition, net.rotation_1)
    change = torch.einsum("oi,bihw->bohw", net.up[0].mix.weight[:, :, 0, 0], after - low)
    assert change.abs().max() > 0.1
    expected = x + change.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(net.trunk(x, condition), expected, rtol=0, atol=1e-12)


# ---- what an output depends on -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [NANO, PATCHED], ids=lambda s: s.name)
def test_a_batch_is_each_image_alone(settings: Model) -> None:
    net, call = network(settings).float(), call_of(settings, 5, torch.float32)
    net.reset_buffers()
    with torch.no_grad():
        together = net(*call)
        alone = torch.cat([net(*(part[k : k + 1] for part in call)) for k in range(5)])
    assert together.abs().mean() > 0.1
    torch.testing.assert_close(together, alone, rtol=0, atol=ALONE * together.abs().max().item())


def test_the_null_label_changes_only_the_class() -> None:
    """The null row set to a class's row gives that class's prediction: nothing else looks at the label."""
    net, call = network(), call_of()
    null = torch.full_like(call[1], CLASSES)
    with torch.no_grad():
        labelled, dropped = net(*call), net(call[0], null, *call[2:])
        assert (labelled - dropped).flatten(1).abs().amax(1).min() > 1e-3
        net.labels.weight[CLASSES] = net.labels.weight[2]
        two = net(call[0], torch.full_like(null, 2), *call[2:])
        assert torch.equal(net(call[0], null, *call[2:]), two)
    with pytest.raises(IndexError):
        net(call[0], null + 1, *call[2:])


@pytest.mark.parametrize("place", [2, 3, 4])
def test_each_log_snr_is_heard_and_the_ends_only_when_told(place: int) -> None:
    call = call_of()
    other = tuple(part + 0.05 if k == place else part for k, part in enumerate(call))
    for told in (True, False):
        net = network(told=told)
        with torch.no_grad():
            moved = (net(*call) - net(*other)).flatten(1).abs().amax(1)
        assert (moved > 1e-4).all() if told or place == 2 else (moved == 0).all()
    assert len(network(told=False).noise) == 1


@given(st.floats(-20, 20), st.floats(0.05, 30))
def test_no_two_noise_levels_share_their_features(log_snr: float, apart: float) -> None:
    """Sines and cosines of λ and λ + apart differ by more than rounding, for every pair with |λ| ≤ 50."""
    angles = torch.tensor([[log_snr], [log_snr + apart]], dtype=torch.float64) * FREQUENCY
    features = torch.cat((angles.cos(), angles.sin()), -1)
    assert (features[0] - features[1]).abs().max() > 0.1


def test_images_of_another_size_are_refused() -> None:
    net, call = network(), call_of(batch=2)
    with pytest.raises(ValueError, match=r"\(2, 3, 16, 8\).*nano16; allowed: \(batch, 3, 16, 16\); remedy"):
        net(call[0][..., :8], *call[1:])


# ---- the parts against their definitions -------------------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(0, 7), st.integers(0, 7), st.integers(0, 10**6))
def test_scores_depend_on_differences_of_rows_and_columns(quarter: int, down: int, right: int, seed: int) -> None:
    """⟨R(p)q, R(p')k⟩ = ⟨R(p + s)q, R(p' + s)k⟩; 1e-5: the table is float32."""
    side, width = 16, 4 * quarter
    table = rotation_table(side, width)
    generator = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, width, generator=generator, dtype=torch.float64)
    row, column, other_row, other_column = torch.randint(0, 8, (4,), generator=generator).tolist()

    def score(shift_row: int, shift_column: int) -> Tensor:
        at = [(row + shift_row) * side + column + shift_column, (other_row + shift_row) * side + other_column + shift_column]
        pair = torch.stack((query, key)).reshape(1, 2, 1, 1, width)
        turned = rotate(pair, table[:, at])
        return turned[0, 0].flatten() @ turned[0, 1].flatten()

    scale = query.norm() * key.norm()
    assert abs(score(0, 0) - score(down, right)) < 1e-5 * scale


def test_rotation_tells_rows_from_columns_and_keeps_lengths() -> None:
    table = rotation_table(8, 16)
    x = torch.randn(1, 1, 2, 1, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).expand(1, 64, 2, 1, 16)
    turned = rotate(x, table)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-6, atol=0)
    grid = turned[0, :, 0, 0].reshape(8, 8, 16)
    assert torch.equal(grid[0, 0], x[0, 0, 0, 0])
    pairs = (grid - grid[0, 0]).abs().reshape(8, 8, 2, 8).amax(2)
    assert (pairs[0, 1:, :4] == 0).all()  # along a row, the pairs of rows stand still
    assert (pairs[1:, 0, 4:] == 0).all()
    assert (pairs[1:, 0, :4].amax(-1) > 0.1).all()
    assert (pairs[0, 1:, 4:].amax(-1) > 0.1).all()


def test_attention_is_its_formula() -> None:
    """Heads one by one: softmax(q̂·k̂ᵀ/√width) v, q̂ and k̂ root-mean-square normed, scaled, turned."""
    layer = Attention(24, 12).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=generator)
    table, x = rotation_table(3, 12), torch.randn(2, 9, 24, generator=generator, dtype=torch.float64)
    query, key, value = (layer.inner(x)[..., 24 * k : 24 * k + 24] for k in range(3))
    cosine, sine = table.double()[..., 6:]
    heads = []
    for head in range(2):
        part = slice(12 * head, 12 * head + 12)
        turned = []
        for which, rows in ((0, query[..., part]), (1, key[..., part])):
            normed = rows / (rows.square().mean(-1, keepdim=True) + 1e-6).sqrt() * layer.scale.weight[which, 0]
            first, second = normed[..., :6], normed[..., 6:]
            turned.append(torch.cat((first * cosine - second * sine, first * sine + second * cosine), -1))
        weights = (turned[0] @ turned[1].transpose(1, 2) / math.sqrt(12)).softmax(-1)
        heads.append(weights @ value[..., part])
    torch.testing.assert_close(layer(x, table), layer.outer(torch.cat(heads, -1)), rtol=1e-10, atol=1e-10)


def test_norms_are_their_formulas_and_stay_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 4, 4, generator=generator, dtype=torch.float64) * 3 + 1
    scale, shift = torch.randn(2, 2, 8, generator=generator, dtype=torch.float64)
    groups = x.reshape(2, 2, -1)
    normed = (groups - groups.mean(-1, keepdim=True)) / (groups.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
    expected = (1 + scale)[..., None, None] * normed.reshape(x.shape) + shift[..., None, None]
    torch.testing.assert_close(film_of_groups(x, 2, scale, shift), expected, rtol=1e-10, atol=1e-10)
    tokens = x.flatten(2).transpose(1, 2)
    expected = (1 + scale)[:, None] * tokens / (tokens.square().mean(-1, keepdim=True) + 1e-6).sqrt() + shift[:, None]
    torch.testing.assert_close(film_of_tokens(tokens, scale, shift), expected, rtol=1e-10, atol=1e-10)
    assert film_of_groups(x.bfloat16(), 2, scale.bfloat16(), shift.bfloat16()).dtype == torch.float32
    assert film_of_tokens(tokens.bfloat16(), scale.bfloat16(), shift.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("kind", ["R", "T"])
def test_gradients_of_a_block_against_differences(kind: str) -> None:
    block = (ResidualBlock(4, 3) if kind == "R" else TransformerBlock(4, 3, 4, 0.0)).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator)
    x, condition = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((2, 4, 2, 2), (2, 3)))
    table = rotation_table(2, 4)
    assert torch.autograd.gradcheck(lambda *v: block(*v, table), (x.requires_grad_(), condition.requires_grad_()))


@given(st.integers(1, 1200))
def test_groups_and_heads_divide_the_channels(channels: int) -> None:
    groups = group_count(channels)
    assert channels % groups == 0
    assert groups <= 32
    assert groups == 1 or channels // groups >= 4
    if channels % 4 == 0:
        width = head_width(channels, 64)
        assert channels % width == 0
        assert width % 4 == 0
        assert width <= 64
    else:
        with pytest.raises(ValueError, match=f"channels = {channels} with head_dim = 64.*allowed: multiples of 4; remedy"):
            head_width(channels, 64)


def test_groups_and_heads_of_the_configurations() -> None:
    assert [group_count(c) for c in (32, 48, 96, 128, 256, 512)] == [8, 12, 24, 32, 32, 32]
    assert [head_width(c, 64) for c in (64, 96, 256, 384, 512, 768, 1024)] == [64, 48, 64, 64, 64, 64, 64]


# ---- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [NANO, PATCHED], ids=lambda s: s.name)
def test_gradients_reach_every_parameter(settings: Model) -> None:
    """Of a new network only the head's last layer has one; each step opens what lies behind, and after three steps all move."""
    net, call = ResidualUViT(settings, CLASSES), call_of(settings, 6, torch.float32)
    call = (call[0], torch.arange(6), *call[2:])  # all rows of the table, the null row too
    optimiser = torch.optim.SGD(net.parameters(), lr=0.5)
    reached = []
    for _ in range(4):
        optimiser.zero_grad()
        (net(*call) - call[0]).square().mean().backward()
        reached.append({name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()})
        optimiser.step()
    assert reached[0] == {"head.pixels.weight", "head.pixels.bias"}
    assert reached[3] == {name for name, _ in net.named_parameters()}
    assert all(p.grad is not None and p.grad[k].any() for p in (net.labels.weight,) for k in range(6))


def test_recomputing_blocks_changes_no_bit_and_repeats_dropout() -> None:
    settings = dataclasses.replace(NANO, dropout=0.3)
    results = []
    for recompute in (False, True):
        net, call = network(settings), call_of()
        net.checkpointing = recompute
        torch.manual_seed(7)  # dropout alone draws from the global state
        loss = net(*call).square().mean()
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in net.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_dropout_is_in_transformer_blocks_and_only_while_training() -> None:
    net, call = network(dataclasses.replace(NANO, dropout=0.5)), call_of()
    torch.manual_seed(0)
    with torch.no_grad():
        assert not torch.equal(net(*call), net(*call))
        assert torch.equal(net.eval()(*call), net(*call))
        net.train()
        for block in net.middle:
            block.dropout = 0.0
        assert torch.equal(net(*call), net(*call))


def test_autocast_stays_near_float32() -> None:
    """bfloat16 keeps 8 bits: 3 % of the output's size after ten layers, and the result is float32."""
    net, call = network().float(), call_of(dtype=torch.float32)
    net.reset_buffers()
    with torch.no_grad():
        exact = net(*call)
        with torch.autocast("cpu", torch.bfloat16):
            rough = net(*call)
    assert rough.dtype == torch.float32
    error = (rough - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert 1e-5 < error < 0.03


def test_blocks_compile_whole() -> None:
    """Every kind of block is one graph (no fall-back to python inside), and compiled gives what it gives."""
    net, call = network(), call_of()
    with torch.no_grad():
        plain = net(*call)
        for block in net.blocks():
            block.compile(backend="eager", fullgraph=True)
        torch.testing.assert_close(net(*call), plain, rtol=0, atol=1e-12)


def test_blocks_are_all_blocks_in_the_order_of_the_pass() -> None:
    net, seen = network(PATCHED), []
    for block in net.blocks():
        block.register_forward_hook(lambda module, *_: seen.append(module))
    net(*call_of(PATCHED))
    assert seen == net.blocks()
    assert len(seen) == 2 * sum(PATCHED.blocks) + PATCHED.middle
    assert {*seen} == {m for m in net.modules() if isinstance(m, ResidualBlock | TransformerBlock)}


def test_memory_format_is_channels_last_inside() -> None:
    """Then a transformer level needs no copy: the grid seen as tokens is the same memory."""
    net, call = network(PATCHED), call_of(PATCHED)
    layouts = []
    for block in net.blocks():
        block.register_forward_hook(lambda _, given, out: layouts.append((given[0], out)))
    net(*call)
    assert all(x.is_contiguous(memory_format=torch.channels_last) for pair in layouts for x in pair)


# ---- where values come from --------------------------------------------------------------------------------------------


def test_values_are_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = ResidualUViT(NANO, CLASSES, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = ResidualUViT(NANO, CLASSES, seed=3), ResidualUViT(NANO, CLASSES, seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    drawn = [(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True) if a.unique().numel() > 2]
    assert len(drawn) == 21  # labels; 3 × 2 of λ; patches; down; up; 2 R × 1; 2 T × (inner, wide); 5 FiLM; all else is fixed
    assert not any(torch.equal(a, b) for a, b in drawn)


def test_networks_share_the_blocks_they_have_in_common() -> None:
    small, deep = (ResidualUViT(dataclasses.replace(NANO, middle=m), CLASSES).state_dict() for m in (2, 4))
    assert {*small} < {*deep}
    assert all(torch.equal(value, deep[name]) for name, value in small.items())


def test_drawn_weights_have_the_stated_spread() -> None:
    """Variance 1/inputs, .3² of it for FiLM, 0 for last layers; margin 5 standard errors of a variance of n normals, √(2/n)."""
    for name, layer in ResidualUViT(configuration("nano32"), CLASSES).named_modules():
        if isinstance(layer, Linear | Conv):
            weight = layer.weight.detach().double()
            fan = weight[0].numel()
            last = name.endswith(("second", "attention.outer", "narrow", "pixels"))
            ratio = weight.square().mean().item() * fan / (0.09 if name.endswith("film") else 1)
            assert ratio == 0 if last else abs(ratio - 1) < 5 * math.sqrt(2 / weight.numel()), name
            assert layer.bias is None or not layer.bias.any()


def test_meta_gives_shapes_and_to_empty_then_initialise_gives_the_network() -> None:
    with torch.device("meta"):
        shapes = ResidualUViT(PATCHED, CLASSES, seed=3)
        made = shapes(*(part.to("meta") for part in call_of(PATCHED, dtype=torch.float32)))
    assert made.shape == (3, 3, 16, 16)
    assert made.is_meta
    real = ResidualUViT(PATCHED, CLASSES, seed=3)
    assert {n: (p.shape, p.dtype) for n, p in real.named_parameters()} == {
        n: (p.shape, p.dtype) for n, p in shapes.named_parameters()
    }
    filled = shapes.to_empty(device="cpu")
    for value in (*filled.parameters(), *filled.buffers()):
        nn.init.constant_(value, torch.nan)
    initialise(filled, 3)
    assert all(torch.equal(a, b) for a, b in zip(filled.buffers(), real.buffers(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(filled.parameters(), real.parameters(), strict=True))


def test_tables_are_in_no_checkpoint_and_come_back() -> None:
    net = ResidualUViT(PATCHED, CLASSES)
    state = net.state_dict()
    assert not {name for name, _ in net.named_buffers()} & {*state}
    with torch.device("meta"):
        loaded = ResidualUViT(PATCHED, CLASSES)
    loaded.to_empty(device="cpu").load_state_dict(state)
    loaded.reset_buffers()
    call = call_of(PATCHED, dtype=torch.float32)
    assert torch.equal(loaded.condition(*call[1:]), net.condition(*call[1:]))
    assert torch.equal(loaded.rotation_1, net.rotation_1)


# ---- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 15}, r"resolution 15 px, patch 1 and 2 levels; allowed: a multiple of .* = 2; remedy: .*1[46] px"),
        ({"resolution": 20, "patch": 4}, r"resolution 20 px, patch 4.* = 8; remedy"),
        ({"channels": (32, 48, 64)}, r"different lengths.*'channels': 3.*; allowed: 3 types and 2 numbers.*; remedy"),
        ({"types": "RRT"}, r"different lengths.*'types': 3.*; remedy"),
        ({"blocks": (1, 1)}, r"different lengths.*'blocks \+ middle': 3.*; remedy"),
        ({"types": "QT"}, r"types = 'QT'; allowed: the letters R and T; remedy"),
        ({"types": "RR"}, r"types = 'RR'; allowed: T at the last level; remedy"),
        ({"middle": 0}, r"of 0; allowed: ≥ 1; remedy"),
        ({"dropout": 1.0}, r"dropout = 1.0; allowed: 0 ≤ dropout < 1; remedy"),
    ],
)
def test_settings_that_make_no_network_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        dataclasses.replace(NANO, **change)


def test_channels_that_heads_cannot_share_and_no_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"channels = 66 with head_dim = 64.*; allowed: multiples of 4; remedy"):
        ResidualUViT(dataclasses.replace(NANO, channels=(32, 66)), CLASSES)
    with pytest.raises(ValueError, match=r"classes = 0; allowed: ≥ 1; remedy"):
        ResidualUViT(NANO, 0)
    assert models.feature_count(128) == 32
