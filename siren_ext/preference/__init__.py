"""Keyed evidence from a model's own weights: which messages does it denoise better?"""
