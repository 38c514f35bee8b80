"""An owner over object storage: down, up, evicted, gone, corrupt, forgotten and found again, through a real mover."""

import pytest

from kvbm_events.memory import MemoryLog
from kvbm_events.schema import Evicted, OnboardFailed, unpack_keys
from kvbm_tiers import Medium
from kvbm_tiers.objects import Place, find_blocks, orphans
from kvbm_tiers.slicing import Slice
from support.chained_keys import prefix
from support.nixl import marked
from support.object_owner import LAYOUT, NAMESPACE, ObjectOwner
from support.s3_faults import Fault

KEYS = prefix([1] * 6)


@pytest.fixture(params=marked(["obstore", "nixl"]))
def open_owner(request, s3, tmp_path):
    """Opens owners of one instance, one after the other."""
    log = MemoryLog()

    def open_(**more):
        s3.options = {"timeout_s": 4, "via": request.param}
        return ObjectOwner(log, tmp_path / "tiers", s3.url("cache"), **more)

    return open_


def accounted(site):
    state = site.owner.state
    return lambda: state.tiers["g4"].lineage.index.keys() | state.incoming["g4"]


@pytest.mark.parametrize("plan", ["g1=32,g4=64", "g1=32,g2=64,g4=64", "g1=32,g2=64,g3=64,g4=64"])
def test_blocks_go_down_to_objects_and_come_up_with_their_bytes(open_owner, plan):
    with open_owner(plan=plan) as site:
        site.compute(KEYS)
        assert site.objects() == set(KEYS)
        site.leave_only("g4", KEYS)
        assert site.load(KEYS) == 6
        for tier in [tier for tier in site.owner.state.tiers if tier not in {"g1", "g4"}]:
            assert site.load(KEYS, tier=tier) == 6
            site.owner.evict(KEYS, tier="g1")
            assert site.load(KEYS, source=tier) == 6


def test_the_next_owner_finds_them(open_owner):
    with open_owner() as site:
        site.compute(KEYS)
    with open_owner() as site:
        assert "g4" in site.stack.kept
        site.leave_only("g4", KEYS)
        assert site.load(KEYS) == 6


@pytest.mark.parametrize(
    ("fault", "failure", "eviction"),
    [
        (Fault("vanish"), "gone: no such object", "gone"),
        (Fault("short"), "corrupt: 432 of 864 bytes", "corrupt"),
        (Fault("wrong"), "corrupt", "corrupt"),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_a_lost_object_leaves_the_index_with_its_reason_and_is_stored_anew(open_owner, s3, fault, failure, eviction):
    with open_owner() as site:
        for _ in range(3):
            site.compute(KEYS)
            site.leave_only("g4", KEYS)
            fault.key, fault.method = f"*{KEYS[3]}*", "GET"
            s3.set_faults(fault)
            seen = len(site.events())
            assert site.load(KEYS) == 3
            s3.set_faults()
            failed, evicted = (
                [event for event in site.events()[seen:] if isinstance(event, kind)]
                for kind in (OnboardFailed, Evicted)
            )
            assert [event.reason for event in failed] == [failure]
            (event,) = [event for event in evicted if event.tier == "g4"]
            assert (event.reason, event.actor) == (eviction, "mover")
            assert set(unpack_keys(event.keys)) == set(KEYS[3:]), "with all that stands on it"
            assert sum(len(hit.slots) for hit in site.owner.match("again", KEYS)) == 3
            site.owner.release("again")
            assert KEYS[3] not in site.objects()
            assert site.objects() == set(site.owner.state.tiers["g4"].lineage.index)
            site.leave_only("g4", KEYS)
            site.owner.evict(KEYS, tier="g4")


def test_what_the_store_only_refuses_stays_in_the_index(open_owner, s3):
    with open_owner() as site:
        site.compute(KEYS)
        site.leave_only("g4", KEYS)
        s3.set_faults(Fault("status", value=500, key=f"*{KEYS[3]}*"))
        site.owner.match("a", KEYS)
        site.owner.wait([site.owner.onboard("a", KEYS, source="g4")])
        assert len(site.owner.resident(KEYS)) == 3
        site.owner.release("a")
        s3.set_faults()
        assert [event.reason for event in site.events() if isinstance(event, OnboardFailed)] == ["HTTP 500"]
        assert site.load(KEYS) == 6


def test_what_is_evicted_is_deleted_and_what_is_written_again_stays(open_owner):
    with open_owner(plan="g1=32,g4=8") as site:
        for round_ in range(6):
            keys = prefix([round_ % 3] * 6)  # the tier takes one prompt and no more: each evicts the one before
            site.compute(keys)
            assert site.objects() >= set(keys)
            assert len(site.objects()) <= 8
            site.leave_only("g4", keys)
            assert site.load(keys) == 6
            site.owner.evict(keys, tier="g1")


def test_a_deletion_that_hangs_makes_the_next_write_of_the_block_wait(open_owner, s3):
    with open_owner() as site:
        site.compute(KEYS)
        s3.set_faults(Fault("hang", method="POST", times=1))
        site.owner.evict(KEYS, tier="g4")
        site.owner.flush()
        site.owner.maintain()
        s3.wait_request("POST")
        site.owner.offload(KEYS, source="g1", tier="g4")
        site.settle()
        assert site.objects() == set(KEYS)
        site.leave_only("g4", KEYS)
        assert site.load(KEYS) == 6


def test_what_no_event_accounts_for_is_an_orphan_after_a_while(open_owner, s3):
    with open_owner() as site:
        site.compute(KEYS)
        s3.set_faults(Fault("status", value=500, method="POST"))
        site.owner.evict(KEYS[3:], tier="g4")
        assert site.objects() == set(KEYS), "the store did not delete them"
        s3.set_faults()
        assert orphans(site.bucket.blocks, accounted(site)) == [], "they are too young"
        found = orphans(site.bucket.blocks, accounted(site), grace_s=-60)
        assert {orphan.key for orphan in found} == set(KEYS[3:])
        site.bucket.blocks.delete([orphan.key for orphan in found])
        assert site.objects() == set(KEYS[:3])
        assert orphans(site.bucket.blocks, accounted(site), grace_s=-60) == []


def test_what_an_instance_has_is_found_without_its_layout_and_nothing_is_written(open_owner, s3):
    with open_owner() as site:
        site.compute(KEYS)
    with open_owner(instance="other"):
        pass
    s3.set_faults()
    ((blocks, sidecar),) = find_blocks(Place.of(Medium.parse(s3.url("cache"))), "i")
    assert (sidecar.namespace, sidecar.layout, sidecar.capacity) == (NAMESPACE, LAYOUT, 256)
    assert {each.key for each in blocks.listed()} == set(KEYS)
    assert not any(request.startswith(("PUT", "POST", "DELETE")) for request in s3.requests())
    assert list(find_blocks(Place.of(Medium.parse(s3.url("cache"))), "i", Slice.of_rank(0, 2))) == []


def test_instances_share_a_bucket_and_neither_touches_the_others_objects(s3, tmp_path):
    first = ObjectOwner(MemoryLog(), tmp_path / "one", s3.url("cache"), instance="one")
    second = ObjectOwner(MemoryLog(), tmp_path / "two", s3.url("cache"), instance="two")
    with first, second:
        for site in (first, second):
            site.compute(KEYS)
        first.owner.evict(KEYS, tier="g4")
        assert first.objects() == set()
        assert second.objects() == set(KEYS)
        assert orphans(first.bucket.blocks, accounted(first), grace_s=-60) == []
        second.leave_only("g4", KEYS)
        assert second.load(KEYS) == 6


def test_a_store_that_hangs_past_the_deadline_leaves_nothing_behind(open_owner, s3):
    with open_owner() as site:
        site.compute(KEYS)
        site.leave_only("g4", KEYS)
    with open_owner(timeout_s=1.0) as site:
        s3.set_faults(Fault("hang", method="GET", key=f"*{KEYS[3]}*"))
        site.owner.match("a", KEYS)
        ticket = site.owner.onboard("a", KEYS, source="g4")
        assert site.owner.wait([ticket])
        assert [tier.quarantined for tier in site.owner.status().tiers if tier.tier == "g1"] != [0]
        assert KEYS[3] not in site.owner.state.tiers["g1"].lineage.index
        s3.set_faults()
        site.owner.release("a")
        site.settle()
        assert {tier.quarantined for tier in site.owner.status().tiers} == {0}
        reasons = [(e.reason, e.stopped) for e in site.events() if isinstance(e, OnboardFailed)]
        assert ("deadline passed", False) in reasons
        assert reasons[-1][1]
    with open_owner() as site:
        site.owner.evict(KEYS, tier="g1")
        assert site.load(KEYS) == 6
