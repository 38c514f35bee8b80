"""The chunks of one request as vLLM names them, and as the log does: keys, and who is whose parent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import NamedTuple

from kvbm_events.schema import KEY_DIGITS, ROOT
from kvbm_nats.connectors.vllm.tracked import GROUP_BYTES, key_in, name_of

_KEY_BYTES = KEY_DIGITS // 2


def key_of(chunk: bytes) -> str:
    """The key of a chunk from vLLM's `OffloadKey`: a block's hash, then the number of its KV-cache group.

    In the first group it is that of the connector: the hash's first 128 bits. In others it is a hash of both.
    """
    if not any(chunk[-GROUP_BYTES:]):
        return chunk[:_KEY_BYTES].hex()
    return key_in(chunk[:-GROUP_BYTES], group_of(chunk))


def group_of(chunk: bytes) -> int:
    """The number of its KV-cache group."""
    return int.from_bytes(chunk[-GROUP_BYTES:], "big")


class Run(NamedTuple):
    """Chunks that follow each other in a prompt, and where they lie in vLLM's host memory."""

    parent: str
    keys: list[str]
    slots: list[int]


class Prompt:
    """See the module.

    :ivar name: of the request in the log
    :ivar lost: keys that were to be loaded for it and did not come: it computes them
    :ivar was_looked_up: whether its look-up is in the log of the owner that there is
    """

    def __init__(self, request_id: str, positions: Mapping[bytes, int], chunk_tokens: Mapping[int, int]) -> None:
        """Follow a request.

        Args:
            request_id: vLLM's
            positions: vLLM's own, which grows: by chunk, the number of tokens up to its end
            chunk_tokens: by group, tokens of a chunk
        """
        self.name = name_of(request_id)
        self.lost: set[str] = set()
        self.was_looked_up = False
        self._positions, self._chunk_tokens = positions, chunk_tokens
        self._keys: dict[int, dict[int, str]] = {}
        self._read = 0

    def prefix(self, group: int) -> list[str]:
        """The keys of all its full chunks in a group, in order."""
        self._catch_up()
        keys, tokens = self._keys.get(group, {}), self._chunk_tokens[group]
        found: list[str] = []
        while key := keys.get(tokens * (len(found) + 1)):
            found.append(key)
        return found

    def runs(self, chunks: Collection[bytes], slots: Iterable[int]) -> list[Run]:
        """These chunks in the order of the prompt, which vLLM does not give them in. Those that are not its own are left out."""
        self._catch_up()
        places = [
            (group_of(chunk), end, slot)
            for chunk, slot in zip(chunks, slots, strict=True)
            if (end := self._positions.get(chunk)) is not None
        ]
        runs: list[Run] = []
        for group, end, slot in sorted(places):
            keys, tokens = self._keys[group], self._chunk_tokens[group]
            before = (end - 1) // tokens * tokens  # a chunk that is not full stands on the last full one
            parent = keys.get(before, ROOT)
            if not runs or runs[-1].keys[-1] != parent:
                runs.append(Run(parent, [], []))
            runs[-1].keys.append(keys[end])
            runs[-1].slots.append(slot)
        return runs

    def _catch_up(self) -> None:
        for chunk, end in islice(self._positions.items(), self._read, None):
            self._keys.setdefault(group_of(chunk), {})[end] = key_of(chunk)
        self._read = len(self._positions)
