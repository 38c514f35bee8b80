"""What is particular to a projection in SQLite: its files, its generations, and readers in other processes."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import update

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.projection import (
    ProjectionMissing,
    ProjectionUnavailable,
    Projector,
    follower,
    open_projection,
    schema,
    sqlite_writer,
)
from projection.checks import assert_equal, caught_up, execute, journal_of, reached
from projection.histories import busy_story, log_of

READER = """
import asyncio, sys
from sqlalchemy import func, select
from kvbm_nats.projection import open_projection
from kvbm_nats.projection.schema import checkpoint, instance, journal

async def main():
    seen = set()
    async with open_projection(sys.argv[1]) as projection:
        while len(seen) < 5:
            async with projection.connection() as connection:
                seq = await connection.scalar(select(checkpoint.c.seq))
                rows, last = (await connection.execute(select(func.count(), func.max(journal.c.seq)))).one()
                newest = await connection.scalar(select(func.max(instance.c.seq)))
            assert rows == (last or 0) == seq and newest <= seq, (rows, last, seq, newest)
            if seq not in seen:
                seen.add(seq)
                print(seq, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "kept" / "projection.db"


def mode(file):
    return stat.S_IMODE(file.stat().st_mode)


async def test_its_files_are_the_users_alone(path):
    log = log_of(a=busy_story(1, 20))
    projector = Projector(log, str(path))
    running = asyncio.create_task(projector.run())
    await reached(projector, await log.last_seq())
    files = [file for file in path.parent.iterdir() if not file.is_symlink()]
    assert {file.name for file in files} >= {"projection.1.db", "projection.1.db-wal", "projection.1.db-shm"}
    assert {mode(file) for file in files} == {0o600}
    assert mode(path.parent) == mode(path.parent.parent) == 0o700
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_folder_that_was_there_keeps_its_mode(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    await caught_up(f"sqlite:///{folder}/p.db", log_of(a=busy_story(1, 5)))
    assert mode(folder) == 0o755


async def test_the_sqlite_shell_reads_it_under_its_name(path):
    story = busy_story(2, 30)
    await caught_up(str(path), log_of(a=story))
    with closing(sqlite3.connect(path)) as db:
        types = db.execute("SELECT json_extract(body, '$.type') FROM journal ORDER BY seq").fetchall()
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert [kind for (kind,) in types] == [type(event).__name__ for event in story.events]


async def test_processes_read_while_it_is_written(path):
    log, story = log_of(a=busy_story(3, 10)), busy_story(4, 10)
    projector = Projector(log, str(path))
    running = asyncio.create_task(projector.run())
    await reached(projector, await log.last_seq())
    command = [sys.executable, "-c", READER, f"sqlite:///{path}"]
    reader = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert reader.stdout
    for event in story.events:
        if reader.stdout.at_eof() or not await reader.stdout.readline():
            break
        await reached(projector, log.store("b", event))
    assert await reader.wait() == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_readers_of_the_old_generation_go_on_until_they_ask_again(path):
    url, log = str(path), log_of(a=busy_story(5, 60))
    await caught_up(url, log, 20)
    async with open_projection(url) as projection:
        assert (await projection.position()).seq == 20
        with closing(sqlite3.connect(path)) as old:
            old.execute("BEGIN")
            before = old.execute("SELECT count(*) FROM journal").fetchone()
            await execute(url, update(schema.meta).values(version="0.1"))
            projector = await caught_up(url, log)
            assert projector.status.rebuilds == 1
            assert old.execute("SELECT count(*) FROM journal").fetchone() == before == (20,)
            old.execute("COMMIT")
        assert (await projection.position()).seq == await log.last_seq()
    assert path.readlink() == Path("projection.2.db")
    await caught_up(url, log)
    assert [file.name for file in sorted(path.parent.iterdir())] == [
        "projection.2.db",
        "projection.db",
        "projection.db.lock",
    ]


async def test_the_old_generation_is_read_while_the_next_is_made_and_making_it_goes_on(path, monkeypatch):
    url, log = str(path), log_of(a=busy_story(6, 100))
    last = await log.last_seq()
    await caught_up(url, log)
    await execute(url, update(schema.instance).values(n=99))  # a reader of this version cannot tell; the projector can
    monkeypatch.setattr(follower, "WRITE_EVENTS", 4)
    making = Projector(log, url)
    running = asyncio.create_task(making.run())
    await reached(making, 8)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert making.status.seq < last
    async with open_projection(url) as projection:
        assert (await projection.position()).seq == last
    assert path.readlink() == Path("projection.1.db")
    goes_on = await caught_up(url, log)
    assert goes_on.status.rebuilds == 0
    assert path.readlink() == Path("projection.2.db")
    await assert_equal(url, log)
    assert [row.seq for row in await journal_of(url)] == list(range(1, last + 1))


async def test_what_is_not_a_projection_is_left_alone(tmp_path):
    path = tmp_path / "thesis.db"
    path.write_text("three years of work")
    with pytest.raises(ProjectionUnavailable, match="not a projection"):
        await caught_up(str(path), log_of(a=busy_story(7, 5)))
    assert path.read_text() == "three years of work"


async def test_a_damaged_file_is_made_again(path):
    log = log_of(a=busy_story(8, 30))
    await caught_up(str(path), log)
    path.resolve().write_bytes(b"no database " * 1000)
    projector = await caught_up(str(path), log)
    assert projector.status.rebuilds == 1
    await assert_equal(str(path), log)


async def test_a_generation_whose_making_was_cut_short_is_removed(path):
    log = log_of(a=busy_story(9, 30))
    await caught_up(str(path), log)
    unfinished = path.parent / "projection.2.db"
    unfinished.touch()
    projector = await caught_up(str(path), log)
    assert projector.status.rebuilds == 0
    assert not unfinished.exists()
    await assert_equal(str(path), log)


async def test_a_full_disk_is_a_named_error_and_costs_nothing(path, monkeypatch):
    url, log = str(path), log_of(a=busy_story(10, 400))
    monkeypatch.setattr(follower, "WRITE_EVENTS", 16)
    with monkeypatch.context() as small:
        small.setattr(sqlite_writer, "_SETTINGS", sqlite_writer._SETTINGS + "PRAGMA max_page_count = 60;")
        with pytest.raises(ProjectionUnavailable, match="full"):
            await caught_up(url, log)
    rows = await journal_of(url)
    assert 0 < len(rows) < await log.last_seq()
    await assert_equal(url, log)
    await caught_up(url, log)
    assert (await assert_equal(url, log)).seq == await log.last_seq()


async def test_a_reader_makes_no_file(path):
    async with open_projection(str(path)) as projection:
        with pytest.raises(ProjectionMissing, match="no projection"):
            await projection.position()
    assert not path.parent.exists()


async def test_a_reader_cannot_write(path):
    await caught_up(str(path), log_of(a=busy_story(11, 5)))
    async with open_projection(str(path)) as projection:
        with pytest.raises(ProjectionUnavailable, match="readonly"):
            async with projection.connection() as connection:
                await connection.execute(update(schema.checkpoint).values(seq=1))


@pytest.mark.parametrize("url", ["mysql://localhost/x", "sqlite://", "sqlite:///:memory:", "://"])
def test_a_place_that_cannot_be(url):
    with pytest.raises(InvalidCommand):
        Projector(log_of(), url)


async def test_the_journal_is_indexed_by_instance_request_and_parent(path):
    await caught_up(str(path), log_of(a=busy_story(12, 30)))
    with closing(sqlite3.connect(path)) as db:
        for where in (
            "instance_id = 1 AND seq > 5",
            "request = 'request-1'",
            "parent = x'00'",
            "instance_id = 1 AND type = 'Opened'",
            "instance_id = 1 AND applied_seq IS NULL",
        ):
            query = "EXPLAIN QUERY PLAN SELECT seq FROM journal WHERE " + where  # noqa: S608 - the texts above
            plan = str(db.execute(query).fetchall())
            assert "SEARCH journal USING" in plan, (where, plan)


async def test_a_folder_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")
    url, log = str(tmp_path / "linked" / "p.db"), log_of(a=busy_story(13, 20))
    await caught_up(url, log, 10)
    projector = await caught_up(url, log)
    assert projector.status.rebuilds == 0
    await assert_equal(url, log)
