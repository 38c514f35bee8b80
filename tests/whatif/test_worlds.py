"""Recordings played again: the recorded plan finds what was found, others differ as they must, and nothing beats the bound."""

import asyncio
from collections import OrderedDict
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvbm_events.memory import MemoryLog
from kvbm_events.schema import ROOT, TierSpec
from kvbm_nats.manager import BlockManager, Options
from kvbm_nats.traces import generate
from kvbm_nats.traces.demo import demo_workload
from kvbm_nats.traces.embedded import EmbeddedCache
from kvbm_nats.traces.play import play_trace
from kvbm_nats.traces.request import TraceRequest
from kvbm_nats.whatif import Ask, Case, Fill, Leave, World, answer, best_possible, from_events, from_trace, parse_cases
from kvbm_nats.whatif.sources import from_log
from kvbm_statemachine import POLICIES, check_integrity
from kvbm_statemachine.decide import allocate, register
from support.chained_keys import prefix
from support.desks import desk_of
from support.trace_replay import mooncake_prompts

PLANS = {
    "g1": [TierSpec(tier="g1", capacity=60)],
    "g1+g2": [TierSpec(tier="g1", capacity=40), TierSpec(tier="g2", capacity=120)],
    "selective": [TierSpec(tier="g1", capacity=40), TierSpec(tier="g2", capacity=120, admission="selective")],
}


def steps_of(prompts):
    requests = [
        TraceRequest(
            at_s=at, request=f"r{at}", keys=keys, new_blocks=0, tokens_in=len(keys), tokens_out=0, block_tokens=1
        )
        for at, keys in enumerate(prompts)
    ]
    return from_trace(requests)


def random_prompts(seed, count=300):
    chance = Random(seed)
    return [prefix([chance.randrange(6), *chance.choices((0, 1), (3, 1), k=chance.randrange(9))]) for _ in range(count)]


class SettledCache(EmbeddedCache):
    """Waits until what it computed has gone down, as it has at once in a world without time."""

    def _compute(self, *arguments):
        done = super()._compute(*arguments)
        self.manager.settle()
        return done


async def record(plan, requests):
    """A real owner's log of these requests."""
    log = MemoryLog()

    def own():
        with BlockManager.open(log, "i", namespace="n=1", tiers=plan, options=Options(snapshot_every=0)) as owner:
            report = asyncio.run(play_trace(requests, SettledCache(owner)))
            owner.settle()
            return report, dict(owner.status().evicted)

    report, evicted = await asyncio.to_thread(own)
    return log, report, evicted


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
async def test_the_recorded_plan_finds_what_the_recorded_owner_found(plan):
    requests = _some(generate(demo_workload(7)), 400)
    log, report, evicted = await record(plan, requests)
    recorded = await from_log(log, "i")
    assert recorded.tiers == plan
    assert recorded.found == sum(report.found.values())
    first, *_ = answer(recorded, parse_cases(plan))
    assert (first.asked, first.hits) == (report.asked, recorded.found)
    assert first.found == report.found
    assert first.evicted == evicted
    assert first.hits > 0
    assert evicted
    assert first.differences == []


def _some(items, count):
    return [item for _, item in zip(range(count), items, strict=False)]


async def test_a_log_and_its_trace_give_the_same_answers():
    requests = _some(generate(demo_workload(3)), 300)
    plan = [TierSpec(tier="g1", capacity=2 * max(len(request.keys) for request in requests))]
    log, *_ = await record(plan, requests)
    cases = parse_cases(plan, policies="arc,fifo", capacities=["g1=.5x,2x"])
    by_log = answer(await from_log(log, "i"), cases)
    by_trace = answer(from_trace(requests), cases)
    assert [(each.found, each.evicted, each.bound) for each in by_log] == [
        (each.found, each.evicted, each.bound) for each in by_trace
    ]


@pytest.mark.parametrize("policy", POLICIES)
def test_every_world_is_sound_and_the_same_the_second_time(policy):
    recorded = steps_of(random_prompts(1))
    plan = [TierSpec(tier="g1", capacity=12, policy=policy), TierSpec(tier="g2", capacity=20, policy=policy)]
    worlds = [World(plan) for _ in range(2)]
    for world in worlds:
        world.play(recorded.steps)
        assert check_integrity(world.state) == []
        assert not world.state.requests
        assert not world.state.transfers
    assert worlds[0].evictions == worlds[1].evictions
    assert worlds[0].found == worlds[1].found


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1 << 20),
    capacity=st.integers(1, 30),
    policy=st.sampled_from([*POLICIES]),
)
def test_nothing_beats_the_bound(seed, capacity, policy):
    recorded = steps_of(random_prompts(seed, count=60))
    (one,) = answer(recorded, [Case(name="", tiers=[TierSpec(tier="g1", capacity=capacity, policy=policy)])])
    assert one.hits <= one.bound <= one.asked


def test_the_bound_is_what_the_best_of_all_choices_gives():
    prompts = [prefix(path) for path in ([0], [1], [2], [0], [1], [2], [1], [0])]
    assert best_possible(steps_of(prompts).steps, 2) == best_by_trying(prompts, 2)
    longer = [prefix(path) for path in ([0, 0], [1], [0, 1], [0, 0], [1], [0, 1])]
    for capacity in range(1, 5):
        assert best_possible(steps_of(longer).steps, capacity) == best_by_trying(longer, capacity)


def best_by_trying(prompts, capacity):
    """Hits of the best set of blocks to keep after each prompt, by trying them all. A block is kept with its parents."""
    parents = {key: keys[at - 1] if at else None for keys in prompts for at, key in enumerate(keys)}
    states = {frozenset(): 0}
    for keys in prompts:
        after = {}
        for kept, hits in states.items():
            found = next((at for at, key in enumerate(keys) if key not in kept), len(keys))
            for choice in _subsets([*kept.union(keys)], capacity):
                if all(parents[key] is None or parents[key] in choice for key in choice):
                    after[choice] = max(after.get(choice, 0), hits + found)
        states = after
    return max(states.values())


def _subsets(items, most):
    if not items or not most:
        yield frozenset()
        return
    first, *rest = items
    yield from _subsets(rest, most)
    for subset in _subsets(rest, most - 1):
        yield subset | {first}


def test_the_first_decision_that_differs_is_told():
    prompts = [prefix([0]), prefix([1]), prefix([0]), prefix([2])]
    lru, fifo = answer(steps_of(prompts), parse_cases([TierSpec(tier="g1", capacity=2, policy="lru")], policies="fifo"))
    assert lru.differences == []
    (difference,) = fifo.differences
    assert (difference.request, difference.step) == ("r3", 10)
    assert (difference.keys, difference.base_keys) == ([f"g1 {prompts[0][0]}"], [f"g1 {prompts[1][0]}"])
    assert (difference.blocks, difference.base_blocks) == (1, 1)


def test_what_the_recorded_run_had_is_computed_where_another_world_has_it_not():
    keys = prefix([0, 0, 0])
    world = World([TierSpec(tier="g1", capacity=8)])
    world.play([Ask(1, "r", keys, had=2), Leave(2, "r"), Ask(3, "s", keys), Leave(4, "s")])
    assert (world.asked, world.found["g1"]) == (6, 2)


def test_what_follows_a_block_that_had_no_room_is_not_kept():
    keys = prefix([0, 0, 0, 0])
    world = World([TierSpec(tier="g1", capacity=2)])
    world.play([Fill(1, "r", keys[:3]), Fill(2, "r", keys[3:], keys[2])])
    assert check_integrity(world.state) == []
    assert keys[3] not in world.state.tiers["g1"].lineage.index


def test_a_window_is_kept_without_what_was_before_it():
    keys = prefix([0, 0, 0, 0])
    world = World([TierSpec(tier="g1", capacity=2)])
    world.play([Fill(1, "r", keys[2:], keys[1], stands=False), Ask(2, "r", keys[2:])])
    assert world.found["g1"] == 2
    assert check_integrity(world.state) == []


def test_what_windows_and_the_whole_prompt_had_is_all_computed_where_another_world_has_it_not():
    whole, other = prefix([0, 0, 0, 0]), prefix([1, 1, 1, 1])
    world = World([TierSpec(tier="g1", capacity=8)])
    asked = [Ask(1, "r", other[2:], 2, parent=other[1]), Ask(1, "r", whole, 3)]
    world.play([*asked, Fill(2, "r", whole[3:], whole[2]), Leave(3, "r"), *asked])
    assert world.found["g1"] == 6
    assert check_integrity(world.state) == []


def test_a_recording_tells_what_stood_on_what():
    keys = prefix([0, 0, 0, 0])
    (desk, events), (before, _) = (desk_of(TierSpec(tier="g1", capacity=8)) for _ in range(2))
    for part, parent in ((keys[3:], keys[2]), (keys[:1], ROOT), (keys[1:2], keys[0])):
        register(desk, "g1", "r", allocate(desk, "g1", "r", 1), part, parent)
    assert [step.stands for step in from_events(events, before.state).steps if isinstance(step, Fill)] == [
        False,
        False,
        True,
    ]


class Lru:
    """Blocks of a plain request stream: no prefix, no holds. Shares no code with the state machine."""

    def __init__(self, capacity):
        self.capacity, self.order, self.hits = capacity, OrderedDict(), 0

    def ask(self, key):
        if key in self.order:
            self.hits += 1
            self.order.move_to_end(key)
            return
        if len(self.order) == self.capacity:
            self.order.popitem(last=False)
        self.order[key] = True


def test_a_plain_stream_under_lru_is_what_an_independent_one_finds():
    chance = Random(5)
    keys = [prefix([min(int(chance.paretovariate(0.6)), 500)]) for _ in range(4000)]
    (one,) = answer(steps_of(keys), parse_cases([TierSpec(tier="g1", capacity=64, policy="lru")]))
    lru = Lru(64)
    for (key,) in keys:
        lru.ask(key)
    assert one.hits == lru.hits > 0


@pytest.mark.parametrize(
    ("policy", "share", "ratio"),
    [
        ("lru", 0.01, 0.052),
        ("lru", 0.05, 0.195),
        ("lru", 0.20, 0.345),
        ("arc", 0.05, 0.210),
        ("arc", 0.20, 0.320),
        ("s3fifo", 0.05, 0.185),
    ],
)
def test_the_conversation_trace_gives_the_figures_that_libcachesim_gives(policy, share, ratio):
    """Figures of libCacheSim 0.3.5 on the same blocks. They know of no prefix, which is worth up to a point."""
    prompts = [[f"{block:032x}" for block in prompt] for prompt in mooncake_prompts("conversation")]
    capacity = round(share * len({key for keys in prompts for key in keys}))
    (one,) = answer(steps_of(prompts), parse_cases([TierSpec(tier="g1", capacity=capacity, policy=policy)]))
    assert one.hits / one.asked == pytest.approx(ratio, abs=0.01)
    assert one.bound / one.asked >= ratio
