"""The bytes of a trace's blocks: told by their keys, and compared whole."""

import pytest

from kvbm_nats.traces.content import Content
from kvbm_tiers import CpuDevice, preset
from kvbm_tiers.memory import anonymous
from support.chained_keys import prefix

KEYS = prefix(range(6))


@pytest.fixture
def device():
    return CpuDevice(preset("tiny"), 8)


@pytest.fixture
def content(device):
    return Content(device)


def test_blocks_are_as_they_were_written(content):
    content.fill(range(6), KEYS)
    content.check(range(6), KEYS)
    assert (content.verified, content.wrong) == (6, [])


def test_each_key_has_bytes_of_its_own_and_the_same_for_everybody(content, device):
    blocks = [content.of(key) for key in KEYS]
    assert len(set(blocks)) == len(KEYS)
    assert {len(block) for block in blocks} == {device.layout.block_bytes}
    assert Content(device).of(KEYS[0]) == blocks[0]


@pytest.mark.parametrize("at", [0, 15, 16, 500, -1])
def test_a_single_bit_is_seen(content, device, at):
    content.fill(range(6), KEYS)
    block = anonymous(device.layout.slot_bytes)
    device.read(3, block)
    block[device.layout.block_bytes + at if at < 0 else at] ^= 1
    device.write(3, block)
    content.check(range(6), KEYS)
    assert (content.verified, content.wrong) == (5, [KEYS[3]])


def test_another_block_in_its_place_is_seen(content):
    content.fill(range(6), KEYS)
    content.check([1], KEYS[:1])
    assert content.wrong == KEYS[:1]
