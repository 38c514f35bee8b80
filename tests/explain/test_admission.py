"""not_admitted by priority: `priority/N` of the tier below, and who had computed or found the block."""

from __future__ import annotations

import pytest

from explain.small_owner import Owner, prompt
from kvbm_nats.explain import admission, asked
from kvbm_statemachine.decide import complete_transfer, evict, offload, onboard

THROUGH = "g1=2,g2=8:priority/60"
SELECTIVE = "g1=2,g2=8:selective/2:priority/60"


def pushed_out(owner: Owner) -> None:
    owner.fill("other", prompt("x", "y"))


async def the_loss(ask_why, owner: Owner, words: str = "a"):
    owner.ask("last", prompt(*words))
    (loss,) = (await ask_why("last")).losses
    return loss


async def test_computed_by_a_request_of_too_low_a_priority(log, ask_why):
    owner = Owner(log, plan=THROUGH)
    owner.fill("req-1", prompt("a"), priority=40)
    pushed_out(owner)
    loss = await the_loss(ask_why, owner)
    assert (loss.cause, loss.tier, loss.refused) == ("not_admitted", "g1", "priority")
    assert loss.said.endswith(
        "it had never gone down: admission refused: the priority of req-1, 40, was below the 60 of g2. "
        "g1 with 3 blocks would have kept it, it has 2"
    )


async def test_computed_by_one_of_enough_and_not_gone_down_in_time_is_evicted(log, ask_why):
    owner = Owner(log, plan=THROUGH)
    owner.fill("req-1", prompt("a"), priority=60)
    pushed_out(owner)
    assert (await the_loss(ask_why, owner)).cause == "evicted"


async def test_found_by_one_of_enough_was_wanted_below(log, ask_why):
    owner = Owner(log, plan="g1=3,g2=8:priority/60")
    owner.fill("req-1", prompt("a", "b", "c"), priority=40)
    owner.ask("urgent", prompt("a", "b"), priority=60)
    owner.fill("other", prompt("x", "y", "z"))
    owner.ask("last", prompt("a", "b", "c"))
    # The run takes the cause of its first block: it was found by the urgent one.
    assert [(each.cause, each.blocks) for each in (await ask_why("last")).losses] == [("evicted", 3)]


@pytest.mark.parametrize("priority", [59, 60])
async def test_it_is_the_finders_priority_that_counts_for_selective(log, ask_why, priority):
    owner = Owner(log, plan=SELECTIVE)
    owner.fill("req-1", prompt("a"), priority=90)
    owner.ask("req-2", prompt("a"), priority=priority)
    pushed_out(owner)
    loss = await the_loss(ask_why, owner)
    assert (loss.cause, loss.refused) == (("not_admitted", "priority") if priority < 60 else ("evicted", ""))


async def test_seen_too_rarely_comes_first(log, ask_why):
    owner = Owner(log, plan=SELECTIVE)
    owner.fill("req-1", prompt("a"), priority=10)
    pushed_out(owner)
    assert (await the_loss(ask_why, owner)).refused == "seen"


async def test_who_went_another_way_or_not_so_far_has_not_found_it(log, ask_why):
    owner = Owner(log, plan="g1=4,g2=8:priority/60")
    owner.fill("req-1", prompt("a", "b"), priority=40)
    owner.fill("req-2", prompt("a", "c"), priority=40)
    owner.ask("urgent-1", prompt("a", "c"), priority=60)
    owner.ask("urgent-2", prompt("a"), priority=60)
    owner.fill("other", prompt(*"vwxy"))
    owner.ask("last", prompt("a", "b"))
    found = [(each.cause, each.first_block, each.blocks) for each in (await ask_why("last")).losses]
    assert found[0][0] == "evicted", "its first block was found by urgent ones"
    (loss,) = (await why_last(ask_why, owner)).losses
    assert (loss.cause, loss.refused) == ("not_admitted", "priority")


async def why_last(ask_why, owner: Owner):
    """Ask again when the first block is back."""
    owner.fill("again", prompt("a"))
    owner.ask("last-2", prompt("a", "b"))
    return await ask_why("last-2")


async def test_found_before_or_after_its_stay_does_not_count(log, ask_why):
    owner = Owner(log, plan=THROUGH)
    owner.fill("req-1", prompt("a"), priority=40)
    owner.ask("urgent", prompt("a"), priority=90)
    evict(owner.desk, "g1", prompt("a"), reason="operator", actor="test")
    owner.fill("req-2", prompt("a"), priority=40)
    pushed_out(owner)
    owner.ask("urgent-2", prompt("a"), priority=90)
    assert (await the_loss(ask_why, owner)).cause == "not_admitted"


async def test_what_went_down_was_not_refused(log, ask_why):
    owner = Owner(log, plan=THROUGH)
    owner.fill("req-1", prompt("a"), priority=40)
    complete_transfer(owner.desk, owner.down(prompt("a")))
    evict(owner.desk, "g2", prompt("a"), reason="operator", actor="test")
    pushed_out(owner)
    assert (await the_loss(ask_why, owner)).cause == "evicted"


async def test_what_came_by_a_transfer_has_the_transfers_priority(log, ask_why):
    owner = Owner(log, plan="g1=4,g2=1,g3=8:priority/60")
    for name, word, priority in (("req-1", "a", 40), ("req-2", "b", 50)):
        owner.fill(name, prompt(word))
        event = offload(owner.desk, "g1", "g2", prompt(word), deadline_us=1, priority=priority)
        complete_transfer(owner.desk, event.transfer)
        evict(owner.desk, "g1", prompt(word), reason="operator", actor="test")
    loss = await the_loss(ask_why, owner)
    assert (loss.cause, loss.tier, loss.refused) == ("not_admitted", "g2", "priority")
    assert "admission refused: every priority was below the 60 of g3" in loss.said


async def test_what_the_tier_below_had_while_it_came_up_was_not_refused(log, ask_why):
    owner = Owner(log, plan="g1=2,g2=2:priority/60")
    owner.fill("req-1", prompt("a"))
    owner.down_and_out(prompt("a"))
    owner.ask("req-2", prompt("a"), hold=True)
    event = onboard(owner.desk, "g2", "g1", prompt("a"), request="req-2", deadline_us=1)
    complete_transfer(owner.desk, event.transfer)
    evict(owner.desk, "g2", prompt("a"), reason="operator", actor="test")
    owner.compute("req-2", prompt("a", "b"), 1)
    pushed_out(owner)
    assert (await the_loss(ask_why, owner)).cause == "evicted"


@pytest.mark.parametrize(
    ("module", "limit"), [(admission, "FINDERS_MAX"), (admission, "PARENTS_MAX"), (asked, "READ_MAX")]
)
async def test_beyond_a_limit_it_counts_as_wanted(log, ask_why, monkeypatch, module, limit):
    owner = Owner(log, plan="g1=3,g2=8:priority/60")
    owner.fill("req-0", prompt("b"), priority=90)
    owner.fill("req-1", prompt("a"), priority=40)
    owner.ask("urgent", prompt("b"), priority=60)
    owner.fill("other", prompt("x", "y", "z"))
    assert (await the_loss(ask_why, owner)).cause == "not_admitted"
    monkeypatch.setattr(module, limit, 0)
    assert (await ask_why("last")).losses[0].cause == "evicted"
