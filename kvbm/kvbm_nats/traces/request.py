"""One request of a trace, whatever format it came from."""

from __future__ import annotations

from msgspec import Struct


class TraceRequest(Struct, frozen=True, kw_only=True):
    """A prompt as its block keys, and when it was asked.

    :ivar at_s: seconds from the start of the trace; never less than in the request before
    :ivar request: a name, unique in the trace
    :ivar keys: 32 hex digits a block, in prefix order; each names the whole prefix that ends in its block, so a key
        has the same parent wherever it occurs. The last block may be only partly filled
    :ivar new_blocks: how many of the keys, at the end, no request before in the trace had
    :ivar tokens_in: tokens of the prompt
    :ivar tokens_out: tokens of the answer
    :ivar block_tokens: tokens of a full block
    """

    at_s: float
    request: str
    keys: list[str]
    new_blocks: int
    tokens_in: int
    tokens_out: int
    block_tokens: int

    @property
    def full_blocks(self) -> int:
        """How many of the keys name a full block: the others can be computed, but not cached."""
        return min(len(self.keys), self.tokens_in // self.block_tokens)
