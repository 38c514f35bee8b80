"""The writer's bookkeeping alone: whatever is acknowledged, lost or doubted, events go out in order and all of them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kvbm_events.jetstream.outbox import GROUP_BYTES, GROUP_MAX, GROUP_MIN, GROUPS_MAX, UNDER_WAY_BYTES, Outbox
from kvbm_events.jetstream.window import Window
from kvbm_events.jetstream.wire import Outgoing

SINGLES_MAX = 8


def outgoing(n: int, size_bytes: int = 1) -> Outgoing:
    return Outgoing(n, "subject", f"a.1.{n}", b"x" * size_bytes)


def filled(count: int, *, size_bytes: int = 1, is_serial: bool = False) -> Outbox:
    outbox = Outbox(0, SINGLES_MAX, is_serial=is_serial)
    for n in range(1, count + 1):
        outbox.put(outgoing(n, size_bytes))
    return outbox


def sizes(outbox: Outbox) -> list[int]:
    """The sizes of all that can be sent before the next acknowledgement."""
    found = []
    while events := outbox.take():
        found.append(len(events))
    return found


def test_few_events_go_one_by_one_up_to_the_window():
    outbox = filled(GROUP_MIN - 1)
    assert sizes(outbox) == [1] * SINGLES_MAX
    assert outbox.ack(1, 3)
    assert sizes(outbox) == [1] * 3
    assert not outbox.is_empty


def test_many_events_go_in_two_batches_and_the_next_waits():
    outbox = filled(GROUP_MAX * 3)
    assert sizes(outbox) == [GROUP_MAX] * GROUPS_MAX
    outbox.ack(1, GROUP_MAX)
    assert sizes(outbox) == [GROUP_MAX]


def test_behind_a_batch_few_events_gather():
    outbox = filled(GROUP_MIN)
    assert sizes(outbox) == [GROUP_MIN]
    outbox.put(outgoing(GROUP_MIN + 1))
    assert sizes(outbox) == []
    outbox.ack(1, GROUP_MIN)
    assert sizes(outbox) == [1]


def test_a_batch_is_bounded_in_bytes():
    assert sizes(filled(40, size_bytes=GROUP_BYTES // 20)) == [20, 20]
    assert sizes(filled(20, size_bytes=GROUP_BYTES + 1))[0] == 1


def test_what_is_under_way_is_bounded_in_bytes():
    outbox = filled(15, size_bytes=UNDER_WAY_BYTES // 3 + 1)
    assert sizes(outbox) == [1] * 3


def test_where_one_expectation_is_allowed_all_goes_one_after_the_other():
    outbox = filled(1, is_serial=True)
    assert sizes(outbox) == [1]
    for n in (2, 3, 4):
        outbox.put(outgoing(n))
    assert sizes(outbox) == []
    outbox.ack(1, 1)
    assert sizes(outbox) == [3]
    assert outbox.send_again() == 4
    assert [events[0].n for events in iter(outbox.take, [])] == [2]


def test_batches_can_be_switched_off():
    outbox = filled(GROUP_MAX)
    outbox.may_group = False
    assert sizes(outbox) == [1] * SINGLES_MAX


def test_what_is_in_doubt_goes_again_one_by_one_before_anything_new():
    outbox = filled(GROUP_MIN * 2)
    assert sizes(outbox) == [GROUP_MIN * 2]
    outbox.put(outgoing(GROUP_MIN * 2 + 1))
    outbox.ack(3, 4)
    assert outbox.send_again() == GROUP_MIN * 2
    assert [events[0].n for events in iter(outbox.take, [])][:4] == [1, 2, 5, 6]


@given(st.permutations(range(1, 25)), st.lists(st.integers(1, 4), min_size=24, max_size=24))
def test_the_window_moves_over_what_has_no_gap(order, spans):
    window = Window(0)
    window.add(outgoing(n) for n in range(1, 25))
    proven: set[int] = set()
    for first, span in zip(order, spans, strict=True):
        last = first + span - 1
        proven |= set(range(first, last + 1)) & set(range(1, 25))
        whole = next(n for n in range(1, 26) if n not in proven) - 1
        before = window.acked_n
        assert window.ack(first, last) is (whole > before)
        assert window.acked_n == whole
        assert len(window) == 24 - len(proven)
        assert [event.n for event in window.unproven()] == [n for n in range(1, 25) if n not in proven]
        assert all(window.is_proven(n) is (n in proven) for n in range(1, 25))
    assert window.size_bytes == 0


@settings(max_examples=200)
@given(st.data(), st.booleans())
def test_every_event_arrives_in_spite_of_losses(data, is_serial):
    """A server that loses publishes and answers; after each doubt the stored ones are told, the others sent again."""
    outbox, stored, put = Outbox(0, SINGLES_MAX, is_serial=is_serial), set(), 0
    for _ in range(data.draw(st.integers(1, 30))):
        for _ in range(data.draw(st.sampled_from([0, 1, 3, 20, 40]))):
            put += 1
            outbox.put(outgoing(put))
        while events := outbox.take():
            assert [e.n for e in events] == list(range(events[0].n, events[-1].n + 1))
            assert not is_serial or events[0].n == outbox.acked_n + 1
            fate = data.draw(st.sampled_from(["acknowledged", "acknowledged", "answer lost", "lost"]))
            if fate != "lost":
                stored.update(event.n for event in events)
            if fate == "acknowledged":
                outbox.ack(events[0].n, events[-1].n)
        assert set(range(1, outbox.acked_n + 1)) <= stored
        if data.draw(st.booleans()):
            for n in stored:
                outbox.ack(n, n)
            outbox.send_again()
    while not outbox.is_empty:
        outbox.send_again()
        while events := outbox.take():
            stored.update(event.n for event in events)
            outbox.ack(events[0].n, events[-1].n)
    assert stored == set(range(1, put + 1))
    assert outbox.acked_n == put
