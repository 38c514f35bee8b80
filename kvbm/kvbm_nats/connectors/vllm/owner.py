"""The owner behind an engine, while there is one: whatever goes wrong with it, the engine goes on, and gets another one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from kvbm_events.schema.errors import KvbmError, LogUnavailable, RefusedError
from kvbm_nats.connectors.vllm.progress import Progress
from kvbm_nats.connectors.vllm.reopening import Reopening
from kvbm_nats.manager import BlockManager

_logger = structlog.get_logger(__name__)


class Owner:
    """See the module. Used in the scheduler's thread.

    :ivar manager: the owner; None while the engine is on its own
    :ivar news: set, on any thread, when the owner has something new to say
    """

    def __init__(
        self, open_owner: Callable[[], BlockManager], lost: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        """Open it. Raises what opening raises.

        Args:
            open_owner: opens the first one, and those that follow
            lost: called when there is none any more
            clock: any steady one, in seconds
        """
        self.manager: BlockManager | None = None
        self.news = threading.Event()
        self._open_owner, self._lost, self._clock = open_owner, lost, clock
        self._progress = Progress()
        self._reopening: Reopening | None = None
        self._adopt(open_owner())

    @property
    def is_late(self) -> bool:
        """Whether there is none, or its log has not kept up for a while: nobody should wait for it."""
        manager = self.manager
        return manager is None or self._progress.is_late(manager.acked, manager.pending, self._clock())

    @property
    def is_moving(self) -> bool:
        """Whether blocks wait for their turn, or are under way."""
        manager = self.manager
        return manager is not None and (
            manager.waiting > 0 or any(transfer.open for transfer in manager.state.transfers.values())
        )

    def guarded(self, work: Callable[[BlockManager], object]) -> bool:
        """Do something with the owner, if there is one; whether it was done. After a failure there is none any more."""
        manager = self.manager
        if manager is None:
            return False
        try:
            work(manager)
        except RefusedError as error:
            _logger.warning("vLLM asked for what cannot be", why=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - the engine goes on
            self._give_up(manager, error)
            return False
        return True

    def maintain(self) -> None:
        """What need not be done at once, in an idle moment."""
        self.guarded(_maintain)

    def take_new(self) -> bool:
        """Whether there is another owner since the last time; nothing that the engine has is known to it."""
        manager = self._reopening.take() if self._reopening else None
        if manager is None:
            return False
        self._reopening = None
        self._adopt(manager)
        _logger.warning("vLLM has kvbm again", epoch=manager.state.epoch)
        return True

    def close(self) -> None:
        """Write what is left."""
        manager, self.manager = self.manager, None
        if manager:
            manager.close()
        elif self._reopening:
            self._reopening.stop()

    def _give_up(self, manager: BlockManager, error: Exception) -> None:
        is_known = isinstance(error, KvbmError)
        _logger.error("vLLM goes on without kvbm", why=str(error), exc_info=None if is_known else error)
        self.manager = None
        self._lost()
        self._reopening = Reopening(manager, self._open_owner)

    def _adopt(self, manager: BlockManager) -> None:
        """Before anybody looks anything up, it is told what memory the movers have."""
        self.manager = manager
        manager.watch(self.news.set)
        self.guarded(lambda manager: manager.settle(0.0))


def _maintain(manager: BlockManager) -> None:
    try:
        manager.maintain()
    except LogUnavailable as error:
        _logger.warning("there is no new snapshot", why=str(error))
