"""The table is the whole machine: each state takes the steps that it has a row for, and every other is refused by name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kvbm_events.schema import AnyEvent, Attached
from kvbm_events.schema.errors import IllegalTransition
from kvbm_statemachine import POLICIES, TABLE, SlotState, Step
from kvbm_statemachine.diagram import diagram
from kvbm_statemachine.slots import Slots
from kvbm_statemachine.table import Transition
from support.history import PLANS
from support.seeded_history import seeded_history

README = (Path(__file__).resolve().parents[2] / "statemachine" / "README.md").read_text()
STEPS = {name: row for name, row in vars(Step).items() if isinstance(row, Transition)}
HOLDING = {Step.MATCHED, Step.UNHELD}
"""The rows that lead back to where they come from: nothing moves."""


def slots_in(state, count=3):
    slots = Slots(count)
    slots.restore(bytes((state,)) * count)
    return slots


def closure(begin, edges):
    reached = {begin}
    while more := {after for before, after in edges if before in reached} - reached:
        reached |= more
    return reached


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("state", SlotState, ids=lambda state: state.name.lower())
def test_a_slot_takes_the_steps_of_its_state_and_no_other(state, step):
    slots = slots_in(state)
    if step.before == state:
        slots.check(step, [(0, 2)])
        slots.move(step, [(0, 2)])
        assert [*slots.states] == [step.after, step.after, state]
        assert slots.free == slots.count(SlotState.FREE)
        return
    said = f"{re.escape(step.cause)}: slot 1: it is {state.name.lower()}, not {step.before.name.lower()}"
    slots.states[0] = step.before
    with pytest.raises(IllegalTransition, match=said):
        slots.check(step, [(0, 2)])
    with pytest.raises(IllegalTransition, match=said):
        slots.check(step, [(1, 1)])
    assert [*slots.states] == [step.before, state, state]


@pytest.mark.parametrize("runs", [[(3, 1)], [(2, 2)], [(-1, 1)], [(0, 0)], [(1, -1)]])
def test_a_slot_that_the_tier_does_not_have(runs):
    with pytest.raises(IllegalTransition, match="the tier has 3 slots"):
        slots_in(SlotState.FREE).check(Step.ALLOCATED, runs)


@pytest.mark.parametrize("runs", [[(0, 1), (0, 1)], [(0, 2), (1, 2)], [(1, 2), (0, 2)]])
def test_a_slot_that_is_named_twice(runs):
    with pytest.raises(IllegalTransition, match="the event names it twice"):
        slots_in(SlotState.FREE).check(Step.ALLOCATED, runs)


def test_the_table_has_every_row_once():
    assert set(TABLE) == set(STEPS.values())
    assert len(TABLE) == len(STEPS)


def test_every_state_is_reached_and_leads_back_to_free():
    edges = {(row.before, row.after) for row in TABLE}
    assert closure(SlotState.FREE, edges) == set(SlotState)
    assert closure(SlotState.FREE, {(after, before) for before, after in edges}) == set(SlotState)


def test_every_event_but_attached_has_a_row_and_every_row_an_event():
    causes = {name for row in TABLE for name in re.findall(r"…?[A-Z]\w+", row.cause)}
    events = {re.sub("^(Offload|Onboard)", "…", cls.__name__) for cls in AnyEvent.__args__ if cls is not Attached}
    assert causes == events


def test_histories_move_slots_by_the_rows_of_the_table_and_by_all_of_them(monkeypatch):
    taken, move = set(), Slots.move

    def checked_move(slots, step, runs):
        slots.check(step, runs)
        taken.add(step)
        move(slots, step, runs)

    monkeypatch.setattr(Slots, "move", checked_move)
    for plan in PLANS:
        for seed, policy in enumerate(POLICIES):
            seeded_history(policy, plan, seed)
    assert taken == set(TABLE) - HOLDING


def test_the_readme_shows_the_diagram_of_the_table():
    assert f"```mermaid\n{diagram()}\n```\n" in README


def test_the_diagram_has_every_row_of_the_table():
    arrows = {f"    {row.before.name.lower()} --> {row.after.name.lower()}: {row.cause}" for row in TABLE}
    assert arrows < set(diagram().splitlines())


def test_the_readme_names_every_policy():
    assert set(POLICIES) == set(re.findall(r"^\| `([a-z0-9-]+)`", README, re.MULTILINE))


def test_the_diagram_is_printed_by_its_module():
    printed = subprocess.run(
        [sys.executable, "-m", "kvbm_statemachine.diagram"],
        capture_output=True,
        check=True,
        encoding="utf-8",
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONIOENCODING": "utf-8"},
    )
    assert printed.stdout == f"{diagram()}\n"
    assert printed.stderr == ""
