"""What a user says in `kv_connector_extra_config`, read once and checked whole: an engine must not find out later."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from kvbm_events.schema import TierName, TierSpec
from kvbm_events.schema.errors import InvalidCommand, KvbmError
from kvbm_events.subjects import check_instance
from kvbm_nats.plan import parse_plan
from kvbm_tiers import Medium

WHERE = "kv_connector_extra_config"
_FILES = {"arena", "slab"}
Seconds = Annotated[float, Meta(gt=0)]


class ConnectorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of `kv_connector_extra_config`.

    :ivar instance: name of this replica in the log; what it keeps is found again under the same name
    :ivar tiers: the tiers below the engine's own, as a plan: `g2=4096,g3=65536`, in blocks
    :ivar stores: by tier, where its blocks lie: `{"g2": "arena:/dev/shm/kvbm", "g3": "slab:/mnt/nvme"}`
    :ivar nats: URL of the NATS server
    :ivar tag: whatever else must agree before blocks are reused, such as a revision of the weights
    :ivar patience_s: how long a request waits for a load that has not begun, before it is computed instead
    :ivar transfer_timeout_s: after which a transfer counts as failed
    :ivar snapshot_every: events after which an idle engine writes a snapshot; 0 for never
    """

    instance: str
    tiers: str
    stores: dict[TierName, str]
    nats: str = "nats://127.0.0.1:4222"
    tag: str = ""
    patience_s: Seconds = 2.0
    transfer_timeout_s: Seconds = 30.0
    snapshot_every: Annotated[int, Meta(ge=0)] = 50_000

    @property
    def plan(self) -> list[TierSpec]:
        """The tiers below the engine's own."""
        return parse_plan(self.tiers)

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


def read_config(extra: Mapping[str, Any], *, replica: str = "") -> ConnectorConfig:
    """The configuration of one engine; `replica` is added to the instance's name where several share one configuration.

    Raises:
        InvalidCommand: a field is unknown, missing or wrong; the message names it.
    """
    known = [field.name for field in msgspec.structs.fields(ConnectorConfig)]
    if unknown := sorted(extra.keys() - set(known)):
        near = get_close_matches(unknown[0], known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
        raise InvalidCommand(f"{WHERE} has no field {unknown[0]!r}", why="nothing would read it", hint=hint)
    try:
        config = msgspec.convert(dict(extra), ConnectorConfig)
    except msgspec.ValidationError as error:
        raise InvalidCommand(WHERE, why=str(error), hint='{"instance": "replica-0", "tiers": "g2=4096", …}') from error
    config = replace(config, instance=config.instance + replica)
    try:
        _check(config)
    except KvbmError as error:
        raise InvalidCommand(f"{WHERE}: {error.what}", why=error.why, hint=error.hint) from error
    return config


def _check(config: ConnectorConfig) -> None:
    check_instance(config.instance)
    plan = {spec.tier: spec for spec in config.plan}
    if "g1" in plan or "g1" in config.stores:
        raise InvalidCommand("g1 is vLLM's own", why="its size is what vLLM says", hint="name g2, g3 and g4 only")
    if observed := [spec.tier for spec in plan.values() if spec.control == "observed"]:
        raise InvalidCommand(f"{observed[0]} is observed", why="nobody else decides there", hint="leave that word out")
    if differing := sorted(plan.keys() ^ config.stores.keys()):
        raise InvalidCommand(
            f"{differing[0]} is in {'tiers' if differing[0] in plan else 'stores'} only",
            why="each tier has a size and a place",
            hint='"tiers": "g2=4096", "stores": {"g2": "arena:/dev/shm/kvbm"}',
        )
    for url in config.stores.values():
        Medium.parse(url)
