"""A projector in a process of its own that kills itself at a given moment. Run by `test_crash.py`.

    python crash_projector.py EVENTS DATABASE [SQL TIMES]

Follows the events of a file, a line `instance body` each, and kills itself when the statement that begins with SQL is
about to be run for the TIMES-th time. Prints the checkpoint after each transaction.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from pathlib import Path

import structlog

from kvbm_events.codec import decode
from kvbm_events.memory import MemoryLog
from kvbm_nats.projection import Projector, follower, sqlite

connect = sqlite3.connect


def kill_at(beginning: str, times: int) -> None:
    left = times

    def watch(statement: str) -> None:
        nonlocal left
        if " ".join(statement.split()).startswith(beginning):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    def traced(*arguments, **options):
        database = connect(*arguments, **options)
        database.set_trace_callback(watch)
        return database

    sqlite3.connect = traced


def log_from(file: Path) -> MemoryLog:
    log = MemoryLog()
    for line in file.read_text().splitlines():
        instance, _, body = line.partition(" ")
        log.store(instance, decode(body.encode()))
    return log


async def main(log: MemoryLog) -> None:
    write = sqlite.SqliteStore.write

    async def told(self, changes):
        await write(self, changes)
        sys.stdout.write(f"{self.position.seq}\n")
        sys.stdout.flush()

    sqlite.SqliteStore.write = told
    await Projector(log, sys.argv[2]).run(await log.last_seq())


structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
follower.WRITE_EVENTS = 12
if len(sys.argv) > 3:
    kill_at(sys.argv[3], int(sys.argv[4]))
asyncio.run(main(log_from(Path(sys.argv[1]))))
