"""kill -9 of the projector at every step of a transaction, of making a generation and of publishing one."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import update

from kvbm_events.subjects import instance_of
from kvbm_nats.projection import ProjectionMissing, schema
from projection.checks import assert_equal, execute, journal_of
from projection.histories import busy_story, log_of

PROGRAM = Path(__file__).with_name("crash_projector.py")
STEPS = (
    "BEGIN",
    "DELETE FROM request",
    "INSERT OR REPLACE INTO instance",
    "INSERT OR REPLACE INTO tier",
    "INSERT INTO journal",
    "INSERT OR REPLACE INTO block",
    "DELETE FROM block",
    "INSERT INTO piece",
    "INSERT INTO key_entry",
    "INSERT INTO departure",
    "INSERT OR REPLACE INTO segment",
    "UPDATE checkpoint",
    "COMMIT",
)


@pytest.fixture
def events(tmp_path):
    """A log, and the file with its events."""
    stories = {"a": busy_story(40, 500), "b": busy_story(41, 500, observed=True)}
    log = log_of(**stories)
    file = tmp_path / "events"
    file.write_text("".join(f"{instance_of(entry.subject)} {entry.data.decode()}\n" for entry in log._entries))
    return log, file


def command(*arguments):
    return [sys.executable, PROGRAM, *map(str, arguments)]


def run(*arguments):
    """What it said before it ended, and how it ended."""
    ended = subprocess.run(command(*arguments), stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    return [int(line) for line in ended.stdout.split()], ended.returncode


def run_until_killed(*arguments):
    said, code = run(*arguments)
    assert code == -signal.SIGKILL, arguments
    return said


async def assert_whole(url, log):
    """The journal has each sequence up to the checkpoint once, and the state is that of the checkpoint."""
    found = await assert_equal(url, log)
    rows, after = [], 0
    while more := await journal_of(url, after=after):
        rows += more
        after = rows[-1].seq
    assert [row.seq for row in rows] == list(range(1, found.seq + 1))
    return found.seq


async def test_killed_at_every_step_of_a_transaction_it_goes_on_as_if_nothing_had_been(events, tmp_path):
    log, file = events
    url = str(tmp_path / "projection.db")
    reached = 0
    for times in (1, 4):
        for step in STEPS:
            said = run_until_killed(file, url, step, times)
            try:
                seq = await assert_whole(url, log)
            except ProjectionMissing:
                assert not reached
                continue
            assert seq >= max([reached, *said])
            reached = seq
    assert run(file, url)[1] == 0
    assert await assert_whole(url, log) == await log.last_seq()


async def test_killed_at_any_moment(events, tmp_path):
    log, file = events
    url = str(tmp_path / "projection.db")
    last = await log.last_seq()
    reached = 0
    for lines in (1, 2, 1, 3, 5, 2):
        running = await asyncio.create_subprocess_exec(*command(file, url), stdout=subprocess.PIPE)
        told = [int(await running.stdout.readline()) for _ in range(lines)]
        running.kill()
        await running.communicate()
        reached = await assert_whole(url, log)
        assert last > reached >= told[-1]
    assert run(file, url)[1] == 0
    assert await assert_whole(url, log) == last


async def test_killed_while_it_makes_the_tables(events, tmp_path):
    log, file = events
    for step in (
        "PRAGMA journal_mode",
        "CREATE TABLE journal",
        "CREATE INDEX journal_request",
        "INSERT INTO checkpoint",
    ):
        url = str(tmp_path / step.replace(" ", "_") / "projection.db")
        run_until_killed(file, url, step, 1)
        assert run(file, url)[1] == 0
        assert await assert_whole(url, log) == await log.last_seq()


async def test_killed_while_it_makes_a_new_generation_the_old_one_is_read(events, tmp_path):
    log, file = events
    url = str(tmp_path / "projection.db")
    assert run(file, url)[1] == 0
    last = await log.last_seq()
    await execute(url, update(schema.instance).values(n=99))
    for step, times in (("CREATE TABLE journal", 1), ("INSERT INTO journal", 30), ("COMMIT", 5)):
        run_until_killed(file, url, step, times)
        assert len(await journal_of(url)) == min(last, 10_000)
    assert run(file, url)[1] == 0
    assert await assert_whole(url, log) == last
