"""`python bench [name …]`: run the benchmarks beside this file, all or those named, and print one table."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE))  # `python -m bench` knows the root only

from harness import Row, cells_of, environment, load  # noqa: E402 - found by the line above
from markdown import as_markdown  # noqa: E402 - the same


def main() -> int:
    """Run, print, and write the file that was asked for; 0, or 1 if a benchmark failed."""
    present = sorted(path.stem.removeprefix("bench_") for path in _HERE.glob("bench_*.py"))
    arguments = _arguments(present)
    console, notes = Console(), Console(stderr=True)
    head = environment()
    for title, text in head.items():
        console.print(f"[bold]{title:<9}[/] {text}", highlight=False)
    rows: dict[str, list[Row]] = {}
    failed: dict[str, str] = {}
    for name in arguments.names or present:
        with notes.status(f"{name} …"):
            try:
                rows[name] = importlib.import_module(f"bench_{name}").run(arguments.quick)
            except Exception as error:  # noqa: BLE001 - one that fails must not cost the figures of the others
                failed[name] = f"{type(error).__name__}: {error}"
    console.print(_table(rows))
    console.print(f"load now  {load()}" + ("; quick: fewer rounds, smaller shapes" if arguments.quick else ""))
    if arguments.markdown:
        command = " ".join(["python -m bench", *arguments.names, *(["--quick"] if arguments.quick else [])])
        head |= {"load at the end": load()}
        arguments.markdown.write_text(as_markdown(head, rows, command), encoding="utf-8")
    for name, why in failed.items():
        console.print(f"[red]{name} failed:[/] {why}", highlight=False)
    if arguments.json:
        report = {"environment": head, "quick": arguments.quick, "rows": rows, "failed": failed}
        arguments.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if failed else 0


def _arguments(present: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of: {', '.join(present)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller shapes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write all figures there as Markdown")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(present):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(present)}")
    for file in (arguments.json, arguments.markdown):
        if file and not file.parent.is_dir():
            parser.error(f"{file.parent} is not a folder")
    return arguments


def _table(rows: dict[str, list[Row]]) -> Table:
    """All rows, green where an aim is met and red where it is not."""
    table = Table(pad_edge=False)
    table.add_column("what")
    for title in ("value", "min … max", "ratio", "aim"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("against")
    for name, own in rows.items():
        table.add_section()
        table.add_row(f"[bold]{name}")
        for cells in cells_of(own):
            colour = {None: "", True: "[green]", False: "[red]"}[cells.is_met]
            table.add_row(*cells[:3], colour + cells.ratio, colour + cells.aim, cells.against)
    return table


if __name__ == "__main__":
    sys.exit(main())
