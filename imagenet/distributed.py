"""Several processes as one: each computes a part of the global batch, and all hold the same weights after every step.

Started by torchrun, which sets RANK, WORLD_SIZE and LOCAL_RANK; without it there is one process and nothing here costs
anything. Tensors travel by NCCL on GPUs and gloo on processors; questions such as "was anyone told to stop?" always by
gloo, from host to host, so that they wait for no GPU.

    ddp     each process has all weights; gradients are averaged (torch's DistributedDataParallel)
    fsdp    weights, gradients, averages and optimiser state are divided among the processes (FSDP2, `fully_shard`)
"""

from __future__ import annotations

import atexit
import inspect
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

# torch.distributed.fsdp and .tensor are imported where something is divided: they take longer to load than all of ours.
if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

Sharding = Literal["ddp", "fsdp"]


class DistributedError(ValueError):
    """The processes or the device cannot do what was asked."""


@dataclass(frozen=True)
class World:
    """The processes of a training, seen from one: its rank of `size`, its device, and the group of the hosts."""

    rank: int
    size: int
    device: torch.device
    hosts: distributed.ProcessGroup | None = None

    @property
    def first(self) -> bool:
        """The one that writes files and speaks."""
        return self.rank == 0

    def part(self, batch: int) -> tuple[int, int]:
        """(start, count) of this process's positions of the global batch. Raises DistributedError unless it divides."""
        if batch % self.size:
            near = max(self.size, round(batch / self.size) * self.size)
            raise DistributedError(
                f"batch = {batch} over {self.size} processes; allowed: a multiple of that; remedy: training.batch = {near}"
            )
        return self.rank * (batch // self.size), batch // self.size

    def any(self, flag: bool) -> bool:
        """Whether it is true for any process: all get the same answer, at the same step."""
        if self.hosts is None:
            return flag
        value = torch.tensor([int(flag)])
        distributed.all_reduce(value, op=distributed.ReduceOp.MAX, group=self.hosts)
        return bool(value.item())

    def everyone(self, value: Any) -> list[Any]:
        """The plain values that the processes give, by rank: all get the same list."""
        if self.hosts is None:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self.hosts)
        return values

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes of a tensor on the device, new."""
        total = values.detach().clone()
        if self.size > 1:
            distributed.all_reduce(total)
        return total

    def wait(self) -> None:
        """Until every process is here."""
        self.any(False)


def device_of(name: str, local_rank: int = 0) -> torch.device:
    """The device called cpu, cuda or cuda:1. Raises DistributedError where it is not there, or is of another kind."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DistributedError(f"device = {name!r}; allowed: cpu, cuda, cuda:N; remedy: one of them") from error
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise DistributedError(f"device = {name!r}; allowed: cpu, cuda, cuda:N; remedy: --device cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = device.index if device.index is not None else local_rank
    if index >= count:
        raise DistributedError(
            f"device = {name} (GPU number {index}) and this process sees {count} GPUs (torch {torch.__version__}); allowed: "
            f"cpu{f', cuda:0 … cuda:{count - 1}' if count else ''}; remedy: --device cpu, fewer processes, torch with CUDA"
        )
    return torch.device("cuda", index)


def world(device: str) -> World:
    """The processes torchrun started, or this one alone. The connection lasts until the process ends.

    Raises DistributedError for a device that is not there.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    here = device_of(device, int(os.environ.get("LOCAL_RANK", "0")))
    if here.type == "cuda":
        torch.cuda.set_device(here)
    if "RANK" not in os.environ:
        return World(0, 1, here)
    if not distributed.is_initialized():  # once: the addresses of a group that has ended would confuse a second one
        distributed.init_process_group("nccl" if here.type == "cuda" else "gloo", rank=rank, world_size=size)
        atexit.register(distributed.destroy_process_group)
    return World(rank, size, here, distributed.new_group(backend="gloo"))


# ---- the network ------------------------------------------------------------------------------------------------------


def spread(network: nn.Module, blocks: Sequence[nn.Module], world: World, sharding: Sharding) -> nn.Module:
    """The network ready for several processes; itself if there is one. Sharded, each of `blocks` is gathered by itself."""
    if world.hosts is None:
        return network
    if sharding == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(world.device.type, (world.size,))
        for block in blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(network, mesh=mesh)
        return network
    if sharding != "ddp":
        raise DistributedError(f"sharding = {sharding!r}; allowed: ddp, fsdp; remedy: ddp")
    devices = [world.device.index] if world.device.type == "cuda" else None
    # Tables are the same everywhere and need not travel at every step; torch 2.13 has renamed the switch.
    known = inspect.signature(DistributedDataParallel).parameters
    switch: dict[str, Any] = {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}
    return DistributedDataParallel(network, device_ids=devices, gradient_as_bucket_view=True, **switch)


def synchronising(network: nn.Module, last: bool) -> AbstractContextManager[object]:
    """Around forward and backward of a micro-batch: gradients travel with the `last` one of a step only."""
    if _is_sharded(network):
        network.set_requires_gradient_sync(last)
    elif isinstance(network, DistributedDataParallel) and not last:
        return cast(AbstractContextManager[object], network.no_sync())
    return nullcontext()


def _is_sharded(network: nn.Module) -> TypeGuard[FSDPModule]:
    return hasattr(network, "set_requires_gradient_sync")


# ---- tensors that may be divided --------------------------------------------------------------------------------------


def is_divided(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether each process has a part of it only."""
    return hasattr(tensor, "device_mesh")


def local(tensor: Tensor) -> Tensor:
    """This process's part of a divided tensor, sharing its memory; another tensor itself."""
    return tensor.to_local() if is_divided(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of it, on the processor, as a copy. Every process must ask."""
    full = tensor.full_tensor() if is_divided(tensor) else tensor
    return full.detach().to("cpu", copy=True)


def like(part: Tensor, model: Tensor) -> Tensor:
    """A divided tensor whose local part is `part`, laid out as `model` is."""
    if not is_divided(model):
        return part
    from torch.distributed.tensor import DTensor

    return DTensor.from_local(part, model.device_mesh, model.placements, shape=model.shape, stride=model.stride())


@torch.no_grad()
def fill(target: Tensor, full: Tensor) -> None:
    """Give `target`, divided or not, the values of `full`. Every process must call."""
    if is_divided(target):
        from torch.distributed.tensor import distribute_tensor

        target.copy_(distribute_tensor(full.to(target.device, target.dtype), target.device_mesh, target.placements))
    else:
        target.copy_(full)
