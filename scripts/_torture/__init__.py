"""Runs are killed, damaged and starved on purpose; see `scripts/torture`."""
