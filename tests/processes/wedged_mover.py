"""A mover whose first agent really hangs: `wedged_mover.py ENGINE FOLDER`.

Each transfer of that agent is posted, its handle released while it is under way, which NIXL must not be asked, and posted
again: sooner or later NIXL loses the second one's completion, in every lane. What the mover does then is its own work.
"""

import sys
import time
from pathlib import Path

from xxhash import xxh3_64_hexdigest

from kvbm_tiers import DiskSlab, HostArena, Job, NixlPosixMover, preset
from kvbm_tiers.agent_thread import LANES
from kvbm_tiers.memory import anonymous
from kvbm_tiers.nixl_agent import PosixAgent

CAPACITY, JOB_BLOCKS = 512, 8
LAYOUT = preset("gpt-oss-20b")
TIMEOUT_S = 90


def wedge_the_first_agent():
    agents, post = list[PosixAgent](), PosixAgent.post

    def post_twice(agent, *rows):
        if agent not in agents:
            agents.append(agent)
        handle = post(agent, *rows)
        if agent is agents[0]:
            agent._agent.release_xfer_handle(handle.transfer)
            handle = post(agent, *rows)
        return handle

    PosixAgent.post = post_twice
    return agents


def main(engine, folder):
    agents = wedge_the_first_agent()
    arena = HostArena(folder / "arena", namespace="m=1", layout=LAYOUT, capacity=CAPACITY)
    slab = DiskSlab(folder / "slab", namespace="m=1", layout=LAYOUT, capacity=CAPACITY)
    mover = NixlPosixMover({"g2": arena, "g3": slab}, engine=engine, hang_s=1.0, patience_s=1.0)
    for first in range(0, CAPACITY, JOB_BLOCKS):
        slots = range(first, first + JOB_BLOCKS)
        for slot in slots:
            arena.view(slot)[:8] = slot.to_bytes(8, "little")
        where = {"source": "g2", "tier": "g3", "source_slots": slots, "slots": slots}
        mover.submit(Job(transfer=f"1.{first}", **where, keys=["0" * 32] * JOB_BLOCKS, deadline_us=1 << 60))
    arrived, end = dict[int, str](), time.monotonic() + TIMEOUT_S
    while len(arrived) < CAPACITY - LANES * JOB_BLOCKS:
        assert time.monotonic() < end, f"{len(arrived)} arrived, {len(agents)} agents"
        for report in mover.poll():
            assert not report.reason, report
            for at, slot in enumerate(report.slots):
                arrived[slot] = report.checksums[16 * at : 16 * at + 16]
        time.sleep(0.001)
    block = anonymous(LAYOUT.slot_bytes)
    for slot, checksum in arrived.items():
        slab.read(slot, block)
        assert xxh3_64_hexdigest(block[: LAYOUT.block_bytes]) == checksum
    mover.close()
    sys.stdout.write(f"all that was not lost is there; agents: {len(agents)}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
