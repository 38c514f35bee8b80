"""From where on a figure is a warning, and from where on it is critical."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct, structs

from kvbm_events.schema.errors import InvalidCommand


class Limit(NamedTuple):
    """Both as figures of one kind."""

    warning: float
    critical: float


class Limits(Struct, frozen=True, kw_only=True):
    """All limits.

    :ivar answer_s: how long the owner takes to answer
    :ivar silent_s: how long a worker has not been heard
    :ivar full: share of a tier's slots that are taken, where nothing of it can be evicted
    :ivar quarantined: slots in quarantine
    :ivar waiting: share of what may wait for a path
    :ivar unwritten: events that are decided and not acknowledged
    :ivar log_full: share of the log's bytes
    :ivar lag_s: age of the oldest event that is not in the projection
    """

    answer_s: Limit = Limit(1, 5)
    silent_s: Limit = Limit(5, 10)
    full: Limit = Limit(0.9, 0.98)
    quarantined: Limit = Limit(1, 256)
    waiting: Limit = Limit(0.5, 0.95)
    unwritten: Limit = Limit(10_000, 50_000)
    log_full: Limit = Limit(0.8, 0.95)
    lag_s: Limit = Limit(10, 60)

    def check(self) -> Limits:
        """The same.

        Raises:
            InvalidCommand: a limit is below 0, or critical before it is a warning.
        """
        for name, limit in structs.asdict(self).items():
            if not 0 <= limit.warning <= limit.critical:
                raise InvalidCommand(
                    f"--{name.replace('_', '-')} {limit.warning:g} {limit.critical:g}",
                    why="the first is from where on it is a warning, the second from where on it is critical",
                    hint="give both, the smaller one first",
                )
        return self
