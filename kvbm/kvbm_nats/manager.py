"""BlockManager: the owner of one instance, for those who embed it. Synchronous, and never waits for the log.

    manager = BlockManager.open(url, "replica-0", namespace="llama-8b;bf16;16", tiers=[TierSpec(tier="g1", capacity=4096)])
    hits = manager.match("req-1", keys)
    slots = manager.allocate("req-1", 3)
    manager.register("req-1", slots, new_keys, parent=keys[-1])
    manager.release("req-1")
    manager.close()

One thread uses it. Every command is decided at once from memory; its events are written behind it. Once the log cannot
be written any more, every command raises why.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import takewhile
from typing import Literal, Self

from kvbm_events.jetstream import JetStreamLog
from kvbm_events.log import Log, Snapshot
from kvbm_events.schema import (
    ROOT,
    TIERS,
    AnyEvent,
    Evicted,
    EvictReason,
    Opened,
    ReleaseReason,
    Requests,
    TierName,
    TierSpec,
    total,
)
from kvbm_events.schema.errors import Fenced, LogError, LogUnavailable
from kvbm_nats.epoch import claim
from kvbm_nats.log_thread import LogObserver, LogThread
from kvbm_nats.offloading import Offloader, Ticket
from kvbm_nats.options import Options
from kvbm_nats.peers import Follower, Peers, plan_following
from kvbm_nats.recovery import Recovered, save_state
from kvbm_nats.status import Status, TierStatus
from kvbm_statemachine import check_integrity, digest_of, evolve, to_bytes
from kvbm_statemachine.decide import Desk, Hit, allocate, evict, look, match, register, release
from kvbm_statemachine.decide.lookup import PROMPT, Start
from kvbm_tiers import MemoryMover, Mover
from kvbm_tiers.job_book import wall_clock_us

_POLL_S = 0.05


class BlockManager:
    """See the module. `peers` knows the instances whose objects are found and read too; None where nobody's are."""

    def __init__(
        self,
        instance: str,
        thread: LogThread,
        recovered: Recovered,
        opened: Opened,
        mover: Mover,
        options: Options,
        follower: Follower | None = None,
    ) -> None:
        self.instance, self.options = instance, options
        self.state, self.recovered = recovered.state, recovered
        self._thread = thread
        self._desk = Desk(self.state, self._record, wall_clock_us())
        self._events = Counter[str]()
        self._evicted = Counter[TierName]()
        self._snapshot_n = 0
        self._closed = False
        evolve(self.state, opened)
        self._offloader = Offloader(self._desk, mover, options, thread.nudge)
        self.peers = Peers(follower, self._desk, self._offloader.hidden) if follower else None
        self._offloader.begin()

    @classmethod
    def open(
        cls,
        log: Log | str | Callable[[], Awaitable[Log]],
        instance: str,
        *,
        namespace: str,
        tiers: Sequence[TierSpec],
        keep: Sequence[TierName] = TIERS,
        requests: Requests = "dropped",
        mover: Mover | None = None,
        options: Options | None = None,
        note: str = "",
        observer: LogObserver | None = None,
        peers: Sequence[str] = (),
    ) -> BlockManager:
        """Recover the instance from its log and claim its next epoch.

        Args:
            log: a NATS server's URL, what connects to one, or a log, which stays open; used on a thread of its own
            instance: the instance's name
            namespace: fingerprint of all that must agree before blocks are reused, as `field=value;…`
            tiers: the tiers, fastest first
            keep: tiers whose blocks are still there, unless the mover says that its memory has other contents; one that is
                new or of another size starts empty all the same
            requests: whether what requests held goes on being held
            mover: what copies blocks between tiers; by default memory within this process, of which nothing is kept
            options: see `Options`
            note: why it is opened, for people who read the log
            observer: who is told of what is written, on the log's thread: `kvbm_nats.metrics.Tally`
            peers: other instances of the namespace whose objects are found and read too, by name or pattern (`replica-*`)

        Raises:
            Fenced: another owner claimed the instance meanwhile.
            NamespaceMismatch, InvalidCommand: the plan, or the options, cannot be.
            LogError, IllegalTransition: the log cannot be read, written or applied.
        """
        options = (options or Options()).check()
        if mover is None:  # whose memory is new: only what an engine fills is still there
            fastest = min((spec.tier for spec in tiers), default=None)
            keep = [tier for tier in keep if tier == fastest]
        source = partial(JetStreamLog.connect, log) if isinstance(log, str) else log
        follow = plan_following(source, instance, peers, namespace, tiers, options)
        thread = LogThread(source, pending_max=options.pending_max, observer=observer)
        try:
            recovered, opened = claim(
                thread, instance, namespace=namespace, note=note, tiers=tiers, keep=keep, requests=requests
            )
        except BaseException:
            thread.close(options.close_timeout_s)
            raise
        mover = mover or MemoryMover({spec.tier: spec.capacity for spec in tiers})
        return cls(instance, thread, recovered, opened, mover, options, follow() if follow else None)

    @property
    def acked(self) -> tuple[int, int]:
        """`(epoch, n)`: this event and all before it are stored. Fit for any thread."""
        return self.state.epoch, self._thread.acked_n

    @property
    def pending(self) -> int:
        """Events that are decided and not yet acknowledged. Fit for any thread."""
        return self._thread.pending

    @property
    def failure(self) -> LogError | None:
        """Why nothing can be written any more; None while all is well. Fit for any thread."""
        return self._thread.failure

    @property
    def waiting(self) -> int:
        """Blocks that are wanted in another tier and have not begun their way."""
        return self._offloader.paths.waiting

    @property
    def is_moving(self) -> bool:
        """Whether blocks wait, or are under way or in doubt, or have arrived and cannot be matched yet."""
        return self._offloader.is_busy

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed`, on another thread, whenever `acked` or `failure` is new, or blocks moved. It must not block."""
        self._thread.watch(changed)

    def look(self, keys: Sequence[str], *, local: int | None = None) -> list[Hit]:
        """What `match` would find now. No event, no hold; what a peer has is in no slot yet: `NO_SLOT`."""
        hits, at = look(self.state, keys, hidden=self._offloader.hidden, local=local)
        return self.peers.extend(hits, keys, at) if self.peers else hits

    def match(
        self,
        request: str,
        keys: Sequence[str],
        *,
        hold: bool = True,
        priority: int = 50,
        local: int | None = None,
        start: Start = PROMPT,
    ) -> list[Hit]:
        """Find the longest prefix of `keys`, tier by tier; the request holds it until released. See `decide.match`."""
        self._begin()
        more = partial(self.peers.note, request, keys, start.parent) if self.peers else None
        hidden = self._offloader.hidden
        hits = match(
            self._desk, request, keys, hold=hold, priority=priority, hidden=hidden, local=local, start=start, more=more
        )
        if hits:
            ours = [len(hit.slots) for hit in hits if local is None or not self.state.tiers[hit.tier].observed]
            self._offloader.offer_found(keys[: (local or 0) + sum(ours)], priority)
        return hits

    def allocate(self, request: str, count: int, *, tier: TierName = "g1", priority: int = 50) -> list[int]:
        """Slots for the request to fill; cached blocks make room where they must. See `decide.allocate`."""
        self._begin()
        slots = allocate(self._desk, tier, request, count, priority=priority)
        self._offloader.offer_next_victims(self.state.tiers[tier], count)
        return slots

    def record_allocated(self, request: str, slots: Sequence[int], *, tier: TierName = "g1") -> None:
        """Record that an engine took these slots of an observed tier for a request."""
        self._begin()
        allocate(self._desk, tier, request, len(slots), at=slots)

    def register(
        self,
        request: str,
        slots: Sequence[int],
        keys: Sequence[str],
        *,
        parent: str = ROOT,
        tier: TierName = "g1",
    ) -> list[int]:
        """Make filled slots matchable; the slots that hold the keys from now on. See `decide.register`."""
        self._begin()
        final = register(self._desk, tier, request, slots, keys, parent)
        self._offloader.offer_new(self.state.tiers[tier], keys, self.state.requests[request].priority)
        return final

    def release(
        self,
        request: str,
        *,
        reason: ReleaseReason = "finished",
        tier: TierName | Literal[""] = "",
        slots: Sequence[int] = (),
    ) -> None:
        """Give back what the request holds: all, in one tier, or some allocated slots. See `decide.release`.

        After all is given back, what the request waited for and has not begun is wanted no more.
        """
        self._begin()
        release(self._desk, request, reason=reason, tier=tier, slots=slots)
        if not tier:
            self._offloader.paths.cancel_request(request)

    def offload(
        self, keys: Sequence[str], *, source: TierName = "g1", tier: TierName = "g2", priority: int = 50
    ) -> Ticket:
        """Copy blocks down when their turn comes; what is not in the source, or is below already, is passed over.

        Raises:
            InvalidCommand, UnknownTier: as they say.
        """
        self._begin()
        return self._offloader.paths.ask_down(source, tier, keys, priority)

    def onboard(
        self,
        request: str,
        keys: Sequence[str],
        *,
        source: TierName = "g2",
        tier: TierName = "g1",
        slots: Sequence[int] | None = None,
    ) -> Ticket:
        """Copy blocks up for a request that waits, before anything goes down; what is there is passed over.

        Args:
            request: an open one; it holds what arrives, and when it is released before, the rest is not begun
            keys: which blocks, in prefix order
            source: where they are
            tier: where they are wanted
            slots: where they are to come to, one a key, if an engine decides in that tier; we choose if we do

        Raises:
            TierFull: the tier cannot take them all as it is now; nothing was asked for.
            InvalidCommand, UnknownTier, UnknownRequest: as they say.
        """
        self._begin()
        return self._offloader.paths.ask_up(request, source, tier, keys, slots)

    def cancel(self, ticket: Ticket) -> int:
        """Drop what of it has not begun; how many blocks. The rest goes on."""
        self._begin()
        return self._offloader.paths.cancel(ticket)

    def wait(self, tickets: Sequence[Ticket], timeout_s: float = 30.0) -> bool:
        """Wait until these are over, well or not; whether that came in time."""
        return self._wait(lambda: all(ticket.is_over for ticket in tickets), timeout_s)

    def settle(self, timeout_s: float = 30.0) -> bool:
        """Wait until nothing waits for its turn, is under way or in doubt; whether that came in time."""
        return self._wait(lambda: not self.is_moving, timeout_s)

    def evict(
        self, keys: Sequence[str], *, tier: TierName, reason: EvictReason = "operator", actor: str = "operator"
    ) -> int:
        """Evict blocks and all that stand on them; how many. See `decide.evict`."""
        self._begin()
        return evict(self._desk, tier, keys, reason=reason, actor=actor)

    def free_quarantined(self, tiers: Sequence[TierName], *, actor: str = "operator") -> int:
        """Say that nobody writes any more to these tiers' quarantined slots; how many are free now. A person's word."""
        self._begin()
        return self._offloader.free_quarantined(tiers, actor=actor)

    def status(self, *, with_digest: bool = False, with_room: bool = False) -> Status:
        """Numbers for people. The digest takes about 0.1 s a million blocks, and room what an eviction takes."""
        return Status(
            instance=self.instance,
            namespace=self.state.namespace,
            epoch=self.state.epoch,
            n=self.state.n,
            acked_n=self._thread.acked_n,
            tiers=[TierStatus.of(tier, with_room=with_room) for tier in self.state.tiers.values()],
            requests=len(self.state.requests),
            transfers=len(self.state.transfers),
            paths=self._offloader.paths.status(),
            peers=self.peers.status() if self.peers else [],
            events=dict(self._events),
            evicted=dict(self._evicted),
            digest=digest_of(to_bytes(self.state)) if with_digest else "",
        )

    def resident(self, keys: Sequence[str], tier: TierName = "g1") -> list[int]:
        """The slots of those first keys that are in a tier. Asks the state only: no event, no hold."""
        index = self.state.tier(tier).lineage.index
        return [index[key] for key in takewhile(index.__contains__, keys)]

    def check_integrity(self) -> list[str]:
        """What is wrong with the state, in words; empty if nothing is. For idle moments: it looks at every block."""
        return check_integrity(self.state)

    def maintain(self) -> None:
        """What need not be done at once: move transfers on, write a snapshot when one is due. Call it when idle."""
        self._begin()
        if self.options.snapshot_every and self.state.n - self._snapshot_n >= self.options.snapshot_every:
            self.snapshot()

    def snapshot(self) -> Snapshot:
        """Write the state to the log's snapshots, true at the very end of the instance's log."""
        self.flush()
        self._snapshot_n = self.state.n
        state, epoch, n = to_bytes(self.state), self.state.epoch, self._snapshot_n
        return self._thread.call(lambda log: save_state(log, self.instance, epoch, n, state, now_us=wall_clock_us()))

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until every event decided so far is stored. Raises LogUnavailable if that takes too long."""
        self._begin()
        self._thread.wait_acked(self.state.n, timeout_s or self.options.close_timeout_s)

    def close(self) -> None:
        """Write what is left and stop; the blocks stay as the log has them.

        Raises:
            LogFull, LogUnavailable: what kept the last events from being written. A fenced owner has nothing to write.
        """
        if self._closed:
            return
        self._closed = True
        if self.peers:
            self.peers.close()
        self._offloader.close()
        self._thread.close(self.options.close_timeout_s)
        if self._thread.failure and not isinstance(self._thread.failure, Fenced):
            raise self._thread.failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _record(self, event: AnyEvent) -> None:
        self._thread.put(event)
        self._events[type(event).__name__] += 1
        if type(event) is Evicted:
            self._evicted[event.tier] += total(event.slots)
            self._offloader.evicted(event)
            if self.peers:
                self.peers.evicted(event)

    def _begin(self) -> int:
        """Before every command: fail if the log did, wait while it is behind, move transfers on.

        Returns the news that were known when the transfers were looked at.
        """
        thread = self._thread
        if thread.failure:
            raise thread.failure
        if self._closed:
            raise LogUnavailable(f"the owner of {self.instance!r} is closed", hint="open it again")
        if thread.pending >= self.options.pending_max:
            thread.wait_for_room(self.options.room_timeout_s)
        self._desk.now_us = wall_clock_us()
        news = thread.news
        if self._offloader.has_news or self._offloader.is_busy:
            self._offloader.pump(thread.acked_n)
        return news

    def _wait(self, is_reached: Callable[[], bool], timeout_s: float) -> bool:
        end = time.monotonic() + timeout_s
        while True:
            seen = self._begin()
            if is_reached():
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._thread.wait_news(seen, min(left, _POLL_S))
