"""Why one key was not found by a look-up: the first of these that is true, as things stood just before it.

1. an instance's tier had it: it had not been acknowledged yet, or was behind a block that only a slower tier had, or
   the tier is an engine's own, and the engine did not take it
2. a transfer was bringing it, or another request had looked it up before and registered it later
3. it was there before: what became of the last tier that had it
4. it was never there: another instance had it, another namespace has it, or nobody ever stored it.

Everything is read from `Known`, and each step says beforehand what it needs.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from kvbm_events.schema import TIERS, Evicted, Matched, Opened, Registered, unpack_keys
from kvbm_nats.explain.admission import Refusal, refusal_of
from kvbm_nats.explain.answers import Cause
from kvbm_nats.explain.known import Known, Need, Steps
from kvbm_nats.explain.look_up import LookUp, Told
from kvbm_nats.projection import KeyRow


class Finding(Struct, frozen=True, kw_only=True):
    """A cause and what it was found by.

    :ivar row: the stay or transfer of the key that it is about; its end or beginning is `told`
    :ivar refusal: of `not_admitted`: by which rule the tier below did not take it
    :ivar parent: of what was never stored: the key before it, None where no event tells
    :ivar behind: of `diverged`: where each request that went another way before did so
    :ivar covers: whether another key of the same look-up was missed for the same cause; None: all that follow were
    """

    cause: Cause
    row: KeyRow | None = None
    told: Told | None = None
    refusal: Refusal | None = None
    parent: str | None = None
    behind: list[int] = []
    covers: Callable[[str], bool] | None = None


def cause_of(look_up: LookUp, at: int, known: Known) -> Steps[Finding]:
    """Why `look_up.missed[at]` was not found."""
    key, seq = look_up.missed[at], look_up.seq
    yield Need(keys=[key])
    own = known.rows(key, look_up.instance)
    if there := [row for row in own if row.has_at(seq)]:
        return _out_of_reach(look_up, there, known)
    if found := (yield from _on_its_way(look_up, own, known)):
        return found
    if last := last_stay(own, seq):
        return (yield from _gone(look_up, look_up.end + at, last, own, known))
    return (yield from _never_here(look_up, at, known))


def last_stay(rows: list[KeyRow], before: int) -> KeyRow | None:
    """The stay that ended last, of a key that is nowhere any more; None where it had none before this sequence."""
    gone = [row for row in rows if row.is_arrival and row.seq < before]
    return max(gone, key=lambda row: (row.gone_seq or 0, row.tier), default=None)


def _out_of_reach(look_up: LookUp, there: list[KeyRow], known: Known) -> Finding:
    """A look-up goes on in the tier where it is, or in a slower one."""
    reached = TIERS.index(look_up.found[-1].tier) if look_up.found else 0
    hidden = [row for row in there if TIERS.index(row.tier) >= reached]
    row = (hidden or there)[0]
    opened = known.opened(look_up.instance, look_up.seq)
    observed = {spec.tier for spec in opened.tiers if spec.control == "observed"} if opened else set()
    cause: Cause = "in_flight" if hidden else "unreachable"
    if hidden and row.tier in observed:
        cause = "engine_declined"

    def covers(key: str) -> bool:
        return any(other.has_at(look_up.seq) for other in known.rows(key, look_up.instance))

    return Finding(cause=cause, row=row, covers=covers)


def _on_its_way(look_up: LookUp, own: list[KeyRow], known: Known) -> Steps[Finding | None]:
    seq = look_up.seq
    if coming := next((row for row in own if _is_under_way(row, own, seq)), None):
        yield Need(events=[coming.seq])

        def is_coming(key: str) -> bool:
            rows = known.rows(key, look_up.instance)
            return any(row.seq == coming.seq and _is_under_way(row, rows, seq) for row in rows)

        return Finding(cause="in_flight", row=coming, told=known.event(coming.seq), covers=is_coming)
    following = next((row for row in own if row.is_arrival and row.seq > seq), None)
    if following is None or following.type != "Registered":
        return None
    yield Need(events=[following.seq])
    told = known.event(following.seq)
    if told is None or not isinstance(told.event, Registered) or told.event.request == look_up.request:
        return None
    other = told.event.request
    yield Need(stories=[other])
    asked = [each.row.seq for each in known.story(other, look_up.instance) if isinstance(each.event, Matched)]
    before = [each for each in asked if each < following.seq]
    if not before or before[-1] > seq:
        return None

    def is_computed(key: str) -> bool:
        rows = [row for row in known.rows(key, look_up.instance) if row.is_arrival and row.seq > seq]
        return bool(rows) and rows[0].seq == following.seq

    return Finding(cause="in_flight", row=following, told=told, covers=is_computed)


def _is_under_way(row: KeyRow, own: list[KeyRow], seq: int) -> bool:
    """Whether a transfer that began with this row was bringing the key at `seq`."""
    if row.type is None or not row.type.endswith("Started") or row.seq > seq or (row.gone_seq or seq + 1) <= seq:
        return False
    return not any((other.tier, other.slot) == (row.tier, row.slot) and row.seq < other.seq <= seq for other in own)


def _gone(look_up: LookUp, place: int, last: KeyRow, own: list[KeyRow], known: Known) -> Steps[Finding]:
    """It was here, at this place of the prompt, and left its last tier before the look-up."""
    yield Need(events=[last.gone_seq or 0])
    told = known.event(last.gone_seq or 0)

    def covers(key: str) -> bool:
        return any(row.is_arrival and row.seq < look_up.seq for row in known.rows(key, look_up.instance))

    match told.event if told else None:
        case Opened():
            names = [known.namespace(look_up.instance, each) for each in (last.seq, look_up.seq)]
            cause: Cause = "reset" if names[0] == names[1] else "other_namespace"
            return Finding(cause=cause, row=last, told=told, covers=covers)
        case Evicted(reason="corrupt" | "gone" as lost):
            return Finding(cause=lost, row=last, told=told, covers=covers)
        case Evicted(reason="reset"):
            yield Need(attached=[(look_up.instance, last.gone_seq or 0)])
            return Finding(cause="reset", row=last, told=told, covers=covers)
        case Evicted(reason="capacity") if told:
            refusal = yield from refusal_of(last, place, own, told, known)
            cause = "not_admitted" if refusal else "evicted"
            return Finding(cause=cause, row=last, told=told, refusal=refusal, covers=covers)
        case _:
            return Finding(cause="evicted", row=last, told=told, covers=covers)


def _never_here(look_up: LookUp, at: int, known: Known) -> Steps[Finding]:
    key, seq = look_up.missed[at], look_up.seq
    namespace = known.namespace(look_up.instance, seq)
    others = [row for row in known.rows(key) if row.instance != look_up.instance and row.is_arrival and row.seq < seq]
    others.sort(key=lambda row: row.type == "Noted")  # who wrote it, before who knows of it only
    for row in others:
        if row.has_at(seq) and known.namespace(row.instance, seq) == namespace:
            return Finding(cause="other_instance", row=row, covers=_is_in(row.instance, look_up, known))
    for row in others:
        if known.namespace(row.instance, row.seq) != namespace:
            return Finding(cause="other_namespace", row=row, covers=_was_in(row.instance, look_up, known))
    parent = look_up.before(at)
    if parent is None:
        parent = yield from _told_parent(key, known)
    if parent is None:
        return Finding(cause="new")
    yield Need(behind=[parent])
    behind = known.behind(parent, look_up.instance, seq)
    return Finding(cause="diverged" if behind else "new", parent=parent, behind=behind)


def _told_parent(key: str, known: Known) -> Steps[str | None]:
    """The key before one that the engine had before it: whoever stores it tells, be it later."""
    telling = next((row for row in known.rows(key) if row.type == "Registered"), None)
    if telling is None:
        return None
    yield Need(events=[telling.seq])
    told = known.event(telling.seq)
    if told is None or not isinstance(told.event, Registered):
        return None
    keys = unpack_keys(told.event.keys)
    at = keys.index(key)
    return keys[at - 1] if at else told.event.parent


def _is_in(instance: str, look_up: LookUp, known: Known) -> Callable[[str], bool]:
    return lambda key: any(row.has_at(look_up.seq) for row in known.rows(key, instance))


def _was_in(instance: str, look_up: LookUp, known: Known) -> Callable[[str], bool]:
    return lambda key: any(row.is_arrival and row.seq < look_up.seq for row in known.rows(key, instance))
