"""What the memory of a tier is to a mover: numbered slots, each of which takes one packed block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol, TypeVar

from msgspec import Struct

from kvbm_events.schema import TierName
from kvbm_tiers.layout import Layout

S = TypeVar("S")


class Opening(Struct, frozen=True, kw_only=True):
    """What became of the blocks that a survivor held before it was opened.

    :ivar state: `kept`: their bytes are there; `reset`: it starts empty
    :ivar why: in words
    :ivar incarnation: a random name of these contents, new with every reset
    """

    state: Literal["kept", "reset"]
    why: str
    incarnation: str


class Store(Protocol):
    """Slots of one tier. Any thread may call; two must not use one slot at once.

    A block in memory is given as a page-aligned view of `layout.slot_bytes`, of which the first `layout.block_bytes` count.
    """

    layout: Layout
    capacity: int

    def view(self, slot: int) -> memoryview | None:
        """The block in place, to read and write, or None where blocks do not lie packed in memory."""
        ...

    def read(self, slot: int, block: memoryview) -> None:
        """Copy a slot into `block`.

        Raises:
            OSError: it could not be read.
            EOFError: it is not there whole.
        """
        ...

    def write(self, slot: int, block: memoryview) -> None:
        """Copy `block` into a slot.

        Raises:
            OSError: it could not be written whole.
        """
        ...

    def sync(self) -> None:
        """Make what was written survive what this kind of memory can survive.

        Raises:
            OSError: it cannot be said to.
        """
        ...

    def close(self) -> None:
        """Let go of it. What survives stays."""
        ...


def check_slot(slot: int, capacity: int) -> None:
    """Refuse a slot outside of a store: its bytes would be another's.

    Raises:
        IndexError: there is no such slot.
    """
    if not 0 <= slot < capacity:
        raise IndexError(f"slot {slot} of a store of {capacity}")


def one_layout(stores: Iterable[Store]) -> Layout:
    """The layout that all of them have.

    Raises:
        NamespaceMismatch: they have several.
    """
    layout, *others = (store.layout for store in stores)
    for other in others:
        layout.check(other)
    return layout


def the_only(stores: Mapping[TierName, Store], kind: type[S]) -> tuple[TierName, S]:
    """The one store of a kind, and its tier.

    Raises:
        ValueError: there is not one.
    """
    found: list[tuple[TierName, S]] = [(tier, store) for tier, store in stores.items() if isinstance(store, kind)]
    if len(found) != 1:
        raise ValueError(f"{len(found)} stores are a {kind.__name__}; this mover moves between one and one")
    return found[0]
