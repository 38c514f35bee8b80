"""What the user of a remote memory asks its host, over NATS, and what the host answers. Bytes of blocks never pass here.

    kvbm.memory.<name>.<verb>    user → host, a request

Rules
1. A *holder* is one incarnation of a user. It claims the memory, and claims it again as its heartbeat.
2. A *session* is an agent of the holder and one of the host. It ends as a whole: at its first failure, with a new one, or
   when either side is not heard. When the host has answered `Connect`, nothing of an earlier session is written any more,
   on either side.
3. A question may come twice. The second does nothing that the first has done.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from kvbm_events.schema import MAX_CAPACITY
from kvbm_events.schema.errors import InvalidCommand, KvbmError, NamespaceMismatch
from kvbm_tiers.errors import MemoryUnavailable, NixlUnavailable, SessionOver, StoreBusy, StoreDamaged, StoreFull
from kvbm_tiers.layout import Layout
from kvbm_tiers.remote.processes import ProcessName
from kvbm_tiers.store import Opening

BLOCKS_MAX = 512
"""In one question."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

T = TypeVar("T", bound=Struct)
Verb = Literal["who", "claim", "connect", "push", "prove", "release"]
Token = Annotated[str, Meta(min_length=1, max_length=64)]
Slot = Annotated[int, Meta(ge=0, le=MAX_CAPACITY)]
Address = Annotated[int, Meta(ge=0, le=1 << 62)]
Metadata = Annotated[bytes, Meta(min_length=1, max_length=1 << 18)]


class Who(Struct, frozen=True, kw_only=True):
    """Is a memory host of this name there?"""


class Here(Struct, frozen=True, kw_only=True):
    """It is.

    :ivar host: its incarnation
    """

    host: Token


class Claim(Struct, frozen=True, kw_only=True):
    """Who wants the memory, and of what shape it must be.

    :ivar reset: let it start empty, once for this holder
    """

    holder: Token
    process: ProcessName
    namespace: Annotated[str, Meta(max_length=1024)]
    layout: Layout
    capacity: Annotated[int, Meta(ge=1, le=MAX_CAPACITY)]
    reset: bool = False


class Claimed(Struct, frozen=True, kw_only=True):
    """The asker has the memory.

    :ivar host: the incarnation of the host
    :ivar opening: what became of the blocks that were there
    :ivar session: the one that is open; empty if none is
    """

    host: Token
    process: ProcessName
    opening: Opening
    session: str = ""


class Connect(Struct, frozen=True, kw_only=True):
    """The holder has a new agent, and wants a session with it."""

    holder: Token
    agent: Metadata


class Connected(Struct, frozen=True, kw_only=True):
    """A session. All before it are over, and nothing of them is written any more.

    :ivar address: of slot 0 in the host's memory
    """

    session: Token
    agent: Metadata
    address: Address


class Push(Struct, frozen=True, kw_only=True):
    """Write these slots to these addresses of the holder's memory. Answered when they are written.

    :ivar number: of the question within its session
    """

    session: Token
    number: int
    slots: Annotated[list[Slot], Meta(min_length=1, max_length=BLOCKS_MAX)]
    addresses: Annotated[list[Address], Meta(min_length=1, max_length=BLOCKS_MAX)]


class Pushed(Struct, frozen=True, kw_only=True):
    """They are written."""


class Prove(Struct, frozen=True, kw_only=True):
    """What is in these slots?"""

    session: Token
    slots: Annotated[list[Slot], Meta(min_length=1, max_length=BLOCKS_MAX)]


class Proof(Struct, frozen=True, kw_only=True):
    """xxh3-64 of each block, 16 hex digits each."""

    checksums: str


class Release(Struct, frozen=True, kw_only=True):
    """The holder goes."""

    holder: Token


class Released(Struct, frozen=True, kw_only=True):
    """It has no session any more, and nothing of one is written."""


class Refused(Struct, frozen=True, kw_only=True):
    """An error of ours, by class and words."""

    error: str
    what: str
    why: str = ""
    hint: str = ""


class _Answer(Struct, frozen=True, kw_only=True):
    ok: msgspec.Raw = msgspec.Raw(b"null")
    refused: Refused | None = None


QUESTIONS: dict[Verb, type[Struct]] = {
    "who": Who,
    "claim": Claim,
    "connect": Connect,
    "push": Push,
    "prove": Prove,
    "release": Release,
}
_ERRORS: dict[str, type[KvbmError]] = {
    error.__name__: error
    for error in (
        InvalidCommand,
        MemoryUnavailable,
        NamespaceMismatch,
        NixlUnavailable,
        SessionOver,
        StoreBusy,
        StoreDamaged,
        StoreFull,
    )
}

encode = msgspec.json.Encoder().encode
"""A question as JSON bytes."""


def subject_of(name: str, verb: str) -> str:
    """Where a memory host is asked; `*` for all that it is asked.

    Raises:
        InvalidCommand: that cannot be a memory host's name.
    """
    if _NAME.fullmatch(name):
        return f"kvbm.memory.{name}.{verb}"
    raise InvalidCommand(
        f"{name[:80]!r} cannot name a memory host",
        why="the name is a token of NATS subjects",
        hint="use 1 to 64 letters, digits, '_' or '-'",
    )


def decode_question(verb: str, data: bytes) -> Any:  # noqa: ANN401 - one of the questions
    """A question.

    Raises:
        InvalidCommand: the bytes are none.
    """
    kind = QUESTIONS.get(verb)  # type: ignore[call-overload] # whatever was asked
    if kind is None:
        raise InvalidCommand(f"{verb[:80]!r} is nothing that a memory host does", hint=", ".join(QUESTIONS))
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidCommand(f"this is no {kind.__name__}", why=str(error)) from error


def encode_answer(answer: Struct | Exception) -> bytes:
    """An answer, or why there is none. A fault of this program is told as one."""
    if not isinstance(answer, Exception):
        return encode(_Answer(ok=msgspec.Raw(encode(answer))))
    if not isinstance(answer, KvbmError):
        answer = MemoryUnavailable("the memory host made a mistake", why=repr(answer), hint="report it, with its log")
    words = Refused(error=type(answer).__name__, what=answer.what, why=answer.why, hint=answer.hint)
    return encode(_Answer(refused=words))


def decode_answer(data: bytes, kind: type[T]) -> T:
    """An answer.

    Raises:
        KvbmError: what the host refused with, of the same class.
        MemoryUnavailable: it cannot be read.
    """
    try:
        answer = msgspec.json.decode(data, type=_Answer)
        if not answer.refused:
            return msgspec.json.decode(answer.ok, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MemoryUnavailable(
            f"the memory host's answer is no {kind.__name__}", why=str(error), hint="bring both to the same version"
        ) from error
    words = answer.refused
    raise _ERRORS.get(words.error, MemoryUnavailable)(words.what, why=words.why, hint=words.hint)
