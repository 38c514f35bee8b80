"""An owner in a process of its own, to be killed: plays generated traffic and says what is acknowledged.

    python owner.py URL INSTANCE SEED REQUESTS

Prints a line after every request, `epoch acked_n`, and `done` after a snapshot at the end.
"""

import asyncio
import sys

from kvbm_nats.manager import BlockManager, Options
from kvbm_nats.plan import parse_plan
from kvbm_nats.traces import Agent, Chat, Workload, generate
from kvbm_nats.traces.embedded import EmbeddedCache
from kvbm_nats.traces.play import play_trace

PLAN = "g1=300,g2=900,g3=2000:selective"
CHAT = Chat(opening_tokens=600, turns=4, step_tokens=150, answer_tokens=100, pause_s=1)
AGENT = Agent(opening_tokens=2000, turns=10, step_tokens=100, answer_tokens=60, pause_s=1)


def main(url: str, instance: str, seed: int, requests: int) -> None:
    """Play to the end."""
    workload = Workload(
        seed=seed, requests=requests, block_tokens=16, system_tokens=320, summary_tokens=320, chat=CHAT, agent=AGENT,
        context_tokens_max=4096,
    )
    options = Options(room_timeout_s=60, close_timeout_s=60, snapshot_every=2000)
    with BlockManager.open(
        url, instance, namespace="test=1", tiers=parse_plan(PLAN), options=options
    ) as owner:

        def tell(_report: object) -> None:
            epoch, acked = owner.acked
            sys.stdout.write(f"{epoch} {acked}\n")
            sys.stdout.flush()

        asyncio.run(play_trace(generate(workload), EmbeddedCache(owner), on_request=tell))
        owner.wait_transfers([*owner.state.transfers])
        owner.snapshot()
        flaws = owner.check_integrity()
    sys.stdout.write(f"done {flaws}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
