"""How groups are cut: the forms of the setting, and the sizes that the paper states."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_files import MNIST_SIZES, data_of, write_imdb_lines, write_npz, write_sizes
from experiments.datasets import choose_kept, shares_kept
from experiments.errors import UserError
from experiments.settings import normalise


@pytest.mark.parametrize(
    ("text", "in_full"),
    [("none", "none"), ("20", "long-tail:20"), ("1e2", "long-tail:100"), ("long-tail:1", "long-tail:1"),
     ("step:0.050", "step:0.05"), ("linear:1", "linear:1")],
)  # fmt: skip
def test_the_text_is_written_in_full(text, in_full):
    assert normalise(text) == in_full
    assert normalise(in_full) == in_full


@pytest.mark.parametrize(
    "text",
    ["", "half", "step", "step:0", "step:1.5", "step:nan", "linear:-1", "long-tail:0.5", "0.5", "inf", "a:2", ":2:"],
)
def test_other_texts_are_no_imbalance(text):
    with pytest.raises(ValueError, match=r".*"):
        normalise(text)


@pytest.mark.parametrize("ratio", [1, 20, 100])
@pytest.mark.parametrize("num_groups", [1, 2, 10])
def test_a_long_tail_falls_geometrically_from_the_first_group_to_the_last(ratio, num_groups):
    shares = shares_kept(f"long-tail:{ratio}", num_groups)
    for place in range(num_groups):
        assert shares[place] == pytest.approx(ratio ** (-place / (num_groups - 1)) if place else 1)


def test_linear_shares_fall_evenly():
    tenths = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert shares_kept("linear:0.1", 10) == pytest.approx(tenths)
    # The floats are a little off, and sizes that are whole numbers are not.
    groups = np.repeat(np.arange(10), 10)
    kept = choose_kept(groups, shares_kept("linear:0.1", 10), rng())
    assert np.bincount(groups[kept]).tolist() == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]


def test_a_step_cuts_the_upper_half_or_the_groups_named():
    assert shares_kept("step:0.2", 5).tolist() == [1, 1, 0.2, 0.2, 0.2]
    assert shares_kept("step:0.2", 5, rare=[0, 4]).tolist() == [0.2, 1, 1, 1, 0.2]
    assert shares_kept("none", 5, rare=[0, 4]).tolist() == [1] * 5


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@given(
    groups=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    shares=st.lists(st.integers(0, 20).map(lambda parts: parts / 20), min_size=5, max_size=5),
)
def test_each_group_keeps_its_share_rounded_down(groups, shares):
    kept = choose_kept(np.array(groups), shares, rng())
    assert sorted(set(kept.tolist())) == kept.tolist()
    for group, share in enumerate(shares):
        size = groups.count(group)
        assert sum(groups[place] == group for place in kept) == math.floor(round(share * 20) * size / 20)


def test_what_is_kept_is_drawn_at_random():
    groups = np.zeros(100, dtype=int)
    first, second = (choose_kept(groups, [0.1], np.random.default_rng(seed)).tolist() for seed in (0, 1))
    assert first != second
    assert max(first) > 50


def test_cifar100_is_cut_as_the_authors_do(tmp_path):
    write_sizes(tmp_path, "cifar100", [500] * 100)
    counts = (data := data_of("cifar100", tmp_path)).counts(data.train)
    assert counts == [int(500 * 40 ** (-label / 99)) for label in range(100)]
    assert sum(counts) == 13_290
    assert data.counts(data.test) == [1] * 100


@pytest.mark.parametrize(("ratio", "smallest"), [(20, 100), (100, 20)])
def test_cifar10_long_tail_has_the_ratio_asked_for(tmp_path, ratio, smallest):
    write_sizes(tmp_path, "cifar10", [5000] * 10)
    asked = {"imbalance": f"long-tail:{ratio}", "class_order": "data", "image_size": "none"}
    counts = (data := data_of("cifar10-long-tail", tmp_path, **asked)).counts(data.train)
    assert counts == [int(round(2000 * ratio ** (-label / 9), 6)) for label in range(10)]
    assert (counts[0], counts[-1]) == (2000, smallest)


@pytest.mark.parametrize(
    ("task", "name", "sizes", "kept"),
    [
        ("mnist", "mnist", MNIST_SIZES, 60_000),
        ("fashion-mnist", "fashion-mnist", [6000] * 10, 60_000),
        ("cifar10", "cifar10", [5000] * 10, 50_000),
        ("mnist-reconstruction", "mnist", MNIST_SIZES, 36_475),
        ("fashion-mnist-reconstruction", "fashion-mnist", [6000] * 10, 36_000),
        ("cifar10-reconstruction", "cifar10", [5000] * 10, 14_000),
    ],
)
def test_training_parts_have_the_papers_sizes(tmp_path, task, name, sizes, kept):
    write_sizes(tmp_path, name, sizes)
    data = data_of(task, tmp_path)
    assert len(data.train) == kept
    assert data.counts(data.test) == [1] * 10


def test_only_deer_and_dogs_are_whole_in_cifar10_reconstruction(tmp_path):
    write_sizes(tmp_path, "cifar10", [5000] * 10)
    data = data_of("cifar10-reconstruction", tmp_path)
    assert data.counts(data.train) == [5000 if label in (4, 5) else 500 for label in range(10)]


def test_imdb_has_the_papers_sizes(tmp_path):
    write_imdb_lines(
        tmp_path,
        ((part, label, n, f"film {n % 7}") for part in ("train", "test") for n in range(12_500) for label in (0, 1)),
    )
    data = data_of("imdb", tmp_path, max_tokens=2)
    assert data.group_names == ("negative", "positive")
    assert data.counts(data.train) == [6000, 20_000]
    assert data.counts(data.test) == [5000, 5000]


def test_imbalanced_forms_keep_a_twentieth_of_the_upper_classes(tmp_path):
    for name in ("mnist", "fashion-mnist", "cifar10"):
        write_npz(tmp_path, name, num_train=1000, shape=(4, 4))
        data = data_of(f"{name}-imbalanced", tmp_path)
        assert data.counts(data.train) == [100] * 5 + [5] * 5
        assert data.counts(data.test) == [2] * 10


def test_any_task_can_be_cut_otherwise(tmp_path):
    write_npz(tmp_path, "mnist", num_train=1000, shape=(4, 4))
    data = data_of("mnist", tmp_path, imbalance="step:0.1")
    assert data.counts(data.train) == [100] * 5 + [10] * 5


def test_a_cut_that_empties_a_group_names_it(tmp_path):
    write_npz(tmp_path, "mnist", shape=(4, 4))
    with pytest.raises(UserError, match="5, 6, 7, 8, 9; choose a milder 'imbalance'"):
        data_of("mnist", tmp_path, imbalance="step:0.01")
