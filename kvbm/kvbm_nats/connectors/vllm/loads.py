"""Loads that requests of the engine wait for, until a worker has each block's job or it is known that none will come.

From there on the workers know how it goes, and tell vLLM.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from kvbm_nats.offloading import Ticket
from kvbm_statemachine import State
from kvbm_tiers import Job


class _Load(NamedTuple):
    name: str
    keys: tuple[str, ...]
    slots: tuple[int, ...]
    waiting: set[int]
    tickets: list[Ticket]
    give_up_at_s: float


class Loads:
    """See the module. Slots are those of g1; times are of any steady clock."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._open: dict[str, _Load] = {}
        self._judged: set[str] = set()

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._open

    def __len__(self) -> int:
        return len(self._open)

    @property
    def are_waiting(self) -> bool:
        """Whether some block's job has not gone out."""
        return any(load.waiting for load in self._open.values())

    def are_coming(self, keys: Collection[str]) -> bool:
        """Whether a request waits for one of these blocks already."""
        return any(not set(load.keys).isdisjoint(keys) for load in self._open.values())

    def begin(self, request_id: str, name: str, keys: Sequence[str], slots: Sequence[int], now_s: float) -> None:
        """A request waits for these blocks, in these slots."""
        end_s = now_s + self._patience_s
        self._open[request_id] = _Load(name, tuple(keys), tuple(slots), set(slots), [], end_s)

    def ask(self, request_id: str, ticket: Ticket) -> None:
        """Some of its blocks were asked for."""
        self._open[request_id].tickets.append(ticket)

    def end(self, request_id: str) -> set[int]:
        """The workers have told vLLM that it is over; the slots that it was for."""
        self._judged.discard(request_id)
        load = self._open.pop(request_id, None)
        return set(load.slots) if load else set()

    def verdicts(self, state: State | None) -> dict[str, list[int]]:
        """By request, once, when the owner has heard of all its blocks: the slots that do not have what they should.

        One rank among several cannot tell whether its slice is what it was. Without a state nobody can.
        """
        found: dict[str, list[int]] = {}
        for request_id, load in self._open.items():
            if request_id in self._judged or load.waiting:
                continue
            if state and any(t.open and t.tier == "g1" and t.request == load.name for t in state.transfers.values()):
                continue
            index = state.tiers["g1"].lineage.index if state else {}
            found[request_id] = [
                slot for key, slot in zip(load.keys, load.slots, strict=True) if index.get(key) != slot
            ]
        self._judged.update(found)
        return found

    def handed_out(self, jobs: Iterable[Job]) -> None:
        """These jobs go to the workers."""
        slots = {slot for job in jobs if job.tier == "g1" for slot in job.slots}
        for load in self._open.values():
            load.waiting.difference_update(slots)

    def give_up(self, request_id: str) -> None:
        """Nobody wants what of it has not begun."""
        if load := self._open.get(request_id):
            self._open[request_id] = load._replace(give_up_at_s=float("-inf"))

    def lost(self, state: State | None, now_s: float) -> tuple[dict[str, list[int]], list[str], list[Ticket]]:
        """By request, slots for which no job will come; and the transfers and tickets that must not begin any more.

        A job comes for what waits in a queue, and for every slot that is under way and was not handed out; where patience
        ends, it comes too late. Without a state none comes at all.
        """
        lost: dict[str, list[int]] = {}
        late_transfers, late_tickets = list[str](), list[Ticket]()
        for request_id, load in self._open.items():
            if not load.waiting:
                continue
            transfers = (
                [t for t in state.transfers.values() if t.request == load.name and t.tier == "g1"] if state else []
            )
            coming = {slot for transfer in transfers for slot in transfer.open}
            if state and any(ticket.waiting for ticket in load.tickets):
                coming = load.waiting
            if now_s >= load.give_up_at_s:
                late_transfers += [t.id for t in transfers if not load.waiting.isdisjoint(t.open)]
                late_tickets += load.tickets
                coming = set()
            if gone := load.waiting - coming:
                lost[request_id] = sorted(gone)
                load.waiting.difference_update(gone)
        return lost, late_transfers, late_tickets
