"""Two services for one instance: the second has it, the first lets it go."""

import pytest

from kvbm_events.schema.errors import Fenced, LogUnavailable, NamespaceMismatch
from kvbm_nats.publisher import Publisher
from kvbm_nats.service.config import InstanceConfig, ServeConfig
from kvbm_nats.service.server import Server
from support.chained_keys import prefix
from support.service import NAMESPACE, TIERS, ServiceProcess

KEYS = prefix(range(8))


def served(nats_url, *names, namespace=NAMESPACE):
    return Server(
        ServeConfig(
            url=nats_url, instances=[InstanceConfig(name=name, namespace=namespace, tiers=TIERS) for name in names]
        )
    )


async def test_the_first_one_ends_and_its_clients_go_on_with_the_second(nats_url, instance):
    first, second = served(nats_url, instance), served(nats_url, instance)
    await first.start()
    async with await Publisher.connect(nats_url, instance) as kv:
        slots = await kv.allocate("r", 8)
        await second.start()
        await first.wait()
        assert await kv.register("r", slots, KEYS) == slots
        assert (await kv.match("r", KEYS)).epoch == 2
        with pytest.raises(Fenced, match="was claimed by another owner"):
            await first.stop()
        assert (await kv.status()).epoch == 2
    await second.stop()


async def test_who_did_not_hear_of_it_learns_it_when_it_writes(nats_url, instance):
    first, second = served(nats_url, instance), served(nats_url, instance)
    await first.start()
    first._hosted[instance].epoch = 1 << 60  # deaf to what others say of their epochs
    async with await Publisher.connect(nats_url, instance, attempt_s=1.0) as kv:
        await second.start()
        while not first._is_over.is_set():  # whoever of the two is asked, one of them answers in the end
            assert (await kv.match("r", KEYS)).epoch == 2
        with pytest.raises(Fenced):
            await first.stop()
    await second.stop()


async def test_a_service_with_another_instance_goes_on_with_that(nats_url, instance):
    other = f"{instance}-b"
    first, second = served(nats_url, instance, other), served(nats_url, instance)
    await first.start()
    async with await Publisher.connect(nats_url, instance) as lost, await Publisher.connect(nats_url, other) as kept:
        await second.start()
        while (await lost.status()).epoch != 2:
            pass
        while instance in first._hosted:
            await kept.status()
        assert await kept.allocate("r", 2) == [0, 1]
        assert not first._is_over.is_set()
    await second.stop()
    await first.stop()


async def test_one_instance_that_cannot_be_opened_keeps_all_from_starting(nats_url, instance):
    other = f"{instance}-b"
    first = served(nats_url, instance)
    await first.start()
    await first.stop()
    both = served(nats_url, other, instance, namespace="model=another")
    with pytest.raises(NamespaceMismatch, match="model was 'm' and is 'another'"):
        await both.start()
    with pytest.raises(LogUnavailable, match="nobody answers"):
        await Publisher.connect(nats_url, other)


async def test_the_command_ends_with_2_and_says_why(nats_url, instance):
    first, second = ServiceProcess(nats_url, instance), ServiceProcess(nats_url, instance)
    await first.start()
    await second.start()
    assert await first.exited() == 2
    said = "".join(first.said)
    assert f"kvbm: '{instance}' was claimed by another owner" in said
    assert "Traceback" not in said
    assert await second.terminate() == 0
