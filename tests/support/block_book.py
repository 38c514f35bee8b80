"""What a history's events say of its blocks, kept in the simplest way there is: the oracle of the stateful tests."""

from __future__ import annotations

from kvbm_events.schema import (
    Allocated,
    AnyEvent,
    Evicted,
    Noted,
    Opened,
    Registered,
    TierName,
    TransferCompleted,
    TransferFailed,
    TransferStarted,
    to_slots,
    unpack_checksums,
    unpack_keys,
)
from kvbm_statemachine import State


class BlockBook:
    """Told of every event, it knows which key is in which tier, and under which parent.

    :ivar parents: by tier, the parent of every key that can be matched there
    :ivar writers: who wrote a key of a tier, where another instance did
    :ivar haunted: by tier, slots to which a mover may still write
    """

    def __init__(self) -> None:
        self.parents: dict[TierName, dict[str, str]] = {}
        self.sums: dict[TierName, dict[str, str]] = {}
        self.haunted: dict[TierName, set[int]] = {}
        self.writers: dict[tuple[TierName, str], str] = {}
        self._observed: set[TierName] = set()
        self._arriving: dict[str, dict[int, tuple[str, str]]] = {}

    def note(self, event: AnyEvent) -> None:
        """Take an event down; asserts that children leave an owned tier before their parents."""
        match event:
            case Opened():
                self.parents = {
                    spec.tier: self.parents[spec.tier] if spec.tier in event.kept else {} for spec in event.tiers
                }
                self.sums = {spec.tier: self.sums[spec.tier] if spec.tier in event.kept else {} for spec in event.tiers}
                self.writers = {
                    place: name for place, name in self.writers.items() if place[1] in self.parents.get(place[0], ())
                }
                self._observed = {spec.tier for spec in event.tiers if spec.control == "observed"}
                self.haunted = {
                    spec.tier: {slot for slot in self.haunted.get(spec.tier, ()) if slot < spec.capacity}
                    for spec in event.tiers
                }
            case Allocated():
                self._check_quiet(event.tier, to_slots(event.slots))
            case Registered():
                self._add(event.tier, _pairs(event.keys, event.parent), dict(event.existing))
            case Noted():
                self._check_quiet(event.tier, to_slots(event.slots))
                keys = unpack_keys(event.keys)
                self._add(event.tier, _pairs(event.keys, event.parent), {})
                self.sums[event.tier].update(zip(keys, unpack_checksums(event.checksums, len(keys)), strict=True))
                self.writers.update({(event.tier, key): event.writer for key in keys})
            case TransferStarted():
                self._check_writer(event.source, event.keys, event.writer)
                self._check_quiet(event.tier, to_slots(event.slots))
                self.haunted[event.tier].update(to_slots(event.slots))
                keys = unpack_keys(event.keys)
                known = [self.sums[event.source].get(key, "") for key in keys]
                assert unpack_checksums(event.checksums, len(keys)) == known
                self._arriving[event.transfer] = dict(
                    zip(to_slots(event.slots), _pairs(event.keys, event.parent), strict=True)
                )
            case TransferCompleted():
                blocks = [self._arriving[event.transfer].pop(slot) for slot in to_slots(event.slots)]
                self._add(event.tier, blocks, dict(event.existing))
                self._note_sums(event, [key for key, _ in blocks])
                self.haunted[event.tier].difference_update(to_slots(event.slots))
            case Evicted():
                self._check_writer(event.tier, event.keys, event.writer)
                self._remove(event)
            case TransferFailed() if event.stopped:
                self.haunted[event.tier].difference_update(to_slots(event.slots))
            case _:
                pass

    def found(self, keys: list[str]) -> list[tuple[TierName, int]]:
        """What a look-up must find: blocks in a row in each tier, fastest first."""
        found: list[tuple[TierName, int]] = []
        at = 0
        for tier, parents in self.parents.items():
            start = at
            while at < len(keys) and keys[at] in parents:
                at += 1
            if at > start:
                found.append((tier, at - start))
        return found

    def _check_writer(self, tier: TierName, packed: str, writer: str) -> None:
        names = {self.writers.get((tier, key), "") for key in unpack_keys(packed)}
        assert names == {writer}, f"{tier}: an event of {writer!r} has blocks that were written by {names}"

    def _check_quiet(self, tier: TierName, slots: list[int]) -> None:
        assert self.haunted.get(tier, set()).isdisjoint(slots), (
            f"{tier}: slots are given away to which a mover may still write"
        )

    def _add(self, tier: TierName, blocks: list[tuple[str, str]], existing: dict[int, int]) -> None:
        parents = self.parents[tier]
        for at, (key, parent) in enumerate(blocks):
            if at in existing:
                assert parents[key] == parent
            else:
                assert key not in parents, f"{key} was registered twice in {tier}"
                parents[key] = parent

    def _note_sums(self, event: TransferCompleted, keys: list[str]) -> None:
        existing = dict(event.existing)
        if event.checksums:
            sums = zip(keys, unpack_checksums(event.checksums, len(keys)), strict=True)
            self.sums[event.tier].update({key: each for at, (key, each) in enumerate(sums) if at not in existing})

    def _remove(self, event: Evicted) -> None:
        parents = self.parents[event.tier]
        gone = set(unpack_keys(event.keys))
        for key in gone:
            del parents[key]
            self.sums[event.tier].pop(key, None)
            self.writers.pop((event.tier, key), None)
        if event.tier not in self._observed:
            left_behind = [key for key, parent in parents.items() if parent in gone]
            assert not left_behind, f"{event.tier}: {left_behind} lost their parents"


def _pairs(packed: str, parent: str) -> list[tuple[str, str]]:
    keys = unpack_keys(packed)
    return list(zip(keys, [parent, *keys], strict=False))


def evictable(state: State, name: TierName) -> int:
    """How many blocks of a tier no request, transfer or condemned block stands on, counted from who holds what."""
    tier = state.tiers[name]
    lineage = tier.lineage
    holders = [slot for request in state.requests.values() for slot in request.pins.get(name, ())]
    holders += [t.source_slot for t in state.transfers.values() if t.source == name and t.has_source]
    holders += [chain.parent_slot for chain in lineage.chains.values() if chain.condemned and chain.parent_slot >= 0]
    return len(set(lineage.index.values()) - held_slots(state, name, holders))


def held_slots(state: State, name: TierName, holders: list[int]) -> set[int]:
    """These slots of a tier and those of all their ancestors."""
    paths = (path for holder in holders for path in state.tiers[name].lineage.path(holder))
    return {slot for chain, size in paths for slot in chain.slots[:size]}
