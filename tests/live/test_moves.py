"""Transfers as their events tell them: under way, over, in quarantine, begun before anybody looked."""

import pytest

from kvbm_nats.live.moves import OVER_MAX, Moves
from live.happened import SECOND_US, Happened


class Seen:
    """Transfers, and the events that are told to them."""

    def __init__(self):
        self.moves, self.happened = Moves(), Happened()

    def started(self, transfer, blocks, **more):
        numbered = self.happened.started(transfer, blocks, **more)
        self.moves.begin(numbered.instance, numbered.seq, numbered.event)

    def ended(self, numbered):
        return self.moves.end(numbered.instance, numbered.event)


@pytest.fixture
def seen():
    return Seen()


def test_it_is_over_with_its_last_block_and_took_so_long(seen):
    seen.happened.at_s = 1
    seen.started("1.1", 4, request="r")
    seen.happened.at_s = 3
    assert not seen.ended(seen.happened.completed("1.1", 3)).is_over
    assert seen.moves.in_flight == 1
    assert seen.ended(seen.happened.completed("1.1", 1)).is_over
    (move,) = seen.moves.over
    assert (move.path, move.request, move.arrived, move.size_bytes) == ("g1>g2", "r", 4, 40)
    assert move.took_us(9 * SECOND_US) == 2 * SECOND_US
    assert seen.moves.in_flight == 0


def test_whose_objects_it_reads_is_known(seen):
    seen.started("1.1", 4, writer="b")
    assert [move.writer for move in seen.moves.under_way] == ["b"]


def test_what_may_still_be_written_to_is_neither_moving_nor_over(seen):
    seen.started("1.1", 4)
    step = seen.ended(seen.happened.failed("1.1", 4, stopped=False))
    assert (step.failed, step.is_over, seen.moves.in_flight, len(seen.moves.under_way)) == (4, False, 0, 1)
    step = seen.ended(seen.happened.failed("1.1", 4))
    assert (step.failed, step.is_over, seen.moves.under_way) == (0, True, [])
    assert seen.moves.over[0].failed == 4


def test_a_transfer_from_before_anybody_looked_has_no_source_and_no_time(seen):
    assert seen.ended(seen.happened.completed("1.1", 3)).source == ""
    (move,) = seen.moves.over
    assert (move.path, move.took_us(SECOND_US)) == ("?>g2", 0)


def test_the_slowest_are_those_that_took_longest_under_way_or_over_not_long_ago(seen):
    for number, took_s in enumerate((5, 1, 3)):
        seen.happened.at_s = 100
        seen.started(f"1.{number}", 1)
        seen.happened.at_s = 100 + took_s
        seen.ended(seen.happened.completed(f"1.{number}", 1))
    seen.happened.at_s = 102
    seen.started("1.9", 1)
    shown = seen.moves.slowest(now_us=106 * SECOND_US, since_us=102 * SECOND_US, count=3)
    assert [move.transfer for move in shown] == ["1.0", "1.9", "1.2"]
    shown = seen.moves.slowest(now_us=106 * SECOND_US, since_us=104 * SECOND_US, count=3)
    assert [move.transfer for move in shown] == ["1.0", "1.9"]


def test_a_new_epoch_ends_what_was_on_its_way_to_a_tier_that_starts_empty(seen):
    seen.started("1.1", 1)
    seen.moves.opened("i", seen.happened.opened("g1", "g2").event)
    assert seen.moves.in_flight == 1
    seen.moves.opened("other", seen.happened.opened().event)
    assert seen.moves.in_flight == 1
    seen.moves.opened("i", seen.happened.opened("g1").event)
    assert seen.moves.in_flight == 0


def test_what_is_known_of_the_past_has_an_end(seen):
    for number in range(OVER_MAX + 3):
        seen.ended(seen.happened.completed(f"1.{number}", 1))
    assert (len(seen.moves.over), seen.moves.over[0].transfer) == (OVER_MAX, "1.3")
