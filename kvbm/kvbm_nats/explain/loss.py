"""A run of blocks that a look-up missed for one cause: how long it is, and how it is said."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import NamedTuple

from msgspec import structs

from kvbm_events.schema import Evicted, OnboardFailed, OnboardStarted, TierName, to_slots, unpack_keys
from kvbm_nats.explain.answers import Cause, Loss
from kvbm_nats.explain.cause import Finding, cause_of
from kvbm_nats.explain.known import Known, Need, Steps
from kvbm_nats.explain.look_up import LookUp, Told
from kvbm_nats.explain.said import say
from kvbm_nats.explain.words import blocks, tokens_of
from kvbm_tiers import loss

_LOST: dict[str, tuple[Cause, str]] = {
    "corrupt": ("corrupt", "other bytes were read than had been stored"),
    "gone": ("gone", "they were not where they had been put"),
    "reset": ("reset", "their memory was reset"),
}
"""What became of blocks that did not come up because their source had lost them."""
LOSSES_MAX = 8
"""Runs of one look-up that are told apart; what comes after them counts to the last."""


class Traced(NamedTuple):
    """A loss, what it was found by, and its keys as far as the look-up names them.

    The finding is None where the look-up found its blocks, and they did not come up.
    """

    loss: Loss
    finding: Finding | None
    keys: list[str]


def losses_of(look_up: LookUp, known: Known) -> Steps[list[Traced]]:
    """Everything that the look-up did not get, in the order of the prompt."""
    losses = [Traced(loss, None, []) for loss in (yield from _failed_loads(look_up, known))]
    at = 0
    while at < len(look_up.missed):
        finding = yield from cause_of(look_up, at, known)
        size = len(look_up.missed) - at
        if finding.covers and len(losses) < LOSSES_MAX:
            size = yield from _run(look_up.missed[at:], finding.covers)
        keys = look_up.missed[at : at + size]
        unnamed = look_up.unnamed if at + size == len(look_up.missed) else 0
        _add(losses, Traced(_loss(look_up, at, size + unnamed, finding, known), finding, keys))
        at += size
    return losses


def _add(losses: list[Traced], new: Traced) -> None:
    """What one request was computing may have come in several events: it is one loss."""
    last, loss = losses[-1].loss if losses else None, new.loss
    if last and last.cause == loss.cause == "in_flight" and last.by == loss.by:
        tokens = None if last.tokens is None or loss.tokens is None else last.tokens + loss.tokens
        whole = structs.replace(last, blocks=last.blocks + loss.blocks, tokens=tokens)
        losses[-1] = Traced(whole, losses[-1].finding, losses[-1].keys + new.keys)
    else:
        losses.append(new)


def _run(keys: list[str], covers: Callable[[str], bool]) -> Steps[int]:
    """How many of the keys the cause covers: the first ones, so it is found by bisection."""
    low, high = 1, len(keys)
    while low < high:
        middle = (low + high) // 2
        yield Need(keys=[keys[middle]])
        if covers(keys[middle]):
            low = middle + 1
        else:
            high = middle
    return low


class _Wanted(NamedTuple):
    """A block that was to come up: its place in the prompt, the key before it, where it was, and whose if not our own."""

    place: int
    parent: str
    tier: TierName
    writer: str


def _failed_loads(look_up: LookUp, known: Known) -> Steps[list[Loss]]:
    """What was found below g1 and did not come up for this look-up, or for those of windows that came with it."""
    if not (look_up.is_found_below or look_up.start):
        return []
    yield Need(stories=[look_up.request])
    whole = known.story(look_up.request, look_up.instance)
    before = takewhile(_is_look_up, reversed([told for told in whole if told.row.seq <= look_up.seq]))
    together = [each for told in before if (each := LookUp.of(told.row))]
    story = [told for told in whole if told.row.seq > look_up.seq]
    again = next((told.row.seq for told in story if _is_look_up(told)), known.until + 1)
    story = [told for told in story if told.row.seq < again]
    started = [told.event for told in story if isinstance(told.event, OnboardStarted)]
    wanted = _wanted(started, min([each.end for each in together if each.is_found_below], default=0))
    by_slot = {
        (event.transfer, slot): key
        for event in started
        for slot, key in zip(to_slots(event.slots), unpack_keys(event.keys), strict=True)
    }
    losses: list[Loss] = []
    lost: set[str] = set()
    for told in story:
        if not isinstance(told.event, OnboardFailed):
            continue
        named = [by_slot.get((told.event.transfer, slot)) for slot in to_slots(told.event.slots)]
        fresh = [key for key in named if key is not None and key not in lost]
        lost.update(fresh)
        if fresh:
            losses.append(_failed_load(look_up, wanted[fresh[0]], fresh, told, known))
    return sorted(losses, key=lambda loss: loss.first_block)


def _is_look_up(told: Told) -> bool:
    return told.row.type == "Matched"


def _wanted(started: list[OnboardStarted], end: int) -> dict[str, _Wanted]:
    """By key. Of each group of layers some blocks were there already, and all that were to come end at one place."""
    orders, above = dict[str, OnboardStarted](), dict[str, str]()
    for event in started:
        keys = unpack_keys(event.keys)
        orders |= dict.fromkeys(keys, event)
        above |= zip(keys, [event.parent, *keys], strict=False)
    found = dict[str, _Wanted]()
    for last in above.keys() - above.values():
        place, key = end, last
        while key in above:
            place -= 1
            found[key] = _Wanted(place, above[key], orders[key].source, orders[key].writer)
            key = above[key]
    return found


def _failed_load(look_up: LookUp, first: _Wanted, keys: list[str], told: Told, known: Known) -> Loss:
    size = tokens_of(known.namespace(look_up.instance, look_up.seq))
    reason = told.row.reason or ""
    lost = _LOST.get(loss(reason) or "")
    cause, wrong = lost or ("load_failed", reason)
    whose = f" of {first.writer}'s" if first.writer else ""
    return Loss(
        cause=cause,
        blocks=len(keys),
        tokens=size * len(keys) if size else None,
        first_block=first.place,
        first_token=size * first.place if size else None,
        key=keys[0],
        parent=first.parent,
        said=f"{blocks(len(keys))}{whose} from block {first.place:,} on were found and did not come up to {told.row.tier}: {wrong}",
        seq=told.row.seq,
        at_us=told.row.at_us,
        instance=look_up.instance,
        tier=first.tier,
        reason=reason,
        by=look_up.request,
    )


def _loss(look_up: LookUp, at: int, size: int, finding: Finding, known: Known) -> Loss:
    place = look_up.end + at
    block_tokens = tokens_of(known.namespace(look_up.instance, look_up.seq))
    row, told = finding.row, finding.told
    evicted = told.event if told and isinstance(told.event, Evicted) else None
    return Loss(
        cause=finding.cause,
        blocks=size,
        tokens=size * block_tokens if block_tokens else None,
        first_block=place,
        first_token=place * block_tokens if block_tokens else None,
        key=look_up.missed[at],
        parent=look_up.before(at) if finding.parent is None else finding.parent,
        said=say(place, block_tokens, look_up, finding, known),
        seq=told.row.seq if told else row.seq if row else 0,
        at_us=told.row.at_us if told else 0,
        instance=row.instance if row else look_up.instance,
        tier=row.tier if row else None,
        reason=evicted.reason if evicted else "",
        actor=evicted.actor if evicted else "",
        by=getattr(told.event, "request", "") if told else "",
        refused=finding.refusal.by if finding.refusal else "",
        requests=len(finding.behind),
    )
