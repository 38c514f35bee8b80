"""Look-ups of a connector: an engine looks in its own cache first, and says how much it found."""

from __future__ import annotations

from explain.small_owner import Owner, causes, prompt
from kvbm_events.schema import Found, Matched
from kvbm_nats.explain import miss_causes
from kvbm_nats.explain.words import sentence
from kvbm_statemachine.decide import allocate, complete_transfer, evict, fail_transfer, onboard, register

PLAN = "g1=8:observed,g2=8"
KEYS = prompt("a", "b", "c", "d", "e", "f")


def engine(log, below: int) -> Owner:
    """One that lost all of its own, while the first blocks are in g2."""
    owner = Owner(log, plan=PLAN)
    if below:
        owner.fill("req-1", KEYS[:below])
        complete_transfer(owner.desk, owner.down(KEYS[:below]))
        evict(owner.desk, "g1", KEYS[:below], reason="capacity", actor="vllm")
    return owner


async def test_what_the_engine_found_by_itself_is_no_miss(log, ask_why, story_of):
    owner = engine(log, 0)
    owner.ask("req-2", KEYS, local=4)
    found = await ask_why("req-2")
    assert (found.asked, found.found, found.by_engine, found.missed) == (6, {}, 4, 2)
    assert causes(found) == [("new", 4, 2)]
    assert (found.losses[0].first_token, found.losses[0].parent) == (64, None)
    assert found.losses[0].said.startswith("block 4 (tokens 64 to 79) and what follows was never stored")
    story = await story_of("req-2")
    assert (story.asked, story.found, story.by_engine) == (6, {}, 4)
    assert story.events[-1].said == "req-2 asked for 6 blocks: found 4 by the engine itself; missed 2"


async def test_the_tier_below_goes_on_behind_the_engines_own(log, ask_why):
    owner = engine(log, 5)
    owner.ask("req-2", KEYS, local=2)
    found = await ask_why("req-2")
    assert (found.found, found.by_engine, found.missed) == ({"g2": 3}, 2, 1)
    assert causes(found) == [("new", 5, 1)]
    assert found.losses[0].parent == KEYS[4], "the last one that was found"


async def test_an_engine_makes_room_for_nobody_that_the_log_knows(log, ask_why):
    owner = Owner(log, plan=PLAN)
    owner.fill("req-1", KEYS)
    evict(owner.desk, "g1", KEYS[::-1], reason="capacity", actor="vllm")
    owner.at(2)
    owner.ask("req-2", KEYS, local=0)
    (loss,) = (await ask_why("req-2")).losses
    assert (loss.cause, loss.actor, loss.by) == ("evicted", "vllm", "")
    assert "was evicted from g1 2.0 s before: vllm made room" in loss.said
    assert "offload" not in loss.said


async def test_evicted_behind_what_the_engine_had(log, ask_why):
    owner = engine(log, 6)
    evict(owner.desk, "g2", KEYS[3:4], reason="operator", actor="ops")
    owner.ask("req-2", KEYS, local=3)
    found = await ask_why("req-2")
    assert causes(found) == [("evicted", 3, 3)]
    assert (found.by_engine, found.losses[0].actor) == (3, "ops")


async def test_where_nobody_tells_what_was_before_it_who_stores_it_tells(log, ask_why):
    """Its own request computes it later: then the prompt's way is known, and that another went elsewhere from there."""
    owner = engine(log, 0)
    other = [*KEYS[:4], *prompt("a", "b", "c", "d", "x")[4:]]
    owner.ask("req-1", other, hold=True, local=4)
    register(owner.desk, "g1", "req-1", allocate(owner.desk, "g1", "req-1", 1), other[4:], KEYS[3])
    owner.ask("req-2", KEYS, hold=True, local=4)
    assert causes(await ask_why("req-2")) == [("new", 4, 2)]
    register(owner.desk, "g1", "req-2", allocate(owner.desk, "g1", "req-2", 2), KEYS[4:], KEYS[3])
    (loss,) = (await ask_why("req-2")).losses
    assert (loss.cause, loss.first_block, loss.requests, loss.parent) == ("diverged", 4, 1, KEYS[3])


async def test_what_the_engine_had_by_the_log_and_did_not_take(log, ask_why):
    owner = Owner(log, plan=PLAN)
    owner.fill("req-1", KEYS)
    owner.ask("req-2", KEYS, local=5)
    (loss,) = (await ask_why("req-2")).losses
    assert (loss.cause, loss.tier, loss.first_block) == ("engine_declined", "g1", 5)
    assert loss.said == (
        "block 5 (tokens 80 to 95) was in g1, the engine's own, and the engine did not take it from there; "
        "of a prompt that it has, it computes the end anew"
    )
    owner.ask("req-3", KEYS, local=2)
    (loss,) = (await ask_why("req-3")).losses
    assert (loss.cause, loss.first_block, loss.blocks) == ("engine_declined", 2, 4)
    assert loss.said.endswith("did not take it from there")


async def test_causes_of_many_count_from_where_the_engine_came(log, read):
    owner = engine(log, 0)
    owner.ask("req-2", KEYS, local=4)
    last = await log.last_seq()
    found = await read(lambda projection: miss_causes(projection, after=0, until=last))
    assert (found.asked, found.missed, found.look_ups, found.with_misses) == (6, 2, 1, 1)


def start_and_fail(owner: Owner, request: str, keys: list[str]) -> None:
    event = onboard(owner.desk, "g2", "g1", keys, request=request, deadline_us=1, at=[0, 1, 2])
    fail_transfer(owner.desk, event.transfer, reason="no route")


async def test_a_load_that_failed_stands_behind_what_the_engine_had(log, ask_why):
    owner = engine(log, 5)
    owner.ask("req-2", KEYS, hold=True, local=2)
    start_and_fail(owner, "req-2", KEYS[2:5])
    found = await ask_why("req-2")
    assert causes(found) == [("load_failed", 2, 3), ("new", 5, 1)]


def test_a_look_up_in_words():
    found = [Found(tier="g2", blocks=3, last=KEYS[0])]
    event = Matched(epoch=1, n=1, at_us=1, request="r", asked=9, found=found, missed="".join(KEYS[:2]), unnamed=1)
    assert sentence(event) == "r asked for 9 blocks: found 3 in g2, 3 by the engine itself; missed 3"
