"""A worker's part of a remote memory: `remote_mover.py URL NAME FOLDER LAYOUT CAPACITY`. g2 in FOLDER, g3 at the host.

It fills g2 with chance and prints `ready`. Then, for each line on stdin: `down` or `up` moves all blocks at once and prints
`arrived`, how many did, and how many have the bytes that they had at first; `on` moves down for ever and prints each round.
"""

import itertools
import sys
import time
from pathlib import Path
from random import Random

from xxhash import xxh3_64_hexdigest

from kvbm_tiers import HostArena, Job, preset
from kvbm_tiers.remote import NixlUcxMover, RemoteMemory
from support.memory_hosts import HABITS, NAMESPACE


def say(*words):
    """One line, at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Side:
    """The two tiers, and the mover between them."""

    def __init__(self, url, name, folder, layout, capacity):
        shape = {"namespace": NAMESPACE, "layout": layout, "capacity": capacity}
        self.arena = HostArena(folder / "g2.arena", **shape)
        self.remote = RemoteMemory(url, name, options=HABITS, **shape)
        self.mover = NixlUcxMover({"g2": self.arena, "g3": self.remote}, "g3")
        self._numbers, chance = itertools.count(1), Random(11)
        self._size = layout.block_bytes
        self.slots = range(capacity)
        for slot in self.slots:
            block = self.block(slot)
            block[:] = chance.randbytes(1 << 10) * (self._size >> 10)
        self._sums = [xxh3_64_hexdigest(self.block(slot)) for slot in self.slots]

    def block(self, slot):
        return self.arena.view(slot)[: self._size]

    def move(self, source, tier):
        """All blocks; how many arrived, and how many are as they were at first."""
        if tier == "g2":
            for slot in self.slots:
                self.block(slot)[:] = bytes(self._size)
        job = Job(
            transfer=f"1.{next(self._numbers)}",
            source=source,
            tier=tier,
            source_slots=self.slots,
            slots=self.slots,
            keys=["0" * 32] * len(self.slots),
            deadline_us=1 << 60,
            checksums=self._sums,
        )
        self.mover.submit(job)
        reports = []
        while sum(len(report.slots) for report in reports if report.stopped) < len(self.slots):
            time.sleep(0.0005)
            reports += self.mover.poll()
        arrived = sum(len(report.slots) for report in reports if not report.reason)
        same = [xxh3_64_hexdigest(self.block(slot)) for slot in self.slots]
        return arrived, sum(mine == first for mine, first in zip(same, self._sums, strict=True))


def main(url, name, folder, layout, capacity):
    side = Side(url, name, Path(folder), preset(layout), int(capacity))
    say("ready")
    for line in sys.stdin:
        match line.strip():
            case "down":
                say("arrived", *side.move("g2", "g3"))
            case "up":
                say("arrived", *side.move("g3", "g2"))
            case "on":
                while True:
                    say("arrived", *side.move("g2", "g3"))
    side.mover.close()
    side.remote.close()
    side.arena.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
