"""A process that moves chance from host to disk for ever, and prints `slot checksum` of what is reported, until it is killed."""

import sys
import time
from pathlib import Path
from random import Random

from kvbm_tiers import DiskSlab, HostArena, Job, NixlPosixMover, ThreadMover, preset

CAPACITY, JOB_BLOCKS = 4096, 16


def main(kind: str, folder: Path) -> None:
    layout, chance = preset("tiny"), Random(5)
    arena = HostArena(folder / "arena", namespace="m=1", layout=layout, capacity=CAPACITY)
    slab = DiskSlab(folder / "slab", namespace="m=1", layout=layout, capacity=CAPACITY)
    mover = {"thread": ThreadMover, "nixl": NixlPosixMover}[kind]({"g2": arena, "g3": slab})
    places = chance.sample(range(CAPACITY), CAPACITY)
    for first in range(0, CAPACITY, JOB_BLOCKS):
        slots = places[first : first + JOB_BLOCKS]
        for slot in slots:
            arena.view(slot)[: layout.block_bytes] = chance.randbytes(layout.block_bytes)
        mover.submit(
            Job(
                transfer=str(first),
                source="g2",
                tier="g3",
                source_slots=slots,
                slots=slots,
                keys=["0" * 32] * JOB_BLOCKS,
                deadline_us=1 << 60,
            )
        )
        tell(mover)
    while True:
        tell(mover)
        time.sleep(0.001)


def tell(mover: ThreadMover | NixlPosixMover) -> None:
    for report in mover.poll():
        for at, slot in enumerate(report.slots):
            sys.stdout.write(f"{slot} {report.checksums[16 * at : 16 * at + 16]}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
