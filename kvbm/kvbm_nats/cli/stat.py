"""`kvbm stat`: one line for each interval, for people beside a pipe."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Annotated

from cyclopts import Parameter

from kvbm_events.schema import TIERS, TierName
from kvbm_events.schema.errors import InvalidCommand
from kvbm_events.subjects import check_instance
from kvbm_nats.cli.logs import keep_quiet
from kvbm_nats.cli.stat_line import Column, Path, columns_of, fitting, header, line
from kvbm_nats.cli.text import Json, printable, write_json, write_line
from kvbm_nats.live import Sample, View, Watch, WatchOptions
from kvbm_nats.live.owners import INSTANCES_MAX

INTERVAL_MIN_S = 0.1
INTERVAL_MAX_S = 3600.0


def stat(
    *,
    interval_s: float = 1.0,
    count: Annotated[int | None, Parameter(name=["--count", "-n"])] = None,
    json: Json = False,
    nats_url: Annotated[str, Parameter(env_var="KVBM_NATS_URL")] = "nats://127.0.0.1:4222",
    instance: Annotated[str | None, Parameter(env_var="KVBM_INSTANCE")] = None,
) -> None:
    """What happens now, a line for each interval, until Ctrl-C: rates a second, told from the log as it is written.

    Args:
        interval_s: how much time a line stands for
        count: end after so many lines
        json: one object a line with the interval's counts, as docs/schemas/stat.json says
        nats_url: where the log is
        instance: only this model replica; all together if left out
    """
    if not INTERVAL_MIN_S <= interval_s <= INTERVAL_MAX_S:
        raise InvalidCommand(
            f"a line every {interval_s:g} s", why=f"an interval is {INTERVAL_MIN_S:g} to {INTERVAL_MAX_S:,.0f} s"
        )
    if count is not None and count < 1:
        raise InvalidCommand(f"{count} lines", why="at least one is written", hint="leave --count out for no end")
    if instance is not None:
        check_instance(instance)
    keep_quiet()
    options = WatchOptions(url=nats_url, instance=instance, interval_s=interval_s)
    asyncio.run(_stat(options, count, json=json))


async def _stat(options: WatchOptions, count: int | None, *, json: bool) -> None:
    watch = await Watch.open(options)
    left = count
    try:
        _warn(watch, options)
        table = None if json else _Table(await watch.tiers())
        async with aclosing(_whole(watch)) as views:
            async for view in views:
                if table:
                    table.write(view)
                else:
                    write_json(view.samples[-1])
                sys.stdout.flush()
                left = left - 1 if left else None
                if left == 0:
                    return
    finally:
        await watch.close()


def _warn(watch: Watch, options: WatchOptions) -> None:
    if not watch.instances:
        sys.stderr.write(f"kvbm: the log at {options.url} is empty; lines go on when an owner writes to it\n")
    elif options.instance is None and len(watch.instances) > INSTANCES_MAX:
        sys.stderr.write(
            f"kvbm: of {len(watch.instances):,} instances only {INSTANCES_MAX} are asked what waits; --instance names one\n"
        )


async def _whole(watch: Watch) -> AsyncGenerator[View, None]:
    """The views of whole intervals, from when the log has been read up to its end; and what happens to it, on stderr."""
    away, is_whole = "", False
    async for view in watch.views():
        if view.away != away:
            away = view.away
            sys.stderr.write(
                printable(f"kvbm: {away}; trying again" if away else "kvbm: the log is followed again") + "\n"
            )
        if is_whole:
            yield view
        is_whole = view.is_ready


class _Table:
    """Writes lines, and the header where one is due: once in a pipe; on a terminal on every screen, and when columns change."""

    def __init__(self, tiers: Sequence[TierName]) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._tiers = set(tiers)
        self._paths: set[Path] = {*pairwise(tiers), *((lower, tiers[0]) for lower in tiers[1:])}
        self._columns: list[Column] = []
        self._size = (0, 0)
        self._lines = 0

    def write(self, view: View) -> None:
        """A line for the view's interval."""
        if self._is_terminal or not self._columns:
            self._lay_out(view.samples)
        if self._lines <= 0:
            write_line(header(self._columns))
            self._lines = max(1, self._size[1] - 1)
        self._lines -= self._is_terminal
        write_line(line(view.samples[-1], self._columns, is_short=self._is_terminal))

    def _lay_out(self, samples: list[Sample]) -> None:
        """Choose the columns: for all tiers and paths that were seen, as far as they fit."""
        size = shutil.get_terminal_size()
        seen = (set(self._tiers), set(self._paths), self._size)
        for sample in samples:
            self._tiers.update(sample.tiers)
            self._paths.update((path.source, path.tier) for path in sample.paths if path.source)
        self._size = (size.columns, size.lines)
        if self._columns and seen == (self._tiers, self._paths, self._size):
            return
        columns = columns_of(
            sorted(self._tiers, key=TIERS.index), sorted(self._paths, key=lambda path: (path[0] > path[1], path))
        )
        chosen = fitting(columns, size.columns) if self._is_terminal else columns
        if chosen != self._columns:
            self._columns, self._lines = chosen, 0
