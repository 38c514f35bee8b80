"""What goes down by itself, by the admission of the tier below."""

import msgspec
import pytest

from kvbm_events.memory import MemoryLog
from kvbm_events.schema.errors import TierFull
from kvbm_nats.manager import BlockManager
from kvbm_nats.options import Options
from kvbm_nats.plan import parse_plan
from kvbm_tiers import MemoryMover, Report
from support.chained_keys import prefix


def open_owner(plan, **more):
    return BlockManager.open(MemoryLog(), "offloading", namespace="n=1", tiers=parse_plan(plan), **more)


def serve(owner, request, keys):
    found = sum(len(hit.slots) for hit in owner.match(request, keys) if hit.tier == "g1")
    if found < len(keys):
        slots = owner.allocate(request, len(keys) - found)
        owner.register(request, slots, keys[found:], parent=keys[found - 1] if found else "")
    owner.release(request)
    assert owner.settle()


def test_write_through_takes_every_block_at_once():
    with open_owner("g1=8,g2=16") as owner:
        serve(owner, "a", prefix([1] * 6))
        assert len(owner.resident(prefix([1] * 6), "g2")) == 6


def test_write_through_goes_on_to_the_next_tier():
    with open_owner("g1=8,g2=16,g3=32") as owner:
        serve(owner, "a", prefix([1] * 6))
        owner.settle()
        assert len(owner.resident(prefix([1] * 6), "g3")) == 6


def test_selective_takes_what_was_seen_often_enough():
    with open_owner("g1=32,g2=64,g3=64:selective/3") as owner:
        shared, one, other = prefix([1] * 4), prefix([1] * 4 + [2] * 3), prefix([1] * 4 + [3] * 3)
        serve(owner, "a", one)  # the first sight
        serve(owner, "b", other)  # the second of the shared part
        assert len(owner.resident(shared, "g3")) == 0
        serve(owner, "c", shared)
        assert len(owner.resident(one, "g3")) == 4
        assert len(owner.resident(other, "g3")) == 4


def test_on_evict_takes_what_would_go_next():
    with open_owner("g1=8,g2=16:on_evict") as owner:
        serve(owner, "a", prefix([1] * 4))
        assert len(owner.resident(prefix([1] * 4), "g2")) == 0
        serve(owner, "b", prefix([2] * 4))
        assert len(owner.resident(prefix([1] * 4), "g2")) == 4
        assert len(owner.resident(prefix([2] * 4), "g2")) == 0


class WithholdingLog(MemoryLog):
    """Acknowledges nothing above `limit`."""

    limit = 1 << 60

    async def open_writer(self, instance, opened, after, on_acked):
        self.tell = on_acked
        return await super().open_writer(instance, opened, after, lambda n: on_acked(min(n, self.limit)))


def test_nothing_of_a_lower_tier_is_found_before_its_arrival_is_acknowledged():
    log = WithholdingLog()
    tiers = parse_plan("g1=4,g2=16")
    with BlockManager.open(log, "i", namespace="n=1", tiers=tiers) as owner:
        keys = prefix([1] * 4)
        slots = owner.allocate("a", 4)
        log.limit = owner.state.n + 2  # Registered and OffloadStarted are the last to be acknowledged
        owner.register("a", slots, keys)
        owner.release("a")
        assert not owner.settle(timeout_s=0.2)
        assert len(owner.resident(keys, "g2")) == 4
        owner.evict(keys, tier="g1")
        assert owner.match("b", keys) == []
        log.limit = 1 << 60
        log.tell(owner.state.n)
        assert [(hit.tier, len(hit.slots)) for hit in owner.match("c", keys)] == [("g2", 4)]


def test_a_tier_whose_blocks_are_all_held_refuses_and_says_why():
    with open_owner("g1=8") as owner:
        slots = owner.allocate("a", 8)
        owner.register("a", slots, prefix([1] * 8))
        with pytest.raises(TierFull, match="0 of 8 slots are free, 0 more can be evicted"):
            owner.allocate("b", 1)


class ToldMover(MemoryMover):
    """Reports what the test says. It outlives its owner: what owners before left is not known to be quiet."""

    def __init__(self):
        super().__init__({"g1": 8, "g2": 16})
        self.reports, self.left = [], {}

    def begin(self, epoch, left):  # noqa: ARG002 - a mover may not care which epoch
        self.left = left
        return not left

    def submit(self, job):
        self.job = job

    def tell(self, slots, **how):
        self.reports.append(Report(transfer=self.job.transfer, slots=slots, **how))

    def poll(self):
        reports, self.reports = self.reports, []
        return reports


def offload_four(owner):
    keys = prefix([1] * 4)
    slots = owner.allocate("a", 4)
    owner.register("a", slots, keys)
    owner.release("a")
    owner.flush()
    owner.maintain()
    return keys


def quarantined(owner):
    return {tier.tier: tier.quarantined for tier in owner.status().tiers}["g2"]


def test_what_arrives_after_its_deadline_clears_the_quarantine_and_is_not_found():
    mover = ToldMover()
    with open_owner("g1=8,g2=16", mover=mover, options=Options(transfer_timeout_s=0.0)) as owner:
        keys = offload_four(owner)
        owner.maintain()
        assert quarantined(owner) == 4
        mover.tell(mover.job.slots[:3], checksums="0" * 48)
        owner.maintain()
        assert quarantined(owner) == 1
        mover.tell(mover.job.slots, reason="too slow")
        owner.maintain()
        assert not owner.state.transfers
        assert owner.resident(keys, "g2") == []
        assert owner.check_integrity() == []


def test_of_a_report_only_what_is_new_counts():
    mover = ToldMover()
    with open_owner("g1=8,g2=16", mover=mover) as owner:
        keys = offload_four(owner)
        one, two, three, four = mover.job.slots
        sums = ["a" * 16, "b" * 16]
        mover.tell([one], checksums=sums[0])
        mover.tell([one, 99, two], checksums=sums[1] + sums[1] + sums[0])
        mover.tell([one, two, three], reason="broken", stopped=False)
        mover.tell([three], reason="still broken", stopped=False)
        mover.tell([one, two, three, four], reason="over")
        owner.maintain()
        assert len(owner.resident(keys, "g2")) == 2
        assert not owner.state.transfers
        assert owner.check_integrity() == []


def test_a_mover_that_outlives_its_owner_says_when_slots_are_quiet():
    log, mover = MemoryLog(), ToldMover()
    plan = {"namespace": "n=1", "tiers": parse_plan("g1=8,g2=16")}
    with BlockManager.open(log, "i", mover=mover, **plan) as owner:
        keys = offload_four(owner)
    slots = list(mover.job.slots)
    for _ in range(2):  # a second owner finds them in quarantine already
        with BlockManager.open(log, "i", mover=mover, **plan) as owner:
            assert mover.left == {mover.job.transfer: slots}
            assert quarantined(owner) == 4
            assert owner.check_integrity() == []
    with BlockManager.open(log, "i", mover=mover, **plan) as owner:
        mover.tell(slots, checksums="0" * 64)
        owner.maintain()
        assert quarantined(owner) == 0
        assert not owner.state.transfers
        assert owner.resident(keys, "g2") == []


def test_a_mover_within_the_process_has_stopped_with_its_owner():
    log = MemoryLog()
    plan = {"namespace": "n=1", "tiers": parse_plan("g1=8,g2=16")}
    with BlockManager.open(log, "i", mover=ToldMover(), **plan) as owner:
        offload_four(owner)
    with BlockManager.open(log, "i", **plan) as owner:
        assert not owner.state.transfers
        assert quarantined(owner) == 0


class LateMover(MemoryMover):
    """Keeps its reports until they are asked for, and says before that its jobs are in doubt."""

    doubts = ()
    held = ()

    def poll(self):
        self.held = [*self.held, *super().poll()]
        doubts, self.doubts = self.doubts, ()
        return list(doubts)

    def let_go(self):
        self._reports, self.held = self.held, ()
        return MemoryMover.poll(self)


@pytest.mark.parametrize("reason", ["", "deadline passed"])
def test_reports_that_come_after_the_owner_gave_up_free_the_slots_and_nothing_else(reason):
    mover = LateMover({"g1": 8, "g2": 8})
    options = Options(transfer_timeout_s=0.001)
    with BlockManager.open(
        MemoryLog(), "late", namespace="n=1", tiers=parse_plan("g1=8,g2=8"), mover=mover, options=options
    ) as owner:
        slots = owner.allocate("a", 4)
        owner.register("a", slots, prefix([1] * 4))
        owner.release("a")
        (transfer,) = owner.state.transfers.values()
        assert not owner.settle(timeout_s=0.1)
        assert len(transfer.quarantined) == 4, "the owner's deadline has passed"
        mover.doubts = [Report(transfer=transfer.id, slots=transfer.slots, reason="deadline passed", stopped=False)]
        owner.match("b", prefix([1] * 4))
        assert len(transfer.quarantined) == 4
        (report,) = mover.let_go()
        mover.doubts = [msgspec.structs.replace(report, reason=reason), report]
        owner.match("c", prefix([1] * 4))
        assert not owner.state.transfers
        assert len(owner.resident(prefix([1] * 4), "g2")) == 0
        assert owner.check_integrity() == []


def test_a_corrupt_block_is_evicted_and_never_loaded_and_the_rest_is():
    mover = MemoryMover({"g1": 8, "g2": 8})
    with BlockManager.open(
        MemoryLog(), "corrupt", namespace="n=1", tiers=parse_plan("g1=8,g2=8"), mover=mover
    ) as owner:
        keys = prefix([1] * 4)
        serve(owner, "a", keys)
        owner.evict(keys, tier="g1")
        damaged = owner.state.tiers["g2"].lineage.index[keys[2]]
        mover.block("g2", damaged)[5] ^= 1
        owner.match("b", keys)
        assert owner.wait([owner.onboard("b", keys)])
        assert [(hit.tier, len(hit.slots)) for hit in owner.match("c", keys)] == [("g1", 2)]
        assert len(owner.resident(keys, "g2")) == 2
        assert owner.status().evicted["g2"] == 2, "the corrupt one, and the one that stands on it"
        owner.release("b")
        owner.release("c")
        assert owner.check_integrity() == []
        serve(owner, "d", keys)
        assert len(owner.resident(keys, "g2")) == 4, "what was computed anew goes down again"
