"""The NIXL mover beside what its contract says: what it imports, and transfers that do not end."""

import os
import subprocess
import sys
from threading import Event

import pytest
import structlog.testing

from kvbm_tiers import nixl_mover, preset
from kvbm_tiers.errors import NixlUnavailable
from kvbm_tiers.nixl_agent import PosixAgent
from support.movers import CAPACITY, Rig, collect

TINY = preset("tiny")


def python(script):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", script], check=True, env=environment, capture_output=True, text=True, timeout=60
    ).stdout.split()


def test_the_room_imports_neither_nixl_nor_numpy_nor_torch():
    names = "('nixl_cu12', 'numpy', 'torch')"
    assert python(f"import sys, kvbm_tiers\nprint(*[name for name in {names} if name in sys.modules])") == []


def test_an_agent_does_not_import_torch():
    pytest.importorskip("nixl_cu12", reason="NOT TESTED: NIXL is not installed")
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


def test_a_region_that_nixl_does_not_take_is_an_error_of_ours():
    pytest.importorskip("nixl_cu12", reason="NOT TESTED: NIXL is not installed")
    with pytest.raises(NixlUnavailable, match="does not start"):
        PosixAgent("a", "aio", ["not a row"], [])


class Gate:
    """While it is shut, no transfer is seen to end."""

    def __init__(self, monkeypatch):
        self.open, self.asked, self.released = Event(), Event(), []
        is_over, release = PosixAgent.is_over, PosixAgent.release

        def see(agent, handle):
            self.asked.set()
            return self.open.is_set() and is_over(agent, handle)

        def let_go(agent, handle):
            self.released.append(handle)
            release(agent, handle)

        monkeypatch.setattr(PosixAgent, "is_over", see)
        monkeypatch.setattr(PosixAgent, "release", let_go)


@pytest.fixture
def gate(monkeypatch):
    return Gate(monkeypatch)


@pytest.fixture
def rig(tmp_path):
    rig = Rig("nixl aio g3-g2", tmp_path, TINY)
    yield rig
    rig.close()


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
    for number in range(nixl_mover.LANES + 2):
        rig.mover.submit(rig.job(range(32), range(32), transfer=f"1.{number}"))
    assert gate.asked.wait(60)
    rig.clock.ahead_us = 120_000_000
    reports = rig.mover.poll()
    assert sum(not report.stopped for report in reports) <= nixl_mover.LANES
    assert {report.transfer for report in reports if report.stopped} >= {"1.4", "1.5"}
    gate.open.set()
    count = sum(len(report.slots) for report in reports if not report.stopped)
    assert {report.stopped for report in rig.reports(count)} == {True}


def test_closing_leaves_what_does_not_end_to_itself(gate, rig, monkeypatch):
    parked = []
    monkeypatch.setattr(nixl_mover, "_parked", parked)
    rig.mover._patience_s = 0.1
    rig.mover.submit(rig.job(range(CAPACITY), range(CAPACITY)))
    assert gate.asked.wait(60)
    with structlog.testing.capture_logs() as logs:
        rig.mover.close()
    assert [line["transfers"] for line in logs] == [len(parked[0][1])]
    assert gate.released == []
    assert rig.mover.poll() == []
    agent, stuck, _ = parked[0]
    gate.open.set()
    for handle, _ in (each for _, flight in stuck for each in flight.flying):  # what a process would leave to its end
        while not agent.is_over(handle):
            pass
        agent.release(handle)


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
