"""KV events as engines send them, by ZeroMQ and msgpack: `[topic, sequence, batch]`.

A batch is `[time, events, data parallel rank]`. An event is a map with a tag (vLLM 0.32), or an array that begins with
one (vLLM before it, SGLang); fields that are not needed here are passed over, so that both may grow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from kvbm_events.schema import KEY_DIGITS, ROOT, TierName
from kvbm_events.schema.errors import KvbmError

SEQUENCE_BYTES = 8
END = (-1).to_bytes(SEQUENCE_BYTES, "big", signed=True)
"""The sequence of the message that ends a replay."""
_TIERS: dict[str, TierName] = {
    "GPU": "g1",
    "CPU": "g2",
    "CPU_TIER1": "g2",
    "CPU_PINNED": "g2",
    "STORAGE": "g3",
    "DISK": "g3",
}
_STORED = ("block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium")
_REMOVED = ("block_hashes", "medium")


class InvalidEngineEvent(KvbmError):
    """Bytes that are no batch of KV events, or one that contradicts itself."""


class Stored(Struct, frozen=True):
    """Blocks in a row are in a tier."""

    tier: TierName
    keys: list[str]
    parent: str


class Removed(Struct, frozen=True):
    """Blocks left a tier."""

    tier: TierName
    keys: list[str]


class Cleared(Struct, frozen=True):
    """Nothing is cached any more."""


EngineEvent = Stored | Removed | Cleared
_decode = msgspec.msgpack.Decoder().decode


def decode_batch(data: bytes) -> list[EngineEvent]:
    """The events of a batch, in their order; kinds that say nothing of blocks are left out.

    Raises:
        InvalidEngineEvent: these bytes are no batch.
    """
    try:
        batch = _decode(data)
        return [event for raw in batch[1] if (event := _event(raw)) is not None]
    except (msgspec.DecodeError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise InvalidEngineEvent(
            f"{len(data)} bytes are no batch of KV events", why=str(error) or repr(error)
        ) from error


def _event(raw: Any) -> EngineEvent | None:  # noqa: ANN401 - it comes from outside, and is looked at here
    kind, fields = (raw["type"], raw) if isinstance(raw, Mapping) else (raw[0], None)
    if kind == "BlockStored":
        fields = fields or dict(zip(_STORED, raw[1:], strict=False))
        keys = _keys(fields)
        above = fields.get("parent_block_hash")
        return Stored(_tier(fields), keys, ROOT if above is None else _key(above, _group(fields))) if keys else None
    if kind == "BlockRemoved":
        fields = fields or dict(zip(_REMOVED, raw[1:], strict=False))
        return Removed(_tier(fields), _keys(fields))
    return Cleared() if kind == "AllBlocksCleared" else None


def _tier(fields: Mapping[str, Any]) -> TierName:
    medium = fields.get("medium") or "GPU"
    if medium not in _TIERS:
        raise ValueError(f"medium {medium!r} is none of {', '.join(_TIERS)}")
    return _TIERS[medium]


def _group(fields: Mapping[str, Any]) -> int:
    return int(fields.get("group_idx") or 0)


def _keys(fields: Mapping[str, Any]) -> list[str]:
    hashes: Sequence[int | bytes] = fields["block_hashes"]
    return [_key(each, _group(fields)) for each in hashes]


def _key(block_hash: int | bytes, group: int) -> str:
    """128 bits of it. An engine that sends 64 (vLLM's default) is followed, but its keys are no others' keys."""
    whole = block_hash if isinstance(block_hash, bytes) else (block_hash % (1 << 64)).to_bytes(KEY_DIGITS // 2, "big")
    if group:
        return blake2b(whole + group.to_bytes(4, "big"), digest_size=KEY_DIGITS // 2).hexdigest()
    return whole[: KEY_DIGITS // 2].hex().rjust(KEY_DIGITS, "0")
