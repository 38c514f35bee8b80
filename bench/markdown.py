"""A benchmark's report as Markdown, for docs/benchmarks/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness import Row, cells_of


def as_markdown(head: Mapping[str, str], rows: Mapping[str, Sequence[Row]], command: str) -> str:
    """Where and when, the command, and a table a benchmark."""
    lines = ["```sh", command, "```", "", *(f"* {title}: {text}" for title, text in head.items())]
    for name, own in rows.items():
        lines += [
            "",
            f"## {name}",
            "",
            "| what | value | min … max | ratio | aim | against |",
            "|---|---|---|---|---|---|",
        ]
        for cells in cells_of(own):
            shown = cells._replace(aim=cells.aim.replace("missed", "**missed**"))
            lines.append("| " + " | ".join(shown[:-1]) + " |")
    return "\n".join(lines) + "\n"
