"""Output for people: tables and progress by rich, which leaves colour out for NO_COLOR and pipes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from kvbm_nats.cli.text import printable

Item = TypeVar("Item")
_PIPE_WIDTH = 10_000
"""Columns of what is no terminal: nothing is folded."""


def write_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, text: Collection[str] = ()) -> None:
    """Write a table to stdout: the first column and those in `text` to the left, the others, which are figures, to the right.

    On a terminal that is too narrow the columns in `text` are folded, and the others only if that is not enough.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for number, column in enumerate(columns):
        is_text = column in text
        table.add_column(
            column,
            justify="left" if is_text or not number else "right",
            overflow="fold",
            no_wrap=bool(text) and not is_text,
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = _console()
    with console.capture() as captured:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def write_words(text: str, *, style: str = "", first: str = "") -> None:
    """Write a line to stdout that is folded between words on a terminal; with `first`, what stands before all its lines."""
    said = Text(printable(text), style=style)
    if not first:
        _console().print(said, highlight=False)
        return
    table = Table.grid()
    table.add_column(width=len(first), no_wrap=True)
    table.add_column()
    table.add_row(Text(first), said)
    _console().print(table)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def with_progress(items: Iterable[Item], what: str) -> Iterator[Item]:
    """The same items, counted on stderr while they pass; silent unless both outputs are a terminal."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield from items
        return
    columns = (SpinnerColumn(), TextColumn("{task.completed:,} {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what)
        for item in items:
            yield item
            progress.advance(task)


@contextmanager
def progress_to(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """A bar on stderr that goes to `total`; yields what moves it. Silent unless both outputs are a terminal."""
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        yield lambda _done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)
