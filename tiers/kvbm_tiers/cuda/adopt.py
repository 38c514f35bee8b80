"""An engine's tensors as the arrays of a pool: by DLPack, by `__cuda_array_interface__`, or told by hand."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from kvbm_events.schema.errors import NamespaceMismatch
from kvbm_tiers.geometry import PoolArray
from kvbm_tiers.layout import Array, Layout

_CUDA = 2  # kDLCUDA
_PAGE_DIMENSIONS = 3
_POINTERS = ctypes.pythonapi
_POINTERS.PyCapsule_GetPointer.restype = ctypes.c_void_p
_POINTERS.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


class Tensor(NamedTuple):
    """Memory of a device in a shape.

    :ivar strides: bytes
    :ivar device: index of the GPU; -1 if that is not known
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    item_bytes: int
    device: int = -1


class _DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def adopt(layout: Layout, capacity: int, tensors: Sequence[Any], *, device: int = 0) -> list[PoolArray]:
    """The arrays of an engine's pool, checked against what the layout says they are.

    A tensor is a `Tensor`, or has `__dlpack__` or `__cuda_array_interface__`. Its dimensions are those of `layout.arrays`; the
    first ones may have any strides (give a view, transposed if need be), and those of size 1 do not count.

    Raises:
        NamespaceMismatch: a tensor has another shape or item size, a page that is not in one piece, or lies elsewhere; the
            message names the array.
    """
    wanted = layout.arrays(capacity)
    if len(tensors) != len(wanted):
        raise _mismatch(f"{len(tensors)} tensors", f"the layout has {len(wanted)} arrays: {wanted[0].name}, …")
    found = zip(wanted, map(view_of, tensors), strict=True)
    return [_pool_array(array, tensor, device) for array, tensor in found]


def view_of(tensor: Any) -> Tensor:  # noqa: ANN401 - any library's tensor
    """Where a tensor lies. It must be kept for as long as its memory is used.

    Raises:
        TypeError: it does not tell.
    """
    if isinstance(tensor, Tensor):
        return tensor
    if hasattr(tensor, "__dlpack__"):
        return _by_dlpack(tensor)
    if hasattr(tensor, "__cuda_array_interface__"):
        return _by_interface(tensor.__cuda_array_interface__)
    raise TypeError(f"a {type(tensor).__name__} has neither __dlpack__ nor __cuda_array_interface__: give a Tensor")


def _by_dlpack(tensor: Any) -> Tensor:  # noqa: ANN401 - the same
    kind, index = tensor.__dlpack_device__()
    if kind != _CUDA:
        raise TypeError(f"a tensor on a device of kind {kind}, which is not CUDA")
    return read_capsule(tensor.__dlpack__(stream=-1), index)  # -1: it need not be ready, only its place is asked for


def read_capsule(capsule: object, device: int) -> Tensor:
    """What a DLPack capsule says. It stays unused: whoever made it frees it, and the tensor keeps the memory."""
    found = _DLTensor.from_address(_POINTERS.PyCapsule_GetPointer(capsule, b"dltensor"))
    item = found.bits * found.lanes // 8
    shape = tuple(found.shape[: found.ndim])
    strides = tuple(step * item for step in found.strides[: found.ndim]) if found.strides else _dense(shape, item)
    return Tensor((found.data or 0) + found.byte_offset, shape, strides, item, device)


def _by_interface(described: dict[str, Any]) -> Tensor:
    item = int(described["typestr"][2:])
    shape = tuple(described["shape"])
    strides = described.get("strides")
    return Tensor(described["data"][0], shape, tuple(strides) if strides else _dense(shape, item), item)


def _pool_array(array: Array, tensor: Tensor, device: int) -> PoolArray:
    item = array.strides[-1]
    strides = _strides_of(array, tensor)
    if strides is None or tensor.item_bytes != item:
        there = f"{tensor.shape} of {tensor.item_bytes} bytes an item"
        raise _mismatch(f"{array.name} is {array.shape} of {item} bytes an item", f"the tensor is {there}")
    page = array.strides[-_PAGE_DIMENSIONS:]
    for size, step, dense in zip(array.shape[-_PAGE_DIMENSIONS:], strides[-_PAGE_DIMENSIONS:], page, strict=True):
        if size > 1 and step != dense:
            raise _mismatch(f"a page of {array.name} is not in one piece", f"its strides are {strides}, not …{page}")
    if min(strides) < 0 or tensor.device not in {-1, device}:
        raise _mismatch(f"{array.name} lies elsewhere", f"on device {tensor.device}, with strides {strides}")
    return PoolArray(tensor.address, strides[:-_PAGE_DIMENSIONS])


def _strides_of(array: Array, tensor: Tensor) -> tuple[int, ...] | None:
    """The tensor's strides, one for each dimension of the array, 0 for those of size 1; None if the shapes differ."""
    steps = [(size, step) for size, step in zip(tensor.shape, tensor.strides, strict=True) if size != 1]
    if [size for size, _ in steps] != [size for size in array.shape if size != 1]:
        return None
    left = iter(steps)
    return tuple(0 if size == 1 else next(left)[1] for size in array.shape)


def _dense(shape: tuple[int, ...], item: int) -> tuple[int, ...]:
    return tuple(item * prod(shape[at + 1 :]) for at in range(len(shape)))


def _mismatch(what: str, why: str) -> NamespaceMismatch:
    return NamespaceMismatch(
        what, why=why, hint="declare the layout that the engine has, or give a view of its tensors"
    )
