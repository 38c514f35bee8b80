"""An engine's tensors, as libraries describe them, become a pool's arrays or are refused by the name of what differs."""

from math import prod

import numpy as np
import pytest

from kvbm_events.schema.errors import NamespaceMismatch
from kvbm_tiers.cuda.adopt import Tensor, adopt, read_capsule, view_of
from kvbm_tiers.geometry import boxes_of, dense
from kvbm_tiers.layout import Group, Layout

SEPARATE = Layout(groups=(Group(name="full", layers=2, tokens=4, heads=2, head_size=8),))
CONTIGUOUS = Layout(groups=(Group(name="full", layers=2, tokens=4, heads=2, head_size=8, arrangement="contiguous"),))
LATENT = Layout(groups=(Group(name="latent", layers=1, outer=1, tokens=4, heads=1, head_size=12, dtype="int8"),))


class OnGpu:
    """A numpy array that says it lies on a GPU, by one protocol or the other."""

    def __init__(self, array, protocol, device=0):
        self.array, self.device = array, device
        if protocol == "interface":
            self.__cuda_array_interface__ = array.__array_interface__

    def __getattr__(self, name):
        if name == "__dlpack__" and "__cuda_array_interface__" not in vars(self):
            return lambda **_more: self.array.__dlpack__()
        if name == "__dlpack_device__":
            return lambda: (2, self.device)
        raise AttributeError(name)


def arrays_of(layout, capacity, gap=0):
    return [
        np.zeros((*array.shape[:-3], *array.shape[-3:-1], array.shape[-1] + gap), f"u{array.strides[-1]}")[
            ..., : array.shape[-1]
        ]
        for array in layout.arrays(capacity)
    ]


@pytest.mark.parametrize("protocol", ["dlpack", "interface"])
@pytest.mark.parametrize("layout", [SEPARATE, CONTIGUOUS, LATENT])
def test_tensors_are_taken_where_they_lie(layout, protocol):
    tensors = arrays_of(layout, 5)
    adopted = adopt(layout, 5, [OnGpu(tensor, protocol) for tensor in tensors])
    assert boxes_of(layout, adopted) == boxes_of(layout, dense(layout, 5, [t.ctypes.data for t in tensors]))


@pytest.mark.parametrize("protocol", ["dlpack", "interface"])
def test_a_view_of_an_engine_with_other_dimensions_outside_is_taken(protocol):
    blocks_first = [np.zeros((5, 2, 4, 2, 8), "u2") for _ in range(2)]  # [slots][outer][page]
    adopted = adopt(SEPARATE, 5, [OnGpu(tensor.transpose(1, 0, 2, 3, 4), protocol) for tensor in blocks_first])
    page = 4 * 2 * 8 * 2
    assert [array.strides for array in adopted] == [(page, 2 * page)] * 2


def test_a_dimension_of_one_may_be_missing():
    without_outer = np.zeros((5, 4, 12), "u1")  # neither K and V nor heads
    assert adopt(LATENT, 5, [OnGpu(without_outer, "dlpack")])[0].strides == (0, 48)


@pytest.mark.parametrize("shape", [(2, 5, 4, 2, 9), (2, 4, 4, 2, 8), (5, 4, 2, 8)])
def test_another_shape_is_refused_with_both(shape):
    tensors = [OnGpu(np.zeros(shape, "u2"), "dlpack")] * 2
    with pytest.raises(NamespaceMismatch, match=r"full\.0 is \(2, 5, 4, 2, 8\) of 2 bytes"):
        adopt(SEPARATE, 5, tensors)


def test_another_item_size_is_refused():
    with pytest.raises(NamespaceMismatch, match="of 4 bytes an item"):
        adopt(SEPARATE, 5, [OnGpu(np.zeros((2, 5, 4, 2, 8), "u4"), "interface")] * 2)


def test_a_page_in_pieces_is_refused():
    with pytest.raises(NamespaceMismatch, match="not in one piece"):
        adopt(SEPARATE, 5, [OnGpu(tensor, "interface") for tensor in arrays_of(SEPARATE, 5, gap=1)])


def test_another_gpus_tensor_is_refused():
    with pytest.raises(NamespaceMismatch, match="on device 1"):
        adopt(SEPARATE, 5, [OnGpu(tensor, "dlpack", device=1) for tensor in arrays_of(SEPARATE, 5)])


def test_too_few_tensors_are_refused():
    with pytest.raises(NamespaceMismatch, match="the layout has 2 arrays"):
        adopt(SEPARATE, 5, [])


def test_a_tensor_in_host_memory_is_refused():
    with pytest.raises(TypeError, match="not CUDA"):
        view_of(np.zeros(4))


def test_what_is_no_tensor_is_refused():
    with pytest.raises(TypeError, match="give a Tensor"):
        view_of("no tensor")


def test_a_place_can_be_told_by_hand():
    told = Tensor(1 << 40, (5, 1, 4, 1, 12), (48, 48, 12, 12, 1), 1)
    assert view_of(told) is told


@pytest.mark.parametrize("shape", [(3, 4), (0,), ()])
def test_a_capsule_is_read_as_numpy_made_it(shape):
    array = np.zeros(shape, "u4")
    found = read_capsule(array.__dlpack__(), 3)
    assert (found.shape, found.item_bytes, found.device) == (shape, 4, 3)
    assert prod(shape) == 0 or found.address == array.ctypes.data
    assert not shape or prod(shape) == 0 or found.strides == array.strides
