"""`kvbm stat` beside real owners: what it counts is what they did, and an outage is told and gone over."""

from collections import Counter

import jsonschema
import pytest

from kvbm_nats.cli.schemas import schemas
from kvbm_nats.manager import BlockManager
from kvbm_nats.plan import parse_plan
from kvbm_nats.publisher import Publisher
from support.chained_keys import prefix
from support.lines import lines_of
from support.service import ServiceProcess

NAMESPACE = "model=m;block_tokens=16"


@pytest.fixture
async def service(nats_url, instance):
    service = await ServiceProcess(nats_url, instance, tiers="g1=64,g2=256").start()
    yield service
    assert await service.terminate() == 0


async def serve(kv, request, keys):
    found = sum(len(hit.slots) for hit in (await kv.match(request, keys)).hits)
    if found < len(keys):
        slots = await kv.allocate(request, len(keys) - found)
        await kv.register(request, slots, keys[found:], parent=keys[found - 1] if found else "")
    await kv.release(request)


async def until(lines, reached):
    """Lines up to the first at which all until then come to what is wanted; their samples."""
    samples = []
    while not reached(samples):
        samples.append(await lines.next_json())
    return samples


def total(samples, field):
    return sum((Counter(sample[field]) for sample in samples), Counter())


@pytest.mark.usefixtures("service")
async def test_what_an_owner_does_is_counted_once_and_as_the_schema_says(nats_url, instance):
    async with lines_of(
        "stat", "--json", "--interval-s", "0.2", "--nats-url", nats_url, "--instance", instance
    ) as lines:
        first = await lines.next_json()
        async with await Publisher.connect(nats_url, instance) as kv:
            await serve(kv, "a", prefix(range(40)))
            await serve(kv, "b", prefix(range(50)))
            await serve(kv, "c", prefix(range(100, 150)))
        samples = await until(
            lines,
            lambda samples: (
                samples
                and [samples[-1][name] for name in ("lag", "waiting", "in_flight", "unstored")] == [0, 0, 0, 0]
                and total(samples, "evicted")["capacity"] >= 36
                and sum(path["blocks"] for sample in samples for path in sample["paths"]) >= 100
            ),
        )
        assert await lines.interrupt() == 130
    for sample in (first, *samples):
        jsonschema.validate(sample, schemas()["stat"])
    assert sum(sample["asked"] for sample in samples) == 140
    assert total(samples, "found") == {"g1": 40}
    assert sum(sample["look_ups"] for sample in samples) == 3
    came = sum(sample["tiers"].get("g1", {"came": 0})["came"] for sample in samples)
    assert came == 100
    down = [path for sample in samples for path in sample["paths"]]
    assert {(path["source"], path["tier"]) for path in down} == {("g1", "g2")}
    assert sum(path["blocks"] for path in down) == 100
    assert samples[-1]["instances"] == [instance]


async def test_an_owner_without_a_service_is_told_from_its_log(nats_url, instance):
    with BlockManager.open(nats_url, instance, namespace=NAMESPACE, tiers=parse_plan("g1=8")) as owner:
        owner.flush()
        async with lines_of(
            "stat", "--json", "--interval-s", "0.1", "--nats-url", nats_url, "--instance", instance
        ) as lines:
            await lines.next()
            owner.match("r", prefix(range(3)))
            owner.flush()
            samples = await until(lines, lambda samples: samples and samples[-1]["asked"] == 3)
    assert (samples[-1]["hit_ratio"], samples[-1]["waiting"], samples[-1]["dropped"]) == (0.0, None, None)


async def test_a_pipe_gets_one_header_and_as_many_lines_as_were_asked_for(kvbm, nats_url, instance):
    with BlockManager.open(nats_url, instance, namespace=NAMESPACE, tiers=parse_plan("g1=8,g2=8")) as owner:
        owner.flush()
    done = kvbm("stat", "-n", 3, "--interval-s", 0.1, "--nats-url", nats_url, "--instance", instance)
    assert (done.returncode, done.stderr) == (0, "")
    header, *lines = [line.split() for line in done.stdout.splitlines()]
    assert header[:7] == ["time", "hit%", "looks", "g1in", "g1out", "g2in", "g2out"]
    assert [len(line) for line in lines] == [len(header)] * 3


async def test_an_outage_is_said_and_what_comes_after_it_counted(nats_server, instance):
    with BlockManager.open(nats_server.url, instance, namespace=NAMESPACE, tiers=parse_plan("g1=8")) as owner:
        owner.flush()
        async with lines_of("stat", "--json", "--interval-s", "0.1", "--nats-url", nats_server.url) as lines:
            assert (await lines.next_json())["away"] == ""
            nats_server.kill()
            samples = await until(lines, lambda samples: samples and samples[-1]["away"])
            assert nats_server.url in samples[-1]["away"]
            assert "trying again" in await lines.said("no NATS server answers")
            assert samples[-1]["lag"] is None
            owner.match("r", prefix(range(3)))
            nats_server.start()
            samples = await until(lines, lambda samples: samples and samples[-1]["asked"] == 3)
            assert samples[-1]["away"] == ""
            await lines.said("followed again")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--interval-s", 0.01), "an interval is 0.1 to 3,600 s"),
        (("--count", 0), "at least one is written"),
        (("--instance", "nobody"), "is of instance 'nobody'"),
        (("--instance", "a.b"), "cannot name an instance"),
        (("--nats-url", "nats://127.0.0.1:1"), "kvbm dev"),
    ],
)
def test_what_cannot_be_is_refused(kvbm, nats_url, arguments, why):
    with BlockManager.open(nats_url, "somebody", namespace=NAMESPACE, tiers=parse_plan("g1=8")) as owner:
        owner.flush()
    done = kvbm("stat", *arguments, KVBM_NATS_URL=nats_url)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr


def test_an_empty_log_is_said_and_lines_come_all_the_same(kvbm, nats_server):
    done = kvbm("stat", "-n", 1, "--interval-s", 0.1, "--nats-url", nats_server.url)
    assert done.returncode == 0
    assert "is empty" in done.stderr
    named = kvbm("stat", "-n", 1, "--nats-url", nats_server.url, "--instance", "x")
    assert (named.returncode, "is empty" in named.stderr) == (2, True)
