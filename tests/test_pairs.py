"""The combinations that other tests run: each pair is among them, and they are few."""

from itertools import combinations, product

import pytest

from pairs import pairs


@pytest.mark.parametrize(("sizes", "most"), [((2, 3), 6), ((3, 2, 4), 12), ((6, 2, 4), 24), ((2, 2, 2, 2), 8)])
def test_each_pair_is_there(sizes, most):
    settings = [[f"{place}{value}" for value in range(size)] for place, size in enumerate(sizes)]
    rows = pairs(*settings)
    for one, other in combinations(range(len(sizes)), 2):
        assert {(row[one], row[other]) for row in rows} == set(product(settings[one], settings[other]))
    assert len(set(rows)) == len(rows) <= most
    assert rows == pairs(*settings)
