"""An owner's part of it: a look-up goes on in what peers have, and what it finds there is noted, by an event of our own log.

So our state does not depend on theirs: a fold of our log alone knows which blocks were found, whose they are, and what
their bytes must be. What was noted is a block of our g4 like any other, but for its bytes, which only their writer deletes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from kvbm_events.log import Log
from kvbm_events.schema import Evicted, TierSpec, unpack_keys
from kvbm_events.schema.errors import InvalidCommand, RefusedError
from kvbm_nats.options import Options
from kvbm_nats.peers.blocks import PeerBlocks
from kvbm_nats.peers.finding import Piece, pieces_beyond
from kvbm_nats.peers.follower import Follower
from kvbm_nats.peers.names import check_peers
from kvbm_nats.status import PeerStatus
from kvbm_statemachine.decide import Desk, Hit, note
from kvbm_statemachine.decide.lookup import Hidden
from kvbm_statemachine.lineage import NO_SLOT
from kvbm_tiers import OBJECT_TIER

_logger = structlog.get_logger(__name__)


class Peers:
    """See the module. Works at an owner's desk, in its thread."""

    def __init__(self, follower: Follower, desk: Desk, hidden: Hidden) -> None:
        """`hidden` are, by tier, keys that must not be found yet; it changes."""
        self._follower, self._desk, self._hidden = follower, desk, hidden

    def status(self) -> list[PeerStatus]:
        """The instances that are followed, and what is known of each. Fit for any thread."""
        return self._follower.status()

    def extend(self, hits: list[Hit], keys: Sequence[str], at: int) -> list[Hit]:
        """What a look-up finds that found `at` keys here: `NO_SLOT` stands for slots that peers' blocks would get."""
        pieces = self._beyond(keys, at)
        if not pieces:
            return hits
        index = self._desk.state.tiers[OBJECT_TIER].lineage.index
        slots = [index.get(key, NO_SLOT) for key in keys[at : pieces[-1].end]]
        if hits and hits[-1].tier == OBJECT_TIER:
            return [*hits[:-1], Hit(OBJECT_TIER, hits[-1].slots + slots)]
        return [*hits, Hit(OBJECT_TIER, slots)]

    def note(self, request: str, keys: Sequence[str], parent: str, at: int) -> bool:
        """Take note of what peers have of a prompt behind the `at` keys that are here; whether there was anything.

        `parent` is the key before the first.
        """
        noted = 0
        for piece in self._beyond(keys, at):
            before = keys[piece.start - 1] if piece.start else parent
            if piece.writer:
                count = self._note(request, keys, piece, piece.writer, before)
                noted += count
                if count < piece.end - piece.start:
                    break
        return noted > 0

    def evicted(self, event: Evicted) -> None:
        """What was not there, or not whole, is not looked for again until its writer has written it anew."""
        if event.writer and event.reason in {"corrupt", "gone"}:
            self._follower.strike(event.writer, unpack_keys(event.keys))

    def close(self) -> None:
        """Follow nobody any more."""
        self._follower.close()

    def _beyond(self, keys: Sequence[str], at: int) -> list[Piece]:
        if at == len(keys):
            return []
        peers = [*self._follower.peers.values()]
        return pieces_beyond(self._desk.state, keys, at, peers, self._hidden.get(OBJECT_TIER, ()))

    def _note(self, request: str, keys: Sequence[str], piece: Piece, peer: PeerBlocks, parent: str) -> int:
        """How many blocks of the piece were noted: the first ones."""
        part = keys[piece.start : piece.end]
        sums = [peer.sums.get(key, "") for key in part]
        size = next((at for at, each in enumerate(sums) if not each), len(sums))  # some may have gone since
        try:
            return size and note(
                self._desk,
                OBJECT_TIER,
                part[:size],
                writer=peer.name,
                parent=parent,
                length_bytes=peer.length_bytes,
                checksums="".join(sums[:size]),
                request=request,
            )
        except RefusedError as error:
            _logger.warning("blocks of a peer are not noted", peer=peer.name, request=request, why=str(error))
            return 0


def plan_following(
    source: Log | Callable[[], Awaitable[Log]],
    instance: str,
    peers: Sequence[str],
    namespace: str,
    tiers: Sequence[TierSpec],
    options: Options,
) -> Callable[[], Follower] | None:
    """What begins to follow the peers; None where there are none, and then nothing is spent on it.

    Raises:
        InvalidCommand: a peer has no name, there is no g4 of our own, or nothing says how to connect.
    """
    names = check_peers(peers, instance)
    if not names:
        return None
    objects = next((spec for spec in tiers if spec.tier == OBJECT_TIER), None)
    if objects is None or objects.control == "observed":
        raise InvalidCommand(
            f"peers without a {OBJECT_TIER} of our own",
            why="what another instance has is read from object storage",
            hint=f"give the plan a {OBJECT_TIER}, in the bucket and under the prefix that the peers have",
        )
    if not callable(source):
        raise InvalidCommand(
            "peers over a log that is given",
            why="they are followed in a thread of its own, over a connection of its own",
            hint="give the server's URL, or what connects to it",
        )
    return partial(Follower, source, instance, names, namespace=namespace, blocks_max=options.peer_blocks_max)
