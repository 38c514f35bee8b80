"""JetStream's JSON API: requests over plain NATS, answers as structs, and the refusals by name."""

from __future__ import annotations

import base64
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from kvbm_events.jetstream.asking import ask
from kvbm_events.jetstream.connection import Connection, Refused
from kvbm_events.schema.errors import LogFull

PREFIX = "$JS.API"

ACCOUNT_RESOURCES_EXCEEDED = 10002
NO_SUITABLE_PEERS = 10005
NOT_AVAILABLE = 10008
NOT_LEADER = 10009
INSUFFICIENT_RESOURCES = 10023
NO_MESSAGE_FOUND = 10037
STORAGE_RESOURCES_EXCEEDED = 10047
STREAM_NOT_FOUND = 10059
WRONG_LAST_SEQUENCE = 10071
STORE_FAILED = 10077
STREAM_OFFLINE = 10118
WRONG_LAST_SEQUENCE_IN_PROCESS = 10164
ATOMIC_PUBLISH_DISABLED = 10174
ATOMIC_PUBLISH_TOO_LARGE = 10199

_FULL = frozenset({ACCOUNT_RESOURCES_EXCEEDED, INSUFFICIENT_RESOURCES, STORAGE_RESOURCES_EXCEEDED})
_PASSING = frozenset({NO_SUITABLE_PEERS, NOT_AVAILABLE, NOT_LEADER, STREAM_OFFLINE})
_PASSING_STATUS = frozenset({429, 503})

A = TypeVar("A", bound="Answer")


class Refusal(Struct, frozen=True):
    """The error in an answer."""

    code: int = 0
    err_code: int = 0
    description: str = ""

    @property
    def is_full(self) -> bool:
        """Whether a limit of bytes was reached: the stream's, the account's or the server's."""
        return self.err_code in _FULL or (self.err_code == STORE_FAILED and self.description.startswith("maximum "))

    @property
    def is_passing(self) -> bool:
        """Whether the same request may be granted in a moment: a leader is elected, a server comes up."""
        return self.code in _PASSING_STATUS or self.err_code in _PASSING


class Answer(Struct, frozen=True, kw_only=True):
    """What all answers have."""

    error: Refusal | None = None


class PubAck(Answer, frozen=True, kw_only=True):
    """The answer to a publish; `count` is there for a batch, and `seq` is then its last message's."""

    seq: int = 0
    duplicate: bool = False
    count: int = 1


class StreamState(Struct, frozen=True, kw_only=True):
    """How much a stream holds."""

    messages: int
    bytes: int
    first_seq: int
    last_seq: int
    subjects: dict[str, int] = {}


class StreamInfo(Answer, frozen=True, kw_only=True):
    """A stream's configuration, as the server tells it, and state; `ts` is the server's time."""

    ts: str = ""
    config: dict[str, Any] = {}
    state: StreamState = StreamState(messages=0, bytes=0, first_seq=0, last_seq=0)
    total: int = 0


class _Stored(Struct, frozen=True, kw_only=True):
    subject: str
    seq: int
    hdrs: str = ""
    data: str = ""


class _StoredAnswer(Answer, frozen=True, kw_only=True):
    message: _Stored | None = None


class Message(Struct, frozen=True):
    """One stored message."""

    seq: int
    subject: str
    headers: dict[str, str]
    data: bytes


class ApiRefused(Refused):
    """JetStream answered, and said no. `code` is its error code."""

    def __init__(self, what: str, refusal: Refusal) -> None:
        self.code = refusal.err_code
        super().__init__(what, why=f"{refusal.description} ({refusal.err_code})", hint="see the server's log")


class Api:
    """Requests to JetStream, each answered or refused within `options.timeout_s`. They go to the stream's leader."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def call(self, verb: str, body: object, answer: type[A]) -> A:
        """One request to `$JS.API.<verb>`.

        Raises:
            ApiRefused: the answer is an error that stays.
            LogFull: the answer is that there is no room.
            LogUnavailable: there was no answer, or one that asks to come again.
        """
        data = await self.request(f"{PREFIX}.{verb}", msgspec.json.encode(body) if body is not None else b"")
        found = msgspec.json.decode(data, type=answer)
        if found.error is None:
            return found
        if found.error.is_full:
            raise log_full(found.error)
        if found.error.is_passing:
            raise self.connection.unavailable(f"{found.error.description} ({found.error.err_code})")
        raise ApiRefused(f"JetStream refused {verb}", found.error)

    async def request(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> bytes:
        """One request with an answer. Raises LogUnavailable where there was none: it may have been carried out."""
        connection = self.connection
        if connection.closed:
            raise connection.unavailable("")
        try:
            reply = await ask(connection.nc, subject, data, timeout_s=connection.options.timeout_s, headers=headers)
        except NoRespondersError as error:
            raise connection.unavailable("JetStream is not enabled on the server, or has no leader now") from error
        except (NatsError, OSError, TimeoutError) as error:
            raise connection.unavailable(
                f"{subject}: {error or 'no answer'} within {connection.options.timeout_s:g} s"
            ) from error
        return reply.data

    async def stream_info(self, stream: str) -> StreamInfo | None:
        """The stream as it is; None where there is none. Raises as `call`."""
        try:
            return await self.call(f"STREAM.INFO.{stream}", None, StreamInfo)
        except ApiRefused as refused:
            if refused.code == STREAM_NOT_FOUND:
                return None
            raise

    async def subjects(self, stream: str, filter_: str) -> set[str]:
        """The subjects of stored messages that match the filter; none where there is no stream. Raises as `call`."""
        found: set[str] = set()
        while True:
            try:
                request = {"subjects_filter": filter_, "offset": len(found)}
                info = await self.call(f"STREAM.INFO.{stream}", request, StreamInfo)
            except ApiRefused as refused:
                if refused.code == STREAM_NOT_FOUND:
                    return found
                raise
            found.update(info.state.subjects)
            if not info.state.subjects or len(found) >= info.total:
                return found

    async def message(self, stream: str, **which: int | str) -> Message | None:
        """One message by `seq=`, `last_by_subj=`, or `seq=` and `next_by_subj=`; None for none. Raises as `call`."""
        try:
            stored = (await self.call(f"STREAM.MSG.GET.{stream}", which, _StoredAnswer)).message
        except ApiRefused as refused:
            if refused.code in {NO_MESSAGE_FOUND, STREAM_NOT_FOUND}:
                return None
            raise
        if stored is None:
            return None
        return Message(
            stored.seq, stored.subject, _headers(base64.b64decode(stored.hdrs)), base64.b64decode(stored.data)
        )

    async def purge(self, stream: str, **which: int | str) -> None:
        """Drop messages of `filter=` before `seq=`. Raises as `call`."""
        await self.call(f"STREAM.PURGE.{stream}", which, Answer)


def log_full(refusal: Refusal) -> LogFull:
    """The error for a refusal that means `Refusal.is_full`."""
    return LogFull(
        "the log is full",
        why=f"{refusal.description} ({refusal.err_code})",
        hint="trim up to a snapshot, or raise max_bytes",
    )


def _headers(raw: bytes) -> dict[str, str]:
    lines = raw.decode("utf-8", "replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip(): value.strip() for name, _, value in pairs}
