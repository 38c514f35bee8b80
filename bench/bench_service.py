"""The service and its client: one question after the other, and 64 at a time, beside bare NATS requests of the same sizes.

The service, a process that answers every request at once with as many bytes as ours, and the client are three processes
on one nats-server that syncs always. `durable`: the answer comes when the event is stored. `at once`: it does not wait.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nats.aio.client import Client

from harness import ROUNDS, Row, make_row
from kvbm_nats.nats_server import NatsServer
from kvbm_nats.publisher import Publisher
from kvbm_nats.service.messages import (
    AllocateCall,
    MatchAnswer,
    MatchCall,
    RegisterAnswer,
    RegisterCall,
    ReleaseAnswer,
    ReleaseCall,
    TierHit,
)
from kvbm_nats.service.wire import encode

INSTANCE = "bench"
BLOCKS = 64
IN_FLIGHT = 64
BARE = "bare NATS request and reply of the same sizes"
_ECHO = """
import asyncio, sys, nats
async def main():
    nc = await nats.connect(sys.argv[1])
    async def answer(message):
        await message.respond(bytes(int(message.subject.rpartition(".")[2])))
    await nc.subscribe("bench.echo.*", cb=answer)
    await nc.flush()
    print("ready", file=sys.stderr, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
Once = Callable[[], Awaitable[float]]


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """All figures; fewer rounds of fewer questions if `quick`."""
    rounds, questions = (3, 100) if quick else (ROUNDS, 500)
    serve = ["-m", "kvbm_nats.cli", "serve", "--instance", INSTANCE, "--namespace", "bench", "--tiers", "g1=16384"]
    with tempfile.TemporaryDirectory() as folder, NatsServer(Path(folder) / "nats") as server:
        own = _running([*serve, "--nats-url", server.url], "service started")
        bare = _running(["-c", _ECHO, server.url], "ready")
        with own, bare:
            return asyncio.run(_measure(server.url, rounds, questions))


@contextmanager
def _running(arguments: list[str], ready: str) -> Iterator[None]:
    """A Python process, from when it says that it is ready."""
    with subprocess.Popen([sys.executable, *arguments], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert any(ready in line for line in process.stderr)
        try:
            yield
        finally:
            process.terminate()
            process.communicate()


async def _measure(url: str, rounds: int, questions: int) -> list[Row]:
    nc = Client()
    await nc.connect(url)
    async with await Publisher.connect(url, INSTANCE) as kv:
        sides = _Sides(kv, nc)
        await sides.prepare()
        samples: dict[str, list[list[float]]] = {name: [] for name in sides.all()}
        flights: dict[str, list[float]] = {name: [] for name in sides.all()}
        for _ in range(rounds):
            for name, once in sides.all().items():
                samples[name].append(sorted([await once() for _ in range(questions)]))
            for name, once in sides.all().items():
                flights[name].append(await _in_flight(once, questions))
    await nc.close()
    return _rows(samples, flights)


async def _in_flight(once: Once, questions: int) -> float:
    """Done a second, with so many at a time."""

    async def ask_on() -> None:
        for _ in range(max(4, questions // 8)):
            await once()

    started_s = time.perf_counter()
    await asyncio.gather(*(ask_on() for _ in range(IN_FLIGHT)))
    return IN_FLIGHT * max(4, questions // 8) / (time.perf_counter() - started_s)


def _rows(samples: dict[str, list[list[float]]], flights: dict[str, list[float]]) -> list[Row]:
    rows: list[Row] = []
    for what in ("match", "allocate + register"):
        for how in ("durable", "at once"):
            ours, theirs = samples[f"{what}, {how}"], samples[f"{what}, bare"]
            for name, at in (("p50", 0.5), ("p99", 0.99)):
                title = f"{what} of {BLOCKS}, {how}, {name}"
                rows.append(make_row(title, "µs", _at(ours, at), theirs=_at(theirs, at), against=BARE))
            title = f"{what} of {BLOCKS}, {how}, {IN_FLIGHT} in flight"
            done, bare = flights[f"{what}, {how}"], flights[f"{what}, bare"]
            rows.append(make_row(title, "/s", done, theirs=bare, against=BARE, more_is_better=True))
    return rows


def _at(rounds: list[list[float]], part: float) -> list[float]:
    return [times[int(len(times) * part)] * 1e6 for times in rounds]


class _Sides:
    """What is timed, ours and theirs. Each gives its seconds, without the release afterwards, which both sides do."""

    def __init__(self, kv: Publisher, nc: Client) -> None:
        self._kv, self._nc = kv, nc
        self._made = 0
        self._keys = self._new_keys()

    async def prepare(self) -> None:
        """A prefix to be found."""
        slots = await self._kv.allocate("prepare", BLOCKS)
        await self._kv.register("prepare", slots, self._keys)

    def all(self) -> dict[str, Once]:
        """By name, in the order in which they take turns."""
        return {
            "match, bare": self._bare_match,
            "match, durable": lambda: self._match(durable=True),
            "match, at once": lambda: self._match(durable=False),
            "allocate + register, bare": self._bare_register,
            "allocate + register, durable": lambda: self._register(durable=True),
            "allocate + register, at once": lambda: self._register(durable=False),
        }

    async def _match(self, *, durable: bool) -> float:
        started_s = time.perf_counter()
        answer = await self._kv.match("look", self._keys, durable=durable)
        took_s = time.perf_counter() - started_s
        assert len(answer.hits[0].slots) == BLOCKS
        return took_s

    async def _register(self, *, durable: bool) -> float:
        keys, request = self._new_keys(), f"r{self._made}"
        started_s = time.perf_counter()
        slots = await self._kv.allocate(request, BLOCKS, durable=durable)
        await self._kv.register(request, slots, keys, durable=durable)
        took_s = time.perf_counter() - started_s
        await self._kv.release(request, durable=False)
        return took_s

    async def _bare_match(self) -> float:
        question = encode(MatchCall(client="c" * 16, number=10_000, epoch=1, request="look", keys=self._keys))
        answer = encode(MatchAnswer(epoch=1, n=10_000, hits=[TierHit(tier="g1", slots=[9999] * BLOCKS)]))
        return await self._bare((question, len(answer)))

    async def _bare_register(self) -> float:
        slots = [9999] * BLOCKS
        first = encode(AllocateCall(client="c" * 16, number=10_000, epoch=1, request="r10000", count=BLOCKS))
        second = RegisterCall(client="c" * 16, number=10_000, epoch=1, request="r10000", slots=slots, keys=self._keys)
        answer = len(encode(RegisterAnswer(epoch=1, n=10_000, slots=slots)))
        took_s = await self._bare((first, answer), (encode(second), answer))
        last = encode(ReleaseCall(client="c" * 16, number=10_000, epoch=1, request="r10000", durable=False))
        await self._bare((last, len(encode(ReleaseAnswer(epoch=1, n=10_000)))))
        return took_s

    async def _bare(self, *exchanges: tuple[bytes, int]) -> float:
        started_s = time.perf_counter()
        for question, answer_bytes in exchanges:
            await self._nc.request(f"bench.echo.{answer_bytes}", question, timeout=10)
        return time.perf_counter() - started_s

    def _new_keys(self) -> list[str]:
        self._made += 1
        return [f"{self._made:016x}{at:016x}" for at in range(BLOCKS)]
