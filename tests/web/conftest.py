"""Pages over a projection, asked without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from kvbm_nats.web.app import make_app
from kvbm_nats.web.options import WebOptions
from web import cache

BASE = "http://127.0.0.1:4280"


@pytest.fixture(scope="session")
def projection(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of `cache`'s projection."""
    url = str(tmp_path_factory.mktemp("web") / "projection.db")
    asyncio.run(cache.write(url))
    return url


@pytest.fixture(scope="session")
def pages(projection: str) -> Iterator[TestClient]:
    """What a browser on this machine gets."""
    options = WebOptions(
        projection=projection, source_words=("--projection", projection), log_words=("--nats-url", "nats://log:4222")
    )
    with TestClient(make_app(options, asyncio.Event()), base_url=BASE, follow_redirects=False) as client:
        yield client
