"""An owner whose mover does its jobs when the test says so."""

from __future__ import annotations

from typing import Self

from kvbm_events.memory import MemoryLog
from kvbm_events.schema import AnyEvent, OffloadStarted, OnboardStarted, unpack_keys
from kvbm_nats.manager import BlockManager
from kvbm_nats.options import Options
from kvbm_nats.plan import parse_plan
from kvbm_nats.status import PathStatus
from support.held_mover import HeldMover

LIMITS = {"batch_max": 4, "path_transfers_max": 1, "path_blocks_max": 4}


class Rig:
    """See the module. Its paths take one transfer of four blocks at a time, if nothing else is said.

    :ivar started: the orders of all transfers
    """

    def __init__(self, plan: str = "g1=64,g2=64", log: MemoryLog | None = None, **options: float) -> None:
        self.mover, self.log, specs = HeldMover(g1=64, g2=64, g3=64), log or MemoryLog(), parse_plan(plan)
        self.owner = BlockManager.open(
            self.log, "i", namespace="n=1", tiers=specs, mover=self.mover, options=Options(**(LIMITS | options))
        )
        self.started: list[OffloadStarted | OnboardStarted] = []
        sink = self.owner._desk.sink

        def note(event: AnyEvent) -> None:
            if isinstance(event, (OffloadStarted, OnboardStarted)):
                self.started.append(event)
            sink(event)

        self.owner._desk.sink = note

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self.owner.check_integrity() == []
        self.owner.close()

    def store(self, keys: list[str], priority: int = 50) -> None:
        """Compute blocks for a request and let it go, as an engine does."""
        slots = self.owner.allocate("w", len(keys), priority=priority)
        self.owner.register("w", slots, keys)
        self.owner.release("w")

    def put_below(self, keys: list[str]) -> None:
        """Blocks that are in g2 only."""
        self.store(keys)
        self.finish()
        self.owner.evict(keys, tier="g1")

    def submitted(self) -> None:
        """Wait until the mover has what was started."""
        self.owner.flush()
        self.owner.maintain()

    def step(self) -> None:
        """The mover does all that it has, and the owner hears of it."""
        self.submitted()
        self.mover.do()
        self.owner.maintain()

    def finish(self) -> None:
        """Let the mover work until nothing is left."""
        while self.owner.is_moving:
            self.step()

    def path(self, source: str = "g1", tier: str = "g2") -> PathStatus:
        """One path in numbers."""
        (path,) = [p for p in self.owner.status().paths if (p.source, p.tier) == (source, tier)]
        return path

    def keys_started(self) -> list[list[str]]:
        """The blocks of each transfer."""
        return [unpack_keys(event.keys) for event in self.started]
