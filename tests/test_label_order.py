"""Labels that were read in another order than the data set's are told where the data set has them too."""

import tracemalloc
import warnings
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset, random_split

from learn2mix import FixedMix, MixedBatchSampler, MixedLoader, Partition
from learn2mix.data import InMemory

LABELS = torch.from_numpy(np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [60, 30, 10])))
OTHERS = LABELS[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
MOVED = int((OTHERS != LABELS).sum())
PAIRS = TensorDataset(torch.zeros(100, 2), LABELS)
TRAIN = random_split(PAIRS, [80, 20], torch.Generator().manual_seed(1))[0]


class Folder(SimpleNamespace):
    """As torchvision's."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return index


class OfOwnPackage(Folder):
    __module__ = "datasets.mine"  # a name that many give their own, too


class Asked(Folder):
    """Its labels would take long to find."""

    @property
    def labels(self):
        raise AssertionError


def hugging_face():
    datasets = pytest.importorskip("datasets", exc_type=ImportError)
    return datasets.Dataset.from_dict({"text": ["a"] * 100, "label": LABELS.tolist()}).shuffle(seed=0)


def in_words(labels):
    return [("cat", "dog", "eel")[label] for label in labels.tolist()]


WRONG = {
    "read with shuffle=True": (lambda: PAIRS, OTHERS, MOVED),
    "a folder's": (lambda: Folder(targets=LABELS.tolist()), OTHERS, MOVED),
    "a folder's, of a package of one's own": (lambda: OfOwnPackage(targets=LABELS.tolist()), OTHERS, MOVED),
    "words": (lambda: Folder(labels=in_words(LABELS)), in_words(OTHERS), MOVED),
    "in memory": (lambda: InMemory(torch.zeros(100, 2), LABELS), OTHERS, MOVED),
    "of a split, sorted": (
        lambda: TRAIN,
        LABELS[sorted(TRAIN.indices)],
        int((LABELS[sorted(TRAIN.indices)] != LABELS[TRAIN.indices]).sum()),
    ),
    "of data sets one after the other": (
        lambda: ConcatDataset([Subset(Folder(labels=LABELS), part) for part in (range(30), range(30, 100))]),
        LABELS.roll(70),
        int((LABELS.roll(70) != LABELS).sum()),
    ),
    "a column before shuffle()": (
        hugging_face,
        LABELS,
        lambda data: int((torch.tensor(data["label"][:]) != LABELS).sum()),
    ),
}


def loader_of(kind, dataset, groups):
    sampler = MixedBatchSampler(groups, FixedMix("uniform"), batch_size=10)
    if kind is MixedLoader:
        return MixedLoader(dataset, sampler)
    return DataLoader(dataset, batch_sampler=sampler, collate_fn=list)


@pytest.mark.parametrize("kind", [MixedLoader, DataLoader])
@pytest.mark.parametrize("name", WRONG)
def test_labels_in_another_order_are_told_once(kind, name):
    make, labels, moved = WRONG[name]
    dataset = make()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loader = loader_of(kind, dataset, labels)
        for _ in range(2):
            next(iter(loader))
    (message,) = [str(warning.message) for warning in told]
    moved = moved(dataset) if callable(moved) else moved
    assert f"in another order, so that {moved} of {len(dataset)} samples are in the group of another label" in message


SPLIT = random_split(TRAIN, [50, 30], torch.Generator().manual_seed(2))[0]
OF_OTHERS = {
    "random_split": (TRAIN, LABELS[:80]),
    "of a folder": (Subset(Folder(targets=LABELS.tolist()), TRAIN.indices), LABELS[:80]),
    "of a subset": (Subset(Subset(PAIRS, range(100)), TRAIN.indices), LABELS[:80]),
    "a split of a split": (SPLIT, LABELS[SPLIT.indices]),
    "the first of a split of a split": (SPLIT, LABELS[:50]),
}


@pytest.mark.parametrize("kind", [MixedLoader, DataLoader])
@pytest.mark.parametrize("name", OF_OTHERS)
def test_labels_of_other_samples_of_the_set_that_a_subset_is_of_are_told(kind, name):
    subset, labels = OF_OTHERS[name]
    with pytest.warns(UserWarning, match=r"of other samples of the set .* give labels\[subset\.indices\]") as told:
        next(iter(loader_of(kind, subset, labels)))
    assert len(told) == 1


@pytest.mark.parametrize(
    ("dataset", "groups"),
    [
        (PAIRS, LABELS),
        (Subset(PAIRS, range(80)), LABELS[:80]),
        (Subset(TensorDataset(OTHERS, LABELS), TRAIN.indices), OTHERS[TRAIN.indices]),
        (TRAIN, LABELS[20:]),  # of something else, for all that is known
        (TRAIN, LABELS[TRAIN.indices]),
        (SPLIT, LABELS[TRAIN.indices][SPLIT.indices]),
        (Subset(Subset(PAIRS, [5, 6, *range(99)]), range(101)), LABELS[[5, 6, *range(99)]]),
        (Subset(Subset(PAIRS, [5, 6, *range(99)]), range(101)), LABELS[[*range(99), 5, 7]]),
        (ConcatDataset([SPLIT, TRAIN]), torch.cat([LABELS[TRAIN.indices][SPLIT.indices], LABELS[TRAIN.indices]])),
        (ConcatDataset([Folder(), Folder(labels=LABELS)]), torch.cat([OTHERS, LABELS])),
        (TensorDataset(OTHERS, torch.zeros(100), LABELS), OTHERS),  # groups of one of two attributes
        (TensorDataset(OTHERS, torch.zeros(100), LABELS), LABELS),
        (PAIRS, in_words(OTHERS)),  # of something else
        (PAIRS, (OTHERS + 1) % 3),
        (TensorDataset(torch.arange(100) % 2), np.arange(100) // 50),  # even groups of something else
        (Folder(), OTHERS),
        (Asked(), OTHERS),
        (Folder(targets=[[0], [1, 2]] * 50), OTHERS),
        (Folder(labels=deque(OTHERS.tolist())), OTHERS),
        (Folder(targets=None), OTHERS),
        (TensorDataset(LABELS[:, None].expand(100, 3)), OTHERS),
        (PAIRS, Partition.by_dataset([range(60), range(30), range(10)])),
    ],
)
def test_all_others_are_not(dataset, groups):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(iter(loader_of(MixedLoader, dataset, groups)))


@pytest.mark.parametrize("long", [[7] * 20_000, "a text " * 20_000], ids=["tokens", "texts"])
@pytest.mark.parametrize("hugging_face", [False, True])
def test_tokens_and_texts_of_such_a_name_are_not_read(hugging_face, long):
    values = [long] * 100
    dataset = Folder(targets=values)
    if hugging_face:
        datasets = pytest.importorskip("datasets", exc_type=ImportError)
        dataset = datasets.Dataset.from_dict({"target": values})
    sampler = MixedBatchSampler(np.arange(100) % 7, FixedMix(), batch_size=10)
    tracemalloc.start()
    try:
        MixedLoader(dataset, sampler)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def replaced(dataset):
    """As relabelling and negatives that are drawn anew do."""
    dataset.targets = OTHERS.tolist()


def written_to(dataset):
    dataset.tensors[1][:] = OTHERS


def moved_on(subset):
    """As a buffer of earlier samples does."""
    subset.indices = [*range(10, 90)]


@pytest.mark.parametrize("kind", [MixedLoader, DataLoader])
@pytest.mark.parametrize(
    ("dataset", "labels", "change"),
    [
        (lambda: Folder(targets=LABELS.tolist()), LABELS, replaced),
        (lambda: TensorDataset(torch.zeros(100), LABELS.clone()), LABELS, written_to),
        (lambda: InMemory(torch.arange(100), (torch.arange(100) % 2).clone()), torch.arange(100) % 2, None),
        (lambda: Subset(PAIRS, [*range(80)]), LABELS[:80], moved_on),
    ],
)
def test_labels_that_change_in_the_middle_of_training_are_told_once(kind, dataset, labels, change):
    """A data set of groups of one size, whose labels stay, is told of nothing."""
    dataset = dataset()
    loader = loader_of(kind, dataset, labels)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            list(loader)
            if change is not None:
                change(dataset)
    assert len(told) == (change is not None), [str(one.message) for one in told]
    assert all("its labels have changed since the sampler got them" in str(one.message) for one in told)


def test_so_are_those_of_groups_of_one_size():
    labels = torch.arange(100) % 2
    dataset = TensorDataset(torch.zeros(100), labels)
    loader = loader_of(MixedLoader, dataset, labels.clone())
    next(iter(loader))
    labels[:50] = 0
    with pytest.warns(UserWarning, match="its labels have changed"):
        next(iter(loader))
