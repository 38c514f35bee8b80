"""One block from store to store: read, hashed, compared, written, with as few copies as the two allow."""

from __future__ import annotations

import errno

from xxhash import xxh3_64_hexdigest

from kvbm_tiers.errors import ObjectFailed
from kvbm_tiers.job_book import Outcome
from kvbm_tiers.mover import CORRUPT
from kvbm_tiers.store import Store


def move(source: Store, source_slot: int, target: Store, slot: int, checksum: str, bounce: memoryview) -> Outcome:
    """Move a block that must have this checksum, if one is given.

    A block goes straight where one side is packed memory, and over `bounce` where none is: disk to device is two hops.
    It never raises: what went wrong is the outcome.
    """
    try:
        here, there = source.view(source_slot), target.view(slot)
        block = here or there or bounce
        if not here:
            source.read(source_slot, block)
        proven = prove(block[: source.layout.block_bytes], checksum)
        if not proven.reason and (here or not there):
            target.write(slot, block)
    except Exception as error:  # noqa: BLE001 - a block that failed in an unknown way has failed, and the mover goes on
        return Outcome(reason=reason_of(error))
    else:
        return proven


def prove(block: memoryview, checksum: str) -> Outcome:
    """Hash a block, and compare it with what it must have, if that is known: its checksum, or `CORRUPT`."""
    return compare(xxh3_64_hexdigest(block), checksum)


def compare(found: str, checksum: str) -> Outcome:
    """A block's checksum beside what it must be, if that is known."""
    return Outcome(reason=CORRUPT) if checksum and checksum != found else Outcome(checksum=found)


def reason_of(error: Exception) -> str:
    """An error in a report's words, its number by name: `ENOSPC: No space left on device`."""
    if isinstance(error, ObjectFailed):
        return str(error)
    if isinstance(error, EOFError):  # of a block of which a part is missing, other bytes are there than were
        return f"{CORRUPT}: {error}"
    if isinstance(error, OSError) and error.errno:
        return f"{errno.errorcode.get(error.errno, error.errno)}: {error.strerror}"
    return f"{type(error).__name__}: {error}"
