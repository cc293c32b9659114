"""Personalisation: train a LoRA on a set of images, for surrogates and for experiments."""
