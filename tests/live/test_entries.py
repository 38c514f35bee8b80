"""Entries to events: whose time is over does not count, and what is no event is passed over."""

from kvbm_events.codec import encode
from kvbm_events.log import Entry
from kvbm_events.subjects import subject_of
from kvbm_nats.live.entries import Loose
from support.samples import released


def entry(seq, event, instance="i"):
    return Entry(seq, subject_of(instance, event), encode(event))


def test_a_loose_reader_begins_anywhere_and_passes_over_what_an_older_epoch_still_writes():
    loose = Loose()
    taken = loose.feed([entry(7, released(3, 5)), entry(8, released(2, 9)), entry(9, released(1, 4), "j")])
    assert [(each.instance, each.seq) for each in taken] == [("i", 7), ("j", 9)]
    assert loose.passed_over == 1
    loose.feed([Entry(10, "kvbm.v1.i.all.released", b'{"type":"Invented"}'), Entry(11, "kvbm.v1.i.all.x", b"\xff")])
    assert loose.passed_over == 3
