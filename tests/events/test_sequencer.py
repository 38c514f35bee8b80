"""Whatever way the entries come, what the sequencer gives is each epoch's events in order, each once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbm_events import sequencer as module
from kvbm_events.codec import UnknownEvent, encode
from kvbm_events.log import Entry
from kvbm_events.schema import AnyEvent
from kvbm_events.schema.errors import InvalidEvent, LogGap
from kvbm_events.sequencer import Sequencer
from kvbm_events.subjects import subject_of
from support.samples import opened, released


def entry(seq: int, event: AnyEvent, instance: str = "a") -> Entry:
    return Entry(seq, subject_of(instance, event), encode(event))


def feed(sequencer: Sequencer, events: list[AnyEvent], instance: str = "a") -> list[AnyEvent]:
    return [o.event for seq, event in enumerate(events, 1) for o in sequencer.feed(entry(seq, event, instance))]


@st.composite
def deliveries(draw) -> tuple[list[AnyEvent], list[AnyEvent]]:
    """Entries as a log may hold them, and what is right to apply.

    An epoch begins with its `Opened`; its events come in any order, some again, with leftovers of epochs before. Of
    all but the last epoch some of the end may be missing: their owner lost them.
    """
    delivered: list[AnyEvent] = []
    expected: list[AnyEvent] = []
    epochs = sorted(draw(st.sets(st.integers(1, 50), min_size=1, max_size=4)))
    for epoch in epochs:
        count = draw(st.integers(0, 12))
        events = [released(epoch, n) for n in range(1, count + 1)]
        lost = draw(st.integers(1, count)) if count and epoch != epochs[-1] and draw(st.booleans()) else count + 1
        expected += [opened(epoch), *events[: lost - 1]]
        coming = [event for event in events if event.n != lost]
        again = draw(st.lists(st.sampled_from([*coming, opened(epoch)]), max_size=5))
        stale = draw(st.lists(st.sampled_from(delivered), max_size=3)) if delivered else []
        delivered += [opened(epoch), *draw(st.permutations([*coming, *again, *stale]))]
    return delivered, expected


@given(deliveries())
def test_any_delivery_gives_the_epochs_in_order(case):
    delivered, expected = case
    sequencer = Sequencer()
    assert feed(sequencer, delivered) == expected
    sequencer.check_whole()
    assert sequencer.missing() == {}
    assert sequencer.stale + sequencer.dropped == len(delivered) - len(expected)


@given(deliveries(), deliveries(), st.data())
def test_instances_do_not_disturb_each_other(one, two, data):
    order = data.draw(st.permutations("a" * len(one[0]) + "b" * len(two[0])))
    sources = {"a": iter(one[0]), "b": iter(two[0])}
    applied: dict[str, list[AnyEvent]] = {"a": [], "b": []}
    sequencer = Sequencer()
    for seq, name in enumerate(order, 1):
        for ordered in sequencer.feed(entry(seq, next(sources[name]), name)):
            applied[ordered.instance].append(ordered.event)
    assert applied == {"a": one[1], "b": two[1]}


@given(deliveries(), st.data())
def test_resuming_anywhere_gives_the_rest(case, data):
    delivered, expected = case
    at = data.draw(st.integers(0, len(expected) - 1))
    sequencer = Sequencer()
    sequencer.resume("a", expected[at].epoch, expected[at].n)
    assert feed(sequencer, delivered) == expected[at + 1 :]


def test_the_entry_that_completes_the_order_is_named():
    sequencer = Sequencer()
    sequencer.feed(entry(10, opened(1)))
    assert sequencer.feed(entry(11, released(1, 2))) == []
    assert [(o.seq, o.event.n) for o in sequencer.feed(entry(12, released(1, 1)))] == [(12, 1), (12, 2)]


def test_a_missing_event_is_named():
    sequencer = Sequencer()
    feed(sequencer, [opened(4), released(4, 1), released(4, 3)])
    assert sequencer.missing() == {"a": (4, 2)}
    with pytest.raises(LogGap, match=r"event a\.4\.2 is missing"):
        sequencer.check_whole()


def test_an_unknown_type_stops_the_strict_and_is_counted_by_the_tolerant():
    unknown = Entry(2, "kvbm.v1.a.all.compacted", b'{"type":"Compacted","epoch":1,"n":1,"at_us":1}')
    with pytest.raises(UnknownEvent):
        Sequencer().feed(unknown)
    tolerant = Sequencer(tolerant=True)
    assert tolerant.feed(unknown) == []
    assert tolerant.unknown == 1


def test_a_damaged_event_stops_even_the_tolerant():
    with pytest.raises(InvalidEvent):
        Sequencer(tolerant=True).feed(Entry(1, "kvbm.v1.a.all.opened", b"{}"))


def test_what_is_held_back_has_a_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_HELD_BACK", 3)
    sequencer = Sequencer()
    feed(sequencer, [opened(1), *(released(1, n) for n in (2, 3, 4))])
    with pytest.raises(LogGap, match=r"event a\.1\.1 is missing"):
        sequencer.feed(entry(9, released(1, 5)))
