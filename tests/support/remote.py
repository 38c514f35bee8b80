"""A mover over the memory of a host that a test kills, stops and starts again."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

from xxhash import xxh3_64_hexdigest

from kvbm_events.schema import TierName
from kvbm_events.schema.errors import KvbmError
from kvbm_tiers import HostArena, Job, Report
from kvbm_tiers.job_book import wall_clock_us
from kvbm_tiers.remote import NixlUcxMover
from support.memory_hosts import NAMESPACE, MemoryProcess
from support.movers import PATIENCE_S, Clock, collect


class RemoteSite:
    """g2 in this process, g3 at the host, and the mover between them.

    :ivar arena: g2
    :ivar sums: checksum by slot of what `fill` wrote
    """

    def __init__(self, host: MemoryProcess, folder: Path) -> None:
        self.host, self.clock, self.sums = host, Clock(), dict[int, str]()
        self.layout, self.capacity = host.layout, host.capacity
        self.arena = HostArena(folder / "g2.arena", namespace=NAMESPACE, layout=self.layout, capacity=self.capacity)
        self.remote = host.open()
        self.mover = NixlUcxMover({"g2": self.arena, "g3": self.remote}, "g3", now_us=self.clock, patience_s=2.0)
        self._chance, self._count = Random(7), 0
        with host.path.open("rb") as file:
            self._far = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))

    def close(self) -> None:
        self.mover.close()
        self.remote.close()
        self.arena.close()

    def fill(self, slots: Sequence[int]) -> None:
        """New bytes in slots of g2."""
        for slot in slots:
            data = self.near(slot)
            data[:] = self._chance.randbytes(1 << 10) * (len(data) >> 10)
            data[:8] = slot.to_bytes(8, "little")
            self.sums[slot] = xxh3_64_hexdigest(data)

    def near(self, slot: int) -> memoryview:
        """A block in this process."""
        return self.arena.view(slot)[: self.layout.block_bytes]

    def far(self, slot: int) -> memoryview:
        """A block at the host, seen past UCX."""
        start = slot * self.layout.slot_bytes
        return self._far[start : start + self.layout.block_bytes]

    def down(self, slots: Sequence[int], **more: object) -> str:
        """Offload slots of g2 to the same ones at the host; the transfer."""
        return self._submit("g2", "g3", slots, slots, **more)

    def up(self, slots: Sequence[int], targets: Sequence[int], **more: object) -> str:
        """Onboard slots of the host; the transfer."""
        sums = [self.sums.get(slot, "") for slot in slots]
        return self._submit("g3", "g2", slots, targets, checksums=sums, **more)

    def reports(self, is_enough: Callable[[list[Report]], object]) -> list[Report]:
        """Poll until these are enough."""
        return collect(self.mover, lambda reports: bool(is_enough(reports)))

    def outcome(self, transfer: str, count: int) -> tuple[set[str], int]:
        """Why blocks of a transfer failed, when nothing of it is written any more, and how many arrived."""
        reports = self.reports(lambda reports: stopped(reports, transfer) >= count)
        mine = [report for report in reports if report.transfer == transfer]
        arrived = sum(len(report.slots) for report in mine if not report.reason)
        return {report.reason for report in mine if report.reason}, arrived

    def wait_session(self) -> None:
        """Wait until the mover has reached its host again."""

        def is_there() -> bool:
            with suppress(KvbmError):
                return bool(self.remote.link.session())
            return False

        wait_until(is_there)

    def check_works(self, slots: Sequence[int]) -> None:
        """Down, wiped here, and up again, with the bytes that they had."""
        self.wait_session()
        self.fill(slots)
        assert self.outcome(self.down(slots), len(slots)) == (set(), len(slots))
        for slot in slots:
            self.near(slot)[:] = bytes(self.layout.block_bytes)
        assert self.outcome(self.up(slots, slots), len(slots)) == (set(), len(slots))
        assert [xxh3_64_hexdigest(self.near(slot)) for slot in slots] == [self.sums[slot] for slot in slots]
        assert [xxh3_64_hexdigest(self.far(slot)) for slot in slots] == [self.sums[slot] for slot in slots]

    def _submit(
        self, source: TierName, tier: TierName, sources: Sequence[int], slots: Sequence[int], **more: object
    ) -> str:
        self._count += 1
        fields = {
            "transfer": f"1.{self._count}",
            "source": source,
            "tier": tier,
            "source_slots": sources,
            "slots": slots,
            "keys": ["0" * 32] * len(slots),
            "deadline_us": wall_clock_us() + 3_600_000_000,
            **more,
        }
        self.mover.submit(Job(**fields))
        return str(fields["transfer"])


def stopped(reports: Sequence[Report], transfer: str) -> int:
    """Of how many blocks it is said that nothing more will happen to them."""
    return sum(len(report.slots) for report in reports if report.transfer == transfer and report.stopped)


def in_doubt(reports: Sequence[Report], transfer: str) -> set[int]:
    """Slots of which it is not said yet that nothing writes them any more."""
    mine = [report for report in reports if report.transfer == transfer]
    doubtful = {slot for report in mine if not report.stopped for slot in report.slots}
    return doubtful - {slot for report in mine if report.stopped for slot in report.slots}


def wait_until(reached: Callable[[], object]) -> None:
    """Look again and again until it is so."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < give_up_at
        time.sleep(0.0002)


@contextmanager
def remote_site(host: MemoryProcess, folder: Path) -> Iterator[RemoteSite]:
    """A site that is closed at the end."""
    site = RemoteSite(host, folder)
    try:
        yield site
    finally:
        site.close()
