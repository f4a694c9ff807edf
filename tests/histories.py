"""Histories of made-up runs, as a sampler would have written them."""

from dataclasses import replace

import numpy as np

from learn2mix.history import History


def made_up(num_groups=3, num_rows=40, *, names=None, every=10, batch_size=64, seed=0, losses=True, lag=0):
    """A run whose mix moves from the data's own, a long tail, towards a mix drawn by lot."""
    rng = np.random.default_rng(seed)
    sizes = np.maximum(20, 20_000 * 0.01 ** (np.arange(num_groups) / max(1, num_groups - 1))).astype(np.int64)
    start, goal = sizes / sizes.sum(), rng.dirichlet(np.ones(num_groups) * 2)
    way = 1 - np.exp(-4 * np.arange(num_rows)[:, None] / max(1, num_rows))
    noise = rng.normal(0, 0.03, (num_rows, num_groups)).cumsum(axis=0)
    proportions = (start + (goal - start) * way) * np.exp(noise - noise[0])
    proportions /= proportions.sum(axis=1, keepdims=True)
    steps = np.arange(num_rows) * every
    realised = np.full((num_rows, num_groups), np.nan)
    means = np.full((num_rows, num_groups), np.nan)
    for row in range(1, num_rows):
        realised[row] = rng.multinomial(batch_size * every, proportions[row - 1]) / (batch_size * every)
        if losses:
            means[row] = np.exp(-2 * row / num_rows) * (0.7 + 3 * goal / goal.max()) + rng.normal(0, 0.05, num_groups)
            means[row, realised[row] == 0] = np.nan
    given = np.nan_to_num(realised).cumsum(axis=0) * batch_size * every
    passes = given / sizes
    return History(
        group_names=tuple(range(num_groups)) if names is None else tuple(names),
        batch_size=batch_size,
        sizes=sizes,
        steps=steps,
        proportions=proportions,
        requested=np.concatenate([realised[:1], proportions[:-1]]),
        realised=realised,
        losses=means,
        passes=passes,
        lag=np.full(num_rows, lag, dtype=np.int64),
    )


def moving(*path, names=("web", "books", "code")):
    """A history whose mix takes a path, one update per 10 batches, and is given exactly."""
    path = np.array(path, dtype=float)
    given = np.concatenate([np.full_like(path[:1], np.nan), path[:-1]])
    return replace(made_up(len(names), len(path), names=names), proportions=path, requested=given, realised=given)


def zeros():
    """A run of one group alone, which has learned all."""
    return replace(made_up(3, 5), proportions=np.tile([1.0, 0, 0], (5, 1)), losses=np.zeros((5, 3)))


LONG = ["<b>bold</b> & \"quoted\" 'name'", "a" * 200, "x", "Überlänge: Texte, die nicht enden; und weiter " * 3]
CASES = {
    "2 groups": lambda: made_up(2, names=["cat", "dog"]),
    "10 groups": lambda: made_up(10, 200, lag=3),
    "100 groups": lambda: made_up(100, 60),
    "long names": lambda: made_up(4, names=LONG),
    "no losses": lambda: made_up(3, losses=False),
    "one row": lambda: made_up(3, 1),
    "a share and a loss of 0": zeros,
}
