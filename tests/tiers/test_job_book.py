"""Whatever happens in whatever order: every block of every job is said to have stopped, once."""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kvbm_tiers.job_book import JobBook, Outcome
from kvbm_tiers.mover import Job

GOOD, BAD = Outcome(checksum="0" * 16), Outcome(reason="EIO")
DEADLINE_US = 10


class Life(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.now_us = 0
        self.book = JobBook(length_bytes=1, batch_blocks=2, blocks_max=12, now_us=lambda: self.now_us)
        self.submitted = {}
        self.running, self.ended = [], []
        self.stopped, self.doubted = Counter(), Counter()

    @rule(count=st.integers(1, 5), up=st.booleans())
    def submit(self, count, up):
        source, tier = ("g2", "g1") if up else ("g1", "g2")
        job = Job(
            transfer=f"1.{len(self.submitted)}",
            source=source,
            tier=tier,
            source_slots=range(count),
            slots=range(count),
            keys=["0" * 32] * count,
            deadline_us=self.now_us + DEADLINE_US,
        )
        self.submitted[job.transfer] = count
        self.book.submit(job)

    @rule()
    def take(self):
        if batch := self.book.take(wait=False):
            self.running.append(batch)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), bad=st.booleans())
    def finish(self, data, bad):
        batch = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        outcomes = [] if batch.is_given_up else [BAD if bad else GOOD, GOOD][: len(batch.blocks)]
        if self.book.finish(batch, outcomes):
            self.ended.append(batch)

    @precondition(lambda self: self.ended)
    @rule(flaw=st.sampled_from(["", "ENOSPC"]))
    def conclude(self, flaw):
        self.book.conclude(self.ended.pop(), flaw)

    @rule(data=st.data())
    def cancel(self, data):
        self.book.cancel(f"1.{data.draw(st.integers(0, len(self.submitted)))}")

    @rule()
    def time_passes(self):
        self.now_us += DEADLINE_US // 2 + 1

    @invariant()
    def no_block_is_said_to_have_stopped_twice(self):
        for report in self.book.poll():
            blocks = [(report.transfer, slot) for slot in report.slots]
            assert report.stopped or report.reason
            (self.stopped if report.stopped else self.doubted).update(blocks)
            assert not report.stopped or len(report.checksums) == (0 if report.reason else 16 * len(blocks))
        assert not self.stopped or max(self.stopped.values()) == 1
        assert not self.doubted or max(self.doubted.values()) == 1

    def teardown(self):
        while batch := self.book.take(wait=False):
            self.running.append(batch)
        for batch in self.running:
            if self.book.finish(batch, [GOOD] * len(batch.blocks)):
                self.ended.append(batch)
        for batch in self.ended:
            self.book.conclude(batch, "")
        self.no_block_is_said_to_have_stopped_twice()
        assert self.stopped.total() == sum(self.submitted.values())


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=80, stateful_step_count=40)
