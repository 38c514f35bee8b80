"""Random demands on the paths of a small instance: whatever is asked, the limits hold, and nothing that could start waits."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from kvbm_events.schema import KEY_DIGITS, OnboardStarted
from kvbm_events.schema.errors import RefusedError
from kvbm_nats.offloading.admission import Admission
from kvbm_nats.offloading.paths import Paths
from kvbm_nats.options import Options
from kvbm_nats.plan import parse_plan
from kvbm_statemachine import check_integrity
from kvbm_statemachine.decide import allocate, complete_transfer, evict, fail_transfer, match, register, release
from support.chained_keys import prefix
from support.desks import desk_of
from support.examples import EXAMPLES, stateful_settings

OPTIONS = Options(
    batch_max=2, path_transfers_max=3, path_blocks_max=5, queue_max=7, transfer_timeout_s=20e-6
)  # the desk's clock counts microseconds
PLANS = [
    "g1=16,g2=20,g3=30",
    "g1=16,g2=20:on_evict:lru,g3=30:selective/2",
    "g1=16,g2=20:priority/50,g3=30:priority/80",
]
prompts = st.tuples(st.integers(0, 5), st.sampled_from([0, 0, 1]), st.integers(1, 6)).map(
    lambda drawn: (drawn[0], *[drawn[1]] * drawn[2])
)
requests = st.sampled_from(["r0", "r1", "r2"])
priorities = st.sampled_from([10, 50, 90])
ends = st.sampled_from([("g1", "g2"), ("g2", "g3"), ("g1", "g3")])
picks = st.integers(0, 30)


class Demands(RuleBasedStateMachine):
    """An owner's desk and its paths, without a mover: transfers end when the history says so."""

    def __init__(self, plan):
        super().__init__()
        self.desk, _ = desk_of(*parse_plan(plan))
        self.started, self.began, self.lost = [], Counter(), Counter()
        self.tickets, self.there = [], {}
        self.paths = Paths(self.desk, OPTIONS, self.started.append, self.is_coming)
        self.admission = Admission(self.desk.state, self.paths)
        for tier, head in [("g2", 0), ("g2", 1), ("g3", 2), ("g3", 3)]:
            keys = prefix((head, 0, 0, 0, 0, 0))
            register(self.desk, tier, "before", allocate(self.desk, tier, "before", len(keys)), keys)
        release(self.desk, "before")

    @property
    def state(self):
        return self.desk.state

    def is_coming(self, tier, keys):
        return not self.state.incoming[tier].isdisjoint(keys)

    @rule(request=requests, path=prompts, priority=priorities, ends=st.booleans())
    def serve(self, request, path, priority, *, ends):
        """What an engine does for a prompt, with everything that its owner offers."""
        keys = prefix(path)
        with suppress(RefusedError):
            hits = match(self.desk, request, keys, priority=priority)
            self.admission.offer_found(keys[: sum(len(hit.slots) for hit in hits)], priority)
            found = sum(len(hit.slots) for hit in hits if hit.tier == "g1")
            if found < len(keys):
                slots = allocate(self.desk, "g1", request, len(keys) - found, priority=priority)
                self.admission.offer_next_victims(self.state.tiers["g1"], len(slots))
                register(self.desk, "g1", request, slots, keys[found:], keys[found - 1] if found else "")
                self.admission.offer_new(self.state.tiers["g1"], keys[found:], priority)
        if ends:
            self.release(request)

    @rule(request=requests)
    def release(self, request):
        if request in self.state.requests:
            release(self.desk, request)
            self.paths.cancel_request(request)
            assert all(ticket.waiting == 0 for ticket in self.tickets if ticket.request == request)

    @rule(request=requests, path=prompts, ends=ends)
    def ask_up(self, request, path, ends):
        """A request asks for what it found below, which is not above any more more often than not."""
        with suppress(RefusedError):
            evict(self.desk, ends[0], prefix(path)[:1], reason="operator", actor="test")
        match(self.desk, request, prefix(path))
        self._ask(lambda keys: self.paths.ask_up(request, ends[1], ends[0], keys, None), prefix(path), ends[0])

    @rule(path=prompts, ends=ends, priority=priorities)
    def ask_down(self, path, ends, priority):
        self._ask(lambda keys: self.paths.ask_down(*ends, keys, priority), prefix(path), ends[1])

    @precondition(lambda self: self.tickets)
    @rule(pick=picks)
    def cancel(self, pick):
        ticket = self.tickets[pick % len(self.tickets)]
        waiting = ticket.waiting
        assert self.paths.cancel(ticket) == waiting
        assert ticket.waiting == 0

    @precondition(lambda self: self.state.transfers)
    @rule(pick=picks, count=st.integers(1, 2))
    def arrive(self, pick, count):
        transfer = self._pick(pick)
        slots = list(transfer.open)[:count]
        if slots:
            keys = [transfer.keys[transfer.open[slot]] for slot in slots]
            complete_transfer(self.desk, transfer.id, slots=slots)
            self.paths.resolved(transfer)
            self.admission.offer_new(self.state.tiers[transfer.tier], keys, transfer.priority)

    @precondition(lambda self: self.state.transfers)
    @rule(pick=picks, stopped=st.booleans())
    def fail(self, pick, *, stopped):
        transfer = self._pick(pick)
        blocks = len(transfer.open)
        with suppress(RefusedError):  # all of it is in doubt already
            fail_transfer(self.desk, transfer.id, reason="broken", stopped=stopped)
            self.paths.resolved(transfer, blocks, "broken")
            self.lost.update({id(t): blocks for t in self.tickets if transfer.id in t.transfers})

    @rule(path=prompts, tier=st.sampled_from(["g1", "g2", "g3"]))
    def evict(self, path, tier):
        with suppress(RefusedError):
            evict(self.desk, tier, prefix(path)[:2][-1:], reason="operator", actor="test")

    @rule(tier=st.sampled_from(["g1", "g2", "g3"]), count=st.integers(1, 12))
    def hog(self, tier, count):
        """Slots that are taken, or given back."""
        with suppress(RefusedError):
            allocate(self.desk, tier, "hog", count) if count > 3 else release(self.desk, "hog", tier=tier)

    @rule(time_us=st.integers(1, 15))
    def pass_time(self, time_us):
        self.desk.now_us += time_us

    @invariant()
    def is_in_order(self):
        self.started.clear()
        self.paths.expire()
        self.paths.start()
        self._check_started()
        for path in self.paths.status():
            here = [t for t in self.state.transfers.values() if (t.source, t.tier) == (path.source, path.tier)]
            assert path.transfers == len(here) <= OPTIONS.path_transfers_max
            assert path.blocks == sum(len(t.open) for t in here)
            assert path.in_doubt == sum(len(t.quarantined) for t in here)
            under_way = path.blocks + path.in_doubt
            assert under_way <= OPTIONS.path_blocks_max
            assert path.waiting <= OPTIONS.queue_max
            is_full = len(here) == OPTIONS.path_transfers_max or under_way + OPTIONS.batch_max > OPTIONS.path_blocks_max
            assert is_full or not path.waiting, "something waits that could start"
            assert path.tier > path.source or path.blocks or not path.waiting, "a request waits for what is in doubt"
        assert check_integrity(self.state) == []
        for ticket in self.tickets:
            never = ticket.failed.total() - self.lost[id(ticket)]
            told = self.there[id(ticket)] + self.began[id(ticket)] + ticket.waiting + ticket.shared + never
            assert told == len(ticket.keys)

    def _check_started(self):
        """Of what just began: ups before downs, and on each path what waits is no more urgent."""
        kinds = [isinstance(event, OnboardStarted) for event in self.started]
        assert kinds == sorted(kinds, reverse=True)
        for path in [*self.paths._up.values(), *self.paths._down.values()]:
            mine = [event.priority for event in self.started if (event.source, event.tier) == (path.source, path.tier)]
            wish = path.queue.first()
            assert mine == sorted(mine, reverse=True)
            assert not wish or not mine or wish.priority <= mine[-1]
            offered = path.queue._offered.keys()
            open_here = [t for t in self.state.transfers.values() if (t.source, t.tier) == (path.source, path.tier)]
            asked = {key for ticket in self.tickets for key in ticket.keys}
            assert offered.isdisjoint({t.keys[at] for t in open_here for at in t.open.values()} - asked)
        for event in self.started:
            for ticket in self.tickets:
                if event.transfer in ticket.transfers:
                    self.began[id(ticket)] += len(event.keys) // KEY_DIGITS
            assert not isinstance(event, OnboardStarted) or event.request in self.state.requests

    def teardown(self):
        """When everything arrives, nothing waits any more, and every ticket is over."""
        while self.state.transfers:
            for transfer in list(self.state.transfers.values()):
                if transfer.open:
                    complete_transfer(self.desk, transfer.id)
                else:
                    fail_transfer(self.desk, transfer.id, reason="late")
                self.paths.resolved(transfer)
            self.is_in_order()
        assert self.paths.waiting == 0
        assert all(ticket.is_over for ticket in self.tickets)
        assert self.paths._tickets == {}

    def _ask(self, ask, keys, tier):
        there = sum(key in self.state.tiers[tier].lineage.index for key in keys)
        self.started.clear()
        with suppress(RefusedError):
            ticket = ask(keys)
            self.tickets.append(ticket)
            self.there[id(ticket)] = there
        self._check_started()

    def _pick(self, pick):
        return list(self.state.transfers.values())[pick % len(self.state.transfers)]


@pytest.mark.parametrize("plan", PLANS)
def test_limits_order_and_accounts_hold_whatever_is_asked(plan):
    run_state_machine_as_test(lambda: Demands(plan), settings=stateful_settings(steps=60, examples=5 * EXAMPLES))
