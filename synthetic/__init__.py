"""Experiments on laws whose answers are known exactly: one module per claim, named by what it shows."""
