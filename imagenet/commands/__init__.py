"""The commands of `python -m imagenet`, one module each, with a click command called `command`."""

from __future__ import annotations

import click


def refusal(error: BaseException) -> click.ClickException:
    """An error as the one line a command ends with; what the system says alone gets what is allowed and a remedy."""
    text = str(error)[:2000]  # a name of thousands of letters says no more than its beginning
    if "; allowed: " not in text:
        text += "; allowed: a path that can be read or written, on a disk with room" if isinstance(error, OSError) else ""
        text += (
            "; remedy: check paths, rights and free space, then start the same command again"
            if isinstance(error, OSError)
            else ""
        )
    return click.ClickException(text)


def too_large(error: BaseException, what: str, remedy: str) -> click.ClickException:
    """Memory that was not enough as one line. Raises `error` itself if it is of another kind."""
    from imagenet.trainer import out_of_memory  # torch's kinds of error; seconds that --help need not

    if not out_of_memory(error):
        raise error
    return click.ClickException(f"out of memory with {what}; allowed: what fits; remedy: {remedy}")
