"""Several ranks over real stores: every rank has its slice of a block, whoever is killed, and no rank has another's."""

import contextlib
import random
import shutil
from contextlib import suppress

import pytest

from kvbm_events.schema import OffloadCompleted, OnboardCompleted
from kvbm_events.schema.errors import TierFull
from kvbm_tiers import Group, Layout, preset
from support.chained_keys import prefix
from support.owners import verdict_of
from support.rank_stores import FILES, misplaced
from support.ranks import Ranks, wait_down
from support.service import WorkerCommand
from support.workers import settle

LONG_S = 600.0
HYBRID = Layout(
    groups=(
        Group(name="window", layers=2, tokens=4, heads=4, head_size=8, order="HND"),
        Group(name="full", layers=4, tokens=4, heads=2, head_size=8, arrangement="contiguous"),
        Group(name="latent", layers=2, outer=1, tokens=4, heads=1, head_size=6, dtype="float32"),
    )
)


@pytest.mark.parametrize(
    ("whole", "ranks", "pp"),
    [(preset("tiny"), 2, 1), (HYBRID, 2, 2), (HYBRID, 4, 2)],
    ids=["tp 2", "pp 2", "tp 2 of pp 2"],
)
def test_slices_go_down_outlive_their_workers_and_come_up_unharmed(ranked_site, tmp_path, whole, ranks, pp):
    ranks, keys = Ranks(ranked_site, tmp_path, whole, ranks, pp), prefix(range(6))
    assert len({memory.slice_of(keys[0]) for memory in ranks.memories}) == ranks.count, "the slices differ"
    with ranked_site.open(ranks=ranks.count, dead_after_s=LONG_S) as owner:
        with ranks.all():
            ranks.store(owner, "a", keys)
            wait_down(owner, keys)
        assert ranks.wrong_below(owner) == []
        with ranks.all():
            assert ranks.load(owner, "b", keys, "g2") == keys
            owner.evict(keys, tier="g1")
            owner.evict(keys, tier="g2")
            assert ranks.load(owner, "c", keys, "g3") == keys
            settle(owner)
        owner.flush()
        sizes = {
            event.length_bytes
            for event in ranked_site.events()
            if isinstance(event, OffloadCompleted | OnboardCompleted)
        }
        assert sizes == {sum(memory.layout.block_bytes for memory in ranks.memories)}
        replicated = sum(group.block_bytes for group in whole.groups if group.heads == 1)
        assert sizes == {whole.block_bytes + replicated * (ranks.count // pp - 1)}, (
            "a latent is in every rank of a stage"
        )


@pytest.mark.parametrize(("steps", "word"), [("copy", "submitted"), ("report", "copied")])
@pytest.mark.parametrize("way", ["down", "up"])
def test_one_rank_is_killed_in_a_transfer(ranked_site, tmp_path, way, steps, word):
    ranks, keys = Ranks(ranked_site, tmp_path, preset("tiny"), 2), prefix(range(6))
    with ranked_site.open(ranks=2, dead_after_s=LONG_S) as owner, ranks.process(0) as stays:
        stays.hear("ready")
        if way == "up":
            with ranks.process(1) as worker:
                worker.hear("ready")
                ranks.store(owner, "a", keys)
                wait_down(owner, keys)
            ranks.forget(owner, keys)
        with ranks.process(1, steps) as dies:
            dies.hear("ready")
            if way == "up":
                owner.match("b", keys)
                owner.onboard("b", keys)
            else:
                ranks.store(owner, "a", keys)
            owner.flush()
            (transfer,) = owner.state.transfers
            dies.hear(word)
            stays.hear(f"reported {transfer}")
        assert not owner.settle(timeout_s=0.1)
        assert owner.resident(keys, "g1" if way == "up" else "g2") == []
        with ranks.process(1):
            wait_down(owner, keys)
            settle(owner)
            assert ranks.wrong_below(owner) == []
            assert misplaced(ranks.memories, "g1", owner.resident(keys), keys) == []
        assert ranked_site.failures(owner) == []


@pytest.mark.parametrize("seed", range(2))
async def test_ranks_are_killed_at_any_moment(ranked_site, tmp_path, seed):
    chance = random.Random(seed)
    ranks = Ranks(ranked_site, tmp_path, preset("tiny"), 2)
    with ranked_site.open(ranks=2, dead_after_s=0.5) as owner, contextlib.ExitStack() as stack:
        workers = [ranks.process(rank) for rank in range(2)]
        stack.callback(lambda: [worker.__exit__(None, None, None) for worker in workers])
        for round_ in range(5):
            for number in range(chance.randrange(1, 4)):
                with suppress(TierFull):  # while a rank is away, what it may still read is held
                    ranks.store(owner, f"r{round_}.{number}", prefix([round_, number, *range(chance.randrange(1, 5))]))
            for _ in range(chance.randrange(1, 40)):
                owner.maintain()
            assert ranks.wrong_below(owner) == []
            dies = chance.randrange(2)
            workers[dies].__exit__(None, None, None)
            workers[dies] = ranks.process(dies)
        for worker in workers:
            worker.hear("ready")
        settle(owner)
        assert ranks.wrong_below(owner) == []
        keys = prefix([99, 1, 2])
        ranks.store(owner, "last", keys)
        wait_down(owner, keys)
        assert ranks.load(owner, "up", keys, "g3") == keys
        owner.flush()
    assert (await verdict_of(ranked_site.url, ranked_site.instance)).flaws == []


def swap(one, other):
    aside = one.with_name("aside")
    shutil.move(one, aside)
    shutil.move(other, one)
    shutil.move(aside, other)


def test_bytes_of_another_rank_under_this_ranks_name_are_corrupt(ranked_site, tmp_path):
    """The sidecars stayed where they were: only the checksum of the whole block tells it."""
    ranks, keys = Ranks(ranked_site, tmp_path, preset("tiny"), 2), prefix(range(4))
    with ranked_site.open(ranks=2, dead_after_s=LONG_S) as owner:
        with ranks.all():
            ranks.store(owner, "a", keys)
            wait_down(owner, keys)
        swap(*(memory.folder / FILES["g2"] for memory in ranks.memories))
        with ranks.all():
            assert ranks.load(owner, "b", keys, "g2") == []
            assert {reason for _, reason, _ in ranked_site.failures(owner)} == {"corrupt"}
            assert owner.resident(keys, "g2") == []
            assert ranks.load(owner, "c", keys, "g3") == keys, "what was not swapped is still good"
            settle(owner)


@pytest.mark.usefixtures("commands")
async def test_a_rank_refuses_files_of_another_one_by_the_name_of_the_field(nats_url, instance, tmp_path):
    def command(rank, ranks, folder, *more):
        place = f"--rank={rank}", f"--ranks={ranks}", f"--folder={tmp_path / folder}", "--layout=tiny"
        return WorkerCommand(nats_url, instance, *place, *more)

    for rank in range(2):
        worker = await command(rank, 2, f"rank{rank}").start("worker started")
        assert await worker.terminate() == 0
    for place, flaw in {
        (1, 2): "tp_rank is 0 here and 1 there",
        (0, 1): "tp is 2 here and 1 there",
        (0, 4): "tp is 2 here and 4 there",
    }.items():
        other = await command(*place, "rank0").start(flaw)
        assert await other.exited() == 2
    stages = await command(0, 2, "rank0", "--pp=2").start("1 layers of group 'full' do not divide into pp=2 stages")
    assert await stages.exited() == 2
    again = await command(0, 2, "rank0").start("worker started")
    assert await again.terminate() == 0
