"""Classical training: plain shuffled batches, blind to the groups."""

from experiments.methods.method import Method


class Classical(Method):
    """Plain shuffled batches."""

    name = "classical"
    summary = "plain shuffled batches, blind to the groups"
