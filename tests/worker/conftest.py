"""Owners and workers over a real nats-server, for the tests of this folder."""

import pytest

from support.rank_stores import PLAN
from support.service import Command
from support.workers import Site


@pytest.fixture
def site(nats_url, instance):
    """One instance on the shared server: its owner, its workers, and their ends."""
    with Site(nats_url, instance) as site:
        yield site


@pytest.fixture
def ranked_site(nats_url, instance):
    """One instance with three tiers, whose workers have real stores (`support.ranks`)."""
    with Site(nats_url, instance, PLAN) as site:
        yield site


@pytest.fixture
def own_site(nats_server, instance):
    """The same on a server that the test may kill."""
    with Site(nats_server.url, instance) as site:
        yield site


@pytest.fixture
async def commands():
    """Commands that a failed test left behind are ended here."""
    yield
    for command in list(Command.alive):
        await command.kill()
