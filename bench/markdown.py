"""A benchmark's report as Markdown, for docs/benchmarks/."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness import Row, figure


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
        lines += _table(own)
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    before = ""
    for row in rows:
        ours = [row["what"], f"{figure(row['value'])} {row['unit']}", f"{figure(row['low'])} … {figure(row['high'])}"]
        if row["what"] == before:
            ours = ["", "", ""]
        before = row["what"]
        ratio, aim = row["ratio"], ""
        if ratio is not None and "aim" in row:
            aim = f"≥ {row['aim']:g} " + ("met" if ratio >= row["aim"] else "**missed**")
        against = row["against"] + (f": {figure(row['against_value'])} {row['unit']}" if "against_value" in row else "")
        yield "| " + " | ".join([*ours, "" if ratio is None else figure(ratio), aim, against]) + " |"
