"""The answers, as they are written by `--json`. Fields are only ever added; who reads them passes over those unknown.

Times are microseconds since 1970 by the owner's clock; `seq` is a place in the log; `said` is the same in words.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from kvbm_events.schema import TierName

Cause = Literal[
    "new",
    "diverged",
    "evicted",
    "reset",
    "not_admitted",
    "corrupt",
    "gone",
    "load_failed",
    "in_flight",
    "unreachable",
    "engine_declined",
    "other_instance",
    "other_namespace",
]
"""Why blocks were not found:

new               nothing was ever stored behind the block before: the prompt goes on where none went
diverged          never stored, while another block is behind the same one: the prompts part here
evicted           was here, and the last tier that had it gave it up for want of room, by age, or because it was told to
reset             was here, and its tier was lost with an owner's restart, or came back with other contents
not_admitted      was evicted, and had never gone down: not seen often enough, or for requests of too low a priority only
corrupt           its bytes were not what they had been
gone              it was not where it had been put: an object that vanished
load_failed       was found below, and did not come up
in_flight         was on its way, or another request was computing it
unreachable       was in a faster tier, behind a block that only a slower one had
engine_declined   was in a tier of the engine's own, and the engine did not take it from there
other_instance    never stored here, while another instance had it
other_namespace   stored under another namespace only
"""


class Event(Struct, frozen=True, kw_only=True):
    """One or several events that belong together, such as the two ends of a transfer.

    :ivar seq, last_seq: the first and the last of them
    :ivar at_us: of the first; `took_us` until the last
    :ivar type: of the last one
    """

    seq: int
    last_seq: int
    at_us: int
    took_us: int
    instance: str
    type: str
    tier: TierName | None
    blocks: int
    request: str
    said: str


class Place(Struct, frozen=True, kw_only=True):
    """Where a block can be found, and since when.

    :ivar writer: the instance whose object it is, where that is another one
    """

    instance: str
    tier: TierName
    slot: int
    seq: int
    at_us: int
    writer: str = ""


class Stay(Struct, frozen=True, kw_only=True):
    """A block's stay in a slot. `to_seq` and `to_us` are None while it lasts; `ended` says what ended it.

    :ivar writer: see `Place`
    """

    instance: str
    tier: TierName
    slot: int
    from_seq: int
    from_us: int
    to_seq: int | None
    to_us: int | None
    ended: str
    writer: str = ""


class BlockLife(Struct, frozen=True, kw_only=True):
    """A block as of a moment.

    :ivar parent: the key before it in its prefix; empty before a prompt's start, None where no event tells
    :ivar places: where it can be found
    :ivar events: its whole life, oldest first
    """

    key: str
    as_of_seq: int
    as_of_us: int
    parent: str | None
    places: list[Place]
    stays: list[Stay]
    events: list[Event]


class RequestStory(Struct, frozen=True, kw_only=True):
    """A request as of a moment.

    :ivar is_open: whether it holds something, or may; `ended` is the reason of its last release
    :ivar look_ups: how often it asked; `asked`, `found` and `by_engine` are the blocks of all of them
    :ivar by_engine: found by the engine in its own cache, of which the log knows no more
    :ivar evicted_for: blocks that others lost to make room for it
    :ivar more: events that are not listed, the oldest
    """

    request: str
    as_of_seq: int
    instances: list[str]
    is_open: bool
    ended: str
    first_us: int
    last_us: int
    look_ups: int
    asked: int
    found: dict[TierName, int]
    by_engine: int = 0
    registered: int
    evicted_for: int
    events: list[Event]
    more: int


class Fact(Struct, frozen=True, kw_only=True):
    """A piece of evidence, and the event that it is read from: 0 where it is none."""

    seq: int
    at_us: int
    said: str


class Loss(Struct, frozen=True, kw_only=True):
    """Blocks in a row that were not found, for one cause.

    :ivar first_block: place of the first in the prompt, from 0; `first_token`, `tokens` where a block's size is known
    :ivar key: of the first; `parent` is the key before it, empty at the prompt's start, None where no event tells
    :ivar seq, tier, reason, actor, by: of the event behind it, and the request for which it came about
    :ivar refused: of `not_admitted`: what the tier below asks for, how often it was `seen` or a `priority`
    :ivar requests: of `diverged`: how many requests went another way from here, before this one
    :ivar capacity, capacity_needed: of the tier when it evicted, and what would have kept these blocks until they were asked for
    """

    cause: Cause
    blocks: int
    tokens: int | None
    first_block: int
    first_token: int | None
    key: str
    parent: str | None
    said: str
    seq: int = 0
    at_us: int = 0
    instance: str = ""
    tier: TierName | None = None
    reason: str = ""
    actor: str = ""
    by: str = ""
    refused: Literal["", "seen", "priority"] = ""
    requests: int = 0
    capacity: int | None = None
    capacity_needed: int | None = None
    evidence: list[Fact] = []


class WhyMiss(Struct, frozen=True, kw_only=True):
    """A look-up, and why it did not find all that it asked for.

    :ivar look_up: which of the request's `look_ups` it is, from 1
    :ivar start: blocks of the prompt before the first that was asked for: a group of layers may attend to a window
    :ivar by_engine: blocks that the engine found in its own cache, of which the log knows no more
    :ivar losses: in the order of the prompt; empty where nothing was missed
    """

    request: str
    instance: str
    namespace: str
    seq: int
    at_us: int
    look_up: int
    look_ups: int
    start: int = 0
    asked: int
    found: dict[TierName, int]
    by_engine: int = 0
    missed: int
    block_tokens: int | None
    losses: list[Loss]


class CauseShare(Struct, frozen=True, kw_only=True):
    """What one cause took: look-ups that it hit first, and all blocks missed for it, `share` of those of all causes."""

    cause: Cause
    look_ups: int
    blocks: int
    tokens: int | None
    share: float


class Offender(Struct, frozen=True, kw_only=True):
    """What look-ups have in common that missed blocks for it, and the last of their requests, to ask about."""

    cause: Cause
    said: str
    look_ups: int
    blocks: int
    tokens: int | None
    example: str


class MissCauses(Struct, frozen=True, kw_only=True):
    """Why look-ups missed, within a range of the log.

    :ivar after_seq: later than what was asked for, where the range has more look-ups than are explained
    :ivar look_ups: all in the range; `with_misses` those that did not get all that they asked for
    :ivar worst: what most blocks were missed for; blocks that are new are nobody's fault
    """

    after_seq: int
    until_seq: int
    look_ups: int
    with_misses: int
    asked: int
    missed: int
    causes: list[CauseShare]
    worst: list[Offender]


class Slots(Struct, frozen=True, kw_only=True):
    """A tier's slots by state."""

    capacity: int
    policy: str
    free: int
    allocated: int
    registered: int
    condemned: int
    quarantined: int


class TierDifference(Struct, frozen=True, kw_only=True):
    """What came and went in a tier.

    :ivar before, after: its slots; None where there was no such tier
    :ivar moved: of those that stayed, how many are in another slot
    :ivar arrived_keys, left_keys: the first of them
    """

    tier: TierName
    before: Slots | None
    after: Slots | None
    arrived: int
    left: int
    stayed: int
    moved: int
    arrived_keys: list[str]
    left_keys: list[str]


class Difference(Struct, frozen=True, kw_only=True):
    """What differs of an instance. `before` and `after` are its last event then, `<epoch>.<n>`, empty where it was not there."""

    instance: str
    before: str
    after: str
    tiers: list[TierDifference]
    requests_opened: list[str]
    requests_over: list[str]
    transfers_begun: list[str]
    transfers_over: list[str]
    is_equal: bool


class InstanceState(Struct, frozen=True, kw_only=True):
    """An instance as of a moment.

    :ivar n: of the last event in `epoch`
    :ivar contents: by tier and rank, the name of what is in its memory, for those that told it
    :ivar digest: of the whole state: equal ones mean equal states
    """

    instance: str
    namespace: str
    as_of_seq: int
    epoch: int
    n: int
    tiers: dict[TierName, Slots]
    contents: dict[TierName, dict[int, str]]
    requests: list[str]
    transfers: list[str]
    digest: str


class AskedLately(Struct, frozen=True, kw_only=True):
    """A request among the last ones: of its look-ups that were read, blocks asked for, found by tier, and missed.

    :ivar seq, at_us: of its last look-up
    """

    request: str
    instance: str
    seq: int
    at_us: int
    look_ups: int
    asked: int
    found: dict[TierName, int]
    missed: int


class RecentRequests(Struct, frozen=True, kw_only=True):
    """Who asked within a range of the log.

    :ivar after_seq: where it begins: look-ups before it were not read; 0 where all were
    :ivar look_ups: in the range, of all requests
    :ivar more: requests that are not listed
    """

    after_seq: int
    until_seq: int
    look_ups: int
    requests: list[AskedLately]
    more: int


class HitSpan(Struct, frozen=True, kw_only=True):
    """What look-ups asked for and found, in blocks, within `from_us` ≤ time < `to_us`."""

    from_us: int
    to_us: int
    look_ups: int
    asked: int
    found: dict[TierName, int]


class Cell(Struct, frozen=True, kw_only=True):
    """Neighbouring slots of a tier by state; `closed` are those condemned or quarantined.

    :ivar used_us: when one of its registered blocks was last registered or found; 0 where that is long ago, or there is none
    :ivar key: of that block; of the first registered one where no time is known
    """

    first: int
    slots: int
    free: int
    allocated: int
    registered: int
    closed: int
    used_us: int
    key: str


class TierHeat(Struct, frozen=True, kw_only=True):
    """A tier's slots in cells of `cell_slots` each."""

    tier: TierName
    capacity: int
    cell_slots: int
    cells: list[Cell]
