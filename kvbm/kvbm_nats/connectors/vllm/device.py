"""vLLM's own KV memory as the store of g1: its tensors are checked against what we make of them, and used in place."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Protocol

from kvbm_events.schema.errors import InvalidCommand
from kvbm_kernels.driver import Driver
from kvbm_tiers import CpuDevice, Group, Layout, Slice
from kvbm_tiers.cuda import CudaDevice, adopt
from kvbm_tiers.cuda import Tensor as DeviceTensor
from kvbm_tiers.layout import Dtype, Order

_DTYPES: dict[str, Dtype] = {
    "torch.float32": "float32",
    "torch.float16": "float16",
    "torch.bfloat16": "bfloat16",
    "torch.float8_e4m3fn": "float8_e4m3",
    "torch.float8_e5m2": "float8_e5m2",
    "torch.uint8": "int8",
    "torch.int8": "int8",
}


class Tensor(Protocol):
    """What is asked of a `torch.Tensor`."""

    @property
    def shape(self) -> Sequence[int]: ...  # noqa: D102 - torch's
    @property
    def dtype(self) -> Any: ...  # noqa: D102 - torch's
    @property
    def device(self) -> Any: ...  # noqa: D102 - torch's
    def stride(self) -> Sequence[int]: ...  # noqa: D102 - torch's
    def element_size(self) -> int: ...  # noqa: D102 - torch's
    def data_ptr(self) -> int: ...  # noqa: D102 - torch's


def device_store(tensors: Mapping[str, Tensor], part: Slice, *, compute_stream: int = 0) -> CpuDevice | CudaDevice:
    """The store over the tensors that vLLM has registered, one a layer, `[blocks, heads, tokens, content]`.

    A page is one layer's K and V of one block, together, in whatever order the attention kernel keeps them in it.

    Args:
        tensors: by layer; those of one memory count once
        part: the slice of every block that they are
        compute_stream: where they are on a GPU, the stream in which vLLM computes; see `CudaDevice`

    Raises:
        InvalidCommand: the tensors are not of one shape, are on a device that is not reached, or their pages are not in one piece.
        CudaUnavailable, CudaFailed: the GPU cannot be used from here.
    """
    layers = list({tensor.data_ptr(): tensor for tensor in tensors.values()}.values())
    if not layers:
        raise InvalidCommand("a model without KV cache", why="vLLM has registered no layer")
    shape = {(tuple(each.shape), tuple(each.stride()), str(each.dtype), str(each.device)) for each in layers}
    if len(shape) > 1:
        raise InvalidCommand(
            f"layers of {len(shape)} shapes", why="blocks of all layers must be of one", hint=str(shape)
        )
    layout, capacity = _layout(layers[0], len(layers), part), layers[0].shape[0]
    match layers[0].device.type:
        case "cpu":
            return CpuDevice(layout, capacity, [_host_array(each) for each in layers])
        case "cuda":
            index = layers[0].device.index or 0
            arrays = adopt(layout, capacity, [_device_array(each, layout, index) for each in layers], device=index)
            return CudaDevice(Driver(index), layout, capacity, arrays, owner=layers, compute_stream=compute_stream)
        case other:
            raise InvalidCommand(
                f"KV cache on {other}", why="host memory and CUDA devices are reached", hint="cpu, cuda"
            )


def _layout(tensor: Tensor, layers: int, part: Slice) -> Layout:
    dtype = _DTYPES.get(str(tensor.dtype))
    if dtype is None:
        raise InvalidCommand(f"KV cache of {tensor.dtype}", why="its size is not known", hint=", ".join(_DTYPES))
    _, heads, tokens, content = tensor.shape
    group = Group(
        name="kv",
        layers=layers,
        outer=1,
        tokens=tokens,
        heads=heads,
        head_size=content,
        dtype=dtype,
        order=_order(tensor),
    )
    return Layout(groups=(group,), part=part)


def _order(tensor: Tensor) -> Order:
    """Whether heads or tokens lie outermost in a page."""
    _, heads, tokens, content = tensor.shape
    match tuple(tensor.stride()[1:]):
        case steps if steps == (tokens * content, content, 1):
            return "HND"
        case steps if steps == (content, heads * content, 1):
            return "NHD"
        case _:
            raise _scattered(tensor)


def _host_array(tensor: Tensor) -> memoryview:
    if tensor.stride()[0] != prod(tensor.shape[1:]):
        raise _scattered(tensor)
    return memoryview((ctypes.c_char * (prod(tensor.shape) * tensor.element_size())).from_address(tensor.data_ptr()))


def _device_array(tensor: Tensor, layout: Layout, device: int) -> DeviceTensor:
    """The tensor with the dimensions of a page in the order in which they lie."""
    item, (step, *_) = tensor.element_size(), tensor.stride()
    page = layout.groups[0].page
    steps = (step, *(prod(page[at + 1 :]) for at in range(len(page))))
    return DeviceTensor(tensor.data_ptr(), (tensor.shape[0], *page), tuple(each * item for each in steps), item, device)


def _scattered(tensor: Tensor) -> InvalidCommand:
    return InvalidCommand(
        f"KV cache with strides {tuple(tensor.stride())} for shape {tuple(tensor.shape)}",
        why="a layer's pages must be in one piece, and in host memory follow each other without gaps",
        hint="VLLM_KV_CACHE_LAYOUT=LBNHC or LBHNC",
    )
