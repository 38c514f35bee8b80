"""What benchmarks of movers share: a round of jobs given at once, its sample, and rows of all sides in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from harness import Peer, Row, make_row
from kvbm_events.schema import TierName
from kvbm_tiers import Job, Mover

JOB_BLOCKS = 32


class Sample(NamedTuple):
    """One side in one round."""

    gb_per_s: float
    cpu_us_per_block: float


Side = Callable[[], Sample]
"""Moves all blocks once."""


def timed(move: Callable[[], None], blocks: int, block_bytes: int) -> Side:
    """A side of this process."""

    def run() -> Sample:
        started, cpu = time.perf_counter(), time.process_time()
        move()
        took, spent = time.perf_counter() - started, time.process_time() - cpu
        return Sample(blocks * block_bytes / took / 1e9, spent / blocks * 1e6)

    return run


def asked(peer: Peer, **question: object) -> Side:
    """A side that is a peer in a process of its own: it measures itself."""
    return lambda: Sample(**peer.ask(**question))


def by_mover(
    mover: Mover, path: tuple[TierName, TierName], places: Sequence[tuple[int, int]], sums: Sequence[str]
) -> None:
    """Move block i from `places[i][0]` to `places[i][1]`, in jobs that are given at once, and wait for all."""
    source, tier = path
    for first in range(0, len(places), JOB_BLOCKS):
        of_job = places[first : first + JOB_BLOCKS]
        mover.submit(
            Job(
                transfer=str(first),
                source=source,
                tier=tier,
                source_slots=[here for here, _ in of_job],
                slots=[there for _, there in of_job],
                keys=["0" * 32] * len(of_job),
                deadline_us=1 << 62,
                checksums=sums[first : first + JOB_BLOCKS],
            )
        )
    arrived = 0
    while arrived < len(places):
        time.sleep(0.0005)
        for report in mover.poll():
            assert not report.reason, report
            arrived += len(report.slots)


def compare(
    what: str, ours: Mapping[str, Side], others: Mapping[str, Side], rounds: int, aims: Mapping[str, float]
) -> list[Row]:
    """Rows of each of our sides against each other one, of a run in which all take turns.

    Args:
        what: is moved
        ours: by name
        others: by name, the floor first; the CPU of a block is told beside that one
        rounds: how many
        aims: by the name of another side, the least ratio that is wanted
    """
    sides = {**ours, **others}
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    for side in sides.values():
        side()  # memory that was never touched costs its first user much
    for _ in range(rounds):
        for name, side in sides.items():
            samples[name].append(side())
    rows, floor = list[Row](), next(iter(others))
    for name in ours:
        title = f"{what}, {name}"
        for other in others:
            pair = {"theirs": _column(samples[other], 0), "against": other, "aim": aims.get(other)}
            rows.append(make_row(title, "GB/s", _column(samples[name], 0), more_is_better=True, **pair))
        cpu = _column(samples[name], 1)
        rows.append(make_row(f"{title}: CPU", "µs/block", cpu, theirs=_column(samples[floor], 1), against=floor))
    return rows


def _column(samples: Sequence[Sample], at: int) -> list[float]:
    return [sample[at] for sample in samples]
