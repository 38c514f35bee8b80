"""A transfer end to end, from the call that asks for it until what arrived can be matched; and where the time goes.

The owner is this process, the tier worker another one, and a nats-server that syncs always has the log: host memory as g1,
an arena in shared memory as g2, 2 MiB a block. Beside it, as the floor, a process that is sent the same bytes over a bare
stream of the same server, copies as much with one memcpy, and sends back a report; its end is written, too. So both sides
store three messages, one after the other, and move the same bytes; only ours hashes them.

The parts: *log*: the order is acknowledged, of several transfers the last one. *pick-up*: from there until the worker's mover has
the first job; less than nothing where the worker is told before the owner is. *move*: until the mover is done. *report*: until the owner looks at it. *arrival*: until
that is acknowledged, and whoever waits knows.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Self

import nats

from harness import ROUNDS, Row, make_row
from kvbm_events.codec import encode
from kvbm_events.schema import OffloadCompleted, OffloadStarted
from kvbm_nats.manager import BlockManager
from kvbm_nats.nats_server import NatsServer
from kvbm_nats.offloading import Ticket
from kvbm_nats.options import Options
from kvbm_nats.plan import parse_plan
from kvbm_nats.workers import WorkerMover
from kvbm_tiers import Report, preset

NAMESPACE, LAYOUT = "model=bench", "llama-8b"
TIMES = {1: 60, 16: 30, 256: 6}
"""Transfers of a round each way, by their blocks."""
MOST = max(TIMES)
PLAN = f"g1={MOST},g2={MOST}:priority/100"
"""Nothing goes down by itself: nobody here has that priority."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - g2 lies there, in a folder of its own
PARTS = ("log", "pick-up", "move", "report", "arrival")
BARE = "a bare stream and a memcpy"
_HERE = Path(__file__).parent


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """All figures; fewer and smaller rounds if `quick`."""
    rounds, times = (3, {blocks: max(2, count // 6) for blocks, count in TIMES.items()}) if quick else (ROUNDS, TIMES)
    whole = Options(batch_max=MOST, path_blocks_max=MOST)
    with (
        tempfile.TemporaryDirectory(prefix="kvbm-bench-") as disk,
        NatsServer(Path(disk) / "nats") as server,
        _Bare(server.url) as bare,
    ):
        with _Ours(server.url, "whole", whole) as ours:
            rows = [row for blocks, count in times.items() for row in _measure(ours, bare, rounds, blocks, count)]
        with _Ours(server.url, "default", Options()) as ours:
            return [*rows, *_measure(ours, bare, rounds, MOST, times[MOST])]


class Transfer(NamedTuple):
    """One, in seconds."""

    total: float
    parts: Sequence[float]


def _measure(ours: _Ours, bare: _Bare, rounds: int, blocks: int, count: int) -> list[Row]:
    taken: dict[str, list[Transfer]] = {"down": [], "up": []}
    floor: list[float] = []
    for _ in range(rounds):
        down, up = ours.go(blocks, count)
        taken["down"].append(down)
        taken["up"].append(up)
        floor.append(statistics.median(bare.go(blocks) for _ in range(count)) * 1e3)
    rows: list[Row] = []
    for way, transfers in taken.items():
        what = f"{way}, {blocks} block{'s' * (blocks > 1)}"
        what += f" in {ours.transfers} transfers" if ours.transfers > 1 else ""
        rows.append(make_row(what, "ms", [each.total * 1e3 for each in transfers], theirs=floor, against=BARE))
        for at, part in enumerate(PARTS):
            rows.append(make_row(f"{what}: {part}", "ms", [each.parts[at] * 1e3 for each in transfers]))
    return rows


@contextmanager
def _process(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process of this folder, from when it says that it is ready."""
    command = [sys.executable, str(_HERE / script), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


class _Ours:
    """The owner, and a worker that says when it had what.

    :ivar transfers: of the last that was asked for
    """

    def __init__(self, url: str, instance: str, options: Options) -> None:
        self._url, self._instance, self._options = url, instance, options
        self._acked: list[tuple[int, int]] = []
        self._heard_ns = 0
        self.transfers = 1

    def __enter__(self) -> Self:
        url, instance = self._url, self._instance
        place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
        self._folder = tempfile.TemporaryDirectory(prefix="kvbm-bench-", dir=place)
        self._running = _process("transfer_worker.py", url, instance, NAMESPACE, str(MOST), LAYOUT, self._folder.name)
        self._worker = self._running.__enter__()
        mover = WorkerMover.connect(url, instance, namespace=NAMESPACE)
        poll = mover.poll

        def timed_poll() -> list[Report]:
            reports = poll()
            if reports:
                self._heard_ns = time.monotonic_ns()
            return reports

        mover.poll = timed_poll  # type: ignore[method-assign] # to see when the owner looks
        self.owner = BlockManager.open(
            url, instance, namespace=NAMESPACE, tiers=parse_plan(PLAN), mover=mover, options=self._options
        )
        assert self._worker.stdout
        assert self._worker.stdout.readline() == "taken\n"
        self.owner.settle()  # hears whose memory it is, before anything is in it
        self.owner.watch(lambda: self._acked.append((self.owner.acked[1], time.monotonic_ns())))
        self._keys = [f"{at:032x}" for at in range(MOST)]
        self.owner.register("fill", self.owner.allocate("fill", MOST), self._keys)
        self.owner.release("fill")
        self.owner.flush()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.owner.close()
        self._running.__exit__(None, None, None)
        self._folder.cleanup()

    def go(self, blocks: int, count: int) -> tuple[Transfer, Transfer]:
        """So many blocks down and up again, `count` times; the medians of each way."""
        owner, keys = self.owner, self._keys[-blocks:]
        downs, ups = list[Transfer](), list[Transfer]()
        for _ in range(count):
            downs.append(self._timed(keys, up=False))
            owner.evict(keys, tier="g1")
            owner.match("up", self._keys)
            ups.append(self._timed(keys, up=True))
            owner.release("up")
            owner.evict(keys, tier="g2")
            owner.flush()
        return _median(downs), _median(ups)

    def _timed(self, keys: list[str], *, up: bool) -> Transfer:
        owner = self.owner
        owner.flush()
        self._acked.clear()
        start_ns = time.monotonic_ns()
        ticket = owner.onboard("up", keys) if up else owner.offload(keys)
        assert owner.wait([ticket])
        end_ns = time.monotonic_ns()
        assert len(owner.resident(keys, ticket.tier)) == len(keys)
        taken_ns, moved_ns = self._worker_times(ticket)
        n = int(ticket.transfers[-1].partition(".")[2])
        self.transfers = len(ticket.transfers)
        acked_ns = next(at_ns for acked_n, at_ns in self._acked if acked_n >= n)
        points = [start_ns, acked_ns, taken_ns, moved_ns, self._heard_ns, end_ns]
        parts = [(after - before) / 1e9 for before, after in pairwise(points)]
        return Transfer((end_ns - start_ns) / 1e9, parts)

    def _worker_times(self, ticket: Ticket) -> tuple[int, int]:
        assert self._worker.stdin
        assert self._worker.stdout
        self._worker.stdin.write("\n")
        self._worker.stdin.flush()
        times_ns = json.loads(self._worker.stdout.readline())
        taken_ns, moved_ns = zip(*(times_ns[transfer] for transfer in ticket.transfers), strict=True)
        return min(taken_ns), max(moved_ns)


def _median(transfers: Sequence[Transfer]) -> Transfer:
    parts = [statistics.median(each.parts[at] for each in transfers) for at in range(len(PARTS))]
    return Transfer(statistics.median(each.total for each in transfers), parts)


class _Bare:
    """The floor: messages of the sizes of ours, and one memcpy."""

    def __init__(self, url: str) -> None:
        self._url, self._block_bytes = url, preset(LAYOUT).block_bytes
        self._runner = asyncio.Runner()
        self._reported = asyncio.Event()

    def __enter__(self) -> Self:
        self._runner.run(self._start())
        self._running = _process("transfer_bare.py", self._url, str(MOST * self._block_bytes))
        self._running.__enter__()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._running.__exit__(None, None, None)
        self._runner.run(self._connection.close())
        self._runner.close()

    def go(self, blocks: int) -> float:
        """One transfer, in seconds."""
        return self._runner.run(self._once(blocks))

    async def _start(self) -> None:
        self._connection = await nats.connect(self._url)
        self._stream = self._connection.jetstream()
        await self._stream.add_stream(name="BARE", subjects=["bare.>"])

        async def hear(_message: object) -> None:
            self._reported.set()

        await self._stream.subscribe("bare.report", ordered_consumer=True, cb=hear)

    async def _once(self, blocks: int) -> float:
        keys, sums, slots = "0" * 32 * blocks, "0" * 16 * blocks, [(0, blocks)]
        head = {"epoch": 1, "n": 1, "at_us": 1 << 50, "transfer": "1.1", "tier": "g2", "slots": slots}
        order = encode(
            OffloadStarted(**head, source="g1", source_slots=slots, keys=keys, checksums=sums, deadline_us=1 << 50)  # type: ignore[arg-type] # fields by name
        )
        end = encode(OffloadCompleted(**head, length_bytes=self._block_bytes, checksums=sums))  # type: ignore[arg-type] # the same
        headers = {"Copy": str(blocks * self._block_bytes), "Report": str(len(end))}
        self._reported.clear()
        start_s = time.perf_counter()
        await self._stream.publish("bare.order", order, headers=headers)
        await self._reported.wait()
        await self._stream.publish("bare.end", end)
        return time.perf_counter() - start_s
