"""How events travel to JetStream: headers, single publishes, atomic batches (ADR-50), and their acknowledgements.

Rules
1. Every event carries its message id, so that the server stores it once.
2. Every publish carries an expectation: the last message on the instance's `opened` subject is this epoch's own. So
   the server itself refuses whatever a superseded owner still sends, and what is acknowledged is what readers apply.
   A batch is checked as one, so only its first event carries it.
3. The acknowledgement's subject names the attempt and the last event; the acknowledgement itself says how many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from kvbm_events.jetstream.api import PubAck, Refusal

MESSAGE_ID = "Nats-Msg-Id"
EXPECTED_SEQ = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
STATUS = "Status"
_BATCH_ID = "Nats-Batch-Id"
_BATCH_SEQUENCE = "Nats-Batch-Sequence"
_BATCH_COMMIT = "Nats-Batch-Commit"

NO_RESPONDERS = Refusal(503, 0, "no stream answers on this subject now")
_decode_ack = msgspec.json.Decoder(PubAck).decode


class Outgoing(NamedTuple):
    """An encoded event on its way to the log."""

    n: int
    subject: str
    message_id: str
    data: bytes


class Fence(NamedTuple):
    """The expectation that every publish of an epoch carries: `subject`'s last message has sequence `seq`."""

    subject: str
    seq: int

    def headers(self, message_id: str) -> dict[str, str]:
        """The headers of an event that is checked against the fence."""
        return {MESSAGE_ID: message_id, EXPECTED_SEQ: str(self.seq), EXPECTED_SUBJECT: self.subject}


class Ack(NamedTuple):
    """What the server said: the events from `first` to `last` are stored, the last at `seq`, or `last` is refused."""

    attempt: int
    first: int
    last: int
    seq: int
    refusal: Refusal | None


async def send(nc: Client, events: Sequence[Outgoing], fence: Fence, inbox: str, attempt: int) -> None:
    """Publish one event, or several of which all are stored, next to each other, or none is.

    The acknowledgement for all of them comes to `<inbox>.<attempt>.<n of the last>`.
    """
    last = events[-1]
    headers = fence.headers(events[0].message_id)
    if len(events) > 1:
        batch_id = f"{events[0].message_id}-{attempt}"[-64:]
        for sequence, event in enumerate(events, 1):
            headers = headers if sequence == 1 else {MESSAGE_ID: event.message_id}
            headers[_BATCH_ID] = batch_id
            headers[_BATCH_SEQUENCE] = str(sequence)
            if event is not last:
                await nc.publish(event.subject, event.data, headers=headers)
        headers[_BATCH_COMMIT] = "1"
    await nc.publish(last.subject, last.data, reply=f"{inbox}.{attempt}.{last.n}", headers=headers)


def read_ack(msg: Msg) -> Ack:
    """The acknowledgement in a message that came to the inbox."""
    _, attempt, name = msg.subject.rsplit(".", 2)
    last = int(name)
    if not msg.data:
        return Ack(int(attempt), last, last, 0, NO_RESPONDERS)
    ack = _decode_ack(msg.data)
    return Ack(int(attempt), last - ack.count + 1, last, ack.seq, ack.error)
