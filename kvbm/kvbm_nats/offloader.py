"""Which blocks go down by themselves, and the mover that an owner's transfers are given to.

A job goes to the mover once its `…Started` event is acknowledged: no byte moves that the log does not know of. What
arrived can be matched once its `…Completed` event is acknowledged; until then its keys are hidden from look-ups.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence

import structlog

from kvbm_events.schema import CHECKSUM_DIGITS, TierName, TransferStarted
from kvbm_statemachine.decide import Desk, attach, complete_transfer, evict, fail_transfer, offload
from kvbm_statemachine.tier import Tier
from kvbm_statemachine.transfers import Transfer
from kvbm_tiers import CORRUPT, Job, Memory, Mover, Report

_logger = structlog.get_logger(__name__)


class Offloader:
    """Works at an owner's desk, in its thread.

    :ivar hidden: by tier, keys whose arrival is not acknowledged yet
    """

    def __init__(
        self, desk: Desk, mover: Mover, changed: Callable[[], None], *, timeout_us: int, batch_max: int
    ) -> None:
        """Nothing is done before `begin`.

        Args:
            desk: the owner's
            mover: who moves
            changed: called, on any thread, when there is something for `pump`
            timeout_us: after which a transfer has failed
            batch_max: blocks of one transfer
        """
        self._desk, self._mover = desk, mover
        self._changed, self._has_news = changed, True
        self._timeout_us, self._batch_max = timeout_us, batch_max
        self._jobs: deque[tuple[int, Job]] = deque()
        self._unproven: deque[tuple[int, TierName, list[str]]] = deque()
        self.hidden: dict[TierName, set[str]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether `pump` has something to do, now or later."""
        return bool(self._has_news or self._jobs or self._unproven or self._desk.state.transfers)

    @property
    def is_hiding(self) -> bool:
        """Whether something arrived that cannot be matched yet."""
        return bool(self._unproven)

    def begin(self) -> None:
        """Fail what owners before left open. Where the mover outlives its owner, the slots stay quarantined at first."""
        state = self._desk.state
        self._mover.watch(self._on_news)
        left = {transfer.id: [*transfer.open, *transfer.quarantined] for transfer in state.transfers.values()}
        is_quiet = self._mover.begin(state.epoch, left)
        for transfer in [t for t in state.transfers.values() if is_quiet or t.open]:
            fail_transfer(self._desk, transfer.id, reason="the owner was restarted", stopped=is_quiet)

    def take(self, started: Sequence[TransferStarted]) -> None:
        """Give the mover these jobs, each when its event is acknowledged."""
        self._jobs.extend((event.n, Job.of(event)) for event in started)

    def pump(self, acked_n: int) -> None:
        """Do what has become due: jobs, reports, deadlines, and showing what is proven."""
        while self._unproven and self._unproven[0][0] <= acked_n:
            _, tier, keys = self._unproven.popleft()
            self.hidden[tier].difference_update(keys)
        while self._jobs and self._jobs[0][0] <= acked_n:
            self._mover.submit(self._jobs.popleft()[1])
        self._hear()
        self._fail_overdue()

    def offer(self, tier: Tier, keys: Sequence[str]) -> None:
        """Blocks are new in a tier: they go down at once if the tier below takes all."""
        below = self._desk.state.below(tier.name)
        if below and below.spec.admission == "write_through":
            self._offload(tier, below, keys)

    def offer_seen(self, keys: Sequence[str]) -> None:
        """Blocks were found: those seen often enough go down where the tier below selects by that."""
        for tier in self._desk.state.tiers.values():
            below = self._desk.state.below(tier.name)
            if below and below.spec.admission == "selective":
                index, least = tier.lineage.index, below.spec.seen_min
                often = [key for key in keys if key in index and tier.seen[index[key]] >= least]
                self._offload(tier, below, often)

    def offer_next_victims(self, tier: Tier, count: int) -> None:
        """The blocks that would be evicted next go down first, where the tier below takes what leaves."""
        below = self._desk.state.below(tier.name)
        if not below or below.spec.admission != "on_evict" or tier.observed:
            return
        for chain, size in tier.policy.victims(count):
            self._offload(tier, below, chain.keys[len(chain.keys) - size :])

    def close(self) -> None:
        """Stop the mover."""
        self._mover.close()

    def _on_news(self) -> None:
        """On the mover's thread."""
        self._has_news = True
        self._changed()

    def _hear(self) -> None:
        """Take what the mover has to say, in its order."""
        self._has_news = False
        while True:
            memories = self._mover.memories()
            for memory in memories:
                self._attach(memory)
            reports = self._mover.poll()
            for report in reports:
                self._apply(report)
            if not (memories or reports):
                return

    def _attach(self, memory: Memory) -> None:
        """Memory is there. What of it is not what the log has blocks in starts empty, by events."""
        gone = attach(self._desk, rank=memory.rank, holder=memory.holder, contents=memory.contents)
        why = {each.tier: each.why for each in memory.contents}
        for tier, blocks in gone.items():
            _logger.warning(
                "a tier was reset", tier=tier, rank=memory.rank, holder=memory.holder, blocks=blocks, why=why[tier]
            )

    def _offload(self, source: Tier, tier: Tier, keys: Sequence[str]) -> None:
        if keys and not tier.observed:
            deadline = self._desk.now_us + self._timeout_us
            self.take(
                offload(self._desk, source.name, tier.name, keys, deadline_us=deadline, batch_max=self._batch_max)
            )

    def _apply(self, report: Report) -> None:
        """Write what a report says of blocks that are under way, or in doubt. Of others it is a second or late one."""
        transfer = self._desk.state.transfers.get(report.transfer)
        if not transfer:
            return
        late = [slot for slot in report.slots if slot in transfer.quarantined]
        if report.reason == CORRUPT:
            self._evict_corrupt(transfer, {*transfer.open, *late}.intersection(report.slots))
        if late and report.stopped:
            fail_transfer(self._desk, transfer.id, reason=report.reason or "arrived too late", slots=late)
        at = [place for place, slot in enumerate(report.slots) if slot in transfer.open]
        slots = [report.slots[place] for place in at]
        if not slots:
            return
        if report.reason:
            fail_transfer(self._desk, transfer.id, reason=report.reason, slots=slots, stopped=report.stopped)
            return
        tier, keys = transfer.tier, [transfer.keys[transfer.open[slot]] for slot in slots]
        event = complete_transfer(
            self._desk,
            transfer.id,
            slots=slots,
            length_bytes=report.length_bytes,
            checksums="".join(report.checksums[CHECKSUM_DIGITS * place :][:CHECKSUM_DIGITS] for place in at),
        )
        self.hidden.setdefault(tier, set()).update(keys)
        self._unproven.append((event.n, tier, keys))
        below = self._desk.state.tiers[tier]
        self.offer(below, keys)

    def _evict_corrupt(self, transfer: Transfer, slots: Collection[int]) -> None:
        """The source has other bytes than it had: it goes, with all that stands on it, before anybody else finds it."""
        source = self._desk.state.tiers.get(transfer.source)
        if source and transfer.has_source and not source.observed:
            keys = [key for slot, key in zip(transfer.slots, transfer.keys, strict=True) if slot in slots]
            evict(self._desk, source.name, keys, reason="corrupt", actor="mover")

    def _fail_overdue(self) -> None:
        """Past its deadline a transfer has failed; its slots stay quarantined until the mover says it stopped."""
        now = self._desk.now_us
        for transfer in [t for t in self._desk.state.transfers.values() if t.open and t.deadline_us < now]:
            fail_transfer(self._desk, transfer.id, reason="deadline passed", stopped=False)
