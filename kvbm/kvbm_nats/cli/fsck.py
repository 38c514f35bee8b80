"""`kvbm fsck`: is what the log says on disk?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.caretaker import caretaker_of
from kvbm_nats.cli.connect import connect_log
from kvbm_nats.cli.options import NatsOptions, Stores
from kvbm_nats.cli.output import progress_to, write_table, write_words
from kvbm_nats.cli.text import Json, write_json
from kvbm_nats.fsck import Report, TierReport, open_check
from kvbm_nats.fsck import repair as evict_what_is_not_there
from kvbm_tiers import Media, in_folder, parse_media

THREADS_MAX = 256
SHOWN = 10
"""Corrupt blocks of a tier that a person is shown; `--json` names more."""


def fsck(
    *,
    folder: Annotated[tuple[Path, ...], Parameter(negative_iterable="")] = (),
    store: Stores = (),
    repair: bool = False,
    threads: int = 8,
    json: Json = False,
    nats: NatsOptions | None = None,
) -> bool:
    """Read every block that the log says is in an arena or a slab, and compare it with its checksum.

    Nothing is locked and no file is written: owners and workers go on, and what they change meanwhile the log tells.
    With `--repair`, what is corrupt or gone is evicted by events: by the service that hosts the instance, or by a claim of
    its own where no owner lives. Where one lives that is no service, it refuses.

    Exit code 0: all is as the log says. 1: something was found, be it repaired. 2: it could not be checked or repaired.

    Args:
        folder: where g2 and g3 lie; of several ranks one for each, rank 0 first
        store: where a tier lies instead, `TIER=URL`, as `g3=slab:/mnt/nvme`; again for another tier
        repair: evict what is corrupt or gone
        threads: how many read at the same time
        json: one JSON object, as docs/schemas/fsck.json says
        nats: which instance, and where its log is
    """
    if not 1 <= threads <= THREADS_MAX:
        raise InvalidCommand(f"{threads} threads", why=f"1 to {THREADS_MAX} can be")
    report = asyncio.run(_run(nats or NatsOptions(), _media(folder, store), threads=threads, wants_repair=repair))
    if json:
        write_json(report)
    else:
        _tell(report)
    return report.sound


def _media(folders: Sequence[Path], stores: Sequence[str]) -> list[Media]:
    """Where the tiers of each rank lie."""
    given = parse_media(stores)
    if len(folders) > 1 and (own := [tier for tier, medium in given.items() if medium.scheme in {"arena", "slab"}]):
        raise InvalidCommand(
            f"--store for {', '.join(own)}",
            why="of several ranks each has files of its own",
            hint="one --folder a rank",
        )
    if not folders and not given:
        raise InvalidCommand("nothing to check", why="nothing says where blocks lie", hint="--folder or --store")
    return [in_folder(folder) | given for folder in folders] or [given]


async def _run(options: NatsOptions, media: Sequence[Media], *, threads: int, wants_repair: bool) -> Report:
    log = await connect_log(options)
    try:
        check = await open_check(log, options.instance, media, threads=threads)
        with progress_to(check.blocks, f"reading {options.instance}") as advance:
            done = _from_zero()
            report = await check.run(lambda blocks: advance(done(blocks)))
        if wants_repair and (check.corrupt or check.holes):
            async with caretaker_of(log, options.nats_url, options.instance, check.state) as caretaker:
                report.repaired = await evict_what_is_not_there(caretaker, check.corrupt, check.holes)
        return report
    finally:
        await log.close()


def _from_zero() -> Callable[[int], int]:
    """What adds up."""
    total = 0

    def add(more: int) -> int:
        nonlocal total
        total += more
        return total

    return add


def _tell(report: Report) -> None:
    write_words(f"{report.instance}: up to {report.epoch}.{report.n} at sequence {report.seq:,}")
    columns = ("tier", "blocks", "proven", "corrupt", "no hash", "nowhere", "changed", "moving", "doubt", "GB/s")
    write_table(columns, [_row(tier) for tier in report.tiers])
    for tier in report.tiers:
        _tell_tier(tier)
    for path in report.leftovers:
        write_words(f"left over: {path}, which is no tier's")
    for note in report.notes:
        write_words(note)
    for name, blocks in report.repaired.items():
        write_words(f"repaired: {blocks:,} blocks of {name} evicted")
    write_words("sound: all is as the log says" if report.sound else "not sound")


def _row(tier: TierReport) -> tuple[str, ...]:
    figures = (tier.registered, tier.proven, tier.corrupt, tier.unproven, tier.holes, tier.changed)
    speed = f"{tier.gb_per_s:.2f}" if tier.took_s else ""
    return (tier.tier, *(f"{each:,}" for each in (*figures, tier.under_way, tier.quarantined)), speed)


def _tell_tier(tier: TierReport) -> None:
    if tier.unchecked:
        write_words(f"{tier.tier}: not read: {tier.unchecked}")
    for file in tier.files:
        if file.flaw:
            write_words(f"{tier.tier}, rank {file.rank}: {file.path}: {file.flaw}")
    for block in tier.blocks[:SHOWN]:
        write_words(f"{tier.tier}, slot {block.slot}, key {block.key}: {block.why}")
    if tier.corrupt > SHOWN:
        write_words(f"{tier.tier}: and {tier.corrupt - SHOWN:,} more")
    if tier.orphans:
        write_words(f"{tier.tier}: {tier.orphans:,} stored that the log does not know")
    if tier.quarantined:
        write_words(f"{tier.tier}: see `kvbm quarantine` for its {tier.quarantined:,} slots")
