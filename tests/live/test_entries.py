"""Entries to events: whose time is over does not count, and what is no event is passed over."""

from kvbm_events.codec import encode
from kvbm_events.log import Entry
from kvbm_events.memory import MemoryLog
from kvbm_events.schema import Allocated
from kvbm_events.subjects import subject_of
from kvbm_nats.live.entries import Folding, Loose
from kvbm_nats.recovery import recover
from support.samples import opened, registered, released


def entry(seq, event, instance="i"):
    return Entry(seq, subject_of(instance, event), encode(event))


def test_a_loose_reader_begins_anywhere_and_passes_over_what_an_older_epoch_still_writes():
    loose = Loose()
    taken = loose.feed([entry(7, released(3, 5)), entry(8, released(2, 9)), entry(9, released(1, 4), "j")])
    assert [(each.instance, each.seq) for each in taken] == [("i", 7), ("j", 9)]
    assert loose.passed_over == 1
    loose.feed([Entry(10, "kvbm.v1.i.all.released", b'{"type":"Invented"}'), Entry(11, "kvbm.v1.i.all.x", b"\xff")])
    assert loose.passed_over == 3


async def test_a_folding_reader_has_the_state_after_what_it_was_fed():
    log = MemoryLog()
    await log.open_writer("i", opened(1), 0)
    folding = Folding(await recover(log, "i"))
    assert folding.after == await log.last_seq("i")
    assert folding.feed([entry(4, registered(1, 2, 3))]) == [], "it comes before its turn"
    taken = folding.feed([entry(5, Allocated(epoch=1, n=1, at_us=1, tier="g1", request="r2", slots=[(0, 3)]))])
    assert [type(each.event).__name__ for each in taken] == ["Allocated", "Registered"]
    assert folding.state.tiers["g1"].counts()["registered"] == 3
    assert folding.feed([entry(6, registered(1, 2, 3))]) == []
    assert folding.passed_over == 1
