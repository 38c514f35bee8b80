"""Which blocks go down by themselves, and the mover that an owner's transfers are given to.

A job goes to the mover once its `…Started` event is acknowledged: no byte moves that the log does not know of. What
arrived can be matched once its `…Completed` event is acknowledged; until then its keys are hidden from look-ups.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

from kvbm_events.schema import CHECKSUM_DIGITS, Evicted, EvictReason, TierName, TransferStarted
from kvbm_statemachine.decide import Desk, complete_transfer, evict, fail_transfer, offload
from kvbm_statemachine.tier import Tier
from kvbm_statemachine.transfers import Transfer
from kvbm_tiers import OBJECT_TIER, Deletion, Job, Mover, Report, loss


class Offloader:
    """Works at an owner's desk, in its thread.

    :ivar hidden: by tier, keys whose arrival is not acknowledged yet
    """

    def __init__(self, desk: Desk, mover: Mover, *, timeout_us: int, batch_max: int) -> None:
        self._desk, self._mover = desk, mover
        self._timeout_us, self._batch_max = timeout_us, batch_max
        self._orders: deque[tuple[int, Job | Deletion]] = deque()
        self._unproven: deque[tuple[int, TierName, list[str]]] = deque()
        self.hidden: dict[TierName, set[str]] = {}

    @property
    def is_busy(self) -> bool:
        """Whether `pump` has something to do, now or later."""
        return bool(self._orders or self._unproven or self._desk.state.transfers)

    @property
    def is_hiding(self) -> bool:
        """Whether something arrived that cannot be matched yet."""
        return bool(self._unproven)

    def begin(self) -> None:
        """Fail what owners before left open. Where the mover outlives its owner, the slots stay quarantined at first."""
        state = self._desk.state
        left = {transfer.id: [*transfer.open, *transfer.quarantined] for transfer in state.transfers.values()}
        is_quiet = self._mover.begin(state.epoch, left)
        for transfer in [t for t in state.transfers.values() if is_quiet or t.open]:
            fail_transfer(self._desk, transfer.id, reason="the owner was restarted", stopped=is_quiet)

    def take(self, started: Sequence[TransferStarted]) -> None:
        """Give the mover these jobs, each when its event is acknowledged."""
        self._orders.extend((event.n, Job.of(event)) for event in started)

    def evicted(self, event: Evicted) -> None:
        """Blocks left a tier; what would stay of them in object storage goes when the event is acknowledged."""
        if event.tier == OBJECT_TIER:
            self._orders.append((event.n, Deletion.of(event)))

    def pump(self, acked_n: int) -> None:
        """Do what has become due: jobs, reports, deadlines, and showing what is proven."""
        while self._unproven and self._unproven[0][0] <= acked_n:
            _, tier, keys = self._unproven.popleft()
            self.hidden[tier].difference_update(keys)
        while self._orders and self._orders[0][0] <= acked_n:
            order = self._orders.popleft()[1]
            if isinstance(order, Job):
                self._mover.submit(order)
            else:
                self._mover.forget(order)
        for report in self._mover.poll():
            self._apply(report)
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
        if lost := loss(report.reason):
            self._evict_lost(transfer, {*transfer.open, *late}.intersection(report.slots), lost)
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

    def _evict_lost(self, transfer: Transfer, slots: Collection[int], lost: EvictReason) -> None:
        """The source has not what it had: it goes, with all that stands on it, before anybody else finds it."""
        source = self._desk.state.tiers.get(transfer.source)
        if source and transfer.has_source and not source.observed:
            keys = [key for slot, key in zip(transfer.slots, transfer.keys, strict=True) if slot in slots]
            evict(self._desk, source.name, keys, reason=lost, actor="mover")

    def _fail_overdue(self) -> None:
        """Past its deadline a transfer has failed; its slots stay quarantined until the mover says it stopped."""
        now = self._desk.now_us
        for transfer in [t for t in self._desk.state.transfers.values() if t.open and t.deadline_us < now]:
            fail_transfer(self._desk, transfer.id, reason="deadline passed", stopped=False)
