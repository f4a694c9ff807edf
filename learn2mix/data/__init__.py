"""Data sets whose batches are gathered at once."""

from learn2mix.data.in_memory import InMemory as InMemory

__all__ = ["InMemory"]
