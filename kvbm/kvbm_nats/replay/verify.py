"""verify: rebuild an instance's state from its events alone, and compare it with what others say it is.

The events are folded from the beginning of the log, never from a snapshot, where the log still has its beginning.
Wherever somebody vouches for the state at that point, a snapshot or the live owner, the two digests must be equal.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from kvbm_events.log import Log, Snapshot
from kvbm_events.schema import AnyEvent, total
from kvbm_events.schema.errors import IllegalTransition, LogGap
from kvbm_events.sequencer import Sequencer
from kvbm_nats.replay.beginning import beginning, snapshots_of
from kvbm_nats.replay.fold import ordered_events
from kvbm_nats.replay.moment import Moment
from kvbm_statemachine import State, check_integrity, digest, evolve, first_difference, from_bytes


class Claim(Struct, frozen=True, kw_only=True):
    """Somebody's word for the state after the event `(epoch, n)`.

    :ivar state: the state itself, where it can be had, so that a difference can be named
    """

    who: str
    epoch: int
    n: int
    digest: str
    state: bytes = b""


class Verdict(Struct, kw_only=True):
    """What verifying came to.

    :ivar compared: how many claims were checked and agreed
    :ivar difference: the first that did not, and where; empty if all agreed
    :ivar flaws: what is wrong with the state at the end, by `check_integrity`
    :ivar unchecked: claims for which the fold did not pass their event
    """

    instance: str
    seq: int = 0
    epoch: int = 0
    n: int = -1
    events: int = 0
    blocks: int = 0
    digest: str = ""
    began_at: int = 0
    compared: int = 0
    stale: int = 0
    dropped: int = 0
    difference: str = ""
    flaws: list[str] = []
    unchecked: list[str] = []

    @property
    def is_equal(self) -> bool:
        """Whether everything that could be compared agreed, and something could."""
        return not self.difference and not self.flaws and self.compared > 0


async def verify(
    log: Log,
    instance: str,
    *,
    live: Claim | None = None,
    until: Moment | None = None,
    speed: float = 0.0,
    on_progress: Callable[[Verdict], None] = lambda _verdict: None,
) -> Verdict:
    """Fold the log and compare it with every snapshot in it, and with the live owner's word if it is given.

    Raises:
        LogGap: the log has no such instance, or misses events.
        IllegalTransition: the log holds an event that cannot be applied; the message says at which sequence.
    """
    snapshots = await snapshots_of(log, instance)
    state, after = await beginning(log, instance, snapshots)
    claims = [_claim(snapshot) for snapshot in snapshots if snapshot.seq != after]
    if live:
        claims.append(live)
    due = {(claim.epoch, claim.n): claim for claim in claims}
    verdict = Verdict(instance=instance, began_at=after)
    sequencer = Sequencer()
    if state.epoch:
        sequencer.resume(instance, state.epoch, state.n)
    async for batch in ordered_events(log, instance, sequencer, after=after, until=until, speed=speed):
        for ordered in batch:
            _apply(state, ordered.seq, ordered.event, verdict)
            claim = due.pop((state.epoch, state.n), None)
            if claim and not _agrees(state, claim, verdict):
                return verdict
        on_progress(verdict)
    if until is None:
        sequencer.check_whole()
    if not state.epoch:
        raise LogGap(
            f"instance {instance!r} has no events up to there", hint="`nats stream subjects KVBM` lists what there is"
        )
    verdict.epoch, verdict.n, verdict.digest = state.epoch, state.n, digest(state)
    verdict.stale, verdict.dropped = sequencer.stale, sequencer.dropped
    verdict.flaws = check_integrity(state)
    verdict.unchecked = [claim.who for claim in due.values()]
    return verdict


def _apply(state: State, seq: int, event: AnyEvent, verdict: Verdict) -> None:
    try:
        evolve(state, event)
    except IllegalTransition as error:
        raise IllegalTransition(
            f"event {event.epoch}.{event.n} at sequence {seq} cannot be applied",
            why=str(error),
            hint="the log was written by another version, or is damaged: compare with an export",
        ) from error
    verdict.seq = seq
    verdict.events += 1
    verdict.blocks += total(getattr(event, "slots", []))


def _agrees(state: State, claim: Claim, verdict: Verdict) -> bool:
    if digest(state) == claim.digest:
        verdict.compared += 1
        return True
    verdict.difference = f"after {claim.epoch}.{claim.n} the log and {claim.who} differ: {_place(state, claim)}"
    verdict.epoch, verdict.n, verdict.digest = state.epoch, state.n, digest(state)
    return False


def _place(state: State, claim: Claim) -> str:
    if not claim.state:
        return "its state is not at hand to compare"
    try:
        return first_difference(state, from_bytes(claim.state))
    except IllegalTransition as flaw:
        return str(flaw)


def _claim(snapshot: Snapshot) -> Claim:
    return Claim(
        who=f"the snapshot at {snapshot.seq}",
        epoch=snapshot.epoch,
        n=snapshot.n,
        digest=snapshot.digest,
        state=snapshot.state,
    )
