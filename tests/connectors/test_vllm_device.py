"""An engine's own tensors as the store of g1: used where they lie, or refused by name."""

import ctypes
from types import SimpleNamespace

import pytest

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.connectors.vllm.device import device_store
from kvbm_tiers import Slice

BLOCKS, HEADS, TOKENS, CONTENT = 6, 2, 32, 16
PAGE = HEADS * TOKENS * CONTENT * 2
NHD = (HEADS * TOKENS * CONTENT, CONTENT, HEADS * CONTENT, 1)
WHOLE = Slice()


class Tensor:
    """What is asked of a `torch.Tensor`, over memory of its own."""

    def __init__(self, shape=(BLOCKS, HEADS, TOKENS, CONTENT), stride=None, dtype="torch.bfloat16", device="cpu"):
        self.shape, self.dtype = shape, dtype
        self.device = SimpleNamespace(type=device)
        self._stride = stride or (HEADS * TOKENS * CONTENT, TOKENS * CONTENT, CONTENT, 1)
        self.memory = (ctypes.c_char * (BLOCKS * PAGE))()

    def stride(self):
        return self._stride

    def element_size(self):
        return 2

    def data_ptr(self):
        return ctypes.addressof(self.memory)


def test_a_block_is_its_pages_layer_by_layer():
    layers = {f"layer.{at}": Tensor() for at in range(3)}
    for at, layer in enumerate(layers.values()):
        layer.memory[4 * PAGE : 5 * PAGE] = bytes([at + 1]) * PAGE
    store = device_store(layers, WHOLE)
    assert (store.capacity, store.layout.block_bytes) == (BLOCKS, 3 * PAGE)
    block = memoryview(bytearray(store.layout.slot_bytes))
    store.read(4, block)
    assert bytes(block[: 3 * PAGE]) == b"".join(bytes([at]) * PAGE for at in (1, 2, 3))
    store.write(1, block)
    for at, layer in enumerate(layers.values()):
        assert layer.memory[PAGE : 2 * PAGE] == bytes([at + 1]) * PAGE
        assert layer.memory[:PAGE] == layer.memory[2 * PAGE : 3 * PAGE] == bytes(PAGE)


def test_layers_that_share_their_memory_are_one():
    layer = Tensor()
    assert device_store({"sliding.0": layer, "full.0": layer}, WHOLE).layout.block_bytes == PAGE


def test_the_order_within_a_page_is_part_of_what_a_block_is():
    orders = [device_store({"layer": Tensor(stride=stride)}, WHOLE).layout.groups[0].order for stride in (None, NHD)]
    assert orders == ["HND", "NHD"]


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ([], "without KV cache"),
        ([Tensor(), Tensor(dtype="torch.float16")], "layers of 2 shapes"),
        ([Tensor(device="xpu")], "KV cache on xpu"),
        ([Tensor(), Tensor(stride=NHD)], "layers of 2 shapes"),
        ([Tensor(stride=(2048, 512, 16, 1))], r"strides \(2048, 512, 16, 1\).*VLLM_KV_CACHE_LAYOUT"),
        ([Tensor(stride=(1024, 16, 512, 1))], r"strides \(1024, 16, 512, 1\).*VLLM_KV_CACHE_LAYOUT"),
        ([Tensor(dtype="torch.complex64")], "KV cache of torch.complex64"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tensors, said):
    with pytest.raises(InvalidCommand, match=said):
        device_store({f"layer.{at}": tensor for at, tensor in enumerate(tensors)}, WHOLE)
