"""One request of the engine, as the connector follows it."""

from __future__ import annotations

from hashlib import blake2b

from kvbm_events.schema import KEY_DIGITS
from kvbm_nats.connectors.vllm.engine import EngineRequest
from kvbm_statemachine.decide.desk import MAX_NAME

_KEY_BYTES = KEY_DIGITS // 2
GROUP_BYTES = 4


class Tracked:
    """See the module.

    :ivar name: of the request in the log
    :ivar local: blocks of its prefix that vLLM has found in its own cache, when it last looked
    :ivar whole: blocks that would have been found then, had no window been missing
    :ivar promised: by tier, blocks beyond those that it was told of
    :ivar stored: blocks whose arrival in g1 has been recorded
    :ivar is_loading: whether blocks are on their way for it, so that what it counts as computed is not there yet
    :ivar may_load: false once a load has failed: it is computed then, and never waits again
    """

    def __init__(self, request: EngineRequest) -> None:
        self.request, self.name = request, name_of(request.request_id)
        self.local, self.whole, self.stored = 0, 0, 0
        self.promised: dict[str, int] = {}
        self.is_loading, self.may_load = False, True
        self._keys: list[str] = []
        self._others: dict[int, list[str]] = {}

    def keys(self, group: int = 0) -> list[str]:
        """The key of each full block, in a KV-cache group."""
        hashes = self.request.block_hashes
        keys = self._others.setdefault(group, []) if group else self._keys
        if len(keys) < len(hashes):
            new = hashes[len(keys) :]
            keys += [key_in(each, group) if group else each[:_KEY_BYTES].hex() for each in new]
        return keys


def key_in(block_hash: bytes, group: int) -> str:
    """The key of a block in a KV-cache group other than the first: a hash of vLLM's hash and the group's number."""
    return blake2b(block_hash + group.to_bytes(GROUP_BYTES, "big"), digest_size=_KEY_BYTES).hexdigest()


def name_of(request_id: str) -> str:
    """A request's id, cut where a client has sent one that is longer than a name may be, or not to be written."""
    written = request_id.encode(errors="replace")
    if len(written) <= MAX_NAME and written.decode() == request_id:
        return request_id
    return f"{written.decode()[: MAX_NAME // 2]}…{blake2b(written, digest_size=8).hexdigest()}"
