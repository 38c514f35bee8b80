"""A service for tests: one instance without NATS and with a clock of the test's own, and the real command as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec

from kvbm_events.codec import decode
from kvbm_events.memory import MemoryLog, MemoryWriter
from kvbm_events.schema import Opened, Released
from kvbm_nats.options import Options
from kvbm_nats.service.config import InstanceConfig
from kvbm_nats.service.host import InstanceHost
from kvbm_nats.service.wire import decode_error
from kvbm_tiers import Mover
from support.locks import LOCKS

KVBM = Path(sys.executable).with_name("kvbm")
LEASE_S = 30.0
NAMESPACE = "model=m;page=16"
TIERS = "g1=64,g2=256"
TIMEOUT_S = 30.0


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class HeldLog(MemoryLog):
    """Stores at once, but keeps its acknowledgements to itself while `held`."""

    def __init__(self) -> None:
        super().__init__()
        self.held = False
        self._acked_n = -1
        self._on_acked: Callable[[int], None] = lambda _n: None

    async def open_writer(
        self, instance: str, opened: Opened, after: int, on_acked: Callable[[int], None] = lambda _n: None
    ) -> MemoryWriter:
        self._on_acked = on_acked
        return await super().open_writer(instance, opened, after, self._take)

    def _take(self, n: int) -> None:
        self._acked_n = n
        if not self.held:
            self._on_acked(n)

    def let_go(self) -> None:
        """Acknowledge what is stored, and from now on at once."""
        self.held = False
        self._on_acked(self._acked_n)


class Hosted:
    """One instance over a log in memory, asked without NATS. Questions are numbered, and asked by client `c`."""

    def __init__(
        self,
        log: MemoryLog,
        *,
        name: str = "i",
        namespace: str = NAMESPACE,
        tiers: str = TIERS,
        mover: Mover | None = None,
        options: Options | None = None,
    ) -> None:
        self.log, self.clock, self._name = log, Clock(), name
        self.lost: list[Exception] = []
        self.reachable, self._closed = True, False
        self._number = 0
        self.host = InstanceHost(
            InstanceConfig(name=name, namespace=namespace, tiers=tiers, options=options or Options()),
            log,
            lease_s=LEASE_S,
            on_failed=lambda _host, error: self.lost.append(error),
            is_reachable=lambda: self.reachable,
            clock=self.clock,
            mover=(lambda: mover) if mover else None,
        )

    async def open(self) -> Hosted:
        """Wait until the instance is claimed."""
        await self.host.opened()
        self._handlers = {plan.name: plan.handler for plan in self.host.endpoints()}
        return self

    async def raw(self, verb: str, body: bytes) -> Any:
        """The reply's bytes and code; None for silence."""
        return await asyncio.wait_for(self._handlers[verb](body), TIMEOUT_S)

    async def ask(self, verb: str, **body: object) -> dict[str, Any]:
        """The answer; raises what was refused with."""
        if verb != "status":
            self._number += 1
            body = {"client": "c", "number": self._number, **body}
        reply = await self.raw(verb, json.dumps(body).encode())
        assert reply is not None, "nothing was said"
        if reply.code:
            raise decode_error(reply.data)
        answer: dict[str, Any] = msgspec.json.decode(reply.data)
        return answer

    async def until(self, reached: Callable[[dict[str, Any]], object]) -> None:
        """Ask for the status until it is as wanted."""
        async with asyncio.timeout(TIMEOUT_S):
            while not reached(await self.ask("status")):
                pass

    async def pass_time(self, seconds: float) -> None:
        """Let time go by, with a turn of the owner's every second."""
        while seconds > 0:
            self.clock.now_s += min(1.0, seconds)
            seconds -= 1.0
            await self.host.turn()

    async def close(self) -> None:
        """Let go of the instance, as a graceful stop does; a second time is nothing. Who lost it may not write."""
        if not self._closed:
            self._closed = True
            with suppress(*map(type, self.lost)):
                await self.host.close()

    async def reasons(self) -> dict[str, str]:
        """Why each request was released."""
        found: dict[str, str] = {}
        async for batch in self.log.read(self._name, until=await self.log.last_seq(self._name)):
            events = [decode(entry.data) for entry in batch]
            found |= {event.request: event.reason for event in events if isinstance(event, Released)}
        return found

    async def requests(self) -> int:
        """How many requests are open."""
        return int((await self.ask("status"))["requests"])


class Command:
    """A long-running `kvbm` command, as a process.

    :ivar alive: those that were started and have not ended
    :ivar said: the lines that it logged until now
    """

    alive: ClassVar[set[Command]] = set()

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments
        self.said: list[str] = []

    async def start(self, word: str) -> Self:
        """Start it and wait until it logs this word."""
        self._process = await asyncio.create_subprocess_exec(KVBM, *self._arguments, stderr=asyncio.subprocess.PIPE)
        self.alive.add(self)
        await self.hear(word)
        return self

    async def kill(self) -> None:
        """Kill it as a crash would."""
        self._process.kill()
        await self._end()

    async def terminate(self) -> int:
        """Ask it to end; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return await self.exited()

    async def exited(self) -> int:
        """Wait for its end; its exit code."""
        await self.hear("")
        return await self._end()

    async def _end(self) -> int:
        code = await self._process.wait()
        self.alive.discard(self)
        return code

    async def hear(self, word: str) -> None:
        """Read what it says up to a line with this word, or to the end."""
        await asyncio.wait_for(self._hear(word), TIMEOUT_S)

    async def _hear(self, word: str) -> None:
        assert self._process.stderr
        while line := (await self._process.stderr.readline()).decode():
            self.said.append(line)
            if word and word in line:
                return
        assert not word, "".join(self.said)


class ServiceProcess(Command):
    """`kvbm serve`, the real command."""

    def __init__(
        self, url: str, instance: str, *more: str, tiers: str = TIERS, lease_s: float = LEASE_S, workers: int = 0
    ) -> None:
        super().__init__(*_named("serve", url, instance, tiers), f"--lease-s={lease_s}", f"--workers={workers}", *more)

    async def start(self, word: str = "service started") -> Self:
        return await super().start(word)


class WorkerCommand(Command):
    """`kvbm worker`, the real command."""

    def __init__(self, url: str, instance: str, *more: str, namespace: str = NAMESPACE, tiers: str = TIERS) -> None:
        super().__init__(
            *_named("worker", url, instance, tiers, namespace), "--heartbeat-s=0.1", f"--lock-folder={LOCKS}", *more
        )

    async def start(self, word: str = "worker ready") -> Self:
        return await super().start(word)


def _named(verb: str, url: str, instance: str, tiers: str, namespace: str = NAMESPACE) -> list[str]:
    options = {"--nats-url": url, "--instance": instance, "--namespace": namespace, "--tiers": tiers}
    return [verb, *(word for option in options.items() for word in option)]
