"""Whether an owner lives, as others can ask it."""

import pytest

from kvbm_events.jetstream import JetStreamLog
from kvbm_events.schema.errors import Fenced
from support.samples import append_and_settle, open_and_write, small_events


@pytest.fixture
async def logs(nats_url):
    """Three connections: of two owners, and of one who asks."""
    opened = [await JetStreamLog.connect(nats_url) for _ in range(3)]
    yield opened
    for log in opened:
        await log.close()


async def test_an_owner_lives_until_it_lets_go(logs, instance):
    owner, _, asker = logs
    assert not await asker.is_owned(instance), "nobody ever had it"
    writer = await open_and_write(owner, instance, 1, 3)
    assert await asker.is_owned(instance)
    await writer.close()
    assert not await asker.is_owned(instance)


async def test_one_that_was_fenced_does_not_speak_for_the_other(logs, instance):
    first, second, asker = logs
    fenced = await open_and_write(first, instance, 1, 1)
    owner = await open_and_write(second, instance, 2, 1)
    await owner.close()
    assert not await asker.is_owned(instance), "the first one still listens"
    with pytest.raises(Fenced):
        await append_and_settle(fenced, small_events(1, 2, 1))


async def test_an_owner_whose_connection_is_gone_does_not_live(logs, instance):
    owner, _, asker = logs
    await open_and_write(owner, instance, 1, 1)
    await owner.close()
    assert not await asker.is_owned(instance)
