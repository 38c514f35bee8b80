"""One path from tier to tier: what waits for it, how much is under way, and the start of what there is room for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from kvbm_events.schema import TierName, TransferStarted
from kvbm_events.schema.errors import InvalidCommand, TierFull
from kvbm_nats.offloading.path_queue import PathQueue, Wish
from kvbm_nats.options import Options
from kvbm_nats.status import PathStatus
from kvbm_statemachine.decide import Desk, next_batch, offload, onboard


class Path:
    """See the module. Works at an owner's desk, in its thread.

    :ivar queue: what waits
    :ivar refused: blocks that the admission of the tier did not want, by reason
    """

    def __init__(
        self,
        desk: Desk,
        options: Options,
        source: TierName,
        tier: TierName,
        on_started: Callable[[TransferStarted, Wish], None],
    ) -> None:
        self.source: TierName = source
        self.tier: TierName = tier
        self.is_up = tier < source
        self.queue = PathQueue(options.queue_max, sheds_newest=self.is_up)
        self.refused = Counter[str]()
        self._desk, self._options, self._on_started = desk, options, on_started
        self._transfers, self._open, self._doubtful = 0, 0, 0
        self._started = 0

    @property
    def has_room(self) -> bool:
        """Whether one more transfer, however large, is within the limits."""
        options = self._options
        is_within = self._open + self._doubtful + options.batch_max <= options.path_blocks_max
        return is_within and self._transfers < options.path_transfers_max

    @property
    def is_stuck(self) -> bool:
        """Whether all that keeps it from going on is in doubt."""
        return not self._open and not self.has_room

    def recount(self) -> None:
        """See what is under way, after some of it ended."""
        here = [
            transfer
            for transfer in self._desk.state.transfers.values()
            if transfer.tier == self.tier and transfer.source == self.source
        ]
        self._transfers = len(here)
        self._open = sum([len(transfer.open) for transfer in here])
        self._doubtful = sum([len(transfer.quarantined) for transfer in here])

    def start(self) -> None:
        """Start what there is room for. What a request waits for does not wait for a mover that is in doubt."""
        queue = self.queue
        while self.has_room and (wish := queue.first()):
            batch = next_batch(self._desk.state, self.source, self.tier, wish.keys, self._options.batch_max)
            if batch.start:
                queue.note(wish, "gone", batch.gone)
                if wish.ticket:
                    wish.ticket.shared += batch.start - batch.gone
            if batch.end > batch.start:
                self._try(wish, batch.start, batch.end)
            queue.strike(wish, batch.end)
        if self.is_up and queue.blocks and self.is_stuck:
            queue.drop_where(lambda _: True, "in_doubt")

    def status(self) -> PathStatus:
        """The path in numbers."""
        return PathStatus(
            source=self.source,
            tier=self.tier,
            waiting=self.queue.blocks,
            waiting_max=self._options.queue_max,
            transfers=self._transfers,
            transfers_max=self._options.path_transfers_max,
            blocks=self._open,
            in_doubt=self._doubtful,
            blocks_max=self._options.path_blocks_max,
            started=self._started,
            dropped=dict(self.queue.dropped),
            refused=dict(self.refused),
        )

    def _try(self, wish: Wish, start: int, end: int) -> None:
        try:
            event = self._begin(wish, start, end)
        except TierFull:
            self.queue.note(wish, "no_room", end - start)
        except InvalidCommand:  # the slots that an engine named are taken by now
            self.queue.note(wish, "refused", end - start)
        else:
            self._transfers += 1
            self._open += end - start
            self._started += end - start
            self._on_started(event, wish)

    def _begin(self, wish: Wish, start: int, end: int) -> TransferStarted:
        keys, deadline_us = wish.keys[start:end], self._options.deadline_us(self._desk.now_us)
        if not self.is_up:
            return offload(self._desk, self.source, self.tier, keys, deadline_us=deadline_us, priority=wish.priority)
        return onboard(
            self._desk,
            self.source,
            self.tier,
            keys,
            request=wish.request,
            deadline_us=deadline_us,
            at=None if wish.at is None else wish.at[start:end],
        )
