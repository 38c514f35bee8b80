"""A seeded generator of traces: the same workload gives the same requests, on every machine.

Shape: sessions arrive by a Poisson process. Each begins with one of a few shared system prompts; every further turn's
prompt extends the one before by the answer and something new. A prompt that grows over the limit is compacted: its
prefix diverges after the system prompt. Blocks that are not full are not named. Only open sessions are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import accumulate, count, islice
from random import Random

from kvbm_nats.traces.identity import key_of
from kvbm_nats.traces.request import TraceRequest
from kvbm_nats.traces.workload import Turns, Workload


def generate(workload: Workload) -> Iterator[TraceRequest]:
    """The requests of the workload in the order of time; endless where it does not say how many."""
    return islice(_Fleet(workload).requests(), workload.requests)


class _Session:
    """One user's prompt so far."""

    def __init__(self, kind: Turns, system: list[str], tokens: int) -> None:
        self.kind = kind
        self.system = system
        self.keys: list[str] = []
        self.tokens = tokens


class _Fleet:
    """All open sessions, by the time of their next turn."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._scope = f"workload-{workload.seed}"
        self._random = Random(workload.seed)  # noqa: S311 - a seed makes the trace repeatable; nothing is secret
        self._blocks = count()
        self._systems: dict[int, list[str]] = {}
        self._popularity = list(accumulate(1 / (rank + 1) for rank in range(workload.system_prompts)))
        self._due: list[tuple[float, int, _Session]] = []

    def requests(self) -> Iterator[TraceRequest]:
        """Turns and arrivals in the order of time, without end."""
        arrivals, turns = count(), count(1)
        arrival_s = self._after(0.0, 1 / self._workload.sessions_per_s)
        while True:
            if not self._due or arrival_s <= self._due[0][0]:
                if len(self._due) < self._workload.sessions_max:
                    heappush(self._due, (arrival_s, next(arrivals), self._open()))
                arrival_s = self._after(arrival_s, 1 / self._workload.sessions_per_s)
                continue
            at_s, number, session = heappop(self._due)
            yield self._turn(session, at_s, f"{self._scope}-{next(turns)}")
            if self._random.random() >= 1 / session.kind.turns:
                heappush(self._due, (self._after(at_s, session.kind.pause_s), number, session))

    def _open(self) -> _Session:
        chance = self._random
        kind = self._workload.agent if chance.random() < self._workload.agent_share else self._workload.chat
        rank = chance.choices(range(self._workload.system_prompts), cum_weights=self._popularity)[0]
        tokens = self._workload.system_tokens + self._about(kind.opening_tokens)
        return _Session(kind, self._systems.setdefault(rank, []), tokens)

    def _turn(self, session: _Session, at_s: float, request: str) -> TraceRequest:
        workload = self._workload
        new_blocks = 0
        if session.tokens > workload.context_tokens_max:
            session.keys.clear()
            session.tokens = workload.system_tokens + workload.summary_tokens
        if not session.keys:
            new_blocks = self._grow(session.system, workload.system_tokens)
            session.keys.extend(session.system)
        new_blocks += self._grow(session.keys, session.tokens)
        asked = session.tokens
        answer = self._about(session.kind.answer_tokens)
        session.tokens += answer + self._about(session.kind.step_tokens)
        return TraceRequest(
            at_s=round(at_s, 3),
            request=request,
            keys=list(session.keys),
            new_blocks=new_blocks,
            tokens_in=asked,
            tokens_out=answer,
            block_tokens=workload.block_tokens,
        )

    def _grow(self, keys: list[str], tokens: int) -> int:
        """Name the full blocks of so many tokens; how many names were made."""
        new_blocks = tokens // self._workload.block_tokens - len(keys)
        keys.extend(key_of(self._scope, next(self._blocks)) for _ in range(new_blocks))
        return max(0, new_blocks)

    def _after(self, at_s: float, mean_s: float) -> float:
        return at_s + (self._random.expovariate(1 / mean_s) if mean_s else 0.0)

    def _about(self, mean: float) -> int:
        return 1 + int(self._random.expovariate(1 / mean)) if mean else 0
