"""`kvbm status` beside a real service: tables for people, the very answer for machines, and trouble by name."""

import asyncio
import json

import pytest

from kvbm_nats.publisher import Publisher
from support.chained_keys import prefix
from support.neighbour import write_objects
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


async def test_peers_are_told_one_by_one_with_what_is_wrong(kvbm, nats_url, instance):
    like, unlike = f"{instance}-like", f"{instance}-unlike"
    await asyncio.to_thread(write_objects, nats_url, like, KEYS)
    await asyncio.to_thread(write_objects, nats_url, unlike, KEYS, namespace="n=2")
    more = f"--peers={instance}-*,{instance}-none"
    service = await ServiceProcess(nats_url, instance, more, workers=1, tiers="g1=64,g4=64").start()
    async with await Publisher.connect(nats_url, instance) as kv, asyncio.timeout(30):
        while sum(peer.is_current for peer in (await kv.status()).peers) < 2:
            pass
    done = kvbm("status", "--nats-url", nats_url, "--instance", instance)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    answer = json.loads(kvbm("status", "--nats-url", nats_url, "--instance", instance, "--json").stdout)
    assert await service.terminate() == 0
    peers = {peer["name"]: peer for peer in answer["peers"]}
    assert f"{like} 6 0 {peers[like]['seq']:,} current" in lines
    assert f"{unlike} 0 0 {peers[unlike]['seq']:,} another namespace: n=2" in lines
    assert f"{instance}-none 0 0 0 has no log" in lines
    assert {name for name, peer in peers.items() if peer["is_named"]} == {f"{instance}-none"}
    assert peers[like]["seq"] == peers[like]["end_seq"] > 0


@pytest.mark.usefixtures("service")
async def test_where_there_are_no_peers_there_is_no_table_of_them(kvbm, nats_url, instance):
    assert "peer" not in kvbm("status", "--nats-url", nats_url, "--instance", instance).stdout


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
