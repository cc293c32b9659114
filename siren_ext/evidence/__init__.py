"""Commitments: what an owner fixes before a test, so it can't be chosen afterwards."""
