"""All ranks of an instance: their memory, the processes that have it, and an engine that computes and loads blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kvbm_events.schema import TierName
from kvbm_nats.manager import BlockManager
from kvbm_tiers import Layout, Slice
from support.rank_stores import RankMemory, misplaced
from support.workers import Site, WorkerProcess, pump_until


class Ranks:
    """See the module.

    :ivar memories: by rank
    """

    def __init__(self, site: Site, folder: Path, whole: Layout, ranks: int = 1, pp: int = 1) -> None:
        self._site, self.count = site, ranks
        self.memories = [
            RankMemory(folder / f"rank{rank}", whole, Slice.of_rank(rank, ranks, pp)) for rank in range(ranks)
        ]

    def process(self, rank: int = 0, steps: str = "") -> WorkerProcess:
        """The worker of a rank."""
        memory = self.memories[rank]
        return WorkerProcess(
            self._site.url,
            self._site.instance,
            memory.folder,
            rank=rank,
            ranks=self.count,
            steps=steps,
            layout=memory.layout,
        )

    @contextmanager
    def all(self) -> Iterator[list[WorkerProcess]]:
        """A worker for every rank, killed at the end."""
        with ExitStack() as stack:
            yield [stack.enter_context(self.process(rank)).hear("ready") for rank in range(self.count)]

    def store(self, owner: BlockManager, request: str, keys: Sequence[str]) -> None:
        """An engine computes blocks; they go down by themselves."""
        slots = owner.allocate(request, len(keys))
        for memory in self.memories:
            for slot, key in zip(slots, keys, strict=True):
                memory.fill(slot, key)
        owner.register(request, slots, keys)
        owner.release(request)

    def forget(self, owner: BlockManager, keys: Sequence[str]) -> None:
        """The engine was restarted, and has none of these blocks any more."""
        owner.evict(keys, tier="g1")
        for memory in self.memories:
            memory.forget()

    def load(self, owner: BlockManager, request: str, keys: Sequence[str], source: TierName) -> list[str]:
        """Bring blocks up into an engine that has none of them; those that arrived as what they must be."""
        self.forget(owner, keys)
        owner.match(request, keys)
        assert owner.wait([owner.onboard(request, keys, source=source)])
        slots = owner.resident(keys)
        arrived = list(keys[: len(slots)])
        assert misplaced(self.memories, "g1", slots, arrived) == []
        owner.release(request)
        return arrived

    def wrong_below(self, owner: BlockManager) -> list[str]:
        """Keys of g2 and g3 that can be matched, and are not what they must be at every rank."""
        wrong = list[str]()
        tiers: tuple[TierName, ...] = ("g2", "g3")
        for tier in tiers:
            index, hidden = owner.state.tiers[tier].lineage.index, owner._offloader.hidden.get(tier, set())
            shown = [key for key in index if key not in hidden]
            wrong += misplaced(self.memories, tier, [index[key] for key in shown], shown)
        return wrong


def wait_down(owner: BlockManager, keys: Sequence[str]) -> None:
    """Until all of them are in g3, and nothing moves any more."""
    pump_until(owner, lambda: len(owner.resident(keys, "g3")) == len(keys) and not owner.state.transfers)
