"""An owner whose mover is slow: what waits, in which order it goes, and what becomes of the rest."""

import pytest

from kvbm_events.memory import MemoryLog
from kvbm_events.schema import OffloadStarted, OnboardStarted, unpack_keys
from kvbm_events.schema.errors import InvalidCommand, TierFull
from kvbm_nats.manager import BlockManager
from kvbm_nats.options import Options
from kvbm_nats.plan import parse_plan
from support.chained_keys import prefix
from support.held_mover import HeldMover
from support.service import HeldLog

LIMITS = {"batch_max": 4, "path_transfers_max": 1, "path_blocks_max": 4}


class Rig:
    """An owner over a mover that is held, and what it has started."""

    def __init__(self, plan="g1=64,g2=64", log=None, **options):
        self.mover, self.log, specs = HeldMover(g1=64, g2=64, g3=64), log or MemoryLog(), parse_plan(plan)
        self.owner = BlockManager.open(
            self.log, "i", namespace="n=1", tiers=specs, mover=self.mover, options=Options(**(LIMITS | options))
        )
        self.started = []
        sink = self.owner._desk.sink

        def note(event):
            if isinstance(event, (OffloadStarted, OnboardStarted)):
                self.started.append(event)
            sink(event)

        self.owner._desk.sink = note

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        assert self.owner.check_integrity() == []
        self.owner.close()

    def store(self, keys, priority=50, request="w", *, ends=True):
        slots = self.owner.allocate(request, len(keys), priority=priority)
        self.owner.register(request, slots, keys)
        if ends:
            self.owner.release(request)

    def put_below(self, keys):
        """Blocks that are in g2 only."""
        self.store(keys)
        self.finish()
        self.owner.evict(keys, tier="g1")

    def submitted(self):
        """Wait until the mover has what was started."""
        self.owner.flush()
        self.owner.maintain()

    def step(self):
        """The mover does all that it has, and the owner hears of it."""
        self.submitted()
        self.mover.do()
        self.owner.maintain()

    def finish(self):
        while self.owner.is_moving:
            self.step()

    def path(self, source="g1", tier="g2"):
        (path,) = [p for p in self.owner.status().paths if (p.source, p.tier) == (source, tier)]
        return path

    def keys_started(self):
        return [unpack_keys(event.keys) for event in self.started]


def test_what_has_no_room_on_its_path_waits_and_goes_when_there_is():
    first, second, third = prefix([1] * 4), prefix([2] * 4), prefix([3] * 4)
    with Rig() as rig:
        for keys in (first, second, third):
            rig.store(keys)
        path = rig.path()
        assert (path.transfers, path.blocks, path.waiting, path.started) == (1, 4, 8, 4)
        assert rig.owner.waiting == 8
        rig.step()
        assert rig.keys_started() == [first, second]
        rig.finish()
        assert rig.keys_started() == [first, second, third]
        assert len(rig.owner.resident(third, "g2")) == 4
        assert rig.path().dropped == {}


def test_what_a_more_urgent_request_computed_goes_first():
    first, late, urgent = prefix([1] * 4), prefix([2] * 4), prefix([3] * 4)
    with Rig() as rig:
        rig.store(first)
        rig.store(late, priority=20)
        rig.store(urgent, priority=80)
        rig.finish()
        assert rig.keys_started() == [first, urgent, late]
        assert [event.priority for event in rig.started] == [50, 80, 20]


def test_what_a_request_waits_for_goes_before_anything_goes_down():
    below, busy, down = prefix([1] * 8), prefix([2] * 4), prefix([3] * 4)
    with Rig() as rig:
        rig.put_below(below)
        rig.started.clear()
        rig.store(busy)
        rig.store(down, priority=100)
        rig.owner.match("r", below, priority=0)
        ticket = rig.owner.onboard("r", below)
        assert ticket.waiting == 4
        rig.step()
        assert [type(event) for event in rig.started[2:]] == [OnboardStarted, OffloadStarted]
        rig.finish()


def test_the_more_urgent_of_two_requests_that_wait_goes_first():
    busy, late, urgent = prefix([1] * 4), prefix([2] * 4), prefix([3] * 4)
    with Rig() as rig:
        for keys in (busy, late, urgent):
            rig.put_below(keys)
        rig.started.clear()
        for request, keys, priority in (("a", busy, 0), ("b", late, 20), ("c", urgent, 80)):
            rig.owner.match(request, keys, priority=priority)
            last = rig.owner.onboard(request, keys)
        assert (last.waiting, last.transfers, last.is_over) == (4, [], False)
        rig.finish()
        assert [event.request for event in rig.started] == ["a", "c", "b"]


def test_what_is_below_or_on_its_way_is_not_wanted_again():
    below, coming = prefix([1] * 4), prefix([2] * 4)
    with Rig("g1=64,g2=64:selective") as rig:
        rig.store(below)
        rig.owner.match("look", below, hold=False)
        rig.finish()
        rig.store(coming)
        for keys in (coming, below, coming):
            rig.owner.match("look", keys, hold=False)
        assert rig.path().waiting == 0
        assert rig.keys_started() == [below, coming]
        rig.finish()


def test_a_prefix_that_grows_block_by_block_goes_in_batches():
    keys = prefix([1] * 10)
    with Rig() as rig:
        rig.store(prefix([2] * 4))
        for at, key in enumerate(keys):
            rig.owner.register("grows", rig.owner.allocate("grows", 1), [key], parent=keys[at - 1] if at else "")
        rig.finish()
        assert rig.keys_started()[1:] == [keys[:4], keys[4:8], keys[8:]]


def test_what_waits_holds_nothing_and_what_is_evicted_meanwhile_is_counted():
    first, second = prefix([1] * 4), prefix([2] * 4)
    with Rig("g1=8,g2=64") as rig:
        rig.store(first)
        rig.store(second)
        rig.owner.allocate("needs room", 4)
        assert rig.owner.resident(second) == []
        rig.finish()
        assert rig.keys_started() == [first]
        assert rig.path().dropped == {"gone": 4}


def test_on_evict_loses_what_is_evicted_while_its_path_is_full():
    with Rig("g1=16,g2=64:on_evict") as rig:
        for number in range(8):
            rig.store(prefix([number] * 4))
        (first,) = rig.keys_started()
        rig.finish()
        assert rig.keys_started()[0] == first == prefix([0] * 4)
        path, evicted = rig.path(), rig.owner.status().evicted["g1"]
        assert path.dropped["gone"] + path.refused.get("sudden", 0) == evicted == 16
        assert path.dropped["gone"] > 0


def test_on_evict_counts_what_is_evicted_before_it_was_asked_for():
    with Rig("g1=16,g2=64:on_evict") as rig:
        for number in range(4):
            rig.store(prefix([number] * 4))
        rig.finish()
        rig.store(prefix([9] * 12))
        assert rig.path().refused == {"sudden": 4}


def test_on_evict_takes_the_victims_of_one_chain_from_its_end_up():
    keys = prefix([1] * 6)
    with Rig("g1=6:lru,g2=64:on_evict", batch_max=1, path_transfers_max=64, path_blocks_max=64) as rig:
        rig.store(keys[:4])
        slots = rig.owner.allocate("b", 2)
        rig.owner.register("b", slots, keys[4:], parent=keys[3])
        rig.owner.release("b")
        rig.finish()
        assert {key for part in rig.keys_started() for key in part} == {*keys[2:4]}


def test_beyond_its_bound_a_queue_drops_what_came_first_of_the_lowest_priority():
    with Rig(queue_max=8) as rig:
        rig.store(prefix([1] * 4))
        rig.store(prefix([2] * 4), priority=80)
        rig.store(prefix([3] * 4), priority=20)
        rig.store(prefix([4] * 4), priority=20)
        assert rig.path().dropped == {"queue_full": 4}
        rig.finish()
        assert rig.keys_started() == [prefix([n] * 4) for n in (1, 2, 4)]


def test_a_request_that_is_released_wants_nothing_any_more():
    below = prefix([1] * 12)
    with Rig() as rig:
        rig.put_below(below)
        rig.owner.match("r", below)
        ticket = rig.owner.onboard("r", below)
        other = rig.owner.offload(prefix([9]), source="g1")
        assert (ticket.waiting, len(ticket.transfers), ticket.is_over) == (8, 1, False)
        rig.owner.release("r", reason="aborted")
        assert (ticket.waiting, ticket.failed, ticket.is_over) == (0, {"cancelled": 8}, False)
        rig.finish()
        assert ticket.is_over
        assert other.failed == {"gone": 1}
        assert len(rig.owner.resident(below)) == 4, "what had begun arrived"
        assert rig.path("g2", "g1").dropped == {"cancelled": 8}


def test_a_ticket_can_be_cancelled_and_what_has_begun_goes_on():
    keys = prefix([1] * 8)
    with Rig("g1=64,g2=64:selective/9") as rig:
        rig.store(keys)
        ticket = rig.owner.offload(keys)
        assert rig.owner.cancel(ticket) == 4
        assert rig.owner.cancel(ticket) == 0
        assert not rig.owner.wait([ticket], timeout_s=0)
        rig.step()
        assert rig.owner.wait([ticket])
        assert len(rig.owner.resident(keys, "g2")) == 4


def test_no_byte_moves_before_its_order_is_stored():
    log = HeldLog()
    with Rig(log=log) as rig:
        log.held = True
        rig.store(prefix([1] * 4))
        assert len(rig.started) == 1
        rig.owner.maintain()
        assert rig.mover.jobs == []
        log.let_go()
        rig.submitted()
        assert [job.transfer for job in rig.mover.jobs] == [rig.started[0].transfer]
        rig.finish()


def test_a_ticket_is_over_when_what_arrived_can_be_found():
    keys = prefix([1] * 4)
    with Rig() as rig:
        rig.put_below(keys)
        rig.owner.match("r", keys)
        ticket = rig.owner.onboard("r", keys)
        rig.submitted()
        rig.mover.do()
        rig.owner.maintain()
        assert rig.owner.wait([ticket])
        assert [(hit.tier, len(hit.slots)) for hit in rig.owner.match("look", keys, hold=False)] == [("g1", 4)]
        assert (ticket.failed, ticket.shared, ticket.request) == ({}, 0, "r")
        assert rig.owner.onboard("r", keys).is_over, "it is there already"


def test_a_ticket_says_why_blocks_did_not_come():
    keys = prefix([1] * 4)
    with Rig() as rig:
        rig.put_below(keys)
        rig.owner.match("r", keys)
        ticket = rig.owner.onboard("r", [*keys, *prefix([7, 7])])
        rig.submitted()
        rig.mover.lose("read error", stopped=True)
        assert rig.owner.wait([ticket])
        assert ticket.failed == {"gone": 2, "read error": 4}
        assert rig.owner.resident(keys) == []


def test_what_another_request_brings_up_is_shared_and_held_when_it_is_looked_up_again():
    keys = prefix([1] * 8)
    with Rig() as rig:
        rig.put_below(keys)
        for request in ("a", "b"):
            rig.owner.match(request, keys)
        first, second = (rig.owner.onboard(request, keys) for request in ("a", "b"))
        assert (second.waiting, second.shared) == (4, 4)
        rig.finish()
        assert first.is_over
        assert (second.is_over, second.shared, second.transfers) == (True, 8, [])
        rig.owner.match("b", keys)
        rig.owner.release("a")
        with pytest.raises(TierFull):
            rig.owner.allocate("c", 57)


def test_what_a_request_waits_for_is_not_begun_after_its_time():
    keys = prefix([1] * 8)
    with Rig(transfer_timeout_s=0.05, path_transfers_max=2, path_blocks_max=6) as rig:
        rig.put_below(keys)
        rig.owner.match("r", keys)
        ticket = rig.owner.onboard("r", keys)
        assert not rig.owner.wait([ticket], timeout_s=0)
        assert rig.owner.wait([ticket], timeout_s=5)
        assert ticket.failed == {"deadline passed": 4, "deadline": 4}
        rig.finish()


def test_a_path_that_is_in_doubt_tells_requests_at_once_and_keeps_the_rest_waiting():
    up, down = prefix([1] * 4), prefix([2] * 4)
    with Rig() as rig:
        rig.put_below([*up])
        rig.owner.match("r", up)
        doubtful = rig.owner.onboard("r", up)
        rig.store(down)
        rig.submitted()
        rig.mover.lose("the worker is silent", stopped=False)
        assert rig.owner.wait([doubtful])
        again = rig.owner.onboard("r", up)
        assert (again.is_over, again.failed) == (True, {"in_doubt": 4})
        rig.store(prefix([3] * 4))
        assert (rig.path().in_doubt, rig.path().waiting, rig.path().blocks) == (4, 4, 0)
        rig.finish()
        assert len(rig.owner.resident(prefix([3] * 4), "g2")) == 4
        assert rig.owner.resident(down, "g2") == [], "it came too late"


def test_without_room_an_onboard_is_refused_and_nothing_waits():
    keys = prefix([1] * 8)
    with Rig("g1=8,g2=64") as rig:
        rig.put_below(keys)
        rig.owner.allocate("hog", 1)
        rig.owner.match("r", keys)
        with pytest.raises(TierFull, match="no room for 8 blocks"):
            rig.owner.onboard("r", keys)
        assert rig.owner.waiting == 0


def test_without_room_below_blocks_are_dropped_and_counted():
    with Rig("g1=64,g2=4") as rig:
        rig.owner.allocate("hog", 2, tier="g2")
        rig.store(prefix([1] * 4))
        assert rig.started == []
        assert rig.path().dropped == {"no_room": 4}


def test_blocks_come_to_the_slots_that_an_engine_names():
    keys = prefix([1] * 8)
    with Rig("g1=64:observed,g2=64:selective") as rig:
        slots = rig.owner.allocate("w", 8, tier="g2")
        rig.owner.register("w", slots, keys, tier="g2")
        ticket = rig.owner.onboard("w", keys, slots=[9, 8, 7, 6, 25, 24, 23, 22])
        late = rig.owner.onboard("w", keys[4:], slots=[30, 31, 32, 33])
        with pytest.raises(InvalidCommand, match="an observed tier's engine names a slot for each block"):
            rig.owner.onboard("w", keys)
        rig.owner.record_allocated("x", [25])
        rig.finish()
        assert rig.owner.resident(keys) == [9, 8, 7, 6, 30, 31, 32, 33]
        assert (ticket.failed, late.failed) == ({"refused": 4}, {})


def test_only_what_an_urgent_request_computed_or_found_goes_down():
    low, high = prefix([1] * 4), prefix([2] * 4)
    with Rig("g1=64,g2=64:priority/60") as rig:
        rig.store(low, priority=59)
        rig.store(high, priority=60)
        rig.finish()
        assert rig.keys_started() == [high]
        assert rig.path().refused == {"priority": 4}
        rig.owner.match("urgent", low, priority=61)
        rig.finish()
        assert rig.keys_started() == [high, low]


def test_what_was_seen_too_rarely_is_counted():
    with Rig("g1=64,g2=64:selective/3") as rig:
        rig.store(prefix([1] * 4))
        for _ in range(2):
            rig.owner.match("look", prefix([1] * 4), hold=False)
        rig.finish()
        assert rig.keys_started() == [prefix([1] * 4)]
        assert rig.path().refused == {"seen": 4}


def test_what_waits_is_forgotten_with_its_owner():
    log = MemoryLog()
    with Rig(log=log) as rig:
        rig.store(prefix([1] * 4))
        rig.store(prefix([2] * 4))
        assert rig.owner.waiting == 4
    with Rig(log=log) as rig:
        assert rig.owner.waiting == 0
        rig.finish()
        assert rig.started == []


@pytest.mark.parametrize(
    "options", [{"batch_max": 5}, {"batch_max": 0}, {"path_transfers_max": 0}, {"queue_max": 0}, {"batch_max": 513}]
)
def test_limits_under_which_nothing_moves_are_refused(options):
    with pytest.raises(InvalidCommand, match="a transfer has 1 to 512 blocks, no more than its path"):
        Rig(**({"path_blocks_max": 1024} if options == {"batch_max": 513} else {}), **options)
