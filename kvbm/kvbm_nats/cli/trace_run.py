"""`kvbm trace run`: play a trace against an owner, and say what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct, structs

from kvbm_events.memory import MemoryLog
from kvbm_nats.cli.connect import connect_log
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.cli.output import progress_to, write_table
from kvbm_nats.cli.text import Json, write_json, write_line
from kvbm_nats.manager import BlockManager
from kvbm_nats.plan import parse_plan
from kvbm_nats.publisher import Publisher
from kvbm_nats.status import Status
from kvbm_nats.traces import AS_FAST_AS_IT_GOES, load_trace
from kvbm_nats.traces.embedded import EmbeddedCache
from kvbm_nats.traces.mooncake import BLOCK_TOKENS
from kvbm_nats.traces.play import Cache, Report, play_trace
from kvbm_nats.traces.served import ServedCache

Play = Callable[[Cache], Coroutine[Any, Any, Report]]
Via = Literal["embedded", "service", "memory"]


class Outcome(Struct, kw_only=True):
    """A run: its report, the owner's status at the end, and what is wrong with the state."""

    report: Report
    status: Status
    flaws: list[str]


def run(
    file: Path,
    /,
    *,
    tiers: str = "g1=4096,g2=16384",
    via: Via = "embedded",
    speed: float | None = None,
    requests: int | None = None,
    block_tokens: int = BLOCK_TOKENS,
    json: Json = False,
    nats: NatsOptions | None = None,
) -> bool:
    """Play a trace, and report hit ratios by tier, events, evictions and time.

    Exit code 1 where the state at the end fails its integrity check.

    Args:
        file: a Mooncake file, a coding-agent session, or a directory of sessions; plain or gzip
        tiers: the plan, `g1=BLOCKS[:POLICY][:ADMISSION],...`; a service has its own
        via: an owner embedded here that writes to NATS, the service, or an owner here with a log in memory
        speed: times the recorded pace; as fast as it goes if left out
        requests: play only so many
        block_tokens: tokens of a block, where the trace does not say
        json: one JSON object, for machines
        nats: where the log or the service is
    """
    trace = list(load_trace(file, block_tokens=block_tokens))[:requests]
    options = nats or NatsOptions()
    pace = AS_FAST_AS_IT_GOES if speed is None else speed
    with progress_to(len(trace), f"playing {file.name}") as advance:
        play = partial(play_trace, trace, speed=pace, on_request=lambda report: advance(report.requests))
        if via == "service":
            outcome = asyncio.run(_served(play, options))
        else:
            connect = MemoryLog() if via == "memory" else partial(connect_log, options)
            owner = BlockManager.open(
                connect,
                options.instance,
                namespace=f"trace={file.name};block_tokens={trace[0].block_tokens if trace else block_tokens}",
                tiers=parse_plan(tiers),
            )
            with owner:
                outcome = _embedded(play, owner)
    if json:
        write_json(_as_json(outcome))
    else:
        _tell(outcome)
    return not outcome.flaws


def _embedded(play: Play, owner: BlockManager) -> Outcome:
    """Play against an owner in this process; its last act is a snapshot, which `kvbm replay --verify` compares."""
    report = asyncio.run(play(EmbeddedCache(owner)))
    owner.wait_transfers([*owner.state.transfers])
    owner.snapshot()
    return Outcome(report=report, status=owner.status(with_digest=True), flaws=owner.check_integrity())


async def _served(play: Play, options: NatsOptions) -> Outcome:
    async with await Publisher.connect(options.nats_url, options.instance) as publisher:
        report = await play(ServedCache(publisher))
        return Outcome(report=report, status=await publisher.status(with_digest=True), flaws=[])


def _as_json(outcome: Outcome) -> dict[str, object]:
    report = outcome.report
    return {
        **structs.asdict(report),
        "hit_ratio": report.hit_ratio,
        "infinite_hit_ratio": report.possible_ratio,
        "events": outcome.status.events,
        "evicted": outcome.status.evicted,
        "epoch": outcome.status.epoch,
        "n": outcome.status.n,
        "digest": outcome.status.digest,
        "integrity": outcome.flaws,
    }


def _tell(outcome: Outcome) -> None:
    report, status = outcome.report, outcome.status
    rows = [[tier, f"{blocks:,}", _share(blocks, report.asked)] for tier, blocks in sorted(report.found.items())]
    rows.append(["found", f"{sum(report.found.values()):,}", f"{report.hit_ratio:.1%}"])
    rows.append(["infinite cache", f"{report.possible:,}", f"{report.possible_ratio:.1%}"])
    rows.append(["computed", f"{report.computed:,}", _share(report.computed, report.asked)])
    rows.append(["no room", f"{report.uncached:,}", _share(report.uncached, report.asked)])
    write_table(("blocks", "", "of all"), rows)
    events = sum(status.events.values())
    write_line(f"{report.requests:,} requests, {report.asked:,} blocks asked for, in {report.wall_s:.1f} s")
    write_line(f"{events:,} events: " + ", ".join(f"{count:,} {name}" for name, count in sorted(status.events.items())))
    write_line(
        "evicted: " + (", ".join(f"{blocks:,} from {tier}" for tier, blocks in status.evicted.items()) or "none")
    )
    write_line(f"integrity: {len(outcome.flaws)} errors; digest {status.digest} at {status.epoch}.{status.n}")
    for flaw in outcome.flaws:
        write_line(f"  {flaw}")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"
