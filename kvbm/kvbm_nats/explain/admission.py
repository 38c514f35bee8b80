"""Whether the tier below had refused a block by its admission, as far as the log tells it.

The owner writes no event when a tier does not want a block. But the admission stands in `Opened`, the projection keeps how
often each block had been seen when it was evicted, and `Allocated` and `Matched` have the priority of whoever computed or
found it. A block that was wanted and never went down did not get its turn in time: that is an eviction like any other.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from kvbm_events.schema import ROOT, Allocated, Evicted, Registered, TierSpec, TransferStarted, unpack_keys
from kvbm_nats.explain.asked import Asked
from kvbm_nats.explain.known import Known, Need, Steps
from kvbm_nats.explain.look_up import Told
from kvbm_nats.projection import KeyRow

FINDERS_MAX = 256
"""Look-ups of enough priority that are followed to see whether they found a block. Beyond it, it counts as found."""
PARENTS_MAX = 512
"""Events back along a prompt that are followed from the last block that a look-up found. Beyond it, the same."""


class Refusal(Struct, frozen=True, kw_only=True):
    """The rule by which a tier did not take a block.

    :ivar seen: of `seen`: how often it had been seen
    :ivar request, had: of `priority`: who had brought it, where that is known, and with which priority
    """

    by: Literal["seen", "priority"]
    below: TierSpec
    seen: int = 0
    request: str = ""
    had: int = 0


def refusal_of(last: KeyRow, place: int, own: list[KeyRow], evicted: Told, known: Known) -> Steps[Refusal | None]:
    """Why a block that was evicted for room had not gone down in that stay; None where it had, or was wanted below.

    Args:
        last: the stay
        place: of the block in its prompt, from 0
        own: what names its key, in this instance
        evicted: what ended the stay
        known: what has been read
    """
    opened = known.opened(last.instance, evicted.row.seq)
    below = next((spec for spec in opened.tiers if spec.tier > last.tier), None) if opened else None
    if not below or below.control == "observed" or _was_in(below, last, own, evicted.row.seq):
        return None
    if below.admission == "selective" and evicted.row.seen and isinstance(evicted.event, Evicted):
        seen = evicted.row.seen[unpack_keys(evicted.event.keys).index(last.key)]
        if seen < below.seen_min:
            return Refusal(by="seen", below=below, seen=seen)
    if not below.priority_min:
        return None
    request, had = yield from _bringer(last, own, known)
    if below.admission == "write_through" and (had is None or had >= below.priority_min):
        return None
    if (yield from _was_found(last, place, evicted.row.seq, below.priority_min, known)):
        return None
    return Refusal(by="priority", below=below, request=request, had=had or 0)


def _was_in(below: TierSpec, last: KeyRow, own: list[KeyRow], until: int) -> bool:
    """Whether the tier below had the block during the stay, or began to get it."""
    return any(row.tier == below.tier and row.seq < until and (row.gone_seq or last.seq + 1) > last.seq for row in own)


def _bringer(last: KeyRow, own: list[KeyRow], known: Known) -> Steps[tuple[str, int | None]]:
    """The request for which the block came into the tier, and its priority; None where the log does not tell."""
    if last.type == "Registered":
        yield Need(events=[last.seq])
        told = known.event(last.seq)
        if told is None or not isinstance(told.event, Registered):
            return "", None
        request = told.event.request
        yield Need(stories=[request])
        given = [each.event for each in known.story(request, last.instance) if each.row.seq < last.seq]
        return request, next((each.priority for each in reversed(given) if isinstance(each, Allocated)), None)
    begun = [row for row in own if (row.tier, row.slot) == (last.tier, last.slot) and row.seq < last.seq]
    if not begun:
        return "", None
    yield Need(events=[begun[-1].seq])
    told = known.event(begun[-1].seq)
    if told is None or not isinstance(told.event, TransferStarted):
        return "", None
    return told.event.request, told.event.priority


def _was_found(last: KeyRow, place: int, until: int, least: int, known: Known) -> Steps[bool]:
    """Whether a look-up of at least this priority found the block during its stay; in doubt it did."""
    yield Need(look_ups=[(last.instance, last.seq, until)])
    finders = known.look_ups(last.instance, last.seq, until, least)
    if finders is None:
        return True
    likely = [each for each in finders if each.reached > place and each.last]
    if len(likely) > FINDERS_MAX:
        return True
    for each in likely:
        if (yield from _leads_to(last.key, each, known)):
            return True
    return False


def _leads_to(key: str, found: Asked, known: Known) -> Steps[bool]:
    """Whether a prompt goes over this block on its way to the last one that was found of it."""
    at = found.last
    for _ in range(PARENTS_MAX):
        if at == ROOT:
            return False
        yield Need(keys=[at])
        telling = next((row for row in known.rows(at) if row.type == "Registered" or _is_start(row)), None)
        if telling is None:
            return True
        yield Need(events=[telling.seq])
        told = known.event(telling.seq)
        if told is None or not isinstance(told.event, Registered | TransferStarted):
            return True
        keys = unpack_keys(told.event.keys)
        if key in keys[: keys.index(at) + 1]:
            return True
        at = told.event.parent
    return True


def _is_start(row: KeyRow) -> bool:
    return row.type is not None and row.type.endswith("Started")
