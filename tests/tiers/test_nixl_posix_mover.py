"""The NIXL mover beside what its contract says: what it imports, transfers that do not end, and agents that hang."""

import os
import subprocess
import sys
from pathlib import Path
from queue import Empty
from threading import Event, Semaphore

import pytest
import structlog.testing

from kvbm_tiers import agent_thread, nixl_mover, preset
from kvbm_tiers.errors import NixlUnavailable
from kvbm_tiers.nixl_agent import PosixAgent
from support.movers import CAPACITY, Rig, collect
from support.nixl import marked

TINY = preset("tiny")
WEDGED = Path(__file__).parents[1] / "processes" / "wedged_mover.py"


def python(script):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", script], check=True, env=environment, capture_output=True, text=True, timeout=60
    ).stdout.split()


def test_the_room_imports_none_of_what_it_can_do_without():
    names = "('nixl_cu12', 'numpy', 'obstore', 'torch')"
    assert python(f"import sys, kvbm_tiers\nprint(*[name for name in {names} if name in sys.modules])") == []


@pytest.mark.nixl
def test_an_agent_does_not_import_torch():
    script = """
import sys
from kvbm_tiers.nixl_agent import PosixAgent
PosixAgent("a", "aio", [], []).close()
print("nixl_cu12" in sys.modules, "torch" in sys.modules)
"""
    assert python(script) == ["True", "False"]


def test_without_nixl_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "nixl_cu12._api", None)
    with pytest.raises(NixlUnavailable, match=r"docs/nixl\.md"):
        PosixAgent("a", "aio", [], [])


@pytest.mark.nixl
def test_a_region_that_nixl_does_not_take_is_an_error_of_ours():
    with pytest.raises(NixlUnavailable, match="does not start"):
        PosixAgent("a", "aio", ["not a row"], [])


class Gate:
    """While it is shut, no transfer is seen to end: of no agent, or of those that were there first.

    :ivar agents: in the order in which they posted
    """

    def __init__(self, monkeypatch):
        self.open, self.asked, self.released = Event(), Event(), []
        self.agents, self.hanging_max = [], 1 << 30
        is_over, release, post = PosixAgent.is_over, PosixAgent.release, PosixAgent.post

        def see(agent, handle):
            self.asked.set()
            hangs = self.agents.index(agent) < self.hanging_max
            return (self.open.is_set() or not hangs) and is_over(agent, handle)

        def let_go(agent, handle):
            self.released.append(handle)
            release(agent, handle)

        def begin(agent, *rows):
            if agent not in self.agents:
                self.agents.append(agent)
            return post(agent, *rows)

        monkeypatch.setattr(PosixAgent, "is_over", see)
        monkeypatch.setattr(PosixAgent, "release", let_go)
        monkeypatch.setattr(PosixAgent, "post", begin)


@pytest.fixture
def gate(monkeypatch):
    return Gate(monkeypatch)


@pytest.fixture(params=marked(["nixl aio g3-g2"]))
def rig(request, tmp_path):
    rig = Rig(request.param, tmp_path, TINY)
    yield rig
    rig.close()


@pytest.fixture
def parked(monkeypatch, gate):
    """What a mover leaves behind when it is closed; ended here, as a process would at its own end."""
    parked = []
    monkeypatch.setattr(agent_thread, "_parked", parked)
    yield parked
    gate.open.set()
    for agent, stuck, _ in parked:
        for handle, _ in (each for _, flight in stuck for each in flight.flying):
            while not agent.is_over(handle):
                pass
            agent.release(handle)


def said(reports):
    return [(report.transfer, len(report.slots), report.reason, report.stopped) for report in reports]


def test_what_does_not_end_in_time_is_in_doubt_and_its_handle_is_kept(gate, rig):
    rig.mover.submit(rig.job(range(3), range(3), transfer="1.1"))
    assert gate.asked.wait(60)
    rig.clock.ahead_us = 120_000_000
    assert said(rig.mover.poll()) == [("1.1", 3, "deadline passed", False)]
    assert gate.released == []
    gate.open.set()
    assert said(collect(rig.mover, bool)) == [("1.1", 3, "deadline passed", True)]
    assert len(gate.released) == 1
    rig.clock.ahead_us = 0
    rig.mover.submit(rig.job([1], [1], transfer="1.2"))
    assert said(collect(rig.mover, bool)) == [("1.2", 1, "", True)]


def test_transfers_under_way_are_bounded_and_what_waits_is_not_in_doubt(gate, rig):
    for number in range(agent_thread.LANES + 2):
        rig.mover.submit(rig.job(range(32), range(32), transfer=f"1.{number}"))
    assert gate.asked.wait(60)
    rig.clock.ahead_us = 120_000_000
    reports = rig.mover.poll()
    assert sum(not report.stopped for report in reports) <= agent_thread.LANES
    assert {report.transfer for report in reports if report.stopped} >= {"1.4", "1.5"}
    gate.open.set()
    count = sum(len(report.slots) for report in reports if not report.stopped)
    assert {report.stopped for report in rig.reports(count)} == {True}


def test_closing_leaves_what_does_not_end_to_itself(gate, rig, parked):
    rig.mover._patience_s = 0.1
    rig.mover.submit(rig.job(range(CAPACITY), range(CAPACITY)))
    assert gate.asked.wait(60)
    with structlog.testing.capture_logs() as logs:
        rig.mover.close()
    assert [line["transfers"] for line in logs] == [len(parked[0][1])]
    assert gate.released == []
    assert rig.mover.poll() == []


def hang(rig, gate, agents, after=0):
    """Let the next agents hang, so many, with a job in each lane; the jobs."""
    rig.mover._hang_s, gate.hanging_max = 0.2, after + agents
    jobs = [f"1.{number}" for number in range(agents * agent_thread.LANES)]
    for at, transfer in enumerate(jobs):
        rig.fill(at)
        rig.mover.submit(rig.job([at], [at], transfer=transfer))
    return jobs


def arrives(rig, transfer, at):
    data = rig.fill(at)
    rig.mover.submit(rig.job([at], [at], transfer=transfer))
    assert said(collect(rig.mover, bool)) == [(transfer, 1, "", True)]
    return rig.get(at) == data


def test_when_all_lanes_hang_another_agent_takes_over(gate, rig):
    stuck = hang(rig, gate, agents=1)
    with structlog.testing.capture_logs() as logs:
        assert arrives(rig, "2.1", 40)
    assert [(line["log_level"], line["agents"]) for line in logs] == [("error", 1)]
    assert len(gate.agents) == 2
    rig.clock.ahead_us = 120_000_000
    assert sorted(said(rig.mover.poll())) == [(transfer, 1, "deadline passed", False) for transfer in stuck]
    rig.clock.ahead_us = 0
    assert arrives(rig, "2.2", 41), "the slots in doubt keep nobody up"
    gate.open.set()
    assert sorted(said(rig.reports(len(stuck)))) == [(transfer, 1, "deadline passed", True) for transfer in stuck]
    assert arrives(rig, "2.3", 42)
    assert len(gate.agents) == 2


def test_an_agent_that_was_only_slow_does_not_count(gate, rig, monkeypatch):
    monkeypatch.setattr(nixl_mover, "HANGING_MAX", 2)
    for round_ in range(3):
        gate.open.clear()
        hang(rig, gate, agents=1, after=round_)
        assert arrives(rig, "2.1", 40)
        gate.open.set()
        assert {report.reason for report in rig.reports(agent_thread.LANES)} == {""}
    assert len(gate.agents) == 4
    assert rig.mover._threads is None


class CountedLanes:
    """Lanes that tell when nobody got one in time, twice."""

    def __init__(self, lanes):
        self._lanes, self.put = lanes, lanes.put
        self.missed = Semaphore(0)

    def get(self, timeout):
        try:
            return self._lanes.get(timeout=timeout)
        except Empty:
            self.missed.release()
            raise


@pytest.mark.nixl
def test_a_device_that_is_slow_is_no_agent_that_hangs(tmp_path, gate, monkeypatch):
    rig = Rig("nixl aio g3-g1", tmp_path, TINY)
    gate.open.set()
    (agent,) = rig.mover._agents
    agent.lanes = lanes = CountedLanes(agent.lanes)
    device, go_on = rig.stores["g1"], Event()
    write = device.write
    monkeypatch.setattr(device, "write", lambda *block: go_on.wait(60) and write(*block))
    rig.mover._hang_s = 0.05
    jobs = agent_thread.LANES + 2
    for at in range(jobs):
        rig.mover.submit(rig.job([at], [at]))
    for _ in range(2):
        assert lanes.missed.acquire(timeout=60)
    assert len(gate.agents) == 1
    go_on.set()
    assert {report.reason for report in rig.reports(jobs)} == {""}
    rig.close()


def test_when_too_many_agents_hang_threads_take_over(gate, rig, monkeypatch):
    monkeypatch.setattr(nixl_mover, "HANGING_MAX", 2)
    stuck = hang(rig, gate, agents=2)
    with structlog.testing.capture_logs() as logs:
        assert arrives(rig, "2.1", 40)
    assert [line.get("why", line.get("agents")) for line in logs] == [1, 2, "2 agents hang"]
    assert {line["log_level"] for line in logs} == {"error"}
    assert arrives(rig, "2.2", 41)
    assert len(gate.agents) == 2
    gate.open.set()
    assert {report.transfer for report in rig.reports(len(stuck))} == set(stuck)


def test_when_another_agent_does_not_start_threads_take_over(gate, rig, monkeypatch):
    stuck = hang(rig, gate, agents=1)

    def refuse(*_arguments):
        raise NixlUnavailable("NIXL's POSIX engine does not start")

    monkeypatch.setattr(PosixAgent, "__init__", refuse)
    with structlog.testing.capture_logs() as logs:
        assert arrives(rig, "2.1", 40)
    assert logs[-1]["why"] == "NIXL's POSIX engine does not start"
    gate.open.set()
    assert {report.transfer for report in rig.reports(len(stuck))} == set(stuck)


def test_closing_parks_the_agents_that_hang(gate, rig, parked):
    rig.mover._patience_s = 0.1
    hang(rig, gate, agents=1)
    assert arrives(rig, "2.1", 40)
    rig.mover.close()
    ((agent, flying, _),) = parked
    assert agent is gate.agents[0]
    assert len(flying) == agent_thread.LANES


@pytest.mark.nixl
@pytest.mark.parametrize("engine", ["uring", "aio"])
def test_an_engine_that_really_lost_transfers_is_replaced(engine, tmp_path):
    """In a process of its own: what NIXL does after a handle was released too early lasts as long as the process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run(
        [sys.executable, str(WEDGED), engine, str(tmp_path)],
        check=True,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    assert child.stdout.splitlines()[-1] == "all that was not lost is there; agents: 2"


@pytest.mark.nixl
def test_a_handle_that_nixl_does_not_take_back_is_kept(tmp_path, monkeypatch):
    rig = Rig("nixl aio g3-g2", tmp_path, TINY)
    agents = []
    post = PosixAgent.post

    def remember(agent, *rows):
        agents.append(agent)
        monkeypatch.setattr(agent._agent, "release_xfer_handle", lambda _: 1 / 0)
        return post(agent, *rows)

    monkeypatch.setattr(PosixAgent, "post", remember)
    rig.mover.submit(rig.job([0], [0], transfer="1.1"))
    with structlog.testing.capture_logs() as logs:
        assert said(collect(rig.mover, bool)) == [("1.1", 1, "", True)]
        rig.close()
    assert [line["log_level"] for line in logs] == ["warning"]
    assert len(agents[0]._unreleased) == 1
