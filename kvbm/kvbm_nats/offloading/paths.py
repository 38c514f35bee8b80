"""All paths between an owner's tiers: what is wanted on them, and the order in which they start.

Rules
1. Whatever is wanted waits in its path's queue until the path has room; only then is there a `…Started` event. So what the
   log orders is never reordered, refused or taken back.
2. A path has room while its transfers are fewer than the limit and a whole batch more is within the limit of blocks. Blocks
   in quarantine count: nobody knows whether they are still being written.
3. What requests wait for starts before anything goes down.
4. What waits holds nothing. A block that has left the source before its turn is passed over and counted; one that is
   there by then, or on its way, is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from kvbm_events.schema import TierName, TransferStarted, check_keys
from kvbm_nats.offloading.path import Path
from kvbm_nats.offloading.path_queue import Wish
from kvbm_nats.offloading.ticket import Ticket
from kvbm_nats.options import Options
from kvbm_nats.status import PathStatus
from kvbm_statemachine.decide import Desk, check_destination, check_path, check_priority, check_room
from kvbm_statemachine.tier import Tier
from kvbm_statemachine.transfers import Transfer

IsComing = Callable[[TierName, Sequence[str]], bool]


class Paths:
    """See the module. Works at an owner's desk, in its thread."""

    def __init__(
        self, desk: Desk, options: Options, on_started: Callable[[TransferStarted], None], is_coming: IsComing
    ) -> None:
        """Nothing waits yet.

        Args:
            desk: the owner's
            options: with the limits of each path
            on_started: told of every transfer, in the order of the log
            is_coming: whether some of these blocks are on their way to a tier, or there and not to be found yet
        """
        self._desk, self._options, self._on_started, self._is_coming = desk, options, on_started, is_coming
        self._up: dict[tuple[TierName, TierName], Path] = {}
        self._down: dict[tuple[TierName, TierName], Path] = {}
        self._tickets: dict[str, Ticket] = {}
        self._is_due, self._is_stale = False, False

    @property
    def waiting(self) -> int:
        """Blocks that wait, on all paths."""
        return sum([path.queue.blocks for path in self._all()])

    def offer(self, source: Tier, tier: Tier, keys: Sequence[str], priority: int) -> None:
        """Blocks of a tier, in prefix order and none twice, are wanted below, in the background."""
        there, coming = tier.lineage.index, self._desk.state.incoming[tier.name]
        if not there.keys().isdisjoint(keys) or not coming.isdisjoint(keys):
            keys = [key for key in keys if key not in there and key not in coming]
        if keys:
            lineage = source.lineage
            parent = lineage.parent_of(lineage.index[keys[0]])
            self._path(source.name, tier.name).queue.offer(keys, parent, priority)
            self._is_due = True

    def is_offered(self, source: Tier, tier: Tier, key: str) -> bool:
        """Whether a block waits in the background."""
        return self._path(source.name, tier.name).queue.is_offered(key)

    def refuse(self, source: Tier, tier: Tier, why: str, blocks: int) -> None:
        """The admission of a tier does not want so many blocks."""
        if blocks:
            self._path(source.name, tier.name).refused[why] += blocks

    def ask_down(self, source: TierName, tier: TierName, keys: Sequence[str], priority: int) -> Ticket:
        """Somebody wants blocks in a slower tier.

        Raises:
            InvalidCommand, UnknownTier: as they say.
        """
        check_priority(priority)
        check_path(self._desk.state, source, tier, is_down=True)
        ticket, wanted = self._ticket("", source, tier, keys)
        wish = Wish([keys[at] for at in wanted], priority, ticket)
        return self._ask(ticket, wish)

    def ask_up(
        self, request: str, source: TierName, tier: TierName, keys: Sequence[str], at: Sequence[int] | None
    ) -> Ticket:
        """A request waits for blocks in a faster tier; `at` are the slots that they are to come to, where an engine says so.

        Raises:
            TierFull: it cannot take them all as it is now.
            InvalidCommand, UnknownTier, UnknownRequest: as they say.
        """
        _, target = check_path(self._desk.state, source, tier, is_down=False)
        holder = self._desk.state.request(request)
        ticket, wanted = self._ticket(request, source, tier, keys)
        check_destination(target, keys, at)
        if at is None:
            check_room(target, len(wanted))
        wish = Wish(
            [keys[place] for place in wanted],
            holder.priority,
            ticket,
            at=None if at is None else [at[place] for place in wanted],
            deadline_us=self._options.deadline_us(self._desk.now_us),
        )
        return self._ask(ticket, wish)

    def cancel(self, ticket: Ticket) -> int:
        """Drop what of it has not begun; how many blocks."""
        path = self._path(ticket.source, ticket.tier)
        return path.queue.drop_where(lambda wish: wish.ticket is ticket, "cancelled")

    def cancel_request(self, request: str) -> None:
        """The request is over: what it waited for and has not begun, nobody wants any more."""
        for path in self._up.values():
            if path.queue.blocks:
                path.queue.drop_where(lambda wish: wish.request == request, "cancelled")

    def resolved(self, transfer: Transfer, failed: int = 0, reason: str = "") -> None:
        """Blocks of a transfer are not under way any more, some of them because they failed."""
        self._is_due = self._is_stale = True
        ticket = self._tickets.get(transfer.id)
        if ticket and failed:
            ticket.failed[reason] += failed
        if ticket and transfer.is_over:
            del self._tickets[transfer.id]

    def start(self) -> None:
        """Start all that there is room for, what requests wait for before anything else."""
        if self._is_due:
            self._is_due = False
            self._recount()
            for path in self._all():
                path.start()

    def expire(self) -> None:
        """Drop what may wait no longer."""
        for path in self._up.values():
            path.queue.expire(self._desk.now_us)

    def status(self) -> list[PathStatus]:
        """Every path on which something was wanted so far."""
        self._recount()
        return [path.status() for path in self._all()]

    def _all(self) -> Iterator[Path]:
        yield from self._up.values()
        yield from self._down.values()

    def _path(self, source: TierName, tier: TierName) -> Path:
        paths = self._up if tier < source else self._down
        path = paths.get((source, tier))
        if path is None:
            path = paths[source, tier] = Path(self._desk, self._options, source, tier, self._take)
            path.recount()
        return path

    def _recount(self) -> None:
        if self._is_stale:
            self._is_stale = False
            for path in self._all():
                path.recount()

    def _ticket(self, request: str, source: TierName, tier: TierName, keys: Sequence[str]) -> tuple[Ticket, list[int]]:
        """A ticket for these keys, and the places of those that must be moved for it."""
        check_keys(keys)
        state = self._desk.state
        have, there, coming = state.tier(source).lineage.index, state.tier(tier).lineage.index, state.incoming[tier]
        ticket = Ticket(list(keys), source, tier, request, self._is_coming)
        missing = [place for place, key in enumerate(keys) if key not in there]
        wanted = [place for place in missing if keys[place] in have and keys[place] not in coming]
        ticket.shared = sum([keys[place] in coming for place in missing])
        if gone := len(missing) - len(wanted) - ticket.shared:
            ticket.failed["gone"] = gone
        return ticket, wanted

    def _ask(self, ticket: Ticket, wish: Wish) -> Ticket:
        self._path(ticket.source, ticket.tier).queue.add(wish)
        self._is_due = True
        self.start()
        return ticket

    def _take(self, event: TransferStarted, wish: Wish) -> None:
        if wish.ticket:
            wish.ticket.transfers.append(event.transfer)
            self._tickets[event.transfer] = wish.ticket
        self._on_started(event)
