"""An owner in a process of its own, to be killed: plays a trace and says what is acknowledged.

    python owner.py URL INSTANCE PLAN TRACE FIRST LAST

TRACE is a file, or the seed of generated traffic. Plays one request for each byte on its standard input, and all that
are left when that ends. Prints a line after every request, `epoch acked_n`, and `done` with what is wrong with the
state, after a snapshot at the end.
"""

import asyncio
import sys
from itertools import islice
from pathlib import Path

from kvbm_nats.manager import BlockManager
from kvbm_nats.options import Options
from kvbm_nats.plan import parse_plan
from kvbm_nats.traces import generate, load_trace
from kvbm_nats.traces.demo import demo_workload
from kvbm_nats.traces.embedded import EmbeddedCache
from kvbm_nats.traces.play import play_trace

PATIENCE_S = 60


def main(url, instance, plan, trace, first, last):
    """Play requests `first` to `last` of the trace."""
    requests = generate(demo_workload(int(trace))) if trace.isdecimal() else load_trace(Path(trace))
    options = Options(room_timeout_s=PATIENCE_S, close_timeout_s=PATIENCE_S, snapshot_every=5000)
    with BlockManager.open(url, instance, namespace="test=1", tiers=parse_plan(plan), options=options) as owner:

        def tell(_report):
            epoch, acked = owner.acked
            sys.stdout.write(f"{epoch} {acked}\n")
            sys.stdout.flush()

        part = as_told(islice(requests, int(first), int(last)))
        asyncio.run(play_trace(part, EmbeddedCache(owner), on_request=tell))
        owner.settle()
        owner.snapshot()
        flaws = owner.check_integrity()
    sys.stdout.write(f"done {flaws}\n")


def as_told(requests):
    """One request for each byte that comes, then all of them."""
    is_told = True
    for request in requests:
        is_told = is_told and bool(sys.stdin.buffer.raw.read(1))
        yield request


if __name__ == "__main__":
    main(*sys.argv[1:])
