"""The commands of `python -m imagenet`, one module each, with a click command called `command`."""
