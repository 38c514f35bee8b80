"""match with onboard: what was found in lower tiers is in g1 before the answer, or the answer says why not."""

import asyncio
import threading

import pytest

from kvbm_events.schema.errors import InvalidCommand, LogUnavailable
from kvbm_nats.options import Options
from kvbm_tiers import MemoryMover, Report
from support.chained_keys import prefix
from support.service import TIMEOUT_S, HeldLog

KEYS = prefix(range(8))


class Mover(MemoryMover):
    """Brings up what it is told to, when it is told to."""

    def __init__(self):
        super().__init__({"g1": 64, "g2": 256, "g3": 256})
        self.held = False
        self.lost = set()
        self._waiting = []
        self._asked = threading.Event()

    async def is_asked(self):
        """Wait until it was told to bring something up, and holds it back."""
        assert await asyncio.to_thread(self._asked.wait, TIMEOUT_S)

    def submit(self, job):
        if job.tier == "g1" and self.held:
            self._waiting.append(job)
            self._asked.set()
        elif job.tier == "g1" and self.lost:
            bad = [slot for slot, key in zip(job.slots, job.keys, strict=True) if key in self.lost]
            good = [at for at, key in enumerate(job.keys) if key not in self.lost]
            if bad:
                self._reports.append(Report(transfer=job.transfer, slots=bad, reason="read error"))
            sums, size = "0" * 16 * len(good), self.block_bytes
            slots = [job.slots[at] for at in good]
            self._reports.append(Report(transfer=job.transfer, slots=slots, length_bytes=size, checksums=sums))
        else:
            super().submit(job)

    def let_go(self):
        self.held = False
        while self._waiting:
            super().submit(self._waiting.pop())


async def store_below(hosted, keys, tier="g2"):
    """Blocks that are in a lower tier only."""
    slots = (await hosted.ask("allocate", request="writer", count=len(keys)))["slots"]
    await hosted.ask("register", request="writer", slots=slots, keys=keys)
    await hosted.ask("release", request="writer")
    for source, target in (("g1", "g2"), ("g2", "g3")):
        await hosted.ask("offload", keys=keys, source=source, tier=target, wait_s=30)
        await hosted.until(lambda status: not status["transfers"])
        await hosted.ask("evict", keys=keys, tier=source)
        if target == tier:
            return


def tiers_of(answer):
    return {hit["tier"]: len(hit["slots"]) for hit in answer["hits"]}


@pytest.fixture
def mover():
    return Mover()


@pytest.fixture
async def hosted(open_hosted, mover):
    return await open_hosted(HeldLog(), tiers="g1=16,g2=256,g3=256", mover=mover)


@pytest.mark.parametrize("tier", ["g2", "g3"])
async def test_what_is_below_comes_up_and_is_held(hosted, tier):
    await store_below(hosted, KEYS, tier)
    assert tiers_of(await hosted.ask("match", request="look", keys=KEYS, hold=False)) == {tier: 8}
    answer = await hosted.ask("match", request="r", keys=KEYS, onboard=True)
    assert tiers_of(answer) == {"g1": 8}
    assert "note" not in answer
    assert len(set(answer["hits"][0]["slots"])) == 8
    assert tiers_of(await hosted.ask("match", request="look", keys=KEYS, hold=False)) == {"g1": 8}
    await hosted.ask("allocate", request="other", count=8)
    with pytest.raises(Exception, match="no room"):
        await hosted.ask("allocate", request="other", count=1)


async def test_what_is_in_g1_stays_in_front(hosted):
    await store_below(hosted, KEYS)
    await hosted.ask("match", request="first", keys=KEYS[:3], onboard=True)
    answer = await hosted.ask("match", request="r", keys=[*KEYS, *prefix([99])], onboard=True)
    assert tiers_of(answer) == {"g1": 8}


async def test_without_a_hold_nothing_comes_up(hosted):
    with pytest.raises(InvalidCommand, match="without hold"):
        await hosted.ask("match", request="r", keys=KEYS, hold=False, onboard=True)


async def test_without_room_the_answer_says_so(hosted):
    await store_below(hosted, KEYS)
    await hosted.ask("allocate", request="hog", count=9)
    answer = await hosted.ask("match", request="r", keys=KEYS, onboard=True)
    assert tiers_of(answer) == {"g2": 8}
    assert "no room for 8 blocks" in answer["note"]


async def test_who_does_not_want_to_wait_is_told_what_is_not_there(hosted, mover):
    await store_below(hosted, KEYS)
    mover.held = True
    answer = await hosted.ask("match", request="r", keys=KEYS, onboard=True, wait_s=0)
    assert tiers_of(answer) == {"g2": 8}
    assert answer["note"] == "not all arrived within 0 s"
    mover.let_go()


async def test_what_another_request_brings_up_is_waited_for_and_held(hosted, mover):
    await store_below(hosted, KEYS)
    mover.held = True
    asked = [asyncio.create_task(hosted.ask("match", request=f"r{i}", keys=KEYS, onboard=True)) for i in range(2)]
    await hosted.until(lambda status: status["events"].get("Matched", 0) == 2)
    await mover.is_asked()
    hosted.log.held = True
    mover.let_go()
    await hosted.until(lambda status: status["events"].get("OnboardCompleted"))
    assert not any(each.done() for each in asked), "what is not stored yet was told as there"
    hosted.log.let_go()
    answers = await asyncio.gather(*asked)
    assert [tiers_of(answer) for answer in answers] == [{"g1": 8}, {"g1": 8}]
    assert answers[0]["hits"] == answers[1]["hits"]
    await hosted.ask("release", request="r0")
    with pytest.raises(Exception, match="in use"):
        await hosted.ask("evict", keys=KEYS, tier="g1")


NARROW = Options(batch_max=2, path_transfers_max=1, path_blocks_max=2)


async def test_what_waits_for_its_turn_is_told_and_goes_with_its_request(open_hosted, mover):
    hosted = await open_hosted(HeldLog(), tiers="g1=16,g2=256,g3=256", mover=mover, options=NARROW)
    await store_below(hosted, KEYS)
    mover.held = True
    await hosted.ask("match", request="r", keys=KEYS)
    answer = await hosted.ask("onboard", request="r", keys=KEYS)
    assert (len(answer["transfers"]), answer["over"], answer["waiting"]) == (1, False, 6)
    asked = asyncio.create_task(hosted.ask("match", request="r", keys=KEYS, onboard=True))
    await mover.is_asked()
    await hosted.until(lambda status: waiting_up(status) == 12)
    await hosted.ask("release", request="r", reason="aborted")
    await hosted.until(lambda status: waiting_up(status) == 0)
    mover.let_go()
    told = await asked
    assert tiers_of(told) == {"g1": 2, "g2": 6}
    assert told["note"] == "6 did not come: cancelled"
    assert await hosted.requests() == 0, "who was released was opened again"


def waiting_up(status):
    return sum(path["waiting"] for path in status["paths"] if path["tier"] == "g1")


async def test_what_failed_is_never_told_as_there(hosted, mover):
    await store_below(hosted, KEYS)
    mover.lost = {KEYS[5]}
    answer = await hosted.ask("match", request="r", keys=KEYS, onboard=True)
    assert tiers_of(answer) == {"g1": 5, "g2": 3}
    assert answer["note"] == "1 did not come: read error"


async def test_who_waits_when_the_service_ends_is_told(hosted, mover):
    await store_below(hosted, KEYS)
    mover.held = True
    waiting = asyncio.create_task(hosted.ask("match", request="r", keys=KEYS, onboard=True))
    await hosted.until(lambda status: status["events"].get("OnboardStarted"))
    await hosted.close()
    with pytest.raises(LogUnavailable, match="closed"):
        await waiting
