"""The format of kv-cache-tester: one recorded coding-agent session a JSON file, hash ids local to the file.

`{"id": name, "block_size": tokens, "hash_id_scope": "local", "requests": [{"t": s, "in": tokens, "out": tokens,
"hash_ids": [int, …]}, …]}`. A sub-agent is an entry with requests of its own, `{"t": s, "requests": […]}`, whose times
count from its `t`. Hash ids name full blocks only.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from kvbm_nats.traces.errors import InvalidTrace
from kvbm_nats.traces.files import JSON_ERRORS, invalid_json
from kvbm_nats.traces.identity import Keyring, Record
from kvbm_nats.traces.mooncake import BlockTokens, HashId, Tokens
from kvbm_nats.traces.request import TraceRequest

EXPECTED = (
    '{"id": name, "block_size": tokens, "hash_id_scope": "local", '
    '"requests": [{"t": s, "in": tokens, "out": tokens, "hash_ids": [int, …]}, …]}'
)
DEPTH_MAX = 8
"""How deep sub-agents may nest."""


class _Entry(Struct, rename={"tokens_in": "in", "tokens_out": "out"}):
    t: Annotated[float, Meta(ge=0, le=1e12)]
    tokens_in: Tokens | UnsetType = UNSET
    tokens_out: Tokens | UnsetType = UNSET
    hash_ids: list[HashId] | UnsetType = UNSET
    requests: list[_Entry] | UnsetType = UNSET


class _Session(Struct):
    id: Annotated[str, Meta(min_length=1, max_length=256)]
    block_size: BlockTokens
    requests: list[_Entry]
    hash_id_scope: Literal["local"] = "local"


_decode = msgspec.json.Decoder(_Session).decode


class Session:
    """A decoded session. `name` is its trace id, which must be unique among sessions that are played together."""

    def __init__(self, data: bytes, path: Path) -> None:
        """Decode a whole file.

        Raises:
            InvalidTrace: it is not a session, or one of its entries is incomplete.
        """
        try:
            session = _decode(data)
        except JSON_ERRORS as error:
            raise invalid_json(f"{path}{_line(data, error)}", error, EXPECTED) from error
        self.name = session.id
        self._block_tokens = session.block_size
        entries = _flatten(session.requests, 0.0, f"{path}: $.requests")
        self._entries = deque(sorted(entries, key=lambda item: item[0]))

    def requests(self, start_s: float = 0.0) -> Iterator[TraceRequest]:
        """The requests in the order of time, the session's start being at `start_s`; sub-agents' among them.

        Each is let go of when it was given, so a session is played once.

        Raises:
            InvalidTrace: a request contradicts itself or another.
        """
        keyring = Keyring(self.name)
        number = 0
        while self._entries:
            at_s, where, entry = self._entries.popleft()
            number += 1
            name = f"{self.name}-{number}"
            yield keyring.request(_record(entry, where, start_s + at_s, name, self._block_tokens))


def _flatten(entries: list[_Entry], start_s: float, where: str, depth: int = 0) -> Iterator[tuple[float, str, _Entry]]:
    if depth > DEPTH_MAX:
        raise InvalidTrace(f"{where} nests too deep", why=f"sub-agents nest at most {DEPTH_MAX} deep")
    for number, entry in enumerate(entries):
        if entry.requests is not UNSET:
            yield from _flatten(entry.requests, start_s + entry.t, f"{where}[{number}].requests", depth + 1)
        else:
            yield start_s + entry.t, f"{where}[{number}]", entry


def _record(entry: _Entry, where: str, at_s: float, request: str, block_tokens: int) -> Record:
    if entry.tokens_in is UNSET or entry.tokens_out is UNSET or entry.hash_ids is UNSET:
        raise InvalidTrace(
            f"{where} is no request and no sub-agent",
            why="a request has `in`, `out` and `hash_ids`; a sub-agent has `requests`",
        )
    return Record(
        where=where,
        at_s=at_s,
        request=request,
        hash_ids=entry.hash_ids,
        tokens_in=entry.tokens_in,
        tokens_out=entry.tokens_out,
        block_tokens=block_tokens,
    )


def _line(data: bytes, error: Exception) -> str:
    """`:<line>` where the decoder says at which byte it stopped."""
    place = re.search(r"\(byte (\d+)\)", str(error))
    if place is None:
        return ""
    line = data[: int(place[1])].count(b"\n") + 1
    return f":{line}"
