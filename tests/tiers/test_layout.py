"""Where a block's bytes lie, and which blocks are of one shape."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbm_events.schema.errors import InvalidCommand, NamespaceMismatch
from kvbm_tiers.layout import ALIGNMENT, Group, Layout
from kvbm_tiers.presets import PRESETS, preset

sizes = st.integers(1, 4)
groups = st.builds(
    Group,
    name=st.text(max_size=4),
    layers=sizes,
    outer=st.sampled_from([1, 2]),
    tokens=sizes,
    heads=sizes,
    head_size=sizes,
    dtype=st.sampled_from(["float32", "bfloat16", "int8"]),
    order=st.sampled_from(["NHD", "HND"]),
    arrangement=st.sampled_from(["separate", "contiguous"]),
)
layouts = st.builds(
    Layout,
    groups=st.lists(groups, min_size=1, max_size=3, unique_by=lambda group: group.name).map(tuple),
    packing=st.sampled_from(["layered", "universal"]),
)


def test_sizes_are_the_models():
    assert preset("llama-8b").block_bytes == 2 << 20
    assert preset("deepseek-v3").block_bytes == 61 * 64 * 576 * 2
    assert preset("gpt-oss-20b").block_bytes == 768 << 10


@pytest.mark.parametrize("name", PRESETS)
def test_a_slot_holds_a_block_and_is_aligned(name):
    layout = preset(name)
    assert 0 <= layout.slot_bytes - layout.block_bytes < ALIGNMENT
    assert layout.slot_bytes % ALIGNMENT == 0


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(InvalidCommand, match="llama-8b"):
        preset("no-such-model")


@given(layouts)
def test_json_and_back(layout):
    assert msgspec.json.decode(msgspec.json.encode(layout), type=Layout) == layout


@given(layouts)
def test_a_layout_agrees_with_itself(layout):
    layout.check(msgspec.convert(msgspec.to_builtins(layout), Layout))


@pytest.mark.parametrize(
    ("field", "value"), [("name", "x"), ("layers", 9), ("outer", 1), ("dtype", "int8"), ("order", "HND")]
)
def test_a_difference_is_named_with_both_values(field, value):
    layout = preset("gpt-oss-20b")
    changed = msgspec.structs.replace(layout.groups[1], **{field: value})
    with pytest.raises(NamespaceMismatch) as refusal:
        layout.check(Layout(groups=(layout.groups[0], changed)))
    was = getattr(layout.groups[1], field)
    assert f"groups[1].{field} is {was!r} here and {value!r} there" in str(refusal.value)


def test_a_missing_group_is_a_difference():
    layout = preset("gpt-oss-20b")
    with pytest.raises(NamespaceMismatch, match="number of groups is 2 here and 1 there"):
        layout.check(Layout(groups=layout.groups[:1]))


def test_another_packing_is_a_difference():
    layout = preset("tiny")
    with pytest.raises(NamespaceMismatch, match="packing is 'layered' here and 'universal' there"):
        layout.check(msgspec.structs.replace(layout, packing="universal"))


@pytest.mark.parametrize("size", ["layers", "tokens", "heads", "head_size"])
def test_a_group_without_size_is_refused(size):
    with pytest.raises(ValueError, match="below 1"):
        msgspec.structs.replace(preset("tiny").groups[0], **{size: 0})


def test_two_groups_of_one_name_are_refused():
    group = preset("tiny").groups[0]
    with pytest.raises(ValueError, match="each name once"):
        Layout(groups=(group, group))
