"""`/metrics` of the real service and worker over a real server: figures that a client can work out itself, after restarts too."""

import asyncio

import pytest

from kvbm_nats.publisher import Publisher
from support.chained_keys import prefix
from support.metrics import ANY_PORT, scrape, url_of
from support.nats import frozen
from support.neighbour import write_objects
from support.service import ServiceProcess, WorkerCommand

pytestmark = pytest.mark.usefixtures("commands")
KEYS = prefix(range(6))
BLOCK_BYTES = 64


async def store(kv, request, keys):
    slots = await kv.allocate(request, len(keys))
    await kv.register(request, slots, keys)
    await kv.release(request)


async def over(kv):
    async with asyncio.timeout(30):
        while (await kv.status()).transfers:  # each answer comes with a turn of the owner's
            pass


async def until(url, reached):
    """Ask until it is so; what was answered then."""
    async with asyncio.timeout(30):
        while not reached(answer := await scrape(url)):
            pass
        return answer


async def stored(url):
    """What is answered when the log has all: what it counts comes behind the owner's answers."""
    return await until(url, lambda answer: not answer.value("kvbm_log_pending_events"))


async def test_a_service_and_its_worker_tell_what_a_client_did(nats_url, instance):
    service = await ServiceProcess(nats_url, instance, ANY_PORT, workers=1).start()
    worker = await WorkerCommand(nats_url, instance, ANY_PORT).start()
    async with await Publisher.connect(nats_url, instance) as kv:
        await kv.match("a", KEYS)
        await store(kv, "a", KEYS)
        await over(kv)
        await kv.evict(KEYS[4:], tier="g1")
        await kv.match("b", [*KEYS, *prefix([9])])
        status = await kv.status()
    told = await stored(url_of(service.said))
    for result, count in {"miss": 1, "partial": 1, "hit": 0}.items():
        assert told.value("kvbm_lookups_total", instance=instance, result=result) == count
    assert told.value("kvbm_asked_blocks_total") == 13
    assert told.value("kvbm_found_blocks_total", tier="g1") == 4
    assert told.value("kvbm_found_blocks_total", tier="g2") == 2
    assert told.value("kvbm_evicted_blocks_total", tier="g1", reason="operator") == 2
    assert told.value("kvbm_transfers_total", source="g1", target="g2", outcome="completed") == 1
    assert told.value("kvbm_transfer_duration_seconds_count", source="g1", target="g2") == 1
    assert told.value("kvbm_moved_bytes_total", source="g1", target="g2") == 6 * BLOCK_BYTES
    assert told.value("kvbm_waiting_blocks") == told.value("kvbm_in_flight_blocks") == 0
    for tier in status.tiers:
        for state in ("free", "allocated", "registered", "condemned", "quarantined"):
            assert told.value("kvbm_slots", tier=tier.tier, state=state) == getattr(tier, state)
    assert told.value("kvbm_requests") == 1
    assert told.value("kvbm_epoch") == 1
    assert told.value("kvbm_log_acknowledged_event") == status.n
    assert told.value("kvbm_log_pending_events") == 0
    assert told.value("kvbm_log_append_duration_seconds_count") >= 1
    assert 0 <= told.value("kvbm_worker_heartbeat_age_seconds", rank="0", seen_by="owner") < 30

    of_worker = await scrape(url_of(worker.said))
    assert of_worker.value("kvbm_worker_moved_bytes_total", rank="0", source="g1", target="g2") == 6 * BLOCK_BYTES
    assert of_worker.value("kvbm_worker_checksum_mismatches_total", tier="g1") == 0
    assert 0 <= of_worker.value("kvbm_worker_heartbeat_age_seconds", seen_by="worker") < 30
    assert not told.names & {"kvbm_worker_moved_bytes_total"}
    assert not any("peer" in name for name in told.names)
    assert [await each.terminate() for each in (worker, service)] == [0, 0]


async def test_after_a_restart_counters_begin_anew_and_gauges_are_right(nats_url, instance):
    service = await ServiceProcess(nats_url, instance, ANY_PORT).start()
    async with await Publisher.connect(nats_url, instance) as kv:
        await kv.match("a", KEYS)
        await store(kv, "a", KEYS)
        await over(kv)
    await service.kill()
    service = await ServiceProcess(nats_url, instance, ANY_PORT).start()
    told = await scrape(url_of(service.said))
    assert told.value("kvbm_epoch") == 2
    assert told.value("kvbm_asked_blocks_total") == 0
    assert "kvbm_moved_bytes_total" not in told.names
    assert told.value("kvbm_slots", tier="g1", state="registered") == 6
    assert told.value("kvbm_slots", tier="g1", state="free") == 58
    async with await Publisher.connect(nats_url, instance) as kv:
        assert sum(len(hit.slots) for hit in (await kv.match("b", KEYS)).hits) == 6
    told = await stored(url_of(service.said))
    assert told.value("kvbm_lookups_total", result="hit") == 1
    assert told.value("kvbm_found_blocks_total", tier="g1") == 6
    assert await service.terminate() == 0


async def test_a_corrupt_block_is_a_mismatch_at_the_worker_and_a_failure_at_the_owner(nats_url, instance, tmp_path):
    memory = f"--folder={tmp_path}", "--layout=tiny"
    service = await ServiceProcess(nats_url, instance, ANY_PORT, workers=1).start()
    worker = await WorkerCommand(nats_url, instance, *memory).start()
    async with await Publisher.connect(nats_url, instance) as kv:
        await store(kv, "a", KEYS)
        await over(kv)
        assert await worker.terminate() == 0
        path = tmp_path / "g2.arena"
        path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))
        worker = await WorkerCommand(nats_url, instance, *memory, ANY_PORT).start()
        await kv.match("c", KEYS, onboard=True, wait_s=20)
    of_worker, told = await scrape(url_of(worker.said)), await stored(url_of(service.said))
    assert of_worker.value("kvbm_worker_checksum_mismatches_total", rank="0", tier="g2") == 6
    assert told.value("kvbm_failed_blocks_total", source="g2", target="g1", reason="corrupt") == 6
    assert told.value("kvbm_transfers_total", source="g2", target="g1", outcome="failed") == 1
    assert told.value("kvbm_evicted_blocks_total", tier="g2", reason="corrupt") == 6
    assert [await each.terminate() for each in (worker, service)] == [0, 0]


async def test_a_lost_workers_slots_are_in_quarantine_and_its_silence_grows(nats_url, instance, tmp_path):
    config = tmp_path / "serve.toml"
    config.write_text(
        f'url = "{nats_url}"\n[[instances]]\nname = "{instance}"\nnamespace = "model=m;page=16"\n'
        'tiers = "g1=64,g2=256"\nworkers = 1\ndead_after_s = 0.5\n'
    )
    service = await ServiceProcess(nats_url, instance, ANY_PORT, f"--config={config}").start()
    worker = await WorkerCommand(nats_url, instance).start()
    await worker.kill()
    async with await Publisher.connect(nats_url, instance) as kv:
        await store(kv, "a", KEYS)
    url = url_of(service.said)
    told = await until(  # the log's thread counts, the owner says what it holds: one may be ahead in an answer
        url,
        lambda answer: (
            "kvbm_failed_blocks_total" in answer.names
            and answer.value("kvbm_slots", tier="g2", state="quarantined") == 6
        ),
    )
    assert told.value("kvbm_failed_blocks_total", source="g1", target="g2", reason="worker_lost") == 6
    assert told.value("kvbm_worker_heartbeat_age_seconds", rank="0", seen_by="owner") >= 0.5
    assert await service.terminate() == 0


async def test_of_peers_it_tells_what_is_known_and_what_was_found_at_them(nats_url, instance):
    peer, none = f"{instance}-peer", f"{instance}-none"
    await asyncio.to_thread(write_objects, nats_url, peer, KEYS)
    more = ANY_PORT, f"--peers={peer},{none}"
    service = await ServiceProcess(nats_url, instance, *more, workers=1, tiers="g1=64,g4=64").start()
    url = url_of(service.said)
    told = await until(
        url,
        lambda answer: "kvbm_peer_current" in answer.names and answer.value("kvbm_peer_current", peer=peer),
    )
    assert told.value("kvbm_peer_current", peer=none) == 0
    assert told.value("kvbm_peer_blocks", peer=peer, state="known") == 6
    assert told.value("kvbm_peer_blocks", peer=peer, state="passed_over") == 0
    assert "kvbm_noted_blocks_total" not in told.names
    async with await Publisher.connect(nats_url, instance) as kv:
        await kv.match("a", KEYS[:4])
    told = await stored(url)
    assert told.value("kvbm_noted_blocks_total", instance=instance, peer=peer) == 4
    assert await service.terminate() == 0


async def test_while_the_log_stands_still_its_own_figures_come(nats_server, instance):
    service = await ServiceProcess(nats_server.url, instance, ANY_PORT).start()
    url = url_of(service.said)
    async with await Publisher.connect(nats_server.url, instance) as kv:
        await store(kv, "a", KEYS)
    before = await scrape(url)
    with frozen(nats_server):
        told = await scrape(url)
        assert told.value("kvbm_log_acknowledged_event") == before.value("kvbm_log_acknowledged_event")
        assert told.value("kvbm_asked_blocks_total") == 0
    assert await service.terminate() == 0
