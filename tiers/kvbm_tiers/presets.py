"""Layouts of well-known models, by name, 16 tokens a block unless the model's kernels ask for more."""

from __future__ import annotations

from kvbm_events.schema.errors import InvalidCommand
from kvbm_tiers.layout import Group, Layout

PRESETS: dict[str, Layout] = {
    # Llama 3.1 8B: 32 layers, 8 KV heads of 128: 2 MiB a block
    "llama-8b": Layout(groups=(Group(name="full", layers=32, tokens=16, heads=8, head_size=128),)),
    # DeepSeek V3: a latent of 512 and 64 rotary dimensions, 61 layers, 64 tokens: 4.3 MiB a block
    "deepseek-v3": Layout(groups=(Group(name="latent", layers=61, outer=1, tokens=64, heads=1, head_size=576),)),
    # gpt-oss 20B: sliding window and full attention take turns: 768 KiB a block
    "gpt-oss-20b": Layout(
        groups=(
            Group(name="sliding", layers=12, tokens=16, heads=8, head_size=64),
            Group(name="full", layers=12, tokens=16, heads=8, head_size=64),
        )
    ),
    # no model's: small, and one byte short of nothing that a real one has
    "tiny": Layout(
        groups=(
            Group(name="sliding", layers=2, tokens=4, heads=2, head_size=8),
            Group(name="full", layers=1, tokens=4, heads=2, head_size=8, arrangement="contiguous"),
            Group(name="latent", layers=2, outer=1, tokens=4, heads=1, head_size=12, dtype="int8", order="HND"),
        )
    ),
}


def preset(name: str) -> Layout:
    """The layout of a model.

    Raises:
        InvalidCommand: there is no preset of that name.
    """
    if name not in PRESETS:
        raise InvalidCommand(f"layout preset {name!r}", why="there is none", hint=f"choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
