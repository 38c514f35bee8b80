"""All tiers of an instance, or of one of its ranks: a store for each, and the mover over them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from typing import Self

from kvbm_events.schema import Contents, TierName, TierSpec
from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers.layout import Layout
from kvbm_tiers.medium import Media, Medium
from kvbm_tiers.meter import Meter
from kvbm_tiers.mover import Memory, Mover
from kvbm_tiers.openers import Wanted, open_store
from kvbm_tiers.routed_mover import open_mover
from kvbm_tiers.store import Opening, Store


class Stack:
    """The stores of a plan, opened together and closed together.

    :ivar stores: by tier
    :ivar mover: over all of them, with a count of what it moved
    :ivar openings: by tier, whether its blocks were kept, and why
    """

    def __init__(
        self,
        plan: Iterable[TierSpec],
        layout: Layout,
        namespace: str,
        media: Media,
        *,
        instance: str = "default",
        reset: bool = False,
        nats_url: str = "",
        given: Mapping[TierName, Store] | None = None,
    ) -> None:
        """Open the tiers, or make them.

        Args:
            plan: the tiers
            layout: of a block, or of a rank's slice of it, in every tier
            namespace: whose blocks they are
            media: by tier, where its blocks lie; g1 lies in the process if not said
            instance: whose blocks they are; object storage keeps instances apart by it
            reset: start empty, whatever is there
            nats_url: where memory hosts are asked, if a tier lies in one
            given: tiers that an engine has already; they are closed with the others

        Raises:
            InvalidCommand: a tier has no medium, or one that there is not.
            NamespaceMismatch, StoreBusy, StoreFull, StoreDamaged: see `survivor.claim`.
            StoreUnavailable, ObstoreUnavailable: object storage cannot be reached.
            LogUnavailable, MemoryUnavailable, NixlUnavailable: a memory host cannot be reached.
        """
        self.stores: dict[TierName, Store] = {}
        self.openings: dict[TierName, Opening] = {}
        try:
            for spec in plan:
                if given and spec.tier in given:
                    self.stores[spec.tier] = given[spec.tier]
                    continue
                store, opening = open_store(
                    Wanted(
                        tier=spec.tier,
                        medium=_medium(spec.tier, media),
                        capacity=spec.capacity,
                        layout=layout,
                        namespace=namespace,
                        reset=reset,
                        instance=instance,
                        nats_url=nats_url,
                    )
                )
                self.stores[spec.tier], self.openings[spec.tier] = store, opening or _begun_now()
            self.mover = _StackMover(open_mover(self.stores), _memory(self.openings))
        except BaseException:
            self._close_stores()
            raise

    @property
    def kept(self) -> list[TierName]:
        """Tiers whose blocks are still there."""
        return [tier for tier, opening in self.openings.items() if opening.state == "kept"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the mover and let go of the stores. What survives stays."""
        self.mover.close()
        self._close_stores()

    def _close_stores(self) -> None:
        for store in self.stores.values():
            store.close()


class _StackMover(Meter):
    """A meter that tells its owner what is in the stores."""

    def __init__(self, mover: Mover, memory: Memory) -> None:
        super().__init__(mover)
        self._untold = [memory]

    def memories(self) -> list[Memory]:
        """See `Mover.memories`."""
        memories, self._untold = self._untold, []
        return memories


def _begun_now() -> Opening:
    """Of a store in which nothing survives."""
    return Opening(state="reset", why="it is memory of this process", incarnation=secrets.token_hex(8))


def _memory(openings: Mapping[TierName, Opening]) -> Memory:
    return Memory(
        rank=0,
        holder=f"process {os.getpid()}",
        contents=[Contents(tier=tier, name=each.incarnation, why=each.why) for tier, each in openings.items()],
    )


def _medium(tier: TierName, media: Media) -> Medium:
    """Where a tier lies. Device memory needs no place."""
    if medium := media.get(tier) or (Medium(scheme="cpu") if tier == "g1" else None):
        return medium
    raise InvalidCommand(
        f"tier {tier}", why="nothing says where its blocks lie", hint=f"--store {tier}=URL, or leave the tier out"
    )
