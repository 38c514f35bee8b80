"""Subjects of events: `kvbm.v1.<instance>.<tier>.<event>`, so that `nats sub 'kvbm.v1.*.*.evicted'` works."""

from __future__ import annotations

import re

from kvbm_events.schema import AnyEvent
from kvbm_events.schema.errors import InvalidCommand

PREFIX = "kvbm.v1"
EVERYTHING = f"{PREFIX}.>"
ALL_TIERS = "all"
"""The tier token of events that concern the whole instance: opened, attached, matched, released."""
MAX_INSTANCE = 64

_INSTANCE = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_INSTANCE}}}")
_TAILS = {
    "Opened": "opened",
    "Attached": "attached",
    "Allocated": "allocated",
    "Registered": "registered",
    "Noted": "noted",
    "Matched": "matched",
    "Released": "released",
    "OffloadStarted": "offload.started",
    "OffloadCompleted": "offload.completed",
    "OffloadFailed": "offload.failed",
    "OnboardStarted": "onboard.started",
    "OnboardCompleted": "onboard.completed",
    "OnboardFailed": "onboard.failed",
    "Evicted": "evicted",
}


def check_instance(instance: str) -> str:
    """An instance's name as a token of a subject.

    Raises:
        InvalidCommand: it is empty, too long, or has other characters than letters, digits, `_` and `-`.
    """
    if _INSTANCE.fullmatch(instance):
        return instance
    raise InvalidCommand(
        f"{instance[:80]!r} cannot name an instance",
        why="the name is a token of NATS subjects",
        hint=f"use 1 to {MAX_INSTANCE} letters, digits, '_' or '-'",
    )


def subject_of(instance: str, event: AnyEvent) -> str:
    """The subject that an event of this instance is published on."""
    return f"{PREFIX}.{instance}.{getattr(event, 'tier', '') or ALL_TIERS}.{_TAILS[type(event).__name__]}"


def events_of(instance: str) -> str:
    """The filter for one instance's events."""
    return f"{PREFIX}.{check_instance(instance)}.>"


def whole_of(instance: str, kind: type[AnyEvent]) -> str:
    """The subject of an instance's events of a kind that concerns all of it."""
    return f"{PREFIX}.{check_instance(instance)}.{ALL_TIERS}.{_TAILS[kind.__name__]}"


def instance_of(subject: str) -> str:
    """The instance in an event's subject."""
    return subject.split(".", 3)[2]


def tier_of(subject: str) -> str:
    """The tier in an event's subject; `ALL_TIERS` where it concerns the whole instance."""
    return subject.split(".", 4)[3]


def message_id(instance: str, epoch: int, n: int) -> str:
    """The `Nats-Msg-Id` of an event: the server stores an id once."""
    return f"{instance}.{epoch}.{n}"


def parse_message_id(name: str) -> tuple[int, int] | None:
    """`(epoch, n)` in an event's message id; None where it is none."""
    _, _, place = name.partition(".")
    epoch, _, n = place.partition(".")
    return (int(epoch), int(n)) if epoch.isdecimal() and n.isdecimal() else None
