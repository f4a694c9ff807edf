"""torch.distributed.checkpoint saves a loader as it is: what a new one's state does not name, it would leave out.

It loads into the state of a new object, in silence without what that does not have yet (pytorch/pytorch#126881).
"""

import itertools

import numpy as np
import pytest
import torch
from torch.distributed import checkpoint

from learn2mix import ExcessLoss, FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader, OnlineDataMixing

LABELS = np.repeat([0, 1, 2], [60, 30, 10])
LOSSES = torch.tensor([0.5, 1.0, 4.0])

MIXERS = {
    "a loss that is remembered": lambda: Learn2Mix(0.5, memory=0.9),
    "an update every 4 batches": lambda: Learn2Mix(0.5, every=4),
    "online data mixing": OnlineDataMixing,
    "excess loss": lambda: ExcessLoss([0.1, 0.2, 0.3]),
    "fixed": lambda: FixedMix("uniform"),
}


def loader_of(mixer):
    return MixedLoader(range(100), MixedBatchSampler(LABELS, mixer, batch_size=10))


def training(loader):
    """Indices and mix after each step, without an end."""
    while True:
        for batch in loader:
            loader.observe(LOSSES[LABELS[batch]] / (1 + batch % 7))
            yield batch.tolist(), loader.mixer.proportions.tolist()


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")  # of torch 2.4
@pytest.mark.filterwarnings("ignore:torch.distributed is")
@pytest.mark.parametrize("stop", [6, 10])
@pytest.mark.parametrize("name", MIXERS)
def test_a_run_goes_on_unbroken(name, stop, tmp_path):
    loader = loader_of(MIXERS[name]())
    unbroken = training(loader)
    for _ in range(stop):
        next(unbroken)
    checkpoint.save({"loader": loader}, checkpoint_id=tmp_path)
    resumed = loader_of(MIXERS[name]())
    checkpoint.load({"loader": resumed}, checkpoint_id=tmp_path)
    assert all(one == other for one, other in itertools.islice(zip(training(resumed), unbroken, strict=True), 25))
