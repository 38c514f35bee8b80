"""Commands that a failed test left behind are ended."""

import pytest

from support.service import Command


@pytest.fixture
async def commands():
    """Use it where commands are started."""
    yield
    for command in list(Command.alive):
        await command.kill()
