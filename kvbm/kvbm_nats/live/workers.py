"""Which tier workers are heard: their reports pass as messages, and are read without a consumer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nats.aio.client import Client
from nats.aio.msg import Msg

from kvbm_nats.live.view import WorkerSeen
from kvbm_tiers.reports import Heartbeat, InvalidReport, decode_message, reports_of


class Heard:
    """When each rank of an instance was last heard."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._ranks: dict[int, tuple[int, bool]] = {}

    async def listen(self, nc: Client, instance: str) -> None:
        """From now on."""
        await nc.subscribe(reports_of(instance), cb=self._take)

    async def _take(self, message: Msg) -> None:
        try:
            rank, said = decode_message(message.subject, message.data)
        except InvalidReport:
            return
        self._ranks[rank] = self._now_us(), isinstance(said, Heartbeat) and said.ended

    def workers(self, holders: Mapping[int, str]) -> list[WorkerSeen]:
        """Those that were heard, and those that only the log tells of, by rank."""
        seen: list[WorkerSeen] = []
        for rank in sorted(self._ranks.keys() | holders.keys()):
            heard_us, ended = self._ranks.get(rank, (0, False))
            seen.append(WorkerSeen(rank=rank, holder=holders.get(rank, ""), heard_us=heard_us, ended=ended))
        return seen
