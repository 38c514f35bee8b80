"""vLLM's KV cache on a GPU, as the connector takes it: in place, whatever lies between its pages."""

from random import Random
from types import SimpleNamespace

import pytest

from kvbm_nats.connectors.vllm.device import device_store
from kvbm_tiers import HostArena, Slice
from kvbm_tiers.memory import anonymous
from kvbm_tiers.mover import Job
from kvbm_tiers.routed_mover import open_mover
from support.movers import collect

BLOCKS, HEADS, TOKENS, CONTENT, LAYERS = 6, 2, 32, 16, 3
PAGE = HEADS * TOKENS * CONTENT
ORDERS = {"HND": (TOKENS * CONTENT, CONTENT, 1), "NHD": (CONTENT, HEADS * CONTENT, 1)}


class Tensor:
    """What is asked of a `torch.Tensor` on a GPU."""

    shape, dtype, device = (BLOCKS, HEADS, TOKENS, CONTENT), "torch.bfloat16", SimpleNamespace(type="cuda", index=0)

    def __init__(self, address, block_step, order):
        self._address, self._stride = address, (block_step, *ORDERS[order])

    def stride(self):
        return self._stride

    def element_size(self):
        return 2

    def data_ptr(self):
        return self._address


@pytest.fixture(params=[("HND", "layers"), ("NHD", "layers"), ("NHD", "blocks")], ids="-".join)
def tensors(request, device_memory):
    """Layers one after the other, or all layers of a block one after the other."""
    order, outermost = request.param
    start = device_memory(LAYERS * BLOCKS * PAGE * 2)
    if outermost == "layers":
        return {f"layer.{at}": Tensor(start + at * BLOCKS * PAGE * 2, PAGE, order) for at in range(LAYERS)}
    return {f"layer.{at}": Tensor(start + at * PAGE * 2, LAYERS * PAGE, order) for at in range(LAYERS)}


def test_its_blocks_go_down_and_come_back(tensors, stream, peek, tmp_path):
    device = device_store(tensors, Slice(), compute_stream=stream)
    data = Random(1).randbytes(device.layout.block_bytes)
    block = anonymous(device.layout.slot_bytes)
    block[: len(data)] = data
    device.write(4, block)
    for at, tensor in enumerate(tensors.values()):
        page = peek(tensor.data_ptr() + 4 * tensor.stride()[0] * 2, PAGE * 2)
        assert page == data[at * PAGE * 2 : (at + 1) * PAGE * 2]
    arena = HostArena(tmp_path / "g2.arena", namespace="n=1", layout=device.layout, capacity=4)
    mover = open_mover({"g1": device, "g2": arena})
    for each in (job("down", "g1", "g2", 4, 2), job("up", "g2", "g1", 2, 1)):
        mover.submit(each)
        assert [report.reason for report in collect(mover, bool)] == [""]
    device.read(1, block)
    assert bytes(block[: len(data)]) == data
    for each in (mover, arena, device):
        each.close()


def job(name, source, tier, start, end):
    return Job(
        transfer=name,
        source=source,
        tier=tier,
        source_slots=[start],
        slots=[end],
        keys=["0" * 32],
        deadline_us=1 << 62,
    )
