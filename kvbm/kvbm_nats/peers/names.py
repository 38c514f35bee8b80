"""Which instances are meant: by name, or by a pattern over names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from kvbm_events.schema.errors import InvalidCommand
from kvbm_events.subjects import check_instance

PEERS_MAX = 64
_PATTERN = re.compile(r"[A-Za-z0-9_*?-]{1,64}")


def is_pattern(name: str) -> bool:
    """Whether it may mean several instances."""
    return "*" in name or "?" in name


def check_peers(peers: Sequence[str], instance: str) -> tuple[str, ...]:
    """The same names and patterns, if they can be followed by this instance.

    Raises:
        InvalidCommand: one is no name, or there are too many.
    """
    if len(peers) > PEERS_MAX:
        raise InvalidCommand(f"{len(peers)} peers", why=f"at most {PEERS_MAX} logs are followed", hint="use a pattern")
    for name in peers:
        if not is_pattern(name):
            check_instance(name)
        elif not _PATTERN.fullmatch(name):
            raise InvalidCommand(
                f"peer {name[:64]!r}", why="a pattern has letters, digits, '_', '-', '*' and '?'", hint="replica-*"
            )
        if name == instance:
            raise InvalidCommand(f"peer {name!r}", why="that is this instance itself", hint="leave it out, or say '*'")
    return tuple(peers)


def chosen(peers: Sequence[str], known: Iterable[str], instance: str) -> list[str]:
    """The instances that are meant: those that are named, and of the known ones those that fit a pattern."""
    patterns = [name for name in peers if is_pattern(name)]
    fitting = [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]
    named = [name for name in peers if not is_pattern(name)]
    return [name for name in dict.fromkeys([*named, *sorted(fitting)]) if name != instance]
