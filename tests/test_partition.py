"""Which samples belong to which group."""

import copy
import pickle
import tracemalloc
from enum import Enum, IntEnum

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, IterableDataset, TensorDataset

from helpers import NAN
from learn2mix import Learn2Mix, MixedBatchSampler, Partition
from learn2mix.labels import CHUNK

labels_of_one_kind = st.one_of(
    st.lists(st.integers(0, 5), min_size=1, max_size=50),
    st.lists(st.integers(0, 2**62), min_size=1, max_size=20),
    st.lists(st.booleans(), min_size=1, max_size=20),
    st.lists(st.text(st.characters(blacklist_characters="\0"), max_size=4), min_size=1, max_size=30),
)


def members(partition: Partition) -> dict:
    return {name: partition.indices(group).tolist() for group, name in enumerate(partition.group_names)}


def by_loops(labels) -> dict:
    return {name: [i for i, label in enumerate(labels) if label == name] for name in sorted(set(labels))}


@given(labels_of_one_kind)
def test_by_class_equals_plain_loops(labels):
    partition, expected = Partition.by_class(labels), by_loops(labels)
    assert members(partition) == expected
    assert partition.group_names == list(expected)
    assert partition.sizes.tolist() == [len(indices) for indices in expected.values()]
    assert partition.num_groups == len(expected)
    assert partition.num_samples == len(labels)
    np.testing.assert_allclose(partition.proportions, [len(indices) / len(labels) for indices in expected.values()])


@pytest.mark.parametrize(
    "labels",
    [
        [7, 3, 3],
        (7, 3, 3),
        np.array([7, 3, 3], dtype=np.uint8),
        np.array([7, 3, 3], dtype=object),
        np.array([np.int64(7), 3, np.uint8(3)], dtype=object),
        torch.tensor([7, 3, 3]),
        torch.tensor([7, 3, 3], dtype=torch.int16),
    ],
    ids=lambda labels: f"{type(labels).__name__}-{getattr(labels, 'dtype', 'int')}",
)
def test_by_class_takes_every_kind_of_integers(labels):
    assert members(Partition.by_class(labels)) == {3: [1, 2], 7: [0]}


@pytest.mark.parametrize(
    "kind",
    [
        list,
        np.array,
        lambda labels: np.array(labels, dtype=object),
        lambda labels: [*np.array(labels[:2]), *labels[2:]],  # NumPy's beside Python's
    ],
    ids=["list", "array", "objects", "both"],
)
def test_by_class_takes_every_kind_of_strings(kind):
    assert members(Partition.by_class(kind(["dog", "", "dog", "cat"]))) == {"": [1], "cat": [3], "dog": [0, 2]}


class Kind(str, Enum):
    BIRD, DOG = "bird", "dog"


class Size(IntEnum):
    SMALL, LARGE = 3, 7


@pytest.mark.parametrize("as_given", [list, lambda labels: np.array(labels, dtype=object)], ids=["list", "objects"])
@pytest.mark.parametrize("labels", [[Kind.DOG, Kind.BIRD, Kind.DOG], [Size.LARGE, Size.SMALL, Size.LARGE]])
def test_members_of_an_enum_of_strings_or_integers_are_their_values(labels, as_given):
    values = [label.value for label in labels]
    assert members(Partition.by_class(as_given(labels))) == by_loops(values)
    sampler = MixedBatchSampler(Partition.by_dataset(dict.fromkeys(labels, range(4))), Learn2Mix(1.0), batch_size=4)
    assert sampler.group_names == [values[0], values[1]]
    assert {type(name) for name in sampler.state_dict()["group_names"]} == {type(values[0])}  # so it loads safely
    next(iter(sampler))
    sampler.observe([3.0, 1.0], groups=labels[:2])
    assert sampler.group_losses.tolist() == [3.0, 1.0]
    sampler.mixer.proportions = dict(zip(labels[:2], [0.25, 0.75], strict=True))
    assert sampler.mixer.proportions.tolist() == [0.25, 0.75]


def test_by_class_takes_numpy_s_strings_of_any_length():
    dtypes = pytest.importorskip("numpy.dtypes")
    if not hasattr(dtypes, "StringDType"):
        pytest.skip("NumPy has such strings from version 2 on")
    labels = ["dog", "", "dog", "cat", *(f"class {5 * number % 7} has a long name" for number in range(50))]
    assert members(Partition.by_class(np.array(labels, dtype=dtypes.StringDType()))) == by_loops(labels)


def test_by_class_takes_pandas():
    pandas = pytest.importorskip("pandas")
    for labels in (["b", "a", "b"], [2, 1, 2], [True, False, True]):
        series = pandas.Series(labels)
        for column in (series, series.astype("category"), series.astype(object), series.convert_dtypes()):
            assert members(Partition.by_class(column)) == by_loops(labels)


class Text:
    """As HDF5 gives text: an array that is read from the file sample by sample where it is iterated."""

    dtype = np.dtype(object)

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        raise AssertionError

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype or object)


@pytest.mark.parametrize("form", [None, "numpy", "torch", "HDF5's text"])
def test_a_column_of_a_file_is_read_at_once(form, monkeypatch):
    labels = ["dog", "cat", "dog"] if form == "HDF5's text" else [1, 0, 1]
    if form == "HDF5's text":
        column = Text(labels)
    else:
        module = pytest.importorskip("datasets", "4.0", exc_type=ImportError)
        column = module.Dataset.from_dict({"label": labels}).with_format(form)["label"]
        monkeypatch.setattr(type(column), "__iter__", Text.__iter__)
        assert members(Partition.by_quantile(column, 2)) == by_loops(labels)
    assert members(Partition.by_class(column)) == by_loops(labels)


def test_a_transform_is_given_each_sample_of_a_column_once():
    module, given = pytest.importorskip("datasets", "4.0", exc_type=ImportError), []
    dataset = module.Dataset.from_dict({"label": [1, 0, 1]}).with_transform(lambda rows: given.append(rows) or rows)
    assert members(Partition.by_class(dataset["label"])) == {0: [1], 1: [0, 2]}
    assert [rows["label"] for rows in given] == [[1], [0], [1]]


def test_by_class_sorts_more_samples_than_it_holds_at_a_time():
    labels = np.arange(CHUNK + 1000) * 7 % 5
    partition = Partition.by_class(labels)
    for group in range(5):
        np.testing.assert_array_equal(partition.indices(group), np.flatnonzero(labels == group))


@given(
    st.sampled_from([np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64]),
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=6),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=40),
)
def test_by_class_of_any_range_and_type_of_integers_equals_plain_loops(dtype, values, picks):
    labels = np.array([values[pick % len(values)] % (int(np.iinfo(dtype).max) + 1) for pick in picks], dtype=dtype)
    partition = Partition.by_class(labels)
    assert members(partition) == by_loops(labels.tolist())
    assert all(type(name) is int for name in partition.group_names)


def test_by_class_of_more_groups_than_16_bits_count():
    labels = np.random.default_rng(0).integers(0, 100_000, 250_000)
    partition = Partition.by_class(labels)
    order = np.concatenate([partition.indices(group) for group in range(partition.num_groups)])
    np.testing.assert_array_equal(order, np.argsort(labels, kind="stable"))
    np.testing.assert_array_equal(partition.group_names, np.unique(labels))


def test_by_class_reads_a_memory_map_a_part_at_a_time(tmp_path):
    num_samples = 4 * CHUNK
    labels = np.lib.format.open_memmap(tmp_path / "labels.npy", "w+", np.int64, (num_samples,))
    labels[:] = np.arange(num_samples) % 3
    tracemalloc.start()
    try:
        partition = Partition.by_class(np.load(tmp_path / "labels.npy", mmap_mode="r"))
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert partition.indices(1)[:3].tolist() == [1, 4, 7]
    assert kept < 4.1 * num_samples
    assert peak < 4 * num_samples + 60 * CHUNK, "bytes: what is kept, and temporary arrays of one chunk"


def pickled(made):
    return pickle.loads(pickle.dumps(made))


@pytest.mark.parametrize("again", [lambda made: made, copy.copy, copy.deepcopy, pickled])
@pytest.mark.parametrize(
    "make", [lambda: Partition.by_class([1, 0, 1]), lambda: Partition.by_dataset([range(1), range(2)])]
)
def test_what_a_partition_hands_out_cannot_change_it(make, again):
    partition = again(make())
    before = partition.fingerprint()
    for array in (partition.sizes, partition.offsets, partition.proportions, partition.indices(1)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    partition.group_names[0] = "fox"
    assert partition.group_names == [0, 1]
    assert partition.fingerprint() == again(partition).fingerprint() == before


def test_an_order_that_was_given_stays_the_caller_s():
    order = np.array([1, 0, 2])
    Partition([1, 2], ["a", "b"], order)
    order[0] = 0


def test_by_class_does_not_change_the_labels():
    labels = np.array([2, 0, 1, 2])
    Partition.by_class(labels)
    assert labels.tolist() == [2, 0, 1, 2]


def test_by_dataset_groups_a_concat_dataset():
    data = ConcatDataset([TensorDataset(torch.full((size,), value)) for value, size in enumerate([3, 1, 4])])
    partition = Partition.by_dataset(data)
    assert partition.group_names == [0, 1, 2]
    for group in range(3):
        assert {int(data[int(index)][0]) for index in partition.indices(group)} == {group}
    assert [index for group in range(3) for index in partition.indices(group)] == list(range(8))


def test_by_dataset_names_the_groups():
    partition = Partition.by_dataset([range(3), range(5)], ["web", "books"])
    assert members(partition) == {"web": [0, 1, 2], "books": [3, 4, 5, 6, 7]}


def test_by_dataset_may_have_an_empty_group():
    assert Partition.by_dataset([range(2), range(0), range(2)]).proportions.tolist() == [0.5, 0.0, 0.5]


def test_by_dataset_takes_names_and_members_of_a_mapping():
    partition = Partition.by_dataset({"web": range(1000), "books": range(50)})
    assert (partition.group_names, partition.sizes.tolist()) == (["web", "books"], [1000, 50])


@pytest.mark.parametrize(
    "datasets",
    [
        TensorDataset(torch.zeros(4, 3)),
        np.zeros((4, 3)),
        torch.zeros(4, 3),
        (part for part in [[1], [2]]),
        "ab",
        None,
        3,
    ],
    ids=lambda datasets: type(datasets).__name__,
)
def test_by_dataset_refuses_what_is_no_sequence_of_data_sets(datasets):
    message = f"datasets must be a ConcatDataset, a sequence or a mapping of data sets, got {type(datasets).__name__}"
    with pytest.raises(TypeError, match=message):
        Partition.by_dataset(datasets)


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([3, 4]), [3, 4]),
        ([np.str_("a"), ("x", np.int64(1))], ["a", ("x", 1)]),
    ],
)
def test_names_become_plain(names, kept):
    found = Partition([1, 2], names).group_names
    assert found == kept
    assert repr(found) == repr(kept)


@pytest.mark.parametrize(
    ("sizes", "names", "error", "message"),
    [
        ([10, 20], ["a"], ValueError, r"group_names must name each of 2 groups once, got \['a'\]"),
        ([10, 20], ["a", "a"], ValueError, r"group_names must name each of 2 groups once, got \['a', 'a'\]"),
        ([10, -20], ["a", "b"], ValueError, "sizes must be at least 0, got -20 for group 'b'"),
        ([0, 0], ["a", "b"], ValueError, "sizes must sum to at least 1, got 0 samples in 2 groups"),
        ([], [], ValueError, "sizes must sum to at least 1, got 0 samples in 0 groups"),
        ([2**62, 1], ["a", "b"], ValueError, r"sizes must sum to at most 2 \*\* 62, got 4611686018427387905"),
        ([1.5, 2], ["a", "b"], TypeError, "sizes must be whole numbers, got float64"),
        ([[1, 2]], ["a"], ValueError, r"sizes must be 1-D, got shape \(1, 2\)"),
        ([1, 2], ["a", None], TypeError, "group_names must be integers, strings or tuples of them, got None"),
        ([1, 2], ["a", 0.5], TypeError, "group_names must be integers, strings or tuples of them, got 0.5"),
    ],
)
def test_a_partition_checks_what_it_is_given(sizes, names, error, message):
    with pytest.raises(error, match=f"^{message}"):
        Partition(sizes, names)


class Endless(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("datasets", "names", "error", "message"),
    [
        ([range(3), Endless()], None, TypeError, "datasets: number 1 has no length"),
        ([], None, ValueError, "datasets must hold at least one sample, got 0 data sets"),
        ([range(0), range(0)], None, ValueError, "datasets must hold at least one sample, got 2 data sets"),
        ([range(1), range(2)], ["web"], ValueError, r"group_names must name each of 2 groups once, got \['web'\]"),
        ([range(1), range(2)], ["web", "web"], ValueError, "group_names must name each of 2 groups once"),
        ({"web": range(1)}, ["web"], ValueError, "group_names: the keys of datasets are the names; leave it out"),
    ],
)
def test_by_dataset_refuses_bad_input(datasets, names, error, message):
    with pytest.raises(error, match=message):
        Partition.by_dataset(datasets, names)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([], ValueError, "labels must hold at least one sample, got none"),
        (np.zeros(0, dtype=np.int64), ValueError, "labels must hold at least one sample, got none"),
        ([[1, 2]], ValueError, r"labels must be 1-D, one label a sample, got shape \(1, 2\)"),
        (5, ValueError, r"labels must be 1-D, one label a sample, got shape \(\)"),
        ("abc", ValueError, r"labels must be 1-D, one label a sample, got shape \(\)"),
        ([0, 1, -1, -7], ValueError, r"labels: 2 of 4 are negative \(first at index 2: -1\); mark unlabelled"),
        (torch.tensor([-1, 0]), ValueError, r"labels: 1 of 2 are negative \(first at index 0: -1\)"),
        (np.array([0.0, 1.0]), TypeError, r"integers or strings, got float64; give np.asarray\(labels, int\)$"),
        ([0, 1, NAN], TypeError, "labels must be integers or strings, got float64; 1 of 3 are NaN"),
        (torch.tensor([0.0, 1.0]), TypeError, r"integers or strings, got float32; give labels.long\(\)$"),
        (
            np.array([1, 2], dtype="datetime64[D]"),
            TypeError,
            r"labels must be integers or strings, got datetime64\[D\]",
        ),
        ([b"a", b"b"], TypeError, "labels must be integers or strings"),
        ([None, None], TypeError, "labels must be integers or strings"),
        ([None, "a"], TypeError, "labels must be all integers or all strings, got a mix of NoneType, str"),
        (
            np.array([1, "a"], dtype=object),
            TypeError,
            "labels must be all integers or all strings, got a mix of int, str",
        ),
        ([1, "a"], TypeError, "labels must be all integers or all strings, got a mix of int, str"),
        (["a", NAN], TypeError, "labels must be all integers or all strings, got a mix of float, str"),
        ([[1], [1, 2]], ValueError, "labels must be 1-D"),
        ([[1, 2], 3], ValueError, "labels must be 1-D, one label a sample: .*inhomogeneous"),
        (torch.eye(3).long(), ValueError, r"got shape \(3, 3\); if they are one-hot, give labels.argmax\(1\)"),
        (torch.zeros(3, 1).long(), ValueError, r"got shape \(3, 1\); give labels.squeeze\(1\)"),
        (torch.eye(3), ValueError, r"if they are one-hot, give labels.argmax\(1\)"),
        (np.array([[0, 1], [1, 1]]), ValueError, r"Partition.by_class\(labels\[:, 0\], labels\[:, 1\]\), or pick one"),
        (np.array([[0.0, 1.0], [1.0, 1.0]]), ValueError, r"Partition.by_class\(labels\[:, 0\], labels\[:, 1\]\)"),
        (np.ones((2, 5), dtype=int), ValueError, r"by_class\(labels\[:, 0\], labels\[:, 1\], labels\[:, 2\], \.\.\.\)"),
        (torch.rand(4, 3).softmax(1), ValueError, r"probabilities of classes, labels.argmax\(1\)"),
        (torch.rand(4, 3) * 9, ValueError, r"pick one column: Partition.by_quantile\(labels\[:, 0\], num_groups=10\)"),
        (torch.tensor([0.5, 1.0]), TypeError, r"got float32; bin .* Partition.by_quantile\(targets, num_groups=10\)$"),
        (np.array([1e6, np.inf]), TypeError, "got float64; bin continuous targets"),
        (torch.zeros(3, device="meta").long(), ValueError, "labels: on the meta device, which holds no data"),
        ([("a", 0), "b"], TypeError, "labels must be all tuples or none of them, got tuples and str"),
        ([("a", 0), ("b",)], ValueError, r"tuples must all have the same length of at least 1, got \[1, 2\]"),
        ([()], ValueError, r"tuples must all have the same length of at least 1, got \[0\]"),
        ([("a", 0), ("b", -1)], ValueError, r"1 of 2 are negative \(first at index 1: -1\)"),
        ([("a", 0), ("b", 0.5)], TypeError, "got float64; bin continuous targets"),
        (TensorDataset(torch.zeros(3)), TypeError, "labels must be a 1-D array or sequence, .* got TensorDataset"),
        ((label for label in [0, 1]), TypeError, "labels must be a 1-D array or sequence, .* got generator"),
        ({"a": 0, "b": 1}, TypeError, "labels must be a 1-D array or sequence, .* got dict"),
        (None, TypeError, "labels must be a 1-D array or sequence, .* got NoneType"),
    ],
)
def test_by_class_refuses_bad_labels(labels, error, message):
    with pytest.raises(error, match=message):
        Partition.by_class(labels)


def test_the_fingerprint_tells_partitions_apart():
    parts = [[0, 0, 1], [0, 1, 0], [0, 1, 1], [0, 1, 2], [0, 0, 1, 1]]
    prints = [Partition.by_class(labels).fingerprint() for labels in parts]
    prints += [Partition.by_dataset([range(2), range(3)]).fingerprint()]
    assert len(set(prints)) == len(prints)
    assert Partition.by_class([0, 1, 0]).fingerprint() == prints[1]


def test_the_fingerprint_knows_the_names():
    # The same numbers of samples in the same places, but other groups: a state of one must not load into the other.
    by_name = [Partition.by_class(labels).fingerprint() for labels in (["cat", "dog"], ["dog", "eel"], ["catd", "og"])]
    named = [
        Partition.by_dataset([range(2), range(3)], names).fingerprint() for names in (["a", "b"], ["b", "a"], None)
    ]
    assert len({*by_name, *named}) == 6
    assert Partition.by_dataset([range(2), range(3)], ["a", "b"]).fingerprint() == named[0]
