"""Coaters trained on an image set against a surrogate diffusion model."""
