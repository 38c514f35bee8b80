"""Servers for tests, and the faults that are injected into them."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from nats.aio.msg import Msg

from kvbm_events.jetstream.publisher import JetStreamWriter
from kvbm_nats.nats_server import NatsServer

URL_ENV = "KVBM_TEST_NATS_URL"
"""A server to run the tests against, instead of one of their own. The log on it grows."""


@contextmanager
def frozen(server: NatsServer) -> Iterator[None]:
    """The server neither answers nor goes away."""
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def lose_acks(monkeypatch: pytest.MonkeyPatch, is_lost: Callable[[Msg], bool]) -> None:
    """Writers that are opened from now on do not get these acknowledgements."""
    deliver = JetStreamWriter._on_ack

    async def on_ack(self: JetStreamWriter, msg: Msg) -> None:
        if not is_lost(msg):
            await deliver(self, msg)

    monkeypatch.setattr(JetStreamWriter, "_on_ack", on_ack)


def wait_for_exit(pid: int, timeout_s: float = 10.0) -> bool:
    """Whether the process, child or not, is gone within the time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], timeout_s)[0])
    finally:
        os.close(handle)
