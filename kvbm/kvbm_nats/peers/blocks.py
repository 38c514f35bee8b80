"""What one other instance has in object storage, as its log tells: every block that arrived there and was not evicted.

Only what that tier's events say is kept, and of a snapshot only that tier: its blocks' keys and checksums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kvbm_events.schema import (
    CHECKSUM_DIGITS,
    AnyEvent,
    Evicted,
    OffloadCompleted,
    OffloadFailed,
    OffloadStarted,
    Opened,
    to_slots,
    unpack_checksums,
    unpack_keys,
)
from kvbm_nats.status import PeerStatus
from kvbm_statemachine.snapshot import StateDump, TierDump
from kvbm_tiers import OBJECT_TIER

_SUM_BYTES = CHECKSUM_DIGITS // 2


class PeerBlocks:
    """See the module. Written in the follower's thread; the owner's looks things up, and strikes out.

    :ivar sums: by key, the checksum of a block's object
    :ivar length_bytes: of each; 0 where no event has told it yet
    :ivar passed_over: blocks for which there was no room
    :ivar seq, end_seq, is_current, trouble: see `PeerStatus`
    """

    def __init__(self, name: str, room: Callable[[], int], wanted: str) -> None:
        """Nothing is known; `room` says how many blocks more may be. Only those of the `wanted` namespace are kept."""
        self.name, self.namespace, self._wanted = name, "", wanted
        self.sums: dict[str, str] = {}
        self.length_bytes = self.passed_over = self.seq = self.end_seq = 0
        self.is_current, self.trouble = False, ""
        self._room = room
        self._under_way: dict[str, dict[int, str]] = {}

    def begin(self, dumped: StateDump | None, seq: int) -> None:
        """Begin again, with the state at a sequence of its log, or with none."""
        self.seq, self.passed_over, self.is_current = seq, 0, False
        self._under_way, sums = {}, dict[str, str]()
        if dumped:
            self.namespace = dumped.namespace
            tier = next((tier for tier in dumped.tiers if tier.spec.tier == OBJECT_TIER), None)
            sums = _sums_of(tier) if tier else sums
            for each in dumped.transfers:
                if each.tier == OBJECT_TIER:
                    keys = dict(zip(to_slots(each.slots), unpack_keys(each.keys), strict=True))
                    self._under_way[each.id] = {slot: keys[slot] for slot in each.open}
        self.sums = {}
        self._add(list(sums), list(sums.values()))

    def take(self, event: AnyEvent) -> None:
        """The next event of its log."""
        match event:
            case OffloadCompleted() if event.tier == OBJECT_TIER:
                self._arrived(event)
            case OffloadStarted() if event.tier == OBJECT_TIER:
                self._under_way[event.transfer] = dict(zip(to_slots(event.slots), unpack_keys(event.keys), strict=True))
            case OffloadFailed() if event.tier == OBJECT_TIER:
                self._over(event.transfer, to_slots(event.slots))
            case Evicted() if event.tier == OBJECT_TIER and not event.writer:
                for key in unpack_keys(event.keys):
                    self.sums.pop(key, None)
            case Opened():
                self.namespace = event.namespace
                if OBJECT_TIER not in event.kept:
                    self.sums, self._under_way = {}, {}
            case _:
                pass

    def strike(self, keys: Sequence[str]) -> None:
        """These were not there, or not whole: they are not looked for until they are written again. The owner's thread."""
        for key in keys:
            self.sums.pop(key, None)

    def reach(self, keys: Sequence[str], start: int) -> int:
        """Up to where it has all keys from `start` on."""
        sums = self.sums
        return next((at for at in range(start, len(keys)) if keys[at] not in sums), len(keys))

    def status(self, *, is_named: bool) -> PeerStatus:
        """What is known of it."""
        return PeerStatus(
            name=self.name,
            is_named=is_named,
            namespace=self.namespace,
            blocks=len(self.sums),
            passed_over=self.passed_over,
            seq=self.seq,
            end_seq=self.end_seq,
            is_current=self.is_current,
            trouble=self.trouble,
        )

    def _arrived(self, event: OffloadCompleted) -> None:
        slots = to_slots(event.slots)
        keys = self._over(event.transfer, slots)
        sums = unpack_checksums(event.checksums, len(slots))
        there = {at for at, _ in event.existing}
        known = [
            (key, each)
            for at, (key, each) in enumerate(zip(keys, sums, strict=True))
            if key and each and at not in there
        ]
        self.length_bytes = event.length_bytes or self.length_bytes
        self._add([key for key, _ in known], [each for _, each in known])

    def _over(self, transfer: str, slots: list[int]) -> list[str]:
        """The keys of blocks that are not under way any more; empty where that is not known."""
        under_way = self._under_way.get(transfer, {})
        keys = [under_way.pop(slot, "") for slot in slots]
        if not under_way:
            self._under_way.pop(transfer, None)
        return keys

    def _add(self, keys: list[str], sums: list[str]) -> None:
        if self.namespace != self._wanted:
            return
        count = max(0, min(len(keys), self._room()))
        self.sums.update(zip(keys[:count], sums[:count], strict=True))
        self.passed_over += len(keys) - count


def _sums_of(tier: TierDump) -> dict[str, str]:
    """By key, the checksums of what the instance has written itself, but for those that are unknown."""
    found: dict[str, str] = {}
    for chain in tier.chains:
        if chain.condemned or not tier.checksums:
            continue
        for key, slot in zip(unpack_keys(chain.keys), to_slots(chain.slots), strict=True):
            digits = tier.checksums[slot * _SUM_BYTES : (slot + 1) * _SUM_BYTES].hex()
            if slot not in tier.writers and digits.strip("0"):
                found[key] = digits
    return found
