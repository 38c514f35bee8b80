"""The scheduler's side against an engine of the test's own: what the log does not acknowledge must not hold it up."""

import time
from types import SimpleNamespace

import pytest

from kvbm_events.schema.errors import Fenced, LogUnavailable
from kvbm_nats.connectors.vllm import reopening
from kvbm_nats.connectors.vllm.mover import NOT_BEGUN
from kvbm_nats.connectors.vllm.tracked import Tracked
from support.stepped_engine import HASHES, PATIENCE_S, TIMEOUT_S, Engine, load, stored


@pytest.fixture
def engine():
    engine = Engine()
    yield engine
    engine.log.held = False
    engine.log._take(engine.log._acked_n)
    engine.side.close()


def test_blocks_are_held_from_the_start_of_their_copy_to_its_end(engine):
    engine.log.held = True
    request = engine.request("a")
    engine.compute(request, [3, 4, 5, 6])
    assert [at for at, held in enumerate(engine.pool.held) if held] == [3, 4, 5, 6]
    assert not engine.step().jobs
    engine.log.held = False
    engine.log._take(engine.log._acked_n)
    engine.settle()
    assert not any(engine.pool.held)
    assert len(engine.manager.state.tiers["g2"].lineage.index) == 4


def test_what_is_wanted_is_loaded_into_the_blocks_that_vllm_chose(engine):
    stored(engine)
    request = engine.request("b")
    assert load(engine, request, [9, 8, 7, 10, 11]) == 16
    orders = engine.step()
    assert orders.loads == {"b": [9, 8, 7, 10]}
    end = time.monotonic() + TIMEOUT_S
    while not (jobs := orders.jobs) and time.monotonic() < end:
        orders = engine.step()
    assert [(job.source, list(job.slots)) for job in jobs] == [("g2", [9, 8, 7, 10])]
    engine.side.heard([], ["b"], ())


def test_a_prompt_of_full_blocks_is_loaded_whole_and_stays_where_it_was_loaded(engine):
    """VLLM computes its last token again, and writes its last block: what that block held is proven no more."""
    stored(engine)
    request = engine.request("b", more=0)
    assert load(engine, request, [9, 8, 7, 10]) == 16
    end = time.monotonic() + TIMEOUT_S
    while not (orders := engine.step()).jobs:
        assert time.monotonic() < end
    engine.obey(orders)
    engine.side.heard([], ["b"], ())
    request.num_computed_tokens = 15
    engine.side.admitted(request, ([9, 8, 7, 10],), 0)
    engine.step((request, [9, 8, 7, 10]), new=[request])
    assert sorted(engine.g1.values()) == [7, 8, 9, 10]
    engine.manager.evict([HASHES[0][:16].hex()], tier="g2")
    engine.side.finished(request, ([9, 8, 7, 10],))
    engine.manager.offload([HASHES[at][:16].hex() for at in range(4)], source="g1", tier="g2")
    while not (orders := engine.step()).jobs:
        assert time.monotonic() < end
    assert [(job.source, job.checksums) for job in orders.jobs] == [("g1", ())]


def test_the_last_block_of_a_prompt_is_computed_where_vllm_has_the_others(engine):
    stored(engine)
    request = engine.request("b", more=0)
    assert engine.side.found(request, 12) == 0
    assert engine.side.found(request, 8) == 8


def test_a_slice_that_one_of_several_ranks_has_lost_is_found_out_before_vllm_hears_of_the_load():
    engine = Engine(ranks=2)
    stored(engine)
    source = engine.manager.state.tiers["g2"].lineage.index[HASHES[2][:16].hex()]
    load(engine, engine.request("b"), [9, 8, 7, 10, 11])
    orders = engine.step()
    end = time.monotonic() + TIMEOUT_S
    while not orders.jobs:
        assert not orders.verdicts
        orders = engine.step()
        assert time.monotonic() < end
    assert not orders.jobs[0].checksums, "a rank cannot compare what is of all ranks"
    assert not orders.verdicts
    engine.obey(orders, damaged=[source])
    assert engine.step().verdicts == {"b": [7]}
    assert not engine.step().verdicts
    assert len(engine.manager.state.tiers["g2"].lineage.index) == 2
    engine.side.close()


@pytest.mark.parametrize(("contents", "tokens"), [("arena", 16), ("another arena", 0)])
def test_an_engine_that_comes_back_promises_what_its_memory_has(engine, contents, tokens):
    """At its very first look-up, when it has not made a step yet."""
    stored(engine)
    engine.side.close()
    again = Engine(log=engine.log, contents=contents)
    assert again.side.found(again.request("b"), 0) == tokens
    again.side.close()


def test_who_wants_what_is_on_its_way_is_asked_to_wait(engine):
    stored(engine)
    load(engine, engine.request("b"), [7, 8, 9, 10, 11])
    assert engine.side.found(engine.request("c"), 0) is None
    engine.step()
    assert engine.side.found(engine.request("d"), 0) is None


def test_a_load_that_does_not_begin_in_time_is_given_up_and_never_begins(engine):
    stored(engine)
    engine.log.held = True
    request = engine.request("b")
    load(engine, request, [7, 8, 9, 10, 11])
    assert not engine.step().lost
    engine.now_s += PATIENCE_S
    assert engine.step().lost == {"b": [7, 8, 9, 10]}
    engine.side.heard([], ["b"], [7, 8, 9, 10])
    assert engine.side.found(request, 0) == 0
    engine.log.held = False
    engine.log._take(engine.log._acked_n)
    engine.manager.flush()
    end = time.monotonic() + TIMEOUT_S
    while engine.side._owner.is_moving:
        assert not engine.step().jobs
        assert time.monotonic() < end
    engine.manager.flush()
    failed = [entry.data for entry in engine.log._entries if b'"OnboardFailed"' in entry.data]
    assert [NOT_BEGUN.encode() in data for data in failed] == [True]


def test_a_log_that_stands_still_is_not_asked_for_loads(engine):
    stored(engine)
    engine.log.held = True
    engine.compute(engine.request("other", first=4), [11, 12, 13, 14])
    engine.step()
    engine.now_s += 1.0
    assert engine.side.found(engine.request("b"), 0) == 0


def test_the_engine_gets_blocks_back_whose_copy_has_not_begun(engine):
    engine.log.held = True
    engine.compute(engine.request("a"), [3, 4, 5, 6])
    assert any(engine.pool.held)
    assert engine.side.gives_way()
    assert not any(engine.pool.held)
    assert not engine.side.gives_way()
    engine.log.held = False
    engine.log._take(engine.log._acked_n)
    engine.settle()
    assert not engine.manager.state.tiers["g2"].lineage.index


def test_a_block_that_vllm_gives_away_is_no_source_any_more(engine):
    engine.log.held = True
    request = engine.request("a")
    engine.compute(request, [3, 4, 5, 6])
    engine.side.gives_way()
    other = engine.request("b", first=4)
    engine.side.found(other, 0)
    engine.side.admitted(other, ([3, 4, 9, 10],), 0)
    engine.step((other, [3, 4, 9, 10]), new=[other])
    assert sorted(engine.g1.values()) == [5, 6]


def test_a_preempted_request_holds_nothing(engine):
    request = engine.request("a")
    engine.side.found(request, 0)
    engine.side.admitted(request, ([3, 4, 5, 6],), 0)
    engine.step((request, [3, 4, 5, 6]), new=[request])
    request.num_computed_tokens = 16
    engine.step((request, [3, 4, 5, 6]))
    assert engine.manager.state.requests["a"].pins["g1"]
    engine.step(preempted=["a"])
    assert "g1" not in engine.manager.state.requests["a"].pins


def test_two_that_computed_one_block_do_not_hold_each_others(engine):
    """The second one's blocks are its own, whatever g1 says; the first one's are reused under it."""
    for name, ids in (("a", [3, 4, 5, 6]), ("b", [7, 8, 9, 10])):
        request = engine.request(name)
        engine.side.found(request, 0)
        engine.side.admitted(request, (ids,), 0)
        engine.obey(engine.step((request, ids), new=[request]))
        request.num_computed_tokens = 16
        engine.obey(engine.step((request, ids)))
    engine.settle()
    assert sorted(engine.g1.values()) == [3, 4, 5, 6]
    third = engine.request("c", first=4)
    engine.side.found(third, 0)
    engine.side.admitted(third, ([3, 4, 5, 6],), 0)
    engine.step((third, [3, 4, 5, 6]), new=[third])
    assert not engine.g1
    assert not engine.manager.check_integrity()


def test_without_an_owner_the_engine_goes_on_until_there_is_another(engine, monkeypatch):
    monkeypatch.setattr(reopening, "AGAIN_AFTER_S", 0.05)
    stored(engine)
    load(engine, engine.request("loading"), [7, 8, 9, 10, 11])
    engine.log.held = True
    engine.step()
    engine.side._owner._give_up(engine.manager, LogUnavailable("planted"))
    assert engine.step().lost == {"loading": [7, 8, 9, 10]}
    request = engine.request("b")
    assert engine.side.found(request, 0) == 0
    engine.compute(request, [11, 12, 13, 14])
    assert not engine.step().jobs
    engine.side.heard([], ["loading"], [7, 8, 9, 10])
    engine.log.held = False
    engine.log._take(engine.log._acked_n)
    end = time.monotonic() + TIMEOUT_S
    while engine.manager is None and time.monotonic() < end:
        engine.step()
    assert engine.manager.state.epoch == 2
    assert not engine.manager.check_integrity()
    assert engine.side.found(engine.request("c"), 0) == 16


def test_who_is_fenced_does_not_come_back(engine, monkeypatch):
    monkeypatch.setattr(reopening, "AGAIN_AFTER_S", 0.0)
    engine.manager._thread.failure = Fenced("planted")
    engine.step()
    assert engine.manager is None
    engine.side._owner._reopening._thread.join(10)
    engine.step()
    assert engine.manager is None


@pytest.mark.parametrize("name", ["x" * 300, "a\ud800b"])
def test_a_request_may_have_any_id(name):
    one, other = (Tracked(SimpleNamespace(request_id=name + end, block_hashes=[])).name for end in ("1", "2"))
    assert one != other
    assert len(one.encode()) <= 256
