"""Streams over map-style data of any size, shuffled: no cost grows with it."""

import tracemalloc
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from learn2mix import FixedMix, MixedLoader, MixedStream


class Squares:
    """Map-style data: as many samples as it is told."""

    def __init__(self, size, offset=0):
        self.size, self.offset = size, offset

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        assert 0 <= index < self.size
        return self.offset + index


def first_of(size, buffer, count, seed=0):
    """The first samples of the first of two sources."""
    stream = MixedStream(
        [Squares(size), Squares(size, -size)], FixedMix("uniform"), batch_size=64, shuffle_buffer=buffer, seed=seed
    )
    samples = (sample for batch in stream for sample in batch.tolist() if sample >= 0)
    return list(islice(samples, count))


@given(st.integers(1, 300), st.one_of(st.integers(2, 20), st.integers(2, 500)))
def test_each_block_of_a_pass_is_shuffled_and_each_pass_anew(size, buffer):
    samples = first_of(size, buffer, 2 * size)
    for one_pass in (samples[:size], samples[size:]):
        for start in range(0, size, buffer):
            assert sorted(one_pass[start : start + buffer]) == list(range(start, min(start + buffer, size)))
    if size >= 20 and buffer >= 20:
        assert samples[:size] != samples[size:]
        assert samples[:20] != sorted(samples[:20])


@pytest.mark.parametrize("buffer", [70_000, 10**9, 10**12])
@pytest.mark.parametrize("size", [10**9, 10**15])
def test_a_buffer_of_any_size_over_data_of_any_size_costs_no_memory(size, buffer):
    tracemalloc.start()
    try:
        samples = np.array(first_of(size, buffer, 10_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
    assert len(set(samples.tolist())) == 10_000
    assert stats.kstest(samples / min(size, buffer), "uniform").pvalue > 1e-4


@pytest.mark.parametrize("buffer", [7, 70_000])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_stopped_far_on_goes_on_as_if_it_had_not(buffer, num_workers):
    def make():
        both = [Squares(100_000), Squares(10**9, 10**9)]
        return MixedStream(both, FixedMix([0.5, 0.5]), batch_size=1000, shuffle_buffer=buffer)

    stream = make()
    loader = MixedLoader(stream, num_workers=num_workers)
    batches = iter(loader)
    for batch in islice(batches, 20):
        loader.observe(batch.double())
    state = stream.state_dict()
    unbroken = [batch.tolist() for batch in islice(batches, 3)]
    again = make()
    again.load_state_dict(state)
    assert [batch.tolist() for batch in islice(MixedLoader(again, num_workers=0), 3)] == unbroken
