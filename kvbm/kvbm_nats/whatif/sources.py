"""Recordings from where they lie: a live log, an exported one, a trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from kvbm_events.log import Entry, Log
from kvbm_events.schema import AnyEvent
from kvbm_events.schema.errors import InvalidCommand, LogGap
from kvbm_events.sequencer import Sequencer
from kvbm_events.subjects import ALL_TIERS, PREFIX, instance_of
from kvbm_nats.projection import JOURNAL_LIMIT, Projection
from kvbm_nats.replay import Moment
from kvbm_nats.replay.beginning import beginning, snapshots_of
from kvbm_nats.replay.export import Line
from kvbm_nats.replay.fold import ordered_events
from kvbm_nats.traces import load_trace
from kvbm_nats.traces.files import lines_of, opened
from kvbm_nats.whatif.recorded import Recorded, from_events, from_trace
from kvbm_statemachine import State


async def from_log(log: Log, instance: str, *, until: Moment | None = None) -> Recorded:
    """The recording in an instance's log, from its first event or the oldest snapshot.

    Raises:
        LogGap: the log has no such instance, or misses events.
        InvalidEvent, IllegalTransition, LogUnavailable: as they say.
    """
    state, after = await beginning(log, instance, await snapshots_of(log, instance))
    sequencer = Sequencer()
    if state.epoch:
        sequencer.resume(instance, state.epoch, state.n)
    events = list[AnyEvent]()
    async for batch in ordered_events(log, instance, sequencer, after=after, until=until):
        events += [ordered.event for ordered in batch]
    if until is None:
        sequencer.check_whole()
    return _named(from_events(events, state), instance)


async def from_projection(projection: Projection, instance: str, *, until: int) -> Recorded:
    """The recording in a projection's journal, from where it begins, up to and with a sequence.

    Raises:
        InvalidCommand: it has nothing of the instance up to there.
        IllegalTransition, LogGap: as they say.
    """
    rows = await projection.journal(instance, until=until, limit=1)
    after, state = 0, State()
    if rows:
        with suppress(InvalidCommand):  # the journal begins with the instance's first event
            after = rows[0].seq - 1
            state = await projection.state(instance, after)
    sequencer, events = Sequencer(), list[AnyEvent]()
    if state.epoch:
        sequencer.resume(instance, state.epoch, state.n)
    while rows := await projection.journal(instance, after=after, until=until, limit=JOURNAL_LIMIT):
        for row in rows:
            entry = Entry(row.seq, f"{PREFIX}.{instance}.{ALL_TIERS}.journal", row.body.encode())
            events += [ordered.event for ordered in sequencer.feed(entry)]
        after = rows[-1].seq
    return _named(from_events(events, state), instance)


def from_file(path: Path, *, instance: str, block_tokens: int) -> Recorded:
    """The recording in a file: a log that `kvbm replay --export` wrote, or a trace.

    Args:
        path: the file, or a directory of coding-agent sessions
        instance: of a log of several, which one
        block_tokens: of a trace that does not say

    Raises:
        InvalidTrace: the file is neither.
        InvalidCommand: the log has other instances only.
        InvalidEvent, IllegalTransition, LogGap: as they say.
    """
    if path.is_dir() or not _is_export(path):
        return from_trace(load_trace(path, block_tokens=block_tokens))
    sequencer, names = Sequencer(), set[str]()
    events = list[AnyEvent]()
    for entry in _entries(path):
        names.add(instance_of(entry.subject))
        if instance_of(entry.subject) == instance:
            events += [ordered.event for ordered in sequencer.feed(entry)]
    if instance not in names:
        raise InvalidCommand(f"{path} has nothing of instance {instance!r}", hint=f"--instance {' or '.join(names)}")
    sequencer.check_whole()
    return _named(from_events(events), instance)


def _is_export(path: Path) -> bool:
    with opened(path) as stream:
        _, line = next(lines_of(stream, path), (0, b""))
    try:
        msgspec.json.decode(line, type=Line)
    except msgspec.DecodeError:
        return False
    return True


def _entries(path: Path) -> Iterator[Entry]:
    with opened(path) as stream:
        for number, text in lines_of(stream, path):
            try:
                line = msgspec.json.decode(text, type=Line)
            except msgspec.DecodeError as error:
                raise InvalidCommand(f"{path}:{number} is no entry of a log", why=str(error)) from error
            yield Entry(line.seq, line.subject, bytes(line.event))


def _named(recorded: Recorded, instance: str) -> Recorded:
    if not recorded.tiers:
        raise LogGap(f"instance {instance!r} has no events", hint="`nats stream subjects KVBM` lists what there is")
    return recorded
