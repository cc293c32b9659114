"""Diffusion models: loading from local folders and checkpoints, sampling, and the training loss."""
