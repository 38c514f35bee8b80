"""`kvbm serve`: owners of instances, for clients that ask over NATS."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.cli.logs import log_to_stderr
from kvbm_nats.cli.metrics_options import MetricsOptions
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.service.config import InstanceConfig, ServeConfig, load_config
from kvbm_nats.service.server import serve as host


def serve(
    *,
    config: Path | None = None,
    nats: NatsOptions | None = None,
    namespace: Annotated[str, Parameter(env_var="KVBM_NAMESPACE")] = "",
    tiers: Annotated[str, Parameter(env_var="KVBM_TIERS")] = "",
    lease_s: float = 30.0,
    workers: int = 0,
    peers: str = "",
    metrics: MetricsOptions | None = None,
) -> None:
    """Host one instance, or those of a configuration file, as a NATS micro service that `nats micro ls` finds.

    It ends in order with Ctrl-C or SIGTERM. It also ends, with exit code 2, when another owner claims its last instance.

    Args:
        config: a TOML file with the whole configuration; the other options, but for metrics, are not used then
        nats: see below
        namespace: fingerprint of what must agree before blocks are reused, as `field=value;…`
        tiers: the tier plan, `g1=BLOCKS[:POLICY][:ADMISSION],...`
        lease_s: how long a client may be silent before its requests are released
        workers: how many `kvbm worker` hold a slice of every block and move it; with 0 this process moves them
        peers: other instances whose objects in g4 are found and loaded too: names or patterns, comma-separated; `*` for all
        metrics: see below
    """
    log_to_stderr()
    given = nats or NatsOptions()
    hosted = load_config(config) if config else _from_options(given, namespace, tiers, lease_s, workers, peers)
    asyncio.run(host(hosted, (metrics or MetricsOptions()).place()))


def _from_options(
    nats: NatsOptions, namespace: str, tiers: str, lease_s: float, workers: int, peers: str
) -> ServeConfig:
    for name, given in (("namespace", namespace), ("tiers", tiers)):
        if not given:
            raise InvalidCommand(f"no {name}", why=f"--{name} is empty", hint="give it, or a file with --config")
    names = tuple(filter(None, peers.split(",")))
    instance = InstanceConfig(name=nats.instance, namespace=namespace, tiers=tiers, workers=workers, peers=names)
    return ServeConfig(url=nats.nats_url, instances=[instance], lease_s=lease_s)
