"""`kvbm status`: a live owner at a glance."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.cli.output import write_table, write_words
from kvbm_nats.cli.text import Json, write_json, write_line
from kvbm_nats.explain.words import blocks
from kvbm_nats.publisher import Publisher
from kvbm_nats.status import PathStatus, PeerStatus, Status, TierStatus


def status(*, digest: bool = False, json: Json = False, nats: NatsOptions | None = None) -> None:
    """What the owner of an instance holds now: its tiers by slots, and by path what waits, moves, and never began; and its peers.

    Args:
        digest: also the digest of its state
        json: one JSON object, for machines
        nats: where the service is
    """
    answer = asyncio.run(_ask(nats or NatsOptions(), digest=digest))
    if json:
        write_json(answer)
    else:
        _tell(answer)


async def _ask(options: NatsOptions, *, digest: bool) -> Status:
    async with await Publisher.connect(options.nats_url, options.instance) as publisher:
        return await publisher.status(with_digest=digest)


def _tell(status: Status) -> None:
    write_words(
        f"{status.instance}: epoch {status.epoch}, event {status.n:,}, {status.n - status.acked_n:,} not stored; "
        f"{blocks(status.requests, 'request')}, {blocks(status.transfers, 'transfer')}"
    )
    write_words(status.namespace)
    if status.digest:
        write_line(f"digest {status.digest}")
    states = ("free", "allocated", "registered", "condemned", "quarantined")
    write_table(
        ("tier", "slots", *states, "evicted"),
        [_tier_row(tier, states, status.evicted.get(tier.tier, 0)) for tier in status.tiers],
    )
    write_words(f"policy: {_policies(status.tiers)}")
    if status.paths:
        columns = ("path", "waiting", "transfers", "blocks", "in doubt", "started", "dropped", "unwanted")
        write_table(columns, [_path_row(path) for path in status.paths], text=("dropped", "unwanted"))
    if status.peers:
        write_table(
            ("peer", "blocks", "passed over", "read up to", "state"),
            [_peer_row(peer, status.namespace) for peer in status.peers],
            text=("state",),
        )


def _tier_row(tier: TierStatus, states: tuple[str, ...], evicted: int) -> list[str]:
    counts: list[int] = [tier.capacity, *(getattr(tier, state) for state in states), evicted]
    return [tier.tier, *(f"{count:,}" for count in counts)]


def _policies(tiers: Sequence[TierStatus]) -> str:
    """Each policy with the tiers that have it; only its name where that is all of them."""
    by_policy: dict[str, list[str]] = {}
    for tier in tiers:
        by_policy.setdefault(tier.policy, []).append(tier.tier)
    if len(by_policy) == 1:
        return next(iter(by_policy))
    return "; ".join(f"{policy} in {', '.join(names)}" for policy, names in by_policy.items())


def _path_row(path: PathStatus) -> list[str]:
    return [
        f"{path.source} to {path.tier}",
        f"{path.waiting:,}/{path.waiting_max:,}",
        f"{path.transfers:,}/{path.transfers_max:,}",
        f"{path.blocks:,}/{path.blocks_max:,}",
        f"{path.in_doubt:,}",
        f"{path.started:,}",
        _reasons(path.dropped),
        _reasons(path.refused),
    ]


def _peer_row(peer: PeerStatus, namespace: str) -> list[str]:
    state = peer.wrong(namespace) or "current"
    return [peer.name, f"{peer.blocks:,}", f"{peer.passed_over:,}", f"{peer.seq:,}", state]


def _reasons(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {why}" for why, count in sorted(counts.items())) or "0"
