"""A memory host that is killed, stopped and started again while bytes are on their way, as a real process.

Whatever happens: nothing wrong is reported as arrived, what may still be written is said to be in doubt and freed when it
is not, the reason is told, and the next transfer works.
"""

import signal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from msgspec import structs

from kvbm_tiers.host_arena import SHARED_MEMORY
from kvbm_tiers.remote.flight import DIFFERS
from kvbm_tiers.remote.session import Session
from kvbm_tiers.remote.ucx_agent import UcxAgent
from support.memory_hosts import HABITS, MemoryProcess
from support.remote import in_doubt, remote_site, stopped, wait_until

pytestmark = pytest.mark.nixl
COUNT = 48
HALF = range(COUNT // 2)
REST = range(COUNT // 2, COUNT)


@pytest.fixture(params=["tcp", ""], ids=["tcp", "cma"])
def transport(request, monkeypatch):
    """Over the network's code, or by copies between processes of one machine, which is what UCX takes if it may."""
    if request.param:
        monkeypatch.setenv("UCX_TLS", request.param)
    return request.param


one_transport = pytest.mark.parametrize("transport", ["tcp"], indirect=True)


@pytest.fixture
def shared_folder():
    with TemporaryDirectory(prefix="kvbm-test-", dir=SHARED_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def host(nats_url, shared_folder, transport):  # noqa: ARG001 - in whose environment it is started
    with MemoryProcess(nats_url, shared_folder, capacity=COUNT, layout="llama-8b") as host:
        yield host


@pytest.fixture
def site(host, shared_folder):
    """Blocks of 2 MiB on both sides; those of the first half are at the host."""
    with remote_site(host, shared_folder) as site:
        site.fill(range(COUNT))
        assert site.outcome(site.down(HALF), len(HALF)) == (set(), len(HALF))
        for slot in REST:
            site.near(slot)[:8] = b"untouch."
        yield site


def begin(site, way):
    """A transfer of half of the blocks that has written its first block, and not its last one."""
    view = site.near if way == "up" else site.far
    before = bytes(view(REST[0])[-8:])
    transfer = site.up(HALF, REST) if way == "up" else site.down(REST)
    wait_until(lambda: bytes(view(REST[0])[-8:]) != before)
    return transfer


def seem_elsewhere(site):
    """Let the host be on another machine, as far as the mover knows: its process cannot be seen to be gone."""
    site.remote.link._keeper._neighbour.is_here = False


def check_in_doubt(reports, transfer):
    """All that was under way is, and only what had ended before is not."""
    doubtful = in_doubt(reports, transfer)
    assert doubtful
    assert stopped(reports, transfer) == len(HALF) - len(doubtful)


def check_next(site):
    """What was at the host before is there, and the next transfers work."""
    site.wait_session()
    assert site.outcome(site.up(HALF, HALF), len(HALF)) == (set(), len(HALF))
    site.check_works(range(8))


def check_quiet(site, way, slots=REST):
    """Nothing is written any more: bytes of ours stay while the next transfers go."""
    if way == "up":
        for slot in slots:
            site.near(slot)[:] = b"q" * len(site.near(slot))
        site.check_works(range(8))
        assert {bytes(site.near(slot)) for slot in slots} == {b"q" * len(site.near(0))}
    else:
        before = [bytes(site.far(slot)) for slot in slots]
        site.check_works(range(8))
        assert [bytes(site.far(slot)) for slot in slots] == before


@pytest.mark.parametrize("way", ["up", "down"])
def test_killed_in_the_middle(site, host, way):
    transfer = begin(site, way)
    host.kill()
    reasons, arrived = site.outcome(transfer, len(HALF))
    assert (arrived, [host.name in reason for reason in reasons]) == (0, [True])
    host.start()
    check_next(site)
    check_quiet(site, way)


@one_transport
def test_what_was_going_to_a_host_elsewhere_is_in_doubt_until_it_comes_back(site, host):
    seem_elsewhere(site)
    transfer = begin(site, "down")
    host.kill()
    reports = site.reports(lambda reports: reports)
    check_in_doubt(reports, transfer)
    waiting = site.outcome(site.up(HALF, HALF), len(HALF))
    assert (waiting[1], {host.name in reason for reason in waiting[0]}) == (0, {True})
    assert site.mover.poll() == []
    host.start()
    assert site.outcome(transfer, len(in_doubt(reports, transfer)))[1] == 0
    check_next(site)
    check_quiet(site, "down")


@pytest.mark.parametrize("way", ["up", "down"])
def test_stopped_past_the_deadline(site, host, way):
    transfer = begin(site, way)
    host.signal(signal.SIGSTOP)
    site.clock.ahead_us = 7_200_000_000
    reports = site.reports(lambda reports: reports)
    check_in_doubt(reports, transfer)
    site.clock.ahead_us = 0
    host.signal(signal.SIGCONT)
    assert site.outcome(transfer, len(in_doubt(reports, transfer))) == ({"deadline passed"}, 0)
    check_next(site)
    check_quiet(site, way)


@pytest.mark.parametrize("way", ["up", "down"])
def test_stopped_until_it_counts_as_dead(site, host, way):
    transfer = begin(site, way)
    host.signal(signal.SIGSTOP)
    reports = site.reports(lambda reports: reports)
    check_in_doubt(reports, transfer)
    assert "is silent" in reports[0].reason
    waiting = site.outcome(site.up(HALF, HALF), len(HALF))
    assert waiting[1] == 0
    assert ["does not answer" in reason for reason in waiting[0]] == [True]
    host.signal(signal.SIGCONT)
    assert site.outcome(transfer, len(in_doubt(reports, transfer)))[1] == 0
    check_quiet(site, way)
    check_next(site)


@one_transport
def test_a_stopped_host_of_another_machine_is_fenced_off(site, host):
    seem_elsewhere(site)
    transfer = begin(site, "up")
    host.signal(signal.SIGSTOP)
    reasons, arrived = site.outcome(transfer, len(HALF))
    assert (arrived, ["is silent" in reason for reason in reasons]) == (0, [True])
    for slot in REST:
        site.near(slot)[:] = b"q" * len(site.near(slot))
    host.signal(signal.SIGCONT)
    site.check_works(range(8))
    assert {bytes(site.near(slot)) for slot in REST} == {b"q" * len(site.near(0))}


@one_transport
def test_a_network_that_swallows_everything_costs_the_session(site, monkeypatch):
    site.wait_session()
    with monkeypatch.context() as patch:
        patch.setattr(UcxAgent, "is_over", lambda _agent, _handle: False)
        site.remote.link._keeper._options = structs.replace(HABITS, stuck_after_s=0.3)
        reasons, arrived = site.outcome(site.down(REST), len(REST))
    assert (arrived, ["nothing arrived for 0.3 s" in reason for reason in reasons]) == (0, [True])
    check_next(site)


@one_transport
def test_a_block_that_changes_on_its_way_down_does_not_arrive_and_its_source_stays(site, monkeypatch):
    prove = Session.prove
    monkeypatch.setattr(Session, "prove", lambda session, slots: ["0" * 16, *prove(session, slots)[1:]])
    assert site.outcome(site.down([30, 31, 32]), 3) == ({DIFFERS}, 2)


@one_transport
def test_a_block_that_changes_on_its_way_up_does_not_arrive_and_its_source_stays(site, monkeypatch):
    pull = Session.pull

    def pull_and_change(session, slots, addresses):
        pull(session, slots, addresses)
        site.near(30)[100] ^= 1

    monkeypatch.setattr(Session, "pull", pull_and_change)
    assert site.outcome(site.up([1, 2, 3], [29, 30, 31]), 3) == ({DIFFERS}, 2)
    site.sums.pop(2)  # where nobody knows what it must be, it is what the host has
    assert site.outcome(site.up([1, 2, 3], [29, 30, 31]), 3) == ({DIFFERS}, 2)
