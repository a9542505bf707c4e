"""Shared constructors of variants, each for one form of mechanism."""
