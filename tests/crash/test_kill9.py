"""kill -9 in the middle of a run: of the owner, and of nats-server. What was acknowledged is there, and the run goes on."""

import subprocess
import sys
from pathlib import Path
from random import Random

from kvbm_events.codec import decode
from kvbm_events.jetstream import JetStreamLog
from kvbm_nats.replay import verify

OWNER = Path(__file__).parents[1] / "processes" / "owner.py"
REQUESTS = 120


class Owner:
    """The owner's process, and what it said was acknowledged."""

    def __init__(self, url, instance, seed):
        self.process = subprocess.Popen(
            [sys.executable, OWNER, url, instance, str(seed), str(REQUESTS)], stdout=subprocess.PIPE, text=True
        )
        self.acked = (0, -1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def play(self, requests):
        """Read on until it has served so many more."""
        for _ in range(requests):
            epoch, acked = self.process.stdout.readline().split()
            self.acked = int(epoch), int(acked)

    def kill(self):
        """Kill it, and take note of the last that it said."""
        self.process.kill()
        for line in self.process.stdout.read().splitlines():
            if len(said := line.split()) == 2 and said[1].isdecimal():
                self.acked = int(said[0]), int(said[1])
        self.process.wait()

    def finish(self):
        """Read to the end; the last line."""
        last = self.process.stdout.read().splitlines()[-1]
        assert self.process.wait() == 0
        return last


async def numbers_of(url, instance):
    """The events that the log has: `n` by epoch, in the order of the log."""
    log = await JetStreamLog.connect(url)
    numbers = {}
    async for batch in log.read(instance, until=await log.last_seq(instance)):
        for entry in batch:
            event = decode(entry.data)
            numbers.setdefault(event.epoch, []).append(event.n)
    await log.close()
    return numbers


async def verdict_of(url, instance):
    log = await JetStreamLog.connect(url)
    verdict = await verify(log, instance)
    await log.close()
    return verdict


async def test_killed_owners_lose_nothing_that_was_acknowledged(nats_url, instance):
    chance = Random(7)
    for epoch in range(1, 5):
        with Owner(nats_url, instance, seed=epoch) as owner:
            owner.play(chance.randrange(5, 60))
            owner.kill()
        numbers = (await numbers_of(nats_url, instance))[epoch]
        assert owner.acked[0] == epoch
        assert numbers == list(range(len(numbers)))
        assert numbers[-1] >= owner.acked[1]
        assert (await verdict_of(nats_url, instance)).flaws == []
    with Owner(nats_url, instance, seed=9) as owner:
        assert owner.finish() == "done []"
    verdict = await verdict_of(nats_url, instance)
    assert verdict.is_equal
    assert verdict.epoch == 5


async def test_a_killed_server_comes_back_and_the_same_owner_goes_on(nats_server, instance):
    chance = Random(11)
    with Owner(nats_server.url, instance, seed=3) as owner:
        for _ in range(4):
            owner.play(chance.randrange(5, 20))
            nats_server.kill()
            nats_server.start()
        assert owner.finish() == "done []"
    numbers = await numbers_of(nats_server.url, instance)
    assert list(numbers) == [1]
    assert numbers[1] == list(range(len(numbers[1])))
    assert (await verdict_of(nats_server.url, instance)).is_equal
