"""Whole data sets as groups: named by the user, in batches that hold several or one."""

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

from learn2mix import AlternatingMix, AnnealedMix, FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader, Partition

SIZES = {"web": 60, "books": 30, "code": 10}


def data():
    """Each sample is (number of its data set, number in it)."""
    return ConcatDataset(
        [TensorDataset(torch.full((size,), source), torch.arange(size)) for source, size in enumerate(SIZES.values())]
    )


def loader_of(mixer, **settings):
    concatenated = data()
    sampler = MixedBatchSampler(
        Partition.by_dataset(concatenated, list(SIZES)), mixer, **{"batch_size": 10, **settings}
    )
    return sampler, DataLoader(concatenated, batch_sampler=sampler)


def counts(batch):
    return torch.bincount(batch[0], minlength=3).tolist()


def test_the_groups_have_the_users_names_and_the_data_their_mix():
    sampler, _ = loader_of(FixedMix())
    assert sampler.mixer.group_names == ["web", "books", "code"]  # in the order given, not sorted
    assert sampler.mixer.proportions.tolist() == [0.6, 0.3, 0.1]


def test_batches_may_hold_several_data_sets():
    _, loader = loader_of(FixedMix([0.5, 0.3, 0.2]))
    assert [counts(batch) for batch in loader] == [[5, 3, 2]] * 10


def test_batches_may_hold_one_data_set_each():
    _, loader = loader_of(AlternatingMix(every=1), num_batches=4)
    assert [counts(batch) for batch in loader] == [[10, 0, 0], [0, 10, 0], [0, 0, 10], [10, 0, 0]]


def test_from_one_data_set_to_another():
    _, loader = loader_of(AnnealedMix([1, 0, 0], [0, 1, 0], num_steps=6), num_batches=7)
    found = [counts(batch) for batch in loader]
    assert found == [[10, 0, 0], [8, 2, 0], [6, 4, 0], [4, 6, 0], [2, 8, 0], [0, 10, 0], [0, 10, 0]]


def test_the_mix_follows_the_losses_of_the_data_sets():
    sampler, loader = loader_of(Learn2Mix(1.0))
    first = next(iter(loader))
    sampler.observe(torch.tensor([1.0, 2.0, 5.0])[first[0]])
    np.testing.assert_allclose(sampler.mixer.proportions, [1 / 8, 2 / 8, 5 / 8], rtol=1e-15)


def test_every_sample_of_a_data_set_comes_before_any_comes_twice():
    _, loader = loader_of(FixedMix("uniform"), num_batches=9)
    drawn = torch.cat([torch.stack(batch, 1) for batch in loader])
    books = drawn[drawn[:, 0] == 1][:, 1].tolist()
    assert len(books) == 30
    assert sorted(books) == list(range(30))


def test_ten_thousand_million_samples_need_no_memory_to_be_partitioned():
    partition = Partition.by_dataset([range(10**10), range(10)], ["all", "few"])
    assert partition.num_samples == 10**10 + 10


def test_fewer_than_two_data_sets_are_refused():
    with pytest.raises(ValueError, match="groups must be at least 2 to be mixed, got 1"):
        MixedBatchSampler(Partition.by_dataset([range(9)]), FixedMix(), batch_size=2)
    with pytest.raises(ValueError, match="datasets must hold at least one sample, got 0 data sets"):
        Partition.by_dataset([])


def test_names_of_a_wrong_number_are_refused():
    with pytest.raises(ValueError, match=r"group_names must name each of 3 groups once, got \['web', 'books'\]"):
        Partition.by_dataset(data(), ["web", "books"])


@pytest.mark.parametrize("loader", [MixedLoader, lambda data, sampler: DataLoader(data, batch_sampler=sampler)])
def test_data_sets_in_another_order_than_the_groups_are_an_error_where_their_sizes_show_it(loader):
    web, books, code = (range(size) for size in SIZES.values())
    sampler = MixedBatchSampler(
        Partition.by_dataset({"code": code, "web": web, "books": books}), FixedMix(), batch_size=5
    )
    with pytest.raises(ValueError, match="data set 0 of it has 60 samples, but group 'code' has 10; concatenate"):
        next(iter(loader(ConcatDataset([web, books, code]), sampler)))


def test_a_data_set_that_grows_is_an_error_though_what_concatenates_it_has_the_length_of_before():
    """As the buffer of earlier samples does, of continual learning; torch's own goes on without the new ones."""
    new, buffer = range(40), list(range(20))
    sampler = MixedBatchSampler(Partition.by_dataset({"new": new, "buffer": buffer}), FixedMix("uniform"), batch_size=6)
    both = ConcatDataset([new, buffer])
    loader = MixedLoader(both, sampler)
    assert len(list(loader)) == 10
    buffer.extend(range(20))
    assert len(both) == 60
    with pytest.raises(
        ValueError, match=r"data set 1 of it has 40 samples, but group 'buffer' has 20; .* anew, with a"
    ):
        next(iter(loader))


def test_a_group_may_be_a_part_of_a_data_set():
    web, books, code = (range(size) for size in SIZES.values())
    groups = Partition.by_dataset([ConcatDataset([web, books]), code])
    both = ConcatDataset([web, ConcatDataset([books, code])])
    assert len(list(MixedLoader(both, MixedBatchSampler(groups, FixedMix(), batch_size=10))))


def test_a_group_may_be_several_data_sets():
    web, books, code = (range(size) for size in SIZES.values())
    groups = Partition.by_dataset([ConcatDataset([web, books]), code])
    sampler = MixedBatchSampler(groups, FixedMix("uniform"), batch_size=6, order="grouped")
    assert len(next(iter(MixedLoader(ConcatDataset([web, books, code]), sampler)))) == 6


def test_labels_may_be_those_of_several_data_sets_together():
    labels = [0] * 60 + [1] * 40
    sampler = MixedBatchSampler(labels, FixedMix("uniform"), batch_size=6)
    assert len(next(iter(MixedLoader(ConcatDataset([range(40), range(60)]), sampler)))) == 6
