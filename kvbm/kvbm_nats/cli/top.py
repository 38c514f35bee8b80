"""`kvbm top`: one instance as it lives, on the whole terminal."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter

from kvbm_events.schema.errors import InvalidCommand
from kvbm_events.subjects import check_instance
from kvbm_nats.cli.logs import keep_quiet
from kvbm_nats.live.reasons import Reasons
from kvbm_nats.live.thread import WatchThread
from kvbm_nats.live.watch import WatchOptions

INTERVAL_MIN_S = 0.1
INTERVAL_MAX_S = 60.0


def top(
    *,
    interval_s: float = 1.0,
    projection: Annotated[str | None, Parameter(env_var="KVBM_PROJECTION")] = None,
    nats_url: Annotated[str, Parameter(env_var="KVBM_NATS_URL")] = "nats://127.0.0.1:4222",
    instance: Annotated[str | None, Parameter(env_var="KVBM_INSTANCE")] = None,
) -> None:
    """One instance as it lives: tiers, rates, transfers, why blocks are missed. ? shows the keys, q ends it.

    Args:
        interval_s: how often figures are new
        projection: why blocks were missed is asked here: sqlite:///FILE, a path, or postgresql://…; if left out, one is
            made of the log while it is shown, if that is short
        nats_url: where the log is
        instance: the model replica to begin with; the one that wrote last if left out
    """
    if not INTERVAL_MIN_S <= interval_s <= INTERVAL_MAX_S:
        raise InvalidCommand(
            f"figures every {interval_s:g} s", why=f"an interval is {INTERVAL_MIN_S:g} to {INTERVAL_MAX_S:g} s"
        )
    if instance is not None:
        check_instance(instance)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InvalidCommand(
            "kvbm top needs a terminal", why="its input or output is none", hint="kvbm stat writes lines, for pipes"
        )
    try:
        from kvbm_nats.top.app import TopApp  # noqa: PLC0415 - textual is an extra, and slow to import
    except ModuleNotFoundError as error:
        raise InvalidCommand(
            "kvbm top needs textual", why=f"{error.name} is not installed", hint="pip install 'kvbm-nats[top]'"
        ) from error
    keep_quiet()
    options = WatchOptions(url=nats_url, instance=instance, interval_s=interval_s, is_folding=True)
    watch = WatchThread(options, Reasons(nats_url, projection)).start()
    try:
        TopApp(watch).run()
    finally:
        watch.close()
    if watch.failure:
        raise watch.failure
