"""`kvbm worker`: one rank's memory, and what moves blocks in it."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import structlog
from cyclopts import Parameter
from msgspec import structs

from kvbm_events.jetstream import Options
from kvbm_events.schema import TierName, TierSpec
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.cli.logs import log_to_stderr
from kvbm_nats.cli.metrics_options import MetricsOptions
from kvbm_nats.cli.options import NatsOptions, Stores
from kvbm_nats.cli.rank_options import RankOptions
from kvbm_nats.metrics import Families, MetricsPlace, exposed
from kvbm_nats.metrics.worker import tell_meter, tell_worker
from kvbm_nats.plan import parse_plan
from kvbm_tiers import Layout, Media, MemoryMover, Meter, Opening, Stack, in_folder, parse_media, preset
from kvbm_tiers.reports import HeldTier
from kvbm_tiers.worker import Worker, WorkerOptions, WorkerPlan
from kvbm_tiers.worker.worker import LOCK_FOLDER

PATIENCE_S = 10.0
"""How long to try for a first connection; later ones are tried for ever."""

_logger = structlog.get_logger(__name__)


def worker(
    *,
    nats: NatsOptions | None = None,
    namespace: Annotated[str, Parameter(env_var="KVBM_NAMESPACE")],
    tiers: Annotated[str, Parameter(env_var="KVBM_TIERS")],
    place: RankOptions | None = None,
    block_bytes: int = 64,
    folder: Path | None = None,
    store: Stores = (),
    layout: str = "llama-8b",
    heartbeat_s: float = 1.0,
    in_flight_max: int = 16,
    stop_timeout_s: float = 10.0,
    lock_folder: Path = LOCK_FOLDER,
    metrics: MetricsOptions | None = None,
) -> None:
    """Move the blocks of one rank, as the log of its instance says, and report to the owner.

    It outlives owners and NATS servers. Ctrl-C or SIGTERM end it when what is under way is done. It also ends, with exit
    code 2, when the owner is of another namespace, or another worker of the rank lives on this machine.

    Args:
        nats: see below
        namespace: fingerprint of what must agree before blocks are reused; the owner's must be the same
        tiers: what is in this worker's memory, `g1=BLOCKS,...`, as in the owner's plan
        place: see below
        block_bytes: how large a block is in this rank, where there is neither folder nor store
        folder: where g2 and g3 lie, and survive the worker
        store: where a tier lies instead, `TIER=URL`, as `g3=slab:/mnt/nvme` or `g3=ucx://NAME`; again for another tier.
            Without folder and store all tiers are memory that goes with the worker
        layout: the shape of a whole block in folder and stores: llama-8b, deepseek-v3, gpt-oss-20b, tiny
        heartbeat_s: how often it says that it lives
        in_flight_max: transfers that are moved at the same time
        stop_timeout_s: how long its end waits for what is under way
        lock_folder: where the lock stands that keeps a rank to one worker
        metrics: see below
    """
    log_to_stderr()
    given, at, where = nats or NatsOptions(), place or RankOptions(), (metrics or MetricsOptions()).place()
    part = at.part()
    if block_bytes < 1 or heartbeat_s <= 0 or in_flight_max < 1:
        raise InvalidCommand(
            f"{block_bytes} bytes a block, {in_flight_max} in flight, heartbeat {heartbeat_s:g} s",
            why="all are above 0",
        )
    options = WorkerOptions(
        heartbeat_s=heartbeat_s,
        in_flight_max=in_flight_max,
        stop_timeout_s=stop_timeout_s,
        lock_folder=lock_folder,
        connection=Options(name=f"kvbm worker {given.instance}.{at.rank}", patience_s=PATIENCE_S),
    )
    specs = parse_plan(tiers)
    media = (in_folder(folder) if folder else {}) | parse_media(store)
    plan = WorkerPlan(instance=given.instance, namespace=namespace, rank=at.rank, ranks=at.ranks, pp=at.pp)
    shape = preset(layout).slice(part) if media else None
    with _memory(specs, media, shape, block_bytes, plan, given.nats_url) as (mover, openings):
        held = tuple(HeldTier.of(spec, openings.get(spec.tier)) for spec in specs)
        mine = Worker(given.nats_url, structs.replace(plan, tiers=held), mover, options)
        _run(mine, plan, mover, where)


@contextmanager
def _memory(
    specs: Sequence[TierSpec], media: Media, layout: Layout | None, block_bytes: int, plan: WorkerPlan, nats_url: str
) -> Iterator[tuple[Meter, Mapping[TierName, Opening]]]:
    """The mover over this rank's tiers, and what became of what was in them."""
    if layout is None:
        yield Meter(MemoryMover({spec.tier: spec.capacity for spec in specs}, block_bytes=block_bytes)), {}
        return
    with Stack(specs, layout, plan.namespace, media, instance=plan.instance, nats_url=nats_url) as stack:
        yield stack.mover, stack.openings


def _run(worker: Worker, plan: WorkerPlan, mover: Meter, place: MetricsPlace | None) -> None:
    """Until a signal asks for its end. Raises why it ended otherwise."""

    def measure(families: Families) -> None:
        tell_worker(families, plan.instance, plan.rank, worker)
        tell_meter(families, plan.instance, plan.rank, mover)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: worker.ask_to_stop())
    known = {"instance": plan.instance, "rank": plan.rank, "ranks": plan.ranks, "incarnation": worker.incarnation}
    with exposed(place, measure):
        worker.start()
        _logger.info("worker started", **known)
        if worker.wait_ready():
            _logger.info("worker ready", **known)
        worker.wait()
        worker.stop()
    _logger.info("worker stopped", **known)
