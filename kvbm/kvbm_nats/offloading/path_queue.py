"""The blocks that are wanted at the other end of one path and have not begun their way. No clock, no state, no events.

A queue holds keys and nothing else: no slot is taken and no block is held for what waits here.

Rules
1. The highest priority goes first; among equals, what came first.
2. What is wanted in the background is wanted once: wanted again, it keeps its place, or rises to the higher priority.
3. Blocks that follow, in one prefix and with one priority, what waits already join it, so that they can go as one batch.
4. There is a most that waits. Beyond it the lowest priority goes, from its end: of blocks on their way down what came
   first, since it is likely to be gone already; of blocks that requests wait for what came last.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Literal

from kvbm_nats.offloading.ticket import Ticket

Why = Literal["gone", "no_room", "queue_full", "cancelled", "deadline", "in_doubt", "refused"]
"""Why blocks that were wanted never began. gone: they had left the source before their turn. in_doubt: the path is full
of blocks of which nobody knows whether they are still being written."""
NEVER_US = 1 << 63


class Wish:
    """Blocks in prefix order that wait together.

    :ivar keys: those that have not begun
    :ivar at: the slots that they are to come to, where an engine has named them
    :ivar ticket: who asked for them; None for what goes down by itself
    :ivar deadline_us: until when they may wait
    """

    __slots__ = ("at", "deadline_us", "keys", "number", "priority", "ticket")

    def __init__(
        self,
        keys: list[str],
        priority: int,
        ticket: Ticket | None = None,
        *,
        at: list[int] | None = None,
        deadline_us: int = NEVER_US,
    ) -> None:
        self.keys, self.at = keys, at
        self.priority, self.ticket, self.deadline_us = priority, ticket, deadline_us
        self.number = 0

    @property
    def request(self) -> str:
        """Who waits; empty for what goes down."""
        return self.ticket.request if self.ticket else ""


class PathQueue:
    """See the module.

    :ivar blocks: how many wait
    :ivar dropped: blocks that were wanted and never began, by reason
    """

    def __init__(self, blocks_max: int, *, sheds_newest: bool) -> None:
        self.blocks = 0
        self.dropped = Counter[str]()
        self._blocks_max, self._sheds_newest = blocks_max, sheds_newest
        self._levels: dict[int, dict[int, Wish]] = {}
        self._number = 0
        self._offered: dict[str, Wish] = {}
        self._ends: dict[str, Wish] = {}
        self._soonest_us = NEVER_US  # no deadline of a wish is earlier

    def offer(self, keys: Sequence[str], parent: str, priority: int) -> None:
        """Blocks in prefix order are wanted in the background; `parent` is the key before the first."""
        offered, fresh = self._offered, list(keys)
        if not offered.keys().isdisjoint(keys):
            for wish in dict.fromkeys([offered[key] for key in keys if key in offered]):
                if wish.priority < priority:
                    self._move(wish, priority)
            fresh = [key for key in keys if key not in offered]
            if not fresh:
                return
            first = keys.index(fresh[0])
            parent = keys[first - 1] if first else parent
        before = self._ends.get(parent)
        if before and before.priority == priority:
            del self._ends[parent]
            wish = before
            wish.keys += fresh
        else:
            wish = self._enter(Wish(fresh, priority))
        self._ends[fresh[-1]] = wish
        offered.update(dict.fromkeys(fresh, wish))
        self._count(wish, len(fresh))
        self._shed()

    def is_offered(self, key: str) -> bool:
        """Whether a block waits in the background."""
        return key in self._offered

    def add(self, wish: Wish) -> None:
        """Somebody asks for blocks: they wait beside what else is wanted."""
        if wish.keys:
            self._enter(wish)
            self._count(wish, len(wish.keys))
            self._soonest_us = min(self._soonest_us, wish.deadline_us)
            self._shed()

    def first(self) -> Wish | None:
        """Whose turn it is."""
        if not self._levels:
            return None
        return next(iter(self._levels[max(self._levels)].values()))

    def strike(self, wish: Wish, count: int) -> None:
        """The first `count` blocks of a wish wait no more."""
        gone = wish.keys[:count]
        del wish.keys[:count]
        if wish.at is not None:
            del wish.at[:count]
        self._forget(wish, gone)
        if not wish.keys:
            self._leave(wish)
            if self._ends.get(gone[-1]) is wish:
                del self._ends[gone[-1]]

    def note(self, wish: Wish, why: Why, count: int) -> None:
        """So many blocks of a wish do not wait any more and have not begun either."""
        if count:
            self.dropped[why] += count
            if wish.ticket:
                wish.ticket.failed[why] += count

    def drop(self, wish: Wish, why: Why) -> int:
        """Nobody wants the blocks of a wish any more; how many."""
        count = len(wish.keys)
        if count:
            self.note(wish, why, count)
            self.strike(wish, count)
        return count

    def drop_where(self, matches: Callable[[Wish], bool], why: Why) -> int:
        """Drop every such wish; how many blocks."""
        wishes = [wish for level in self._levels.values() for wish in level.values() if matches(wish)]
        return sum([self.drop(wish, why) for wish in wishes])

    def expire(self, now_us: int) -> None:
        """Drop what may wait no longer."""
        if self._soonest_us < now_us:
            self.drop_where(lambda wish: wish.deadline_us < now_us, "deadline")
            still = (wish.deadline_us for level in self._levels.values() for wish in level.values())
            self._soonest_us = min(still, default=NEVER_US)

    def _enter(self, wish: Wish) -> Wish:
        self._number += 1
        wish.number = self._number
        self._levels.setdefault(wish.priority, {})[wish.number] = wish
        return wish

    def _leave(self, wish: Wish) -> None:
        level = self._levels[wish.priority]
        del level[wish.number]
        if not level:
            del self._levels[wish.priority]

    def _move(self, wish: Wish, priority: int) -> None:
        self._leave(wish)
        wish.priority = priority
        self._enter(wish)

    def _count(self, wish: Wish, blocks: int) -> None:
        self.blocks += blocks
        if wish.ticket:
            wish.ticket.waiting += blocks

    def _forget(self, wish: Wish, keys: list[str]) -> None:
        self._count(wish, -len(keys))
        if wish.ticket is None:
            deque(map(self._offered.pop, keys), maxlen=0)

    def _shed(self) -> None:
        while (over := self.blocks - self._blocks_max) > 0:
            level = self._levels[min(self._levels)]
            wish = level[next(reversed(level)) if self._sheds_newest else next(iter(level))]
            if over >= len(wish.keys):
                self.drop(wish, "queue_full")
            else:
                self._cut(wish, over)

    def _cut(self, wish: Wish, count: int) -> None:
        """Drop the last blocks of a wish: the beginning of a prefix is of use without its end."""
        gone = wish.keys[-count:]
        del wish.keys[-count:]
        if wish.at is not None:
            del wish.at[-count:]
        self.note(wish, "queue_full", count)
        self._forget(wish, gone)
        if self._ends.get(gone[-1]) is wish:
            del self._ends[gone[-1]]
            self._ends[wish.keys[-1]] = wish
