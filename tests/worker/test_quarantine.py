"""`kvbm quarantine`: slots that a worker left in doubt which never comes back, and the person who knows that."""

import json
import subprocess

import pytest

from cli.conftest import KVBM, PLAIN
from kvbm_events.schema import OffloadFailed
from support.workers import WorkerProcess, pump_until, settle


@pytest.fixture
def quarantine(site):
    """Runs the command; its exit code, what it answered, and what it complained of."""

    def run(*options):
        command = [KVBM, "quarantine", "--json", f"--nats-url={site.url}", f"--instance={site.instance}", *options]
        done = subprocess.run(command, capture_output=True, text=True, env=PLAIN, timeout=60, check=False)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    return run


def leave_in_doubt(site, owner, folder):
    """Four slots of g2."""
    with WorkerProcess(site.url, site.instance, folder, steps="copy") as worker:
        worker.hear("ready")
        _, (transfer,) = site.offload(owner)
        worker.hear("submitted")
    pump_until(owner, lambda: owner.status().tiers[1].quarantined == 4)
    owner.flush()
    return transfer


def test_an_operators_word_frees_them_once_no_owner_lives_and_the_log_says_whose_it_was(site, tmp_path, quarantine):
    with site.open() as owner:
        transfer = leave_in_doubt(site, owner, tmp_path)
        code, found, _ = quarantine()
        assert (code, found["slots"]) == (1, {"g1": 0, "g2": 4})
        assert [doubt["transfer"] for doubt in found["transfers"]] == [transfer]
        code, _, complaint = quarantine("--free")
        assert code == 2
        assert "has an owner that cannot be asked" in complaint
        assert owner.status().tiers[1].quarantined == 4
    assert quarantine("--free", "--tier=g1")[0] == 0
    code, found, _ = quarantine("--free", "--actor=ann")
    assert (code, found["slots"], found["freed"]) == (0, {"g1": 0, "g2": 0}, 4)
    with site.open() as owner:
        assert owner.status().tiers[1].quarantined == 0
        freed = [event for event in site.events() if isinstance(event, OffloadFailed) and event.actor]
        assert [(e.transfer, e.actor, e.reason, e.stopped) for e in freed] == [
            (transfer, "operator ann", "freed by an operator", True)
        ]
        with WorkerProcess(site.url, site.instance, tmp_path) as worker:
            worker.hear("ready")
            site.offload(owner)
            assert owner.settle()
            settle(owner)


def test_nothing_in_quarantine_and_no_such_instance(site, quarantine):
    assert quarantine()[0] == 2
    with site.open():
        pass
    code, found, _ = quarantine()
    assert (code, found["transfers"], found["freed"]) == (0, [], 0)
    assert quarantine("--tier=g4")[0] == 2
