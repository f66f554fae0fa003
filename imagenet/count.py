"""What a network costs before it is run: parameters, multiply-adds of one image, memory of training, images per second.

    MAC     multiply-adds of the convolutions, linear maps and attention (q·kᵀ and weights·v) of one forward pass of one image.
            Norms, activations and the rotation of positions are left out, as in published figures
    FLOP    2·MAC. SiD2 (arXiv 2410.19324) prints "Gflops" that are multiply-adds: 137 and 653 on grids of 128² and 256²
    memory  weights, gradients, Adam's two moments and an average of the weights, float32 each, and what the forward pass keeps
            for the backward pass. That is read off the saved tensors of a pass over tensors without contents, for one image
            and for two, which gives the part per image and the fixed one (weights cast to bfloat16). An estimate: work space
            of libraries is not in it, and a compiled network keeps less
    speed   images/s = MFU · peak ÷ (3·FLOP), or 4·FLOP when blocks are computed again: a backward pass costs two forward ones

Our networks have 2 to 5 % more parameters than the table they were drawn from (317 million at 128 px, 156 at 64 px with patches
of one) and the same MAC. The table does not say what it counts. Its numbers come out, 317.4, 156.3, 41.7 and 22.9 million for
in128, in64-b, in64-s and small32, without the embeddings of λ(0) and λ(1), with one FiLM in an R block where ours has one a
norm, and with none before the head: a guess, which equal MAC cannot contradict, as each of these parameters costs one an image.

The first two are exact, counted from the shapes that pass through the layers of the network itself.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from imagenet.blocks import Attention, Conv, Linear
from imagenet.model import ResidualUViT
from imagenet.settings import Model, Precision, build, load

CONFIGURATIONS = Path(__file__).resolve().parents[1] / "config" / "model"
BYTES_OF_STATE = {"weights": 4, "gradients": 4, "Adam": 8, "average": 4}  # per parameter, float32

# Dense peak in bfloat16 with float32 sums, TFLOP/s, from the vendors' data sheets (half of the figures "with sparsity").
PEAKS = {
    "A100": 312.0,
    "H100": 989.0,  # SXM
    "H100-PCIe": 756.0,
    "H100-NVL": 835.0,
    "H200": 989.0,
    "B200": 2250.0,
    "L4": 121.0,
    "L40": 181.0,
    "L40S": 362.0,
    "MI300X": 1307.0,
    "RTX-3090": 71.0,
    "RTX-4090": 165.0,
}


@dataclass(frozen=True)
class Count:
    """Of one network: parameters by part, and MAC of one image by kind of layer."""

    name: str
    parts: Mapping[str, int]
    kinds: Mapping[str, int]

    @property
    def parameters(self) -> int:
        return sum(self.parts.values())

    @property
    def mac(self) -> int:
        return sum(self.kinds.values())

    @property
    def flop(self) -> int:
        return 2 * self.mac


@dataclass(frozen=True)
class Kept:
    """Bytes that a forward pass keeps for the backward pass: per image, and whatever the batch."""

    per_image: int
    fixed: int

    def of(self, batch: int) -> int:
        return self.fixed + batch * self.per_image


def names() -> list[str]:
    """Of the configurations in config/model, the smallest network first."""
    models = [configuration(file.stem) for file in CONFIGURATIONS.glob("*.yaml")]
    return [m.name for m in sorted(models, key=lambda m: (m.resolution, -m.patch, m.embedding, m.name))]


def configuration(name: str) -> Model:
    """The settings of a name in config/model, or in a file. Raises SettingsError for neither, and for what is wrong in it."""
    file = CONFIGURATIONS / f"{name}.yaml"
    if not file.is_file() and Path(name).suffix not in (".yaml", ".json"):
        known = ", ".join(sorted(f.stem for f in CONFIGURATIONS.glob("*.yaml")))
        raise ValueError(f"model {name!r}; allowed: {known}, or a .yaml or .json file; remedy: one of them")
    path = file if file.is_file() else Path(name)
    return build(Model, load(path), str(path))


def usual_classes(settings: Model) -> int:
    """For counts: 1000 as ImageNet from 64 px up, 10 as CIFAR below."""
    return 1000 if settings.resolution >= 64 else 10


def inputs(settings: Model, batch: int, device: str = "meta") -> tuple[Tensor, ...]:
    """Arguments of a call, zeros: images, labels, λ(t), λ(0), λ(1)."""
    side = settings.resolution
    images = torch.zeros(batch, 3, side, side, device=device)
    labels = torch.zeros(batch, dtype=torch.int64, device=device)
    return images, labels, *(torch.zeros(batch, device=device) for _ in range(3))


def count(settings: Model, classes: int | None = None, told: bool = True) -> Count:
    """Parameters and MAC of one image; nothing is computed or stored, whatever the size."""
    with torch.device("meta"):
        model = ResidualUViT(settings, classes or usual_classes(settings), told)
    parts: dict[str, int] = defaultdict(int)
    for name, parameter in model.named_parameters():
        parts[name.split(".")[0]] += parameter.numel()
    kinds: dict[str, int] = defaultdict(int)

    def add(layer: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
        kind, multiplied = mac_of(layer, given[0], output)
        kinds[kind] += multiplied

    for module in model.modules():
        if isinstance(module, Attention | Conv | Linear):
            module.register_forward_hook(add)
    with torch.no_grad():
        output = model(*inputs(settings, 1))
    if output.shape != (1, 3, settings.resolution, settings.resolution):
        raise RuntimeError(
            f"{settings.name} gives {tuple(output.shape)} for an image of {settings.resolution} px: a bug of ours"
        )
    return Count(settings.name, dict(parts), dict(kinds))


def mac_of(layer: nn.Module, given: Tensor, output: Tensor) -> tuple[str, int]:
    """The kind of a layer, and its multiply-adds beyond those of layers inside it."""
    if isinstance(layer, Attention):
        batch, tokens, channels = given.shape
        return "attention", 2 * batch * tokens**2 * channels  # q·kᵀ, then weights·v
    if not isinstance(layer, Conv | Linear):
        raise TypeError(f"layer {type(layer).__name__}; allowed: Attention, Conv, Linear; remedy: say how it is counted")
    per_output = math.prod(layer.weight.shape[1:])  # inputs, times side² of a kernel
    return ("conv" if isinstance(layer, Conv) else "linear"), output.numel() * per_output


# ---- memory ------------------------------------------------------------------------------------------------------------


def kept(settings: Model, precision: Precision = "float32", recompute: bool = False, classes: int | None = None) -> Kept:
    """What a training step keeps between forward and backward pass, eager. `recompute`: inputs of blocks, and one block."""
    one, two = (_saved(settings, batch, precision, recompute, classes or usual_classes(settings)) for batch in (1, 2))
    return Kept(two - one, 2 * one - two)


def _saved(settings: Model, batch: int, precision: Precision, recompute: bool, classes: int) -> int:
    """Bytes of the distinct storages that autograd saves, parameters not counted."""
    with torch.device("meta"):
        model = ResidualUViT(settings, classes).train()
    saved: dict[int, dict[int, tuple[Tensor, int]]] = defaultdict(dict)  # by block, 0 for outside: by storage
    entered: list[int] = []
    block = 0
    with FakeTensorMode():
        state = {name: torch.empty(size, requires_grad=learned) for name, size, learned in _shapes(model)}
        own = {value.untyped_storage()._cdata for value in state.values()}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                saved[block][storage._cdata] = (tensor, storage.nbytes())  # held, or its number might be used again
            return tensor

        def enter(_: nn.Module, given: tuple[Any, ...]) -> None:
            nonlocal block
            entered.append(given[0].untyped_storage().nbytes())
            block = len(entered)

        def leave(*_: object) -> None:
            nonlocal block
            block = 0

        for module in model.blocks():
            module.register_forward_pre_hook(enter)
            module.register_forward_hook(leave)
        with (
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"),
        ):
            output = torch.func.functional_call(model, state, inputs(settings, batch, "cpu"))
        distinct = {number: size for kind in saved.values() for number, (_, size) in kind.items()}
        del output
    if not recompute:
        return sum(distinct.values())
    outside = sum(size for _, size in saved[0].values())
    largest = max(sum(size for _, size in saved[k].values()) for k in range(1, len(entered) + 1))
    return outside + sum(entered) + largest


def _shapes(model: nn.Module) -> list[tuple[str, torch.Size, bool]]:
    every = (*model.named_parameters(), *model.named_buffers())
    return [(name, value.shape, isinstance(value, nn.Parameter)) for name, value in every]


def memory(
    settings: Model, micro_batch: int, precision: Precision = "float32", recompute: bool = False, classes: int | None = None
) -> dict[str, int]:
    """Bytes of a training step on one device, unsharded: weights, gradients, Adam, average, activations, total."""
    if micro_batch < 1:
        raise ValueError(f"micro-batch = {micro_batch}; allowed: ≥ 1 image; remedy: 1")
    parameters = count(settings, classes).parameters
    parts = {name: size * parameters for name, size in BYTES_OF_STATE.items()}
    parts["activations"] = kept(settings, precision, recompute, classes).of(micro_batch)
    return parts | {"total": sum(parts.values())}


# ---- speed -------------------------------------------------------------------------------------------------------------


def peak_of(accelerator: str) -> float:
    """Dense bfloat16 peak in FLOP/s. Raises ValueError for one that is not in the table."""
    if accelerator not in PEAKS:
        raise ValueError(f"accelerator {accelerator!r}; allowed: {', '.join(PEAKS)}; remedy: the nearest, or --peak")
    return PEAKS[accelerator] * 1e12


def training_flop(counted: Count, recompute: bool = False) -> int:
    """FLOP that one image costs in a training step: forward, backward (twice that), and forward again if recomputed."""
    return (4 if recompute else 3) * counted.flop


def throughput(counted: Count, peak: float, utilisation: float, recompute: bool = False) -> float:
    """Training images per second at a share `utilisation` (MFU) of `peak` FLOP/s. Raises ValueError outside 0 < MFU ≤ 1."""
    if not 0 < utilisation <= 1:
        raise ValueError(f"utilisation = {utilisation}; allowed: 0 < MFU ≤ 1; remedy: .4 is good for a compiled network")
    return utilisation * peak / training_flop(counted, recompute)
