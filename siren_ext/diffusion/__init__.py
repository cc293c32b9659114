"""Diffusion models of any family: opened from folders and checkpoints, sampled, scored."""
