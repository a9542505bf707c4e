"""Sentence pairs as people keep them: one reader for each format, and filters."""
