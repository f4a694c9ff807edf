"""The benchmark: every task of the paper, every method, on equal terms.

A *task* (data, model, settings) x a *method* (how batches are made and losses weighed) x a *seed* is a *run*,
and a run is one JSON file. ``python -m experiments --help`` tells the rest.
"""
