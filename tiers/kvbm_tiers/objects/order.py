"""Writes and deletions of objects, never two of one name at a time, and in the order in which they were asked for.

A deletion waits in the background; a write of the same block takes its place. Within one process: what another one left
under way when it was killed can at worst end later, and then a read finds that the object is gone, or corrupt.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from kvbm_tiers.errors import ObjectFailed

_logger = structlog.get_logger(__name__)
WAITING_MAX = 1 << 20
"""Deletions that may wait: about 100 MB of keys."""


class Order:
    """See the module. Any thread may call.

    :ivar left: deletions that failed, or were too many, or were not done when it closed: these objects wait for a sweep
    """

    def __init__(
        self,
        delete: Callable[[Sequence[str]], None],
        *,
        batch_max: int,
        patience_s: float,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        """Start the thread that deletes.

        Args:
            delete: deletes the objects of these keys, or raises `ObjectFailed`
            batch_max: keys that it takes at a time
            patience_s: how long one call of it can take
            waiting_max: keys that may wait for it
        """
        self._waiting_max = waiting_max
        self._delete, self._batch_max, self._patience_s = delete, batch_max, patience_s
        self.left = 0
        self._unwanted: dict[str, None] = {}
        self._deleting: set[str] = set()
        self._writing: set[str] = set()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="object-deleter", daemon=True)
        self._thread.start()

    @contextmanager
    def writing(self, key: str) -> Iterator[None]:
        """Write the object of a key meanwhile. See `begin`."""
        self.begin(key)
        try:
            yield
        finally:
            self.end(key)

    def begin(self, key: str) -> None:
        """The object of this key is about to be written; wait for a deletion of it that is under way.

        Raises:
            ObjectFailed: another write of it is under way, or a deletion that does not end.
        """
        with self._changed:
            self._unwanted.pop(key, None)
            if not self._changed.wait_for(lambda: key not in self._deleting, self._patience_s):
                raise ObjectFailed("a deletion of this object does not end")
            if key in self._writing:
                raise ObjectFailed("an earlier write of this object has not ended")
            self._writing.add(key)

    def end(self, key: str) -> None:
        """The write has ended, however it went."""
        with self._changed:
            self._writing.discard(key)
            self._changed.notify_all()

    def forget(self, keys: Sequence[str]) -> None:
        """Delete the objects of these keys, soon; those that are too many are left."""
        with self._changed:
            taken = keys[: max(0, self._waiting_max - len(self._unwanted))]
            self._unwanted.update(dict.fromkeys(taken))
            self._changed.notify_all()
        if len(taken) < len(keys):
            self._leave(len(keys) - len(taken), f"{self._waiting_max} wait already")

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is deleted that was asked for; whether that came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._unwanted or self._deleting), timeout_s)

    def close(self, timeout_s: float) -> None:
        """Finish what was asked for, but no longer than this."""
        deadline = time.monotonic() + timeout_s
        self.flush(timeout_s)
        with self._changed:
            self._is_closed = True
            left = len(self._unwanted) + len(self._deleting)
            self._unwanted.clear()
            self._changed.notify_all()
        if left:
            self._leave(left, "the store does not answer")
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _leave(self, count: int, why: str) -> None:
        with self._changed:
            self.left += count
        _logger.warning("objects were not deleted; a sweep finds them", objects=count, why=why)

    def _work(self) -> None:
        while keys := self._next():
            flaw = ""
            try:
                self._delete(keys)
            except ObjectFailed as error:
                flaw = str(error)
            if flaw and not self._is_closed:
                self._leave(len(keys), flaw)
            with self._changed:
                self._deleting.clear()
                self._changed.notify_all()

    def _next(self) -> list[str]:
        """What is to be deleted next; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._unwanted.keys() - self._writing)
            keys = [key for key in self._unwanted if key not in self._writing][: self._batch_max]
            for key in keys:
                del self._unwanted[key]
            self._deleting.update(keys)
            return keys
