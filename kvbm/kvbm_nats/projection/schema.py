"""The tables of a projection, for every dialect.

Two layers. `journal` is the log, a row an event, in the order of the log, with two indexes of what its events name:
`key_entry` by key, `departure` by slot, and with `snapshot`, from which the state of any moment is folded. The others are
the state that the applied events add up to at `checkpoint`.

Rules
1. A block's row exists while its key does: free slots have none, and allocated or quarantined ones are told by the
   request or transfer that has them. `block.id` is instance, tier and slot in one number, so that neighbours are a range.
2. `key_entry` and `departure` are only ever added to. Their rows are clustered by segment first, and all writing goes to
   the last segment: a random key costs what the size of one segment costs, not that of the table. A look-up visits every
   segment. A block's stay is from its entry to the next departure of its slot.
3. Nothing is migrated. `meta.version` names the tables and the rules they were filled by; another one is another projection.
   `meta.version` keeps its name in every version.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

from kvbm_events.schema import TIERS, TierName
from kvbm_statemachine.snapshot import SNAPSHOT_VERSION

VERSION = f"3.{SNAPSHOT_VERSION}"
"""The version of these tables, and that of what `evolve` makes of an event."""
SEGMENT_ROWS = 32_768
"""Rows of `key_entry` that a segment has at most, unless one transaction alone has more."""
DEPARTURE_SIZE = 32
"""Blocks of a `departure` at most, none of them across a multiple of it: so those of a slot are found among few."""
SLOT_BITS = 26
SLOTS_MAX = 1 << SLOT_BITS

metadata = MetaData()

meta = Table("meta", metadata, Column("version", Text, nullable=False))

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("seq", BigInteger, nullable=False),
    Column("message_id", Text, nullable=False),
)

instance = Table(
    "instance",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
    Column("namespace", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

journal = Table(
    "journal",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("instance_id", ForeignKey("instance.id"), nullable=False),
    # Where its effect came about: later than `seq` where it came early, null where it was passed over or still waits.
    Column("applied_seq", BigInteger),
    Column("epoch", BigInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("tier", Text),
    # Of an event that ends a transfer, whom that was for.
    Column("request", Text),
    Column("transfer", Text),
    Column("blocks", Integer, nullable=False),
    Column("reason", Text),
    # Of an eviction where the tier below takes blocks by it: how often each had been seen, a byte a block.
    Column("seen", LargeBinary),
    # The key before the first one that the event registers or moves, empty before a prefix's start: siblings have one parent.
    Column("parent", LargeBinary),
    Column("body", Text, nullable=False),
)
Index("journal_instance", journal.c.instance_id, journal.c.seq)
for _name, _columns, _where in (
    ("journal_request", (journal.c.request, journal.c.seq), journal.c.request.is_not(None)),
    ("journal_parent", (journal.c.parent, journal.c.seq), journal.c.parent.is_not(None)),
    ("journal_opened", (journal.c.instance_id, journal.c.seq), journal.c.type == "Opened"),
    ("journal_passed_over", (journal.c.instance_id, journal.c.seq), journal.c.applied_seq.is_(None)),
):
    Index(_name, *_columns, sqlite_where=_where, postgresql_where=_where)

tier = Table(
    "tier",
    metadata,
    Column("instance_id", ForeignKey("instance.id"), primary_key=True),
    Column("tier", Text, primary_key=True),
    Column("capacity", Integer, nullable=False),
    Column("policy", Text, nullable=False),
    Column("control", Text, nullable=False),
    Column("admission", Text, nullable=False),
    Column("seen_min", Integer, nullable=False),
    Column("priority_min", Integer, nullable=False),
    Column("free", Integer, nullable=False),
    Column("allocated", Integer, nullable=False),
    Column("registered", Integer, nullable=False),
    Column("condemned", Integer, nullable=False),
    Column("quarantined", Integer, nullable=False),
)

block = Table(
    "block",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    # SlotState: 2 registered, 3 condemned.
    Column("state", SmallInteger, nullable=False),
    # The event that registered it.
    Column("seq", BigInteger, nullable=False),
    Column("key", LargeBinary, nullable=False),
)

segment = Table(
    "segment",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("rows", Integer, nullable=False),
)

key_entry = Table(
    "key_entry",
    metadata,
    Column("segment", Integer, primary_key=True, autoincrement=False),
    Column("key", LargeBinary, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    # Where the event registers it, or a transfer is to bring it, or failed to.
    Column("block", BigInteger, primary_key=True),
    sqlite_with_rowid=False,
)

departure = Table(
    "departure",
    metadata,
    Column("segment", Integer, primary_key=True, autoincrement=False),
    # Neighbours that lost their keys: the number of the first, and how many, up to `DEPARTURE_SIZE`; or `SLOTS_MAX`, for a
    # tier that was reset.
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("size", Integer, nullable=False),
    sqlite_with_rowid=False,
)

snapshot = Table(
    "snapshot",
    metadata,
    Column("instance_id", ForeignKey("instance.id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    # The state after the instance's last event up to `seq`: zlib of the state machine's own bytes.
    Column("state", LargeBinary, nullable=False),
)

request = Table(
    "request",
    metadata,
    Column("instance_id", ForeignKey("instance.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("priority", Integer, nullable=False),
    # JSON by tier: runs of slots that it was given and fills, and the slots that it holds (each with all before it).
    Column("allocated", Text, nullable=False),
    Column("pins", Text, nullable=False),
)

transfer = Table(
    "transfer",
    metadata,
    Column("instance_id", ForeignKey("instance.id"), primary_key=True),
    # `<epoch>.<n>` of the event that started it, whose body has the keys.
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("tier", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("deadline_us", BigInteger, nullable=False),
    # JSON runs: all destination slots, those under way, and those a failed mover may still write to.
    Column("slots", Text, nullable=False),
    Column("open", Text, nullable=False),
    Column("quarantined", Text, nullable=False),
)


def block_id(instance_id: int, tier_name: TierName, slot: int) -> int:
    """The number of a block: a slot in a tier of an instance."""
    return (instance_id * len(TIERS) + TIERS.index(tier_name)) << SLOT_BITS | slot


def place_of(block: int) -> tuple[int, TierName, int]:
    """Instance id, tier and slot of a block's number."""
    instance_id, tier_index = divmod(block >> SLOT_BITS, len(TIERS))
    return instance_id, TIERS[tier_index], block & (SLOTS_MAX - 1)
