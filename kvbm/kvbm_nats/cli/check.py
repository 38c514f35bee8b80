"""`kvbm check`: is an instance well? For monitors."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Annotated, Literal, NoReturn

from cyclopts import Parameter

from kvbm_events.schema.errors import InvalidCommand, KvbmError
from kvbm_nats.check import CODES, Limits, Report, Subject
from kvbm_nats.check import check as check_instance
from kvbm_nats.check.limits import Limit
from kvbm_nats.cli.check_formats import as_nagios, as_prometheus
from kvbm_nats.cli.errors import UNKNOWN, report_trouble
from kvbm_nats.cli.logs import log_to_stderr
from kvbm_nats.cli.options import NatsOptions
from kvbm_nats.cli.text import write_json, write_line

Pair = tuple[float, float]
_DEFAULT = Limits()


def _said(what: str) -> Parameter:
    return Parameter(negative_iterable="", help=what)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """Two figures each: from where on it is a warning, and from where on it is critical."""

    answer_s: Annotated[Pair, _said("How long the owner takes to answer.")] = _DEFAULT.answer_s
    silent_s: Annotated[Pair, _said("How long a worker has not been heard.")] = _DEFAULT.silent_s
    full: Annotated[Pair, _said("Share of a tier that is taken and cannot be evicted.")] = _DEFAULT.full
    quarantined: Annotated[Pair, _said("Slots of a tier in quarantine.")] = _DEFAULT.quarantined
    waiting: Annotated[Pair, _said("Share of what may wait for a path.")] = _DEFAULT.waiting
    unwritten: Annotated[Pair, _said("Events that are decided and not stored.")] = _DEFAULT.unwritten
    log_full: Annotated[Pair, _said("Share of the bytes that the log may hold.")] = _DEFAULT.log_full
    lag_s: Annotated[Pair, _said("Age of the oldest event that is not in the projection.")] = _DEFAULT.lag_s

    def limits(self) -> Limits:
        """The same, checked. Raises InvalidCommand."""
        return Limits(**{name: Limit(*pair) for name, pair in asdict(self).items()}).check()


def check(
    *,
    format: Literal["nagios", "prometheus", "json"] = "nagios",  # noqa: A002 - it is the option's name
    projection: Annotated[str, Parameter(env_var="KVBM_PROJECTION")] = "",
    monitor_url: str = "",
    timeout_s: float = 10.0,
    limits: LimitOptions | None = None,
    nats: NatsOptions | None = None,
) -> NoReturn:
    """Is an instance well: its owner, workers, tiers and log; and a projection, where one is named. Changes nothing.

    Exit codes as monitors have them: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, which is also a wrong command line.

    Args:
        format: one line and figures for Nagios and its kin; a text file for Prometheus; or one JSON object
        projection: also how far these tables are behind: sqlite:///FILE, a path, or postgresql://…
        monitor_url: the NATS server's HTTP monitor, which tells whether it syncs
        timeout_s: how long all of it may take
        limits: see below
        nats: where the log is
    """
    log_to_stderr()
    try:
        if timeout_s <= 0:
            raise InvalidCommand(f"--timeout-s {timeout_s:g}", why="it is above 0")
        given = nats or NatsOptions()
        subject = Subject(
            url=given.nats_url,
            instance=given.instance,
            projection=projection,
            monitor_url=monitor_url,
            timeout_s=timeout_s,
        )
        report = asyncio.run(check_instance(subject, (limits or LimitOptions()).limits()))
    except KvbmError as error:
        report_trouble(error)
        raise SystemExit(UNKNOWN) from error
    _write(report, format)
    raise SystemExit(CODES[report.level])


def _write(report: Report, form: str) -> None:
    match form:
        case "nagios":
            write_line(as_nagios(report))
        case "prometheus":
            write_line(as_prometheus(report))
        case _:
            write_json(report)
