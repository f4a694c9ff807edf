"""States of earlier versions: a sampler's goes on at its mix, in another order; a stream's of version 1 cannot."""

import warnings

import pytest
import torch
from torch.utils.data import DataLoader

from helpers import through_a_file
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, MixedStream

LABELS = torch.tensor([0] * 20 + [1] * 12 + [2] * 8)
NEVER = (1 << 63) - 1


def double(values):
    return torch.tensor(values, dtype=torch.float64)


# What version 1 saved after 5 batches of the loop below, one worker running ahead, between two updates of the mix.
STATE = {
    "version": 1,
    "fingerprint": 4067034514,
    "num_groups": 3,
    "global_batch_size": 5,
    "seed": 3,
    "epoch": 0,
    "position": 5,
    "composed": 5,
    "draws": torch.tensor([13, 7, 5]),
    "credit": double([-0.5, 0.5, 0.0]),
    "ahead": double([[0.3125, 0.275, 0.4125]] * 2),
    "observing": True,
    "feedback": {
        "mixer": {"mixer": "Learn2Mix", "proportions": double([0.3125, 0.275, 0.4125])},
        "pool": {"sums": double([5, 6, 10]), "counts": torch.tensor([5, 3, 2]), "spoilt": torch.tensor([NEVER] * 3)},
        "on_its_way": None,
        "num_batches": 2,
        "group_losses": double([1, 2, 5]),
    },
}
# And the batches that it went on with, and the mix in the end.
REST = [
    [17, 26, 30, 32, 33],
    [3, 8, 31, 35, 39],
    [19, 20, 23, 34, 39],
    [9, 23, 36, 37, 38],
    [0, 15, 31, 32, 33],
    [28, 29, 35, 36, 38],
    [7, 26, 33, 34, 37],
    [11, 24, 32, 38, 39],
    [15, 20, 34, 35, 39],
    [6, 22, 27, 32, 36],
    [2, 30, 33, 37, 38],
]
MIX = [0.13671875, 0.2515625, 0.61171875]


def counts_of(batches):
    return [torch.bincount(LABELS[batch], minlength=3).tolist() for batch in batches]


def test_a_sampler_goes_on_at_the_mix_that_version_1_would_have_had():
    """As many samples of each group in each batch, though others, for passes are shuffled in another way since."""
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5, every=3), batch_size=5)
    with pytest.warns(UserWarning, match="MixedBatchSampler: the state is of an earlier version, which shuffled in"):
        sampler.load_state_dict(through_a_file(STATE))
    seen = []
    for _ in range(2):
        for batch in DataLoader(range(40), batch_sampler=sampler, num_workers=1):
            sampler.observe(torch.tensor([1.0, 2.0, 5.0])[LABELS[batch]])
            seen.append(batch.tolist())
    assert counts_of(seen) == counts_of(REST)
    assert sampler.mixer.proportions.tolist() == pytest.approx(MIX, abs=1e-15)


def test_a_stream_that_shuffles_says_that_it_goes_on_in_another_order():
    streams = [MixedStream([range(9), range(9)], FixedMix(), batch_size=2, shuffle_buffer=size) for size in (0, 5)]
    for stream, warns in zip(streams, (False, True), strict=True):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            stream.load_state_dict(stream.state_dict() | {"version": 2})
        assert ["MixedStream: the state is of an earlier version" in str(each.message) for each in found] == [
            True
        ] * warns


def test_a_stream_says_how_to_keep_the_mix():
    stream = MixedStream([range(9), range(9)], FixedMix(), batch_size=2)
    with pytest.raises(ValueError, match=r"stream\.mixer\.load_state_dict\(state\[\"feedback\"\]\[\"mixer\"\]\)"):
        stream.load_state_dict({"version": 1})


@pytest.mark.parametrize("version", [0, 4, None])
def test_a_version_that_nobody_knows_is_refused(version):
    for mixed in (
        MixedBatchSampler(LABELS, FixedMix(), batch_size=5),
        MixedStream([range(9), range(9)], FixedMix(), batch_size=2),
    ):
        with pytest.raises(ValueError, match=f"state: its version is {version}"):
            mixed.load_state_dict({"version": version})
