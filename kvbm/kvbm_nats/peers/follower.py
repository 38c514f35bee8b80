"""A thread that reads the logs of other instances over a connection of its own, so that neither an owner nor its engine waits.

Each log is read from its newest snapshot on and then followed. Where the connection breaks it goes on from where it was;
where the log was trimmed, or is another, it begins again. What is known of a peer that is gone stays: its objects do too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog

from kvbm_events.log import Log
from kvbm_events.schema.errors import IllegalTransition, KvbmError, LogGap, LogUnavailable
from kvbm_events.sequencer import Sequencer
from kvbm_nats.peers.blocks import PeerBlocks
from kvbm_nats.peers.names import PEERS_MAX, chosen, is_pattern
from kvbm_nats.status import PeerStatus
from kvbm_statemachine import digest_of
from kvbm_statemachine.snapshot import dump_of

FIRST_LOOK_S, LOOK_EVERY_S = 0.25, 10.0
RETRY_S = 5.0
CLOSE_S = 5.0

_logger = structlog.get_logger(__name__)


class Follower:
    """See the module.

    :ivar peers: those that are followed, by name; read in any thread
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Log]],
        instance: str,
        names: Sequence[str],
        *,
        namespace: str,
        blocks_max: int,
    ) -> None:
        """Start; whether the server answers shows later, and in the log of this program.

        Args:
            connect: opens the log; it is closed here
            instance: who follows, which is none of its own peers
            names: of peers, or patterns, as `check_peers` gave them
            namespace: whose blocks are kept in mind
            blocks_max: how many blocks of all peers are kept in mind
        """
        self.peers: dict[str, PeerBlocks] = {}
        self._connect, self._instance, self._names = connect, instance, tuple(names)
        self._namespace, self._blocks_max = namespace, blocks_max
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._warned: dict[tuple[str, str], str] = {}
        self._loop = asyncio.new_event_loop()
        self._main: asyncio.Task[None] | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._live, name="kvbm-peers", daemon=True)
        self._thread.start()

    def strike(self, name: str, keys: Sequence[str]) -> None:
        """Blocks of a peer were not there, or not whole."""
        if peer := self.peers.get(name):
            peer.strike(keys)

    def status(self) -> list[PeerStatus]:
        """Every peer that is followed."""
        return [peer.status(is_named=peer.name in self._names) for peer in [*self.peers.values()]]

    def close(self) -> None:
        """Stop."""
        self._is_closed = True
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(lambda: self._main and self._main.cancel())
        self._thread.join(CLOSE_S)

    def _live(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner, suppress(asyncio.CancelledError):
            runner.run(self._run())

    async def _run(self) -> None:
        self._main = asyncio.current_task()
        while not self._is_closed:
            try:
                log = await self._connect()
            except KvbmError as error:
                self._warn("", "peers cannot be followed", str(error))
                await asyncio.sleep(RETRY_S)
                continue
            try:
                await self._watch(log)
            finally:
                for task in self._tasks.values():
                    task.cancel()
                await asyncio.gather(*self._tasks.values(), return_exceptions=True)
                await log.close()

    async def _watch(self, log: Log) -> None:
        """Follow who is meant, and look from time to time who else is, and how far each has been read."""
        pause_s = FIRST_LOOK_S
        while True:
            try:
                known = await log.instances() if any(map(is_pattern, self._names)) else []
                for name in chosen(self._names, known, self._instance):
                    self._begin(log, name)
                for peer in self.peers.values():
                    await self._judge(log, peer)
                self._warned.pop(("", "peers cannot be followed"), None)
            except LogUnavailable as error:
                self._warn("", "peers cannot be followed", str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LOOK_EVERY_S)

    def _begin(self, log: Log, name: str) -> None:
        if name in self._tasks:
            return
        if len(self._tasks) >= PEERS_MAX:
            self._warn(name, "a peer is not followed", f"{PEERS_MAX} are, which is the most")
            return
        peer = self.peers[name] = PeerBlocks(name, self._room, self._namespace)
        self._tasks[name] = asyncio.create_task(self._follow(log, peer))

    async def _judge(self, log: Log, peer: PeerBlocks) -> None:
        """See how far a peer has been read, and say what has become of it.

        One that writes all the time is never read to its end: it is read as fast as it grows where it is read to the end
        that it had at the look before.
        """
        before, end = peer.end_seq, await log.last_seq(peer.name)
        peer.end_seq = end
        if not end:
            self._warn(peer.name, "a peer has no log", "no instance of this name has written, or its log was deleted")
        elif peer.seq >= (end if peer.trouble else before or end):
            if not peer.is_current:
                self._warned = {place: why for place, why in self._warned.items() if place[0] != peer.name}
                _logger.info("a peer is followed", peer=peer.name, blocks=len(peer.sums), namespace=peer.namespace)
            peer.is_current, peer.trouble = True, ""
        elif before and not peer.trouble:
            peer.is_current = False
            self._warn(peer.name, "a peer's log is read late", f"up to {peer.seq} of {end}")
        if peer.is_current and peer.namespace != self._namespace and peer.name in self._names:
            why = f"it is {peer.namespace!r} and not {self._namespace!r}: nothing of it is found"
            self._warn(peer.name, "a peer has another namespace", why)
        if peer.passed_over:
            why = f"{self._blocks_max} of all peers are kept in mind; further ones are not found"
            self._warn(peer.name, "a peer has too many blocks", why)

    async def _follow(self, log: Log, peer: PeerBlocks) -> None:
        """Read one log for ever."""
        sequencer: Sequencer | None = None
        while True:
            try:
                if sequencer is None:
                    sequencer = await _from_snapshot(log, peer)
                await self._read(log, peer, sequencer)
            except LogUnavailable as error:
                self._trouble(peer, error)
            except LogGap as error:
                self._trouble(peer, error)
                sequencer = None
            except KvbmError as error:  # what this program cannot read, another version has written
                self._trouble(peer, error)
                sequencer = None
            await asyncio.sleep(RETRY_S)

    async def _read(self, log: Log, peer: PeerBlocks, sequencer: Sequencer) -> None:
        async for batch in log.read(peer.name, after=peer.seq):
            peer.trouble = ""
            for entry in batch:
                for ordered in sequencer.feed(entry):
                    peer.take(ordered.event)
            peer.seq = batch[-1].seq
            await asyncio.sleep(0)

    def _trouble(self, peer: PeerBlocks, error: KvbmError) -> None:
        peer.trouble, peer.is_current = str(error), False
        self._warn(peer.name, "a peer cannot be followed", str(error))

    def _room(self) -> int:
        return self._blocks_max - sum(len(peer.sums) for peer in self.peers.values())

    def _warn(self, name: str, what: str, why: str) -> None:
        """Say it once, until that peer is followed again."""
        if (name, what) not in self._warned:
            self._warned[name, what] = why
            _logger.warning(what, why=why, **({"peer": name} if name else {}))


async def _from_snapshot(log: Log, peer: PeerBlocks) -> Sequencer:
    """Begin with the newest snapshot that can be used, or with the log's first event."""
    sequencer = Sequencer()
    snapshot = await log.load_snapshot(peer.name)
    dumped = None
    if snapshot and digest_of(snapshot.state) == snapshot.digest:
        with suppress(IllegalTransition):  # of another version: the log is read instead
            dumped = dump_of(snapshot.state)
    if snapshot is None or dumped is None:
        peer.begin(None, 0)
        return sequencer
    peer.begin(dumped, snapshot.seq)
    sequencer.resume(peer.name, dumped.epoch, dumped.n)
    return sequencer
