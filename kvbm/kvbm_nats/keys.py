"""Block keys from tokens, for engines that have no chained hash of their own."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b


def chain_keys(tokens: Sequence[int], *, block_tokens: int, namespace: str, salt: str = "") -> list[str]:
    """The keys of a prompt's full blocks, in prefix order: 128-bit BLAKE2b over the key before and the block's tokens.

    Args:
        tokens: token ids, each 0 to 2**32 - 1
        block_tokens: tokens of a block; a last block that is not full has no key
        namespace: what must agree for equal tokens to mean equal bytes
        salt: what must not be shared: a tenant, a LoRA adapter
    """
    key = blake2b(f"{namespace}\0{salt}".encode(), digest_size=16).digest()
    keys: list[str] = []
    for start in range(0, len(tokens) - block_tokens + 1, block_tokens):
        block = array("I", tokens[start : start + block_tokens])
        key = blake2b(key + block.tobytes(), digest_size=16).digest()
        keys.append(key.hex())
    return keys
