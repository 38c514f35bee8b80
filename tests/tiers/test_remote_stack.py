"""A plan whose g3 is another host's memory: as a stack, and in the commands that users start."""

import asyncio
import json
import subprocess
import sys

import pytest

from kvbm_events.schema import TierSpec
from kvbm_events.schema.errors import InvalidCommand, NamespaceMismatch
from kvbm_nats.publisher import Publisher
from kvbm_tiers import Stack, in_folder, parse_media, preset
from kvbm_tiers.remote import NixlUcxMover
from support.chained_keys import prefix
from support.memory_hosts import MemoryProcess
from support.service import NAMESPACE, Command, ServiceProcess, WorkerCommand

pytestmark = pytest.mark.nixl
PLAN = [TierSpec(tier="g1", capacity=4), TierSpec(tier="g2", capacity=8), TierSpec(tier="g3", capacity=16)]


@pytest.fixture
def host(nats_url, tmp_path):
    with MemoryProcess(nats_url, tmp_path / "host", capacity=16) as host:
        yield host


def open_stack(host, folder, namespace="m=1", **more):
    media = in_folder(folder) | parse_media([f"g3=ucx://{host.name}?dead_after_s=1"])
    return Stack(PLAN, preset("tiny"), namespace, media, nats_url=host.url, **more)


def test_a_stack_with_remote_memory_finds_its_blocks_again(host, tmp_path):
    with open_stack(host, tmp_path) as stack:
        assert stack.kept == []
        assert isinstance(stack.mover._mover._by_path["g1", "g3"], NixlUcxMover)
    with open_stack(host, tmp_path) as stack:
        assert stack.kept == ["g2", "g3"]
    with open_stack(host, tmp_path, reset=True) as stack:
        assert stack.kept == []
    with pytest.raises(NamespaceMismatch, match="namespace"):
        open_stack(host, tmp_path / "third", namespace="m=2")


@pytest.mark.parametrize(
    ("store", "nats_url", "why"),
    [
        ("g3=ucx:", "nats://nowhere", "it names no memory host"),
        ("g3=ucx://m/path", "nats://nowhere", "it names no memory host"),
        ("g3=ucx://m", "", "no server is named"),
        ("g3=ucx://m?speed=9", "nats://nowhere", "ucx has no option speed"),
        ("g3=ucx://m?dead_after_s=soon", "nats://nowhere", "dead_after_s"),
    ],
)
def test_what_names_no_memory_host_is_refused(store, nats_url, why):
    plan = [TierSpec(tier="g3", capacity=4)]
    with pytest.raises(InvalidCommand, match=why):
        Stack(plan, preset("tiny"), "n=1", parse_media([store]), nats_url=nats_url)


def kvbm(*words):
    command = [sys.executable, "-m", "kvbm_nats.cli", *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_trace_runs_over_remote_memory_and_the_next_run_finds_its_blocks(nats_url, instance, tmp_path):
    trace = tmp_path / "few.jsonl"
    kvbm("trace", "make", trace, "--requests", 30)
    namespace = "trace=few.jsonl;block_tokens=64;layout=tiny"
    with MemoryProcess(nats_url, tmp_path, capacity=8192, namespace=namespace) as host:
        words = "--tiers", "g1=1024,g2=1536,g3=8192", "--store", f"g3=ucx://{host.name}", "--nats-url", nats_url
        words = (*words, "--instance", instance, "--folder", tmp_path / "run", "--json")
        first, second = (json.loads(kvbm("trace", "run", trace, *words)) for _ in range(2))
    for outcome in (first, second):
        assert outcome["integrity"] == []
        assert outcome["traffic"]["g3-g1"]["blocks"] > 0
        assert outcome["traffic"]["g3-g1"]["failed"] == 0
        assert outcome["verified"] >= outcome["traffic"]["g3-g1"]["blocks"]
    assert second["found"]["g3"] > first["found"]["g3"]


@pytest.fixture
async def commands():
    """Commands that a failed test left behind are ended here."""
    yield
    for command in list(Command.alive):
        await command.kill()


async def test_a_worker_with_remote_memory_outlives_its_host(nats_url, instance, tmp_path, commands):  # noqa: ARG001 - their end
    keys = [prefix([name, *range(5)]) for name in range(3)]
    with MemoryProcess(nats_url, tmp_path, capacity=256, namespace=NAMESPACE) as host:
        service = await ServiceProcess(nats_url, instance, workers=1).start()
        store = "--layout=tiny", f"--store=g2=ucx://{host.name}?dead_after_s=1"
        worker = await WorkerCommand(nats_url, instance, *store).start()
        async with await Publisher.connect(nats_url, instance) as kv:
            assert await go_down_and_up(kv, keys[0]) == 6
            await worker.kill()
            worker = await WorkerCommand(nats_url, instance, *store).start()
            assert await go_down_and_up(kv, keys[0]) == 6
            await asyncio.to_thread(host.kill)
            assert await go_down_and_up(kv, keys[1]) == 0
            await asyncio.to_thread(host.start)
            async with asyncio.timeout(60):
                while await go_down_and_up(kv, keys[2]) < 6:  # until the worker has reached its host again
                    pass
            assert await go_down_and_up(kv, keys[0]) == 6
        assert [await worker.terminate(), await service.terminate()] == [0, 0]


async def go_down_and_up(kv, keys):
    """Have blocks in g1, push them out when they are down, and look them up; how many came up."""
    if not (await kv.match("look", keys)).hits:
        slots = await kv.allocate("fill", len(keys))
        await kv.register("fill", slots, keys)
        await kv.release("fill")
    await kv.release("look")
    while (await kv.status()).transfers:  # each answer comes with a turn of the owner's
        pass
    await kv.evict(keys, tier="g1")
    answer = await kv.match("up", keys, onboard=True, wait_s=20)
    await kv.release("up")
    return sum(len(hit.slots) for hit in answer.hits if hit.tier == "g1")
