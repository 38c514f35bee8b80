"""After a doubt: what of an epoch is stored, and who owns the instance now.

Rules
1. A time-out, a lost connection or a refusal says nothing about what is stored. The stream does.
2. All that may be stored lies above the floor: a sequence under which every event of the epoch is proven. So reading
   back costs what is under way, not what the log holds, and needs no duplicate window.
3. What is not found is sent again with the same id. What then still arrives from before is a duplicate to the server.
"""

from __future__ import annotations

from typing import NamedTuple

from kvbm_events.jetstream.api import Api
from kvbm_events.jetstream.consumer import Consumer, Delivery
from kvbm_events.jetstream.options import STREAM
from kvbm_events.jetstream.wire import MESSAGE_ID, Fence
from kvbm_events.log import fenced, lost_end
from kvbm_events.subjects import events_of


class Evidence(NamedTuple):
    """What the stream told: its end then, the epoch's events found above the floor, and the fence from now on."""

    last_seq: int
    stored: list[int]
    fence: Fence


async def gather(api: Api, instance: str, epoch: int, opened_seq: int, fence: Fence, floor: int) -> Evidence:
    """Ask the stream.

    Raises:
        Fenced: another owner's `Opened` is there.
        LogGap: the stream ends before what it had acknowledged.
        LogUnavailable: it does not answer.
    """
    opened = await api.message(STREAM, last_by_subj=fence.subject)
    if opened and opened.seq > opened_seq:
        raise fenced(instance, f"{opened.headers.get(MESSAGE_ID)} is at {opened.seq}, epoch {epoch} is over")
    info = await api.stream_info(STREAM)
    last_seq = info.state.last_seq if info else 0
    if last_seq < floor or (opened and opened.seq < opened_seq):
        raise lost_end(last_seq, floor)
    stored = await _read_back(api, instance, epoch, floor, last_seq)
    return Evidence(last_seq, stored, Fence(fence.subject, opened.seq if opened else 0))


async def _read_back(api: Api, instance: str, epoch: int, floor: int, last_seq: int) -> list[int]:
    """The numbers of the epoch's events with `floor < seq ≤ last_seq`."""
    if floor >= last_seq:
        return []
    prefix = f"{instance}.{epoch}."
    found: list[int] = []

    def note(delivery: Delivery) -> None:
        name = (delivery.msg.headers or {}).get(MESSAGE_ID, "")
        if name.startswith(prefix):
            found.append(int(name.removeprefix(prefix)))

    consumer = Consumer(api, note, subject=events_of(instance), after=floor, until=last_seq, headers_only=True)
    await consumer.start()
    try:
        while not consumer.is_done:
            if consumer.broken:
                raise api.connection.unavailable(consumer.broken)
            await consumer.pull()
            await consumer.wait()
    finally:
        await consumer.stop()
    return found
