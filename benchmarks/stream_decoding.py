"""What workers gain where a source is read whole by each and decoded by `decode_fn`.

Run `python benchmarks/stream_decoding.py`.

Decoding takes 5 ms a sample, spent waiting, so that cores do not matter. Prints samples per second with 1 and 4
workers, and the ratio.
"""

import time
import warnings
from itertools import islice

from learn2mix import FixedMix, MixedLoader, MixedStream

warnings.simplefilter("ignore")


class Numbers:
    """A source that can only be iterated, and that nobody splits."""

    def __init__(self, first):
        self.first = first

    def __iter__(self):
        return iter(range(self.first, self.first + 10**6))


def decode(sample):
    """Wait as long as an image takes."""
    time.sleep(0.005)
    return sample


def rate(num_workers, num_batches=40):
    """Samples per second."""
    stream = MixedStream([Numbers(0), Numbers(10**6)], FixedMix(), batch_size=10, decode_fn=decode)
    batches = iter(MixedLoader(stream, num_workers=num_workers))
    next(batches)
    start = time.perf_counter()
    for _ in islice(batches, num_batches):
        pass
    return 10 * num_batches / (time.perf_counter() - start)


if __name__ == "__main__":
    one, four = rate(1), rate(4)
    print(f"1 worker {one:.0f}, 4 workers {four:.0f} samples per second: {four / one:.2f} times as fast")
