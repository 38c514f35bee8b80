"""Follows one engine, for ever: a break in what it says begins a new epoch, in which nothing is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import structlog

from kvbm_events.schema import TierSpec
from kvbm_nats.bridge.feed import Break, Feed
from kvbm_nats.bridge.recorder import Recorder
from kvbm_nats.bridge.wire import InvalidEngineEvent, decode_batch
from kvbm_nats.manager import BlockManager

_logger = structlog.get_logger(__name__)


class Bridge:
    """See the module.

    :ivar messages: that were recorded
    :ivar breaks: how often the thread was lost
    """

    def __init__(self, feed: Feed, url: str, instance: str, *, namespace: str, tiers: Sequence[TierSpec]) -> None:
        """Open the instance, empty: what the engine had before is not known.

        Raises:
            Fenced, InvalidCommand, LogError: see `BlockManager.open`.
        """
        self._feed = feed
        self._open: Callable[[str], BlockManager] = lambda why: BlockManager.open(
            url, instance, namespace=namespace, tiers=tiers, keep=(), note=why
        )
        self.messages = self.breaks = 0
        self._begin("bridge")

    def run_once(self, timeout_s: float) -> None:
        """Record what has come, after waiting for so long for the first. Raises LogError if it cannot be written."""
        for each in self._feed.poll(timeout_s):
            if isinstance(each, Break):
                self._break(each.why)
            else:
                self._record(each.sequence, each.data)
        self.manager.maintain()

    def close(self) -> None:
        """Write what is left."""
        self.manager.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def _record(self, sequence: int, data: bytes) -> None:
        try:
            events = decode_batch(data)
        except InvalidEngineEvent as error:
            self._break(f"message {sequence}: {error}")
            return
        for event in events:
            self._recorder.record(event)
        self.messages += 1

    def _break(self, why: str) -> None:
        """What is not known to be there is not said to be there."""
        self.breaks += 1
        _logger.warning("a new epoch begins", why=why)
        self.manager.close()
        self._begin(f"bridge: {why}")

    def _begin(self, why: str) -> None:
        self.manager = self._open(why)
        self._recorder = Recorder(self.manager)
