"""What an owner does when it must wait, and how much it takes on."""

from __future__ import annotations

from msgspec import Struct

from kvbm_events.schema import MAX_BLOCKS
from kvbm_events.schema.errors import InvalidCommand


class Options(Struct, frozen=True, kw_only=True):
    """See the module.

    :ivar room_timeout_s: how long a command waits while too many events are unwritten
    :ivar pending_max: events that may be unwritten
    :ivar close_timeout_s: how long `close` and `flush` wait for the log
    :ivar transfer_timeout_s: after which a transfer has failed, and what a request waits for is not begun any more
    :ivar batch_max: blocks of one transfer
    :ivar path_transfers_max: transfers under way on each path from tier to tier
    :ivar path_blocks_max: blocks under way on each path
    :ivar queue_max: blocks that may wait for each path
    :ivar peer_blocks_max: blocks of all peers that are kept in mind
    :ivar snapshot_every: events after which `maintain` writes a snapshot; 0 for never
    """

    room_timeout_s: float = 5.0
    pending_max: int = 65_536
    close_timeout_s: float = 30.0
    transfer_timeout_s: float = 30.0
    batch_max: int = 32
    path_transfers_max: int = 16
    path_blocks_max: int = 256
    queue_max: int = 16_384
    peer_blocks_max: int = 1_000_000
    snapshot_every: int = 50_000

    def check(self) -> Options:
        """The same, if something can move under it.

        Raises:
            InvalidCommand: nothing could.
        """
        at_least = min(self.batch_max, self.path_transfers_max, self.queue_max)
        if at_least < 1 or self.batch_max > min(self.path_blocks_max, MAX_BLOCKS):
            raise InvalidCommand(
                f"transfers of {self.batch_max} blocks, {self.path_transfers_max} transfers and {self.path_blocks_max} "
                f"blocks on a path, and {self.queue_max} that wait",
                why=f"a transfer has 1 to {MAX_BLOCKS} blocks, no more than its path, and of all there is at least one",
            )
        return self

    def deadline_us(self, now_us: int) -> int:
        """When a transfer that begins now has failed."""
        return now_us + int(self.transfer_timeout_s * 1e6)
