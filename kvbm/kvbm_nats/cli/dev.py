"""`kvbm dev`: everything in one process, to look at and to play with."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kvbm_nats.cli.logs import log_to_stderr
from kvbm_nats.cli.metrics_options import MetricsOptions
from kvbm_nats.cli.text import write_line
from kvbm_nats.dev import Dev, DevOptions
from kvbm_nats.web.options import PORT


def dev(
    *,
    folder: Path | None = None,
    port: int = 4222,
    tiers: str = "g1=512,g2=2048,g3=8192",
    seed: int = 0,
    speed: float = 20.0,
    traffic: bool = True,
    web: bool = True,
    web_port: int = PORT,
    seconds: float | None = None,
    metrics_port: Annotated[int, Parameter(env_var="KVBM_METRICS_PORT")] = 0,
) -> None:
    """Start a NATS server, the service, the projection and demo traffic; no GPU, no Docker. Ctrl-C ends all of it.

    What is in the folder stays: start again and the blocks are still known.

    Args:
        folder: where the server keeps its log, and the projection its file
        port: where the server listens, on loopback; another one is taken if it is in use
        tiers: the plan of the demo instance, `g1=BLOCKS[:POLICY][:ADMISSION],...`
        seed: of the demo traffic
        speed: times the pace of the demo traffic
        traffic: play demo traffic
        web: serve pages over the projection, where `kvbm-nats[web]` is installed
        web_port: where, on loopback; another one is taken if it is in use
        seconds: end after so long
        metrics_port: where Prometheus can ask, on loopback; 0 is a free port
    """
    log_to_stderr()
    state_home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    options = DevOptions(
        folder=folder or state_home / "kvbm-nats" / "dev",
        port=port,
        tiers=tiers,
        seed=seed,
        speed=speed,
        traffic=traffic,
        web=web,
        web_port=web_port,
        seconds=seconds,
        metrics=MetricsOptions(metrics_port=metrics_port).place(),
    )
    asyncio.run(Dev(options, write_line).run())
