"""Batches of iterable data: which samples of each source they have, and how these are read."""
