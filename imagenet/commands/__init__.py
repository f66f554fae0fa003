"""The commands of `python -m imagenet`, one module each, with a click command called `command`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    import torch

AGAIN = 75  # exit code: --max-minutes were over, what is done is saved, the same command continues (EX_TEMPFAIL of sysexits.h)


def device_named(name: str, graphs: bool = False) -> torch.device:
    """auto: CUDA if it is there. Raises ValueError for a device that is not, or that has no CUDA graphs if it needs them."""
    import torch  # seconds that --help need not

    from imagenet import distributed

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = distributed.device_of(name, int(os.environ.get("LOCAL_RANK", "0")))
    if device.type == "cpu" and name != "cpu":  # torch takes any number for the one there is
        raise ValueError(f"device = {name!r}; allowed: auto, cpu, cuda, cuda:N; remedy: --device cpu")
    if graphs and device.type != "cuda":
        raise ValueError(f"--graphs on device = {device}; allowed: cuda, cuda:N; remedy: leave --graphs out")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def refusal(error: BaseException) -> click.ClickException:
    """An error as the one line a command ends with; what the system says alone gets what is allowed and a remedy."""
    text = str(error)
    if isinstance(error, OSError) and "; allowed: " not in text:
        text += "; allowed: paths that can be read and written, on a disk with room; remedy: check them, then start again"
    return click.ClickException(text)


def too_large(error: BaseException, what: str, remedy: str) -> click.ClickException:
    """Memory that was not enough as one line. Raises `error` itself if it is of another kind."""
    from imagenet.failures import out_of_memory  # torch's kinds of error; seconds that --help need not

    if not out_of_memory(error):
        raise error
    return click.ClickException(f"out of memory with {what}; allowed: what fits; remedy: {remedy}")
