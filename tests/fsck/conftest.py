"""An instance over files, to be damaged and checked, and the real command that does it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import KVBM, PLAIN
from kvbm_nats.manager import BlockManager
from kvbm_nats.plan import parse_plan
from kvbm_nats.traces.content import Content
from kvbm_tiers import Stack, in_folder, preset
from support.chained_keys import prefix

PLAN = parse_plan("g1=16,g2=32,g3=64")
NAMESPACE = "model=m;page=16"
LAYOUT = preset("tiny")
PROMPTS = [prefix([1] * 10), prefix([2] * 10)]


class Site:
    """An instance with an embedded owner, one at a time.

    :ivar folder: where its arena and its slab lie
    """

    def __init__(self, url: str, instance: str, folder: Path) -> None:
        self.url, self.instance, self.folder = url, instance, folder

    @contextmanager
    def owner(self) -> Iterator[BlockManager]:
        """The owner, with `content` to fill and check its g1."""
        with Stack(PLAN, LAYOUT, NAMESPACE, in_folder(self.folder)) as stack:
            self.content = Content(stack.stores["g1"])
            keep, mover = stack.kept, stack.mover
            with BlockManager.open(
                self.url, self.instance, namespace=NAMESPACE, tiers=PLAN, keep=keep, mover=mover
            ) as owner:
                yield owner

    def store(self, owner: BlockManager, keys: list[str]) -> None:
        """Blocks with their bytes, in g1 and in all that is below."""
        slots = owner.allocate("r", len(keys))
        self.content.fill(slots, keys)
        owner.register("r", slots, keys)
        owner.release("r")
        assert owner.settle()

    def damage(self, name: str, *slots: int) -> None:
        """Turn a byte of these slots over."""
        with (self.folder / name).open("r+b") as file:
            for slot in slots:
                file.seek(slot * LAYOUT.slot_bytes + 100)
                byte = file.read(1)[0]
                file.seek(-1, 1)
                file.write(bytes([255 - byte]))

    def fsck(self, *options: str, folder: bool = True) -> tuple[int, Any, str]:
        """Exit code, the report, and complaints."""
        where = [f"--folder={self.folder}"] if folder else []
        command = [KVBM, "fsck", "--json", f"--nats-url={self.url}", f"--instance={self.instance}", *where, *options]
        done = subprocess.run(command, capture_output=True, text=True, env=PLAIN, timeout=60, check=False)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def tier_of(report: Any, name: str) -> Any:
    """The part of a report that is about one tier."""
    return next(tier for tier in report["tiers"] if tier["tier"] == name)


@pytest.fixture
def site(nats_url: str, instance: str, tmp_path: Path) -> Site:
    """An instance that had two prompts of ten blocks in g2 and g3, and whose owner is gone."""
    site = Site(nats_url, instance, tmp_path / "tiers")
    with site.owner() as owner:
        for keys in PROMPTS:
            site.store(owner, keys)
    return site


Damage = Callable[[Site], None]
