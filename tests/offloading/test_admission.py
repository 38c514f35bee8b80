"""Which blocks a tier wants of the one above it, what it loses for want of time, and what is counted."""

from support.chained_keys import prefix
from support.slow_owner import Rig


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


def test_on_evict_takes_what_leaves_a_tier_for_what_comes_down_into_it():
    with Rig("g1=64,g2=16,g3=64:on_evict", path_transfers_max=16, path_blocks_max=64) as rig:
        for number in range(8):
            rig.store(prefix([number] * 4))
            rig.finish()
        assert all(rig.owner.resident(prefix([number] * 4), "g3") for number in range(4))
        assert rig.path("g2", "g3").refused == {}
        assert rig.owner.status().evicted == {"g2": 16}


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
