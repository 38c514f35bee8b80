"""The owner behind a tier of vLLM's: it follows what vLLM hands down and asks for, and never holds the scheduler up.

Rules
1. g2 is vLLM's host memory, observed: what vLLM has said is in it, until something shows that it no longer is: the chunk is
   handed over as another block's, or a block is asked for below, which vLLM does only for what it has not.
2. A chunk that vLLM waits for is given to the gate, and taken back before vLLM is told that it waits no more.
3. What came up is good once its event is acknowledged, and its row is as good as it was when it went down.
4. Whatever goes wrong here, the engine goes on: without blocks of ours, and never with wrong ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import structlog

from kvbm_events.schema import EvictReason, TierName
from kvbm_nats.connectors.vllm.owner import Owner
from kvbm_nats.connectors.vllm.reuse import release_holders
from kvbm_nats.connectors.vllm.tiering.gate import PRIMARY, Block, Gate
from kvbm_nats.connectors.vllm.tiering.jobs import OpenJob, Result, arrived, sources, stale, unrecorded
from kvbm_nats.connectors.vllm.tiering.prompt import Prompt, group_of, key_of
from kvbm_nats.manager import BlockManager
from kvbm_statemachine.lineage import NO_SLOT

IDLE_WAIT_S = 0.001
"""How long the scheduler waits for news when every request waits for a load, so that the threads that bring it get their turn."""
DRAIN_WAIT_S = 0.005
STUCK_AFTER_S = 10.0

_logger = structlog.get_logger(__name__)


class TierSide:
    """See the module. Every method is called by vLLM's scheduler, in its thread."""

    def __init__(
        self,
        open_owner: Callable[[], BlockManager],
        gate: Gate,
        *,
        chunk_tokens: Mapping[int, int],
        patience_s: float,
        timeout_s: float,
        reset_evicts: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the owner, and again whenever it could not write its log any more. Raises what opening raises.

        Args:
            open_owner: opens an owner whose mover is the gate
            gate: before the mover
            chunk_tokens: by KV-cache group, tokens of a chunk
            patience_s: how long a load waits that nothing is done for
            timeout_s: how long a store waits that nothing is done for
            reset_evicts: whether a reset empties our tiers too
            clock: any steady one, in seconds
        """
        self._gate, self._clock, self._chunk_tokens = gate, clock, chunk_tokens
        self._patience_s, self._timeout_s, self._reset_evicts = patience_s, timeout_s, reset_evicts
        self._prompts: dict[str, Prompt] = {}
        self._jobs: dict[int, OpenJob] = {}
        self._done: list[Result] = []
        self._owner = Owner(open_owner, lambda: None, clock)

    @property
    def manager(self) -> BlockManager | None:
        """The owner; None while the engine is on its own."""
        return self._owner.manager

    @property
    def is_busy(self) -> bool:
        """Whether steps are needed though no request is: copies are on their way, or vLLM has not heard of their end."""
        return bool(self._jobs or self._done) or self._owner.is_moving

    def added(self, request_id: str, positions: Mapping[bytes, int]) -> None:
        """A request has come; `positions` are vLLM's of its chunks, and grow."""
        self._prompts[request_id] = Prompt(request_id, positions, self._chunk_tokens)

    def found(self, request_id: str, chunk: bytes) -> bool:
        """Whether we have a chunk that vLLM's host memory has not."""
        prompt, key = self._prompts.get(request_id), key_of(chunk)
        if prompt is None or key in prompt.lost or self._owner.is_late:
            return False
        hits: list[bool] = []
        self._owner.guarded(lambda manager: hits.append(self._look(manager, prompt, chunk, key)))
        return any(hits)

    def store(self, number: int, request_id: str, chunks: Collection[bytes], slots: Iterable[int]) -> None:
        """VLLM's host memory has these chunks, and keeps them until it is told what became of them."""
        if job := self._opened(number, request_id, chunks, slots, is_load=False):
            self._begin(job, self._begin_store)

    def load(self, number: int, request_id: str, chunks: Collection[bytes], slots: Iterable[int]) -> None:
        """VLLM's host memory has room for these chunks, and waits for them."""
        if job := self._opened(number, request_id, chunks, slots, is_load=True):
            self._begin(job, self._begin_load)

    def finished(self) -> list[Result]:
        """What came of jobs since the last time."""
        self._move_on()
        done, self._done = self._done, []
        return done

    def scheduled(self) -> None:
        """A step is decided. If nobody can go on without us, let the threads have their turn."""
        loading = {job.prompt.name for job in self._jobs.values() if job.is_load}
        if self.is_busy and all(prompt.name in loading for prompt in self._prompts.values()):
            self._owner.news.wait(IDLE_WAIT_S)
        self._owner.news.clear()
        manager = self._owner.manager
        if manager and not (self._prompts or self.is_busy or manager.pending):
            self._owner.maintain()

    def ended(self, request_id: str) -> None:
        """A request is over, in whatever way."""
        if prompt := self._prompts.pop(request_id, None):
            self._owner.guarded(lambda manager: _release(manager, prompt))

    def drain(self) -> None:
        """Wait until nothing touches vLLM's host memory, then forget what was in it: vLLM is about to.

        What does not begin within patience is given up. What has begun ends, or runs into its timeout; a mover that is stuck in
        a read would write into memory that is somebody else's by then, so for that one there is no giving up.
        """
        began_s = told_s = self._clock()
        while self._jobs:
            self._move_on()
            now_s = self._clock()
            if now_s - began_s > self._patience_s:
                for job in [job for job in self._jobs.values() if not job.is_given_up]:
                    self._give_up(job)
            if now_s - told_s > STUCK_AFTER_S:
                told_s = now_s
                _logger.error("vLLM waits for copies that have begun and do not end", jobs=len(self._jobs))
            if self._jobs:
                self._owner.news.wait(DRAIN_WAIT_S)
                self._owner.news.clear()
        self._owner.guarded(self._forget)

    def close(self) -> None:
        """Write what is left. Whoever made the mover closes it."""
        self._owner.close()

    def _look(self, manager: BlockManager, prompt: Prompt, chunk: bytes, key: str) -> bool:
        """Rule 1. The look-up as a whole is recorded with its first question, before anything is loaded for it.

        VLLM asks first in a group that attends to the whole prompt, if there is one; of groups with a window only the last
        chunks are kept.
        """
        _evict(manager, [key])
        if not prompt.was_looked_up:
            prompt.was_looked_up = True
            manager.match(prompt.name, prompt.prefix(group_of(chunk)))
        return any(hit.slots != [NO_SLOT] for hit in manager.look([key]))  # of a peer's, what the look-up has noted

    def _opened(
        self, number: int, request_id: str, chunks: Collection[bytes], slots: Iterable[int], *, is_load: bool
    ) -> OpenJob | None:
        now_s = self._clock()
        prompt = self._prompts.get(request_id)
        if prompt is None:  # nobody would say when it is over
            self._done.append(Result(number, [], is_whole=False, took_s=0.0))
            return None
        job = self._jobs[number] = OpenJob(number, prompt, chunks, slots, now_s, is_load=is_load)
        return job

    def _begin(self, job: OpenJob, begin: Callable[[BlockManager, OpenJob], None]) -> None:
        """Hand a job to the owner. If it cannot be now, at least what it shows of vLLM's host memory is recorded."""
        self._owner.guarded(lambda manager: _evict(manager, stale(manager, job)))
        self._gate.give(_blocks(job))
        if self._owner.is_late or not self._owner.guarded(lambda manager: begin(manager, job)):
            self._give_up(job)

    def _begin_store(self, manager: BlockManager, job: OpenJob) -> None:
        below: list[TierName] = [name for name in manager.state.tiers if name != PRIMARY]
        for run in job.runs:
            for part in unrecorded(manager, run):
                manager.record_allocated(job.prompt.name, part.slots, tier=PRIMARY)
                manager.register(job.prompt.name, part.slots, part.keys, parent=part.parent, tier=PRIMARY)
            job.tickets.append(manager.offload(run.keys, source=PRIMARY, tier=below[0]))

    def _begin_load(self, manager: BlockManager, job: OpenJob) -> None:
        if job.prompt.name not in manager.state.requests:  # the owner is new
            manager.match(job.prompt.name, job.runs[0].keys if job.runs else [])
        for source, part in sources(manager, job.runs):
            ticket = manager.onboard(job.prompt.name, part.keys, source=source, tier=PRIMARY, slots=part.slots)
            job.tickets.append(ticket)

    def _move_on(self) -> None:
        """See what has come, and end what is over."""
        if self._owner.take_new():
            for prompt in self._prompts.values():
                prompt.was_looked_up = False
        if not self._owner.guarded(lambda manager: manager.settle(0.0)):
            self._gate.sift()
        for job in [*self._jobs.values()]:
            in_use = self._gate.uses(job.blocks.values())
            if in_use:
                job.since_s = self._clock()
            elif self._is_vain(job):
                self._give_up(job)
            if not in_use and (job.is_given_up or all(ticket.is_over for ticket in job.tickets)):
                self._end(job)

    def _is_vain(self, job: OpenJob) -> bool:
        """Whether a job has waited for too long. Stores hold vLLM's chunks, which it can spare while the log keeps up."""
        patience_s = self._patience_s if job.is_load or self._owner.is_late else self._timeout_s
        return not job.is_given_up and (self._owner.manager is None or self._clock() - job.since_s > patience_s)

    def _give_up(self, job: OpenJob) -> None:
        """Rule 2: nothing of it begins from here on."""
        job.is_given_up = True
        self._gate.take_back(_blocks(job))
        self._owner.guarded(lambda manager: [manager.cancel(ticket) for ticket in job.tickets])

    def _end(self, job: OpenJob) -> None:
        """Nothing of it is under way: vLLM will be told, and may use the chunks for something else."""
        del self._jobs[job.number]
        if not job.is_given_up:
            self._gate.take_back(_blocks(job))
        good: list[str] = []
        self._owner.guarded(lambda manager: good.extend(self._settle(manager, job)))
        if job.is_load:
            job.prompt.lost.update(job.blocks.keys() - good)
        self._done.append(job.result(good, self._clock()))

    def _settle(self, manager: BlockManager, job: OpenJob) -> list[str]:
        """What of it is good. VLLM forgets the chunks of a load that are not, whatever has come to them."""
        good = arrived(manager, job)
        if job.is_load and len(good) < len(job.blocks):
            here = manager.state.tiers[PRIMARY].lineage.index
            bad = job.blocks.keys() - good
            _evict(manager, [key for key in bad if here.get(key) == job.blocks[key]])
        return good

    def _forget(self, manager: BlockManager) -> None:
        _evict(manager, [*manager.state.tiers[PRIMARY].lineage.index], reason="reset")
        for tier in manager.state.tiers.values() if self._reset_evicts else ():
            manager.evict([*tier.lineage.index], tier=tier.name, reason="reset", actor="vllm")


def _evict(manager: BlockManager, keys: Sequence[str], reason: EvictReason = "capacity") -> None:
    """VLLM's host memory does not have these any more."""
    index = manager.state.tiers[PRIMARY].lineage.index
    if there := [key for key in keys if key in index]:
        release_holders(manager, PRIMARY, [index[key] for key in there])
        manager.evict(there, tier=PRIMARY, reason=reason, actor="vllm")


def _release(manager: BlockManager, prompt: Prompt) -> None:
    if prompt.name in manager.state.requests:
        manager.release(prompt.name)


def _blocks(job: OpenJob) -> list[Block]:
    return [(slot, key, job.is_load) for key, slot in job.blocks.items()]
