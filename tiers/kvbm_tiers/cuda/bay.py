"""Where a batch waits on the device on its way to or from disk, and the stream that gathers, hashes and scatters it there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

from kvbm_tiers.cuda.device_hash import DeviceHash
from kvbm_tiers.cuda.pool import DevicePool, give_back
from kvbm_tiers.cuda.through import through


class Bay:
    """Room for the packed blocks of a batch, and a stream. For one thread at a time.

    :ivar address: of the room
    :ivar size: of the room, in bytes
    """

    def __init__(self, pool: DevicePool, blocks: int) -> None:
        """Take room for `blocks`. Raises CudaFailed if there is none."""
        self._pool, self._driver, self.size = pool, pool.driver, blocks * pool.layout.slot_bytes
        with ExitStack() as taken:
            self.address = self._driver.allocate(self.size)
            taken.callback(self._driver.free, self.address)
            # What is behind a block in its slot goes to disk too: not what another had in this memory.
            self._driver.upload(self.address, bytes(self.size))
            self._hash = DeviceHash(self._driver, blocks)
            taken.callback(self._hash.close)
            self._over = self._driver.make_event()
            taken.callback(self._driver.destroy_event, self._over)
            self._stream = self._driver.make_stream()
            taken.callback(self._driver.destroy_stream, self._stream)
            self._taken = taken.pop_all()

    def place(self, at: int) -> int:
        """The address of a block's place."""
        return self.address + at * self._pool.layout.slot_bytes

    def wait(self, after: int) -> None:
        """Wait for an event; 0 for none. Raises CudaFailed."""
        with self._through(after):
            pass

    def gather(self, slots: Sequence[int], blocks: Sequence[int], after: int) -> None:
        """Copy slots of the pool to places here, when `after` has come, and wait. Raises CudaFailed."""
        with self._through(after):
            self._pool.launch(slots, blocks, self._stream, to_pool=False)

    def scatter(self, slots: Sequence[int], blocks: Sequence[int], after: int) -> None:
        """The other way round. Raises CudaFailed: some of the slots may be written."""
        with self._through(after):
            self._pool.launch(slots, blocks, self._stream, to_pool=True)

    def checksums(self, blocks: Sequence[int]) -> list[str]:
        """Of blocks at these addresses, here or in the pool. Raises CudaFailed."""
        block_bytes = self._pool.layout.block_bytes
        with self._through(0):
            self._hash.start(blocks, block_bytes, self._stream)
        return self._hash.found(len(blocks), block_bytes)

    def close(self) -> None:
        """Give room and stream back."""
        give_back(self._taken)

    def _through(self, after: int) -> AbstractContextManager[None]:
        return through(self._driver, self._stream, self._over, after)
