"""Playing a trace step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from kvbm_nats.manager import BlockManager
from kvbm_nats.traces.embedded import EmbeddedCache
from kvbm_nats.traces.request import TraceRequest

NAMESPACE = "model=m;block_tokens=16"


class Player:
    """See the module.

    :ivar asked: blocks that were looked up until now
    """

    def __init__(self, owner: BlockManager, cache: EmbeddedCache, requests: Iterator[TraceRequest]) -> None:
        self.owner, self.asked = owner, 0
        self._cache, self._requests = cache, requests

    def play(self, count: int) -> None:
        """So many requests more, until all of it is stored."""
        for _ in range(count):
            request = next(self._requests)
            asyncio.run(self._cache.play(request))
            self.asked += len(request.keys)
        self.owner.settle()
        self.owner.flush()
