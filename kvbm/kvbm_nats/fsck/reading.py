"""Reading slots and hashing them, many at a time: the bytes of a tier as checksums."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import local
from typing import NamedTuple

from xxhash import xxh3_64_hexdigest

from kvbm_events.schema import Run, to_runs
from kvbm_nats.workers.track import combine_checksums
from kvbm_tiers.block_move import reason_of
from kvbm_tiers.examination import SlotReader
from kvbm_tiers.memory import anonymous

PIECE_BYTES = 4 << 20
"""Neighbouring slots are read at once up to so many bytes."""


class Sum(NamedTuple):
    """The checksum of what is in a slot; empty where it cannot be read, and why not."""

    slot: int
    checksum: str
    reason: str = ""


class Reading:
    """The files of all ranks of one tier, rank 0 first; a block's checksum is made of its slices as workers make it.

    :ivar size_bytes: read until now
    """

    def __init__(self, readers: Sequence[SlotReader], threads: int) -> None:
        self._readers, self._threads = readers, threads
        self._piece_slots = max(1, PIECE_BYTES // max(reader.slot_bytes for reader in readers))
        self._own = local()
        self.size_bytes = 0

    def sums(self, slots: Sequence[int]) -> Iterator[list[Sum]]:
        """Of these slots, in ascending order, piece by piece as they come."""
        pieces = _pieces(to_runs(slots), self._piece_slots)
        with ThreadPoolExecutor(self._threads, thread_name_prefix="kvbm-fsck") as pool:
            under_way: deque[Future[list[Sum]]] = deque()
            for piece in pieces:
                under_way.append(pool.submit(self._hash, piece))
                if len(under_way) > 2 * self._threads:
                    yield self._count(under_way.popleft().result())
            while under_way:
                yield self._count(under_way.popleft().result())

    def _count(self, sums: list[Sum]) -> list[Sum]:
        self.size_bytes += len(sums) * sum(reader.slot_bytes for reader in self._readers)
        return sums

    def _hash(self, piece: Run) -> list[Sum]:
        first, count = piece
        try:
            by_rank = [self._hash_slices(reader, first, count) for reader in self._readers]
        except OSError as error:
            if count == 1:
                return [Sum(first, "", reason_of(error))]
            return [each for at in range(count) for each in self._hash((first + at, 1))]
        return [Sum(first + at, combine_checksums(slices)) for at, slices in enumerate(zip(*by_rank, strict=True))]

    def _hash_slices(self, reader: SlotReader, first: int, count: int) -> list[str]:
        return [xxh3_64_hexdigest(block) for block in reader.read(first, count, self._memory())]

    def _memory(self) -> memoryview:
        """This thread's own."""
        if not hasattr(self._own, "memory"):
            self._own.memory = anonymous(self._piece_slots * max(reader.slot_bytes for reader in self._readers))
        memory: memoryview = self._own.memory
        return memory


def _pieces(runs: Sequence[Run], size: int) -> Iterator[Run]:
    for first, count in runs:
        for at in range(0, count, size):
            yield first + at, min(size, count - at)
