"""The benchmark: every task of the paper, every method, on equal terms; ``python -m experiments --help``."""
