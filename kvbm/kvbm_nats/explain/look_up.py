"""A recorded look-up: what was asked for, found and missed."""

from __future__ import annotations

from msgspec import Struct

from kvbm_events.codec import decode
from kvbm_events.schema import AnyEvent, Found, Matched, unpack_keys
from kvbm_nats.projection import JournalRow


class Told(Struct, frozen=True):
    """An entry of the journal with its event."""

    row: JournalRow
    event: AnyEvent

    @classmethod
    def of(cls, row: JournalRow) -> Told:
        """The row and what its body says."""
        return cls(row, decode(row.body.encode()))


class LookUp(Struct, frozen=True):
    """One `Matched`.

    :ivar start: blocks of the prompt before the first that was asked for, the last of them with the key `parent`
    :ivar missed: the keys of the tail that was not found, as far as the event names them; `unnamed` counts the others
    """

    instance: str
    request: str
    seq: int
    at_us: int
    start: int
    parent: str
    asked: int
    found: list[Found]
    missed: list[str]
    unnamed: int

    @classmethod
    def of(cls, row: JournalRow) -> LookUp | None:
        """The look-up in a row of the journal; None where it is another event."""
        event = decode(row.body.encode())
        if not isinstance(event, Matched):
            return None
        return cls(
            row.instance,
            event.request,
            row.seq,
            row.at_us,
            event.start,
            event.parent,
            event.asked,
            event.found,
            unpack_keys(event.missed),
            event.unnamed,
        )

    @property
    def reached(self) -> int:
        """Blocks that were asked for before the first that was missed."""
        return self.asked - len(self.missed) - self.unnamed

    @property
    def end(self) -> int:
        """Blocks of the prompt before the first that was missed."""
        return self.start + self.reached

    @property
    def by_engine(self) -> int:
        """Blocks that an engine found in its own cache, while the log did not have them there."""
        return self.reached - sum(part.blocks for part in self.found)

    @property
    def is_found_below(self) -> bool:
        """Whether something was found in a tier that it must come up from."""
        return any(part.tier != "g1" for part in self.found)

    def before(self, at: int) -> str | None:
        """The key before `missed[at]`, `ROOT` at the prompt's start; None where only the engine knows it."""
        if at:
            return self.missed[at - 1]
        if not self.reached:
            return self.parent
        # What the engine found by itself comes first, so what was found below the engine's own tier goes up to here.
        return self.found[-1].last if self.is_found_below or not self.by_engine else None
