"""What `kvbm fsck` found. `docs/schemas/fsck.json` is made of these, and grows by addition."""

from __future__ import annotations

from msgspec import Struct

from kvbm_events.schema import TierName

NAMED_MAX = 1000
"""Blocks of a tier that are named one by one; the others are counted."""


class BadBlock(Struct, frozen=True, kw_only=True):
    """A block whose bytes are not those that came."""

    slot: int
    key: str
    why: str


class FileReport(Struct, frozen=True, kw_only=True):
    """One rank's file of a tier.

    :ivar contents: their name, as its sidecar tells it; empty where none does
    :ivar flaw: why the log's blocks are not in it; empty if they may be
    """

    rank: int
    path: str
    contents: str = ""
    flaw: str = ""


class TierReport(Struct, kw_only=True):
    """One tier, in blocks and slots.

    :ivar registered: blocks that can be matched, as the log tells it
    :ivar proven: of these, those whose bytes have their checksum
    :ivar corrupt: those whose bytes have another, or cannot be read
    :ivar unproven: those of which the log has no checksum
    :ivar holes: those that are nowhere: the file is gone, was reset, or is another
    :ivar changed: those that were evicted while they were read
    :ivar under_way: slots that a transfer fills, or a request
    :ivar quarantined: slots to which a mover that is gone may still write
    :ivar orphans: what is stored and the log does not know; only where things have names, which slots have not
    :ivar unchecked: why nothing of it was read; empty if it was
    :ivar blocks: the corrupt ones by name, up to `NAMED_MAX`
    """

    tier: TierName
    capacity: int
    registered: int = 0
    proven: int = 0
    corrupt: int = 0
    unproven: int = 0
    holes: int = 0
    changed: int = 0
    under_way: int = 0
    quarantined: int = 0
    orphans: int = 0
    size_bytes: int = 0
    took_s: float = 0.0
    unchecked: str = ""
    files: list[FileReport] = []
    blocks: list[BadBlock] = []

    @property
    def gb_per_s(self) -> float:
        """How fast it was read."""
        return self.size_bytes / self.took_s / 1e9 if self.took_s else 0.0

    @property
    def is_sound(self) -> bool:
        """Whether everything that the log says of it is so."""
        flaws = any(file.flaw for file in self.files) and self.registered
        return not (self.corrupt or self.holes or self.quarantined or self.orphans or flaws)


class Report(Struct, kw_only=True):
    """An instance.

    :ivar epoch, n, seq: up to which event, at which sequence of the log, this is true
    :ivar sound: whether nothing was found
    :ivar transfers: that are open, be it with slots in quarantine only
    :ivar leftovers: files of tiers that the instance does not have, and drafts of a sidecar
    :ivar repaired: by tier, how many blocks were evicted by `--repair`
    :ivar notes: what an operator should know of the log
    """

    instance: str
    namespace: str
    epoch: int
    n: int
    seq: int
    sound: bool = True
    transfers: int = 0
    tiers: list[TierReport] = []
    leftovers: list[str] = []
    repaired: dict[TierName, int] = {}
    notes: list[str] = []
