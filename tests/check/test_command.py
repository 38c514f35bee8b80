"""`kvbm check` beside real owners: exit codes of a monitoring plug-in, and three formats."""

import asyncio
import json

import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kvbm_events.schema import TierSpec
from kvbm_nats import BlockManager
from kvbm_nats.cli.schemas import schemas
from kvbm_nats.nats_server import NatsServer
from kvbm_nats.projection import Projector
from kvbm_nats.publisher import Publisher
from support.chained_keys import prefix
from support.nats import free_port
from support.neighbour import write_objects
from support.service import ServiceProcess, WorkerCommand

pytestmark = pytest.mark.usefixtures("commands")
SCHEMA = schemas()["check"]


async def test_an_instance_that_is_well(check, nats_url, instance):
    service = await ServiceProcess(nats_url, instance, workers=1).start()
    worker = await WorkerCommand(nats_url, instance).start()
    done = await check()
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first.startswith(f"KVBM OK - {instance}: 8 checks are as they should be | owner=")
    assert "'quarantine g1'=0;1;256" in first
    assert [line.split("]")[0] for line in lines] == ["[ok"] * 8
    assert "[ok] workers: 1 heard" in lines
    assert [await each.terminate() for each in (worker, service)] == [0, 0]


async def test_a_tier_that_is_full_of_what_is_held_is_critical(check, nats_url, instance):
    service = await ServiceProcess(nats_url, instance).start()
    async with await Publisher.connect(nats_url, instance) as kv:
        await kv.allocate("a", 64)
        done = await check()
        assert done.returncode == 2
        assert "tiers: g1 is 100% full and nothing in it can be evicted" in done.stdout.splitlines()[0]
        assert (await check("--full", "1.1", "1.2")).returncode == 0
    assert await service.terminate() == 0


async def test_a_worker_that_is_killed_is_a_warning_and_then_critical(check, nats_url, instance):
    service = await ServiceProcess(nats_url, instance, workers=1).start()
    done = await check()
    assert (done.returncode, "rank 0 never came" in done.stdout) == (2, True)
    worker = await WorkerCommand(nats_url, instance).start()
    await worker.kill()
    done = await check("--silent-s", "0", "3600")
    assert (done.returncode, "workers: rank 0 is silent for" in done.stdout) == (1, True)
    assert (await check("--silent-s", "0", "0")).returncode == 2
    assert await service.terminate() == 0


async def test_a_peer_whose_blocks_are_not_found_is_a_warning(check, nats_url, instance):
    peer = f"{instance}-peer"
    service = await ServiceProcess(nats_url, instance, f"--peers={peer}", workers=1, tiers="g1=64,g4=64").start()
    worker = await WorkerCommand(nats_url, instance, tiers="g1=64,g4=64").start()
    async with await Publisher.connect(nats_url, instance) as kv, asyncio.timeout(30):
        while not (await kv.status()).peers:
            pass
        done = await check()
        assert (done.returncode, f"peers: {peer}: has no log" in done.stdout.splitlines()[0]) == (1, True)
        await asyncio.to_thread(write_objects, nats_url, peer, prefix(range(3)))
        while not (await kv.status()).peers[0].is_current:
            pass
    done = await check()
    assert (done.returncode, "[ok] peers: 1 read in time" in done.stdout) == (0, True)
    assert [await each.terminate() for each in (worker, service)] == [0, 0]


async def test_an_owner_that_is_gone_is_critical(check, nats_url, instance):
    service = await ServiceProcess(nats_url, instance).start()
    await service.kill()
    done = await check()
    assert (done.returncode, "owner: nobody answers for the instance" in done.stdout) == (2, True)


async def test_an_instance_that_never_was_is_critical(check, instance, nats_url):
    other = await ServiceProcess(nats_url, f"{instance}-other").start()
    done = await check()
    assert (done.returncode, f"{instance}-other" in done.stdout.splitlines()[0]) == (2, True)
    assert await other.terminate() == 0


async def test_an_owner_in_an_engine_is_known_to_live(check, nats_url, instance):
    tiers = [TierSpec(tier="g1", capacity=8)]
    owner = await asyncio.to_thread(BlockManager.open, nats_url, instance, namespace="n=1", tiers=tiers)
    done = await check()
    await asyncio.to_thread(owner.close)
    assert (done.returncode, "[ok] owner: alive, in an engine" in done.stdout) == (0, True)


async def test_a_server_that_is_not_there_and_one_without_a_log_are_critical(check, tmp_path):
    done = await check("--timeout-s", "3", url=f"nats://127.0.0.1:{free_port()}")
    assert (done.returncode, "nats: no NATS server answers" in done.stdout) == (2, True)
    with NatsServer(tmp_path / "server") as server:
        done = await check(url=server.url)
        assert (done.returncode, "there is no stream KVBM" in done.stdout) == (2, True)
        assert (await check(url=server.url)).stdout == done.stdout, "a check makes nothing"


async def test_a_projection_that_is_behind(check, nats_url, instance, jetstream_log, tmp_path):
    service = await ServiceProcess(nats_url, instance).start()
    where = str(tmp_path / "p.db")
    missing = await check("--projection", where)
    assert (missing.returncode, "[critical] projection:" in missing.stdout) == (2, True)
    await Projector(jetstream_log, where).run(await jetstream_log.last_seq())
    assert "projection: at the end of the log" in (await check("--projection", where)).stdout
    async with await Publisher.connect(nats_url, instance) as kv:
        await kv.match("a", prefix(range(3)))
    behind = await check("--projection", where, "--lag-s", "0", "3600")
    assert (behind.returncode, "projection: 1 events behind" in behind.stdout) == (1, True)
    assert await service.terminate() == 0


async def test_json_is_as_its_schema_says(check, nats_url, instance):
    service = await ServiceProcess(nats_url, instance).start()
    well = json.loads((await check("--format", "json")).stdout)
    assert await service.terminate() == 0
    gone = await check("--format", "json")
    for answer in (well, json.loads(gone.stdout)):
        jsonschema.Draft202012Validator(SCHEMA).validate(answer)
    assert (well["level"], json.loads(gone.stdout)["level"], gone.returncode) == ("ok", "critical", 2)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate({**well, "level": "fine"})


async def test_prometheus_reads_its_text_file(check, nats_url, instance):
    service = await ServiceProcess(nats_url, instance).start()
    done = await check("--format", "prometheus", "--unwritten", "0", "9")
    assert await service.terminate() == 0
    assert done.returncode == 1
    levels, values = text_string_to_metric_families(done.stdout)
    assert {sample.labels["check"]: sample.value for sample in levels.samples}["unwritten"] == 1
    assert {sample.labels["instance"] for sample in values.samples} == {instance}


@pytest.mark.parametrize(
    "options", [["--full", "3"], ["--full", "0.9", "0.1"], ["--format", "xml"], ["--timeout-s", "0"], ["--nonsense"]]
)
async def test_a_wrong_command_line_is_unknown(check, options):
    done = await check(*options)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("kvbm: ")
