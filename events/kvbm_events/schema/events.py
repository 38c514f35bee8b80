"""The vocabulary: every event of a block's life, frozen and in the past tense.

Rules
1. An event happened and was legal when it was written; nobody edits or refuses it afterwards.
2. Events are columnar: slots as runs `[[first, count], …]`, keys as one string of 32 hex digits a key, in chain
   order, so that the parent of each key is the key before it and `parent` is the parent of the first.
3. The schema grows by addition: a new field has a default. Old bytes stay readable (`tests/golden/`).
4. `(epoch, n)` numbers an instance's events without gaps; `at_us` is the owner's clock, for people to read.

Source of the words: DESIGN, sections 1 and 3.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from kvbm_events.schema.keys import ROOT
from kvbm_events.schema.runs import Runs
from kvbm_events.schema.tiers import TierName, TierSpec

MAX_BLOCKS = 512
"""The most keys that one event carries (16 KiB of hex); a larger batch is several events."""
MAX_MISSED = 8192
"""The most missed keys that one `Matched` names (256 KiB); `unnamed` counts the others."""

EvictReason = Literal["capacity", "ttl", "reset", "corrupt", "operator", "gone"]
LOST: frozenset[EvictReason] = frozenset({"corrupt", "gone", "reset"})
"""Reasons of blocks whose bytes are not there any more: they go at once, even while somebody holds them."""
ReleaseReason = Literal["finished", "aborted", "preempted", "lease_expired", "owner_restarted"]
Requests = Literal["kept", "dropped"]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type"):
    """The head of every event: the owner's incarnation, its number in it, and the owner's time in microseconds."""

    epoch: int
    n: int
    at_us: int


class Opened(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag=True):
    """An owner began a new epoch, after all that is in the log before it.

    :ivar namespace: fingerprint of what must agree before bytes are reused
    :ivar owner: who it is, for people: host and process
    :ivar tiers: the tiers from now on, fastest first
    :ivar kept: the tiers whose blocks are still there; the others start empty
    :ivar requests: whether requests of the epoch before still hold what they held
    """

    namespace: str
    owner: str
    tiers: list[TierSpec]
    kept: list[TierName] = []
    requests: Requests = "dropped"


class Contents(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What the memory of a tier has in it, by name: another name, other bytes.

    :ivar name: random, given when the memory started empty
    :ivar why: why it started empty, or was kept; for people
    """

    tier: TierName
    name: str
    why: str = ""


class Attached(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag=True):
    """The memory of a rank is there. Where its contents are others than they were, the blocks of the tier were evicted before.

    :ivar rank: which slice of every block it has
    :ivar holder: who has it, for people: a tier worker by its incarnation, or a process
    :ivar contents: of its tiers, each once
    """

    rank: int
    holder: str
    contents: list[Contents]


class Allocated(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag=True):
    """Free slots were given to a request, which will fill them."""

    tier: TierName
    request: str
    slots: Runs
    priority: int = 50


class Registered(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag=True):
    """Allocated slots were filled and got their keys: they can be matched from here on.

    :ivar existing: `[position in keys, slot]` where the key was in the tier already: the request now holds that slot,
        and the one that it had filled is free again
    """

    tier: TierName
    request: str
    slots: Runs
    keys: str
    parent: str = ROOT
    existing: list[tuple[int, int]] = []


class Noted(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag=True):
    """Free slots stand for blocks that another instance has written where this one can read them too: they can be matched.

    Nothing was moved, and nothing is: the bytes are read where they are, and only their writer deletes them.

    :ivar writer: the instance that wrote them; `parent`, `keys` and `checksums` are as its own log has them
    :ivar length_bytes: of each block
    :ivar checksums: xxh3-64 of each block, 16 hex digits each, in the order of `slots`
    """

    tier: TierName
    writer: str
    slots: Runs
    keys: str
    parent: str = ROOT
    length_bytes: int = 0
    checksums: str


class Found(Struct, frozen=True, kw_only=True, gc=False):
    """What a look-up found in one tier: so many blocks in a row, the last of them with this key."""

    tier: TierName
    blocks: int
    last: str


class Matched(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag=True):
    """A look-up was answered, be it with nothing.

    :ivar start: blocks of the prompt before the first key, where the look-up does not begin at the prompt's start: some
        layers of a model attend to a window only
    :ivar parent: the key before the first
    :ivar asked: keys in the look-up
    :ivar found: one entry a tier that had some, fastest first; the rest of the prefix is told by the parents of `last`
    :ivar missed: the keys of the tail that was not found, at most `MAX_MISSED` of them
    :ivar unnamed: how many more keys were missed than `missed` names
    :ivar held: whether the request holds what was found (a look-up may only ask)
    """

    request: str
    start: int = 0
    parent: str = ROOT
    asked: int
    found: list[Found] = []
    missed: str = ""
    unnamed: int = 0
    held: bool = True
    priority: int = 50


class Released(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag=True):
    """A request no longer holds anything; or, where `tier` is given, only what the event names.

    :ivar tier: empty for everything in every tier
    :ivar slots: within `tier`, the allocated slots given back; none means all that it holds in the tier
    """

    request: str
    reason: ReleaseReason = "finished"
    tier: TierName | Literal[""] = ""
    slots: Runs = []


class TransferStarted(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A batch of blocks began its way from one tier to another; the blocks are one chain.

    :ivar transfer: `<epoch>.<n>` of this event
    :ivar source: the tier it comes from
    :ivar tier: the tier it goes to
    :ivar source_slots: where it is read, block by block
    :ivar slots: where it is written; these slots were free
    :ivar checksums: what is known of the source blocks, xxh3-64, 16 hex digits each, zeros where unknown; empty if of
        none: a mover that reads other bytes must not hand them on
    :ivar deadline_us: when the transfer counts as failed
    :ivar request: who waits for it; empty for work in the background
    :ivar writer: whose objects are read, where they are another instance's (`Noted`)
    """

    transfer: str
    source: TierName
    tier: TierName
    source_slots: Runs
    slots: Runs
    keys: str
    parent: str = ROOT
    checksums: str = ""
    deadline_us: int
    request: str = ""
    priority: int = 50
    writer: str = ""


class TransferCompleted(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Blocks arrived and were verified: they can be matched in `tier` once this event is acknowledged.

    :ivar slots: the destination slots that this event speaks of, in the order of the transfer
    :ivar length_bytes: bytes of each block
    :ivar checksums: xxh3-64 of each block, 16 hex digits each, in the order of `slots`
    :ivar existing: as in `Registered`, by position in `slots`
    """

    transfer: str
    tier: TierName
    slots: Runs
    length_bytes: int = 0
    checksums: str = ""
    existing: list[tuple[int, int]] = []


class TransferFailed(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Blocks did not arrive; the others of the transfer may.

    :ivar slots: the destination slots that failed
    :ivar stopped: whether the mover is known to write there no more; until then the slots are quarantined, and a
        second event with `stopped` sets them free
    :ivar actor: whose word that is, where it is not the mover's: a person's
    """

    transfer: str
    tier: TierName
    slots: Runs
    reason: str
    stopped: bool = True
    actor: str = ""


class OffloadStarted(TransferStarted, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag=True):
    """A batch began its way down."""


class OffloadCompleted(TransferCompleted, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag=True):
    """Blocks arrived in a lower tier."""


class OffloadFailed(TransferFailed, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag=True):
    """Blocks did not arrive in a lower tier."""


class OnboardStarted(TransferStarted, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag=True):
    """A batch began its way up, for a request that waits."""


class OnboardCompleted(TransferCompleted, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag=True):
    """Blocks arrived in a higher tier; the request that waited holds them."""


class OnboardFailed(TransferFailed, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag=True):
    """Blocks did not arrive in a higher tier: the request must recompute them."""


class Evicted(Event, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag=True):
    """Blocks left a tier and cannot be matched there any more.

    :ivar keys: the key of each slot, in the order of `slots`, children before their parents
    :ivar reason: why
    :ivar actor: who decided: a policy, or a person
    :ivar request: for whom room was made, where the reason is capacity
    :ivar writer: who wrote these blocks, where another instance did (`Noted`): then they are only no longer known here
    """

    tier: TierName
    slots: Runs
    keys: str
    reason: EvictReason
    actor: str
    request: str = ""
    writer: str = ""


AnyEvent = (
    Opened
    | Attached
    | Allocated
    | Registered
    | Noted
    | Matched
    | Released
    | OffloadStarted
    | OffloadCompleted
    | OffloadFailed
    | OnboardStarted
    | OnboardCompleted
    | OnboardFailed
    | Evicted
)
