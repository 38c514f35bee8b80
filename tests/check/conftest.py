"""The real command, started as a process."""

import asyncio
import subprocess

import pytest

from support.service import KVBM, Command


@pytest.fixture
async def commands():
    """Commands that a failed test left behind are ended here."""
    yield
    for command in list(Command.alive):
        await command.kill()


@pytest.fixture
def check(nats_url, instance):
    """Run `kvbm check` on an instance; its exit code and both outputs."""

    def run(*options, url):
        command = [KVBM, "check", "--nats-url", url, "--instance", instance, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    async def run_beside(*options, url=nats_url):
        return await asyncio.to_thread(run, *options, url=url)

    return run_beside
