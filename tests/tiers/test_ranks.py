"""A block written by some ranks is read by others: universal packing, cut by heads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers.cpu_device import CpuDevice
from kvbm_tiers.layout import Group, Layout
from kvbm_tiers.memory import anonymous
from kvbm_tiers.ranks import heads_of, layout_of, pieces_for

WHOLE = Layout(
    groups=(
        Group(name="full", layers=3, tokens=4, heads=8, head_size=6),
        Group(name="window", layers=2, tokens=4, heads=4, head_size=10, order="HND", arrangement="contiguous"),
        Group(name="latent", layers=2, outer=1, tokens=4, heads=1, head_size=9, dtype="int8"),
    ),
    packing="universal",
)


def model(seed):
    """The KV of one block of the whole model: by group, `[layers][outer][tokens][heads][row]`, as bytes."""
    chance = np.random.default_rng(seed)
    return [
        chance.integers(0, 256, (group.layers, group.outer, group.tokens, group.heads, group.row_bytes), np.uint8)
        for group in WHOLE.groups
    ]


def device_of(rank, ranks, block=None, slot=1):
    """A rank's pool, in its engine's own arrangement, with its heads of a block in a slot."""
    layout = layout_of(WHOLE, rank, ranks)
    device = CpuDevice(layout, 2)
    if block is not None:
        arrays = iter(device.arrays)
        for whole, group, mine in zip(WHOLE.groups, layout.groups, block, strict=True):
            heads = heads_of(whole.heads, rank, ranks)
            pages = mine[:, :, :, heads.start : heads.stop]
            if group.order == "HND":
                pages = pages.transpose(0, 1, 3, 2, 4)
            if group.arrangement == "contiguous":
                np.frombuffer(next(arrays), np.uint8).reshape(2, *pages.shape)[slot] = pages
                continue
            for layer in pages:
                np.frombuffer(next(arrays), np.uint8).reshape(layer.shape[0], 2, *layer.shape[1:])[:, slot] = layer
    return device


def packed(device, slot=1):
    block = anonymous(device.layout.slot_bytes)
    device.read(slot, block)
    return bytes(block[: device.layout.block_bytes])


@pytest.mark.parametrize(("writers", "readers"), [*itertools.product([1, 2, 4, 8], repeat=2)])
def test_a_block_written_by_some_ranks_is_read_by_others(writers, readers):
    block = model(writers * 10 + readers)
    written = [packed(device_of(rank, writers, block)) for rank in range(writers)]
    for rank in range(readers):
        wanted = device_of(rank, readers, block)
        pieces = pieces_for(WHOLE, rank, readers, written_by=writers)
        memory = anonymous(wanted.layout.slot_bytes)
        for piece in pieces:
            memory[piece.place : piece.place + piece.size] = written[piece.rank][
                piece.offset : piece.offset + piece.size
            ]
        assert sum(piece.size for piece in pieces) == wanted.layout.block_bytes
        device = device_of(rank, readers)
        device.write(1, memory)
        assert all(bytes(one) == bytes(other) for one, other in zip(device.arrays, wanted.arrays, strict=True))


def test_what_a_rank_needs_of_another_number_of_ranks_is_a_run_of_each_group():
    assert len(pieces_for(WHOLE, 3, 4, written_by=2)) == len(WHOLE.groups)
    assert {piece.rank for piece in pieces_for(WHOLE, 3, 4, written_by=2)[:2]} == {1}


def test_the_same_number_of_ranks_needs_its_own_block_whole():
    assert [(p.rank, p.offset, p.place) for p in pieces_for(WHOLE, 1, 2, written_by=2)[:2]] == [
        (1, 0, 0),
        (1, 1152, 1152),
    ]


def test_every_head_is_somebodys():
    for heads, ranks in [(8, 1), (8, 2), (8, 8), (2, 8), (1, 4)]:
        dealt = [heads_of(heads, rank, ranks) for rank in range(ranks)]
        assert set(itertools.chain.from_iterable(dealt)) == set(range(heads))
        assert len({len(mine) for mine in dealt}) == 1


@pytest.mark.parametrize(("heads", "rank", "ranks"), [(8, 0, 3), (3, 0, 8), (8, 2, 2), (8, -1, 2)])
def test_heads_that_cannot_be_dealt_out_are_refused(heads, rank, ranks):
    with pytest.raises(InvalidCommand, match="dealt out evenly"):
        heads_of(heads, rank, ranks)


def test_a_layered_block_is_not_read_by_others():
    layered = Layout(groups=WHOLE.groups)
    with pytest.raises(InvalidCommand, match="packing is layered"):
        pieces_for(layered, 0, 4, written_by=2)
