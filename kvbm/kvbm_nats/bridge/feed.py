"""An engine's messages whole and in order, or a word about what is missing.

Rules
1. A publisher numbers its messages from 0, anew with every process. A number that is not the next one means a gap, or
   another process.
2. What is missing is asked for at the engine's replay socket, which remembers the last ones. What it gives that joins on is
   taken; where it does not join, or there is no such socket, the rest is lost, and that is said: `Break`.
3. A connection that was lost and came back may be to another process: that is a break too, for numbers do not tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

import structlog
import zmq
from zmq.utils.monitor import recv_monitor_message

from kvbm_nats.bridge.wire import END, SEQUENCE_BYTES

REPLAY_TIMEOUT_MS = 5000
_logger = structlog.get_logger(__name__)


class Break(NamedTuple):
    """From here on nothing is known of what was before."""

    why: str


class Message(NamedTuple):
    """The next message."""

    sequence: int
    data: bytes


class Feed:
    """See the module. For one thread."""

    def __init__(self, url: str, *, replay_url: str = "", topic: str = "") -> None:
        """Connect to the publisher of an engine, and to its replay socket if it has one. Neither needs to be there yet."""
        self._replay_url = replay_url
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 0)  # memory is what bounds it: what is dropped here is a gap
        self._socket.setsockopt_string(zmq.SUBSCRIBE, topic)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED)
        self._socket.connect(url)
        self._expected: int | None = None
        self._was_lost = False

    def poll(self, timeout_s: float) -> Iterator[Message | Break]:
        """What has come, after waiting for so long for the first."""
        wait_ms = int(timeout_s * 1000)
        while self._socket.poll(wait_ms):
            wait_ms = 0
            *_, number, data = self._socket.recv_multipart()
            yield from self._take(int.from_bytes(number, "big", signed=True), data)

    def close(self) -> None:
        """Let go of the sockets."""
        self._socket.disable_monitor()
        self._context.destroy(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, sequence: int, data: bytes) -> Iterator[Message | Break]:
        self._see_connections()
        if self._was_lost or (self._expected is not None and sequence < self._expected):
            self._was_lost, self._expected = False, None
            yield Break("the connection to the engine was lost: it may have been started again")
        if self._expected is None:
            yield from self._catch_up(0, sequence, is_first=True)
        elif sequence > self._expected:
            yield from self._catch_up(self._expected, sequence, is_first=False)
        self._expected = sequence + 1
        yield Message(sequence, data)

    def _catch_up(self, first: int, end: int, *, is_first: bool) -> Iterator[Message | Break]:
        """What came before `end`; a break where it does not begin with `first`."""
        if first == end:
            return
        found = [message for message in self._replay(first) if message.sequence < end]
        joined = [message for at, message in enumerate(reversed(found), 1) if message.sequence == end - at][::-1]
        if len(joined) == end - first:
            yield from joined
            return
        until = end - len(joined)
        why = f"messages {first} to {until - 1} of the engine are lost"
        why += "" if self._replay_url else ", and no replay socket was named"
        if not is_first:
            yield Break(why)
        else:
            _logger.warning("the engine is followed from the middle", why=why)
        yield from joined

    def _replay(self, first: int) -> list[Message]:
        """What the engine remembers from a number on; nothing if it does not answer."""
        found: list[Message] = []
        if not self._replay_url:
            return found
        socket = self._context.socket(zmq.DEALER)
        try:
            socket.connect(self._replay_url)
            socket.send_multipart([b"", first.to_bytes(SEQUENCE_BYTES, "big")])
            while socket.poll(REPLAY_TIMEOUT_MS):
                *_, number, data = socket.recv_multipart()
                if number == END:
                    return found
                found.append(Message(int.from_bytes(number, "big"), data))
            _logger.warning("the engine's replay socket does not answer", url=self._replay_url)
        finally:
            socket.close(linger=0)
        return found

    def _see_connections(self) -> None:
        while self._monitor.poll(0):
            if recv_monitor_message(self._monitor)["event"] == zmq.EVENT_DISCONNECTED:
                self._was_lost = True
