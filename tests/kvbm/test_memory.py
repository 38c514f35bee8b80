"""An owner over stores that survive it: whether what it finds in them is what its log says."""

import pytest

from kvbm_events.codec import decode
from kvbm_events.memory import MemoryLog
from kvbm_events.schema import Attached, Evicted
from kvbm_nats.manager import BlockManager
from kvbm_nats.plan import parse_plan
from kvbm_tiers import Stack, in_folder, preset
from support.chained_keys import prefix
from support.samples import read_all

PLAN = parse_plan("g1=8,g2=16,g3=32")
KEYS = prefix([1] * 6)


@pytest.fixture
def log():
    return MemoryLog()


@pytest.fixture
def open_owner(log, tmp_path):
    """Opens owners of one instance, each over the stores of a folder."""

    def open_one(folder="here"):
        stack = Stack(PLAN, preset("tiny"), "n=1", in_folder(tmp_path / folder))
        return BlockManager.open(log, "i", namespace="n=1", tiers=PLAN, keep=stack.kept, mover=stack.mover), stack

    return open_one


def fill(owner):
    owner.register("r", owner.allocate("r", len(KEYS)), KEYS)
    owner.release("r")
    assert owner.settle()


def found(owner):
    return [(hit.tier, len(hit.slots)) for hit in owner.match("look", KEYS, hold=False)]


async def events(log, kind):
    return [event for entry in await read_all(log, "i") if isinstance(event := decode(entry.data), kind)]


async def test_the_same_files_have_the_same_blocks(open_owner, log):
    for expected in ("g1", "g2"):
        owner, stack = open_owner()
        with stack, owner:
            if expected == "g1":
                fill(owner)
            assert found(owner) == [(expected, 6)]
    assert len(await events(log, Attached)) == 2, "g1 is new each time"
    assert await events(log, Evicted) == []


async def test_other_files_are_told_from_these_though_they_were_kept(open_owner, log):
    owner, stack = open_owner("there")
    with stack, owner:
        pass
    owner, stack = open_owner()
    with stack, owner:
        fill(owner)
    owner, stack = open_owner("there")
    assert stack.kept == ["g2", "g3"]
    with stack, owner:
        assert found(owner) == []
        assert owner.check_integrity() == []
    assert [(event.tier, event.reason) for event in await events(log, Evicted)] == [("g2", "reset"), ("g3", "reset")]
