"""What a check says, and the worst of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

Level = Literal["ok", "warning", "critical", "unknown"]
CODES: dict[Level, int] = {"ok": 0, "warning": 1, "critical": 2, "unknown": 3}
"""Exit codes, as monitoring plug-ins have them."""
_ORDER: tuple[Level, ...] = ("ok", "unknown", "warning", "critical")


class Value(Struct, frozen=True, kw_only=True):
    """A figure that was looked at; the level is worse from `warning` and from `critical` on.

    :ivar of: what it is of: a tier, a path, a rank; empty where there is one only
    :ivar unit: `s` or empty
    """

    of: str
    value: float
    unit: Literal["s", ""] = ""
    warning: float
    critical: float


class Finding(Struct, frozen=True, kw_only=True):
    """One check: what it found, in words and figures."""

    name: str
    level: Level
    what: str
    values: list[Value] = []


class Report(Struct, frozen=True, kw_only=True):
    """An instance. `level` is the worst of its findings."""

    instance: str
    level: Level
    findings: list[Finding]

    @classmethod
    def of(cls, instance: str, findings: Sequence[Finding]) -> Report:
        """The report of these findings."""
        return cls(instance=instance, level=worst(finding.level for finding in findings), findings=[*findings])


def worst(levels: Iterable[Level]) -> Level:
    """Something critical is worse than something that nobody knows."""
    none: Level = "ok"
    return max((none, *levels), key=_ORDER.index)


def level_of(values: Iterable[Value]) -> Level:
    """By the limits of these values."""

    def one(value: Value) -> Level:
        return "critical" if value.value >= value.critical else "warning" if value.value >= value.warning else "ok"

    return worst(map(one, values))
