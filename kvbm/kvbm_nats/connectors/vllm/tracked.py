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
    :ivar may_load: false once a load has failed, or if its blocks have no keys: it is computed then, and never waits again
    """

    def __init__(self, request: EngineRequest, adapter: bytes | None = b"") -> None:
        """Follow a request; for `adapter` see `Adapters.digest`. Where that is None, its blocks have no keys."""
        self.request, self.name = request, name_of(request.request_id)
        self.local, self.whole, self.stored = 0, 0, 0
        self.promised: dict[str, int] = {}
        self.is_loading, self.may_load = False, adapter is not None
        self._adapter = adapter
        self._keys: list[str] = []
        self._others: dict[int, list[str]] = {}

    def keys(self, group: int = 0) -> list[str]:
        """The key of each full block, in a KV-cache group."""
        keys = self._others.setdefault(group, []) if group else self._keys
        adapter, hashes = self._adapter, self.request.block_hashes
        if adapter is not None and len(keys) < len(hashes):
            is_plain = not group and not adapter
            new = hashes[len(keys) :]
            keys += [each[:_KEY_BYTES].hex() if is_plain else key_in(each, group, adapter) for each in new]
        return keys


def key_in(block_hash: bytes, group: int, adapter: bytes = b"") -> str:
    """The key of a block with an adapter, or in a KV-cache group other than the first: a hash of vLLM's hash and both."""
    return blake2b(block_hash + group.to_bytes(GROUP_BYTES, "big") + adapter, digest_size=_KEY_BYTES).hexdigest()


def name_of(request_id: str) -> str:
    """A request's id, cut where a client has sent one that is longer than a name may be, or not to be written."""
    written = request_id.encode(errors="replace")
    if len(written) <= MAX_NAME and written.decode() == request_id:
        return request_id
    return f"{written.decode()[: MAX_NAME // 2]}…{blake2b(written, digest_size=8).hexdigest()}"
