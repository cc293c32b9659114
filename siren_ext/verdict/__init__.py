"""Turns scores, and a key if there is one, into a verdict in plain words."""
