"""An engine of the test's own that steps the connector's scheduler side as vLLM does, with workers that do at once what they are told."""

import time
from types import SimpleNamespace

from kvbm_events.codec import decode
from kvbm_events.schema import TierSpec, to_runs
from kvbm_nats.connectors.vllm.groups import ONE
from kvbm_nats.connectors.vllm.mover import EngineMover
from kvbm_nats.connectors.vllm.orders import Told
from kvbm_nats.connectors.vllm.scheduler import SchedulerSide
from kvbm_nats.manager import BlockManager
from kvbm_nats.options import Options
from kvbm_tiers.reports import HeldTier, Hello, Reported
from support.service import HeldLog

BLOCK_TOKENS = 4
ROOM = 16
PATIENCE_S = 2.0
TIMEOUT_S = 20.0
CHECKSUM, OTHER = "0123456789abcdef", "fedcba9876543210"
HASHES = [bytes([at]) * 32 for at in range(1, 9)]


class Pool:
    """Counts how often each block is held."""

    def __init__(self):
        self.blocks = [SimpleNamespace(block_id=at) for at in range(ROOM)]
        self.num_gpu_blocks = ROOM
        self.held = [0] * ROOM

    def touch(self, blocks):
        for block in blocks:
            self.held[block.block_id] += 1

    def free_blocks(self, blocks):
        for block in blocks:
            self.held[block.block_id] -= 1
            assert self.held[block.block_id] >= 0


class Engine:
    """Gives blocks to requests as vLLM does, and has one worker that does at once what it is told."""

    def __init__(self, ranks=1, log=None, contents="arena", groups=ONE):
        self.log, self.pool, self.now_s, self.ranks = log or HeldLog(), Pool(), 100.0, ranks
        held = [HeldTier(tier="g2", capacity=32, contents=contents)]
        hellos = [Hello(incarnation="w", rank=rank, ranks=ranks, namespace="n=1", tiers=held) for rank in range(ranks)]
        mover = EngineMover("n=1", hellos)
        tiers = [TierSpec(tier="g1", capacity=ROOM, control="observed"), TierSpec(tier="g2", capacity=32)]

        def open_owner():
            options = Options(snapshot_every=0)
            return BlockManager.open(self.log, "i", namespace="n=1", tiers=tiers, mover=mover, options=options)

        self.side = SchedulerSide(
            open_owner,
            mover,
            self.pool,
            block_tokens=BLOCK_TOKENS,
            patience_s=PATIENCE_S,
            groups=groups,
            clock=lambda: self.now_s,
        )

    @property
    def manager(self):
        return self.side._manager

    def request(self, name, blocks=4, first=0, more=1, adapter=b""):
        """Of so many full blocks, and `more` tokens."""
        hashes = HASHES[first : first + blocks]
        request = SimpleNamespace(
            request_id=name,
            num_tokens=blocks * BLOCK_TOKENS + more,
            num_computed_tokens=0,
            skip_reading_prefix_cache=False,
            block_hashes=hashes,
        )
        self.side.added(request, adapter)
        return request

    def step(self, *scheduled, preempted=(), new=()):
        """A step of these requests, each with its blocks; those in `new` are scheduled for the first time."""
        return self.step_of(*((request, (ids,)) for request, ids in scheduled), preempted=preempted, new=new)

    def step_of(self, *scheduled, preempted=(), new=()):
        """The same of a model with several groups, each with its blocks."""
        tables = {request.request_id: ids for request, ids in scheduled}
        fresh = [
            SimpleNamespace(req_id=request.request_id, block_ids=ids, num_computed_tokens=request.num_computed_tokens)
            for request, ids in scheduled
            if request in new
        ]
        return self.side.step(
            SimpleNamespace(
                scheduled_new_reqs=fresh,
                scheduled_cached_reqs=SimpleNamespace(
                    req_ids=[], resumed_req_ids=[], new_block_ids=[], num_computed_tokens=[]
                ),
                num_scheduled_tokens=dict.fromkeys(tables, 1),
                preempted_req_ids=preempted,
                kv_connector_block_state=SimpleNamespace(get_block_ids=tables.get),
            )
        )

    def compute(self, request, ids):
        """Admit a request, compute it, and end it."""
        assert self.side.found(request, 0) == 0
        self.side.admitted(request, (ids,), 0)
        self.obey(self.step((request, ids), new=[request]))
        request.num_computed_tokens = len(request.block_hashes) * BLOCK_TOKENS
        self.side.finished(request, (ids,))

    def obey(self, orders, *, damaged=()):
        """Every worker does its jobs, and says so; the last one finds other bytes in these sources."""
        told = [Told(rank=rank, reports=[]) for rank in range(self.ranks)]
        for job in orders.jobs:
            for worker in told:
                is_last = worker.rank == self.ranks - 1
                sums = [OTHER if is_last and slot in damaged else CHECKSUM for slot in job.source_slots]
                worker.reports.append(
                    Reported(
                        incarnation="w",
                        transfer=job.transfer,
                        slots=to_runs(job.slots),
                        length_bytes=8,
                        checksums="".join(sums),
                    )
                )
        self.side.heard(told if orders.jobs else [], (), ())

    def settle(self):
        end = time.monotonic() + TIMEOUT_S
        self.obey(self.step())
        while self.side.is_busy:
            self.obey(self.step())
            assert time.monotonic() < end, "copies do not end"

    def settle_loads(self, name):
        """A request's load ends well."""
        end = time.monotonic() + TIMEOUT_S
        while any(t.open for t in self.manager.state.transfers.values()) or self.manager.waiting:
            self.obey(self.step())
            assert time.monotonic() < end, "the load does not end"
        self.side.heard([], [name], ())

    def events(self, kind):
        """All of a kind that the log has."""
        self.manager.flush()
        events = [decode(entry.data) for entry in self.log._entries]
        return [event for event in events if isinstance(event, kind)]

    @property
    def g1(self):
        return self.manager.state.tiers["g1"].lineage.index


def stored(engine, name="a", ids=(3, 4, 5, 6)):
    """A request whose blocks are on the host, and in g1 no more."""
    engine.compute(engine.request(name), [*ids])
    engine.settle()
    engine.manager.flush()
    engine.step()


def load(engine, request, ids):
    """Admit a request to these blocks; how many tokens are to be loaded."""
    tokens = engine.side.found(request, 0)
    engine.side.admitted(request, (ids,), tokens)
    return tokens
