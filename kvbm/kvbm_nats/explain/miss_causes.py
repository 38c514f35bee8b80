"""miss_causes: all the look-ups of a range that missed, by cause, and what many of them have in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable

from kvbm_nats.explain.answers import Cause, CauseShare, Loss, MissCauses, Offender
from kvbm_nats.explain.known import Known, explain_together
from kvbm_nats.explain.look_up import LookUp
from kvbm_nats.explain.loss import losses_of
from kvbm_nats.explain.words import SHOWN_DIGITS
from kvbm_nats.projection import Projection

TOGETHER = 256
"""Look-ups that are explained in step."""
PAGE = 1024
"""Look-ups that are read at once."""
WORST = 10
"""Offenders that are named."""


LOOK_UPS_MAX = 10_000
"""Look-ups of a range that are explained, the newest ones."""
Group = tuple[Cause, str]
"""What losses have in common, in words."""


class _Sum:
    """What the losses of a group come to."""

    def __init__(self) -> None:
        self.look_ups = self.blocks = self.tokens = 0
        self.example = ""

    def add(self, loss: Loss, request: str, *, look_ups: int = 1) -> None:
        """Count a loss, and so many look-ups for it."""
        self.look_ups += look_ups
        self.blocks += loss.blocks
        self.tokens += loss.tokens or 0
        self.example = request


async def miss_causes(
    projection: Projection,
    *,
    after: int,
    until: int,
    instance: str | None = None,
    limit: int = LOOK_UPS_MAX,
    on_progress: Callable[[int], None] = lambda _look_ups: None,
) -> MissCauses:
    """Explain the look-ups with `after < seq ≤ until`, the newest `limit` of them.

    `on_progress` is told how many were looked at.
    """
    async with projection.one_moment():
        return await _explain(projection, instance, after, until, limit, on_progress)


async def _explain(
    projection: Projection,
    instance: str | None,
    after: int,
    until: int,
    limit: int,
    on_progress: Callable[[int], None],
) -> MissCauses:
    known = Known(projection, (await projection.position()).seq)
    await known.begin()
    causes, groups = defaultdict[Cause, _Sum](_Sum), defaultdict[Group, _Sum](_Sum)
    look_ups = with_misses = asked = 0
    first_seq, sized = until + 1, True
    async for page in _pages(projection, instance, after, until, limit):
        look_ups, asked = look_ups + len(page), asked + sum(look_up.asked for look_up in page)
        first_seq = page[-1].seq
        for at in range(0, len(page), TOGETHER):
            some = [each for each in page[at : at + TOGETHER] if each.missed or each.is_found_below]
            explained = await explain_together(known, [losses_of(look_up, known) for look_up in some])
            for look_up, losses in zip(some, explained, strict=True):
                with_misses += bool(losses)
                for number, (loss, *_) in enumerate(losses):
                    sized &= loss.tokens is not None
                    causes[loss.cause].add(loss, look_up.request, look_ups=not number)
                    if loss.cause != "new":
                        groups[loss.cause, _common(loss)].add(loss, look_up.request)
            on_progress(look_ups - len(page) + at + len(some))
    missed = sum(each.blocks for each in causes.values())
    by_blocks = sorted(causes.items(), key=lambda item: -item[1].blocks)
    worst = sorted(groups.items(), key=lambda item: -item[1].blocks)[:WORST]
    return MissCauses(
        after_seq=max(after, first_seq - 1) if look_ups == limit else after,
        until_seq=until,
        look_ups=look_ups,
        with_misses=with_misses,
        asked=asked,
        missed=missed,
        causes=[
            CauseShare(
                cause=cause,
                look_ups=each.look_ups,
                blocks=each.blocks,
                tokens=each.tokens if sized else None,
                share=each.blocks / missed,
            )
            for cause, each in by_blocks
        ],
        worst=[
            Offender(
                cause=cause,
                said=said,
                look_ups=each.look_ups,
                blocks=each.blocks,
                tokens=each.tokens if sized else None,
                example=each.example,
            )
            for (cause, said), each in worst
        ],
    )


async def _pages(
    projection: Projection, instance: str | None, after: int, until: int, limit: int
) -> AsyncIterator[list[LookUp]]:
    """The look-ups of the range, the newest first."""
    while limit > 0:
        size = min(PAGE, limit)
        rows = await projection.journal(
            instance, types=["Matched"], after=after, until=until, limit=size, newest_first=True
        )
        if not rows:
            return
        yield [look_up for row in rows if row.applied_seq is not None and (look_up := LookUp.of(row))]
        until, limit = rows[-1].seq - 1, limit - len(rows)


def _common(loss: Loss) -> str:
    """What other losses may share with this one."""
    shared: dict[Cause, str] = {
        "diverged": f"prompts part behind block {loss.first_block - 1:,}, {loss.parent[:SHOWN_DIGITS]}"
        if loss.parent
        else "prompts that are others from their first block on",
        "evicted": f"evicted from {loss.tier} to make room for {loss.by or 'others'}"
        if loss.reason == "capacity"
        else f"evicted from {loss.tier}: {loss.reason}, by {loss.actor}",
        "not_admitted": f"refused below {loss.tier}: {'too low a priority' if loss.refused == 'priority' else 'seen too rarely'}",
        "engine_declined": f"in {loss.tier}, and the engine did not take them",
        "in_flight": f"being computed or moved for {loss.by or 'nobody that waits'}",
        "load_failed": f"not loaded: {loss.reason}",
        "other_instance": f"stored in {loss.instance}",
        "other_namespace": f"stored in {loss.instance}",
    }
    return shared.get(loss.cause, f"lost from {loss.tier}")
