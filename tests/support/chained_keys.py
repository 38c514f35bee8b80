"""Block keys from a tree of small numbers: equal paths give equal keys, so that prefixes collide as often as a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import blake2b


@cache
def _key(path: tuple[int, ...]) -> str:
    return blake2b(repr(path).encode(), digest_size=16).hexdigest()


def key_at(*path: int) -> str:
    """The key of the block at the end of a path."""
    return _key(path)


def prefix(path: Sequence[int]) -> list[str]:
    """The keys of a prompt: one a step of the path, each the parent of the next."""
    return [_key(tuple(path[: end + 1])) for end in range(len(path))]


def keys_of(count: int, salt: int = 0) -> list[str]:
    """Keys enough for a limit: a chain like any other."""
    return [f"{salt:08x}{i:024x}" for i in range(count)]
