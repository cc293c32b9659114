"""Coats with several processes on one machine, and with many machines through Ray."""
