"""kill -9 of the projector at every step of a transaction, of making a generation and of publishing one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import update

from kvbm_events.subjects import instance_of
from kvbm_nats.projection import JOURNAL_LIMIT, ProjectionMissing, schema
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


class Projectors:
    """Projectors one after the other, forked from a process that has imported everything. See `crash_projector.py`."""

    def __init__(self, events):
        command = [sys.executable, PROGRAM, events]
        self._origin = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, url, statement="", times=0):
        """The process id of one that has begun."""
        self._origin.stdin.write(json.dumps([url, statement, times]) + "\n")
        self._origin.stdin.flush()
        word, pid = self._words()
        assert word == "started"
        return int(pid)

    def checkpoint(self):
        """The next one that it tells."""
        (seq,) = self._words()
        return int(seq)

    def end(self):
        """The checkpoints that it told before it ended, and its exit code."""
        told = []
        while (words := self._words())[0] != "ended":
            told.append(int(words[0]))
        return told, int(words[1])

    def run(self, url):
        self.start(url)
        assert self.end()[1] == 0

    def run_until_killed(self, url, statement, times):
        self.start(url, statement, times)
        told, code = self.end()
        assert code == -signal.SIGKILL, (statement, times)
        return told

    def close(self):
        self._origin.communicate(timeout=60)

    def _words(self):
        line = self._origin.stdout.readline()
        assert line, "the process that forks them is gone"
        return line.split()


@pytest.fixture(scope="module")
def log():
    return log_of(a=busy_story(40, 500), b=busy_story(41, 500, observed=True))


@pytest.fixture(scope="module")
def projectors(log, tmp_path_factory):
    file = tmp_path_factory.mktemp("events") / "events"
    file.write_text("".join(f"{instance_of(entry.subject)} {entry.data.decode()}\n" for entry in log._entries))
    forked = Projectors(file)
    yield forked
    forked.close()


async def assert_whole(url, log):
    """The journal has each sequence up to the checkpoint once, and the state is that of the checkpoint."""
    found = await assert_equal(url, log)
    assert [row.seq for row in await journal_of(url)] == list(range(1, found.seq + 1))
    return found.seq


async def test_killed_at_every_step_of_a_transaction_it_goes_on_as_if_nothing_had_been(log, projectors, tmp_path):
    url = str(tmp_path / "projection.db")
    reached = 0
    for times in (1, 4):
        for step in STEPS:
            told = projectors.run_until_killed(url, step, times)
            try:
                seq = await assert_whole(url, log)
            except ProjectionMissing:
                assert not reached
                continue
            assert seq >= max([reached, *told])
            reached = seq
    projectors.run(url)
    assert await assert_whole(url, log) == await log.last_seq()


async def test_killed_at_any_moment(log, projectors, tmp_path):
    url = str(tmp_path / "projection.db")
    last = await log.last_seq()
    for count in (1, 2, 1, 3, 5, 2):
        pid = projectors.start(url)
        told = [projectors.checkpoint() for _ in range(count)]
        os.kill(pid, signal.SIGKILL)
        more, code = projectors.end()
        assert code == -signal.SIGKILL
        assert last > await assert_whole(url, log) >= [*told, *more][-1]
    projectors.run(url)
    assert await assert_whole(url, log) == last


@pytest.mark.parametrize(
    "step", ["PRAGMA journal_mode", "CREATE TABLE journal", "CREATE INDEX journal_request", "INSERT INTO checkpoint"]
)
async def test_killed_while_it_makes_the_tables(log, projectors, tmp_path, step):
    url = str(tmp_path / "projection.db")
    projectors.run_until_killed(url, step, 1)
    projectors.run(url)
    assert await assert_whole(url, log) == await log.last_seq()


async def test_killed_while_it_makes_a_new_generation_the_old_one_is_read(log, projectors, tmp_path):
    url = str(tmp_path / "projection.db")
    projectors.run(url)
    last = await log.last_seq()
    assert last < JOURNAL_LIMIT
    await execute(url, update(schema.instance).values(n=99))
    for step, times in (("CREATE TABLE journal", 1), ("INSERT INTO journal", 30), ("COMMIT", 5)):
        projectors.run_until_killed(url, step, times)
        assert len(await journal_of(url)) == last
    projectors.run(url)
    assert await assert_whole(url, log) == last
