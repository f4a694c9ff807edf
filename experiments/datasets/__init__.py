"""Data as tensors in memory: one path for every method."""
