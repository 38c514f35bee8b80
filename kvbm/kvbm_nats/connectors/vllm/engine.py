"""What the connector uses of vLLM, as protocols: the scheduler's side is typed, and tested, without vLLM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

BlockIds = Sequence[Sequence[int]]
"""Of each KV-cache group, the numbers of a request's blocks, in prefix order."""


class EngineRequest(Protocol):
    """`vllm.v1.request.Request`.

    :ivar num_tokens: prompt and output so far
    :ivar num_computed_tokens: whose KV is there once all steps that were scheduled have run
    :ivar block_hashes: chained, one for each full block of known tokens
    """

    request_id: str
    num_computed_tokens: int
    skip_reading_prefix_cache: bool

    @property
    def num_tokens(self) -> int: ...  # noqa: D102 - above

    @property
    def block_hashes(self) -> Sequence[bytes]: ...  # noqa: D102 - above


class PoolBlock(Protocol):
    """`vllm.v1.core.kv_cache_utils.KVCacheBlock`."""

    block_id: int


class EnginePool(Protocol):
    """`vllm.v1.core.block_pool.BlockPool`: the blocks of g1, and how to keep one from being reused."""

    blocks: Sequence[PoolBlock]

    def touch(self, blocks: Sequence[PoolBlock]) -> None:
        """Hold these once more."""
        ...

    def free_blocks(self, ordered_blocks: Iterable[PoolBlock]) -> None:
        """Hold these once less; the first is reused first."""
        ...


class NewRequest(Protocol):
    """A request that is scheduled for the first time, or after a load."""

    req_id: str
    block_ids: BlockIds
    num_computed_tokens: int


class CachedRequests(Protocol):
    """Requests that go on, column by column."""

    req_ids: Sequence[str]
    resumed_req_ids: Iterable[str]
    new_block_ids: Sequence[BlockIds | None]
    num_computed_tokens: Sequence[int]


class BlockTables(Protocol):
    """The blocks of requests that are scheduled in a step."""

    def get_block_ids(self, req_id: str) -> BlockIds | None:
        """Of one of them."""
        ...


class Step(Protocol):
    """`vllm.v1.core.sched.output.SchedulerOutput`: what the engine does next."""

    scheduled_new_reqs: Sequence[NewRequest]
    scheduled_cached_reqs: CachedRequests
    num_scheduled_tokens: dict[str, int]
    preempted_req_ids: Iterable[str] | None
    kv_connector_block_state: BlockTables | None
