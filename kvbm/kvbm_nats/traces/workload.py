"""What a generated trace is made of. Every figure is a mean, a limit or a share; the defaults make a small fleet."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf

from kvbm_events.schema.errors import InvalidCommand


@dataclass(frozen=True, kw_only=True)
class Turns:
    """How one kind of session goes. All figures are means, drawn exponentially except where said.

    Attributes:
        opening_tokens: tokens of the first prompt, after the system prompt
        turns: turns of a session, drawn geometrically
        step_tokens: tokens that each further turn adds to the prompt, besides the answer before it
        answer_tokens: tokens of an answer
        pause_s: seconds from one turn to the next
    """

    opening_tokens: float
    turns: float
    step_tokens: float
    answer_tokens: float
    pause_s: float


@dataclass(frozen=True, kw_only=True)
class Chat(Turns):
    """Long first prompts and few turns. The defaults follow Mooncake's conversation trace."""

    opening_tokens: float = 10_000
    turns: float = 1.6
    step_tokens: float = 3000
    answer_tokens: float = 350
    pause_s: float = 120


@dataclass(frozen=True, kw_only=True)
class Agent(Turns):
    """A long prompt that grows a little with each of many turns. The defaults follow recorded coding agents."""

    opening_tokens: float = 40_000
    turns: float = 60
    step_tokens: float = 900
    answer_tokens: float = 400
    pause_s: float = 20


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A mix of chats and coding agents that share system prompts.

    Attributes:
        seed: the same seed gives the same trace
        requests: how many requests; endless where it is left out
        block_tokens: tokens of a block
        sessions_per_s: new sessions a second, a Poisson process
        sessions_max: how many sessions may be open; one that comes while all are is turned away
        agent_share: the part of the sessions that are agents; the others are chats
        system_prompts: how many system prompts there are; the k-th is 1/k as popular as the first
        system_tokens: tokens of each system prompt
        context_tokens_max: a prompt that would be longer is replaced by the system prompt and a summary
        summary_tokens: tokens of that summary
        chat: how a chat goes
        agent: how an agent goes
    """

    seed: int = 0
    requests: int | None = None
    block_tokens: int = 64
    sessions_per_s: float = 0.5
    sessions_max: int = 4096
    agent_share: float = 0.1
    system_prompts: int = 8
    system_tokens: int = 1024
    context_tokens_max: int = 160_000
    summary_tokens: int = 4096
    chat: Chat = Chat()
    agent: Agent = Agent()

    def __post_init__(self) -> None:
        """Refuse what no trace can be made of.

        Raises:
            InvalidCommand: a figure is out of its range; the message names it.
        """
        _check("", self)
        _check("chat.", self.chat)
        _check("agent.", self.agent)
        least = self.system_tokens + self.summary_tokens
        if self.context_tokens_max < least:
            raise InvalidCommand(
                f"context_tokens_max = {self.context_tokens_max} makes no workload",
                why=f"a system prompt and a summary have {least} tokens",
            )


_RANGES: dict[str, tuple[float, float]] = {
    "requests": (0, inf),
    "block_tokens": (1, 1 << 20),
    "sessions_per_s": (1e-6, 1e6),
    "sessions_max": (1, 1 << 20),
    "agent_share": (0, 1),
    "system_prompts": (1, 1 << 16),
    "system_tokens": (0, 1 << 24),
    "context_tokens_max": (1, 1 << 24),
    "summary_tokens": (0, 1 << 24),
    "opening_tokens": (0, 1 << 24),
    "turns": (1, 1e6),
    "step_tokens": (0, 1 << 24),
    "answer_tokens": (0, 1 << 24),
    "pause_s": (0, 1e6),
}
"""The least and the most that each figure may be."""


def _check(prefix: str, figures: Workload | Turns) -> None:
    for each in fields(figures):
        value = getattr(figures, each.name)
        low, high = _RANGES.get(each.name, (-inf, inf))
        if isinstance(value, int | float) and not low <= value <= high:
            raise InvalidCommand(
                f"{prefix}{each.name} = {value} makes no workload", why=f"it must be from {low:g} to {high:g}"
            )
