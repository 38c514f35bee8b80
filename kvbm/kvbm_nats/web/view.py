"""What a view is: a question that a command asks too, and what a page shows beside the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from kvbm_nats.cli.source import seq_of
from kvbm_nats.projection import JournalRow, Projection
from kvbm_nats.web.options import WebOptions
from kvbm_nats.web.problems import Problem
from kvbm_nats.web.shell import command_line
from kvbm_nats.web.worlds import Worlds
from kvbm_statemachine import State


class Ask(Struct, frozen=True, kw_only=True):
    """One request for a view.

    :ivar at: the moment as the URL says it, empty for now; `until` is its sequence, and `last` that of now
    :ivar path, query: what the URL has of the view's own
    :ivar is_twin: whether the `.json` twin is asked for
    """

    options: WebOptions
    projection: Projection
    instance: str
    at: str
    until: int
    last: int
    path: Mapping[str, str]
    query: Mapping[str, str]
    worlds: Worlds
    is_twin: bool
    _states: list[State] = []

    async def state(self) -> State:
        """The instance's state at the moment, which is folded once."""
        if not self._states:
            self._states.append(await self.projection.state(self.instance, self.until))
        return self._states[0]

    def number(self, name: str, default: int) -> int:
        """A number of the query. Raises Problem if it is none."""
        text = self.query.get(name, "")
        if text and not text.isdecimal():
            raise Problem(400, f"{name}={text[:40]!r} is no number", hint=f"{name}={default}")
        return int(text) if text else default

    async def moment(self, text: str) -> int:
        """The sequence of a moment as `--at` takes it; the last one where the text is empty."""
        return await seq_of(self.projection, text or None)

    def command(
        self, *words: object, name: str = "", with_at: bool = True, of_log: bool = False, **choices: object
    ) -> str:
        """A command line of `kvbm` about this instance, source and moment; `name` is an argument that may look like an option.

        With `of_log` it is of a command that reads the log, where others read a projection.
        """
        line = ["kvbm", *map(str, words)]
        if name and not name.startswith("-"):
            line.append(name)
        for option, value in choices.items():
            if value not in {None, ""}:
                line += [f"--{option.replace('_', '-')}", str(value)]
        line += ["--instance", self.instance] if self.instance else []
        line += ["--at", self.at] if self.at and with_at else []
        line += self.options.log_words if of_log else self.options.source_words
        return command_line([*line, "--", name] if name.startswith("-") else line)


@dataclass(frozen=True, kw_only=True)
class View:
    """A page.

    :ivar path: its URL, where `.json` is added for its twin
    :ivar template: of the page
    :ivar answer: what the twin has; raises Problem where there is none
    :ivar commands: the command lines that give the same
    :ivar context: what only the page needs
    :ivar time_s: how long it may take
    """

    path: str
    template: str
    answer: Callable[[Ask], Awaitable[Any]]
    commands: Callable[[Ask, Any], Awaitable[list[str]]]
    title: Callable[[Ask], str]
    context: Callable[[Ask, Any], Awaitable[dict[str, object]]]
    time_s: float = 30.0


async def nothing_more(_ask: Ask, _answer: object) -> dict[str, object]:
    """The context of a page that shows its answer only."""
    return {}


async def first_event(ask: Ask) -> JournalRow | None:
    """The instance's first entry that the projection has."""
    rows = await ask.projection.journal(ask.instance or None, limit=1)
    return rows[0] if rows else None
