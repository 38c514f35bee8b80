"""The queue of a path beside a model that is slow and obvious: a list of what waits, looked through for everything."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from kvbm_nats.offloading.path_queue import NEVER_US, PathQueue, Wish
from kvbm_nats.offloading.ticket import Ticket
from support.chained_keys import key_at, prefix
from support.examples import stateful_settings

BLOCKS_MAX = 12
paths = st.lists(st.sampled_from([0, 0, 1]), min_size=1, max_size=5).map(tuple)
priorities = st.sampled_from([10, 50, 50, 90])


class Waiting:
    """Some blocks that wait together; `rank` is when they came."""

    def __init__(self, keys, priority, rank, wish=None):
        self.keys, self.priority, self.rank, self.wish = list(keys), priority, rank, wish


class SlowQueue:
    """The rules of `path_queue`, word by word."""

    def __init__(self, *, sheds_newest):
        self.all, self.dropped, self.sheds_newest, self.clock = [], Counter(), sheds_newest, 0

    def tick(self):
        self.clock += 1
        return self.clock

    @property
    def blocks(self):
        return sum(len(each.keys) for each in self.all)

    @property
    def background(self):
        return [each for each in self.all if each.wish is None]

    def offer(self, keys, parent, priority):
        fresh = []
        for at, key in enumerate(keys):
            there = [each for each in self.background if key in each.keys]
            if not there:
                fresh.append((key, keys[at - 1] if at else parent))
            elif there[0].priority < priority:
                there[0].priority, there[0].rank = priority, self.tick()
        if fresh:
            before = [e for e in self.background if e.keys[-1] == fresh[0][1] and e.priority == priority]
            if not before:
                self.all.append(Waiting([], priority, self.tick()))
            (before or self.all)[-1].keys += [key for key, _ in fresh]
        self.shed()

    def add(self, wish):
        self.all.append(Waiting(wish.keys, wish.priority, self.tick(), wish))
        self.shed()

    def first(self):
        return min(self.all, key=lambda each: (-each.priority, each.rank), default=None)

    def strike(self, waiting, count):
        del waiting.keys[:count]
        self.clean()

    def shed(self):
        while self.blocks > BLOCKS_MAX:
            order = -1 if self.sheds_newest else 1
            victim = min(self.all, key=lambda each: (each.priority, order * each.rank))
            victim.keys.pop()
            self.dropped["queue_full"] += 1
            self.clean()

    def drop(self, which, why):
        for each in which:
            self.dropped[why] += len(each.keys)
            each.keys.clear()
        self.clean()

    def clean(self):
        self.all = [each for each in self.all if each.keys]


class Both(RuleBasedStateMachine):
    """Every step is done by both, and both are compared."""

    def __init__(self, *, sheds_newest):
        super().__init__()
        self.queue = PathQueue(BLOCKS_MAX, sheds_newest=sheds_newest)
        self.model = SlowQueue(sheds_newest=sheds_newest)
        self.tickets, self.now_us, self.names = [], 0, 0

    @rule(path=paths, skip=st.integers(0, 3), priority=priorities)
    def offer(self, path, skip, priority):
        """The end of a prefix, as a request that grows would register it."""
        keys = prefix(path)
        skip = min(skip, len(keys) - 1)
        for side in (self.queue, self.model):
            side.offer(keys[skip:], keys[skip - 1] if skip else "", priority)

    @rule(path=paths, picks=st.sets(st.integers(0, 4), min_size=1), priority=priorities)
    def offer_parts(self, path, picks, priority):
        """Blocks of a prefix with gaps between them."""
        keys = [key for at, key in enumerate(prefix(path)) if at in picks]
        if keys:
            for side in (self.queue, self.model):
                side.offer(keys, key_at(9), priority)

    @rule(path=paths, priority=priorities, request=st.sampled_from(["", "a", "b"]), patience_us=st.integers(1, 9))
    def ask(self, path, priority, request, patience_us):
        keys = prefix(path)
        ticket = Ticket(keys, "g1", "g2", request, lambda _tier, _keys: False)
        at = list(range(len(keys))) if request == "b" else None
        deadline_us = self.now_us + patience_us if request else NEVER_US
        wish = Wish(list(keys), priority, ticket, at=at, deadline_us=deadline_us)
        self.tickets.append(ticket)
        self.model.add(wish)
        self.queue.add(wish)

    @precondition(lambda self: self.model.all)
    @rule(count=st.integers(1, 4))
    def take(self, count):
        """The next blocks have their turn."""
        ours, theirs = self.queue.first(), self.model.first()
        assert ours.keys == theirs.keys
        if ours.at is not None:
            assert ours.at == [ours.ticket.keys.index(key) for key in ours.keys]
        self.queue.strike(ours, count)
        self.model.strike(theirs, count)

    @precondition(lambda self: self.tickets)
    @rule(pick=st.integers(0, 99))
    def cancel(self, pick):
        ticket = self.tickets[pick % len(self.tickets)]
        which = [each for each in self.model.all if each.wish and each.wish.ticket is ticket]
        count = sum(len(each.keys) for each in which)
        assert self.queue.drop_where(lambda wish: wish.ticket is ticket, "cancelled") == count
        self.model.drop(which, "cancelled")

    @rule(time_us=st.integers(1, 5))
    def pass_time(self, time_us):
        self.now_us += time_us
        self.queue.expire(self.now_us)
        self.model.drop([e for e in self.model.all if e.wish and e.wish.deadline_us < self.now_us], "deadline")

    @invariant()
    def is_the_same(self):
        assert self.queue.blocks == self.model.blocks <= BLOCKS_MAX
        assert self.queue.dropped == self.model.dropped
        assert all(len(e.wish.at) == len(e.keys) for e in self.model.all if e.wish and e.wish.at is not None)
        for ticket in self.tickets:
            waits = [len(e.keys) for e in self.model.all if e.wish and e.wish.ticket is ticket]
            assert ticket.waiting == sum(waits)
            assert ticket.waiting + ticket.failed.total() <= len(ticket.keys)

    @invariant()
    def wants_nothing_twice(self):
        offered = [key for each in self.model.background for key in each.keys]
        assert len(offered) == len(set(offered))

    def teardown(self):
        """All that is left comes out in the order of the model."""
        while waiting := self.model.first():
            wish = self.queue.first()
            assert (wish.keys, wish.priority) == (waiting.keys, waiting.priority)
            self.queue.strike(wish, len(wish.keys))
            self.model.strike(waiting, len(waiting.keys))
        assert self.queue.first() is None
        assert (self.queue.blocks, self.queue._offered, self.queue._ends, self.queue._levels) == (0, {}, {}, {})


@pytest.mark.parametrize("sheds_newest", [True, False])
def test_the_queue_does_what_the_model_does(sheds_newest):
    run_state_machine_as_test(lambda: Both(sheds_newest=sheds_newest), settings=stateful_settings(steps=50))
