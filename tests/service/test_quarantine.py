"""A service is asked to free what its mover left in doubt."""

from kvbm_tiers import MemoryMover, Report
from support.chained_keys import prefix

KEYS = prefix([1, 1, 1])


class DoubtfulMover(MemoryMover):
    """Says of every job that it failed, and never that it stopped."""

    def __init__(self):
        super().__init__({})

    def submit(self, job):
        self._reports.append(Report(transfer=job.transfer, slots=job.slots, reason="who knows", stopped=False))


async def test_a_person_frees_them(open_hosted):
    hosted = await open_hosted(mover=DoubtfulMover())
    slots = (await hosted.ask("allocate", request="r", count=3))["slots"]
    await hosted.ask("register", request="r", slots=slots, keys=KEYS)
    await hosted.until(lambda status: status["tiers"][1]["quarantined"] == 3)
    assert (await hosted.ask("free", tiers=["g1"], actor="ann"))["slots"] == 0
    assert (await hosted.ask("free", tiers=["g1", "g2"], actor="ann"))["slots"] == 3
    status = await hosted.ask("status")
    assert (status["tiers"][1]["quarantined"], status["transfers"]) == (0, 0)
