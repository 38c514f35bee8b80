"""vLLM's own KV memory as the store of g1: its tensors are checked against what we make of them, and used in place."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Protocol

from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers import CpuDevice, Group, Layout, Slice
from kvbm_tiers.layout import Dtype

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


def device_store(tensors: Mapping[str, Tensor], part: Slice) -> CpuDevice:
    """The store over the tensors that vLLM has registered, one a layer, `[blocks, heads, tokens, content]`.

    A page is one layer's K and V of one block, together, in whatever order the attention kernel keeps them in it.
    `part` is the slice of every block that these tensors are.

    Raises:
        InvalidCommand: the tensors are not host memory, or not of one shape, or their pages do not follow each other.
    """
    layers = list({tensor.data_ptr(): tensor for tensor in tensors.values()}.values())
    if not layers:
        raise InvalidCommand("a model without KV cache", why="vLLM has registered no layer")
    shape = {(tuple(each.shape), str(each.dtype), str(each.device)) for each in layers}
    if len(shape) > 1:
        raise InvalidCommand(
            f"layers of {len(shape)} shapes", why="blocks of all layers must be of one", hint=str(shape)
        )
    first = layers[0]
    if first.device.type != "cpu":
        raise InvalidCommand(f"KV cache on {first.device}", why="this connector reaches host memory only, as yet")
    if any(tuple(each.stride()) != _packed(each.shape) for each in layers):
        raise InvalidCommand(
            f"KV cache with strides {tuple(first.stride())} for shape {tuple(first.shape)}",
            why="a layer's pages must follow each other without gaps",
            hint="VLLM_KV_CACHE_LAYOUT=LBNHC or LBHNC",
        )
    layout = _layout(first, len(layers), part)
    size = prod(first.shape) * first.element_size()
    arrays = [memoryview((ctypes.c_char * size).from_address(each.data_ptr())) for each in layers]
    return CpuDevice(layout, first.shape[0], arrays)


def _layout(tensor: Tensor, layers: int, part: Slice) -> Layout:
    dtype = _DTYPES.get(str(tensor.dtype))
    if dtype is None:
        raise InvalidCommand(f"KV cache of {tensor.dtype}", why="its size is not known", hint=", ".join(_DTYPES))
    _, heads, tokens, content = tensor.shape
    group = Group(
        name="kv", layers=layers, outer=1, tokens=tokens, heads=heads, head_size=content, dtype=dtype, order="HND"
    )
    return Layout(groups=(group,), part=part)


def _packed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(prod(shape[at + 1 :]) for at in range(len(shape)))
