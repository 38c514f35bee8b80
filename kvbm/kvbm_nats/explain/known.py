"""What explaining has read of a projection so far, and explaining many look-ups together.

An explanation is a generator: it yields what it needs to know and goes on when that is known. So it reads nothing itself,
and however many are explained, each step of all of them is one look into the tables.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from typing import TypeVar

from msgspec import Struct

from kvbm_events.schema import ROOT, Opened, Registered, unpack_keys
from kvbm_nats.explain.asked import Asked, LookUps
from kvbm_nats.explain.attachment import attached_after
from kvbm_nats.explain.look_up import Told
from kvbm_nats.projection import JOURNAL_LIMIT, KeyRow, Projection

Answer = TypeVar("Answer")


class Need(Struct, frozen=True, kw_only=True):
    """What a generator waits for: keys' rows, entries by sequence, stories of requests, who stands behind these keys.

    :ivar look_ups: all of an instance within a range, `(instance, after, until)`
    :ivar attached: the next `Attached` of an instance behind a sequence
    """

    keys: Sequence[str] = ()
    events: Sequence[int] = ()
    stories: Sequence[str] = ()
    behind: Sequence[str] = ()
    look_ups: Sequence[tuple[str, int, int]] = ()
    attached: Sequence[tuple[str, int]] = ()


Steps = Generator[Need, None, Answer]


class Known:
    """See the module. The answers of its methods are those of a projection up to `until`, if they were asked for."""

    def __init__(self, projection: Projection, until: int) -> None:
        self.until = until
        self._projection = projection
        self._rows: dict[str, list[KeyRow]] = {}
        self._events: dict[int, Told | None] = {}
        self._stories: dict[str, list[Told]] = {}
        self._behind: dict[str, dict[str, list[int]]] = {}
        self._epochs: dict[str, list[Told]] = {}
        self._look_ups: dict[str, LookUps] = {}
        self._attached: dict[tuple[str, int], Told | None] = {}
        self._namespaces: dict[str, str] = {}

    async def begin(self) -> None:
        """Read what every explanation needs: each instance's namespace and epochs."""
        for instance in await self._projection.instances():
            self._namespaces[instance.name] = instance.namespace
            rows = await self._projection.journal(instance.name, types=["Opened"], limit=JOURNAL_LIMIT)
            self._epochs[instance.name] = [Told.of(row) for row in rows if row.applied_seq is not None]

    async def load(self, needs: Iterable[Need]) -> None:
        """Read what is needed and not known yet."""
        wanted = list(needs)
        await self._load_keys(
            sorted({key for need in wanted for key in (*need.keys, *need.behind)} - self._rows.keys())
        )
        events = {seq for need in wanted for seq in need.events}
        parents = sorted({key for need in wanted for key in need.behind} - self._behind.keys())
        events.update(row.seq for key in parents for row in self.rows(key) if row.type == "Registered")
        await self._load_events(sorted(events - self._events.keys()))
        await self._load_stories(sorted({name for need in wanted for name in need.stories} - self._stories.keys()))
        await self._load_behind(parents)
        for instance, after, until in (each for need in wanted for each in need.look_ups):
            await self._look_ups.setdefault(instance, LookUps(instance)).cover(self._projection, after, until)
        for place in {each for need in wanted for each in need.attached} - self._attached.keys():
            self._attached[place] = await attached_after(self._projection, *place)

    def rows(self, key: str, instance: str | None = None) -> list[KeyRow]:
        """The events that name a key, of one instance or of all."""
        return [row for row in self._rows.get(key, ()) if instance is None or row.instance == instance]

    def event(self, seq: int) -> Told | None:
        """The entry at a sequence; None where the projection does not have it."""
        return self._events.get(seq)

    def story(self, request: str, instance: str) -> list[Told]:
        """What the log says of a request in one instance."""
        return [told for told in self._stories.get(request, ()) if told.row.instance == instance]

    def behind(self, key: str, instance: str, before: int) -> list[int]:
        """Where each request first registered a block right behind this one, or at a prompt's start, before a sequence."""
        seqs = self._behind.get(key, {}).get(instance, [])
        return seqs[: bisect_left(seqs, before)]

    def look_ups(self, instance: str, after: int, until: int, least: int) -> list[Asked] | None:
        """The look-ups with `after < seq < until` of at least a priority; None where there are too many to know."""
        return self._look_ups[instance].between(after, until, least)

    def attached(self, instance: str, seq: int) -> Told | None:
        """The `Attached` that came soon after a sequence; None where none did."""
        return self._attached.get((instance, seq))

    def opened(self, instance: str, seq: int) -> Opened | None:
        """The epoch in force at a sequence; None before the first that the projection has."""
        found = [told.event for told in self._epochs.get(instance, ()) if told.row.seq <= seq]
        return found[-1] if found and isinstance(found[-1], Opened) else None

    def namespace(self, instance: str, seq: int) -> str:
        """The instance's namespace at a sequence."""
        opened = self.opened(instance, seq)
        return opened.namespace if opened else self._namespaces.get(instance, "")

    async def _load_keys(self, keys: list[str]) -> None:
        asked = [key for key in keys if key != ROOT]
        self._rows.update((key, []) for key in keys)
        for row in await self._projection.key_rows(asked) if asked else ():
            if row.seq <= self.until:
                self._rows[row.key].append(row)

    async def _load_events(self, seqs: list[int]) -> None:
        self._events.update(dict.fromkeys(seqs))
        for seq, row in (await self._projection.events(seqs)).items() if seqs else ():
            self._events[seq] = Told.of(row)

    async def _load_stories(self, requests: list[str]) -> None:
        self._stories.update((name, []) for name in requests)
        for row in await self._projection.stories(requests, self.until) if requests else ():
            self._stories[row.request or ""].append(Told.of(row))

    async def _load_behind(self, parents: list[str]) -> None:
        """By parent and instance, where each request first registered a block behind it."""
        firsts: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        for branch in await self._projection.branches(parents) if parents else ():
            firsts[branch.parent, branch.instance].setdefault(branch.request, branch.seq)
        for key in parents:
            for row in self.rows(key):
                told = self.event(row.seq)
                if told and isinstance(told.event, Registered) and unpack_keys(told.event.keys)[-1] != key:
                    own = firsts[key, row.instance]  # the block behind it came with the same event
                    own[told.event.request] = min(row.seq, own.get(told.event.request, row.seq))
        self._behind.update((key, {}) for key in parents)
        for (key, instance), requests in firsts.items():
            self._behind[key][instance] = sorted(requests.values())


async def explain_together(known: Known, explanations: Sequence[Steps[Answer]]) -> list[Answer]:
    """Run all of them in step, so that what they need is read at once; their answers, in their order."""
    answers: dict[int, Answer] = {}
    waiting = dict(enumerate(explanations))
    while waiting:
        needs: list[Need] = []
        for number, steps in list(waiting.items()):
            try:
                needs.append(next(steps))
            except StopIteration as end:
                answers[number] = end.value
                del waiting[number]
        await known.load(needs)
    return [answers[number] for number in range(len(explanations))]
