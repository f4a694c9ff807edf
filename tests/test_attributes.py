"""Groups by several labels, such as class and background: the tuples that occur."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from learn2mix import Partition
from test_partition import by_loops, members

one_column = st.sampled_from(
    [lambda values: values, np.array, torch.tensor, lambda values: [f"{value}" for value in values]]
)


@given(st.data())
def test_groups_of_several_labels_are_the_tuples_that_occur(data):
    num_samples, num_columns = data.draw(st.integers(1, 20)), data.draw(st.integers(2, 4))
    largest = data.draw(st.sampled_from([1, 3, 2**62]))
    values = [
        data.draw(st.lists(st.integers(0, largest), min_size=num_samples, max_size=num_samples))
        for _ in range(num_columns)
    ]
    columns = [data.draw(one_column)(column) for column in values]
    rows = list(zip(*[column if isinstance(column, list) else column.tolist() for column in columns], strict=True))
    as_objects = np.empty(num_samples, dtype=object)
    as_objects[:] = rows
    for partition in map(Partition.by_class, (rows, tuple(rows), as_objects)):
        assert members(partition) == by_loops(rows)
        assert partition.group_names == sorted(set(rows))
    assert members(Partition.by_class(*columns)) == by_loops(rows)
    assert Partition.by_class(*columns).fingerprint() == Partition.by_class(rows).fingerprint()


@pytest.mark.filterwarnings("ignore:labels. 500 samples have")
def test_many_labels_do_not_overflow():
    columns = np.random.default_rng(0).integers(0, 1000, (12, 500))
    assert members(Partition.by_class(*columns)) == by_loops(list(map(tuple, columns.T.tolist())))


def test_tuples_of_one_and_tuples_of_tuples_stay_what_they_are():
    for rows in ([("b",), ("a",), ("b",)], [(("a", 1), 2), (("a", 0), 2), (("a", 1), 2)]):
        assert members(Partition.by_class(rows)) == by_loops(rows)
    rows = [("a", 1), ("a", 0)]
    assert Partition.by_class(rows, [5, 6]).group_names == [(("a", 0), 6), (("a", 1), 5)]


def test_labels_of_other_samples_are_refused():
    with pytest.raises(ValueError, match="labels must all be of the same samples, got lengths 3, 2, 3"):
        Partition.by_class([0, 1, 1], [0, 1], [1, 1, 1])
