"""Whether the log keeps up: an engine must not wait for one that does not."""

from __future__ import annotations

LATE_AFTER_S = 0.5
"""Without an acknowledgement for so long, while events wait for one, the log is late."""


class Progress:
    """See the module. Times are of any steady clock."""

    def __init__(self) -> None:
        self._acked: tuple[int, int] = (0, 0)
        self._moved_at_s = float("-inf")

    def is_late(self, acked: tuple[int, int], pending: int, now_s: float) -> bool:
        """Take note of what is acknowledged, and say whether that has stood still for too long."""
        if acked != self._acked or not pending or self._moved_at_s < 0:
            self._acked, self._moved_at_s = acked, now_s
        return now_s - self._moved_at_s > LATE_AFTER_S
