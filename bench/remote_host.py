"""A memory host for `bench_remote`: `remote_host.py URL NAME FOLDER BLOCK_BYTES COUNT`. It says `ready`, and runs until it is killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from kvbm_tiers import Group, Layout
from kvbm_tiers.remote import HostOptions, MemoryPlan, keep_memory


def main(url: str, name: str, folder: str, block_bytes: str, count: str) -> None:
    """Keep memory for blocks of one piece."""
    shape = Group(name="b", layers=1, outer=1, tokens=1, heads=1, head_size=int(block_bytes), dtype="int8")
    layout = Layout(groups=(shape,))
    plan = MemoryPlan(name=name, namespace="bench", layout=layout, capacity=int(count), folder=Path(folder))

    async def keep() -> None:
        await keep_memory(
            url, plan, HostOptions(), is_over=asyncio.Event(), on_ready=lambda _: print("ready", flush=True)
        )

    asyncio.run(keep())


if __name__ == "__main__":
    main(*sys.argv[1:])
