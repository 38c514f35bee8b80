"""The log in JetStream: writing and reading through it, beside the plainest publisher and puller of the same bytes.

The server runs on this machine and syncs every message (`sync_interval: always`); all sides share its cores. The raw
publisher keeps a window of 256 and counts acknowledgements, nothing else: no ids, no fence, no order, no repair. The
raw batches are atomic ones of the size that the writer makes, two under way. The raw puller counts what it gets.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg

from harness import ROUNDS, Row, make_row
from kvbm_events.codec import decode, encode
from kvbm_events.jetstream import JetStreamLog
from kvbm_events.jetstream.outbox import GROUP_BYTES, GROUP_MAX
from kvbm_events.log import Writer
from kvbm_events.schema import AnyEvent, Opened, Registered, TierSpec
from kvbm_events.subjects import PREFIX
from kvbm_nats.nats_server import NatsServer

WINDOW = 256
EVENTS = {1: 8000, 64: 4000, 512: 1500}
"""Events a round, by the blocks in each."""
AWAITED = 300
PULL = json.dumps({"batch": 256, "max_bytes": 8 << 20, "expires": 30_000_000_000}).encode()

_names = count(1)


class Shape(NamedTuple):
    """A round's events, their bytes, and how many blocks they name."""

    blocks: int
    events: list[AnyEvent]
    bodies: list[bytes]


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """Every measurement against one server, sides in turns."""
    with tempfile.TemporaryDirectory(prefix="kvbm-bench-") as folder, NatsServer(Path(folder) / "nats") as server:
        return asyncio.run(_measure(server.url, quick=quick))


async def _measure(url: str, *, quick: bool) -> list[Row]:
    log, nc = await JetStreamLog.connect(url), Client()
    await nc.connect(url, pending_size=64 << 20)
    rounds, share = (3, 5) if quick else (ROUNDS, 1)
    rows: list[Row] = []
    try:
        for blocks, number in EVENTS.items():
            shape = _shape(blocks, number // share)
            rows += await _writing(log, nc, shape, rounds)
            rows.append(await _reading(log, nc, shape, rounds))
        rows += await _awaiting(log, nc, AWAITED // share, rounds)
    finally:
        await log.close()
        await nc.close()
    return rows


def _shape(blocks: int, number: int) -> Shape:
    chance = Random(blocks)
    events: list[AnyEvent] = [
        Registered(
            epoch=1,
            n=n,
            at_us=n,
            tier="g1",
            request=f"r{n}",
            slots=[(n, blocks)],
            keys=chance.randbytes(16 * blocks).hex(),
        )
        for n in range(1, number + 1)
    ]
    return Shape(blocks, events, [encode(event) for event in events])


async def _open(log: JetStreamLog) -> tuple[str, Writer]:
    instance = f"bench-{next(_names)}"
    opened = Opened(epoch=1, n=0, at_us=0, namespace="bench", owner="bench", tiers=[TierSpec(tier="g1", capacity=1)])
    return instance, await log.open_writer(instance, opened, 0)


async def _writing(log: JetStreamLog, nc: Client, shape: Shape, rounds: int) -> list[Row]:
    sides: dict[str, Callable[[], Awaitable[None]]] = {
        "ours": partial(_write, log, shape.events),
        "pipelined": partial(_publish, nc, shape.bodies),
        "batches": partial(_publish_batches, nc, shape.bodies),
    }
    rates: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, work in sides.items():
            rates[side].append(len(shape.events) / await _seconds(work))
    what = f"write, {shape.blocks} block{'s' * (shape.blocks > 1)} an event"
    raw = {"pipelined": "raw publishes, window 256", "batches": "raw atomic batches"}
    rows = [
        make_row(what, "events/s", rates["ours"], theirs=rates[side], against=against, aim=0.7, more_is_better=True)
        for side, against in raw.items()
    ]
    return [*rows, make_row(f"{what}: in blocks", "M blocks/s", [rate * shape.blocks / 1e6 for rate in rates["ours"]])]


async def _reading(log: JetStreamLog, nc: Client, shape: Shape, rounds: int) -> Row:
    instance, writer = await _open(log)
    await writer.append(shape.events)
    await writer.close()
    ours, theirs = list[float](), list[float]()
    for _ in range(rounds):
        for rates, work in ((ours, _read), (theirs, _pull)):
            took = await _seconds(partial(work, log, nc, instance, len(shape.events) + 1))
            rates.append(shape.blocks * len(shape.events) / took / 1e6)
    what = f"read and decode, {shape.blocks} block{'s' * (shape.blocks > 1)} an event"
    return make_row(what, "M blocks/s", ours, theirs=theirs, against="raw pulls, not decoded", more_is_better=True)


async def _awaiting(log: JetStreamLog, nc: Client, number: int, rounds: int) -> list[Row]:
    """One event at a time, each awaited."""
    shape = _shape(64, number)
    ours: dict[str, list[float]] = {"p50": [], "p99": []}
    theirs: dict[str, list[float]] = {"p50": [], "p99": []}
    for _ in range(rounds):
        _, writer = await _open(log)
        _note(ours, [await _seconds(partial(_append_one, writer, event)) for event in shape.events])
        await writer.close()
        _note(theirs, [await _seconds(partial(_request_one, nc, body)) for body in shape.bodies])
    return [
        make_row(
            f"append and settle one event, {which}", "ms", ours[which], theirs=theirs[which], against="raw request"
        )
        for which in ours
    ]


def _note(found: dict[str, list[float]], seconds: list[float]) -> None:
    found["p50"].append(statistics.median(seconds) * 1e3)
    found["p99"].append(statistics.quantiles(seconds, n=100)[-1] * 1e3)


async def _seconds(work: Callable[[], Awaitable[None]]) -> float:
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


async def _write(log: JetStreamLog, events: list[AnyEvent]) -> None:
    _, writer = await _open(log)
    await writer.append(events)
    await writer.close()
    assert writer.acked_n == len(events)


async def _append_one(writer: Writer, event: AnyEvent) -> None:
    await writer.append([event])
    await writer.settle()


async def _request_one(nc: Client, body: bytes) -> None:
    reply = await nc.request(f"{PREFIX}.raw.g1.registered", body, timeout=10)
    assert b'"error"' not in reply.data


class _Counter:
    """Waits until no more than so many answers are owed."""

    def __init__(self) -> None:
        self.owed = 0
        self._less = asyncio.Event()

    async def on_answer(self, msg: Msg) -> None:
        assert b'"error"' not in msg.data
        self.owed -= 1
        self._less.set()

    async def wait(self, owed_max: int) -> None:
        while self.owed > owed_max:
            self._less.clear()
            await self._less.wait()


async def _publish(nc: Client, bodies: list[bytes]) -> None:
    inbox, counter = nc.new_inbox(), _Counter()
    subscription = await nc.subscribe(inbox, cb=counter.on_answer)
    for body in bodies:
        await counter.wait(WINDOW - 1)
        counter.owed += 1
        await nc.publish(f"{PREFIX}.raw.g1.registered", body, reply=inbox)
    await counter.wait(0)
    await subscription.unsubscribe()


async def _publish_batches(nc: Client, bodies: list[bytes]) -> None:
    inbox, counter = nc.new_inbox(), _Counter()
    subscription = await nc.subscribe(inbox, cb=counter.on_answer)
    size = min(GROUP_MAX, GROUP_BYTES // len(bodies[0]))
    for start in range(0, len(bodies), size):
        await counter.wait(1)
        counter.owed += 1
        batch, name = bodies[start : start + size], f"raw-{next(_names)}"
        for sequence, body in enumerate(batch, 1):
            headers = {"Nats-Batch-Id": name, "Nats-Batch-Sequence": str(sequence)}
            if sequence == len(batch):
                headers["Nats-Batch-Commit"] = "1"
            reply = inbox if sequence == len(batch) else ""
            await nc.publish(f"{PREFIX}.raw.g1.registered", body, reply=reply, headers=headers)
    await counter.wait(0)
    await subscription.unsubscribe()


async def _read(log: JetStreamLog, _nc: Client, instance: str, number: int) -> None:
    found = 0
    async for batch in log.read(instance, until=await log.last_seq(instance)):
        for entry in batch:
            decode(entry.data)
        found += len(batch)
    assert found == number


async def _pull(_log: JetStreamLog, nc: Client, instance: str, number: int) -> None:
    name, inbox, done, found = f"raw-{next(_names)}", nc.new_inbox(), asyncio.Event(), 0
    config = {"name": name, "ack_policy": "none", "filter_subject": f"{PREFIX}.{instance}.>", "mem_storage": True}
    body = json.dumps({"stream_name": "KVBM", "config": config}).encode()
    assert b'"error"' not in (await nc.request(f"$JS.API.CONSUMER.CREATE.KVBM.{name}", body, timeout=10)).data

    async def on_message(msg: Msg) -> None:
        nonlocal found
        found += bool(msg.reply)
        if found == number:
            done.set()
        elif (msg.reply and found % 256 == 0) or (not msg.reply and b"Exceeds" in str(msg.headers).encode()):
            await nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.KVBM.{name}", PULL, reply=inbox)

    subscription = await nc.subscribe(inbox, cb=on_message, pending_msgs_limit=0, pending_bytes_limit=0)
    for _ in range(2):
        await nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.KVBM.{name}", PULL, reply=inbox)
    await done.wait()
    await subscription.unsubscribe()
    await nc.request(f"$JS.API.CONSUMER.DELETE.KVBM.{name}", b"", timeout=10)


if __name__ == "__main__":
    for row in run(quick=True):
        print(row)
