"""Messages to bytes and back, and errors over the wire: what is raised here is raised there, class and words."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import msgspec

from kvbm_events.schema.errors import InvalidCommand, KvbmError, LogError, RefusedError
from kvbm_nats.service.messages import ErrorBody

T = TypeVar("T", bound=msgspec.Struct)

encode = msgspec.json.Encoder().encode

INTERNAL_CODE = "500"


@cache
def _decoder(kind: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def decode_call(data: bytes, kind: type[T]) -> T:
    """A question's body.

    Raises:
        InvalidCommand: it is not this question; the message names the field.
    """
    try:
        call: T = _decoder(kind).decode(data or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidCommand(
            f"this is no {kind.__name__}",
            why=str(error),
            hint="docs/service.md has the body of every question",
        ) from error
    return call


def decode_answer(data: bytes, kind: type[T]) -> T:
    """An answer's body.

    Raises:
        KvbmError: the service is of another version, and its answer cannot be read.
    """
    try:
        answer: T = _decoder(kind).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise KvbmError(
            f"the service's answer is no {kind.__name__}",
            why=str(error),
            hint="bring the client and the service to the same version",
        ) from error
    return answer


def encode_error(error: Exception) -> tuple[str, bytes]:
    """The code for the header, in HTTP's sense, and the body. A fault of this program is told as one."""
    if not isinstance(error, KvbmError):
        why, hint = f"{type(error).__name__}: {error}", "report it, with the service's log"
        error = KvbmError("the service made a mistake", why=why, hint=hint)
    body = ErrorBody(error=type(error).__name__, what=error.what, why=error.why, hint=error.hint)
    return _code(error), encode(body)


def decode_error(data: bytes) -> KvbmError:
    """The error that the service raised: of the same class, or the base where this version does not know the class."""
    try:
        body = msgspec.json.decode(data, type=ErrorBody)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return KvbmError("the service refused, and why cannot be read", why=repr(data[:200]))
    return _classes(KvbmError).get(body.error, KvbmError)(body.what, why=body.why, hint=body.hint)


def _code(error: KvbmError) -> str:
    match error:
        case InvalidCommand():
            return "400"
        case RefusedError():
            return "409"
        case LogError():
            return "503"
        case _:
            return INTERNAL_CODE


def _classes(base: type[KvbmError]) -> dict[str, type[KvbmError]]:
    found = {base.__name__: base}
    for child in base.__subclasses__():
        found |= _classes(child)
    return found
