"""The two tables in which a row can be chosen: transfers, and look-ups; and the orders that they can have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from rich.text import Text
from textual.widgets import DataTable

from kvbm_nats.cli.moments import clock
from kvbm_nats.cli.text import printable
from kvbm_nats.explain.words import span
from kvbm_nats.live import Move, View
from kvbm_nats.live.meter import Asked

Item = TypeVar("Item", Move, Asked)
UNDER_WAY = "…"


class Order(NamedTuple):
    """By what rows are sorted, and how that is said above the table."""

    said: str
    key: Callable[[Move, int], object] | Callable[[Asked, int], object]


MOVE_ORDERS = (
    Order("slowest transfers", lambda move, now_us: -move.took_us(now_us)),
    Order("largest transfers", lambda move, _now_us: -move.blocks),
    Order("newest transfers", lambda move, _now_us: -move.begun_us),
)
ASKED_ORDERS = (
    Order("newest look-ups", lambda asked, _now_us: -asked.seq),
    Order("look-ups that missed most", lambda asked, _now_us: -asked.missed),
)


class Rows(DataTable[Text], Generic[Item]):
    """A table that keeps its chosen row while its rows change. `title` names the order of its rows."""

    def __init__(self, orders: Sequence[Order], columns: Sequence[str], id: str) -> None:  # noqa: A002 - textual's word
        super().__init__(id=id, cursor_type="row", zebra_stripes=False, cell_padding=1)
        self._orders, self._order = orders, 0
        self._names = columns
        self._items: dict[str, Item] = {}

    def on_mount(self) -> None:
        """Name the columns."""
        self.add_columns(*self._names)
        self.border_title = self._orders[self._order].said

    @property
    def chosen(self) -> Item | None:
        """The item of the row with the cursor."""
        if not self.row_count:
            return None
        key, _ = self.coordinate_to_cell_key(self.cursor_coordinate)
        return self._items.get(str(key.value))

    def next_order(self) -> None:
        """Sort by the next thing."""
        self._order = (self._order + 1) % len(self._orders)
        self.border_title = self._orders[self._order].said

    def fill(self, items: Sequence[Item], now_us: int) -> None:
        """Show these."""
        chosen, at = self.chosen, self.cursor_row
        order = self._orders[self._order].key
        shown = sorted(items, key=lambda item: order(item, now_us))  # type: ignore[arg-type, return-value] # one table, one kind of item
        self.clear()
        self._items = {key_of(item): item for item in shown}
        for key, item in self._items.items():
            cells = move_cells(item, now_us) if isinstance(item, Move) else asked_cells(item)
            self.add_row(*map(Text, cells), key=key)
        if chosen is not None and at and key_of(chosen) in self._items:
            at = self.get_row_index(key_of(chosen))
        self.move_cursor(row=min(at, max(0, self.row_count - 1)), animate=False)


def key_of(item: Move | Asked) -> str:
    """What names a row."""
    return f"{item.instance} {item.transfer if isinstance(item, Move) else item.seq}"


def move_cells(move: Move, now_us: int) -> tuple[str, ...]:
    """A transfer's row."""
    took = f"{span(move.took_us(now_us)) if move.begun_us else '?'}{'' if move.ended_us else UNDER_WAY}"
    return took, move.path, f"{move.blocks:,}", "failed" if move.failed else printable(move.request) or "-"


def asked_cells(asked: Asked) -> tuple[str, ...]:
    """A look-up's row."""
    return clock(asked.at_us)[:8], f"{asked.missed:,} of {asked.asked:,}", printable(asked.request)


def fill_both(transfers: Rows[Move], look_ups: Rows[Asked], view: View) -> None:
    """Show the view's."""
    transfers.fill(view.transfers, view.at_us)
    look_ups.fill(view.look_ups, view.at_us)
