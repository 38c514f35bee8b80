"""The memory of a host: what is kept, what is refused, who has it, and one block at a time."""

import asyncio
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from msgspec import structs
from nats.aio.client import Client

from kvbm_events.schema.errors import InvalidCommand, NamespaceMismatch
from kvbm_tiers import preset
from kvbm_tiers.errors import MemoryUnavailable, StoreBusy
from kvbm_tiers.memory import anonymous
from kvbm_tiers.remote import LinkOptions, RemoteMemory
from kvbm_tiers.remote.messages import Connect, Prove, Push, encode, subject_of
from support.memory_hosts import MemoryProcess

pytestmark = pytest.mark.nixl
TINY = preset("tiny")
CAPACITY = 6
IMPATIENT = LinkOptions(heartbeat_s=0.1, dead_after_s=0.5, patience_s=0.3)
chance = Random(4)


def block(data=b""):
    view = anonymous(TINY.slot_bytes)
    view[: len(data)] = data
    return view


def some_bytes():
    return chance.randbytes(TINY.block_bytes)


def read(store, slot):
    store.read(slot, view := block())
    return bytes(view[: TINY.block_bytes])


@pytest.fixture
def host(nats_url, tmp_path):
    with MemoryProcess(nats_url, tmp_path, capacity=CAPACITY) as host:
        yield host


@pytest.fixture
def open_store(host):
    """A way to claim the host's memory; what a test leaves open is closed."""
    opened = []

    def open_(**more):
        opened.append(host.open(**more))
        return opened[-1]

    yield open_
    for store in opened:
        store.close()


def test_what_is_written_is_read_and_outlives_user_and_host(open_store, host):
    store = open_store()
    assert (store.opening.state, store.opening.why) == ("reset", "it is new")
    written = {slot: some_bytes() for slot in (5, 0, 3)}
    for slot, data in written.items():
        store.write(slot, block(data))
    store.sync()
    assert {slot: read(store, slot) for slot in written} == written
    assert read(store, 1) == bytes(TINY.block_bytes)
    store.close()
    store = open_store()
    assert store.opening.state == "kept"
    assert {slot: read(store, slot) for slot in written} == written
    store.close()
    host.kill()
    host.start()
    store = open_store()
    assert store.opening.state == "kept"
    assert {slot: read(store, slot) for slot in written} == written
    store.close()
    assert host.terminate() == 0
    arena = host.look()
    assert arena.opening.state == "kept"
    assert bytes(arena.view(3)[: TINY.block_bytes]) == written[3]
    arena.close()


@pytest.mark.parametrize("slot", [-1, CAPACITY])
def test_a_slot_outside_is_refused(open_store, slot):
    store = open_store()
    for act in (store.read, store.write):
        with pytest.raises(IndexError, match="of a store of 6"):
            act(slot, block())
    with pytest.raises(IndexError):
        store.view(slot)


def test_a_closed_one_moves_nothing(open_store):
    store = open_store()
    store.close()
    for act in (store.read, store.write):
        with pytest.raises(IndexError):
            act(0, block())


def test_a_reset_is_done_once(open_store, host):
    store = open_store()
    store.write(2, block(some_bytes()))
    before = store.opening.incarnation
    store.close()
    store = open_store(reset=True)
    assert (store.opening.state, store.opening.why) == ("reset", "a reset was asked for")
    assert store.opening.incarnation != before
    data = some_bytes()
    store.write(2, block(data))
    host.kill()
    host.start()
    while True:  # until it has reached the host again, which it had asked for a reset once
        try:
            assert read(store, 2) == data
        except OSError:
            continue
        break


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"namespace": "m=2"}, "namespace is 'm=1' here and 'm=2' there"),
        ({"layout": preset("llama-8b")}, r"groups\[0\].name is 'sliding' here and 'full' there"),
        ({"capacity": 7}, "capacity is 6 here and 7 there"),
    ],
)
def test_another_shape_is_refused_by_its_field(open_store, wanted, field):
    with pytest.raises(NamespaceMismatch, match=field):
        open_store(**wanted)
    assert open_store().capacity == CAPACITY


def test_where_no_host_is_there_it_says_what_to_start(nats_url):
    with pytest.raises(MemoryUnavailable, match="kvbm memory --name nobody"):
        RemoteMemory(nats_url, "nobody", namespace="m=1", layout=TINY, capacity=6, options=IMPATIENT)


def test_a_name_that_is_no_token_is_refused(nats_url):
    with pytest.raises(InvalidCommand, match="cannot name a memory host"):
        RemoteMemory(nats_url, "a.b", namespace="m=1", layout=TINY, capacity=6, options=IMPATIENT)


def test_one_has_it_at_a_time(open_store):
    open_store()
    with pytest.raises(StoreBusy, match="its holder is a process of this machine"):
        open_store(options=IMPATIENT)


def test_the_next_waits_for_the_one_before(open_store):
    first = open_store()
    first.write(1, block(data := some_bytes()))
    first.close()
    assert read(open_store(), 1) == data


HOLDER = """
import sys
from kvbm_tiers import preset
from kvbm_tiers.remote import RemoteMemory
RemoteMemory(sys.argv[1], sys.argv[2], namespace="m=1", layout=preset("tiny"), capacity=6)
print("claimed", flush=True)
sys.stdin.readline()
"""


def test_a_holder_that_is_killed_has_it_no_longer_and_one_that_is_stopped_has(open_store, host, nats_url):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, nats_url, host.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as holder:
        assert holder.stdout.readline() == "claimed\n"
        holder.send_signal(signal.SIGSTOP)
        with pytest.raises(StoreBusy, match="process of this machine"):
            open_store(options=IMPATIENT)
        holder.kill()
        holder.wait()
        open_store()


def test_a_nats_server_that_dies_and_comes_back_costs_nothing(nats_server, tmp_path):
    with MemoryProcess(nats_server.url, tmp_path, capacity=CAPACITY) as host:
        store = host.open()
        store.write(0, block(some_bytes()))
        session = store.link.session()
        nats_server.kill()
        data = some_bytes()
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(store.write, 1, block(data))
            nats_server.start()
            writing.result()
        assert read(store, 1) == data
        assert store.link.session() is session
        store.close()


def test_a_second_host_of_a_name_or_an_arena_ends(host, nats_url, tmp_path):
    second = MemoryProcess(nats_url, tmp_path, capacity=CAPACITY)
    second._command[second._command.index("--name") + 1] = host.name
    with pytest.raises(AssertionError, match="is in use"):
        second.start()
    second.kill()
    second._command[second._command.index("--folder") + 1] = str(tmp_path / "elsewhere")
    with pytest.raises(AssertionError, match="is there already"):
        second.start()
    second.kill()


async def ask(url, subject, data):
    nc = Client()
    await nc.connect(url)
    try:
        return (await nc.request(subject, data, timeout=10)).data.decode()
    finally:
        await nc.close()


@pytest.mark.parametrize(
    ("verb", "body", "error"),
    [
        ("steal", b"{}", "InvalidCommand"),
        ("claim", b"{", "InvalidCommand"),
        ("claim", b"\xff", "InvalidCommand"),
        ("connect", encode(Connect(holder="nobody", agent=b"x")), "SessionOver"),
        ("push", encode(Push(session="old", number=1, slots=[0], addresses=[0])), "SessionOver"),
        ("prove", encode(Prove(session="old", slots=[0])), "SessionOver"),
        ("prove", encode(Prove(session="old", slots=[])), "InvalidCommand"),
    ],
)
def test_a_host_answers_whatever_it_is_asked(host, verb, body, error):
    assert f'"error":"{error}"' in asyncio.run(ask(host.url, subject_of(host.name, verb), body))


@pytest.mark.parametrize(
    ("verb", "question"),
    [("prove", Prove(session="", slots=[CAPACITY])), ("push", Push(session="", number=7, slots=[0], addresses=[]))],
)
def test_in_a_session_slots_and_addresses_are_checked(open_store, host, verb, question):
    store = open_store()
    store.write(0, block(some_bytes()))
    mine = structs.replace(question, session=store.link.session().id)
    assert "InvalidCommand" in asyncio.run(ask(host.url, subject_of(host.name, verb), encode(mine)))
