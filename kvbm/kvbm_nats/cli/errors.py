"""Where every command ends: an exit code, and for trouble a few lines on stderr.

0  yes, the same, done
1  the answer is no, not found, or they differ
2  trouble: a wrong command line, a `KvbmError`, or a fault of this program, which shows its traceback
130  stopped by Ctrl-C
141  whoever read the output went away; nothing is said

`kvbm check` alone has the codes of monitoring plug-ins; its wrong command line is 3.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from cyclopts import CycloptsError

from kvbm_events.schema.errors import KvbmError
from kvbm_nats.cli.text import printable

NO = 1
TROUBLE = 2
UNKNOWN = 3
INTERRUPTED = 130
PIPE_CLOSED = 141


def guarded(command: Callable[[], object]) -> int:
    """Run a command and return its exit code. Only a `SystemExit` of the command itself gets past."""
    code = _run(command)
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
        code = code or _failed(error)
    return code


def _run(command: Callable[[], object]) -> int:
    try:
        answer = command()
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # how rich takes it
            return PIPE_CLOSED
        raise
    except (KvbmError, CycloptsError, OSError) as error:
        return _failed(error)
    except Exception:  # noqa: BLE001 - the interpreter would exit with 1, which means "no" here
        traceback.print_exc()
        return TROUBLE
    return NO if answer is False else 0


def _failed(error: Exception) -> int:
    match error:
        case BrokenPipeError():
            return PIPE_CLOSED
        case KvbmError():
            report_trouble(error)
        case CycloptsError():
            _report(str(error), hint=" ".join(["kvbm", *(error.command_chain or ()), "--help"]))
        case _:
            _report(str(error))
    is_of_check = isinstance(error, CycloptsError) and tuple(error.command_chain or ())[:1] == ("check",)
    return UNKNOWN if is_of_check else TROUBLE


def report_trouble(error: KvbmError) -> None:
    """Say what, why and what to try on stderr."""
    _report(error.what, why=error.why, hint=error.hint)


def _report(what: str, *, why: str = "", hint: str = "") -> None:
    lines = [f"kvbm: {what}"]
    if why:
        lines.append(f"  {why}")
    if hint:
        lines.append(f"Try: {hint}")
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
