"""What an eviction policy is: it keeps an order of a tier's blocks, told only by what events did, and names victims.

Rules
1. Only loose blocks may be named: the ends of chains, behind every pin. Children go before their parents.
2. `victims` changes nothing that the digest sees; the order changes only by the other methods, which `evolve` calls.
   So a policy may be put under a recorded log, and the same log always gives the same order.
3. `dump` tells the whole order, `load` restores it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from kvbm_statemachine.lineage import Chain, Lineage

Victims = tuple[Chain, int]
"""The last so many blocks of a chain, once the victims named before are gone."""


class Policy(ABC):
    """One tier's eviction order.

    :cvar name: what users choose it by
    """

    name: ClassVar[str]

    def __init__(self, lineage: Lineage, capacity: int) -> None:
        self.lineage, self.capacity = lineage, capacity

    @abstractmethod
    def registered(self, chain: Chain, count: int) -> None:
        """The last `count` blocks of the chain are new; who holds them has pinned them already."""

    @abstractmethod
    def touched(self, slot: int) -> None:
        """A look-up found the prefix that ends in this block; who holds it has pinned it already."""

    @abstractmethod
    def leaving(self, chain: Chain, count: int, *, for_room: bool) -> None:
        """The last `count` blocks of the chain leave the tier next; `for_room` tells evictions from other ends."""

    @abstractmethod
    def victims(self, count: int) -> list[Victims]:
        """Loose blocks to evict, `count` of them or as many as there are, the first to go first."""

    def loosened(self, chain: Chain) -> None:  # noqa: B027 - an order of blocks need not hear of it
        """A pin on the chain went, so that some of its blocks may be loose now."""

    def split(self, chain: Chain, tail: Chain) -> None:  # noqa: B027 - an order of blocks need not hear of it
        """The end of `chain` is a chain of its own now: `tail`."""

    @abstractmethod
    def dump(self) -> Any:  # noqa: ANN401 - each policy has its own order; msgpack takes any of builtins
        """The order as lists, numbers and strings."""

    @abstractmethod
    def load(self, dumped: Any) -> None:  # noqa: ANN401 - as `dump` gave it
        """Restore the order over a lineage that holds the same chains."""
