"""What a newcomer gives as labels: the error says what to give instead, and to give that works."""

import collections
import re
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, random_split

from learn2mix import FixedMix, MixedBatchSampler, Partition
from learn2mix.data import InMemory

LABELS = torch.tensor([0] * 6 + [1] * 3 + [2])
PAIRS = TensorDataset(torch.zeros(10, 2), LABELS)


class Folder(Dataset):  # as torchvision's ImageFolder
    targets, classes = LABELS.tolist(), ["ant", "bee", "cat"]

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return torch.zeros(2), self.targets[index]


class Plain(Folder):
    targets = None

    def __getitem__(self, index):
        return torch.zeros(2), int(LABELS[index])


class Columns(Dataset):  # as Hugging Face's
    column_names = ("text", "label")

    def __len__(self):
        return 10

    def __getitem__(self, key):
        return LABELS.tolist() if key == "label" else {"text": "", "label": LABELS[key]}


class Endless(IterableDataset):
    def __iter__(self):
        return iter(range(3))


def said_of(labels, error=(TypeError, ValueError)):
    with pytest.raises(error, match="labels must be") as caught:
        MixedBatchSampler(labels, FixedMix("uniform"), batch_size=2)
    return str(caught.value)


def given(message):
    """Return the expressions that an error says to give."""
    return [match.strip() for match in re.findall(r"(?:give(?! its)|once:|rarest:) (.+?)(?:, or|, and|; |$)", message)]


class Table:
    """As pandas and Hugging Face have them, with two attributes of each sample."""

    column_names = ("animal", "place")

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return {"animal": "cat", "place": "sea"}


@pytest.mark.parametrize(
    ("labels", "of"),
    [
        (PAIRS, range(10)),
        (Folder(), range(10)),
        (Plain(), range(10)),
        (Columns(), range(10)),
        (Subset(PAIRS, [9, 0, 6]), [9, 0, 6]),
        (random_split(Folder(), [7, 3], torch.Generator().manual_seed(0))[0], None),
        (Subset(Subset(Columns(), range(9)), [8, 0]), [8, 0]),
        (InMemory(torch.zeros(10, 2), LABELS), range(10)),
        (InMemory({"image": torch.zeros(10, 2), "label": LABELS}), range(10)),
        (DataLoader(Folder(), shuffle=True), range(10)),
        ((label for label in LABELS.tolist()), range(10)),
        ({"text": [""] * 10, "label": LABELS.tolist()}, range(10)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_where_the_labels_of_a_data_set_are(labels, of):
    of = labels.indices if of is None else of
    (expression,) = given(said_of(labels, TypeError))
    found = eval(expression, {"labels": labels})
    assert [int(label) for label in found] == LABELS[list(of)].tolist()
    assert Partition.by_class(found).num_samples == len(of)


@pytest.mark.parametrize(
    ("labels", "hint"),
    [
        (ConcatDataset([PAIRS, PAIRS]), r"Partition\.by_dataset\(labels\)"),
        ([PAIRS, PAIRS], r"got TensorDataset; .* Partition\.by_dataset\(labels\)"),
        ([PAIRS, Folder()], r"got TensorDataset; .* Partition\.by_dataset\(labels\)"),
        ({"web": PAIRS, "books": Folder()}, r"Partition\.by_dataset\(labels\)"),
        ({"train": PAIRS, "test": Folder()}, r"pick a split: labels\['train'\]"),
        (Endless(), "MixedStream"),
        (FixedMix(), r"the mixer comes second: MixedBatchSampler\(labels, mixer"),
        (Table(), r"such as labels\['animal'\], .* Partition\.by_class\(labels\['animal'\], labels\['place'\]\)"),
        ({0, 1}, "give the label of each sample"),
        (None, "give the label of each sample"),
        ("label", "give the label of each sample"),
        (10, "give the label of each sample"),
        (["cat", None, "dog"], "a mix of NoneType, str; give samples without a label one of their own"),
        (["cat", float("nan")], "a mix of float, str; give samples without a label one of their own"),
        ([0.0, float("nan")], "1 of 2 are NaN: drop these samples, or give them a label of their own"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_labels(labels, hint):
    assert re.search(hint, said_of(labels))


def test_a_table_of_pandas_is_asked_for_one_column():
    table = pytest.importorskip("pandas").DataFrame({"age": [3, 4, 5], "label": ["a", "b", "a"]})
    (expression,) = given(said_of(table, TypeError))
    assert Partition.by_class(eval(expression, {"labels": table})).group_names == ["a", "b"]
    assert "give labels" not in said_of(table[["age"]], TypeError)  # none looks like a label


@pytest.mark.parametrize("shape", [(50,), (50, 1), (50, 3)])
def test_continuous_targets_are_told_of_quantiles_at_once(shape):
    labels = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    (expression,) = re.findall(r"Partition\.by_quantile\(.*\)", said_of(labels))
    partition = eval(expression, {"labels": labels, "targets": labels, "Partition": Partition})
    assert partition.sizes.tolist() == [5] * 10


@pytest.mark.parametrize("few", [False, True])
def test_whole_numbers_to_predict_are_a_warning(few):
    prices = np.random.default_rng(0).integers(0, 10**6, 500)
    if few:
        prices %= 200
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert Partition.by_class(prices).num_groups > 100
        return
    said = r"500 samples have \d+ different .* Partition\.by_quantile\(labels, num_groups=10\)"
    with pytest.warns(UserWarning, match=said):
        MixedBatchSampler(prices, FixedMix(), batch_size=2)


@pytest.mark.parametrize("labels", [[f"{n % 3}/{n}.png" for n in range(99)], [(f"{n}.png", n % 3) for n in range(99)]])
def test_names_of_samples_in_the_place_of_their_classes_are_a_warning(labels):
    """As ``ImageFolder(...).imgs`` are."""
    with pytest.warns(UserWarning, match="99 samples have 99 different .* names of samples .* give the class of each"):
        MixedBatchSampler(labels, FixedMix(), batch_size=2)


def rarest(rows):
    """The rarest label of each row, by plain loops; None for a row without one."""
    count = collections.Counter(label for row in rows for label in row)
    return [min(sorted(row), key=count.get) if row else None for row in rows]


@pytest.mark.parametrize("unlabelled", [False, True])
@pytest.mark.parametrize("kind", [torch.long, torch.float32, torch.bool, "numpy"])
def test_several_labels_per_sample_are_told_of_the_rarest(kind, unlabelled):
    table = (torch.rand(60, 5, generator=torch.Generator().manual_seed(1)) < 0.3).long()
    table = table if unlabelled else table[table.any(1)]
    assert bool(table.any(1).all()) != unlabelled
    labels = table.numpy() if kind == "numpy" else table.to(kind)
    expression = given(said_of(labels, ValueError))[-1]
    found = np.asarray(eval(expression, {"labels": labels, "np": np})).tolist()
    rows = [row.nonzero().flatten().tolist() for row in table]
    assert found == [5 if label is None else label for label in rarest(rows)]


@pytest.mark.parametrize("kind", [list, set, frozenset, tuple])
def test_so_are_lists_of_several_labels(kind):
    rows = [kind(row) for row in (["a", "b"], ["a"], [], ["b", "a", "c"], ["a", "d"])]
    count, each = re.search(r"count = (.*); (\[.*\])$", said_of_several(rows)).groups()
    space = {"labels": rows, "collections": collections, "NO_LABEL": None}
    space["count"] = eval(count, space)
    assert eval(each, space)[1:3] == ["a", None]
    assert [count for count in map(space["count"].get, eval(each, space)) if count] == [2, 4, 1, 1]


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_so_are_tensors_of_several_labels_as_detection_has_them(kind):
    rows = [[0, 1], [0], [], [1, 0, 2], [0, 3]]
    said = said_of_several([kind(row, dtype=int) for row in rows])
    lists = re.search(r"labels = (\[.*?\]); where", said)[1]
    space = {"labels": [kind(row, dtype=int) for row in rows], "collections": collections, "NO_LABEL": None}
    space["labels"] = eval(lists, space)
    count, each = re.search(r"count = (.*); (\[.*\])$", said).groups()
    space["count"] = eval(count, space)
    assert eval(each, space) == [1, 0, None, 2, 3]


def said_of_several(rows):
    with pytest.raises((TypeError, ValueError), match=r"labels.*multi-label") as caught:
        Partition.by_class(rows)
    return str(caught.value)


@pytest.mark.parametrize(
    ("targets", "hint"),
    [
        (PAIRS, r"one target a sample, got TensorDataset; give targets\.tensors\[1\]"),
        (["a", "b"], r"got <U1; for a group of each label give Partition\.by_class\(labels\)"),
        (None, "got NoneType"),
    ],
)
def test_quantiles_need_numbers(targets, hint):
    with pytest.raises(TypeError, match=f"targets must be .*{hint}"):
        Partition.by_quantile(targets, num_groups=2)


def test_one_class_alone_is_named():
    with pytest.raises(ValueError, match="groups must be at least 2 to be mixed, got 1: 'cat'"):
        MixedBatchSampler(["cat"] * 5, FixedMix(), batch_size=2)
