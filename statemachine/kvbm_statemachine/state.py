"""The state of one instance: all that its events say, and nothing else."""

from __future__ import annotations

from kvbm_events.schema import TIERS, TierName
from kvbm_events.schema.errors import UnknownRequest, UnknownTier, UnknownTransfer
from kvbm_statemachine.requests import Request
from kvbm_statemachine.tier import Tier
from kvbm_statemachine.transfers import Transfer

MAX_REQUESTS = 65_536
"""Open requests of one instance."""


class State:
    """An instance before its first event, and after each that `evolve` applies.

    :ivar epoch: the owner's incarnation; 0 before the first `Opened`
    :ivar n: number of the last event applied in it
    :ivar tiers: fastest first
    :ivar incoming: by tier, keys that a transfer is bringing there
    """

    def __init__(self) -> None:
        self.epoch, self.n = 0, -1
        self.namespace = ""
        self.tiers: dict[TierName, Tier] = {}
        self.requests: dict[str, Request] = {}
        self.transfers: dict[str, Transfer] = {}
        self.incoming: dict[TierName, set[str]] = {}
        self.selecting: list[TierName] = []

    def tier(self, name: TierName) -> Tier:
        """A tier by its name.

        Raises:
            UnknownTier: the instance was opened without it.
        """
        tier = self.tiers.get(name)
        if tier is None:
            raise UnknownTier(
                f"this instance has no tier {name!r}",
                why=f"it was opened with {', '.join(self.tiers) or 'none'}",
                hint="open it with the tier in its plan",
            )
        return tier

    def request(self, name: str) -> Request:
        """An open request by its name.

        Raises:
            UnknownRequest: it is not open.
        """
        request = self.requests.get(name)
        if request is None:
            raise UnknownRequest(
                f"no request {name[:80]!r} is open",
                why="it was released, its lease ran out, or it never asked for anything",
                hint="match or allocate first",
            )
        return request

    def transfer(self, transfer_id: str) -> Transfer:
        """An open transfer by its id.

        Raises:
            UnknownTransfer: it is over, or never was.
        """
        if transfer_id not in self.transfers:
            raise UnknownTransfer(
                f"no transfer {transfer_id[:80]!r} is open",
                why="it is over already, or another owner's epoch began since",
                hint="a late or second report can be dropped",
            )
        return self.transfers[transfer_id]

    def set_tiers(self, tiers: dict[TierName, Tier]) -> None:
        """Take over the tiers of an epoch, with the keys that its transfers are bringing."""
        self.tiers = tiers
        self.incoming = {name: set() for name in tiers}
        for transfer in self.transfers.values():
            self.incoming[transfer.tier].update([transfer.keys[at] for at in transfer.open.values()])
        self.selecting = [name for name in tiers if self._is_selective(self.below(name))]

    @staticmethod
    def _is_selective(tier: Tier | None) -> bool:
        return tier is not None and tier.spec.admission == "selective"

    def below(self, name: TierName) -> Tier | None:
        """The next lower tier that the instance has."""
        lower = TIERS[TIERS.index(name) + 1 :]
        return next((self.tiers[tier] for tier in lower if tier in self.tiers), None)
