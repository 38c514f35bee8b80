"""All tiers of an instance: what is kept when they are opened again, and what cannot be opened."""

import pytest

from kvbm_events.schema import TierSpec
from kvbm_events.schema.errors import InvalidCommand, NamespaceMismatch
from kvbm_tiers import CpuDevice, Medium, Stack, in_folder, preset
from kvbm_tiers.errors import StoreBusy

PLAN = {"g1": 4, "g2": 8, "g3": 16}


@pytest.fixture
def open_stack(tmp_path):
    stacks = []

    def open_one(capacities=PLAN, namespace="n=1", media=None, **more):
        plan = [TierSpec(tier=tier, capacity=capacity) for tier, capacity in capacities.items()]
        places = {**in_folder(tmp_path), "g3": Medium.parse(f"slab:{tmp_path}/disk"), **(media or {})}
        stacks.append(Stack(plan, preset("tiny"), namespace, places, **more))
        return stacks[-1]

    yield open_one
    for stack in stacks:
        stack.close()


def test_a_new_one_starts_empty_and_its_files_are_where_they_were_asked_for(open_stack, tmp_path):
    stack = open_stack()
    assert (stack.kept, list(stack.stores)) == ([], ["g1", "g2", "g3"])
    assert {each.name for each in tmp_path.iterdir() if each.is_file()} >= {"g2.arena"}
    assert (tmp_path / "disk" / "g3.slab").exists()


def test_an_engine_brings_its_own_device_memory(open_stack):
    device = CpuDevice(preset("tiny"), PLAN["g1"])
    assert open_stack(given={"g1": device}).stores["g1"] is device


def test_what_survives_is_kept_and_g1_is_not(open_stack):
    open_stack().close()
    assert open_stack().kept == ["g2", "g3"]


def test_a_tier_of_another_size_starts_empty(open_stack):
    open_stack().close()
    stack = open_stack({**PLAN, "g2": 9})
    assert stack.kept == ["g3"]
    assert stack.openings["g2"].why == "its capacity was 8 and is 9"


def test_a_reset_keeps_nothing(open_stack):
    open_stack().close()
    assert open_stack(namespace="n=2", reset=True).kept == []


def names(stack):
    (memory,) = stack.mover.memories()
    assert stack.mover.memories() == [], "told once"
    return {each.tier: each.name for each in memory.contents}


def test_its_mover_tells_what_is_in_the_stores_by_a_name_that_lives_as_long_as_that(open_stack):
    stack = open_stack()
    first = names(stack)
    stack.close()
    stack = open_stack({**PLAN, "g2": 9})
    second = names(stack)
    assert first.keys() == second.keys() == PLAN.keys()
    assert [tier for tier in PLAN if first[tier] == second[tier]] == ["g3"]
    stack.close()
    assert not set(names(open_stack(reset=True)).values()) & {*first.values(), *second.values()}


def test_what_cannot_be_opened_leaves_nothing_open(open_stack):
    first = open_stack()
    with pytest.raises(StoreBusy):
        open_stack()
    first.close()
    with pytest.raises(NamespaceMismatch):
        open_stack(namespace="n=2")
    assert open_stack().kept == ["g2", "g3"]


def test_a_tier_without_a_store_is_refused(open_stack):
    with pytest.raises(InvalidCommand, match="g4: nothing says where its blocks lie"):
        open_stack({**PLAN, "g4": 4})
