"""The mover that an owner's transfers are given to, and what it reports of them.

A job goes to the mover once its `…Started` event is acknowledged: no byte moves that the log does not know of. What
arrived can be matched once its `…Completed` event is acknowledged; until then its keys are hidden from look-ups.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence

import structlog

from kvbm_events.schema import CHECKSUM_DIGITS, Evicted, EvictReason, TierName, TransferStarted
from kvbm_nats.offloading.admission import Admission
from kvbm_nats.offloading.paths import Paths
from kvbm_nats.options import Options
from kvbm_statemachine.decide import Desk, attach, complete_transfer, evict, fail_transfer, free_quarantined
from kvbm_statemachine.tier import Tier
from kvbm_statemachine.transfers import Transfer
from kvbm_tiers import OWNER_RESTARTED, Deletion, Job, Memory, Mover, Report, loss

OVERDUE = "deadline passed"
RESET = "its memory was reset"

_logger = structlog.get_logger(__name__)


class Offloader:
    """Works at an owner's desk, in its thread, from the owner's first event on.

    :ivar hidden: by tier, keys whose arrival is not acknowledged yet
    :ivar paths: what waits, and starts by itself when there is room
    :ivar has_news: whether the mover has something to say
    """

    def __init__(self, desk: Desk, mover: Mover, options: Options, changed: Callable[[], None] | None = None) -> None:
        """Nothing is done before `begin`; `changed` is called, on any thread, when there is something for `pump`."""
        self._desk, self._mover = desk, mover
        self._changed, self.has_news = changed, True
        self._orders: deque[tuple[int, Job | Deletion]] = deque()
        self._unproven: deque[tuple[int, TierName, list[str]]] = deque()
        self.hidden: dict[TierName, set[str]] = {}
        self.paths = Paths(desk, options, self._take, self._is_coming)
        self._admission = Admission(desk.state, self.paths)

    @property
    def is_busy(self) -> bool:
        """Whether `pump` has something to do, now or later. What waits, waits for transfers that are under way."""
        return bool(self._orders or self._unproven or self._desk.state.transfers)

    def begin(self) -> None:
        """Fail what owners before left open. Where the mover outlives its owner, the slots stay quarantined at first."""
        state = self._desk.state
        self._mover.watch(self._on_news)
        left = {transfer.id: [*transfer.open, *transfer.quarantined] for transfer in state.transfers.values()}
        is_quiet = self._mover.begin(state.epoch, left)
        for transfer in [t for t in state.transfers.values() if is_quiet or t.open]:
            fail_transfer(self._desk, transfer.id, reason=OWNER_RESTARTED, stopped=is_quiet)

    def pump(self, acked_n: int) -> None:
        """Do what has become due: showing what is proven, jobs, reports, deadlines, and the next starts."""
        while self._unproven and self._unproven[0][0] <= acked_n:
            _, tier, keys = self._unproven.popleft()
            self.hidden[tier].difference_update(keys)
        while self._orders and self._orders[0][0] <= acked_n:
            order = self._orders.popleft()[1]
            if isinstance(order, Job):
                self._mover.submit(order)
            else:
                self._mover.forget(order)
        self._hear()
        self._fail_overdue()
        self.paths.expire()
        self.paths.start()

    def offer_new(self, tier: Tier, keys: Sequence[str], priority: int) -> None:
        """Blocks are new in a tier. See `Admission`."""
        self._admission.offer_new(tier, keys, priority)
        self.paths.start()

    def offer_found(self, keys: Sequence[str], priority: int) -> None:
        """Blocks were found. See `Admission`."""
        self._admission.offer_found(keys, priority)
        self.paths.start()

    def offer_next_victims(self, tier: Tier, count: int) -> None:
        """Room was made. See `Admission`."""
        self._admission.offer_next_victims(tier, count)
        self.paths.start()

    def evicted(self, event: Evicted) -> None:
        """Blocks left a tier; what would stay of them in object storage goes when the event is acknowledged."""
        self._admission.evicted(event)
        if deletion := Deletion.of(event):
            self._orders.append((event.n, deletion))

    def close(self) -> None:
        """Stop the mover."""
        self._mover.close()

    def free_quarantined(self, tiers: Collection[TierName], *, actor: str) -> int:
        """A person says that nobody writes any more to these tiers' quarantined slots; how many are free now."""
        doubtful = [transfer for transfer in self._desk.state.transfers.values() if transfer.quarantined]
        freed = free_quarantined(self._desk, tiers, actor=actor)
        for transfer in doubtful:
            self.paths.resolved(transfer)
        return freed

    def _on_news(self) -> None:
        """On the mover's thread."""
        self.has_news = True
        if self._changed:
            self._changed()

    def _hear(self) -> None:
        """Take what the mover has to say, in its order."""
        self.has_news = False
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
        under_way = [(transfer, len(transfer.open)) for transfer in self._desk.state.transfers.values()]
        gone = attach(self._desk, rank=memory.rank, holder=memory.holder, contents=memory.contents)
        for transfer, blocks in under_way:
            if not transfer.open:
                self.paths.resolved(transfer, blocks, RESET)
        why = {each.tier: each.why for each in memory.contents}
        for tier, blocks in gone.items():
            _logger.warning(
                "a tier was reset", tier=tier, rank=memory.rank, holder=memory.holder, blocks=blocks, why=why[tier]
            )

    def _take(self, started: TransferStarted) -> None:
        """The mover gets this job when its event is acknowledged."""
        job = Job.of(started)
        self._orders.append((started.n, job))
        self._admission.offer_next_victims(self._desk.state.tiers[started.tier], len(job.slots))

    def _is_coming(self, tier: TierName, keys: Sequence[str]) -> bool:
        """Whether one of these blocks is on its way to a tier, or there and not to be matched yet."""
        hidden = self.hidden.get(tier)
        return not self._desk.state.incoming[tier].isdisjoint(keys) or bool(hidden and not hidden.isdisjoint(keys))

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
            self.paths.resolved(transfer)
        at = [place for place, slot in enumerate(report.slots) if slot in transfer.open]
        slots = [report.slots[place] for place in at]
        if not slots:
            return
        if report.reason:
            fail_transfer(self._desk, transfer.id, reason=report.reason, slots=slots, stopped=report.stopped)
            self.paths.resolved(transfer, len(slots), report.reason)
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
        self.paths.resolved(transfer)
        self._admission.offer_new(self._desk.state.tiers[tier], keys, transfer.priority)

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
            blocks = len(transfer.open)
            fail_transfer(self._desk, transfer.id, reason=OVERDUE, stopped=False)
            self.paths.resolved(transfer, blocks, OVERDUE)
