"""An owner that is killed in the middle: `dying_owner.py URL INSTANCE FOLDER NUMBER offload|onboard STEP`.

It puts blocks of prompt NUMBER down, and up again where that is what is asked; at the step of that transfer which STEP names
it kills itself with SIGKILL, and if it is none of its own, it says `waits` and is killed from outside. It never ends well.
"""

import os
import signal
import sys

from kvbm_nats.manager import BlockManager
from kvbm_nats.workers import WorkerMover, WorkerOptions
from support.chained_keys import prefix
from support.steps import watch
from support.workers import NAMESPACE, TIERS, FileMover, bytes_of

BLOCKS = 4


def main(url, instance, folder, number, kind, step):
    memory, keys = FileMover(folder), prefix([int(number)] * BLOCKS)
    mover = WorkerMover.connect(url, instance, namespace=NAMESPACE, options=WorkerOptions(dead_after_s=60))
    owner = BlockManager.open(url, instance, namespace=NAMESPACE, tiers=TIERS, mover=mover)

    def reached(at):
        if at == step:
            os.kill(os.getpid(), signal.SIGKILL)

    if kind == "offload":
        watch(owner, mover, reached)
    slots = owner.allocate("r", BLOCKS)
    for slot, key in zip(slots, keys, strict=True):
        memory.block("g1", slot)[:] = bytes_of(key)
    owner.register("r", slots, keys)
    owner.release("r")
    if kind == "onboard":
        assert owner.settle()
        owner.evict(keys, tier="g1")
        owner.match("up", keys)
        owner.flush()
        watch(owner, mover, reached)
        owner.onboard("up", keys)
    owner.flush()
    owner.maintain()
    sys.stdout.write("waits\n")
    sys.stdout.flush()
    owner.settle()
    owner.flush()
    reached("over")


if __name__ == "__main__":
    main(*sys.argv[1:])
