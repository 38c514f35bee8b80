"""An owner that could not write its log any more is followed by another one, opened beside the engine's work."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from kvbm_events.schema.errors import Fenced, KvbmError, NamespaceMismatch
from kvbm_nats.manager import BlockManager

AGAIN_AFTER_S = 5.0
_logger = structlog.get_logger(__name__)


class Reopening:
    """Closes the old owner and opens the next, as often as it takes, in a thread of its own.

    It gives up where another owner has the instance: two that open it in turns would help nobody.
    """

    def __init__(self, old: BlockManager, reopen: Callable[[], BlockManager]) -> None:
        """Begin."""
        self._reopen = reopen
        self._new: BlockManager | None = None
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(old,), name="kvbm-reopen", daemon=True)
        self._thread.start()

    def take(self) -> BlockManager | None:
        """The new owner, once; None while there is none."""
        if self._thread.is_alive():
            return None
        new, self._new = self._new, None
        return new

    def stop(self) -> None:
        """Try no more, and close what was opened and not taken."""
        self._is_over.set()
        self._thread.join()
        if new := self.take():
            new.close()

    def _run(self, old: BlockManager) -> None:
        is_fenced = isinstance(old.failure, Fenced)
        try:
            old.close()
        except KvbmError as error:
            _logger.warning("the last events were not written", why=str(error))
        while not is_fenced and not self._is_over.wait(AGAIN_AFTER_S):
            try:
                self._new = self._reopen()
            except NamespaceMismatch as error:
                _logger.error("there will be no other owner", why=str(error))  # noqa: TRY400 - it says all
                return
            except KvbmError as error:
                _logger.warning("there is no other owner yet", why=str(error))
            else:
                return
