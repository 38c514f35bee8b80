"""The fold behind a projection: entries of the log in, rows out. The same `evolve` as everywhere."""

from __future__ import annotations

from collections.abc import Iterable

from kvbm_events.codec import decode
from kvbm_events.log import Entry, Position
from kvbm_events.schema import TIERS, AnyEvent, Opened
from kvbm_events.sequencer import Sequencer
from kvbm_events.subjects import instance_of, message_id
from kvbm_nats.projection import rows
from kvbm_nats.projection.changes import BLOCKS, Changes, Context
from kvbm_nats.projection.effects import apply_event
from kvbm_nats.projection.journal_row import journal_row
from kvbm_nats.projection.pieces import Named, pieces_of_slots
from kvbm_nats.projection.rows import Followed
from kvbm_nats.projection.schema import block_id
from kvbm_nats.projection.snapshots import EVENT_WEIGHT, is_due, snapshot_row
from kvbm_statemachine import State

SEED_BLOCKS = 65_536
"""Blocks of a snapshot that are handed over at once."""


class Fold:
    """The state of every instance at one position of the log.

    :ivar passed_over: entries that no reader may apply: their epoch was over, or they came twice
    """

    def __init__(self) -> None:
        self._sequencer = Sequencer()
        self._followed: dict[str, Followed] = {}
        self._next_id = 1

    @property
    def passed_over(self) -> int:
        """See the class."""
        return self._sequencer.stale + self._sequencer.dropped

    def restore(self, instance_id: int, name: str, state: State, early: Iterable[Entry]) -> Followed:
        """Go on with an instance where a projection left it; `early` are the entries that wait for their turn."""
        here = self._followed[name] = Followed(instance_id, name, state)
        self._next_id = max(self._next_id, instance_id + 1)
        if state.epoch:
            self._sequencer.resume(name, state.epoch, state.n)
        for entry in early:
            self._sequencer.feed(entry)
            event = decode(entry.data)
            here.early.setdefault((event.epoch, event.n), entry.seq)
        return here

    def seed(self, name: str, state: State, seq: int, at_us: int, changes: Changes) -> None:
        """Begin an instance with the state that a snapshot at `seq` holds."""
        here = self.restore(self._next_id, name, state, ())
        here.seq, here.at_us = seq, at_us
        for tier in state.tiers.values():
            base = block_id(here.id, tier.name, 0)
            key_at = {slot: key for key, slot in tier.lineage.index.items()}
            key_at.update({slot: tier.lineage.key_of(slot) for slot in here.condemned.get(tier.name, ())})
            everything = sorted(key_at)
            for start in range(0, len(everything), SEED_BLOCKS):
                slots = everything[start : start + SEED_BLOCKS]
                keys = bytes.fromhex("".join([key_at[slot] for slot in slots]))
                changes.put(Named(seq, pieces_of_slots(base, slots, range(len(slots))), keys))
            changes.condemn([(base + slot, base + slot) for slot in sorted(here.condemned.get(tier.name, ()))])
        changes.snapshots.append(snapshot_row(here))  # the journal has nothing before it
        changes.touched.add(name)
        changes.touched_requests.update((name, request) for request in state.requests)
        changes.touched_transfers.update((name, transfer) for transfer in state.transfers)

    def take(self, entry: Entry, changes: Changes) -> None:
        """Take the next entry.

        Raises:
            InvalidEvent, LogGap, IllegalTransition: the log holds what cannot be applied: nothing goes on from here,
                and `changes` is as before, or torn.
        """
        name = instance_of(entry.subject)
        here = self._followed.get(name) or self._begin(name)
        ready = self._sequencer.feed(entry)
        event = ready[0].event if ready else decode(entry.data)
        contexts: list[Context] = []
        for ordered in ready:
            contexts.append(self._apply(here, entry.seq, ordered.event, changes))
            changes.is_torn = True
        if not ready:
            self._pass_over(here, entry.seq, event, changes)
        row = journal_row(entry, here.id, event, entry.seq if ready else None, contexts[0] if contexts else Context())
        here.weight += EVENT_WEIGHT + row[BLOCKS]
        changes.add_entry(row)
        changes.last = entry.seq, name, event

    def settle(self, changes: Changes) -> None:
        """Complete the changes with the rows of what was touched, as it is now, and with their position."""
        if changes.last:
            seq, name, event = changes.last
            changes.position = Position(seq, message_id(name, event.epoch, event.n))
        followed = self._followed
        upserts, deletes = changes.upserts, changes.deletes
        for name in changes.touched:
            here = followed[name]
            upserts.setdefault("instance", []).append(rows.instance_row(here))
            upserts.setdefault("tier", []).extend(rows.tier_row(here, tier) for tier in here.state.tiers.values())
            if is_due(here):
                changes.snapshots.append(snapshot_row(here))
                here.weight = 0
        for name in changes.reopened:
            here = followed[name]
            deletes.setdefault("tier", []).extend((here.id, tier) for tier in TIERS if tier not in here.state.tiers)
        for name, request_name in changes.touched_requests:
            here = followed[name]
            if request := here.state.requests.get(request_name):
                upserts.setdefault("request", []).append(rows.request_row(here.id, request))
            else:
                deletes.setdefault("request", []).append((here.id, request_name))
        for name, transfer_id in changes.touched_transfers:
            here = followed[name]
            if transfer := here.state.transfers.get(transfer_id):
                upserts.setdefault("transfer", []).append(rows.transfer_row(here.id, transfer))
            else:
                deletes.setdefault("transfer", []).append((here.id, transfer_id))

    def _begin(self, name: str) -> Followed:
        return self.restore(self._next_id, name, State(), ())

    @staticmethod
    def _apply(here: Followed, seq: int, event: AnyEvent, changes: Changes) -> Context:
        own_seq = here.early.pop((event.epoch, event.n), seq) if here.early else seq
        if type(event) is Opened:
            changes.must_prove |= here.state.epoch > 0
            here.early.clear()
        own_request = getattr(event, "request", None)
        context = apply_event(here, own_seq, event, changes)
        here.seq, here.at_us = seq, event.at_us
        if own_seq != seq:
            changes.applied.append((seq, own_request or context.request, context.seen, own_seq))
        return context

    @staticmethod
    def _pass_over(here: Followed, seq: int, event: AnyEvent, changes: Changes) -> None:
        state = here.state
        changes.touched.add(here.name)  # the journal's row needs the instance's
        if event.epoch > state.epoch:
            changes.must_prove = True
        elif event.epoch == state.epoch and event.n > state.n:
            here.early.setdefault((event.epoch, event.n), seq)
