"""The slow checker beside the answer where traces have no such cause: priorities, objects that vanish, engines' own caches."""

from __future__ import annotations

import random

from explain.played import Engine
from explain.raw_log import RawLog, as_answer
from explain.small_owner import Owner, prompt
from kvbm_nats.explain import why_miss
from kvbm_nats.projection import open_projection
from kvbm_nats.traces import Workload, generate
from kvbm_statemachine.decide import complete_transfer, evict
from projection.checks import caught_up

SAMPLES = 50


async def assert_agreed(log, tmp_path) -> set[tuple[str, str]]:
    """Compare a sample of all misses; the causes that it had, and what refused."""
    url = str(tmp_path / "projection.db")
    await caught_up(url, log)
    raw = RawLog([entry async for batch in log.read(until=await log.last_seq()) for entry in batch])
    missed = [(seq, event) for seq, event in raw.events if type(event).__name__ == "Matched" and event.missed]
    sample = dict(random.Random(8).sample(missed, min(SAMPLES, len(missed))))
    expected = raw.answers(set(sample))
    causes = set[tuple[str, str]]()
    async with open_projection(url) as projection:
        for seq, event in sorted(sample.items()):
            found = await why_miss(projection, event.request, until=seq)
            assert found is not None
            assert [as_answer(loss) for loss in found.losses] == expected[seq], seq
            causes.update((loss.cause, loss.refused) for loss in found.losses)
    return causes


async def play_with_priorities(log, tmp_path, admission: str) -> set[tuple[str, str]]:
    chance = random.Random(admission)
    trace = list(generate(Workload(seed=3, requests=200)))
    given = {each.request: chance.choice([10, 10, 10, 90]) for each in trace}
    plan = f"g1=300,g2=500:{admission}"
    engine = Engine(log, "a", plan, "model=test", overlap=2, priority_of=given.__getitem__)
    for at in range(0, len(trace), 20):
        engine.play(trace[at : at + 20])
        there = [*engine.state.tiers["g2"].lineage.index]
        evict(engine.desk, "g2", chance.sample(there, min(2, len(there))), reason="gone", actor="mover")
    return await assert_agreed(log, tmp_path)


async def test_write_through_from_a_priority_on(log, tmp_path):
    causes = await play_with_priorities(log, tmp_path, "write_through:priority/60")
    assert causes >= {("not_admitted", "priority"), ("evicted", ""), ("gone", "")}


async def test_selective_from_a_priority_on(log, tmp_path):
    causes = await play_with_priorities(log, tmp_path, "selective/2:priority/60")
    assert causes >= {("not_admitted", "priority"), ("not_admitted", "seen"), ("diverged", "")}


async def test_an_engines_own_cache(log, tmp_path):
    owner = Owner(log, plan="g1=32:observed,g2=8")
    chance = random.Random(4)
    prompts = [prompt("s", *(chance.choice("ab") for _ in range(5))) for _ in range(12)]
    for number, keys in enumerate(prompts):
        found = owner.ask(f"req-{number}", keys, hold=True, local=0)
        if found < len(keys) and not any(key in owner.state.tiers["g1"].lineage.index for key in keys[found:]):
            owner.compute(f"req-{number}", keys, found)
        owner.ask(f"req-{number}-again", keys, local=len(keys) - 1)
    complete_transfer(owner.desk, owner.down(prompts[0]))
    evict(owner.desk, "g1", prompts[0][::-1], reason="capacity", actor="vllm")
    owner.ask("last", prompts[0], local=0)
    causes = await assert_agreed(log, tmp_path)
    assert ("engine_declined", "") in causes
