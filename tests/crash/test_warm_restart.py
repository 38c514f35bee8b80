"""Everything is killed (kill -9 of owner, tier worker and nats-server) and started again over ten thousand blocks on disk."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.conftest import KVBM, PLAIN
from kvbm_nats.publisher import Publisher
from support.chained_keys import prefix
from support.service import NAMESPACE, Command, ServiceProcess

SCRIPT = Path(__file__).parents[1] / "processes" / "filled_worker.py"
BLOCKS, PROMPT = 10_000, 100
PLAN = f"g1=512,g2=2048,g3={BLOCKS}"
PROMPTS = [prefix([number] * PROMPT) for number in range(BLOCKS // PROMPT)]


class FilledWorker:
    """`tests/processes/filled_worker.py`: a tier worker over files.

    :ivar checked: blocks that came up as they had been written, and those that did not
    """

    def __init__(self, url, instance, folder):
        stores = [f"g2=arena:{folder}", f"g3=slab:{folder}"]
        command = [sys.executable, str(SCRIPT), url, instance, NAMESPACE, PLAN, "tiny", str(folder), *stores]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        self.checked = (0, 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def wait_ready(self):
        assert self._process.stdout.readline() == "ready\n"

    def wait_checked(self, blocks):
        while sum(self.checked) < blocks:
            word, good, wrong = self._process.stdout.readline().split()
            assert word == "checked"
            self.checked = int(good), int(wrong)


@pytest.fixture
async def commands():
    yield
    for command in list(Command.alive):
        await command.kill()


async def store_all(kv):
    for number, keys in enumerate(PROMPTS):
        async with kv.request(f"r{number}") as request:
            slots = await kv.allocate(request, PROMPT)
            await kv.register(request, slots, keys)
        while (await kv.status()).transfers:  # each answer comes with a turn of the owner's
            pass


def registered(status):
    return {tier.tier: tier.registered for tier in status.tiers}


def fsck(url, instance, folder):
    command = [KVBM, "fsck", "--json", f"--nats-url={url}", f"--instance={instance}", f"--folder={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, env=PLAIN, timeout=60, check=False)
    return done.returncode, {tier["tier"]: tier["proven"] for tier in json.loads(done.stdout)["tiers"]}


@pytest.mark.usefixtures("commands")
@pytest.mark.timeout(600)
async def test_every_block_is_found_again_and_comes_up_bit_for_bit(nats_server, instance, tmp_path):
    folder, url = tmp_path / "tiers", nats_server.url
    folder.mkdir()
    service = await ServiceProcess(url, instance, tiers=PLAN, workers=1).start()
    with FilledWorker(url, instance, folder) as worker:
        await asyncio.to_thread(worker.wait_ready)
        async with await Publisher.connect(url, instance) as kv:
            await store_all(kv)
            before = registered(await kv.status())
            assert before["g3"] == BLOCKS
            assert before["g2"] > BLOCKS // 10
        await service.kill()
        nats_server.kill()
    nats_server.start()
    assert await asyncio.to_thread(fsck, url, instance, folder) == (0, {"g1": 0, "g2": before["g2"], "g3": BLOCKS})
    service = await ServiceProcess(url, instance, tiers=PLAN, workers=1).start()
    with FilledWorker(url, instance, folder) as worker:
        await asyncio.to_thread(worker.wait_ready)
        async with await Publisher.connect(url, instance) as kv:
            found = dict.fromkeys(before, 0)
            for number, keys in enumerate(PROMPTS):
                for hit in (await kv.match(f"look{number}", keys, hold=False)).hits:
                    found[hit.tier] += len(hit.slots)
            assert registered(await kv.status()) == {**before, "g1": 0}, "device memory is new, and nothing else"
            assert sum(found.values()) == BLOCKS, "100 % are found"
            assert found["g2"] == before["g2"], "host memory was kept"
            for number, keys in enumerate(PROMPTS):
                async with kv.request(f"up{number}") as request:
                    answer = await kv.match(request, keys, onboard=True, wait_s=30)
                    assert [(hit.tier, len(hit.slots)) for hit in answer.hits] == [("g1", PROMPT)], answer.note
            await asyncio.to_thread(worker.wait_checked, BLOCKS)
            assert worker.checked == (BLOCKS, 0)
        await service.kill()
