"""Benchmarks of speed and memory: training, attention, variants; beside PyTorch where it can."""
