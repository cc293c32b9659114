"""Coats images as they come: a watched folder, and an HTTP service."""
