"""What the loop and the workers of a stream see of each other while they write."""

import numpy as np
import pytest

from learn2mix.batches.board import MAX_WORKERS, Board


def at(board, iteration, batches):
    position = board.new_positions()[0]
    position["iteration"], position["batches"] = iteration, batches
    return position


def seen(board, before, shard=0):
    return int(board.positions(before)[shard]["batches"])


@pytest.fixture
def board():
    return Board(num_groups=2)


def test_an_iteration_begins_where_the_last_one_before_it_left_each_shard(board):
    board.write("composed", 0, at(board, 1, batches=5))
    board.write("composed", 1, at(board, 1, batches=4))
    board.write("composed", 0, at(board, 2, batches=8))
    assert seen(board, before=2) == 5
    assert seen(board, before=3) == 8
    assert seen(board, before=3, shard=1) == 4, "of which nothing was heard since"


@pytest.mark.parametrize("gap", [1, 2, 3, 4, 7])
def test_whatever_is_written_meanwhile(board, gap):
    """Also where the iterations between were left before a batch of this shard was composed."""
    board.write("composed", 0, at(board, 4, batches=5))
    for batches in (5, 6, 7):
        board.write("composed", 0, at(board, 4 + gap, batches))
        assert seen(board, before=4 + gap) == 5, "a sibling that starts late begins where the first did"
    assert seen(board, before=5 + gap) == 7


def test_a_worker_that_was_replaced_says_nothing_any_more(board):
    board.write("observed", 0, at(board, 6, batches=9))
    board.observing_since = 0
    for late in (3, 4, 5):
        board.write("observed", 0, at(board, late, batches=2))
    assert seen(board, before=7) == 9


def test_a_record_half_written_is_not_taken_for_one_that_was_there_before(board):
    """The number of the iteration is written first: from then on the record is of no account to what began before."""
    board.write("composed", 0, at(board, 1, batches=5))
    board.write("composed", 0, at(board, 2, batches=7))
    torn = board._table["composed"]["iteration"][:, 0].argmin()
    for field, value in (("iteration", 3), ("batches", 99)):
        board._table["composed"][field][torn, 0] = value
        assert seen(board, before=3) == 7


def test_all_shards_at_once(board):
    positions = board.new_positions()
    positions["iteration"], positions["batches"] = 3, np.arange(MAX_WORKERS)
    board.write_all("composed", positions)
    assert board.positions(before=4)["batches"].tolist() == list(range(MAX_WORKERS))
    assert board.positions(before=3)["batches"].sum() == 0
