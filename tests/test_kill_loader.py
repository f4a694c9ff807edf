"""Law 4 against kill -9 at random moments, in a plain loop with a MixedLoader, over a sampler and over a stream."""

import os
import random
import signal
import threading
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

import forks
from learn2mix import Learn2Mix, MixedBatchSampler, MixedLoader, MixedStream

EPOCH, NUM_EPOCHS, SAVE_EVERY = 12, 3, 4
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [60, 30, 10]))


class Numbers:
    """Samples that tell their group, and can only be iterated."""

    def __init__(self, group, size):
        self.samples = [group * 1000 + number for number in range(size)]

    def __iter__(self):
        return iter(self.samples)


def make_loader(kind, num_workers):
    mixer = Learn2Mix(0.3, every=3)
    if kind == "stream":
        stream = MixedStream([Numbers(0, 60), Numbers(1, 30), Numbers(2, 10)], mixer, batch_size=8, shuffle_buffer=5)
        return MixedLoader(stream, num_workers=num_workers)
    return MixedLoader(
        LABELS, MixedBatchSampler(LABELS, mixer, batch_size=8, num_batches=EPOCH), num_workers=num_workers
    )


def train(folder: Path, kind, num_workers, lifetime=None):
    """Train where a checkpoint says; returns the batches and the weight. With a lifetime the process kills itself."""
    loader, weight, done, seen = make_loader(kind, num_workers), 1.0, 0, []
    if (folder / "checkpoint.pt").exists():
        state = torch.load(folder / "checkpoint.pt", weights_only=True)
        loader.load_state_dict(state["loader"])
        weight, done = state["weight"], state["done"]
    if lifetime is not None:
        threading.Timer(lifetime, os.kill, (os.getpid(), signal.SIGKILL)).start()
    while done < EPOCH * NUM_EPOCHS:
        for batch in islice(loader, EPOCH - done % EPOCH):
            groups = batch // 1000 if kind == "stream" else batch
            losses = 0.5 + groups * weight
            weight = 0.97 * weight + 0.01 * float(losses.double().mean())
            loader.observe(losses)
            done += 1
            seen.append((done, batch.tolist(), weight))
            time.sleep(0.01)
            if done % EPOCH == 0 and kind == "stream":
                loader.stream.finish_epoch()
            if done % SAVE_EVERY == 0:
                torch.save({"loader": loader.state_dict(), "weight": weight, "done": done}, folder / "new.pt")
                os.replace(folder / "new.pt", folder / "checkpoint.pt")
    return seen


def assert_goes_on(folder, kind, num_workers, seed):
    def run(**settings):
        (outcome,) = forks.outcomes(lambda rank: train(folder, kind, num_workers, **settings), 1, folder)
        return outcome

    whole = run().result
    (folder / "checkpoint.pt").unlink()
    killed = run(lifetime=random.Random(seed).uniform(0.1, 0.6 + num_workers / 10))
    assert killed.code in (-signal.SIGKILL, 0), killed.error
    rest = run()
    assert rest.code == 0, rest.error
    assert rest.result == whole[EPOCH * NUM_EPOCHS - len(rest.result) :]
    return killed.code


@pytest.mark.parametrize("kind", ["sampler", "stream"])
@pytest.mark.parametrize("num_workers", [0, 3])
def test_a_killed_run_goes_on_unbroken(tmp_path, kind, num_workers):
    assert_goes_on(tmp_path, kind, num_workers, seed=7)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sampler", "stream"])
@pytest.mark.parametrize("num_workers", [0, 3])
@pytest.mark.parametrize("seed", range(20))
def test_twenty_times(tmp_path, kind, num_workers, seed):
    assert_goes_on(tmp_path, kind, num_workers, seed)
