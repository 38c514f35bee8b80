"""A mover that is killed in the middle: what it had reported is on disk, and whatever else is there does not pass."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from xxhash import xxh3_64_hexdigest

from kvbm_tiers import DiskSlab, HostArena, preset
from kvbm_tiers.memory import anonymous
from support.movers import key_of, open_bucket
from support.nixl import marked

SCRIPT = Path(__file__).parents[1] / "processes" / "mover.py"
CAPACITY = 4096
TINY = preset("tiny")


def killed(kind, lines, *places):
    """Let it move until it has said so many lines, and kill it; what it reported, by slot."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), kind, *places], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        said = [child.stdout.readline() for _ in range(lines)]
        child.kill()
        said += [line for line in child.stdout if line.endswith("\n")]
    reported = dict(line.split() for line in said)
    assert len(reported) >= lines
    return reported


@pytest.mark.parametrize("lines", [1, 40, 700])
@pytest.mark.parametrize("kind", marked(["thread", "nixl"]))
def test_what_was_reported_is_on_disk_after_kill_9(kind, lines, tmp_path):
    reported = killed(kind, lines, str(tmp_path))
    slab = DiskSlab(tmp_path / "slab", namespace="m=1", layout=TINY, capacity=CAPACITY)
    arena = HostArena(tmp_path / "arena", namespace="m=1", layout=TINY, capacity=CAPACITY)
    assert {slab.opening.state, arena.opening.state} == {"kept"}
    block = anonymous(TINY.slot_bytes)
    for slot, checksum in reported.items():
        slab.read(int(slot), block)
        assert xxh3_64_hexdigest(block[: TINY.block_bytes]) == checksum
        assert xxh3_64_hexdigest(arena.view(int(slot))[: TINY.block_bytes]) == checksum
    slab.close()
    arena.close()


@pytest.mark.parametrize("lines", [1, 40, 300])
@pytest.mark.parametrize("kind", marked(["obstore", "nixl"]))
def test_what_was_reported_is_in_object_storage_after_kill_9(kind, lines, tmp_path, s3):
    reported = killed(kind, lines, str(tmp_path / "memory"), url := s3.url("p", via=kind))
    bucket = open_bucket(url, TINY, CAPACITY)
    assert bucket.opening.state == "kept"
    block = anonymous(TINY.slot_bytes)
    for slot, checksum in reported.items():
        bucket.assign([int(slot)], [key_of(int(slot))])
        bucket.read(int(slot), block)
        assert xxh3_64_hexdigest(block[: TINY.block_bytes]) == checksum
    bucket.close()
