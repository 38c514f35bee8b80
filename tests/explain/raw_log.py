"""The slow and obvious answer to why a look-up missed: every event from the beginning, sets of keys, nothing clever.

It shares with what it checks the forms of an event and of an answer, and no more. One instance, one epoch, and copies that arrive at once.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from kvbm_events.codec import decode
from kvbm_events.log import Entry
from kvbm_events.schema import (
    ROOT,
    Allocated,
    Evicted,
    Matched,
    Opened,
    Registered,
    Released,
    TransferCompleted,
    TransferStarted,
    to_slots,
    unpack_keys,
)
from kvbm_nats.explain.answers import Loss


@dataclass
class Left:
    """Where and why a key left its last tier, how often it had been seen there, and all keys that left with it."""

    seq: int
    tier: str
    reason: str
    request: str
    seen: int
    was_sent_down: bool
    was_urgent: bool
    capacity: int
    keys: list[str]


@dataclass
class Book:
    """What an instance has, and what it had."""

    capacity: dict[str, int] = field(default_factory=dict)
    least: dict[str, int] = field(default_factory=dict)
    least_priority: dict[str, int] = field(default_factory=dict)
    counts_bringers: set[str] = field(default_factory=set)
    observed: set[str] = field(default_factory=set)
    priorities: dict[str, int] = field(default_factory=dict)
    urgent: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    tiers: dict[str, set[str]] = field(default_factory=dict)
    seen: dict[str, dict[str, int]] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    under_way: dict[str, dict[int, str]] = field(default_factory=dict)
    sent_down: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    left: dict[str, Left] = field(default_factory=dict)
    behind: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def take(self, seq: int, event: Any) -> None:
        match event:
            case Opened():
                self._open(event)
            case Allocated():
                self.priorities[event.request] = event.priority
            case Registered():
                self._register(event)
            case TransferStarted():
                keys = unpack_keys(event.keys)
                self.under_way[event.transfer] = dict(zip(to_slots(event.slots), keys, strict=True))
                self.priorities[event.transfer] = event.priority
                if event.source < event.tier:
                    self.sent_down.update(keys)
            case TransferCompleted():
                for slot in to_slots(event.slots):
                    key = self.under_way[event.transfer].pop(slot)
                    self._arrive(event.tier, key, self.priorities[event.transfer])
            case Matched():
                self._count_seen(event)
                self._note_urgent(event)
            case Evicted():
                self._evict(seq, event)
            case _:
                pass

    def _register(self, event: Registered) -> None:
        above, known = event.parent, dict(event.existing)
        for at, key in enumerate(unpack_keys(event.keys)):
            if at not in known:
                self.behind[above].add(event.request)
            self.parents[key] = above
            self._arrive(event.tier, key, self.priorities[event.request])
            above = key

    def _open(self, event: Opened) -> None:
        names = [spec.tier for spec in event.tiers]
        self.tiers = {name: set() for name in names}
        self.capacity = {spec.tier: spec.capacity for spec in event.tiers}
        self.seen = {name: {} for name in names}
        self.least = {
            above: spec.seen_min
            for above, spec in zip(names, event.tiers[1:], strict=False)
            if spec.admission == "selective"
        }
        below = list(zip(names, event.tiers[1:], strict=False))
        self.least_priority = {above: spec.priority_min for above, spec in below if spec.priority_min}
        self.counts_bringers = {above for above, spec in below if spec.admission == "write_through"}
        self.observed = {spec.tier for spec in event.tiers if spec.control == "observed"}

    def _arrive(self, tier: str, key: str, priority: int) -> None:
        if key in self.tiers[tier]:
            return
        self.urgent[tier].discard(key)
        if tier in self.counts_bringers and priority >= self.least_priority.get(tier, 0):
            self.urgent[tier].add(key)
        self.tiers[tier].add(key)
        self.seen[tier][key] = 1
        self.stored.add(key)
        if tier == "g1":
            is_below = any(key in keys for name, keys in self.tiers.items() if name > tier)
            (self.sent_down.add if is_below else self.sent_down.discard)(key)

    def _count_seen(self, event: Matched) -> None:
        for tier in self.least:
            for part in event.found:
                key = part.last
                while part.tier <= tier and key in self.tiers[tier]:
                    self.seen[tier][key] += 1
                    key = self.parents.get(key, ROOT)

    def _note_urgent(self, event: Matched) -> None:
        for tier, least in self.least_priority.items():
            key = event.found[-1].last if event.found else ROOT
            while event.priority >= least and key != ROOT:
                if key in self.tiers[tier]:
                    self.urgent[tier].add(key)
                key = self.parents.get(key, ROOT)

    def _evict(self, seq: int, event: Evicted) -> None:
        keys = unpack_keys(event.keys)
        for key in keys:
            self.tiers[event.tier].discard(key)
            below = [tier for tier in self.tiers if tier > event.tier]
            was_below = key in self.sent_down or any(key in self.tiers[tier] for tier in below)
            self.left[key] = Left(
                seq,
                event.tier,
                event.reason,
                event.request,
                self.seen[event.tier][key],
                was_below,
                event.tier not in self.least_priority or key in self.urgent[event.tier],
                self.capacity[event.tier],
                keys,
            )

    def left_behind(self, key: str) -> set[str]:
        """What left after the key in the same event: its ancestors, and what is named after it and is no descendant."""
        keys = self.left[key].keys
        at = keys.index(key)
        above = {each for each in keys[:at] if self._is_above(each, key)}
        return above | {each for each in keys[at + 1 :] if not self._is_above(key, each)}

    def _is_above(self, one: str, other: str) -> bool:
        while other in self.parents:
            other = self.parents[other]
            if other == one:
                return True
        return False


@dataclass
class Answer:
    """One run of blocks that were missed, as far as it is compared."""

    cause: str
    first_block: int
    blocks: int
    key: str
    seq: int = 0
    tier: str | None = None
    by: str = ""
    requests: int = 0
    capacity_needed: int | None = None
    refused: str = ""


def as_answer(loss: Loss) -> Answer:
    """What of the answer under test is compared."""
    seq = 0 if loss.cause == "engine_declined" else loss.seq
    return Answer(
        loss.cause,
        loss.first_block,
        loss.blocks,
        loss.key,
        seq,
        loss.tier,
        loss.by,
        loss.requests,
        loss.capacity_needed,
        loss.refused,
    )


class RawLog:
    """The entries of one instance's log, and the answer for any look-up in it."""

    def __init__(self, entries: list[Entry]) -> None:
        self.events = [(entry.seq, decode(entry.data)) for entry in entries]
        self.keys = [unpack_keys(getattr(event, "keys", "")) for _, event in self.events]
        self.keys_of = {
            event.transfer: dict(zip(to_slots(event.slots), unpack_keys(event.keys), strict=True))
            for _, event in self.events
            if isinstance(event, TransferStarted)
        }

    def answers(self, wanted: set[int]) -> dict[int, list[Answer]]:
        """Why the look-ups at these sequences missed."""
        book, found = Book(), {}
        for place, (seq, event) in enumerate(self.events):
            if seq in wanted:
                found[seq] = self._explain(book, place, event)
            book.take(seq, event)
        return found

    def _explain(self, book: Book, place: int, look_up: Matched) -> list[Answer]:
        missed = unpack_keys(look_up.missed)
        known = look_up.asked - len(missed) - look_up.unnamed
        own = set().union(*(book.tiers[tier] for tier in book.observed))
        answers: list[Answer] = []
        later = self._computed_later(place, look_up)
        at = 0
        while at < len(missed):
            key = missed[at]
            if key in own:
                end = at
                while end < len(missed) and missed[end] in own:
                    end += 1
                answers.append(Answer("engine_declined", known + at, end - at, key, tier="g1"))
            elif key in later:
                seq, request = later[key]
                end = at
                while end < len(missed) and later.get(missed[end], (0, ""))[1] == request:
                    end += 1
                answers.append(Answer("in_flight", known + at, end - at, key, seq, "g1", request))
            elif key in book.stored:
                end = at
                while end < len(missed) and missed[end] in book.stored:
                    end += 1
                answers.append(self._left(book, place, missed[at:end], known + at))
            else:
                parent = missed[at - 1] if at else self._parent(look_up, book, key)
                end, others = len(missed), len(book.behind[parent]) if parent is not None else 0
                cause = "diverged" if others else "new"
                size = end - at + look_up.unnamed
                answers.append(Answer(cause, known + at, size, key, requests=others))
            at = end
        return answers

    def _parent(self, look_up: Matched, book: Book, key: str) -> str | None:
        """The key before the first missed one; where only the engine had it, whoever stores that one tells it, if anybody."""
        if look_up.asked == len(unpack_keys(look_up.missed)) + look_up.unnamed:
            return ROOT
        found = sum(part.blocks for part in look_up.found)
        is_whole = found + len(unpack_keys(look_up.missed)) + look_up.unnamed == look_up.asked
        if is_whole or (look_up.found and look_up.found[-1].tier not in book.observed):
            return look_up.found[-1].last
        for place, (_, event) in enumerate(self.events):
            if isinstance(event, Registered) and key in self.keys[place]:
                at = self.keys[place].index(key)
                return self.keys[place][at - 1] if at else event.parent
        return None

    def _left(self, book: Book, place: int, keys: list[str], first: int) -> Answer:
        left, deepest = book.left[keys[0]], book.left[keys[-1]]
        least = book.least.get(left.tier)
        refused = ""
        if left.reason == "capacity" and not left.was_sent_down:
            refused = "seen" if least and left.seen < least else "" if left.was_urgent else "priority"
        causes = {"corrupt": "corrupt", "gone": "gone", "reset": "reset"}
        cause = causes.get(left.reason) or ("not_admitted" if refused else "evicted")
        is_one = left.tier == deepest.tier and deepest.reason == "capacity"
        needed = self._needed(book, keys[-1], place) if is_one else None
        return Answer(cause, first, len(keys), keys[0], left.seq, left.tier, left.request, 0, needed, refused)

    def _needed(self, book: Book, key: str, place: int) -> int:
        """Its capacity, a slot for itself, and one for every block that left after it and is not back."""
        left, gone = book.left[key], book.left_behind(key)
        for at in range(left.seq, place):
            seq, event = self.events[at]
            assert seq > left.seq, "the log has one instance, from its first entry on"
            if getattr(event, "tier", "") != left.tier:
                continue
            if isinstance(event, Evicted):
                gone.update(self.keys[at])
            elif isinstance(event, Registered):
                gone.difference_update(self.keys[at])
            elif isinstance(event, TransferCompleted):
                gone.difference_update(self.keys_of[event.transfer][slot] for slot in to_slots(event.slots))
        return left.capacity + 1 + len(gone)

    def _computed_later(self, place: int, look_up: Matched) -> dict[str, tuple[int, str]]:
        """The missed keys that another request had asked for before, and was the first to register afterwards."""
        missed, asked = set(unpack_keys(look_up.missed)), {}
        for _, event in self.events[:place]:
            if isinstance(event, Matched):
                asked[event.request] = True
            elif isinstance(event, Released) and not event.tier:
                asked.pop(event.request, None)
        first: dict[str, tuple[int, str]] = {}
        for at in range(place + 1, len(self.events)):
            seq, event = self.events[at]
            if isinstance(event, Matched):
                asked.pop(event.request, None)
            elif isinstance(event, Registered):
                for key in missed.intersection(self.keys[at]).difference(first):
                    first[key] = seq, event.request
                if missed <= first.keys():
                    break
        return {key: told for key, told in first.items() if told[1] in asked and told[1] != look_up.request}
