"""`kvbm trace run`: play a trace against an owner, and say what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from msgspec import Struct, structs

from kvbm_events.log import Log
from kvbm_events.memory import MemoryLog
from kvbm_events.schema import TierSpec
from kvbm_nats.cli.connect import connect_log
from kvbm_nats.cli.logs import log_to_stderr
from kvbm_nats.cli.options import NatsOptions, Stores
from kvbm_nats.cli.output import progress_to, write_table, write_words
from kvbm_nats.cli.text import Json, write_json
from kvbm_nats.explain.words import span
from kvbm_nats.manager import BlockManager
from kvbm_nats.plan import parse_plan
from kvbm_nats.publisher import Publisher
from kvbm_nats.status import Status
from kvbm_nats.traces import AS_FAST_AS_IT_GOES, load_trace
from kvbm_nats.traces.content import Content
from kvbm_nats.traces.embedded import EmbeddedCache
from kvbm_nats.traces.mooncake import BLOCK_TOKENS
from kvbm_nats.traces.play import Cache, Report, play_trace
from kvbm_nats.traces.served import ServedCache
from kvbm_tiers import Media, Stack, Traffic, in_folder, parse_media, preset

Play = Callable[[Cache], Coroutine[Any, Any, Report]]
Via = Literal["embedded", "service", "memory"]


class Outcome(Struct, kw_only=True):
    """A run.

    :ivar status: of the owner at the end
    :ivar flaws: what is wrong with the state, or with the bytes
    :ivar verified: blocks that came up again with the bytes that they went down with
    :ivar traffic: what moved, by `<from>-<to>`
    """

    report: Report
    status: Status
    flaws: list[str]
    verified: int = 0
    traffic: dict[str, Traffic] = {}


def run(
    file: Path,
    /,
    *,
    tiers: str = "g1=4096,g2=16384",
    layout: str = "tiny",
    folder: Path | None = None,
    store: Stores = (),
    via: Via = "embedded",
    speed: float | None = None,
    requests: int | None = None,
    block_tokens: int = BLOCK_TOKENS,
    json: Json = False,
    nats: NatsOptions | None = None,
) -> bool:
    """Play a trace, and report hit ratios by tier, events, evictions, bytes moved, and time.

    An owner here moves real bytes between its tiers, and every block that comes up again is compared with what went down.
    Exit code 1 where one differs, or the state at the end fails its integrity check.

    Args:
        file: a Mooncake file, a coding-agent session, or a directory of sessions; plain or gzip
        tiers: the plan, `g1=BLOCKS[:POLICY][:ADMISSION],...`; a service has its own
        layout: what a block is: tiny (4 KiB a slot), llama-8b, gpt-oss-20b or deepseek-v3
        folder: keep g2 and g3 there, and find their blocks again in the next run; a temporary one if left out
        store: where a tier lies instead, `TIER=URL`, as `g4=s3://bucket`; again for another tier
        via: an owner embedded here that writes to NATS, the service, or an owner here with a log in memory
        speed: times the recorded pace; as fast as it goes if left out
        requests: play only so many
        block_tokens: tokens of a block, where the trace does not say
        json: one JSON object, for machines
        nats: where the log or the service is
    """
    log_to_stderr()
    trace = list(load_trace(file, block_tokens=block_tokens))[:requests]
    options = nats or NatsOptions()
    pace = AS_FAST_AS_IT_GOES if speed is None else speed
    with progress_to(len(trace), f"playing {file.name}") as advance:
        play = partial(play_trace, trace, speed=pace, on_request=lambda report: advance(report.requests))
        if via == "service":
            outcome = asyncio.run(_served(play, options))
        else:
            tokens = trace[0].block_tokens if trace else block_tokens
            namespace = f"trace={file.name};block_tokens={tokens};layout={layout}"
            log = MemoryLog() if via == "memory" else partial(connect_log, options)
            plan = parse_plan(tiers)
            with _stack(plan, layout, namespace, options, folder, parse_media(store)) as stack:
                outcome = _embedded(play, log, options.instance, namespace, plan, stack)
    if json:
        write_json(_as_json(outcome))
    else:
        _tell(outcome)
    return not outcome.flaws


@contextmanager
def _stack(
    plan: Sequence[TierSpec], layout: str, namespace: str, nats: NatsOptions, folder: Path | None, media: Media
) -> Iterator[Stack]:
    """The tiers' memory: where `media` says, else in the folder or in one that goes afterwards."""
    with nullcontext(folder) if folder else TemporaryDirectory(prefix="kvbm-trace-") as place:
        places = in_folder(Path(place)) | dict(media)
        shape = preset(layout)
        with Stack(plan, shape, namespace, places, instance=nats.instance, nats_url=nats.nats_url) as stack:
            yield stack


def _embedded(
    play: Play,
    log: Log | Callable[[], Awaitable[Log]],
    instance: str,
    namespace: str,
    plan: Sequence[TierSpec],
    stack: Stack,
) -> Outcome:
    """Play against an owner in this process; its last act is a snapshot, which `kvbm replay --verify` compares."""
    with BlockManager.open(log, instance, namespace=namespace, tiers=plan, keep=stack.kept, mover=stack.mover) as owner:
        content = Content(stack.stores["g1"])
        report = asyncio.run(play(EmbeddedCache(owner, content)))
        owner.settle()
        owner.snapshot()
        return Outcome(
            report=report,
            status=owner.status(with_digest=True),
            flaws=[*owner.check_integrity(), *(f"block {key} came up with other bytes" for key in content.wrong)],
            verified=content.verified,
            traffic={"-".join(path): traffic for path, traffic in sorted(stack.mover.traffic.items())},
        )


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
        "verified": outcome.verified,
        "traffic": {
            path: {**structs.asdict(each), "gb_per_s": each.gb_per_s} for path, each in outcome.traffic.items()
        },
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
    write_words(f"{report.requests:,} requests, {report.asked:,} blocks asked for, in {report.wall_s:.1f} s")
    write_words(
        f"{events:,} events: " + ", ".join(f"{count:,} {name}" for name, count in sorted(status.events.items()))
    )
    write_words(
        "evicted: " + (", ".join(f"{blocks:,} from {tier}" for tier, blocks in status.evicted.items()) or "none")
    )
    for path, each in outcome.traffic.items():
        moved = f"{each.blocks:,} blocks, {_size(each.size_bytes)} in {span(each.busy_s * 1e6)}, {_size(each.gb_per_s * 1e9)}/s"
        write_words(f"{path}: {moved}" + (f"; {each.failed:,} blocks failed" if each.failed else ""))
    if outcome.traffic:
        write_words(f"read again: {outcome.verified:,} blocks came up with the bytes that they went down with")
    write_words(f"integrity: {len(outcome.flaws)} errors; digest {status.digest} at {status.epoch}.{status.n}")
    for flaw in outcome.flaws:
        write_words(f"  {flaw}")


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:,.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.2f} MB"  # noqa: PLR2004 - a GB


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"
