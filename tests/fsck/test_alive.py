"""Checks of instances that live: nothing is said to be corrupt that only changed, and nobody is fenced by a repair."""

import asyncio
import threading
from itertools import count

import pytest

from fsck.conftest import LAYOUT, PROMPTS, tier_of
from kvbm_events.jetstream import JetStreamLog
from kvbm_nats.fsck import open_check
from kvbm_nats.publisher import Publisher
from kvbm_tiers import in_folder
from support.chained_keys import prefix
from support.service import Command, ServiceProcess, WorkerCommand

KEYS = prefix(range(6))


def churn(site, ready, over):
    """New prompts that push the ones before out of every tier, but for one that is held in g2, until it is over."""
    with site.owner() as owner:
        owner.match("holder", PROMPTS[0])
        for number in count(10):
            site.store(owner, prefix([number] * 8))
            ready.set()
            if over.is_set():
                return


async def test_blocks_that_come_and_go_while_they_are_read_are_not_called_corrupt(site):
    ready, over = threading.Event(), threading.Event()
    traffic = asyncio.create_task(asyncio.to_thread(churn, site, ready, over))
    assert await asyncio.to_thread(ready.wait, 30)
    log = await JetStreamLog.connect(site.url)
    changed = proven = 0
    try:
        for _ in range(8):
            check = await open_check(log, site.instance, [in_folder(site.folder)], threads=2)
            await asyncio.sleep(0.3)  # the longer ago the log was read, the more has changed
            report = await check.run(lambda _blocks: None)
            for tier in report.tiers:
                assert (tier.corrupt, tier.holes, tier.blocks) == (0, 0, [])
                changed, proven = changed + tier.changed, proven + tier.proven
    finally:
        over.set()
        await traffic
        await log.close()
    assert changed, "nothing came and went: the test has tested nothing"
    assert proven >= 8 * len(PROMPTS[0])


async def test_an_owner_that_is_no_service_is_not_fenced(site):
    with site.owner() as owner:
        site.damage("g3.slab", 2)
        code, report, complaint = await asyncio.to_thread(site.fsck, "--repair")
        assert (code, report) == (2, None)
        assert "has an owner that cannot be asked" in complaint
        owner.match("r", KEYS)
        owner.flush()
        assert owner.status().tiers[2].registered == 20
    assert site.fsck("--repair")[0] == 1
    assert site.fsck()[0] == 0


@pytest.fixture
async def commands():
    yield
    for command in list(Command.alive):
        await command.kill()


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize("ranks", [1, 2])
async def test_a_service_is_asked_to_evict_what_its_workers_files_have_lost(nats_url, instance, tmp_path, site, ranks):
    site.instance = instance = f"{instance}-served"
    folders = [tmp_path / f"rank{rank}" for rank in range(ranks)]
    service = await ServiceProcess(nats_url, instance, workers=ranks).start()
    workers = [
        await WorkerCommand(
            nats_url, instance, f"--rank={rank}", f"--ranks={ranks}", f"--folder={folder}", "--layout=tiny"
        ).start()
        for rank, folder in enumerate(folders)
    ]
    where = [f"--folder={folder}" for folder in folders]
    async with await Publisher.connect(nats_url, instance) as kv:
        slots = await kv.allocate("a", len(KEYS))
        await kv.register("a", slots, KEYS)
        await kv.release("a")
        while (await kv.status()).transfers:  # each answer comes with a turn of the owner's
            pass
        code, report, _ = await asyncio.to_thread(site.fsck, *where, folder=False)
        assert (code, tier_of(report, "g2")["proven"]) == (0, 6)
        site.folder = folders[-1]
        site.damage("g2.arena", 5)
        code, report, _ = await asyncio.to_thread(site.fsck, "--repair", *where, folder=False)
        assert (code, [block["slot"] for block in tier_of(report, "g2")["blocks"]]) == (1, [5])
        assert tier_of(report, "g2")["size_bytes"] == 6 * ranks * LAYOUT.slot_bytes
        assert report["repaired"] == {"g2": 1}
        status = await kv.status()
        assert (status.epoch, status.tiers[1].registered) == (1, 5)
        code, report, _ = await asyncio.to_thread(site.fsck, *where, folder=False)
        assert (code, tier_of(report, "g2")["proven"]) == (0, 5)
    assert [await worker.terminate() for worker in workers] == [0] * ranks
    assert await service.terminate() == 0
