"""Experiments on real images, from the spectra of photographs on."""
