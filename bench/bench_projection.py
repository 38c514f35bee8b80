"""The projector into SQLite: block-events a second, beside bare sqlite3 that writes the same rows; and reading it.

A block-event is a slot that an event names. The history is a pool of 100 k slots that is full: for each request a look-up,
an allocation, for which others are evicted, a registration and a release. The bare side has its rows ready as tuples, in
transactions of the same size, many rows a statement; it decodes and folds nothing.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import create_engine

from harness import ROUNDS, Row, figure, make_row
from kvbm_events.log import Entry
from kvbm_events.memory import MemoryLog
from kvbm_events.schema import AnyEvent, Matched, TierSpec, total
from kvbm_events.sequencer import Sequencer
from kvbm_nats.projection import Projector, open_projection
from kvbm_nats.projection.changes import Changes, Drop, Put
from kvbm_nats.projection.contents import create_tables
from kvbm_nats.projection.fold import Fold
from kvbm_nats.projection.follower import WRITE_EVENTS
from kvbm_nats.projection.pieces import Named
from kvbm_nats.projection.segments import Segment
from kvbm_nats.projection.sqlite_writer import make_wal
from kvbm_nats.projection.start import WRITE_BYTES
from kvbm_statemachine import State, evolve
from kvbm_statemachine.decide import Desk, allocate, match, plan_opening, register, release

SLOTS = 100_000
INSTANCE = "replica-0"
ROWS_AT_ONCE = 512
READER = """
import asyncio, random, sys, time
from kvbm_nats.projection import open_projection

async def main():
    chance, took = random.Random(2), []
    async with open_projection(sys.argv[1]) as projection:
        while True:
            start = time.perf_counter()
            await projection.tiers()
            await projection.stays(chance.randbytes(16).hex())
            await projection.journal(after=chance.randrange(2000), limit=10)
            took.append(time.perf_counter() - start)
            print(sorted(took)[len(took) // 2] / 3, flush=True)

asyncio.run(main())
"""


class History(NamedTuple):
    """A log, its entries, how many block-events they hold, and some of the keys in them."""

    log: MemoryLog
    entries: list[Entry]
    block_events: int
    keys: list[str]


def run(quick: bool) -> list[Row]:  # noqa: FBT001 - every benchmark's signature
    """Events of 512 and of 64 blocks, then reading; smaller histories and three rounds if `quick`."""
    rounds, block_events = (3, 400_000) if quick else (ROUNDS, 1_500_000)
    rows: list[Row] = []
    for batch in (512, 64):
        rows += _writing(_history(batch, block_events), f"events of {batch}", rounds)
    rows += _while_reading(_history(512, 2 * block_events), rounds)
    return rows + _looking_up(_history(512, 1_000_000 if quick else 10_000_000))


def _history(batch: int, block_events: int) -> History:
    log, state, chance = MemoryLog(), State(), random.Random(batch)
    written = 0

    def sink(event: AnyEvent) -> None:
        nonlocal written
        log.store(INSTANCE, event)
        if not isinstance(event, Matched):
            written += total(getattr(event, "slots", []))

    desk = Desk(state, sink, 1)
    tiers = [TierSpec(tier="g1", capacity=SLOTS)]
    opened = plan_opening(state, namespace="bench=1", owner="bench", tiers=tiers, keep=[], requests="dropped", now_us=1)
    evolve(state, opened)
    sink(opened)
    some: list[str] = []
    number = 0
    while written < block_events:
        name, keys = f"request-{number}", [chance.randbytes(16).hex() for _ in range(batch)]
        match(desk, name, keys[:1])
        register(desk, "g1", name, allocate(desk, "g1", name, batch), keys)
        release(desk, name)
        some.append(keys[number % batch])
        number += 1
    return History(log, asyncio.run(_entries(log)), written, some)


async def _entries(log: MemoryLog) -> list[Entry]:
    return [entry async for batch in log.read(until=await log.last_seq()) for entry in batch]


class Took(NamedTuple):
    """Seconds by the clock, and of the process's own CPU time, which a busy neighbour does not add to."""

    wall_s: float
    cpu_s: float


def _writing(history: History, what: str, rounds: int) -> list[Row]:
    ours, bare, folding, evolving = [list[Took]() for _ in range(4)]
    prepared = [_prepare(changes) for changes in _changes(history.entries)]
    for _ in range(rounds):
        with _folder() as folder:
            ours.append(_timed(partial(_project, history, folder)))
        with _folder() as folder:
            bare.append(_write_bare(prepared, folder))
        folding.append(_timed(partial(_changes, history.entries)))
        evolving.append(_timed(partial(_evolve, history.entries)))
    ours_ns, bare_ns, folding_ns, evolving_ns = (
        [took.cpu_s / history.block_events * 1e9 for took in side] for side in (ours, bare, folding, evolving)
    )
    unit = "ns a block-event"
    return [
        _pace(f"{what}: projector", history, ours, 0.5),
        make_row(f"{what}: projector, CPU time", unit, ours_ns, theirs=bare_ns, against="bare sqlite3", aim=0.7),
        make_row(f"{what}: of it decoding, sequencing and evolving", unit, evolving_ns),
        make_row(f"{what}: of it the same and deriving rows", unit, folding_ns),
    ]


def _pace(what: str, history: History, took: list[Took], aim: float, note: str = "") -> Row:
    """Block-events a second by the clock, beside what is wanted."""
    pace = [history.block_events / each.wall_s / 1e6 for each in took]
    return make_row(
        what,
        "M block-events/s",
        pace,
        theirs=[aim] * len(pace),
        against=f"the aim{note}",
        aim=1,
        more_is_better=True,
    )


def _timed(work: Callable[[], object]) -> Took:
    """How long the work took, with what was there before out of the collector's sight."""
    gc.collect()
    gc.freeze()
    start, start_cpu = time.perf_counter(), time.process_time()
    work()
    took = Took(time.perf_counter() - start, time.process_time() - start_cpu)
    gc.unfreeze()
    return took


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kvbm-bench-") as folder:
        yield Path(folder)


def _project(history: History, folder: Path) -> None:
    projector = Projector(history.log, str(folder / "p.db"))
    asyncio.run(projector.run(history.entries[-1].seq))
    assert projector.status.seq == history.entries[-1].seq


def _changes(entries: list[Entry]) -> list[Changes]:
    """What the projector would write, in transactions as large as its largest."""
    fold, written = Fold(), [Changes()]
    for entry in entries:
        if len(written[-1].journal) >= WRITE_EVENTS or written[-1].size_bytes >= WRITE_BYTES:
            fold.settle(written[-1])
            written.append(Changes())
        fold.take(entry, written[-1])
    fold.settle(written[-1])
    return written


def _evolve(entries: list[Entry]) -> None:
    state, sequencer = State(), Sequencer()
    for entry in entries:
        for ordered in sequencer.feed(entry):
            evolve(state, ordered.event)


Statement = tuple[str, list[Any]]


def _prepare(changes: Changes) -> list[Statement]:
    """The transaction as statements with their rows, ready to be run."""
    segment = Segment(changes.journal[0][0])
    statements: list[Statement] = [(_insert("journal", 15), changes.journal)]
    statements += [(_insert(name, len(rows[0])), rows) for name, rows in changes.upserts.items() if rows]
    for change in changes.blocks:
        match change:
            case Put(blocks):
                statements += _in_bulk("block", [(number, 2, blocks.seq, key) for number, key in blocks.rows()])
            case Drop(ranges):
                statements.append(("DELETE FROM block WHERE id BETWEEN ? AND ?", ranges))
            case _:
                raise AssertionError("there is nothing corrupt in this history")
    statements += _in_bulk("key_entry", sorted(_key_rows(segment.id, changes.keys)))
    statements.append((_insert("departure", 4), [(segment.id, *row) for row in changes.departures]))
    statements.append((_insert("segment", 2), [segment]))
    assert changes.position
    checkpoint = (changes.position.seq, changes.position.message_id)
    return [*statements, ("UPDATE checkpoint SET seq = ?, message_id = ?", [checkpoint])]


def _key_rows(segment: int, keys: list[Named]) -> list[tuple[int, bytes, int, int]]:
    return [(segment, key, named.seq, number) for named in keys for number, key in named.rows()]


def _insert(table: str, columns: int, rows: int = 1) -> str:
    values = ",".join(["(" + ",".join("?" * columns) + ")"] * rows)
    return f"INSERT OR REPLACE INTO {table} VALUES {values}"  # noqa: S608 - the names stand above


def _in_bulk(table: str, rows: list[tuple[Any, ...]]) -> list[Statement]:
    """Rows as statements of many rows each, which is faster than one by one."""
    return [
        (_insert(table, len(part[0]), len(part)), [list(chain.from_iterable(part))])
        for part in (rows[at : at + ROWS_AT_ONCE] for at in range(0, len(rows), ROWS_AT_ONCE))
    ]


def _write_bare(transactions: list[list[Statement]], folder: Path) -> Took:
    file = folder / "bare.db"
    make_wal(file)
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        create_tables(connection)
    engine.dispose()
    database = sqlite3.connect(file, isolation_level=None)
    database.executescript(
        "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000;"
        "PRAGMA secure_delete = OFF"
    )

    def write() -> None:
        for statements in transactions:
            database.execute("BEGIN IMMEDIATE")
            for statement, rows in statements:
                database.executemany(statement, rows)
            database.execute("COMMIT")
        database.close()  # what is left of the WAL goes into the file, on both sides

    return _timed(write)


def _while_reading(history: History, rounds: int) -> list[Row]:
    ours, reads_ms = list[Took](), list[float]()
    for _ in range(rounds):
        with _folder() as folder:
            asyncio.run(Projector(history.log, str(folder / "p.db")).run(1))
            command = [sys.executable, "-c", READER, str(folder / "p.db")]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
                assert reader.stdout
                reader.stdout.readline()
                ours.append(_timed(partial(_project, history, folder)))
                reader.kill()
                reads_ms.append(float(reader.stdout.read().split()[-1]) * 1e3)
    note = f"; a query took {figure(statistics.median(reads_ms))} ms"
    return [_pace("events of 512, while another process reads: projector", history, ours, 0.3, note)]


def _looking_up(history: History) -> list[Row]:
    with _folder() as folder:
        _project(history, folder)
        stays, blocks = asyncio.run(_look_up(folder, random.Random(3).sample(history.keys, 200)))
        size = f"in {history.block_events / 1e6:.0f} M block-events"
    limit = [50.0] * len(stays)
    return [
        make_row(f"the stays of a key, {size}", "ms", stays, theirs=limit, against="the aim", aim=1),
        make_row(f"where a key is now, {size}", "ms", blocks, theirs=limit, against="the aim", aim=1),
    ]


async def _look_up(folder: Path, keys: list[str]) -> tuple[list[float], list[float]]:
    stays_ms, blocks_ms = list[float](), list[float]()
    async with open_projection(str(folder / "p.db")) as projection:
        for key in keys:
            start = time.perf_counter()
            stays = await projection.stays(key)
            stays_ms.append((time.perf_counter() - start) * 1e3)
            start = time.perf_counter()
            blocks = await projection.blocks(key)
            blocks_ms.append((time.perf_counter() - start) * 1e3)
            assert len(stays) == 1
            assert (stays[0].to_seq is None) == bool(blocks)
    return stays_ms, blocks_ms


if __name__ == "__main__":
    for row in run("--quick" in sys.argv):
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        print(f"{row['what']:62} {figure(row['value']):>6} {row['unit']:17} {ratio:>6} {row['against']}")
