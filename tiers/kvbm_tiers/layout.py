"""The shape of a KV block, declared once: its groups of layers, where its bytes lie in an engine's pool, and in a packed block.

A packed block is, group by group, `[layers][outer][page]`, or `[heads][layers][outer][tokens][head_size]` where its packing is
`universal`: then what a rank holds of it is one run, however many ranks there are. A pool of N slots is one array a layer, `[outer][N][page]`
(`separate`), or one array a group, `[N][layers][outer][page]` (`contiguous`). A page is `[tokens][heads][head_size]` in
order NHD and `[heads][tokens][head_size]` in order HND. The order moves no byte, but a reader must know it.
"""

from __future__ import annotations

from itertools import accumulate
from math import prod
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import fields, replace

from kvbm_events.schema.errors import NamespaceMismatch
from kvbm_tiers.slicing import WHOLE, Slice

Dtype = Literal["float32", "float16", "bfloat16", "float8_e4m3", "float8_e5m2", "int8"]
Order = Literal["NHD", "HND"]
Arrangement = Literal["separate", "contiguous"]
Packing = Literal["layered", "universal"]

ALIGNMENT = 4096
"""Bytes: a page of memory, and what O_DIRECT asks of addresses, offsets and lengths."""
_ITEM_BYTES: dict[str, int] = {
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3": 1,
    "float8_e5m2": 1,
    "int8": 1,
}


def aligned(size: int) -> int:
    """The least multiple of `ALIGNMENT` that holds `size` bytes."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class Array(NamedTuple):
    """One array of a pool: its shape in elements, and its strides in bytes."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    size: int


class Group(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Layers whose KV has one shape.

    :ivar outer: 2 for K and V, 1 where they are one latent (MLA)
    :ivar tokens: in a block
    """

    name: str
    layers: int
    outer: Literal[1, 2] = 2
    tokens: int
    heads: int
    head_size: int
    dtype: Dtype = "bfloat16"
    order: Order = "NHD"
    arrangement: Arrangement = "separate"

    def __post_init__(self) -> None:
        if min(self.layers, self.tokens, self.heads, self.head_size) < 1 or self.outer not in {1, 2}:
            raise ValueError(f"group {self.name!r} has a size below 1, or neither 1 nor 2 as its outer size")

    @property
    def page(self) -> tuple[int, int, int]:
        """The shape of a page."""
        if self.order == "NHD":
            return self.tokens, self.heads, self.head_size
        return self.heads, self.tokens, self.head_size

    @property
    def row_bytes(self) -> int:
        """Of one head of one token."""
        return self.head_size * _ITEM_BYTES[self.dtype]

    @property
    def page_bytes(self) -> int:
        """Of one layer's K or V (or latent) of one block: the largest run that is always in one piece."""
        return prod(self.page) * _ITEM_BYTES[self.dtype]

    @property
    def block_bytes(self) -> int:
        """Of one block of this group, packed."""
        return self.layers * self.outer * self.page_bytes

    def arrays(self, capacity: int) -> list[Array]:
        """The arrays of a pool of `capacity` slots."""
        if self.arrangement == "contiguous":
            return [self._array(self.name, (capacity, self.layers, self.outer, *self.page))]
        shape = (self.outer, capacity, *self.page)
        return [self._array(f"{self.name}.{layer}", shape) for layer in range(self.layers)]

    def _array(self, name: str, shape: tuple[int, ...]) -> Array:
        item = _ITEM_BYTES[self.dtype]
        strides = [*accumulate(reversed(shape[1:]), int.__mul__, initial=item)]
        return Array(name, self.dtype, shape, tuple(reversed(strides)), prod(shape) * item)


class Layout(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A block, or a rank's part of it: one group of layers, or several that live and die together (hybrid models).

    :ivar part: which part it is
    :ivar packing: the order of a packed block's bytes
    """

    groups: tuple[Group, ...]
    part: Slice = WHOLE
    packing: Packing = "layered"

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"groups {names}: a layout has one at least, and each name once")

    @property
    def block_bytes(self) -> int:
        """Of one packed block."""
        return sum(group.block_bytes for group in self.groups)

    @property
    def slot_bytes(self) -> int:
        """Of one packed block's place in memory or in a file: so many that every slot can be read past the page cache."""
        return aligned(self.block_bytes)

    def arrays(self, capacity: int) -> list[Array]:
        """The arrays of an engine's pool of `capacity` slots."""
        return [array for _, array in self.groups_of_arrays(capacity)]

    def groups_of_arrays(self, capacity: int) -> list[tuple[Group, Array]]:
        """The same, each with its group."""
        return [(group, array) for group in self.groups for array in group.arrays(capacity)]

    def slice(self, part: Slice) -> Layout:
        """The shape of one rank's part of this block.

        Raises:
            InvalidCommand: it does not divide like that; the message names the group.
            ValueError: this is a part already.
        """
        if self.part != WHOLE:
            raise ValueError(f"{self.part} cannot be divided further")
        groups = (
            replace(
                group,
                layers=len(part.layers(group.layers, group.name)),
                heads=len(part.heads(group.heads, group.name)),
            )
            for group in self.groups
        )
        return Layout(groups=tuple(groups), part=part, packing=self.packing)

    def check(self, other: Layout) -> None:
        """Refuse blocks of another layout.

        Raises:
            NamespaceMismatch: `other` differs; the message names the first field that does, and both values.
        """
        for field in fields(Slice):
            refuse_other(field.name, getattr(self.part, field.name), getattr(other.part, field.name))
        for at, (mine, theirs) in enumerate(zip(self.groups, other.groups, strict=False)):
            for field in fields(Group):
                refuse_other(f"groups[{at}].{field.name}", getattr(mine, field.name), getattr(theirs, field.name))
        refuse_other("the number of groups", len(self.groups), len(other.groups))
        refuse_other("packing", self.packing, other.packing)


def refuse_other(field: str, here: object, there: object) -> None:
    """Refuse bytes that were written under another value of a field.

    Raises:
        NamespaceMismatch: the values differ.
    """
    if here != there:
        raise NamespaceMismatch(
            f"{field} is {here!r} here and {there!r} there",
            why="blocks of another shape or model would be read as ours",
            hint="name another file, or reset this one",
        )
