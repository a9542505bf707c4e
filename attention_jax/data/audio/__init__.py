"""Recordings: readers, spectrograms, datasets and batches."""
