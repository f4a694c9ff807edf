"""What all tests share: examples that are the same on every run, and the global random states held still."""

import os
import random
import signal
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

# One thread: the tensors are small, and a process forked from one that has a pool of threads may wait for it for ever.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# Where the tests run in the background of a shell, Ctrl-C is ignored, also by the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "learn2mix",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("learn2mix")


@pytest.fixture
def untouched_random_state() -> Iterator[None]:
    """Fail if the test changed the global random state of numpy, torch or the standard library."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    after = random.getstate(), np.random.get_state(), torch.get_rng_state()
    assert after[0] == before[0], "the test changed the state of random"
    assert all(np.array_equal(now, then) for now, then in zip(after[1], before[1], strict=True)), "numpy.random"
    assert torch.equal(after[2], before[2]), "torch.random"
