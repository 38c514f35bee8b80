"""An owner with device, host, disk and object storage, whose blocks have bytes that their keys determine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from kvbm_events.codec import decode
from kvbm_events.jetstream import JetStreamLog
from kvbm_events.memory import MemoryLog
from kvbm_events.schema import AnyEvent, TierName
from kvbm_nats.manager import BlockManager, Options
from kvbm_nats.plan import parse_plan
from kvbm_nats.traces.content import Content
from kvbm_tiers import Bucket, Medium, Stack, in_folder, preset
from support.samples import in_order, read_all

NAMESPACE = "n=1"
LAYOUT = preset("tiny")
PLAN = "g1=32,g2=64,g4=256"
WAIT_S = 30.0


class ObjectOwner:
    """An owner in this process and its stack, opened together.

    :ivar owner: decides
    :ivar stack: moves
    """

    def __init__(
        self,
        log: MemoryLog | str,
        folder: Path,
        url: str,
        *,
        plan: str = PLAN,
        instance: str = "i",
        timeout_s: float = 30.0,
        peers: Sequence[str] = (),
        namespace: str = NAMESPACE,
    ) -> None:
        self._log, self._instance, self._requests = log, instance, 0
        specs = parse_plan(plan)
        media = {**in_folder(folder), "g4": Medium.parse(url)}
        self.stack = Stack(specs, LAYOUT, namespace, media, instance=instance)
        self.owner = BlockManager.open(
            log,
            instance,
            namespace=namespace,
            tiers=specs,
            keep=self.stack.kept,
            mover=self.stack.mover,
            options=Options(transfer_timeout_s=timeout_s),
            peers=peers,
        )
        self.content = Content(self.stack.stores["g1"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.owner.close()
        self.stack.close()

    @property
    def bucket(self) -> Bucket:
        """The object storage."""
        bucket = self.stack.stores["g4"]
        assert isinstance(bucket, Bucket)
        return bucket

    def objects(self) -> set[str]:
        """Keys that it has objects of, once the deletions that were asked for are done."""
        self.owner.flush()
        self.owner.maintain()
        assert self.bucket.order.flush(30)
        return {key for key, _, _ in self.bucket.blocks.listed()}

    def compute(self, keys: Sequence[str]) -> None:
        """Serve a prompt whose blocks are new, and wait until they are as far down as they go."""
        self._requests += 1
        request = f"compute-{self._requests}"
        slots = self.owner.allocate(request, len(keys))
        self.content.fill(slots, keys)
        self.owner.register(request, slots, keys)
        self.owner.release(request)
        self.settle()

    def settle(self) -> None:
        """Wait until nothing is under way, and look whether all is in order."""
        assert self.owner.settle()
        assert self.owner.check_integrity() == []

    def leave_only(self, tier: TierName, keys: Sequence[str]) -> None:
        """Evict blocks from all other tiers."""
        for name in self.owner.state.tiers:
            if name != tier:
                self.owner.evict(keys, tier=name)

    def load(self, keys: Sequence[str], *, source: TierName = "g4", tier: TierName = "g1") -> int:
        """Bring blocks up; how many of the first are there, each with its own bytes if that is g1."""
        self._requests += 1
        request = f"load-{self._requests}"
        self.owner.match(request, keys)
        self.owner.wait([self.owner.onboard(request, keys, source=source, tier=tier)])
        slots = self.owner.resident(keys, tier)
        if tier == "g1":
            before = self.content.verified
            self.content.check(slots, keys[: len(slots)])
            assert self.content.verified - before == len(slots), "a block came up with other bytes"
        self.owner.release(request)
        self.settle()
        return len(slots)

    def events(self) -> list[AnyEvent]:
        """All that was written until now."""
        self.owner.flush()
        if isinstance(self._log, MemoryLog):
            return [decode(entry.data) for entry in self._log._batch(0, None)]
        return asyncio.run(events_of(self._log, self._instance))

    def knows(self, peer: str, keys: Sequence[str]) -> bool:
        """Whether its follower knows that a peer has these, at the latest after a while."""
        return self._becomes(lambda: (known := self._blocks_of(peer)) is not None and set(keys) <= known)

    def forgets(self, peer: str, keys: Sequence[str]) -> bool:
        """Whether it knows that a peer has none of these any more, at the latest after a while."""
        return self._becomes(lambda: (known := self._blocks_of(peer)) is not None and known.isdisjoint(keys))

    def _blocks_of(self, peer: str) -> set[str] | None:
        assert self.owner.peers
        found = self.owner.peers._follower.peers.get(peer)
        return set(found.sums) if found else None

    def _becomes(self, is_so: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + WAIT_S
        while not is_so():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


async def events_of(url: str, instance: str) -> list[AnyEvent]:
    """All that an instance has written."""
    log = await JetStreamLog.connect(url)
    try:
        return in_order(await read_all(log, instance))
    finally:
        await log.close()
