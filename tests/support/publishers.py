"""An engine's publisher of KV events, as vLLM's: numbered messages, and a ring to replay from."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Self

import msgspec
import zmq

END = (-1).to_bytes(8, "big", signed=True)


def stored(hashes: list[int | bytes], parent: int | bytes | None = None, **more: Any) -> dict[str, Any]:
    """As vLLM 0.32 sends it."""
    return {
        "type": "BlockStored",
        "block_hashes": hashes,
        "parent_block_hash": parent,
        "token_ids": [],
        "block_size": 16,
        "lora_id": None,
        "medium": "GPU",
        "lora_name": None,
    } | more


def removed(hashes: list[int | bytes], medium: str = "GPU") -> dict[str, Any]:
    """As vLLM 0.32 sends it."""
    return {"type": "BlockRemoved", "block_hashes": hashes, "medium": medium}


class Publisher:
    """See the module. `say` numbers a message and sends it; one that is `lost` is in the ring only."""

    def __init__(self, port: int = 0, replay_port: int = 0, *, ring: int = 1000) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self.port = self._bind(self._socket, port)
        self._router = self._context.socket(zmq.ROUTER)
        self.replay_port = self._bind(self._router, replay_port)
        self._ring: list[tuple[int, bytes]] = []
        self._size, self._next = ring, 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._replay, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def replay_url(self) -> str:
        return f"tcp://127.0.0.1:{self.replay_port}"

    def is_subscribed(self, timeout_s: float = 0.0) -> bool:
        """Whether somebody has come who hears what is said from now on."""
        return bool(self._socket.poll(int(timeout_s * 1000)))

    def say(self, *events: Any, is_lost: bool = False) -> None:
        data = msgspec.msgpack.encode([time.time(), list(events), 0])
        self._ring = [*self._ring, (self._next, data)][-self._size :]
        if not is_lost:
            self._socket.send_multipart([b"", self._next.to_bytes(8, "big"), data])
        self._next += 1

    def say_raw(self, data: bytes) -> None:
        self._socket.send_multipart([b"", self._next.to_bytes(8, "big"), data])
        self._next += 1

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._context.destroy(linger=0)

    def _bind(self, socket: zmq.Socket[bytes], port: int) -> int:
        if not port:
            return socket.bind_to_random_port("tcp://127.0.0.1")
        socket.bind(f"tcp://127.0.0.1:{port}")
        return port

    def _replay(self) -> None:
        while not self._is_over.is_set():
            if not self._router.poll(20):
                continue
            client, _, first = self._router.recv_multipart()
            for number, data in self._ring:
                if number >= int.from_bytes(first, "big"):
                    self._router.send_multipart([client, b"", b"", number.to_bytes(8, "big"), data])
            self._router.send_multipart([client, b"", b"", END, b""])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
