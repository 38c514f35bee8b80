"""Two hosts, or what is as good as two: what goes between them goes over the network, and what dies there is found there."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from kvbm_nats.nats_server import find_nats_server
from kvbm_tiers import preset
from kvbm_tiers.host_arena import SHARED_MEMORY
from support.memory_hosts import MemoryProcess
from support.networks import TwoHosts, nats_at

pytestmark = pytest.mark.nixl
SCRIPT = Path(__file__).parents[1] / "processes" / "remote_mover.py"
COUNT = 32
SIZE_BYTES = COUNT * preset("llama-8b").block_bytes


class Mover:
    """`tests/processes/remote_mover.py` at the second host."""

    def __init__(self, hosts, memory, folder):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **hosts.environment(1)}
        words = (memory.url, memory.name, folder, "llama-8b", COUNT)
        command = [*hosts.at(1), sys.executable, SCRIPT, *words]
        self.process = subprocess.Popen(
            [*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.hear() == ["ready"]

    def tell(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def hear(self):
        """What it says next, passing over what it logs."""
        while words := self.process.stdout.readline().split():
            if words[0] in {"ready", "arrived"}:
                return words
        raise AssertionError("it ended")

    def close(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def hosts():
    with TwoHosts() as hosts:
        yield hosts


@pytest.fixture
def shared_folder():
    with TemporaryDirectory(prefix="kvbm-test-", dir=SHARED_MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def memory(hosts, shared_folder, tmp_path):
    """A memory host at the first host, where the NATS server is too."""
    with (
        nats_at(hosts, find_nats_server(), tmp_path) as url,
        MemoryProcess(
            url,
            shared_folder,
            capacity=COUNT,
            layout="llama-8b",
            environment=hosts.environment(0),
            before=hosts.at(0),
        ) as memory,
    ):
        yield memory


@pytest.fixture
def mover(hosts, memory, shared_folder):
    mover = Mover(hosts, memory, shared_folder)
    yield mover
    mover.close()


def test_blocks_go_over_the_network_both_ways(hosts, mover):
    before = hosts.received(0)
    mover.tell("down")
    assert mover.hear() == ["arrived", str(COUNT), str(COUNT)]
    assert hosts.received(0) - before > SIZE_BYTES
    before = hosts.received(1)
    mover.tell("up")
    assert mover.hear() == ["arrived", str(COUNT), str(COUNT)]
    assert hosts.received(1) - before > SIZE_BYTES


def test_a_host_that_dies_and_comes_back_is_found_again(memory, mover):
    mover.tell("on")
    assert mover.hear() == ["arrived", str(COUNT), str(COUNT)]
    memory.kill()
    while int(mover.hear()[1]) == COUNT:
        pass
    memory.start()
    while int(mover.hear()[1]) < COUNT:
        pass
