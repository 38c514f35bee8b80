"""The worker's side: one rank's memory, in a process of vLLM's, and a mover that does what the step messages say."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Mapping

import structlog
from msgspec import Struct

from kvbm_events.schema import TierSpec, to_runs
from kvbm_nats.connectors.vllm.config import ConnectorConfig
from kvbm_nats.connectors.vllm.device import Tensor, device_store
from kvbm_nats.connectors.vllm.orders import Orders, Told
from kvbm_nats.connectors.vllm.traffic import Traffic
from kvbm_tiers import Report, Slice, Stack
from kvbm_tiers.reports import HeldTier, Hello, Reported

IDLE_WAIT_S = 0.001
"""How long a step that computes nothing waits for bytes, so that the threads that move them get their turn."""

_logger = structlog.get_logger(__name__)


class _Load(Struct):
    """Of a request that waits: slots of which nothing is known yet, those that failed, and whether that is all to be known."""

    open: set[int]
    failed: set[int]
    is_judged: bool

    @property
    def is_over(self) -> bool:
        return self.is_judged and not self.open


class _Moving(Struct):
    """A job that the mover has: destination slots that it may still write to."""

    is_load: bool
    open: set[int]


class WorkerSide:
    """See the module. Every method is called by vLLM's model runner, in its thread.

    :ivar hello: what the scheduler's side is to know before the first step
    """

    def __init__(
        self,
        config: ConnectorConfig,
        tensors: Mapping[str, Tensor],
        *,
        namespace: str,
        part: Slice,
        compute_stream: int = 0,
    ) -> None:
        """Open this rank's tiers; for `compute_stream` see `device_store`.

        Raises:
            InvalidCommand, NamespaceMismatch, StoreError: the memory cannot be used; see `device_store` and `Stack`.
        """
        device = device_store(tensors, part, compute_stream=compute_stream)
        g1 = TierSpec(tier="g1", capacity=device.capacity, control="observed")
        self._rank, self._ranks = part.rank, part.ranks
        self._stack = Stack(
            [g1, *config.plan],
            device.layout,
            namespace,
            config.media(part.rank, part.ranks),
            instance=config.instance,
            given={"g1": device},
        )
        self.hello = Hello(
            incarnation=secrets.token_hex(8),
            rank=part.rank,
            ranks=part.ranks,
            pp=part.pp,
            namespace=namespace,
            tiers=[HeldTier.of(spec, self._stack.openings.get(spec.tier)) for spec in [g1, *config.plan]],
        )
        _logger.info(
            "tiers are open",
            rank=part.rank,
            block_bytes=device.layout.block_bytes,
            kept=self._stack.kept,
            g1=device.capacity,
        )
        self.traffic = Traffic(self._stack.mover)
        self._loads: dict[str, _Load] = {}
        self._request_of: dict[int, str] = {}
        self._reports: list[Report] = []
        self._in_flight: dict[str, _Moving] = {}
        self._is_idle = False
        self._news = threading.Event()
        self._stack.mover.watch(self._news.set)

    def take(self, orders: Orders) -> None:
        """Begin what a step asks for."""
        self._is_idle = orders.is_idle
        for request, slots in orders.loads.items():
            self._loads[request] = _Load(set(slots), set(), self._ranks == 1)
            self._request_of |= dict.fromkeys(slots, request)
        for slots in orders.lost.values():
            self._strike(slots, failed=True)
        for request, slots in orders.verdicts.items():
            if load := self._loads.get(request):
                load.is_judged = True
                load.failed.update(slots)
        for deletion in orders.deletions:
            self._stack.mover.forget(deletion)
        for job in orders.jobs:
            self._in_flight[job.transfer] = _Moving(job.tier == "g1", set(job.slots))
            self._stack.mover.submit(job)

    def results(self) -> tuple[set[str], dict[str, set[int]]]:
        """Requests whose loads are over, and by request the slots that do not have their bytes."""
        self._news.clear()
        self._poll()
        if self._is_idle and self._in_flight and not self._any_over():
            self._news.wait(IDLE_WAIT_S)
            self._poll()
        arrived, failed = set[str](), dict[str, set[int]]()
        for request in [request for request, load in self._loads.items() if load.is_over]:
            arrived.add(request)
            if slots := self._loads.pop(request).failed:
                failed[request] = slots
        return arrived, failed

    def tell(self) -> Told | None:
        """What became of jobs since the last step."""
        reports, self._reports = self._reports, []
        return Told(rank=self._rank, reports=[self._reported(report) for report in reports]) if reports else None

    def close(self) -> None:
        """Stop moving, and let go of the tiers. What survives stays."""
        self._stack.close()

    def _any_over(self) -> bool:
        return any(load.is_over for load in self._loads.values())

    def _poll(self) -> None:
        for report in self._stack.mover.poll():
            self._reports.append(report)
            moving = self._in_flight.get(report.transfer)
            if moving is None or not report.stopped:
                continue
            moving.open.difference_update(report.slots)
            if moving.is_load:
                self._strike(report.slots, failed=bool(report.reason))
            if not moving.open:
                del self._in_flight[report.transfer]

    def _strike(self, slots: Iterable[int], *, failed: bool) -> None:
        """Of these slots it is known now how they went, and nobody writes to them any more."""
        for slot in slots:
            load = self._loads.get(self._request_of.pop(slot, ""))
            if load:
                load.open.discard(slot)
                if failed:
                    load.failed.add(slot)

    def _reported(self, report: Report) -> Reported:
        return Reported(
            incarnation=self.hello.incarnation,
            transfer=report.transfer,
            slots=to_runs(report.slots),
            reason=report.reason[:1024],
            stopped=report.stopped,
            length_bytes=report.length_bytes,
            checksums=report.checksums,
        )
