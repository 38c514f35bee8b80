"""The screen: a view every interval, keys, and nothing that waits."""

from __future__ import annotations

from concurrent.futures import Future
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import DataTable, Footer, Static

from kvbm_nats.live import Move, View
from kvbm_nats.live.meter import Asked
from kvbm_nats.live.reasons import Told
from kvbm_nats.live.thread import WatchThread
from kvbm_nats.top import panels
from kvbm_nats.top.details import KEYS, Details, asked_text, move_text, told_text
from kvbm_nats.top.tables import ASKED_ORDERS, MOVE_ORDERS, Rows, fill_both

LOOK_EVERY_S = 0.25
"""How often it is looked whether there is something new."""
PADDING = 2


class TopApp(App[None]):
    """See the module. The thread is started, and is closed by who made it."""

    TITLE = "kvbm top"
    CSS_PATH = "top.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("p", "pause", "pause"),
        Binding("i", "next_instance", "next instance"),
        Binding("s", "sort", "sort"),
        Binding("question_mark", "keys", "help", key_display="?"),
    ]

    def __init__(self, feed: WatchThread) -> None:
        super().__init__()
        self.feed = feed
        self.paused = False
        self._shown: View | None = None

    def compose(self) -> ComposeResult:
        """From top to bottom: what, tiers, rates and paths, tables, who."""
        yield Static(id="head", markup=False)
        yield Static(id="away", markup=False)
        yield self._panel("tiers", panels.LEGEND)
        with Horizontal(id="flow"):
            yield self._panel("rates", "last 5 s, and 2 minutes")
            yield self._panel("paths", "paths")
        with Horizontal(id="lists"):
            yield Rows[Move](MOVE_ORDERS, ("took", "path", "blocks", "for"), id="transfers")
            with Vertical(id="misses"):
                yield self._panel("causes", "why blocks were missed")
                yield Rows[Asked](ASKED_ORDERS, ("time", "missed", "request"), id="look-ups")
        yield Static(id="notice", markup=False)
        yield Static(id="workers", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Look for what is new from now on."""
        self._look()
        self.set_interval(LOOK_EVERY_S, self._look)

    def on_resize(self, _event: events.Resize) -> None:
        """Everything again, in the new width."""
        self.call_after_refresh(self._show)

    def action_pause(self) -> None:
        """Stand still, or go on."""
        self.paused = not self.paused
        self._show()

    def action_next_instance(self) -> None:
        """The instance after this one, by name."""
        names = self.feed.instances
        if len(names) < 2:  # noqa: PLR2004 - another one is needed
            self.notify(f"the log has no other instance than {self.feed.instance}")
            return
        at = names.index(self.feed.instance) if self.feed.instance in names else -1
        self.feed.show(names[(at + 1) % len(names)])
        self.paused = False
        self._shown = None
        self._show()

    def action_sort(self) -> None:
        """The table with the cursor in its next order."""
        table = self.query_one("#look-ups", Rows) if self._look_ups.has_focus else self._transfers
        table.next_order()
        self._show()

    def action_keys(self) -> None:
        """Which keys there are."""
        self.push_screen(Details("keys", KEYS, id="keys"))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter: details of the row."""
        table = event.data_table
        chosen = table.chosen if isinstance(table, Rows) else None
        if isinstance(chosen, Move):
            now_us = self._shown.at_us if self._shown else 0
            self.push_screen(Details(f"transfer {chosen.transfer}", move_text(chosen, now_us)))
        elif isinstance(chosen, Asked):
            details = Details(f"request {chosen.request}", f"{asked_text(chosen)}\n\nasking why …")
            self.push_screen(details)
            self.feed.ask(chosen.request).add_done_callback(lambda answer: self._answered(details, chosen, answer))

    def _answered(self, details: Details, asked: Asked, answer: Future[Told | None]) -> None:
        """On the watch's thread: what is known of a request."""
        if not answer.cancelled():
            text = (
                told_text(answer.result(), self.feed.reasons.note)
                if not answer.exception()
                else str(answer.exception())
            )
            self.call_later(details.say, f"{asked_text(asked)}\n\n{text}")

    def _look(self) -> None:
        if self.feed.failure:
            self.exit()
            return
        view = self.feed.view
        if view is not self._shown and not self.paused and (view is None or view.instance == self.feed.instance):
            self._shown = view
            self._show()

    def _show(self) -> None:
        if len(self.screen_stack) > 1 or not self.query("#workers"):  # something is over it, or it is being taken down
            return
        view, width = self._shown, self.size.width
        instances = self.feed.instances
        head = panels.head_text(view, self.feed.instance, instances, paused=self.paused, width=width - 2)
        self._say("head", head)
        away = self.query_one("#away", Static)
        away.display = view is not None and bool(view.away)
        if view is None or not view.samples:
            return
        away.update(f"{view.away}; what is shown is of before, and this screen tries again")
        self._say("tiers", panels.tiers_text(view, width - PADDING))
        half = width // 2 - PADDING
        self._say("rates", panels.rates_text(view, half))
        self._say("paths", panels.paths_text(view, half))
        self._say("causes", panels.causes_text(self.feed.causes, self.feed.reasons.note, half))
        self._say("notice", panels.notice_text(view, width - 2))
        self._say("workers", panels.workers_text(view, width - 2))
        fill_both(self._transfers, self._look_ups, view)

    def _say(self, name: str, text: str) -> None:
        self.query_one(f"#{name}", Static).update(text)

    @property
    def _transfers(self) -> Rows[Move]:
        return self.query_one("#transfers", Rows)

    @property
    def _look_ups(self) -> Rows[Asked]:
        return self.query_one("#look-ups", Rows)

    @staticmethod
    def _panel(name: str, title: str) -> Static:
        panel = Static(id=name, classes="panel", markup=False)
        panel.border_title = title
        return panel
