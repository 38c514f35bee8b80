"""`kvbm trace make`: a generated trace in a file, for other tools or to be played again."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, BinaryIO, cast

from cyclopts import Parameter

from kvbm_events.schema.errors import InvalidCommand
from kvbm_nats.cli.output import with_progress
from kvbm_nats.cli.text import Json, write_json
from kvbm_nats.cli.trace_stats import as_json, write_figures
from kvbm_nats.traces import TraceStats, Workload, generate, write


def make(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    workload: Annotated[Workload | None, Parameter(name="*")] = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Generate a trace and write it in the Mooncake format; the same options give the same bytes.

    Args:
        file: where to; `-` is stdout, and a name that ends in .gz is packed
        workload: what it is made of
        force: overwrite the file if it is there
        json: one JSON object a line, for machines
    """
    if file.startswith("-") and file != "-":
        raise InvalidCommand(f"unknown option {file}", hint="kvbm trace make --help")
    workload = workload or Workload()
    figures = TraceStats()
    requests = with_progress(figures.counting(generate(workload)), "requests")
    if file == "-":
        write(requests, sys.stdout.buffer)
        return
    if workload.requests is None:
        raise InvalidCommand("an endless trace fits no file", hint="say how many, as in --requests 10000")
    with _created(Path(file), force=force) as stream:
        write(requests, stream)
    if json:
        write_json(as_json(file, figures))
    else:
        write_figures({file: figures})


@contextmanager
def _created(path: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A new file for the user alone, which takes its name when it is whole; packed if the name ends in .gz."""
    _check_free(path, force=force)
    try:
        with TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            unfinished = Path(folder) / path.name
            unfinished.touch(mode=0o600)
            with unfinished.open("wb") as raw, _packed(raw, path) as stream:
                yield stream
            unfinished.replace(path)
    except OSError as error:
        raise InvalidCommand(f"{path} cannot be written", why=error.strerror or str(error)) from error


def _packed(raw: BinaryIO, path: Path) -> AbstractContextManager[BinaryIO]:
    if path.suffix != ".gz":
        return nullcontext(raw)
    return cast("AbstractContextManager[BinaryIO]", gzip.GzipFile("", "wb", fileobj=raw, mtime=0))


def _check_free(path: Path, *, force: bool) -> None:
    if not path.exists():
        return
    if not path.is_file():
        raise InvalidCommand(f"{path} is not a file", hint="use '-' for stdout")
    if not force:
        raise InvalidCommand(f"{path} is there already", hint="choose another name, or overwrite it with --force")
