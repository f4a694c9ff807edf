"""Data as tensors in memory, one path for every method: data sets with classes by name, and the cutting of groups."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from experiments.datasets.splits import Data
from experiments.lazily import np, torch
from experiments.settings import NONE, Values, read_imbalance


def load(
    root: Path, settings: Values, rng: np.random.Generator, *, name: str, rare: Collection[int] | None, again: bool
) -> Data:
    """A data set below the root, cut as the settings say; ``again`` makes the inputs what is to be predicted."""
    if name == "imdb":  # each imported for its own data, as the other needs other libraries
        from experiments.datasets.text import load_imdb

        source = load_imdb(root, settings["max_tokens"])
    else:
        from experiments.datasets.images import load_images

        source = load_images(root, name, settings.get("image_size", NONE))
    data = cut(source, settings, rng, rare)
    train, test = ((replace(part, targets=part.inputs) if again else part) for part in (data.train, data.test))
    return replace(data, train=train, test=test)


def cut(data: Data, settings: Values, rng: np.random.Generator, rare: Collection[int] | None) -> Data:
    """The data, each group of the training part cut to the share that ``imbalance`` says, of ``per_class`` at most."""
    imbalance, per_class = settings.get("imbalance", NONE), settings.get("per_class", NONE)
    if imbalance == per_class == NONE:
        return data
    shares = shares_kept(imbalance, len(data.group_names), rare)
    if settings.get("class_order") == "seed":
        shares = rng.permutation(shares)
    kept = choose_kept(data.train.groups.numpy(), shares, rng, None if per_class == NONE else per_class)
    return replace(data, train=data.train.take(torch.from_numpy(kept)))


def shares_kept(imbalance: str, num_groups: int, rare: Collection[int] | None = None) -> np.ndarray:
    """The share, above 0, that each group keeps; "step" cuts the groups ``rare``, or where it is None the upper half.

    Example:
        >>> shares_kept("long-tail:100", num_groups=3).tolist()
        [1.0, 0.1, 0.01]
        >>> shares_kept("step:0.3", num_groups=4).tolist()
        [1.0, 1.0, 0.3, 0.3]
    """
    if imbalance == NONE:
        return np.ones(num_groups)
    (form, number), groups = read_imbalance(imbalance), np.arange(num_groups)
    if form == "step":
        is_rare = groups >= num_groups // 2 if rare is None else np.isin(groups, list(rare))
        return np.where(is_rare, number, 1.0)
    place = groups / max(num_groups - 1, 1)  # 0 at the first group, 1 at the last
    return np.asarray(1 - (1 - number) * place if form == "linear" else number**-place)


def choose_kept(
    groups: np.ndarray, shares: Sequence[float] | np.ndarray, rng: np.random.Generator, per_group: int | None = None
) -> np.ndarray:
    """Choose ``share * size`` samples of each group, rounded down; a group above ``per_group`` counts as one of it.

    Example:
        >>> choose_kept(np.array([0, 0, 0, 0, 1, 1]), [0.5, 1.0], np.random.default_rng(0)).tolist()
        [0, 2, 4, 5]
    """
    kept = []
    for group, share in enumerate(shares):
        members = np.flatnonzero(groups == group)
        size = min(len(members), per_group or len(members))
        # 0.7 of 10 samples are 7, also where the floats say 6.999...
        kept.append(rng.permutation(members)[: int(round(share * size, 6))])
    return np.sort(np.concatenate(kept))
