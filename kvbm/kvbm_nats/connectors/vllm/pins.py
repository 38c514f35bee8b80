"""Blocks of vLLM's pool that are kept from being reused while they are copied, whatever becomes of their request."""

from __future__ import annotations

from collections.abc import Collection

from kvbm_events.schema import to_slots
from kvbm_nats.connectors.vllm.engine import EnginePool
from kvbm_statemachine import State
from kvbm_statemachine.transfers import Transfer


class Pins:
    """Follows the transfers that read from g1. `update` is called before vLLM can give a block away."""

    def __init__(self, pool: EnginePool) -> None:
        self._pool = pool
        self._held: dict[str, list[int]] = {}

    @property
    def blocks(self) -> int:
        """How many are held."""
        return sum(map(len, self._held.values()))

    def update(self, state: State, reused: Collection[int]) -> list[Transfer]:
        """Hold the sources of what has begun, let go of those of what is over.

        Returns:
            Transfers that have begun to read from blocks that vLLM has just given away (`reused`): they must not go on.
        """
        too_late: list[Transfer] = []
        for transfer in state.transfers.values():
            if transfer.source == "g1" and transfer.has_source and transfer.id not in self._held:
                slots = to_slots(transfer.source_slots)
                if reused and not set(reused).isdisjoint(slots):
                    too_late.append(transfer)
                    slots = []
                self._pool.touch([self._pool.blocks[slot] for slot in slots])
                self._held[transfer.id] = slots
        for name in [name for name in self._held if not _reads(state, name)]:
            self.release(name)
            del self._held[name]
        return too_late

    @property
    def transfers(self) -> list[str]:
        """Whose sources are held."""
        return [name for name, slots in self._held.items() if slots]

    def release(self, transfer: str) -> None:
        """Let go of a transfer's source, which nobody will read; the end of a prefix is reused before its beginning."""
        slots, self._held[transfer] = self._held[transfer], []
        self._pool.free_blocks([self._pool.blocks[slot] for slot in reversed(slots)])

    def release_all(self) -> None:
        """Let go of everything."""
        for transfer in self._held:
            self.release(transfer)


def _reads(state: State, name: str) -> bool:
    transfer = state.transfers.get(name)
    return transfer is not None and transfer.has_source
