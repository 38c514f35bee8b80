"""The Mooncake format: one JSON object a line, one hash id a block, ids global over the file.

`{"timestamp": ms, "input_length": tokens, "output_length": tokens, "hash_ids": [int, …]}`. A block has 512 tokens
unless a line says `block_size`, which is an addition of this project: the files that `write` makes carry it, and other
readers pass over it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
from msgspec import Meta, Struct

from kvbm_nats.traces.errors import InvalidTrace
from kvbm_nats.traces.files import JSON_ERRORS, invalid_json
from kvbm_nats.traces.identity import Keyring, Record, check_size
from kvbm_nats.traces.request import TraceRequest

BLOCK_TOKENS = 512
EXPECTED = '{"timestamp": ms, "input_length": tokens, "output_length": tokens, "hash_ids": [int, …]}'

Tokens = Annotated[int, Meta(ge=0, le=1 << 40)]
HashId = Annotated[int, Meta(ge=0)]
BlockTokens = Annotated[int, Meta(ge=1, le=1 << 20)]


class _Row(Struct, omit_defaults=True):
    timestamp: Annotated[float, Meta(ge=0, le=1e15)]
    input_length: Tokens
    output_length: Tokens
    hash_ids: list[HashId]
    block_size: BlockTokens | None = None


_decode = msgspec.json.Decoder(_Row).decode
_encode = msgspec.json.Encoder().encode


def read(
    lines: Iterable[tuple[int, bytes]], path: Path, *, scope: str, block_tokens: int = BLOCK_TOKENS
) -> Iterator[TraceRequest]:
    """The requests of numbered lines; their times count from the first one.

    Raises:
        InvalidTrace: a line is no record, goes back in time, or contradicts another.
    """
    keyring = Keyring(scope)
    start_ms = last_ms = None
    for number, line in lines:
        where = f"{path}:{number}"
        try:
            row = _decode(line)
        except JSON_ERRORS as error:
            raise invalid_json(where, error, EXPECTED) from error
        if start_ms is None or last_ms is None:
            start_ms = last_ms = row.timestamp
        if row.timestamp < last_ms:
            raise InvalidTrace(
                f"{where}: timestamp {row.timestamp:.15g} comes after {last_ms:.15g}",
                why="requests stand in the order of time",
                hint="sort the file by timestamp",
            )
        last_ms = row.timestamp
        yield keyring.request(
            Record(
                where=where,
                at_s=(row.timestamp - start_ms) / 1000,
                request=f"{scope}-{number}",
                hash_ids=row.hash_ids,
                tokens_in=row.input_length,
                tokens_out=row.output_length,
                block_tokens=row.block_size or block_tokens,
            )
        )


def write(requests: Iterable[TraceRequest], file: BinaryIO) -> None:
    """Write requests as lines. Keys become numbers in the order of their first use; times are rounded to the ms.

    Raises:
        InvalidTrace: the requests have more than `IDS_MAX` different keys, whose numbers would not fit in memory.
    """
    numbers: dict[str, int] = {}
    for request in requests:
        hash_ids = [numbers.setdefault(key, len(numbers)) for key in request.keys]
        check_size(len(numbers), request.request)
        row = {
            "timestamp": round(request.at_s * 1000),
            "input_length": request.tokens_in,
            "output_length": request.tokens_out,
            "hash_ids": hash_ids,
            "block_size": request.block_tokens,
        }
        file.write(_encode(row) + b"\n")
