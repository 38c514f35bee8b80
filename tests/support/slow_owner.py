"""An owner over a mover that is held, one path at a time nearly full."""

from kvbm_events.memory import MemoryLog
from kvbm_events.schema import OffloadStarted, OnboardStarted, unpack_keys
from kvbm_nats.manager import BlockManager
from kvbm_nats.options import Options
from kvbm_nats.plan import parse_plan
from support.held_mover import HeldMover

LIMITS = {"batch_max": 4, "path_transfers_max": 1, "path_blocks_max": 4}


class Rig:
    """An owner over a mover that is held, and what it has started."""

    def __init__(self, plan="g1=64,g2=64", log=None, **options):
        self.mover, self.log, specs = HeldMover(g1=64, g2=64, g3=64), log or MemoryLog(), parse_plan(plan)
        self.owner = BlockManager.open(
            self.log, "i", namespace="n=1", tiers=specs, mover=self.mover, options=Options(**(LIMITS | options))
        )
        self.started = []
        sink = self.owner._desk.sink

        def note(event):
            if isinstance(event, (OffloadStarted, OnboardStarted)):
                self.started.append(event)
            sink(event)

        self.owner._desk.sink = note

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        assert self.owner.check_integrity() == []
        self.owner.close()

    def store(self, keys, priority=50, request="w", *, ends=True):
        slots = self.owner.allocate(request, len(keys), priority=priority)
        self.owner.register(request, slots, keys)
        if ends:
            self.owner.release(request)

    def put_below(self, keys):
        """Blocks that are in g2 only."""
        self.store(keys)
        self.finish()
        self.owner.evict(keys, tier="g1")

    def submitted(self):
        """Wait until the mover has what was started."""
        self.owner.flush()
        self.owner.maintain()

    def step(self):
        """The mover does all that it has, and the owner hears of it."""
        self.submitted()
        self.mover.do()
        self.owner.maintain()

    def finish(self):
        while self.owner.is_moving:
            self.step()

    def path(self, source="g1", tier="g2"):
        (path,) = [p for p in self.owner.status().paths if (p.source, p.tier) == (source, tier)]
        return path

    def keys_started(self):
        return [unpack_keys(event.keys) for event in self.started]
