"""kill -9 in the middle of a run: of the owner, of nats-server, of the projector.

What was acknowledged is there, the log verifies, and the run goes on. KVBM_WHOLE_TRACE=1 plays all of Mooncake's
conversation trace with kills all along; without it, its first part.
"""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from kvbm_events.jetstream import JetStreamLog
from kvbm_nats.projection.verify import verify as verify_projection
from support.owners import AHEAD, OwnerProcess, numbers_of, verdict_of

PLAN = "g1=300,g2=900:s3fifo,g3=2000:lru:selective"
TRACES = Path(os.environ.get("KVBM_TRACES") or Path(__file__).resolve().parents[3] / "shared" / "traces")
CONVERSATION = TRACES / "mooncake_conversation.jsonl.gz"
REQUESTS = 12_031 if os.environ.get("KVBM_WHOLE_TRACE") else 500
KILLS = 4


async def test_killed_owners_lose_nothing_that_was_acknowledged(nats_url, instance):
    chance = Random(7)
    for epoch in range(1, KILLS + 1):
        with OwnerProcess(nats_url, instance, PLAN, str(epoch), 0, 200) as owner:
            owner.play(chance.randrange(5, 60))
            owner.kill()
        numbers = (await numbers_of(nats_url, instance))[epoch]
        assert owner.acked[0] == epoch
        assert numbers == list(range(len(numbers)))
        assert numbers[-1] >= owner.acked[1]
        assert (await verdict_of(nats_url, instance)).flaws == []
    with OwnerProcess(nats_url, instance, PLAN, "9", 0, 50) as owner:
        assert owner.finish() == "done []"
    verdict = await verdict_of(nats_url, instance)
    assert verdict.is_equal
    assert verdict.epoch == KILLS + 1


async def test_a_killed_server_comes_back_and_the_same_owner_goes_on(nats_server, instance):
    chance = Random(11)
    with OwnerProcess(nats_server.url, instance, PLAN, "3", 0, 120) as owner:
        for _ in range(KILLS):
            owner.play(chance.randrange(5, 20))
            nats_server.kill()
            nats_server.start()
        assert owner.finish() == "done []"
    numbers = await numbers_of(nats_server.url, instance)
    assert list(numbers) == [1]
    assert numbers[1] == list(range(len(numbers[1])))
    assert (await verdict_of(nats_server.url, instance)).is_equal


class ProjectorProcess:
    """`kvbm project`, to be killed and started again."""

    def __init__(self, url, file):
        self._command = [
            sys.executable,
            "-m",
            "kvbm_nats.cli",
            "project",
            "--nats-url",
            url,
            "--into",
            f"sqlite:///{file}",
        ]
        self.process = subprocess.Popen(self._command)

    def restart(self):
        self.process.kill()
        self.process.wait()
        self.process = subprocess.Popen(self._command)

    def finish(self):
        """Kill it, and let another one read to the end."""
        self.process.kill()
        self.process.wait()
        subprocess.run([*self._command, "--once"], check=True, timeout=600)


@pytest.mark.timeout(1800 if os.environ.get("KVBM_WHOLE_TRACE") else 180)
@pytest.mark.skipif(not CONVERSATION.exists(), reason=f"no trace at {CONVERSATION}: set KVBM_TRACES")
async def test_a_recorded_trace_with_everything_killed_in_turn(nats_server, instance, tmp_path):
    chance, file, first, epochs = Random(5), tmp_path / "projection.db", 0, 0
    url, plan = nats_server.url, "g1=4000,g2=16000"
    step = REQUESTS // (3 * KILLS + 1) - AHEAD // 3
    projector = ProjectorProcess(url, file)
    while first < REQUESTS:
        epochs += 1
        with OwnerProcess(url, instance, plan, str(CONVERSATION), first, REQUESTS) as owner:
            if epochs > KILLS:
                assert owner.finish() == "done []"
            else:
                owner.play(chance.randrange(1, step))
                nats_server.kill()
                nats_server.start()
                owner.play(chance.randrange(1, step))
                projector.restart()
                owner.play(chance.randrange(1, step))
                owner.kill()
                numbers = (await numbers_of(url, instance))[owner.acked[0]]
                assert numbers == list(range(len(numbers)))
                assert numbers[-1] >= owner.acked[1]
        first += owner.served
    projector.finish()
    verdict = await verdict_of(url, instance)
    assert verdict.is_equal
    assert verdict.epoch == epochs == KILLS + 1
    log = await JetStreamLog.connect(url)
    assert (await verify_projection(f"sqlite:///{file}", log)).difference == ""
    await log.close()
