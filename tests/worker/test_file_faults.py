"""Files that fail under a worker's hands, or between two workers: only the blocks that must fail do, and the log says why.

After each: nothing wrong can be matched, nothing leaks, and the next transfer works.
"""

import os

import pytest

from kvbm_tiers import preset
from support.chained_keys import prefix
from support.rank_stores import FILES
from support.ranks import Ranks, wait_down
from support.service import WorkerCommand
from support.small_disk import fill, small_disk
from support.workers import pump_until, settle

LONG_S = 600.0
TINY = preset("tiny")
KEYS = prefix(range(6))
FULL = "ENOSPC: No space left on device"


@pytest.fixture
def ranks(ranked_site, tmp_path):
    return Ranks(ranked_site, tmp_path, TINY)


@pytest.fixture
def owner(ranked_site):
    with ranked_site.open(dead_after_s=LONG_S) as owner:
        yield owner


def file_of(ranks, tier):
    return ranks.memories[0].folder / FILES[tier]


def flip(file, slot):
    """One bit of a block."""
    with file.open("r+b") as opened:
        at = slot * TINY.slot_bytes + 7
        (byte,) = os.pread(opened.fileno(), 1, at)
        os.pwrite(opened.fileno(), bytes((byte ^ 64,)), at)
        os.fsync(opened.fileno())


def reasons(site, owner):
    return {reason for _, reason, _ in site.failures(owner)}


def check_next(ranks, owner):
    """The next blocks go down and come up, and all is in order."""
    keys = prefix([99, 1, 2])
    ranks.store(owner, "next", keys)
    wait_down(owner, keys)
    assert ranks.load(owner, "next up", keys, "g3") == keys
    settle(owner)
    assert ranks.wrong_below(owner) == []


def test_a_disk_that_is_full_in_the_middle_of_a_transfer(ranked_site, owner, tmp_path):
    with small_disk(tmp_path / "small", 1 << 20) as disk:
        ranks = Ranks(ranked_site, disk, TINY)
        with ranks.all():
            os.truncate(file_of(ranks, "g3"), 0)
            filler = fill(disk, left_bytes=3 * TINY.slot_bytes)
            ranks.store(owner, "a", KEYS)
            pump_until(owner, lambda: reasons(ranked_site, owner) and not owner.state.transfers)
            assert reasons(ranked_site, owner) == {FULL}
            assert len(owner.state.tiers["g3"].lineage.index) == 3, "where there was room, they are"
            assert len(owner.resident(KEYS, "g2")) == len(KEYS)
            assert ranks.wrong_below(owner) == []
            filler.unlink()
            check_next(ranks, owner)


def test_a_slab_that_is_deleted_under_a_worker_takes_nothing_and_its_next_worker_says_so(ranked_site, ranks, owner):
    with ranks.all() as (worker,):
        file_of(ranks, "g3").unlink()
        ranks.store(owner, "a", KEYS)
        pump_until(owner, lambda: reasons(ranked_site, owner) and not owner.state.transfers)
        assert reasons(ranked_site, owner) == {"ENOENT: the slab was deleted"}
        assert owner.resident(KEYS, "g3") == []
        assert ranks.load(owner, "b", KEYS, "g2") == KEYS, "its other tiers work on"
        settle(owner)
        worker.kill()
    for file in (file_of(ranks, "g3"), file_of(ranks, "g3").with_suffix(".slab.json")):
        file.unlink(missing_ok=True)
    with ranks.all():
        check_next(ranks, owner)


def test_what_lay_behind_the_cut_of_a_slab_that_a_worker_has_is_corrupt(ranked_site, ranks, owner):
    with ranks.all():
        ranks.store(owner, "a", KEYS)
        wait_down(owner, KEYS)
        os.truncate(file_of(ranks, "g3"), 4 * TINY.slot_bytes)
        before = [key for key, slot in owner.state.tiers["g3"].lineage.index.items() if slot < 4]
        assert len(before) == 4
        arrived = ranks.load(owner, "b", KEYS, "g3")
        assert arrived == KEYS[: len(before)]
        assert reasons(ranked_site, owner) == {f"corrupt: short read: 0 of {TINY.slot_bytes} bytes"}
        assert len(owner.resident(KEYS, "g3")) == len(before)
        check_next(ranks, owner)


def load_all_but_the_flipped(site, ranks, owner, tier):
    assert ranks.load(owner, "b", KEYS, tier) == KEYS[:3]
    assert reasons(site, owner) == {"corrupt"}
    assert len(owner.resident(KEYS, tier)) == 3
    check_next(ranks, owner)


@pytest.mark.parametrize("tier", ["g2", "g3"])
def test_a_bit_that_flips_under_a_worker_costs_its_block_and_those_that_stand_on_it(ranked_site, ranks, owner, tier):
    with ranks.all():
        ranks.store(owner, "a", KEYS)
        wait_down(owner, KEYS)
        flip(file_of(ranks, tier), owner.resident(KEYS, tier)[3])
        load_all_but_the_flipped(ranked_site, ranks, owner, tier)


@pytest.mark.parametrize("tier", ["g2", "g3"])
def test_a_bit_that_flips_between_two_workers_costs_as_much(ranked_site, ranks, owner, tier):
    with ranks.all():
        ranks.store(owner, "a", KEYS)
        wait_down(owner, KEYS)
    flip(file_of(ranks, tier), owner.resident(KEYS, tier)[3])
    with ranks.all():
        load_all_but_the_flipped(ranked_site, ranks, owner, tier)


def cut(folder):
    os.truncate(folder / "g2.arena", TINY.slot_bytes)


def delete(folder):
    (folder / "g2.arena").unlink()


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize(
    ("harm", "more", "why"),
    [
        (delete, {}, "g2.arena is missing: its sidecar says that it held blocks"),
        (cut, {}, f"g2.arena has {TINY.slot_bytes} of {256 * TINY.slot_bytes} bytes"),
        (lambda _: None, {"namespace": "model=other"}, "namespace is 'model=m;page=16' here and 'model=other' there"),
    ],
    ids=["deleted", "cut", "another namespace"],
)
async def test_a_worker_does_not_begin_on_a_file_that_is_not_as_it_was_left(
    nats_url, instance, tmp_path, harm, more, why
):
    where = f"--folder={tmp_path}", "--layout=tiny"
    worker = await WorkerCommand(nats_url, instance, *where).start("worker started")
    assert await worker.terminate() == 0
    harm(tmp_path)
    worker = await WorkerCommand(nats_url, instance, *where, **more).start(why.partition(":")[0])
    assert await worker.exited() == 2
