"""All checks of one instance, one after the other; what one needs and has not, others do without."""

from __future__ import annotations

import asyncio
import time

from msgspec import Struct

from kvbm_events.jetstream import JetStreamLog, Options
from kvbm_events.jetstream.api import Api
from kvbm_events.jetstream.connection import Connection
from kvbm_events.jetstream.options import STREAM
from kvbm_events.schema.errors import KvbmError, LogError, LogUnavailable
from kvbm_nats.check.finding import Finding, Report, Value, level_of
from kvbm_nats.check.limits import Limits
from kvbm_nats.check.log import look_at_log, look_at_projection
from kvbm_nats.check.owner import look_at_status
from kvbm_nats.service.asking import Asker
from kvbm_nats.service.messages import StatusCall
from kvbm_nats.status import Status


class Subject(Struct, frozen=True, kw_only=True):
    """What is checked.

    :ivar projection: its URL; empty for none
    :ivar monitor_url: the NATS server's HTTP monitor, which tells whether it syncs; empty for none
    :ivar timeout_s: for all of it
    """

    url: str
    instance: str
    projection: str = ""
    monitor_url: str = ""
    timeout_s: float = 10.0


async def check(subject: Subject, limits: Limits) -> Report:
    """Look, and change nothing. Never raises what is a state of the instance."""
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(subject.timeout_s):
            await _look(subject, limits, findings)
    except TimeoutError:
        what = f"not all could be looked at within {subject.timeout_s:g} s"
        findings.append(Finding(name="time", level="unknown", what=what))
    return Report.of(subject.instance, findings)


async def _look(subject: Subject, limits: Limits, findings: list[Finding]) -> None:
    patience_s = subject.timeout_s / 3
    options = Options(name="kvbm check", patience_s=patience_s, monitor_url=subject.monitor_url)
    try:
        connection = await Connection.open(subject.url, options)
    except LogError as error:
        findings.append(Finding(name="nats", level="critical", what=f"{error.what}: {error.why}"))
        return
    try:
        if await Api(connection).stream_info(STREAM) is None:
            what = f"there is no stream {STREAM} on this server: no owner was ever here"
            findings.append(Finding(name="log", level="critical", what=what))
            return
        log = await JetStreamLog.connect(subject.url, options)
        try:
            findings += await _look_at_owner(connection, log, subject.instance, limits, patience_s)
            findings += look_at_log(await log.info(), limits)
            if subject.projection:
                findings.append(await look_at_projection(log, subject.projection, limits))
        finally:
            await log.close()
    except KvbmError as error:
        findings.append(Finding(name="log", level="critical", what=f"{error.what}: {error.why}"))
    finally:
        await connection.close()


async def _look_at_owner(
    connection: Connection, log: JetStreamLog, instance: str, limits: Limits, patience_s: float
) -> list[Finding]:
    """Whether it answers; and what it says, if it does."""
    asker = Asker(connection.nc, instance, timeout_s=patience_s, attempt_s=patience_s)
    began_s = time.perf_counter()
    try:
        status = await asker.ask("status", StatusCall(room=True), Status, at_once=True)
    except LogUnavailable:
        return [await _find_owner(log, instance)]
    took_s = time.perf_counter() - began_s
    limit = limits.answer_s
    value = Value(of="", value=took_s, unit="s", warning=limit.warning, critical=limit.critical)
    what = f"epoch {status.epoch}, answered in {took_s * 1e3:.0f} ms"
    return [
        Finding(name="owner", level=level_of([value]), what=what, values=[value]),
        *look_at_status(status, limits),
    ]


async def _find_owner(log: JetStreamLog, instance: str) -> Finding:
    """Of one that no service hosts."""
    if await log.is_owned(instance):
        what = "alive, in an engine: it can be asked for nothing else"
        return Finding(name="owner", level="ok", what=what)
    known = await log.instances()
    if instance not in known:
        others = ", ".join(known) or "none"
        return Finding(name="owner", level="critical", what=f"no such instance; the log has {others}")
    return Finding(name="owner", level="critical", what="nobody answers for the instance")
