"""The real `kvbm web` as a process, over a real log that grows."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Self

from kvbm_nats import BlockManager, TierSpec
from kvbm_nats.keys import chain_keys

NAMESPACE = "model=live;block_tokens=16"
KVBM = [sys.executable, "-m", "kvbm_nats.cli"]


class Web:
    """`kvbm web ARGUMENTS` on a port of its own choice; `url` is what it printed, without the last slash."""

    def __init__(self, *arguments: object, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*KVBM, "web", "--port", "0", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        line = self.process.stdout.readline() if self.process.stdout else ""
        assert line.startswith("kvbm web is at http://"), line or self.end()
        self.url = line.split()[-1].rstrip("/")

    def end(self) -> str:
        """What it said on stderr until its end."""
        return self.process.communicate(timeout=30)[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def keys_of(number: int) -> list[str]:
    """The blocks of an engine's prompt, from 1."""
    return chain_keys([number] * 48, block_tokens=16, namespace=NAMESPACE)


class Engine:
    """An owner that the test makes do things."""

    def __init__(self, nats_url: str, instance: str) -> None:
        self.manager = BlockManager.open(
            nats_url, instance, namespace=NAMESPACE, tiers=[TierSpec(tier="g1", capacity=32)]
        )
        self._prompts = 0

    def ask(self, request: str) -> None:
        """A request that computes three blocks."""
        self._prompts += 1
        keys = keys_of(self._prompts)
        self.manager.match(request, keys)
        slots = self.manager.allocate(request, len(keys))
        self.manager.register(request, slots, keys, parent="")
        self.manager.release(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.manager.close()
