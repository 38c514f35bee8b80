"""What the policies are worth: hits block by block against simulations that share no code with them, and under scans."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import cache
from random import Random

import pytest

from kvbm_events.schema import ROOT, Evicted
from kvbm_statemachine import POLICIES
from support.block_book import BlockBook
from support.chained_keys import key_at, prefix
from support.desks import desk_of, spec
from support.trace_replay import mooncake_prompts, replay, serve

CAPACITY = 120


def zipf_prompts(seed: int, count: int = 2000) -> list[list[str]]:
    """Prompts over trees of a few hundred documents, some of them asked for far more often than others."""
    chance, documents = Random(seed), range(300)
    weights = [1 / (rank + 1) for rank in documents]
    picked = chance.choices(documents, weights, k=count)
    return [prefix([document, *chance.choices((0, 1), (4, 1), k=chance.randrange(8))]) for document in picked]


def single_blocks(seed: int) -> list[list[str]]:
    """The first block of each of those: no prefix, no tree."""
    return [keys[:1] for keys in zipf_prompts(seed)]


def scanned_prompts(seed: int) -> list[list[str]]:
    """A hot set that would fit, asked for all the time, and long runs of prompts that nobody asks for again."""
    chance, prompts = Random(seed), list[list[str]]()
    for scan in range(20):
        prompts += [prefix([chance.randrange(80)]) for _ in range(150)]
        prompts += [prefix([1000 + scan, i]) for i in range(CAPACITY)]
    return prompts


class Simulation:
    """A cache of blocks in the order in which they would go, the first first. A block with a child cannot go.

    :ivar order: each block with its parent
    """

    def __init__(self, capacity: int, *, uses_count: bool) -> None:
        self.capacity, self.uses_count = capacity, uses_count
        self.order: OrderedDict[str, str] = OrderedDict()
        self.children: Counter[str] = Counter()

    def ask(self, keys: list[str]) -> int:
        """Look a prompt up, then fill the rest of it; how many blocks were there."""
        found = next((at for at, key in enumerate(keys) if key not in self.order), len(keys))
        if self.uses_count:
            for key in reversed(keys[:found]):
                self.order.move_to_end(key)
        while len(self.order) + len(keys) - found > self.capacity:
            self._evict(set(keys[:found]))
        for key, parent in reversed([*zip(keys, [ROOT, *keys], strict=False)][found:]):
            self.order[key] = parent
            self.children[parent] += 1
        return found

    def _evict(self, held: set[str]) -> None:
        victim = next(key for key in self.order if not self.children[key] and key not in held)
        self.children[self.order.pop(victim)] -= 1


def hits(policy: str, prompts: list[list[str]], capacity: int = CAPACITY) -> list[int]:
    """Blocks found, prompt by prompt, in one tier."""
    desk, _ = desk_of(spec("g1", capacity, policy=policy))
    return [serve(desk, keys) for keys in prompts]


@pytest.mark.parametrize("workload", [zipf_prompts, single_blocks])
@pytest.mark.parametrize(("policy", "uses_count"), [("lru", True), ("fifo", False)])
def test_lru_and_fifo_find_what_a_plain_simulation_finds(policy, uses_count, workload):
    prompts = workload(1)
    simulation = Simulation(CAPACITY, uses_count=uses_count)
    found = hits(policy, prompts)
    assert found == [simulation.ask(keys) for keys in prompts]
    assert 0.2 < sum(found) / sum(map(len, prompts)) < 0.9


def whole_prompt_lru(prompts: list[list[str]], capacity: int) -> list[int]:
    """Hits where each prompt uses all its blocks anew: then the oldest block has never a child, and just goes."""
    order: OrderedDict[str, None] = OrderedDict()
    found = []
    for keys in prompts:
        found.append(next((at for at, key in enumerate(keys) if key not in order), len(keys)))
        for key in reversed(keys):
            order[key] = None
            order.move_to_end(key)
        while len(order) > capacity:
            order.popitem(last=False)
    return found


def test_lineage_lru_finds_what_an_lru_of_whole_prompts_finds():
    prompts = zipf_prompts(2)
    assert hits("lineage-lru", prompts) == whole_prompt_lru(prompts, CAPACITY)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_parent_never_goes_before_its_child(policy):
    book, evicted = BlockBook(), 0
    desk, events = desk_of(spec("g1", CAPACITY, policy=policy))
    book.parents["g1"], book.sums["g1"] = {}, {}
    for keys in zipf_prompts(3, 1500):
        events.clear()
        serve(desk, keys)
        for event in events:
            book.note(event)  # asserts it
            evicted += isinstance(event, Evicted)
    assert evicted > 300
    assert book.parents["g1"].keys() == desk.state.tiers["g1"].lineage.index.keys()


@cache
def all_hits(policy: str, workload: Callable[[int], list[list[str]]]) -> int:
    """Blocks found over a whole workload."""
    return sum(hits(policy, workload(4)))


@pytest.mark.parametrize("policy", ["s3fifo", "arc", "w-tinylfu"])
def test_a_scan_drives_out_less_than_under_lru(policy):
    assert all_hits(policy, scanned_prompts) > all_hits("lru", scanned_prompts)


@pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy != "fifo"])
def test_what_is_asked_for_often_stays_longer_than_under_fifo(policy):
    assert all_hits(policy, zipf_prompts) > all_hits("fifo", zipf_prompts)


@pytest.mark.parametrize("policy", POLICIES)
def test_with_room_for_everything_only_first_uses_miss(policy):
    prompts = zipf_prompts(6, 800)
    unique = len({key for keys in prompts for key in keys})
    assert sum(hits(policy, prompts, unique)) == sum(map(len, prompts)) - unique


@pytest.mark.parametrize("name", ["conversation", "synthetic"])
def test_a_real_trace_in_a_tier_that_holds_it_all(name):
    prompts = mooncake_prompts(name, 2000)
    unique = len({block for prompt in prompts for block in prompt})
    assert replay("lineage-lru", unique, prompts) == sum(map(len, prompts)) - unique


@pytest.mark.parametrize("name", ["conversation", "synthetic"])
def test_a_real_trace_in_a_tier_that_holds_a_part_of_it(name):
    prompts = mooncake_prompts(name, 1000)
    expected = whole_prompt_lru([[key_at(block) for block in prompt] for prompt in prompts], 500)
    assert replay("lineage-lru", 500, prompts) == sum(expected) > 0
