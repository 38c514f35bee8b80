"""Several KV-cache groups of one model: what a prefix needs of each, which blocks are recorded, and which loaded where."""

import sys
from types import SimpleNamespace

import pytest

from kvbm_events.schema import ROOT, Matched, OffloadStarted, Registered, unpack_keys
from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.connectors.vllm.groups import ONE, Group, groups_of, missing, window_blocks
from kvbm_nats.connectors.vllm.tiering.prompt import key_of
from kvbm_nats.connectors.vllm.tracked import Tracked, key_in
from kvbm_statemachine.decide import Hit
from support.stepped_engine import BLOCK_TOKENS, HASHES, Engine

WINDOW, WHOLE = Group(0, 2), Group(1)
"""Of two blocks, and of all."""
KEYS = [each[:16].hex() for each in HASHES]
OTHERS = [key_in(each, 1) for each in HASHES]
LOADED = ([0, 0, 9, 8, 7], [1, 2, 10, 11, 12])


@pytest.fixture
def engine():
    engine = Engine(groups=(WINDOW, WHOLE))
    yield engine
    engine.side.close()


def computed(engine, name="a", window=(0, 0, 5, 6), first=0):
    """Four blocks, of which vLLM has given back the first two in the group with a window, or more."""
    request = engine.request(name, first=first)
    engine.side.found(request, 0)
    engine.side.admitted(request, ([3, 4, 5, 6], [7, 8, 9, 10]), 0)
    engine.obey(engine.step_of((request, ([3, 4, 5, 6], [7, 8, 9, 10])), new=[request]))
    request.num_computed_tokens = 4 * BLOCK_TOKENS
    engine.side.finished(request, ([*window], [7, 8, 9, 10]))
    engine.settle()
    engine.manager.flush()
    engine.step()


def below(engine):
    return engine.manager.state.tiers["g2"].lineage


def longer(engine, name="b"):
    """The same prompt and one token more than a block, so that all four blocks may be loaded."""
    return engine.request(name, blocks=5)


def test_keys_of_groups_are_those_of_the_tier():
    assert KEYS[0] == key_of(HASHES[0] + bytes(4))
    assert OTHERS[0] == key_of(HASHES[0] + b"\0\0\0\1")


@pytest.mark.parametrize(("tokens", "blocks"), [(1, 1), (128, 4), (129, 4), (130, 5)])
def test_a_window_is_so_many_blocks_before_a_position(tokens, blocks):
    assert window_blocks(tokens, 32) == blocks


class Full(SimpleNamespace):
    """In place of vLLM's `FullAttentionSpec`."""


class Sliding(SimpleNamespace):
    """In place of vLLM's `SlidingWindowSpec`."""


class Mamba(SimpleNamespace):
    """In place of vLLM's `MambaSpec`."""


@pytest.fixture
def made(monkeypatch):
    """What we make of groups of vLLM's."""
    module = SimpleNamespace(FullAttentionSpec=Full, SlidingWindowSpec=Sliding)
    monkeypatch.setitem(sys.modules, "vllm.v1.kv_cache_interface", module)

    def make(*specs):
        return groups_of(SimpleNamespace(kv_cache_groups=[SimpleNamespace(kv_cache_spec=spec) for spec in specs]), 32)

    return make


def test_groups_are_vllms(made):
    window = Sliding(block_size=32, sliding_window=128, extra_retained_tokens=0)
    assert made(Full(block_size=32)) == ONE
    assert made(window, window, Full(block_size=32)) == (Group(0, 4), Group(1, 4), Group(2))


@pytest.mark.parametrize(
    ("spec", "said"),
    [(Mamba(block_size=32), "group of Mamba"), (Full(block_size=64), "blocks of 64 tokens beside 32")],
)
def test_what_cannot_be_served_is_refused_by_name(made, spec, said):
    with pytest.raises(InvalidCommand, match=said):
        made(Full(block_size=32), spec)


def test_null_blocks_are_never_recorded_and_a_chain_begins_behind_them(engine):
    computed(engine)
    assert engine.g1 == {KEYS[2]: 5, KEYS[3]: 6} | dict(zip(OTHERS, [7, 8, 9, 10], strict=False))
    assert set(below(engine).index) == {*KEYS[2:4], *OTHERS[:4]}
    assert [below(engine).parent_of(below(engine).index[key]) for key in KEYS[2:4]] == KEYS[1:3]
    assert KEYS[1] in below(engine).orphans
    assert below(engine).parent_of(below(engine).index[OTHERS[1]]) == OTHERS[0]


def test_every_group_is_loaded_into_its_own_slots(engine):
    computed(engine)
    request = longer(engine)
    assert engine.side.found(request, 0) == 4 * BLOCK_TOKENS
    assert engine.side.promised("b") == {"g2": 4 * BLOCK_TOKENS}
    engine.side.admitted(request, LOADED, 4 * BLOCK_TOKENS)
    orders = engine.step()
    assert orders.loads == {"b": [9, 8, 1, 2, 10, 11]}
    engine.obey(orders)
    engine.settle_loads("b")
    assert {key: engine.g1[key] for key in KEYS[2:4]} == {KEYS[2]: 9, KEYS[3]: 8}
    assert [engine.g1[key] for key in OTHERS[:4]] == [1, 2, 10, 11]
    assert not engine.manager.check_integrity()


def test_of_a_missing_window_only_the_first_gap_is_told():
    """What is behind it was not missed."""
    whole = KEYS[:4]
    there = {whole[0], whole[3]}
    manager = SimpleNamespace(look=lambda keys, **_: [Hit("g2", [7])] if keys[0] in there else [])
    request = SimpleNamespace(request_id="a", block_hashes=HASHES[:4])
    (part,) = missing(manager, (Group(0, 4),), Tracked(request), 4)
    assert part.keys == whole[:3]


@pytest.mark.parametrize("lost", [OTHERS[3], KEYS[3], KEYS[2]])
def test_where_no_window_ends_nothing_is_found(engine, lost):
    """Without the last block of the group that has all there are three of it, and the window before them is not there."""
    computed(engine)
    engine.manager.evict([lost], tier="g2", reason="operator")
    assert engine.side.found(longer(engine), 0) == 0


def test_the_longest_prefix_with_a_window_is_found(engine):
    """Two steps of two blocks each have left two windows; without the second one the first one counts."""
    request = engine.request("a")
    engine.side.found(request, 0)
    engine.side.admitted(request, ([3, 4], [7, 8]), 0)
    engine.obey(engine.step_of((request, ([3, 4], [7, 8])), new=[request]))
    request.num_computed_tokens = 2 * BLOCK_TOKENS
    engine.obey(engine.step_of((request, ([3, 4, 5, 6], [7, 8, 9, 10]))))
    request.num_computed_tokens = 4 * BLOCK_TOKENS
    engine.side.finished(request, ([0, 0, 5, 6], [7, 8, 9, 10]))
    engine.settle()
    engine.manager.flush()
    engine.manager.evict([KEYS[3]], tier="g2", reason="operator")
    assert engine.side.found(longer(engine), 0) == 3 * BLOCK_TOKENS
    engine.manager.evict([KEYS[2]], tier="g2", reason="operator")
    assert engine.side.found(longer(engine, "c"), 0) == 2 * BLOCK_TOKENS


def test_a_window_is_one_event_and_one_transfer(engine):
    computed(engine)
    assert [unpack_keys(event.keys) for event in engine.events(Registered)] == [KEYS[2:4], OTHERS[:4]]
    assert len(engine.events(OffloadStarted)) == 2


def loaded(engine, name, slots=LOADED):
    """What was looked up for a prompt of five blocks: from where on, how many, how many of them were found, and held."""
    request, before = longer(engine, name), len(engine.events(Matched))
    tokens = engine.side.found(request, 0)
    engine.side.admitted(request, slots if tokens else ([3, 4, 5, 6, 2], [7, 8, 9, 10, 1]), tokens)
    engine.step()
    return [
        (event.start, event.parent, event.asked, sum(part.blocks for part in event.found), event.held)
        for event in engine.events(Matched)[before:]
    ]


def test_a_look_up_of_a_window_says_where_it_begins(engine):
    computed(engine)
    assert loaded(engine, "b") == [(2, KEYS[1], 2, 2, True), (0, ROOT, 5, 4, True)]
    engine.side.heard([], ["b"], ())


def test_windows_that_are_missing_are_told_last(engine):
    """All that stands on the beginning is there, and without a window none of it can be used."""
    computed(engine)
    engine.manager.evict([KEYS[3]], tier="g2", reason="operator")
    assert loaded(engine, "b") == [(0, ROOT, 5, 4, True), (2, KEYS[1], 2, 1, False)]


def test_a_window_that_was_used_is_kept_longer_than_one_that_came_after_it(engine):
    computed(engine)
    computed(engine, "c", first=4)
    assert evicted_in_order(engine) == [KEYS[2], OTHERS[0], KEYS[6], OTHERS[4]]
    request = engine.request("b")
    engine.side.admitted(request, LOADED, engine.side.found(request, 0))
    engine.obey(engine.step())
    engine.settle_loads("b")
    assert evicted_in_order(engine) == [KEYS[6], OTHERS[4], KEYS[2], OTHERS[0]]


def evicted_in_order(engine):
    """The first key of each chain, the chain first that would go first."""
    return [chain.keys[0] for chain, _ in engine.manager.state.tiers["g2"].policy.victims(32)]


def test_a_block_of_a_window_that_goes_takes_those_behind_it_with_it(engine):
    computed(engine)
    assert engine.manager.evict([KEYS[2]], tier="g2", reason="operator") == 2
    assert KEYS[3] not in below(engine).index


def test_behind_blocks_that_vllm_has_a_shorter_window_is_enough(engine):
    """Of two blocks of the window one is vLLM's own."""
    computed(engine, window=[0, 0, 0, 6])
    request = longer(engine)
    assert engine.side.found(request, 3 * BLOCK_TOKENS) == BLOCK_TOKENS
    engine.side.admitted(request, LOADED, BLOCK_TOKENS)
    assert engine.step().loads == {"b": [8, 11]}


def test_what_vllm_gives_away_in_one_group_stays_in_the_others(engine):
    computed(engine)
    other = engine.request("c", blocks=2, first=4)
    engine.side.found(other, 0)
    engine.side.admitted(other, ([5, 0], [7, 13]), 0)
    engine.step_of((other, ([5, 0], [7, 13])), new=[other])
    assert engine.g1 == {KEYS[3]: 6} | dict(zip(OTHERS[1:], [8, 9, 10], strict=False))


def test_a_request_whose_load_has_failed_is_computed_and_not_loaded_again(engine):
    computed(engine)
    request = longer(engine)
    engine.side.admitted(request, LOADED, engine.side.found(request, 0))
    engine.step()
    engine.side.heard([], ["b"], (), ["b"])
    assert engine.side.found(request, 0) == 0


def test_a_model_of_windows_only_is_served(engine):
    engine.side.close()
    alone = Engine(groups=(Group(0, 2),))
    request = alone.request("a")
    alone.side.found(request, 0)
    alone.side.admitted(request, ([3, 4, 5, 6],), 0)
    alone.obey(alone.step((request, [3, 4, 5, 6]), new=[request]))
    request.num_computed_tokens = 4 * BLOCK_TOKENS
    alone.side.finished(request, ([0, 0, 5, 6],))
    alone.settle()
    alone.manager.flush()
    alone.step()
    again = alone.request("b", blocks=5)
    assert alone.side.found(again, 0) == 4 * BLOCK_TOKENS
    assert alone.side.promised("b") == {"g2": 4 * BLOCK_TOKENS}
    alone.side.admitted(again, ([0, 0, 9, 8, 7],), 4 * BLOCK_TOKENS)
    assert alone.step().loads == {"b": [9, 8]}
    alone.side.close()
