"""Our tier below a host memory of the test's own: what vLLM takes back is not touched, and what it waits for ends."""

import hashlib
import time

import pytest

from kvbm_events.schema import TierSpec
from kvbm_events.schema.errors import Fenced, InvalidCommand, LogUnavailable
from kvbm_nats.connectors.vllm import reopening
from kvbm_nats.connectors.vllm.config import TierConfig, read_config
from kvbm_nats.connectors.vllm.tiering.gate import Gate
from kvbm_nats.connectors.vllm.tiering.prompt import Prompt, key_of
from kvbm_nats.connectors.vllm.tiering.side import TierSide
from kvbm_nats.manager import BlockManager
from kvbm_nats.options import Options
from kvbm_tiers import HostRows, Medium, Stack
from kvbm_tiers.memory import anonymous
from support.service import HeldLog

ROW_BYTES, ROWS, TOKENS = 4096, 8, 16
PATIENCE_S, TIMEOUT_S, WAIT_S = 2.0, 30.0, 20.0
GOOD = {"instance": "replica-0", "tiers": "g3=65536,g4=100:on_evict", "stores": {"g3": "slab:/mnt", "g4": "s3://b"}}


def chunk(at, group=0):
    """As vLLM names one: a hash, and the number of its group."""
    return hashlib.sha256(bytes([at])).digest() + group.to_bytes(4, "big")


class HeldMover:
    """Lets nothing through to a mover while it is held."""

    def __init__(self, mover):
        self.mover, self.held, self.jobs = mover, False, []

    def submit(self, job):
        self.jobs.append(job)
        if not self.held:
            self.mover.submit(job)

    def let_go(self):
        self.held = False
        for job in self.jobs:
            self.mover.submit(job)

    def __getattr__(self, name):
        return getattr(self.mover, name)


class Host:
    """VLLM's side: its host memory, and jobs with the tier below."""

    def __init__(self, folder, **more):
        self.folder, self.log, self.now_s, self.number = folder, HeldLog(), 100.0, 0
        self.memory = anonymous(ROW_BYTES * ROWS)
        self.open(**more)

    def open(self, **more):
        self.view = self.memory.cast("B", (ROWS, ROW_BYTES))
        rows = HostRows(self.view)
        plan = [TierSpec(tier="g2", capacity=ROWS, control="observed"), TierSpec(tier="g3", capacity=16)]
        media = {"g3": Medium.parse(f"slab:{self.folder}")}
        self.stack = Stack(plan, rows.layout, "n=1", media, given={"g2": rows})
        self.mover = HeldMover(self.stack.mover)
        self.gate = Gate(self.mover)

        def open_owner():
            options = Options(snapshot_every=0)
            return BlockManager.open(
                self.log, "i", namespace="n=1", tiers=plan, keep=["g3"], mover=self.gate, options=options
            )

        self.side = TierSide(
            open_owner,
            self.gate,
            chunk_tokens={0: TOKENS, 1: TOKENS},
            patience_s=PATIENCE_S,
            timeout_s=TIMEOUT_S,
            clock=lambda: self.now_s,
            **more,
        )

    @property
    def manager(self):
        return self.side.manager

    def index(self, tier):
        return self.manager.state.tiers[tier].lineage.index

    def ask(self, name="a", chunks=4, first=0):
        self.side.added(name, {chunk(at): (at + 1) * TOKENS for at in range(first + chunks)})
        return [chunk(at) for at in range(first, first + chunks)]

    def fill(self, slots, seed=0):
        for slot in slots:
            self.view[slot, 0] = seed + slot + 1

    def store(self, name, chunks, slots):
        self.number += 1
        self.side.store(self.number, name, set(chunks), [slots[chunks.index(each)] for each in set(chunks)])
        return self.number

    def load(self, name, chunks, slots):
        self.number += 1
        self.side.load(self.number, name, chunks, slots)
        return self.number

    def wait(self, number):
        """What became of a job."""
        end = time.monotonic() + WAIT_S
        while True:
            for result in self.side.finished():
                assert result.number == number
                return result
            assert time.monotonic() < end, "it does not end"
            self.side.scheduled()

    def stored(self, name="a", slots=(3, 4, 5, 6), **more):
        """A request whose chunks are below, and which is over."""
        chunks = self.ask(name, **more)
        self.fill(slots)
        assert self.wait(self.store(name, chunks, slots)).is_whole
        self.side.ended(name)
        return chunks

    def close(self):
        self.log.let_go()
        self.side.close()
        self.stack.close()


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
    host.side.close()
    host.stack.close()
    host.view.release()  # as vLLM does: nobody may have a view of it still
    host.memory[:] = bytes(len(host.memory))
    host.open()
    assert not host.index("g2")
    host.ask("b")
    assert host.side.found("b", chunks[0])
    assert host.wait(host.load("b", chunks, [0, 1, 2, 7])).is_whole
    assert [host.view[slot, 0] for slot in (0, 1, 2, 7)] == [4, 5, 6, 7]
    host.side.ended("b")
    clean(host)


def test_of_a_batch_only_what_vllm_waits_for_goes_through(host):
    chunks = host.ask()
    host.fill([3, 4, 5, 6])
    host.log.held = True
    host.store("a", chunks, [3, 4, 5, 6])
    host.gate.take_back([(4, key_of(chunks[1]))])
    host.log.let_go()
    host.manager.flush()
    host.manager.settle()
    assert set(host.index("g3")) == {key_of(chunks[at]) for at in (0, 2, 3)}
    assert host.mover.jobs[0].source_slots == [3, 5, 6]


@pytest.mark.parametrize("shape", [(ROWS * ROW_BYTES,), (ROWS * 2, ROW_BYTES // 2)])
def test_host_memory_of_another_shape_is_refused(shape):
    with pytest.raises(InvalidCommand, match=r"host memory of shape"):
        HostRows(anonymous(ROW_BYTES * ROWS).cast("B", shape))


def test_a_good_configuration():
    config = read_config(TierConfig, GOOD | {"locality": "LOCAL", "reset_evicts": True}, replica="-dp1")
    assert (config.instance, [spec.tier for spec in config.plan]) == ("replica-0-dp1", ["g3", "g4"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reset_evict": True}, "no field 'reset_evict'.*did you mean 'reset_evicts'"),
        ({"tiers": "g2=8,g3=65536"}, "g2 is vLLM's own primary tier.*name g3 and g4 only"),
        ({"tiers": "g3=65536:selective", "stores": {"g3": "slab:/mnt"}}, "g3 takes some blocks only"),
        ({"tiers": "g3=65536:priority/60", "stores": {"g3": "slab:/mnt"}}, "g3 takes some blocks only"),
        ({"tiers": "g3=9"}, "g4 is in stores only"),
        ({"locality": "HERE"}, "Invalid enum value 'HERE' - at `\\$.locality`"),
        ({"reset_evicts": "yes"}, "Expected `bool`, got `str` - at `\\$.reset_evicts`"),
    ],
)
def test_a_bad_one_is_refused_by_name(change, said):
    with pytest.raises(InvalidCommand, match=said) as error:
        read_config(TierConfig, GOOD | change)
    assert "secondary_tiers" in str(error.value)
