"""One request of the engine, as the connector follows it."""

from __future__ import annotations

from hashlib import blake2b

from kvbm_events.schema import KEY_DIGITS
from kvbm_nats.connectors.vllm.engine import EngineRequest
from kvbm_statemachine.decide.desk import MAX_NAME

_KEY_BYTES = KEY_DIGITS // 2


class Tracked:
    """See the module.

    :ivar name: of the request in the log
    :ivar local: blocks of its prefix that vLLM has found in its own cache, when it last looked
    :ivar promised: by tier, blocks beyond those that it was told of
    :ivar stored: blocks whose arrival in g1 has been recorded
    :ivar is_loading: whether blocks are on their way for it, so that what it counts as computed is not there yet
    :ivar may_load: false once a load has failed: it is computed then, and never waits again
    """

    def __init__(self, request: EngineRequest) -> None:
        self.request, self.name = request, name_of(request.request_id)
        self.local, self.stored = 0, 0
        self.promised: dict[str, int] = {}
        self.is_loading, self.may_load = False, True
        self._keys: list[str] = []

    def keys(self) -> list[str]:
        """The key of each full block."""
        hashes = self.request.block_hashes
        if len(self._keys) < len(hashes):
            self._keys += [each[:_KEY_BYTES].hex() for each in hashes[len(self._keys) :]]
        return self._keys


def name_of(request_id: str) -> str:
    """A request's id, cut where a client has sent one that is longer than a name may be, or not to be written."""
    written = request_id.encode(errors="replace")
    if len(written) <= MAX_NAME and written.decode() == request_id:
        return request_id
    return f"{written.decode()[: MAX_NAME // 2]}…{blake2b(written, digest_size=8).hexdigest()}"
