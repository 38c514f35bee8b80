"""Reads of the journal by what its events name: sequences, a request, a parent, a time."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kvbm_nats.projection.answers import BranchRow, JournalRow, select_of, to_struct
from kvbm_nats.projection.schema import instance, journal

SEQS_AT_ONCE = 512
BRANCHES_MAX = 200_000
"""Events behind some parents that one statement answers; what is more is not counted."""


async def read_events(connection: AsyncConnection, seqs: Sequence[int]) -> list[JournalRow]:
    """The entries at these sequences, in the order of the log. Where there is none, nothing is answered."""
    rows: list[JournalRow] = []
    ordered = sorted(set(seqs))
    for at in range(0, len(ordered), SEQS_AT_ONCE):
        wanted = (
            select_of(journal, None, without="parent")
            .where(journal.c.seq.in_(ordered[at : at + SEQS_AT_ONCE]))
            .order_by(journal.c.seq)
        )
        rows += [to_struct(JournalRow, row) for row in (await connection.execute(wanted)).mappings()]
    return rows


async def read_requests(connection: AsyncConnection, requests: Sequence[str], until: int) -> list[JournalRow]:
    """Entries of these requests that had an effect, up to and with `until`, in the order of the log, of all instances."""
    rows: list[JournalRow] = []
    for at in range(0, len(requests), SEQS_AT_ONCE):
        wanted = (
            select_of(journal, None, without="parent")
            .where(journal.c.request.in_(requests[at : at + SEQS_AT_ONCE]), journal.c.seq <= until)
            .where(journal.c.applied_seq.is_not(None))
        )
        rows += [to_struct(JournalRow, row) for row in (await connection.execute(wanted)).mappings()]
    return sorted(rows, key=lambda row: row.seq)


async def read_branches(connection: AsyncConnection, parents: Sequence[bytes]) -> list[BranchRow]:
    """Every event that registered blocks right behind one of these, in the order of the log, of all instances."""
    rows: list[BranchRow] = []
    columns = journal.c
    for at in range(0, len(parents), SEQS_AT_ONCE):
        # Of all instances: by the instance, the database would look through all that it did.
        wanted = (
            select(columns.parent, columns.seq, columns.request, instance.c.name)
            .join_from(journal, instance, instance.c.id == columns.instance_id)
            .where(columns.parent.in_(parents[at : at + SEQS_AT_ONCE]), columns.parent.is_not(None))
            .where(columns.type == "Registered", columns.applied_seq.is_not(None))
            .order_by(columns.parent, columns.seq)
            .limit(BRANCHES_MAX)
        )
        rows += [
            BranchRow(row.parent.hex(), row.seq, row.name, row.request) for row in await connection.execute(wanted)
        ]
    return rows


async def read_seq_at(connection: AsyncConnection, at_us: int) -> int:
    """The last sequence before the first entry that is later than this time; 0 where there is no entry.

    By bisection: the owners' clocks are taken to go forward, and together.
    """
    low, high = (await connection.execute(select(func.min(journal.c.seq), func.max(journal.c.seq)))).one()
    if low is None:
        return 0
    before = low - 1
    while low <= high:
        middle = (low + high) // 2
        entry = select(journal.c.seq, journal.c.at_us).where(journal.c.seq >= middle).order_by(journal.c.seq).limit(1)
        found = (await connection.execute(entry)).one()
        if found.at_us <= at_us:
            before, low = found.seq, found.seq + 1
        else:
            high = middle - 1
    return int(before)
