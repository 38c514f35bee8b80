"""Recovery: an instance's state as its log tells it, from the nearest snapshot and the events after it; and the next snapshot."""

from __future__ import annotations

from msgspec import Struct

from kvbm_events.log import Log, Snapshot
from kvbm_events.schema.errors import IllegalTransition
from kvbm_events.sequencer import Sequencer
from kvbm_statemachine import State, digest_of, evolve, from_bytes


class Recovered(Struct, kw_only=True):
    """A folded state and where it came from.

    :ivar after: the instance's last log sequence that was read
    :ivar sequencer: to go on with from there
    :ivar snapshot_seq: where the snapshot stood that it began with; 0 for none
    :ivar events: how many events were folded on top
    :ivar dropped: events of an epoch that is over which no reader may apply
    :ivar notes: what an operator should know
    """

    state: State
    after: int
    sequencer: Sequencer
    snapshot_seq: int = 0
    events: int = 0
    dropped: int = 0
    notes: list[str] = []


async def recover(log: Log, instance: str, until: int | None = None) -> Recovered:
    """Fold the instance's log up to and with sequence `until`, or to its end.

    Raises:
        LogGap: events are missing that no snapshot covers.
        IllegalTransition, InvalidEvent: the log holds what this program cannot apply; it never guesses.
    """
    last = await log.last_seq(instance)
    end = last if until is None else min(last, until)
    sequencer = Sequencer()
    recovered = Recovered(state=State(), after=end, sequencer=sequencer)
    snapshot = await log.load_snapshot(instance, end)
    if snapshot:
        _begin_with(recovered, snapshot)
    state = recovered.state
    if state.epoch:
        sequencer.resume(instance, state.epoch, state.n)
    async for batch in log.read(instance, after=recovered.snapshot_seq, until=end):
        for entry in batch:
            for ordered in sequencer.feed(entry):
                evolve(state, ordered.event)
                recovered.events += 1
    recovered.dropped = sequencer.dropped
    return recovered


async def save_state(log: Log, instance: str, epoch: int, n: int, state: bytes, *, now_us: int) -> Snapshot:
    """Write a state to the log's snapshots: that after the event `(epoch, n)`, which is the instance's last."""
    snapshot = Snapshot(
        instance=instance,
        epoch=epoch,
        n=n,
        seq=await log.last_seq(instance),
        at_us=now_us,
        digest=digest_of(state),
        state=state,
    )
    await log.save_snapshot(snapshot)
    return snapshot


def _begin_with(recovered: Recovered, snapshot: Snapshot) -> None:
    """Start from a snapshot if it is whole and of this version, else from the beginning."""
    if digest_of(snapshot.state) != snapshot.digest:
        recovered.notes.append(f"the snapshot at {snapshot.seq} is damaged: the whole log is read instead")
        return
    try:
        recovered.state = from_bytes(snapshot.state)
    except IllegalTransition as flaw:
        recovered.notes.append(f"{flaw}: the whole log is read instead")
    else:
        recovered.snapshot_seq = snapshot.seq
