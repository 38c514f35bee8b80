"""What a finding says, in one line that begins with the block's place in the prompt."""

from __future__ import annotations

from collections.abc import Callable

from kvbm_events.schema import Evicted, OffloadStarted, OnboardStarted, Opened
from kvbm_nats.explain.answers import Cause
from kvbm_nats.explain.attachment import why_emptied
from kvbm_nats.explain.cause import Finding
from kvbm_nats.explain.known import Known
from kvbm_nats.explain.look_up import LookUp
from kvbm_nats.explain.words import blocks, from_where, made_room, span


def say(place: int, block_tokens: int | None, look_up: LookUp, finding: Finding, known: Known) -> str:
    """The finding about the block at this place of the prompt."""
    return _SAYS[finding.cause](_Subject(place, block_tokens, look_up, finding, known))


class _Subject:
    """What is spoken of; each cause has a method."""

    def __init__(self, place: int, block_tokens: int | None, look_up: LookUp, finding: Finding, known: Known) -> None:
        self._place, self._look_up, self._known = place, look_up, known
        self._told, self._row, self._behind = finding.told, finding.row, len(finding.behind)
        self._refusal, self._parent = finding.refusal, finding.parent
        self._tier = finding.row.tier if finding.row else ""
        self._where = f"block {place:,}"
        if block_tokens:
            self._where += f" (tokens {place * block_tokens:,} to {(place + 1) * block_tokens - 1:,})"

    @property
    def _ago(self) -> str:
        return span(self._look_up.at_us - self._told.row.at_us) if self._told else "some time"

    @property
    def _whose(self) -> str:
        event = self._told.event if self._told else None
        return f"; written by {event.writer}" if isinstance(event, Evicted) and event.writer else ""

    def new(self) -> str:
        if not self._place:
            return f"{self._where}: nothing was ever stored here"
        if self._look_up.start:
            return (
                f"{self._where}, of a window, was never stored: of those an engine keeps what it has when a step ends"
            )
        if self._parent is None:
            return f"{self._where} and what follows was never stored; what is before it, only the engine had"
        return f"{self._where} and what follows is new: nothing was ever stored behind the block before"

    def diverged(self) -> str:
        others = f"{blocks(self._behind, 'request')} before went another way"
        if not self._place:
            return f"the prompt is another from its start, {self._where}: {others}. Another system prompt, or salt"
        return f"the prompt parts from others at {self._where}: {others} from here"

    def evicted(self) -> str:
        event = self._told.event if self._told else None
        if not isinstance(event, Evicted):
            return f"{self._where} left {self._tier} {self._ago} before"
        gone = f"{self._where} was evicted from {self._tier} {self._ago} before"
        if event.reason != "capacity":
            return f"{gone}: {event.reason}, by {event.actor}{self._whose}"
        return f"{gone}: {made_room(event)}{self._whose}"

    def not_admitted(self) -> str:
        refusal = self._refusal
        if refusal is None:
            return self.evicted()
        why = f"{refusal.below.tier} takes what was seen {refusal.below.seen_min} times, it was seen {refusal.seen}"
        if refusal.by == "priority":
            least = f"below the {refusal.below.priority_min} of {refusal.below.tier}"
            whose = f"the priority of {refusal.request}, {refusal.had}," if refusal.request else "every priority"
            why = f"admission refused: {whose} was {least}"
        return f"{self.evicted()}; it had never gone down: {why}"

    def corrupt(self) -> str:
        return self._taken_out("its bytes were not what they had been")

    def gone(self) -> str:
        return self._taken_out("it was not there any more")

    def _taken_out(self, why: str) -> str:
        return f"{self._where} was taken out of {self._tier} {self._ago} before: {why}{self._whose}"

    def reset(self) -> str:
        told, row = self._told, self._row
        who = "its memory was reset"
        if told and isinstance(told.event, Opened):
            who = f"epoch {told.event.epoch} began without its blocks"
        elif told and row:
            who = why_emptied(self._known.attached(row.instance, told.row.seq), row.tier) or who
        return f"{self._where} was lost with {self._tier} {self._ago} before: {who}"

    def in_flight(self) -> str:
        if not self._told:
            return f"{self._where} had arrived in {self._tier}, and that was not acknowledged yet"
        event = self._told.event
        if isinstance(event, OffloadStarted | OnboardStarted):
            return f"{self._where} was on its way {from_where(event)} → {event.tier} since {self._ago}"
        later = span(self._told.row.at_us - self._look_up.at_us)
        return f"{self._where} was being computed by {self._told.row.request}, which registered it {later} later"

    def unreachable(self) -> str:
        slower = self._look_up.found[-1].tier if self._look_up.found else "a slower tier"
        return (
            f"{self._where} was in {self._tier}, behind a block that only {slower} had: look-ups go from fast to slow"
        )

    def engine_declined(self) -> str:
        at_end = self._look_up.reached + 1 == self._look_up.asked
        why = "; of a prompt that it has, it computes the end anew" if at_end else ""
        return f"{self._where} was in {self._tier}, the engine's own, and the engine did not take it from there{why}"

    def other_instance(self) -> str:
        instance = self._row.instance if self._row else "another instance"
        return f"{self._where} was never stored here; {instance} had it in {self._tier}"

    def other_namespace(self) -> str:
        known, row = self._known, self._row
        stored = f"{known.namespace(row.instance, row.seq)!r} ({row.instance})" if row else "another"
        own = known.namespace(self._look_up.instance, self._look_up.seq)
        return f"{self._where} was stored under namespace {stored} only, and this look-up was under {own!r}"


_SAYS: dict[Cause, Callable[[_Subject], str]] = {
    "new": _Subject.new,
    "diverged": _Subject.diverged,
    "evicted": _Subject.evicted,
    "not_admitted": _Subject.not_admitted,
    "corrupt": _Subject.corrupt,
    "gone": _Subject.gone,
    "reset": _Subject.reset,
    "in_flight": _Subject.in_flight,
    "unreachable": _Subject.unreachable,
    "engine_declined": _Subject.engine_declined,
    "other_instance": _Subject.other_instance,
    "other_namespace": _Subject.other_namespace,
}
