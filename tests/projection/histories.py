"""Legal histories for the projection's tests: commands run by `decide`, their events stored in a log in memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b

from kvbm_events.memory import MemoryLog
from kvbm_events.schema import CHECKSUM_DIGITS, ROOT, AnyEvent, TierName, TierSpec
from kvbm_events.schema.errors import RefusedError
from kvbm_statemachine import State, check_integrity, evolve
from kvbm_statemachine.decide import (
    Desk,
    allocate,
    complete_transfer,
    evict,
    fail_transfer,
    match,
    note,
    plan_opening,
    register,
    release,
)
from support.desks import start_all

START_US = 1_700_000_000_000_000


def chain(seed: int, size: int, parent: str = ROOT) -> list[str]:
    """`size` keys, each hashed over the one before; the bits of `seed` choose among two branches at every third block."""
    keys = []
    for depth in range(size):
        parent = blake2b(f"{parent}/{0 if depth % 3 else seed >> depth // 3 & 1}".encode(), digest_size=16).hexdigest()
        keys.append(parent)
    return keys


class Story:
    """One instance whose commands become events. Commands that the state refuses do nothing."""

    def __init__(self, *, capacity: int = 24, observed: bool = False) -> None:
        self.state = State()
        self.events: list[AnyEvent] = []
        self.desk = Desk(self.state, self.events.append, START_US)
        self.capacity, self.observed = capacity, observed
        self.open()

    def tiers(self, *, without: Sequence[TierName] = ()) -> list[TierSpec]:
        return [
            TierSpec(
                tier=name,
                capacity=self.capacity * (1 + depth),
                control="observed" if depth == 0 and self.observed else "owned",
            )
            for depth, name in enumerate(("g1", "g2", "g3"))
            if name not in without
        ]

    def open(self, keep: Sequence[TierName] = (), *, dropped: bool = True, without: Sequence[TierName] = ()) -> None:
        opened = plan_opening(
            self.state,
            namespace="model=test",
            owner="test",
            tiers=self.tiers(without=without),
            keep=keep,
            requests="dropped" if dropped else "kept",
            now_us=self.desk.now_us,
        )
        evolve(self.state, opened)
        self.events.append(opened)

    def fill(self, request: str, seed: int, size: int) -> None:
        """What an engine does with a prompt: look up, allocate the rest, fill it and register it."""
        keys = chain(seed, size)
        hits = match(self.desk, request, keys)
        found = sum(len(hit.slots) for hit in hits if hit.tier == "g1")
        rest = keys[found:]
        if not rest:
            return
        at = self._free("g1", len(rest)) if self.observed else None
        slots = allocate(self.desk, "g1", request, len(rest), at=at)
        register(self.desk, "g1", request, slots, rest, keys[found - 1] if found else ROOT)

    def do(self, command: str, a: int, b: int) -> None:
        """Run one command; `a` and `b` choose among what there is."""
        self.desk.now_us += 1000
        with suppress(RefusedError, IndexError, ZeroDivisionError):  # the last two: there is nothing to choose from
            getattr(self, f"_do_{command}")(a, b)
        flaws = check_integrity(self.state)
        assert not flaws, flaws

    def _do_fill(self, a: int, b: int) -> None:
        self.fill(f"request-{b % 7}", a, 1 + b % 12)

    def _do_allocate(self, a: int, b: int) -> None:
        tier = "g2" if self.observed else "g1"
        allocate(self.desk, tier, f"request-{b % 7}", 1 + a % 5, priority=a % 101)

    def _do_ask(self, a: int, b: int) -> None:
        match(self.desk, f"request-{b % 7}", chain(a, 1 + b % 12), hold=bool(a & 1))

    def _do_release(self, a: int, b: int) -> None:
        names = list(self.state.requests)
        release(self.desk, names[a % len(names)] if names else "nobody", reason="aborted" if b & 1 else "finished")

    def _do_give_back(self, a: int, b: int) -> None:
        for request in list(self.state.requests.values()):
            for tier, runs in list(request.allocated.items()):
                first, count = runs[a % len(runs)]
                release(self.desk, request.name, tier=tier, slots=range(first, first + 1 + b % count))
                return

    def _do_evict(self, a: int, b: int) -> None:
        tier = self._tier(b)
        keys = list(self.state.tier(tier).lineage.index)
        evict(self.desk, tier, [keys[a % len(keys)]], reason="operator", actor="test")

    def _do_note(self, a: int, b: int) -> None:
        keys = chain(a, 1 + b % 9)[b % 3 :]
        parent = chain(a, b % 3)[-1] if b % 3 else ROOT
        note(self.desk, "g3", keys, writer=f"w{a % 2}", parent=parent, checksums="1" * CHECKSUM_DIGITS * len(keys))

    def _do_corrupt(self, a: int, b: int) -> None:
        tier = self._tier(b)
        keys = list(self.state.tier(tier).lineage.index)
        evict(self.desk, tier, [keys[a % len(keys)]], reason="corrupt", actor="test")

    def _do_offload(self, a: int, b: int) -> None:
        source, tier = (("g1", "g2"), ("g2", "g3"), ("g1", "g3"))[b % 3]
        start_all(self.desk, source, tier, chain(a, 12), deadline_us=self.desk.now_us + 9, batch_max=1 + b % 5)

    def _do_onboard(self, a: int, b: int) -> None:
        names = list(self.state.requests)
        source = ("g2", "g3")[b % 2]
        request, deadline_us = names[b % len(names)], self.desk.now_us + 9
        start_all(self.desk, source, "g1", chain(a, 12), request=request, deadline_us=deadline_us)

    def _do_complete(self, a: int, b: int) -> None:
        transfer = self._transfer(a)
        slots = list(self.state.transfers[transfer].open)
        complete_transfer(self.desk, transfer, slots=slots[: 1 + b % len(slots)] if b & 1 else None)

    def _do_fail(self, a: int, b: int) -> None:
        transfer = self._transfer(a)
        slots = list(self.state.transfers[transfer].open)
        part = slots[: 1 + b % len(slots)] if slots and b & 1 else None
        fail_transfer(self.desk, transfer, reason="test", slots=part, stopped=bool(b & 2))

    def _do_reopen(self, a: int, b: int) -> None:
        if b % 8:
            return
        keep: list[TierName] = [name for at, name in enumerate(("g1", "g2", "g3")) if a >> at & 1]
        self.open(keep, dropped=bool(b & 8), without=["g3"] if b % 5 == 0 else [])

    def _tier(self, b: int) -> TierName:
        return list(self.state.tiers)[b % len(self.state.tiers)]

    def _transfer(self, a: int) -> str:
        return list(self.state.transfers)[a % len(self.state.transfers)]

    def _free(self, tier: TierName, count: int) -> list[int]:
        free = [slot for slot, state in enumerate(self.state.tier(tier).slots.states) if not state]
        return free[::2][:count] if len(free) >= 2 * count else free[:count]


COMMANDS = tuple(name.removeprefix("_do_") for name in dir(Story) if name.startswith("_do_"))


def busy_story(seed: int, commands: int, **options: int | bool) -> Story:
    """A story of every command, chosen by a small generator of its own so that it never changes."""
    story = Story(**options)
    for at in range(commands):
        draw = int.from_bytes(blake2b(f"{seed}.{at}".encode(), digest_size=8).digest(), "big")
        story.do(COMMANDS[draw % len(COMMANDS)], draw >> 8 & 0xFFFF, draw >> 24 & 0xFFFF)
        if draw >> 60 < 8:
            story.do("fill", draw >> 8 & 0xFF, draw >> 24 & 0xFFFF)
    return story


def log_of(**stories: Story) -> MemoryLog:
    """A log with the events of all stories, taking turns."""
    log = MemoryLog()
    queues = {name: list(story.events) for name, story in stories.items()}
    while any(queues.values()):
        for name, queue in queues.items():
            for event in queue[:3]:
                log.store(name, event)
            del queue[:3]
    return log
