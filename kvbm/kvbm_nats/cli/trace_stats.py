"""`kvbm trace stats`: what traces hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from kvbm_nats.cli.output import with_progress, write_table
from kvbm_nats.cli.text import Json, write_json
from kvbm_nats.traces import TraceStats, load_trace, measure
from kvbm_nats.traces.mooncake import BLOCK_TOKENS

_FIGURES = (
    "trace",
    "requests",
    "block accesses",
    "different blocks",
    "infinite-cache hit",
    "tokens in",
    "tokens out",
    "span",
    "block",
)


def stats(traces: list[Path], /, *, block_tokens: int = BLOCK_TOKENS, json: Json = False) -> None:
    """Measure traces: requests, block accesses, different blocks, tokens, and the best possible hit ratio.

    A trace is a Mooncake file, a coding-agent session, or a directory of sessions; plain or gzip.

    Args:
        traces: files or directories
        block_tokens: tokens of a block, where the trace does not say
        json: one JSON object a line, for machines
    """
    columns = {}
    for path in traces:
        figures = measure(with_progress(load_trace(path, block_tokens=block_tokens), f"requests of {path.name}"))
        if json:
            write_json(as_json(str(path), figures))
        columns[str(path)] = figures
    if not json:
        write_figures(columns)


def as_json(trace: str, figures: TraceStats) -> dict[str, str | float]:
    """The figures as the stable fields of `--json`."""
    return {"trace": trace, **asdict(figures), "infinite_hit_ratio": figures.infinite_hit_ratio}


def write_figures(traces: Mapping[str, TraceStats]) -> None:
    """Write a table for people, a column a trace."""
    columns = [
        (
            Path(name).name,
            f"{figures.requests:,}",
            f"{figures.block_accesses:,}",
            f"{figures.unique_blocks:,}",
            f"{figures.infinite_hit_ratio:.1%}",
            f"{figures.tokens_in / 1e6:,.1f} M",
            f"{figures.tokens_out / 1e6:,.1f} M",
            f"{figures.span_s / 60:,.0f} min",
            f"{figures.block_tokens:,} tokens",
        )
        for name, figures in traces.items()
    ]
    head, *rows = zip(_FIGURES, *columns, strict=True)
    write_table(head, rows)
