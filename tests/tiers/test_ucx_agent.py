"""NIXL's UCX engine as we use it: what it is started with, and that its end is a fence."""

import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from kvbm_tiers import nixl_agent
from kvbm_tiers.errors import NixlUnavailable
from kvbm_tiers.memory import address_of, anonymous
from kvbm_tiers.nixl_agent import Far, NixlTransferFailed, load_nixl
from kvbm_tiers.remote.pusher import Pusher, PusherEnded
from kvbm_tiers.remote.ucx_agent import PROGRESS_PAUSE_US, UcxAgent, _Patient
from support.remote import wait_until

pytestmark = pytest.mark.nixl
SCRIPT = Path(__file__).parents[1] / "processes" / "pusher.py"
SIZE = 128 << 20
PIECE = 1 << 20


class Peer:
    """A process with an agent over memory full of ones, which it pushes on demand."""

    def __init__(self):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(SIZE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        metadata, address = self.hear().split()
        self.metadata, self.address = bytes.fromhex(metadata), int(address)

    def hear(self):
        return self.process.stdout.readline().strip()

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def peer(monkeypatch):
    monkeypatch.setenv("UCX_TLS", "tcp")
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def memory():
    return anonymous(SIZE)


@pytest.fixture
def pusher(peer, memory):
    pusher = Pusher(f"test-{peer.process.pid}", [memory])
    pusher.meet(peer.metadata).result()
    yield pusher
    pusher.end()


def places(address):
    return [address + at for at in range(0, SIZE, PIECE)]


def test_what_is_pushed_is_there(peer, memory, pusher):
    peer.tell("meet", pusher.metadata.hex())
    peer.tell("push", address_of(memory))
    assert peer.hear() == "done"
    assert memory == b"\1" * SIZE
    memory[:] = b"\2" * SIZE
    pusher.push(places(address_of(memory)), places(peer.address), PIECE).result()
    peer.tell("count", 2)
    assert peer.hear() == str(SIZE // PIECE)


def test_after_its_end_nothing_that_is_on_its_way_lands(peer, memory, pusher):
    peer.tell("meet", pusher.metadata.hex())
    peer.tell("push-on", address_of(memory))  # when the end comes, something is on its way
    wait_until(lambda: memory[PIECE - 1])
    pusher.end()
    memory[:] = b"\0" * SIZE
    assert peer.hear().startswith("failed")
    assert memory == bytes(SIZE)


def test_what_was_under_way_at_its_end_has_failed(peer, memory, pusher):
    pusher.push([address_of(memory)], [peer.address], PIECE).result()
    peer.process.send_signal(signal.SIGSTOP)
    under_way = [pusher.push(places(address_of(memory)), places(peer.address), PIECE) for _ in range(3)]
    pusher.end()
    later = pusher.push([address_of(memory)], [peer.address], PIECE)
    assert [type(future.exception(60)) for future in (*under_way, later)] == [PusherEnded] * 4


def test_a_push_to_who_is_gone_fails(peer, memory, pusher):
    pusher.push([address_of(memory)], [peer.address], PIECE).result()
    peer.process.kill()
    with pytest.raises(NixlTransferFailed, match="nixl"):
        pusher.push(places(address_of(memory)), places(peer.address), PIECE).result(60)


def test_a_push_beside_the_peers_memory_is_refused(peer, memory, pusher):
    with pytest.raises(NixlTransferFailed):
        pusher.push([address_of(memory)], [peer.address + SIZE], PIECE).result(60)


def test_bytes_that_are_no_agents_metadata_are_refused(pusher):
    with pytest.raises(NixlTransferFailed):
        pusher.meet(b"no metadata").result(60)


def test_its_end_lets_go_of_nixl_even_where_errors_are_kept(memory):
    agent = UcxAgent("test-kept", [(address_of(memory), SIZE, 0)])
    inner = weakref.ref(agent._agent.agent)
    with pytest.raises(NixlTransferFailed) as kept:
        agent.post("WRITE", [(address_of(memory), PIECE, 0)], [Far(address_of(memory) + SIZE, PIECE)])
    agent.end([])
    assert inner() is None
    assert kept.value.__cause__


def test_its_progress_thread_waits(monkeypatch, memory):
    bindings, configs = load_nixl().nixlBind, []
    make = bindings.nixlAgent
    monkeypatch.setattr(bindings, "nixlAgent", lambda name, config: configs.append(config) or make(name, config))
    agent = UcxAgent("test-patient", [(address_of(memory), SIZE, 0)])
    agent.end([])
    assert [config.pthrDelay for config in configs] == [PROGRESS_PAUSE_US]
    assert load_nixl().nixlBind is bindings


def test_a_nixl_without_that_delay_is_refused(monkeypatch):
    def make(name, _config):
        return _Patient(load_nixl().nixlBind).nixlAgent(name, object())

    monkeypatch.setattr(load_nixl().nixlBind, "nixlAgent", make)
    with pytest.raises(NixlUnavailable, match="pthrDelay"):
        UcxAgent("test-impatient", [])


@pytest.mark.parametrize("devices", [[], ["mlx5_0"]])
def test_ucx_looks_for_rdma_only_where_there_is_a_device(devices, tmp_path, monkeypatch):
    for device in devices:
        (tmp_path / device).mkdir()
    monkeypatch.setattr(nixl_agent, "_RDMA_DEVICES", tmp_path)
    monkeypatch.setattr(os, "environ", {**os.environ})
    os.environ.pop("UCX_MODULES", None)
    load_nixl()
    assert os.environ.get("UCX_MODULES") == (None if devices else "^ib")
    os.environ["UCX_MODULES"] = "mine"
    load_nixl()
    assert os.environ["UCX_MODULES"] == "mine"
