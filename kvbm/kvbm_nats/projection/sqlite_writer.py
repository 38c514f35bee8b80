"""The writer of a projection in SQLite: all statements of a transaction, one function, on the store's thread.

Rows of blocks are not bound one by one. A piece of an event is bound once, with all its keys in one blob, and SQLite counts
it up with the help of `number`; so most of the work is done outside Python, beside the thread that folds.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Table, bindparam, delete, insert, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement

from kvbm_events.schema import MAX_BLOCKS
from kvbm_nats.projection.changes import Changes, Condemn, Drop, Put
from kvbm_nats.projection.pieces import KEY_BYTES, Named
from kvbm_nats.projection.schema import checkpoint, instance, journal, request, snapshot, tier, transfer
from kvbm_nats.projection.segments import Segment

_DIALECT = sqlite.dialect()
_KEYS_AT_ONCE = 1 << 20
_FEW = 8
"""A piece is counted up by SQLite if it has at least so many blocks on average; below that, rows are bound."""

_SETTINGS = """
PRAGMA synchronous = NORMAL;  -- a power cut may take the last transactions, and their checkpoint with them
PRAGMA busy_timeout = 5000;
PRAGMA secure_delete = OFF;
PRAGMA cache_size = -65536;
PRAGMA temp_store = MEMORY;
PRAGMA wal_autocheckpoint = 4000;
CREATE TEMP TABLE number (n INTEGER PRIMARY KEY);
CREATE TEMP TABLE piece (id INTEGER PRIMARY KEY, first INTEGER, size INTEGER, at INTEGER, seq INTEGER);
"""
_PUT_PIECE = """
INSERT OR REPLACE INTO block (id, state, seq, key)
SELECT ?1 + n, 2, ?2, substr(?3, n * 16 + 1, 16) FROM number WHERE n < ?4
"""
_PUT_ROW = "INSERT OR REPLACE INTO block (id, state, seq, key) VALUES (?, 2, ?, ?)"
_DROP = "DELETE FROM block WHERE id BETWEEN ? AND ?"
_CONDEMN = "UPDATE block SET state = 3 WHERE id BETWEEN ? AND ?"
_ADD_PIECE = "INSERT INTO piece (first, size, at, seq) VALUES (?, ?, ?, ?)"
_ADD_KEYS = """
INSERT INTO key_entry (segment, key, seq, block)
SELECT ?1, substr(?2, (at + n) * 16 + 1, 16), seq, first + n FROM piece CROSS JOIN number ON n < size ORDER BY 2
"""
_ADD_DEPARTURE = "INSERT INTO departure (segment, first, seq, size) VALUES (?, ?, ?, ?)"
_SEGMENT = "INSERT OR REPLACE INTO segment (id, rows) VALUES (?, ?)"


def _text(statement: ClauseElement) -> str:
    return str(statement.compile(dialect=_DIALECT))


def _upsert(table: Table) -> str:
    return _text(insert(table)).replace("INSERT", "INSERT OR REPLACE", 1)


def _delete(table: Table) -> str:
    return _text(delete(table).where(*[column == bindparam(column.name) for column in table.primary_key]))


_JOURNAL = _text(insert(journal))
_APPLIED = _text(
    update(journal)
    .where(journal.c.seq == bindparam("own_seq"))
    .values(applied_seq=bindparam("at"), request=bindparam("whose"), seen=bindparam("how_often"))
)
_SNAPSHOT = _upsert(snapshot)
_CHECKPOINT = _text(update(checkpoint).values(seq=bindparam("at"), message_id=bindparam("id")))
_TABLES = (instance, tier, request, transfer)
_UPSERT = {table.name: _upsert(table) for table in _TABLES}
_DELETE = {table.name: _delete(table) for table in _TABLES}


class SqliteWriter:
    """See the module. Every method is for one thread at a time.

    Args:
        file: a database with the tables in it
        segment: the last segment that it has
    """

    def __init__(self, file: Path, segment: Segment) -> None:
        self._segment = segment
        self._db = sqlite3.connect(file, isolation_level=None, check_same_thread=False, cached_statements=64)
        self._db.executescript(_SETTINGS)
        self._db.executemany("INSERT INTO number VALUES (?)", ((n,) for n in range(MAX_BLOCKS)))

    def write(self, changes: Changes) -> None:
        """One transaction, or nothing.

        Raises:
            sqlite3.Error: the database refused.
        """
        segment = self._segment.after(changes.index_rows)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._write_rows(changes)
            self._write_blocks(changes)
            self._write_indexes(changes, segment)
            if changes.position:
                self._db.execute(_CHECKPOINT, (changes.position.seq, changes.position.message_id))
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._segment = segment

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _write_rows(self, changes: Changes) -> None:
        db = self._db
        for name, gone in changes.deletes.items():
            db.executemany(_DELETE[name], gone)
        for name, rows in changes.upserts.items():
            db.executemany(_UPSERT[name], rows)
        db.executemany(_SNAPSHOT, changes.snapshots)
        db.executemany(_JOURNAL, changes.journal)
        db.executemany(_APPLIED, changes.applied)

    def _write_blocks(self, changes: Changes) -> None:
        for change in changes.blocks:
            match change:
                case Put(blocks):
                    self._put(blocks)
                case Drop(ranges):
                    self._db.executemany(_DROP, ranges)
                case Condemn(ranges):
                    self._db.executemany(_CONDEMN, ranges)

    def _put(self, blocks: Named) -> None:
        seq, pieces, keys = blocks
        if len(keys) < _FEW * KEY_BYTES * len(pieces):
            self._db.executemany(_PUT_ROW, [(number, seq, key) for number, key in blocks.rows()])
            return
        rows = [(first, seq, keys[at * KEY_BYTES : (at + size) * KEY_BYTES], size) for first, size, at in pieces]
        self._db.executemany(_PUT_PIECE, rows)

    def _write_indexes(self, changes: Changes, segment: Segment) -> None:
        if not changes.index_rows:
            return
        pieces: list[tuple[int, int, int, int]] = []
        blobs: list[bytes] = []
        total = 0
        for seq, own, keys in changes.keys:
            pieces += [(first, size, total + at, seq) for first, size, at in own]
            blobs.append(keys)
            total += len(keys) // KEY_BYTES
            if total >= _KEYS_AT_ONCE:
                self._add_keys(segment.id, pieces, b"".join(blobs))
                pieces, blobs, total = [], [], 0
        self._add_keys(segment.id, pieces, b"".join(blobs))
        self._db.executemany(_ADD_DEPARTURE, [(segment.id, *row) for row in sorted(changes.departures)])
        self._db.execute(_SEGMENT, segment)

    def _add_keys(self, segment_id: int, pieces: list[tuple[int, int, int, int]], keys: bytes) -> None:
        """Add entries of keys in their order, so that a segment of one transaction is written from end to end."""
        self._db.executemany(_ADD_PIECE, pieces)
        self._db.execute(_ADD_KEYS, (segment_id, keys))
        self._db.execute("DELETE FROM piece")


def make_wal(file: Path) -> None:
    """Let readers read while there is a writer: the file remembers it."""
    db = sqlite3.connect(file)
    db.execute("PRAGMA journal_mode = WAL")
    db.close()


def connect_reading(connection: Any, _record: object) -> None:  # noqa: ANN401 - SQLAlchemy's adapter
    """Make a reader's connection leave transactions to SQLAlchemy, and write nothing."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 5000")
    cursor.execute("PRAGMA query_only = ON")
    cursor.close()
