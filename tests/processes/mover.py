"""A process that moves chance from host to disk, or to a bucket if one is named, for ever, and prints `slot checksum` of what is
reported, until it is killed: `mover.py KIND FOLDER [URL]`."""

import sys
import time
from pathlib import Path
from random import Random

from kvbm_tiers import DiskSlab, HostArena, Job, Mover, NixlPosixMover, ThreadMover, open_mover, preset
from support.movers import key_of, open_bucket

CAPACITY, JOB_BLOCKS = 4096, 16


def main(kind: str, folder: Path, url: str = "") -> None:
    layout, chance = preset("tiny"), Random(5)
    arena = HostArena(folder / "arena", namespace="m=1", layout=layout, capacity=CAPACITY)
    if url:
        mover, tier = open_mover({"g2": arena, "g4": open_bucket(url, layout, CAPACITY)}), "g4"
    else:
        slab = DiskSlab(folder / "slab", namespace="m=1", layout=layout, capacity=CAPACITY)
        mover, tier = {"thread": ThreadMover, "nixl": NixlPosixMover}[kind]({"g2": arena, "g3": slab}), "g3"
    places = chance.sample(range(CAPACITY), CAPACITY)
    for first in range(0, CAPACITY, JOB_BLOCKS):
        slots = places[first : first + JOB_BLOCKS]
        for slot in slots:
            arena.view(slot)[: layout.block_bytes] = chance.randbytes(layout.block_bytes)
        mover.submit(
            Job(
                transfer=str(first),
                source="g2",
                tier=tier,
                source_slots=slots,
                slots=slots,
                keys=[key_of(slot) for slot in slots],
                deadline_us=1 << 60,
            )
        )
        tell(mover)
    while True:
        tell(mover)
        time.sleep(0.001)


def tell(mover: Mover) -> None:
    for report in mover.poll():
        for at, slot in enumerate(report.slots):
            sys.stdout.write(f"{slot} {report.checksums[16 * at : 16 * at + 16]}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
