"""Traffic for demonstrations: small chats and agents that share system prompts, a request every few moments."""

from __future__ import annotations

from kvbm_nats.traces.workload import Agent, Chat, Workload


def demo_workload(seed: int, requests: int | None = None) -> Workload:
    """A fleet whose prompts fit into a few hundred blocks of 16 tokens."""
    return Workload(
        seed=seed,
        requests=requests,
        block_tokens=16,
        sessions_per_s=0.4,
        sessions_max=64,
        agent_share=0.2,
        system_prompts=4,
        system_tokens=512,
        context_tokens_max=4096,
        summary_tokens=512,
        chat=Chat(opening_tokens=300, turns=4, step_tokens=120, answer_tokens=120, pause_s=8),
        agent=Agent(opening_tokens=1200, turns=20, step_tokens=90, answer_tokens=60, pause_s=2),
    )
