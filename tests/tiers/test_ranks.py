"""A block written by some ranks is read by others: universal packing, cut by heads."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers.cpu_device import CpuDevice
from kvbm_tiers.layout import Group, Layout
from kvbm_tiers.memory import anonymous
from kvbm_tiers.ranks import pieces_for
from kvbm_tiers.slicing import Slice

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
    part = Slice.of_rank(rank, ranks)
    layout = WHOLE.slice(part)
    device = CpuDevice(layout, 2)
    if block is not None:
        arrays = iter(device.arrays)
        for whole, group, mine in zip(WHOLE.groups, layout.groups, block, strict=True):
            heads = part.heads(whole.heads, whole.name)
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
        pieces = pieces_for(WHOLE, Slice.of_rank(rank, readers), written_by=writers)
        memory = anonymous(wanted.layout.slot_bytes)
        for piece in pieces:
            memory[piece.place : piece.place + piece.size] = written[piece.tp_rank][
                piece.offset : piece.offset + piece.size
            ]
        assert sum(piece.size for piece in pieces) == wanted.layout.block_bytes
        device = device_of(rank, readers)
        device.write(1, memory)
        assert all(bytes(one) == bytes(other) for one, other in zip(device.arrays, wanted.arrays, strict=True))


def test_what_a_rank_needs_of_another_number_of_ranks_is_a_run_of_each_group():
    pieces = pieces_for(WHOLE, Slice.of_rank(3, 4), written_by=2)
    assert len(pieces) == len(WHOLE.groups)
    assert {piece.tp_rank for piece in pieces[:2]} == {1}


def test_the_same_number_of_ranks_needs_its_own_block_whole():
    pieces = pieces_for(WHOLE, Slice.of_rank(1, 2), written_by=2)
    assert [(piece.tp_rank, piece.offset, piece.place) for piece in pieces[:2]] == [(1, 0, 0), (1, 1152, 1152)]


def test_pieces_are_of_the_ranks_own_stage():
    staged = Layout(groups=WHOLE.groups[1:], packing="universal")
    part = Slice(tp=4, tp_rank=3, pp=2, pp_rank=1)
    pieces = pieces_for(staged, part, written_by=2)
    assert sum(piece.size for piece in pieces) == staged.slice(part).block_bytes
    written = staged.slice(Slice(tp=2, tp_rank=1, pp=2, pp_rank=1)).block_bytes
    assert all(piece.offset + piece.size <= written for piece in pieces)


def test_heads_that_cannot_be_dealt_out_are_refused():
    with pytest.raises(InvalidCommand, match="do not divide"):
        pieces_for(WHOLE, Slice.of_rank(0, 3), written_by=2)


def test_a_layered_block_is_not_read_by_others():
    layered = Layout(groups=WHOLE.groups)
    with pytest.raises(InvalidCommand, match="packing is layered"):
        pieces_for(layered, Slice.of_rank(0, 4), written_by=2)
