"""The scheduler's side: an owner, embedded in the engine's core, that follows what vLLM does with its blocks.

Rules
1. g1 is observed: what vLLM gives away, fills and reuses is recorded as it happens. So a slot that g1 names has these bytes.
2. Look-ups of vLLM ask the state and change nothing, since vLLM may ask again; what came of it is recorded with the step.
3. Within a step: what was reused is recorded first, then look-ups and loads, then what was filled, then new orders go out.
4. Whatever goes wrong here, the engine goes on: without blocks of ours, and never with wrong ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence

import structlog

from kvbm_events.schema import ROOT
from kvbm_events.schema.errors import RefusedError
from kvbm_nats.connectors.vllm.admission import Admission
from kvbm_nats.connectors.vllm.engine import BlockIds, EnginePool, EngineRequest, Step
from kvbm_nats.connectors.vllm.groups import NULL_BLOCK, ONE, Group, look
from kvbm_nats.connectors.vllm.loads import Loads
from kvbm_nats.connectors.vllm.mover import EngineMover
from kvbm_nats.connectors.vllm.orders import Orders, Told
from kvbm_nats.connectors.vllm.owner import Owner
from kvbm_nats.connectors.vllm.pins import Pins
from kvbm_nats.connectors.vllm.reuse import beginning, new_blocks, release_holders
from kvbm_nats.connectors.vllm.tracked import Tracked
from kvbm_nats.manager import BlockManager
from kvbm_statemachine.table import SlotState

NEWS_WAIT_S = 0.001
"""How long a step that computes nothing waits for an acknowledgement, so that the threads here get their turn."""

_logger = structlog.get_logger(__name__)


class SchedulerSide:
    """See the module. Every method is called by vLLM's scheduler, in its thread."""

    def __init__(
        self,
        open_owner: Callable[[], BlockManager],
        mover: EngineMover,
        pool: EnginePool,
        *,
        block_tokens: int,
        patience_s: float,
        groups: Sequence[Group] = ONE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the owner, and again whenever it could not write its log any more. Raises what opening raises."""
        self._mover, self._pins, self._clock = mover, Pins(pool), clock
        self._block_tokens, self._groups = block_tokens, groups
        self._is_plain = tuple(groups) == ONE
        self._tracked: dict[str, Tracked] = {}
        self._admissions: list[Admission] = []
        self._loads = Loads(patience_s)
        self._owner = Owner(open_owner, self._pins.release_all, clock)

    def added(self, request: EngineRequest, adapter: bytes | None = b"") -> None:
        """A request has come; for `adapter` see `Adapters.digest`."""
        self._tracked[request.request_id] = Tracked(request, adapter)

    def found(self, request: EngineRequest, local_tokens: int) -> int | None:
        """How many tokens we have behind those that vLLM has; None to ask again, since they are on their way to it."""
        tracked, manager = self._tracked[request.request_id], self._manager
        tracked.local = local_tokens // self._block_tokens
        tracked.promised, tracked.whole = {}, 0
        if manager is None or request.skip_reading_prefix_cache or not tracked.may_load or self._owner.is_late:
            return 0
        if not self._is_plain:
            return self._found_in_groups(manager, tracked)
        keys = tracked.keys()[: request.num_tokens // self._block_tokens]
        hits = [hit for hit in manager.look(keys, local=tracked.local) if hit.tier != "g1"]
        blocks = sum(len(hit.slots) for hit in hits)
        if blocks == 1 and (tracked.local + 1) * self._block_tokens == request.num_tokens:
            return 0  # vLLM computes the last token in any case, and its block with it sooner than it is loaded
        wanted = keys[tracked.local : tracked.local + blocks]
        if self._loads.are_coming(wanted):
            return None
        tracked.promised = {hit.tier: len(hit.slots) for hit in hits}
        return blocks * self._block_tokens

    def _found_in_groups(self, manager: BlockManager, tracked: Tracked) -> int | None:
        """Less than the whole prompt: vLLM has given back what the window of its last token may need."""
        limit = (tracked.request.num_tokens - 1) // self._block_tokens
        found = look(manager, self._groups, tracked, limit)
        wanted = [
            key
            for group in self._groups
            for key in group.keys(tracked)[group.first(tracked.local, found.end) : found.end]
        ]
        if self._loads.are_coming(wanted):
            return None
        tracked.promised, tracked.whole = found.tiers, found.whole
        return (found.end - tracked.local) * self._block_tokens

    def promised(self, request_id: str) -> dict[str, int]:
        """Of what `found` said last, how many tokens are in which tier."""
        return {tier: n * self._block_tokens for tier, n in self._tracked[request_id].promised.items()}

    def admitted(self, request: EngineRequest, block_ids: BlockIds, tokens: int) -> None:
        """VLLM has given blocks to a waiting request; so many tokens of it are to be loaded."""
        tracked = self._tracked[request.request_id]
        if tokens or not request.num_computed_tokens:  # else it comes back from a load
            admission = Admission(tracked, block_ids, tokens // self._block_tokens, self._groups)
            self._admissions.append(admission)
            if tokens:
                tracked.is_loading = True
                self._loads.begin(request.request_id, tracked.name, admission.keys, admission.slots, self._clock())

    def step(self, step: Step) -> Orders:
        """VLLM has decided what to do next; what the workers are to do with it."""
        if self._owner.take_new():  # what vLLM has is recorded again as requests go on
            for tracked in self._tracked.values():
                tracked.stored = 0
        orders = Orders(is_idle=not step.num_scheduled_tokens)
        admissions, self._admissions = self._admissions, []
        orders.loads = {each.tracked.request.request_id: each.slots for each in admissions if each.loads}
        self._owner.guarded(lambda manager: self._follow(manager, step, admissions))
        if orders.is_idle and (self._loads.are_waiting or self._owner.is_moving):
            self._owner.news.wait(NEWS_WAIT_S)
        self._owner.news.clear()
        self._owner.guarded(lambda manager: self._move_on(manager, is_idle=orders.is_idle))
        orders.jobs, orders.deletions = self._mover.take_jobs(), self._mover.take_deletions()
        self._loads.handed_out(orders.jobs)
        manager = self._manager
        orders.lost, transfers, tickets = self._loads.lost(manager.state if manager else None, self._clock())
        for transfer in transfers:
            self._mover.drop(transfer)
        if self._mover.ranks > 1:
            orders.verdicts = self._loads.verdicts(manager.state if manager else None)
        if tickets:
            self._owner.guarded(lambda manager: [manager.cancel(ticket) for ticket in tickets])
        return orders

    def heard(
        self, told: Iterable[Told], arrived: Collection[str], failed: Collection[int], lost: Collection[str] = ()
    ) -> None:
        """What workers told after a step: of their jobs, requests whose loads are over, and what did not come.

        That is named by block, and by request where a model has several groups.
        """
        for worker in told:
            for report in worker.reports:
                self._mover.hear(worker.rank, report)
        for request_id in arrived:
            slots = self._loads.end(request_id)
            if tracked := self._tracked.get(request_id):
                tracked.is_loading = False
                tracked.may_load = request_id not in lost and slots.isdisjoint(failed)
        self._owner.guarded(lambda manager: self._move_on(manager, is_idle=False))

    def finished(self, request: EngineRequest, block_ids: BlockIds) -> None:
        """A request is over, in whatever way, and vLLM is about to take its blocks back."""
        tracked = self._tracked.pop(request.request_id, None)
        if tracked is None:
            return
        self._admissions = [each for each in self._admissions if each.tracked is not tracked]
        self._loads.give_up(request.request_id)
        self._owner.guarded(lambda manager: self._part_with(manager, tracked, block_ids))

    @property
    def is_busy(self) -> bool:
        """Whether steps are needed though no request is: copies are on their way."""
        return bool(self._loads) or self._owner.is_moving

    def gives_way(self) -> bool:
        """Whether blocks will be free soon without preempting anybody: copies that have begun end.

        Those that have not are dropped: the engine needs the blocks.
        """
        if self._manager is None or not self._pins.blocks:
            return False
        for transfer in self._pins.transfers:
            if self._mover.drop(transfer):
                self._pins.release(transfer)
        return True

    def reset(self) -> bool:
        """Forget all blocks; whether that was done. What is in use stays."""
        return self._owner.guarded(self._forget_all)

    def close(self) -> None:
        """Write what is left."""
        self._owner.close()

    @property
    def _manager(self) -> BlockManager | None:
        return self._owner.manager

    def _follow(self, manager: BlockManager, step: Step, admissions: list[Admission]) -> None:
        """Record what a step says, in the order of rule 3."""
        for request_id in step.preempted_req_ids or ():
            self._preempted(manager, request_id)
        slots = [slot for each in admissions for slot in each.reused] + new_blocks(step, self._block_tokens)
        if not self._is_plain:
            slots = [slot for slot in slots if slot != NULL_BLOCK]
        g1 = manager.state.tiers["g1"]
        reused = [slot for slot in slots if g1.slots.states[slot] == SlotState.REGISTERED]
        stale = [key for each in admissions for key in each.keys if key in g1.lineage.index]
        if reused or stale:
            release_holders(manager, "g1", reused)
            keys = [g1.lineage.key_of(slot) for slot in reused] + stale
            manager.evict(keys, tier="g1", reason="capacity", actor="vllm")
        self._hold_sources(manager, slots)
        for admission in admissions:
            self._admit(manager, admission)
        tables, begun = step.kv_connector_block_state, beginning(step)
        for request_id in step.num_scheduled_tokens:
            tracked = self._tracked.get(request_id) if request_id not in begun else None
            if tracked and tables and self._full(tracked) > tracked.stored:
                self._store(manager, tracked, tables.get_block_ids(request_id) or ())
        self._hold_sources(manager, ())

    def _preempted(self, manager: BlockManager, request_id: str) -> None:
        tracked = self._tracked.get(request_id)
        if tracked:
            tracked.stored = 0
            if tracked.name in manager.state.requests:
                manager.release(tracked.name, reason="preempted", tier="g1")

    def _admit(self, manager: BlockManager, admission: Admission) -> None:
        """Record the look-up, and begin to load what it found. All of it is looked up before any of it begins."""
        tracked = admission.tracked
        try:
            for tier, keys, slots in admission.look_up(manager):
                ticket = manager.onboard(tracked.name, keys, source=tier, tier="g1", slots=slots)
                self._loads.ask(tracked.request.request_id, ticket)
        except RefusedError as error:
            _logger.warning("a request is not loaded", request=tracked.name, why=str(error))

    def _full(self, tracked: Tracked) -> int:
        """Blocks of a request that are full, and computed by the steps before this one."""
        return min(len(tracked.keys()), tracked.request.num_computed_tokens // self._block_tokens)

    def _store(self, manager: BlockManager, tracked: Tracked, block_ids: BlockIds) -> None:
        """Record blocks that were filled; what is to go down goes. Those that g1 has elsewhere, or in doubt, are left out."""
        start, end = tracked.stored, min([self._full(tracked), *map(len, block_ids)])
        tracked.stored = max(start, end)
        for group, ids in zip(self._groups, block_ids, strict=False):
            self._record(manager, tracked, group, ids, range(start, end))

    def _record(
        self, manager: BlockManager, tracked: Tracked, group: Group, block_ids: Sequence[int], places: range
    ) -> None:
        """Blocks of one group, those that follow each other in one event."""
        g1, keys = manager.state.tiers["g1"], group.keys(tracked)
        run = list[int]()
        for at in range(places.start, places.stop + 1):
            is_new = at < places.stop and block_ids[at] != NULL_BLOCK and keys[at] not in g1.lineage.index
            is_new = is_new and g1.slots.states[block_ids[at]] == SlotState.FREE
            if is_new:
                run.append(at)
            if run and not is_new:
                slots = [block_ids[each] for each in run]
                try:
                    manager.record_allocated(tracked.name, slots)
                    parent = keys[run[0] - 1] if run[0] else ROOT
                    manager.register(tracked.name, slots, [keys[each] for each in run], parent=parent)
                except RefusedError as error:
                    _logger.warning("blocks are not recorded", request=tracked.name, why=str(error))
                run = []

    def _part_with(self, manager: BlockManager, tracked: Tracked, block_ids: BlockIds) -> None:
        if not tracked.is_loading and self._full(tracked) > tracked.stored:
            self._store(manager, tracked, block_ids)
        if tracked.name in manager.state.requests:
            manager.release(tracked.name)
        self._hold_sources(manager, ())

    def _move_on(self, manager: BlockManager, *, is_idle: bool) -> None:
        manager.settle(0.0)
        self._hold_sources(manager, ())
        if is_idle and not (self.is_busy or manager.pending):
            self._owner.maintain()

    def _hold_sources(self, manager: BlockManager, reused: Collection[int]) -> None:
        for transfer in self._pins.update(manager.state, reused):
            self._mover.drop(transfer.id)

    def _forget_all(self, manager: BlockManager) -> None:
        for tier in manager.state.tiers.values():
            if keys := [*tier.lineage.index]:
                manager.evict(keys, tier=tier.name, reason="reset", actor="vllm")
