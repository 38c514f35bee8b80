"""The embedded owner, over both logs."""

import asyncio
import threading

import pytest

from kvbm_events.jetstream import JetStreamLog
from kvbm_events.memory import MemoryLog
from kvbm_events.schema import TierSpec
from kvbm_events.schema.errors import (
    Fenced,
    InvalidCommand,
    LogFull,
    LogUnavailable,
    NamespaceMismatch,
    TierFull,
    UnknownRequest,
)
from kvbm_nats.manager import BlockManager
from kvbm_nats.options import Options
from kvbm_nats.recovery import recover
from kvbm_statemachine import digest, to_bytes
from support.chained_keys import prefix

NAMESPACE = "model=m;block_tokens=16"
TIERS = [TierSpec(tier="g1", capacity=32), TierSpec(tier="g2", capacity=64)]


def prompt(*parts):
    """Keys of a prompt made of parts, each `(name, blocks)`: equal beginnings have equal keys."""
    return prefix([name for name, blocks in parts for _ in range(blocks)])


def chain(name, blocks):
    return prompt((sum(name.encode()), blocks))


@pytest.fixture(params=["memory", "jetstream"])
def log(request):
    """What an owner can be opened with, again and again."""
    return MemoryLog() if request.param == "memory" else request.getfixturevalue("nats_url")


def open_owner(log, instance, **changes):
    plan = {"namespace": NAMESPACE, "tiers": TIERS, **changes}
    return BlockManager.open(log, instance, **plan)


def fill(owner, request, keys):
    """Serve a prompt as an engine does; how many of its blocks were found."""
    found = sum(len(hit.slots) for hit in owner.match(request, keys) if hit.tier == "g1")
    if found < len(keys):
        slots = owner.allocate(request, len(keys) - found)
        owner.register(request, slots, keys[found:], parent=keys[found - 1] if found else "")
    owner.release(request)
    owner.settle()
    return found


async def folded(log, instance):
    """The state as the log alone tells it."""
    return (await recovered_from(log, instance)).state


async def recovered_from(log, instance):
    log = log if isinstance(log, MemoryLog) else await JetStreamLog.connect(log)
    try:
        return await recover(log, instance)
    finally:
        if isinstance(log, JetStreamLog):
            await log.close()


def test_a_prompt_is_found_again_from_the_tier_it_went_down_to(log, instance):
    with open_owner(log, instance) as owner:
        old = chain("old", 20)
        assert fill(owner, "a", old) == 0
        assert fill(owner, "b", old) == 20
        assert fill(owner, "c", chain("new", 30)) == 0  # pushes the old prompt out of g1
        hits = owner.match("d", old)
        assert [(hit.tier, len(hit.slots)) for hit in hits] == [("g1", 2), ("g2", 18)]
        assert owner.wait([owner.onboard("d", old[2:], source="g2")])
        assert len(owner.resident(old)) == 20
        owner.release("d")
        assert owner.check_integrity() == []


def test_the_log_alone_gives_the_same_state(log, instance):
    with open_owner(log, instance) as owner:
        for number in range(8):
            fill(owner, f"r{number}", prompt((99, 4), (number, 6)))
        owner.flush()
        live = digest(owner.state)
        assert owner.acked == (1, owner.state.n)
    assert digest(asyncio.run(folded(log, instance))) == live


def test_an_owner_that_comes_back_keeps_blocks_and_drops_requests(log, instance):
    keys = chain("kept", 10)
    with open_owner(log, instance) as owner:
        fill(owner, "a", keys)
        owner.match("still-open", keys)
        owner.allocate("still-open", 3)
        owner.flush()
    with open_owner(log, instance, keep=["g2"]) as owner:
        assert owner.state.epoch == 2
        assert not owner.state.requests
        hits = owner.match("b", keys)
        assert [(hit.tier, len(hit.slots)) for hit in hits] == [("g2", 10)]
        assert owner.check_integrity() == []


def test_requests_are_kept_where_their_clients_go_on(log, instance):
    keys = prompt((1, 12))
    with open_owner(log, instance) as owner:
        fill(owner, "a", keys[:10])
        owner.match("client", keys[:10])
        slots = owner.allocate("client", 2)
    with open_owner(log, instance, requests="kept") as owner:
        owner.register("client", slots, keys[10:], parent=keys[9])
        owner.release("client")
        with pytest.raises(UnknownRequest, match="client"):
            owner.release("client")


def test_recovery_from_a_snapshot_is_recovery_from_the_beginning(log, instance):
    with open_owner(log, instance) as owner:
        for number in range(6):
            fill(owner, f"r{number}", chain(f"p{number}", 9))
        snapshot = owner.snapshot()
        for number in range(6, 9):
            fill(owner, f"r{number}", chain(f"p{number}", 9))
        live, last = digest(owner.state), owner.state.n
    recovered = asyncio.run(recovered_from(log, instance))
    assert recovered.snapshot_seq == snapshot.seq
    assert recovered.events == last - snapshot.n
    assert digest(recovered.state) == live


def test_of_two_owners_one_goes_on_and_the_other_is_fenced(log, instance):
    first = open_owner(log, instance)
    fill(first, "a", chain("a", 5))
    first.flush()
    second = open_owner(log, instance)
    fill(second, "b", chain("b", 5))
    second.flush()
    with pytest.raises(Fenced, match=instance):
        for number in range(100):
            first.match(f"late{number}", chain("late", 3))
            first.flush(timeout_s=5)
    with pytest.raises(Fenced):
        first.match("again", chain("a", 5))
    first.close()
    assert fill(second, "c", chain("b", 5)) == 5
    second.flush()
    live = digest(second.state)
    second.close()
    assert digest(asyncio.run(folded(log, instance))) == live


def test_racing_owners_leave_one_log_that_folds(nats_url, instance):
    log, errors = nats_url, []

    def own(name):
        try:
            with open_owner(log, instance) as owner:
                for number in range(20):
                    fill(owner, f"{name}{number}", chain(f"{name}{number}", 4))
                owner.flush()
        except Fenced as error:
            errors.append(error)

    threads = [threading.Thread(target=own, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) <= 2
    assert asyncio.run(folded(log, instance)).epoch >= 1


def test_a_refused_command_changes_nothing(log, instance):
    with open_owner(log, instance) as owner:
        owner.allocate("big", 30)
        before = to_bytes(owner.state)
        for refused, error in [
            (lambda: owner.allocate("more", 3), TierFull),
            (lambda: owner.register("big", [0], ["not a key"]), InvalidCommand),
            (lambda: owner.register("big", [31], chain("x", 1)), InvalidCommand),
            (lambda: owner.release("nobody"), UnknownRequest),
            (lambda: owner.match("", chain("x", 1)), InvalidCommand),
        ]:
            with pytest.raises(error):
                refused()
            assert to_bytes(owner.state) == before


def test_kept_blocks_of_another_namespace_are_refused(log, instance):
    with open_owner(log, instance) as owner:
        fill(owner, "a", chain("a", 5))
    with pytest.raises(NamespaceMismatch, match="block_tokens was '16' and is '32'"):
        open_owner(log, instance, namespace="model=m;block_tokens=32")
    with open_owner(log, instance, namespace="model=m;block_tokens=32", keep=[]) as owner:
        assert owner.match("b", chain("a", 5)) == []


def test_what_was_not_acknowledged_when_the_log_filled_up_is_told():
    log = MemoryLog(bytes_max=20_000)
    owner = open_owner(log, "full")
    with pytest.raises(LogFull, match="20000 bytes"):
        for number in range(1000):
            fill(owner, f"r{number}", chain(f"p{number}", 8))
    acked = owner.acked[1]
    with pytest.raises(LogFull):
        owner.close()
    assert asyncio.run(folded(log, "full")).n == acked


def test_a_closed_owner_says_so(log, instance):
    owner = open_owner(log, instance)
    owner.close()
    owner.close()
    with pytest.raises(LogUnavailable, match="closed"):
        owner.match("a", chain("a", 1))


def test_commands_wait_and_are_then_refused_while_the_log_is_behind(instance):
    released = threading.Event()

    class SlowLog(MemoryLog):
        async def open_writer(self, *args):
            writer = await super().open_writer(*args)
            append = writer.append

            async def slow_append(events):
                await asyncio.to_thread(released.wait)
                await append(events)

            writer.append = slow_append
            return writer

    owner = open_owner(SlowLog(), instance, options=Options(pending_max=64, room_timeout_s=0.05))
    with pytest.raises(LogUnavailable, match="64"):
        for number in range(200):
            owner.match(f"r{number}", chain("a", 2))
    released.set()
    owner.flush()
    assert owner.match("after", chain("a", 2)) == []
    owner.close()
