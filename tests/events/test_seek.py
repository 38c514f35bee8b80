"""Finding a place in the log without reading all that lies before it."""

import pytest

from kvbm_events.jetstream import seek as module
from kvbm_events.log import Snapshot
from kvbm_events.schema import Matched, Opened, TierSpec
from kvbm_events.schema.errors import LogGap
from kvbm_events.sequencer import Sequencer


def opened(epoch):
    return Opened(epoch=epoch, n=0, at_us=0, namespace="n=1", owner="o", tiers=[TierSpec(tier="g1", capacity=8)])


async def write(log, instance, epoch, count):
    """An epoch of so many events; its owner is gone afterwards."""
    writer = await log.open_writer(instance, opened(epoch), await log.last_seq(instance))
    await writer.append([Matched(epoch=epoch, n=n, at_us=0, request="r", asked=0) for n in range(1, count)])
    await writer.close()


async def numbers_after(log, instance, epoch, n):
    """The events that a reader gets who begins where `seek` says."""
    start = await log.seek(instance, epoch, n)
    sequencer = Sequencer()
    sequencer.resume(instance, epoch, n)
    read, found = 0, []
    async for batch in log.read(instance, after=start.after, until=await log.last_seq(instance)):
        read += len(batch)
        found += [ordered.event.n for entry in batch for ordered in sequencer.feed(entry)]
    return found, read


@pytest.fixture
def close_search(monkeypatch):
    monkeypatch.setattr(module, "UNDER_WAY_MAX", 16)
    monkeypatch.setattr(module, "CLOSE_ENOUGH", 8)


@pytest.mark.usefixtures("close_search")
@pytest.mark.parametrize("n", [0, 1, 7, 150, 298, 299])
async def test_every_event_after_the_place_is_read_and_few_before_it(jetstream_log, instance, n):
    await write(jetstream_log, instance, 1, 50)
    await write(jetstream_log, instance, 2, 300)
    found, read = await numbers_after(jetstream_log, instance, 2, n)
    assert found == list(range(n + 1, 300))
    assert read <= len(found) + 16 + 8 + 1


@pytest.mark.usefixtures("close_search")
async def test_another_instances_events_between_do_not_mislead_it(jetstream_log, instance):
    for epoch in range(1, 6):
        await write(jetstream_log, instance, epoch, 20)
        await write(jetstream_log, f"{instance}-x", epoch, 50)
    found, _ = await numbers_after(jetstream_log, instance, 5, 11)
    assert found == list(range(12, 20))


async def test_what_was_trimmed_is_told(jetstream_log, instance):
    await write(jetstream_log, instance, 1, 30)
    seq = await jetstream_log.last_seq(instance)
    snapshot = Snapshot(instance=instance, epoch=1, n=29, seq=seq, at_us=0, digest="", state=b"")
    await jetstream_log.save_snapshot(snapshot)
    await jetstream_log.trim(instance, seq - 10)
    start = await jetstream_log.seek(instance, 1, 3)
    assert start == (seq - 10, 20)
    assert await jetstream_log.last_place(instance) == (1, 29)


async def test_an_epoch_that_is_over_is_a_gap(jetstream_log, instance):
    await write(jetstream_log, instance, 1, 3)
    await write(jetstream_log, instance, 2, 3)
    with pytest.raises(LogGap):
        await jetstream_log.seek(instance, 1, 2)
    with pytest.raises(LogGap):
        await jetstream_log.seek(f"{instance}-none", 1, 2)
