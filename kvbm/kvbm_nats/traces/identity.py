"""From a trace's hash ids to block keys.

Rules
1. A hash id names the whole prefix that ends in its block. So it follows one and the same id wherever it occurs;
   a trace that breaks this is refused, because no cache could be right about it.
2. A key is the 128-bit BLAKE2b hash of the scope and the id. Two traces with the same ids share nothing, unless they
   share a scope.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain

from msgspec import Struct

from kvbm_nats.traces.errors import InvalidTrace
from kvbm_nats.traces.request import TraceRequest

IDS_MAX = 1 << 24
"""The most different hash ids of one scope that are kept in memory: some 3 GB."""
_NO_PARENT = -1


def key_of(scope: str, hash_id: int) -> str:
    """The block key of a hash id: 32 hex digits."""
    return blake2b(f"{scope}\0{hash_id}".encode(), digest_size=16).hexdigest()


class Record(Struct, frozen=True, kw_only=True):
    """What every format says of a request. `where` is its place in the file, for errors."""

    where: str
    at_s: float
    request: str
    hash_ids: Sequence[int]
    tokens_in: int
    tokens_out: int
    block_tokens: int


class Keyring:
    """The keys of one scope, and which of them the trace has had before."""

    def __init__(self, scope: str) -> None:
        self._keys = _Keys(scope)
        self._parents: dict[int, int] = {}

    def request(self, record: Record) -> TraceRequest:
        """The record with keys for its hash ids.

        Raises:
            InvalidTrace: an id with two parents, more ids than the tokens fill, or more ids in all than `IDS_MAX`.
        """
        _check_count(record)
        self._check_parents(record)
        before = len(self._keys)
        keys = list(map(self._keys.__getitem__, record.hash_ids))
        check_size(len(self._keys), record.where)
        return TraceRequest(
            at_s=record.at_s,
            request=record.request,
            keys=keys,
            new_blocks=len(self._keys) - before,
            tokens_in=record.tokens_in,
            tokens_out=record.tokens_out,
            block_tokens=record.block_tokens,
        )

    def _check_parents(self, record: Record) -> None:
        enter = self._parents.setdefault
        for parent, hash_id in zip(chain((_NO_PARENT,), record.hash_ids), record.hash_ids, strict=False):
            if (known := enter(hash_id, parent)) != parent:
                raise InvalidTrace(
                    f"{record.where}: hash id {hash_id} comes {_after(parent)}, but {_after(known)} elsewhere",
                    why="a hash id names the whole prefix before it, so it has one parent",
                )


class _Keys(dict[int, str]):
    """Keys by hash id, made when they are first asked for."""

    def __init__(self, scope: str) -> None:
        super().__init__()
        self._scope = scope

    def __missing__(self, hash_id: int) -> str:
        key = self[hash_id] = key_of(self._scope, hash_id)
        return key


def check_size(ids: int, where: str) -> None:
    """Refuse more different hash ids than `IDS_MAX`."""
    if ids > IDS_MAX:
        raise InvalidTrace(
            f"{where}: the trace is too large", why=f"it has over {IDS_MAX:,} different blocks", hint="split it"
        )


def _check_count(record: Record) -> None:
    most = -(-record.tokens_in // record.block_tokens)
    if len(record.hash_ids) > most:
        raise InvalidTrace(
            f"{record.where}: {len(record.hash_ids)} hash ids for {record.tokens_in} tokens",
            why=f"{record.tokens_in} tokens fill at most {most} blocks of {record.block_tokens}",
            hint="say how many tokens a block of this trace has",
        )


def _after(parent: int) -> str:
    return "first" if parent == _NO_PARENT else f"after {parent}"
