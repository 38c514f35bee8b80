"""The parts of remote memory, each by itself: who has it, what is in doubt, and that a push is done once."""

import asyncio
import os
import subprocess
import sys
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from kvbm_events.schema.errors import NamespaceMismatch
from kvbm_tiers import preset
from kvbm_tiers.errors import MemoryUnavailable, NixlUnavailable, SessionOver, StoreBusy, StoreFull
from kvbm_tiers.remote import host_session
from kvbm_tiers.remote.doubts import Doubts
from kvbm_tiers.remote.host_session import HostSession
from kvbm_tiers.remote.lease import Lease
from kvbm_tiers.remote.messages import Proof, Push, decode_answer, encode_answer
from kvbm_tiers.remote.processes import Neighbour, ProcessName, this_process

ELSEWHERE = ProcessName(machine="another", pid=os.getpid())


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lease(clock):
    return Lease(10.0, now_s=clock)


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    process.stdin.close()


def test_a_holder_elsewhere_has_it_as_long_as_it_is_heard(lease, clock):
    assert lease.take("a", ELSEWHERE)
    clock.now_s = 9.0
    assert not lease.take("a", ELSEWHERE)
    clock.now_s = 18.0
    with pytest.raises(StoreBusy, match="heard 9 s ago"):
        lease.take("b", ELSEWHERE)
    clock.now_s = 19.0
    assert lease.take("b", ELSEWHERE)
    with pytest.raises(StoreBusy):
        lease.take("a", ELSEWHERE)


def test_a_holder_of_this_machine_has_it_as_long_as_it_lives(lease, clock, child):
    lease.take("a", ProcessName(machine=this_process().machine, pid=child.pid))
    clock.now_s = 1000.0
    with pytest.raises(StoreBusy, match="process of this machine; heard 1000 s ago"):
        lease.take("b", ELSEWHERE)
    child.kill()
    child.wait()
    assert lease.take("b", ELSEWHERE)


def test_who_lets_go_has_it_no_longer(lease):
    lease.take("a", this_process())
    lease.drop()
    assert lease.holder == ""
    assert lease.take("b", ELSEWHERE)


def test_a_process_is_gone_when_all_of_it_has_ended(child):
    alive, other = Neighbour(ProcessName(machine=this_process().machine, pid=child.pid)), Neighbour(ELSEWHERE)
    assert (alive.is_here, alive.is_gone, other.is_here, other.is_gone) == (True, False, False, False)
    child.kill()
    child.wait()
    assert alive.is_gone
    assert Neighbour(ProcessName(machine=this_process().machine, pid=child.pid)).is_gone
    alive.forget()
    assert alive.is_gone


def test_a_doubt_is_settled_with_its_session_and_side_and_at_once_where_that_is_known():
    doubts, told = Doubts(), []
    doubts.add(1, lambda: told.append("here 1"), here=True)
    doubts.add(2, lambda: told.append("here 2"), here=True)
    doubts.add(1, lambda: told.append("there 1"), here=False)
    doubts.settle(1, here=True)
    assert told == ["here 1"]
    doubts.settle(2, here=False)
    doubts.settle(1, here=False)
    assert told == ["here 1", "there 1"]
    doubts.add(2, lambda: told.append("there 2"), here=False)
    doubts.add(3, lambda: told.append("there 3"), here=False)
    assert told == ["here 1", "there 1", "there 2"]


@pytest.mark.parametrize("error", [StoreBusy, NamespaceMismatch, SessionOver, NixlUnavailable, StoreFull])
def test_a_refusal_is_raised_there_as_it_was_raised_here(error):
    with pytest.raises(error, match=r"what: why\. Try: hint"):
        decode_answer(encode_answer(error("what", why="why", hint="hint")), Proof)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"ok":{"checksums":1}}', b"[" * 100_000])
def test_an_answer_that_cannot_be_read_is_none(data):
    with pytest.raises(MemoryUnavailable):
        decode_answer(data, Proof)


def test_a_fault_of_the_hosts_is_told_as_one():
    with pytest.raises(MemoryUnavailable, match=r"made a mistake: KeyError\('x'\)"):
        decode_answer(encode_answer(KeyError("x")), Proof)


class StillPusher:
    """Takes pushes, and ends none."""

    def __init__(self, _name, _memories):
        self.metadata, self.pushes, self.began = b"m", [], asyncio.Event()

    def meet(self, _metadata):
        done = Future()
        done.set_result(None)
        return done

    def push(self, mine, theirs, size):
        self.pushes.append((mine, theirs, size))
        self.began.set()
        return Future()


async def test_a_push_that_is_asked_for_again_is_done_once(monkeypatch):
    monkeypatch.setattr(host_session, "Pusher", StillPusher)
    monkeypatch.setattr(host_session, "REMEMBERED_MAX", 8)
    layout = preset("tiny")
    arena = SimpleNamespace(layout=layout, address=1 << 20, memory=memoryview(b""))
    session = HostSession("m", arena, b"a")
    question = Push(session=session.id, number=1, slots=[2, 0], addresses=[64, 32])
    asked = [asyncio.create_task(session.push(question)) for _ in range(3)]
    await session._pusher.began.wait()
    mine = [(1 << 20) + 2 * layout.slot_bytes, 1 << 20]
    assert session._pusher.pushes == [(mine, [64, 32], layout.block_bytes)]
    for number in range(2, 20):
        more = Push(session=session.id, number=number, slots=[0], addresses=[0])
        asked.append(asyncio.create_task(session.push(more)))
        await asyncio.sleep(0)
    assert len(session._pushes) == 8
    for task in (*asked, *session._pushes.values()):
        task.cancel()
    await asyncio.gather(*asked, *session._pushes.values(), return_exceptions=True)
