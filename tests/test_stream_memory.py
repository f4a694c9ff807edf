"""A stream of any length runs in constant memory."""

import subprocess
import sys
import tracemalloc
from itertools import islice

import pytest

from learn2mix import Learn2Mix, MixedStream
from streams import Numbers

LONG = """
import resource, sys
import torch
from torch.utils.data import DataLoader
from learn2mix import Learn2Mix
from learn2mix import MixedStream

class Endless:
    def __iter__(self):
        return iter(range(10**12))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

stream = MixedStream([Endless(), Endless(), Endless()], Learn2Mix(0.1), batch_size=1000, shuffle_buffer=1000)
losses, num_samples, early = torch.linspace(0.1, 2.0, 1000), 0, 0
for batch in DataLoader(stream, batch_size=None):
    stream.observe(losses)
    num_samples += len(batch)
    if num_samples == 200_000:
        early = peak()
    if num_samples == 2_000_000:
        break
print(num_samples, (peak() - early) // 1024, stream.draws.sum())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource is for Unix")
def test_millions_of_samples_run_in_constant_memory():
    done = subprocess.run([sys.executable, "-c", LONG], capture_output=True, text=True, timeout=300, check=True)
    num_samples, grown, drawn = map(int, done.stdout.split())
    assert num_samples == drawn == 2_000_000
    assert grown <= 2, "MiB between sample 200,000 and the last"


@pytest.mark.parametrize("buffer", [0, 100])
def test_nothing_is_kept_of_a_sample(buffer):
    stream = MixedStream([Numbers(0, 10**9), Numbers(1, 777)], Learn2Mix(0.1), batch_size=100, shuffle_buffer=buffer)
    batches = iter(stream)

    def draw(num_samples):
        for batch in islice(batches, num_samples // 100):
            stream.observe(1.0 + (batch % 7))
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = draw(20_000)
        grown = draw(100_000) - early
    finally:
        tracemalloc.stop()
    assert grown < 150_000, "bytes, of a history that has its bound; the samples alone would be millions"
