"""An owner with tier workers: in threads with a mover of the test's own, or as processes to be killed and stopped."""

from __future__ import annotations

import asyncio
import mmap
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from kvbm_events.codec import decode
from kvbm_events.jetstream import JetStreamLog
from kvbm_events.schema import AnyEvent, TierSpec, TransferFailed
from kvbm_nats.manager import BlockManager
from kvbm_nats.options import Options
from kvbm_nats.workers import WorkerMover, WorkerOptions
from kvbm_tiers import Job, Layout, MemoryMover, Report
from kvbm_tiers.reports import HeldTier
from kvbm_tiers.worker import Worker, WorkerPlan
from kvbm_tiers.worker import WorkerOptions as Habits
from support.chained_keys import prefix
from support.locks import LOCKS
from support.scripts import ScriptProcess

NAMESPACE = "model=m;block_tokens=16"
TIERS = [TierSpec(tier="g1", capacity=32), TierSpec(tier="g2", capacity=64)]
CAPACITIES = {spec.tier: spec.capacity for spec in TIERS}
BLOCK_BYTES = 64
DEAD_AFTER_S = 2.0
HEARTBEAT_S = 0.1
TIMEOUT_S = 30.0


def held_tiers(tiers: Sequence[TierSpec] = TIERS) -> tuple[HeldTier, ...]:
    """What the workers here have in their memory."""
    return tuple(HeldTier(tier=spec.tier, capacity=spec.capacity) for spec in tiers)


class StepMover(MemoryMover):
    """Copies in two steps, each when it is let: what was submitted, and what was copied but not reported, waits.

    :ivar submitted: transfers that were taken, in their order, one for each time
    """

    def __init__(self, *, may_copy: bool = True, may_report: bool = True) -> None:
        super().__init__(CAPACITIES, block_bytes=BLOCK_BYTES)
        self.submitted: list[str] = []
        self._may_copy, self._may_report = may_copy, may_report
        self._held: list[Job] = []
        self._changed = threading.Condition()

    def submit(self, job: Job) -> None:
        with self._changed:
            self._held.append(job)
            self.submitted.append(job.transfer)
            self._changed.notify_all()

    def poll(self) -> list[Report]:
        with self._changed:
            if self._may_copy:
                for job in self._held:
                    super().submit(job)
                self._held.clear()
            return super().poll() if self._may_report else []

    def let(self, *, copy: bool = True, report: bool = True) -> None:
        with self._changed:
            self._may_copy, self._may_report = copy, report

    def wait_submitted(self, count: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.submitted) >= count, TIMEOUT_S)


class FileMover(MemoryMover):
    """Tiers as files that outlive their process, so that another one can see what was written."""

    def __init__(self, folder: str) -> None:
        super().__init__(CAPACITIES, block_bytes=BLOCK_BYTES)
        for tier, capacity in CAPACITIES.items():
            with (Path(folder) / tier).open("a+b") as file:
                file.truncate(capacity * BLOCK_BYTES)
                self.arenas[tier] = mmap.mmap(file.fileno(), capacity * BLOCK_BYTES)  # type: ignore[assignment] # both are written as buffers


class WorkerProcess(ScriptProcess):
    """`tests/processes/worker.py`: a worker over files in a folder, to be killed and stopped."""

    def __init__(
        self,
        url: str,
        instance: str,
        folder: Path,
        *,
        rank: int = 0,
        ranks: int = 1,
        steps: str = "",
        layout: Layout | None = None,
    ) -> None:
        shape = [str(layout.part.pp), msgspec.json.encode(layout).decode()] if layout else []
        super().__init__("worker.py", url, instance, str(rank), str(ranks), str(folder), steps, *shape)


class Site:
    """One instance: its owner, one at a time, and its workers, which are all ended at the end."""

    def __init__(self, url: str, instance: str, tiers: Sequence[TierSpec] = TIERS) -> None:
        self.url, self.instance, self._tiers = url, instance, tiers
        self._owners: list[BlockManager] = []
        self._workers: list[Worker] = []
        self._requests = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop_workers()
        for owner in self._owners:
            owner.close()

    def open(
        self, *, ranks: int = 1, dead_after_s: float = DEAD_AFTER_S, namespace: str = NAMESPACE, **options: float
    ) -> BlockManager:
        """The next owner."""
        self.mover = WorkerMover.connect(
            self.url,
            self.instance,
            namespace=namespace,
            ranks=ranks,
            options=WorkerOptions(dead_after_s=dead_after_s),
        )
        keep = [spec.tier for spec in self._tiers] if namespace == NAMESPACE else ()
        owner = BlockManager.open(
            self.url,
            self.instance,
            namespace=namespace,
            tiers=self._tiers,
            keep=keep,
            mover=self.mover,
            options=Options(**options),
        )
        self._owners.append(owner)
        return owner

    def open_without_workers(self) -> BlockManager:
        """The next owner, which moves blocks itself."""
        owner = BlockManager.open(self.url, self.instance, namespace=NAMESPACE, tiers=TIERS)
        self._owners.append(owner)
        return owner

    def work(
        self,
        mover: MemoryMover | None = None,
        *,
        rank: int = 0,
        ranks: int = 1,
        namespace: str = NAMESPACE,
        in_flight_max: int = 16,
        ready: bool = True,
    ) -> Worker:
        """A worker in threads of this process."""
        plan = WorkerPlan(
            instance=self.instance,
            namespace=namespace,
            rank=rank,
            ranks=ranks,
            tiers=held_tiers(),
        )
        habits = Habits(heartbeat_s=HEARTBEAT_S, stop_timeout_s=2.0, in_flight_max=in_flight_max, lock_folder=LOCKS)
        worker = Worker(self.url, plan, mover or StepMover(), habits)
        worker.start()
        self._workers.append(worker)
        if ready:
            assert worker.wait_ready(TIMEOUT_S), worker.failure
        return worker

    def stop_workers(self) -> None:
        """End all workers of this process."""
        for worker in self._workers:
            worker.ask_to_stop()
        for worker in self._workers:
            assert worker.wait(TIMEOUT_S)

    def offload(
        self, owner: BlockManager, blocks: int = 4, memory: MemoryMover | None = None
    ) -> tuple[list[str], list[str]]:
        """Register a prompt that is new, which goes down by itself; its keys, and its transfers.

        Where the memory is given, each block of g1 is filled with what its key stands for.
        """
        self._requests += 1
        request, keys = f"r{self._requests}", prefix([self._requests] * blocks)
        before = set(owner.state.transfers)
        slots = owner.allocate(request, blocks)
        for slot, key in zip(slots, keys, strict=True) if memory else ():
            memory.block("g1", slot)[:] = bytes_of(key)
        owner.register(request, slots, keys)
        owner.release(request)
        return keys, [transfer for transfer in owner.state.transfers if transfer not in before]

    def events(self, after: int = 0) -> list[AnyEvent]:
        """The instance's events, from the log."""

        async def read() -> list[AnyEvent]:
            log = await JetStreamLog.connect(self.url)
            found: list[AnyEvent] = []
            async for batch in log.read(self.instance, after=after, until=await log.last_seq(self.instance)):
                found += [decode(entry.data) for entry in batch]
            await log.close()
            return found

        return asyncio.run(read())

    def failures(self, owner: BlockManager, after: int = 0) -> list[tuple[str, str, bool]]:
        """Which transfers failed, why, and whether they had stopped, as the log has it."""
        owner.flush()
        return [(e.transfer, e.reason, e.stopped) for e in self.events(after) if isinstance(e, TransferFailed)]


def bytes_of(key: str) -> bytes:
    """What a block with this key must have in it."""
    return bytes.fromhex(key) * (BLOCK_BYTES * 2 // len(key))


def wrong_blocks(owner: BlockManager, memory: MemoryMover) -> list[str]:
    """Keys that can be matched and whose bytes are others'."""
    wrong: list[str] = []
    for name, tier in owner.state.tiers.items():
        hidden = owner._offloader.hidden.get(name, set())
        shown = {key: slot for key, slot in tier.lineage.index.items() if key not in hidden}
        wrong += [key for key, slot in shown.items() if memory.block(name, slot) != bytes_of(key)]
    return wrong


def pump_until(owner: BlockManager, reached: Callable[[], object], what: str = "") -> None:
    """Let the owner look at its mover until it is so."""
    give_up_at = time.monotonic() + TIMEOUT_S
    while not reached():
        assert time.monotonic() < give_up_at, what or "it did not come so far"
        owner.maintain()
        time.sleep(0.002)


def settle(owner: BlockManager) -> None:
    """Let the owner finish all its transfers, quarantined ones as well, and look whether all is in order."""
    pump_until(owner, lambda: not owner.state.transfers, "a transfer is stuck")
    assert owner.check_integrity() == []
    assert {tier.quarantined for tier in owner.status().tiers} == {0}


def found_below(owner: BlockManager, keys: Sequence[str]) -> int:
    """How many of these blocks are in g2."""
    return len(owner.resident(keys, "g2"))
