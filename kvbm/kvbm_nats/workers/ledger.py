"""Which transfers are open, what the ranks have said of them, and which rank lives. No thread, no clock, no NATS.

Rules
1. What an incarnation of a rank says counts until the next one of that rank has spoken; one that was followed never
   counts again. What the one before left open is done again by the next, so its late reports must not count.
2. A transfer that a rank has seen and does not name as unfinished is one whose slots it writes no more.
3. A rank that is silent for `dead_after_s` fails what it has open, not stopped; one that ended, stopped.
4. A report may come before its job (the worker reads the log, too): it waits for it, if it is of a later event than the
   last job. Every other report of an unknown transfer is late, or invented, and is passed over.
5. A new incarnation's memory is told between the reports that came before it and those that come after it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TypeVar

from kvbm_events.schema import Contents, to_runs, to_slots
from kvbm_nats.workers.rank import Rank
from kvbm_nats.workers.track import Track
from kvbm_tiers import OWNER_RESTARTED, Job, Memory, Report
from kvbm_tiers.reports import Hello, Message, OpenAnswer, OpenJob, OpenQuestion, Place, Reported, place_of

News = TypeVar("News", Report, Memory)

EARLY_MAX = 4096
"""Reports that wait for their job."""
FORGOTTEN = "the worker has it no more and never said how it went"


class Ledger:
    """See the module. Times are in seconds of any steady clock.

    :ivar ranks: what is known of each
    :ivar passed_over: messages that counted nothing
    """

    def __init__(self, namespace: str, ranks: int, *, dead_after_s: float, now_s: float) -> None:
        self.namespace, self.dead_after_s = namespace, dead_after_s
        self.ranks = [Rank(number, now_s) for number in range(ranks)]
        self.passed_over = 0
        self._tracks: dict[str, Track] = {}
        self._last: Place = (0, 0)
        self._early: list[tuple[int, Reported]] = []
        self._news: deque[Report | Memory] = deque()

    @property
    def epoch(self) -> int:
        """The owner's epoch; 0 before it began."""
        return self._last[0]

    @property
    def has_news(self) -> bool:
        """Whether `take` or `memories` has something to give."""
        return bool(self._news)

    def begin(self, epoch: int, left: Mapping[str, Sequence[int]]) -> bool:
        """See `Mover.begin`. Quiet is only what was never open."""
        self._last = (epoch, 0)
        for transfer, slots in left.items():
            self._add(Track(transfer, slots, len(self.ranks), told=OWNER_RESTARTED))
        return not left

    def submit(self, job: Job) -> None:
        """An acknowledged job, in the order of the log."""
        self._last = place_of(job.transfer)
        self._add(Track(job.transfer, job.slots, len(self.ranks), checksums=job.checksums))

    def take(self) -> list[Report]:
        """What has become certain since the last time, up to memory that was not taken."""
        return self._next(Report)

    def memories(self) -> list[Memory]:
        """Memory that came since the last time, up to reports that were not taken."""
        return self._next(Memory)

    def _next(self, kind: type[News]) -> list[News]:
        """The news of one kind, up to the first of the other."""
        news: list[News] = []
        while self._news and isinstance(self._news[0], kind):
            news.append(self._news.popleft())  # type: ignore[arg-type] # mypy does not narrow what an index gives
        return news

    def hear(self, number: int, message: Message, now_s: float) -> None:
        """A rank has said something. Whatever it is, and in whatever order, it never raises."""
        if number >= len(self.ranks):
            self.passed_over += 1
            return
        rank = self.ranks[number]
        if isinstance(message, Hello):
            rank.refused = self.refusal(message)
            if rank.refused or not self._welcome(rank, message):
                self.passed_over += 1
                return
        elif message.incarnation != rank.incarnation:
            self.passed_over += 1
            return
        rank.heard(now_s)
        if isinstance(message, Reported):
            self._report(number, message)
        else:
            rank.note(message)
            for track in list(self._tracks.values()):
                self._quieten(rank, track)

    def answer(self, question: OpenQuestion, now_s: float) -> OpenAnswer:
        """What is still to be done by a rank that asks, which from here on is the one that counts."""
        hello = question.hello
        refusal = self.refusal(hello)
        if hello.rank < len(self.ranks):
            self.hear(hello.rank, hello, now_s)
        if refusal:
            return OpenAnswer(epoch=self.epoch, refusal=refusal)
        if self.ranks[hello.rank].incarnation != hello.incarnation:
            return OpenAnswer(epoch=self.epoch, refusal=f"another worker of rank {hello.rank} came after this one")
        jobs = [
            OpenJob(transfer=track.transfer, slots=to_runs(slots))
            for track in self._tracks.values()
            if (slots := track.left(hello.rank))
        ]
        return OpenAnswer(epoch=self.epoch, n=self._last[1], jobs=jobs)

    def refusal(self, hello: Hello) -> str:
        """Why a worker cannot be taken; empty if it can."""
        if hello.namespace != self.namespace:
            return f"its namespace is {hello.namespace!r}, and the owner's is {self.namespace!r}"
        if hello.ranks != len(self.ranks):
            return f"it counts {hello.ranks} ranks, and the owner {len(self.ranks)}"
        for rank in self.ranks:
            if rank.hello and rank.number != hello.rank and rank.hello.pp != hello.pp:
                return f"it has {hello.pp} stages of pipeline parallel, and rank {rank.number} has {rank.hello.pp}"
        return ""

    def tick(self, now_s: float) -> None:
        """Fail what silent ranks have open."""
        for rank in self.ranks:
            silent_s = rank.silent_s(now_s)
            if silent_s >= self.dead_after_s:
                reason = f"rank {rank.number} is silent for {self.dead_after_s:g} s"
                reason += f"; a worker was refused: {rank.refused}" if rank.refused else ""
                for track in list(self._tracks.values()):
                    if track.silent(rank.number):
                        self._tell(track, track.fail(rank.number, reason))

    def pause(self, now_s: float) -> None:
        """Nobody could be heard until now: no rank's silence counts."""
        for rank in self.ranks:
            rank.heard(now_s)

    def _welcome(self, rank: Rank, hello: Hello) -> bool:
        before = rank.incarnation
        if not rank.welcome(hello):
            return False
        if rank.incarnation != before:
            self._news.append(memory_of(hello))
            self._early = [(number, report) for number, report in self._early if number != rank.number]
        return True

    def _add(self, track: Track) -> None:
        self._tracks[track.transfer] = track
        waiting, self._early = self._early, []
        for number, report in waiting:
            if place_of(report.transfer) == track.place:
                self._tell(track, track.hear(number, report, to_slots(report.slots)))
            elif place_of(report.transfer) > self._last:
                self._early.append((number, report))
        for rank in self.ranks:
            self._quieten(rank, track)

    def _report(self, number: int, report: Reported) -> None:
        track = self._tracks.get(report.transfer)
        if track:
            self._tell(track, track.hear(number, report, to_slots(report.slots)))
        elif place_of(report.transfer) > self._last and len(self._early) < EARLY_MAX:
            self._early.append((number, report))
        else:
            self.passed_over += 1

    def _quieten(self, rank: Rank, track: Track) -> None:
        """Where the rank has seen the transfer and does not name it as unfinished, it writes there no more."""
        if track.transfer in self._tracks and rank.is_done_with(track.transfer, track.place):
            self._tell(track, track.quiet(rank.number, rank.last_words or FORGOTTEN))

    def _tell(self, track: Track, news: list[Report]) -> None:
        self._news += news
        if not track.blocks:
            self._tracks.pop(track.transfer, None)


def memory_of(hello: Hello) -> Memory:
    """A worker's memory; what begins and ends with it has its name."""
    return Memory(
        rank=hello.rank,
        holder=f"worker {hello.incarnation}",
        contents=[
            Contents(tier=held.tier, name=held.contents or hello.incarnation, why=held.why) for held in hello.tiers
        ],
    )
