"""Screens over the screen: one transfer, one request, and the keys."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from kvbm_nats.cli.moments import clock
from kvbm_nats.cli.text import printable
from kvbm_nats.explain.words import blocks, found_in_words, span
from kvbm_nats.live import Move
from kvbm_nats.live.meter import Asked
from kvbm_nats.live.reasons import Told

EVENTS_SHOWN = 20
KEYS = """\
q         quit
p         pause, and go on
i         the next instance
s         sort the table with the cursor by the next thing
Tab       to the other table
Enter     details of the chosen transfer or look-up
?         this
Escape    back

A bar shows the slots of a tier: █ registered, so that they can be found; ▒ being filled by a request or a transfer; \
? evicted as lost while still held, or perhaps still written to; · free.

Rates are of the last 5 seconds, sparklines of the last 120 intervals. fly: transfers under way; wait: blocks that wait for \
their path; drop: blocks that were wanted in this epoch and never began. What waits and was dropped only the \
instance's service knows: without one it is "-".

docs/top.md has more."""


class Details(ModalScreen[None]):
    """Text over the screen, until Escape."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "dismiss", "back")]

    def __init__(self, title: str, text: str, id: str = "details") -> None:  # noqa: A002 - textual's word
        super().__init__(id=id)
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        """One box."""
        with VerticalScroll() as box:
            box.border_title = self._title
            box.border_subtitle = "Escape: back"
            yield Static(self._text, id="text", markup=False)

    def say(self, text: str) -> None:
        """Show another text."""
        self._text = text
        if self.is_mounted:
            self.query_one("#text", Static).update(text)


def move_text(move: Move, now_us: int) -> str:
    """All that the log told of a transfer."""
    whose = f" of {printable(move.writer)}" if move.writer else ""
    lines = [
        ("path", f"{move.source or 'unknown, it began before this screen'}{whose} to {move.tier}"),
        ("began", f"{clock(move.begun_us)}, at sequence {move.seq:,}" if move.begun_us else "before this screen"),
        ("took" if move.ended_us else "until now", span(move.took_us(now_us)) if move.begun_us else "unknown"),
        ("blocks", f"{move.blocks:,}: {move.arrived:,} arrived, {move.failed:,} failed, {move.doubtful:,} in doubt"),
        ("bytes", f"{move.size_bytes:,}"),
        ("request", printable(move.request) or "none waits for it"),
    ]
    if move.reason:
        lines.append(("reason", printable(move.reason)))
    text = "\n".join(f"{name:<10}{said}" for name, said in lines)
    if move.request:
        text += f"\n\nkvbm request show {printable(move.request)} --instance {move.instance}"
    return text


def asked_text(asked: Asked) -> str:
    """What the log told of a look-up."""
    found = found_in_words(asked.found)
    return (
        f"asked     {blocks(asked.asked)} at {clock(asked.at_us)}, sequence {asked.seq:,}\n"
        f"found     {found}\nmissed    {asked.missed:,}"
    )


def told_text(told: Told | None, note: str) -> str:
    """What explain says of its request."""
    if told is None:
        return f"why is not known: {printable(note) or 'nothing was told'}"
    lines = [f"{loss.cause.replace('_', ' ')}: {printable(loss.said)}" for loss in told.why.losses] if told.why else []
    lines = lines or ["it missed nothing"]
    if told.story:
        lines += ["", "what happened"]
        lines += [f"{clock(event.at_us)}  {printable(event.said)}" for event in told.story.events[-EVENTS_SHOWN:]]
    return "\n".join(lines)
