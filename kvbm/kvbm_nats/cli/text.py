"""Plain output: JSON lines for machines, and text that cannot steer a terminal."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
from cyclopts import Parameter

Json = Annotated[bool, Parameter(name="--json", negative="", help="One JSON object a line, for machines.")]
"""The type of every command's `--json`."""


def write_line(text: str) -> None:
    """Write a line to stdout."""
    sys.stdout.write(f"{text}\n")


def write_json(answer: object) -> None:
    """Write an answer as one line of JSON."""
    write_line(msgspec.json.encode(answer).decode())


def printable(text: str) -> str:
    """The text with whatever could steer a terminal written as an escape: names come from logs and files."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
