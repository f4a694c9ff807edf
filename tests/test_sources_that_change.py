"""Sources of a stream that are not the same in each pass, or are told which epoch it is."""

import random
import warnings
from itertools import islice

import pytest
from torch.utils.data import Dataset

from learn2mix import FixedMix, MixedStream
from streams import GROUP, MORE_WORKERS_THAN_CORES, Numbers, load

pytestmark = pytest.mark.filterwarnings(MORE_WORKERS_THAN_CORES)


class Listed(Dataset):
    """Map-style data of a list that others may write to."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return self.values[index]


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("mode", ["restart", "drop"])
@pytest.mark.parametrize(("kind", "buffer"), [(list, 0), (Listed, 100)])
def test_data_that_have_come_since_the_stream_was_made_are_told_of(kind, buffer, mode, num_workers):
    """Replay, active learning: none of what was appended would ever have come."""
    values = [*range(8)]
    held = values if kind is list else kind(values)

    def make():
        return MixedStream(
            [held, range(100, 140)], FixedMix("uniform"), batch_size=4, on_exhausted=mode, shuffle_buffer=buffer
        )

    stream = make()
    list(islice(load(stream, num_workers), 3))
    values += range(8, 16)
    with pytest.raises(ValueError, match=r"sources: 0 has 16 samples, and had 8 when the stream was made"):
        next(iter(load(stream, num_workers)))
    another = make()
    with pytest.warns(
        UserWarning, match="its 0 had 8 samples, and has 16 here.* a group that has changed begins a pass"
    ):
        another.load_state_dict(stream.state_dict())
    seen = [value for batch in islice(load(another, num_workers), 8) for value in batch.tolist() if value < 100]
    assert sorted(seen) == [*range(16)], "none twice before all have come"


class Chosen(Numbers):
    """About half of its numbers, others in each pass."""

    def __iter__(self):
        return (number for number in super().__iter__() if random.random() < 0.5)


class ChosenForEver(Chosen):
    def __iter__(self):
        while True:
            yield from super().__iter__()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_passes_that_differ_in_length_are_told_of_once(num_workers):
    """Workers that leave passes out count by the length of one, so they cut passes short and gave samples twice."""
    stream = MixedStream([Chosen(0, 40), Numbers(1, 100)], FixedMix("uniform"), batch_size=8)
    with pytest.warns(UserWarning, match=r"0 gave \d+ samples in one pass and \d+ in another") as told:
        list(islice(load(stream, num_workers), 60))
    assert len([warning for warning in told if "in another" in str(warning.message)]) == 1


def test_those_of_a_pass_without_an_end_are_the_same_for_any_number_of_workers():
    """The way out that the warning names."""
    runs = []
    for num_workers in (0, 1, 2, 3):
        stream = MixedStream([ChosenForEver(0, 40), Numbers(1, 100)], FixedMix("uniform"), batch_size=8)
        runs.append([batch.tolist() for batch in islice(load(stream, num_workers), 60)])
    assert runs == [runs[0]] * 4


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_of_its_own_length_each_is_no_fault(num_workers):
    """Where each epoch reads a source once, from its beginning, its length may be another."""
    both = [Chosen(0, 40), Numbers(1, 40)]
    stream = MixedStream(both, FixedMix("uniform"), batch_size=8, on_exhausted="drop")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*suggested max number of worker.*")
        epochs = [[number for batch in load(stream, num_workers) for number in batch.tolist()] for _ in range(4)]
    chosen = [[number for number in epoch if number < GROUP] for epoch in epochs]
    assert len({len(each) for each in chosen}) > 1
    assert all(each == sorted(set(each)) for each in chosen)


class ByEpoch(Numbers):
    """Shuffles by the number of the epoch, as it is told."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        return iter(random.Random(self.epoch).sample([*super().__iter__()], self.size))


@pytest.mark.parametrize("mode", ["stop_first", "stop_all", "drop"])
@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_a_source_with_set_epoch_is_told_each_epoch_in_every_worker(num_workers, mode):
    """Workers are kept, so what the loop itself tells a source does not reach them; also after a stop."""

    def make():
        both = [ByEpoch(0, 12), ByEpoch(1, 12)]
        return MixedStream(both, FixedMix("uniform"), batch_size=6, on_exhausted=mode)

    oracle = [
        [random.Random(epoch).sample(range(12), 12)[place : place + 3] for place in (0, 3, 6, 9)] for epoch in range(3)
    ]
    stream = make()
    seen = [[batch.tolist()[:3] for batch in load(stream, num_workers)] for _ in range(2)]
    assert seen == oracle[:2]
    batches = iter(load(stream, num_workers))
    begun = [next(batches).tolist()[:3] for _ in range(2)]
    resumed = make()
    resumed.load_state_dict(stream.state_dict())
    assert begun + [batch.tolist()[:3] for batch in load(resumed, num_workers)] == oracle[2]
