"""Shared by all experiments: the protocol, flags, run folders, loading runs, timing."""
