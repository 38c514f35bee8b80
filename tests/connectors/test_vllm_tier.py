"""Our tier below a host memory of the test's own: what vLLM takes back is not touched, and what it waits for ends."""

import time

import pytest

from kvbm_events.schema.errors import Fenced, LogUnavailable
from kvbm_nats.connectors.vllm import reopening
from kvbm_nats.connectors.vllm.tiering.prompt import Prompt, key_of
from support.vllm_host import PATIENCE_S, ROW_BYTES, TIMEOUT_S, TOKENS, WAIT_S, Host, chunk


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    yield host
    host.close()


def clean(host):
    state = host.manager.state
    assert not host.manager.check_integrity()
    assert (len(state.requests), len(state.transfers), host.side.is_busy) == (0, 0, False)
    assert not host.gate._given


def test_what_went_down_comes_up_elsewhere(host):
    chunks = host.stored()
    host.ask("b")
    assert all(host.side.found("b", each) for each in chunks)
    assert not host.index("g2"), "vLLM asks below for what its host memory has not"
    result = host.wait(host.load("b", chunks, [0, 1, 2, 7]))
    assert (result.is_whole, result.good) == (True, chunks)
    assert [host.view[slot, 0] for slot in (0, 1, 2, 7)] == [4, 5, 6, 7]
    host.side.ended("b")
    clean(host)


def test_chunks_are_recorded_in_the_order_of_the_prompt_whatever_order_they_come_in(host):
    chunks = host.stored()
    g3 = host.manager.state.tiers["g3"].lineage
    slots = [g3.index[key_of(each)] for each in chunks]
    assert g3.is_path(slots)
    assert list(host.index("g2").values()) == [3, 4, 5, 6]


def test_a_look_up_is_recorded_once(host):
    chunks = host.stored()
    host.ask("b", 6)
    for each in [*chunks, *chunks, chunk(4)]:
        host.side.found("b", each)
    assert host.manager.status().events["Matched"] == 1
    host.side.ended("b")
    clean(host)


def test_groups_are_kept_apart():
    assert key_of(chunk(1)) == chunk(1)[:16].hex()
    assert len({key_of(chunk(1, group)) for group in range(3)}) == 3
    prompt = Prompt("a", {chunk(0): 16, chunk(0, 1): 16, chunk(1): 32, chunk(1, 1): 32}, {0: TOKENS, 1: TOKENS})
    runs = prompt.runs([chunk(1, 1), chunk(1), chunk(0, 1), chunk(0)], [3, 2, 1, 0])
    assert [run.slots for run in runs] == [[0, 2], [1, 3]]
    assert prompt.prefix(1) == [key_of(chunk(0, 1)), key_of(chunk(1, 1))]


def test_a_chunk_that_is_used_for_another_block_is_evicted(host):
    host.stored()
    other = host.ask("b", 2, first=4)
    assert host.wait(host.store("b", other, [3, 4])).is_whole
    assert sorted(host.index("g2").values()) == [3, 4, 5, 6]
    assert host.index("g2")[key_of(other[0])] == 3
    assert host.manager.status().evicted["g2"] == 2
    host.side.ended("b")
    clean(host)


def test_a_row_is_good_only_when_its_event_is_acknowledged(host):
    chunks = host.stored()
    host.ask("b")
    assert host.side.found("b", chunks[0])
    host.mover.held = True
    number = host.load("b", chunks, [0, 1, 2, 7])
    host.manager.flush()
    assert not host.side.finished()
    host.log.held = True
    host.mover.let_go()
    end = time.monotonic() + WAIT_S
    while len(host.index("g2")) < 4 and time.monotonic() < end:
        assert not host.side.finished()
    assert host.view[7, 0] == 7
    assert not host.side.finished()
    host.log.let_go()
    assert host.wait(number).is_whole


def test_a_load_that_does_not_begin_in_time_is_given_up_and_never_begins(host):
    chunks = host.stored()
    host.ask("b")
    assert host.side.found("b", chunks[0])
    host.log.held = True
    number = host.load("b", chunks, [0, 1, 2, 7])
    assert not host.side.finished()
    host.now_s += PATIENCE_S + 0.1
    assert host.wait(number).good == []
    assert not host.side.found("b", chunks[0]), "it computes what did not come"
    host.fill([0, 1, 2, 7], seed=100)  # vLLM uses the rows for something else
    jobs = len(host.mover.jobs)
    host.log.let_go()
    host.manager.flush()
    host.manager.settle()
    assert len(host.mover.jobs) == jobs
    assert [host.view[slot, 0] for slot in (0, 1, 2, 7)] == [101, 102, 103, 108]
    host.side.ended("b")
    clean(host)


def test_a_store_that_vllm_does_not_wait_for_any_more_reads_nothing(host):
    chunks = host.ask()
    host.fill([3, 4, 5, 6])
    host.log.held = True
    number = host.store("a", chunks, [3, 4, 5, 6])
    assert not host.side.finished()
    host.now_s += TIMEOUT_S + 1
    result = host.wait(number)
    assert (result.is_whole, result.good) == (False, [])
    host.log.let_go()
    host.manager.flush()
    host.manager.settle()
    assert not host.mover.jobs
    assert not host.index("g3")
    host.side.ended("a")
    clean(host)


def test_what_is_being_written_is_waited_for_though_patience_is_over(host):
    chunks = host.stored()
    host.ask("b")
    assert host.side.found("b", chunks[0])
    host.mover.held = True
    number = host.load("b", chunks, [0, 1, 2, 7])
    host.manager.flush()
    host.side.finished()
    assert host.mover.jobs[-1].is_onboard
    host.now_s += 10 * PATIENCE_S
    assert not host.side.finished()
    host.mover.let_go()
    assert host.wait(number).is_whole


def test_a_damaged_block_is_reported_and_evicted_and_the_others_come(host):
    chunks = host.stored()
    slot = host.index("g3")[key_of(chunks[2])]
    with (host.folder / "g3.slab").open("r+b") as file:
        file.seek(slot * ROW_BYTES)
        file.write(b"x" * 16)
    host.ask("b")
    assert host.side.found("b", chunks[2])
    result = host.wait(host.load("b", chunks, [0, 1, 2, 7]))
    assert (result.is_whole, set(result.good)) == (False, {chunks[0], chunks[1], chunks[3]})
    assert not host.side.found("b", chunks[2])
    host.ask("c")
    assert [host.side.found("c", each) for each in chunks[:3]] == [True, True, False]
    for name in "bc":
        host.side.ended(name)
    clean(host)


def test_a_drain_ends_though_nothing_is_acknowledged(host):
    chunks = host.stored()
    host.ask("b", 6)
    host.log.held = True
    host.load("b", chunks, [0, 1, 2, 7])
    host.side._patience_s = -1.0
    host.side.drain()
    assert [result.good for result in host.side.finished()] == [[]]
    assert not host.index("g2")
    assert len(host.index("g3")) == 4
    host.side.ended("b")


def test_a_reset_may_empty_our_tiers_too(tmp_path):
    host = Host(tmp_path, reset_evicts=True)
    chunks = host.stored()
    host.side.drain()
    assert not host.index("g3")
    host.ask("b")
    assert not host.side.found("b", chunks[0])
    host.side.ended("b")
    host.close()


def test_without_an_owner_vllm_is_answered_at_once_until_there_is_another(host, monkeypatch):
    monkeypatch.setattr(reopening, "AGAIN_AFTER_S", 0.05)
    chunks = host.stored()
    host.ask("b")
    assert host.side.found("b", chunks[0])
    host.log.held = True
    waiting = host.load("b", chunks, [0, 1, 2, 7])
    host.side._owner._give_up(host.manager, LogUnavailable("planted"))
    assert host.wait(waiting).good == []
    assert not host.side.found("b", chunks[0])
    assert host.wait(host.store("b", chunks, [3, 4, 5, 6])).good == []
    host.side.ended("b")
    host.log.let_go()
    end = time.monotonic() + WAIT_S
    while host.manager is None and time.monotonic() < end:
        host.side.finished()
    assert host.manager.state.epoch == 2
    host.ask("c")
    assert host.side.found("c", chunks[0])
    assert host.wait(host.load("c", chunks, [0, 1, 2, 7])).is_whole
    host.side.ended("c")
    clean(host)


def test_who_is_fenced_does_not_come_back(host, monkeypatch):
    monkeypatch.setattr(reopening, "AGAIN_AFTER_S", 0.0)
    host.manager._thread.failure = Fenced("planted")
    host.side.finished()
    host.side._owner._reopening._thread.join(10)
    host.side.finished()
    assert host.manager is None


def test_a_request_that_ends_while_it_is_loaded_leaves_nothing(host):
    chunks = host.stored()
    host.ask("b")
    assert host.side.found("b", chunks[0])
    number = host.load("b", chunks, [0, 1, 2, 7])
    host.side.ended("b")
    host.wait(number)
    host.manager.settle()
    clean(host)


def test_a_restart_finds_what_was_stored_and_nothing_of_the_host(host):
    chunks = host.stored()
    host.shut()
    host.open()
    assert not host.index("g2")
    host.ask("b")
    assert host.side.found("b", chunks[0])
    assert host.wait(host.load("b", chunks, [0, 1, 2, 7])).is_whole
    assert [host.view[slot, 0] for slot in (0, 1, 2, 7)] == [4, 5, 6, 7]
    host.side.ended("b")
    clean(host)


@pytest.mark.parametrize("tiers", [["g4"], ["g3", "g4"]])
def test_objects_are_stored_and_found_after_a_restart(tmp_path, s3, tiers):
    urls = {"g3": f"slab:{tmp_path}", "g4": s3.url()}
    host = Host(tmp_path, {tier: urls[tier] for tier in tiers})
    chunks = host.stored()
    host.manager.settle()
    assert len(host.index("g4")) == 4
    host.shut()
    if "g3" in tiers:
        for file in tmp_path.glob("g3.*"):
            file.unlink()
    host.open()
    host.ask("b")
    assert host.side.found("b", chunks[0])
    assert host.wait(host.load("b", chunks, [0, 1, 2, 7])).is_whole
    assert [host.view[slot, 0] for slot in (0, 1, 2, 7)] == [4, 5, 6, 7]
    host.side.ended("b")
    host.manager.settle()  # they are wanted in g3, and vLLM's host memory is not ours to read for that
    clean(host)
    assert "g3" not in tiers or not host.index("g3")
    host.close()


def test_of_a_batch_only_what_vllm_waits_for_goes_through(host):
    chunks = host.ask()
    host.fill([3, 4, 5, 6])
    host.log.held = True
    host.store("a", chunks, [3, 4, 5, 6])
    host.gate.take_back([(4, key_of(chunks[1]), False)])
    host.log.let_go()
    host.manager.flush()
    host.manager.settle()
    assert set(host.index("g3")) == {key_of(chunks[at]) for at in (0, 2, 3)}
    assert host.mover.jobs[0].source_slots == [3, 5, 6]
