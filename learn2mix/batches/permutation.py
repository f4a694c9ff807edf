"""Permutations as pure functions of a key: part of one costs its part, and large ones are never stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]
Words = NDArray[np.uint64]

SORTED = 512  # below this a pass is sorted by random keys, many passes at once; from here on it is shuffled by torch
ROUNDS = 8  # of the network: with 6, neighbours of 1,000 places show it in 30 million pairs; with 7 and 8 they do not
NARROW = 1 << 28  # up to this size it has words of 32 bits, which take half the time: b is then at most 2 ** 14
PLACE_BITS, RANDOM_BITS = 9, 35  # of a number that a small pass is sorted by; the rest says which pass it is of
FEW_PLACES = 1 << 11  # small passes of so many places in all are sorted together faster than those of each length
AT_ONCE = 1 << 15  # numbers mixed at a time, so that they stay in the processor's cache

OF_PASSES, OF_ORDERS = 0, 1  # where the paths begin that a sampler's keys have

GAMMA = np.uint64(0x9E3779B97F4A7C15)  # steps of SplitMix64's counter
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # and its two factors
ALL_BITS = np.uint64(0xFFFFFFFFFFFFFFFF)


def mixed(numbers: Words) -> Words:
    """Return 64 bits for each number that look independent of it and of those of the others: SplitMix64's last step.

    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. It changes no two numbers to one.

    Example:
        >>> mixed(np.array([0x9E3779B97F4A7C15], dtype=np.uint64))
        array([16294208416658607535], dtype=uint64)
    """
    numbers = numbers ^ (numbers >> np.uint64(30))
    numbers *= FIRST
    numbers ^= numbers >> np.uint64(27)
    numbers *= SECOND
    numbers ^= numbers >> np.uint64(31)
    return numbers


def derived_keys(keys: Words, numbers: Array) -> Words:
    """Return a key for each number under each key; the two broadcast.

    Example:
        >>> np.unique(derived_keys(np.array([[1], [2]], dtype=np.uint64), np.arange(3))).size
        6
    """
    return mixed(keys + GAMMA * (numbers.astype(np.uint64) + np.uint64(1)))


def keys_at(seed: int, *path: int | Array) -> Words:
    """Return the key at a path of numbers below a seed; an array in the path makes one for each of its numbers.

    Example:
        >>> keys_at(7, OF_PASSES, np.arange(3)).shape
        (3,)
    """
    keys = np.array([seed], dtype=np.uint64)
    for step in path:
        keys = derived_keys(keys, np.atleast_1d(step))
    return keys


def parts_of_passes(keys: Words, sizes: Array, begin: Array, end: Array, offsets: Array, largest_shuffle: int) -> Array:
    """Return a part of each of some permutations, one after the other.

    Args:
        keys: one per permutation, shape ``(num_rows,)``, uint64.
        sizes: of ``range(size)`` what each permutes, 1 to 2 ** 62, same shape.
        begin: place of the first to return, at least 0, same shape.
        end: place after the last to return, more than ``begin`` and at most ``size``, same shape.
        offsets: what to add to what each permutation has, same shape.
        largest_shuffle: permutations of more than this are computed place by place, by :func:`permuted`; all others
            are shuffled whole, each of their orders being as likely as any other.

    Returns:
        What the permutations have at these places, shape ``((end - begin).sum(),)``, int64.

    Example:
        >>> keys, sizes, offsets = np.array([7, 7], dtype=np.uint64), np.array([5, 5]), np.array([20, 20])
        >>> whole = parts_of_passes(keys[:1], sizes[:1], np.array([0]), sizes[:1], offsets[:1], 100)
        >>> halves = parts_of_passes(keys, sizes, np.array([0, 2]), np.array([2, 5]), offsets, 100)
        >>> sorted(whole.tolist()), bool((whole == halves).all())
        ([20, 21, 22, 23, 24], True)
    """
    least, most = int(sizes.min(initial=SORTED)), int(sizes.max(initial=0))
    if most < SORTED and sizes.sum() <= FEW_PLACES * (most.bit_length() - least.bit_length() + 1):
        return _sorted_together(keys, sizes, begin, end, offsets)
    counts = end - begin
    start = counts.cumsum() - counts  # of each part in the result
    parts = np.empty(int(counts.sum()), dtype=np.int64)
    large, small = sizes > largest_shuffle, sizes < SORTED
    rest, generator = (~(large | small)).nonzero()[0], torch.Generator("cpu")
    columns = (each[rest].tolist() for each in (keys, sizes, begin, end, start, offsets))
    for key, size, first, last, at, offset in zip(*columns, strict=True):
        np.add(torch_shuffle(key, size, generator)[first:last], offset, out=parts[at : at + last - first])
    for rows, width in _alike(small, sizes):
        found = sorted_by_keys(keys[rows, None], sizes[rows, None], width)
        found += offsets[rows, None]
        _write(parts, found, start[rows], begin[rows], counts[rows])
    for alike in (large & (sizes <= NARROW), large & (sizes > NARROW)):
        for rows, width in _alike(alike, counts):
            found = permuted(keys[rows, None], sizes[rows, None], begin[rows, None] + np.arange(width))
            found += offsets[rows, None]
            _write(parts, found, start[rows], np.zeros_like(rows), counts[rows])
    return parts


def shuffled(keys: Words, size: int) -> Array:
    """Return a permutation of ``range(size)`` for each key, each order being as likely as any other.

    Example:
        >>> np.sort(shuffled(np.array([7, 8], dtype=np.uint64), 3), axis=1).tolist()
        [[0, 1, 2], [0, 1, 2]]
    """
    if size < SORTED:
        return sorted_by_keys(keys[:, None], np.array([[size]]), size)
    generator = torch.Generator("cpu")
    return np.stack([torch_shuffle(key, size, generator) for key in keys.tolist()])


def torch_shuffle(key: int, size: int, generator: torch.Generator) -> Array:
    """Return a permutation of ``range(size)`` as int64: in a third of the time of NumPy's."""
    # Of a seed torch takes 32 bits.
    generator.manual_seed(key & 0xFFFFFFFF)
    order: Array = torch.randperm(size, generator=generator, device="cpu").numpy()
    return order


def _alike(chosen: Array, lengths: Array) -> Iterator[tuple[Array, int]]:
    """Yield the rows chosen, some of about the same length together, and the length of the longest."""
    rows = chosen.nonzero()[0]
    bits = bit_length(lengths[rows] - 1)
    for each in np.unique(bits).tolist():
        alike = rows[bits == each]
        width = int(lengths[alike].max())
        step = max(AT_ONCE // width, 1)
        for first in range(0, len(alike), step):
            yield alike[first : first + step], width


def _write(parts: Array, found: Array, start: Array, begin: Array, counts: Array) -> None:
    """Write of each row of ``found`` the ``counts`` values from ``begin`` on to ``parts``, from ``start`` on."""
    num_rows, width = found.shape
    if start[-1] - start[0] == (num_rows - 1) * width and (counts == width).all():  # whole rows, side by side
        parts[start[0] : start[0] + found.size] = found.reshape(-1)
        return
    place = np.arange(width) - begin[:, None]
    wanted = (place >= 0) & (place < counts[:, None])
    parts[(place + start[:, None])[wanted]] = found[wanted]


def _sorted_together(keys: Words, sizes: Array, begin: Array, end: Array, offsets: Array) -> Array:
    """Return what :func:`parts_of_passes` does of small permutations, a few thousand places in all."""
    row = np.arange(len(sizes)).repeat(sizes)
    places = np.arange(len(row)) - (sizes.cumsum() - sizes)[row]
    numbers = _sorting_numbers(keys[row], places.view(np.uint64))
    numbers >>= np.uint64(64 - RANDOM_BITS - PLACE_BITS)
    numbers |= row.view(np.uint64) << np.uint64(RANDOM_BITS + PLACE_BITS)
    numbers.sort()
    numbers &= np.uint64(SORTED - 1)
    found = numbers.view(np.int64)
    found += offsets[row]
    wanted = (places >= begin[row]) & (places < end[row])
    return found if wanted.all() else found[wanted]


def _sorting_numbers(keys: Words, places: Words) -> Words:
    """Return the numbers that sort the places below ``SORTED``: random bits first, then the place, the rest is 0."""
    numbers = mixed(keys + GAMMA * places)
    numbers &= ALL_BITS << np.uint64(64 - RANDOM_BITS)
    numbers |= places << np.uint64(64 - RANDOM_BITS - PLACE_BITS)
    return numbers


def sorted_by_keys(keys: Words, sizes: Array, width: int) -> Array:
    """Return permutations of ``range(size)``, each a row: its places, sorted by random numbers; the rest is of no use.

    ``keys`` and ``sizes``, at most ``width``, have shape ``(num_rows, 1)``; the result ``(num_rows, width)``.
    """
    places = np.arange(width, dtype=np.uint64)
    numbers = _sorting_numbers(keys, places)
    if sizes.min() < width:
        numbers[places >= sizes] = ALL_BITS
    numbers.sort(axis=1)
    numbers >>= np.uint64(64 - RANDOM_BITS - PLACE_BITS)
    numbers &= np.uint64(SORTED - 1)
    return numbers.view(np.int64)


def permuted(keys: Words, sizes: Array, places: Array) -> Array:
    """Return what permutations of ``range(size)`` have at some places, computed place by place.

    A Feistel network on the pairs ``Z_a x Z_b``, with ``a`` a power of two and ``a * b`` just above ``size``: each
    round adds to one half what a hash makes of the other, which can be undone. A result outside ``range(size)`` goes
    through it again until it is inside (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002).

    Args:
        keys: one per permutation, shape ``(num_rows, 1)``, uint64.
        sizes: 1 to 2 ** 62, all above ``NARROW`` or none, same shape.
        places: of each permutation, shape ``(num_rows, width)``; those beyond its last are looked up as the last.

    Returns:
        The results, of the shape of ``places``, int64.

    Example:
        >>> permuted(np.array([[5]], dtype=np.uint64), np.array([[10**12]]), np.arange(3)[None]).shape
        (1, 3)
        >>> sorted(permuted(np.array([[5]], dtype=np.uint64), np.array([[7]]), np.arange(7)[None])[0].tolist())
        [0, 1, 2, 3, 4, 5, 6]
    """
    word: Any = np.uint32 if sizes.max() <= NARROW else np.uint64
    bits = (bit_length(sizes - 1) + 1) // 2
    b = (sizes + (1 << bits) - 1) >> bits
    network = _Network(
        derived_keys(keys, np.arange(ROUNDS)[:, None, None]).astype(word), bits.astype(word), b.astype(word)
    )
    found = network.image(np.minimum(places, sizes - 1).astype(word, order="C"))
    flat, sizes = found.reshape(-1), sizes.astype(word)
    outside = (found >= sizes).reshape(-1).nonzero()[0]
    while len(outside):
        row = outside // found.shape[1]
        flat[outside] = again = network.of_rows(row).image(flat[outside])
        outside = outside[again >= sizes[row, 0]]
    return found.astype(np.int64)


class _Network(NamedTuple):
    """Permutations of ``range(b << bits)`` by a Feistel network, in words of 32 or 64 bits."""

    round_keys: Array  # shape (num_rounds, num_rows, 1)
    bits: Array  # of the left half, shape (num_rows, 1); the right half is below b
    b: Array

    def of_rows(self, row: Array) -> _Network:
        """Return what permutes one number of each of these rows."""
        return _Network(self.round_keys[:, row, 0], self.bits[row, 0], self.b[row, 0])

    def image(self, numbers: Array) -> Array:
        """Return what the permutations make of numbers below ``b << bits``, one row by each."""
        one, half = numbers.dtype.type(1), numbers.dtype.type(4 * numbers.itemsize)
        mask = (one << self.bits) - one
        left, right = numbers & mask, numbers >> self.bits
        hashed, spare = np.empty_like(numbers), np.empty_like(numbers)
        for number, key in enumerate(self.round_keys):
            _hash(right if number % 2 else left, key, hashed, spare)
            if number % 2:
                left += hashed
                left &= mask
            else:
                hashed *= self.b
                hashed >>= half  # from 0 to b - 1
                right += hashed
                np.subtract(right, self.b, out=spare)
                np.minimum(right, spare, out=right)  # modulo b, for what is below 0 wraps to far above
        right <<= self.bits
        right |= left
        return right


def _hash(numbers: Array, key: Array, out: Array, spare: Array) -> None:
    """Write to ``out``, for each number, random-looking bits in the lower half of a word."""
    word, half = numbers.dtype.type, numbers.dtype.type(4 * numbers.itemsize)
    np.add(numbers, key, out=out)
    out *= word(int(FIRST) >> 64 - 8 * numbers.itemsize | 1)
    np.right_shift(out, half, out=spare)
    out ^= spare
    out *= word(int(SECOND) >> 64 - 8 * numbers.itemsize | 1)
    out >>= half


def bit_length(numbers: Array) -> Array:
    """Return the bits that whole numbers from 0 to 2 ** 62 need, exactly.

    Example:
        >>> bit_length(np.array([0, 1, 2, 3, 4, 2**62]))
        array([ 0,  1,  2,  2,  3, 63])
    """
    return np.searchsorted(1 << np.arange(63, dtype=np.int64), numbers, side="right")
