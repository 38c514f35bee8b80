"""The other end of `bench_remote`'s raw stream: `remote_stream.py PORT BLOCK_BYTES COUNT`. It takes all blocks, or gives them."""

from __future__ import annotations

import socket
import sys

from kvbm_tiers.memory import anonymous


def main(port: int, block_bytes: int, count: int) -> None:
    """Until the stream ends: `d` and all blocks come, which is answered with `k`; `u` and they are sent."""
    memory = anonymous(block_bytes * count)
    views = [memory[at * block_bytes : (at + 1) * block_bytes] for at in range(count)]
    with socket.create_connection(("127.0.0.1", port)) as stream:
        while word := stream.recv(1):
            for view in views:
                if word == b"u":
                    stream.sendall(view)
                    continue
                done = 0
                while done < block_bytes:
                    done += stream.recv_into(view[done:])
            if word == b"d":
                stream.sendall(b"k")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
