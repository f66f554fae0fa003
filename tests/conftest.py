"""Hypothesis draws the same examples on every machine, and a slow machine fails no test."""

from hypothesis import settings

settings.register_profile("house", deadline=None, derandomize=True, max_examples=20, print_blob=False)
settings.load_profile("house")
