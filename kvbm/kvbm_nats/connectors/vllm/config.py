"""What a user says in vLLM's own configuration, read once and checked whole: an engine must not find out later."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from kvbm_events.schema import TierName, TierSpec
from kvbm_events.schema.errors import InvalidCommand, KvbmError
from kvbm_events.subjects import check_instance
from kvbm_nats.options import Options
from kvbm_nats.peers.names import check_peers
from kvbm_nats.plan import parse_plan
from kvbm_tiers import OBJECT_TIER, Medium

_FILES = {"arena", "slab"}
Seconds = Annotated[float, Meta(gt=0)]


class ConnectorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of `kv_connector_extra_config`.

    :cvar where: where they are written
    :cvar engines: tiers that are vLLM's own, and how it calls the last of them
    :ivar instance: name of this replica in the log; what it keeps is found again under the same name
    :ivar tiers: the tiers below the engine's own, as a plan: `g2=4096,g3=65536`, in blocks
    :ivar stores: by tier, where its blocks lie: `{"g2": "arena:/dev/shm/kvbm", "g3": "slab:/mnt/nvme"}`
    :ivar nats: URL of the NATS server
    :ivar tag: whatever else must agree before blocks are reused, such as a revision of the weights
    :ivar patience_s: how long a request waits for a load that has not begun, before it is computed instead
    :ivar transfer_timeout_s: after which a transfer counts as failed
    :ivar snapshot_every: events after which an idle engine writes a snapshot; 0 for never
    :ivar peers: other instances whose blocks in object storage are loaded too: names or patterns, or `*` for all
    """

    where: ClassVar[str] = "kv_connector_extra_config"
    engines: ClassVar[dict[TierName, str]] = {"g1": "KV cache"}

    instance: str
    tiers: str
    stores: dict[TierName, str]
    nats: str = "nats://127.0.0.1:4222"
    tag: str = ""
    patience_s: Seconds = 2.0
    transfer_timeout_s: Seconds = 30.0
    snapshot_every: Annotated[int, Meta(ge=0)] = 50_000
    peers: list[str] | str = []

    @property
    def following(self) -> list[str]:
        """The names and patterns of `peers`, of which a single one may stand without brackets."""
        return [self.peers] if isinstance(self.peers, str) else self.peers

    @property
    def plan(self) -> list[TierSpec]:
        """The tiers below the engine's own."""
        return parse_plan(self.tiers)

    @property
    def options(self) -> Options:
        """Of an owner that an engine must not wait for."""
        return Options(
            room_timeout_s=0.0,
            close_timeout_s=5.0,
            transfer_timeout_s=self.transfer_timeout_s,
            batch_max=64,
            snapshot_every=self.snapshot_every,
        )

    def media(self, rank: int, ranks: int) -> dict[TierName, Medium]:
        """Where a rank's slice of each tier lies: files in a folder of the instance's, and of the rank's if there are several.

        Object storage keeps instances and ranks apart by itself.
        """
        folder = f"{self.instance}.{rank}" if ranks > 1 else self.instance
        media: dict[TierName, Medium] = {}
        for tier, url in self.stores.items():
            medium = Medium.parse(url)
            is_file = medium.scheme in _FILES
            media[tier] = replace(medium, path=str(PurePosixPath(medium.path) / folder)) if is_file else medium
        return media


class TierConfig(ConnectorConfig, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of one of vLLM's `secondary_tiers`, those aside that vLLM reads.

    :ivar reset_evicts: whether a reset of vLLM's cache empties these tiers too; vLLM's own secondary tiers keep what they have
    :ivar locality: what vLLM calls these tiers where a request says from which it may load: `LOCAL` or `REMOTE`
    """

    where: ClassVar[str] = "secondary_tiers"
    engines: ClassVar[dict[TierName, str]] = {"g1": "KV cache", "g2": "primary tier"}

    reset_evicts: bool = False
    locality: Literal["LOCAL", "REMOTE"] | None = None


Kind = TypeVar("Kind", bound=ConnectorConfig)


def read_config(kind: type[Kind], given: Mapping[str, Any], *, replica: str = "") -> Kind:
    """The configuration of one engine; `replica` is added to the instance's name where several share one configuration.

    Raises:
        InvalidCommand: a field is unknown, missing or wrong; the message names it.
    """
    known = [field.name for field in msgspec.structs.fields(kind)]
    if unknown := sorted(given.keys() - set(known)):
        near = get_close_matches(unknown[0], known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
        raise InvalidCommand(f"{kind.where} has no field {unknown[0]!r}", why="nothing would read it", hint=hint)
    try:
        config = msgspec.convert(dict(given), kind)
    except msgspec.ValidationError as error:
        hint = '{"instance": "replica-0", "tiers": "g3=65536", …}'
        raise InvalidCommand(kind.where, why=str(error), hint=hint) from error
    config = replace(config, instance=config.instance + replica)
    try:
        _check(config)
    except KvbmError as error:
        raise InvalidCommand(f"{kind.where}: {error.what}", why=error.why, hint=error.hint) from error
    return config


def _check(config: ConnectorConfig) -> None:
    check_instance(config.instance)
    plan = {spec.tier: spec for spec in config.plan}
    for tier, what in config.engines.items():
        if tier in plan or tier in config.stores:
            ours = [f"g{at}" for at in range(len(config.engines) + 1, 5)]
            raise InvalidCommand(
                f"{tier} is vLLM's own {what}",
                why="its size is what vLLM says",
                hint=f"name {', '.join(ours[:-1])} and {ours[-1]} only",
            )
    if observed := [spec.tier for spec in plan.values() if spec.control == "observed"]:
        raise InvalidCommand(f"{observed[0]} is observed", why="nobody else decides there", hint="leave that word out")
    if differing := sorted(plan.keys() ^ config.stores.keys()):
        raise InvalidCommand(
            f"{differing[0]} is in {'tiers' if differing[0] in plan else 'stores'} only",
            why="each tier has a size and a place",
            hint='"tiers": "g3=65536", "stores": {"g3": "slab:/mnt/nvme/kvbm"}',
        )
    if isinstance(config, TierConfig):
        _check_first(config.plan[0])
    if check_peers(config.following, config.instance) and OBJECT_TIER not in plan:
        raise InvalidCommand(
            f"peers without a {OBJECT_TIER}",
            why="what another instance has is read from object storage",
            hint=f'"tiers": "…,{OBJECT_TIER}=100000", "stores": {{"{OBJECT_TIER}": "s3://BUCKET/PREFIX"}}',
        )
    for url in config.stores.values():
        Medium.parse(url)


def _check_first(first: TierSpec) -> None:
    """VLLM lets its host memory be read when it stores there, and at no other time."""
    if first.admission != "write_through" or first.priority_min:
        raise InvalidCommand(
            f"{first.tier} takes some blocks only",
            why="vLLM's primary tier hands blocks down once, when it gets them",
            hint=f"leave that word out: {first.tier}={first.capacity}; tiers below it may have one",
        )
