"""`kvbm status` beside a real service: tables for people, the very answer for machines, and trouble by name."""

import json

import pytest

from kvbm_nats.publisher import Publisher
from support.chained_keys import prefix
from support.service import ServiceProcess

KEYS = prefix(range(6))


@pytest.fixture
async def service(nats_url, instance):
    service = await ServiceProcess(nats_url, instance, tiers="g1=64,g2=256:priority/60").start()
    yield service
    assert await service.terminate() == 0


async def store(nats_url, instance, priority):
    async with await Publisher.connect(nats_url, instance) as kv:
        slots = await kv.allocate("r", 6, priority=priority)
        await kv.register("r", slots, KEYS)
        await kv.release("r")
        while (await kv.status()).transfers:
            pass


@pytest.mark.usefixtures("service")
async def test_a_person_sees_tiers_and_paths(kvbm, nats_url, instance):
    await store(nats_url, instance, priority=40)
    done = kvbm("status", "--nats-url", nats_url, "--instance", instance, "--digest")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0].startswith(f"{instance}: epoch 1, event ")
    assert any(line.startswith("digest ") for line in lines)
    assert "g1 64 58 0 6 0 0 0" in lines
    assert "policy: lineage-lru" in lines
    assert "g1 to g2 0/16,384 0/16 0/256 0 0 0 6 priority" in lines


@pytest.mark.usefixtures("service")
async def test_a_machine_gets_the_answer_as_it_is(kvbm, nats_url, instance):
    await store(nats_url, instance, priority=60)
    done = kvbm("status", "--nats-url", nats_url, "--instance", instance, "--json")
    answer = json.loads(done.stdout)
    assert (answer["instance"], answer["requests"]) == (instance, 0)
    (path,) = answer["paths"]
    assert (path["started"], path["waiting"], path["refused"]) == (6, 0, {})


@pytest.mark.parametrize("command", ["status", "tail", "state", "replay", "fsck --folder ."])
def test_without_a_server_there_is_one_error_and_it_is_ours(kvbm, command):
    done = kvbm(*command.split(), "--nats-url", "nats://127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, "")
    what, why, hint = done.stderr.splitlines()
    assert what == "kvbm: no NATS server answers at nats://127.0.0.1:1"
    assert "Connect call failed" in why
    assert hint.startswith("Try: ")


def test_where_nobody_answers_it_says_what_to_do(kvbm, nats_url, instance):
    done = kvbm("status", "--nats-url", nats_url, "--instance", instance)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"kvbm serve --instance {instance}" in done.stderr
