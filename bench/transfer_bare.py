"""The floor of `bench_transfer`: `transfer_bare.py URL BYTES`.

Reads orders from a stream, copies as many bytes as each says, and writes a report of as many bytes as it says into the
stream. No ids, no order of its own, no checksums, nothing that survives.
"""

from __future__ import annotations

import asyncio
import sys

import nats
from nats.aio.msg import Msg


async def main(url: str, capacity_bytes: int) -> None:
    """Until it is killed."""
    connection = await nats.connect(url)
    stream = connection.jetstream()
    source, target = memoryview(bytearray(capacity_bytes)), memoryview(bytearray(capacity_bytes))
    source[:] = b"\x01" * capacity_bytes
    target[:] = source

    async def do(message: Msg) -> None:
        headers = message.headers or {}
        size = int(headers["Copy"])
        target[:size] = source[:size]
        await stream.publish("bare.report", bytes(int(headers["Report"])))

    await stream.subscribe("bare.order", ordered_consumer=True, cb=do)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
