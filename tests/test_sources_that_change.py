"""Sources of a stream that are not the same in each pass, or are told which epoch it is."""

import random
import warnings
from itertools import islice

import pytest
from torch.utils.data import Dataset

from learn2mix import FixedMix, MixedStream
from streams import GROUP, MORE_WORKERS_THAN_CORES, Numbers, load

pytestmark = pytest.mark.filterwarnings(MORE_WORKERS_THAN_CORES)


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
