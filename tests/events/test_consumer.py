"""A pull consumer that cannot be started leaves nothing behind."""

import pytest

from kvbm_events.jetstream import Options
from kvbm_events.jetstream.api import Api
from kvbm_events.jetstream.connection import Connection
from kvbm_events.jetstream.consumer import Consumer
from kvbm_events.schema.errors import LogUnavailable


async def test_what_cannot_be_started_watches_the_connection_no_more(nats_url, instance):
    connection = await Connection.open(nats_url, Options())
    before = set(connection._watchers)
    with pytest.raises(LogUnavailable, match="stream not found"):
        await Consumer(Api(connection), lambda _: None, after=0, stream=instance).start()
    assert connection._watchers == before
    await connection.close()
