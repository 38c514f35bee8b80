"""What a trace holds, and how much of it a cache without limits could answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kvbm_nats.traces.request import TraceRequest


@dataclass(kw_only=True)
class TraceStats:
    """Sums over the requests that were added.

    :ivar block_accesses: keys of all requests, each counted as often as it is asked for
    :ivar unique_blocks: different keys
    :ivar span_s: seconds from the start of the trace to the last request
    :ivar block_tokens: tokens of a block in the last request
    """

    requests: int = 0
    block_accesses: int = 0
    unique_blocks: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    span_s: float = 0.0
    block_tokens: int = 0

    @property
    def infinite_hit_ratio(self) -> float:
        """The part of all block accesses that a cache would answer which never evicts."""
        return 1 - self.unique_blocks / self.block_accesses if self.block_accesses else 0.0

    def add(self, request: TraceRequest) -> None:
        """Count one more request."""
        self.requests += 1
        self.block_accesses += len(request.keys)
        self.unique_blocks += request.new_blocks
        self.tokens_in += request.tokens_in
        self.tokens_out += request.tokens_out
        self.span_s = request.at_s
        self.block_tokens = request.block_tokens

    def counting(self, requests: Iterable[TraceRequest]) -> Iterator[TraceRequest]:
        """The same requests, each counted as it passes."""
        for request in requests:
            self.add(request)
            yield request


def measure(requests: Iterable[TraceRequest]) -> TraceStats:
    """The sums over all these requests."""
    stats = TraceStats()
    for request in requests:
        stats.add(request)
    return stats
