"""Memory of a tier in another process: a memory host's arena, which survives that process, and this one all the more."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock

from kvbm_events.schema.errors import KvbmError
from kvbm_tiers.block_move import prove
from kvbm_tiers.layout import Layout
from kvbm_tiers.memory import address_of, copy
from kvbm_tiers.remote.keeper import LinkOptions
from kvbm_tiers.remote.link import Link
from kvbm_tiers.remote.session import Session
from kvbm_tiers.store import check_slot


class RemoteMemory:
    """Slots in the memory of a host. `NixlUcxMover` moves many of them at a time; `read` and `write` move one.

    :ivar opening: whether its blocks were kept, as the host says
    :ivar link: to the host
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        namespace: str,
        layout: Layout,
        capacity: int,
        reset: bool = False,
        options: LinkOptions | None = None,
    ) -> None:
        """Claim the memory of a host.

        Args:
            url: of the NATS server where it is asked
            name: of the memory host
            namespace: whose blocks they are
            layout: of a block
            capacity: slots
            reset: start empty, whatever is there
            options: how to behave

        Raises:
            LogUnavailable: no NATS server answers.
            MemoryUnavailable: no memory host of this name does.
            NamespaceMismatch: it keeps blocks of another namespace, layout or capacity; the message names the field.
            StoreBusy: another one has claimed it.
        """
        self.layout, self.capacity, self.name = layout, capacity, name
        self.link = Link(
            url,
            name,
            namespace=namespace,
            layout=layout,
            capacity=capacity,
            reset=reset,
            options=options or LinkOptions(),
        )
        self.opening = self.link.claimed.opening
        self._turn, self._is_connected = Lock(), False

    def connect(self, memories: list[memoryview], bounce_sizes: list[int]) -> None:
        """Register memory of this process; a session's bounces are these, and one of the store's own behind them.

        Raises:
            NixlUnavailable: NIXL is not installed, or does not start.
            MemoryUnavailable: the host went away.
        """
        self.link.connect(memories, [*bounce_sizes, self.layout.slot_bytes])
        self._is_connected = True

    def view(self, slot: int) -> None:
        """None: a host's blocks are not in this memory."""
        check_slot(slot, self.capacity)

    def read(self, slot: int, block: memoryview) -> None:
        """See `Store.read`."""
        check_slot(slot, self.capacity)
        with self._turn, self._in_session(here=True) as session:
            bounce = session.bounces[-1][: self.layout.block_bytes]
            session.pull([slot], [address_of(bounce)])
            self._compare(bounce, session.prove([slot]))
            copy(block[: len(bounce)], bounce)

    def write(self, slot: int, block: memoryview) -> None:
        """See `Store.write`."""
        check_slot(slot, self.capacity)
        with self._turn, self._in_session(here=False) as session:
            bounce = session.bounces[-1][: self.layout.block_bytes]
            copy(bounce, block[: len(bounce)])
            session.push([slot], [address_of(bounce)])
            self._compare(bounce, session.prove([slot]))

    def sync(self) -> None:
        """Nothing to do: what is in the host's memory survives its process, and nothing there survives its machine."""

    def close(self) -> None:
        """Let the memory go. What is in it stays with its host."""
        self.capacity = 0  # no slot can be read or written any more
        self.link.close()

    @contextmanager
    def _in_session(self, *, here: bool) -> Iterator[Session]:
        """The session. If it breaks, an error once it is known that nothing is written any more."""
        if not self._is_connected:
            self.connect([], [])
        try:
            session = self.link.session()
        except KvbmError as error:
            raise OSError(errno.EHOSTDOWN, str(error)) from error
        try:
            yield session
        except KvbmError as error:
            settled = Event()
            self.link.doubts.add(session.number, settled.set, here=here)
            settled.wait()
            raise OSError(errno.EIO, str(error)) from error

    def _compare(self, bounce: memoryview, checksums: list[str]) -> None:
        if prove(bounce, checksums[0]).reason:
            raise OSError(errno.EIO, f"a block here and at the memory host {self.name!r} has not the same bytes")
