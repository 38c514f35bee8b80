"""What `kvbm serve` is told: which instances to host, and how. From a TOML file, or from flags.

url = "nats://127.0.0.1:4222"

[[instances]]
name = "replica-0"
namespace = "model=llama-8b;dtype=bf16;page=16"
tiers = "g1=4096,g2=16384"
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from kvbm_events import jetstream
from kvbm_events.schema import TIERS, TierName, TierSpec
from kvbm_events.schema.errors import InvalidCommand
from kvbm_events.subjects import check_instance
from kvbm_nats.options import Options
from kvbm_nats.peers.names import check_peers
from kvbm_nats.plan import parse_plan
from kvbm_tiers import OBJECT_TIER
from kvbm_tiers.reports import MAX_RANKS

MAX_INSTANCES = 64
"""Instances of one service: each has two threads, and a third one where it has workers."""


class InstanceConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One instance.

    :ivar tiers: a tier plan, as `kvbm_nats.plan` reads it
    :ivar keep: tiers whose blocks survive a restart of the service
    :ivar workers: how many tier workers hold a slice of every block; 0 where this process is to copy by itself
    :ivar dead_after_s: how long a tier worker may be silent before what it was moving has failed
    :ivar peers: other instances whose objects in g4 are found and loaded too, by name or pattern; its workers read them
    :ivar options: see `BlockManager`
    """

    name: str
    namespace: Annotated[str, Meta(min_length=1, max_length=1024)]
    tiers: str
    keep: tuple[TierName, ...] = TIERS
    workers: Annotated[int, Meta(ge=0, le=MAX_RANKS)] = 0
    dead_after_s: Annotated[float, Meta(ge=0.1, le=3600)] = 10.0
    peers: tuple[str, ...] = ()
    options: Options = Options()

    def specs(self) -> list[TierSpec]:
        """The tiers of the plan. Raises InvalidCommand where it is none."""
        return parse_plan(self.tiers)


class ServeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole service.

    :ivar lease_s: how long a client may be silent before its requests are released
    :ivar log: see `kvbm_events.jetstream`
    """

    instances: Annotated[list[InstanceConfig], Meta(min_length=1, max_length=MAX_INSTANCES)]
    url: str = "nats://127.0.0.1:4222"
    lease_s: Annotated[float, Meta(ge=1, le=3600)] = 30.0
    log: jetstream.Options = jetstream.Options()

    def check(self) -> ServeConfig:
        """The same, if it can be.

        Raises:
            InvalidCommand: a field is out of its range, a name or a plan is malformed, two instances have one name, or nothing
                could move under the options of one.
        """
        try:
            msgspec.convert(msgspec.to_builtins(self), ServeConfig)
        except msgspec.ValidationError as error:
            raise InvalidCommand("the service cannot be configured like this", why=str(error)) from error
        names = [check_instance(instance.name) for instance in self.instances]
        if len(set(names)) != len(names):
            raise InvalidCommand(f"instances {', '.join(names)}", why="one name stands twice")
        for instance in self.instances:
            plan = instance.specs()
            if check_peers(instance.peers, instance.name) and (not instance.workers or plan[-1].tier != OBJECT_TIER):
                raise InvalidCommand(
                    f"peers of {instance.name!r} without workers, or without a {OBJECT_TIER}",
                    why="what another instance has is read from object storage, by tier workers",
                    hint=f"workers = 1, a plan with {OBJECT_TIER}, and `kvbm worker --store {OBJECT_TIER}=s3://…`",
                )
            instance.options.check()
        return self


def load_config(path: Path) -> ServeConfig:
    """A configuration from a TOML file.

    Raises:
        InvalidCommand: the file cannot be read, or is no such configuration; the message names the field.
    """
    try:
        config = msgspec.toml.decode(path.read_bytes(), type=ServeConfig)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidCommand(f"{path} is no configuration of a service", why=str(error)) from error
    return config.check()
