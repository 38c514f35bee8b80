"""A process with an agent over memory full of ones: `pusher.py SIZE`. It prints metadata and address, and does as it is told.

`meet METADATA` · `push ADDRESS`: write all of its memory there, and print `done`, or `failed` and why ·
`push-on ADDRESS`: the same, again and again until it fails · `count BYTE`: print how many pieces of 1 MiB end with it.
"""

import sys

from kvbm_tiers.memory import address_of, anonymous
from kvbm_tiers.nixl_agent import NixlTransferFailed
from kvbm_tiers.remote.pusher import Pusher

PIECE = 1 << 20


def say(*words):
    """One line, at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main(size):
    memory = anonymous(size)
    memory[:] = b"\1" * size
    mine, pusher = address_of(memory), Pusher("peer", [memory])
    say(pusher.metadata.hex(), mine)
    for line in sys.stdin:
        match line.split():
            case ["meet", metadata]:
                pusher.meet(bytes.fromhex(metadata)).result()
            case ["push" | "push-on" as order, address]:
                here, there = ([start + at for at in range(0, size, PIECE)] for start in (mine, int(address)))
                try:
                    pusher.push(here, there, PIECE).result()
                    while order == "push-on":
                        pusher.push(here, there, PIECE).result()
                    say("done")
                except NixlTransferFailed as error:
                    say("failed", error)
            case ["count", byte]:
                say([memory[at] for at in range(PIECE - 1, size, PIECE)].count(int(byte)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
