"""VLLM's side of a secondary tier, without vLLM: a host memory, and jobs with our tier below it."""

import hashlib
import time

from kvbm_events.schema import TierSpec
from kvbm_nats.connectors.vllm.tiering.gate import Gate
from kvbm_nats.connectors.vllm.tiering.side import TierSide
from kvbm_nats.manager import BlockManager
from kvbm_nats.options import Options
from kvbm_tiers import HostRows, Medium, Stack
from kvbm_tiers.memory import anonymous
from support.service import HeldLog

ROW_BYTES, ROWS, TOKENS = 4096, 8, 16
PATIENCE_S, TIMEOUT_S, WAIT_S = 2.0, 30.0, 20.0


def chunk(at, group=0):
    """As vLLM names one: a hash, and the number of its group."""
    return hashlib.sha256(bytes([at])).digest() + group.to_bytes(4, "big")


class HeldMover:
    """Lets nothing through to a mover while it is held."""

    def __init__(self, mover):
        self.mover, self.held, self.jobs = mover, False, []

    def submit(self, job):
        self.jobs.append(job)
        if not self.held:
            self.mover.submit(job)

    def let_go(self):
        self.held = False
        for job in self.jobs:
            self.mover.submit(job)

    def __getattr__(self, name):
        return getattr(self.mover, name)


class Host:
    """VLLM's side: its host memory, and jobs with the tier below."""

    def __init__(self, folder, below=None, **more):
        """With g3 in a folder, or with `below`: the URL of each tier."""
        self.folder, self.log, self.now_s, self.number = folder, HeldLog(), 100.0, 0
        self.below = {tier: Medium.parse(url) for tier, url in (below or {"g3": f"slab:{folder}"}).items()}
        self.memory = anonymous(ROW_BYTES * ROWS)
        self.open(**more)

    def open(self, **more):
        self.view = self.memory.cast("B", (ROWS, ROW_BYTES))
        rows = HostRows(self.view)
        ours = [TierSpec(tier=tier, capacity=16) for tier in self.below]
        plan = [TierSpec(tier="g2", capacity=ROWS, control="observed"), *ours]
        self.stack = Stack(plan, rows.layout, "n=1", self.below, given={"g2": rows})
        self.mover = HeldMover(self.stack.mover)
        self.gate = Gate(self.mover)

        def open_owner():
            options = Options(snapshot_every=0)
            return BlockManager.open(
                self.log, "i", namespace="n=1", tiers=plan, keep=[*self.below], mover=self.gate, options=options
            )

        self.side = TierSide(
            open_owner,
            self.gate,
            chunk_tokens={0: TOKENS, 1: TOKENS},
            patience_s=PATIENCE_S,
            timeout_s=TIMEOUT_S,
            clock=lambda: self.now_s,
            **more,
        )

    @property
    def manager(self):
        return self.side.manager

    def index(self, tier):
        return self.manager.state.tiers[tier].lineage.index

    def ask(self, name="a", chunks=4, first=0):
        self.side.added(name, {chunk(at): (at + 1) * TOKENS for at in range(first + chunks)})
        return [chunk(at) for at in range(first, first + chunks)]

    def fill(self, slots, seed=0):
        for slot in slots:
            self.view[slot, 0] = seed + slot + 1

    def store(self, name, chunks, slots):
        self.number += 1
        self.side.store(self.number, name, set(chunks), [slots[chunks.index(each)] for each in set(chunks)])
        return self.number

    def load(self, name, chunks, slots):
        self.number += 1
        self.side.load(self.number, name, chunks, slots)
        return self.number

    def wait(self, number):
        """What became of a job."""
        end = time.monotonic() + WAIT_S
        while True:
            for result in self.side.finished():
                assert result.number == number
                return result
            assert time.monotonic() < end, "it does not end"
            self.side.scheduled()

    def stored(self, name="a", slots=(3, 4, 5, 6), **more):
        """A request whose chunks are below, and which is over."""
        chunks = self.ask(name, **more)
        self.fill(slots)
        assert self.wait(self.store(name, chunks, slots)).is_whole
        self.side.ended(name)
        return chunks

    def shut(self):
        """End as vLLM does: nobody may have a view of its memory still, which is lost."""
        self.side.close()
        self.stack.close()
        self.view.release()
        self.memory[:] = bytes(len(self.memory))

    def close(self):
        self.log.let_go()
        self.side.close()
        self.stack.close()
