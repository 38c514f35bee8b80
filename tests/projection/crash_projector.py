"""Projectors in processes of their own that kill themselves at a given moment. Run by `test_crash.py`.

    python crash_projector.py EVENTS

Imports everything and reads the events, a line `instance body` each, once. Then, for each line of JSON
`[database, statement, times]` on its standard input, a fork of it projects them, and kills itself when the statement that
begins so is about to be run for the times-th time; never, where that is 0.

Says `started PID`, the checkpoint after each transaction, and `ended CODE`, which is minus the signal if it was killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sqlite3.dbapi2
import sys
import traceback
from pathlib import Path

import structlog

from kvbm_events.codec import decode
from kvbm_events.memory import MemoryLog
from kvbm_nats.projection import Projector, follower, sqlite

connect, write = sqlite3.connect, sqlite.SqliteStore.write


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

    sqlite3.connect = sqlite3.dbapi2.connect = traced  # each driver has its own way to it


def log_from(file: Path) -> MemoryLog:
    log = MemoryLog()
    for line in file.read_text().splitlines():
        instance, _, body = line.partition(" ")
        log.store(instance, decode(body.encode()))
    return log


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def write_and_tell(store, changes):
    await write(store, changes)
    say(store.position.seq)


async def project(log: MemoryLog, database: str) -> None:
    await Projector(log, database).run(await log.last_seq())


def projector(log: MemoryLog, database: str, statement: str, times: int) -> None:
    """What the fork does; it never returns."""
    code = 1
    try:
        say("started", os.getpid())
        if times:
            kill_at(statement, times)
        asyncio.run(project(log, database))
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, this process ends here and says why
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    follower.WRITE_EVENTS = 12
    sqlite.SqliteStore.write = write_and_tell
    log = log_from(Path(sys.argv[1]))
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            projector(log, *json.loads(line))
        say("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


main()
