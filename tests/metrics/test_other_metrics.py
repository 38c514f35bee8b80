"""`/metrics` of the projector, the memory host and `kvbm dev`; and of ports that cannot be had."""

import asyncio
import json
import signal
import socket

import pytest

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.metrics import MetricsPlace, catalog, exposed, exposed_on_loop
from kvbm_nats.publisher import Publisher
from support.chained_keys import prefix
from support.memory_hosts import MemoryProcess
from support.metrics import ANY_PORT, scrape, url_of
from support.service import Command, ServiceProcess

pytestmark = pytest.mark.usefixtures("commands")
KEYS = prefix(range(4))


async def caught_up(url):
    async with asyncio.timeout(30):
        while (told := await scrape(url)).value("kvbm_projector_lag_events"):
            pass
        return told


async def test_a_projector_tells_how_far_it_is_behind(nats_server, instance, tmp_path):
    url = nats_server.url
    service = await ServiceProcess(url, instance).start()
    into = f"--into={tmp_path / 'p.db'}"
    projector = await Command("project", "--nats-url", url, into, ANY_PORT).start('"event": "metrics"')
    async with await Publisher.connect(url, instance) as kv:
        await kv.register("a", await kv.allocate("a", 4), KEYS)
        told = await caught_up(url_of(projector.said))
        assert told.value("kvbm_projector_applied_events_total") >= 3
        assert told.value("kvbm_projector_lag_seconds") == 0
        projector._process.send_signal(signal.SIGSTOP)
        await kv.match("b", KEYS)
        projector._process.send_signal(signal.SIGCONT)
        assert (await caught_up(url_of(projector.said))).value("kvbm_projector_applied_events_total") >= 4
    assert [await each.terminate() for each in (projector, service)] == [0, 0]


@pytest.mark.nixl
async def test_a_memory_host_tells_who_has_it_and_what_it_sent(nats_url, tmp_path):
    with MemoryProcess(nats_url, tmp_path, capacity=4, environment={"KVBM_METRICS_PORT": "0"}) as host:
        url = url_of(line for line in host.said if line.startswith("{"))
        assert (await scrape(url)).value("kvbm_memory_held", name=host.name) == 0
        memory = await asyncio.to_thread(host.open)
        try:
            told = await scrape(url)
            assert told.value("kvbm_memory_held", name=host.name) == 1
            assert told.value("kvbm_memory_pushed_bytes_total", name=host.name) == 0
        finally:
            await asyncio.to_thread(memory.close)
        assert (await scrape(url)).value("kvbm_memory_held", name=host.name) == 0


async def test_dev_tells_of_all_its_parts_and_where(tmp_path):
    dev = await Command("dev", "--folder", str(tmp_path / "dev"), "--port=0", "--speed=500").start('"event": "metrics"')
    url = url_of(dev.said)
    async with asyncio.timeout(60):
        while not (told := await scrape(url)).names >= {"kvbm_worker_moved_bytes_total", "kvbm_projector_lag_events"}:
            pass
        while not told.value("kvbm_projector_applied_events_total"):
            told = await scrape(url)
    assert told.value("kvbm_lookups_total", instance="demo") > 0
    assert told.value("kvbm_worker_moved_bytes_total", instance="demo", rank="0") > 0
    assert await dev.terminate() == 0


async def test_a_port_that_is_taken_is_told_with_what_to_do(nats_url, instance):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = await ServiceProcess(nats_url, instance, f"--metrics-port={port}").start("kvbm: ")
        assert await service.exited() == 2
    assert f"metrics cannot be had at 127.0.0.1:{port}" in "".join(service.said)
    assert "--metrics-port, or 0" in "".join(service.said)


async def test_a_port_that_cannot_be_is_refused(nats_url, instance):
    service = await ServiceProcess(nats_url, instance, "--metrics-port=70000").start("a port is 0 to 65535")
    assert await service.exited() == 2


def test_a_host_that_is_not_here_is_refused():
    with pytest.raises(InvalidCommand, match="metrics cannot be had"), exposed(MetricsPlace("192.0.2.1", 0), print):
        pass


async def test_what_cannot_be_measured_is_left_out_and_said(capsys):
    async def measure(families):
        families.add(catalog.EPOCH, 7, "i")
        raise TimeoutError("the owner waits for its log")

    async with exposed_on_loop(MetricsPlace("127.0.0.1", 0), measure) as url:
        told = await scrape(url)
        assert told.names == {"kvbm_epoch"}
    assert "metrics are incomplete" in "".join(capsys.readouterr())


async def test_many_who_ask_are_answered_one_at_a_time():
    busy, most = 0, 0

    async def measure(families):
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        busy -= 1
        families.add(catalog.EPOCH, 1, "i")

    async with exposed_on_loop(MetricsPlace("127.0.0.1", 0), measure) as url:
        answers = await asyncio.gather(*(scrape(url) for _ in range(8)))
    assert [answer.value("kvbm_epoch") for answer in answers] == [1] * 8
    assert most == 1


async def test_without_a_port_nothing_listens():
    async with exposed_on_loop(None, json.loads) as url:
        assert url == ""
