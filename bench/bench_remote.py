"""Host memory to a memory host and back over UCX: GB/s, beside a memcpy and a raw TCP stream of the same blocks.

The memory host is a process on this machine. *CMA* is what UCX takes by itself between two processes of one machine, a copy by the
kernel; *TCP* is its network code, over loopback. Blocks lie where chance put them, in jobs of 32, all given at once; each is hashed
where it comes from, or compared with what it was, and hashed again by whoever gets it. The raw stream goes to a process of its own
block by block, by `sendall` and `recv_into` in place. The memcpy is one thread's. Neither hashes, and CPU is this process's alone.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from random import Random

from xxhash import xxh3_64_hexdigest

from harness import ROUNDS, Row
from kvbm_events.schema import TierName
from kvbm_nats.nats_server import NatsServer
from kvbm_tiers import Group, HostArena, Layout, Mover
from kvbm_tiers.host_arena import SHARED_MEMORY
from kvbm_tiers.memory import anonymous, copy
from kvbm_tiers.remote import NixlUcxMover, RemoteMemory
from mover_rounds import Side, by_mover, compare, timed

HERE = Path(__file__).parent
NAMESPACE = "bench"
SIZES = (64 << 10, 512 << 10, 2 << 20)
TRANSPORTS = {"CMA": "", "TCP": "tcp"}
RAW = "raw TCP stream"


class Field:
    """An arena full of chance, of one block size, and as much memory beside it."""

    def __init__(self, folder: Path, block_bytes: int, count: int) -> None:
        shape = Group(name="b", layers=1, outer=1, tokens=1, heads=1, head_size=block_bytes, dtype="int8")
        self.layout, self.block_bytes, self.count = Layout(groups=(shape,)), block_bytes, count
        self.arena = HostArena(folder / "arena", namespace=NAMESPACE, layout=self.layout, capacity=count)
        self.other = anonymous(block_bytes * count)
        chance = Random(1)
        self.places = chance.sample(range(count), count)
        piece = bytearray(chance.randbytes(block_bytes))
        self.sums = list[str]()
        for slot in range(count):
            piece[:8] = slot.to_bytes(8, "little")
            self.arena.view(slot)[:] = piece
            self.sums.append(xxh3_64_hexdigest(piece))

    def timed_mover(self, mover: Mover, *, down: bool) -> Side:
        """All blocks in jobs, given at once."""
        pairs = [(slot, place) if down else (place, slot) for slot, place in enumerate(self.places)]
        path: tuple[TierName, TierName] = ("g2", "g3") if down else ("g3", "g2")
        return timed(partial(by_mover, mover, path, pairs, self.sums), self.count, self.block_bytes)

    def timed_memcpy(self, *, down: bool) -> Side:
        """All blocks, one after the other."""
        size = self.block_bytes

        def move() -> None:
            for slot, place in enumerate(self.places):
                here, there = self.arena.view(slot), self.other[place * size : (place + 1) * size]
                copy(*((there, here) if down else (here, there)))

        return timed(move, self.count, size)

    def timed_stream(self, stream: socket.socket, *, down: bool) -> Side:
        """All blocks through a socket, each where it belongs."""
        views = [self.arena.view(slot) for slot in sorted(range(self.count), key=self.places.__getitem__)]
        return timed(partial(_stream, stream, views, down=down), self.count, self.block_bytes)


def _stream(stream: socket.socket, views: Sequence[memoryview], *, down: bool) -> None:
    stream.sendall(b"d" if down else b"u")
    for view in views:
        if down:
            stream.sendall(view)
            continue
        done = 0
        while done < len(view):
            done += stream.recv_into(view[done:])
    if down:
        assert stream.recv(1) == b"k"


@contextmanager
def _mover(url: str, field: Field, folder: Path, transport: str) -> Iterator[Mover]:
    """A mover to a memory host in a process of its own; both read UCX's environment when they make their agents."""
    name = f"bench-{transport or 'cma'}"
    os.environ["UCX_NET_DEVICES"] = "lo"
    if transport:
        os.environ["UCX_TLS"] = transport
    words = url, name, str(folder), str(field.block_bytes), str(field.count)
    host = subprocess.Popen([sys.executable, HERE / "remote_host.py", *words], stdout=subprocess.PIPE, text=True)
    try:
        assert host.stdout
        assert host.stdout.readline() == "ready\n"
        shape = {"namespace": NAMESPACE, "layout": field.layout, "capacity": field.count}
        with (
            closing(RemoteMemory(url, name, **shape)) as remote,  # type: ignore[arg-type] # by name
            closing(NixlUcxMover({"g2": field.arena, "g3": remote}, "g3")) as mover,
        ):
            os.environ.pop("UCX_TLS", None)
            yield mover
    finally:
        host.kill()
        host.communicate()


@contextmanager
def _peer(field: Field) -> Iterator[socket.socket]:
    """A stream to a process that has as much memory."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = str(server.getsockname()[1]), str(field.block_bytes), str(field.count)
        process = subprocess.Popen([sys.executable, HERE / "remote_stream.py", *words])
        try:
            stream, _ = server.accept()
            with stream:
                yield stream
        finally:
            process.kill()
            process.wait()


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """Every size and way, all sides in turns."""
    rows = list[Row]()
    total_bytes, rounds = (64 << 20, 3) if quick else (256 << 20, ROUNDS)
    with tempfile.TemporaryDirectory(prefix="kvbm-bench-") as folder, NatsServer(Path(folder) / "nats") as nats:
        for block_bytes in SIZES:
            rows += _of_size(nats.url, block_bytes, total_bytes // block_bytes, rounds)
    return rows


def _of_size(url: str, block_bytes: int, count: int, rounds: int) -> list[Row]:
    rows = list[Row]()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvbm-bench-", dir=SHARED_MEMORY)))
        field = Field(folder, block_bytes, count)
        stack.callback(field.arena.close)
        movers = {name: stack.enter_context(_mover(url, field, folder, tls)) for name, tls in TRANSPORTS.items()}
        stream = stack.enter_context(_peer(field))
        for down in (True, False):
            ours = {name: field.timed_mover(mover, down=down) for name, mover in movers.items()}
            others = {
                "memcpy": field.timed_memcpy(down=down),
                RAW: field.timed_stream(stream, down=down),
            }
            what = f"{'host to memory host' if down else 'memory host to host'}, {block_bytes >> 10} KiB"
            rows += compare(what, ours, others, rounds, {})
    return rows


if __name__ == "__main__":
    for row in run(quick=True):
        print(row)
