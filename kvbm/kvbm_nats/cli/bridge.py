"""`kvbm bridge`: record what an engine says of its own KV cache."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import structlog
from cyclopts import Parameter
from msgspec.structs import replace

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.cli.logs import log_to_stderr
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.plan import parse_plan

POLL_S = 0.2
_logger = structlog.get_logger(__name__)


def bridge(
    *,
    zmq: str,
    replay: str = "",
    topic: str = "",
    namespace: Annotated[str, Parameter(env_var="KVBM_NAMESPACE")] = "engine=observed",
    tiers: str = "g1=262144",
    nats: NatsOptions | None = None,
) -> None:
    """Record what an engine publishes of its KV cache as the events of an observed instance, until Ctrl-C or SIGTERM.

    What cannot be followed without a gap begins a new epoch, whose `Opened` says why: what is not known to be there is not
    said to be there.

    Args:
        zmq: where the engine publishes, tcp://127.0.0.1:5557
        replay: the engine's replay socket, to ask for what was missed
        topic: events to take; all, if not said
        namespace: of the engine's blocks
        tiers: the engine's tiers, each with room for as many blocks as it has: g1 for its device, g2 for host, g3 for storage
        nats: see below
    """
    log_to_stderr()
    try:
        from kvbm_nats.bridge import Bridge, Feed  # noqa: PLC0415 - it needs what is installed for it alone
    except ImportError as error:
        raise InvalidCommand(
            "kvbm bridge needs ZeroMQ", why=str(error), hint="pip install 'kvbm-nats[bridge]'"
        ) from error
    given, over = nats or NatsOptions(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: over.set())
    specs = [replace(spec, control="observed") for spec in parse_plan(tiers)]
    with (
        Feed(zmq, replay_url=replay, topic=topic) as feed,
        Bridge(feed, given.nats_url, given.instance, namespace=namespace, tiers=specs) as running,
    ):
        _logger.info("bridge listens", zmq=zmq, replay=replay or "none", instance=given.instance)
        while not over.is_set():
            running.run_once(POLL_S)
    _logger.info("bridge ended", messages=running.messages, breaks=running.breaks)
