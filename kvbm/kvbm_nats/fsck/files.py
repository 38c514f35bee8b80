"""Tiers in files, an arena or a slab a rank: every registered block is read and compared with its checksum."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from msgspec import Struct

from kvbm_events.schema import CHECKSUM_DIGITS, UNKNOWN_CHECKSUM, TierName
from kvbm_nats.fsck.reading import Reading, Sum
from kvbm_nats.fsck.report import BadBlock, FileReport, TierReport
from kvbm_statemachine.tier import Tier
from kvbm_tiers import Medium
from kvbm_tiers.block_move import reason_of
from kvbm_tiers.examination import Expected, SlotReader, examine
from kvbm_tiers.openers import file_of
from kvbm_tiers.sidecar import Sidecar, path_of

CORRUPT = "its bytes have the checksum {}, and those that came had {}"
_OURS = re.compile(r"(?P<tier>g[1-4])\.(arena|slab)(\.json(\.new)?)?")


class Question(Struct, frozen=True, kw_only=True):
    """A tier that is to be checked.

    :ivar tier: as the log tells it, when the check began
    :ivar media: where it lies, rank 0 first
    :ivar threads: that read
    :ivar advance: called with the number of blocks that were read since the last time
    """

    tier: Tier
    media: Sequence[Medium]
    namespace: str
    threads: int
    advance: Callable[[int], None]


def read_files(question: Question) -> TierReport:
    """Read all registered blocks."""
    tier = question.tier
    report = TierReport(tier=tier.name, capacity=tier.spec.capacity, registered=len(tier.lineage.index))
    found = [_examine(question, rank, medium) for rank, medium in enumerate(question.media)]
    report.files = [file for file, _ in found]
    if any(file.flaw for file in report.files):
        report.holes = report.registered
        question.advance(report.registered)
        return report
    started_s = time.perf_counter()
    with ExitStack() as stack:
        try:
            readers = [
                stack.enter_context(closing(SlotReader(Path(file.path), sidecar))) for file, sidecar in found if sidecar
            ]
        except OSError as error:
            report.unchecked = reason_of(error)
            return report
        reading = Reading(readers, question.threads)
        for sums in reading.sums(sorted(tier.lineage.index.values())):
            _compare(report, tier, sums)
            question.advance(len(sums))
        report.size_bytes, report.took_s = reading.size_bytes, time.perf_counter() - started_s
    return report


def _examine(question: Question, rank: int, medium: Medium) -> tuple[FileReport, Sidecar | None]:
    tier = question.tier
    path = file_of(tier.name, medium)
    expected = Expected(namespace=question.namespace, capacity=tier.spec.capacity, contents=tier.contents.get(rank, ""))
    sidecar, flaw = examine(path, expected)
    return FileReport(rank=rank, path=str(path), contents=sidecar.incarnation if sidecar else "", flaw=flaw), sidecar


def _compare(report: TierReport, tier: Tier, sums: list[Sum]) -> None:
    packed = tier.checksums.of([each.slot for each in sums])
    for at, each in enumerate(sums):
        known = packed[at * CHECKSUM_DIGITS : (at + 1) * CHECKSUM_DIGITS] or UNKNOWN_CHECKSUM
        if each.reason or known not in {each.checksum, UNKNOWN_CHECKSUM}:
            report.corrupt += 1
            why = each.reason or CORRUPT.format(each.checksum, known)
            report.blocks.append(BadBlock(slot=each.slot, key=tier.lineage.key_of(each.slot), why=why))
        elif known == UNKNOWN_CHECKSUM:
            report.unproven += 1
        else:
            report.proven += 1


def look_again(report: TierReport, question: Question) -> None:
    """A file that was replaced while it was read has proven nothing."""
    files = [_examine(question, rank, medium)[0] for rank, medium in enumerate(question.media)]
    if any(file.flaw for file in files):
        report.files, report.blocks = files, []
        report.holes = report.registered - report.changed
        report.proven = report.corrupt = report.unproven = 0


def leftovers(media: Iterable[tuple[TierName, Medium]], unsaid: Collection[str]) -> list[str]:
    """Files in these media's folders that look like a tier's and are none of theirs, but for tiers of which nobody said."""
    files = {file_of(tier, medium) for tier, medium in media}
    named = files | {path_of(file) for file in files}
    folders = {file.parent for file in files if file.parent.is_dir()}
    found = ((each, _OURS.fullmatch(each.name)) for folder in folders for each in folder.iterdir())
    return sorted(str(each) for each, ours in found if ours and ours["tier"] not in unsaid and each not in named)
