"""`kvbm traffic`: generated traffic against the service, for demonstrations."""

from __future__ import annotations

import asyncio
import contextlib

from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.cli.text import write_line
from kvbm_nats.publisher import Publisher
from kvbm_nats.traces import Workload, generate
from kvbm_nats.traces.demo import demo_workload
from kvbm_nats.traces.play import play_trace
from kvbm_nats.traces.served import ServedCache


def traffic(*, seed: int = 0, speed: float = 1.0, requests: int | None = None, nats: NatsOptions | None = None) -> None:
    """Play chats and coding agents with shared system prompts against the service until Ctrl-C.

    Args:
        seed: the same seed makes the same traffic
        speed: times its own pace
        requests: end after so many
        nats: where the service is
    """
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_play(demo_workload(seed, requests), speed, nats or NatsOptions()))


async def _play(workload: Workload, speed: float, options: NatsOptions) -> None:
    async with await Publisher.connect(options.nats_url, options.instance) as publisher:
        report = await play_trace(generate(workload), ServedCache(publisher), speed=speed)
    write_line(f"{report.requests:,} requests, {report.hit_ratio:.1%} of {report.asked:,} blocks found")
