"""Who may go on holding what: each request belongs to a client, and each client has a lease.

Rules
1. Whatever a client asks renews its lease. When the lease runs out, the client's requests are released.
2. A request belongs to the client that named it last.
3. Requests that a new owner found in the log belong to nobody; they have one lease period to be named by a client.
4. Time in which nobody could be heard does not count: every lease is longer by it.
"""

from __future__ import annotations

from collections.abc import Iterable

from kvbm_events.schema.errors import TooManyRequests

MAX_CLIENTS = 4096
"""Clients of one instance at a time."""
_NOBODY = ""


class Leases:
    """See the module. Used in one thread; `now_s` is any clock that does not go back.

    :ivar lease_s: how long a client may be silent
    """

    def __init__(self, lease_s: float, recovered: Iterable[str], now_s: float) -> None:
        self.lease_s = lease_s
        self._ends: dict[str, float] = {}
        self._owners = dict.fromkeys(recovered, _NOBODY)
        if self._owners:
            self._ends[_NOBODY] = now_s + lease_s

    @property
    def clients(self) -> int:
        """How many clients have a lease."""
        return len(self._ends.keys() - {_NOBODY})

    def renew(self, client: str, now_s: float) -> None:
        """A client was heard.

        Raises:
            TooManyRequests: it is new, and the limit of clients is reached.
        """
        if client not in self._ends and len(self._ends) >= MAX_CLIENTS:
            raise TooManyRequests(
                f"{MAX_CLIENTS} clients have a lease",
                why="that is the limit of an instance",
                hint="close clients that are not needed; those that vanished go when their lease runs out",
            )
        self._ends[client] = now_s + self.lease_s

    def note(self, request: str, client: str, *, is_open: bool) -> None:
        """A client named a request, which is open afterwards or not."""
        if is_open:
            self._owners[request] = client
        else:
            self._owners.pop(request, None)

    def extend(self, by_s: float) -> None:
        """Nobody could be heard for so long."""
        self._ends = {client: end + by_s for client, end in self._ends.items()}

    def expire(self, now_s: float) -> dict[str, list[str]]:
        """End the leases that ran out: their clients, each with the requests that it leaves."""
        gone: dict[str, list[str]] = {client: [] for client, end in self._ends.items() if end <= now_s}
        if not gone:
            return {}
        for request, client in self._owners.items():
            if client in gone:
                gone[client].append(request)
        for client, requests in gone.items():
            del self._ends[client]
            for request in requests:
                del self._owners[request]
        return gone
