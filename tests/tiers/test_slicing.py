"""Which heads and layers of a block a rank has."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvbm_events.schema.errors import InvalidCommand, NamespaceMismatch
from kvbm_tiers import Group, Layout, Slice, preset

LLAMA, DEEPSEEK, GPT_OSS = preset("llama-8b"), preset("deepseek-v3"), preset("gpt-oss-20b")


def test_ranks_are_counted_as_vllm_counts_them():
    """`arange(ranks).reshape(pp, tp)`."""
    found = [Slice.of_rank(rank, 6, pp=2) for rank in range(6)]
    assert [(part.pp_rank, part.tp_rank) for part in found] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert {(part.tp, part.pp) for part in found} == {(3, 2)}


@pytest.mark.parametrize(("rank", "ranks", "pp"), [(2, 2, 1), (-1, 2, 1), (0, 3, 2), (0, 2, 0), (0, 0, 1), (0, 2, 4)])
def test_a_rank_that_cannot_be_is_refused(rank, ranks, pp):
    with pytest.raises(InvalidCommand, match=f"rank {rank} of {ranks} in {pp} stages"):
        Slice.of_rank(rank, ranks, pp)


def test_a_slice_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="no slice"):
        Slice(tp=2, tp_rank=2)


def test_tensor_parallel_divides_heads_and_no_layers():
    part = LLAMA.slice(Slice(tp=4, tp_rank=2))
    (group,) = part.groups
    assert (group.heads, group.layers) == (2, 32)
    assert part.block_bytes == LLAMA.block_bytes // 4
    assert Slice(tp=4, tp_rank=2).heads(8, "g") == range(4, 6)


def test_pipeline_parallel_divides_the_layers_of_every_group_and_no_heads():
    part = GPT_OSS.slice(Slice(pp=2, pp_rank=1))
    assert [(group.layers, group.heads) for group in part.groups] == [(6, 8), (6, 8)]
    assert part.block_bytes == GPT_OSS.block_bytes // 2
    assert Slice(pp=2, pp_rank=1).layers(12, "g") == range(6, 12)


def test_a_latent_is_in_every_rank_whole():
    parts = [DEEPSEEK.slice(Slice.of_rank(rank, 8)) for rank in range(8)]
    assert {part.groups for part in parts} == {DEEPSEEK.groups}
    assert len({part.part for part in parts}) == 8


def test_where_there_are_fewer_heads_than_ranks_each_head_is_in_several():
    """As vLLM: `tp_rank // num_kv_head_replicas`."""
    assert [Slice(tp=8, tp_rank=rank).heads(2, "g")[0] for rank in range(8)] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert LLAMA.slice(Slice(tp=16, tp_rank=15)).groups[0].heads == 1


def test_what_does_not_divide_is_named():
    with pytest.raises(InvalidCommand, match="61 layers of group 'latent' do not divide into pp=2 stages"):
        DEEPSEEK.slice(Slice(pp=2))
    with pytest.raises(InvalidCommand, match=r"8 heads of group 'full' do not divide into tp=3 ranks.*a multiple of 8"):
        LLAMA.slice(Slice(tp=3))
    with pytest.raises(InvalidCommand, match="1 layers of group 'full' do not divide"):
        preset("tiny").slice(Slice(pp=2))


def test_a_slice_is_not_divided_again():
    with pytest.raises(ValueError, match="divided further"):
        LLAMA.slice(Slice(tp=2)).slice(Slice(tp=2))


@pytest.mark.parametrize(
    ("field", "ours", "theirs"),
    [
        ("tp", Slice(tp=2), Slice(tp=4)),
        ("tp", Slice(tp=2), Slice()),
        ("pp", Slice(pp=2), Slice(pp=4)),
        ("tp_rank", Slice(tp=2), Slice(tp=2, tp_rank=1)),
        ("pp_rank", Slice(pp=2, pp_rank=1), Slice(pp=2)),
    ],
)
def test_another_slice_is_refused_by_the_name_of_the_field(field, ours, theirs):
    one, other = LLAMA.slice(ours), LLAMA.slice(theirs)
    with pytest.raises(NamespaceMismatch) as refusal:
        one.check(other)
    assert f"{field} is {getattr(ours, field)} here and {getattr(theirs, field)} there" in str(refusal.value)
    one.check(msgspec.json.decode(msgspec.json.encode(one), type=Layout))


sizes = st.integers(1, 3)


@given(tp=sizes, pp=sizes, heads=sizes, layers=sizes, divides=st.booleans())
def test_all_slices_together_are_the_block(tp, pp, heads, layers, divides):
    """Every head of every layer is somewhere, each as often as the others, and a rank has as many as any other."""
    heads = heads * tp if divides else 1
    shape = Group(name="g", layers=layers * pp, tokens=2, heads=heads, head_size=3)
    parts = [Slice.of_rank(rank, tp * pp, pp) for rank in range(tp * pp)]
    held = Counter(
        (layer, head) for part in parts for layer in part.layers(layers * pp, "g") for head in part.heads(heads, "g")
    )
    assert held.keys() == {(layer, head) for layer in range(layers * pp) for head in range(heads)}
    assert set(held.values()) == {1 if divides else tp}
    whole = Layout(groups=(shape,))
    size = sum(whole.slice(part).block_bytes for part in parts)
    assert size == whole.block_bytes * (1 if divides else tp)
