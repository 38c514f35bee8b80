"""What a mover is: it copies the blocks of one job from tier to tier and reports how that went.

Rules
1. A mover moves only what an acknowledged `…Started` event says, and never decides.
2. Every submitted job is reported in the end, block by block or as a whole; a block that failed is never reported good.
3. Until a block's report says `stopped`, the mover may still write its destination slot. A block whose first report does
   not say so gets a second one that does; no other block is reported twice.
4. A block is hashed on its way, and one that is not what its job says it was is reported `CORRUPT`, the others of its
   job all the same. One that is no longer where it was is reported `GONE`.
5. A block that is reported as arrived on disk is synced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from kvbm_events.schema import (
    LOST,
    Contents,
    Evicted,
    EvictReason,
    TierName,
    TransferStarted,
    to_slots,
    unpack_checksums,
    unpack_keys,
)

OBJECT_TIER: TierName = "g4"
"""Where blocks have names instead of places, and stay until they are deleted."""
CORRUPT = "corrupt"
"""The reason of a block whose bytes are not those that its checksum was made of."""
OWNER_RESTARTED = "the owner was restarted"
"""The reason of what an owner before left open."""
GONE = "gone"
"""The reason of a block that is no longer where it was."""


def loss(reason: str) -> EvictReason | None:
    """What became of a source block, where a report's reason says that it is lost: `gone: no such object` is `gone`.

    A reason may go on behind a colon. Any other reason leaves the source as good as it was.
    """
    word = reason.partition(":")[0]
    return next((lost for lost in LOST if lost == word), None)


class Job(Struct, frozen=True, kw_only=True):
    """One batch of blocks to copy: block i from `source_slots[i]` to `slots[i]`, before `deadline_us`.

    :ivar checksums: xxh3-64 that each block must have at its source, 16 hex digits, empty for one that was never
        hashed; none at all says so of every block
    :ivar writer: whose objects are read, where another instance wrote them
    """

    transfer: str
    source: TierName
    tier: TierName
    source_slots: Sequence[int]
    slots: Sequence[int]
    keys: Sequence[str]
    deadline_us: int
    checksums: Sequence[str] = ()
    writer: str = ""

    def __post_init__(self) -> None:
        if len(self.source_slots) != len(self.slots) or len(self.checksums) not in {0, len(self.slots)}:
            raise ValueError(f"transfer {self.transfer}: {len(self.slots)} slots, but not as many sources or checksums")

    @classmethod
    def of(cls, event: TransferStarted) -> Job:
        """The job that an event orders."""
        keys = unpack_keys(event.keys)
        return cls(
            transfer=event.transfer,
            source=event.source,
            tier=event.tier,
            source_slots=to_slots(event.source_slots),
            slots=to_slots(event.slots),
            keys=keys,
            deadline_us=event.deadline_us,
            checksums=unpack_checksums(event.checksums, len(keys)) if event.checksums else (),
            writer=event.writer,
        )

    @property
    def is_onboard(self) -> bool:
        """Whether it goes up, to a faster tier: somebody waits for it."""
        return self.tier < self.source

    def checksum(self, at: int) -> str:
        """What block `at` must have; empty if nobody knows."""
        return self.checksums[at] if self.checksums else ""


class Deletion(Struct, frozen=True, kw_only=True):
    """Blocks that have left a tier, as an acknowledged `Evicted` event says."""

    tier: TierName
    keys: Sequence[str]

    @classmethod
    def of(cls, event: Evicted) -> Deletion | None:
        """The deletion that an event orders; None where nothing would stay, or the objects are another instance's."""
        if event.tier != OBJECT_TIER or event.writer:
            return None
        return cls(tier=event.tier, keys=unpack_keys(event.keys))


class Report(Struct, frozen=True, kw_only=True):
    """What became of some blocks of a job.

    :ivar slots: the destination slots that this report speaks of
    :ivar reason: why they failed; empty where they arrived
    :ivar stopped: whether the mover writes to them no more
    :ivar length_bytes: of each block that arrived
    :ivar checksums: xxh3-64 of each block that arrived, 16 hex digits each
    """

    transfer: str
    slots: Sequence[int]
    reason: str = ""
    stopped: bool = True
    length_bytes: int = 0
    checksums: str = ""


class Memory(Struct, frozen=True, kw_only=True):
    """A rank's memory that a mover moves blocks in.

    :ivar rank: which slice of every block it has
    :ivar holder: who has it, for people
    :ivar contents: what is in its tiers, each once
    """

    rank: int
    holder: str
    contents: Sequence[Contents]


class Mover(Protocol):
    """Copies blocks. Called from the owner's thread, and never blocks it."""

    def begin(self, epoch: int, left: Mapping[str, Sequence[int]]) -> bool:
        """An owner begins its epoch; before any job.

        Args:
            epoch: the owner's
            left: transfers that owners before it left open, and their destination slots

        Returns:
            Whether nothing writes to these slots any more. If that is not known, reports that say `stopped` follow.
        """
        ...

    def memories(self) -> list[Memory]:
        """Memory that came since the last call; none of a mover whose blocks nobody else would know of.

        Look here before each poll: what it reports then is of no memory that came later.
        """
        ...

    def submit(self, job: Job) -> None:
        """Take a job."""
        ...

    def poll(self) -> list[Report]:
        """Reports that have come since the last poll."""
        ...

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed`, on any thread, when there is something to poll. It must not block."""
        ...

    def cancel(self, transfer: str) -> None:
        """Report a job as failed if nothing of it has begun; let it be otherwise."""
        ...

    def forget(self, deletion: Deletion) -> None:
        """Delete what these blocks have left behind, where it would stay: in object storage. In the background.

        A job that writes one of them again is submitted after it, and comes after it.
        """
        ...

    def close(self) -> None:
        """Stop; what was not reported until here is not reported any more."""
        ...
