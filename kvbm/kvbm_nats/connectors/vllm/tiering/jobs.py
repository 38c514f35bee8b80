"""A store or a load that vLLM has handed to the tier, until it is told what came of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from kvbm_events.schema import TierName
from kvbm_nats.connectors.vllm.tiering.gate import PRIMARY
from kvbm_nats.connectors.vllm.tiering.prompt import Prompt, Run, key_of
from kvbm_nats.manager import BlockManager
from kvbm_nats.offloading import Ticket
from kvbm_statemachine.table import SlotState


class Result(NamedTuple):
    """What became of a job.

    :ivar good: its chunks, as vLLM names them, that are where they were to come to
    """

    number: int
    good: list[bytes]
    is_whole: bool
    took_s: float


class OpenJob:
    """See the module.

    :ivar runs: its chunks in the order of the prompt
    :ivar blocks: where each key is, or is to come to, in vLLM's host memory
    :ivar tickets: what the owner was asked for
    :ivar since_s: when the mover last had some of it
    :ivar is_given_up: whether nothing of it is to begin any more
    """

    def __init__(
        self,
        number: int,
        prompt: Prompt,
        chunks: Collection[bytes],
        slots: Iterable[int],
        now_s: float,
        *,
        is_load: bool,
    ) -> None:
        self.number, self.prompt, self.is_load = number, prompt, is_load
        self.names = {key_of(chunk): chunk for chunk in chunks}
        slots = list(slots)
        self.blocks = dict(zip(self.names, slots, strict=True))
        self.runs = prompt.runs(chunks, slots)
        self.tickets: list[Ticket] = []
        self.began_s = self.since_s = now_s
        self.is_given_up = False

    def result(self, good: Collection[str], now_s: float) -> Result:
        """These keys are where they were to come to."""
        names = [self.names[key] for key in good]
        return Result(self.number, names, len(names) == len(self.names), now_s - self.began_s)


def arrived(manager: BlockManager, job: OpenJob) -> list[str]:
    """The keys of a job that are, by acknowledged events, where they were to come to: in their chunk, or below it."""
    if job.is_load:
        return [key for key, slot in job.blocks.items() if _is_in(manager, key, slot)]
    below = [tier.lineage.index for tier in manager.state.tiers.values() if tier.name != PRIMARY]
    return [key for key in job.blocks if any(key in index for index in below)]


def stale(manager: BlockManager, job: OpenJob) -> list[str]:
    """Keys that vLLM's host memory no longer has where the log says: a chunk is another's now, or a key is elsewhere."""
    primary = manager.state.tiers[PRIMARY]
    index, states, found = primary.lineage.index, primary.slots.states, dict[str, None]()
    for key, slot in job.blocks.items():
        if states[slot] == SlotState.REGISTERED and (job.is_load or index.get(key) != slot):
            found[primary.lineage.key_of(slot)] = None
        if index.get(key, slot) != slot:
            found[key] = None
    return list(found)


def unrecorded(manager: BlockManager, run: Run) -> Iterator[Run]:
    """The parts of a run that the log does not have in vLLM's host memory, and whose chunks it has nothing else in."""
    primary, parent = manager.state.tiers[PRIMARY], run.parent
    part = Run(parent, [], [])
    for key, slot in zip(run.keys, run.slots, strict=True):
        if key not in primary.lineage.index and primary.slots.states[slot] == SlotState.FREE:
            part.keys.append(key)
            part.slots.append(slot)
        else:
            if part.keys:
                yield part
            part = Run(key, [], [])
    if part.keys:
        yield part


def sources(manager: BlockManager, runs: Sequence[Run]) -> Iterator[tuple[TierName, Run]]:
    """Where the chunks of a load are, run by run of one tier; those that are nowhere, or cannot come, are left out."""
    states = manager.state.tiers[PRIMARY].slots.states
    for run in runs:
        source: TierName | None = None
        part = Run(run.parent, [], [])
        for key, slot in zip(run.keys, run.slots, strict=True):
            hits = manager.look([key]) if states[slot] == SlotState.FREE else []
            tier = hits[0].tier if hits else None
            if tier != source:
                if source and part.keys:
                    yield source, part
                source, part = tier, Run("", [], [])
            if tier:
                part.keys.append(key)
                part.slots.append(slot)
        if source and part.keys:
            yield source, part


def _is_in(manager: BlockManager, key: str, slot: int) -> bool:
    hits = manager.look([key])
    return bool(hits) and hits[0].tier == PRIMARY and hits[0].slots == [slot]
