"""What fails while a network runs, by kind: memory, and compilers; and a network that goes on without its compiler."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from imagenet.objective import Network

log = logging.getLogger(__name__)


def of_compiler(error: BaseException) -> bool:
    """Whether torch's compiler, or one that it calls, is what failed."""
    return any(kind.__module__.startswith(("torch._dynamo", "torch._inductor", "triton")) for kind in type(error).__mro__)


def out_of_memory(error: BaseException) -> bool:
    """CUDA's kind of error, the message of its driver or libraries, or that of the processor's allocator."""
    said = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in str(error) for words in said)


class Fallback:
    """A network by its quick form, compiled or recorded, until that fails; from then on as it is, with one warning."""

    def __init__(self, quick: Network, plain: Network) -> None:
        self.quick: Network | None = quick
        self.plain = plain

    def __call__(self, z: Tensor, labels: Tensor, log_snr: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """Raises what the network itself raises, and what says that memory was not enough."""
        if self.quick is not None:
            try:
                return self.quick(z, labels, log_snr, start, end)
            except Exception as error:  # of compilers and drivers, which have no common kind
                if out_of_memory(error):
                    raise
                said = str(error).partition("\n")[0]
                log.warning("going on without compiler and CUDA graphs, as they failed (%s: %s)", type(error).__name__, said)
                self.quick = None
        return self.plain(z, labels, log_snr, start, end)
