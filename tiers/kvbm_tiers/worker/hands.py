"""The thread that a worker's mover lives in: it begins jobs, a few at a time, and hands on what the mover reports."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from kvbm_tiers.job_book import wall_clock_us
from kvbm_tiers.mover import Deletion, Job, Mover, Report
from kvbm_tiers.worker.backlog import Backlog

PAUSE_S = 0.01
"""Between two polls while jobs are under way and there is no news: a deadline passes without any."""
OVERDUE = "its deadline passed before it began"


class Hands:
    """See the module. Made on the event loop of the worker."""

    def __init__(self, mover: Mover, backlog: Backlog, tell: Callable[[Report], None], *, in_flight_max: int) -> None:
        """Nothing is begun before `start`.

        Args:
            mover: used in this thread only, and closed there
            backlog: where jobs come from
            tell: called in this thread with each report
            in_flight_max: jobs that the mover has at a time
        """
        self._loop = asyncio.get_running_loop()
        self._failure: asyncio.Future[None] = self._loop.create_future()
        self._mover, self._backlog, self._tell = mover, backlog, tell
        self._in_flight_max = in_flight_max
        self._news = threading.Event()
        mover.watch(self._news.set)
        backlog.watch(self._news.set)
        self._running: dict[str, set[int]] = {}
        self._give_up_at_s = float("inf")
        self._thread = threading.Thread(target=self._run, name="kvbm-worker-hands", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Begin nothing more, wait until what is under way is over, but no longer than this."""
        self._give_up_at_s = time.monotonic() + timeout_s
        self._backlog.close()
        self._thread.join(timeout_s + 1)

    async def failed(self) -> None:
        """Wait until the mover raises what is no job's fault, and raise it. Nothing is moved any more then."""
        await asyncio.shield(self._failure)

    def _fail(self, error: Exception) -> None:
        self._failure.set_exception(error)

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to: the worker looks here
            self._backlog.close()
            with suppress(RuntimeError):  # nobody waits for it any more
                self._loop.call_soon_threadsafe(self._fail, error)
        finally:
            self._mover.close()

    def _work(self) -> None:
        while True:
            self._begin()
            if not self._running and self._backlog.is_closed:
                return
            reports = self._mover.poll()
            for report in reports:
                self._note(report)
            if reports:
                continue
            if time.monotonic() > self._give_up_at_s:
                return
            self._news.wait(PAUSE_S if self._running else None)
            self._news.clear()

    def _begin(self) -> None:
        """Give the mover what it has room for."""
        while len(self._running) < self._in_flight_max and (order := self._backlog.next()):
            if isinstance(order, Deletion):
                self._mover.forget(order)
            else:
                self._begin_job(order)

    def _begin_job(self, job: Job) -> None:
        if job.deadline_us <= wall_clock_us():
            self._refuse(job, OVERDUE)
            return
        self._running[job.transfer] = set(job.slots)
        try:
            self._mover.submit(job)
        except Exception as error:  # noqa: BLE001 - whatever a mover raises, its job failed and the next one may not
            del self._running[job.transfer]
            self._refuse(job, f"the mover did not take it: {error!r}")

    def _refuse(self, job: Job, reason: str) -> None:
        self._tell(Report(transfer=job.transfer, slots=job.slots, reason=reason))

    def _note(self, report: Report) -> None:
        left = self._running.get(report.transfer)
        if report.stopped and left is not None:
            left.difference_update(report.slots)
            if not left:
                del self._running[report.transfer]
        self._tell(report)
