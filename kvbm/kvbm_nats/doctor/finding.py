"""What a check found, and how checks are run: all at once, each within a time limit, none able to end the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Literal, get_args

from msgspec import Struct

from kvbm_events.schema.errors import KvbmError

State = Literal["ok", "note", "poor", "broken"]
"""As it should be; something optional is missing, or unknown; it works worse than it should; it does not work."""


class Finding(Struct, frozen=True, kw_only=True):
    """What was found.

    :ivar name: of the check
    :ivar what: in words
    :ivar hint: what to do; never empty unless the state is `ok`
    """

    name: str
    state: State
    what: str
    hint: str = ""


Check = Callable[[], list[Finding]]


def examine(checks: Mapping[str, Check], timeout_s: float) -> list[Finding]:
    """Run all checks, each in a thread that is left behind if it does not end in time; their findings, in order."""
    answers = {name: SimpleQueue[list[Finding]]() for name in checks}
    for name, check in checks.items():
        Thread(target=_run, args=(name, check, answers[name]), name=f"doctor-{name}", daemon=True).start()
    return [finding for name in checks for finding in _await(name, answers[name], timeout_s)]


def worst(findings: Iterable[Finding]) -> State:
    """The worst state among them."""
    order: tuple[State, ...] = get_args(State)
    return order[max((order.index(finding.state) for finding in findings), default=0)]


def _run(name: str, check: Check, answer: SimpleQueue[list[Finding]]) -> None:
    try:
        found = check()
    except KvbmError as error:
        what = f"{error.what}: {error.why}" if error.why else error.what
        found = [Finding(name=name, state="broken", what=what, hint=error.hint or "see the log of kvbm and the server")]
    except Exception as error:  # noqa: BLE001 - a check that fails is a finding
        what = f"the check failed: {type(error).__name__}: {error}"
        found = [Finding(name=name, state="broken", what=what, hint="report this: a check must not fail")]
    answer.put(found)


def _await(name: str, answer: SimpleQueue[list[Finding]], timeout_s: float) -> list[Finding]:
    try:
        return answer.get(timeout=timeout_s)
    except Empty:
        what = f"no answer within {timeout_s:g} s"
        return [Finding(name=name, state="broken", what=what, hint="see whether driver, disk or network hangs")]
