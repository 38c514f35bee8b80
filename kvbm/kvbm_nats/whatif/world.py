"""One world: recorded requests under some plan. The commands, refusals, policies and offloads are the owner's own code.

Time is the recording's, a transfer takes none, and the world begins empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import structs

from kvbm_events.schema import ROOT, AnyEvent, Evicted, TierName, TierSpec, TransferStarted, total
from kvbm_events.schema.errors import RefusedError, TierFull
from kvbm_nats.offloading import Offloader
from kvbm_nats.options import Options
from kvbm_nats.whatif.instant_mover import InstantMover
from kvbm_nats.whatif.workload import Ask, Fill, Leave, Step
from kvbm_statemachine import State, evolve
from kvbm_statemachine.decide import Desk, allocate, match, plan_opening, register, release

PIECE = 512
"""Blocks allocated at once, so that a prompt that does not fit is cached as far as it goes."""
Evictions = tuple[int, TierName, str]
"""A step's number, a tier, and the keys of blocks that went there."""


class World:
    """See the module.

    :ivar asked: blocks that were asked for
    :ivar found: hits by tier
    :ivar moved: blocks by path, `(from, to)`
    :ivar evicted: by tier
    :ivar evictions: what was evicted, in order
    """

    def __init__(self, tiers: Sequence[TierSpec]) -> None:
        self.state = State()
        self.asked = 0
        self.found, self.evicted = Counter[TierName](), Counter[TierName]()
        self.moved = Counter[tuple[TierName, TierName]]()
        self.evictions = list[Evictions]()
        self._owed: dict[str, list[Fill]] = {}  # what the recorded run found and this one must compute
        self._step = 0
        self._top: TierName = tiers[0].tier
        opened = plan_opening(
            self.state, namespace="", owner="what-if", tiers=tiers, keep=[], requests="dropped", now_us=0
        )
        evolve(self.state, opened)
        self._desk = Desk(self.state, self._record)
        self._offloader = Offloader(self._desk, InstantMover(), Options())

    def play(self, steps: Iterable[Step]) -> None:
        """Take all steps."""
        for step in steps:
            self._desk.now_us = step.at_us
            match step:
                case Ask():
                    self._ask(step)
                case Fill():
                    self._compute(step)
                case Leave():
                    self._leave(step.request)
            self._settle()
            self._step += 1

    def _ask(self, ask: Ask) -> None:
        keys, at = ask.keys, 0
        hits = match(self._desk, ask.request, keys, hold=ask.held, priority=ask.priority)
        self.asked += len(keys)
        for hit in hits:
            self.found[hit.tier] += len(hit.slots)
        found = sum(len(hit.slots) for hit in hits)
        self._offloader.offer_found(keys[:found], ask.priority)
        if not ask.held:
            return
        for hit in hits:
            end = at + len(hit.slots)
            if hit.tier != self._top and not self._load(ask.request, keys[at:end], hit.tier):
                return
            at = end
        if ask.had > found:
            parent = keys[found - 1] if found else ask.parent
            owed = Fill(ask.at_us, ask.request, keys[found : ask.had], parent, stands=bool(found))
            self._owed.setdefault(ask.request, []).append(owed)

    def _compute(self, step: Fill) -> None:
        """Fill blocks, in one go with those before them that the recorded run had."""
        for owed in self._owed.pop(step.request, ()):
            if owed.keys[-1] == step.parent:
                step = structs.replace(owed, keys=(*owed.keys, *step.keys))
            else:
                self._fill(owed)
        self._fill(step)

    def _leave(self, request: str) -> None:
        for owed in self._owed.pop(request, ()):
            self._fill(owed)
        if request in self.state.requests:
            release(self._desk, request)

    def _load(self, request: str, keys: Sequence[str], source: TierName) -> bool:
        """Bring blocks up; whether all are there."""
        try:
            self._offloader.paths.ask_up(request, source, self._top, keys, None)
        except TierFull:
            return False
        self._settle()
        return True

    def _fill(self, step: Fill) -> None:
        """Compute what of these is not there, as far as there is room."""
        request, keys, parent = step.request, step.keys, step.parent
        index = self.state.tiers[self._top].lineage.index
        first = next((at for at, key in enumerate(keys) if key not in index), len(keys))
        if first:
            keys, parent = keys[first:], keys[first - 1]
        if step.stands and parent != ROOT and parent not in index:
            return  # what it stands on had no room
        for at in range(0, len(keys), PIECE):
            piece = keys[at : at + PIECE]
            try:
                slots = allocate(self._desk, self._top, request, len(piece))
            except TierFull:
                return
            self._offloader.offer_next_victims(self.state.tiers[self._top], len(piece))
            try:
                register(self._desk, self._top, request, slots, piece, keys[at - 1] if at else parent)
            except RefusedError:  # a key under two parents: the recording's owner refused it too
                release(self._desk, request, tier=self._top, slots=slots)
                return
            self._offloader.offer_new(self.state.tiers[self._top], piece, self.state.requests[request].priority)

    def _settle(self) -> None:
        """Let everything that is on its way arrive."""
        while self._offloader.is_busy:
            self._offloader.pump(self.state.n)

    def _record(self, event: AnyEvent) -> None:
        if isinstance(event, Evicted):
            self.evicted[event.tier] += total(event.slots)
            self.evictions.append((self._step, event.tier, event.keys))
        elif isinstance(event, TransferStarted):
            self.moved[event.source, event.tier] += total(event.slots)
