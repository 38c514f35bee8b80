"""Block keys: 32 lower-case hex digits, and their columnar form, one string of concatenated keys.

A key is 128 bits of the engine's chained prefix hash, so it names the whole prefix that ends in its block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from operator import itemgetter

from kvbm_events.schema.errors import InvalidCommand

KEY_DIGITS = 32
ROOT = ""
"""The parent of a prefix's first block."""


def pack_keys(keys: Sequence[str]) -> str:
    """Concatenate keys that were checked before."""
    return "".join(keys)


def unpack_keys(packed: str) -> list[str]:
    """Split a concatenation into its keys; `is_packed` tells beforehand whether it is whole."""
    count = len(packed) // KEY_DIGITS
    if 1 < count <= len(_PLACES) and count * KEY_DIGITS == len(packed):
        return [*_splitter(count)(packed)]
    return [packed[i : i + KEY_DIGITS] for i in range(0, len(packed), KEY_DIGITS)]


_PLACES = tuple(slice(i * KEY_DIGITS, (i + 1) * KEY_DIGITS) for i in range(512))


@cache
def _splitter(count: int) -> Callable[[str], tuple[str, ...]]:
    """Cuts a string of so many keys in one call: half the time of a loop, which folding feels."""
    return itemgetter(*_PLACES[:count])


def is_packed(packed: str) -> bool:
    """Whether the text is whole keys of lower-case hex digits. About 20 ns a key."""
    if len(packed) % KEY_DIGITS:
        return False
    try:
        size = len(bytes.fromhex(packed))
    except ValueError:
        return False
    return 2 * size == len(packed) and packed == packed.lower()  # fromhex skips blanks and takes capitals


def check_keys(keys: Sequence[str]) -> str:
    """Check keys that come from outside and return them packed.

    Raises:
        InvalidCommand: a key is not 32 lower-case hex digits; the message names the first one.
    """
    packed = "".join(keys)
    if len(packed) == KEY_DIGITS * len(keys) and is_packed(packed) and (len(keys) == 1 or _of_one_length(keys)):
        return packed
    wrong = next(key for key in keys if len(key) != KEY_DIGITS or not is_packed(key))
    raise InvalidCommand(
        f"{wrong[:48]!r} is not a block key",
        why=f"a key is {KEY_DIGITS} lower-case hex digits",
        hint="pass the first 16 bytes of the engine's chained block hash as .hex()",
    )


def _of_one_length(keys: Sequence[str]) -> bool:
    """Whether keys of hex digits have `KEY_DIGITS` on average and each: then commas stand at equal distances."""
    commas = len(keys) - 1
    return commas < 1 or ",".join(keys)[KEY_DIGITS :: KEY_DIGITS + 1] == "," * commas
